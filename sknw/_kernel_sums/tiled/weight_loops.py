"""Compiled loops for the kernel weights themselves, or sums of some of them; layout and arguments as in `loops`."""

import numpy as np

from sknw._kernel_sums.numba import MULTIPLY_ADD, REORDERED, compiled, inner, max, wide_vectors
from sknw._kernel_sums.row_loops import powers, subtract
from sknw._kernel_sums.tiled.loops import accumulate, row_length, set_weights_of_any, squared_distances


@inner(REORDERED)
def largest_of(row):
    """The largest of numbers that are not negative."""
    wide_vectors()
    largest = 0.0
    for j in range(row.size):
        largest = max(largest, row[j])
    return largest


@inner(MULTIPLY_ADD)
def _write_product(row, weights, sample_weights):
    wide_vectors()
    for j in range(row_length(weights)):
        row[j] = weights[j] * sample_weights[j]


@inner()
def fill_with_weights(tile, weights, queries, start, shift, layout, kernel, s):
    """weights[r, j] = K(queries[r], key j of block s), relative to that at the distance `shift`.

    Parameters
    ----------
    tile, weights : arrays of shape (4, j)
        The first is working memory.
    queries, start, shift : arrays of shape (4, d), (4,), (4,)
    layout : (keys, key_start, columns, products)
    kernel : (power, exponent, is_cosine, rate, furthest)
        With exponent -1 the exponential.
    """
    keys, key_start, _, products = layout
    power, exponent, is_cosine, rate, furthest = kernel
    flat_tile, flat_weights = tile.reshape(4 * row_length(keys)), weights.reshape(4 * row_length(keys))
    squared_distances(tile, queries, start, np.int64(0), keys[s], key_start[s], products)
    if power != 2.0:
        powers(flat_tile, power)
    for r in range(4):
        if shift[r] != 0.0:
            subtract(tile[r], shift[r])
    set_weights_of_any(flat_weights, flat_tile, rate, furthest, exponent, is_cosine)


@compiled()
def write_weights(tile, weights, queries, start, shift, layout, kernel, rows):
    """rows[i, s, j] = K(queries[i], key j of block s) times the key's sample weight, columns[s, 0, j]."""
    columns = layout[2]
    for s in range(columns.shape[0]):
        for i in range(0, queries.shape[0], 4):
            four = slice(i, i + 4)
            fill_with_weights(tile, weights, queries[four], start[four], shift[four], layout, kernel, s)
            for r in range(4):
                _write_product(rows[i + r, s], weights[r], columns[s, 0])


@compiled()
def write_blocks(tile, weights, queries, start, shift, layout, kernel, blocks, rows):
    """rows[i, j] as of `write_weights`, for the one block blocks[i // 4] that each four queries look at."""
    columns = layout[2]
    for i in range(0, queries.shape[0], 4):
        four, s = slice(i, i + 4), blocks[i // 4]
        fill_with_weights(tile, weights, queries[four], start[four], shift[four], layout, kernel, s)
        for r in range(4):
            _write_product(rows[i + r], weights[r], columns[s, 0])


@compiled()
def add_block_sums(tile, weights, queries, start, shift, layout, kernel, sums, largest):
    """sums[i, s, v] += sum_j K(queries[i], key j of block s) columns[s, v, j]; largest[i, s] the largest of these K."""
    columns = layout[2]
    for s in range(columns.shape[0]):
        for i in range(0, queries.shape[0], 4):
            four = slice(i, i + 4)
            fill_with_weights(tile, weights, queries[four], start[four], shift[four], layout, kernel, s)
            accumulate(sums[:, s], i, weights, columns[s])
            for r in range(4):
                largest[i + r, s] = largest_of(weights[r])
