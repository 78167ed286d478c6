"""The compiled loops of Gaussian sums over one feature: expansions where they pay, else windows around the queries.

Keys and queries are sorted.
"""

import numpy as np

from sknw._kernel_sums.fast_gauss.chebyshev_loops import add_products, evaluate_chunk, working_memory
from sknw._kernel_sums.fast_gauss.constants import P
from sknw._kernel_sums.fast_gauss.near_field_loops import FURTHEST, TILE, VECTOR, leave_ranges_out
from sknw._kernel_sums.line_loops import cell_of, end_of_cell, place_of
from sknw._kernel_sums.numba import REORDERED, compiled, exp2, inner, max, min, wide_vectors
from sknw._kernel_sums.row_loops import product

# Relative rounding: of distances from a query far out that differ by less, all keys have the same weight.
ROUNDING = 2.0**-52


@inner(REORDERED)
def _scaled(weights, column, n):
    """weights[j] *= column[j]; the sum of them."""
    wide_vectors()
    total = 0.0
    for j in range(n):
        weights[j] *= column[j]
        total += weights[j]
    return total


@inner(REORDERED)
def _times_differences(weights, keys, query, n):
    """weights[j] *= keys[j] - query; the sum of them."""
    wide_vectors()
    total = 0.0
    for j in range(n):
        weights[j] *= keys[j] - query
        total += weights[j]
    return total


@inner()
def _nearest(keys, query, place, i, left_out):
    """The index of the nearest of sorted keys, `place` of them below query i, not left out; -1 if there is none."""
    own, ranges, numbers = left_out
    left, right = place - 1, place
    left -= left == own[i]
    right += right == own[i]
    if len(ranges):
        while left >= 0 and ranges[i, 0] <= numbers[left] < ranges[i, 1]:
            left -= 1
        while right < len(keys) and ranges[i, 0] <= numbers[right] < ranges[i, 1]:
            right += 1
    if left < 0:
        return right if right < len(keys) else -1
    if right >= len(keys):
        return left
    return left + (right - left) * (keys[right] - query < query - keys[left])


@inner()
def _square_of_next(keys, query, nearest, own):
    """The square of the distance to the next key beside the nearest that is not `own`; infinite if there is none.

    This key may be one of a range that is left out: then others are further still.
    """
    left, right = nearest - 1, nearest + 1
    left -= left == own
    right += right == own
    square = (query - keys[left]) ** 2 if left >= 0 else np.inf
    return min((query - keys[right]) ** 2, square) if right < len(keys) else square


@inner()
def _exponentials(work, query, keys, own, shift, rate, furthest):
    """2^(rate min((query - key)^2 - shift, furthest)), zero of the own key; squares are rounded as the shift is."""
    wide_vectors()
    for j in range(len(keys)):
        weight = exp2(min((query - keys[j]) ** 2 - shift, furthest), rate)
        work[j] = 0.0 if j == own else weight


