"""Direct Gaussian sums in two and three features, and what all Gaussian sums share.

The keys are those in the cells near by, and further where these are few.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sknw._sums import fused
from sknw._sums._cells import Cells, cell_width
from sknw._sums._order import Rows, in_order, places, row_blocks
from sknw._sums._problem import Own, Problem
from sknw._sums._threads import for_each_chunk
from sknw.kernels import ExponentialForm

# The part of a sum that its error may be.
TOLERANCE = 1e-12
# Nanoseconds, on one thread, of a direct kernel evaluation; and what a query costs before its first, in such
# evaluations.
DIRECT_COST, DIRECT_START = 1.0, 200.0
# Keys are near as long as all the others weigh less than a tenth of the tolerance of this mass.
_SMALL_MASS = 1e-3
# Pieces of queries that a thread takes.
_CHUNK = 512
# Fewer pairs than this are left to the fused engine when only far queries remain.
_FEW_PAIRS = 2e7
# Searches for the nearest key, each further than the one before, until the fused engine takes what is left.
_MOST_SEARCHES = 24
# Direct sums go so many cells far. More would be a closer fit to the sphere that they sum over, and more short runs.
DIRECT_CELLS = 4
# Sums smaller than exp of this, which small weights might bring to underflow, are relative to their nearest key.
SMALLEST_EXPONENT = -400.0


class Points:
    """What the bandwidths share.

    Attributes
    ----------
    total, scale : ndarrays of shape (1 + k,)
        Sums of w and |w V|, and the mean of |V|, weighted: what errors of the moments are relative to.
    most : float
        No set of keys has a larger mass, nor a moment larger than so many times the scale.
    """

    def __init__(self, problem: Problem):
        self.problem, self.d = problem, problem.keys.shape[1]
        self.keys, self.queries = problem.keys.T, problem.queries.T
        self.values = np.ascontiguousarray(problem.values.T)
        self.total, largest = problem.once("totals", self._totals)
        self.scale = self.total / self.total[0]
        unevenness = np.max(np.divide(largest, self.scale, out=np.ones_like(largest), where=self.scale > 0))
        self.most = float(self.total[0] * unevenness)

    def _totals(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums of w and |w V|, and the largest of 1 and |V|."""
        weights = self.problem.weights
        total, largest = np.zeros((2, 1 + len(self.values)))
        total[0], largest[0] = weights.sum(), 1.0
        for some in row_blocks(len(weights)):
            magnitudes = np.abs(self.values[:, some])
            total[1:] += np.einsum("ki,i->k", magnitudes, weights[some])
            largest[1:] = np.maximum(largest[1:], magnitudes.max(axis=1))
        return total, largest

    def key_cells(self, width: float) -> Cells:
        rows, attached = slice(0, len(self.problem.keys)), (self.problem.weights, self.values)
        return self.problem.once(("cells", width), lambda: Cells.of_points(rows, self.keys, attached, width))

    def query_cells_beside(self, keys: Cells) -> Cells:
        """All queries, in cells as those of all keys."""
        if self.queries_are_keys:
            return replace(keys, attached=tuple(in_order(array, keys.rows) for array in self._own))
        return self.query_cells(keys.width, slice(0, len(self.problem.queries)))

    @cached_property
    def queries_are_keys(self) -> bool:
        """Whether query i is key i, for all of them."""
        own, n = self.problem.own, len(self.problem.keys)
        return own is not None and len(own.key) == n and np.array_equal(own.key, np.arange(n))

    def query_cells(self, width: float, rows: Rows) -> Cells:
        return Cells.of_points(rows, self.queries, self._own, width)

    @property
    def _own(self) -> tuple[np.ndarray, ...]:
        """The key that each query is, and its share; none without leave-one-out."""
        own = self.problem.own
        return () if own is None else (own.key, own.share)

    def own(self, queries: Cells, keys: Cells) -> tuple[np.ndarray, np.ndarray]:
        """The place among `keys` of the key that each query is, and its share."""
        if self.problem.own is None:
            return np.full(len(queries), -1), np.zeros(len(queries))
        own, share = queries.attached
        if queries.rows is keys.rows:  # of all keys
            return np.arange(len(keys)), share
        place = places(keys.rows, len(self.problem.keys))
        return own if isinstance(place, slice) else np.take(place, own), share


