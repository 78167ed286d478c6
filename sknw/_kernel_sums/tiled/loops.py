"""The compiled loops of the fused engine: a tile is four queries against one block of keys.

Layout. Keys stand in blocks, keys[s, k, j] = feature k of key j of block s, so that every inner loop runs over one
contiguous row that the compiler turns into vector instructions. Four queries share each row that is read. The columns
(w, w V) of a block stand in the same way.
Most loops over a tile take two of its rows at a time, r and r + 1, up to the number of rows of an array. A compiler
that knew this number would write out each pass, and take longer. Products of four features take all four rows at once,
as their time is that of loading keys.
"""

import numpy as np
from numba import types
from numba.extending import intrinsic

from sknw._kernel_sums.numba import MULTIPLY_ADD, REORDERED, compiled, exp2, inner, max, min, wide_vectors
from sknw._kernel_sums.row_loops import exponentials, finish_compact, powers, subtract
from sknw.kernels import EDGE

# A row of a block of keys (one feature) has this many bytes: long enough to make little of the cost of starting a loop,
# short enough for a tile of four queries by one block to stay in the first-level cache.
ROW_BYTES = 4096
# Squarings in a row before an exponential is computed again.
MOST_SQUARINGS = 4


@intrinsic
def row_length(typingctx, array):
    """Keys in a block, known to the compiler: a loop whose length it knows needs no second one for a remainder."""
    length = ROW_BYTES * 8 // array.dtype.bitwidth
    return types.intp(array), lambda context, *_: context.get_constant(types.intp, length)


@inner(MULTIPLY_ADD)
def _set_difference(tile, queries, i, keys, key_start):
    """tile[r, j] = key_start[j] + (queries[i + r, 0] - keys[0, j])^2."""
    wide_vectors()
    for r in range(0, len(tile), 2):
        q0, q1 = queries[i + r, 0], queries[i + r + 1, 0]
        for j in range(row_length(keys)):
            u0, u1 = q0 - keys[0, j], q1 - keys[0, j]
            tile[r, j] = key_start[j] + u0 * u0
            tile[r + 1, j] = key_start[j] + u1 * u1


@inner(MULTIPLY_ADD)
def _add_difference(tile, queries, i, keys, k):
    """tile[r, j] += (queries[i + r, k] - keys[k, j])^2."""
    wide_vectors()
    for r in range(0, len(tile), 2):
        q0, q1 = queries[i + r, k], queries[i + r + 1, k]
        for j in range(row_length(keys)):
            u0, u1 = q0 - keys[k, j], q1 - keys[k, j]
            tile[r, j] += u0 * u0
            tile[r + 1, j] += u1 * u1


@inner(MULTIPLY_ADD)
def _add_two_differences(tile, queries, i, keys, k):
    """tile[r, j] += (queries[i + r, k] - keys[k, j])^2 + (queries[i + r, k + 1] - keys[k + 1, j])^2."""
    wide_vectors()
    for r in range(0, len(tile), 2):
        a0, a1 = queries[i + r, k], queries[i + r + 1, k]
        b0, b1 = queries[i + r, k + 1], queries[i + r + 1, k + 1]
        for j in range(row_length(keys)):
            u0, u1, v0, v1 = a0 - keys[k, j], a1 - keys[k, j], b0 - keys[k + 1, j], b1 - keys[k + 1, j]
            tile[r, j] = tile[r, j] + u0 * u0 + v0 * v0
            tile[r + 1, j] = tile[r + 1, j] + u1 * u1 + v1 * v1


@inner()
def _four_of(queries, i, k):
    """queries[i, k], ..., queries[i, k + 3]."""
    return queries[i, k], queries[i, k + 1], queries[i, k + 2], queries[i, k + 3]


@inner(MULTIPLY_ADD)
def _set_four_products(tile, queries, start, i, keys, key_start):
    """tile[r, j] = start[i + r] + key_start[j] + sum_l queries[i + r, l] keys[l, j], l = 0..3; four queries at once."""
    wide_vectors()
    k = np.int64(0)
    (a0, b0, c0, d0), (a1, b1, c1, d1) = _four_of(queries, i, k), _four_of(queries, i + 1, k)
    (a2, b2, c2, d2), (a3, b3, c3, d3) = _four_of(queries, i + 2, k), _four_of(queries, i + 3, k)
    s0, s1, s2, s3 = start[i], start[i + 1], start[i + 2], start[i + 3]
    for j in range(row_length(keys)):
        a, b, c, d, z = keys[0, j], keys[1, j], keys[2, j], keys[3, j], key_start[j]
        tile[0, j] = s0 + z + a0 * a + b0 * b + c0 * c + d0 * d
        tile[1, j] = s1 + z + a1 * a + b1 * b + c1 * c + d1 * d
        tile[2, j] = s2 + z + a2 * a + b2 * b + c2 * c + d2 * d
        tile[3, j] = s3 + z + a3 * a + b3 * b + c3 * c + d3 * d


