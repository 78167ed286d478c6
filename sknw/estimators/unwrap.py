"""What stands around and before a smoother: a pipeline, and the names of its features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sknw.estimators.base import BaseSmoother
from sknw.estimators.tables import positions_of

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# A fitted smoother, or a pipeline that ends in one.
FittedModel: TypeAlias = "BaseSmoother | Pipeline"


def smoother_and_inputs(estimator: FittedModel, X: Any = None) -> tuple[BaseSmoother, Any]:
    """The smoother, itself or the last step of a pipeline, and X as it sees it; a TypeError if there is none."""
    steps = getattr(estimator, "steps", [("", estimator)])
    smoother = steps[-1][1]
    if not isinstance(smoother, BaseSmoother):
        raise TypeError(
            f"estimator must be one of sknw, or a pipeline that ends in one, got {type(smoother).__name__}."
        )
    check_is_fitted(smoother)
    return smoother, X if X is None or len(steps) == 1 else estimator[:-1].transform(X)


def feature_names(estimator: FittedModel) -> list[str]:
    """The names of the features, or x0, x1, ... where they have none."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        return list(names)
    return ["x"] if estimator.n_features_in_ == 1 else [f"x{k}" for k in range(estimator.n_features_in_)]


def feature_positions(features: Sequence[int | str] | int | str | None, names: list[str]) -> list[int]:
    """The positions of features given by position or name, of all for None."""
    if features is None:
        return list(range(len(names)))
    listed = [features] if isinstance(features, int | np.integer | str) else features
    return positions_of(listed, "features", names, len(names))
