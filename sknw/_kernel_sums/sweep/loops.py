"""The compiled loops of the sorted engine.

Keys and queries are sorted. `values` are the columns V after the first, which is 1, that of the mass.

Nothing is subtracted. On one side of a query a compact kernel is a function of the distance v = 1 - u from the edge of
the window. The state of a set of keys is their moments about an anchor that none of them is nearer to the edge than,

    T_k = sum_j w_j V_j t_j^k,    t_j = |x_j - anchor| / h >= 0,

for the cosine instead sum_j w_j V_j sin(pi t_j / 2) and sum_j w_j V_j cos(pi t_j / 2). With a the distance of the
anchor from the edge, in units of h, v_j = a + t_j, and the sum is sum_k T_k K^(k)(a) / k!. In v the kernels begin with
v^exponent: weights keep their relative accuracy where all of them are small, at the edge. An expansion in u would
cancel there. Rounding is amplified by 3^exponent at most, for the tricube by 7^3.

Keys come in blocks of as many, and blocks in cells no wider than the window on one side of a query. Of a query's
window, the block with the query and those at the edges are summed directly. Between, there are on either side the rest
of the query's cell, perhaps whole cells, and a part of one that ends at the block at the edge: states of all of these
are there for every block.

Lines need sums with the factors s and s^2, s = x_j - query, as well. There K is multiplied by (h u)^p = h^p (1 - v)^p,
a polynomial of p degrees more, with the same states.
"""

import math

import numpy as np

from sknw._kernel_sums.numba import MULTIPLY_ADD, REORDERED, compiled, inner, max, min, wide_vectors, with_item
from sknw._kernel_sums.row_loops import sine

_FASTMATH = frozenset({"contract", "nsz"})
_HALF_PI = math.pi / 2
# Keys of a block: two of the widest vectors.
BLOCK = 16
_KEYS_PER_BLOCK = 1024
# A product that is carried on ends here: with subnormal numbers each step would take a hundred times as long.
_NEGLIGIBLE = 1e-305


@inner(_FASTMATH)
def _shifted(state, delta, is_cosine):
    """The state about an anchor that is delta >= 0 further left: T_k <- sum_j binomial(k, j) delta^(k - j) T_j."""
    degree = len(state) - 1
    if is_cosine:
        sine, cosine = math.sin(_HALF_PI * delta), math.cos(_HALF_PI * delta)
        first = state[0] * cosine + state[degree] * sine
        last = state[degree] * cosine - state[0] * sine
        return with_item(with_item(state, 0, first), degree, last)
    for lowest in range(1, degree + 1):
        # all k, not from `lowest` on: a loop of constant length is unrolled, which leaves the state in registers
        for k in range(degree, 0, -1):
            step = delta if k >= lowest else 0.0
            state = with_item(state, k, state[k] + step * state[k - 1])
    return state


# Compact kernels: blocks and states


@inner(MULTIPLY_ADD)
def _fill(block, columns, to, b, keys, weights, values):
    """The keys of block b and their columns w, w V, from place `to` on; filled up with keys infinitely far."""
    first = b * BLOCK
    n = min(BLOCK, keys.size - first) if b >= 0 else 0
    for j in range(BLOCK):
        block[to + j] = keys[first + j] if j < n else np.inf
        columns[0, to + j] = weights[first + j] if j < n else 0.0
    for v in range(len(values)):
        for j in range(n):
            columns[v + 1, to + j] = weights[first + j] * values[v, first + j]
        for j in range(n, BLOCK):
            columns[v + 1, to + j] = 0.0


@inner(REORDERED)
def _moments(zeros, block, column, anchor, per_h, is_cosine):
    """The state of one block about an anchor at one of its ends."""
    wide_vectors()
    state = zeros
    last = len(zeros) - 1
    for j in range(BLOCK):
        weight = column[j]
        # the keys that fill up a block have no weight
        t = min(abs(block[j] - anchor) * per_h, 1.0)
        if is_cosine:
            state = with_item(state, 0, state[0] + weight * sine(t))
            state = with_item(state, last, state[last] + weight * sine(1.0 - t))
        else:
            for k in range(len(zeros)):
                state = with_item(state, k, state[k] + weight)
                weight *= t
    return state


@inner()
def _sum_of(state, other):
    for k in range(len(state)):
        state = with_item(state, k, state[k] + other[k])
    return state


@inner()
def _store(states, b, v, state):
    for k in range(len(state)):
        states[b, v, k] = state[k]


@inner()
def _load(zeros, states, b, v):
    state = zeros
    for k in range(len(zeros)):
        state = with_item(state, k, states[b, v, k])
    return state


