"""The compiled loop over pairs of keys, where the keys are the queries: each weight serves both of them.

Keys stand by feature, (d, m), filled up to a multiple of `VECTOR` with keys without weight.
"""

import numpy as np

from sknw._kernel_sums.numba import (
    MULTIPLY_ADD,
    REORDERED,
    compiled,
    disjoint_arrays,
    inner,
    max,
    min,
    wide_vectors,
)
from sknw._kernel_sums.row_loops import powers
from sknw._kernel_sums.tiled.loops import MOST_SQUARINGS, weights_at
from sknw._kernel_sums.tiled.range_loops import VECTOR

# Keys whose distances and weights, of four queries, stay in the first-level cache.
BLOCK = 512


@inner(MULTIPLY_ADD)
def _add_squares(distances, keys, k, i, begin, end):
    """Add (keys[l, i + r] - keys[l, begin + j])^2 to distances[r, j] for l = k and k + 1; k = 0 sets them instead."""
    wide_vectors()
    disjoint_arrays()
    n = end - begin
    d0, d1, d2, d3 = distances[:n], distances[n : 2 * n], distances[2 * n : 3 * n], distances[3 * n : 4 * n]
    x, x0, x1, x2, x3 = keys[k, begin:end], keys[k, i], keys[k, i + 1], keys[k, i + 2], keys[k, i + 3]
    u = k + 1
    y, y0, y1, y2, y3 = keys[u, begin:end], keys[u, i], keys[u, i + 1], keys[u, i + 2], keys[u, i + 3]
    if k == 0:
        for j in range(n):
            d0[j] = (x0 - x[j]) ** 2 + (y0 - y[j]) ** 2
            d1[j] = (x1 - x[j]) ** 2 + (y1 - y[j]) ** 2
            d2[j] = (x2 - x[j]) ** 2 + (y2 - y[j]) ** 2
            d3[j] = (x3 - x[j]) ** 2 + (y3 - y[j]) ** 2
    else:
        for j in range(n):
            d0[j] = d0[j] + (x0 - x[j]) ** 2 + (y0 - y[j]) ** 2
            d1[j] = d1[j] + (x1 - x[j]) ** 2 + (y1 - y[j]) ** 2
            d2[j] = d2[j] + (x2 - x[j]) ** 2 + (y2 - y[j]) ** 2
            d3[j] = d3[j] + (x3 - x[j]) ** 2 + (y3 - y[j]) ** 2


@inner(REORDERED)
def _add_to_both(sums, sums_by_column, weights, columns, v, i, begin, end):
    """Add the sums of the columns v and v + 1, for the queries i, ..., i + 3 and the keys begin, ..., end - 1.

    sums[i + r, v] += sum_j weights[r, j] columns[v, j], sums_by_column[v, j] += sum_r weights[r, j] columns[v, i + r].
    """
    wide_vectors()
    disjoint_arrays()
    n = end - begin
    w0, w1, w2, w3 = weights[:n], weights[n : 2 * n], weights[2 * n : 3 * n], weights[3 * n : 4 * n]
    x, x0, x1, x2, x3 = columns[v, begin:end], columns[v, i], columns[v, i + 1], columns[v, i + 2], columns[v, i + 3]
    u = v + 1
    y, y0, y1, y2, y3 = columns[u, begin:end], columns[u, i], columns[u, i + 1], columns[u, i + 2], columns[u, i + 3]
    x_sums, y_sums = sums_by_column[v, begin:end], sums_by_column[u, begin:end]
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = 0.0
    for j in range(n):
        a0 += w0[j] * x[j]
        a1 += w1[j] * x[j]
        a2 += w2[j] * x[j]
        a3 += w3[j] * x[j]
        b0 += w0[j] * y[j]
        b1 += w1[j] * y[j]
        b2 += w2[j] * y[j]
        b3 += w3[j] * y[j]
        x_sums[j] += w0[j] * x0 + w1[j] * x1 + w2[j] * x2 + w3[j] * x3
        y_sums[j] += w0[j] * y0 + w1[j] * y1 + w2[j] * y2 + w3[j] * y3
    for r, a, b in ((0, a0, b0), (1, a1, b1), (2, a2, b2), (3, a3, b3)):
        sums[i + r, v] += a
        sums[i + r, u] += b


@compiled()
def add_pair_sums(
    work, first, last, keys, columns, power, exponent, is_cosine, rates, furthest, sums, sums_by_column
):  # fmt: skip
    """Add both sums of each pair of keys i < j with first <= i < last: each weight K_f(z_i, z_j) is computed once.

    sums[f, i] += K_f(z_i, z_j) V_j, and sums_by_column[f, :, j] += K_f(z_i, z_j) V_i.

    Parameters
    ----------
    work : array of shape (2, 4 `BLOCK`)
        Working memory.
    first, last : int
        `first` is a multiple of four. So is `last`, or it is the number of keys before these were filled up.
    keys, columns : arrays of shape (d, m), (v, m)
        The z_i, and the V_i; d and v are even.
    power, exponent, is_cosine, rates, furthest
        As of `loops.add_sums`.
    sums, sums_by_column : arrays of shape (f, m, v), (f, v, m)
    """
    m, most = keys.shape[1], np.int64(MOST_SQUARINGS)
    for start in range(first // BLOCK * BLOCK, m, BLOCK):
        end = min(start + BLOCK, m)
        for i in range(first, min(last, end), 4):
            begin = max(start, i // VECTOR * VECTOR)
            n = end - begin
            distances, weights = work[0, : 4 * n], work[1, : 4 * n]
            for k in range(0, len(keys), 2):
                _add_squares(distances, keys, k, i, begin, end)
            for r in range(4):
                for j in range(i + r + 1 - begin):
                    distances[r * n + j] = np.inf
            if power != 2.0:
                powers(distances, power)
            left = most
            for f in range(rates.size):
                left = weights_at(weights, distances, rates, furthest, f, left, most, exponent, is_cosine)
                for v in range(0, len(columns), 2):
                    _add_to_both(sums[f], sums_by_column[f], weights, columns, v, i, begin, end)
