"""Kriging of each query on its nearest keys, those of the largest covariance, where there are many samples.

The formulas are those of `exact`, with the k samples N(x) of the smallest sums of terms in place of all; of ties the
first rows are taken. A sample is left out by leaving it out of the search: f_-S(x) has k neighbours too, and nothing
is shared among queries. Where f_-S is wanted at many queries (intervals), it is f(x) - c_S'r_S with the residuals r of
left-out predictions, exact for the same neighbours of all, and the jackknife+ is over the neighbours of the query.

Search: a tree puts the samples into blocks that are boxes in the columns. The terms at the nearest point of a box,
sum_k (w_k gap_k)^p_k, are a lower bound of the sums of its samples; blocks are looked at by ascending bounds until the
k-th smallest sum is below the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array
from sklearn.utils import gen_batches

from sknw._kernel_sums.permutation import in_ranges
from sknw._kernel_sums.request import LeaveOut
from sknw._kernel_sums.threads import for_each_chunk
from sknw._kriging.covariance import KrigingModel
from sknw._kriging.exact import ExactKriging
from sknw._predictive.calibration import jackknife_plus
from sknw._smoothing.validation import Tests, Validation

# The number of neighbours where it is "auto".
MOST_NEIGHBORS = 256
# Samples, evenly spaced, whose trend is that of all.
_TREND_SAMPLES = 1000
# Queries of a chunk of a thread; numbers of a batch of solutions.
_CHUNK, _BATCH = 64, 2**22


@dataclass(frozen=True, eq=False)
class _Solutions:
    """Kriging of m queries; the equations only where they are wanted, else arrays of no queries."""

    means: np.ndarray  # (m, v)
    variances: np.ndarray  # of the means, (m,)
    n_neighbours: np.ndarray  # less than k where less samples are left, (m,)
    neighbours: np.ndarray  # ascending, (m, k)
    equations: np.ndarray  # the weights c of the neighbours and their values alpha, (m, k, 1 + v)
    beta: np.ndarray  # coefficients of the trend, (m, q, v)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Neighbours, c and alpha of each query."""
        for neighbours, equations, count in zip(self.neighbours, self.equations, self.n_neighbours, strict=True):
            yield neighbours[:count], equations[:count, 0], equations[:count, 1:]


