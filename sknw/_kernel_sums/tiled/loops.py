"""The compiled loops of the fused engine: a tile is four queries against one block of keys.

Layout. Keys stand in blocks, keys[s, k, j] = feature k of key j of block s, so that every inner loop runs over one
contiguous row that the compiler turns into vector instructions. Four queries share each row that is read. The columns
(w, w V) of a block stand in the same way.
In the loops t0..t3 are the tile's rows, one for each query.
"""

from __future__ import annotations

import numpy as np
from numba.extending import overload

from sknw._kernel_sums.numba import MULTIPLY_ADD, REORDERED, SINE, compiled, exp2, wide_vectors
from sknw.kernels import EDGE

EXPONENTIAL, POLYNOMIAL, COSINE = 0, 1, 2
KINDS = {"exponential": EXPONENTIAL, "polynomial": POLYNOMIAL, "cosine": COSINE}

# A row of a block of keys (one feature) has this many bytes: long enough to make little of the cost of starting a loop,
# short enough for a tile of four queries by one block to stay in the first-level cache.
ROW_BYTES = 4096


def row_length(array):
    """Keys in a block, known to the compiler: a loop whose length it knows needs no second one for a remainder."""


@overload(row_length)
def _row_length_of_type(array):
    length = ROW_BYTES * 8 // array.dtype.bitwidth
    return lambda array: length


@compiled(MULTIPLY_ADD)
def _first_difference(tile, queries, keys, key_start):
    """tile[r, j] = key_start[j] + (queries[r, 0] - keys[0, j])^2."""
    wide_vectors()
    t0, t1, t2, t3 = tile[0], tile[1], tile[2], tile[3]
    q0, q1, q2, q3 = queries[0, 0], queries[1, 0], queries[2, 0], queries[3, 0]
    z = keys[0]
    for j in range(row_length(z)):
        u0, u1, u2, u3 = q0 - z[j], q1 - z[j], q2 - z[j], q3 - z[j]
        t0[j] = key_start[j] + u0 * u0
        t1[j] = key_start[j] + u1 * u1
        t2[j] = key_start[j] + u2 * u2
        t3[j] = key_start[j] + u3 * u3


@compiled(MULTIPLY_ADD)
def _add_difference(tile, queries, keys, k):
    """tile[r, j] += (queries[r, k] - keys[k, j])^2."""
    wide_vectors()
    t0, t1, t2, t3 = tile[0], tile[1], tile[2], tile[3]
    q0, q1, q2, q3 = queries[0, k], queries[1, k], queries[2, k], queries[3, k]
    z = keys[k]
    for j in range(row_length(z)):
        u0, u1, u2, u3 = q0 - z[j], q1 - z[j], q2 - z[j], q3 - z[j]
        t0[j] += u0 * u0
        t1[j] += u1 * u1
        t2[j] += u2 * u2
        t3[j] += u3 * u3


@compiled(MULTIPLY_ADD)
def _add_two_differences(tile, queries, keys, k):
    """tile[r, j] += (queries[r, k] - keys[k, j])^2 + (queries[r, k + 1] - keys[k + 1, j])^2."""
    wide_vectors()
    t0, t1, t2, t3 = tile[0], tile[1], tile[2], tile[3]
    a0, a1, a2, a3 = queries[0, k], queries[1, k], queries[2, k], queries[3, k]
    b0, b1, b2, b3 = queries[0, k + 1], queries[1, k + 1], queries[2, k + 1], queries[3, k + 1]
    za, zb = keys[k], keys[k + 1]
    for j in range(row_length(za)):
        u0, u1, u2, u3 = a0 - za[j], a1 - za[j], a2 - za[j], a3 - za[j]
        v0, v1, v2, v3 = b0 - zb[j], b1 - zb[j], b2 - zb[j], b3 - zb[j]
        t0[j] = t0[j] + u0 * u0 + v0 * v0
        t1[j] = t1[j] + u1 * u1 + v1 * v1
        t2[j] = t2[j] + u2 * u2 + v2 * v2
        t3[j] = t3[j] + u3 * u3 + v3 * v3


