"""The attention-weighted distribution of the targets: quantiles, probabilities and draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from sknw._kernel_sums.costs import TILED_WRITTEN
from sknw._kernel_sums.registry import Blocks, SumsBlocks, dispatcher
from sknw._smoothing.attention import NEGLIGIBLE, for_each_attention_block
from sknw._smoothing.smoother import Queries, Smoother

# Cumulated weights that differ by less are equal.
_ROUNDING = 1e-12

# For a target of each row (b,): the position at which the weights of the row, cumulated from either end, reach it.
InverseCdf = Callable[[np.ndarray, bool], np.ndarray]


def quantiles(smoother: Smoother, queries: Queries, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """For each query the smallest of `values` (n,) up to which the attention sums to each level (q,): (m, q).

    For level 1 the largest from which on weights are not negligible. NaN for queries without support where the policy
    is "nan" or "raise".
    """
    order = np.argsort(values, kind="stable")  # once for all queries
    values = values[order]
    request = replace(smoother.value_request(queries), index=smoother.index.without_columns().take(order))
    found = np.full((len(queries), len(levels)), np.nan)

    def of_blocks(rows: slice, blocks: Blocks) -> None:
        found[rows] = _quantiles(partial(inverse_cdf_of_blocks, blocks), blocks.block_sums.sum(axis=1), values, levels)

    engine = dispatcher.choose_capable(SumsBlocks, request, smoother.algorithm, TILED_WRITTEN)  # type: ignore[type-abstract]
    if engine is not None:
        engine.for_each_chunk_of_blocks(request, of_blocks)
    rest = np.flatnonzero(np.isnan(found[:, 0]))  # without support, or all

    def of_rows(rows: slice, attention: np.ndarray) -> None:
        found[rest[rows]] = _quantiles(partial(inverse_cdf_of_rows, attention), attention.sum(axis=1), values, levels)

    if rest.size:
        for_each_attention_block(request.take(rest), smoother.policy, smoother.algorithm, of_rows)
    return found


def _quantiles(inverse_cdf: InverseCdf, total: np.ndarray, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    found = np.empty((len(total), len(levels)))
    for column, level in zip(found.T, levels, strict=True):
        share = NEGLIGIBLE if level == 1.0 else max(level - _ROUNDING, NEGLIGIBLE)
        position = inverse_cdf(share * total, level == 1.0)
        column[:] = values[np.minimum(position, len(values) - 1)]  # beyond the end where all weights are 0
    found[~(total > 0)] = np.nan
    return found


def inverse_cdf_of_rows(weights: np.ndarray, target: np.ndarray, backwards: bool) -> np.ndarray:
    """The `InverseCdf` of weights (b, n) that are written out."""
    place = _first_reached(np.zeros(len(weights)), weights[:, ::-1] if backwards else weights, target)
    return weights.shape[1] - 1 - place if backwards else place


def inverse_cdf_of_blocks(blocks: Blocks, target: np.ndarray, backwards: bool) -> np.ndarray:
    """The `InverseCdf` of weights by blocks: the sums of all blocks tell in which one to search."""
    step, rows = -1 if backwards else 1, np.arange(len(target))
    cumulated = np.cumsum(blocks.block_sums[:, ::step], axis=1)
    n_blocks = cumulated.shape[1]
    nth = np.minimum(_n_below(cumulated, target), n_blocks - 1)
    before = np.where(nth > 0, cumulated[rows, nth - 1], 0.0)
    block = n_blocks - 1 - nth if backwards else nth
    place = _first_reached(before, blocks.weights(rows, block)[:, ::step], target)
    return block * blocks.size + (blocks.size - 1 - place if backwards else place)


def _first_reached(before: np.ndarray, weights: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Where `before` (b,) and the weights (b, l) that follow sum to the target: at the last positive one at most."""
    one_by_one = before[:, np.newaxis] + np.cumsum(weights, axis=1)
    # rounding of the sums must not lead to a sample without weight
    last_positive = (weights.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)) * np.any(weights > 0, axis=1)
    return np.minimum(_n_below(one_by_one, target), last_positive)


def _n_below(cumulated: np.ndarray, target: np.ndarray) -> np.ndarray:
    return (cumulated < target[:, np.newaxis]).sum(axis=1)


def probabilities(smoother: Smoother, queries: Queries, values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The attention of each query to `values` (n, k) up to its thresholds (m, k, t): of their shape.

    NaN for queries without support where the policy is "nan" or "raise".
    """
    found = np.empty(thresholds.shape)

    def block(rows: slice, attention: np.ndarray) -> None:
        for k, y in enumerate(values.T):
            cumulated = np.zeros((len(attention), len(y) + 1))
            np.cumsum(attention[:, orders[k]], axis=1, out=cumulated[:, 1:])
            n_below = np.searchsorted(y[orders[k]], thresholds[rows, k], side="right")
            found[rows, k] = np.take_along_axis(cumulated, n_below, axis=1) / cumulated[:, -1:]  # exactly 1 at the end

    orders = np.argsort(values, axis=0, kind="stable").T
    smoother.for_each_attention_block(queries, block)
    return found


def sample_indices(smoother: Smoother, queries: Queries, uniform: np.ndarray) -> np.ndarray:
    """The samples drawn with the attention as probabilities, by uniform numbers (m, s): indices, -1 for none."""
    drawn = np.empty(uniform.shape, dtype=np.intp)

    def block(rows: slice, attention: np.ndarray) -> None:
        cumulated = np.cumsum(attention, axis=1)
        for i, a in zip(range(rows.start, rows.stop), cumulated, strict=True):
            last = np.searchsorted(a, a[-1])
            drawn[i] = -1 if np.isnan(a[-1]) else np.minimum(np.searchsorted(a, uniform[i] * a[-1], side="right"), last)

    smoother.for_each_attention_block(queries, block)
    return drawn
