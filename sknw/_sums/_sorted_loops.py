"""The compiled loops of the sorted engine: sums over the keys left of each query.

Keys and queries are sorted. Columns (w, w V) are summed two at a time, so that their state stays in registers; the
number of its moments is part of the type of the tuple that holds them.

Nothing is subtracted. Left of a query a compact kernel is a function of the distance v = 1 - u from the left edge of
the window. The state of a set of keys is their moments about an anchor that none of them is left of,

    T_k = sum_j w_j t_j^k,    t_j = (x_j - anchor) / h >= 0,

for the cosine instead sum_j w_j sin(pi t_j / 2) and sum_j w_j cos(pi t_j / 2). With a the distance of the anchor from
the edge, in units of h, v_j = a + t_j, and the sum is sum_k T_k K^(k)(a) / k!. In v the kernels begin with v^exponent:
weights keep their relative accuracy where all of them are small, at the edge. An expansion in u would cancel there.
Rounding is amplified by 3^exponent at most, for the tricube by 7^3.

The window moves to the right and loses keys on its left, which must not be subtracted. It is split: keys from `split`
on are added on the right to a state anchored at `split`. Those below are added by a second pass through the queries,
from the last to the first, on the left, to a state whose anchor moves to the key just added; that shifts its moments
by non-negative binomials. A window that has left `split` behind is split anew, at its end: no key is added more than
twice.
"""

from __future__ import annotations

import math

import numpy as np
from numba.cpython.unsafe.tuple import tuple_setitem

from sknw._sums._compile import compiled

_FASTMATH = frozenset({"contract", "nsz"})
_HALF_PI = math.pi / 2
_KEYS_PER_BLOCK = 1024
# A product that is carried on ends here: with subnormal numbers each step would take a hundred times as long.
_NEGLIGIBLE = 1e-305


@compiled(_FASTMATH)
def _with_key(state, weight, t, is_cosine):
    """The state with one key more, at a distance t >= 0 from the anchor."""
    if is_cosine:
        last = len(state) - 1
        state = tuple_setitem(state, 0, state[0] + weight * math.sin(_HALF_PI * t))
        return tuple_setitem(state, last, state[last] + weight * math.cos(_HALF_PI * t))
    for k in range(len(state)):
        state = tuple_setitem(state, k, state[k] + weight)
        weight *= t
    return state


@compiled(_FASTMATH)
def _shifted(state, delta, is_cosine):
    """The state about an anchor that is delta >= 0 further left: T_k <- sum_j binomial(k, j) delta^(k - j) T_j."""
    degree = len(state) - 1
    if is_cosine:
        sine, cosine = math.sin(_HALF_PI * delta), math.cos(_HALF_PI * delta)
        first = state[0] * cosine + state[degree] * sine
        last = state[degree] * cosine - state[0] * sine
        return tuple_setitem(tuple_setitem(state, 0, first), degree, last)
    for lowest in range(1, degree + 1):
        # all k, not from `lowest` on: a loop of constant length is unrolled, which leaves the state in registers
        for k in range(degree, 0, -1):
            step = delta if k >= lowest else 0.0
            state = tuple_setitem(state, k, state[k] + step * state[k - 1])
    return state


@compiled(_FASTMATH)
def _taylor(zeros, a, power, exponent, is_cosine):
    """K^(k)(a) / k! of the kernel as a function of v, for the moments k of a state anchored at v = a."""
    degree = len(zeros) - 1
    u = 1.0 - a
    if is_cosine:
        series = tuple_setitem(zeros, 0, math.cos(_HALF_PI * a))
        return tuple_setitem(series, degree, math.sin(_HALF_PI * a))
    # 1 - (u - t)^power in powers of t
    if power == 1:
        b0, b1, b2, b3 = a, 1.0, 0.0, 0.0
    elif power == 2:
        b0, b1, b2, b3 = a * (1.0 + u), 2.0 * u, -1.0, 0.0
    else:
        b0, b1, b2, b3 = a * (1.0 + u + u * u), 3.0 * u * u, -3.0 * u, 1.0
    series = tuple_setitem(zeros, 0, 1.0)
    for _ in range(exponent):
        for k in range(degree, -1, -1):
            term = b0 * series[k]
            if k >= 1:
                term += b1 * series[k - 1]
            if k >= 2:
                term += b2 * series[k - 2]
            if k >= 3:
                term += b3 * series[k - 3]
            series = tuple_setitem(series, k, term)
    return series


@compiled(_FASTMATH)
def _dot(state, series):
    """The sum over the keys of a state, from its `_taylor` series."""
    total = 0.0
    for k in range(len(state)):
        total += state[k] * series[k]
    return total


