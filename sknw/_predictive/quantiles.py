"""What rows of attention weights, a_j >= 0 of sum 1, tell beyond the mean: quantiles, draws, derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sknw._kernel_sums.tiled.blocks import Parts

# Cumulated weights that differ by less are equal.
_ROUNDING = 1e-12
# A weight below this part of all counts as none: it may be what underflow has left, and engines differ in that.
NEGLIGIBLE = 1e-80

# Calls task(rows, attention) for consecutive blocks of queries; attention of shape (len(rows), n).
ForEachBlock = Callable[[Callable[[slice, np.ndarray], None]], None]


def quantiles(parts: Parts, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The smallest of `values` (n,), ascending, up to which the weights reach each level (q,): of shape (b, q).

    For level 1 the largest from which on they are not negligible; NaN where the weights are NaN or all 0.
    """
    total = parts.masses.sum(axis=1)
    found = np.empty((len(total), len(levels)))
    for index, level in enumerate(levels):
        share = NEGLIGIBLE if level == 1.0 else max(level - _ROUNDING, NEGLIGIBLE)
        position = inverse_cdf(parts, share * total, backwards=level == 1.0)
        found[:, index] = values[np.minimum(position, len(values) - 1)]  # beyond the end where all weights are 0
    found[~(total > 0)] = np.nan
    return found


def inverse_cdf(parts: Parts, target: np.ndarray, backwards: bool) -> np.ndarray:
    """The position at which the weights of each row, cumulated from either end, reach its target (b,)."""
    step, rows = -1 if backwards else 1, np.arange(len(target))
    cumulated = np.cumsum(parts.masses[:, ::step], axis=1)
    n_parts = cumulated.shape[1]
    nth = np.minimum(_n_below(cumulated, target), n_parts - 1)
    before = np.where(nth > 0, cumulated[rows, nth - 1], 0.0)
    part = n_parts - 1 - nth if backwards else nth
    weights = parts.weights(rows, part)[:, ::step]
    one_by_one = before[:, np.newaxis] + np.cumsum(weights, axis=1)
    # rounding of the sums must not lead to a sample without weight
    place = np.minimum(_n_below(one_by_one, target), _last_positive(weights))
    return part * parts.size + (parts.size - 1 - place if backwards else place)


def _n_below(cumulated: np.ndarray, target: np.ndarray) -> np.ndarray:
    return (cumulated < target[:, np.newaxis]).sum(axis=1)


def _last_positive(weights: np.ndarray) -> np.ndarray:
    """The last position of a positive weight in each row; 0 where there is none."""
    return (weights.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)) * np.any(weights > 0, axis=1)


def sample_indices(uniform: np.ndarray, for_each_block: ForEachBlock) -> np.ndarray:
    """The samples drawn with the attention as probabilities, by uniform numbers (m, s): indices, -1 for none."""
    drawn = np.empty(uniform.shape, dtype=np.intp)

    def block(rows: slice, attention: np.ndarray) -> None:
        cumulated = np.cumsum(attention, axis=1)
        for i, a in zip(range(rows.start, rows.stop), cumulated, strict=True):
            last = np.searchsorted(a, a[-1])
            drawn[i] = -1 if np.isnan(a[-1]) else np.minimum(np.searchsorted(a, uniform[i] * a[-1], side="right"), last)

    for_each_block(block)
    return drawn
