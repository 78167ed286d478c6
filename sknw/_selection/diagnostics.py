"""When the outcome of a bandwidth search deserves a warning, and what to do then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sknw._selection.result import BandwidthSearch

# Fewer samples say too little about a bandwidth for a warning; a larger part of them is many.
_FEW, _MANY = 100, 0.25
# Scores that differ by a smaller part of the largest are equal.
_EQUAL = 1e-10


def search_warning(search: BandwidthSearch, n_rows: int, with_lines: bool, criteria: Sequence[str]) -> str | None:
    """The warning that a search deserves, if any: what is wrong with the choice, and the remedy.

    There is none where local lines choose the largest bandwidth, at which they are a single line for all samples: that
    may be right. Neither is there with few validation rows, with which the criterion often is least at an edge, nor
    with equal scores, as of a constant target, with which the largest bandwidth is as good as any. `criteria` are the
    names of all that could be chosen.
    """
    scores = search.scores[np.isfinite(search.scores)]
    if n_rows < _FEW or not scores.size or np.ptp(scores) <= _EQUAL * np.abs(scores).max():
        return None
    if search.n_unsupported > _MANY * n_rows:
        return (
            f"{search.n_unsupported} of {n_rows} samples have no other one in the kernel's support at the chosen "
            "bandwidth and are predicted as `outside` says. Choose a kernel of unbounded support, such as "
            '"gaussian", or give a larger bandwidth.'
        )
    if search.autocorrelation is not None and search.autocorrelation.is_alarm:
        feature = search.autocorrelation.order
        times = "" if feature is None else f", times={feature}"
        return (
            f"leave-one-out residuals are autocorrelated: {search.autocorrelation}. Neighbours that share errors "
            "predict each other; leave-one-out is then too optimistic, and its bandwidth often too small. Give "
            f"cv=LeaveBlockOut(half_width{times}) for autocorrelation along this order, or groups= to fit for families "
            "of rows."
        )
    if search.at_edge and search.best_index > 0:
        if with_lines:
            return None
        return (
            f'the criterion "{search.criterion}" is best at the largest bandwidth tried, at which every prediction is '
            "nearly the mean of all targets: these inputs, on one scale, do not help to predict. Leave out features "
            "that do not matter, or learn a weight for each by attention pooling."
        )
    if search.at_edge:
        others = ", ".join(f'"{name}"' for name in criteria if name != search.criterion)
        return (
            f'the criterion "{search.criterion}" is best at the smallest bandwidth tried, at which every prediction is '
            "nearly the target of the nearest sample. If that is not what the data are like, "
            f"{f'choose another criterion, such as {others}, or ' if others else ''}give a number."
        )
    return None
