"""The compiled loops of compact kernels over a tree of blocks: the pairs of blocks in reach of each other."""

import numpy as np

from sknw._kernel_sums.numba import MULTIPLY_ADD, compiled, inner, max, min, wide_vectors
from sknw._kernel_sums.row_loops import finish_compact, sine
from sknw._kernel_sums.tree.constants import BLOCK
from sknw._kernel_sums.tree.loops import (
    DEEPEST,
    ROWS,
    add_products,
    empty_tile,
    leave_out,
    push,
    queries_in_reach,
    set_squared_distances,
)

# What is left of 1 - u^power at the edge, where rounding may leave nothing.
_SMALLEST_BASE = 2.0**-53


@inner(MULTIPLY_ADD)
def _set_weights(weights, sq, n, kernel, limit, rate):
    """K(sqrt(rate sq)) of the first n elements, zero where sq is above the limit and nowhere else."""
    wide_vectors()
    power, exponent, is_cosine, _ = kernel
    if exponent == 0:
        for j in range(n):
            weights[j] = 1.0 if sq[j] <= limit else 0.0
    elif power == 1:
        for j in range(n):
            weights[j] = max(1.0 - np.sqrt(rate * sq[j]), _SMALLEST_BASE) if sq[j] <= limit else 0.0
    elif power == 2:
        for j in range(n):
            weights[j] = max(1.0 - rate * sq[j], _SMALLEST_BASE) if sq[j] <= limit else 0.0
    else:
        for j in range(n):
            u2 = rate * sq[j]
            weights[j] = max(1.0 - u2 * np.sqrt(u2), _SMALLEST_BASE) if sq[j] <= limit else 0.0
    if exponent > 0:
        finish_compact(weights, n, exponent, is_cosine)


@inner(MULTIPLY_ADD)
def _set_slopes(weights, sq, n, kernel, limit, rate):
    """u^(power - 2) (1 - u^power)^(exponent) or sin(pi u / 2) / u, u = sqrt(rate sq), as `_set_weights`; 0 at u = 0."""
    wide_vectors()
    power, exponent, is_cosine, _ = kernel
    for j in range(n):
        u, inside = np.sqrt(rate * sq[j]), 0.0 < sq[j] <= limit
        if is_cosine:
            weights[j] = sine(u) / u if inside else 0.0
        elif power == 1:
            weights[j] = max(1.0 - u, 0.0) ** exponent / u if inside else 0.0
        else:
            weights[j] = u * max(1.0 - u * u * u, 0.0) ** exponent if inside else 0.0


# Pairs of blocks


@inner()
def _blocks_in_reach(found, keys, queries, block, reach):
    """The blocks of keys with a squared distance of at most `reach` from a block of queries: found[:count]."""
    _, lower, upper, _ = keys
    low, high = queries[1][queries[3][block]], queries[2][queries[3][block]]
    stack = np.empty((DEEPEST, 3), dtype=np.int64)
    n_nodes = push(stack, np.int64(0), np.int64(0), np.int64(0), np.int64(len(found)))
    count = 0
    while n_nodes:
        n_nodes -= 1
        node, first, last = stack[n_nodes, 0], stack[n_nodes, 1], stack[n_nodes, 2]
        gap = 0.0
        for k in range(low.size):
            beyond = max(max(lower[node, k] - high[k], low[k] - upper[node, k]), 0.0)
            gap += beyond * beyond
            if gap > reach:
                break
        if gap > reach:
            continue
        half = (last - first) // 2
        if half:
            n_nodes = push(stack, n_nodes, node + 1, first, first + half)
            n_nodes = push(stack, n_nodes, node + 2 * half, first + half, last)
        else:
            found[count] = first
            count += 1
    return count


