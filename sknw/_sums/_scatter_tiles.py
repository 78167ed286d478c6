"""The compiled loops of `scatter`: tiles of four queries against one block of keys, as in `_tiles`."""

from __future__ import annotations

import numpy as np

from sknw._sums._compile import MULTIPLY_ADD, REORDERED, compiled, wide_vectors
from sknw._sums._tiles import (
    accumulate,
    add_four_products,
    add_product,
    exponentials,
    powers,
    row_length,
    squared_distances,
    subtract,
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
def _multiply(b, first, second, t, weights):
    """b[j] *= (first[j] second[j] - t) weights[j]."""
    wide_vectors()
    for j in range(row_length(b)):
        b[j] *= (first[j] * second[j] - t) * weights[j]


@compiled(MULTIPLY_ADD)
def _multiply_by(b, slopes):
    wide_vectors()
    for j in range(4 * row_length(b)):
        b[j] *= slopes[j]


@compiled(REORDERED)
def _add_rows(sums, tile):
    """sums[j] += sum_r tile[r, j]."""
    wide_vectors()
    t0, t1, t2, t3 = tile[0], tile[1], tile[2], tile[3]
    for j in range(row_length(sums)):
        sums[j] += (t0[j] + t1[j]) + (t2[j] + t3[j])


@compiled()
def add_scatter(
    b,
    tile,
    first,
    second,
    queries,
    start,
    own,
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
    b, tile, first, second : arrays of shape (4, j)
        Working memory.
    queries, start, own, keys, key_start, products
        As in `_tiles.add_sums`.
    shift : array of shape (m,)
        Subtracted from u^power, so that weights are K / D.
    power, rate, furthest : float
        The kernel 2^(rate u^power), power at most 2, and the largest u^power.
    p, g, e, t : arrays of shape (m, 1 + d), (m, k), (m, 1 + d), (m,)
        As in `Pull`, but the negative of e.
    key_columns, values, weights : arrays of shape (s, 1 + d, j), (s, k, j), (s, j)
        (1, x), y and w of the keys, in blocks.
    sums, column_sums : arrays of shape (m, 1 + d), (s, j)
    """
    block = row_length(keys)
    flat_b, flat_tile = b.reshape(4 * block), tile.reshape(4 * block)
    is_line = np.any(p[:, 1:] != 0.0) or np.any(e[:, 1:] != 0.0)
    slopes = np.empty(4 * block if power != 2.0 else 0)
    for s in range(keys.shape[0]):
        x = key_columns[s, 1:]
        for i in range(0, queries.shape[0], 4):
            squared_distances(tile, queries[i : i + 4], start[i : i + 4], keys[s], key_start[s], products)
            if power != 2.0:
                _inverse_powers(slopes, flat_tile, 0.5 * power - 1.0)
                powers(flat_tile, power)
            for r in range(4):
                subtract(tile[r], shift[i + r])
            exponentials(flat_b, flat_tile, rate, furthest)
            if power != 2.0:
                _multiply_by(flat_b, slopes)
            for r in range(4):
                j = own[i + r] - s * block
                if 0 <= j < block:
                    b[r, j] = 0.0
            _fill(first, p[i : i + 4])
            _fill(second, e[i : i + 4])
            _add_linear_form(second, g[i : i + 4], values[s])
            if is_line:
                _add_linear_form(first, p[i : i + 4, 1:], x)
                _add_linear_form(second, e[i : i + 4, 1:], x)
            for r in range(4):
                _multiply(b[r], first[r], second[r], t[i + r], weights[s])
            accumulate(sums[i : i + 4], b, key_columns[s])
            _add_rows(column_sums[s], b)
