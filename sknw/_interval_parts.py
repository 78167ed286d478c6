"""Prediction intervals of many queries: which parts of the samples may have the bounds, and a look into these.

Leaving out a sample of attention a <= 1/2 moves the mean by at most 2 a |y - mean|, and the scale s at the query by at
most a max(s, r^2 / s). The samples stand in descending order of their scores R: so of a part of them it is known from
its largest a that its bounds, about mean -/+ R s, are farther out than those looked for, or not as far.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sknw import _interval_loops
from sknw._intervals import LARGEST_LEVERAGE, Calibration
from sknw._pooling import Queries, Smoother
from sknw._sums import CompiledParts, compiled_parts

# Bounds are looked for among those whose scores are at most one in so many ranks from the typical one.
_NEARBY = 200


def compiled_bounds(smoother: Smoother, queries: Queries, calibration: Calibration, coverage: float) -> np.ndarray:
    """Bounds (m, 2) of weighted means of one output, of samples that count once.

    NaN where one sample has much of the attention.
    """
    y, squares, scores = (a[:, 0].copy() for a in (smoother.values, calibration.squares, calibration.scores))
    n, rank = len(y), int(calibration.rank(coverage))
    kappa, prior_square = calibration.prior_mass[0], calibration.prior_square[0]
    spacing = scores[max(rank - 1 - n // _NEARBY, 0)] - scores[min(rank - 1 + n // _NEARBY, n - 1)]
    bounds = np.full((len(queries), 2), np.nan)

    def of_chunk(rows: slice, parts: CompiledParts) -> None:
        starts = np.arange(0, n, parts.size)
        sizes = np.diff(starts, append=n)
        largest_y, largest_square = (np.maximum.reduceat(a, starts) for a in (np.abs(y), squares))
        most, least = scores[starts], scores[starts + sizes - 1]

        total, moment, square = parts.sums.sum(axis=1).T
        seen = np.flatnonzero((total > 0) & (parts.largest.max(axis=1) <= LARGEST_LEVERAGE * total))
        total = total[seen, np.newaxis]
        mass = total * np.exp(parts.log_scale[seen, np.newaxis])
        mean = moment[seen, np.newaxis] / total
        numerator, denominator = mass * square[seen, np.newaxis] / total + kappa * prior_square, mass + kappa
        s = np.sqrt(numerator / denominator)
        pool = np.hstack([1.0 / total, mass, mean, numerator, denominator])
        moves = 2.0 * (largest_y + np.abs(mean)) + most * np.maximum(s, largest_square / s)
        moves *= parts.largest[seen] / total

        found = np.full((len(seen), 2), np.nan)
        guess, width = scores[rank - 1] * s, spacing * s
        left = np.arange(len(seen))
        while left.size and np.all(width < np.inf):
            beyond = least * s[left] - moves[left] > guess[left] + width[left]
            near = ~beyond & (most * s[left] + moves[left] >= guess[left] - width[left])
            looked_for = np.hstack([guess[left], width[left], rank - (beyond @ sizes)[:, np.newaxis]])
            found[left] = _looked_into(parts, seen[left], near, pool[left], looked_for, (y, squares, scores))
            width = 4.0 * width + 1e-15 * np.abs(guess) + 1e-300
            left = left[np.isnan(found[left, 0])]
        bounds[np.arange(rows.start, rows.stop)[seen]] = found

    values = np.column_stack([y, squares])
    compiled_parts(replace(smoother.problem(queries), values=values), of_chunk)
    return bounds


def _looked_into(
    parts: CompiledParts,
    rows: np.ndarray,
    near: np.ndarray,
    pool: np.ndarray,
    looked_for: np.ndarray,
    samples: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> np.ndarray:
    """The bounds (c, 2) of the queries `rows` (c,); arguments as of `_interval_loops.bounds`."""
    queries, arguments = parts.arguments(rows)
    filled = [np.pad(a, [(0, len(queries) - len(rows)), (0, 0)]) for a in (near, pool, looked_for)]
    found = np.full((len(queries), 2), np.nan)
    _interval_loops.bounds(*arguments, *filled, *samples, np.empty((2, 4, len(samples[0]))), found)
    return found[: len(rows)]
