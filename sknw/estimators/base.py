"""What the estimators share: validated data, the end of a fit, prediction, and pickles."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from typing import Any, ClassVar, Literal, NamedTuple, Self, overload

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils import check_random_state, check_X_y
from sklearn.utils.validation import validate_data

from sknw._kernel_sums.registry import ALGORITHMS, choose_algorithm
from sknw._predictive.fitted import FittedSmoother
from sknw._sklearn_compat import (
    CallbackSupportMixin,
    Interval,
    NotebookViewMixin,
    StrOptions,
    check_sample_weight,
    n_rows,
    validates_params,
)
from sknw._smoothing.features import FeatureMap
from sknw._smoothing.smoother import LocalLinearSpec, Smoother
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import Blocks, LeaveOutRule, Splits, Validation, tests_of
from sknw._version import __version__
from sknw.estimators.leave_out import leave_out_rule
from sknw.estimators.predictive import PredictiveMixin
from sknw.estimators.tables import (
    Categories,
    FeatureKinds,
    as_table,
    encode,
    feature_map,
    find_categories,
    is_table,
)
from sknw.kernels import NAMED_KERNELS, Kernel, Pairwise

# What pickles hold: the public attributes of this layout.
_STATE = 4


class FitData(NamedTuple):
    """What a fit is given, as arrays, and made of it who is predicted without whom and the training set.

    The X of categories are codes.
    """

    X: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray | None
    rule: LeaveOutRule
    training: TrainingSet
    validation: Validation  # all left-out predictions that the rule asks for


class BaseSmoother(
    PredictiveMixin, NotebookViewMixin, CallbackSupportMixin, MultiOutputMixin, RegressorMixin, BaseEstimator
):
    """Base of the estimators: everything but the choice of the bandwidth or w."""

    # set by the subclasses' __init__
    outside: str
    cv: Any
    categorical_features: ArrayLike | str | None
    ordered_features: ArrayLike | None
    periodic_features: Mapping[str | int, float] | None
    validation_samples: int | str | None
    algorithm: str
    n_jobs: int | None
    random_state: int | np.random.RandomState | None

    # set by fit
    is_categorical_: np.ndarray
    categories_: Categories
    category_weight_: np.ndarray

    # those of all estimators
    _parameter_constraints: ClassVar[dict] = {
        "kernel": [StrOptions(set(NAMED_KERNELS)), Kernel, callable],
        "outside": [StrOptions({"nearest", "mean", "nan", "raise"})],
        "cv": ["cv_object"],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like", None],
        "ordered_features": ["array-like", None],
        "periodic_features": [dict, None],
        "validation_samples": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left"), None],
        "algorithm": [StrOptions(ALGORITHMS)],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    @validates_params
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Keep the training samples, and choose the bandwidth, the ridge or w where they are not given in numbers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs, the keys. Categories may be strings, numbers or missing.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Training targets, the values.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; only their ratios matter, and rows of weight zero are not there. Rows with equal
            inputs and targets, of one group or fold, are copies: one sample with the sum of their weights. In tables of
            few distinct values, where x and y each take fewer than 0.9 times as many values as the pair (x, y), equal
            rows are different samples.
        groups : array-like of shape (n_samples,), default=None
            The group of each row, a label that is not missing. Without `cv` each sample is predicted without its group;
            with `cv` the splitter gets them, and one that knows no groups, as an int, ignores them.

        Returns
        -------
        estimator
            The fitted estimator, itself.

        Raises
        ------
        ValueError
            If a parameter or the data are not as described; if `algorithm` cannot take the kernel.
        """
        return self._fit(X, y, sample_weight, groups)

    def _fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, groups: ArrayLike | None) -> Self:
        """`fit`, with the parameters validated."""
        raise NotImplementedError

    def _fitted_metric(self) -> tuple[np.ndarray, float | np.ndarray | None]:
        """What multiplies x, from the fitted attributes, and the ridge of local lines, None for weighted means."""
        raise NotImplementedError

    @property
    def _keeps_range(self) -> bool:
        """Whether predictions are kept within the range of the targets."""
        return False

    def _validate_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, groups: ArrayLike | None
    ) -> FitData:
        """The data as arrays, and the training set that they make."""
        parameters = self.get_params(deep=False)
        for name in [name for name in vars(self) if name.endswith("_") and name not in parameters]:
            delattr(self, name)  # a fit that fails leaves nothing of the last one
        self.__dict__.pop("_fitted", None)
        checks = {"dtype": (np.float64, np.float32), "multi_output": True, "y_numeric": True}
        kinds = self._feature_kinds(X)
        if kinds is not None and kinds.is_categorical.any():
            table, there = as_table(X), None
            if sample_weight is not None:  # rows of weight zero are not there
                there = check_sample_weight(sample_weight, np.empty(n_rows(table))) > 0
            self.categories_ = find_categories(table, kinds, there)
            X_array, y_array = check_X_y(encode(table, self.categories_), y, estimator=self, **checks)
        else:
            X_array, y_array = validate_data(self, X, y, **checks)
            self.categories_ = [None] * X_array.shape[1]
        kinds = kinds or FeatureKinds.of_numbers(X_array.shape[1])
        self.is_categorical_ = kinds.is_categorical
        weights = None if sample_weight is None else check_sample_weight(sample_weight, X_array)
        rule = leave_out_rule(self.cv, groups, X, y_array)
        training = _training_set(X_array, y_array, weights, rule, feature_map(kinds, self.categories_))
        return FitData(X_array, y_array, weights, rule, training, Validation.of(rule, training))

    def _feature_kinds(self, X: ArrayLike) -> FeatureKinds | None:
        """What the features are; None where nothing says that they are anything but numbers."""
        given = self.categorical_features, self.ordered_features, self.periodic_features
        says_nothing = not is_table(X) and isinstance(given[0], str | None) and given[1] is None and not given[2]
        if says_nothing or issparse(X):
            return None
        validate_data(self, X, skip_check_array=True)  # the names and the number of features
        if not getattr(self, "n_features_in_", 0):  # not two-dimensional, or without features, which is refused
            return None
        names = getattr(self, "feature_names_in_", None)
        return FeatureKinds.of(X, names, self.n_features_in_, *given)

    def _validation(self, data: FitData, n_auto: int) -> Validation:
        """The left-out predictions that are averaged over; "auto" takes those of `n_auto` samples."""
        validation = data.validation
        n_rows = n_auto if self.validation_samples == "auto" else self.validation_samples
        tested = validation.rows if validation.has_one_order else np.unique(validation.rows)
        if any(part.keys is not None and not len(part.keys) for part in validation.parts):
            raise ValueError("cv has a split whose training rows all have a sample_weight of zero.")
        if not len(tested):
            raise ValueError(
                "cv, or groups, leave nothing to predict from, or test no row of positive sample_weight; "
                f"n_samples={len(data.training)}."
            )
        if not isinstance(n_rows, Integral) or n_rows >= len(tested):
            return validation
        rows = check_random_state(self.random_state).choice(tested, int(n_rows), replace=False)
        return validation.of_rows(rows)

    def _build_smoother(
        self,
        training: TrainingSet,
        kernel: Kernel,
        w: np.ndarray,
        validation: Validation,
        n_passes: int,
        line: LocalLinearSpec | None = None,
    ) -> Smoother:
        """The training set pooled with the w of the features, by the engine that suits `n_passes` of validation."""
        smoother = Smoother.of(training, kernel, w, self.outside, self.algorithm, self.n_jobs, line)
        tests = validation.parts[0]
        request = smoother.of_split(tests).request(smoother.queries_of(tests))
        return replace(smoother, algorithm=choose_algorithm(request, self.algorithm, n_passes))

    def _store_fit(
        self, data: FitData, smoother: Smoother, validation: Validation, predictions: np.ndarray | None = None
    ) -> None:
        """Set the fitted attributes of all smoothers; `predictions` are those of the validation if known."""
        training = data.training
        if predictions is None:
            left_out = smoother.left_out(validation)
            predictions = np.concatenate([batch.smoother.pool(batch.queries)[0] for batch in left_out])
        of_samples = _mean_of_rows(predictions, validation.rows, len(training))
        self.loo_score_ = _weighted_r2(training.values, of_samples, training.sample_weight)
        loo = of_samples[training.sample]
        weightless = np.flatnonzero(training.share == 0)
        if weightless.size:
            loo[weightless] = np.nan
            if validation is data.validation:
                loo[weightless] = _predict_left_out(smoother, data, weightless)
        training.into_units_of_y(loo)
        self.loo_prediction_ = loo.reshape(data.y.shape)
        self.n_validation_ = int(np.count_nonzero(np.bincount(validation.rows)))
        self.kernel_ = smoother.kernel
        self.category_weight_ = _category_weights(smoother)
        self.X_train_, self.y_train_, self.sample_weight_ = data.X, data.y, data.sample_weight
        # predictions choose their engine anew: they may be many more, or far fewer, than the rows of leave-one-out
        smoother = replace(smoother, algorithm=self.algorithm)
        self._fitted = FittedSmoother(training, smoother, training.squared_residuals(self.loo_prediction_), data.rule)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    def __getstate__(self) -> dict[str, Any]:
        """The public attributes; what is made of them is made again by `__setstate__`."""
        state = {**super().__getstate__(), "_sknw_version": __version__, "_sknw_state": _STATE}
        fitted = state.pop("_fitted", None)
        if fitted is not None:  # as they were in fit
            smoother = fitted.smoother
            features = replace(smoother.features)  # without what it has made
            state["_sknw_settings"] = smoother.outside, smoother.algorithm, fitted.rule, features
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the state of a pickle; one of another version warns, as those of scikit-learn do.

        Raises
        ------
        ValueError
            If the state has another layout, as pickles of older versions have.
        """
        state = dict(state)
        version, layout = state.pop("_sknw_version", "unknown"), state.pop("_sknw_state", None)
        if layout != _STATE:
            raise ValueError(
                f"This {type(self).__name__} was pickled by version {version} of sknw, whose pickles this version "
                f"({__version__}) cannot load: refit the model."
            )
        if version != __version__:
            warning = InconsistentVersionWarning(
                estimator_name=f"{type(self).__name__} of sknw",
                current_sklearn_version=__version__,
                original_sklearn_version=version,
            )
            warnings.warn(warning, stacklevel=2)
        settings = state.pop("_sknw_settings", None)
        super().__setstate__(state)
        if settings is not None:
            outside, algorithm, rule, features = settings
            training = _training_set(self.X_train_, self.y_train_, self.sample_weight_, rule, features)
            w, ridge = self._fitted_metric()
            line = None if ridge is None else LocalLinearSpec.of(training, ridge, self.slope_count_)
            smoother = Smoother.of(training, self.kernel_, w, outside, algorithm, self.n_jobs, line)
            squares = training.squared_residuals(self.loo_prediction_)
            self._fitted = FittedSmoother(training, smoother, squares, rule)

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[False] = False) -> np.ndarray: ...

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    @overload
    def predict(self, X: ArrayLike, return_std: bool) -> np.ndarray | tuple[np.ndarray, np.ndarray]: ...

    def predict(self, X: ArrayLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict weighted means of the training targets, sum_i a(x, x_i) y_i, or values of local lines.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.
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
            If `outside` is "raise" and a query has no training sample in the kernel's support.
        """
        array, smoother = self._validate_queries(X, "with_squares" if return_std else "smoother")
        training, k = self._fitted.training, self._fitted.squares.shape[1]
        mean = np.empty((len(array), k), dtype=self._result_dtype(array))
        squares = np.empty((len(array), 2 * k if return_std else 0))
        for batch in smoother.batches(len(array)):
            pooled, unsupported = smoother.pool(smoother.queries(array[batch]))
            self._raise_outside(smoother, unsupported)
            if self._keeps_range:
                np.clip(pooled[:, :k], training.values.min(axis=0), training.values.max(axis=0), out=pooled[:, :k])
            mean[batch] = training.into_units_of_y(pooled[:, :k])
            squares[batch] = pooled[:, k:]
        mean = mean.reshape(self._shape_of_y(len(array)))
        if not return_std:
            return mean
        pooled_squares, pooled_known = np.split(squares, 2, axis=1)
        with np.errstate(invalid="ignore"):  # 0 / 0: no residual
            variance = np.where(pooled_known == 0, self._fitted.mean_squares, pooled_squares / pooled_known)
        return mean, (training.y_scales * np.sqrt(variance)).astype(mean.dtype).reshape(mean.shape)


