"""From kernel sums to fitted values: pooling, leave-one-out, and what a query gets where no sample is near."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from sknw._sums import Own, Problem, dense, kernel_sums
from sknw.kernels import Kernel

# Rounding must not decide which of two samples is nearer: distances that differ by a few units in the last place of the
# coordinates are ties.
_TIE_ULPS = 8
# A weight that exceeds 1 by less was meant to be 1, and scaled: no rest of the sample may predict it.
_ROUNDED_WEIGHT = 1e-9
# A query at so many times the keys' size sees all of them in one direction, to the last digits that distances have.
_FAR = 1e8
# Queries that look for their nearest keys together.
_CHUNK = 100


def coordinates(X: np.ndarray, center: np.ndarray, w: np.ndarray) -> np.ndarray:
    """z = (x - center) w for the rows of X, in float64 whatever the type of X: an offset must not cost digits."""
    with np.errstate(over="ignore", invalid="ignore"):
        return (X.astype(np.float64) - center) * w


@dataclass(frozen=True, eq=False)
class Smoother:
    """Training samples and everything that decides how they are pooled.

    Attributes
    ----------
    center : ndarray of shape (d,)
    w : ndarray of shape (d,)
        Inputs x become z = (x - center) w; w is 1 / h, the inverse of the bandwidth.
    keys : ndarray of shape (n, d)
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

    def at(
        self,
        queries: np.ndarray,
        own: Own | None = None,
        factors: np.ndarray | None = None,
    ) -> Problem:
        """The sums that pooling at `queries` needs; the parameters are those of `Problem`."""
        return Problem(
            kernel=self.kernel,
            queries=queries,
            keys=self.keys,
            weights=self.weights,
            values=self.values,
            own=own,
            factors=np.ones(1) if factors is None else factors,
            float32_is_enough=self.float32_is_enough,
            n_jobs=self.n_jobs,
            rounding_size=float(np.abs(self.center * self.w).max()),
        )

    def leave_one_out(self, rows: np.ndarray, sample_weight: np.ndarray, factors: np.ndarray | None = None) -> Problem:
        """The sums of each training sample `rows` without one unit, one sample, of its `sample_weight`."""
        rest = sample_weight - 1.0
        own = Own(rows, np.where(rest > _ROUNDED_WEIGHT, rest, 0.0) / sample_weight)
        return self.at(self.keys[rows], own, factors)

    def pool(self, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
        """Weighted means and which queries had no support.

        m(q, c) = sum_j K_j w_j V_j / sum_j K_j w_j (Nadaraya 1964, Watson 1964).

        Returns
        -------
        means : ndarray of shape (b, m, k)
            NaN for queries without support where `outside` is "nan" or "raise".
        unsupported : bool ndarray of shape (b, m)
        """
        sums = kernel_sums(problem, self.algorithm)
        unsupported = sums.mass == 0
        means = sums.moments / np.where(unsupported, 1.0, sums.mass)[..., np.newaxis]
        rows = np.flatnonzero(unsupported.any(axis=0))
        if rows.size:
            substitutes = self._outside_means(problem, rows)
            means[:, rows] = np.where(unsupported[:, rows, np.newaxis], substitutes, means[:, rows])
        return means, unsupported

    def attention(self, problem: Problem, rows: slice) -> np.ndarray:
        """Weights a_j = K_j w_j / sum_l K_l w_l of the queries `rows`, of shape (len(rows), n).

        NaN for queries without support where `outside` is "nan" or "raise".
        """
        weights = dense.weight_rows(problem, rows)
        unsupported = np.flatnonzero(~weights.any(axis=1))
        if unsupported.size:
            if self.policy == "nearest":
                weights[unsupported] = nearest_weights(
                    problem, np.arange(len(problem.queries))[rows][unsupported]
                ).toarray()
            else:
                weights[unsupported] = self.weights if self.policy == "mean" else np.nan
        weights /= weights.sum(axis=1, keepdims=True)
        return weights

    @property
    def policy(self) -> str:
        """`outside`, except that a kernel of unbounded support gives every query a nearest sample, if in the limit."""
        return "nearest" if np.isinf(self.kernel.support) else self.outside

    def _outside_means(self, problem: Problem, rows: np.ndarray) -> np.ndarray:
        """What the queries `rows`, without support, get instead: (len(rows), k)."""
        if self.policy == "nearest":
            # a chunk at a time, because many equal keys may be nearest
            chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
            return np.vstack([_means_of_nearest(problem, chunk) for chunk in chunks])
        if self.policy == "mean":
            return _means_of_all(problem, rows)
        return np.full((len(rows), problem.values.shape[1]), np.nan)


def _means_of_nearest(problem: Problem, rows: np.ndarray) -> np.ndarray:
    weights = nearest_weights(problem, rows)
    with np.errstate(invalid="ignore"):  # 0 / 0: a sample alone has no nearest other one
        return (weights @ problem.values) / weights.sum(axis=1)[:, np.newaxis]


def nearest_weights(problem: Problem, rows: np.ndarray) -> csr_array:
    """w_j of the keys nearest to the queries `rows`, their own keys left out: sparse, of shape (len(rows), n)."""
    queries = _drawn_near(problem.queries[rows], problem.key_size)
    own = None if problem.own is None else problem.own.key[rows]
    # an own key, at distance 0, is the first or one of several first
    distance = problem.tree.query(queries, k=[1 if own is None else 2])[0][:, 0]
    has_nearest = np.isfinite(distance)
    # queries, keys (the largest is 1), and what both were before centring
    size = np.abs(queries).max(axis=1) + 1.0 + problem.rounding_size / problem.key_size
    radius = np.where(has_nearest, distance + _TIE_ULPS * np.finfo(np.float64).eps * size, 0.0)
    found = problem.tree.query_ball_point(queries, radius)
    row = np.repeat(np.arange(len(rows)), [len(keys_of_row) for keys_of_row in found])
    key = np.concatenate(found).astype(np.intp)
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
