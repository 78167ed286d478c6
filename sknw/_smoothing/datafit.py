"""The loss of left-out predictions: squared error, or the log loss of class probabilities.

One object with value and derivative, which the criterion, the learning of w and the scores take. What holds for one
loss only says so here: `criteria` and `can_bin`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from scipy.optimize import brentq

from sknw._kernel_sums.permutation import row_blocks

# A squared error below this, in units of the variance of y, is an exact fit: its logarithm has no end.
EXACT_FIT = 1e-12
# Of the sample that is predicted with probability zero, in units of the mean weight of a sample.
PRIOR_WEIGHT = 1.0
# With more smoothing the order of the classes would be lost in rounding.
_MOST_SMOOTHING = 0.999


class Datafit(ABC):
    """A loss of predictions m (m, k) of values v (m, k)."""

    criteria: ClassVar[tuple[str, ...]]  # selection criteria that are defined for it
    can_bin: ClassVar[bool]  # whether the mean loss of merged samples follows from their mean and variance
    has_parameters: ClassVar[bool]  # that `fit` finds
    constant_prediction: ClassVar[str]  # the best one without inputs, in words
    constant: float = 0.0  # added to the mean loss

    @abstractmethod
    def losses(self, values: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """The loss of each prediction: (m,)."""

    @abstractmethod
    def derivatives(self, values: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Its derivatives in the prediction: (m, k)."""

    @abstractmethod
    def objective(self, loss: float) -> tuple[float, float]:
        """What learning w minimises, as a function of the mean loss, and its derivative."""

    def fit(self, values: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> Self:
        """The same with the parameters that minimise the mean loss."""
        return self

    def mean(self, values: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> float:
        """The weighted mean of the losses."""
        total = 0.0
        for some in row_blocks(len(predictions)):
            # no product of BLAS, whose threads take longer to begin than this
            total += np.einsum("m,m", weights[some], self.losses(values[some], predictions[some]))
        return float(total / weights.sum()) + self.constant

    def means(self, values: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The mean loss of several predictions of the same values, (b, m, k), each with its parameters `fit`: (b,)."""
        return np.array([self.fit(values, one, weights).mean(values, one, weights) for one in predictions])


class SquaredError(Datafit):
    """The square of v - m, averaged over outputs; its scale is that of the noise, which is not known."""

    criteria = ("loo", "aicc", "gcv")
    can_bin = True
    has_parameters = False
    constant_prediction = "the mean of all targets"

    def losses(self, values: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        residuals = values - predictions
        return np.einsum("mk,mk->m", residuals, residuals) / values.shape[1]

    def means(self, values: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
        total = np.zeros(len(predictions))
        for some in row_blocks(len(weights)):
            residuals = values[some] - predictions[:, some]
            residuals *= residuals
            total += np.einsum("bmk,m->b", residuals, weights[some])
        return total / (weights.sum() * values.shape[1])

    def derivatives(self, values: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return -2.0 / values.shape[1] * (values - predictions)

    def objective(self, loss: float) -> tuple[float, float]:
        """log L, so that a penalty means the same whatever the noise."""
        return float(np.log(max(loss, EXACT_FIT))), 1.0 / loss if loss > EXACT_FIT else 0.0


@dataclass(frozen=True)
class LogLoss(Datafit):
    """The log loss -log p_y of smoothed class probabilities; values are the indicators of the classes y.

    With q the pooled indicators, s the smoothing and C classes (Aitchison & Aitken 1976)

        p_c = (1 - s) q_c + s / C.

    The s that is found minimises sum_i w_i (-log p_i) + w_0 (-log(s / C)): the log loss of the predictions and of one
    sample more, of the mean weight w_0 = 1, whose class was predicted with probability zero. So s is positive although
    no prediction may have been wrong. L is this sum divided by sum_i w_i.
    """

    criteria = ("loo",)
    can_bin = False
    has_parameters = True
    constant_prediction = "the shares of the classes"

    smoothing: float | None  # None: that is found
    constant: float = 0.0

    def fit(self, values: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> LogLoss:
        if self.smoothing is not None:
            return self
        n_classes = values.shape[1]
        q = _of_own_class(values, predictions)
        known = np.isfinite(q)
        q, w = q[known], weights[known]
        total = w.sum()
        if n_classes == 1 or not total > 0:
            return replace(self, smoothing=0.0)
        difference = 1.0 / n_classes - q

        def slope(s: float) -> float:
            return -float(w @ (difference / (q + s * difference))) - PRIOR_WEIGHT / s

        # the derivative in s increases; if every q is 1, it is zero at the smaller of these
        lowest = min(PRIOR_WEIGHT / ((1.0 - 1.0 / n_classes) * (total + PRIOR_WEIGHT)), _MOST_SMOOTHING)
        lowest *= 1.0 - 1e-9
        s = _MOST_SMOOTHING
        if slope(s) > 0.0:
            s = brentq(slope, lowest, s, xtol=1e-15, rtol=1e-12) if slope(lowest) < 0.0 else lowest
        return replace(self, smoothing=s, constant=-PRIOR_WEIGHT * np.log(s / n_classes) / total)

    def probabilities(self, pooled: np.ndarray) -> np.ndarray:
        """p for pooled indicators (m, C), freed from rounding: in [0, 1], and each row sums to 1."""
        assert self.smoothing is not None
        p = np.maximum(pooled, 0.0)
        p *= (1.0 - self.smoothing) / p.sum(axis=1, keepdims=True)
        p += self.smoothing / pooled.shape[1]
        return np.minimum(p, 1.0, out=p)

    def losses(self, values: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return -np.log(self._of_own_class(values, predictions))

    def derivatives(self, values: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """In q; s is at its minimum, where the derivative in it is zero, or given. Where the loss is infinite, 0."""
        assert self.smoothing is not None
        p = self._of_own_class(values, predictions)
        slopes = np.divide(self.smoothing - 1.0, p, out=np.zeros_like(p), where=p > 0)
        return slopes[:, np.newaxis] * values

    def _of_own_class(self, values: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """p of the class of each row: (m,)."""
        assert self.smoothing is not None
        return (1.0 - self.smoothing) * _of_own_class(values, predictions) + self.smoothing / values.shape[1]

    def objective(self, loss: float) -> tuple[float, float]:
        """L itself: on separable data it goes to 0, and its logarithm has no lower end."""
        return loss, 1.0


def _of_own_class(values: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """The pooled indicator of the class of each row: (m,)."""
    return np.maximum(np.einsum("mk,mk->m", values, predictions), 0.0)
