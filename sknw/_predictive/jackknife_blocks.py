"""Prediction intervals of many queries: which blocks of the samples may have the bounds, and a search in these.

Leaving out a sample of attention a <= 1/2 moves the mean by at most 2 a |y - mean|, and the scale s at the query by at
most a max(s, r^2 / s), a then being its share of the mass that s divides by. The samples stand in descending order of
their scores R: so the largest a of a block can tell that all its bounds, about mean -/+ R s, are farther out than the
one wanted, or not as far (branch and bound).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sknw._kernel_sums.registry import Blocks, SumsBlocks
from sknw._predictive import jackknife_loops
from sknw._predictive.calibration import LARGEST_LEVERAGE, ConformalCalibration
from sknw._smoothing.smoother import Queries, Smoother

# The first window reaches from the score wanted to those this part of all ranks above and below.
_NEARBY = 200


def compiled_bounds(
    engine: SumsBlocks, smoother: Smoother, queries: Queries, calibration: ConformalCalibration, coverage: float
) -> np.ndarray:
    """Bounds (m, 2) of weighted means of one output, of samples that count once.

    NaN where one sample has much of the attention.
    """
    samples = _Samples(smoother, calibration, int(calibration.rank(coverage)))
    bounds = np.full((len(queries), 2), np.nan)

    def of_chunk(rows: slice, blocks: Blocks) -> None:
        pooled = _Pooled(blocks, samples)
        bounds[rows][pooled.rows] = _searched(blocks, pooled, samples)

    request = smoother.request(queries)
    engine.for_each_chunk_of_blocks(replace(request, index=request.index.with_columns(samples.columns)), of_chunk)
    return bounds


class _Samples:
    """The n training samples, of which the first p have a score: y, squares and scores (p,), and `columns` (n, 3)."""

    def __init__(self, smoother: Smoother, calibration: ConformalCalibration, rank: int):
        self.calibration, self.rank = calibration, rank
        p = len(calibration.nonconformity)
        self.scores, self.squares = calibration.nonconformity[:, 0].copy(), calibration.squares[:, 0].copy()
        self.y = smoother.values[:p, 0].copy()
        self.columns = np.zeros((len(smoother.values), 3))
        self.columns[:, 0] = smoother.values[:, 0]
        self.columns[:p, 1:] = np.column_stack([np.ones(p), self.squares])
        near = [max(rank - 1 - p // _NEARBY, 0), min(rank - 1 + p // _NEARBY, p - 1)]
        self.typical, self.spacing = self.scores[rank - 1], self.scores[near[0]] - self.scores[near[1]]


class _Pooled:
    """Sums (c, 1) at those c queries, `rows`, of which no sample has much of the attention.

    `total` is the sum of the weights as they are computed, `mass` that of the kernel's, s^2 = `numerator` /
    `denominator`, over the samples that have scores. `shift_bound` (c, s) is how far leaving out a sample of each block
    moves a bound, at most.
    """

    def __init__(self, blocks: Blocks, samples: _Samples):
        total, moment, known, square = blocks.sums.sum(axis=1).T[..., np.newaxis]
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0: a query without support
            mass = np.exp(blocks.log_scale)[:, np.newaxis] * total
            kappa, prior_variance = samples.calibration.pseudo_count[0], samples.calibration.prior_variance[0]
            numerator = mass * (square / total) + kappa * prior_variance
            denominator = mass * (known / total) + kappa
            largest, beside_known = blocks.largest / total, np.maximum(mass / denominator, 1.0)
            is_taken = largest.max(axis=1, keepdims=True) * beside_known <= LARGEST_LEVERAGE
        self.rows = np.flatnonzero(is_taken & (total > 0))
        self.total, self.mass, self.mean = total[self.rows], mass[self.rows], moment[self.rows] / total[self.rows]
        self.numerator, self.denominator = numerator[self.rows], denominator[self.rows]
        self.s = np.sqrt(self.numerator / self.denominator)
        starts = np.arange(0, len(samples.y), blocks.size)
        largest_y, largest_square = (np.maximum.reduceat(a, starts) for a in (np.abs(samples.y), samples.squares))
        of_scale = beside_known[self.rows] * samples.scores[starts] * np.maximum(self.s, largest_square / self.s)
        self.shift_bound = largest[self.rows, : len(starts)] * (2.0 * (largest_y + np.abs(self.mean)) + of_scale)


def _searched(blocks: Blocks, pooled: _Pooled, samples: _Samples) -> np.ndarray:
    """The bounds (c, 2), looked for within a width of mean -/+ R s of the typical score R, and then further away."""
    starts = np.arange(0, len(samples.y), blocks.size)
    sizes = np.diff(starts, append=len(samples.y))
    outermost, innermost = (samples.scores[at] * pooled.s for at in (starts, starts + sizes - 1))
    guess, width = samples.typical * pooled.s, samples.spacing * pooled.s
    found = np.full((len(guess), 2), np.nan)
    left = np.arange(len(guess))
    while left.size and np.all(width < np.inf):
        beyond = innermost[left] - pooled.shift_bound[left] > guess[left] + width[left]
        near = ~beyond & (outermost[left] + pooled.shift_bound[left] >= guess[left] - width[left])
        window = np.hstack([guess[left], width[left], samples.rank - (beyond @ sizes)[:, np.newaxis]])
        found[left] = _select_in_window(blocks, pooled, left, near, window, samples)
        width = 4.0 * width + 1e-15 * np.abs(guess) + 1e-300
        left = left[np.isnan(found[left, 0])]
    return found


def _select_in_window(
    blocks: Blocks, pooled: _Pooled, at: np.ndarray, near: np.ndarray, window: np.ndarray, samples: _Samples
) -> np.ndarray:
    """The bounds of the queries `at` among the pooled, NaN where they are not within the window."""
    queries, arguments = blocks.loop_arguments(pooled.rows[at])
    of_query = 1.0 / pooled.total, pooled.mass, pooled.mean, pooled.numerator, pooled.denominator
    pool = np.hstack([column[at] for column in of_query])
    filled = [np.pad(a, [(0, len(queries) - len(at)), (0, 0)]) for a in (near, pool, window)]
    found, working = np.full((len(queries), 2), np.nan), np.empty((2, 4, len(samples.y)))
    jackknife_loops.bounds(*arguments, *filled, (samples.y, samples.squares, samples.scores), working, found)
    return found[: len(at)]