@compiled()
def add_sums(sums, queries, keys, columns, left_out, kernel, limits, rates, first, last):
    """sums[f, i, v] += sum_j K_f(query i, key j) columns[v, j] for the queries i of the blocks first <= s < last.

    Parameters
    ----------
    sums : array of shape (f, m, c)
        Of queries in the order of their tree.
    queries, keys : tuples (blocks, lower, upper, leaf) of `build_tree`
    columns : array of shape (s, c, BLOCK)
        Of the keys, by block.
    left_out : tuple of int64 arrays (own, ranges, order)
        As of `loops.leave_out`.
    kernel : tuple (power, exponent, is_cosine, is_slope)
        (1 - u^power)^exponent, or with power and exponent 1 the cosine; or the slope, see `_set_slopes`.
    limits, rates : arrays of shape (f,), descending and ascending
        For each bandwidth the largest squared distance with a positive weight, and what multiplies it.
    """
    tile, weights = empty_tile(), empty_tile()
    flat_tile, flat_weights = tile.reshape(ROWS * BLOCK), weights.reshape(ROWS * BLOCK)
    found = np.empty(len(keys[0]), dtype=np.int64)
    near, gaps, reach = np.empty(BLOCK, dtype=np.int64), np.empty(BLOCK), np.full(BLOCK, limits[0])
    for block in range(first, last):
        points, start, stop = queries[0][block], block * BLOCK, min((block + 1) * BLOCK, sums.shape[1])
        for s in found[: _blocks_in_reach(found, keys, queries, block, limits[0])]:
            n_near = queries_in_reach(near, gaps, points, stop - start, keys, s, reach)
            for r in range(0, n_near, ROWS):
                some = near[r : min(r + ROWS, n_near)]
                set_squared_distances(tile, some, points, keys[0][s])
                nearest = np.inf
                for a in range(some.size):
                    nearest = min(nearest, gaps[some[a]])
                for f in range(limits.size):
                    if nearest > limits[f]:
                        break
                    if kernel[3]:
                        _set_slopes(flat_weights, flat_tile, some.size * BLOCK, kernel, limits[f], rates[f])
                    else:
                        _set_weights(flat_weights, flat_tile, some.size * BLOCK, kernel, limits[f], rates[f])
                    leave_out(weights, 0.0, some, left_out, start, s * BLOCK)
                    add_products(sums[f, start:stop], some, weights, columns[s])


@compiled()
def list_pairs(column, value, end, queries, keys, columns, left_out, kernel, limit, rate, first, last):
    """For each query i the keys j in reach, as column[e] = order[j], value[e] = K(query i, key j) columns[0, j].

    Parameters
    ----------
    column, value : arrays of shape (nnz,), int64 and float64
    end : int64 array of shape (m,)
        For each query the place of its first pair; it becomes the place after its last.
    queries, keys, columns, left_out, kernel, limit, rate, first, last
        As in `add_sums`, at one bandwidth.
    """
    order = left_out[2]
    tile, weights = empty_tile(), empty_tile()
    flat_tile, flat_weights = tile.reshape(ROWS * BLOCK), weights.reshape(ROWS * BLOCK)
    found = np.empty(len(keys[0]), dtype=np.int64)
    near, gaps, reach = np.empty(BLOCK, dtype=np.int64), np.empty(BLOCK), np.full(BLOCK, limit)
    for block in range(first, last):
        points, start, stop = queries[0][block], block * BLOCK, min((block + 1) * BLOCK, end.size)
        for s in found[: _blocks_in_reach(found, keys, queries, block, limit)]:
            n_near = queries_in_reach(near, gaps, points, stop - start, keys, s, reach)
            for r in range(0, n_near, ROWS):
                some = near[r : min(r + ROWS, n_near)]
                set_squared_distances(tile, some, points, keys[0][s])
                _set_weights(flat_weights, flat_tile, some.size * BLOCK, kernel, limit, rate)
                leave_out(weights, 0.0, some, left_out, start, s * BLOCK)
                for a in range(some.size):
                    e = end[start + some[a]]
                    for j in range(BLOCK):
                        if weights[a, j] > 0.0:
                            column[e], value[e] = order[s * BLOCK + j], weights[a, j] * columns[s, 0, j]
                            e += 1
                    end[start + some[a]] = e
