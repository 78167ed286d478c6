"""The compiled loops of direct Gaussian sums over the keys near a query, in two and three features.

Points stand by feature, (d, n), sorted by cell; a list of cells is sorted lexicographically (see `grid`).
"""

import numpy as np

from sknw._kernel_sums.numba import SMALLEST_EXPONENT, compiled, inner, max, min
from sknw._kernel_sums.row_loops import exponentiate, product, put_in_range, set_squared_distances, smallest_of

# Keys summed together, whose distances stay in the first-level cache.
TILE = 512
# Tiles are filled up to a multiple of this, the widest step of a vectorised loop.
VECTOR = 16

FURTHEST = float(SMALLEST_EXPONENT[np.float64])


@inner()
def _is_before(cell, first, second, third):
    """Lexicographic order."""
    if cell[0] != first:
        return cell[0] < first
    if cell[1] != second:
        return cell[1] < second
    return cell[2] < third


@inner()
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


@inner()
def _gap(distance):
    """Whole cells between two cells: the points in them are at least so many widths apart."""
    return max(abs(distance) - 1, 0)


@inner()
def _near_runs(runs, cell, cells, start, reach, d):
    """The keys of all cells nearer than `reach` widths, as runs of consecutive keys; returns their number.

    Cells of one line are neighbours in the list, and lines of one plane are.
    """
    n_runs = 0
    along = int(np.ceil(reach))
    across = along if d == 3 else 0
    for first in range(cell[0] - across, cell[0] + across + 1):
        s = find_cell(cells, first, cell[1] - along, cell[2] - along)
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
            s = find_cell(cells, first, second + 1, cell[2] - along)
    return n_runs


@inner()
def _fill_up(keys, columns, n):
    """Keys infinitely far and without weight, up to a multiple of `VECTOR`; returns it."""
    n_filled = -(-n // VECTOR) * VECTOR
    keys[:, n:n_filled] = np.inf
    columns[:, n:n_filled] = 0.0
    return n_filled


@inner()
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


@inner()
def leave_ranges_out(row, value, i, ranges, numbers, first):
    """row[j] = value for the keys left out of query i, of numbers[first], numbers[first + 1], ..."""
    if len(ranges):
        put_in_range(row, value, numbers[first : first + row.size], ranges[i, 0], ranges[i, 1])


@inner()
def _visit_tile(sums, nearest, searching, points, left_out, start, stop, tile, n, own_at, rate, work):
    """Add a tile of keys to the sums of queries start..stop, or, when `searching`, to what is known of the nearest.

    `own_at`: what takes a key's number to its place in the tile, where in the tile such numbers begin and end.
    """
    keys, columns, numbers = tile
    own, ranges, _ = left_out
    n_filled = _fill_up(keys, columns, n)
    for i in range(start, stop):
        set_squared_distances(work[:n_filled], points[:, i], keys, np.int64(0))
        place = own[i] - own_at[0]
        in_tile = own[i] >= 0 and own_at[1] <= place < own_at[2]
        if searching:
            if in_tile:
                work[place] = np.inf
            leave_ranges_out(work[:n], np.inf, i, ranges, numbers, np.int64(0))
            nearest[i] = min(nearest[i], smallest_of(work[:n_filled]))
        else:
            row = work[:n_filled]
            exponentiate(row, nearest[i], rate, FURTHEST / rate)
            if in_tile:
                work[place] = 0.0
            leave_ranges_out(work[:n], 0.0, i, ranges, numbers, np.int64(0))
            for v in range(len(columns)):
                sums[v, i] += product(work, columns[v], n_filled)


@compiled()
def add_near_keys(
    sums, nearest, searching, points, left_out, cells, of_cell, chunks, keys, weights, values, key_cells, key_start,
    reach, rate,
):  # fmt: skip
    """The direct sums over the keys in cells nearer than `reach` widths.

        sums[v, i] += sum_j 2^(rate (||points[:, i] - keys[:, j]||^2 - nearest[i])) w_j V_jv

    or, when `searching`, nearest[i] = min_j ||points[:, i] - keys[:, j]||^2; without the keys left out.

    Parameters
    ----------
    sums, nearest : arrays of shape (1 + k, m), (m,)
    points : array of shape (d, m)
        The queries sorted by cell.
    left_out : tuple of arrays (own, ranges, numbers) of shapes (m,), (0 or m, 2), (0 or n,)
        The place of the key that the query is, or -1; or which numbers of keys are left out, and those of the keys.
    cells, of_cell, chunks : int64 arrays of shape (., 3), (s,), (s, 2)
        Pieces of the queries, each in one cell.
    keys, weights, values, key_cells, key_start : arrays of shape (d, n), (n,), (k, n), (s, 3), (s + 1,)
    """
    d = len(points)
    whole = 2 * int(np.ceil(reach)) + 1
    runs = np.empty((whole ** (d - 1), 2), dtype=np.int64)
    tile = (np.empty((d, TILE)), np.empty((1 + len(values), TILE)), np.empty(TILE, dtype=np.int64))
    work = np.empty(TILE)
    nowhere = (np.int64(0), np.int64(0), np.int64(0))
    for s in range(len(of_cell)):
        cell, first, last = cells[of_cell[s]], chunks[s, 0], chunks[s, 1]
        n_runs = _near_runs(runs, cell, key_cells, key_start, reach, d)
        home = find_cell(key_cells, cell[0], cell[1], cell[2])
        home_key = key_start[home]
        n, own_at = np.int64(0), nowhere
        for r in range(n_runs):
            key, end = runs[r, 0], runs[r, 1]
            is_home = key <= home_key < end
            while key < end:
                taken = min(end - key, TILE - n)
                _copy(tile, n, keys, weights, values, key, taken)
                for j in range(taken if len(left_out[1]) else 0):
                    tile[2][n + j] = left_out[2][key + j]
                if is_home:
                    own_at = (key - n, n, n + taken)
                key, n = key + taken, n + taken
                if n == TILE:
                    _visit_tile(sums, nearest, searching, points, left_out, first, last, tile, n, own_at, rate, work)
                    n, own_at = np.int64(0), nowhere
        if n:
            _visit_tile(sums, nearest, searching, points, left_out, first, last, tile, n, own_at, rate, work)
