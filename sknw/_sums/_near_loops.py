"""The compiled loops of direct Gaussian sums over the keys near a query: those in cells, and windows on a line.

Points stand by feature, (d, n), sorted by cell; a list of cells is sorted lexicographically (see `_cells`).
"""

from __future__ import annotations

import numpy as np

from sknw._sums._compile import MULTIPLY_ADD, REORDERED, SMALLEST_EXPONENT, compiled, exp2, wide_vectors

# Keys summed together, whose distances stay in the first-level cache.
_TILE = 512
# Tiles are filled up to a multiple of this, the widest step of a vectorised loop.
_VECTOR = 16

_FURTHEST = float(SMALLEST_EXPONENT[np.float64])


@compiled()
def _cell_of(x, width, largest_index):
    return max(min(np.floor(x / width), largest_index), -largest_index)


@compiled()
def cells_of_line(points, width, largest_index):
    """The cells of sorted points, floor(point / width) up to `largest_index`, and where each begins: (s,), (s + 1,)."""
    n = points.size
    index, start = np.empty(n, dtype=np.int64), np.empty(n + 1, dtype=np.int64)
    count = first = 0
    while first < n:
        cell = _cell_of(points[first], width, largest_index)
        index[count], start[count] = np.int64(cell), first
        count += 1
        # the next cell begins after the last point known to be of this one, found in steps that double
        step = 1
        while first + step < n and _cell_of(points[first + step], width, largest_index) == cell:
            first, step = first + step, 2 * step
        last = min(first + step, n)
        while last - first > 1:
            middle = (first + last) // 2
            if _cell_of(points[middle], width, largest_index) == cell:
                first = middle
            else:
                last = middle
        first = last
    start[count] = n
    return index[:count].copy(), start[: count + 1].copy()


@compiled()
def _is_before(cell, first, second, third):
    """Lexicographic order."""
    if cell[0] != first:
        return cell[0] < first
    if cell[1] != second:
        return cell[1] < second
    return cell[2] < third


@compiled()
def find_cell(cells, first, second, third):
    """The index of the first cell that is not before (first, second, third)."""
    low, high = 0, len(cells)
    while low < high:
        middle = (low + high) // 2
        if _is_before(cells[middle], first, second, third):
            low = middle + 1
        else:
            high = middle
    return low


@compiled()
def _gap(distance):
    """Whole cells between two cells: the points in them are at least so many widths apart."""
    return max(abs(distance) - 1, 0)


@compiled()
def _near_runs(runs, cell, cells, start, reach, d):
    """The keys of all cells nearer than `reach` widths, as runs of consecutive keys; returns their number.

    Cells of one line are neighbours in the list, and lines of one plane are.
    """
    n_runs = 0
    whole = int(np.ceil(reach))
    across, along = whole if d == 3 else 0, whole if d >= 2 else 0
    for first in range(cell[0] - across, cell[0] + across + 1):
        s = find_cell(cells, first, cell[1] - along, cell[2] - whole)
        while s < len(cells) and cells[s, 0] == first and cells[s, 1] <= cell[1] + along:
            second = cells[s, 1]
            left = reach * reach - _gap(first - cell[0]) ** 2 - _gap(second - cell[1]) ** 2
            half = int(np.ceil(np.sqrt(left))) if left > 0.0 else -1
            if cells[s, 2] < cell[2] - half:
                s = find_cell(cells, first, second, cell[2] - half)
            begin = s
            while s < len(cells) and cells[s, 0] == first and cells[s, 1] == second and cells[s, 2] <= cell[2] + half:
                s += 1
            if s > begin:
                runs[n_runs, 0], runs[n_runs, 1] = start[begin], start[s]
                n_runs += 1
            # on to the next line, past the cells of this one that are too far
            s = find_cell(cells, first, second + 1, cell[2] - whole)
    return n_runs


@compiled(MULTIPLY_ADD)
def _distances(distances, query, keys, n):
    """distances[j] = ||query - keys[:, j]||^2."""
    wide_vectors()
    q, z = query[0], keys[0]
    for j in range(n):
        distances[j] = (q - z[j]) ** 2
    for k in range(1, len(keys)):
        q, z = query[k], keys[k]
        for j in range(n):
            distances[j] += (q - z[j]) ** 2