@compiled(MULTIPLY_ADD)
def _first_four_products(tile, queries, start, keys, key_start):
    """tile[r, j] = start[r] + key_start[j] + sum_l queries[r, l] keys[l, j], l = 0..3."""
    wide_vectors()
    t0, t1, t2, t3 = tile[0], tile[1], tile[2], tile[3]
    s0, s1, s2, s3 = start[0], start[1], start[2], start[3]
    a0, a1, a2, a3 = queries[0, 0], queries[1, 0], queries[2, 0], queries[3, 0]
    b0, b1, b2, b3 = queries[0, 1], queries[1, 1], queries[2, 1], queries[3, 1]
    c0, c1, c2, c3 = queries[0, 2], queries[1, 2], queries[2, 2], queries[3, 2]
    d0, d1, d2, d3 = queries[0, 3], queries[1, 3], queries[2, 3], queries[3, 3]
    za, zb, zc, zd = keys[0], keys[1], keys[2], keys[3]
    for j in range(row_length(za)):
        a, b, c, d, z = za[j], zb[j], zc[j], zd[j], key_start[j]
        t0[j] = s0 + z + a0 * a + b0 * b + c0 * c + d0 * d
        t1[j] = s1 + z + a1 * a + b1 * b + c1 * c + d1 * d
        t2[j] = s2 + z + a2 * a + b2 * b + c2 * c + d2 * d
        t3[j] = s3 + z + a3 * a + b3 * b + c3 * c + d3 * d


@compiled(MULTIPLY_ADD)
def add_product(tile, queries, keys, k):
    """tile[r, j] += queries[r, k] keys[k, j]."""
    wide_vectors()
    t0, t1, t2, t3 = tile[0], tile[1], tile[2], tile[3]
    q0, q1, q2, q3 = queries[0, k], queries[1, k], queries[2, k], queries[3, k]
    z = keys[k]
    for j in range(row_length(z)):
        t0[j] += q0 * z[j]
        t1[j] += q1 * z[j]
        t2[j] += q2 * z[j]
        t3[j] += q3 * z[j]


@compiled(MULTIPLY_ADD)
def add_four_products(tile, queries, keys, k):
    """tile[r, j] += sum_l queries[r, k + l] keys[k + l, j], l = 0..3: a quarter of the tile's loads and stores."""
    wide_vectors()
    t0, t1, t2, t3 = tile[0], tile[1], tile[2], tile[3]
    a0, a1, a2, a3 = queries[0, k], queries[1, k], queries[2, k], queries[3, k]
    b0, b1, b2, b3 = queries[0, k + 1], queries[1, k + 1], queries[2, k + 1], queries[3, k + 1]
    c0, c1, c2, c3 = queries[0, k + 2], queries[1, k + 2], queries[2, k + 2], queries[3, k + 2]
    d0, d1, d2, d3 = queries[0, k + 3], queries[1, k + 3], queries[2, k + 3], queries[3, k + 3]
    za, zb, zc, zd = keys[k], keys[k + 1], keys[k + 2], keys[k + 3]
    for j in range(row_length(za)):
        a, b, c, d = za[j], zb[j], zc[j], zd[j]
        t0[j] = t0[j] + a0 * a + b0 * b + c0 * c + d0 * d
        t1[j] = t1[j] + a1 * a + b1 * b + c1 * c + d1 * d
        t2[j] = t2[j] + a2 * a + b2 * b + c2 * c + d2 * d
        t3[j] = t3[j] + a3 * a + b3 * b + c3 * c + d3 * d


@compiled()
def squared_distances(tile, queries, start, keys, key_start, products):
    """tile[r, j] = key_start[j] + ||queries[r] - keys[:, j]||^2.

    With `products` (four features or more) queries come multiplied by -2, their squared norms in `start`, the keys' in
    `key_start`, which is infinite for the keys that fill up a block.
    """
    d = keys.shape[0]
    if products:
        _first_four_products(tile, queries, start, keys, key_start)
        for k in range(4, d - d % 4, 4):
            add_four_products(tile, queries, keys, k)
        for k in range(d - d % 4, d):
            add_product(tile, queries, keys, k)
    else:
        _first_difference(tile, queries, keys, key_start)
        for k in range(1, d - 1, 2):
            _add_two_differences(tile, queries, keys, k)
        if d % 2 == 0:
            _add_difference(tile, queries, keys, d - 1)


