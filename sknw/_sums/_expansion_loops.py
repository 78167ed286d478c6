"""The compiled loops of the expansion engine: moments of cells, translation, evaluation, and sums over near cells.

Layout. Points stand by feature, (d, n), sorted by cell, so that those of a cell are a contiguous piece of each row. A
cell is three whole numbers (zeros first where d < 3), a list of cells is sorted lexicographically. The coefficients
of a cell are (c, P^d): for each column those of T_a(x_1) ... T_k(x_d), the last feature fastest.
"""

from __future__ import annotations

import numpy as np

from sknw._sums._compile import MULTIPLY_ADD, REORDERED, SMALLEST_EXPONENT, compiled, exp2, wide_vectors

# Polynomials a feature: with cells 1.15 bandwidths wide the kernel is interpolated to 1e-15.
P = 16
# Points of a cell whose polynomials are in the first-level cache together.
_BLOCK = 96
# Keys summed directly together, likewise.
_TILE = 512
# Tiles are filled up to a multiple of this, the widest step of a vectorised loop.
_VECTOR = 16

_FURTHEST = float(SMALLEST_EXPONENT[np.float64])


@compiled(MULTIPLY_ADD)
def _chebyshev(polynomials, points, cell, width, start, stop):
    """polynomials[k, a, i] = T_a of feature k of point start + i, in the coordinate that goes from -1 to 1 in the cell.

    The centre of the cell is exact (see `expansion.cell_width`), and so is the difference of a point from it.
    """
    wide_vectors()
    n = stop - start
    d = points.shape[0]
    for k in range(d):
        centre, scale = (cell[3 - d + k] + 0.5) * width, 2.0 / width
        t, x = polynomials[k], points[k, start:stop]
        zeroth, first = t[0], t[1]
        for i in range(n):
            zeroth[i] = 1.0
            first[i] = (x[i] - centre) * scale
        for a in range(2, P):
            before, last, new = t[a - 2], t[a - 1], t[a]
            for i in range(n):
                new[i] = 2.0 * first[i] * last[i] - before[i]


@compiled(MULTIPLY_ADD)
def _leading_product(row, polynomials, a, n):
    """row[i] *= T_b(x_1) T_c(x_2) ..., of all features but the last; a = ... b P + c."""
    wide_vectors()
    for k in range(polynomials.shape[0] - 2, -1, -1):
        t = polynomials[k, a % P]
        a //= P
        for i in range(n):
            row[i] *= t[i]


@compiled(REORDERED)
def _add_products(coefficients, row, t, n):
    """coefficients[k] += sum_i row[i] t[k, i]."""
    wide_vectors()
    for k in range(0, P, 4):
        t0, t1, t2, t3 = t[k], t[k + 1], t[k + 2], t[k + 3]
        s0 = s1 = s2 = s3 = 0.0
        for i in range(n):
            s0 += row[i] * t0[i]
            s1 += row[i] * t1[i]
            s2 += row[i] * t2[i]
            s3 += row[i] * t3[i]
        coefficients[k] += s0
        coefficients[k + 1] += s1
        coefficients[k + 2] += s2
        coefficients[k + 3] += s3


@compiled()
def add_moments(moments, points, columns, cells, of_cell, pieces, width):
    """moments[s, v, (a, ..., k)] += sum_i columns[v, i] T_a(x_i1) ... T_k(x_id), i in piece s.

    Parameters
    ----------
    moments : array of shape (s, c, P^d)
    points, columns : arrays of shape (d, n), (c, n)
    cells : int64 array of shape (., 3)
    of_cell, pieces : int64 arrays of shape (s,), (s, 2)
        The cell of each piece, its first point and the point after its last.
    width : float
    """
    d = points.shape[0]
    polynomials, row = np.empty((d, P, _BLOCK)), np.empty(_BLOCK)
    for s in range(len(of_cell)):
        for start in range(pieces[s, 0], pieces[s, 1], _BLOCK):
            stop = min(start + _BLOCK, pieces[s, 1])
            n = stop - start
            _chebyshev(polynomials, points, cells[of_cell[s]], width, start, stop)
            for v in range(len(columns)):
                for a in range(P ** (d - 1)):
                    row[:n] = columns[v, start:stop]
                    _leading_product(row, polynomials, a, n)
                    _add_products(moments[s, v, a * P : (a + 1) * P], row, polynomials[d - 1], n)


