"""From kernel sums to fitted values: pooling and leave-one-out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.registry import kernel_sums, line_sums
from sknw._kernel_sums.request import KernelSumRequest, LeaveOut
from sknw._kernel_sums.shards import NEEDS_ALL_ROWS
from sknw._kernel_sums.threads import for_each_chunk
from sknw._smoothing.attention import for_each_attention_block, weight_rows
from sknw._smoothing.features import FeatureMap
from sknw._smoothing.isolation import find_widths
from sknw._smoothing.krylov import krylov_lines
from sknw._smoothing.local_linear import (
    LocalFits,
    LocalLinearSpec,
    LocalMoments,
    line_columns,
    lines_around,
    moments_around,
    n_line_columns,
)
from sknw._smoothing.neighbours import EffectiveNeighbours
from sknw._smoothing.training import TrainingSet, coordinates
from sknw._smoothing.unsupported import UnsupportedPolicy
from sknw._smoothing.validation import Tests, Validation
from sknw.kernels import Kernel, Pairwise

# The width of a cell in bandwidths: with two hundred between its middle and a query, the mean square is about 4e4 times
# the variance. A cell of fewer queries than the second number does not pay.
_CELL_WIDTH, _MANY_IN_CELL = 400.0, 64
# The moments of a batch of queries take at most this many bytes.
_MOMENT_BYTES = 2**26
# Where the keys are elsewhere, those near some queries are fetched together: near at least the first number of queries,
# or near as many as have the second number of samples around them in total.
_LEAST_TOGETHER, _SAMPLES_TOGETHER = 64, 2**14
# A batch of weighted means has this many numbers, or this share of those of the samples if that is more.
_POOLED_NUMBERS, _POOLED_SHARE = 2**20, 1 / 8

# Local lines (b, m, ...) and which queries had no support (b, m), and how these are found at bandwidths (b,).
FoundLines = tuple[LocalFits, np.ndarray]
FindLines = Callable[["Queries", np.ndarray], FoundLines]

# A bandwidth of more standard deviations than this is as good as infinite.
_WIDEST = 1e100
# The bandwidths of a smoother that is pooled at its own one only.
_OWN_BANDWIDTH = np.ones(1)


def _largest_offset(center: np.ndarray, w: np.ndarray) -> float:
    """The largest of the products center w of which z = (x - center) w would be differences."""
    with np.errstate(over="ignore"):
        return float(np.abs(center * w.T).max())


def refuse_overflow(z: np.ndarray) -> None:
    """Refuse coordinates that are no float64 numbers."""
    if not np.isfinite([z.min(), z.max()]).all():
        raise ValueError(
            "bandwidth is too small, or w too large, for X: scaled inputs are not float64 numbers any more."
        )


def _line_columns(x: np.ndarray, values: np.ndarray, n_extra: int) -> np.ndarray:
    """The columns (n, c) of which lines need the sums, and the extra values, the last ones."""
    values, extra = np.split(values, [values.shape[1] - n_extra], axis=1)
    return np.hstack([line_columns(x, values), extra])


@dataclass(frozen=True, eq=False)
class Queries:
    """Points at which samples are pooled."""

    z: np.ndarray  # where the kernel sees them, (m, r)
    x: np.ndarray  # inputs (x - center) / scales of local lines, (m, c), of weighted means (m, 0)
    leave_out: LeaveOut | None = None  # the training samples that each is pooled without
    groups: np.ndarray | None = None  # the level of the category of most levels, (m,); None: not known
    widths: np.ndarray | None = None  # how much wider the kernel of each is, (m,), see `isolation`; None: all are 1

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, rows: np.ndarray | slice) -> Queries:
        leave_out = None if self.leave_out is None else self.leave_out[rows]
        groups = None if self.groups is None else self.groups[rows]
        widths = None if self.widths is None else self.widths[rows]
        return Queries(self.z[rows], self.x[rows], leave_out, groups, widths)


def _cells(z: np.ndarray, width: float) -> Iterator[np.ndarray]:
    """The points z (m, r) of each cell of a grid that holds many."""
    cell = np.floor(z / width)
    order = np.lexsort(cell.T)
    is_other = np.any(cell[order[1:]] != cell[order[:-1]], axis=1)
    for points in np.split(order, np.flatnonzero(is_other) + 1):
        if len(points) >= _MANY_IN_CELL:
            yield points


class LeftOutBatch(NamedTuple):
    """Predictions of some samples, where they are among all, and the smoother that makes them.

    It is that of all samples, and the queries say which are left out; or that of the samples `keys`, of a split.
    """

    where: slice
    smoother: Smoother
    queries: Queries
    keys: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Smoother:
    """Training samples and everything that decides how they are pooled.

    The index holds their z = (x - center) w, x the columns of their features, their sample weights, all positive and
    the largest 1, and what is pooled.
    """

    features: FeatureMap
    center: np.ndarray  # (c,)
    w: np.ndarray  # of the columns, (c,) or (c, r); 1 / h for a bandwidth h
    values: np.ndarray  # what is pooled, (n, k)
    index: KeyIndex
    kernel: Kernel
    outside: str  # what a query without support gets
    algorithm: str
    n_jobs: int | None
    unit: float = 1.0  # the sample weight, of weights of mean 1, that counts as 1 here
    allow_float32: bool = False  # predictions will be rounded to float32
    line: LocalLinearSpec | None = None  # None pools by weighted means
    n_extra: int = 0  # how many of the last values are pooled by weighted means although there are lines
    widens: bool = False  # whether isolated queries have wider kernels

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
        """The training set pooled at z = (x - center) w, for the w of the features, (d,) or (d, r).

        Refused where z has values that are no float64 numbers.
        """
        w = training.features.repeat(w)
        weights, unit = training.sample_weight, float(training.sample_weight.max())
        weights = weights if unit == 1.0 else weights / unit
        index = training.key_index(w, weights, training.values, _largest_offset(training.center, w))
        refuse_overflow(index.ranges)
        data = training.features, training.center, w, training.values
        return cls(*data, index, kernel, outside, algorithm, n_jobs, unit, line=line)

    @property
    def keys(self) -> np.ndarray:
        """The z of the training samples, (n, r)."""
        return self.index.keys

    @property
    def weights(self) -> np.ndarray:
        """Sample weights in units of the largest, (n,)."""
        return self.index.weights

    def take(self, rows: np.ndarray) -> Smoother:
        """The same with some of the training samples, or all in another order."""
        line, index = self.line, self.index.take(rows)
        line = None if line is None else replace(line, x=line.x[rows])
        return replace(self, line=line, values=index.columns, index=index)

    def with_line(self, line: LocalLinearSpec | None) -> Smoother:
        """The same by local lines, by weighted means for None."""
        return replace(self, line=line, index=self.index.with_columns(self.values))

    def with_metric(self, w: np.ndarray, keys: np.ndarray) -> Smoother:
        """The same at z = (x - center) w, given that of the training samples, for the w of the columns."""
        offset = _largest_offset(self.center, w)
        groups = self.index.groups
        if groups is not None:
            groups = replace(groups, sq=float(w[groups.columns.start] ** 2))
        return replace(self, w=w, index=KeyIndex(keys, self.weights, self.index.columns, offset, groups))

    def in_metric(self, w: np.ndarray, by: np.ndarray) -> Smoother:
        """The same at z = (x - center) w, the present z times `by`, for the w of the columns."""
        return replace(self, w=w, index=self.index.in_metric(by, _largest_offset(self.center, w)))

    def with_settings(self, allow_float32: bool, n_jobs: int | None) -> Smoother:
        """The same with other settings."""
        if allow_float32 == self.allow_float32 and n_jobs == self.n_jobs:
            return self
        return replace(self, allow_float32=allow_float32, n_jobs=n_jobs)

    def with_ridge(self, ridge: float) -> Smoother:
        """The same lines with another ridge."""
        assert self.line is not None
        return replace(self, line=replace(self.line, ridge=ridge))

    def with_count(self, count: float) -> Smoother:
        """The same lines with another count."""
        assert self.line is not None
        return replace(self, line=replace(self.line, count=count))

    def with_values(self, values: np.ndarray) -> Smoother:
        """The same with other values to pool (n, k)."""
        return replace(self, values=values, index=self.index.with_columns(values), n_extra=0)

    def with_means(self, extra: np.ndarray) -> Smoother:
        """The same, which also pools further values (n, e), by weighted means."""
        return replace(self.with_values(np.hstack([self.values, extra])), n_extra=extra.shape[1])

    def queries(self, X: np.ndarray) -> Queries:
        """The rows of X (m, d) as queries."""
        columns, groups = self.features.columns(X), self.features.groups(X, self.w)
        z = coordinates(columns, self.center, self.w)
        x = z[:, :0] if self.line is None else self.line.inputs(columns, self.center)
        return self.widened(Queries(z, x, groups=None if groups is None else groups.number))

    def widened(self, queries: Queries) -> Queries:
        """The queries with their widths, if isolated ones have wider kernels."""
        if not self.widens or not len(queries):
            return queries
        request = self.value_request(replace(queries, widths=None))
        return replace(queries, widths=find_widths(request, self.unit, self.algorithm))

    @property
    def samples(self) -> Queries:
        """The training samples as queries."""
        return self.widened(Queries(self.keys, self.keys[:, :0] if self.line is None else self.line.x))

    def left_out(self, validation: Validation, n_bandwidths: int = 1) -> Iterator[LeftOutBatch]:
        """The left-out predictions of a validation in batches of a bounded amount of memory."""
        for where, tests in validation.batches(self.batch_size(n_bandwidths)):
            yield LeftOutBatch(where, self.of_split(tests), self.queries_of(tests), tests.keys)

    def queries_of(self, tests: Tests) -> Queries:
        """The samples that are tested as queries."""
        is_here = self.index.engine is None
        in_order = is_here and len(tests) == len(self.keys) and np.array_equal(tests.rows, np.arange(len(tests)))
        z = self.keys if in_order else self.keys[tests.rows]
        groups = None if self.index.groups is None else self.index.groups.number[tests.rows]
        x = z[:, :0] if self.line is None else self.line.x[tests.rows]
        return self.of_split(tests).widened(Queries(z, x, tests.leave_out, groups))

    def of_split(self, tests: Tests) -> Smoother:
        """The same with the samples that are keys of the tests, as those of the train of a split."""
        keys = tests.keys
        if keys is None:
            return self
        line = None if self.line is None else replace(self.line, x=self.line.x[keys])
        index = self.index.of_columns(("split", tests.split), lambda: self.index.take(keys))
        return replace(self, line=line, values=self.values[keys], index=index)

    def request(self, queries: Queries, bandwidths: np.ndarray = _OWN_BANDWIDTH) -> KernelSumRequest:
        """The kernel sums of the values, or of the columns of local lines and of the extra values."""
        request = self.value_request(queries, bandwidths)
        if self.line is None:
            return request
        return replace(request, index=self.index.of_columns("line", self._line_index))

    def _line_index(self) -> KeyIndex:
        """The keys with the columns of which lines need the sums."""
        assert self.line is not None
        x, make = self.line.x, partial(_line_columns, n_extra=self.n_extra)
        index = self.index.with_columns_of("line columns", x, make)
        if self.line.basis is None and self.w.ndim == 1 and self.w.all():  # else inputs are no coordinates of keys
            k = self.values.shape[1] - self.n_extra
            end = n_line_columns(x.shape[1], k)
            index.value_columns = np.r_[:k, end : end + self.n_extra]
        return index

    def value_request(self, queries: Queries, bandwidths: np.ndarray = _OWN_BANDWIDTH) -> KernelSumRequest:
        """The kernel sums of the values alone; `bandwidths` in units of the smoother's own."""
        return KernelSumRequest(
            kernel=self.kernel,
            index=self.index,
            queries=queries.z,
            leave_out=queries.leave_out,
            bandwidths=bandwidths,
            allow_float32=self.allow_float32 and self.line is None,
            n_jobs=self.n_jobs,
            query_groups=queries.groups,
            widths=queries.widths,
        )

    def for_each_attention_block(self, queries: Queries, task: Callable[[slice, np.ndarray], None]) -> np.ndarray:
        """Call ``task(rows, weights)`` for blocks of the queries, see `attention`."""
        return for_each_attention_block(self.value_request(queries), self.policy, self.algorithm, task)

    def relative_weights(self, distance: np.ndarray) -> np.ndarray:
        """K / K(0) at a distance (d,) along the first column of each feature: (d,)."""
        if not isinstance(self.kernel, Pairwise):
            return self.kernel.profile(distance**2) / self.kernel.profile(np.zeros(1))
        points = np.zeros((1 + len(distance), self.keys.shape[1]))
        first_column = self.features.starts[:-1] if self.w.ndim == 1 else 0
        points[np.arange(1, len(points)), first_column] = distance
        weights = self.kernel.between(points[:1], points)[0]
        return weights[1:] / weights[0]

    def pool(self, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Weighted means or local lines at the queries (m, k), and which queries had no support (m,).

        m(q) = sum_j K_j w_j V_j / sum_j K_j w_j (Nadaraya 1964, Watson 1964), or the line of `local_linear` at q; NaN
        for queries without support where `outside` is "nan" or "raise".
        """
        batches = self.batches(len(queries))
        if len(batches) == 1:
            return self._pool_batch(queries)
        means, unsupported = zip(*(self._pool_batch(queries[batch]) for batch in batches), strict=True)
        return np.concatenate(means), np.concatenate(unsupported)

    def _pool_batch(self, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        if self.line is None:
            means, unsupported = kernel_sums(self.request(queries), self.algorithm).into_means()
        elif self.n_extra:
            lines, extra, unsupported = self.lines(queries)
            means = np.concatenate([lines.value(self.line.ridge, self.line.count), extra], axis=-1)
        else:
            lines, unsupported = self.without_leverage(lambda *given: self.lines(*given)[::2], queries, _OWN_BANDWIDTH)
            means = lines.value(self.line.ridge, self.line.count)
        if unsupported.any():
            UnsupportedPolicy(self.policy, self.value_request(queries)).put(means, unsupported)
        return means[0], unsupported[0]

    def lines(
        self, queries: Queries, bandwidths: np.ndarray = _OWN_BANDWIDTH
    ) -> tuple[LocalFits, np.ndarray, np.ndarray]:
        """Local lines (b, m, ...), weighted means of the extra values (b, m, e), and which queries had no support.

        Where sums of squares are not accurate enough for the ridge, from the effective neighbours of the query.
        """
        line = self.line
        assert line is not None

        def fit(p: np.ndarray, x: np.ndarray, y: np.ndarray, _: np.ndarray, log_samples: np.ndarray) -> LocalFits:
            size = line.largest_input + np.abs(self.center / line.scales).max()
            return lines_around(p, x, y, log_samples, size, line.singular)

        moments, x, extra, unsupported = self._moments(queries, bandwidths)
        lines = LocalFits.of(moments, x, line.singular)
        lost = lines.is_ill_conditioned(line.ridge) & ~unsupported
        if self.index.engine is not None:
            self._fit_fetched(lines, lost, queries, bandwidths)
            return lines, extra, unsupported
        if x is queries.x:
            self._fit_by_cells(lines, lost, queries, bandwidths)
        self._fit_neighbours(lines, lost, fit, queries, bandwidths)
        return lines, extra, unsupported

    def lines_from_sums(self, queries: Queries, bandwidths: np.ndarray) -> tuple[LocalFits, np.ndarray]:
        """As `lines`, but accurate only where variances with a ridge are at least `known`."""
        assert self.line is not None
        moments, x, _, unsupported = self._moments(queries, bandwidths)
        return LocalFits.of(moments, x, self.line.singular), unsupported

    @property
    def takes_krylov_spaces(self) -> bool:
        """Whether local lines can do without all principal axes: of wide data and one target."""
        n, k = self.values.shape
        return self.line is not None and self.line.basis is not None and 1 < n <= len(self.line.basis) and k == 1

    def without_leverage(self, find: FindLines, queries: Queries, bandwidths: np.ndarray) -> FoundLines:
        """As `find`, for callers who need values only: where `takes_krylov_spaces`, most lines are found in these."""
        if not self.takes_krylov_spaces:
            return find(queries, bandwidths)
        assert self.line is not None
        sums = kernel_sums(self.value_request(queries, bandwidths), self.algorithm)
        log_samples, unsupported = sums.log_mass() - self.log_at_zero(queries, bandwidths), sums.mass == 0
        at_bandwidths = []
        for b in range(len(bandwidths)):
            at_this = bandwidths[b : b + 1]
            p = weight_rows(self.value_request(queries, at_this), self.algorithm)(slice(0, len(queries)))
            p /= np.where(unsupported[b], 1.0, p.sum(axis=1))[:, np.newaxis]
            lines, is_accurate = krylov_lines(p, self.line.x, self.values[:, 0], queries.x, log_samples[b])
            others = np.flatnonzero(~is_accurate & ~unsupported[b])
            if others.size:
                lines[others] = find(queries[others], at_this)[0][0]
            at_bandwidths.append(lines)
        return LocalFits.stacked(at_bandwidths), unsupported

    def local_moments(self, queries: Queries) -> tuple[LocalMoments, np.ndarray]:
        """Weighted means and covariances (1, m, ...) around the queries, and which had no support.

        Where variances are not accurate enough for the ridge, from the effective neighbours of the query.
        """
        assert self.line is not None
        moments, x, _, unsupported = self._moments(queries, _OWN_BANDWIDTH)
        moments = replace(moments, x_mean=moments.x_mean + (queries.x - x))
        lost = moments.has_cancellation(self.line.ridge) & ~unsupported
        self._fit_neighbours(moments, lost, moments_around, queries, _OWN_BANDWIDTH)
        return moments, unsupported

    def _moments(
        self, queries: Queries, bandwidths: np.ndarray
    ) -> tuple[LocalMoments, np.ndarray, np.ndarray, np.ndarray]:
        """Moments, the inputs of the queries in their coordinates, weighted means of the extra values, no support.

        Of one input these are its differences from the query, where the engine sums them: then no digits are lost.
        """
        assert self.line is not None
        sums = line_sums(self.value_request(queries, bandwidths), self.algorithm) if self.has_one_input else None
        d, n_values = self.line.x.shape[1], self.values.shape[1]
        k = n_values - self.n_extra
        log_at_zero = self.log_at_zero(queries, bandwidths)
        if sums is None:
            sums = kernel_sums(self.request(queries, bandwidths), self.algorithm)
            log_samples, (means, unsupported) = sums.log_mass() - log_at_zero, sums.into_means()
            of_lines, extra = np.split(means, [n_line_columns(d, k)], axis=-1)
            return LocalMoments.of(of_lines, log_samples, d, k), queries.x, extra, unsupported
        log_samples, (means, unsupported) = sums.log_mass() - log_at_zero, sums.into_means()
        y_mean, extra, z_mean, zy, _, zz = np.split(means, np.cumsum([k, self.n_extra, 1, k, self.n_extra]), axis=-1)
        per_z = 1.0 / float(self.w.ravel()[0] * self.line.scales[0])
        xx, xy = per_z**2 * (zz - z_mean**2), per_z * (zy - z_mean * y_mean)
        # rounding of the sums is relative to the square of the bandwidth
        squares = per_z**2 * (zz + bandwidths[:, np.newaxis, np.newaxis] ** 2)
        one = (..., np.newaxis, slice(None))
        moments = LocalMoments(per_z * z_mean, y_mean, xx[one], xy[one], squares, log_samples)
        return moments, np.zeros(1), extra, unsupported

    @property
    def has_one_input(self) -> bool:
        """Whether there are lines of one input, which is z times a number whose square is finite."""
        if self.line is None or not self.line.x.shape[1] == 1 == self.keys.shape[1]:
            return False
        return bool(_WIDEST * self.w.ravel()[0] * self.line.scales[0] > 1.0)

    def _fit_by_cells(
        self,
        found: LocalFits,
        lost: np.ndarray,
        queries: Queries,
        bandwidths: np.ndarray,
    ) -> None:
        """Replace lines `found` where digits were `lost` (b, m), which then is no longer true, by sums in cells.

        The sums of a cell are those over the keys near its queries, with inputs as seen from its middle: there squares
        are not much larger than variances.
        """
        assert self.line is not None
        n_values, log_unit = self.values.shape[1] - self.n_extra, np.log(self.unit)
        algorithm = "dense" if self.algorithm == "dense" else "auto"  # another engine may suit so few keys
        for b in np.flatnonzero(lost.any(axis=1)).tolist():
            rows, h = np.flatnonzero(lost[b]), bandwidths[b : b + 1]
            neighbours = EffectiveNeighbours(self.value_request(queries, h))
            if not neighbours.radius_is_known:
                return
            for of_cell in _cells(queries.z[rows], _CELL_WIDTH * float(h[0])):
                here = rows[of_cell]
                near = neighbours.keys_near(here, neighbours.most_distance(here, found.log_samples[b, here] - log_unit))
                middle, part = queries.x[here].mean(axis=0), queries[here]
                few = replace(self.take(near), values=self.values[near, :n_values], n_extra=0, algorithm=algorithm)
                few = few.with_line(replace(self.line, x=self.line.x[near] - middle))
                leave_out = None if part.leave_out is None else part.leave_out.among(near)
                part = replace(part, x=part.x - middle, leave_out=leave_out)
                moments, x, _, _ = few._moments(part, h)
                lines = LocalFits.of(moments, x, self.line.singular)
                found[b, here], lost[b, here] = lines[0], lines.is_ill_conditioned(self.line.ridge)[0]

    def _fit_fetched(
        self,
        found: LocalFits,
        lost: np.ndarray,
        queries: Queries,
        bandwidths: np.ndarray,
    ) -> None:
        """Replace lines `found` where digits were `lost` (b, m) by those of the keys near.

        For keys that are elsewhere: those near a few queries are fetched at a time.
        """
        for b in np.flatnonzero(lost.any(axis=1)).tolist():
            rows, h = np.flatnonzero(lost[b]), bandwidths[b : b + 1]
            rows = rows[cKDTree(queries.z[rows], balanced_tree=False).indices]  # those near each other share their keys
            n_samples = 1.0 + np.exp(found.log_samples[b, rows]).mean()
            size = max(int(_SAMPLES_TOGETHER / n_samples), _LEAST_TOGETHER)
            for some in np.split(rows, range(size, len(rows), size)):
                part = queries[some]
                neighbours = EffectiveNeighbours(self.value_request(part, h))
                if not neighbours.radius_is_known:
                    raise ValueError(NEEDS_ALL_ROWS)
                near = neighbours.keys_near_each(
                    neighbours.most_distance(np.arange(len(some)), found.log_samples[b, some] - np.log(self.unit))
                )
                leave_out = None if part.leave_out is None else part.leave_out.among(near)
                few = replace(self.take(near), algorithm="auto")
                found[b, some] = few.lines(replace(part, leave_out=leave_out), h)[0][0]

    def log_at_zero(self, queries: Queries, bandwidths: np.ndarray = _OWN_BANDWIDTH) -> np.ndarray:
        """The logarithm of what a sample of weight 1, of weights of mean 1, adds to sum_j K_j w_j at itself.

        Of shape (b, 1), or (b, m) for a kernel that is not a function of the distance. Such a kernel may be zero there;
        any others then count as very many samples.
        """
        at_zero = np.maximum(self.value_request(queries, bandwidths).weight_at_zero(), np.finfo(np.float64).tiny)
        return np.log(at_zero) - np.log(self.unit)

    def _fit_neighbours(
        self,
        found: LocalMoments | LocalFits,
        where: np.ndarray,
        fit: Callable[..., Any],
        queries: Queries,
        bandwidths: np.ndarray,
    ) -> None:
        """Replace what was `found` `where` (b, m) by ``fit(weights, x - x0, y, x0, log_samples)`` of the neighbours."""
        assert self.line is not None
        x, values = self.line.x, self.values[:, : self.values.shape[1] - self.n_extra]
        for b in np.flatnonzero(where.any(axis=1)).tolist():
            neighbours = EffectiveNeighbours(self.value_request(queries, bandwidths[b : b + 1]))
            chunks = neighbours.chunks(np.flatnonzero(where[b]), values.shape[1])

            def fit_chunks(
                some: slice, b: int = b, neighbours: EffectiveNeighbours = neighbours, chunks: list = chunks
            ) -> None:
                for chunk in chunks[some]:
                    rows, (keys, p) = chunk.rows, neighbours.of(chunk)
                    x0 = queries.x[rows]
                    found[b, rows] = fit(p, x[keys] - x0[:, np.newaxis], values[keys], x0, found.log_samples[b, rows])

            for_each_chunk(fit_chunks, len(chunks), 1, neighbours.request.n_threads, uses_blas=True)

    def batch_size(self, n_bandwidths: int = 1) -> int:
        """How many queries pool within a bounded amount of memory, lines at a number of bandwidths together."""
        if self.line is None:
            return max(_POOLED_NUMBERS // max(self.values.shape[1], 1), int(_POOLED_SHARE * len(self.keys)))
        d, k = self.line.x.shape[1], self.values.shape[1]
        return max(_MOMENT_BYTES // (8 * n_bandwidths * (n_line_columns(d, k) + 3 * d * d)), 1)

    def batches(self, n_queries: int, n_bandwidths: int = 1) -> list[slice]:
        """Batches of this size; one that is empty where there are no queries."""
        size = self.batch_size(n_bandwidths)
        return [slice(start, start + size) for start in range(0, max(n_queries, 1), size)]

    @property
    def policy(self) -> str:
        """`outside`, except that a kernel of unbounded support gives every query a nearest sample, if in the limit."""
        return "nearest" if self.kernel.reaches_everywhere else self.outside