@inner(MULTIPLY_ADD)
def add_four_products(tile, queries, i, keys, k):
    """tile[r, j] += sum_l queries[i + r, k + l] keys[k + l, j], l = 0..3: a quarter of the tile's loads and stores."""
    wide_vectors()
    (a0, b0, c0, d0), (a1, b1, c1, d1) = _four_of(queries, i, k), _four_of(queries, i + 1, k)
    (a2, b2, c2, d2), (a3, b3, c3, d3) = _four_of(queries, i + 2, k), _four_of(queries, i + 3, k)
    for j in range(row_length(keys)):
        a, b, c, d = keys[k, j], keys[k + 1, j], keys[k + 2, j], keys[k + 3, j]
        tile[0, j] = tile[0, j] + a0 * a + b0 * b + c0 * c + d0 * d
        tile[1, j] = tile[1, j] + a1 * a + b1 * b + c1 * c + d1 * d
        tile[2, j] = tile[2, j] + a2 * a + b2 * b + c2 * c + d2 * d
        tile[3, j] = tile[3, j] + a3 * a + b3 * b + c3 * c + d3 * d


@inner(MULTIPLY_ADD)
def add_product(tile, queries, i, keys, k):
    """tile[r, j] += queries[i + r, k] keys[k, j]."""
    wide_vectors()
    for r in range(0, len(tile), 2):
        q0, q1 = queries[i + r, k], queries[i + r + 1, k]
        for j in range(row_length(keys)):
            tile[r, j] += q0 * keys[k, j]
            tile[r + 1, j] += q1 * keys[k, j]


@inner()
def squared_distances(tile, queries, start, i, keys, key_start, products):
    """tile[r, j] = key_start[j] + ||queries[i + r] - keys[:, j]||^2.

    With `products` (four features or more) queries come multiplied by -2, their squared norms in `start`, the keys' in
    `key_start`, which is infinite for the keys that fill up a block. `products` is None where it cannot be True: the
    compiler then leaves products out.
    """
    d = keys.shape[0]
    if products is not None and products:
        _set_four_products(tile, queries, start, i, keys, key_start)
        for k in range(4, d - d % 4, 4):
            add_four_products(tile, queries, i, keys, k)
        for k in range(d - d % 4, d):
            add_product(tile, queries, i, keys, k)
    else:
        _set_difference(tile, queries, i, keys, key_start)
        for k in range(1, d - 1, 2):
            _add_two_differences(tile, queries, i, keys, k)
        if d % 2 == 0:
            _add_difference(tile, queries, i, keys, d - 1)


@inner(MULTIPLY_ADD)
def set_weights(weights, distances, rate, furthest, exponent, is_cosine):
    """The kernel, from u^power: 2^(rate u^power) or, with an exponent that is not None, (1 - rate u^power)^exponent.

    With exponent 0 it is one up to the edge and zero beyond. The compiler leaves out the other families of kernels.
    """
    wide_vectors()
    if exponent is None:
        exponentials(weights, distances, rate, furthest)
    else:
        zero, one, edge = weights.dtype.type(0.0), weights.dtype.type(1.0), weights.dtype.type(EDGE)
        if exponent == 0:
            for j in range(weights.size):
                weights[j] = one if rate * distances[j] <= edge else zero
        else:
            for j in range(weights.size):
                weights[j] = max(one - rate * distances[j], zero)
            finish_compact(weights, weights.size, exponent, is_cosine)


@inner()
def set_weights_of_any(weights, distances, rate, furthest, exponent, is_cosine):
    """As `set_weights`, with exponent -1 for the exponential: callers are compiled once for all kernels."""
    if exponent < 0:
        set_weights(weights, distances, rate, furthest, None, is_cosine)
    else:
        set_weights(weights, distances, rate, furthest, exponent, is_cosine)


@inner(REORDERED)
def accumulate(sums, i, weights, columns):
    """sums[i + r, v] += sum_j weights[r, j] columns[v, j], two columns at a time; the last may be a single one."""
    wide_vectors()
    zero = columns.dtype.type(0.0)
    for v in range(0, len(columns), 2):
        other = min(v + 1, len(columns) - 1)
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
        for j in range(row_length(columns)):
            x, y = columns[v, j], columns[other, j]
            a0 += weights[0, j] * x
            a1 += weights[1, j] * x
            a2 += weights[2, j] * x
            a3 += weights[3, j] * x
            b0 += weights[0, j] * y
            b1 += weights[1, j] * y
            b2 += weights[2, j] * y
            b3 += weights[3, j] * y
        for r, a, b in ((0, a0, b0), (1, a1, b1), (2, a2, b2), (3, a3, b3)):
            sums[i + r, v] += a
            if other > v:
                sums[i + r, other] += b