@compiled(MULTIPLY_ADD)
def _series(values, coefficients, t, n):
    """values[i] = sum_k coefficients[k] t[k, i]."""
    wide_vectors()
    c0, c1, c2, c3 = coefficients[0], coefficients[1], coefficients[2], coefficients[3]
    t0, t1, t2, t3 = t[0], t[1], t[2], t[3]
    for i in range(n):
        values[i] = c0 * t0[i] + c1 * t1[i] + c2 * t2[i] + c3 * t3[i]
    for k in range(4, P, 4):
        c0, c1, c2, c3 = coefficients[k], coefficients[k + 1], coefficients[k + 2], coefficients[k + 3]
        t0, t1, t2, t3 = t[k], t[k + 1], t[k + 2], t[k + 3]
        for i in range(n):
            values[i] = values[i] + c0 * t0[i] + c1 * t1[i] + c2 * t2[i] + c3 * t3[i]


@compiled()
def _add_series(sums, polynomials, coefficients, n):
    """sums[i, v] = sum_(a, ..., k) coefficients[v, (a, ..., k)] T_a(x_i1) ... T_k(x_id)."""
    row, total = np.empty(n), np.empty(n)
    last = len(polynomials) - 1
    for v in range(len(coefficients)):
        total[:] = 0.0
        for a in range(P**last):
            _series(row, coefficients[v, a * P : (a + 1) * P], polynomials[last], n)
            _leading_product(row, polynomials, a, n)
            for i in range(n):
                total[i] += row[i]
        for i in range(n):
            sums[i, v] = total[i]


@compiled()
def _subtract_own(totals, i, own_key, left_out, columns, scale, largest_loss):
    """Subtract the part of the own term that is left out from totals[i]; returns whether no small difference is left.

    Small compared to what was subtracted: the mass, and for moments the mass times the scale of V.
    """
    totals[i, 0] -= left_out * columns[0, own_key]
    mass = totals[i, 0]
    harmless = largest_loss * left_out * columns[0, own_key] <= mass
    for v in range(1, len(columns)):
        removed = left_out * columns[v, own_key]
        totals[i, v] -= removed
        harmless &= largest_loss * abs(removed) <= mass * scale[v]
    return harmless


@compiled()
def _is_accurate(totals, i, bound, cell, scale, tolerance):
    """Whether the bound of the errors is small compared to the sums, or to the mass times the scale of V."""
    mass = totals[i, 0]
    accurate = mass > 0.0
    for v in range(len(scale)):
        accurate &= bound[cell, v] <= tolerance * max(abs(totals[i, v]), mass * scale[v])
    return accurate


@compiled()
def evaluate(
    sums, done, rows, points, coefficients, bound, cells, of_cell, pieces, width, own, share, columns, scale,
    tolerance, largest_loss,
):  # fmt: skip
    """The sums of queries without their own terms, and whether they are accurate.

        sums[rows[i], v] = sum_(a, ..., k) coefficients[cell of i, v, (a, ..., k)] T_a(x_i1) ... T_k(x_id)
                           - (1 - share[i]) columns[v, own[i]]

    Parameters
    ----------
    sums, done : arrays of shape (., c), (.,)
    rows, points : arrays of shape (m,), (d, m)
    coefficients, bound : arrays of shape (t, c, P^d), (t, c)
    cells, of_cell, pieces : int64 arrays of shape (t, 3), (s,), (s, 2)
        The cell of each piece of the queries.
    own, share : arrays of shape (m,)
        The key that each query is, or -1.
    columns, scale : arrays of shape (c, n), (c,)
    """
    polynomials, totals = np.empty((len(points), P, _BLOCK)), np.empty((_BLOCK, len(columns)))
    good = np.empty(_BLOCK, dtype=np.bool_)
    for s in range(len(of_cell)):
        cell = of_cell[s]
        for start in range(pieces[s, 0], pieces[s, 1], _BLOCK):
            stop = min(start + _BLOCK, pieces[s, 1])
            _chebyshev(polynomials, points, cells[cell], width, start, stop)
            _add_series(totals, polynomials, coefficients[cell], stop - start)
            for i in range(stop - start):
                own_key, harmless = own[start + i], True
                if own_key >= 0:
                    left_out = 1.0 - share[start + i]
                    harmless = _subtract_own(totals, i, own_key, left_out, columns, scale, largest_loss)
                good[i] = harmless and _is_accurate(totals, i, bound, cell, scale, tolerance)
            # rows are all over the memory: a loop of its own does not make the arithmetic wait for it
            for i in range(stop - start):
                row = rows[start + i]
                done[row] = good[i]
                for v in range(len(columns)):
                    sums[row, v] = totals[i, v] if good[i] else 0.0


@compiled()
def _is_before(cell, first, second, third):
    """Lexicographic order."""
    if cell[0] != first:
        return cell[0] < first
    if cell[1] != second:
        return cell[1] < second
    return cell[2] < third


