"""Compiled loops of kriging on the nearest keys: the search in a tree of blocks, and the small systems of equations.

Keys, and the system's matrices, stand by feature and in rows of a length that is a multiple of the width of a vector,
so that the terms of two points are the same to the last bit wherever these stand: ties are ties.
"""

import numpy as np

from sknw._kernel_sums.numba import MULTIPLY_ADD, REORDERED, compiled, inner, wide_vectors
from sknw._kernel_sums.tree.loops import BLOCK, build_tree
from sknw._kriging.covariance_loops import add_powers, exponentiate, set_log_squares

# What the search shares with the engine of trees.
__all__ = ["BLOCK", "build_tree", "find_neighbours", "solve_systems"]

# Rows of a panel of the Cholesky factor.
PANEL = 8
# Sums of terms are rounded by less, relative to themselves.
_ROUNDING = 1e-10
# A pivot of the matrix, or of the trend's, that is smaller, relative to the diagonal, says that the row depends on
# those before it.
_DEPENDENT, _DEPENDENT_TREND = 1e-13, 1e-9


# The search


@inner()
def _is_beyond(values, numbers, i, j):
    """Whether item i of a heap is further away than item j; of two at the same distance, the one of larger number."""
    return values[i] > values[j] or (values[i] == values[j] and numbers[i] > numbers[j])


@inner()
def _sift_down(values, numbers, top, size):
    """Put the item `top` of a heap, whose first item is the furthest, in its place."""
    while 2 * top + 1 < size:
        child = 2 * top + 1
        if child + 1 < size and _is_beyond(values, numbers, child + 1, child):
            child += 1
        if not _is_beyond(values, numbers, child, top):
            return
        values[top], values[child] = values[child], values[top]
        numbers[top], numbers[child] = numbers[child], numbers[top]
        top = child


