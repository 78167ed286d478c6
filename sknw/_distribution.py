"""What rows of attention weights, a_j >= 0 of sum 1, tell beyond the mean: quantiles, draws, derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sknw._lines import solve
from sknw._pooling import Queries, Smoother
from sknw._sums import Parts
from sknw.kernels import ExponentialForm, Kernel

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
        position = _reached(parts, share * total, backwards=level == 1.0)
        found[:, index] = values[np.minimum(position, len(values) - 1)]  # beyond the end where all weights are 0
    found[~(total > 0)] = np.nan
    return found


def _reached(parts: Parts, target: np.ndarray, backwards: bool) -> np.ndarray:
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


def draws(uniform: np.ndarray, for_each_block: ForEachBlock) -> np.ndarray:
    """The samples drawn with the attention as probabilities, by uniform numbers (m, s): indices, -1 for none."""
    drawn = np.empty(uniform.shape, dtype=np.intp)

    def block(rows: slice, attention: np.ndarray) -> None:
        cumulated = np.cumsum(attention, axis=1)
        for i, a in zip(range(rows.start, rows.stop), cumulated, strict=True):
            last = np.searchsorted(a, a[-1])
            drawn[i] = -1 if np.isnan(a[-1]) else np.minimum(np.searchsorted(a, uniform[i] * a[-1], side="right"), last)

    for_each_block(block)
    return drawn


def gradients(smoother: Smoother, queries: Queries, for_each_block: ForEachBlock) -> np.ndarray:
    """Derivatives dm / dx of the predictions in the inputs: of shape (m, k, d).

    With g_j = d log K_j / dx, t_j and e_j as in `_intervals.without_each` and b the slope of the line (0 for means),

        dm / dx = b + sum_j a_j t_j e_j (g_j - sum_l a_l g_l)

    which for the Gaussian kernel and weighted means is w^2 cov_a(x, y).
    """
    found = np.empty((len(queries), smoother.values.shape[1], len(smoother.center)))
    line = smoother.line

    def of_query(i: int, a: np.ndarray) -> np.ndarray:
        seen = np.flatnonzero(a)
        a, difference = a[seen], queries.z[i] - smoother.keys[seen]
        with np.errstate(over="ignore"):
            sq = (difference**2).sum(axis=1)
        falls = 2.0 * _log_derivative(smoother.kernel, sq)[:, np.newaxis] * difference
        falls -= a @ falls
        residuals = smoother.values[seen] - a @ smoother.values[seen]
        slope: np.ndarray | float = 0.0
        pull: np.ndarray | float = 1.0
        if line is not None and np.isfinite(smoother.kernel.log_profile(sq)).any():
            offsets = line.x[seen] - a @ line.x[seen]
            weighted = a[:, np.newaxis] * offsets
            xx = weighted.T @ offsets
            slopes = solve(xx, weighted.T @ residuals, line.ridge)
            residuals = residuals - offsets @ slopes
            pull = 1.0 + offsets @ solve(xx, (queries.x[i] - a @ line.x[seen])[:, np.newaxis], line.ridge)
            slope = slopes.T / line.scales
        by_z = ((a[:, np.newaxis] * pull) * residuals).T @ falls
        return slope + (by_z * smoother.w if smoother.w.ndim == 1 else by_z @ smoother.w.T)

    def block(rows: slice, attention: np.ndarray) -> None:
        for i, a in zip(range(rows.start, rows.stop), attention, strict=True):
            found[i] = np.nan if np.isnan(a[0]) else of_query(i, a)

    for_each_block(block)
    return found


def _log_derivative(kernel: Kernel, sq: np.ndarray) -> np.ndarray:
    """d log K / d(u^2) where K is positive, else 0."""
    if isinstance(kernel.form, ExponentialForm):
        return kernel.log_slope(sq)  # also where K underflows
    weight = kernel.profile(sq)
    return np.divide(kernel.derivative(sq), weight, out=np.zeros_like(sq), where=weight > 0)
