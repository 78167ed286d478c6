"""What a bandwidth is judged by: leave-one-out error, AICc and GCV, with the best ridge of local lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from sknw._lines import Lines
from sknw._pooling import Queries, Smoother, Substitutes, means_of, weighted_means
from sknw._sums import Problem, kernel_sums, row_blocks
from sknw._training import TrainingSet, some_rows
from sknw.kernels import Pairwise

# Ridges tried at every bandwidth, in units of the mean variance around a sample: from the plain local line to the local
# mean; between the best and its neighbours it is found to a tolerance in log ridge.
_RIDGE_STEP = 10.0
_RIDGES = (0.0, *(_RIDGE_STEP**i for i in range(-6, 5)))
_LOG_RIDGE_TOLERANCE = 1e-3
# With less left of 1 - tr / n, its square and that of the residuals underflow.
_LEAST_FREEDOM = 1e-100
# A mean square below this is an exact fit; its logarithm says nothing.
_ROUNDING = np.finfo(np.float64).eps ** 2
# Runs or boxes of samples that stand for all where the bandwidth is small; a box has so many times as many as all rows.
_N_RUNS, _PLENTY = 4, 3
# Bandwidths are judged together as long as what is kept of each row fits in this many bytes.
_BATCH_BYTES = 2**27


class Judged(NamedTuple):
    """What there is to say of one bandwidth.

    Attributes
    ----------
    score : float
    n_unsupported : int
        Rows that no other sample supports.
    predictions : ndarray of shape (m, k) or None
        Of the rows, from the others.
    """

    score: float
    n_unsupported: int
    predictions: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Criterion:
    """A criterion as a function of the bandwidth factor.

    Attributes
    ----------
    name : {"loo", "aicc", "gcv"}
    smoother : Smoother
        Of the training set with inputs divided by their standard deviations.
    training : TrainingSet
    rows : ndarray of int
        The rows it is averaged over.
    ridge : float or None
        Of local lines; None takes the best at every bandwidth.
    """

    name: str
    smoother: Smoother
    training: TrainingSet
    rows: np.ndarray
    ridge: float | None = 0.0

    def __call__(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores and numbers of unsupported rows at bandwidth factors given in descending order.

        With residuals r_i (values scaled to variance 1, so that the mean over outputs gives each the same weight)

            loo    mean of r_i^2, y_i predicted from the others
            gcv    mean of r_i^2 / (1 - tr / n)^2
            aicc   log(mean of r_i^2) + (1 + tr / n) / (1 - (tr + 2) / n)

        where tr is the trace of the smoother matrix, for weighted means tr = sum_i K(0) w_i / sum_j K_ij w_j (Craven &
        Wahba 1979; Hurvich, Simonoff & Tsai 1998). Infinite where a score does not exist.
        """
        scores, n_unsupported, _ = zip(*self.judged(factors, with_predictions=False), strict=True)
        return np.array(scores), np.array(n_unsupported)

    def judged(self, factors: np.ndarray, with_predictions: bool) -> Iterator[Judged]:
        """The same one after the other, perhaps with the predictions."""
        d, k = 0 if self.smoother.line is None else self.training.X.shape[1], self.smoother.values.shape[1]
        size = max(_BATCH_BYTES // (8 * len(self.rows) * (2 * d + d * k + k + 4)), 1)
        for start in range(0, len(factors), size):
            # a list, so that of one batch nothing is held any more that takes memory when the next begins
            yield from [
                curve.judged(self.ridge, with_predictions) for curve in self._curves(factors[start : start + size])
            ]

    def some(self, n_rows: int) -> Criterion:
        """The same on some of its rows, with the samples near them only: far ones do not matter to small bandwidths.

        Of one feature runs of samples, of several boxes around some of them.
        """
        n, d = self.smoother.keys.shape
        if n <= 2 * _N_RUNS * n_rows:
            n_rows = min(n_rows, len(self.rows))
            return replace(self, rows=np.sort(np.random.default_rng(0).choice(self.rows, n_rows, replace=False)))
        first = np.random.default_rng(0).integers(0, n - 2 * n_rows, _N_RUNS)
        is_taken, is_row = np.zeros((2, n), dtype=bool)
        for start in first.tolist():
            if d == 1:
                is_taken[start : start + 2 * n_rows] = True
                is_row[start + n_rows // 2 : start + n_rows + n_rows // 2] = True
            else:
                distance = np.abs(self.smoother.keys - self.smoother.keys[start]).max(axis=1)
                near = np.argpartition(distance, [n_rows // _N_RUNS, _PLENTY * n_rows])
                is_taken[near[: _PLENTY * n_rows]] = True
                is_row[near[: n_rows // _N_RUNS]] = True
        if len(self.rows) < n:
            is_row[np.delete(np.arange(n), self.rows)] = False
        taken = np.flatnonzero(is_taken)
        return self._of_samples(taken, np.flatnonzero(is_row[taken]))

    def thinned(self, n_samples: int, n_rows: int) -> Criterion:
        """The same for random samples and rows among them."""
        rng = np.random.default_rng(0)
        taken = np.sort(rng.choice(len(self.smoother.keys), n_samples, replace=False, shuffle=False))
        return self._of_samples(taken, np.sort(rng.choice(n_samples, n_rows, replace=False)))

    def _of_samples(self, taken: np.ndarray, rows: np.ndarray) -> Criterion:
        """The same for some samples and rows among them."""
        weights = self.training.sample_weight[taken]
        # so few want another engine, and one that is loaded
        algorithm = "dense" if self.smoother.algorithm == "dense" else "auto"
        few = replace(self.smoother.in_order(taken), algorithm=algorithm)
        return replace(self, smoother=few, training=replace(self.training, sample_weight=weights), rows=rows)

    @cached_property
    def _weights(self) -> np.ndarray:
        """Sample weights of the rows (m,)."""
        return some_rows(self.training.sample_weight, self.rows)

    @cached_property
    def _values(self) -> np.ndarray:
        """Values of the rows (m, k)."""
        return some_rows(self.smoother.values, self.rows)

    @cached_property
    def _queries(self) -> Queries:
        """The rows, without one unit of weight each."""
        return self.smoother.left_out(self.rows, self._weights)

    @cached_property
    def _substitutes(self) -> Substitutes:
        """Of the rows; whether others are near does not depend on the bandwidth."""
        return Substitutes(self.smoother, self.smoother.problem(self._queries))

    def best_ridge(self, factor: float) -> float:
        """The ridge with the smallest score at a bandwidth, or the one given."""
        if self.ridge is not None:
            return self.ridge
        return self._curves(np.array([factor]))[0].lowest()

    def degrees_of_freedom(self, factors: np.ndarray, ridge: float) -> np.ndarray:
        """The trace of the smoother matrix at bandwidth factors, estimated from `rows`: (b,)."""
        share_left = np.array([curve.freedom(ridge) for curve in self._curves(factors)])
        return self.training.sample_weight.sum() * (1.0 - share_left)

    def _curves(self, factors: np.ndarray) -> list[_RidgeCurve]:
        """The criterion as a function of the ridge, at each bandwidth."""
        smoother, weights, queries, values = self.smoother, self._weights, self._queries, self._values
        lines, unsupported = self._lines(queries, factors)
        self._substitutes.put(lines.y_mean, unsupported)
        log_unit = np.broadcast_to(0.0, unsupported.shape)
        if self.name != "loo":
            unit = some_rows(smoother.weights, self.rows) * np.minimum(1.0, 1.0 / weights)  # what was left out
            at_zero = weight_at_zero(smoother.problem(queries, factors))
            with np.errstate(divide="ignore"):
                log_unit = np.broadcast_to(np.log(unit) + np.log(at_zero), unsupported.shape)
        n = self.training.sample_weight.sum()
        return [
            _RidgeCurve(self.name, lines[i], unsupported[i], values, weights, log_unit[i], n)
            for i in range(len(factors))
        ]

    def _lines(self, queries: Queries, factors: np.ndarray) -> tuple[Lines, np.ndarray]:
        """Lines around the queries, and which have no support; weighted means as lines without axes."""
        smoother = self.smoother
        if smoother.line is None:
            return self._means(queries, factors)
        parts = [queries[part] for part in smoother.parts(len(queries), len(factors))]
        if self.ridge is None:
            found = [smoother.lines_for_any_ridge(part, factors) for part in parts]
        else:
            smoother = replace(smoother, line=replace(smoother.line, ridge=self.ridge))
            found = [smoother.lines(part, factors) for part in parts]
        lines, unsupported = zip(*found, strict=True)
        return Lines.joined(lines), np.concatenate(unsupported, axis=1)

    def _means(self, queries: Queries, factors: np.ndarray) -> tuple[Lines, np.ndarray]:
        smoother, shape = self.smoother.for_parts(), (len(factors), len(queries))
        means, unsupported = np.empty((*shape, smoother.values.shape[1])), np.empty(shape, dtype=bool)
        # "loo" needs no logarithm
        log_mass = np.broadcast_to(0.0, shape) if self.name == "loo" else np.empty(shape)
        for part in smoother.parts(len(queries), len(factors)):
            sums = kernel_sums(smoother.problem(queries[part], factors), smoother.algorithm)
            if self.name == "loo":
                means[:, part], unsupported[:, part] = means_of(sums)
            else:
                means[:, part], log_mass[:, part], unsupported[:, part] = weighted_means(sums)
        return Lines.of_means(means, log_mass), unsupported

    def in_units_of_y(self, scores: np.ndarray) -> np.ndarray:
        """Scores of one output in its units; several outputs have none in common."""
        if len(self.training.y_scales) > 1:
            return scores
        scale = self.training.y_scales[0]
        with np.errstate(over="ignore", under="ignore"):
            return scores + 2 * np.log(scale) if self.name == "aicc" else scores * scale * scale


@dataclass(frozen=True, eq=False)
class _RidgeCurve:
    """A criterion at one bandwidth, as a function of the ridge.

    Attributes
    ----------
    name : {"loo", "aicc", "gcv"}
    lines : Lines
        Around each of m rows, from the others; of weighted means without axes.
    unsupported : bool ndarray of shape (m,)
        The rows that no other supports, whose lines are constants.
    values : ndarray of shape (m, k)
    weights : ndarray of shape (m,)
        Sample weights.
    log_unit : ndarray of shape (m,)
        The logarithm of the weight that was left out at each row.
    n : float
        The sum of all sample weights.
    """

    name: str
    lines: Lines
    unsupported: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    log_unit: np.ndarray
    n: float

    def judged(self, ridge: float | None, with_predictions: bool) -> Judged:
        """The score at a ridge, None for the best, and what else there is to say."""
        ridge = self.lowest() if ridge is None else ridge
        predictions = self.lines.value(ridge) if with_predictions else None
        return Judged(self(ridge), int(self.unsupported.sum()), predictions)

    def __call__(self, ridge: float) -> float:
        if self.name == "loo":
            score = self._mean_square(self.lines.value(ridge))
        else:
            score = penalised(self.name, *self._of_the_fit_itself(ridge), self.n)
        return np.inf if np.isnan(score) else score  # of unsupported rows that count for nothing

    def _of_the_fit_itself(self, ridge: float) -> tuple[float, float]:
        """The mean square of the residuals of the fit itself, and 1 - tr / n.

        With p and s the shares of the sample itself and of the others, and m_i and C the line and covariances of the
        others at ridge / s, the residual is t (y_i - m_i), and dm / dy of the sample itself is 1 - t, with

            t = s / (1 + p (x_i - x_mean)' (C + ridge / s I)^-1 (x_i - x_mean)):

        nothing is a difference of numbers that are almost equal.
        """
        log_ratio = np.where(self.unsupported, -np.inf, self.lines.log_mass - self.log_unit)
        s, p = expit(log_ratio), expit(-log_ratio)
        with np.errstate(over="ignore"):
            ridges = np.divide(ridge, s, out=np.full(len(s), np.inf), where=s > 0)
        t = s / (1.0 + np.where(p > 0, p * self.lines.reach(ridges), 0.0))
        mean_square = self._mean_square(self.lines.value(ridges), t)
        # the rows stand for all, each for its weight
        freedom = np.where(self.weights >= 1, self.weights * t, self.weights - 1.0 + t)
        return mean_square, float(freedom.sum() / self.weights.sum())

    def freedom(self, ridge: float) -> float:
        """1 - tr / n."""
        return self._of_the_fit_itself(ridge)[1]

    def _mean_square(self, means: np.ndarray, t: np.ndarray | None = None) -> float:
        """Weighted mean square of the residuals y - m, or t (y - m), of means (m, k), averaged over the outputs."""
        total = 0.0
        for some in row_blocks(len(means)):
            residuals = self.values[some] - means[some]
            if t is not None:
                residuals *= t[some, np.newaxis]
            total += np.einsum("m,mk,mk", self.weights[some], residuals, residuals)
        return float(total / (self.weights.sum() * means.shape[1]))

    def lowest(self) -> float:
        """The ridge with the smallest score, of equal ones the largest.

        The plain line is not a candidate where it hangs by so little that rounding shows.
        """
        weights = np.where(self.unsupported, 0.0, self.weights)
        variance = float(weights @ self.lines.variances.mean(axis=1)) / max(weights.sum(), self.weights.min())
        ridges = (variance or 1.0) * np.array(_RIDGES)
        if np.any(self.lines.are_unsure(0.0) & ~self.unsupported):
            ridges = ridges[1:]
        scores = np.array([self(ridge) for ridge in ridges])
        best = int(np.flatnonzero(scores <= scores.min()).max())
        if ridges[best] == 0.0 or not np.isfinite(scores[best]):
            return float(ridges[best])
        bounds = np.log([ridges[best] / _RIDGE_STEP, ridges[best] * _RIDGE_STEP])
        found = minimize_scalar(
            lambda log_ridge: self(np.exp(log_ridge)),
            bounds=bounds,
            method="bounded",
            options={"xatol": _LOG_RIDGE_TOLERANCE},
        )
        return float(np.exp(found.x)) if found.fun < scores[best] else float(ridges[best])


def penalised(name: str, mean_square: float, freedom: float, n: float) -> float:
    """GCV or AICc from the mean square of the fit itself and 1 - tr / n."""
    if name == "gcv":
        return mean_square / freedom**2 if freedom > _LEAST_FREEDOM else np.inf
    if freedom <= 2 / n:
        return np.inf
    return np.log(max(mean_square, _ROUNDING)) + (2 - freedom) / (freedom - 2 / n)


def weight_at_zero(problem: Problem) -> np.ndarray:
    """K at distance zero, of shape (b, 1), or (b, m) for a kernel that is not a function of the distance."""
    if isinstance(problem.kernel, Pairwise):
        return np.array([problem.kernel.diagonal(problem.queries / factor) for factor in problem.factors])
    return np.broadcast_to(problem.kernel.profile(np.zeros(1)), (len(problem.factors), 1))