@compiled()
def _exponentials(distances, shift, rate, furthest, n):
    """2^(rate (distance - shift)), in place."""
    wide_vectors()
    for j in range(n):
        distances[j] = exp2(min(distances[j] - shift, furthest), rate)


@compiled(REORDERED)
def _product(weights, column, n):
    """sum_j weights[j] column[j]."""
    wide_vectors()
    total = 0.0
    for j in range(n):
        total += weights[j] * column[j]
    return total


@compiled(REORDERED)
def _scaled(weights, column, n):
    """weights[j] *= column[j]; the sum of them."""
    wide_vectors()
    total = 0.0
    for j in range(n):
        weights[j] *= column[j]
        total += weights[j]
    return total


@compiled(REORDERED)
def _smallest(row, n):
    wide_vectors()
    smallest = row[0]
    for j in range(n):
        smallest = min(smallest, row[j])
    return smallest


@compiled()
def _fill_up(keys, columns, n):
    """Keys infinitely far and without weight, up to a multiple of `_VECTOR`; returns it."""
    n_filled = -(-n // _VECTOR) * _VECTOR
    keys[:, n:n_filled] = np.inf
    columns[:, n:n_filled] = 0.0
    return n_filled


@compiled()
def _copy(tile, place, keys, weights, values, first, n):
    """Keys and their columns w, w V to a place in a tile; as slices this would take ten times as long."""
    for k in range(len(keys)):
        for j in range(n):
            tile[0][k, place + j] = keys[k, first + j]
    for j in range(n):
        tile[1][0, place + j] = weights[first + j]
    for v in range(len(values)):
        for j in range(n):
            tile[1][v + 1, place + j] = weights[first + j] * values[v, first + j]


@compiled()
def _visit_tile(sums, nearest, searching, points, own, share, start, stop, tile, n, own_at, rate, work):
    """Add a tile of keys to the sums of queries start..stop, or, when `searching`, to what is known of the nearest.

    `own_at`: what takes a key's number to its place in the tile, where in the tile such numbers begin and end.
    """
    keys, columns = tile
    n_filled = _fill_up(keys, columns, n)
    for i in range(start, stop):
        _distances(work, points[:, i], keys, n_filled)
        place = own[i] - own_at[0]
        in_tile = own[i] >= 0 and own_at[1] <= place < own_at[2]
        if searching:
            if in_tile and share[i] == 0.0:
                work[place] = np.inf
            nearest[i] = min(nearest[i], _smallest(work, n_filled))
        else:
            _exponentials(work, nearest[i], rate, _FURTHEST / rate, n_filled)
            if in_tile:
                work[place] = share[i] * work[place] if share[i] > 0.0 else 0.0
            for v in range(len(columns)):
                sums[v, i] += _product(work, columns[v], n_filled)


@compiled()
def add_near_keys(
    sums, nearest, searching, points, own, share, cells, of_cell, pieces, keys, weights, values, key_cells, key_start,
    reach, rate,
):  # fmt: skip
    """The direct sums over the keys in cells nearer than `reach` widths.

        sums[v, i] += sum_j share_ij 2^(rate (||points[:, i] - keys[:, j]||^2 - nearest[i])) w_j V_jv

    or, when `searching`, nearest[i] = min_j ||points[:, i] - keys[:, j]||^2.

    Parameters
    ----------
    sums, nearest : arrays of shape (1 + k, m), (m,)
    points, own, share : arrays of shape (d, m), (m,), (m,)
        The queries sorted by cell; `own` is the number of the key that the query is, or -1, `share` the share of its
        weight with which it enters.
    cells, of_cell, pieces : int64 arrays of shape (., 3), (s,), (s, 2)
        Pieces of the queries, each in one cell.
    keys, weights, values, key_cells, key_start : arrays of shape (d, n), (n,), (k, n), (s, 3), (s + 1,)
    """
    d = len(points)
    whole = 2 * int(np.ceil(reach)) + 1
    runs = np.empty((whole ** (d - 1), 2), dtype=np.int64)
    tile = (np.empty((d, _TILE)), np.empty((1 + len(values), _TILE)))
    work = np.empty(_TILE)
    for s in range(len(of_cell)):
        cell, first, last = cells[of_cell[s]], pieces[s, 0], pieces[s, 1]
        n_runs = _near_runs(runs, cell, key_cells, key_start, reach, d)
        home = find_cell(key_cells, cell[0], cell[1], cell[2])
        home_key = key_start[home]
        n, own_at = 0, (0, 0, 0)
        for r in range(n_runs):
            key, end = runs[r, 0], runs[r, 1]
            is_home = key <= home_key < end
            while key < end:
                taken = min(end - key, _TILE - n)
                _copy(tile, n, keys, weights, values, key, taken)
                if is_home:
                    own_at = (key - n, n, n + taken)
                key, n = key + taken, n + taken
                if n == _TILE:
                    _visit_tile(sums, nearest, searching, points, own, share, first, last, tile, n, own_at, rate, work)
                    n, own_at = 0, (0, 0, 0)
        if n:
            _visit_tile(sums, nearest, searching, points, own, share, first, last, tile, n, own_at, rate, work)


@compiled()
def _place(keys, value, guess):
    """The number of sorted keys below `value`, searched in steps that double from a guess."""
    low = high = guess
    step = 1
    while low > 0 and keys[low - 1] >= value:
        high, low, step = low - 1, max(low - step, 0), 2 * step
    while high < len(keys) and keys[high] < value:
        low, high, step = high + 1, min(high + step, len(keys)), 2 * step
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled()
def _nearest(keys, query, place, left_out):
    """The index of the nearest of sorted keys, `place` of them below the query, without one; -1 if there is none."""
    left, right = place - 1, place
    if left == left_out:
        left -= 1
    if right == left_out:
        right += 1
    if left < 0:
        return right if right < len(keys) else -1
    return right if right < len(keys) and keys[right] - query < query - keys[left] else left


@compiled()
def sum_windows(sums, log_scale, queries, own, share, keys, weights, values, rate, log_small_part, smallest_exponent):
    """One feature: direct sums over the keys that matter, those in a window around the query.

    With the nearest key at distance a, of weight w, these are the keys at distances x with

        exp(-rate x^2) >= exp(-log_small_part) w exp(-rate a^2)

    Sums whose exponents are all below `smallest_exponent` are relative to the nearest key.
    `keys` (n,) and `queries` (m,) are sorted, `log_scale` (m,); other arrays as in `add_near_keys`.
    """
    log_base = -rate / np.log(2.0)
    work = np.empty(_TILE)
    place = 0
    for i in range(len(queries)):
        query = queries[i]
        place = _place(keys, query, place)
        nearest = _nearest(keys, query, place, own[i] if share[i] == 0.0 else -1)
        if nearest < 0:
            continue
        shift = (query - keys[nearest]) ** 2
        if not np.isfinite(rate * shift):
            continue  # without support
        log_weight = np.log(weights[nearest] * (share[i] if nearest == own[i] else 1.0))
        # x - a = (x^2 - a^2) / (x + a), on the side of the nearest added to its own coordinate: far out q - x and q - a
        # would round to the same number
        distance, window = abs(query - keys[nearest]), max(log_small_part - log_weight, 0.0) / rate
        further = window / (np.sqrt(shift + window) + distance)
        low = min(keys[nearest], query - distance) - further
        high = max(keys[nearest], query + distance) + further
        first, last = _place(keys, low, place), _place(keys, np.nextafter(high, np.inf), place)
        if log_weight - rate * shift > smallest_exponent:
            shift = 0.0
        log_scale[i] = -rate * shift
        for start in range(first, last, _TILE):
            n = min(_TILE, last - start)
            _distances(work, queries[i : i + 1], keys[start : start + n].reshape((1, n)), n)
            _exponentials(work, shift, log_base, _FURTHEST / log_base, n)
            if start <= own[i] < start + n:
                # beside a far nearest key the own one may be infinite
                work[own[i] - start] = share[i] * work[own[i] - start] if share[i] > 0.0 else 0.0
            sums[0, i] += _scaled(work, weights[start : start + n], n)
            for v in range(len(values)):
                sums[v + 1, i] += _product(work, values[v, start : start + n], n)
