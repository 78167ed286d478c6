"""The compiled loops of kernels exp(-rate u^power) over a tree of blocks: near blocks, nearest first.

What a query has summed so far says which blocks are still near: those whose keys together could change it.
"""

import numpy as np

from sknw._kernel_sums.numba import REORDERED, compiled, exp2, inner, max, min, wide_vectors
from sknw._kernel_sums.row_loops import exponentials, powers, smallest_of
from sknw._kernel_sums.tree.constants import BLOCK
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

# No sum is taken to be smaller, for its logarithm.
_SMALLEST_SUM = 1e-300
# Squared distances are computed in several ways, which agree to this part.
_ROUNDING = 1e-12


@inner()
def _gap(lower, upper, node, low, high):
    """The squared distance of the box of a node from another box."""
    gap = 0.0
    for k in range(low.size):
        beyond = max(max(lower[node, k] - high[k], low[k] - upper[node, k]), 0.0)
        gap += beyond * beyond
    return gap


@inner()
def _push_children(stack, gaps, n_nodes, node, first, last, keys, low, high):
    """Both children of a node of keys, the one nearer to the box of queries on top."""
    r = (last - first) // 2
    left, right = _gap(keys[1], keys[2], node + 1, low, high), _gap(keys[1], keys[2], node + 2 * r, low, high)
    if left < right:
        gaps[n_nodes], gaps[n_nodes + 1] = right, left
        n_nodes = push(stack, n_nodes, node + 2 * r, first + r, last)
        return push(stack, n_nodes, node + 1, first, first + r)
    gaps[n_nodes], gaps[n_nodes + 1] = left, right
    n_nodes = push(stack, n_nodes, node + 1, first, first + r)
    return push(stack, n_nodes, node + 2 * r, first + r, last)


@inner(in_place=True)
def next_leaf(stack, gaps, n_nodes, furthest, keys, low, high):
    """The next block of keys on the stack that is near, the nearest first, -1 if there is none; and the nodes left.

    Near are boxes with a squared distance of at most `furthest` from the box of queries, low to high.
    """
    while n_nodes:
        n_nodes -= 1
        if gaps[n_nodes] > furthest:
            continue
        node, first, last = stack[n_nodes, 0], stack[n_nodes, 1], stack[n_nodes, 2]
        if last - first == 1:
            return first, n_nodes
        n_nodes = _push_children(stack, gaps, n_nodes, node, first, last, keys, low, high)
    return np.int64(-1), n_nodes


@inner()
def _subtract(row, shift):
    """What a row is more than `shift`, its smallest number but for rounding."""
    wide_vectors()
    for j in range(row.size):
        row[j] = max(row[j] - shift, 0.0)


@inner(REORDERED)
def _add_two_sums(sums, near, tile, rate, furthest, columns):
    """`exponentials` and `add_products` in one, for two columns: one output, the case to be fastest at."""
    wide_vectors()
    column0, column1 = columns[0], columns[1]
    for r in range(near.size):
        row, a0, a1 = tile[r], 0.0, 0.0
        for j in range(BLOCK):
            weight = exp2(min(row[j], furthest), rate)
            a0 += weight * column0[j]
            a1 += weight * column1[j]
        sums[near[r], 0] += a0
        sums[near[r], 1] += a1


@inner()
def squared_reach(distance, power):
    """u^2 from u^power, zero if that is negative, and a little more: rounding must not leave out the nearest key."""
    distance = max(distance, 0.0)
    if power == 1.0:
        distance *= distance
    elif power != 2.0:
        distance **= 2.0 / power
    return (1.0 + _ROUNDING) * distance


@inner()
def _set_reach(reach, reaches, sums, shift, rates, log_share, per_square, smallest, power):
    """For each query the squared distance beyond which keys are skipped, by bandwidth and the largest; returns the max.

    2^(rate (u^power - shift)) max(per_square u^2, 1) is then below 2^`log_share` times the sum so far, or `smallest`:
    the square at most doubles by what it adds itself to the distance.
    """
    largest = 0.0
    for i in range(shift.size):
        reach[i] = 0.0
        for f in range(rates.size):
            log_sum = np.log2(max(sums[f, i, 0], smallest))
            reaches[f, i] = squared_reach(shift[i] + (log_sum + log_share) / rates[f], power)
            if per_square[f] > 0.0:
                log_square = np.log2(max(2.0 * per_square[f] * reaches[f, i], 1.0))
                reaches[f, i] = squared_reach(shift[i] + (log_sum + log_share - log_square) / rates[f], power)
            reach[i] = max(reach[i], reaches[f, i])
        largest = max(largest, reach[i])
    return largest


