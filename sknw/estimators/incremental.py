"""Rows in batches: `partial_fit`, at the bandwidth or w that is there."""

from __future__ import annotations

from copy import copy
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_X_y
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from sknw._predictive.fitted import AppendedSmoother
from sknw._sklearn_compat import check_sample_weight, n_rows, validates_params
from sknw._smoothing.features import FeatureMap
from sknw._smoothing.smoother import Smoother, coordinates, refuse_overflow
from sknw._smoothing.training import TrainingSet, refuse_large
from sknw.estimators import tables
from sknw.estimators.base import BaseSmoother


class GrowingArray:
    """An array whose rows are appended at a cost of those rows: it has room for as many again."""

    def __init__(self, rows: np.ndarray) -> None:
        self._room, self._n = rows, len(rows)

    def append(self, rows: np.ndarray) -> np.ndarray:
        """All rows, as `numpy.concatenate` returns them; what was returned before stays as it is."""
        first, self._n = self._n, self._n + len(rows)
        dtype = np.result_type(self._room.dtype, rows.dtype)
        if self._n > len(self._room) or dtype != self._room.dtype:
            room = np.empty((2 * self._n, *rows.shape[1:]), dtype)
            room[:first] = self._room[:first]
            self._room = room
        self._room[first : self._n] = rows
        return self._room[: self._n]


class Batch(NamedTuple):
    """A batch of rows as arrays, and what the features are with it."""

    X: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray | None
    categories: tables.Categories  # `categories_` itself if there are no new levels
    features: FeatureMap


def can_append(estimator: IncrementalSmoother) -> bool:
    """Whether an estimator has a `partial_fit`; an AttributeError says why it has none."""
    estimator._check_can_append()
    return True


class IncrementalSmoother(BaseSmoother):
    """Base of the estimators that can be given rows in batches."""

    _growing: dict[str, GrowingArray]  # what X_train_ and the others are views of, once rows were appended

    def _check_can_append(self) -> None:
        """Raise an AttributeError where rows cannot be appended with the parameters that there are."""

    def _refuse_other_targets(self, y: np.ndarray) -> None:
        """Refuse targets of a batch that are not of the kind of those before."""
        refuse_large(y, "y")

    @available_if(can_append)
    @validates_params
    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to a first batch of rows, or append a further batch at the bandwidth or w, and ridge, that are there.

        The first call is :meth:`fit`, and chooses what is not given in numbers by the rows of this batch. Later ones,
        also after a `fit`, take the time of their batch, and the next prediction once that of an index of all rows.
        Predictions are those of one fit to all rows at this bandwidth or w, ridge and `slope_count_`. As no row is
        predicted from the others any more, `loo_prediction_`, `loo_score_` and `n_validation_` are gone after the
        second call, and intervals and standard deviations with them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The inputs of a batch. A category may have levels that were not there before, an ordered one may not.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets of the batch.
        sample_weight : array-like of shape (n_samples,), default=None
            As of `fit`; a row without has weight 1. Weights of all batches together are scaled to mean 1.

        Returns
        -------
        estimator
            The fitted estimator, itself.

        Raises
        ------
        ValueError
            If X does not have the features of the first call, or y not its outputs; if all weights of the batch are
            zero; if `cv` is not None, or `fit` was given groups.
        """
        if self._is_first_batch():
            return self._fit(copy(X), copy(y), copy(sample_weight), None)  # batches may come in one and the same array
        return self._append(X, y, sample_weight)

    def _is_first_batch(self) -> bool:
        """Whether there are no rows yet; a ValueError where they cannot become more."""
        is_first = not hasattr(self, "_fitted")
        if self.cv is not None or not (is_first or self._fitted.rule is None):
            given = f"cv={self.cv!r}" if self.cv is not None else "the groups that fit was given"
            raise ValueError(
                f"partial_fit predicts no row from others, and {given} would say from which: choose the bandwidth or w "
                "with fit on some of the rows, and give the numbers to an estimator without cv and groups."
            )
        return is_first

    def _append(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> Self:
        """Append a batch of rows; nothing is changed where it is refused."""
        self._require_rows_here()
        fitted, batch, n_before = self._fitted, self._validate_batch(X, y, sample_weight), len(self.X_train_)
        if not hasattr(self, "_growing"):
            self._growing = {}
        if batch.categories is not self.categories_:
            recoded = tables.recode(self.X_train_, self.categories_, batch.categories)
            self._growing["X_train_"], self.categories_ = GrowingArray(recoded), batch.categories
        self.X_train_, self.y_train_ = self._grow("X_train_", batch.X), self._grow("y_train_", batch.y)
        if batch.sample_weight is not None or self.sample_weight_ is not None:
            if self.sample_weight_ is None:
                self.sample_weight_ = np.ones(n_before)
            weights = np.ones(len(batch.X)) if batch.sample_weight is None else batch.sample_weight
            self.sample_weight_ = self._grow("sample_weight_", weights)
        for name in [name for name in vars(self) if name.startswith("loo_") or name == "n_validation_"]:
            delattr(self, name)
        rows, settings = (self.X_train_, self.y_train_, self.sample_weight_), fitted.settings

        def make(before: TrainingSet) -> tuple[TrainingSet, Smoother]:
            training = self._training_set(*rows, None, batch.features, before)
            return training, self._remake_smoother(training, *settings)

        self._fitted = AppendedSmoother(fitted, batch.features, make)
        return self

    def _grow(self, name: str, rows: np.ndarray) -> np.ndarray:
        """The attribute of this name with further rows."""
        if name not in self._growing:
            self._growing[name] = GrowingArray(getattr(self, name))
        return self._growing[name].append(rows)

    def _validate_batch(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> Batch:
        """The data as arrays, checked."""
        X = tables.densify(X)
        weights = None if sample_weight is None else check_sample_weight(sample_weight, np.empty(n_rows(X)))
        is_there = slice(None) if weights is None else weights > 0
        categories, features = self.categories_, self._fitted.features
        checks = {"dtype": (np.float64, np.float32), **self._target_checks}
        with tables.names_the_remedy(self):
            if self.is_categorical_.any():
                table = tables.as_table(X)
                validate_data(self, X, reset=False, skip_check_array=True)
                categories = tables.append_levels(table, categories, features.is_ordered, is_there)
                features = tables.with_categories(features, categories)
                array, targets = check_X_y(tables.encode(table, categories), y, estimator=self, **checks)
            else:
                array, targets = validate_data(self, X, y, reset=False, **checks)
        if targets.shape[1:] != self.y_train_.shape[1:]:
            shape = "(n_samples,)" if self.y_train_.ndim == 1 else f"(n_samples, {self.y_train_.shape[1]})"
            raise ValueError(f"y must have the outputs of the first call, a shape of {shape}; got {targets.shape}.")
        targets = self._as_kept(targets)
        self._refuse_other_targets(targets[is_there])
        self._numbers_of(targets)  # refuses labels that cannot be compared with the classes
        refuse_large(array, "X")
        w, first = features.repeat(self._fitted_metric()[0]), features.columns(self.X_train_[:1])[0]
        refuse_overflow(coordinates(features.columns(array), first.astype(np.float64), 2.0 * w))
        return Batch(array, targets, weights, categories, features)
