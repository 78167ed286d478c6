"""A problem with one feature, sorted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sknw._kernel_sums.permutation import Rows, in_order, places, rows_in_order
from sknw._kernel_sums.request import KernelSumRequest


@dataclass(frozen=True, eq=False)
class SortedProblem:
    """A problem with one feature, its keys and queries sorted.

    Attributes
    ----------
    order : slice or ndarray of shape (m,)
        What sorts the queries.
    keys, weights, values : ndarrays of shape (n,), (n,), (k, n)
    queries : ndarray of shape (m,)
    place : ndarray of shape (m,)
        How many keys stand left of each query; of several keys at a query that is its own key, the others stand on
        either side.
    is_own : bool
        Whether the key at its place is the query's own.
    """

    order: Rows
    keys: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    queries: np.ndarray
    place: np.ndarray
    is_own: bool

    @classmethod
    def of(cls, problem: KernelSumRequest) -> SortedProblem:
        from sknw._kernel_sums import line_loops as _line_loops

        key_order = rows_in_order(problem.keys[:, 0])
        keys, weights, values = (
            np.ascontiguousarray(in_order(array, key_order))
            for array in (problem.keys[:, 0], problem.weights, problem.values.T)
        )
        if problem.own is None:
            order = rows_in_order(problem.queries[:, 0])
            queries = np.ascontiguousarray(in_order(problem.queries[:, 0], order))
            place = _line_loops.count_below(keys, queries)
        else:
            place_of_key = places(key_order, len(keys))
            own = problem.own.index
            place = own if isinstance(place_of_key, slice) else np.take(place_of_key, own)
            order = rows_in_order(place)
            place = in_order(place, order)
            queries = np.take(keys, place)
        return cls(order, keys, weights, values, queries, place, problem.own is not None)