@compiled(MULTIPLY_ADD)
def powers(distances, power):
    """u^power from u^2, in place."""
    wide_vectors()
    zero, half = distances.dtype.type(0.0), distances.dtype.type(0.5 * power)
    if power == 1.0:
        for j in range(4 * row_length(distances)):
            distances[j] = np.sqrt(max(distances[j], zero))
    elif power == 3.0:
        for j in range(4 * row_length(distances)):
            distances[j] *= np.sqrt(max(distances[j], zero))
    elif power != 2.0:
        for j in range(4 * row_length(distances)):
            distances[j] = max(distances[j], zero) ** half


@compiled(MULTIPLY_ADD)
def subtract(row, shift):
    wide_vectors()
    for j in range(row_length(row)):
        row[j] -= shift


@compiled()
def exponentials(weights, distances, rate, furthest):
    """2^(rate min(distance, furthest))."""
    wide_vectors()
    for j in range(4 * row_length(weights)):
        weights[j] = exp2(min(distances[j], furthest), rate)


@compiled(MULTIPLY_ADD)
def raise_to(weights, exponent):
    """weights^exponent in place, for an exponent of 1, 2, 3, 4 or 6."""
    wide_vectors()
    if exponent % 3 == 0:
        for j in range(4 * row_length(weights)):
            weights[j] *= weights[j] * weights[j]
    if exponent % 2 == 0:
        for j in range(4 * row_length(weights)):
            weights[j] *= weights[j]
    if exponent == 4:
        for j in range(4 * row_length(weights)):
            weights[j] *= weights[j]


@compiled(MULTIPLY_ADD)
def polynomials(weights, distances, rate, exponent):
    """max(1 - rate distance, 0)^exponent; with exponent 0 one up to the edge, zero beyond."""
    wide_vectors()
    zero, one, edge = weights.dtype.type(0.0), weights.dtype.type(1.0), weights.dtype.type(EDGE)
    if exponent == 0:
        for j in range(4 * row_length(weights)):
            weights[j] = one if rate * distances[j] <= edge else zero
        return
    for j in range(4 * row_length(weights)):
        weights[j] = max(one - rate * distances[j], zero)
    raise_to(weights, exponent)


@compiled(MULTIPLY_ADD)
def cosines(weights, distances, rate, exponent):
    """cos(pi u / 2)^exponent, by cos(pi u / 2) = sin(pi v / 2) with v = max(1 - rate distance, 0): exact also at the edge."""
    wide_vectors()
    zero, one = weights.dtype.type(0.0), weights.dtype.type(1.0)
    for j in range(4 * row_length(weights)):
        v = max(one - rate * distances[j], zero)
        x = v * v
        p = SINE[9]
        p = p * x + SINE[8]
        p = p * x + SINE[7]
        p = p * x + SINE[6]
        p = p * x + SINE[5]
        p = p * x + SINE[4]
        p = p * x + SINE[3]
        p = p * x + SINE[2]
        p = p * x + SINE[1]
        p = p * x + SINE[0]
        weights[j] = v * p
    raise_to(weights, exponent)


@compiled(REORDERED)
def accumulate(sums, weights, columns):
    """sums[r, v] += sum_j weights[r, j] columns[v, j], two columns at a time, for which weights are read once."""
    wide_vectors()
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    n = columns.shape[0]
    for v in range(0, n - 1, 2):
        x, y = columns[v], columns[v + 1]
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = x.dtype.type(0.0)
        for j in range(row_length(x)):
            a0 += w0[j] * x[j]
            a1 += w1[j] * x[j]
            a2 += w2[j] * x[j]
            a3 += w3[j] * x[j]
            b0 += w0[j] * y[j]
            b1 += w1[j] * y[j]
            b2 += w2[j] * y[j]
            b3 += w3[j] * y[j]
        for r, a, b in ((0, a0, b0), (1, a1, b1), (2, a2, b2), (3, a3, b3)):
            sums[r, v] += a
            sums[r, v + 1] += b
    if n % 2 == 1:
        x = columns[n - 1]
        a0 = a1 = a2 = a3 = x.dtype.type(0.0)
        for j in range(row_length(x)):
            a0 += w0[j] * x[j]
            a1 += w1[j] * x[j]
            a2 += w2[j] * x[j]
            a3 += w3[j] * x[j]
        for r, a in ((0, a0), (1, a1), (2, a2), (3, a3)):
            sums[r, n - 1] += a