@compiled()
def _find(cells, first, second, third):
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
def _on_line(cell, other, reach):
    """Whether `cell` is on the line of `other` along the last feature, at most `reach` cells after it."""
    return cell[0] == other[0] and cell[1] == other[1] and cell[2] <= other[2] + reach


@compiled(MULTIPLY_ADD)
def _add_translated(local, moments, matrix):
    """local[l, j] += sum_k moments[l, k] matrix[k, j]."""
    wide_vectors()
    for line in range(len(local)):
        total, x = local[line], moments[line]
        for k in range(0, P, 4):
            x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
            m0, m1, m2, m3 = matrix[k], matrix[k + 1], matrix[k + 2], matrix[k + 3]
            for j in range(P):
                total[j] = total[j] + x0 * m0[j] + x1 * m1[j] + x2 * m2[j] + x3 * m3[j]


@compiled()
def translate(to, to_cells, moments, cells, matrices):
    """Translate along the last feature, and make it the first.

    to[t, v, (j, a)] = sum over cells s on the line of t: sum_k moments[s, v, (a, k)] matrices[r + t - s, k, j]

    Parameters
    ----------
    to, moments : arrays of shape (t, c, P^d), (s, c, P^d)
    to_cells, cells : int64 arrays of shape (t, 3), (s, 3)
    matrices : array of shape (2 r + 1, P, P)
        One for each distance t - s = -r..r of cells.
    """
    reach = len(matrices) // 2
    c, lines = moments.shape[1], moments.shape[2] // P
    local = np.empty((c * lines, P))
    for t in range(len(to_cells)):
        cell = to_cells[t]
        local[:] = 0.0
        s = _find(cells, cell[0], cell[1], cell[2] - reach)
        while s < len(cells) and _on_line(cells[s], cell, reach):
            _add_translated(local, moments[s].reshape((c * lines, P)), matrices[reach + cell[2] - cells[s, 2]])
            s += 1
        for v in range(c):
            for a in range(lines):
                for j in range(P):
                    to[t, v, j * lines + a] = local[v * lines + a, j]


@compiled()
def spread(to, to_cells, amounts, cells, factors):
    """to[t, q] = sum over cells s on the line of t: amounts[s, q] factors[r + t - s, q]."""
    reach = len(factors) // 2
    for t in range(len(to_cells)):
        cell = to_cells[t]
        to[t] = 0.0
        s = _find(cells, cell[0], cell[1], cell[2] - reach)
        while s < len(cells) and _on_line(cells[s], cell, reach):
            factor = factors[reach + cell[2] - cells[s, 2]]
            for q in range(len(factor)):
                to[t, q] += amounts[s, q] * factor[q]
            s += 1


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
        s = _find(cells, first, cell[1] - along, cell[2] - whole)
        while s < len(cells) and cells[s, 0] == first and cells[s, 1] <= cell[1] + along:
            second = cells[s, 1]
            left = reach * reach - _gap(first - cell[0]) ** 2 - _gap(second - cell[1]) ** 2
            half = int(np.ceil(np.sqrt(left))) if left > 0.0 else -1
            if cells[s, 2] < cell[2] - half:
                s = _find(cells, first, second, cell[2] - half)
            begin = s
            while s < len(cells) and cells[s, 0] == first and cells[s, 1] == second and cells[s, 2] <= cell[2] + half:
                s += 1
            if s > begin:
                runs[n_runs, 0], runs[n_runs, 1] = start[begin], start[s]
                n_runs += 1
            # on to the next line, past the cells of this one that are too far
            s = _find(cells, first, second + 1, cell[2] - whole)
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
def _copy(to, place, rows, first, n):
    """to[:, place : place + n] = rows[:, first : first + n]; as slices this would take ten times as long."""
    for k in range(len(rows)):
        for j in range(n):
            to[k, place + j] = rows[k, first + j]


@compiled()
def _visit_tile(sums, nearest, searching, rows, points, own, share, start, stop, tile, n, own_at, rate, work):
    """Add a tile of keys to the sums of queries start..stop, or, when `searching`, to what is known of the nearest.

    `own_at`: what takes a key's number to its place in the tile, where in the tile such numbers begin and end.
    """
    keys, columns = tile
    n_filled = _fill_up(keys, columns, n)
    for i in range(start, stop):
        row = rows[i]
        _distances(work, points[:, i], keys, n_filled)
        place = own[i] - own_at[0]
        in_tile = own[i] >= 0 and own_at[1] <= place < own_at[2]
        if searching:
            if in_tile and share[i] == 0.0:
                work[place] = np.inf
            nearest[row] = min(nearest[row], _smallest(work, n_filled))
        else:
            _exponentials(work, nearest[row], rate, _FURTHEST / rate, n_filled)
            if in_tile:
                work[place] *= share[i]
            for v in range(len(columns)):
                sums[row, v] += _product(work, columns[v], n_filled)