@compiled()
def cells_of_blocks(keys, radius):
    """For each block the first block of its cell and the one after its last, (b + 1,); behind all, a cell of none."""
    n_blocks = -(-keys.size // BLOCK)
    begin, end = np.empty(n_blocks + 1, dtype=np.int64), np.empty(n_blocks + 1, dtype=np.int64)
    first = 0
    while first < n_blocks:
        stop = first + 1
        while stop < n_blocks and keys[min((stop + 1) * BLOCK, keys.size) - 1] - keys[first * BLOCK] <= radius:
            stop += 1
        for b in range(first, stop):
            begin[b], end[b] = first, stop
        first = stop
    begin[n_blocks], end[n_blocks] = n_blocks, n_blocks + 1
    return begin, end


@compiled(_FASTMATH)
def set_states(inner, outer, kernel, mirrored, per_h, keys, weights, values, begin, end):
    """The states for keys left of a query, or, `mirrored`, right of it.

    inner[b]: the blocks of b's cell before b, about the first key of the cell.
    outer[b]: the blocks of b's cell from b on, about the first key of b.

    Mirrored, "first" is "last", "before" is "behind", and "from b on" is "up to b".

    Parameters
    ----------
    inner, outer : arrays of shape (b + 1, 1 + k, degree + 1)
    kernel : tuple (zeros, powers, exponents, line)
        The state without any key, and tuples as long as the numbers in (1 - u^power)^exponent; no powers: the cosine.
        `line` is as long as the highest power of s, 2 for lines, else 0. The compiler knows them for constants.
    mirrored : bool
    per_h : float
    keys, weights, values : arrays of shape (n,), (n,), (k, n)
    begin, end : arrays of shape (b + 1,), from `cells_of_blocks`
    """
    zeros, powers, _, _ = kernel
    is_cosine = len(powers) == 0
    n_blocks, c = len(begin) - 1, 1 + len(values)
    block, columns = np.empty(BLOCK), np.empty((c, BLOCK))
    for v in range(c):
        _store(inner, n_blocks, v, zeros)
        _store(outer, n_blocks, v, zeros)
    first = 0
    while first < n_blocks:
        stop = end[first]
        for step in range(stop - first):
            b = stop - 1 - step if mirrored else first + step
            _fill(block, columns, np.int64(0), b, keys, weights, values)
            anchor = _anchor(keys, b, mirrored)
            if step == 0:
                cell_anchor = anchor
                for v in range(c):
                    _store(inner, b, v, zeros)
            following = b - 1 if mirrored else b + 1
            delta = abs(anchor - cell_anchor) * per_h
            for v in range(c):
                state = _moments(zeros, block, columns[v], anchor, per_h, is_cosine)
                _store(outer, b, v, state)
                if step < stop - first - 1:
                    state = _sum_of(_load(zeros, inner, b, v), _shifted(state, delta, is_cosine))
                    _store(inner, following, v, state)
        for step in range(1, stop - first):
            b = first + step if mirrored else stop - 1 - step
            following = b - 1 if mirrored else b + 1
            delta = abs(_anchor(keys, following, mirrored) - _anchor(keys, b, mirrored)) * per_h
            for v in range(c):
                further = _shifted(_load(zeros, outer, following, v), delta, is_cosine)
                _store(outer, b, v, _sum_of(_load(zeros, outer, b, v), further))
        first = stop


@inner()
def _anchor(keys, b, mirrored):
    """The first key of a block, or the last."""
    return keys[min((b + 1) * BLOCK, keys.size) - 1] if mirrored else keys[b * BLOCK]


@inner(REORDERED)
def _direct(query, block, columns, v0, v1, left_out, h, per_h, radius, kernel):
    """sum_j K((query - block[j]) / h) (columns[v0, j], columns[v1, j]), but for the key j = left_out.

    For lines also the same sums times s = block[j] - query, and that of the first column times s^2.
    """
    wide_vectors()
    _, powers, exponents, line = kernel
    total0 = total1 = first0 = first1 = second0 = 0.0
    for j in range(3 * BLOCK):
        distance = abs(query - block[j])
        u, v = distance * per_h, (h - distance) * per_h
        if len(powers) == 0:
            base = sine(max(v, 0.0))
        elif len(powers) == 1:
            base = v
        elif len(powers) == 2:
            base = v * (1.0 + u)
        else:
            base = v * (1.0 + u + u * u)
        weight = 1.0
        for _ in range(len(exponents)):
            weight *= base
        near = (distance <= radius) & (j != left_out)
        weight = weight if near else 0.0
        total0 += weight * columns[v0, j]
        total1 += weight * columns[v1, j]
        if len(line) > 0:
            from_query = block[j] - query if near else 0.0
            weight *= from_query
            first0 += weight * columns[v0, j]
            first1 += weight * columns[v1, j]
            second0 += weight * from_query * columns[v0, j]
    return total0, total1, first0, first1, second0


@inner(_FASTMATH)
def _set_series(series, kernel, mirrored, states, b, stop, at, inside, per_h, keys, begin, end, terms):
    """The sum over all keys between the block at the edge and that of the query, as a function of a.

    series[v, i] a^i is summed by `_value`, a the distance from the edge of the window to the key that is returned.
    These are the keys of the cells from that of b up to that before `stop`, and of the cell of the block `at` up to it.
    """
    inner, outer = states[0], states[1]
    zeros, powers, _, _ = kernel
    is_cosine, n_columns = len(powers) == 0, outer.shape[1]
    anchor = cell_anchor = _anchor(keys, end[at] - 1 if mirrored else begin[at], mirrored) if inside else 0.0
    if (b < stop) != mirrored:
        anchor = _anchor(keys, b, mirrored)
    for v in range(n_columns):
        state, part = zeros, b
        while (part < stop) != mirrored:
            delta = abs(_anchor(keys, part, mirrored) - anchor) * per_h
            state = _sum_of(state, _shifted(_load(zeros, outer, part, v), delta, is_cosine))
            part = begin[part] - 1 if mirrored else end[part]
        if inside:
            delta = abs(cell_anchor - anchor) * per_h
            state = _sum_of(state, _shifted(_load(zeros, inner, at, v), delta, is_cosine))
        if is_cosine:
            for k in range(len(zeros)):
                series[v, k] = state[k]
        else:
            for q in range(v, len(series), n_columns):
                p = q // n_columns
                sign = -1.0 if p == 1 and not mirrored else 1.0
                for i in range(len(zeros)):
                    total = 0.0
                    for k in range(len(zeros) - i):
                        total += terms[p, i + k, k] * state[k]
                    series[q, i] = sign * total
    return anchor


@inner(_FASTMATH)
def _value(series, side, v, a, kernel):
    zeros, powers, _, _ = kernel
    last = len(zeros) - 1
    if len(powers) == 0:
        return series[side, v, 0] * sine(1.0 - a) + series[side, v, last] * sine(a)
    total = series[side, v, last]
    for i in range(last - 1, -1, -1):
        total = total * a + series[side, v, i]
    return total


@compiled(_FASTMATH)
def compact_sums(
    sums, first, kernel, h, radius, keys, weights, values, begin, end, states, terms, queries, place, is_own
):
    """sums[v, first + r] = sum_j K((queries[r] - keys[j]) / h) w_j V_jv over the keys within `radius`.

    For lines then the same with the factor s_j = keys[j] - queries[r], and that of the mass with the factor s_j^2.

    Parameters
    ----------
    sums : array of shape (1 + k, any), of lines (3 + 2 k, any)
        With the place of the first query; not a part of an array, which would be compiled apart and round otherwise.
    first : int
    kernel : tuple (zeros, powers, exponents, line), see `set_states`
    h, radius : float
        Bandwidth, and the largest distance with a positive weight.
    keys, weights, values : arrays of shape (n,), (n,), (k, n), keys ascending
    begin, end : arrays of `cells_of_blocks`
    states : array of shape (2, 2, b + 1, 1 + k, degree + 1)
        Those of `set_states`, left and right of a query.
    terms : array of shape (1 or 3, degree + 1, degree + 1)
        The numbers K^(m)(0) / m! binomial(m, k), [p, m, k], with K, times h^p (1 - v)^p, as a function of v.
    queries, place : arrays of shape (m,), ascending
        The queries and how many keys stand before each.
    is_own : bool array of shape (m,)
        Whether the key at its place is the query itself, which is left out.
    """
    zeros, _, _, line = kernel
    per_h, n_blocks, n_columns, c = 1.0 / h, len(begin) - 1, 1 + len(values), len(sums)
    series, anchors = np.empty((2, c, len(zeros))), np.empty(2)
    # what the sums on either side, and those at the edges and at the query, are at present made of
    made_of, filled = np.empty((2, 3), dtype=np.int64), np.empty(3, dtype=np.int64)
    for i in range(3):
        made_of[0, i] = made_of[1, i] = filled[i] = -2
    block, columns = np.empty(3 * BLOCK), np.empty((n_columns, 3 * BLOCK))
    left, right = bool(0), bool(1)  # not literals, for each of which the others would be compiled once more
    low = high = max(place[0] // BLOCK - 1, 0)
    while low > 0 and queries[0] - _anchor(keys, low - 1, right) <= radius:
        low -= 1
    while high >= 0 and _anchor(keys, high, left) - queries[0] > radius:
        high -= 1
    for r in range(queries.size):
        query = queries[r]
        at = place[r] // BLOCK if place[r] < keys.size else n_blocks
        while low < at and query - _anchor(keys, low, right) > radius:
            low += 1
        while high + 1 < n_blocks and _anchor(keys, high + 1, left) - query <= radius:
            high += 1
        inside = at < n_blocks and query >= keys[begin[at] * BLOCK]
        behind = end[at] if inside else at
        for side in range(2):
            edge = high if side else low
            if made_of[side, 0] != edge or made_of[side, 1] != at or made_of[side, 2] != inside:
                b, stop = (high - 1, behind) if side else (low + 1, begin[at])
                anchors[side] = _set_series(
                    series[side], kernel, side == 1, states[side], b, stop, at, inside, per_h, keys, begin, end, terms
                )
                made_of[side, 0], made_of[side, 1], made_of[side, 2] = edge, at, inside
        directly = (low if low < begin[at] else -1, at if inside else -1, high if high >= behind else -1)
        for i in range(3):
            if filled[i] != directly[i]:
                _fill(block, columns, i * BLOCK, directly[i], keys, weights, values)
                filled[i] = directly[i]
        left_out = BLOCK + place[r] - at * BLOCK if is_own[r] else -1
        # within [0, 1] wherever there are keys
        left_a = min(max((h - (query - anchors[0])) * per_h, 0.0), 1.0)
        right_a = min(max((h - (anchors[1] - query)) * per_h, 0.0), 1.0)
        for v in range(0, n_columns, 2):
            other = min(v + 1, n_columns - 1)
            total, total_of_other, moment, moment_of_other, second = _direct(
                query, block, columns, v, other, left_out, h, per_h, radius, kernel
            )
            for side in range(2):
                a = right_a if side else left_a
                total += _value(series, side, v, a, kernel)
                total_of_other += _value(series, side, other, a, kernel)
                if len(line) > 0:
                    moment += _value(series, side, n_columns + v, a, kernel)
                    moment_of_other += _value(series, side, n_columns + other, a, kernel)
                    if v == 0:
                        second += _value(series, side, 2 * n_columns, a, kernel)
            sums[other, first + r] = total_of_other
            sums[v, first + r] = total
            if len(line) > 0:
                sums[n_columns + other, first + r] = moment_of_other
                sums[n_columns + v, first + r] = moment
                if v == 0:
                    sums[2 * n_columns, first + r] = second


# The exponential


@compiled(_FASTMATH)
def far_shifts(shift, queries, keys, place, is_own, furthest):
    """shift[r] = the distance of the nearest key where it exceeds `furthest`, else zero; whether there is any such."""
    any_far = False
    for r in range(queries.size):
        nearest = np.inf
        if place[r] > 0:
            nearest = queries[r] - keys[place[r] - 1]
        behind = place[r] + 1 if is_own[r] else place[r]
        if behind < keys.size:
            nearest = min(nearest, keys[behind] - queries[r])
        far = furthest < nearest < np.inf
        shift[r] = nearest if far else 0.0
        any_far |= far
    return any_far


@compiled(_FASTMATH)
def add_exponential_sums(sums, mirrored, rate, keys, column0, column1, queries, place, is_own, shift):
    """sums[:, r] += sum_j exp(-rate (|queries[r] - keys[j]| - shift[r])) (column0[j], column1[j]).

    Over the keys j < place[r]; or, `mirrored`, those behind the query, from the last to the first.

    The sum carried along the keys is relative to the last of them, so that it cannot underflow. On a regular grid each
    step errs to the same side; the keys of the current block are therefore summed apart from those before it, which
    lets the error grow with the number of blocks.
    """
    n, m = keys.size, queries.size
    following = 0
    previous = last_before = keys[n - 1 if mirrored else 0]
    since = 0.0  # exp(-rate distance) of the last key from the last one before its block
    block0 = block1 = before0 = before1 = 0.0
    for step in range(m):
        r = m - 1 - step if mirrored else step
        count = place[r]
        if mirrored:
            count = n - place[r] - 1 if is_own[r] else n - place[r]
        while following < count:
            i = n - 1 - following if mirrored else following
            if following % _KEYS_PER_BLOCK == 0:
                # not `since`, the product of as many roundings as there are keys in the block
                over_block = math.exp(-rate * abs(previous - last_before))
                before0, before1 = block0 + over_block * before0, block1 + over_block * before1
                block0 = block1 = 0.0
                since, last_before = 1.0, previous
            decay = math.exp(-rate * abs(keys[i] - previous))
            since = since * decay if since > _NEGLIGIBLE else 0.0
            block0, block1 = decay * block0 + column0[i], decay * block1 + column1[i]
            previous = keys[i]
            following += 1
        if count > 0:
            scale = math.exp(-rate * (abs(queries[r] - previous) - shift[r]))
            sums[0, r] += scale * (block0 + since * before0)
            sums[1, r] += scale * (block1 + since * before1)
