"""The compiled loops of the tree of blocks of points: how it is built, and what is done with a pair of blocks.

Layout. A tree halves the points in the feature along which they spread most, until blocks of `BLOCK` points are left;
the last block may have fewer. Nodes are numbered depth first: a node that holds s blocks is followed by that of its
first r = s // 2 blocks, and the node of the others comes 2 r places after it. Blocks stand by feature, blocks[s, k, i]
= feature k of point i of block s, so that inner loops run over contiguous rows of a length that the compiler knows.

A tile is a few queries of one block against all keys of another.
"""

import numpy as np

from sknw._kernel_sums.numba import MULTIPLY_ADD, REORDERED, compiled, inner, max, min, wide_vectors
from sknw._kernel_sums.row_loops import put_in_range
from sknw._kernel_sums.tree.constants import BLOCK

# Queries of a tile, which then stays in the first-level cache.
ROWS = 16
# A tree of 2^60 blocks is not so deep.
DEEPEST = 64
# Squared distances to the edge of a compact kernel are rounded as NumPy rounds them, without multiply-adds, so that
# every engine has the same keys in reach.
AS_WRITTEN = frozenset({"nnan", "nsz"})


# The tree


@compiled()
def build_tree(order, blocks, lower, upper, leaf, points, permute):
    """Set the order of `points` by block, the blocks, the boxes of all nodes, and the node that each block is.

    Parameters
    ----------
    order : int64 array of shape (n,)
        0, 1, ..., n - 1 to begin with.
    blocks : array of shape (s, d, BLOCK)
        Infinite to begin with, as it stays behind the last point.
    lower, upper : arrays of shape (2 s - 1, d)
    leaf : int64 array of shape (s,)
    points : array of shape (n, d)
        Its rows are permuted too.
    permute : bool
        False: blocks are made of the points as they come, and a node of several blocks has no bounds.
    """
    n, d = points.shape
    stack = np.empty((DEEPEST, 3), dtype=np.int64)  # nodes to do, each with its first block and the one after its last
    n_nodes = push(stack, np.int64(0), np.int64(0), np.int64(0), np.int64(len(blocks)))
    while n_nodes:
        n_nodes -= 1
        node, first, last = stack[n_nodes, 0], stack[n_nodes, 1], stack[n_nodes, 2]
        start, stop = first * BLOCK, min(last * BLOCK, n)
        half = (last - first) // 2
        if half and not permute:
            for k in range(d):
                lower[node, k], upper[node, k] = -np.inf, np.inf
        else:
            widest = _set_box(lower[node], upper[node], points, start, stop)
        if half:
            if permute:
                _select(points, order, start, stop, start + half * BLOCK, widest)
            n_nodes = push(stack, n_nodes, node + 1, first, first + half)
            n_nodes = push(stack, n_nodes, node + 2 * half, first + half, last)
        else:
            leaf[first] = node
            for k in range(d):
                for i in range(stop - start):
                    blocks[first, k, i] = points[start + i, k]


@inner()
def push(stack, n_nodes, node, first, last):
    """One more node; number by number, for which numba need not compile the assignment of a row."""
    stack[n_nodes, 0], stack[n_nodes, 1], stack[n_nodes, 2] = node, first, last
    return n_nodes + 1


@inner()
def _set_box(lower, upper, points, start, stop):
    """The least and largest value of each feature; returns the feature in which they are furthest apart."""
    widest, spread = 0, -1.0
    for k in range(lower.size):
        low = high = points[start, k]
        for i in range(start + 1, stop):
            low, high = min(low, points[i, k]), max(high, points[i, k])
        lower[k], upper[k] = low, high
        if high - low > spread:
            widest, spread = k, high - low
    return widest


