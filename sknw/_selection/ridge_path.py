"""A selection criterion at one bandwidth, as a function of the ridge of local lines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from sknw._kernel_sums.permutation import row_blocks
from sknw._selection.line_search import OCTAVE, SCORE_TOL, ParabolicSearch, first_minimum, lattice_point, lattice_values
from sknw._smoothing.datafit import Datafit, SquaredError
from sknw._smoothing.local_linear import ACCURATE_IN_SEARCH, LocalFits, shrinkage

# Ridges tried at every bandwidth, relative to the mean variance around a sample, from 2e4, nearly the local mean, to
# 5e-7, nearly the plain local line.
_RIDGE_STEP = 7 * OCTAVE // 2
_RIDGE_STEPS = np.arange(4, -7, -1)
# All of these ridges are tried at no more than this many rows, evenly spread over all.
_SCANNED_ROWS = 10_000
# Ridges are tried together where the lines have at most this many slopes in total.
_TOGETHER = 2**14
# With less left of 1 - tr / n, its square and that of the residuals underflow; with less than this of what AICc divides
# by, 1 - (tr + 2) / n, that is rounding.
_LEAST_DOF, _LEAST_AICC_DOF = 1e-100, 1e-6
# A mean square below this is an exact fit but for rounding; its logarithm says nothing.
_EXACT_FIT = SCORE_TOL**2

# The counts that local lines whose ridge is chosen may have. A mean square is much larger than another from this factor
# on: noise in leave-one-out does not reach it.
SLOPE_COUNTS, MUCH_LARGER = (0.2, 0.02, 0.002, 0.0), 1.2


class Evaluation(NamedTuple):
    """A criterion at one bandwidth."""

    score: float
    n_unsupported: int  # rows without support
    ridge: float = 0.0
    predictions: np.ndarray | None = None  # left-out predictions of the rows, if they are kept, (m, k)
    path: RidgePath | None = None  # of lines with the best ridge: what makes the predictions, if it is kept

    def copy(self) -> Evaluation:
        """The same with arrays of its own, not parts of those of several bandwidths."""
        predictions = None if self.predictions is None else self.predictions.copy()
        return self._replace(predictions=predictions, path=None if self.path is None else self.path.copy())


@dataclass(frozen=True, eq=False)
class RidgePath:
    """A criterion at one bandwidth, as a function of the ridge."""

    name: str  # "loo", "aicc" or "gcv"
    count: float  # how many samples without a slope shrink the lines
    lines: LocalFits  # around each of m rows, from the others; weighted means are lines without axes
    unsupported: np.ndarray  # the rows that no other supports, whose lines are constants, (m,)
    values: np.ndarray  # (m, k)
    weights: np.ndarray  # sample weights, (m,)
    n: int  # the number of all samples
    datafit: Datafit

    def evaluate(self, ridge: float | None, keeps_predictions: bool) -> Evaluation:
        """The criterion at a ridge, or with the best one for None, whose path is kept where its lines are accurate."""
        n_unsupported = int(self.unsupported.sum())
        if ridge is not None:
            predictions = self._predictions(ridge) if keeps_predictions else None
            return Evaluation(self(ridge), n_unsupported, ridge, predictions)
        ridge, score = self.minimum()
        is_kept = keeps_predictions and np.all(self.unsupported | self.lines.is_accurate(ridge))
        return Evaluation(score, n_unsupported, ridge, path=self if is_kept else None)

    def copy(self) -> RidgePath:
        """The same with lines of its own, not those of several bandwidths."""
        return replace(self, lines=self.lines.copy(), unsupported=self.unsupported.copy())

    def __call__(self, ridge: float) -> float:
        """The score; infinite where it does not exist, as with unsupported rows that count for nothing."""
        return float(self.scores(np.array([ridge]))[0])

    def scores(self, ridges: np.ndarray) -> np.ndarray:
        """The score at each of some ridges; of few rows the predictions at all of them are made together."""
        if self.name != "loo":
            scores = np.array([gcv_or_aicc(self.name, *self._in_sample(ridge), self.n) for ridge in ridges.tolist()])
        elif len(ridges) > 1 and self.lines.variances.size <= _TOGETHER:
            predictions = self.lines.shrunken_value(ridges[:, np.newaxis], self._factor)
            scores = self.datafit.means(self.values, predictions, self.weights)
        else:
            at_ridges = (self._predictions(ridge)[np.newaxis] for ridge in ridges)
            scores = np.concatenate([self.datafit.means(self.values, one, self.weights) for one in at_ridges])
        return np.where(np.isnan(scores), np.inf, scores)

    def _predictions(self, ridge: float) -> np.ndarray:
        """The left-out predictions (m, k): y_mean + sum_i r a_i c_i / (v_i + ridge)."""
        if self.lines.variances.shape[-1] == 0:
            return self.lines.y_mean
        predictions = np.empty_like(self.lines.y_mean)
        for some in row_blocks(len(predictions)):
            lines = self.lines[some]
            predictions[some] = lines.shrunken_value(ridge, self._factor[some])
        return predictions

    @cached_property
    def _factor(self) -> np.ndarray:
        """r = M / (M + count), (m,)."""
        return shrinkage(self.lines.log_samples, self.count)

    def _in_sample(self, ridge: float) -> tuple[float, float]:
        """The mean square of the residuals of the fit itself, and 1 - tr / n.

        With p and s the shares of the sample itself and of the others, y_mean, x_mean, C, and the slope b at ridge / s
        and without a count, those of the others, and r = M / (M + count) with the sample itself in M,

            y_i - m = t (y_i - y_mean - q b'(x_i - x_mean)),   1 - dm / dy_i = t,
            t = s (1 + (1 - r) h) / (1 + h),   q = r / (1 + (1 - r) h),
            h = p (x_i - x_mean)' (C + ridge / s I)^-1 (x_i - x_mean):

        nothing is a difference of numbers that are almost equal.
        """
        assert isinstance(self.datafit, SquaredError)
        log_ratio = np.where(self.unsupported, -np.inf, self.lines.log_samples - self.log_weights)
        s, p = expit(log_ratio), expit(-log_ratio)
        with np.errstate(over="ignore"):
            ridges = np.divide(ridge, s, out=np.full(len(s), np.inf), where=s > 0)
        h = np.where(p > 0, p * self.lines.leverage(ridges), 0.0)
        log_samples = np.logaddexp(np.where(self.unsupported, -np.inf, self.lines.log_samples), self.log_weights)
        r = shrinkage(log_samples, self.count)
        with np.errstate(invalid="ignore"):  # inf / inf where r < 1 and the samples say nothing of the slope
            t = s * np.where(np.isinf(h), 1.0 - r, (1.0 + (1.0 - r) * h) / (1.0 + h))
            q = r / (1.0 + np.where(r < 1.0, (1.0 - r) * h, 0.0))
        mean_square = self._mean_square(self.lines.shrunken_value(ridges, q), t)
        return mean_square, float(t.mean())  # the rows stand for all

    @property
    def log_weights(self) -> np.ndarray:
        """What each row adds to log M of its own prediction, from which it was left out, (m,)."""
        return np.log(self.weights)

    def residual_dof(self, ridge: float) -> float:
        """1 - tr / n, the residual degrees of freedom of a sample."""
        return self._in_sample(ridge)[1]

    def _mean_square(self, means: np.ndarray, t: np.ndarray) -> float:
        """Weighted mean square of t (y - m), of means (m, k), averaged over the outputs."""
        total = 0.0
        for some in row_blocks(len(means)):
            residuals = t[some, np.newaxis] * (self.values[some] - means[some])
            total += np.einsum("m,mk,mk", self.weights[some], residuals, residuals)
        return float(total / (self.weights.sum() * means.shape[1]))

    def best_count(self, ridge: float) -> tuple[float, np.ndarray]:
        """The first of `SLOPE_COUNTS` whose mean square at a ridge is not much larger than the smallest.

        And the left-out predictions (m, k) with this count.
        """
        paths = [replace(self, count=count) for count in SLOPE_COUNTS]
        scores = np.array([path(ridge) for path in paths])
        smallest = scores.min()
        most = smallest + np.log(MUCH_LARGER) if self.name == "aicc" else smallest * MUCH_LARGER
        best = paths[int(np.argmax(scores <= most))]
        return best.count, best._predictions(ridge)

    def _every(self, stride: int) -> RidgePath:
        """The same of the rows 0, stride, 2 stride, ..."""
        rows = slice(None, None, stride)
        values, weights = self.values[rows], self.weights[rows]
        return replace(self, lines=self.lines[rows], unsupported=self.unsupported[rows], values=values, weights=weights)

    def minimum(self) -> tuple[float, float]:
        """The ridge with the smallest score, of equal ones the largest, and the score there.

        Of many rows some say where to begin. The ridge is 0 or a lattice value; it is not 0 if any local covariance is
        numerically singular.
        """
        lines = self.lines
        weights = np.where(self.unsupported, 0.0, self.weights)
        # einsum: threads of BLAS take longer to begin than this product
        variance = float(np.einsum("m,m", weights, lines.mean_variance)) / max(weights.sum(), self.weights.min())
        unit = round(lattice_point(variance or 1.0) / _RIDGE_STEP)
        ridges = lattice_values(_RIDGE_STEP * (unit + _RIDGE_STEPS))
        if not np.any(lines.is_ill_conditioned(0.0, ACCURATE_IN_SEARCH) & ~self.unsupported):
            ridges = np.append(ridges, 0.0)
        seen: dict[float, float] = {}

        def scores_at(ridges: np.ndarray) -> np.ndarray:
            if new := [ridge for ridge in ridges.tolist() if ridge not in seen]:
                seen.update(zip(new, self.scores(np.array(new)).tolist(), strict=True))
            return np.array([seen[ridge] for ridge in ridges.tolist()])

        stride = -(-len(self.values) // _SCANNED_ROWS)
        if stride > 1:
            some = self._every(stride)
            before, best = -1, first_minimum(some.scores(ridges))
            while best != before:  # few rows of large residuals may have decided: go on to where all rows say
                before, first = best, max(best - 1, 0)
                best = first + first_minimum(scores_at(ridges[first : best + 2]))
            ridges = ridges[first : best + 2]
        scores = scores_at(ridges)
        best = first_minimum(scores)
        if ridges[best] == 0.0 or not np.isfinite(scores[best]):
            return float(ridges[best]), float(scores[best])
        point = lattice_point(ridges[best])
        smallest, largest = lattice_values([point - _RIDGE_STEP, point + _RIDGE_STEP])
        beside = ridges[max(best - 1, 0) : best + 2]
        ridge, _ = ParabolicSearch(scores_at, smallest, largest).minimize(beside[beside > 0])
        return ridge, seen[ridge]


def gcv_or_aicc(name: str, mean_square: float, residual_dof: float, n: float) -> float:
    """GCV or AICc (see `Criterion`) from the mean square of the fit itself and 1 - tr / n."""
    if name == "gcv":
        return mean_square / residual_dof**2 if residual_dof > _LEAST_DOF else np.inf
    if residual_dof - 2 / n <= _LEAST_AICC_DOF:
        return np.inf
    return np.log(max(mean_square, _EXACT_FIT)) + (2 - residual_dof) / (residual_dof - 2 / n)