@dataclass(frozen=True)
class Bandwidth:
    """The Gaussian at one bandwidth.

    Attributes
    ----------
    factor : float
    rate : float
        The weight at distance x is exp(-rate x^2).
    per_unit : float
        Bandwidths in a unit of the coordinates.
    log_small_part : float
        All keys together weigh less than a tenth of the tolerance of a key that weighs exp of this as much as each.
    reach : float
        In bandwidths: how far keys are near.
    """

    factor: float
    rate: float
    per_unit: float
    log_small_part: float
    reach: float

    @classmethod
    def of(cls, points: Points, factor: float) -> Bandwidth:
        form = points.problem.kernel.form
        assert isinstance(form, ExponentialForm)
        rate = form.rate / factor**2
        log_small_part = float(np.log(10.0 * points.most / TOLERANCE))
        # the weight of keys beyond the reach, exp(-reach^2 / 2), is a tenth of the tolerance of a small mass for all
        # of them together
        reach = float(np.sqrt(2.0 * max(log_small_part - np.log(_SMALL_MASS), 1.0)))
        return cls(factor, rate, float(np.sqrt(2.0 * rate)), log_small_part, reach)


class DirectSums:
    """Sums over the keys near a query, written to `sums` (1 + k, m) and `log_scale` (m,)."""

    def __init__(self, points: Points, bandwidth: Bandwidth, sums: np.ndarray, log_scale: np.ndarray):
        from sknw._sums import _near_loops  # here, and not above, because it imports numba

        self.points, self.problem, self.bandwidth = points, points.problem, bandwidth
        self.sums, self.log_scale, self.loops = sums, log_scale, _near_loops

    def add_rest(self, keys: Cells, queries: Cells, done: np.ndarray) -> None:
        """The sums of all queries but those of `queries` with a True in `done`."""
        is_left = np.ones(len(self.problem.queries), dtype=bool)
        is_left[queries.rows] = ~done
        reach = self.bandwidth.reach / self.bandwidth.per_unit
        if done.any() and not done.all():
            # few queries: not worth cells of their own
            self._add_near(keys, queries.subset(~done), reach / keys.width, is_left)
            reach *= 2.0
        self._add_near_and_further(np.flatnonzero(is_left), reach)

    def _add_near(
        self, keys: Cells, queries: Cells, reach: float, is_left: np.ndarray, searching: bool = False
    ) -> None:
        """Sums over the keys nearer than `reach` widths; `is_left` (m,) becomes False where the others do not matter.

        When `searching`, the nearest key is found first, and sums that would underflow are relative to it.
        """
        rate = self.bandwidth.rate
        nearest = np.zeros(len(queries))
        if searching:
            nearest[:] = np.inf
            self._visit(np.empty((0, len(queries))), nearest, keys, queries, reach, searching=True)
            is_found = np.isfinite(nearest)
            queries, nearest = queries.subset(is_found), nearest[is_found]
            nearest[rate * nearest < -SMALLEST_EXPONENT] = 0.0
        sums = np.zeros((len(self.sums), len(queries)))
        self._visit(sums, nearest, keys, queries, reach, searching=False)
        log_scale = -rate * nearest
        with np.errstate(divide="ignore"):
            log_mass = np.log(sums[0]) + log_scale
        good = log_mass > self.bandwidth.log_small_part - rate * (reach * keys.width) ** 2
        rows = in_order(np.arange(len(is_left)), queries.rows)[good]
        self.sums[:, rows], self.log_scale[rows], is_left[rows] = sums[:, good], log_scale[good], False

    def _visit(
        self, sums: np.ndarray, nearest: np.ndarray, keys: Cells, queries: Cells, reach: float, searching: bool
    ) -> None:
        own, share = self.points.own(queries, keys)
        cell, pieces = queries.pieces(np.arange(len(queries.cells)))
        rate = -self.bandwidth.rate / np.log(2.0)

        def visit(some: slice) -> None:
            self.loops.add_near_keys(
                *(sums, nearest, searching, queries.points, own, share, queries.cells, cell[some], pieces[some]),
                *(keys.points, *keys.attached, keys.cells, keys.start, reach, rate),
            )

        for_each_chunk(visit, len(pieces), _CHUNK, self.problem.n_threads)

    def _add_near_and_further(self, rows: np.ndarray, reach: float) -> None:
        """Sums over the keys nearer than `reach`, and further where there are few."""
        problem, points = self.problem, self.points
        for n_times in range(_MOST_SEARCHES):
            if len(rows) * len(problem.keys) <= _FEW_PAIRS:
                break
            width = cell_width(1.07 * reach / DIRECT_CELLS)
            keys, queries = points.key_cells(width), points.query_cells(width, rows)
            is_left = np.ones(len(problem.queries), dtype=bool)
            self._add_near(keys, queries, float(DIRECT_CELLS), is_left, searching=n_times > 0)
            n_before, rows = len(rows), rows[is_left[rows]]
            reach *= 2.0 if 2 * len(rows) < n_before else 8.0
        if len(rows):
            own = None if problem.own is None else Own(problem.own.key[rows], problem.own.share[rows])
            factors = np.array([self.bandwidth.factor])
            sums = fused.compute(replace(problem, queries=problem.queries[rows], own=own, factors=factors))
            self.sums[0, rows], self.sums[1:, rows] = sums.mass[0], sums.moments[0].T
            self.log_scale[rows] = sums.log_scale[0]
