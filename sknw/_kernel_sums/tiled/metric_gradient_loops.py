"""The compiled loops of `metric_gradient`: tiles of four queries against one block of keys, as in `loops`."""

import numpy as np

from sknw._kernel_sums.numba import MULTIPLY_ADD, REORDERED, compiled, inner, min, wide_vectors
from sknw._kernel_sums.row_loops import exponentiate, inverse_powers, multiply, powers
from sknw._kernel_sums.tiled.loops import (
    accumulate,
    add_four_products,
    add_product,
    leave_out,
    row_length,
    squared_distances,
)


@inner(MULTIPLY_ADD)
def _fill(tile, coefficients, i):
    """tile[r, j] = coefficients[i + r, 0]."""
    for r in range(len(tile)):
        start = coefficients[i + r, 0]
        for j in range(row_length(tile)):
            tile[r, j] = start


@inner()
def _add_linear_form(tile, coefficients, i, columns, first):
    """tile[r, j] += sum_(k >= first) coefficients[i + r, k] columns[k, j]."""
    n_columns = columns.shape[0]
    n_in_fours = n_columns - (n_columns - first) % 4
    for k in range(first, n_in_fours, 4):
        add_four_products(tile, coefficients, i, columns, k)
    for k in range(n_in_fours, n_columns):
        add_product(tile, coefficients, i, columns, k)


@inner(REORDERED)
def _pull(b, first, second, t, i, weights, column_sums):
    """b[r, j] *= (first[r, j] second[r, j] - t[i + r]) weights[j]; column_sums[j] += sum_r b[r, j]."""
    wide_vectors()
    for r in range(0, len(b), 2):
        t0, t1 = t[i + r], t[i + r + 1]
        for j in range(row_length(b)):
            v0 = b[r, j] * (first[r, j] * second[r, j] - t0) * weights[j]
            v1 = b[r + 1, j] * (first[r + 1, j] * second[r + 1, j] - t1) * weights[j]
            b[r, j], b[r + 1, j] = v0, v1
            column_sums[j] += v0 + v1


@compiled()
def add_metric_sums(work, queries, first_query, is_line, keys, kernel, cotangent, columns, sums, column_sums):
    """sums[i] += sum_j B_ij (1, x_j), column_sums[j] += sum_i B_ij, up to the factor of u^(power - 2) in K'.

    Parameters
    ----------
    work : array of shape (3, 4, j)
        Working memory.
    queries, keys : tuples (queries, start, left_out) and (keys, key_start, products)
        As in `loops.add_sums`.
    first_query : int
        The number of the first of the queries, a multiple of four, where these are the keys and B_ij is summed over
        j > i only; else -1.
    is_line : bool
        Whether p and e have more than their first columns.
    kernel : tuple (shift, power, rate, furthest)
        The kernel 2^(rate u^power), power at most 2, and the largest u^power; shift (m,) is subtracted from u^power, so
        that weights are K / D.
    cotangent : tuple (p, g, e, t) of arrays of shape (m, 1 + d), (m, k), (m, 1 + d), (m,)
        As in `WeightCotangent`, but the negative of e.
    columns : tuple (key_columns, values, weights) of arrays of shape (s, 1 + d, j), (s, k, j), (s, j)
        (1, x), y and w of the keys, in blocks.
    sums, column_sums : arrays of shape (m, 1 + d), (s, j)
    """
    (queries, start, left_out), (keys, key_start, products) = queries, keys
    (shift, power, rate, furthest), (p, g, e, t), (key_columns, values, weights) = kernel, cotangent, columns
    block, tile, first, second = row_length(keys), work[0], work[1], work[2]
    for s in range(keys.shape[0]):
        for i in range(0, queries.shape[0], 4):
            if first_query >= 0 and first_query + i >= (s + 1) * block:
                continue
            squared_distances(tile, queries, start, i, keys[s], key_start[s], products)
            for r in range(len(tile)):
                row, slopes = tile[r], first[r]
                if power != 2.0:
                    inverse_powers(slopes, row, power)
                    powers(row, power)
                exponentiate(row, shift[i + r], rate, furthest)
                if power != 2.0:
                    multiply(row, slopes)
            leave_out(tile, left_out, i, s * block, 0.0)
            if first_query >= 0:
                for r in range(len(tile)):
                    for j in range(min(first_query + i + r + 1 - s * block, block)):
                        tile[r, j] = 0.0
            _fill(first, p, i)
            _fill(second, e, i)
            _add_linear_form(second, g, i, values[s], np.int64(0))
            if is_line:
                _add_linear_form(first, p, i, key_columns[s], np.int64(1))
                _add_linear_form(second, e, i, key_columns[s], np.int64(1))
            _pull(tile, first, second, t, i, weights[s], column_sums[s])
            accumulate(sums, i, tile, key_columns[s])
