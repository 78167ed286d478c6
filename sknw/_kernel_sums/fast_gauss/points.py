"""The keys and queries of Gaussian sums, and the Gaussian at one bandwidth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sknw._kernel_sums.fast_gauss.grid import Cells
from sknw._kernel_sums.permutation import Rows, inverse_permutation, places_of, row_blocks, take_last
from sknw._kernel_sums.request import KernelSumRequest

# The part of a sum that its error may be.
TOLERANCE = 1e-12
# Keys are near as long as all the others weigh less than a tenth of the tolerance of this mass.
_SMALL_MASS = 1e-3


class Points:
    """What the bandwidths share."""

    def __init__(self, request: KernelSumRequest):
        self.request, self.index, self.d = request, request.index, request.keys.shape[1]
        self.keys, self.queries = request.keys.T, request.queries.T
        self.columns = self.index.of_columns("by column", lambda: np.ascontiguousarray(request.columns.T))
        # sums of w and |w V|, (1 + k,), and the weighted mean of |V|: what errors of the moments are relative to
        self.total, largest = self.index.of_columns("totals", self._totals)
        self.scale = self.total / self.total[0]
        unevenness = np.max(np.divide(largest, self.scale, out=np.ones_like(largest), where=self.scale > 0))
        # no set of keys has a larger mass, nor a moment larger than this times the scale
        self.most = float(self.total[0] * unevenness)

    def _totals(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums of w and |w V|, and the largest of 1 and |V|."""
        weights = self.index.weights
        total, largest = np.zeros((2, 1 + len(self.columns)))
        total[0], largest[0] = weights.sum(), 1.0
        for some in row_blocks(len(weights)):
            magnitudes = np.abs(self.columns[:, some])
            total[1:] += np.einsum("ki,i->k", magnitudes, weights[some])
            largest[1:] = np.maximum(largest[1:], magnitudes.max(axis=1))
        return total, largest

    def key_cells(self, width: float) -> Cells:
        """The keys in cells of a grid."""
        rows, attached = slice(0, len(self.index)), (self.index.weights, self.columns)
        return self.index.of_bandwidth(("cells", width), lambda: Cells.of_points(rows, self.keys, attached, width))

    def query_cells_beside(self, keys: Cells) -> Cells:
        """All queries, in cells as those of all keys."""
        if self.queries_are_keys:
            return replace(keys, attached=tuple(take_last(array, keys.rows) for array in self._own))
        return self.query_cells(keys.width, slice(0, len(self.request.queries)))

    @cached_property
    def queries_are_keys(self) -> bool:
        """Whether query i is key i, for all of them."""
        leave_out = self.request.leave_out
        return leave_out is not None and leave_out.is_all_in_order(len(self.index))

    def query_cells(self, width: float, rows: Rows) -> Cells:
        """Some queries in cells of a grid."""
        return Cells.of_points(rows, self.queries, self._own, width)

    def ranges(self, of_queries: Rows, of_keys: Rows) -> tuple[np.ndarray, np.ndarray]:
        """For queries and keys in an order, the ranges that are left out and the numbers of the keys; or nothing."""
        leave_out = self.request.leave_out
        if leave_out is None or not self.request.has_ranges:
            return np.empty((0, 2), dtype=np.intp), np.empty(0, dtype=np.intp)
        ranges = np.column_stack([leave_out.first[of_queries], leave_out.last[of_queries]])
        return ranges, np.arange(len(self.index))[of_keys]

    @property
    def _own(self) -> tuple[np.ndarray, ...]:
        """The key that each query is; none without leave-one-out."""
        leave_out = self.request.leave_out
        return () if leave_out is None or self.request.has_ranges else (leave_out.index,)

    def left_out(self, queries: Cells, keys: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The position among `keys` of the key that each query is, -1 for none, and `ranges`."""
        return self.own(queries, keys), *self.ranges(queries.rows, keys.rows)

    def own(self, queries: Cells, keys: Cells) -> np.ndarray:
        """The position among `keys` of the key that each query is, -1 for none."""
        if not self._own:
            return np.full(len(queries), -1)
        if queries.rows is keys.rows:  # of all keys
            return np.arange(len(keys))
        return places_of(queries.attached[0], inverse_permutation(keys.rows, len(self.index)))


@dataclass(frozen=True)
class Bandwidth:
    """The Gaussian at one bandwidth."""

    h: float  # in units of the keys
    rate: float  # the weight at distance x is exp(-rate x^2)
    per_unit: float  # bandwidths in a unit of the coordinates
    # if each key weighs at most exp of this times another one, all together weigh less than a tenth of the tolerance
    # times that one
    log_small_part: float
    reach: float  # how far keys are near, in bandwidths

    @classmethod
    def of(cls, points: Points, h: float) -> Bandwidth:
        rate = points.request.form.rate / h**2
        log_small_part = float(np.log(10.0 * points.most / TOLERANCE))
        # the weight of keys beyond the reach, exp(-reach^2 / 2), is a tenth of the tolerance of a small mass for all
        # of them together
        reach = float(np.sqrt(2.0 * max(log_small_part - np.log(_SMALL_MASS), 1.0)))
        return cls(h, rate, float(np.sqrt(2.0 * rate)), log_small_part, reach)