@inner()
def _make_heap(values, numbers, size):
    for top in range(size // 2 - 1, -1, -1):
        _sift_down(values, numbers, np.int64(top), size)


@inner(MULTIPLY_ADD)
def _add_squares(sums, query, squared, n):
    """sums[j] += sum_c (query[c] - squared[c, j])^2 for j < n."""
    wide_vectors()
    for c in range(query.size):
        x, row = query[c], squared[c]
        for j in range(n):
            difference = x - row[j]
            sums[j] += difference * difference


@inner(MULTIPLY_ADD)
def _set_gaps(gaps, query, lower, upper, n):
    """gaps[c, s], how far the query is from box s in column c."""
    wide_vectors()
    for c in range(query.size):
        x, low, high, row = query[c], lower[c], upper[c], gaps[c]
        for s in range(n):
            row[s] = max(max(low[s] - x, x - high[s]), 0.0)


@inner(REORDERED)
def _smallest(sums):
    wide_vectors()
    smallest = sums[0]
    for j in range(BLOCK):
        smallest = min(smallest, sums[j])
    return smallest


@inner()
def _add_block(sums, logs, query, squared_query, powered, squared, starts, half_power, log_square, furthest):
    """The sums of terms of the keys of a block; False as soon as all of them exceed `furthest`."""
    sums[:] = 0.0
    _add_squares(sums, squared_query, squared, BLOCK)
    for k in range(half_power.size):
        set_log_squares(logs, query, powered, starts[k], starts[k + 1], log_square[k], BLOCK)
        add_powers(sums, logs, half_power[k], BLOCK)
        if _smallest(sums) > furthest:
            return False
    return True


@compiled()
def find_neighbours(found, n_found, queries, squared_queries, left_out, tree, terms):
    """found[i, :n_found[i]], ascending: the keys of each query's smallest sums of terms, of ties the first by rank.

    Parameters
    ----------
    found : int64 array of shape (m, k)
    n_found : int64 array of shape (m,)
        Less than k where less keys are left.
    queries, squared_queries : arrays of shape (m, c1), (m, c2)
    left_out : int64 array of shape (m, 2)
        The first key left out, and the one after the last.
    tree : tuple
        The keys by their ranks, (n,). Of blocks: the keys (s, BLOCK), -1 where there is none, and their ranks; the
        columns (s, c1, BLOCK), (s, c2, BLOCK); the least and the largest value of each column (c1, s), (c1, s), (c2,
        s), (c2, s).
    terms : tuple
        As of `Covariance.terms`.
    """
    of_rank, numbers, ranks, powered, squared, lower, upper, squared_lower, squared_upper = tree
    starts, half_power, log_square = terms
    k, n_blocks = found.shape[1], len(numbers)
    gaps, squared_gaps = np.empty(lower.shape), np.empty(squared_lower.shape)
    origin, squared_origin = np.zeros(len(lower)), np.zeros(len(squared_lower))
    bounds, blocks, sums, logs = np.empty(n_blocks), np.empty(n_blocks, np.int64), np.empty(BLOCK), np.empty(BLOCK)
    of_boxes, distances = np.empty(n_blocks), np.empty(k)
    for i in range(len(found)):
        heap, count = found[i], np.int64(0)
        # minus the distances of boxes: the heap's first is the nearest
        _set_gaps(gaps, queries[i], lower, upper, n_blocks)
        _set_gaps(squared_gaps, squared_queries[i], squared_lower, squared_upper, n_blocks)
        bounds[:] = 0.0
        _add_squares(bounds, squared_origin, squared_gaps, n_blocks)
        for t in range(half_power.size):
            set_log_squares(of_boxes, origin, gaps, starts[t], starts[t + 1], log_square[t], n_blocks)
            add_powers(bounds, of_boxes, half_power[t], n_blocks)
        for s in range(n_blocks):
            bounds[s], blocks[s] = -bounds[s] * (1.0 - _ROUNDING), s
        n_left = np.int64(n_blocks)
        _make_heap(bounds, blocks, n_left)
        while n_left:
            furthest = distances[0] if count == k else np.inf
            if -bounds[0] > furthest:
                break
            s = blocks[0]
            if _add_block(
                sums, logs, queries[i], squared_queries[i], powered[s], squared[s],
                starts, half_power, log_square, furthest,
            ):  # fmt: skip
                count = _keep_nearest(
                    distances, heap, count, sums, numbers[s], ranks[s], left_out[i, 0], left_out[i, 1]
                )
            n_left -= 1
            bounds[0], blocks[0] = bounds[n_left], blocks[n_left]
            _sift_down(bounds, blocks, np.int64(0), n_left)
        n_found[i] = count
        for c in range(count):
            distances[c], heap[c] = 0.0, of_rank[heap[c]]
        _make_heap(distances, heap, count)
        for last in range(count - 1, 0, -1):
            heap[0], heap[last] = heap[last], heap[0]
            _sift_down(distances, heap, np.int64(0), np.int64(last))


@inner()
def _keep_nearest(distances, heap, count, sums, numbers, ranks, first_left_out, last_left_out):
    """Take the ranks of those keys of a block into the heap that are nearer than its first; returns how many it has."""
    k = heap.size
    for j in range(BLOCK):
        number = numbers[j]
        if number < 0 or first_left_out <= number < last_left_out:
            continue
        if count < k:
            distances[count], heap[count] = sums[j], ranks[j]
            count += 1
            if count == k:
                _make_heap(distances, heap, count)
        elif sums[j] < distances[0] or (sums[j] == distances[0] and ranks[j] < heap[0]):
            distances[0], heap[0] = sums[j], ranks[j]
            _sift_down(distances, heap, np.int64(0), count)
    return count


# The systems of equations


@inner(MULTIPLY_ADD)
def _scale(row, factor, n):
    wide_vectors()
    for j in range(n):
        row[j] *= factor


@inner(MULTIPLY_ADD)
def _subtract(row, other, factor, n):
    wide_vectors()
    for j in range(n):
        row[j] -= factor * other[j]


@inner(MULTIPLY_ADD)
def _subtract_panel(a, b, panel, at_a, at_b, n):
    """Rows a and b less their parts along the eight rows of a panel, whose entries in their columns are the factors."""
    wide_vectors()
    r0, r1, r2, r3, r4, r5, r6, r7 = (
        panel[0], panel[1], panel[2], panel[3], panel[4], panel[5], panel[6], panel[7],
    )  # fmt: skip
    a0, a1, a2, a3, a4, a5, a6, a7 = (
        r0[at_a], r1[at_a], r2[at_a], r3[at_a], r4[at_a], r5[at_a], r6[at_a], r7[at_a],
    )  # fmt: skip
    b0, b1, b2, b3, b4, b5, b6, b7 = (
        r0[at_b], r1[at_b], r2[at_b], r3[at_b], r4[at_b], r5[at_b], r6[at_b], r7[at_b],
    )  # fmt: skip
    for j in range(n):
        x0, x1, x2, x3, x4, x5, x6, x7 = r0[j], r1[j], r2[j], r3[j], r4[j], r5[j], r6[j], r7[j]
        a[j] -= ((a0 * x0 + a1 * x1) + (a2 * x2 + a3 * x3)) + ((a4 * x4 + a5 * x5) + (a6 * x6 + a7 * x7))
        b[j] -= ((b0 * x0 + b1 * x1) + (b2 * x2 + b3 * x3)) + ((b4 * x4 + b5 * x5) + (b6 * x6 + b7 * x7))


@inner()
def factorise(A, inverse_diagonal, offset, tolerance):
    """The rows (R | G) of A become (L'^-1 R | L) with G = L'L, L lower triangular, from the last row to the first.

    A (n, offset + n) is read below the diagonal of G; n is a multiple of `PANEL`. The inverse of a diagonal element of
    L is 0 where it is at most sqrt(tolerance) of what it would be alone: then the row depends on later ones, and is
    left out.
    """
    n = len(A)
    for first in range(n - PANEL, -1, -PANEL):
        for r in range(first + PANEL - 1, first - 1, -1):
            row, pivot = A[r], A[r, offset + r]
            inverse = 1.0 / np.sqrt(pivot) if pivot > tolerance * inverse_diagonal[r] else 0.0
            inverse_diagonal[r] = inverse
            _scale(row, inverse, offset + r + 1)
            for s in range(first, r):
                _subtract(A[s], row, row[offset + s], offset + s + 1)
        panel = A[first : first + PANEL]
        for r in range(0, first, 2):
            _subtract_panel(A[r], A[r + 1], panel, offset + r, offset + r + 1, offset + r + 2)


@inner(REORDERED)
def _dot(a, b, n):
    wide_vectors()
    total = 0.0
    for j in range(n):
        total += a[j] * b[j]
    return total


@compiled()
def solve_systems(
    means, variances, solutions, betas, found, n_found, queries, squared_queries, trend_at_queries,
    powered, squared, columns, diagonal, amplitude, terms,
):  # fmt: skip
    """Kriging of each query on its neighbours.

        beta = (F'G^-1 F)^-1 F'G^-1 y,    mean = f'beta + c'G^-1 (y - F beta),
        u = f - F'G^-1 c,                 variance = a - c'G^-1 c + u'(F'G^-1 F)^-1 u,

    c = a kappa of query and neighbours, G the covariance of the neighbours with their noise, f and F the trends.

    Parameters
    ----------
    means, variances : arrays of shape (m, v), (m,)
    solutions, betas : arrays of shape (m, k, 1 + v), (m, q, v), or of no rows
        Of each query the weights G^-1 (c + F (F'G^-1 F)^-1 u) of its neighbours and the values G^-1 (y - F beta).
    found, n_found : int64 arrays of shape (m, k), (m,)
        The neighbours.
    queries, squared_queries, trend_at_queries : arrays of shape (m, c1), (m, c2), (m, q)
    powered, squared, columns : arrays of shape (n, c1), (n, c2), (n, q + v)
        The keys, and (F, y).
    diagonal : array of shape (n,)
        Of G: a + noise / omega.
    """
    starts, half_power, log_square = terms
    q, v = trend_at_queries.shape[1], means.shape[1]
    n = -(-found.shape[1] // PANEL) * PANEL
    offset = -(-(1 + q + v) // 4) * 4
    A, inverse_diagonal, logs = np.empty((n, offset + n)), np.empty(n), np.empty(n)
    sums, local, local_squared = np.empty(n), np.zeros((powered.shape[1], n)), np.zeros((squared.shape[1], n))
    width = -(-q // PANEL) * PANEL
    working = np.empty((1 + q + v, 1 + q + v)), np.empty((width, 4 * (1 + v // 4 + 1) + width)), np.empty(width)
    u = np.empty((1 + v, n))
    for i in range(len(found)):
        count, neighbours = n_found[i], found[i]
        size = -(-count // PANEL) * PANEL
        for j in range(count):
            for c in range(powered.shape[1]):
                local[c, j] = powered[neighbours[j], c]
            for c in range(squared.shape[1]):
                local_squared[c, j] = squared[neighbours[j], c]
        # c in row -1, then the rows of G with (c, F, y) before them
        for r in range(-1, count):
            sums[:size] = 0.0
            length = size if r < 0 else min(-(-r // PANEL) * PANEL, size)
            point = queries[i] if r < 0 else powered[neighbours[r]]
            _add_squares(sums, squared_queries[i] if r < 0 else squared[neighbours[r]], local_squared, length)
            for t in range(half_power.size):
                set_log_squares(logs, point, local, starts[t], starts[t + 1], log_square[t], length)
                add_powers(sums, logs, half_power[t], length)
            exponentiate(sums, length)
            if r < 0:
                for j in range(count):
                    A[j, 0] = amplitude * sums[j]
                continue
            row = A[r]
            for c in range(q + v):
                row[1 + c] = columns[neighbours[r], c]
            for c in range(1 + q + v, offset):
                row[c] = 0.0
            for j in range(r):
                row[offset + j] = amplitude * sums[j]
            row[offset + r] = inverse_diagonal[r] = diagonal[neighbours[r]]
        for r in range(count, size):
            A[r, :] = 0.0
            A[r, offset + r] = inverse_diagonal[r] = 1.0
        factorise(A[:size], inverse_diagonal, offset, _DEPENDENT)
        _finish(i, means, variances, betas, u, A[:size], trend_at_queries[i], working, amplitude)
        if len(solutions):
            # L x = u
            for column in range(1 + v):
                x = u[column]
                for r in range(size):
                    x[r] = (x[r] - _dot(A[r, offset:], x, r)) * inverse_diagonal[r]
                for r in range(count):
                    solutions[i, r, column] = x[r]


@inner()
def _finish(i, means, variances, betas, u, A, trend, working, amplitude):
    """Mean, variance and, where solutions are wanted, the right-hand sides of L x = u."""
    q, v, size = trend.size, means.shape[1], len(A)
    products, T, inverse_T = working
    products[:, :] = 0.0
    for r in range(size):
        for a in range(1 + q + v):
            for b in range(min(a + 1, 1 + q)):
                products[a, b] += A[r, a] * A[r, b]
    # columns: F'G^-1 y, then u; those of a factor with its own offset
    offset, n = v + 1, len(T)
    T[:, :] = 0.0
    for a in range(n):
        T[a, offset + a] = inverse_T[a] = 1.0
    for a in range(q):
        for b in range(v):
            T[a, b] = products[1 + q + b, 1 + a]
        T[a, v] = trend[a] - products[1 + a, 0]
        for b in range(a + 1):
            T[a, offset + b] = products[1 + a, 1 + b]
        inverse_T[a] = products[1 + a, 1 + a]
    factorise(T, inverse_T, offset, _DEPENDENT_TREND)
    variance = amplitude - products[0, 0]
    for a in range(q):
        variance += T[a, v] * T[a, v]
    variances[i] = max(variance, 0.0)
    for b in range(v):
        mean = products[1 + q + b, 0]
        for a in range(q):
            mean += T[a, b] * T[a, v]
        means[i, b] = mean
    if len(betas):
        for a in range(q):  # L x = T
            for b in range(v + 1):
                for c in range(a):
                    T[a, b] -= T[a, offset + c] * T[c, b]
                T[a, b] *= inverse_T[a]
        for r in range(size):
            for b in range(1 + v):
                sign, part = (1.0, A[r, 0]) if b == 0 else (-1.0, A[r, q + b])
                at = v if b == 0 else b - 1
                for a in range(q):
                    part += sign * A[r, 1 + a] * T[a, at]
                u[b, r] = part
        for a in range(q):
            for b in range(v):
                betas[i, a, b] = T[a, b]
