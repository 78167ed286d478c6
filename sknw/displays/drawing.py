"""What the displays share: the axes, colours and styles that they draw with."""

from __future__ import annotations

from typing import Any

import numpy as np

from sknw.estimators.base import BaseSmoother
from sknw.estimators.classification import ClassificationMixin

# Of the palette of Okabe and Ito, told apart by every kind of colour vision.
BLUE, ORANGE = "#0072B2", "#D55E00"


class Display:
    """Base of the displays."""

    def _draw_into(self, ax: Any, size: tuple[float, float] | None = None) -> Any:
        """The axes given, or those of a new figure of a size in inches, which become attributes."""
        if ax is None:
            try:
                import matplotlib.pyplot as plt
            except ImportError as error:
                raise ImportError("Drawing needs matplotlib: pip install matplotlib.") from error
            ax = plt.subplots(figsize=size, layout="constrained")[1]
        self.ax_, self.figure_ = ax, ax.figure
        return ax


def styled(defaults: dict, given: dict | None) -> dict:
    """The defaults, replaced by what is given, also under one of matplotlib's short names."""
    long_names = {"c": "color", "lw": "linewidth", "ls": "linestyle", "ms": "markersize", "edgecolor": "edgecolors"}
    given = {} if given is None else {long_names.get(name, name): value for name, value in given.items()}
    return defaults | given


def output_position(smoother: BaseSmoother, target: int | None, n_outputs: int) -> int:
    """The position of an output or a class, checked; None is the only output, or of two classes the second."""
    if target is None and (n_outputs == 1 or (n_outputs == 2 and isinstance(smoother, ClassificationMixin))):
        return n_outputs - 1
    if isinstance(target, int | np.integer) and not isinstance(target, bool) and 0 <= target < n_outputs:
        return int(target)
    raise ValueError(f"target must be the position of one of the {n_outputs} outputs, got {target!r}.")