@inner(in_place=True)
def _window(keys, query, place, nearest, most_rise, guesses):
    """The keys first, ..., last - 1: at least all at distances x with x^2 <= a^2 + most_rise, a that of the nearest.

    These are a vector of keys around the query if it contains all of them. Otherwise both ends are searched for,
    starting from `guesses`, the ends for the query before, which are updated.
    """
    # x - a = (x^2 - a^2) / (x + a), on the side of the nearest added to its own coordinate: far out q - x and q - a
    # would round to the same number
    distance = abs(query - keys[nearest])
    further = most_rise / (np.sqrt(distance * distance + most_rise) + distance) + ROUNDING * distance
    low = min(keys[nearest], query - distance) - further
    high = max(keys[nearest], query + distance) + further
    first, last = max(place - VECTOR // 2, 0), min(place + VECTOR // 2, len(keys))
    if (first > 0 and keys[first] >= low) or (last < len(keys) and keys[last - 1] <= high):
        first = guesses[0] = place_of(keys, low, guesses[0])
        last = guesses[1] = place_of(keys, np.nextafter(high, np.inf), guesses[1])
        # a few more keys fill the vectors
        last = min(first + -(-(last - first) // VECTOR) * VECTOR, len(keys))
    return first, last


@inner(in_place=True)
def _add_key(sums, b, i, s, weight, values, j):
    """Add key j, the only one that matters, at s = key - query and with this weight, to the sums at bandwidth b."""
    c = 1 + len(values)
    for power in range(1 if sums.shape[1] == c else 2):
        sums[b, power * c, i] += weight
        for v in range(len(values)):
            sums[b, power * c + v + 1, i] += weight * values[v, j]
        weight *= s
    if sums.shape[1] > c:
        sums[b, 2 * c, i] += weight


@compiled()
def add_windows(sums, log_scale, done, begin, end, of_queries, of_keys, direct):
    """The direct sums at each bandwidth where a query is not done, over the keys that matter, in a window around it.

    With the nearest key at distance a, of weight w, these are the keys at distances x with

        exp(-rate x^2) >= exp(-log_small_part) w exp(-rate a^2)

    Sums whose exponents are all below `smallest_exponent` are relative to the nearest key. Those of lines, more than
    1 + k, go on with the factor s = key - query, and end with s^2 times the mass.

    Parameters
    ----------
    sums, log_scale, done : arrays of shape (b, c, m), (b, m), (b, m)
        Of b bandwidths; the sums are zero where not done.
    begin, end, of_queries, of_keys
        See `add_expansions`.
    direct : tuple (rates, log_small_part, smallest_exponent)
        Rates of shape (b,).
    """
    queries, left_out = of_queries[0][0], of_queries[1]
    own, ranges, numbers = left_out
    keys, weights, values = of_keys
    rates, log_small_part, smallest_exponent = direct
    c = 1 + len(values)
    work, guesses = np.empty(TILE), np.zeros((len(rates), 2), dtype=np.int64)
    place = np.int64(0)
    for i in range(begin, end):
        is_left = False
        for b in range(len(rates)):
            is_left |= not done[b, i]
        if not is_left:
            continue
        query = queries[i]
        place = place_of(keys, query, place)
        nearest = _nearest(keys, query, place, i, left_out)
        if nearest < 0:
            continue
        square, log_weight = (query - keys[nearest]) ** 2, np.log(weights[nearest])
        rise = _square_of_next(keys, query, nearest, own[i]) - square
        for b in range(len(rates)):
            rate = rates[b]
            if done[b, i] or not np.isfinite(rate * square):  # without support
                continue
            shift = 0.0 if log_weight - rate * square > smallest_exponent else square
            log_scale[b, i] = -rate * shift
            most_rise = max(log_small_part - log_weight, 0.0) / rate
            if rise > most_rise:  # the nearest key is the only one that matters
                weight = weights[nearest] * np.exp(-rate * (square - shift))
                _add_key(sums, b, i, keys[nearest] - query, weight, values, nearest)
                continue
            first, last = _window(keys, query, place, nearest, most_rise, guesses[b])
            log_base = -rate / np.log(2.0)
            furthest = FURTHEST / log_base  # where the exponent is the smallest
            for start in range(first, last, TILE):
                n = min(TILE, last - start)
                _exponentials(work, query, keys[start : start + n], own[i] - start, shift, log_base, furthest)
                if len(ranges):
                    leave_ranges_out(work[:n], 0.0, i, ranges, numbers, start)
                sums[b, 0, i] += _scaled(work, weights[start : start + n], n)
                for v in range(len(values)):
                    sums[b, v + 1, i] += product(work, values[v, start : start + n], n)
                if sums.shape[1] > c:
                    sums[b, c, i] += _times_differences(work, keys[start : start + n], query, n)
                    for v in range(len(values)):
                        sums[b, c + v + 1, i] += product(work, values[v, start : start + n], n)
                    sums[b, 2 * c, i] += _times_differences(work, keys[start : start + n], query, n)


@inner()
def _expansion_pays(n_queries, n_near, n_cells, n_columns, costs):
    """Whether an expansion in a cell of queries takes less time than direct sums over the keys near."""
    sum_start, key, cell_start, point, translation = costs
    of_expansion = cell_start + n_columns * P * (point * n_queries + translation * P * n_cells)
    return n_near > 0 and (sum_start + key * n_near) * n_queries > of_expansion


@inner()
def _translate(coefficients, bound, cell, low, high, cells, moments, sizes, matrices, decay):
    """Set the coefficients (P, c) in a cell from the cells low..high of the keys, and add up the error bound."""
    n_columns = len(moments)
    for v in range(len(bound)):
        for k in range(len(coefficients)):
            coefficients[k, v] = 0.0
    reach = len(decay) // 2
    first = low
    while first < high:
        # cells beside each other together
        stop = first + 1
        while stop < high and cells[stop] == cells[stop - 1] + 1:
            stop += 1
        at, n = (reach + np.int64(cells[first]) - cell) * P, (stop - first) * P
        for v in range(len(bound)):
            column = v % n_columns
            add_products(coefficients, v, moments[column, first * P : stop * P], matrices[v // n_columns], at, n)
            for s in range(first, stop):
                bound[v] += sizes[s, column] * decay[reach + cell - np.int64(cells[s]), v]
        first = stop


@compiled()
def add_expansions(sums, done, first, last, of_queries, of_keys, of_cells, grid, errors, costs):
    """The sums of the queries for which expansions pay and are accurate, which are then `done`.

    Parameters
    ----------
    sums, done : arrays of shape (c, m), (m,), zero
        Of all queries; c = 1 + k, or of lines 3 + 2 k, the last ones with the factors s and s^2, s = key - query.
    first, last : int
        The queries to look at, those from `first` to before `last`.
    of_queries : tuple (queries, left_out)
        An array (1, m), and what is left out as of `near_field_loops.add_near_keys`: here only own keys.
    of_keys : tuple of arrays (keys, weights, values) of shapes (n,), (n,), (k, n)
        Sorted.
    of_cells : tuple of arrays (cells, start, moments, sizes) of shapes (s,), (s + 1,), (1 + k, s P), (s, 1 + k)
        The cells of the keys, whole numbers in float64.
    grid : tuple (width, largest_index, matrices)
        The matrices (1 or 3, P, (2 r + 1) P), for each power of s, translate by up to r cells.
    errors : tuple (decay, rest, scale, tolerance, largest_loss)
        Of shapes (2 r + 1, c), (c,), (c,): bounds for cells in reach, as a part of their size; the bound
        for all that is further; and what `evaluate` compares them with.
    costs : tuple
        See `_expansion_pays`.
    """
    points, (own, _, _) = of_queries
    _, weights, values = of_keys
    cells, start, moments, sizes = of_cells
    width, largest_index, matrices = grid
    decay, rest, scale, tolerance, largest_loss = errors
    c, reach, queries = len(sums), len(decay) // 2, points[0]
    # a cell is three numbers, the first two for further features
    target, coefficients, bound = np.zeros(3, dtype=np.int64), np.empty((P, c)), np.empty(c)
    work = working_memory(np.int64(1), c)
    low = high = np.int64(0)
    i = first
    while i < last:
        cell = cell_of(queries[i], width, largest_index)
        end = end_of_cell(queries, i, last, width, largest_index)
        # all queries of the cell, whichever thread takes them
        n_queries = place_of(queries, (cell + 1.0) * width, end) - place_of(queries, cell * width, i)
        low, high = place_of(cells, cell - reach, low), place_of(cells, cell + reach + 1, high)
        is_exact = abs(cell) < largest_index - reach
        if is_exact and _expansion_pays(n_queries, start[high] - start[low], high - low, c, costs):
            target[2] = np.int64(cell)
            for v in range(c):
                bound[v] = rest[v]
            _translate(coefficients, bound, target[2], low, high, cells, moments, sizes, matrices, decay)
            evaluate_chunk(
                sums, done, points, coefficients, bound, target, i, end, width, own, weights, values, scale,
                tolerance, largest_loss, work,
            )  # fmt: skip
        i = end
