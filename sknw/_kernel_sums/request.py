"""What a bandwidth is evaluations_at by: leave-one-out error, AICc and GCV, with the best ridge of local lines."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from scipy.spatial import cKDTree

from sknw._kernel_sums.threads import effective_n_threads
from sknw.kernels import ExponentialForm, Kernel, Pairwise


def weight_at_zero(problem: KernelSumRequest) -> np.ndarray:
    """K at distance zero, of shape (b, 1), or (b, m) for a kernel that is not a function of the distance."""
    if isinstance(problem.kernel, Pairwise):
        return np.array([problem.kernel.diagonal(problem.queries / factor) for factor in problem.factors])
    return np.broadcast_to(problem.kernel.profile(np.zeros(1)), (len(problem.factors), 1))


_Made = TypeVar("_Made")


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """Leave-one-out: the key that each query is, and how much of it stays.

    Attributes
    ----------
    index : ndarray of shape (m,), intp
    retained : ndarray of shape (m,), float64
        In [0, 1]; the share of its weight with which the own key still enters.
    """

    index: np.ndarray
    retained: np.ndarray


@dataclass(frozen=True, eq=False)
class KernelSumRequest:
    """Kernel sums over n keys at m queries, at b bandwidths that share the distances.

    For query q and bandwidth factor c

        S(q, c) = sum_j K(||q - z_j||^2 / c^2) w_j (1, V_j)

    Attributes
    ----------
    kernel : Kernel
    queries : ndarray of shape (m, d), float64
        Inputs, centred as the keys are and divided by the bandwidth (or multiplied by w).
    keys : ndarray of shape (n, d), float64
        The z_j.
    weights : ndarray of shape (n,), float64
        The w_j: positive, the largest of the order of 1.
    values : ndarray of shape (n, k), float64
        The V_j.
    own : LeaveOneOut or None
        None: no query is a key.
    factors : ndarray of shape (b,), float64
        The c, positive and descending.
    allow_float32 : bool
        The answer will be rounded to float32, so that an engine may compute in float32 where that is accurate.
    n_jobs : int or None
        Threads, by joblib's conventions.
    offset_magnitude : float
        The largest coordinate that centring took away: inputs were rounded in proportion to it.
    of_keys : dict or None
        What engines have made of the keys, for problems that have the same ones, with the same weights and values; None
        keeps nothing.
    """

    kernel: Kernel
    queries: np.ndarray
    keys: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    own: LeaveOneOut | None = None
    factors: np.ndarray = field(default_factory=lambda: np.ones(1))
    allow_float32: bool = False
    n_jobs: int | None = None
    offset_magnitude: float = 0.0
    of_keys: dict[Hashable, Any] | None = None

    def once(self, name: Hashable, make: Callable[[], _Made]) -> _Made:
        """``make()``, of the keys alone, or what an earlier problem has made under this name."""
        if self.of_keys is None:
            return make()
        if name not in self.of_keys:
            self.of_keys[name] = make()
        return self.of_keys[name]

    @property
    def n_evaluations(self) -> int:
        """Kernel evaluations that brute force needs."""
        return len(self.queries) * len(self.keys) * len(self.factors)

    @cached_property
    def n_threads(self) -> int:
        """The number of threads that `n_jobs` stands for."""
        return effective_n_threads(self.n_jobs)

    @cached_property
    def squared_radius(self) -> float:
        """The largest squared distance of a query or key from the centre, in units of the smallest bandwidth."""
        with np.errstate(over="ignore"):
            largest = max(np.einsum("ij,ij->i", z, z).max(initial=0.0) for z in (self.queries, self.keys))
            return float(largest / self.factors[-1] ** 2)

    @cached_property
    def max_abs_key(self) -> float:
        """The largest coordinate of a key."""
        return float(np.abs(self.keys).max()) or 1.0

    @cached_property
    def tree(self) -> cKDTree:
        """The keys, divided by their size, for the search of the nearest."""
        # the rule that splits at the middle of a cell, not at the median, also takes many equal keys
        return cKDTree(self.keys / self.max_abs_key, balanced_tree=False, compact_nodes=False)

    def gemm_distances_ok(self, precision: type[np.floating]) -> bool:
        """Whether ||q - z||^2 may be computed as ||q||^2 - 2 q.z + ||z||^2, which is faster from four features up.

        The absolute error of that form is about eps R^2, R the radius of the data. The Gaussian turns it into a
        relative error of the weight; a compact kernel at its edge, and a kernel in u at 0, would amplify it.
        """
        form = self.kernel.form
        if not isinstance(form, ExponentialForm) or form.power != 2 or self.keys.shape[1] < 4:
            return False
        tolerance = 1e-12 if precision is np.float64 else 5e-6
        return bool(form.rate * np.finfo(precision).eps * self.squared_radius <= tolerance)
