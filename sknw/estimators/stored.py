"""What a file of a fitted model holds, and how the model is made of it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning

from sknw._predictive.fitted import FittedSmoother
from sknw._smoothing.local_linear import LocalLinearSpec
from sknw._smoothing.smoother import Smoother
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import LeaveOutRule, restore_rule
from sknw._version import __version__
from sknw.estimators.attention import AttentionMixin
from sknw.estimators.dask_arrays import is_dask_array
from sknw.estimators.tables import FeatureKinds, feature_map
from sknw.estimators.user_warnings import warn_user
from sknw.kernels import Kernel, Pairwise, resolve_kernel

# The layout of what files hold: public attributes, and settings of public types.
_STATE = 5


class StoredSmoother(AttentionMixin, BaseEstimator):
    """Base of the estimators: pickles and copies of them, which hold public attributes of public types."""

    sample_weight_: np.ndarray | None
    kernel_: Kernel
    slope_count_: Any  # a float where there are lines
    _training_set: Callable[..., TrainingSet]

    def _fitted_metric(self) -> tuple[np.ndarray, float | np.ndarray | None]:
        """What multiplies x, from the fitted attributes, and the ridge of local lines, None for weighted means."""
        raise NotImplementedError

    def _fitted_smoother(self, training: TrainingSet, smoother: Smoother, rule: LeaveOutRule) -> FittedSmoother:
        """What predictions are made of, from the fitted attributes."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """The public attributes, of public types; what is made of them is made again by `__setstate__`."""
        state = {**super().__getstate__(), "_sknw_version": __version__, "_sknw_state": _STATE}
        state.pop("_growing", None)
        fitted = state.pop("_fitted", None)
        if fitted is not None and is_dask_array(self.X_train_):
            raise ValueError(
                f"This {type(self).__name__} cannot be stored or copied: its training rows are on the workers of a "
                "cluster. Store its bandwidth_ or w_, and fit with these numbers."
            )
        if fitted is not None:  # as they were in fit
            features, rule = fitted.features, fitted.rule
            state["_sknw_settings"] = {
                "is_ordered": features.is_ordered,
                "period": features.period,
                "scale": "common" if features.has_common_scale else "features",
                "leave_out": None if rule is None else vars(rule),
                **self._settings(),
            }
            del state["kernel_"]
        return state

    def _settings(self) -> dict[str, Any]:
        """The parameters that a fitted model has as they were in fit."""
        kernel = self.kernel_.function if isinstance(self.kernel_, Pairwise) else self.kernel_
        outside, algorithm = self._fitted.settings
        return {"kernel": kernel, "outside": outside, "algorithm": algorithm}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the state of a file; one of another version warns, as those of scikit-learn do.

        A state of another layout, as files of older versions have, is refused.
        """
        state = dict(state)
        version, layout = state.pop("_sknw_version", "unknown"), state.pop("_sknw_state", None)
        if layout != _STATE:
            raise ValueError(
                f"This {type(self).__name__} was stored by version {version} of sknw, whose files this version "
                f"({__version__}) cannot load: refit the model."
            )
        if version != __version__:
            warning = InconsistentVersionWarning(
                estimator_name=f"{type(self).__name__} of sknw",
                current_sklearn_version=__version__,
                original_sklearn_version=version,
            )
            warn_user(warning)
        settings = state.pop("_sknw_settings", None)
        super().__setstate__(state)
        if settings is not None:
            self._rebuild(**settings)

    def _rebuild(self, is_ordered: np.ndarray, period: np.ndarray, scale: str, leave_out: Any, **settings: Any) -> None:
        """Make again what is made in fit, from the fitted attributes and the settings."""
        kinds = FeatureKinds(self.is_categorical_, is_ordered, period)
        features, rule = feature_map(kinds, self.categories_, scale), restore_rule(leave_out)
        training = self._training_set(self.X_train_, self.y_train_, self.sample_weight_, rule, features)
        self._restore(training, rule, **settings)

    def _restore(self, training: TrainingSet, rule: LeaveOutRule, **settings: Any) -> None:
        """Make the kernel and the fitted smoother again."""
        self.kernel_ = resolve_kernel(settings.pop("kernel"))
        self._fitted = self._fitted_smoother(training, self._remake_smoother(training, **settings), rule)

    def _remake_smoother(self, training: TrainingSet, outside: str, algorithm: str) -> Smoother:
        """The training set pooled by the fitted kernel, bandwidth or w, and ridge."""
        w, ridge = self._fitted_metric()
        line = None if ridge is None else LocalLinearSpec.of(training, ridge, self.slope_count_)
        return Smoother.of(training, self.kernel_, w, outside, algorithm, self.n_jobs, line)
