"""The compiled loops that find single keys of kernels exp(-rate u^power) over a tree of blocks: the largest weights.

Weights are in logarithms to the base 2, rate (u^power - shift) + log2 w with a negative rate and a shift for each
query, so that none underflows and those of a far query, all of a similar size, keep their digits.
"""

import numpy as np

from sknw._kernel_sums.numba import compiled, exp2, inner, max, min
from sknw._kernel_sums.row_loops import powers
from sknw._kernel_sums.tree.constants import BLOCK
from sknw._kernel_sums.tree.exponential_loops import next_leaf, squared_reach
from sknw._kernel_sums.tree.loops import (
    DEEPEST,
    ROWS,
    empty_tile,
    leave_out,
    push,
    queries_in_reach,
    set_squared_distances_quickly,
)


@inner()
def _replace_smallest(heap, value):
    """A value takes the place of the smallest of a heap, heap[0]."""
    place, child = 0, 1
    while child < heap.size:
        if child + 1 < heap.size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[place] = heap[child]
        place, child = child, 2 * child + 1
    heap[place] = value


@inner()
def _set_reach(reach, least, shift, largest_weight, rate, power):
    """For each query the squared distance beyond which no weight reaches `least`; returns the largest of them."""
    furthest = 0.0
    for i in range(least.size):
        reach[i] = squared_reach(shift[i] + (least[i] - largest_weight) / rate, power)
        furthest = max(furthest, reach[i])
    return furthest


@compiled()
def visit_pairs(
    heaps, least, ends, column, value, queries, keys, weights, left_out, shift, power, rate, largest_weight, first, last
):
    """Find the largest weights of each query of the blocks first <= s < last, count or list those that are large.

    Parameters
    ----------
    heaps : array of shape (m, k)
        The k largest weights of each query, as a heap; minus infinity to begin with. With k = 0 others are listed.
    least : array of shape (m,)
        Of each query the smallest weight that is counted or listed; with `heaps`, heaps[:, 0].
    ends : int64 array of shape (m,)
        For each query the place of its first pair, which becomes that after its last.
    column, value : arrays of shape (nnz,), int64 and float64
        The pairs, as column[e] = order[j], value[e] = 2^(weight - least); without elements they are only counted.
    queries, keys : tuples (blocks, lower, upper, leaf) of `build_tree`
    weights : array of shape (s, 1, BLOCK)
        log2 w of the keys, by block.
    left_out : tuple of int64 arrays (own, ranges, order)
        As of `loops.leave_out`.
    shift : array of shape (m,)
        Zero, or the smallest u^power of a query.
    power, rate, largest_weight : float
        The kernel is 2^(rate u^power); the largest log2 w.
    """
    order, tile = left_out[2], empty_tile()
    flat_tile = tile.reshape(ROWS * BLOCK)
    near, gaps, reach = np.empty(BLOCK, dtype=np.int64), np.empty(BLOCK), np.empty(BLOCK)
    stack, gaps_of_nodes = np.empty((DEEPEST, 3), dtype=np.int64), np.empty(DEEPEST)
    searches = heaps.shape[1] > 0
    for block in range(first, last):
        node = queries[3][block]
        points, low, high = queries[0][block], queries[1][node], queries[2][node]
        start, stop = block * BLOCK, min((block + 1) * BLOCK, least.size)
        furthest = _set_reach(reach, least[start:stop], shift[start:stop], largest_weight, rate, power)
        n_leaves = 0
        gaps_of_nodes[0] = 0.0
        n_nodes = push(stack, np.int64(0), np.int64(0), np.int64(0), np.int64(len(keys[0])))
        while True:
            s, n_nodes = next_leaf(stack, gaps_of_nodes, n_nodes, furthest, keys, low, high)
            if s < 0:
                break
            n_near = queries_in_reach(near, gaps, points, stop - start, keys, s, reach)
            for r in range(0, n_near, ROWS):
                some = near[r : min(r + ROWS, n_near)]
                set_squared_distances_quickly(tile, some, points, keys[0][s])
                leave_out(tile, np.inf, some, left_out, start, s * BLOCK)
                powers(flat_tile[: some.size * BLOCK], power)
                n_keys = min(BLOCK, order.size - s * BLOCK)
                for a in range(some.size):
                    i = start + some[a]
                    for j in range(n_keys):
                        weight = rate * max(tile[a, j] - shift[i], 0.0) + weights[s, 0, j]
                        if searches:
                            if weight > least[i]:
                                _replace_smallest(heaps[i], weight)
                                least[i] = heaps[i, 0]
                        elif weight >= least[i]:
                            if column.size:
                                column[ends[i]], value[ends[i]] = order[s * BLOCK + j], exp2(weight - least[i], 1.0)
                            ends[i] += 1
            n_leaves += 1
            if searches and n_leaves & (n_leaves - 1) == 0:
                furthest = _set_reach(reach, least[start:stop], shift[start:stop], largest_weight, rate, power)
