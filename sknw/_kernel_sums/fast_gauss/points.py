"""The keys and queries of Gaussian sums, and the Gaussian at one bandwidth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sknw._kernel_sums.fast_gauss.grid import Cells
from sknw._kernel_sums.permutation import Rows, in_order, places, row_blocks
from sknw._kernel_sums.request import KernelSumRequest
from sknw.kernels import ExponentialForm

# The part of a sum that its error may be.
TOLERANCE = 1e-12
# Keys are near as long as all the others weigh less than a tenth of the tolerance of this mass.
_SMALL_MASS = 1e-3


class Points:
    """What the bandwidths share.

    Attributes
    ----------
    total, scale : ndarrays of shape (1 + k,)
        Sums of w and |w V|, and the mean of |V|, weighted: what errors of the moments are relative to.
    most : float
        No set of keys has a larger mass, nor a moment larger than so many times the scale.
    """

    def __init__(self, problem: KernelSumRequest):
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
        return own is not None and len(own.index) == n and np.array_equal(own.index, np.arange(n))

    def query_cells(self, width: float, rows: Rows) -> Cells:
        return Cells.of_points(rows, self.queries, self._own, width)

    @property
    def _own(self) -> tuple[np.ndarray, ...]:
        """The key that each query is, and its share; none without leave-one-out."""
        own = self.problem.own
        return () if own is None else (own.index, own.retained)

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
