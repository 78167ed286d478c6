"""What a query gets that no training sample supports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from sknw._kernel_sums.request import KernelSumRequest, LeaveOut
from sknw._kernel_sums.shards import ShardedIndex
from sknw._smoothing.neighbours import nearest_keys

# Rounding must not decide which of two samples is nearer: distances that differ by a few units in the last place of the
# coordinates are ties.
_TIE_ULPS = 8
# The tree is asked for this many neighbours; only if all of them tie, for every key within the radius.
_FEW_TIES = 4
# A query at this many times the keys' size sees all of them in one direction, to the last digits of distances.
_FAR = 1e8
# Queries whose nearest keys are found together: at least this many, and more while all pairs with keys are fewer.
_CHUNK, _PAIRS_OF_CHUNK = 50, 10**6


class UnsupportedPolicy:
    """What queries without support get instead of weighted means; each is found when it is needed first."""

    def __init__(self, policy: str, request: KernelSumRequest):
        self.policy, self.request = policy, request
        # of all queries, where any is needed; and which are known
        self.means, self.is_known = np.empty((0, 0)), np.empty(0, dtype=bool)

    def put(self, means: np.ndarray, unsupported: np.ndarray) -> np.ndarray:
        """Means of shape (b, m, k) with substitutes where `unsupported` (b, m), in place."""
        if unsupported.any():
            if not len(self.means):
                self.means, self.is_known = np.empty(means.shape[1:]), np.zeros(means.shape[1], dtype=bool)
            rows = np.flatnonzero(unsupported.any(axis=0))
            if len(new := rows[~self.is_known[rows]]):
                self.means[new], self.is_known[new] = policy_means(self.policy, self.request, new), True
            means[:, rows] = np.where(unsupported[:, rows, np.newaxis], self.means[rows], means[:, rows])
        return means


def policy_means(policy: str, request: KernelSumRequest, rows: np.ndarray) -> np.ndarray:
    """What the queries `rows`, without support, get by a policy: (len(rows), k)."""
    if policy == "nearest":
        # a chunk at a time, because many equal keys may be nearest
        size = max(_CHUNK, _PAIRS_OF_CHUNK // len(request.keys))
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        return np.vstack([_means_of_nearest(request, chunk) for chunk in chunks])
    if policy == "mean":
        return _means_of_all(request, rows)
    return np.full((len(rows), request.columns.shape[1]), np.nan)


def policy_weights(policy: str, request: KernelSumRequest, rows: np.ndarray) -> csr_array:
    """The weights (len(rows), n) that the queries `rows`, without support, give to the keys by a policy."""
    if policy == "nearest":
        return nearest_weights(request, rows)
    row = request.weights if policy == "mean" else np.full(len(request.keys), np.nan)
    return csr_array(np.tile(row, (len(rows), 1)))


def _means_of_nearest(request: KernelSumRequest, rows: np.ndarray) -> np.ndarray:
    if isinstance(request.index, ShardedIndex):
        request, rows = _about_candidates(request.take(rows), request.index), np.arange(len(rows))
    weights = nearest_weights(request, rows)
    with np.errstate(invalid="ignore"):  # 0 / 0: a sample alone has no nearest other one
        return (weights @ request.columns) / weights.sum(axis=1)[:, np.newaxis]


def _about_candidates(request: KernelSumRequest, index: ShardedIndex) -> KernelSumRequest:
    """The same about those keys alone that are nearest to a query among the keys of a shard."""
    near = index.find(_nearest_of_all, request)
    near = near if len(near) else np.zeros(1, dtype=np.intp)  # a sample alone has no nearest other one
    few = index.take(near)
    few.max_abs_key = index.max_abs_key
    leave_out = None if request.leave_out is None else request.leave_out.among(near)
    return replace(request, index=few, leave_out=leave_out)


def _nearest_of_all(request: KernelSumRequest) -> np.ndarray:
    """The keys that are nearest to a query, ascending."""
    return np.unique(nearest_weights(request, np.arange(len(request.queries))).indices)


def nearest_weights(request: KernelSumRequest, rows: np.ndarray) -> csr_array:
    """w_j of the keys nearest to the queries `rows` that are not left out: sparse, of shape (len(rows), n)."""
    index, leave_out = request.index, None if request.leave_out is None else request.leave_out[rows]
    queries = _project_far_queries(request.queries[rows], index.max_abs_key)
    nearest, _ = nearest_keys(request, queries, rows)
    has_nearest = np.isfinite(nearest)
    # queries, keys (the largest is 1), and what both were before centring
    size = np.abs(queries).max(axis=1) + 1.0 + index.offset_magnitude / index.max_abs_key
    radius = np.where(has_nearest, nearest + _TIE_ULPS * np.finfo(np.float64).eps * size, 0.0)
    distance, key = index.tree.query(queries, k=range(1, _FEW_TIES + 1))
    is_near = distance <= radius[:, np.newaxis]
    has_many = is_near[:, -1]
    row, place = np.nonzero(is_near & ~has_many[:, np.newaxis])
    key = key[row, place]
    if has_many.any():
        # one by one: lists of all would take much memory
        many = zip(queries[has_many], radius[has_many], strict=True)
        found = [np.array(index.tree.query_ball_point(query, r), dtype=np.intp) for query, r in many]
        row = np.append(row, np.repeat(np.flatnonzero(has_many), [len(keys_of_row) for keys_of_row in found]))
        key = np.concatenate([key, *found])
    if leave_out is not None:
        is_kept = (key < leave_out.first[row]) | (key >= leave_out.last[row])
        row, key = row[is_kept], key[is_kept]
    return csr_array((request.weights[key], (row, key)), shape=(len(rows), len(request.keys)))


def _project_far_queries(queries: np.ndarray, max_abs_key: float) -> np.ndarray:
    """Queries in units of the keys' size. Far beyond all keys only the direction counts: these are drawn near."""
    with np.errstate(over="ignore"):
        queries = np.clip(queries / max_abs_key, -np.finfo(np.float64).max, np.finfo(np.float64).max)
    size = np.abs(queries).max(axis=1, keepdims=True)
    return queries * (_FAR / np.maximum(size, _FAR))


def _means_of_all(request: KernelSumRequest, rows: np.ndarray) -> np.ndarray:
    """Weighted means of all values that are not left out."""
    if request.leave_out is None:
        return np.broadcast_to(request.index.mean, (len(rows), request.columns.shape[1]))
    weights, moments = request.weights, request.weights[:, np.newaxis] * request.columns
    left_out = request.leave_out[rows]
    mass, sums = (sums_of_others(a, left_out) for a in (weights[:, np.newaxis], moments))
    return sums / np.where(mass > 0, mass, np.nan)  # of none there is no mean


def sums_of_others(columns: np.ndarray, left_out: LeaveOut) -> np.ndarray:
    """Sums of columns (n, k) without a range of their rows for each query: (m, k), nothing subtracted."""
    nothing = np.zeros((1, columns.shape[1]))
    before = np.vstack([nothing, np.cumsum(columns, axis=0)])
    behind = np.vstack([np.cumsum(columns[::-1], axis=0)[::-1], nothing])
    return before[left_out.first] + behind[left_out.last]
