"""What every engine is asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from sknw._kernel_sums.index import KeyIndex, squared_norms
from sknw._kernel_sums.permutation import Rows, in_ranges, sorting_rows, take_last
from sknw._kernel_sums.threads import effective_n_threads
from sknw.kernels import Form, Kernel, Pairwise

# The error that a squared distance computed by matrix products may put on the exponent of a Gaussian.
_GEMM_TOLERANCE = {np.float64: 1e-12, np.float32: 5e-6}


@dataclass(frozen=True, eq=False)
class LeaveOut:
    """The keys that each query is summed without: first[i], ..., last[i] - 1, none where both are equal."""

    first: np.ndarray  # intp (m,)
    last: np.ndarray  # intp (m,)
    is_own: bool = False  # whether each range is the query's own key, or empty: engines then need not subtract

    @classmethod
    def own(cls, index: np.ndarray) -> LeaveOut:
        """Leave-one-out: query i is key ``index[i]``, or no key where that is -1."""
        return cls(np.maximum(index, 0), index + 1, is_own=True)

    def __getitem__(self, rows: np.ndarray | slice) -> LeaveOut:
        return LeaveOut(self.first[rows], self.last[rows], self.is_own)

    def among(self, keys: np.ndarray) -> LeaveOut:
        """The same ranges among some of the keys, ascending."""
        return LeaveOut(np.searchsorted(keys, self.first), np.searchsorted(keys, self.last), self.is_own)

    @cached_property
    def index(self) -> np.ndarray:
        """The key left out of each query, -1 for none, where `is_own`."""
        return np.where(self.last > self.first, self.first, -1)

    def contains(self, keys: np.ndarray) -> np.ndarray:
        """Which of some keys of each query (m, l), or of all (l,), are left out of it: (m, l)."""
        return (self.first[:, np.newaxis] <= keys) & (keys < self.last[:, np.newaxis])

    @cached_property
    def distinct(self) -> tuple[Rows, np.ndarray]:
        """An order that puts equal ranges together, and where in it each begins, and the last ends."""
        number = self.first * (self.last.max() + 1) + self.last
        order = sorting_rows(number)
        number = take_last(number, order)
        return order, np.flatnonzero(np.concatenate([[True], number[1:] != number[:-1], [True]]))

    @property
    def is_symmetric(self) -> bool:
        """Where query i is key i: whether i is left out of j as j is of i; False also if the ranges do not ascend."""
        first, last, number = self.first, self.last, np.arange(len(self.first))
        ends = (last, first), (first, last)  # key i is in the ranges after the last that ends before it
        return all(np.array_equal(np.searchsorted(end, number, side="right"), own) for end, own in ends)

    def is_all_in_order(self, n_keys: int) -> bool:
        """Whether query i is summed without key i alone, for all keys."""
        return len(self.first) == n_keys and self.is_own and np.array_equal(self.index, np.arange(n_keys))


@dataclass(frozen=True, eq=False)
class KernelSumRequest:
    """Kernel sums over n keys at m queries, at b bandwidths that share the distances.

    For query q and bandwidth h

        S(q, h) = sum_j K(||q - z_j||^2 / h^2) w_j (1, V_j).

    Queries are centred as the keys are, and divided by the estimator's bandwidth (or multiplied by w). Where the answer
    will be rounded to float32, an engine may compute in float32 if that is accurate.
    """

    kernel: Kernel
    index: KeyIndex  # keys z_j, weights w_j and columns V_j
    queries: np.ndarray  # (m, d)
    leave_out: LeaveOut | None = None  # None: every query is summed with all keys
    # the h, in units of the keys; positive and descending, (b,)
    bandwidths: np.ndarray = field(default_factory=lambda: np.ones(1))
    allow_float32: bool = False  # whether the answer will be rounded to float32
    n_jobs: int | None = None  # threads, by joblib's conventions
    query_groups: np.ndarray | None = None  # that of each query among those of the index, -1 for none, (m,)
    widths: np.ndarray | None = None  # what the distances from each query are divided by, at least 1, (m,); None: 1

    @property
    def keys(self) -> np.ndarray:
        """The z_j, of shape (n, d)."""
        return self.index.keys

    @property
    def weights(self) -> np.ndarray:
        """The w_j, of shape (n,)."""
        return self.index.weights

    @property
    def columns(self) -> np.ndarray:
        """The V_j, of shape (n, k)."""
        return self.index.columns

    @property
    def has_ranges(self) -> bool:
        """Whether several keys are left out of a query."""
        return self.leave_out is not None and not self.leave_out.is_own

    @property
    def form(self) -> Form:
        """The form of a kernel that has one."""
        assert self.kernel.form is not None
        return self.kernel.form

    @property
    def n_pairs(self) -> int:
        """Kernel evaluations that brute force needs."""
        return len(self.queries) * len(self.keys) * len(self.bandwidths)

    @cached_property
    def n_threads(self) -> int:
        """The number of threads that `n_jobs` stands for."""
        return effective_n_threads(self.n_jobs)

    @cached_property
    def squared_radii(self) -> np.ndarray:
        """The squared distance of each query, or of the furthest key, from the centre, in the least bandwidth: (m,)."""
        of_keys = self.index.squared_norms
        of_queries = of_keys if self.queries is self.keys else squared_norms(self.queries)
        with np.errstate(over="ignore"):
            return np.maximum(of_queries, of_keys.max()) / self.bandwidths[-1] ** 2

    def take(self, rows: np.ndarray | slice) -> KernelSumRequest:
        """The sums of some of the queries."""
        leave_out = None if self.leave_out is None else self.leave_out[rows]
        groups = None if self.query_groups is None else self.query_groups[rows]
        widths = None if self.widths is None else self.widths[rows]
        return replace(self, queries=self.queries[rows], leave_out=leave_out, query_groups=groups, widths=widths)

    def split_by_width(self) -> list[tuple[np.ndarray, KernelSumRequest]]:
        """The queries of width 1, which every engine takes, and the others: their rows, and the sums asked for."""
        assert self.widths is not None
        plain, wide = (np.flatnonzero(rows) for rows in (self.widths == 1.0, self.widths != 1.0))
        parts = (plain, replace(self.take(plain), widths=None)), (wide, self.take(wide))
        return [(rows, part) for rows, part in parts if rows.size]

    def left_out_entries(self, rows: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """Where the weights (len(rows), n) of some queries have those of the keys left out: rows and columns."""
        if self.leave_out is None:
            none = np.empty(0, dtype=np.intp)
            return none, none
        first, last = self.leave_out.first[rows], self.leave_out.last[rows]
        return np.repeat(np.arange(len(first)), last - first), in_ranges(first, last)

    def gemm_distances_ok(self, precision: type[np.floating], rows: np.ndarray | slice) -> np.ndarray:
        """For which of some queries ||q - z||^2 may be ||q||^2 - 2 q.z + ||z||^2, faster from four features up: bool.

        The absolute error of that form is about eps R^2, R the radius of the data. The Gaussian turns it into a
        relative error of the weight; a compact kernel at its edge, and a kernel in u at 0, would amplify it.
        """
        if not self.may_take_products:
            return np.zeros(len(self.queries[rows]), dtype=bool)
        return self.form.rate * np.finfo(precision).eps * self.squared_radii[rows] <= _GEMM_TOLERANCE[precision]

    @property
    def may_take_products(self) -> bool:
        """Whether `gemm_distances_ok` may be true of any queries: for the Gaussian in four features and more."""
        form = self.kernel.form
        return form is not None and form.family == "exponential" and form.power == 2 and self.keys.shape[1] >= 4

    def weights_of_pairs(self, keys: np.ndarray) -> np.ndarray:
        """K_ij w_j of some keys j of each query i at the first bandwidth: (m, l) for `keys` (m, l)."""
        if isinstance(self.kernel, Pairwise):
            z, h = np.stack(list(self.index.coordinates_of(keys)), axis=-1), self.bandwidths[0]
            pairs = zip(self.queries[:, np.newaxis] / h, z / h, strict=True)
            return np.concatenate([self.kernel.between(*pair) for pair in pairs]) * self.weights[keys]
        return self.kernel.profile(self.squares_of_pairs(keys)) * self.weights[keys]

    def squares_of_pairs(self, keys: np.ndarray) -> np.ndarray:
        """u^2 of some keys of each query at the first bandwidth: (m, l) for `keys` (m, l)."""
        sq = np.zeros(keys.shape)
        with np.errstate(over="ignore"):
            for of_queries, of_keys in zip(self.queries.T, self.index.coordinates_of(keys), strict=True):
                of_keys -= of_queries[:, np.newaxis]
                of_keys *= of_keys
                sq += of_keys
        widths = 1.0 if self.widths is None else self.widths[:, np.newaxis]
        return sq / (self.bandwidths[0] * widths) ** 2

    def weight_at_zero(self) -> np.ndarray:
        """K at distance zero, of shape (b, 1), or (b, m) for a kernel that is not a function of the distance."""
        if isinstance(self.kernel, Pairwise):
            return np.array([self.kernel.diagonal(self.queries / h) for h in self.bandwidths])
        return np.broadcast_to(self.kernel.profile(np.zeros(1)), (len(self.bandwidths), 1))
