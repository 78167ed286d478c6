"""What the estimators share: validated data, and the end of a fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Integral
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import Tags, check_random_state, check_X_y
from sklearn.utils.validation import validate_data

from sknw._kernel_sums.registry import ALGORITHMS, choose_algorithm
from sknw._selection.diagnostics import fit_warning
from sknw._sklearn_compat import (
    CallbackSupportMixin,
    FitTask,
    Interval,
    NotebookViewMixin,
    StrOptions,
    check_sample_weight,
    n_rows,
    validates_params,
)
from sknw._smoothing.datafit import Datafit
from sknw._smoothing.features import FeatureMap
from sknw._smoothing.local_linear import LocalLinearSpec
from sknw._smoothing.partition import DaskRows, ShardedTrainingSet
from sknw._smoothing.smoother import Smoother
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import (
    Blocks,
    LeaveOutRule,
    Splits,
    Tests,
    Validation,
    mean_of_rows,
    predict_rows,
)
from sknw.estimators import tables
from sknw.estimators.dask_arrays import client_that_keeps, encode_chunks, gather_targets
from sknw.estimators.leave_out import leave_out_rule
from sknw.estimators.stored import StoredSmoother
from sknw.estimators.user_warnings import warn_user
from sknw.kernels import NAMED_KERNELS, Kernel


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

    def for_given_rows(
        self, of_samples: np.ndarray, predict: Callable[[np.ndarray, Tests], np.ndarray] | None
    ) -> np.ndarray:
        """Left-out predictions (n_given, k) of all given rows, from those of the samples (n, k).

        ``predict(rows, tests)`` are those of given rows of weight zero, which are no samples; without it NaN.
        """
        training, weightless = self.training, np.flatnonzero(self.training.share == 0)
        found = of_samples[training.sample_of_rows]
        if weightless.size:
            found[weightless] = np.nan if predict is None else predict_rows(self.rule, training, weightless, predict)
        return found


class LeftOut(NamedTuple):
    """Left-out predictions: those of a validation, and their means, NaN where there is none."""

    validation: Validation
    predictions: np.ndarray  # (p, k)
    of_samples: np.ndarray  # (n, k)
    of_rows: np.ndarray  # of all given rows, (n_given, k)


class BaseSmoother(StoredSmoother, NotebookViewMixin, CallbackSupportMixin, BaseEstimator):
    """Base of the estimators: everything but the choice of the bandwidth or w, and what the targets are.

    What the targets are say `RegressionMixin` and `ClassificationMixin`.
    """

    # set by the subclasses' __init__
    outside: str
    cv: Any
    categorical_features: ArrayLike | str | None
    ordered_features: ArrayLike | None
    periodic_features: Mapping[str | int, float] | None
    scale: str
    validation_samples: int | str | None
    algorithm: str
    random_state: int | np.random.RandomState | None

    category_weight_: np.ndarray  # set by fit

    # how scikit-learn checks y
    _target_checks: ClassVar[dict]

    # those of all estimators
    _parameter_constraints: ClassVar[dict] = {
        "kernel": [StrOptions(set(NAMED_KERNELS)), Kernel, callable],
        "outside": [StrOptions({"nearest", "mean", "nan", "raise"})],
        "cv": ["cv_object"],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like", None],
        "ordered_features": ["array-like", None],
        "periodic_features": [dict, None],
        "scale": [StrOptions({"features", "common"})],
        "validation_samples": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left"), None],
        "algorithm": [StrOptions(ALGORITHMS)],
        "n_jobs": [Interval(Integral, None, None, closed="neither"), None],
        "random_state": [Interval(Integral, 0, 2**32 - 1, closed="both"), np.random.RandomState, None],
        "verbose": ["verbose"],
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
        """Keep the training samples, and choose what is not given in numbers: the bandwidth or w, ridge and smoothing.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs, the keys. Categories may be strings, numbers or missing. Sparse X becomes dense, in all
            methods, and is refused where it would take more than scikit-learn's ``working_memory`` (1 GiB) then. The
            rows of a dask array may stay on the workers of its cluster.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Training targets, the values; of a classifier (n_samples,) labels of classes: strings, integers or bools.
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

    def _fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        groups: ArrayLike | None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """`fit`, with the parameters validated; of a classifier with all `classes`, None: those of y."""
        start = self._warm_start()
        data = self._validate_fit(X, y, sample_weight, groups, classes)
        metadata = {"sample_weight": data.sample_weight, "groups": groups}
        task = FitTask(self, data.X, data.y, metadata, has_steps=self._has_steps)
        self._fit_data(data, task.step, start)
        task.end()
        return self

    def _warm_start(self) -> Any:
        """What a fit that continues the one before starts from, if it does."""
        return None

    @property
    def _has_steps(self) -> bool:
        """Whether the fit searches in steps."""
        raise NotImplementedError

    def _fit_data(self, data: FitData, on_step: Callable[[], bool], start: Any) -> None:
        """Choose the parameters, and set the fitted attributes; `on_step` reports a step, and returns True to stop."""
        raise NotImplementedError

    def _datafit(self) -> Datafit:
        """The loss of left-out predictions."""
        raise NotImplementedError

    def _find_classes(self, y: np.ndarray, is_there: np.ndarray, classes: ArrayLike | None) -> None:
        """Set what is known of the targets (n,) once those that are there are seen, or all `classes` are given."""

    def _as_kept(self, y: np.ndarray) -> np.ndarray:
        """The targets as `y_train_` keeps them."""
        return y

    def _numbers_of(self, y: np.ndarray) -> tuple[np.ndarray, int | None]:
        """The targets as numbers, and the number of classes if they are codes of classes."""
        raise NotImplementedError

    def _skill(self) -> float:
        """By what part of the loss of a constant prediction that of the left-out predictions is smaller."""
        raise NotImplementedError

    @property
    def _remedy(self) -> str:
        """What may help where left-out predictions are no better than a constant."""
        raise NotImplementedError

    def _warning_of_fit(self, validation: Validation, *details: Any) -> str | None:
        """The warning that the fit deserves, if any; `fit_warning` says what the details are."""
        fitted = self._fitted
        judged = self._datafit(), self._skill(), self._remedy
        return fit_warning(fitted.smoother, fitted.training, validation, *judged, *details)

    def _warn_of_fit(self, validation: Validation, *details: Any) -> None:
        """Warn of what the fit deserves a warning of."""
        warning = self._warning_of_fit(validation, *details)
        if warning is not None:
            warn_user(warning)

    def _store_left_out(self, training: TrainingSet, smoother: Smoother, left_out: LeftOut) -> None:
        """Set the attributes of left-out predictions."""
        raise NotImplementedError

    def _validate_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        groups: ArrayLike | None,
        classes: ArrayLike | None = None,
    ) -> FitData:
        """The data as arrays, and the training set that they make."""
        before = [name for name in vars(self) if name.endswith("_")]
        for name in set(before).difference(self.get_params(deep=False) if before else ()):
            delattr(self, name)  # a fit that fails leaves nothing of the last one
        for name in ("_fitted", "_growing"):
            self.__dict__.pop(name, None)
        rows: np.ndarray | DaskRows
        client = client_that_keeps(X)
        if client is None:
            X = tables.densify(X)
            rows, y_array, kinds = self._validate_arrays(X, y, sample_weight)
        else:
            rows, y_array, kinds = self._validate_dask(X, y, sample_weight, client)
        self.is_categorical_ = kinds.is_categorical
        y_array = self._as_kept(y_array)
        weights = None if sample_weight is None else check_sample_weight(sample_weight, y_array)
        is_there = np.broadcast_to(True, len(y_array)) if weights is None else weights > 0
        self._find_classes(y_array, is_there, classes)
        rule = leave_out_rule(self.cv, groups, X, y_array, is_classifier(self))
        features = tables.feature_map(kinds, self.categories_, self.scale)
        training = self._training_set(rows, y_array, weights, rule, features)
        validation = Validation.of(rule, training)
        _require_predictions(validation, len(training))
        return FitData(training.given, y_array, weights, rule, training, validation)

    def _validate_arrays(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[np.ndarray, np.ndarray, tables.FeatureKinds]:
        """X and y as arrays, with codes of the categories that are found, and what the features are."""
        checks = {"dtype": (np.float64, np.float32), **self._target_checks}
        kinds = self._feature_kinds(X)
        if kinds is not None and kinds.is_categorical.any():
            table, there = tables.as_table(X), None
            if sample_weight is not None:  # rows of weight zero are not there
                there = check_sample_weight(sample_weight, np.empty(n_rows(table))) > 0
            self.categories_ = tables.find_categories(table, kinds, there)
            with tables.names_the_remedy(self):
                X_array, y_array = check_X_y(tables.encode(table, self.categories_), y, estimator=self, **checks)
        else:
            with tables.names_the_remedy(self):
                X_array, y_array = validate_data(self, X, y, **checks)
            self.categories_ = [None] * X_array.shape[1]
        return X_array, y_array, kinds or tables.FeatureKinds.of_numbers(X_array.shape[1])

    def _validate_dask(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None, client: Any
    ) -> tuple[DaskRows, np.ndarray, tables.FeatureKinds]:
        """The same for a dask array whose rows stay on the workers.

        Refused by estimators that need all rows in the memory of one process.
        """
        validate_data(self, X, y, skip_check_array=True)  # the number of features, and that there is y
        kinds = self._feature_kinds(X) or tables.FeatureKinds.of_numbers(X.shape[1])
        X, self.categories_ = X.rechunk({1: -1}), [None] * X.shape[1]
        if kinds.is_categorical.any():
            weights = None if sample_weight is None else check_sample_weight(sample_weight, np.empty(len(X)))
            X, self.categories_ = encode_chunks(X, kinds, weights, client)
        with tables.names_the_remedy(self):
            targets, y_chunks = gather_targets(y, X, client)
            targets = check_X_y(np.broadcast_to(0.0, (len(X), 1)), targets, estimator=self, **self._target_checks)[1]
        return DaskRows(X, y_chunks, client), targets, kinds

    def _training_set(
        self,
        X: np.ndarray | DaskRows,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        rule: LeaveOutRule,
        features: FeatureMap,
        before: TrainingSet | None = None,
    ) -> TrainingSet:
        """The samples; of blocks in their order, so that a block is a range; of splits with a sample for each row."""
        block = rule.position if isinstance(rule, Blocks) else None
        numbers, n_classes = self._numbers_of(y)
        if isinstance(X, DaskRows):
            if isinstance(rule, Splits):
                raise ValueError(
                    f"cv={self.cv!r} has splits that are no folds: some row is tested twice, or predicted from some of "
                    "the others. fit leaves the rows of a dask array on the workers of its cluster and takes folds, "
                    "groups and LeaveBlockOut: fit to X.compute(), or choose such a cv."
                )
            with tables.names_the_remedy(self):
                return ShardedTrainingSet.of_dask(X, numbers, sample_weight, block, features, n_classes)
        if isinstance(rule, Splits):
            block = np.arange(len(X))
        return TrainingSet.of(X, numbers, sample_weight, block, features, n_classes, before)

    def _feature_kinds(self, X: ArrayLike) -> tables.FeatureKinds | None:
        """What the features are; None where nothing says that they are anything but numbers."""
        given = self.categorical_features, self.ordered_features, self.periodic_features
        says_nothing = not tables.is_table(X) and isinstance(given[0], str | None) and given[1] is None and not given[2]
        if says_nothing:
            return None
        validate_data(self, X, skip_check_array=True)  # the names and the number of features
        if not getattr(self, "n_features_in_", 0):  # not two-dimensional, or without features, which is refused
            return None
        names = getattr(self, "feature_names_in_", None)
        return tables.FeatureKinds.of(X, names, self.n_features_in_, *given)

    def _validation(self, data: FitData, n_auto: int) -> Validation:
        """The left-out predictions that are averaged over; "auto" takes those of `n_auto` samples."""
        validation = data.validation
        n_rows = n_auto if self.validation_samples == "auto" else self.validation_samples
        tested = validation.rows if validation.has_one_order else np.unique(validation.rows)
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
        of_split, queries = smoother.of_split(tests), smoother.queries_of(tests)
        request = of_split.value_request(queries) if of_split.has_one_input else of_split.request(queries)
        return replace(smoother, algorithm=choose_algorithm(request, self.algorithm, n_passes))

    def _store_fit(
        self, data: FitData, smoother: Smoother, validation: Validation, predictions: np.ndarray | None
    ) -> None:
        """Set the fitted attributes of all smoothers; `predictions` are those of the validation if known."""
        training = data.training
        self.X_train_, self.y_train_, self.sample_weight_ = data.X, data.y, data.sample_weight
        if predictions is None:
            left_out = smoother.left_out(validation)
            predictions = np.concatenate([batch.smoother.pool(batch.queries)[0] for batch in left_out])

        def predict(rows: np.ndarray, tests: Tests) -> np.ndarray:
            of_split, queries = smoother.of_split(tests), smoother.queries(np.asarray(data.X[rows]))
            return of_split.pool(of_split.widened(replace(queries, leave_out=tests.leave_out)))[0]

        of_samples = mean_of_rows(predictions, validation.rows, len(training))
        of_rows = data.for_given_rows(of_samples, predict if validation is data.validation else None)
        self._store_left_out(training, smoother, LeftOut(validation, predictions, of_samples, of_rows))
        self.n_validation_ = int(np.count_nonzero(np.bincount(validation.rows)))
        self.kernel_ = smoother.kernel
        self.category_weight_ = _category_weights(smoother)
        # predictions choose their engine anew: they may be many more, or far fewer, than the rows of leave-one-out
        smoother = replace(smoother, algorithm=self.algorithm)
        self._fitted = self._fitted_smoother(training, smoother, data.rule)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")


def as_numbers(value: object) -> np.ndarray:
    """A parameter as an array; NaN where it does not consist of numbers, as bools."""
    try:
        return np.array(np.nan) if np.asarray(value).dtype == bool else np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return np.array(np.nan)


def _require_predictions(validation: Validation, n: int) -> None:
    """Refuse a cv, or groups, by which no sample is predicted, or one from nothing."""
    if any(part.keys is not None and not len(part.keys) for part in validation.parts):
        raise ValueError("cv has a split whose training rows all have a sample_weight of zero.")
    if not len(validation.rows):
        raise ValueError(
            f"cv, or groups, leave nothing to predict from, or test no row of positive sample_weight; n_samples={n}."
        )


def _category_weights(smoother: Smoother) -> np.ndarray:
    """K(w_k) / K(0) for the w of each category, NaN for numbers: (d,)."""
    features = smoother.features
    if not features.categories:
        return np.full(len(features), np.nan)
    is_category = features.n_levels > 0
    w = np.where(is_category, np.abs(smoother.w[features.starts[:-1]]), 0.0)
    return np.where(is_category, smoother.relative_weights(w), np.nan)