@compiled()
def add_exponential_sums(
    sums, nearest, queries, keys, columns, left_out, power, shift, rates, furthest, log_share, per_square, smallest,
    first, last,
):  # fmt: skip
    """sums[f, i, v] += sum_j K_f(query i, key j) columns[v, j] for the queries i of the blocks first <= s < last.

    K_f = 2^(rates[f] (u^power - shift[i])). Or, where there is no bandwidth, nearest[i] = min_j u^2: in the same
    function, which is then compiled once.

    Parameters
    ----------
    sums : array of shape (f, m, c)
        Of queries in the order of their tree.
    nearest : array of shape (m,)
        Infinite to begin with.
    queries, keys : tuples (blocks, lower, upper, leaf) of `build_tree`
    columns : array of shape (s, c, BLOCK)
        Of the keys, by block; the first are their weights.
    left_out : tuple of int64 arrays (own, ranges, order)
        As of `loops.leave_out`.
    shift : array of shape (m,)
    rates, furthest : arrays of shape (f,)
        For each bandwidth what multiplies u^power, and the largest u^power that the exponential can take.
    log_share : float
        The logarithm of the share of a sum that may be skipped, divided by the sum of all weights.
    per_square : array of shape (f,)
        What makes squares of distances that count beside the kernel, in bandwidths; zero where they do not count.
    smallest : float
        A sum below this is done again by the caller, so that all keys may be skipped that change it by less.
    """
    tile, weights = empty_tile(), empty_tile()
    flat_tile, flat_weights = tile.reshape(ROWS * BLOCK), weights.reshape(ROWS * BLOCK)
    near, gaps = np.empty(BLOCK, dtype=np.int64), np.empty(BLOCK)
    stack, gaps_of_nodes = np.empty((DEEPEST, 3), dtype=np.int64), np.empty(DEEPEST)
    reaches = np.empty((rates.size, BLOCK))
    bound = log_share, per_square, max(smallest, _SMALLEST_SUM)
    for block in range(first, last):
        node = queries[3][block]
        points, low, high = queries[0][block], queries[1][node], queries[2][node]
        start, stop = block * BLOCK, min((block + 1) * BLOCK, shift.size)
        here = sums[:, start:stop]
        reach = nearest[start:stop].copy()
        furthest_reach, n_leaves = np.inf, 0
        if rates.size:
            furthest_reach = _set_reach(reach, reaches, here, shift[start:stop], rates, *bound, power)
        gaps_of_nodes[0] = 0.0
        n_nodes = push(stack, np.int64(0), np.int64(0), np.int64(0), np.int64(len(keys[0])))
        while True:
            s, n_nodes = next_leaf(stack, gaps_of_nodes, n_nodes, furthest_reach, keys, low, high)
            if s < 0:
                break
            n_near = queries_in_reach(near, gaps, points, stop - start, keys, s, reach)
            for r in range(0, n_near, ROWS):
                some = near[r : min(r + ROWS, n_near)]
                set_squared_distances_quickly(tile, some, points, keys[0][s])
                leave_out(tile, np.inf, some, left_out, start, s * BLOCK)
                if rates.size == 0:
                    for a in range(some.size):
                        reach[some[a]] = min(reach[some[a]], smallest_of(tile[a]))
                    continue
                powers(flat_tile[: some.size * BLOCK], power)
                for a in range(some.size):
                    if shift[start + some[a]] != 0.0:
                        _subtract(tile[a], shift[start + some[a]])
                for f in range(rates.size):
                    is_near = False
                    for a in range(some.size):
                        is_near |= gaps[some[a]] <= reaches[f, some[a]]
                    if not is_near:
                        continue
                    if columns.shape[1] == 2:
                        _add_two_sums(here[f], some, tile, rates[f], furthest[f], columns[s])
                    else:
                        exponentials(flat_weights[: some.size * BLOCK], flat_tile, rates[f], furthest[f])
                        add_products(here[f], some, weights, columns[s])
            n_leaves += 1
            if n_leaves & (n_leaves - 1):  # reach changes little from one block to the next, and logarithms take time
                continue
            if rates.size:
                furthest_reach = _set_reach(reach, reaches, here, shift[start:stop], rates, *bound, power)
            else:
                furthest_reach = reach.max()
        if rates.size == 0:
            nearest[start:stop] = reach
