"""The compiled loops of `metric_gradient`: tiles of four queries against one block of keys, as in `_tiles`."""

from __future__ import annotations

import numpy as np

from sknw._kernel_sums.numba import MULTIPLY_ADD, REORDERED, compiled, exp2, wide_vectors
from sknw._kernel_sums.tiled.loops import (
    accumulate,
    add_four_products,
    add_product,
    powers,
    row_length,
    squared_distances,
)


@compiled(MULTIPLY_ADD)
def _inverse_powers(slopes, distances, exponent):
    """u^(power - 2) from u^2, 0 where it is infinite; exponent = (power - 2) / 2 < 0."""
    wide_vectors()
    for j in range(4 * row_length(distances)):
        sq = distances[j]
        if exponent == -0.5:
            slopes[j] = 1.0 / np.sqrt(sq) if sq > 0.0 else 0.0
        else:
            slopes[j] = sq**exponent if sq > 0.0 else 0.0


@compiled()
def _relative_weights(tile, shift, rate, furthest):
    """2^(rate (u^power - shift)) from u^power, in place."""
    wide_vectors()
    for r in range(4):
        row, start = tile[r], shift[r]
        for j in range(row_length(row)):
            row[j] = exp2(min(row[j] - start, furthest), rate)


@compiled(MULTIPLY_ADD)
def _fill(tile, coefficients):
    """tile[r, j] = coefficients[r, 0]."""
    wide_vectors()
    for r in range(4):
        row, value = tile[r], coefficients[r, 0]
        for j in range(row_length(row)):
            row[j] = value


@compiled()
def _add_linear_form(tile, coefficients, columns):
    """tile[r, j] += sum_k coefficients[r, k] columns[k, j]."""
    n_columns = columns.shape[0]
    n_in_fours = n_columns - n_columns % 4
    for k in range(0, n_in_fours, 4):
        add_four_products(tile, coefficients, columns, k)
    for k in range(n_in_fours, n_columns):
        add_product(tile, coefficients, columns, k)


@compiled(MULTIPLY_ADD)
def _multiply(tile, others):
    wide_vectors()
    for j in range(4 * row_length(tile)):
        tile[j] *= others[j]


@compiled(REORDERED)
def _pull(b, first, second, t, weights, column_sums):
    """b[r, j] *= (first[r, j] second[r, j] - t[r]) weights[j]; column_sums[j] += sum_r b[r, j]."""
    wide_vectors()
    b0, b1, b2, b3 = b[0], b[1], b[2], b[3]
    f0, f1, f2, f3 = first[0], first[1], first[2], first[3]
    s0, s1, s2, s3 = second[0], second[1], second[2], second[3]
    t0, t1, t2, t3 = t[0], t[1], t[2], t[3]
    for j in range(row_length(weights)):
        w = weights[j]
        v0 = b0[j] * (f0[j] * s0[j] - t0) * w
        v1 = b1[j] * (f1[j] * s1[j] - t1) * w
        v2 = b2[j] * (f2[j] * s2[j] - t2) * w
        v3 = b3[j] * (f3[j] * s3[j] - t3) * w
        b0[j], b1[j], b2[j], b3[j] = v0, v1, v2, v3
        column_sums[j] += (v0 + v1) + (v2 + v3)


@compiled()
def add_metric_sums(
    tile,
    first,
    second,
    queries,
    start,
    own,
    once,
    keys,
    key_start,
    products,
    shift,
    power,
    rate,
    furthest,
    p,
    g,
    e,
    t,
    key_columns,
    values,
    weights,
    sums,
    column_sums,
):
    """sums[i] += sum_j B_ij (1, x_j), column_sums[j] += sum_i B_ij, up to the factor of u^(power - 2) in K'.

    Parameters
    ----------
    tile, first, second : arrays of shape (4, j)
        Working memory.
    queries, start, own, keys, key_start, products
        As in `_tiles.add_sums`.
    once : bool
        Whether the queries are the keys, and B_ij is summed over j > i only; `own` then begins at a multiple of four.
    shift : array of shape (m,)
        Subtracted from u^power, so that weights are K / D.
    power, rate, furthest : float
        The kernel 2^(rate u^power), power at most 2, and the largest u^power.
    p, g, e, t : arrays of shape (m, 1 + d), (m, k), (m, 1 + d), (m,)
        As in `WeightCotangent`, but the negative of e.
    key_columns, values, weights : arrays of shape (s, 1 + d, j), (s, k, j), (s, j)
        (1, x), y and w of the keys, in blocks.
    sums, column_sums : arrays of shape (m, 1 + d), (s, j)
    """
    block = row_length(keys)
    flat_tile = tile.reshape(4 * block)
    is_line = np.any(p[:, 1:] != 0.0) or np.any(e[:, 1:] != 0.0)
    slopes = np.empty(4 * block if power != 2.0 else 0)
    for s in range(keys.shape[0]):
        x = key_columns[s, 1:]
        for i in range(0, queries.shape[0], 4):
            if once and own[i] >= (s + 1) * block:
                continue
            squared_distances(tile, queries[i : i + 4], start[i : i + 4], keys[s], key_start[s], products)
            if power != 2.0:
                _inverse_powers(slopes, flat_tile, 0.5 * power - 1.0)
                powers(flat_tile, power)
            _relative_weights(tile, shift[i : i + 4], rate, furthest)
            if power != 2.0:
                _multiply(flat_tile, slopes)
            for r in range(4):
                j = own[i + r] - s * block
                if 0 <= j < block:
                    tile[r, 0 if once else j : j + 1] = 0.0
            _fill(first, p[i : i + 4])
            _fill(second, e[i : i + 4])
            _add_linear_form(second, g[i : i + 4], values[s])
            if is_line:
                _add_linear_form(first, p[i : i + 4, 1:], x)
                _add_linear_form(second, e[i : i + 4, 1:], x)
            _pull(tile, first, second, t[i : i + 4], weights[s], column_sums[s])
            accumulate(sums[i : i + 4], tile, key_columns[s])
