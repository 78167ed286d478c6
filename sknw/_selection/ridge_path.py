"""A selection criterion at one bandwidth, as a function of the ridge of local lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from sknw._kernel_sums.permutation import row_blocks
from sknw._smoothing.local_linear import LocalFits

# Ridges tried at every bandwidth, in units of the mean variance around a sample: from the plain local line to the local
# mean; between the best and its neighbours it is found to a tolerance in log ridge.
_RIDGE_STEP = 10.0
_RIDGES = (0.0, *(_RIDGE_STEP**i for i in range(-6, 5)))
_LOG_RIDGE_TOLERANCE = 1e-3
# With less left of 1 - tr / n, its square and that of the residuals underflow.
_LEAST_FREEDOM = 1e-100
# A mean square below this is an exact fit; its logarithm says nothing.
_ROUNDING = np.finfo(np.float64).eps ** 2


class Evaluation(NamedTuple):
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
class RidgePath:
    """A criterion at one bandwidth, as a function of the ridge.

    Attributes
    ----------
    name : {"loo", "aicc", "gcv"}
    lines : LocalFits
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
    lines: LocalFits
    unsupported: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    log_unit: np.ndarray
    n: float

    def evaluations_at(self, ridge: float | None, with_predictions: bool) -> Evaluation:
        """The score at a ridge, None for the best, and what else there is to say."""
        ridge = self.argmin() if ridge is None else ridge
        predictions = self.lines.value(ridge) if with_predictions else None
        return Evaluation(self(ridge), int(self.unsupported.sum()), predictions)

    def __call__(self, ridge: float) -> float:
        if self.name == "loo":
            score = self._mean_square(self.lines.value(ridge))
        else:
            score = gcv_or_aicc(self.name, *self._in_sample(ridge), self.n)
        return np.inf if np.isnan(score) else score  # of unsupported rows that count for nothing

    def _in_sample(self, ridge: float) -> tuple[float, float]:
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
        return self._in_sample(ridge)[1]

    def _mean_square(self, means: np.ndarray, t: np.ndarray | None = None) -> float:
        """Weighted mean square of the residuals y - m, or t (y - m), of means (m, k), averaged over the outputs."""
        total = 0.0
        for some in row_blocks(len(means)):
            residuals = self.values[some] - means[some]
            if t is not None:
                residuals *= t[some, np.newaxis]
            total += np.einsum("m,mk,mk", self.weights[some], residuals, residuals)
        return float(total / (self.weights.sum() * means.shape[1]))

    def argmin(self) -> float:
        """The ridge with the smallest score, of equal ones the largest.

        The plain line is not a candidate where it hangs by so little that rounding shows.
        """
        weights = np.where(self.unsupported, 0.0, self.weights)
        variance = float(weights @ self.lines.variances.mean(axis=1)) / max(weights.sum(), self.weights.min())
        ridges = (variance or 1.0) * np.array(_RIDGES)
        if np.any(self.lines.is_ill_conditioned(0.0) & ~self.unsupported):
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


def gcv_or_aicc(name: str, mean_square: float, freedom: float, n: float) -> float:
    """GCV or AICc from the mean square of the fit itself and 1 - tr / n."""
    if name == "gcv":
        return mean_square / freedom**2 if freedom > _LEAST_FREEDOM else np.inf
    if freedom <= 2 / n:
        return np.inf
    return np.log(max(mean_square, _ROUNDING)) + (2 - freedom) / (freedom - 2 / n)
