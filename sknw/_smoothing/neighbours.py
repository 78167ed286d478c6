"""The samples of non-negligible weight at a query, few where the bandwidth is small."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sknw._kernel_sums import dense
from sknw._kernel_sums.request import KernelSumRequest

# The largest number of queries that look for their neighbours together, and of bytes of weights of all keys then.
_CHUNK = 128
_CHUNK_BYTES = 2**25
# With more columns than this there are fewer queries.
_FEW_COLUMNS = 8
# A weight below exp(-60) = 1e-26 of the largest is negligible.
_NEGLIGIBLE_EXPONENT = 60.0
# Where the k nearest keys are all left out, k is multiplied by this; above this k all keys are compared; the number of
# pairs that are compared at once.
_MORE, _MOST_BY_TREE, _PAIRS_AT_ONCE = 4, 32, 2**20
# Of distances and their powers.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class EffectiveNeighbours:
    """The neighbours of queries with support, at the first bandwidth of a request."""

    request: KernelSumRequest

    def chunks(self, rows: np.ndarray, n_columns: int = 1) -> list[np.ndarray]:
        """The queries `rows` in chunks, for `n_columns` of each key; those of a chunk are near each other."""
        if self._radius_is_known:
            rank = np.empty(len(self.request.keys), dtype=np.intp)
            rank[self.request.index.tree.indices] = np.arange(len(rank))  # neighbours are neighbours in the tree
            rows = rows[np.argsort(rank[self._nearest(rows)[1]], kind="stable")]
        most = _CHUNK_BYTES // (8 * len(self.request.keys) * -(-n_columns // _FEW_COLUMNS))
        size = min(_CHUNK, max(most, 1))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keys (m, l) and weights (m, l) of the queries `rows` (m,).

        Each row of weights sums to 1; they are zero where a query has fewer than l neighbours.
        """
        here, near = self.request.take(rows), self._keys_near(rows)
        leave_out = None if here.leave_out is None else here.leave_out.among(near)
        here = replace(here, index=here.index.take(near), leave_out=leave_out)
        weights = dense.weight_rows(here, slice(None))
        weights[weights < np.exp(-_NEGLIGIBLE_EXPONENT) * weights.max(axis=1, keepdims=True)] = 0.0
        n_most = int(np.count_nonzero(weights, axis=1).max())
        largest = np.argpartition(weights, -n_most, axis=1)[:, -n_most:]
        weights = np.take_along_axis(weights, largest, axis=1)
        return near[largest], weights / weights.sum(axis=1, keepdims=True)

    def _keys_near(self, rows: np.ndarray) -> np.ndarray:
        """All keys, ascending, that may have a non-negligible weight at one of the queries `rows`."""
        index = self.request.index
        if not self._radius_is_known:
            return np.arange(len(index))
        queries = self.request.queries[rows]
        middle = 0.5 * (queries.min(axis=0) + queries.max(axis=0))
        radius = (np.linalg.norm(queries - middle, axis=1) + self._radii(rows)).max() * (1.0 + _ROUNDING)
        found = index.tree.query_ball_point(middle / index.max_abs_key, radius / index.max_abs_key)
        return np.sort(np.array(found, dtype=np.intp))

    def _radii(self, rows: np.ndarray) -> np.ndarray:
        """Within which distance the keys of non-negligible weight at the queries `rows` are: (m,)."""
        kernel, h = self.request.kernel, self.request.bandwidths[0]
        if kernel.is_compact:
            return np.full(len(rows), h * kernel.support)
        assert kernel.form is not None
        rate, power = kernel.form.rate, kernel.form.power
        exponent = _NEGLIGIBLE_EXPONENT - np.log(self.request.index.smallest_weight)
        distance = self.request.index.max_abs_key * self._nearest(rows)[0]
        return h * ((distance / h) ** power + exponent / rate) ** (1 / power)

    def _nearest(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return nearest_keys(self.request, self.request.queries[rows] / self.request.index.max_abs_key, rows)

    @property
    def _radius_is_known(self) -> bool:
        kernel = self.request.kernel
        return kernel.form is not None or kernel.is_compact


def nearest_keys(request: KernelSumRequest, queries: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to, and number of, the nearest key that is not left out, for `queries`, the `rows` of a request.

    Both in units of the largest coordinate of a key. The distance is infinite where all keys are left out.
    """
    index, leave_out = request.index, None if request.leave_out is None else request.leave_out[rows]
    distance, key, left = np.full(len(queries), np.inf), np.zeros(len(queries), dtype=np.intp), np.arange(len(queries))
    k = 1 if leave_out is None else 2  # an own key is the first or one of several first
    while left.size:
        k = min(k, len(index))
        distances, keys = index.tree.query(queries[left], k=range(1, k + 1))
        if leave_out is not None:
            here = leave_out[left]
            is_out = (here.first[:, np.newaxis] <= keys) & (keys < here.last[:, np.newaxis])
            distances[is_out] = np.inf
        best = np.argmin(distances, axis=1)[:, np.newaxis]
        distance[left] = np.take_along_axis(distances, best, axis=1)[:, 0]
        key[left] = np.take_along_axis(keys, best, axis=1)[:, 0]
        left = left[np.isinf(distance[left])] if k < len(index) else left[:0]
        k *= _MORE
        if k > _MOST_BY_TREE:
            break
    for some in np.array_split(left, -(-len(left) * len(index) // _PAIRS_AT_ONCE)) if left.size else ():
        sq = np.zeros((len(some), len(index)))
        for q, z in zip(queries[some].T, index.keys.T / index.max_abs_key, strict=True):
            sq += (q[:, np.newaxis] - z) ** 2
        assert leave_out is not None
        number = np.arange(len(index))
        sq[(leave_out.first[some, np.newaxis] <= number) & (number < leave_out.last[some, np.newaxis])] = np.inf
        key[some] = np.argmin(sq, axis=1)
        distance[some] = np.sqrt(np.take_along_axis(sq, key[some, np.newaxis], axis=1)[:, 0])
    return distance, np.minimum(key, len(index) - 1)
