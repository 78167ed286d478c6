"""The compiled loops of `metric_gradient` over a tree of blocks: the pairs near enough for their weights to count."""

import numpy as np

from sknw._kernel_sums.numba import MULTIPLY_ADD, REORDERED, compiled, inner, max, min, wide_vectors
from sknw._kernel_sums.row_loops import exponentiate, inverse_powers, multiply, powers
from sknw._kernel_sums.tree.constants import BLOCK
from sknw._kernel_sums.tree.exponential_loops import next_leaf
from sknw._kernel_sums.tree.loops import (
    DEEPEST,
    ROWS,
    add_products,
    empty_tile,
    leave_out,
    push,
    queries_in_reach,
    set_squared_distances_quickly,
)


@inner(MULTIPLY_ADD)
def _set_linear_forms(rows, near, coefficients, columns):
    """rows[r, j] = sum_k coefficients[near[r], k] columns[k, j], of as many columns as coefficients."""
    wide_vectors()
    for r in range(near.size):
        of_row = coefficients[near[r]]
        for j in range(BLOCK):
            rows[r, j] = of_row[0] * columns[0, j]
        for k in range(1, of_row.size):
            for j in range(BLOCK):
                rows[r, j] += of_row[k] * columns[k, j]


@inner(REORDERED)
def _set_b(tile, near, first, second, t, weights, column_sums):
    """tile[r, j] *= (first[r, j] second[r, j] - t[near[r]]) weights[j]; column_sums[j] += sum_r tile[r, j]."""
    wide_vectors()
    for r in range(near.size):
        taken = t[near[r]]
        for j in range(BLOCK):
            tile[r, j] *= (first[r, j] * second[r, j] - taken) * weights[j]
            column_sums[j] += tile[r, j]


@compiled()
def add_metric_sums(
    sums, column_sums, queries, keys, p, s, t, x, y, weights, left_out, reach, shift, power, rate, furthest, first, last
):
    """sums[i] += sum_j B_ij (1, x_j), column_sums[j] += sum_i B_ij, up to the factor of u^(power - 2) in K'.

    B_ij = (p_i'(1, x_j) s_i'(1, y_j) - t_i) w_j K_ij, for the queries of the blocks first <= s < last.

    Parameters
    ----------
    sums, column_sums : arrays of shape (m, 1 + d), (s, BLOCK)
        Of queries and keys in the order of their trees, as all that follows.
    queries, keys : tuples (blocks, lower, upper, leaf) of `build_tree`
    p, s, t : arrays of shape (m, 1 + d) or (m, 1), (m, 1 + k), (m,)
    x, y, weights : arrays of shape (s, 1 + d, BLOCK), (s, 1 + k, BLOCK), (s, 1, BLOCK)
        (1, x_j), (1, y_j) and w_j of the keys, by block.
    left_out : tuple of int64 arrays (own, ranges, order)
        As of `loops.leave_out`.
    reach : array of shape (m,)
        The squared distance beyond which keys are skipped.
    shift : array of shape (m,)
        Subtracted from u^power, so that weights are K / D.
    power, rate, furthest : float
        The kernel 2^(rate u^power), power at most 2, and the largest u^power.
    """
    tile, slopes = empty_tile(), empty_tile()
    one, two = empty_tile(), empty_tile()
    flat_tile, flat_slopes = tile.reshape(ROWS * BLOCK), slopes.reshape(ROWS * BLOCK)
    near, gaps, reach_of_block = np.empty(BLOCK, dtype=np.int64), np.empty(BLOCK), np.empty(BLOCK)
    stack, gaps_of_nodes = np.empty((DEEPEST, 3), dtype=np.int64), np.empty(DEEPEST)
    for block in range(first, last):
        node = queries[3][block]
        points, low, high = queries[0][block], queries[1][node], queries[2][node]
        start, stop = block * BLOCK, min((block + 1) * BLOCK, t.size)
        furthest_reach = 0.0
        for i in range(stop - start):
            reach_of_block[i] = reach[start + i]
            furthest_reach = max(furthest_reach, reach[start + i])
        gaps_of_nodes[0] = 0.0
        n_nodes = push(stack, np.int64(0), np.int64(0), np.int64(0), np.int64(len(keys[0])))
        while True:
            b, n_nodes = next_leaf(stack, gaps_of_nodes, n_nodes, furthest_reach, keys, low, high)
            if b < 0:
                break
            n_near = queries_in_reach(near, gaps, points, stop - start, keys, b, reach_of_block)
            for r in range(0, n_near, ROWS):
                some = near[r : min(r + ROWS, n_near)]
                n = some.size * BLOCK
                set_squared_distances_quickly(tile, some, points, keys[0][b])
                if power != 2.0:
                    inverse_powers(flat_slopes[:n], flat_tile[:n], power)
                    powers(flat_tile[:n], power)
                for a in range(some.size):
                    exponentiate(tile[a], shift[start + some[a]], rate, furthest)
                if power != 2.0:
                    multiply(flat_tile[:n], flat_slopes)
                leave_out(tile, 0.0, some, left_out, start, b * BLOCK)
                _set_linear_forms(one, some, p[start:stop], x[b])
                _set_linear_forms(two, some, s[start:stop], y[b])
                _set_b(tile, some, one, two, t[start:stop], weights[b, 0], column_sums[b])
                add_products(sums[start:stop], some, tile, x[b])