@compiled()
def add_near_keys(
    sums, nearest, searching, rows, points, own, share, cells, of_cell, pieces, keys, columns, key_cells, key_start,
    reach, rate,
):  # fmt: skip
    """The direct sums over the keys in cells nearer than `reach` widths.

        sums[rows[i], v] += sum_j share_ij 2^(rate (||points[:, i] - keys[:, j]||^2 - nearest[rows[i]])) columns[v, j]

    or, when `searching`, nearest[rows[i]] = min_j ||points[:, i] - keys[:, j]||^2.

    Parameters
    ----------
    sums, nearest : arrays of shape (., c), (.,)
    rows, points, own, share : arrays of shape (m,), (d, m), (m,), (m,)
        The queries sorted by cell; `own` is the number of the key that the query is, or -1, `share` the share of its
        weight with which it enters.
    cells, of_cell, pieces : int64 arrays of shape (., 3), (s,), (s, 2)
        Pieces of the queries, each in one cell.
    keys, columns, key_cells, key_start : arrays of shape (d, n), (c, n), (k, 3), (k + 1,)
    """
    d = len(points)
    whole = 2 * int(np.ceil(reach)) + 1
    runs = np.empty((whole ** (d - 1), 2), dtype=np.int64)
    tile = (np.empty((d, _TILE)), np.empty((len(columns), _TILE)))
    work = np.empty(_TILE)
    for s in range(len(of_cell)):
        cell, first, last = cells[of_cell[s]], pieces[s, 0], pieces[s, 1]
        n_runs = _near_runs(runs, cell, key_cells, key_start, reach, d)
        home = _find(key_cells, cell[0], cell[1], cell[2])
        home_key = key_start[home]
        n, own_at = 0, (0, 0, 0)
        for r in range(n_runs):
            key, end = runs[r, 0], runs[r, 1]
            is_home = key <= home_key < end
            while key < end:
                taken = min(end - key, _TILE - n)
                _copy(tile[0], n, keys, key, taken)
                _copy(tile[1], n, columns, key, taken)
                if is_home:
                    own_at = (key - n, n, n + taken)
                key, n = key + taken, n + taken
                if n == _TILE:
                    _visit_tile(
                        sums, nearest, searching, rows, points, own, share, first, last, tile, n, own_at, rate, work
                    )
                    n, own_at = 0, (0, 0, 0)
        if n:
            _visit_tile(sums, nearest, searching, rows, points, own, share, first, last, tile, n, own_at, rate, work)


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
def sum_windows(sums, log_scale, rows, queries, own, share, keys, columns, rate, log_small_part, smallest_exponent):
    """One feature: direct sums over the keys that matter, those in a window around the query.

    With the nearest key at distance a, of weight w, these are the keys at distances x with

        exp(-rate x^2) >= exp(-log_small_part) w exp(-rate a^2)

    Sums whose exponents are all below `smallest_exponent` are relative to the nearest key.
    `keys` (n,) and `queries` (m,) are sorted; other arrays as in `add_near_keys`.
    """
    log_base = -rate / np.log(2.0)
    work = np.empty(_TILE)
    place = 0
    for i in range(len(rows)):
        row, query = rows[i], queries[i]
        place = _place(keys, query, place)
        nearest = _nearest(keys, query, place, own[i] if share[i] == 0.0 else -1)
        if nearest < 0:
            continue
        shift = (query - keys[nearest]) ** 2
        if not np.isfinite(rate * shift):
            continue  # without support
        log_weight = np.log(columns[0, nearest] * (share[i] if nearest == own[i] else 1.0))
        # x - a = (x^2 - a^2) / (x + a), on the side of the nearest added to its own coordinate: far out q - x and q - a
        # would round to the same number
        distance, window = abs(query - keys[nearest]), max(log_small_part - log_weight, 0.0) / rate
        further = window / (np.sqrt(shift + window) + distance)
        low = min(keys[nearest], query - distance) - further
        high = max(keys[nearest], query + distance) + further
        first, last = _place(keys, low, place), _place(keys, np.nextafter(high, np.inf), place)
        if log_weight - rate * shift > smallest_exponent:
            shift = 0.0
        log_scale[row] = -rate * shift
        for start in range(first, last, _TILE):
            n = min(_TILE, last - start)
            _distances(work, queries[i : i + 1], keys[start : start + n].reshape((1, n)), n)
            _exponentials(work, shift, log_base, _FURTHEST / log_base, n)
            if start <= own[i] < start + n:
                work[own[i] - start] *= share[i]
            for v in range(len(columns)):
                sums[row, v] += _product(work, columns[v, start : start + n], n)
