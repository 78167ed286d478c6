"""From kernel sums to fitted values: pooling, leave-one-out, and what a query gets where no sample is near."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from sknw._lines import ACCURATE, Lines, LocalMoments, line_columns, lines_around, moments_around, n_line_columns
from sknw._neighbours import Neighbours
from sknw._sums import (
    Own,
    Problem,
    Sums,
    dense,
    for_each_chunk,
    kernel_sums,
    one_blas_thread,
    pairs_are_listed,
    pruned,
)
from sknw._training import TrainingSet
from sknw.kernels import Kernel

# Rounding must not decide which of two samples is nearer: distances that differ by a few units in the last place of the
# coordinates are ties.
_TIE_ULPS = 8
# A weight that exceeds 1 by less was meant to be 1, and scaled: no rest of the sample may predict it.
_ROUNDED_WEIGHT = 1e-9
# Nearest keys are looked for one by one, and only if there are so many all within a radius.
_FEW_TIES = 4
# A query at so many times the keys' size sees all of them in one direction, to the last digits that distances have.
_FAR = 1e8
# Queries that look for their nearest keys together: at least so many, and more if the keys may all be nearest to each
# without more than so many pairs.
_CHUNK, _PAIRS_OF_CHUNK = 50, 10**6
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
class Line:
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
    def of(cls, training: TrainingSet, ridge: float | np.ndarray) -> Line:
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
    own : Own or None
        The training sample that each is, with leave-one-out.
    """

    z: np.ndarray
    x: np.ndarray
    own: Own | None = None

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, rows: np.ndarray | slice) -> Queries:
        own = None if self.own is None else Own(self.own.key[rows], self.own.share[rows])
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
    float32_is_enough : bool
        Predictions will be rounded to float32.
    n_jobs : int or None
    line : Line or None
        Pool by local lines; None pools by weighted means.
    of_keys : dict or None
        As in `Problem`, of weighted means, for queries that come in parts.
    """

    center: np.ndarray
    w: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    kernel: Kernel
    outside: str
    algorithm: str
    float32_is_enough: bool
    n_jobs: int | None
    line: Line | None = None
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
        own = Own(rows, share)
        z = self.keys if len(rows) == len(self.keys) else self.keys[rows]
        return Queries(z, z[:, :0] if self.line is None else self.line.x[rows], own)

    def for_parts(self) -> Smoother:
        """The same, for queries that come in parts."""
        return replace(self, of_keys={})

    def problem(self, queries: Queries, factors: np.ndarray | None = None) -> Problem:
        """The kernel sums of the values at `queries`; `factors` as in `Problem`."""
        return Problem(
            kernel=self.kernel,
            queries=queries.z,
            keys=self.keys,
            weights=self.weights,
            values=self.values,
            own=queries.own,
            factors=np.ones(1) if factors is None else factors,
            float32_is_enough=self.float32_is_enough and self.line is None,
            n_jobs=self.n_jobs,
            rounding_size=float(np.abs(self.center * self.w.T).max()),
            of_keys=self.of_keys if self.line is None else None,
        )

    def sums_problem(self, queries: Queries, factors: np.ndarray | None = None) -> Problem:
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

    def lines(self, queries: Queries, factors: np.ndarray | None = None) -> tuple[Lines, np.ndarray]:
        """Local lines around the queries, of shape (b, m, ...), and which had no support.

        Where sums of squares are not accurate enough for the ridge, from the samples in reach of the query.
        """
        assert self.line is not None
        moments, unsupported = self._moments(queries, factors)
        lines, ridge = Lines.of(moments, queries.x), self.line.ridge
        size = float(np.abs(self.line.x).max() + np.abs(self.center / self.line.scales).max())
        lost = lines.are_unsure(ridge) | moments.has_lost_digits(ACCURATE, ridge)

        def put(at: _At, p: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
            lines[at] = lines_around(p, x, y, lines.log_mass[at], size)

        self._for_neighbourhoods(queries, factors, lost & ~unsupported, put)
        return lines, unsupported

    def lines_for_any_ridge(self, queries: Queries, factors: np.ndarray | None) -> tuple[Lines, np.ndarray]:
        """As `lines`, for a search: from the samples in reach only where sums of squares leave nothing at all."""
        moments, unsupported = self._moments(queries, factors)
        lost = np.trace(moments.xx, axis1=-2, axis2=-1) < LOSS_IN_SEARCH * moments.squares.sum(axis=-1)
        self._put_moments_around(moments, queries, factors, lost & ~unsupported)
        return Lines.of(moments, queries.x), unsupported

    def local_moments(
        self, queries: Queries, factors: np.ndarray | None = None, largest_loss: float = ACCURATE
    ) -> tuple[LocalMoments, np.ndarray]:
        """Weighted means and covariances around the queries, of shape (b, m, ...), and which had no support.

        Where a variance is less than `largest_loss` of the squares that it is a difference of, from the samples in
        reach of the query.
        """
        assert self.line is not None
        moments, unsupported = self._moments(queries, factors)
        lost = moments.has_lost_digits(largest_loss, self.line.ridge)
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
        means, log_mass, unsupported = weighted_means(kernel_sums(self.sums_problem(queries, factors), self.algorithm))
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
            neighbours = Neighbours(
                self.problem(queries, np.ones(1) if factors is None else factors[index : index + 1])
            )
            chunks = neighbours.chunks(np.flatnonzero(where[index]))

            def block(
                part: slice, index: int = index, neighbours: Neighbours = neighbours, chunks: list = chunks
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
        self, problem: Problem, rows: slice, weight_rows: Callable[[slice], np.ndarray] | None = None
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

    def lists_pairs(self, problem: Problem) -> bool:
        """Whether `sparse_attention` takes the problem, and pays beside blocks of `attention`."""
        return pairs_are_listed(problem, self.algorithm)

    def sparse_attention(self, problem: Problem) -> tuple[csr_array, np.ndarray]:
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

    def with_substitutes(self, problem: Problem, means: np.ndarray, unsupported: np.ndarray) -> np.ndarray:
        """The means, with what `outside` says in place of those without support."""
        return Substitutes(self, problem).put(means, unsupported)

    def outside_means(self, problem: Problem, rows: np.ndarray) -> np.ndarray:
        """What the queries `rows`, without support, get instead: (len(rows), k)."""
        if self.policy == "nearest":
            # a chunk at a time, because many equal keys may be nearest
            size = max(_CHUNK, _PAIRS_OF_CHUNK // len(self.keys))
            chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
            return np.vstack([_means_of_nearest(problem, chunk) for chunk in chunks])
        if self.policy == "mean":
            return _means_of_all(problem, rows)
        return np.full((len(rows), problem.values.shape[1]), np.nan)


class Substitutes:
    """What queries without support get instead of weighted means; each is found when it is needed first."""

    def __init__(self, smoother: Smoother, problem: Problem):
        self.smoother, self.problem = smoother, problem
        # of all queries, where any is needed; and which are known
        self.means, self.is_known = np.empty((0, 0)), np.empty(0, dtype=bool)

    def put(self, means: np.ndarray, unsupported: np.ndarray) -> np.ndarray:
        """Means of shape (b, m, k) with substitutes where `unsupported` (b, m), in place."""
        if unsupported.any():
            if not len(self.means):
                self.means, self.is_known = np.empty(means.shape[1:]), np.zeros(means.shape[1], dtype=bool)
            rows = np.flatnonzero(unsupported.any(axis=0))
            if len(new := rows[~self.is_known[rows]]):
                self.means[new], self.is_known[new] = self.smoother.outside_means(self.problem, new), True
            means[:, rows] = np.where(unsupported[:, rows, np.newaxis], self.means[rows], means[:, rows])
        return means


def weighted_means(sums: Sums) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """moments / mass of shape (b, m, k), the logarithm of the mass, and where it is zero, both of shape (b, m).

    There the other two are zero.
    """
    means, unsupported = means_of(sums)
    return means, np.log(np.where(unsupported, 1.0, sums.mass)) + sums.log_scale, unsupported


def means_of(sums: Sums) -> tuple[np.ndarray, np.ndarray]:
    """moments / mass of shape (b, m, k), in place of the moments, and where the mass is zero, of shape (b, m)."""
    unsupported = sums.mass == 0
    mass = np.where(unsupported, 1.0, sums.mass) if unsupported.any() else sums.mass
    return np.divide(sums.moments, mass[..., np.newaxis], out=sums.moments), unsupported


def _means_of_nearest(problem: Problem, rows: np.ndarray) -> np.ndarray:
    weights = nearest_weights(problem, rows)
    with np.errstate(invalid="ignore"):  # 0 / 0: a sample alone has no nearest other one
        return (weights @ problem.values) / weights.sum(axis=1)[:, np.newaxis]


def _at_rows(part: csr_array, rows: np.ndarray, n_rows: int) -> csr_array:
    """The rows of `part` as the `rows`, ascending, of an array that is empty elsewhere."""
    count = np.zeros(n_rows, dtype=part.indptr.dtype)
    count[rows] = np.diff(part.indptr)
    return csr_array((part.data, part.indices, np.append(0, np.cumsum(count))), shape=(n_rows, part.shape[1]))


def normalised(weights: csr_array) -> csr_array:
    """Rows scaled to sum to 1, those without entries left empty."""
    count = np.diff(weights.indptr)
    weights.data /= np.repeat(weights.sum(axis=1), count)
    weights.eliminate_zeros()
    return weights


def nearest_weights(problem: Problem, rows: np.ndarray) -> csr_array:
    """w_j of the keys nearest to the queries `rows`, their own keys left out: sparse, of shape (len(rows), n)."""
    queries = _drawn_near(problem.queries[rows], problem.key_size)
    own = None if problem.own is None else problem.own.key[rows]
    distance, key = problem.tree.query(queries, k=range(1, _FEW_TIES + 1))
    # an own key, at distance 0, is the first or one of several first
    nearest = distance[:, 0 if own is None else 1]
    has_nearest = np.isfinite(nearest)
    # queries, keys (the largest is 1), and what both were before centring
    size = np.abs(queries).max(axis=1) + 1.0 + problem.rounding_size / problem.key_size
    radius = np.where(has_nearest, nearest + _TIE_ULPS * np.finfo(np.float64).eps * size, 0.0)
    is_near = distance <= radius[:, np.newaxis]
    has_many = is_near[:, -1]
    row, place = np.nonzero(is_near & ~has_many[:, np.newaxis])
    key = key[row, place]
    if has_many.any():
        # one by one: lists of all would take much memory
        many = zip(queries[has_many], radius[has_many], strict=True)
        found = [np.array(problem.tree.query_ball_point(query, r), dtype=np.intp) for query, r in many]
        row = np.append(row, np.repeat(np.flatnonzero(has_many), [len(keys_of_row) for keys_of_row in found]))
        key = np.concatenate([key, *found])
    if own is not None:
        row, key = row[key != own[row]], key[key != own[row]]
    return csr_array((problem.weights[key], (row, key)), shape=(len(rows), len(problem.keys)))


def _drawn_near(queries: np.ndarray, key_size: float) -> np.ndarray:
    """Queries in units of the keys' size; those far beyond all keys, of which the direction counts, are drawn near."""
    with np.errstate(over="ignore"):
        queries = np.clip(queries / key_size, -np.finfo(np.float64).max, np.finfo(np.float64).max)
    size = np.abs(queries).max(axis=1, keepdims=True)
    return queries * (_FAR / np.maximum(size, _FAR))


def _means_of_all(problem: Problem, rows: np.ndarray) -> np.ndarray:
    """Weighted means of all values, of each query's own one with its share only."""
    mass, moments = problem.weights.sum(), problem.weights @ problem.values
    if problem.own is None:
        return np.broadcast_to(moments / mass, (len(rows), len(moments)))
    own = problem.own.key[rows]
    left_out = (1.0 - problem.own.share[rows]) * problem.weights[own]
    mass = mass - left_out
    with np.errstate(invalid="ignore"):  # 0 / 0: a sample alone has no others
        return (moments - left_out[:, np.newaxis] * problem.values[own]) / np.where(mass > 0, mass, np.nan)[
            :, np.newaxis
        ]
