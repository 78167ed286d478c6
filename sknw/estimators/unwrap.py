"""What stands around and before a smoother: a pipeline, and the names of its features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.utils.validation import check_is_fitted

from sknw.estimators.base import BaseSmoother

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def smoother_and_inputs(estimator: BaseSmoother | Pipeline, X: Any = None) -> tuple[BaseSmoother, Any]:
    """The smoother, itself or the last step of a pipeline, and X as it sees it.

    Raises
    ------
    TypeError
        If there is no smoother.
    """
    steps = getattr(estimator, "steps", [("", estimator)])
    smoother = steps[-1][1]
    if not isinstance(smoother, BaseSmoother):
        raise TypeError(
            f"estimator must be one of sknw, or a pipeline that ends in one, got {type(smoother).__name__}."
        )
    check_is_fitted(smoother)
    return smoother, X if X is None or len(steps) == 1 else estimator[:-1].transform(X)


def feature_names(estimator: BaseSmoother | Pipeline) -> list[str]:
    """The names of the features, or x0, x1, ... where they have none."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        return list(names)
    return ["x"] if estimator.n_features_in_ == 1 else [f"x{k}" for k in range(estimator.n_features_in_)]
