"""Checks of what is given to the methods of a fitted model."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike

from sknw.kernels import Kernel, Pairwise


def check_integer(value: object, name: str, least: int = 1, or_else: str = "") -> None:
    """Refuse all but integers from `least` on; the message adds what else the caller takes."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        wanted = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise ValueError(f"{name} must be {wanted}{or_else}, got {value!r}.")


def check_top_k(top_k: object) -> None:
    """Refuse a `top_k` that is neither None nor a positive integer."""
    if top_k is not None:
        check_integer(top_k, "top_k", or_else=" or None")


def check_coverage(coverage: float) -> None:
    """Refuse a coverage that is not between 0 and 1."""
    if not isinstance(coverage, Real) or not 0 < coverage < 1:
        raise ValueError(f"coverage must be a number between 0 and 1, both excluded, got {coverage!r}.")


def check_bool(value: object, name: str) -> None:
    """Refuse what is neither True nor False, as a string that would count as True."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}.")


def check_tests_each_once(tests_each_once: bool) -> None:
    """Refuse intervals where a row has several left-out predictions."""
    if not tests_each_once:
        raise ValueError(
            "predict_interval needs one left-out prediction of each row, and cv has tested some rows several "
            "times: fit with a cv that tests each row once, such as KFold."
        )


def quantile_levels(quantiles: float | ArrayLike) -> np.ndarray:
    """The levels as an array, () or (q,); a ValueError where they are not numbers between 0 and 1."""
    try:
        are_bools = np.asarray(quantiles).dtype == bool
        levels = np.array(np.nan) if are_bools else np.asarray(quantiles, dtype=np.float64)
    except (TypeError, ValueError):
        levels = np.array(np.nan)
    if levels.ndim > 1 or not levels.size or not np.all((levels >= 0) & (levels <= 1)):
        raise ValueError(f"quantiles must be a number between 0 and 1 or a list of such numbers, got {quantiles!r}.")
    return levels


def cdf_thresholds(y: ArrayLike, shape: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    """The values y for each query and output (m, k, t), and the shape of results; `shape` is that of predictions.

    A ValueError where y is neither numbers for all queries nor some for each.
    """
    try:
        values = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if (values.ndim > 1 and values.shape[:-1] != shape) or np.isnan(values).any():
        raise ValueError(
            f"y must be a number, a list of numbers, or an array of shape {(*shape, 'n_values')} with values for "
            f"each query; got {y!r}."
        )
    thresholds = values if values.ndim > 1 else np.broadcast_to(values, (*shape, values.size))
    return thresholds.reshape(shape[0], -1, thresholds.shape[-1]), (*shape, *values.shape[-1:])


def require_derivative(kernel: Kernel) -> None:
    """Refuse a kernel that has no derivative."""
    if not kernel.is_differentiable:
        name = "A callable kernel" if isinstance(kernel, Pairwise) else repr(kernel)
        raise ValueError(
            f'{name} has no derivative, which a gradient needs; take a kernel that has, such as "gaussian", '
            "or a subclass of sknw.kernels.Kernel with a method derivative(sq)."
        )
