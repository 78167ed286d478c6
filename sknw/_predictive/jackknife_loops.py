"""Compiled loops of prediction intervals: all bounds that leaving samples out gives, and their order statistics.

For weighted means of one output, of samples that count once; see `jackknife` for the formulas.
"""

import numpy as np

from sknw._kernel_sums.numba import MULTIPLY_ADD, REORDERED, compiled, inner, wide_vectors
from sknw._kernel_sums.tiled.weight_loops import fill_with_weights

# Values that are passed over together if none of them is near the one looked for.
_STRETCH = 64


@inner(REORDERED)
def _leave_each_out(lower, minus_upper, a, y, squares, scores, mass, mean, numerator, denominator):
    """m_-i - R_i s_-i and -(m_-i + R_i s_-i) with s_-i^2 = (numerator - mass a_i r_i^2) / (denominator - mass a_i)."""
    wide_vectors()
    for j in range(a.size):
        rest, weight = 1.0 - a[j], denominator - mass * a[j]
        inverse = 1.0 / (rest * weight)
        center = mean - a[j] * (y[j] - mean) * (weight * inverse)
        reach = scores[j] * np.sqrt((numerator - mass * a[j] * squares[j]) * (rest * inverse))
        lower[j] = center - reach
        minus_upper[j] = -center - reach


@inner(REORDERED)
def _count(values, low, high):
    """How many values are below `low`, and how many above `high`."""
    wide_vectors()
    n_below = n_above = 0
    for j in range(values.size):
        n_below += values[j] < low
        n_above += values[j] > high
    return n_below, n_above


@inner()
def _kth_smallest(values, rank, guess, width, kept):
    """The value of rank `rank` (from 1), looked for within `width` of `guess` and then further away."""
    while width < np.inf:
        low, high = guess - width, guess + width
        n_below, n_above = _count(values, low, high)
        if n_below < rank <= values.size - n_above:
            n_kept = 0
            for start in range(0, values.size, _STRETCH):
                stretch = values[start : start + _STRETCH]
                below, above = _count(stretch, low, high)
                if below + above < stretch.size:
                    for value in stretch:
                        if low <= value <= high:
                            kept[n_kept] = value
                            n_kept += 1
            return np.partition(kept[:n_kept], rank - n_below - 1)[rank - n_below - 1]
        width = 8.0 * width + np.abs(guess) * 1e-15 + 1e-300
    return np.nan


@inner(MULTIPLY_ADD)
def _scale(row, factor):
    wide_vectors()
    for j in range(row.size):
        row[j] *= factor


@compiled()
def bounds(tile, weights, queries, start, shift, layout, kernel, near, pool, window, samples, working, found):
    """Bounds found[i] = (low, high) of each query i, or NaN, from the parts of the samples that may have them.

    Parameters
    ----------
    tile, weights, queries, start, shift, layout, kernel
        As of `_kernel_sums.tiled.weight_loops.fill_with_weights`.
    near : bool array of shape (m, s)
        The parts.
    pool : array of shape (m, 5)
        What weights are multiplied by to sum to 1, the mass, the mean, and s^2 as numerator and denominator.
    window : array of shape (m, 3)
        The bounds are mean -/+ guess to within width, and have this rank among those of the parts.
    samples : tuple (y, squares, scores) of arrays of shape (n,)
    working : array of shape (2, 4, n)
    """
    lower, minus_upper, (y, squares, scores) = working[0], working[1], samples
    n, size = y.size, weights.shape[1]
    kept, n_near = np.empty(n), np.zeros(4, dtype=np.int64)
    for i in range(0, queries.shape[0], 4):
        four = slice(i, i + 4)
        n_near[:] = 0
        for s in range(near.shape[1]):
            if not np.any(near[four, s]):
                continue
            fill_with_weights(tile, weights, queries[four], start[four], shift[four], layout, kernel, s)
            part = slice(s * size, min((s + 1) * size, n))
            for r in range(4):
                if near[i + r, s]:
                    share, mass, mean, numerator, denominator = pool[i + r]
                    a = weights[r, : part.stop - part.start]
                    _scale(a, share)
                    here = slice(n_near[r], n_near[r] + a.size)
                    of_part = (a, y[part], squares[part], scores[part])
                    _leave_each_out(lower[r, here], minus_upper[r, here], *of_part, mass, mean, numerator, denominator)
                    n_near[r] = here.stop
        for r in range(4):
            guess, width, rank = window[i + r]
            mean = pool[i + r, 2]
            if 0 < rank <= n_near[r]:
                low = _kth_smallest(lower[r, : n_near[r]], int(rank), mean - guess, width, kept)
                minus_high = _kth_smallest(minus_upper[r, : n_near[r]], int(rank), -mean - guess, width, kept)
                if max(np.abs(low - mean + guess), np.abs(minus_high + mean + guess)) <= width:
                    found[i + r, 0], found[i + r, 1] = low, -minus_high
