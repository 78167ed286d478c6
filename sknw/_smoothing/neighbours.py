"""The samples of non-negligible weight at a query, few where the bandwidth is small."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sknw._kernel_sums import dense
from sknw._kernel_sums.request import KernelSumRequest

# The largest number of queries that look for their neighbours together, and of bytes of weights of all keys then.
_CHUNK = 128
_CHUNK_BYTES = 2**25
# A query with at most the first number of keys near has few; the second is how many of these look for them together.
_FEW, _CHUNK_OF_FEW = 24, 512
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
class Chunk:
    """Queries whose neighbours are found together."""

    rows: np.ndarray  # (m,)
    n_near: int | None  # none of them has more keys that are near enough; None where these are many


@dataclass(frozen=True, eq=False)
class EffectiveNeighbours:
    """The neighbours of queries with support, at the first bandwidth of a request."""

    request: KernelSumRequest

    def chunks(self, rows: np.ndarray, n_columns: int = 1) -> list[Chunk]:
        """The queries `rows` in chunks, for `n_columns` of each key; those with many keys near are near each other."""
        chunks: list[Chunk] = []
        if self.radius_is_known and len(rows):
            distance, nearest = self._nearest(rows)
            radii = self._radii(rows, distance) / self.request.index.max_abs_key
            counts = self.request.index.tree.query_ball_point(self._in_units_of_tree(rows), radii, return_length=True)
            order = np.argsort(counts, kind="stable")
            few = order[: np.searchsorted(counts[order], _FEW, side="right")]
            for start in range(0, len(few), _CHUNK_OF_FEW):
                some = few[start : start + _CHUNK_OF_FEW]
                chunks.append(Chunk(rows[some], max(int(counts[some[-1]]), 1)))
            rank = np.empty(len(self.request.keys), dtype=np.intp)
            rank[self.request.index.tree.indices] = np.arange(len(rank))  # neighbours are neighbours in the tree
            many = order[len(few) :]
            rows = rows[many[np.argsort(rank[nearest[many]], kind="stable")]]
        most = _CHUNK_BYTES // (8 * len(self.request.keys) * -(-n_columns // _FEW_COLUMNS))
        size = min(_CHUNK, max(most, 1))
        return chunks + [Chunk(rows[start : start + size], None) for start in range(0, len(rows), size)]

    def of(self, chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
        """Keys (m, l) and weights (m, l) of the queries of a chunk.

        Each row of weights sums to 1; they are zero where a query has fewer than l neighbours.
        """
        rows = chunk.rows
        if chunk.n_near is not None:
            k = range(1, min(chunk.n_near, len(self.request.index)) + 1)
            keys = self.request.index.tree.query(self._in_units_of_tree(rows), k=k)[1]
            weights = self._weights_of(rows, keys)
        else:
            here, near = self.request.take(rows), np.arange(len(self.request.index))
            if self.radius_is_known:
                near = self.keys_near(rows, self._nearest(rows)[0])
            leave_out = None if here.leave_out is None else here.leave_out.among(near)
            here = replace(here, index=here.index.take(near), leave_out=leave_out)
            keys, weights = near[np.newaxis], dense.weight_rows(here, slice(None))
        keys, weights = _effective(keys, weights)
        return keys, weights / weights.sum(axis=1, keepdims=True)

    def _weights_of(self, rows: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """K w of some keys (m, l) of each query, each row up to a factor."""
        request = self.request.take(rows)
        sq = request.squares_of_pairs(keys)
        is_out = np.zeros(keys.shape, dtype=bool) if request.leave_out is None else request.leave_out.contains(keys)
        if not request.kernel.reaches_everywhere:
            return np.where(is_out, 0.0, dense.profile(request.kernel, sq)) * request.weights[keys]
        exponents = np.where(is_out, -np.inf, request.kernel.log_profile(sq))
        return np.exp(exponents - exponents.max(axis=1, keepdims=True)) * request.weights[keys]

    def _in_units_of_tree(self, rows: np.ndarray) -> np.ndarray:
        return self.request.queries[rows] / self.request.index.max_abs_key

    def keys_near(self, rows: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """All keys, ascending, that may have a non-negligible weight at one of the queries `rows`.

        Their nearest keys are at most at the `distance`, in units of the largest coordinate of a key, (m,).
        """
        queries, size = self.request.queries[rows], self.request.index.max_abs_key
        middle = 0.5 * (queries.min(axis=0) + queries.max(axis=0))
        radius = (np.linalg.norm(queries - middle, axis=1) + self._radii(rows, distance)).max() * (1.0 + _ROUNDING)
        found = self.request.index.tree.query_ball_point(middle / size, radius / size)
        return np.sort(np.array(found, dtype=np.intp))

    def keys_near_each(self, distance: np.ndarray) -> np.ndarray:
        """The keys near each query by itself, for all queries of the request."""
        radii = self._radii(np.arange(len(distance)), distance) * (1.0 + _ROUNDING)
        return self.request.index.keys_within(self.request.queries, radii)

    def most_distance(self, rows: np.ndarray, log_samples: np.ndarray) -> np.ndarray:
        """The most that the nearest key of the queries `rows` is away, given log M, M = sum_j K_j w_j / K(0): (m,).

        The largest K_j / K(0) is at least M / n, as no weight is above 1; in units of the largest coordinate of a key.
        """
        kernel = self.request.kernel
        if kernel.is_compact:
            return np.broadcast_to(np.inf, log_samples.shape)
        assert kernel.form is not None
        exponent = np.maximum(np.log(len(self.request.keys)) - log_samples, 0.0)
        distance = self._bandwidths(rows) * (exponent / kernel.form.rate) ** (1 / kernel.form.power)
        return distance / self.request.index.max_abs_key

    def _bandwidths(self, rows: np.ndarray) -> np.ndarray:
        """The bandwidth of each of the queries `rows`, (m,)."""
        widths = np.ones(len(rows)) if self.request.widths is None else self.request.widths[rows]
        return self.request.bandwidths[0] * widths

    def _radii(self, rows: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Within which distance the keys of non-negligible weight are, with the nearest at `distance`: (m,)."""
        kernel, h = self.request.kernel, self._bandwidths(rows)
        if kernel.is_compact:
            return h * kernel.support * (1.0 + _ROUNDING)
        assert kernel.form is not None
        rate, power = kernel.form.rate, kernel.form.power
        exponent = _NEGLIGIBLE_EXPONENT - np.log(self.request.index.smallest_weight)
        distance = self.request.index.max_abs_key * distance
        return h * ((distance / h) ** power + exponent / rate) ** (1 / power) * (1.0 + _ROUNDING)

    def _nearest(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return nearest_keys(self.request, self._in_units_of_tree(rows), rows)

    @property
    def radius_is_known(self) -> bool:
        """Whether keys can be near or far by their distance."""
        kernel = self.request.kernel
        return kernel.form is not None or kernel.is_compact


def _effective(keys: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The non-negligible ones among weights (m, l), and their keys, given for each row or (1, l) for all of them."""
    weights[weights < np.exp(-_NEGLIGIBLE_EXPONENT) * weights.max(axis=1, keepdims=True)] = 0.0
    row, place = np.nonzero(weights)
    count = np.bincount(row, minlength=len(weights))
    to = row, np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    found_keys = np.zeros((len(weights), count.max()), dtype=np.intp)
    found = np.zeros(found_keys.shape)
    found_keys[to], found[to] = np.broadcast_to(keys, weights.shape)[row, place], weights[row, place]
    return found_keys, found


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
            distances[leave_out[left].contains(keys)] = np.inf
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
        sq[leave_out[some].contains(np.arange(len(index)))] = np.inf
        key[some] = np.argmin(sq, axis=1)
        distance[some] = np.sqrt(np.take_along_axis(sq, key[some, np.newaxis], axis=1)[:, 0])
    return distance, np.minimum(key, len(index) - 1)
