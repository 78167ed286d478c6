"""From kernel sums to fitted values: pooling, leave-one-out, and what a query gets where no sample is near."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from sknw._kernel_sums import dense, kernel_sums, pairs_are_listed
from sknw._kernel_sums.request import KernelSumRequest, LeaveOneOut
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.threads import for_each_chunk, one_blas_thread
from sknw._kernel_sums.tree import engine as pruned
from sknw._smoothing.attention import _at_rows, normalised
from sknw._smoothing.local_linear import (
    ACCURATE,
    LocalFits,
    LocalMoments,
    line_columns,
    lines_around,
    moments_around,
    n_line_columns,
)
from sknw._smoothing.neighbours import EffectiveNeighbours
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.unsupported import (
    UnsupportedPolicy,
    nearest_weights,
)
from sknw.kernels import Kernel

# A weight that exceeds 1 by less was meant to be 1, and scaled: no rest of the sample may predict it.
_ROUNDED_WEIGHT = 1e-9
# A search is content with seven digits.
LOSS_IN_SEARCH = 1e-9
# Moments of so many queries are held at a time as fit in this many bytes.
_MOMENT_BYTES = 2**26
# Values are pooled for so many queries at a time, or for as many as a part of the samples.
_POOLED_QUERIES, _POOLED_PART = 2**20, 1 / 8

# A bandwidth factor, and some queries.
_At = tuple[int, np.ndarray]


def coordinates(X: np.ndarray, center: np.ndarray, w: np.ndarray) -> np.ndarray:
    """z = (x - center) w for the rows of X, in float64 whatever the type of X: an offset must not cost digits."""
    with np.errstate(over="ignore", invalid="ignore"):
        centred = X - center  # the centre is float64
        if w.ndim == 2:
            return centred @ w
        centred *= w
        return centred


@dataclass(frozen=True, eq=False)
class LocalLinearSpec:
    """What pooling by local lines needs beyond the weights.

    Attributes
    ----------
    x : ndarray of shape (n, d)
        Inputs of the training samples, (x - center) / scales.
    scales : ndarray of shape (d,)
        Standard deviations; with a ridge for each feature, these times the roots of the ridges.
    ridge : float
        Penalty on the squared slope; 1 where the scales account for it.
    """

    x: np.ndarray
    scales: np.ndarray
    ridge: float

    @classmethod
    def of(cls, training: TrainingSet, ridge: float | np.ndarray) -> LocalLinearSpec:
        """For a training set and one ridge for all features, or one for each, (d,), positive if they differ."""
        scales, common = training.scales, float(np.min(ridge))
        if common < np.max(ridge):
            scales, common = scales * np.sqrt(ridge), 1.0
        return cls(coordinates(training.X, training.center, 1.0 / scales), scales, common)


@dataclass(frozen=True, eq=False)
class Queries:
    """Points at which samples are pooled.

    Attributes
    ----------
    z : ndarray of shape (m, r)
        Where the kernel sees them.
    x : ndarray of shape (m, d)
        Inputs, (x - center) / scales, for local lines; of shape (m, 0) where there are none.
    own : LeaveOneOut or None
        The training sample that each is, with leave-one-out.
    """

    z: np.ndarray
    x: np.ndarray
    own: LeaveOneOut | None = None

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, rows: np.ndarray | slice) -> Queries:
        own = None if self.own is None else LeaveOneOut(self.own.index[rows], self.own.retained[rows])
        return Queries(self.z[rows], self.x[rows], own)


@dataclass(frozen=True, eq=False)
class Smoother:
    """Training samples and everything that decides how they are pooled.

    Attributes
    ----------
    center : ndarray of shape (d,)
    w : ndarray of shape (d,) or (d, r)
        Inputs x become z = (x - center) w; for a bandwidth h, w is 1 / h.
    keys : ndarray of shape (n, r)
        The z of the training samples, of positive weight all.
    values : ndarray of shape (n, k)
        What is pooled.
    weights : ndarray of shape (n,)
        Sample weights, positive; the largest is 1.
    kernel : Kernel
    outside : {"nearest", "mean", "nan", "raise"}
        What a query without support gets.
    algorithm : str
        The engine.
    allow_float32 : bool
        Predictions will be rounded to float32.
    n_jobs : int or None
    line : LocalLinearSpec or None
        Pool by local lines; None pools by weighted means.
    of_keys : dict or None
        As in `KernelSumRequest`, of weighted means, for queries that come in parts.
    """

    center: np.ndarray
    w: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    kernel: Kernel
    outside: str
    algorithm: str
    allow_float32: bool
    n_jobs: int | None
    line: LocalLinearSpec | None = None
    of_keys: dict[Hashable, Any] | None = None

    def in_order(self, order: np.ndarray) -> Smoother:
        """The same with the training samples in another order."""
        line = None if self.line is None else replace(self.line, x=self.line.x[order])
        arrays = {name: getattr(self, name)[order] for name in ("keys", "values", "weights")}
        return replace(self, line=line, of_keys=None, **arrays)

    def queries(self, X: np.ndarray) -> Queries:
        """The rows of X (m, d) as queries."""
        z = coordinates(X, self.center, self.w)
        return Queries(z, z[:, :0] if self.line is None else coordinates(X, self.center, 1.0 / self.line.scales))

    def left_out(self, rows: np.ndarray, sample_weight: np.ndarray) -> Queries:
        """The training samples `rows`, each without one unit, one sample, of its `sample_weight`."""
        share = np.zeros(len(rows))
        if sample_weight.max() - 1.0 > _ROUNDED_WEIGHT:
            rest = sample_weight - 1.0
            share = np.where(rest > _ROUNDED_WEIGHT, rest, 0.0) / sample_weight
        own = LeaveOneOut(rows, share)
        z = self.keys if len(rows) == len(self.keys) else self.keys[rows]
        return Queries(z, z[:, :0] if self.line is None else self.line.x[rows], own)

    def for_parts(self) -> Smoother:
        """The same, for queries that come in parts."""
        return replace(self, of_keys={})

    def problem(self, queries: Queries, factors: np.ndarray | None = None) -> KernelSumRequest:
        """The kernel sums of the values at `queries`; `factors` as in `KernelSumRequest`."""
        return KernelSumRequest(
            kernel=self.kernel,
            queries=queries.z,
            keys=self.keys,
            weights=self.weights,
            values=self.values,
            own=queries.own,
            factors=np.ones(1) if factors is None else factors,
            allow_float32=self.allow_float32 and self.line is None,
            n_jobs=self.n_jobs,
            offset_magnitude=float(np.abs(self.center * self.w.T).max()),
            of_keys=self.of_keys if self.line is None else None,
        )

    def pooling_request(self, queries: Queries, factors: np.ndarray | None = None) -> KernelSumRequest:
        """The kernel sums that pooling at `queries` takes."""
        problem = self.problem(queries, factors)
        return problem if self.line is None else replace(problem, values=line_columns(self.line.x, self.values))

    def pool(self, queries: Queries, factors: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Weighted means or local lines at the queries, and which queries had no support.

        m(q, c) = sum_j K_j w_j V_j / sum_j K_j w_j (Nadaraya 1964, Watson 1964), or the line of `_lines` at q.

        Returns
        -------
        means : ndarray of shape (b, m, k)
            NaN for queries without support where `outside` is "nan" or "raise".
        unsupported : bool ndarray of shape (b, m)
        """
        if self.line is not None:
            parts = self.parts(len(queries), 1 if factors is None else len(factors))
            pooled = [self._pooled_by_lines(queries[part], factors) for part in parts]
            means, unsupported = zip(*pooled, strict=True)
            return np.concatenate(means, axis=1), np.concatenate(unsupported, axis=1)
        problem = self.problem(queries, factors)
        means, unsupported = means_of(kernel_sums(problem, self.algorithm))
        return self.with_substitutes(problem, means, unsupported), unsupported

    def _pooled_by_lines(self, queries: Queries, factors: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        assert self.line is not None
        lines, unsupported = self.lines(queries, factors)
        problem = self.problem(queries, factors)
        return self.with_substitutes(problem, lines.value(self.line.ridge), unsupported), unsupported

    def lines(self, queries: Queries, factors: np.ndarray | None = None) -> tuple[LocalFits, np.ndarray]:
        """Local lines around the queries, of shape (b, m, ...), and which had no support.

        Where sums of squares are not accurate enough for the ridge, from the samples in reach of the query.
        """
        assert self.line is not None
        moments, unsupported = self._moments(queries, factors)
        lines, ridge = LocalFits.of(moments, queries.x), self.line.ridge
        size = float(np.abs(self.line.x).max() + np.abs(self.center / self.line.scales).max())
        lost = lines.is_ill_conditioned(ridge) | moments.has_cancellation(ACCURATE, ridge)

        def put(at: _At, p: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
            lines[at] = lines_around(p, x, y, lines.log_mass[at], size)

        self._for_neighbourhoods(queries, factors, lost & ~unsupported, put)
        return lines, unsupported

    def lines_for_any_ridge(self, queries: Queries, factors: np.ndarray | None) -> tuple[LocalFits, np.ndarray]:
        """As `lines`, for a search: from the samples in reach only where sums of squares leave nothing at all."""
        moments, unsupported = self._moments(queries, factors)
        lost = np.trace(moments.xx, axis1=-2, axis2=-1) < LOSS_IN_SEARCH * moments.squares.sum(axis=-1)
        self._put_moments_around(moments, queries, factors, lost & ~unsupported)
        return LocalFits.of(moments, queries.x), unsupported

    def local_moments(
        self, queries: Queries, factors: np.ndarray | None = None, largest_loss: float = ACCURATE
    ) -> tuple[LocalMoments, np.ndarray]:
        """Weighted means and covariances around the queries, of shape (b, m, ...), and which had no support.

        Where a variance is less than `largest_loss` of the squares that it is a difference of, from the samples in
        reach of the query.
        """
        assert self.line is not None
        moments, unsupported = self._moments(queries, factors)
        lost = moments.has_cancellation(largest_loss, self.line.ridge)
        self._put_moments_around(moments, queries, factors, lost & ~unsupported)
        return moments, unsupported

    def _put_moments_around(
        self, moments: LocalMoments, queries: Queries, factors: np.ndarray | None, where: np.ndarray
    ) -> None:
        def put(at: _At, p: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
            moments[at] = moments_around(p, x, y, queries.x[at[1]], moments.log_mass[at])

        self._for_neighbourhoods(queries, factors, where, put)

    def _moments(self, queries: Queries, factors: np.ndarray | None) -> tuple[LocalMoments, np.ndarray]:
        assert self.line is not None
        means, log_mass, unsupported = weighted_means(
            kernel_sums(self.pooling_request(queries, factors), self.algorithm)
        )
        return LocalMoments.of(means, log_mass, self.line.x.shape[1], self.values.shape[1]), unsupported

    def _for_neighbourhoods(
        self,
        queries: Queries,
        factors: np.ndarray | None,
        where: np.ndarray,
        task: Callable[[_At, np.ndarray, np.ndarray, np.ndarray], None],
    ) -> None:
        """Call ``task(at, p, x, y)`` for chunks of the queries `where` (b, m): weights, inputs from there, values."""
        assert self.line is not None
        line = self.line
        for index in np.flatnonzero(where.any(axis=1)).tolist():
            neighbours = EffectiveNeighbours(
                self.problem(queries, np.ones(1) if factors is None else factors[index : index + 1])
            )
            chunks = neighbours.chunks(np.flatnonzero(where[index]))

            def block(
                part: slice, index: int = index, neighbours: EffectiveNeighbours = neighbours, chunks: list = chunks
            ) -> None:
                for rows in chunks[part]:
                    keys, p = neighbours.of(rows)
                    task((index, rows), p, line.x[keys] - queries.x[rows, np.newaxis], self.values[keys])

            with one_blas_thread():
                for_each_chunk(block, len(chunks), 1, neighbours.problem.n_threads)

    def parts(self, n_queries: int, n_factors: int = 1) -> list[slice]:
        """Parts of queries of which what pooling takes, at so many bandwidths, has a limited memory."""
        if self.line is None:
            size = max(_POOLED_QUERIES, int(_POOLED_PART * len(self.keys)))
        else:
            d, k = self.line.x.shape[1], self.values.shape[1]
            size = max(_MOMENT_BYTES // (8 * n_factors * (n_line_columns(d, k) + 3 * d * d)), 1)
        return [slice(start, start + size) for start in range(0, max(n_queries, 1), size)]

    def attention(
        self, problem: KernelSumRequest, rows: slice, weight_rows: Callable[[slice], np.ndarray] | None = None
    ) -> np.ndarray:
        """Weights a_j = K_j w_j / sum_l K_l w_l of the queries `rows`, of shape (len(rows), n).

        NaN for queries without support where `outside` is "nan" or "raise". `weight_rows` as of `_sums`; None is NumPy.
        """
        weights = dense.weight_rows(problem, rows) if weight_rows is None else weight_rows(rows)
        total = weights.sum(axis=1, keepdims=True)
        unsupported = np.flatnonzero(total == 0)
        if unsupported.size:
            if self.policy == "nearest":
                weights[unsupported] = nearest_weights(
                    problem, np.arange(len(problem.queries))[rows][unsupported]
                ).toarray()
            else:
                weights[unsupported] = problem.weights if self.policy == "mean" else np.nan
            total = weights.sum(axis=1, keepdims=True)
        weights /= total
        return weights

    def lists_pairs(self, problem: KernelSumRequest) -> bool:
        """Whether `sparse_attention` takes the problem, and pays beside blocks of `attention`."""
        return pairs_are_listed(problem, self.algorithm)

    def sparse_attention(self, problem: KernelSumRequest) -> tuple[csr_array, np.ndarray]:
        """`attention` of all queries with a compact kernel, from the pairs in reach, and which had no support.

        Rows without support are empty where `outside` is "raise".

        Returns
        -------
        weights : csr_array of shape (m, n)
        unsupported : bool ndarray of shape (m,)
        """
        weights = pruned.weights_in_reach(problem)
        unsupported = np.diff(weights.indptr) == 0
        rows = np.flatnonzero(unsupported)
        if rows.size and self.policy != "raise":
            if self.policy == "nearest":
                substitutes = nearest_weights(problem, rows)
            else:
                row = self.weights if self.policy == "mean" else np.full(len(self.weights), np.nan)
                substitutes = csr_array(np.tile(row, (len(rows), 1)))
            weights = weights + _at_rows(substitutes, rows, len(unsupported))
        return normalised(weights), unsupported

    @property
    def policy(self) -> str:
        """`outside`, except that a kernel of unbounded support gives every query a nearest sample, if in the limit."""
        return "nearest" if np.isinf(self.kernel.support) else self.outside

    def with_substitutes(self, problem: KernelSumRequest, means: np.ndarray, unsupported: np.ndarray) -> np.ndarray:
        """The means, with what `outside` says in place of those without support."""
        return UnsupportedPolicy(self.policy, problem).put(means, unsupported)


def weighted_means(sums: ScaledSums) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """moments / mass of shape (b, m, k), the logarithm of the mass, and where it is zero, both of shape (b, m).

    There the other two are zero.
    """
    means, unsupported = means_of(sums)
    return means, np.log(np.where(unsupported, 1.0, sums.mass)) + sums.log_scale, unsupported


def means_of(sums: ScaledSums) -> tuple[np.ndarray, np.ndarray]:
    """moments / mass of shape (b, m, k), in place of the moments, and where the mass is zero, of shape (b, m)."""
    unsupported = sums.mass == 0
    mass = np.where(unsupported, 1.0, sums.mass) if unsupported.any() else sums.mass
    return np.divide(sums.moments, mass[..., np.newaxis], out=sums.moments), unsupported
