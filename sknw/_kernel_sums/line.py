"""Requests of one feature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sknw._kernel_sums.permutation import Rows, inverse_permutation, places_of, sorting_rows, take_last
from sknw._kernel_sums.request import KernelSumRequest


@dataclass(frozen=True, eq=False)
class SortedRequest:
    """A request of one feature, its keys and queries sorted; ranges of keys that are left out are not looked at.

    Keys that are equal to a query stand right of it, but where the query is one of them, they stand on either side.
    """

    key_order: Rows  # what sorts the keys, (n,)
    order: Rows  # what sorts the queries, (m,)
    keys: np.ndarray  # (n,)
    weights: np.ndarray  # (n,)
    columns: np.ndarray  # (k, n)
    queries: np.ndarray  # (m,)
    rank: np.ndarray  # how many keys stand left of each query, (m,)
    is_own: np.ndarray  # whether the key at its rank is the query's own, bool (m,)

    @classmethod
    def of(cls, request: KernelSumRequest) -> SortedRequest:
        """Sort a request; what is made of the keys is kept in their index."""
        from sknw._kernel_sums import line_loops

        index = request.index
        key_order = index.of_keys("order on the line", lambda: sorting_rows(index.keys[:, 0]))
        keys, weights = index.of_keys(
            "sorted keys and weights",
            lambda: [np.ascontiguousarray(take_last(a, key_order)) for a in (index.keys[:, 0], index.weights)],
        )
        columns = index.of_columns(
            "sorted columns", lambda: np.ascontiguousarray(take_last(index.columns.T, key_order))
        )
        points, n = request.queries[:, 0], len(keys)
        leave_out = None if request.has_ranges else request.leave_out
        if np.array_equal(points, index.keys[:, 0]) and (leave_out is None or leave_out.is_all_in_order(n)):
            if leave_out is not None:
                return cls(key_order, key_order, keys, weights, columns, keys, np.arange(n), np.ones(n, dtype=bool))
            below = index.of_keys("below", lambda: line_loops.count_below(keys, keys))
            return cls(key_order, key_order, keys, weights, columns, keys, below, np.zeros(n, dtype=bool))
        if leave_out is None:
            order = sorting_rows(points)
            queries = np.ascontiguousarray(take_last(points, order))
            rank, is_own = line_loops.count_below(keys, queries), np.zeros(len(queries), dtype=bool)
        else:
            rank_of_key = index.of_keys("rank on the line", lambda: inverse_permutation(key_order, len(keys)))
            rank = places_of(leave_out.index, rank_of_key)
            is_own = rank >= 0
            if is_own.all():
                order = sorting_rows(rank)
            else:  # a query that is no key comes before the key that it has no others left of
                rank = np.where(is_own, rank, np.searchsorted(keys, points))
                order = np.lexsort((is_own, points, rank))
            queries = np.ascontiguousarray(take_last(points, order))
            rank, is_own = take_last(rank, order), take_last(is_own, order)
        return cls(key_order, order, keys, weights, columns, queries, rank, is_own)
