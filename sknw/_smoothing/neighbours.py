"""The samples that have a say at a query, few where the bandwidth is small."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sknw._kernel_sums import dense
from sknw._kernel_sums.request import KernelSumRequest, LeaveOneOut
from sknw.kernels import ExponentialForm

# Queries that look for their neighbours together: so many, but with weights for all keys no more than so many bytes.
_CHUNK = 128
_CHUNK_BYTES = 2**25
# A weight below exp(-60) = 1e-26 of the largest has no say.
_NEGLIGIBLE_EXPONENT = 60.0
# Of distances and their powers.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class EffectiveNeighbours:
    """The neighbours of queries with support, at the first bandwidth factor of a problem."""

    problem: KernelSumRequest

    def chunks(self, rows: np.ndarray) -> list[np.ndarray]:
        """The queries `rows` in chunks of some that are near each other."""
        if self._reach_is_known:
            rank = np.empty(len(self.problem.keys), dtype=np.intp)
            rank[self.problem.tree.indices] = np.arange(len(rank))  # neighbours are neighbours in the tree
            rows = rows[np.argsort(rank[self._nearest(rows)[1]], kind="stable")]
        size = min(_CHUNK, max(_CHUNK_BYTES // (8 * len(self.problem.keys)), 1))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keys (m, l) and weights (m, l) of the queries `rows` (m,).

        Each row of weights sums to 1; they are zero where a query has fewer than l neighbours.
        """
        problem, near = self.problem, self._keys_near(rows)
        here = replace(
            problem,
            queries=problem.queries[rows],
            keys=problem.keys[near],
            weights=problem.weights[near],
            values=problem.values[near],
            own=problem.own and LeaveOneOut(np.searchsorted(near, problem.own.index[rows]), problem.own.retained[rows]),
        )
        weights = dense.weight_rows(here, slice(None))
        weights[weights < np.exp(-_NEGLIGIBLE_EXPONENT) * weights.max(axis=1, keepdims=True)] = 0.0
        n_most = int(np.count_nonzero(weights, axis=1).max())
        largest = np.argpartition(weights, -n_most, axis=1)[:, -n_most:]
        weights = np.take_along_axis(weights, largest, axis=1)
        return near[largest], weights / weights.sum(axis=1, keepdims=True)

    def _keys_near(self, rows: np.ndarray) -> np.ndarray:
        """All keys, ascending, that may have a say at one of the queries `rows`."""
        problem = self.problem
        if not self._reach_is_known:
            return np.arange(len(problem.keys))
        queries = problem.queries[rows]
        middle = 0.5 * (queries.min(axis=0) + queries.max(axis=0))
        radius = (np.linalg.norm(queries - middle, axis=1) + self._reach(rows)).max() * (1.0 + _ROUNDING)
        found = problem.tree.query_ball_point(middle / problem.max_abs_key, radius / problem.max_abs_key)
        return np.sort(np.array(found, dtype=np.intp))

    def _reach(self, rows: np.ndarray) -> np.ndarray:
        """How far the keys may be that have a say at the queries `rows`: (m,)."""
        kernel, factor = self.problem.kernel, self.problem.factors[0]
        if not isinstance(kernel.form, ExponentialForm):
            return np.full(len(rows), factor * kernel.support)
        rate, power = kernel.form
        exponent = _NEGLIGIBLE_EXPONENT - np.log(self.problem.weights.min())
        distance = self.problem.max_abs_key * self._nearest(rows)[0]
        return factor * ((distance / factor) ** power + exponent / rate) ** (1 / power)

    def _nearest(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance, in units of the keys' size, and key of the nearest neighbour of the queries `rows`."""
        problem = self.problem
        # an own key is the first or one of several first; another one is at most the second
        k = 1 if problem.own is None or len(problem.keys) == 1 else 2
        distance, key = problem.tree.query(problem.queries[rows] / problem.max_abs_key, k=[k])
        return distance[:, 0], key[:, 0]

    @property
    def _reach_is_known(self) -> bool:
        kernel = self.problem.kernel
        return isinstance(kernel.form, ExponentialForm) or np.isfinite(kernel.support)
