"""The private and the new of scikit-learn, in one place: what changes there is mended here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import Interval as _Interval
from sklearn.utils._param_validation import StrOptions
from sklearn.utils._param_validation import validate_params as _validate_params
from sklearn.utils.validation import _check_sample_weight, _num_samples, validate_data

try:  # scikit-learn >= 1.9
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in where scikit-learn has no callbacks yet."""


__all__ = [
    "CallbackSupportMixin",
    "FitTask",
    "Interval",
    "NotebookViewMixin",
    "StrOptions",
    "check_sample_weight",
    "get_column",
    "n_rows",
    "validate_params",
    "validate_queries",
    "validates_params",
]

# The numbers of queries.
_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))

Function = TypeVar("Function", bound=Callable[..., Any])


class Interval(_Interval):
    """A range of numbers; True and False are none."""

    def is_satisfied_by(self, val: object) -> bool:
        return not isinstance(val, bool) and super().is_satisfied_by(val)


def validates_params(fit: Function) -> Function:
    """A `fit` that first checks the estimator's parameters against its `_parameter_constraints`."""
    return _fit_context(prefer_skip_nested_validation=True)(fit)


def validate_params(constraints: dict[str, list]) -> Callable[[Function], Function]:
    """A decorator of functions that first checks their parameters."""
    return _validate_params(constraints, prefer_skip_nested_validation=True)


class NotebookViewMixin:
    """How notebooks show an estimator: with a link to its page, and without methods among its attributes."""

    _doc_link_module = "sknw"
    _doc_link_template = "https://scikit-nw.readthedocs.io/en/stable/api/{page}.html"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        # the page is that of the public name: estimators are importable from sknw, kernels from sknw.kernels
        module = "sknw.kernels" if type(self).__module__ == "sknw.kernels" else "sknw"
        return {"page": f"{module}.{type(self).__name__}"}

    def _get_fitted_attr_html(self, doc_link: str = "") -> Any:
        # scikit-learn takes every public name that ends in "_" for an attribute
        attributes = super()._get_fitted_attr_html(doc_link)  # type: ignore[misc]
        attributes.pop("attention_weights_", None)
        return attributes


def check_sample_weight(sample_weight: Any, X: np.ndarray) -> np.ndarray:
    """Sample weights as a float64 array of shape (len(X),), non-negative and not all zero."""
    try:
        sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    except ValueError as error:
        if "sample_weight" in str(error):
            raise
        raise ValueError(f"sample_weight must be non-negative numbers, one for each row of X: {error}.") from error
    if not np.any(sample_weight):
        raise ValueError("sample_weight must not be all zero: at least one sample must have a positive weight.")
    return sample_weight


def validate_queries(estimator: Any, X: Any) -> np.ndarray:
    """X as an array of queries, float64 or float32, with the checks, errors and warnings of `validate_data`.

    `validate_data` takes as long as a small prediction. It is not called for an array that it would return as it is.
    """
    is_plain = type(X) is np.ndarray and X.dtype in _FLOATS and X.ndim == 2
    if is_plain and len(X) and X.shape[1] == estimator.n_features_in_ and not hasattr(estimator, "feature_names_in_"):
        with np.errstate(over="ignore", invalid="ignore"):
            total = X.sum()
        if np.isfinite(total):
            return X
    return validate_data(estimator, X, dtype=_FLOATS, reset=False)


def n_rows(X: Any) -> int:
    """The number of rows of any array-like."""
    return _num_samples(X)


def get_column(X: Any, column: Any) -> Any:
    """A column of an array or a data frame, by its position or name; None where there is no such column."""
    try:
        return _safe_indexing(X if hasattr(X, "shape") else np.asarray(X), column, axis=1)
    except (IndexError, KeyError, ValueError):
        return None


class FitTask:
    """A fit as callbacks see it: a task, with a subtask for each `step` if it `has_steps`.

    Silent where the estimator has no callbacks.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, metadata: dict[str, Any], has_steps: bool):
        self._estimator, self._data = estimator, {"X": X, "y": y, "metadata": metadata}
        self._context = None
        if hasattr(estimator, "_skl_callbacks"):
            self._context = estimator._init_callback_context(max_subtasks=None if has_steps else 0)
            self._context.call_on_fit_task_begin(estimator=estimator, **self._data)

    def step(self) -> bool:
        """Report a step that is done; True if a callback asks to stop."""
        if self._context is None:
            return False
        subtask = self._context.subcontext(task_name="candidate")
        subtask.call_on_fit_task_begin(estimator=self._estimator, **self._data)
        return bool(subtask.call_on_fit_task_end(estimator=self._estimator, **self._data))

    def end(self) -> None:
        """Report the end of the fit."""
        if self._context is not None:
            self._context.call_on_fit_task_end(estimator=self._estimator, reconstruction_attributes={}, **self._data)
