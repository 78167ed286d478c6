"""The compiled loops of the pruned engine: a tree of blocks of points, and the pairs of blocks in reach of each other.

Layout. A tree halves the points in the feature along which they spread most, until blocks of `BLOCK` points are left;
the last block may have fewer. Nodes are numbered depth first: a node that holds s blocks is followed by that of its
first r = s // 2 blocks, and the node of the others comes 2 r places after it. Blocks stand by feature, blocks[s, k, i]
= feature k of point i of block s, so that inner loops run over contiguous rows of a length that the compiler knows.

In the loops a tile is a few queries of one block against all keys of another.
"""

from __future__ import annotations

import numpy as np

from sknw._kernel_sums.numba import MULTIPLY_ADD, REORDERED, compiled, inner, wide_vectors
from sknw._kernel_sums.row_loops import finish_compact, put_in_range, sine
from sknw._kernel_sums.tree.constants import BLOCK

# Queries of a tile, which then stays in the first-level cache.
_ROWS = 16
# A tree of 2^60 blocks is not so deep.
_DEEPEST = 64
# What is left of 1 - u^power at the edge, where rounding may leave nothing.
_SMALLEST_BASE = 2.0**-53
# Squared distances are rounded as NumPy rounds them, without multiply-adds, so that every engine has the same keys in
# reach.
_AS_WRITTEN = frozenset({"nnan", "nsz"})


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
    stack = np.empty((_DEEPEST, 3), dtype=np.int64)  # nodes to do, each with its first block and the one after its last
    n_nodes = _push(stack, np.int64(0), np.int64(0), np.int64(0), np.int64(len(blocks)))
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
            n_nodes = _push(stack, n_nodes, node + 1, first, first + half)
            n_nodes = _push(stack, n_nodes, node + 2 * half, first + half, last)
        else:
            leaf[first] = node
            for k in range(d):
                for i in range(stop - start):
                    blocks[first, k, i] = points[start + i, k]


@inner()
def _push(stack, n_nodes, node, first, last):
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


@inner()
def _blocks_in_reach(found, keys, queries, block, reach):
    """The blocks of keys with a squared distance of at most `reach` from a block of queries: found[:count]."""
    _, lower, upper, _ = keys
    low, high = queries[1][queries[3][block]], queries[2][queries[3][block]]
    stack = np.empty((_DEEPEST, 3), dtype=np.int64)
    n_nodes = _push(stack, np.int64(0), np.int64(0), np.int64(0), np.int64(len(found)))
    count = 0
    while n_nodes:
        n_nodes -= 1
        node, first, last = stack[n_nodes, 0], stack[n_nodes, 1], stack[n_nodes, 2]
        gap = 0.0
        for k in range(low.size):
            beyond = max(lower[node, k] - high[k], low[k] - upper[node, k], 0.0)
            gap += beyond * beyond
            if gap > reach:
                break
        if gap > reach:
            continue
        half = (last - first) // 2
        if half:
            n_nodes = _push(stack, n_nodes, node + 1, first, first + half)
            n_nodes = _push(stack, n_nodes, node + 2 * half, first + half, last)
        else:
            found[count] = first
            count += 1
    return count


@inner(_AS_WRITTEN)
def _queries_in_reach(near, gaps, queries, n_queries, keys, s, reach):
    """The queries with a squared distance `gaps` of at most `reach` from the block s of keys: near[:count]."""
    wide_vectors()
    low, high = keys[1][keys[3][s]], keys[2][keys[3][s]]
    for i in range(BLOCK):
        gaps[i] = 0.0
    for k in range(low.size):
        for i in range(BLOCK):
            beyond = max(low[k] - queries[k, i], queries[k, i] - high[k], 0.0)
            gaps[i] += beyond * beyond
    count = 0
    for i in range(n_queries):
        near[count] = i
        count += gaps[i] <= reach
    return count


# A tile


@inner(_AS_WRITTEN)
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


