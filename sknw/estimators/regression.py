"""What makes a smoother a regressor: its targets are numbers, and it predicts their means."""

from __future__ import annotations

from typing import ClassVar, Literal, overload

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import MultiOutputMixin, RegressorMixin

from sknw._predictive.fitted import FittedRegression, FittedSmoother
from sknw._selection.autocorrelation import Autocorrelation, measure_autocorrelation
from sknw._selection.ridge_path import MUCH_LARGER
from sknw._smoothing.datafit import SquaredError
from sknw._smoothing.smoother import Smoother
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import LeaveOutRule
from sknw.estimators.base import LeftOut
from sknw.estimators.dask_arrays import takes_dask_arrays
from sknw.estimators.predictive import PredictiveMixin


class RegressionMixin(PredictiveMixin, MultiOutputMixin, RegressorMixin):
    """The regressor's part of a smoother; it comes before `BaseSmoother`."""

    _target_checks: ClassVar[dict] = {"multi_output": True}

    # set by fit
    loo_prediction_: np.ndarray
    loo_score_: float

    # Whether lines are kept within the range of the targets, as weighted means are; set by fit where that is chosen.
    _keeps_range = False

    def _datafit(self) -> SquaredError:
        return SquaredError()

    def _as_kept(self, y: np.ndarray) -> np.ndarray:
        if y.dtype.kind in "biuf":
            return y
        try:
            numbers = y.astype(np.float64)  # objects, and strings of numbers
        except (TypeError, ValueError) as error:
            raise ValueError(f"y must consist of numbers: {error}.") from error
        if not np.isfinite(numbers).all():
            raise ValueError("Input y contains NaN or infinity, or None: y must consist of finite numbers.")
        return numbers

    def _numbers_of(self, y: np.ndarray) -> tuple[np.ndarray, None]:
        return y, None

    def _store_left_out(self, training: TrainingSet, smoother: Smoother, left_out: LeftOut) -> None:
        self.loo_score_ = weighted_r2(training.values, left_out.of_samples, training.sample_weight)
        loo = training.into_units_of_y(left_out.of_rows)
        if smoother.line is None:
            training.clip_to_targets(loo)
        self.loo_prediction_ = loo.reshape(self._shape_of_y(len(loo)))

    def _fitted_smoother(self, training: TrainingSet, smoother: Smoother, rule: LeaveOutRule) -> FittedSmoother:
        if not hasattr(self, "loo_prediction_"):  # rows were appended
            return FittedSmoother(training, smoother, rule)
        return FittedRegression(training, smoother, rule, training.residuals(self.loo_prediction_) ** 2)

    def _skill(self) -> float:
        return self.loo_score_

    def _autocorrelation(self, n_rows: int) -> Autocorrelation | None:
        training = self._fitted.training
        residuals = training.residuals(self.loo_prediction_)
        return measure_autocorrelation(self._fitted.smoother, training, residuals, n_rows)

    def _individual_curves(self, rows: np.ndarray, feature: int, values: np.ndarray) -> np.ndarray:
        curves, targets = super()._individual_curves(rows, feature, values), self._fitted.training.values
        return np.clip(curves, targets.min(axis=0), targets.max(axis=0)) if self._keeps_range else curves

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[False] = False) -> np.ndarray: ...

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    @overload
    def predict(self, X: ArrayLike, return_std: bool) -> np.ndarray | tuple[np.ndarray, np.ndarray]: ...

    @takes_dask_arrays
    def predict(self, X: ArrayLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict weighted means of the training targets, sum_i a(x, x_i) y_i, or values of local lines.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries. For a dask array the result is lazy, in the same chunks of rows.
        return_std : bool, default=False
            Whether to return the standard deviation of a new observation as well: the root of the squared left-out
            residuals pooled with the same weights, sqrt(sum_i a(x, x_i) r_i^2). With `validation_samples` below the
            number of samples, the weights are those of the samples that have a residual; a query none of whose
            neighbours has one gets the root mean square of all. NaN where there is no residual at all.

        Returns
        -------
        mean : ndarray of shape (n_queries,) or (n_queries, n_outputs)
            The predictions, float32 for float32 queries; NaN for queries without support if `outside` is "nan".
        std : ndarray of the same shape
            The standard deviations, in units of y; only with `return_std`.

        Raises
        ------
        ValueError
            If `outside` is "raise" and a query has no training sample in the kernel's support; if `return_std` is true
            and rows were appended by `partial_fit`.
        """
        array, smoother = self._validate_queries(X, "with_squares" if return_std else "smoother", True)
        training, k = self._fitted.training, self._fitted.training.values.shape[1]
        mean = np.empty((len(array), k), dtype=self._result_dtype(array))
        squares = np.empty((len(array), 2 * k if return_std else 0))
        for batch, pooled in self._pool_batches(array, smoother):
            mean[batch] = training.into_units_of_y(pooled[:, :k])
            if smoother.line is None or self._keeps_range:
                training.clip_to_targets(mean[batch])
            squares[batch] = pooled[:, k:]
        mean = mean.reshape(self._shape_of_y(len(array)))
        if not return_std:
            return mean
        pooled_squares, pooled_known = np.split(squares, 2, axis=1)
        with np.errstate(invalid="ignore"):  # 0 / 0: no residual
            variance = np.where(pooled_known == 0, self._fitted.mean_squares, pooled_squares / pooled_known)
        return mean, (training.y_scales * np.sqrt(variance)).astype(mean.dtype).reshape(mean.shape)


def keeps_range(y: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> bool:
    """Whether left-out predictions lose little where each is kept within the range of the other targets.

    They lose much where the target is a line with little noise: that goes on beyond the samples.
    """
    if len(y) < 2:
        return True
    ordered = np.sort(y, axis=0)
    smallest = np.where(y == ordered[0], ordered[1], ordered[0])
    largest = np.where(y == ordered[-1], ordered[-2], ordered[-1])
    known = np.isfinite(prediction)
    plain, kept = (
        float((weights @ np.where(known, y - found, 0.0) ** 2).sum())
        for found in (prediction, np.clip(prediction, smallest, largest))
    )
    return kept <= MUCH_LARGER * plain


def weighted_r2(y: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> float:
    """Weighted R^2 over the rows that have a prediction, averaged over outputs; NaN with fewer than two."""
    known = np.isfinite(prediction).all(axis=1)
    if not known.all():
        y, prediction, weights = y[known], prediction[known], weights[known]
    if len(y) < 2:
        return np.nan
    error = weights @ (y - prediction) ** 2
    variance = weights @ (y - weights @ y / weights.sum()) ** 2
    # as scikit-learn's r2_score: of a constant output 1 where it is predicted, else 0
    ratio = np.divide(error, variance, out=(error > 0).astype(float), where=variance > 0)
    return float(1.0 - ratio.mean())
