"""A selection criterion at one bandwidth, as a function of the ridge of local lines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from sknw._kernel_sums.permutation import row_blocks
from sknw._selection.line_search import (
    OCTAVE,
    SCORE_TOL,
    ParabolicSearch,
    first_minimum,
    lattice_point,
    lattice_values,
    score_tolerance,
)
from sknw._smoothing.datafit import Datafit, SquaredError
from sknw._smoothing.local_linear import LocalFits, shrinkage

# Ridges tried at every bandwidth, relative to the mean variance around a sample, from 2e4, nearly the local mean, to
# 5e-7, nearly the plain local line.
_RIDGE_STEP = 7 * OCTAVE // 2
_RIDGE_STEPS = np.arange(4, -7, -1)
# All of these ridges are tried at no more than this many rows, evenly spread over all.
_SCANNED_ROWS = 10_000
# With more samples than this around a row, in the geometric mean, eight digits of a variance are enough, not ten: a
# single row changes the score less, and its neighbours are many.
_MANY_SAMPLES, _PART_IF_MANY = 40.0, 1e-2
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

    def at(self, ridge: float, keeps_predictions: bool) -> Evaluation:
        """The criterion at a ridge."""
        predictions = self._predictions(ridge) if keeps_predictions else None
        return Evaluation(self(ridge), self.n_unsupported, ridge, predictions)

    def evaluation(self, ridge: float, score: float, keeps_path: bool) -> Evaluation:
        """The criterion at a ridge where it is known, with what makes the predictions."""
        return Evaluation(score, self.n_unsupported, ridge, path=self if keeps_path else None)

    @property
    def n_unsupported(self) -> int:
        """The number of rows without support."""
        return int(self.unsupported.sum())

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
        best = paths[int(np.argmin(is_much_larger(self.name, scores, scores.min())))]
        return best.count, best._predictions(ridge)

    def _every(self, stride: int) -> RidgePath:
        """The same of the rows 0, stride, 2 stride, ..."""
        rows = slice(None, None, stride)
        values, weights = self.values[rows], self.weights[rows]
        return replace(self, lines=self.lines[rows], unsupported=self.unsupported[rows], values=values, weights=weights)

    def scan(self) -> RidgeScan:
        """The best of few ridges, 0 or lattice values, at which all lines are accurate: rounding chooses nothing.

        Of many rows some say where to begin.
        """
        lines = self.lines
        weights = np.where(self.unsupported, 0.0, self.weights)
        # einsum: threads of BLAS take longer to begin than this product
        variance = float(np.einsum("m,m", weights, lines.mean_variance)) / max(weights.sum(), self.weights.min())
        unit = round(lattice_point(variance or 1.0) / _RIDGE_STEP)
        ridges = np.append(lattice_values(_RIDGE_STEP * (unit + _RIDGE_STEPS)), 0.0)
        here = ~self.unsupported
        has_many = lines.log_samples[here].sum() > np.log(_MANY_SAMPLES) * len(here)
        known = lines.known[here] * (_PART_IF_MANY if has_many else 1.0)
        least_ridge = (known - lines.variances[here]).max(initial=0.0)
        n_accurate = max(int(np.count_nonzero(ridges >= least_ridge)), 1)
        is_all, ridges = n_accurate == len(ridges), ridges[:n_accurate]
        stride = -(-len(self.values) // _SCANNED_ROWS)
        scores = self.scores(ridges) if stride == 1 else self._every(stride).scores(ridges)
        falls = not is_all and first_minimum(scores[-2:]) == len(scores[-2:]) - 1
        first, best, before = 0, first_minimum(scores), -1
        while stride > 1 and best != before:  # few rows of large residuals may have decided: go on to where all say
            before, first = best, max(best - 1, 0)
            scores = self.scores(ridges[first : best + 2])
            best = first + first_minimum(scores)
        return RidgeScan(ridges[first : first + len(scores)], scores, best - first, falls)

    def refined(self, scan: RidgeScan) -> tuple[float, float]:
        """The ridge with the smallest score near the best one of a scan, and the score there."""
        ridge, score = scan.minimum
        if ridge == 0.0 or not np.isfinite(score):
            return ridge, score
        seen = dict(zip(scan.ridges.tolist(), scan.scores.tolist(), strict=True))

        def scores_at(ridges: np.ndarray) -> np.ndarray:
            if new := [ridge for ridge in ridges.tolist() if ridge not in seen]:
                seen.update(zip(new, self.scores(np.array(new)).tolist(), strict=True))
            return np.array([seen[ridge] for ridge in ridges.tolist()])

        point = lattice_point(ridge)
        smallest, largest = lattice_values([point - _RIDGE_STEP, point + _RIDGE_STEP])
        beside = scan.ridges[max(scan.best - 1, 0) : scan.best + 2]
        ridge, _ = ParabolicSearch(scores_at, smallest, largest).minimize(beside[beside > 0])
        return ridge, seen[ridge]


class RidgeScan(NamedTuple):
    """The scores at some ridges, in descending order."""

    ridges: np.ndarray
    scores: np.ndarray
    best: int  # of equal ones the largest
    falls: bool  # whether the score falls towards smaller ridges, at which not all lines are accurate

    @property
    def minimum(self) -> tuple[float, float]:
        """The best ridge and its score."""
        return float(self.ridges[self.best]), float(self.scores[self.best])


def is_much_larger(name: str, scores: float | np.ndarray, least: float) -> bool | np.ndarray:
    """Whether scores of a criterion are of mean squares more than `MUCH_LARGER` times that of another score."""
    most = least + np.log(MUCH_LARGER) if name == "aicc" else least * MUCH_LARGER
    return scores > most + score_tolerance(most)


def gcv_or_aicc(name: str, mean_square: float, residual_dof: float, n: float) -> float:
    """GCV or AICc (see `Criterion`) from the mean square of the fit itself and 1 - tr / n."""
    if name == "gcv":
        return mean_square / residual_dof**2 if residual_dof > _LEAST_DOF else np.inf
    if residual_dof - 2 / n <= _LEAST_AICC_DOF:
        return np.inf
    return np.log(max(mean_square, _EXACT_FIT)) + (2 - residual_dof) / (residual_dof - 2 / n)