@dataclass(frozen=True, eq=False)
class LocalKriging:
    """Kriging on `n_neighbors` samples."""

    model: KrigingModel
    columns: np.ndarray  # standardised, of the samples, (n, c)
    values: np.ndarray  # standardised, (n, v)
    weight: np.ndarray  # omega, (n,)
    rank: np.ndarray  # whose smallest are taken of ties, (n,)
    n_neighbors: int

    # There is no one system of equations, and hence no one value of a sample.
    alpha = None

    def __len__(self) -> int:
        return len(self.columns)

    @cached_property
    def beta(self) -> np.ndarray:
        """The coefficients of the trend of some samples, (q, v); each query has its own."""
        some = slice(None, None, -(-len(self) // _TREND_SAMPLES))
        return ExactKriging.of(self.model, self.columns[some], self.values[some], self.weight[some], 1).beta

    def predict(self, queries: np.ndarray, n_threads: int) -> np.ndarray:
        """Predictions (m, v), not clamped."""
        return self._solve(queries, None, n_threads).means

    def predict_with_variance(self, queries: np.ndarray, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (m, v), and the variance (m,) of a new observation of weight 1."""
        found = self._solve(queries, None, n_threads)
        return found.means, found.variances + self.model.noise

    def covariance(self, queries: np.ndarray, n_threads: int) -> np.ndarray:
        """The covariances (m, m) of the errors c'y - f at the queries, without the noise of new observations.

        They are c_i'G c_j - g_i(x_j)'c_i - g_j(x_i)'c_j + a kappa(x_i, x_j), g and G of the neighbours of both.
        """
        weights, covariance = self.weights(queries, n_threads), self.model.covariance
        used = np.unique(weights.indices)
        c, points, keys = weights[:, used].toarray(), covariance.points(queries), covariance.points(self.columns[used])
        cross = c @ covariance.between(keys, points, n_threads)
        found = covariance.within(points, n_threads) - cross - cross.T
        for batch in gen_batches(len(used), max(_BATCH // len(used), 1)):
            found += c[:, batch] @ covariance.between(keys[batch], keys, n_threads) @ c.T
        return self.model.amplitude * found + (c * self._noise[used]) @ c.T

    def weights(self, queries: np.ndarray, n_threads: int) -> csr_array:
        """The signed weights c (m, n) of the samples, whose rows sum to 1."""
        counts, neighbours, weights = [np.zeros(1, np.intp)], [np.empty(0, np.intp)], [np.empty(0)]
        for _, found in self._batches(queries, n_threads):
            counts.append(found.n_neighbours)
            for of_query, c, _ in found:
                neighbours.append(of_query)
                weights.append(c)
        parts = np.concatenate(weights), np.concatenate(neighbours), np.cumsum(np.concatenate(counts))
        return csr_array(parts, shape=(len(queries), len(self)))

    def gradient(self, queries: np.ndarray, n_threads: int) -> np.ndarray:
        """Derivatives (m, v, c) of the predictions in the columns of the queries, the neighbours as they are."""
        covariance, directions = self.model.covariance, self.model.directions
        derivatives = np.empty((len(queries), self.values.shape[1], queries.shape[1]))
        for start, found in self._batches(queries, n_threads):
            for i, (neighbours, _, alpha) in enumerate(found):
                query, keys = queries[start + i : start + i + 1], self.columns[neighbours]
                kappa = self.model.amplitude * covariance.between(covariance.points(query), covariance.points(keys))
                derivative = covariance.derivative(query, keys, kappa, alpha)[0]
                derivatives[start + i] = derivative + (directions @ found.beta[i, 1:]).T
        return derivatives

    def left_out(self, validation: Validation, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """The residuals y_i - f_-S(x_i) (p, v) of left-out predictions of samples, and their variances (p,)."""
        rows = validation.rows
        parts = [self._without(self.columns[tests.rows], tests, n_threads) for tests in validation.parts]
        means = np.concatenate([found.means for found in parts])
        variances = np.concatenate([found.variances for found in parts])
        return self.values[rows] - means, variances + self._noise[rows]

    def predict_without(self, queries: np.ndarray, tests: Tests) -> np.ndarray:
        """Predictions (p, v) of queries (p, c) that are no samples without what their tests leave out."""
        return self._without(queries, tests, 1).means

    def interval(
        self, queries: np.ndarray, validation: Validation, residuals: np.ndarray, coverage: float, n_threads: int
    ) -> np.ndarray:
        """Bounds (m, v, 2): order statistics of f_-S(i)(x) -+ |r_i| over the left-out predictions i of neighbours."""
        v, rows = self.values.shape[1], validation.rows
        bounds = np.empty((len(queries), v, 2))
        known = np.flatnonzero(np.isfinite(residuals).all(axis=1))
        known = known[np.argsort(rows[known], kind="stable")]
        ends = np.searchsorted(rows[known], np.arange(len(self) + 1))  # the predictions of each sample
        means_without = [
            self._without(
                queries, Tests(np.arange(len(queries)), LeaveOut.own(np.full(len(queries), -1)), tests.keys), n_threads
            ).means
            for tests in validation.parts
            if tests.keys is not None
        ]
        split = np.repeat(np.arange(len(validation.parts)), [len(tests) for tests in validation.parts])
        ranges = validation.parts[0].leave_out
        r = np.zeros_like(self.values)
        r[rows[known]] = residuals[known]
        for start, found in self._batches(queries, n_threads):
            for i, (neighbours, c, _) in enumerate(found, start):
                some = known[in_ranges(ends[neighbours], ends[neighbours + 1])]
                if means_without:
                    means = np.stack([of_split[i] for of_split in means_without])[split[some]]
                else:
                    sums = np.vstack([np.zeros(v), np.cumsum(c[:, np.newaxis] * r[neighbours], axis=0)])
                    first, last = (np.searchsorted(neighbours, at[some]) for at in (ranges.first, ranges.last))
                    means = found.means[i - start] - (sums[last] - sums[first])
                counts, radius = self.weight[rows[some]], np.abs(residuals[some])
                counts = counts * len(some) / max(counts.sum(), np.finfo(np.float64).tiny)  # of mean 1
                bounds[i] = jackknife_plus(means, radius, counts, coverage)
        return bounds

    @cached_property
    def _noise(self) -> np.ndarray:
        """noise / omega of each sample."""
        return self.model.noise_variances(self.weight)

    def _trend(self, columns: np.ndarray) -> np.ndarray:
        """The trend with the constant last: `solve_systems` leaves out columns that depend on those after them."""
        return np.ascontiguousarray(self.model.trend(columns)[:, ::-1])

    @cached_property
    def _samples(self) -> tuple[np.ndarray, ...]:
        """What `solve_systems` wants of the samples: columns of powers and of squares, (F, y), the diagonal of G."""
        known = np.hstack([self._trend(self.columns), self.values])
        powered, squared = self._rows(self.columns)
        return powered, squared, np.ascontiguousarray(known, dtype=np.float64), self.model.amplitude + self._noise

    @cached_property
    def _tree(self) -> tuple[np.ndarray, ...]:
        """The blocks, as `find_neighbours` wants them."""
        from sknw._kriging.neighbour_loops import BLOCK, build_tree

        covariance, n, n_blocks = self.model.covariance, len(self), -(-len(self) // BLOCK)
        points = np.ascontiguousarray(
            self.columns * np.repeat(covariance.w, np.diff(covariance.starts)), dtype=np.float64
        )
        blocks = np.full((n_blocks, points.shape[1], BLOCK), np.inf)
        lower, upper = np.empty((2, 2 * n_blocks - 1, points.shape[1]))
        order = np.arange(n)
        build_tree(order, blocks, lower, upper, np.empty(n_blocks, dtype=np.int64), points, True)
        numbers = np.append(order, np.full(n_blocks * BLOCK - n, -1)).reshape(n_blocks, BLOCK)
        keys = np.where(numbers < 0, order[-1], numbers)
        of_blocks = [np.ascontiguousarray(columns[keys].transpose(0, 2, 1)) for columns in self._samples[:2]]
        boxes = [np.ascontiguousarray(end(columns, axis=2).T) for columns in of_blocks for end in (np.min, np.max)]
        of_rank, ranks = np.argsort(self.rank), np.empty(n, dtype=np.int64)
        ranks[of_rank] = np.arange(n)
        return (of_rank, numbers, ranks[keys], *of_blocks, *boxes)

    def _rows(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (m, c) as the loops want queries: the columns of powers, and those of squares times w."""
        points = self.model.covariance.points(columns)
        return np.ascontiguousarray(points.powered.T), np.ascontiguousarray(points.squared, dtype=np.float64)

    def _without(self, queries: np.ndarray, tests: Tests, n_threads: int) -> _Solutions:
        """f_-S of queries (p, c), one for each test."""
        keys, some = tests.keys, self
        if keys is not None:
            of_keys = self.columns[keys], self.values[keys], self.weight[keys], self.rank[keys]
            some = LocalKriging(self.model, *of_keys, self.n_neighbors)
        return some._solve(queries, tests.leave_out, n_threads)

    def _batches(self, queries: np.ndarray, n_threads: int) -> Iterator[tuple[int, _Solutions]]:
        """Solutions with their equations, a batch of queries at a time, and the first query of each."""
        size = max(_BATCH // (self.n_neighbors * (2 + self.values.shape[1])), 1)
        for batch in gen_batches(len(queries), size):
            yield batch.start, self._solve(queries[batch], None, n_threads, with_equations=True)

    def _solve(
        self, queries: np.ndarray, leave_out: LeaveOut | None, n_threads: int, with_equations: bool = False
    ) -> _Solutions:
        """Kriging of queries (m, c), each without the samples of its range; NaN where no sample is left."""
        from sknw._kriging.neighbour_loops import find_neighbours, solve_systems

        m, k, v = len(queries), min(self.n_neighbors, len(self)), self.values.shape[1]
        of_queries, trend = self._rows(queries), self._trend(queries)
        left_out = np.zeros((m, 2), dtype=np.int64)
        if leave_out is not None:
            left_out[:, 0], left_out[:, 1] = leave_out.first, leave_out.last
        tree, samples, terms = self._tree, self._samples, self.model.covariance.terms
        stored = m if with_equations else 0
        found = _Solutions(
            np.empty((m, v)), np.empty(m), np.empty(m, dtype=np.int64), np.empty((stored, k), dtype=np.int64),
            np.empty((stored, k, 1 + v)), np.empty((stored, trend.shape[1], v)),
        )  # fmt: skip

        def chunk(rows: slice) -> None:
            counts, neighbours = found.n_neighbours[rows], found.neighbours[rows]
            if not with_equations:
                neighbours = np.empty((len(counts), k), dtype=np.int64)
            points = [array[rows] for array in of_queries]
            find_neighbours(neighbours, counts, *points, left_out[rows], tree, terms)
            solve_systems(
                found.means[rows], found.variances[rows], found.equations[rows], found.beta[rows], neighbours, counts,
                *points, trend[rows], *samples, self.model.amplitude, terms,
            )  # fmt: skip

        for_each_chunk(chunk, m, _CHUNK, n_threads)
        found.beta[...] = found.beta[:, ::-1].copy()
        found.means[found.n_neighbours == 0] = np.nan
        found.variances[found.n_neighbours == 0] = np.nan
        return found
