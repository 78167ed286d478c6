"""What makes a smoother a classifier: its targets are classes, and it predicts their probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from numbers import Real
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets

from sknw._predictive.fitted import FittedSmoother
from sknw._sklearn_compat import Interval, StrOptions, validates_params
from sknw._smoothing.datafit import LogLoss
from sknw._smoothing.smoother import Smoother
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import LeaveOutRule
from sknw.estimators.attention import AttentionMixin
from sknw.estimators.base import LeftOut
from sknw.estimators.dask_arrays import takes_dask_arrays
from sknw.estimators.incremental import can_append


class ClassificationMixin(ClassifierMixin, AttentionMixin):
    """The classifier's part of a smoother; it comes before `BaseSmoother`."""

    _target_checks: ClassVar[dict] = {}

    # what the parameters of a classifier may be beside those of all smoothers
    _class_constraints: ClassVar[dict] = {
        "smoothing": [StrOptions({"loo"}), Interval(Real, 0, 1, closed="left")],
    }

    smoothing: float | str  # set by the subclasses' __init__

    # set by fit
    classes_: np.ndarray
    smoothing_: float
    loo_proba_: np.ndarray
    loo_log_loss_: float

    @available_if(can_append)
    @validates_params
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Fit to a first batch of rows, or append a further batch at the bandwidth or w, and smoothing, that are there.

        The first call is :meth:`fit`, and chooses what is not given in numbers by the rows of this batch. Later ones,
        also after a `fit`, take the time of their batch, and the next prediction once that of an index of all rows.
        Predictions are those of one fit to all rows at this bandwidth or w, and smoothing. As no row is predicted from
        the others any more, `loo_proba_`, `loo_log_loss_` and `n_validation_` are gone after the second call.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The inputs of a batch. A category may have levels that were not there before, an ordered one may not.
        y : array-like of shape (n_samples,)
            The class of each row.
        classes : array-like of shape (n_classes,), default=None
            All classes that there will ever be; needed in the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            As of `fit`; a row without has weight 1. Weights of all batches together are scaled to mean 1.

        Returns
        -------
        estimator
            The fitted estimator, itself.

        Raises
        ------
        ValueError
            If `classes` is missing in the first call, or is another one than before; if y has other classes; if X does
            not have the features of the first call; if all weights of the batch are zero; if `cv` is not None, or `fit`
            was given groups.
        """
        is_first = self._is_first_batch()
        if is_first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if is_first:
            return self._fit(copy(X), copy(y), copy(sample_weight), None, classes)
        if classes is not None and _distinct_labels(classes).tolist() != self.classes_.tolist():
            raise ValueError(f"classes={classes!r} are not those of the first call, {self.classes_.tolist()}.")
        return self._append(X, y, sample_weight)

    def _datafit(self) -> LogLoss:
        return LogLoss(None if isinstance(self.smoothing, str) else float(self.smoothing))

    def _find_classes(self, y: np.ndarray, is_there: np.ndarray, classes: ArrayLike | None) -> None:
        try:
            check_classification_targets(y)
        except TypeError as error:
            raise TypeError(f"y must hold labels of one kind, none of them missing: {error}.") from error
        self.classes_ = np.unique(y[is_there]) if classes is None else _distinct_labels(classes)
        if classes is not None:
            self._refuse_other_targets(y[is_there])

    def _refuse_other_targets(self, y: np.ndarray) -> None:
        known = self.classes_.tolist()
        if others := set(y.tolist()) - set(known):
            raise ValueError(f"y has labels that are not among the classes {known}: {sorted(others, key=str)}.")

    def _numbers_of(self, y: np.ndarray) -> tuple[np.ndarray, int]:
        """The position of each label in `classes_`; rows of weight zero may have labels that are not there."""
        try:
            return np.searchsorted(self.classes_, y), len(self.classes_)
        except TypeError as error:
            known = self.classes_.tolist()
            raise TypeError(f"y has labels of another kind than the classes {known}: {error}.") from error

    def _store_left_out(self, training: TrainingSet, smoother: Smoother, left_out: LeftOut) -> None:
        validation, predictions, of_samples, of_rows = left_out
        values, weights = training.values, training.sample_weight
        datafit = self._datafit().fit(values[validation.rows], predictions, weights[validation.rows])
        self.smoothing_ = float(datafit.smoothing or 0.0)
        self.loo_proba_ = datafit.probabilities(of_rows)
        self.loo_log_loss_ = np.nan
        known = np.isfinite(of_samples[:, 0])
        if known.any():
            self.loo_log_loss_ = replace(datafit, constant=0.0).mean(values[known], of_samples[known], weights[known])

    def _fitted_smoother(self, training: TrainingSet, smoother: Smoother, rule: LeaveOutRule) -> FittedSmoother:
        return FittedSmoother(training, smoother, rule)

    def _skill(self) -> float:
        training = self._fitted.training
        shares = training.sample_weight @ training.values / training.sample_weight.sum()
        entropy = -float(shares @ np.log(np.maximum(shares, np.finfo(np.float64).tiny)))
        return 1.0 - self.loo_log_loss_ / entropy if entropy > 0 else np.nan

    @takes_dask_arrays
    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the most probable class; of equally probable classes the first in `classes_`.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.

        Returns
        -------
        ndarray of shape (n_queries,)
            Labels of classes.

        Raises
        ------
        ValueError
            If `outside` is "nan" or "raise" and a query has no training sample in the kernel's support.
        """
        array, smoother = self._validate_queries(X, takes_shards=True)
        code = np.empty(len(array), dtype=np.intp)
        for batch, probabilities in self._probabilities(array, smoother):
            if np.isnan(probabilities[:, 0]).any():
                raise ValueError(
                    f"{np.isnan(probabilities[:, 0]).sum()} queries have no training sample within the kernel's "
                    "support, and with outside='nan' no class; choose a larger bandwidth, or outside='nearest' or "
                    "'mean', or take predict_proba, which gives NaN there."
                )
            code[batch] = probabilities.argmax(axis=1)
        return self.classes_[code]

    @takes_dask_arrays
    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Predict class probabilities, ``(1 - smoothing_) sum_i a(x, x_i) 1[y_i = c] + smoothing_ / n_classes``.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.

        Returns
        -------
        ndarray of shape (n_queries, n_classes)
            A column for each of `classes_`; float32 for float32 queries; NaN for queries without support if `outside`
            is "nan".

        Raises
        ------
        ValueError
            If `outside` is "raise" and a query has no training sample in the kernel's support.
        """
        array, smoother = self._validate_queries(X, takes_shards=True)
        proba = np.empty((len(array), len(self.classes_)), dtype=array.dtype)
        for batch, probabilities in self._probabilities(array, smoother):
            proba[batch] = probabilities
        return proba

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Predict the logarithms of `predict_proba`; -inf only where `smoothing_` is 0.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.

        Returns
        -------
        ndarray of shape (n_queries, n_classes)
            A column for each of `classes_`, in float64: the classes are in the order of `predict_proba`.

        Raises
        ------
        ValueError
            If `outside` is "raise" and a query has no training sample in the kernel's support.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X).astype(np.float64))

    def _probabilities(self, array: np.ndarray, smoother: Smoother) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield batches of queries and their class probabilities, of the type of the array."""
        datafit = LogLoss(self.smoothing_)
        for batch, pooled in self._pool_batches(array, smoother):
            yield batch, datafit.probabilities(pooled).astype(array.dtype, copy=False)

    def _individual_curves(self, rows: np.ndarray, feature: int, values: np.ndarray) -> np.ndarray:
        pooled = super()._individual_curves(rows, feature, values)
        return LogLoss(self.smoothing_).probabilities(pooled.reshape(-1, pooled.shape[-1])).reshape(pooled.shape)


def _distinct_labels(classes: ArrayLike) -> np.ndarray:
    """The distinct labels among `classes`, sorted."""
    try:
        return np.unique(column_or_1d(classes))
    except (TypeError, ValueError) as error:
        raise ValueError(f"classes must be a list of labels, all of one kind; got {classes!r}.") from error
