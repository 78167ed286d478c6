"""From kernel sums to fitted values: pooling and leave-one-out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.registry import kernel_sums
from sknw._kernel_sums.request import KernelSumRequest, LeaveOneOut
from sknw._kernel_sums.threads import for_each_chunk
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
from sknw._smoothing.unsupported import UnsupportedPolicy
from sknw.kernels import Kernel

# A weight that exceeds 1 by less was meant to be 1, and scaled: no rest of the sample may predict it.
_ROUNDED_WEIGHT = 1e-9
# Of moments in a search, seven digits are enough.
LOSS_IN_SEARCH = 1e-9
# The moments of a batch of queries take at most this many bytes.
_MOMENT_BYTES = 2**26
# A batch of weighted means: so many queries, or this share of the number of samples if that is more.
_POOLED_QUERIES, _POOLED_SHARE = 2**20, 1 / 8

# The index of a bandwidth, and some queries.
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
    leave_out : LeaveOneOut or None
        The training sample that each is, with leave-one-out.
    """

    z: np.ndarray
    x: np.ndarray
    leave_out: LeaveOneOut | None = None

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, rows: np.ndarray | slice) -> Queries:
        return Queries(self.z[rows], self.x[rows], None if self.leave_out is None else self.leave_out[rows])


@dataclass(frozen=True, eq=False)
class Smoother:
    """Training samples and everything that decides how they are pooled.

    Attributes
    ----------
    center : ndarray of shape (d,)
    w : ndarray of shape (d,) or (d, r)
        Inputs x become z = (x - center) w; for a bandwidth h, w is 1 / h.
    values : ndarray of shape (n, k)
        What is pooled.
    index : KeyIndex
        The z of the training samples, of positive weight all, with their sample weights, of which the largest is 1, and
        the columns that pooling needs the sums of.
    kernel : Kernel
    outside : {"nearest", "mean", "nan", "raise"}
        What a query without support gets.
    algorithm : str
        The engine.
    n_jobs : int or None
    allow_float32 : bool
        Predictions will be rounded to float32.
    line : LocalLinearSpec or None
        Pool by local lines; None pools by weighted means.
    n_extra : int
        How many of the last values are pooled by weighted means although there are lines.
    """

    center: np.ndarray
    w: np.ndarray
    values: np.ndarray
    index: KeyIndex
    kernel: Kernel
    outside: str
    algorithm: str
    n_jobs: int | None
    allow_float32: bool = False
    line: LocalLinearSpec | None = None
    n_extra: int = 0

    @classmethod
    def of(
        cls,
        training: TrainingSet,
        kernel: Kernel,
        w: np.ndarray,
        outside: str,
        algorithm: str,
        n_jobs: int | None,
        line: LocalLinearSpec | None = None,
    ) -> Smoother:
        """The training set pooled at z = (x - center) w.

        Raises
        ------
        ValueError
            If z has values that are no float64 numbers.
        """
        keys = coordinates(training.X, training.center, w)
        if not np.isfinite([keys.min(), keys.max()]).all():
            raise ValueError(
                "bandwidth is too small, or w too large, for X: scaled inputs are not float64 numbers any more."
            )
        offset = float(np.abs(training.center * w.T).max())
        columns = training.values if line is None else line_columns(line.x, training.values)
        index = KeyIndex(keys, training.relative_weight, columns, offset)
        return cls(training.center, w, training.values, index, kernel, outside, algorithm, n_jobs, line=line)

    @property
    def keys(self) -> np.ndarray:
        """The z of the training samples, (n, r)."""
        return self.index.keys

    @property
    def weights(self) -> np.ndarray:
        """Sample weights, of which the largest is 1, (n,)."""
        return self.index.weights

    def take(self, rows: np.ndarray) -> Smoother:
        """The same with some of the training samples, or all in another order."""
        line = None if self.line is None else replace(self.line, x=self.line.x[rows])
        return replace(self, line=line, values=self.values[rows], index=self.index.take(rows))

    def with_line(self, line: LocalLinearSpec) -> Smoother:
        """The same by local lines."""
        return replace(self, line=line, index=self.index.with_columns(line_columns(line.x, self.values)))

    def without_line(self) -> Smoother:
        """The same by weighted means."""
        return replace(self, line=None, index=self.index.with_columns(self.values))

    def with_metric(self, w: np.ndarray, keys: np.ndarray) -> Smoother:
        """The same at z = (x - center) w, given that of the training samples."""
        offset = float(np.abs(self.center * w.T).max())
        return replace(self, w=w, index=KeyIndex(keys, self.weights, self.index.columns, offset))

    def with_ridge(self, ridge: float) -> Smoother:
        """The same lines with another ridge."""
        assert self.line is not None
        return replace(self, line=replace(self.line, ridge=ridge))

    def with_means(self, extra: np.ndarray) -> Smoother:
        """The same, which also pools further values (n, e), by weighted means."""
        return replace(
            self,
            values=np.hstack([self.values, extra]),
            index=self.index.with_columns(np.hstack([self.index.columns, extra])),
            n_extra=extra.shape[1],
        )

    def queries(self, X: np.ndarray) -> Queries:
        """The rows of X (m, d) as queries."""
        z = coordinates(X, self.center, self.w)
        return Queries(z, z[:, :0] if self.line is None else coordinates(X, self.center, 1.0 / self.line.scales))

    def left_out(self, rows: np.ndarray, sample_weight: np.ndarray) -> Queries:
        """The training samples `rows`, each without one unit, one sample, of its `sample_weight`."""
        retained = np.zeros(len(rows))
        if sample_weight.max() - 1.0 > _ROUNDED_WEIGHT:
            rest = sample_weight - 1.0
            retained = np.where(rest > _ROUNDED_WEIGHT, rest, 0.0) / sample_weight
        z = self.keys if len(rows) == len(self.keys) else self.keys[rows]
        return Queries(z, z[:, :0] if self.line is None else self.line.x[rows], LeaveOneOut(rows, retained))

    def request(self, queries: Queries, bandwidths: np.ndarray | None = None) -> KernelSumRequest:
        """The kernel sums that pooling at `queries` takes; `bandwidths` in units of the smoother's own."""
        return KernelSumRequest(
            kernel=self.kernel,
            index=self.index,
            queries=queries.z,
            leave_out=queries.leave_out,
            bandwidths=np.ones(1) if bandwidths is None else bandwidths,
            allow_float32=self.allow_float32 and self.line is None,
            n_jobs=self.n_jobs,
        )

    def value_request(self, queries: Queries, bandwidths: np.ndarray | None = None) -> KernelSumRequest:
        """The kernel sums of the values alone."""
        request = self.request(queries, bandwidths)
        if self.line is None:
            return request
        index = self.index.of_columns("values", lambda: self.index.with_columns(self.values))
        return replace(request, index=index)

    def pool(self, queries: Queries, bandwidths: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Weighted means or local lines at the queries, and which queries had no support.

        m(q, c) = sum_j K_j w_j V_j / sum_j K_j w_j (Nadaraya 1964, Watson 1964), or the line of `local_linear` at q.

        Returns
        -------
        means : ndarray of shape (b, m, k)
            NaN for queries without support where `outside` is "nan" or "raise".
        unsupported : bool ndarray of shape (b, m)
        """
        batches = self.batches(len(queries), 1 if bandwidths is None else len(bandwidths))
        pooled = [self._pool_batch(queries[batch], bandwidths) for batch in batches]
        if len(pooled) == 1:
            return pooled[0]
        means, unsupported = zip(*pooled, strict=True)
        return np.concatenate(means, axis=1), np.concatenate(unsupported, axis=1)

    def _pool_batch(self, queries: Queries, bandwidths: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if self.line is None:
            means, unsupported = kernel_sums(self.request(queries, bandwidths), self.algorithm).into_means()
        else:
            lines, extra, unsupported = self._lines(queries, bandwidths)
            means = np.concatenate([lines.value(self.line.ridge), extra], axis=-1)
        if unsupported.any():
            UnsupportedPolicy(self.policy, self.value_request(queries)).put(means, unsupported)
        return means, unsupported

    def lines(self, queries: Queries, bandwidths: np.ndarray | None = None) -> tuple[LocalFits, np.ndarray]:
        """Local lines around the queries, of shape (b, m, ...), and which had no support.

        Where sums of squares are not accurate enough for the ridge, from the effective neighbours of the query.
        """
        lines, _, unsupported = self._lines(queries, bandwidths)
        return lines, unsupported

    def _lines(
        self, queries: Queries, bandwidths: np.ndarray | None = None
    ) -> tuple[LocalFits, np.ndarray, np.ndarray]:
        """Lines, the weighted means of the extra values, and which queries had no support."""
        assert self.line is not None
        moments, extra, unsupported = self._moments(queries, bandwidths)
        lines, ridge = LocalFits.of(moments, queries.x), self.line.ridge
        size = float(np.abs(self.line.x).max() + np.abs(self.center / self.line.scales).max())
        lost = lines.is_ill_conditioned(ridge) | moments.has_cancellation(ACCURATE, ridge)

        def put(at: _At, p: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
            lines[at] = lines_around(p, x, y, lines.log_mass[at], size)

        self._for_neighbourhoods(queries, bandwidths, lost & ~unsupported, put)
        return lines, extra, unsupported

    def lines_for_any_ridge(self, queries: Queries, bandwidths: np.ndarray | None) -> tuple[LocalFits, np.ndarray]:
        """As `lines`, for a search: from the neighbours only where sums of squares leave nothing at all."""
        moments, _, unsupported = self._moments(queries, bandwidths)
        lost = np.trace(moments.xx, axis1=-2, axis2=-1) < LOSS_IN_SEARCH * moments.squares.sum(axis=-1)
        self._put_moments_around(moments, queries, bandwidths, lost & ~unsupported)
        return LocalFits.of(moments, queries.x), unsupported

    def local_moments(
        self, queries: Queries, bandwidths: np.ndarray | None = None, largest_loss: float = ACCURATE
    ) -> tuple[LocalMoments, np.ndarray]:
        """Weighted means and covariances around the queries, of shape (b, m, ...), and which had no support.

        Where a variance is less than `largest_loss` of the squares that it is a difference of, from the effective
        neighbours of the query.
        """
        assert self.line is not None
        moments, _, unsupported = self._moments(queries, bandwidths)
        lost = moments.has_cancellation(largest_loss, self.line.ridge)
        self._put_moments_around(moments, queries, bandwidths, lost & ~unsupported)
        return moments, unsupported

    def _put_moments_around(
        self, moments: LocalMoments, queries: Queries, bandwidths: np.ndarray | None, where: np.ndarray
    ) -> None:
        def put(at: _At, p: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
            moments[at] = moments_around(p, x, y, queries.x[at[1]], moments.log_mass[at])

        self._for_neighbourhoods(queries, bandwidths, where, put)

    def _moments(self, queries: Queries, bandwidths: np.ndarray | None) -> tuple[LocalMoments, np.ndarray, np.ndarray]:
        """Moments, the weighted means of the extra values, and which queries had no support."""
        assert self.line is not None
        sums = kernel_sums(self.request(queries, bandwidths), self.algorithm)
        means, unsupported = sums.into_means()
        d, k = self.line.x.shape[1], self.values.shape[1] - self.n_extra
        of_lines, extra = np.split(means, [n_line_columns(d, k)], axis=-1)
        return LocalMoments.of(of_lines, sums.log_mass(), d, k), extra, unsupported

    def _for_neighbourhoods(
        self,
        queries: Queries,
        bandwidths: np.ndarray | None,
        where: np.ndarray,
        task: Callable[[_At, np.ndarray, np.ndarray, np.ndarray], None],
    ) -> None:
        """Call ``task(at, p, x, y)`` for chunks of the queries `where` (b, m): weights, inputs from there, values."""
        assert self.line is not None
        line, values = self.line, self.values[:, : self.values.shape[1] - self.n_extra]
        for b in np.flatnonzero(where.any(axis=1)).tolist():
            h = np.ones(1) if bandwidths is None else bandwidths[b : b + 1]
            neighbours = EffectiveNeighbours(self.value_request(queries, h))
            chunks = neighbours.chunks(np.flatnonzero(where[b]))

            def block(
                some: slice, b: int = b, neighbours: EffectiveNeighbours = neighbours, chunks: list = chunks
            ) -> None:
                for rows in chunks[some]:
                    keys, p = neighbours.of(rows)
                    task((b, rows), p, line.x[keys] - queries.x[rows, np.newaxis], values[keys])

            for_each_chunk(block, len(chunks), 1, neighbours.request.n_threads, uses_blas=True)

    def batches(self, n_queries: int, n_bandwidths: int = 1) -> list[slice]:
        """Batches of queries for which pooling, at so many bandwidths, takes a bounded amount of memory."""
        if self.line is None:
            size = max(_POOLED_QUERIES, int(_POOLED_SHARE * len(self.keys)))
        else:
            d, k = self.line.x.shape[1], self.values.shape[1]
            size = max(_MOMENT_BYTES // (8 * n_bandwidths * (n_line_columns(d, k) + 3 * d * d)), 1)
        return [slice(start, start + size) for start in range(0, max(n_queries, 1), size)]

    @property
    def policy(self) -> str:
        """`outside`, except that a kernel of unbounded support gives every query a nearest sample, if in the limit."""
        return "nearest" if self.kernel.reaches_everywhere else self.outside
