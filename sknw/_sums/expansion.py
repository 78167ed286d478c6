"""Cell expansions: the Gaussian in one to three features, in time O(n + m), with error at rounding level.

With u = g (q - z), g = sqrt(2 rate) / c, the weight is exp(-||u||^2 / 2): a product over the features. In a grid of
cells about one bandwidth wide, let x be a point's coordinate that goes from -1 to 1 in its cell. Between two cells D
apart the kernel is its interpolant at Chebyshev nodes,

    exp(-u^2 / 2) = sum_jk C_jk(D) T_j(x of the query) T_k(x of the key),

with P^2 coefficients for each D and a relative error, as a part of the largest weight between the cells, at rounding
level. Hence three steps, each linear:

    moments        M_k = sum over the keys of a cell of w V T_k(x)
    translation    L_j = sum over the cells near by of sum_k C_jk(D) M_k, feature after feature
    evaluation     S(q) = sum_j L_j T_j(x)

The grid is made of whole multiples of its width, and cells exist where there are points: neither queries nor outliers
move or multiply them. Each sum comes with a bound of its error; queries for which it is not small enough, as those in a
gap beside many keys, and those for which it would not pay, get the direct sum over the keys near them.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from sknw._sums import fused
from sknw._sums._problem import Own, Problem, Sums
from sknw._sums._threads import for_each_chunk
from sknw.kernels import ExponentialForm

# Cells are at most so many bandwidths wide: then 16 nodes a feature interpolate the kernel to 1e-15.
_WIDTH = 1.15
# Bound of the error of one feature's translation between two cells, as a part of exp(-gap^2 / 4). Interpolation of
# f(u) = exp(-u^2 / 2) in a cell of width w: 2 (w / 4)^P max|f^(P)| / P! < 2.2 (w / 4)^P exp(-gap^2 / 4) / sqrt(P!)
# = 1e-15, by Cramer's bound of the Hermite functions; five times for interpolating twice and for rounding.
_CELL_ERROR = 5e-15
# The part of a sum that its error may be.
_TOLERANCE = 1e-12
# Keys are near as long as all the others weigh less than a tenth of the tolerance of this mass.
_SMALL_MASS = 1e-3
# An own term is subtracted from a sum only if the sum keeps this part of it; else the rest is summed directly.
_LARGEST_LOSS = 0.1
# Centres of cells must be exact numbers: whole multiples, up to this one, of a width of few digits.
_LARGEST_INDEX = 2.0**45
_DIGITS_OF_WIDTH = 5
# Points of one cell that are worked on together.
_PIECE = 2048
# Pieces that a thread takes.
_CHUNK = 512
# Fewer pairs than this are left to the fused engine when only far queries remain.
_FEW_PAIRS = 2e7
# Searches for the nearest key, each further than the one before, until the fused engine takes what is left.
_MOST_SEARCHES = 24
# Direct sums go so many cells far. More would be a closer fit to the sphere that they sum over, and more short runs.
_DIRECT_CELLS = 4
# What a query costs before its first direct kernel evaluation, in such evaluations.
_DIRECT_START = 200.0
# Nanoseconds, on one thread, of a direct kernel evaluation, of a coefficient times a point, and, for one, two and three
# features, of a coefficient of a cell times one of a matrix.
_DIRECT_COST, _POINT_COST, _TRANSLATION_COST = 1.0, 0.25, (0.3, 0.13, 0.12)
# Sums smaller than exp of this, which small weights might bring to underflow, are relative to their nearest key.
_SMALLEST_EXPONENT = -400.0
# Coefficients of all cells, in bytes, that may be held.
_MEMORY = 2**30


def is_usable_for(problem: Problem) -> bool | str:
    """Gaussian kernels in one to three features."""
    form = problem.kernel.form
    if not isinstance(form, ExponentialForm) or form.power != 2:
        return "computes the Gaussian kernel only, exp(-rate u^2)"
    if problem.keys.shape[1] > 3:
        return f"takes one to three features, and there are {problem.keys.shape[1]}"
    return True


# As for the fused engine: the time to load numba.
START_UP = 1.0
# Seconds for a point and bandwidth in one, two and three features, at bandwidths of a tenth of a standard deviation.
_SECONDS_PER_POINT = {1: 1e-7, 2: 1e-6, 3: 2e-5}


def seconds(problem: Problem) -> float:
    """About how long `compute` takes."""
    n_points = len(problem.keys) + len(problem.queries)
    return _SECONDS_PER_POINT[problem.keys.shape[1]] * n_points * (1 + len(problem.factors))


def compute(problem: Problem) -> Sums:
    """The sums of `problem`, one bandwidth after the other."""
    n_factors, n_queries = len(problem.factors), len(problem.queries)
    sums = np.zeros((n_factors, n_queries, 1 + problem.values.shape[1]))
    log_scale = np.zeros((n_factors, n_queries))
    points = _Points(problem)
    for index, factor in enumerate(problem.factors):
        _OneBandwidth(points, float(factor), sums[index], log_scale[index]).compute()
    return Sums(sums[..., 0], sums[..., 1:], log_scale)


class _Points:
    """What the bandwidths share: columns, their totals, and in one feature the sorted points.

    Attributes
    ----------
    columns : (c, n), w and w V
    total, scale : (c,)
        Sums of |columns|, and the mean of |V|, weighted: what errors of the moments are relative to.
    most : float
        No set of keys has a larger mass, nor a moment larger than so many times the scale.
    """

    def __init__(self, problem: Problem):
        self.problem = problem
        self.columns = problem.weights * np.vstack([np.ones(len(problem.keys)), problem.values.T])
        self.total = np.abs(self.columns).sum(axis=1)
        self.scale = self.total / self.total[0]
        largest = np.array([1.0, *np.abs(problem.values).max(axis=0)])
        unevenness = np.max(np.divide(largest, self.scale, out=np.ones_like(largest), where=self.scale > 0))
        self.most = float(self.total[0] * unevenness)

    @cached_property
    def sorted_keys(self) -> _Sorted:
        return _Sorted(np.argsort(self.problem.keys[:, 0]), self.problem.keys, self.columns)

    @cached_property
    def sorted_queries(self) -> _Sorted:
        if self.queries_are_keys:
            return self.sorted_keys
        queries = self.problem.queries
        return _Sorted(np.argsort(queries[:, 0]), queries, np.empty((0, len(queries))))

    @cached_property
    def queries_are_keys(self) -> bool:
        """Whether query i is key i, for all of them."""
        own, n = self.problem.own, len(self.problem.keys)
        return own is not None and len(own.key) == n and np.array_equal(own.key, np.arange(n))

    def key_cells(self, width: float) -> _Cells:
        if self.problem.keys.shape[1] == 1:
            return _Cells(self.sorted_keys, width)
        return _cells(np.arange(len(self.problem.keys)), self.problem.keys, self.columns, width)

    def query_cells(self, width: float, rows: np.ndarray | None = None) -> _Cells:
        queries = self.problem.queries
        if queries.shape[1] == 1 and rows is None:
            return _Cells(self.sorted_queries, width)
        rows = np.arange(len(queries)) if rows is None else rows
        return _cells(rows, queries, np.empty((0, len(queries))), width)

    def own(self, queries: _Sorted | _Cells, keys: _Sorted | _Cells) -> tuple[np.ndarray, np.ndarray]:
        """The place among `keys` of the key that each query is, -1 where there is none, and its share."""
        own, rows = self.problem.own, queries.rows
        if own is None:
            return np.full(len(rows), -1), np.zeros(len(rows))
        if self.queries_are_keys and rows is keys.rows:
            return np.arange(len(rows)), np.take(own.share, rows)
        place = np.full(len(self.problem.keys), -1)
        place[keys.rows] = np.arange(len(keys.rows))
        return np.take(place, np.take(own.key, rows)), np.take(own.share, rows)


class _Sorted:
    """Points in an order: `rows`, their numbers, `points` (d, n) and `columns` (c, n)."""

    def __init__(self, rows: np.ndarray, points: np.ndarray, columns: np.ndarray):
        self.rows = rows
        # take(): indexing with an array of rows is four times slower
        self.points = np.ascontiguousarray(np.take(points, rows, axis=0).T)
        self.columns = np.take(columns, rows, axis=1)


def _cells(rows: np.ndarray, points: np.ndarray, columns: np.ndarray, width: float) -> _Cells:
    """Some points by cell."""
    index = np.floor(points[rows].T / width)
    order = _lexicographic_order(np.clip(index, -_LARGEST_INDEX, _LARGEST_INDEX).astype(np.int64))
    return _Cells(_Sorted(rows[order], points, columns), width)


class _Cells:
    """Points by cell.

    Attributes
    ----------
    rows, points, columns
        As in `_Sorted`, without points so far away that the centres of their cells would not be exact.
    cells : (s, 3), lexicographically sorted; the first 3 - d numbers are zero
    start : (s + 1,) the first point of each cell
    width : float
    """

    def __init__(self, by_cell: _Sorted, width: float):
        self.rows, self.points, self.columns, self.width = by_cell.rows, by_cell.points, by_cell.columns, width
        d, n = self.points.shape
        index = np.floor(self.points / width)
        if n and max(index.max(), -index.min()) >= _LARGEST_INDEX:
            kept = np.all(np.abs(index) < _LARGEST_INDEX, axis=0)
            self.rows, index = self.rows[kept], index[:, kept]
            self.points, self.columns = (np.ascontiguousarray(a[:, kept]) for a in (self.points, self.columns))
            n = len(self.rows)
        changes = np.zeros(n, dtype=bool)
        changes[:1] = True
        for axis in index:
            changes[1:] |= axis[1:] != axis[:-1]
        first = np.flatnonzero(changes)
        self.start = np.append(first, n).astype(np.int64)
        self.cells = np.zeros((len(first), 3), dtype=np.int64)
        self.cells[:, 3 - d :] = index[:, first].T

    @property
    def counts(self) -> np.ndarray:
        return np.diff(self.start)

    def pieces(self, of_cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The points of some cells in pieces of limited size: of which cell, and from where to where."""
        n_pieces = -(-self.counts[of_cells] // _PIECE)
        cell = np.repeat(of_cells, n_pieces)
        number = np.arange(len(cell)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
        begin = self.start[cell] + number * _PIECE
        return cell, np.column_stack([begin, np.minimum(begin + _PIECE, self.start[cell + 1])])

    def subset(self, taken: np.ndarray) -> _Cells:
        """The points with a True in `taken` (n,)."""
        part = copy(self)
        part.rows, part.points, part.columns = self.rows[taken], self.points[:, taken], self.columns[:, taken]
        counts = np.add.reduceat(taken, self.start[:-1], dtype=np.int64) if len(self.cells) else self.counts
        part.cells = self.cells[counts > 0]
        part.start = np.concatenate([[0], np.cumsum(counts[counts > 0])])
        return part


class _OneBandwidth:
    """The sums at one bandwidth, written to `sums` (m, 1 + k) and `log_scale` (m,)."""

    def __init__(self, points: _Points, factor: float, sums: np.ndarray, log_scale: np.ndarray):
        from sknw._sums import _expansion_loops  # here, and not above, because it imports numba

        self.points, self.problem, self.factor = points, points.problem, factor
        self.sums, self.log_scale, self.loops = sums, log_scale, _expansion_loops
        form = self.problem.kernel.form
        assert isinstance(form, ExponentialForm)
        self.rate = form.rate / factor**2
        self.per_unit = np.sqrt(2.0 * self.rate)  # bandwidths in a unit of the coordinates
        self.width = cell_width(_WIDTH / self.per_unit)
        # the weight of keys beyond the reach, exp(-reach^2 / 2), is a tenth of the tolerance of a small mass for all
        # of them together
        self.log_small_part = np.log(10.0 * points.most / _TOLERANCE)
        self.reach = float(np.sqrt(2.0 * max(self.log_small_part - np.log(_SMALL_MASS), 1.0)))

    def compute(self) -> None:
        keys = self.points.key_cells(self.width)
        queries = keys if self.points.queries_are_keys else self.points.query_cells(self.width)
        done = np.zeros(len(self.problem.queries), dtype=bool)
        chosen = self._worthwhile(keys, queries)
        if len(chosen):
            self._expand(keys, queries, chosen, done)
        if len(keys.points) == 1:
            self._sum_windows(~done)
            return
        reach, rest = self.reach / self.per_unit, ~np.take(done, queries.rows)
        if len(chosen) and rest.any():
            # few queries: not worth cells of their own
            self._sum_near(keys, queries.subset(rest), reach / self.width, done)
            reach *= 2.0
        self._sum_direct(np.flatnonzero(~done), reach)

    # Expansions

    @property
    def _n_near(self) -> int:
        """Cells on each side in which keys may be near."""
        return int(np.ceil(self.reach / (self.per_unit * self.width)))

    def _worthwhile(self, keys: _Cells, queries: _Cells) -> np.ndarray:
        """The cells of queries for which expansions take less time than direct sums."""
        if not len(keys.cells) or not len(queries.cells):
            return np.empty(0, dtype=np.intp)
        d, line = len(keys.points), 2 * self._n_near + 1
        n_coefficients = len(keys.columns) * self.loops.P**d
        translation = _TRANSLATION_COST[d - 1] * line * n_coefficients * self.loops.P  # of one feature to one cell
        evaluation = _POINT_COST * n_coefficients * queries.counts
        near_at_most = min(float(line) ** d * keys.counts.max(), len(keys.rows))
        direct_at_most = _DIRECT_COST * (_DIRECT_START + near_at_most) * queries.counts
        chosen = np.flatnonzero(direct_at_most > evaluation + translation)
        if not len(chosen) or self._bytes(keys.cells, chosen) > _MEMORY:
            return chosen[:0]
        route = _route(keys.cells, queries.cells[chosen], d, self._n_near)
        if self._bytes(*(stop.cells for stop in route)) > _MEMORY:
            return chosen[:0]
        near = self._spread(keys.counts[:, np.newaxis].astype(float), route, keys.cells, np.ones((line, 1)))[:, 0]
        direct = _DIRECT_COST * np.where(near > 0, _DIRECT_START + near, 0.0) * queries.counts[chosen]
        saved = direct - evaluation[chosen]
        pays = saved > translation
        moments = _POINT_COST * n_coefficients * len(keys.rows)
        translations = translation * sum(len(stop.cells) for stop in route)
        if saved[pays].sum() < moments + translations:
            return chosen[:0]
        return chosen[pays]

    def _bytes(self, *cells: np.ndarray) -> int:
        """Memory that the coefficients of the longest of some lists of cells take."""
        problem = self.problem
        n_coefficients = len(self.points.columns) * self.loops.P ** problem.keys.shape[1]
        return 8 * n_coefficients * max(len(of_list) for of_list in cells)

    def _expand(self, keys: _Cells, queries: _Cells, chosen: np.ndarray, done: np.ndarray) -> None:
        """Sums of the queries in the `chosen` cells; `done` becomes True where they are accurate."""
        targets = queries.cells[chosen]
        route = _route(keys.cells, targets, len(keys.points), self._n_near)
        coefficients = self._translated(self._moments(keys), route, keys.cells)
        bound = self._error_bound(keys, route)
        cell, pieces = queries.pieces(chosen)
        place = np.searchsorted(chosen, cell)
        own, share = self.points.own(queries, keys)

        def evaluate(part: slice) -> None:
            self.loops.evaluate(
                *(self.sums, done, queries.rows, queries.points, coefficients, bound),
                *(targets, place[part], pieces[part], self.width),
                *(own, share, keys.columns, self.points.scale, _TOLERANCE, _LARGEST_LOSS),
            )

        for_each_chunk(evaluate, len(pieces), _CHUNK, self.problem.n_jobs)

    def _moments(self, keys: _Cells) -> np.ndarray:
        """M of shape (s, c, P^d)."""
        cell, pieces = keys.pieces(np.arange(len(keys.cells)))
        moments = np.zeros((len(pieces), len(keys.columns), self.loops.P ** len(keys.points)))

        def add(part: slice) -> None:
            self.loops.add_moments(
                moments[part], keys.points, keys.columns, keys.cells, cell[part], pieces[part], self.width
            )

        for_each_chunk(add, len(pieces), _CHUNK, self.problem.n_jobs)
        if len(pieces) == len(keys.cells):
            return moments
        return np.add.reduceat(moments, np.searchsorted(cell, np.arange(len(keys.cells))), axis=0)

    def _translated(self, moments: np.ndarray, route: list[_Stop], cells: np.ndarray) -> np.ndarray:
        """L of shape (t, c, P^d), feature after feature from the last."""
        matrices = _translation_matrices(self.loops.P, self.width * self.per_unit, self._n_near)
        for stop in route:
            moments = self._arrived(self.loops.translate, stop, moments, cells, matrices)
            cells = stop.turned
        return moments

    def _arrived(
        self, loop: Callable, stop: _Stop, amounts: np.ndarray, cells: np.ndarray, factors: np.ndarray
    ) -> np.ndarray:
        """What a loop that goes along the last feature brings from `cells` to a stop."""
        arrived = np.empty((len(stop.cells), *amounts.shape[1:]))

        def bring(part: slice) -> None:
            loop(arrived[part], stop.cells[part], amounts, cells, factors)

        for_each_chunk(bring, len(arrived), _CHUNK, self.problem.n_jobs)
        return arrived

    def _error_bound(self, keys: _Cells, route: list[_Stop]) -> np.ndarray:
        """A bound of the errors of the sums in the cells at the end of the route, of shape (t, c).

        d `_CELL_ERROR` sum_s exp(-gap_s^2 / 4) sum_(j in s) |w V|_j, and all the keys that are not near.
        """
        sizes = np.add.reduceat(np.abs(keys.columns), keys.start[:-1], axis=1).T
        gap = np.maximum(np.abs(np.arange(-self._n_near, self._n_near + 1)) - 1, 0) * self.width * self.per_unit
        factors = np.repeat(np.exp(-(gap**2) / 4)[:, np.newaxis], len(keys.columns), axis=1)
        near = self._spread(sizes, route, keys.cells, factors)
        return len(keys.points) * _CELL_ERROR * near + self.points.total * np.exp(-(self.reach**2) / 2)

    def _spread(self, amounts: np.ndarray, route: list[_Stop], cells: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """sum_s amounts[s] prod over the features of factors[D], of shape (t, q)."""
        amounts = np.ascontiguousarray(amounts)
        for stop in route:
            amounts = self._arrived(self.loops.spread, stop, amounts, cells, factors)
            cells = stop.turned
        return amounts

    # Direct sums

    def _sum_windows(self, wanted: np.ndarray) -> None:
        """One feature: sums over the keys that matter, for the queries with a True in `wanted` (m,)."""
        keys, queries = self.points.sorted_keys, self.points.sorted_queries
        if not wanted.any():
            return
        taken = np.flatnonzero(np.take(wanted, queries.rows))
        own, share = (of_query[taken] for of_query in self.points.own(queries, keys))
        rows, coordinates = queries.rows[taken], queries.points[0, taken]

        def sum_part(part: slice) -> None:
            self.loops.sum_windows(
                *(self.sums, self.log_scale, rows[part], coordinates[part], own[part], share[part]),
                *(keys.points[0], keys.columns, self.rate, self.log_small_part, _SMALLEST_EXPONENT),
            )

        for_each_chunk(sum_part, len(rows), _CHUNK, self.problem.n_jobs)

    def _sum_near(self, keys: _Cells, queries: _Cells, reach: float, done: np.ndarray, searching: bool = False) -> None:
        """Sums over the keys nearer than `reach` widths; `done` becomes True where the others do not matter.

        When `searching`, the nearest key is found first, and sums that would underflow are relative to it.
        """
        nearest = np.zeros(len(self.problem.queries))
        if searching:
            nearest[queries.rows] = np.inf
            self._visit(keys, queries, reach, nearest, searching=True)
            queries = queries.subset(np.isfinite(nearest[queries.rows]))
            nearest[self.rate * nearest < -_SMALLEST_EXPONENT] = 0.0
        self._visit(keys, queries, reach, nearest, searching=False)
        rows = queries.rows
        self.log_scale[rows] = -self.rate * nearest[rows]
        with np.errstate(divide="ignore"):
            log_mass = np.log(self.sums[rows, 0]) + self.log_scale[rows]
        good = log_mass > self.log_small_part - self.rate * (reach * keys.width) ** 2
        done[rows[good]] = True
        self.sums[rows[~good]], self.log_scale[rows[~good]] = 0.0, 0.0

    def _visit(self, keys: _Cells, queries: _Cells, reach: float, nearest: np.ndarray, searching: bool) -> None:
        own, share = self.points.own(queries, keys)
        cell, pieces = queries.pieces(np.arange(len(queries.cells)))
        rate = -self.rate / np.log(2.0)

        def visit(part: slice) -> None:
            self.loops.add_near_keys(
                *(self.sums, nearest, searching, queries.rows, queries.points, own, share),
                *(queries.cells, cell[part], pieces[part]),
                *(keys.points, keys.columns, keys.cells, keys.start, reach, rate),
            )

        for_each_chunk(visit, len(pieces), _CHUNK, self.problem.n_jobs)

    def _sum_direct(self, rows: np.ndarray, reach: float) -> None:
        """Two and three features: direct sums over the keys nearer than `reach`, and further where there are few."""
        problem = self.problem
        for n_times in range(_MOST_SEARCHES):
            if len(rows) * len(problem.keys) <= _FEW_PAIRS:
                break
            width = cell_width(1.07 * reach / _DIRECT_CELLS)
            keys, queries = self.points.key_cells(width), self.points.query_cells(width, rows)
            done = np.zeros(len(problem.queries), dtype=bool)
            self._sum_near(keys, queries, float(_DIRECT_CELLS), done, searching=n_times > 0)
            reach *= 2.0 if 2 * np.count_nonzero(done) > len(rows) else 8.0
            rows = rows[~done[rows]]
        if len(rows):
            own = None if problem.own is None else Own(problem.own.key[rows], problem.own.share[rows])
            rest = replace(problem, queries=problem.queries[rows], own=own, factors=np.array([self.factor]))
            sums = fused.compute(rest)
            self.sums[rows, 0], self.sums[rows, 1:] = sums.mass[0], sums.moments[0]
            self.log_scale[rows] = sums.log_scale[0]


def cell_width(largest: float) -> float:
    """A width up to `largest` with so few digits that its whole multiples are exact."""
    mantissa, exponent = np.frexp(largest)
    return float(np.ldexp(np.floor(np.ldexp(mantissa, _DIGITS_OF_WIDTH)), exponent - _DIGITS_OF_WIDTH))


@lru_cache(maxsize=16)
def _translation_matrices(p: int, width: float, reach: int) -> np.ndarray:
    """C_jk(D) as [reach + D, k, j], for cells of `width` bandwidths.

    The values of the kernel at the p Chebyshev nodes of both cells, transformed in both to coefficients.
    """
    angles = np.pi * (np.arange(p) + 0.5) / p
    to_coefficients = 2.0 / p * np.cos(np.arange(p)[:, np.newaxis] * angles)
    to_coefficients[0] /= 2.0
    nodes = np.cos(angles) / 2.0
    distance = np.arange(-reach, reach + 1)[:, np.newaxis, np.newaxis]
    u = width * (distance + nodes - nodes[:, np.newaxis])  # [D, node of the key, node of the query]
    return np.ascontiguousarray(to_coefficients @ np.exp(-(u**2) / 2) @ to_coefficients.T)


# Lists of cells


@dataclass(frozen=True, eq=False)
class _Stop:
    """Where sums arrive when translated along one feature.

    Attributes
    ----------
    cells : (t, 3)
    turned : (t, 3)
        The same, the last feature made the first; sorted.
    """

    cells: np.ndarray
    turned: np.ndarray


def _route(cells: np.ndarray, targets: np.ndarray, d: int, reach: int) -> list[_Stop]:
    """The stops from `cells` to `targets`: near the stop before, and near a target in the features still to come."""
    route = []
    for n_done in range(d):
        turned = _sorted(_turned(targets, d))
        if n_done < d - 1:
            wanted = targets
            for axis in range(3 - d + n_done, 2):
                wanted = _dilated(wanted, axis, reach)
            turned = _sorted(_turned(_common(_dilated(cells, 2, reach), wanted), d))
        route.append(_Stop(_turned_back(turned, d), turned))
        cells, targets = turned, _turned(targets, d)
    return route


def _turned(cells: np.ndarray, d: int) -> np.ndarray:
    return np.hstack([cells[:, : 3 - d], cells[:, 2:], cells[:, 3 - d : 2]])


def _turned_back(cells: np.ndarray, d: int) -> np.ndarray:
    return np.hstack([cells[:, : 3 - d], cells[:, 4 - d :], cells[:, 3 - d : 4 - d]])


def _dilated(cells: np.ndarray, axis: int, reach: int) -> np.ndarray:
    """All cells at most `reach` from one of `cells` along an axis."""
    dilated = np.repeat(cells, 2 * reach + 1, axis=0)
    dilated[:, axis] += np.tile(np.arange(-reach, reach + 1), len(cells))
    dilated = _sorted(dilated)
    return dilated[np.append(True, np.any(dilated[1:] != dilated[:-1], axis=1))] if len(dilated) else dilated


def _common(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cells in both of two lists without repetitions."""
    both = _sorted(np.vstack([a, b]))
    return both[1:][np.all(both[1:] == both[:-1], axis=1)]


def _sorted(cells: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(cells[_lexicographic_order(cells.T)])


def _lexicographic_order(index: np.ndarray) -> np.ndarray:
    """The order of n cells, given as (d, n)."""
    if index.shape[1] == 0:
        return np.empty(0, dtype=np.intp)
    lowest = index.min(axis=1)
    extent = index.max(axis=1) - lowest + 1
    if np.prod(extent.astype(float)) >= 2.0**62:
        return np.lexsort(index[::-1])
    # a single number for each cell sorts several times faster
    number = np.zeros(index.shape[1], dtype=np.int64)
    for axis, low, length in zip(index, lowest, extent, strict=True):
        number = number * length + (axis - low)
    return np.argsort(number)
