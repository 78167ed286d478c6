"""Gaussian sums over keys in groups that are equally far from each other, as the levels of a category are.

Let K_q be the kernel of all other columns, delta the distance of two groups and lambda = exp(-rate (delta / h)^2). Then

    S(q) = lambda sum_j K_qj w_j (1, V_j) + (1 - lambda) sum_{j in the group of q} K_qj w_j (1, V_j):

sums over all keys in fewer columns, and over the few keys of the own group; no term is negative. So the columns of a
category of many levels cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from sknw._kernel_sums.costs import PART_CALL, TILED_FEATURE
from sknw._kernel_sums.index import Groups, KeyIndex
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.threads import for_each_chunk

# The pairs of a query and a key that are computed at once: their squared distances fit the cache.
_SMALL = 2**17


def takes_groups(request: KernelSumRequest) -> bool:
    """Whether the sums split up as above, and that is expected to take less time than the columns of the groups."""
    groups, form = request.index.groups, request.kernel.form
    if request.index.engine is not None:  # who has the keys splits up the sums
        return False
    if groups is None or request.query_groups is None or form is None or form.family != "exponential":
        return False
    seconds = 1e-9 * TILED_FEATURE * groups.n_columns * request.n_pairs
    return form.power == 2 and seconds > PART_CALL * groups.n_groups


def group_sums(request: KernelSumRequest, compute: Callable[[KernelSumRequest], ScaledSums]) -> ScaledSums:
    """The sums; those over all keys, and over the keys of large groups, are made by `compute`."""
    (log_other, log_rest), of_all, members = log_factors(request), request_of_all(request), members_of(request)
    total = compute(of_all)
    own = _sums_of_small([pair for pair in members if _is_small(*pair)], of_all)
    for rows, keys in members:
        if not _is_small(rows, keys):
            found = compute(request_of_group(request, of_all, rows, keys))
            own.mass[:, rows], own.moments[:, rows], own.log_scale[:, rows] = vars(found).values()
    total, own = (replace(sums, log_scale=sums.log_scale + log) for sums, log in ((total, log_other), (own, log_rest)))
    return total.merge(own)


def log_factors(request: KernelSumRequest) -> tuple[np.ndarray, np.ndarray]:
    """The logarithms of lambda (b, m), of no group by the distance to all groups, and of 1 - lambda (b, 1)."""
    groups, numbers = _groups_of(request)
    rate = -request.form.rate / request.bandwidths[:, np.newaxis] ** 2
    with np.errstate(divide="ignore"):  # groups that are not apart
        log_rest = np.log(-np.expm1(rate * groups.sq))
    return rate * np.where(numbers < 0, groups.sq_unknown, groups.sq), log_rest


def request_of_all(request: KernelSumRequest) -> KernelSumRequest:
    """The sums over all keys, in the columns that are not of the groups; a column of zeros if there are no others."""
    index, (groups, _) = request.index, _groups_of(request)

    def without(points: np.ndarray) -> np.ndarray:
        others = np.delete(points, groups.columns, axis=1)
        return others if others.size else np.zeros((len(points), 1))

    def make() -> KeyIndex:
        return KeyIndex(without(index.keys), index.weights, index.columns, index.offset_magnitude)

    index_of_all = index.of_columns("without groups", make)
    return replace(request, index=index_of_all, queries=without(request.queries), query_groups=None)


def members_of(request: KernelSumRequest) -> list[tuple[np.ndarray, np.ndarray]]:
    """The queries and the keys of each group that has both, in the order of their numbers of keys."""
    groups, numbers = _groups_of(request)
    order = np.argsort(numbers, kind="stable")
    rows_of_groups = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    pairs = [(rows, groups.members(int(numbers[rows[0]]))) for rows in rows_of_groups if len(rows)]
    return sorted((pair for pair in pairs if len(pair[1])), key=lambda pair: len(pair[1]))


def request_of_group(
    request: KernelSumRequest, of_all: KernelSumRequest, rows: np.ndarray, keys: np.ndarray
) -> KernelSumRequest:
    """The sums of the queries of a group over its keys, in the columns that are not of the groups."""
    _, numbers = _groups_of(request)
    index = request.index.of_columns(("group", int(numbers[rows[0]])), partial(of_all.index.take, keys))
    leave_out = None if request.leave_out is None else request.leave_out[rows].among(keys)
    return replace(of_all, index=index, queries=of_all.queries[rows], leave_out=leave_out)


def _groups_of(request: KernelSumRequest) -> tuple[Groups, np.ndarray]:
    """The groups of the keys, and the numbers of those of the queries."""
    assert request.index.groups is not None
    assert request.query_groups is not None
    return request.index.groups, request.query_groups


def _is_small(rows: np.ndarray, keys: np.ndarray) -> bool:
    """Whether a group has so few queries and keys that calls would take longer than the sums."""
    return len(rows) * len(keys) <= _SMALL


def _sums_of_small(members: list[tuple[np.ndarray, np.ndarray]], of_all: KernelSumRequest) -> ScaledSums:
    """The sums of the queries of each group over its keys, groups of similar sizes together, filled up to the largest.

    Each is relative to the largest weight of the query.
    """
    index, leave_out, rate = of_all.index, of_all.leave_out, of_all.form.rate / of_all.bandwidths**2
    shape = len(rate), len(of_all.queries)
    sums, log_scale = np.zeros((*shape, index.weighted_columns.shape[1])), np.zeros(shape)

    def add(rows: np.ndarray, keys: np.ndarray) -> None:
        """For queries (g, r) and keys (g, s) of g groups, filled up with -1."""
        sq = np.zeros((*rows.shape, keys.shape[1]))
        with np.errstate(over="ignore"):
            for q, z in zip(of_all.queries.T, index.keys.T, strict=True):
                sq += (q[rows][..., np.newaxis] - z[keys][:, np.newaxis]) ** 2
        is_out = np.broadcast_to((keys < 0)[:, np.newaxis], sq.shape)
        if leave_out is not None:
            first, last = (end[rows][..., np.newaxis] for end in (leave_out.first, leave_out.last))
            is_out = is_out | ((first <= keys[:, np.newaxis]) & (keys[:, np.newaxis] < last))
        sq[is_out] = np.inf
        nearest = sq.min(axis=2)
        nearest[np.isinf(nearest)] = 0.0  # nothing is left
        sq -= nearest[..., np.newaxis]
        columns, is_query = index.weighted_columns[keys], rows >= 0
        for b in range(len(rate)):
            sums[b, rows[is_query]] = (np.exp(-rate[b] * sq) @ columns)[is_query]
            log_scale[b, rows[is_query]] = -rate[b] * nearest[is_query]

    batches: list[list[tuple[np.ndarray, np.ndarray]]] = [[]]
    n_rows = 0
    for rows, keys in members:
        n_rows = max(n_rows, len(rows))  # the numbers of keys ascend
        if batches[-1] and (len(batches[-1]) + 1) * n_rows * len(keys) > _SMALL:
            batches.append([])
            n_rows = len(rows)
        batches[-1].append((rows, keys))

    def add_batches(some: slice) -> None:
        for batch in batches[some]:
            if batch:
                add(*(_filled_up(arrays) for arrays in zip(*batch, strict=True)))

    for_each_chunk(add_batches, len(batches), 1, of_all.n_threads, uses_blas=True)
    return ScaledSums.of_columns(sums, log_scale)


def _filled_up(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of indices as the rows of one, filled up with -1."""
    filled = np.full((len(arrays), max(map(len, arrays))), -1)
    for row, array in zip(filled, arrays, strict=True):
        row[: len(array)] = array
    return filled
