"""What stands around and before a smoother: a pipeline, and the names of its features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
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


def feature_positions(features: Sequence[int | str] | int | str | None, names: list[str]) -> list[int]:
    """The positions of features given by position or name, of all for None.

    Raises
    ------
    ValueError
        If there is no such feature.
    """
    if features is None:
        return list(range(len(names)))
    listed = [features] if isinstance(features, int | np.integer | str) else list(features)
    found = [names.index(feature) if feature in names else feature for feature in listed]
    for feature in found:
        if isinstance(feature, bool) or not isinstance(feature, int | np.integer) or not 0 <= feature < len(names):
            raise ValueError(f"features must be among {names}, or their positions, got {feature!r}.")
    return [int(feature) for feature in found]