@compiled(REORDERED)
def _smallest(row):
    wide_vectors()
    smallest = row[0]
    for j in range(row_length(row)):
        smallest = min(smallest, row[j])
    return smallest


@compiled(REORDERED)
def _add_exponential_sums(sums, tile, rate, furthest, columns):
    """`exponentials` and `accumulate` in one, for two columns: one output, the case to be fastest at."""
    wide_vectors()
    column0, column1 = columns[0], columns[1]
    for r in range(4):
        distances = tile[r]
        a0 = a1 = column0.dtype.type(0.0)
        for j in range(row_length(distances)):
            weight = exp2(min(distances[j], furthest), rate)
            a0 += weight * column0[j]
            a1 += weight * column1[j]
        sums[r, 0] += a0
        sums[r, 1] += a1


@compiled()
def _leave_own_out(tile, own, first_key):
    """An infinite distance to each query's own key, where it is in the block that starts at `first_key`."""
    for r in range(4):
        j = own[r] - first_key
        if 0 <= j < row_length(tile):
            tile[r, j] = np.inf


@compiled()
def add_sums(
    tile,
    weights,
    queries,
    start,
    own,
    keys,
    key_start,
    columns,
    products,
    power,
    shift,
    kind,
    exponent,
    rates,
    furthest,
    sums,
):
    """sums[f, i, v] += sum_j K_f(queries[i], keys[j]) columns[v, j] without each query's own key.

    Parameters
    ----------
    tile, weights : arrays of shape (4, j)
        Working memory.
    queries, start : arrays of shape (m, d), (m,); m a multiple of 4
        With `products` multiplied by -2, and their squared norms.
    own : int64 array of shape (m,)
        The key left out, -1 for none.
    keys, key_start, columns : arrays of shape (s, d, j), (s, j), (s, v, j)
        Blocks; `key_start` is infinite for the keys that fill up the last block.
    power, kind, exponent
        The kernel, a function of u^power.
    shift : array of shape (m,)
        Subtracted from u^power.
    rates, furthest : arrays of shape (f,)
        For each bandwidth what multiplies u^power, and the largest u^power that the exponential can take.
    sums : float64 array of shape (f, m, v)
    """
    block = row_length(keys)
    flat_tile, flat_weights = tile.reshape(4 * block), weights.reshape(4 * block)
    for s in range(keys.shape[0]):
        for i in range(0, queries.shape[0], 4):
            squared_distances(tile, queries[i : i + 4], start[i : i + 4], keys[s], key_start[s], products)
            if power != 2.0:
                powers(flat_tile, power)
            for r in range(4):
                if shift[i + r] != 0.0:
                    subtract(tile[r], shift[i + r])
            _leave_own_out(tile, own[i : i + 4], s * block)
            for f in range(rates.size):
                if kind == EXPONENTIAL and columns.shape[1] == 2:
                    _add_exponential_sums(sums[f, i : i + 4], tile, rates[f], furthest[f], columns[s])
                    continue
                if kind == EXPONENTIAL:
                    exponentials(flat_weights, flat_tile, rates[f], furthest[f])
                elif kind == POLYNOMIAL:
                    polynomials(flat_weights, flat_tile, rates[f], exponent)
                else:
                    cosines(flat_weights, flat_tile, rates[f], exponent)
                accumulate(sums[f, i : i + 4], weights, columns[s])


@compiled()
def nearest(tile, queries, start, own, keys, key_start, products, smallest):
    """smallest[i] = min_j ||queries[i] - keys[j]||^2 without each query's own key; arrays as in `add_sums`."""
    block = row_length(keys)
    for s in range(keys.shape[0]):
        for i in range(0, queries.shape[0], 4):
            squared_distances(tile, queries[i : i + 4], start[i : i + 4], keys[s], key_start[s], products)
            _leave_own_out(tile, own[i : i + 4], s * block)
            for r in range(4):
                smallest[i + r] = min(smallest[i + r], _smallest(tile[r]))