def as_numbers(value: object) -> np.ndarray:
    """A parameter as an array; NaN where it does not consist of numbers."""
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return np.array(np.nan)


def _training_set(
    X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None, rule: LeaveOutRule, features: FeatureMap
) -> TrainingSet:
    """The samples; of blocks in their order, so that a block is a range, and of splits with a sample for each row."""
    block = rule.position if isinstance(rule, Blocks) else None
    if isinstance(rule, Splits):
        block = np.arange(len(X))
    return TrainingSet.of(X, y, sample_weight, block, features)


def _category_weights(smoother: Smoother) -> np.ndarray:
    """K(w_k) / K(0) for the w of each category, NaN for numbers: (d,)."""
    weights, kernel = np.full(len(smoother.features), np.nan), smoother.kernel
    for k in smoother.features.categories:
        points = np.zeros((2, smoother.keys.shape[1]))
        first = smoother.features.starts[k]
        points[1, first] = smoother.w[first]
        both = (
            kernel.between(points[:1], points)[0]
            if isinstance(kernel, Pairwise)
            else kernel.profile(points[:, first] ** 2)
        )
        weights[k] = both[1] / both[0]
    return weights


def _mean_of_rows(predictions: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """The mean of the predictions (m, k) of each row, NaN where it has none: (n, k)."""
    count = np.bincount(rows, minlength=n)[:, np.newaxis]
    if np.all(count <= 1):
        means = np.full((n, predictions.shape[1]), np.nan)
        means[rows] = predictions
        return means
    sums = np.column_stack([np.bincount(rows, column, minlength=n) for column in predictions.T])
    return np.divide(sums, count, out=np.full_like(sums, np.nan), where=count > 0)


def _predict_left_out(smoother: Smoother, data: FitData, rows: np.ndarray) -> np.ndarray:
    """Predictions (m, k) of given rows that are no samples, as of those that are."""
    predictions, of_rows = [np.empty((0, data.training.values.shape[1]))], [np.empty(0, dtype=np.intp)]
    for tests in filter(len, tests_of(data.rule, data.training, rows)):
        queries = replace(smoother.queries(data.X[rows[tests.rows]]), leave_out=tests.leave_out)
        predictions.append(smoother.of_split(tests).pool(queries)[0])
        of_rows.append(tests.rows)
    return _mean_of_rows(np.concatenate(predictions), np.concatenate(of_rows), len(rows))


def _weighted_r2(y: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> float:
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