@inner()
def _select(points, order, start, stop, middle, k):
    """Permute start <= i < stop until feature k of no point before `middle` exceeds that of one from there on.

    C. A. R. Hoare, "Algorithm 65: Find", Communications of the ACM 4 (1961) 321-322.
    """
    first, last = start, stop - 1
    while first < last:
        a, b, c = points[first, k], points[(first + last) // 2, k], points[last, k]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = first, last
        while i <= j:
            while points[i, k] < pivot:
                i += 1
            while points[j, k] > pivot:
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                for feature in range(points.shape[1]):
                    points[i, feature], points[j, feature] = points[j, feature], points[i, feature]
                i += 1
                j -= 1
        if middle <= j:
            last = j
        elif middle >= i:
            first = i
        else:
            return


@inner(AS_WRITTEN)
def queries_in_reach(near, gaps, queries, n_queries, keys, s, reach):
    """The queries with a squared distance `gaps` from the block s of keys of at most their `reach`: near[:count]."""
    wide_vectors()
    low, high = keys[1][keys[3][s]], keys[2][keys[3][s]]
    for i in range(BLOCK):
        gaps[i] = 0.0
    for k in range(low.size):
        for i in range(BLOCK):
            beyond = max(max(low[k] - queries[k, i], queries[k, i] - high[k]), 0.0)
            gaps[i] += beyond * beyond
    count = 0
    for i in range(n_queries):
        near[count] = i
        count += gaps[i] <= reach[i]
    return count


# A tile


@inner()
def empty_tile():
    """Of shape (ROWS, BLOCK), from the start of a cache line: a vector across two lines takes up to twice the time."""
    memory = np.empty(ROWS * BLOCK + 8)
    first = (-memory.ctypes.data % 64) // 8
    return memory[first : first + ROWS * BLOCK].reshape(ROWS, BLOCK)


def _set_squared_distances(tile, near, queries, keys):
    """tile[r, j] = ||queries[:, near[r]] - keys[:, j]||^2."""
    wide_vectors()
    d = len(keys)
    for r in range(near.size):
        i = near[r]
        q0 = queries[0, i]
        for j in range(BLOCK):
            u0 = q0 - keys[0, j]
            tile[r, j] = u0 * u0
        n_single = 1 + (d - 1) % 4
        for k in range(1, n_single):
            q0 = queries[k, i]
            for j in range(BLOCK):
                u0 = q0 - keys[k, j]
                tile[r, j] += u0 * u0
        for k in range(n_single, d, 4):
            q0, q1, q2, q3 = queries[k, i], queries[k + 1, i], queries[k + 2, i], queries[k + 3, i]
            for j in range(BLOCK):
                u0, u1, u2, u3 = q0 - keys[k, j], q1 - keys[k + 1, j], q2 - keys[k + 2, j], q3 - keys[k + 3, j]
                tile[r, j] = tile[r, j] + u0 * u0 + u1 * u1 + u2 * u2 + u3 * u3


set_squared_distances = inner(AS_WRITTEN)(_set_squared_distances)
set_squared_distances_quickly = inner(MULTIPLY_ADD)(_set_squared_distances)


@inner()
def leave_out(tile, value, near, left_out, first_query, first_key):
    """Put a value at the keys left out of each query, in the block of keys that starts at `first_key`.

    Of `left_out` (own, ranges, order): int64 arrays of shapes (m,), (0 or m, 2), (n,). The place, in the keys' tree, of
    the one key left out of each query, -1 for none; or the numbers of the first key left out and of the one after the
    last; the numbers of the keys in the order of their tree.
    """
    own, ranges, order = left_out
    for r in range(near.size):
        i = first_query + near[r]
        if len(ranges):
            numbers = order[first_key : min(first_key + BLOCK, order.size)]
            put_in_range(tile[r], value, numbers, ranges[i, 0], ranges[i, 1])
        elif 0 <= own[i] - first_key < BLOCK:
            tile[r, own[i] - first_key] = value


@inner(REORDERED)
def add_products(sums, near, weights, columns):
    """sums[near[r], v] += sum_j weights[r, j] columns[v, j].

    Four rows and three columns at a time, so that a number that is read serves several products. Where fewer are left,
    the last one stands for those that are missing: the sums of a row do not depend on the rows beside it.
    """
    wide_vectors()
    n, c = near.size, len(columns)
    for r in range(0, n, 4):
        r1, r2, r3 = min(r + 1, n - 1), min(r + 2, n - 1), min(r + 3, n - 1)
        for v in range(0, c, 3):
            v1, v2 = min(v + 1, c - 1), min(v + 2, c - 1)
            x0 = x1 = x2 = x3 = y0 = y1 = y2 = y3 = z0 = z1 = z2 = z3 = 0.0
            for j in range(BLOCK):
                w0, w1, w2, w3 = weights[r, j], weights[r1, j], weights[r2, j], weights[r3, j]
                x, y, z = columns[v, j], columns[v1, j], columns[v2, j]
                x0 += w0 * x
                x1 += w1 * x
                x2 += w2 * x
                x3 += w3 * x
                y0 += w0 * y
                y1 += w1 * y
                y2 += w2 * y
                y3 += w3 * y
                z0 += w0 * z
                z1 += w1 * z
                z2 += w2 * z
                z3 += w3 * z
            for i, x, y, z in ((0, x0, y0, z0), (1, x1, y1, z1), (2, x2, y2, z2), (3, x3, y3, z3)):
                if r + i < n:
                    sums[near[r + i], v] += x
                    if v1 > v:
                        sums[near[r + i], v1] += y
                    if v2 > v1:
                        sums[near[r + i], v2] += z