@compiled(_FASTMATH)
def compact_sums(sums, kernel, h, radius, keys, column0, column1, queries, end):
    """sums[r] = sum_j K((queries[r] - keys[j]) / h) (column0[j], column1[j]) over the keys j < end[r] within `radius`.

    Parameters
    ----------
    sums : array of shape (m, 2)
    kernel : tuple (zeros, power, exponent, is_cosine)
        The state without any key, and the kernel (1 - u^power)^exponent or the cosine.
    h, radius : float
        Bandwidth, and the largest distance with a positive weight.
    keys, column0, column1 : arrays of shape (n,), keys ascending
    queries, end : arrays of shape (m,), ascending
    """
    first, split = np.empty_like(end), np.empty_like(end)
    _set_sums_from_split(sums, first, split, kernel, h, radius, keys, column0, column1, queries, end)
    _add_sums_below_split(sums, first, split, kernel, h, keys, column0, column1, queries)


@compiled(_FASTMATH)
def _set_sums_from_split(sums, first, split, kernel, h, radius, keys, column0, column1, queries, end):
    """The sums over split[r] <= j < end[r], and the windows: keys first[r] <= j < end[r] are within `radius`."""
    zeros, power, exponent, is_cosine = kernel
    state0, state1 = zeros, zeros
    per_h = 1.0 / h
    left = middle = following = 0
    for r in range(queries.size):
        query = queries[r]
        while left < end[r] and query - keys[left] > radius:
            left += 1
        if left > middle or r == 0:
            middle = following = end[r]
            state0, state1 = zeros, zeros
        while following < end[r]:
            t = (keys[following] - keys[middle]) * per_h
            state0 = _with_key(state0, column0[following], t, is_cosine)
            state1 = _with_key(state1, column1[following], t, is_cosine)
            following += 1
        first[r], split[r] = left, middle
        if middle < following:
            series = _taylor(zeros, (h - (query - keys[middle])) * per_h, power, exponent, is_cosine)
            sums[r, 0], sums[r, 1] = _dot(state0, series), _dot(state1, series)
        else:
            sums[r, 0], sums[r, 1] = 0.0, 0.0


@compiled(_FASTMATH)
def _add_sums_below_split(sums, first, split, kernel, h, keys, column0, column1, queries):
    """The sums over first[r] <= j < split[r]."""
    zeros, power, exponent, is_cosine = kernel
    state0, state1 = zeros, zeros
    per_h = 1.0 / h
    left = middle = -1
    for r in range(queries.size - 1, -1, -1):
        if split[r] != middle:
            left = middle = split[r]
            state0, state1 = zeros, zeros
        while left > first[r]:
            left -= 1
            if left + 1 < middle and keys[left + 1] > keys[left]:
                delta = (keys[left + 1] - keys[left]) * per_h
                state0, state1 = _shifted(state0, delta, is_cosine), _shifted(state1, delta, is_cosine)
            state0 = _with_key(state0, column0[left], 0.0, is_cosine)
            state1 = _with_key(state1, column1[left], 0.0, is_cosine)
        if left < middle:
            series = _taylor(zeros, (h - (queries[r] - keys[left])) * per_h, power, exponent, is_cosine)
            sums[r, 0] += _dot(state0, series)
            sums[r, 1] += _dot(state1, series)


@compiled(_FASTMATH)
def exponential_sums(sums, rate, keys, column0, column1, end, beyond):
    """sums[r] = sum_j exp(-rate (keys[l] - keys[j] + beyond[r])) (column0[j], column1[j]) over j <= l = end[r] - 1.

    The sum carried along the keys is relative to the last of them, so that it cannot underflow. On a regular grid each
    step errs to the same side; the keys of the current block are therefore summed apart from those before it, which
    lets the error grow with the number of blocks.
    """
    following = last_before = 0
    since = 0.0  # exp(-rate distance) of the last key from the last one before its block
    block0 = block1 = before0 = before1 = 0.0
    for r in range(end.size):
        while following < end[r]:
            previous = max(following - 1, 0)
            if following % _KEYS_PER_BLOCK == 0:
                # not `since`, the product of as many roundings as there are keys in the block
                over_block = math.exp(-rate * (keys[previous] - keys[last_before]))
                before0, before1 = block0 + over_block * before0, block1 + over_block * before1
                block0 = block1 = 0.0
                since, last_before = 1.0, previous
            decay = math.exp(-rate * (keys[following] - keys[previous]))
            since = since * decay if since > _NEGLIGIBLE else 0.0
            block0, block1 = decay * block0 + column0[following], decay * block1 + column1[following]
            following += 1
        scale = math.exp(-rate * beyond[r])
        sums[r, 0], sums[r, 1] = scale * (block0 + since * before0), scale * (block1 + since * before1)


@compiled(_FASTMATH)
def join(sums, left, right, order):
    """sums[order[r], v] = left + right, arrays of shape (p, m, 2) with columns v in p pairs, the right one mirrored."""
    last = order.size - 1
    for r in range(order.size):
        for v in range(sums.shape[1]):
            sums[order[r], v] = left[v // 2, r, v % 2] + right[v // 2, last - r, v % 2]


@compiled(_FASTMATH)
def count_below(keys, queries):
    """How many keys are smaller than each query; both ascending."""
    counts = np.empty(queries.size, dtype=np.intp)
    count = 0
    for r in range(queries.size):
        while count < keys.size and keys[count] < queries[r]:
            count += 1
        counts[r] = count
    return counts
