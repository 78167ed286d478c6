"""Compiled loops of prediction intervals: all bounds that leaving samples out gives, and their order statistics.

For weighted means of one output, of samples that count once; see `_intervals` for the formulas.
"""

from __future__ import annotations

import numpy as np

from sknw._sums._compile import REORDERED, compiled, wide_vectors

# Values that are passed over together if none of them is near the one looked for.
_STRETCH = 64


@compiled(REORDERED)
def _sums(a, y, squares):
    """sum a, sum a y, sum a r^2, and the largest a."""
    wide_vectors()
    total = mean = square = most = 0.0
    for j in range(a.size):
        total += a[j]
        mean += a[j] * y[j]
        square += a[j] * squares[j]
        most = max(most, a[j])
    return total, mean, square, most


@compiled(REORDERED)
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


@compiled(REORDERED)
def _count(values, low, high):
    """How many values are below `low`, and how many above `high`."""
    wide_vectors()
    n_below = n_above = 0
    for j in range(values.size):
        n_below += values[j] < low
        n_above += values[j] > high
    return n_below, n_above


@compiled()
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


@compiled()
def bounds(attention, masses, y, squares, scores, prior_mass, prior_square, rank, typical, spacing, largest, found):
    """Bounds of each row of attention (b, n) into `found` (b, 2); NaN where a sample has more than `largest` of it.

    `masses` (b,) are the kernel weights that the rows share out; `typical` is the score of that rank from the top, and
    `spacing` how far scores of nearby ranks are from it.
    """
    lower, minus_upper, kept = np.empty(y.size), np.empty(y.size), np.empty(y.size)
    for i in range(attention.shape[0]):
        a, mass = attention[i], masses[i]
        total, mean, square, most = _sums(a, y, squares)
        if not most <= largest:
            found[i, 0] = found[i, 1] = np.nan
            continue
        numerator, denominator = mass * square + prior_mass * prior_square, mass * total + prior_mass
        _leave_each_out(lower, minus_upper, a, y, squares, scores, mass, mean, numerator, denominator)
        scale = np.sqrt(numerator / denominator)
        found[i, 0] = _kth_smallest(lower, rank, mean - typical * scale, spacing * scale, kept)
        found[i, 1] = -_kth_smallest(minus_upper, rank, -mean - typical * scale, spacing * scale, kept)
