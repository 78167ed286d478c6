"""Kernel sums where many keys or queries are equal: one of each is computed.

Equal keys have equal kernel weights, so that the sum over them is that of one key with the sum of their w_j (1, V_j).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.permutation import sort_equal
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import ScaledSums

# With fewer pairs of a query and a key nothing is looked for; with one feature sums take no longer than looking.
_FEW_PAIRS = 1e8
# Fewer copies than this part of the points do not pay.
_LEAST_COPIES = 0.1


@dataclass(frozen=True, eq=False)
class Copies:
    """Points, many of which are equal."""

    order: np.ndarray  # the points, equal ones one after the other, (n,)
    first: np.ndarray  # where in this order each of the distinct points begins, (s,)

    @classmethod
    def of(cls, points: np.ndarray) -> Copies | None:
        """The copies among points (n, d); None if they are few."""
        order, is_first = sort_equal(points)
        first = np.flatnonzero(is_first)
        return cls(order, first) if len(first) < (1.0 - _LEAST_COPIES) * len(points) else None

    @property
    def distinct(self) -> np.ndarray:
        """One of each, (s,)."""
        return self.order[self.first]

    @property
    def number(self) -> np.ndarray:
        """Which of the distinct points each point is, (n,)."""
        number = np.empty_like(self.order)
        number[self.order] = np.repeat(np.arange(len(self.first)), np.diff(self.first, append=len(self.order)))
        return number


def may_have_copies(request: KernelSumRequest) -> bool:
    """Whether no key is left out, and there are enough pairs for the search for copies to take no time beside them."""
    n_pairs = len(request.queries) * len(request.keys)
    is_here = request.index.engine is None
    return is_here and request.leave_out is None and n_pairs >= _FEW_PAIRS and request.queries.shape[1] > 1


def sums_of_distinct(request: KernelSumRequest, compute: Callable[[KernelSumRequest], ScaledSums]) -> ScaledSums:
    """The sums, from those of distinct queries and keys, which are made by `compute`."""
    index = request.index
    if (keys := index.of_keys("copies", lambda: Copies.of(index.keys))) is not None:
        request = replace(request, index=index.of_columns("distinct", lambda: _merge(index, keys)))
    if (queries := Copies.of(request.queries)) is None:
        return compute(request)
    sums, number = compute(request.take(queries.distinct)), queries.number
    return ScaledSums(*(np.take(array, number, axis=1) for array in vars(sums).values()))


def _merge(index: KeyIndex, copies: Copies) -> KeyIndex:
    """The distinct keys, with the sums of weights and the weighted means of columns."""
    sums = np.add.reduceat(np.take(index.weighted_columns, copies.order, axis=0), copies.first)
    groups = None if index.groups is None else index.groups.take(copies.distinct)
    weights, columns = sums[:, 0].copy(), sums[:, 1:] / sums[:, :1]
    merged = KeyIndex(index.keys[copies.distinct], weights, columns, index.offset_magnitude, groups)
    merged.value_columns = index.value_columns
    return merged