@inner(REORDERED)
def _add_products(sums, near, weights, columns):
    """sums[near[r], v] += sum_j weights[r, j] columns[v, j]."""
    wide_vectors()
    for r in range(near.size):
        for v in range(len(columns)):
            total = 0.0
            for j in range(BLOCK):
                total += weights[r, j] * columns[v, j]
            sums[near[r], v] += total


@inner()
def _leave_out(weights, near, left_out, first_query, first_key):
    """No weight for the keys left out of each query in the block that starts at `first_key`; see `add_sums`."""
    own, ranges, order = left_out
    for r in range(near.size):
        i = first_query + near[r]
        if len(ranges):
            numbers = order[first_key : min(first_key + BLOCK, order.size)]
            put_in_range(weights[r], 0.0, numbers, ranges[i, 0], ranges[i, 1])
        elif 0 <= own[i] - first_key < BLOCK:
            weights[r, own[i] - first_key] = 0.0


# Pairs of blocks


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
    left_out : tuple of int64 arrays (own, ranges, order) of shapes (m,), (0 or m, 2), (n,)
        The place, in the keys' tree, of the one key left out of each query, -1 for none; or the numbers of the first
        key left out and of the one after the last; the numbers of the keys in the order of their tree.
    kernel : tuple (power, exponent, is_cosine, is_slope)
        (1 - u^power)^exponent, or with power and exponent 1 the cosine; or the slope, see `_set_slopes`.
    limits, rates : arrays of shape (f,), descending and ascending
        For each bandwidth the largest squared distance with a positive weight, and what multiplies it.
    """
    tile, weights = np.empty((_ROWS, BLOCK)), np.empty((_ROWS, BLOCK))
    flat_tile, flat_weights = tile.reshape(_ROWS * BLOCK), weights.reshape(_ROWS * BLOCK)
    found = np.empty(len(keys[0]), dtype=np.int64)
    near, gaps = np.empty(BLOCK, dtype=np.int64), np.empty(BLOCK)
    for block in range(first, last):
        points, start, stop = queries[0][block], block * BLOCK, min((block + 1) * BLOCK, sums.shape[1])
        for s in found[: _blocks_in_reach(found, keys, queries, block, limits[0])]:
            n_near = _queries_in_reach(near, gaps, points, stop - start, keys, s, limits[0])
            for r in range(0, n_near, _ROWS):
                some = near[r : min(r + _ROWS, n_near)]
                _set_squared_distances(tile, some, points, keys[0][s])
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
                    _leave_out(weights, some, left_out, start, s * BLOCK)
                    _add_products(sums[f, start:stop], some, weights, columns[s])


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
    tile, weights = np.empty((_ROWS, BLOCK)), np.empty((_ROWS, BLOCK))
    flat_tile, flat_weights = tile.reshape(_ROWS * BLOCK), weights.reshape(_ROWS * BLOCK)
    found = np.empty(len(keys[0]), dtype=np.int64)
    near, gaps = np.empty(BLOCK, dtype=np.int64), np.empty(BLOCK)
    for block in range(first, last):
        points, start, stop = queries[0][block], block * BLOCK, min((block + 1) * BLOCK, end.size)
        for s in found[: _blocks_in_reach(found, keys, queries, block, limit)]:
            n_near = _queries_in_reach(near, gaps, points, stop - start, keys, s, limit)
            for r in range(0, n_near, _ROWS):
                some = near[r : min(r + _ROWS, n_near)]
                _set_squared_distances(tile, some, points, keys[0][s])
                _set_weights(flat_weights, flat_tile, some.size * BLOCK, kernel, limit, rate)
                _leave_out(weights, some, left_out, start, s * BLOCK)
                for a in range(some.size):
                    e = end[start + some[a]]
                    for j in range(BLOCK):
                        if weights[a, j] > 0.0:
                            column[e], value[e] = order[s * BLOCK + j], weights[a, j] * columns[s, 0, j]
                            e += 1
                    end[start + some[a]] = e
