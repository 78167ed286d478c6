"""When the outcome of a bandwidth search deserves a warning, and what to do then."""

from __future__ import annotations

import numpy as np

from sknw._selection.result import BandwidthSearch
from sknw._smoothing.training import TrainingSet

# Fewer samples say too little about a bandwidth for a warning; a larger part of them is many.
_FEW, _MANY = 100, 0.25
# Scores that differ by a smaller part of the largest are equal.
_EQUAL = 1e-10


def search_warning(search: BandwidthSearch, training: TrainingSet, rows: np.ndarray, with_lines: bool) -> str | None:
    """The warning that a search deserves, if any: what is wrong with the choice, and the remedy.

    There is none where local lines choose the largest bandwidth, at which they are a single line for all samples: that
    may be right. Neither is there with few samples, with which the criterion often is least at an edge, nor with equal
    scores, as of a constant target, with which the largest bandwidth is as good as any.
    """
    n = training.sample_weight.sum()
    if search.criterion != "loo" and np.isinf(search.scores[search.best_index]) and n < len(training) > 1:
        return (
            f'The criterion "{search.criterion}" exists at no bandwidth, and the widest is taken. It counts samples by '
            "sample_weight, whose sum is small: scale it to about the number of samples."
        )
    factor, scores = search.factors[search.best_index], search.scores[np.isfinite(search.scores)]
    # The search begins at a quarter of the smallest spacing. From there to the spacing a compact kernel supports no
    # other inputs, all scores are equal, and the largest bandwidth is chosen.
    near_zero = factor <= 4.0 * search.factors[0] or search.scores[0] <= search.scores[search.best_index]
    if len(rows) < _FEW or not scores.size or np.ptp(scores) <= _EQUAL * np.abs(scores).max():
        return None
    if search.has_duplicates and near_zero:
        n_copies = _n_copies(training)
        name = "leave-one-out" if search.criterion == "loo" else f'"{search.criterion}"'
        if n_copies > _MANY * n:
            return (
                f"{name} chose a bandwidth near zero ({factor:.2g} standard deviations), at which copies of a sample "
                f"predict it: {n_copies:g} of {n:g} samples have copies, of the same inputs "
                "and target, or a sample_weight above 1, which stands for copies. Merge copies, scale weights that are "
                "not counts to at most 1, or give a number."
            )
    if search.n_unsupported > _MANY * len(rows):
        return (
            f"{search.n_unsupported} of {len(rows)} samples have no other one in the kernel's support at the chosen "
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
            "that do not matter, or learn a weight for each with AttentionPoolingRegressor."
        )
    if search.at_edge:
        return (
            f'the criterion "{search.criterion}" is best at the smallest bandwidth tried, at which every prediction is '
            "nearly the target of the nearest sample. If that is not what the data are like, choose another criterion "
            'among "loo", "aicc" and "gcv", or give a number.'
        )
    return None


def _n_copies(training: TrainingSet) -> float:
    """The number of samples, counted by weight, whose inputs and targets another one has as well."""
    _, which, multiplicity = np.unique(
        np.hstack([training.X, training.values]), axis=0, return_inverse=True, return_counts=True
    )
    is_copied = (multiplicity[which.ravel()] > 1) | (training.sample_weight > 1)
    return float(training.sample_weight[is_copied].sum())
