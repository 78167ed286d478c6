"""The compiled loops of expansions: moments of cells, translation, evaluation.

Layout. Points stand by feature, (d, n), sorted by cell, so that those of a cell are a contiguous chunk of each row. A
cell is three whole numbers (zeros first where d < 3), a list of cells is sorted lexicographically. The coefficients
of a cell are (P, (1 + k) P^(d - 1)), in the order [k, (v, a, ...)]: of T_a(x_1) ... T_k(x_d) for the mass, v = 0, and
each column of V. The last feature comes first, so that translation along it is a product of matrices.
"""

import numpy as np

from sknw._kernel_sums.fast_gauss.constants import P
from sknw._kernel_sums.fast_gauss.near_field_loops import find_cell
from sknw._kernel_sums.numba import MULTIPLY_ADD, REORDERED, compiled, inner, max, min, wide_vectors

# Points of a cell whose polynomials are in the first-level cache together.
_BLOCK = 96


@inner(MULTIPLY_ADD)
def _chebyshev(polynomials, points, cell, width, start, stop):
    """polynomials[k, a, i] = T_a of feature k of point start + i, in the coordinate that goes from -1 to 1 in the cell.

    The centre of the cell is exact (see `grid.cell_width`), and so is the difference of a point from it.
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
        for a in range(2, len(t)):
            before, last, new = t[a - 2], t[a - 1], t[a]
            for i in range(n):
                new[i] = 2.0 * first[i] * last[i] - before[i]


@inner(MULTIPLY_ADD)
def _leading_product(row, factor, polynomials, a, n):
    """row[i] = factor[i] T_b(x_1) T_c(x_2) ..., of all features but the last; a = ... b P + c."""
    wide_vectors()
    for i in range(n):
        row[i] = factor[i]
    for k in range(polynomials.shape[0] - 2, -1, -1):
        t = polynomials[k, a % P]
        a //= P
        for i in range(n):
            row[i] *= t[i]


@inner(REORDERED)
def add_products(coefficients, line, row, t, at, n):
    """coefficients[k, line] += sum_i row[i] t[k, at + i]."""
    wide_vectors()
    for k in range(0, P, 4):
        t0, t1 = t[k, at : at + n], t[k + 1, at : at + n]
        t2, t3 = t[k + 2, at : at + n], t[k + 3, at : at + n]
        s0 = s1 = s2 = s3 = 0.0
        for i in range(n):
            s0 += row[i] * t0[i]
            s1 += row[i] * t1[i]
            s2 += row[i] * t2[i]
            s3 += row[i] * t3[i]
        coefficients[k, line] += s0
        coefficients[k + 1, line] += s1
        coefficients[k + 2, line] += s2
        coefficients[k + 3, line] += s3


@compiled()
def add_moments(moments, sizes, points, weights, values, cells, of_cell, chunks, width):
    """The moments of chunks, and their sizes, over i in chunk s.

        moments[s, k, (v, a, ...)] += sum_i w_i V_iv T_a(x_i1) ... T_k(x_id),    sizes[s, v] += sum_i |w_i V_iv|

    The column v = 0 is that of the mass, V = 1.

    Parameters
    ----------
    moments, sizes : arrays of shape (s, P, (1 + k) P^(d - 1)), (s, 1 + k)
    points, weights, values : arrays of shape (d, n), (n,), (k, n)
    cells : int64 array of shape (., 3)
    of_cell, chunks : int64 arrays of shape (s,), (s, 2)
        The cell of each chunk, its first point and the point after its last.
    width : float
    """
    d = points.shape[0]
    polynomials, column, row = np.empty((d, P, _BLOCK)), np.empty(_BLOCK), np.empty(_BLOCK)
    for s in range(len(of_cell)):
        for start in range(chunks[s, 0], chunks[s, 1], _BLOCK):
            stop = min(start + _BLOCK, chunks[s, 1])
            n = stop - start
            _chebyshev(polynomials, points, cells[of_cell[s]], width, start, stop)
            for v in range(1 + len(values)):
                _set_column(column, weights, values, v, start, n)
                sizes[s, v] += _sum_of_magnitudes(column, n)
                for a in range(P ** (d - 1)):
                    _leading_product(row, column, polynomials, a, n)
                    add_products(moments[s], v * P ** (d - 1) + a, row, polynomials[d - 1], np.int64(0), n)


@inner()
def _set_column(column, weights, values, v, start, n):
    """column[i] = w_i V_iv of the points from `start` on."""
    wide_vectors()
    w = weights[start : start + n]
    if v == 0:
        for i in range(n):
            column[i] = w[i]
    else:
        value = values[v - 1, start : start + n]
        for i in range(n):
            column[i] = w[i] * value[i]


@inner(REORDERED)
def _sum_of_magnitudes(column, n):
    wide_vectors()
    total = 0.0
    for i in range(n):
        total += abs(column[i])
    return total


@inner(MULTIPLY_ADD)
def _series(values, coefficients, line, t, n):
    """values[i] = sum_k coefficients[k, line] t[k, i]."""
    wide_vectors()
    c0, c1, c2, c3 = coefficients[0, line], coefficients[1, line], coefficients[2, line], coefficients[3, line]
    t0, t1, t2, t3 = t[0], t[1], t[2], t[3]
    for i in range(n):
        values[i] = c0 * t0[i] + c1 * t1[i] + c2 * t2[i] + c3 * t3[i]
    for k in range(4, P, 4):
        c0, c1 = coefficients[k, line], coefficients[k + 1, line]
        c2, c3 = coefficients[k + 2, line], coefficients[k + 3, line]
        t0, t1, t2, t3 = t[k], t[k + 1], t[k + 2], t[k + 3]
        for i in range(n):
            values[i] = values[i] + c0 * t0[i] + c1 * t1[i] + c2 * t2[i] + c3 * t3[i]


@inner()
def _set_series(totals, row, polynomials, coefficients, n):
    """totals[v, i] = sum_(a, ..., k) coefficients[k, (v, a, ...)] T_a(x_i1) ... T_k(x_id)."""
    last = len(polynomials) - 1
    for v in range(len(totals)):
        total = totals[v]
        for i in range(n):
            total[i] = 0.0
        for a in range(P**last):
            _series(row, coefficients, v * P**last + a, polynomials[last], n)
            _leading_product(row, row, polynomials, a, n)
            for i in range(n):
                total[i] += row[i]


@inner()
def _leave_out_own(totals, good, own, weights, values, scale, start, n, largest_loss):
    """Subtract the own terms; good[i] is whether no small difference is left.

    Small compared to what was subtracted: the mass, and for moments the mass times the scale of V.
    """
    mass = totals[0]
    for i in range(n):
        key = own[start + i]
        if key >= 0:
            left_out = weights[key]
            mass[i] -= left_out
            good[i] = largest_loss * left_out <= mass[i]
            for v in range(1, 1 + len(values)):  # what comes after is zero at the query
                removed = left_out * values[v - 1, key]
                totals[v, i] -= removed
                good[i] &= largest_loss * abs(removed) <= mass[i] * scale[v]


@inner()
def _check(good, totals, bound, scale, tolerance, n):
    """good[i] &= whether the bound of the errors is small compared to the sums, or to the mass times the scale of V."""
    wide_vectors()
    mass = totals[0]
    for i in range(n):
        good[i] &= (mass[i] > 0.0) & (bound[0] <= tolerance * mass[i])
    for v in range(1, len(totals)):
        total, scale_v, bound_v = totals[v], scale[v], bound[v]
        for i in range(n):
            good[i] &= bound_v <= tolerance * max(abs(total[i]), mass[i] * scale_v)


@compiled()
def evaluate(
    sums, good, points, coefficients, bound, cells, of_cell, chunks, width, own, weights, values, scale, tolerance,
    largest_loss,
):  # fmt: skip
    """The sums of queries without their own terms, and whether they are accurate; zero where they are not.

        sums[v, i] = sum_(a, ..., k) coefficients[cell of i, k, (v, a, ...)] T_a(x_i1) ... T_k(x_id)
                     - w_j V_jv,    j = own[i]

    Parameters
    ----------
    sums, good : arrays of shape (1 + k, m), (m,)
    points : array of shape (d, m)
    coefficients, bound : arrays of shape (t, P, (1 + k) P^(d - 1)), (t, 1 + k)
    cells, of_cell, chunks : int64 arrays of shape (t, 3), (s,), (s, 2)
        The cell of each chunk of the queries.
    own : array of shape (m,)
        The key that each query is, or -1.
    weights, values, scale : arrays of shape (n,), (k, n), (1 + k,)
    """
    work = working_memory(len(points), len(sums))
    for s in range(len(of_cell)):
        cell, first, last = of_cell[s], chunks[s, 0], chunks[s, 1]
        evaluate_chunk(
            sums, good, points, coefficients[cell], bound[cell], cells[cell], first, last, width, own, weights, values,
            scale, tolerance, largest_loss, work,
        )  # fmt: skip


@inner()
def working_memory(d, n_columns):
    """Arrays for a block of points: polynomials, sums, a row, and flags."""
    return np.empty((d, P, _BLOCK)), np.empty((n_columns, _BLOCK)), np.empty(_BLOCK), np.empty(_BLOCK, dtype=np.bool_)


@inner(in_place=True)
def evaluate_chunk(
    sums, good, points, coefficients, bound, cell, first, last, width, own, weights, values, scale, tolerance,
    largest_loss, work,
):  # fmt: skip
    """`evaluate` of the queries from `first` to before `last`, of one cell; `work` from `working_memory`."""
    polynomials, totals, row, is_good = work
    for start in range(first, last, _BLOCK):
        n = min(_BLOCK, last - start)
        _chebyshev(polynomials, points, cell, width, start, start + n)
        _set_series(totals, row, polynomials, coefficients, n)
        for i in range(n):
            is_good[i] = True
        _leave_out_own(totals, is_good, own, weights, values, scale, start, n, largest_loss)
        _check(is_good, totals, bound, scale, tolerance, n)
        for i in range(n):
            good[start + i] = is_good[i]
        for v in range(len(sums)):
            for i in range(n):
                sums[v, start + i] = totals[v, i] if is_good[i] else 0.0


@inner()
def _on_line(cell, other, reach):
    """Whether `cell` is on the line of `other` along the last feature, at most `reach` cells after it."""
    return cell[0] == other[0] and cell[1] == other[1] and cell[2] <= other[2] + reach


@compiled()
def translate(to, to_cells, moments, cells, matrices, n_columns):
    """Translate along the last feature, which is then the first.

    to[t, k, (v, j, a)] = sum over cells s on the line of t: sum_l moments[s, l, (v, a, k)] matrices[r - t + s, l, j]

    Parameters
    ----------
    to, moments : arrays of shape (t, P, (1 + k) P^(d - 1)), (s, P, (1 + k) P^(d - 1))
    to_cells, cells : int64 arrays of shape (t, 3), (s, 3)
    matrices : array of shape ((2 r + 1) P, P)
        One for each distance s - t = -r..r of cells.
    n_columns : int
        1 + k.
    """
    reach = len(matrices) // P // 2
    n_rows = moments.shape[2]
    total, part = np.empty((n_rows, P)), np.empty((n_rows, P))
    for t in range(len(to_cells)):
        cell = to_cells[t]
        for q in range(n_rows):
            for j in range(P):
                total[q, j] = 0.0
        s = find_cell(cells, cell[0], cell[1], cell[2] - reach)
        while s < len(cells) and _on_line(cells[s], cell, reach):
            # cells beside each other together
            first = s
            s += 1
            while s < len(cells) and _on_line(cells[s], cell, reach) and cells[s, 2] == cells[s - 1, 2] + 1:
                s += 1
            at = (reach + cells[first, 2] - cell[2]) * P
            n = (s - first) * P
            np.dot(moments[first:s].reshape((n, n_rows)).T, matrices[at : at + n], part)
            for q in range(n_rows):
                for j in range(P):
                    total[q, j] += part[q, j]
        _turn(to[t], total, n_columns)


@inner()
def _turn(to, total, n_columns):
    """to[k, (v, j, a)] = total[(v, a, k), j]."""
    rest = len(total) // (n_columns * P)
    for v in range(n_columns):
        for a in range(rest):
            for k in range(len(to)):
                for j in range(len(to)):
                    to[k, (v * P + j) * rest + a] = total[(v * rest + a) * P + k, j]


@compiled()
def spread(to, to_cells, amounts, cells, factors):
    """to[t, q] = sum over cells s on the line of t: amounts[s, q] factors[r + t - s, q]."""
    reach = len(factors) // 2
    for t in range(len(to_cells)):
        cell = to_cells[t]
        for q in range(to.shape[1]):
            to[t, q] = 0.0
        s = find_cell(cells, cell[0], cell[1], cell[2] - reach)
        while s < len(cells) and _on_line(cells[s], cell, reach):
            factor = factors[reach + cell[2] - cells[s, 2]]
            for q in range(len(factor)):
                to[t, q] += amounts[s, q] * factor[q]
            s += 1
