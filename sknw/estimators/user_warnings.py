"""Warnings that point to the line of the user."""

from __future__ import annotations

import sys
import warnings

# What may stand between a fit, or a load, and the line of the user that asks for it.
_BETWEEN = {"sknw", "sklearn", "joblib", "pickle", "copy"}


def warn_user(warning: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Warn at the last line on the way here that is of none of the packages `_BETWEEN`."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(warning, category, stacklevel=level)