@inner(REORDERED)
def _add_exponential_sums(sums, i, tile, rate, furthest, columns):
    """`exponentials` and `accumulate` in one, for two columns: one output, the case to be fastest at."""
    wide_vectors()
    column0, column1 = columns[0], columns[1]
    for r in range(len(tile)):
        distances = tile[r]
        a0 = a1 = column0.dtype.type(0.0)
        for j in range(row_length(distances)):
            weight = exp2(min(distances[j], furthest), rate)
            a0 += weight * column0[j]
            a1 += weight * column1[j]
        sums[i + r, 0] += a0
        sums[i + r, 1] += a1


@inner(MULTIPLY_ADD)
def _square(weights, least):
    """max(weights, least)^2, in place: with a `least`, as subnormal numbers take long."""
    wide_vectors()
    for j in range(weights.size):
        weight = max(weights[j], least)
        weights[j] = weight * weight


@inner()
def weights_at(weights, distances, rates, furthest, f, left, most, exponent, is_cosine):
    """`set_weights` at rate f, given those at the rate before; returns how many squarings are left.

    The exponential at twice or four times a rate is its square, or the square of that: with at most as many squarings
    as are `left` of `most`, since each doubles the relative error of a weight.
    """
    for n in (1, 2):
        is_power = f > 0 and n <= left and abs(rates[f] - 2 * n * rates[f - 1]) <= 1e-15 * abs(rates[f])
        if exponent is None and is_power:
            for _ in range(n):
                _square(weights, np.sqrt(exp2(furthest[f], rates[f])))
            return left - n
    set_weights(weights, distances, rates[f], furthest[f], exponent, is_cosine)
    return most


@inner()
def leave_out(tile, left_out, i, first_key, value):
    """tile[r, j] = value for the keys left out of query i + r, left_out[i + r, 0] to before left_out[i + r, 1]."""
    for r in range(len(tile)):
        for j in range(max(left_out[i + r, 0] - first_key, 0), min(left_out[i + r, 1] - first_key, row_length(tile))):
            tile[r, j] = value


@compiled()
def add_sums(
    work, flat_work, queries, start, left_out, keys, key_start, columns, products, power, exponent, is_cosine, shift,
    rates, furthest, sums, smallest,
):  # fmt: skip
    """sums[f, i, v] += sum_j K_f(queries[i], keys[j]) columns[v, j] without the keys left out of each query.

    The exponential at twice or four times the rate before is computed by squaring. Where there is no bandwidth, it sets
    smallest[i] = min_j u^power instead: a function of its own would have to be compiled as well. Queries far from all
    keys, which have a shift, take the same way for the same reason. A function gets all queries and the number i of the
    first of the four, as slices take numba long.

    Parameters
    ----------
    work, flat_work : arrays of shape (2, 4, j), (2, 4 j)
        Working memory, and the same memory with the four rows of a tile as one.
    queries, start : arrays of shape (m, d), (m,); m a multiple of 4
        With `products` multiplied by -2, and their squared norms.
    left_out : int64 array of shape (m, 2)
        The first key left out, and the one after the last.
    keys, key_start, columns : arrays of shape (s, d, j), (s, j), (s, v, j)
        Blocks; `key_start` is infinite for the keys that fill up the last block.
    power, exponent, is_cosine
        The kernel, as of `set_weights`.
    shift : array of shape (m,)
        Subtracted from u^power: zero, or u^power of the nearest key. With the latter, a tile without keys nearer than
        `furthest` is left out.
    rates, furthest : arrays of shape (f,)
        For each bandwidth what multiplies u^power, and the largest u^power that the exponential can take.
    sums, smallest : float64 arrays of shapes (f, m, v), (m,)
    """
    block, tile, weights, flat_tile, flat_weights = row_length(keys), work[0], work[1], flat_work[0], flat_work[1]
    most = np.int64(MOST_SQUARINGS if work.itemsize == 8 else 1)
    for s in range(keys.shape[0]):
        for i in range(0, queries.shape[0], 4):
            squared_distances(tile, queries, start, i, keys[s], key_start[s], products)
            if power != 2.0:
                powers(flat_tile, power)
            leave_out(tile, left_out, i, s * block, np.inf)
            nearest = -np.inf
            if rates.size == 0 or shift[i] + shift[i + 1] + shift[i + 2] + shift[i + 3] > 0.0:
                nearest = np.inf
                for r in range(len(tile)):
                    least = subtract(tile[r], shift[i + r])
                    smallest[i + r], nearest = min(smallest[i + r], least), min(nearest, least)
            if exponent is None and rates.size == 1 and columns.shape[1] == 2:
                if nearest < furthest[0]:
                    _add_exponential_sums(sums[0], i, tile, rates[0], furthest[0], columns[s])
                continue
            left = most
            for f in range(rates.size):
                if nearest >= furthest[f]:
                    break
                left = weights_at(flat_weights, flat_tile, rates, furthest, f, left, most, exponent, is_cosine)
                accumulate(sums[f], i, weights, columns[s])
