"""Ways down to a minimum of a criterion, and the scores on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sknw._selection.criterion import Criterion
from sknw._selection.surrogate import BinnedCriterion, SubsampledCriterion

# Bandwidths that share the distances.
_BATCH = 8
# Predictions at the best bandwidth are kept if they fit in this many bytes.
_KEPT_BYTES = 2**26
# The way begins with steps in log c of this length, and ends when it expects to gain less, as a part.
_FIRST_STEP, _LEAST_GAIN, _MOST_STEPS = 0.15, 1e-6, 16
# In log c, so that engines, which round differently, take the same bandwidths.
_LOG_RESOLUTION = 2.0**-16
# A minimum is left where it is if the criterion is so much higher there, as a part, than at the best so far.
_HOPELESS = 1e-3


class SearchStopped(Exception):
    """Raised through the search by a callback that has seen enough."""


class History:
    """Scores and numbers of unsupported rows so far: on all rows, and by the likenesses that the scan took for them.

    With the predictions at the best so far.
    """

    def __init__(self, criterion: Criterion, on_candidate: Callable[[], bool]):
        self.criterion, self.on_candidate = criterion, on_candidate
        # predictions of local lines are not exact enough in a search
        n_bytes = 8 * len(criterion.rows) * criterion.smoother.values.shape[1]
        self.keeps_predictions = criterion.smoother.line is None and n_bytes <= _KEPT_BYTES
        self.on_all: dict[float, tuple[float, int]] = {}
        self.on_surrogate: dict[float, tuple[float, int]] = {}
        # the lowest score on all rows, its factor, and the leave-one-out predictions there if they are kept
        self.best: tuple[float, float, np.ndarray | None] = (np.inf, 0.0, None)

    def add(self, criterion: Criterion | BinnedCriterion | SubsampledCriterion, factors: np.ndarray) -> np.ndarray:
        """The scores at `factors`, descending; of those not yet tried in batches that share the distances."""
        seen = self.on_all if criterion is self.criterion else self.on_surrogate
        new = np.array([factor for factor in dict.fromkeys(factors.tolist()) if factor not in seen])
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            evaluations_at = self._judged(batch) if criterion is self.criterion else zip(*criterion(batch), strict=True)
            for factor, (score, n_unsupported) in zip(batch.tolist(), evaluations_at, strict=True):
                seen[factor] = (float(score), int(n_unsupported))
                if self.on_candidate():
                    raise SearchStopped
        return np.array([seen[factor][0] for factor in factors.tolist()])

    def _judged(self, factors: np.ndarray) -> Iterator[tuple[float, int]]:
        """Scores and numbers of unsupported rows on all rows."""
        evaluations_at = self.criterion.evaluations_at(factors, self.keeps_predictions)
        for factor, (score, n_unsupported, predictions) in zip(factors.tolist(), evaluations_at, strict=True):
            if score < self.best[0]:
                self.best = (score, factor, None if predictions is None else predictions.copy())
            yield score, n_unsupported


class ParabolicSearch:
    """The way down to a local minimum of a criterion that is smooth, by parabolas in log c."""

    def __init__(self, trials: History, criterion: Criterion | BinnedCriterion | SubsampledCriterion, grid: np.ndarray):
        self.trials, self.criterion, self.grid = trials, criterion, grid

    def around(self, factor: float) -> np.ndarray:
        """A factor between one to each side, descending."""
        step = np.exp(_FIRST_STEP)
        return np.clip(factor * np.array([step, 1.0, 1.0 / step]), self.grid[-1], self.grid[0])

    def near(self, factor: float, curvature: float, least_gain: float = _LEAST_GAIN) -> float:
        """The minimum near a factor, given the second derivative there, or zero where it is not known.

        The factor itself where the criterion is so much higher than at the best so far that no minimum near can win.
        """
        best = self.trials.best[0]
        if np.isfinite(best) and self._scores(factor)[0] > best + _HOPELESS * abs(best):
            return factor
        places = self.around(factor)
        if curvature > 0.0:  # two are enough
            places = places[:2] if places[0] > places[1] else places[1:]
        return self.minimum(places, least_gain, curvature)[0]

    def minimum(
        self, places: np.ndarray, least_gain: float = _LEAST_GAIN, curvature: float = 0.0
    ) -> tuple[float, float]:
        """The local minimum near some factors, descending, and the second derivative there, zero if it is not known.

        It ends where another step is expected to gain less than a part of the criterion. Where parabolas do not halve
        the bracket in two steps, the larger part of it is halved.
        """
        seen = dict(zip(places.tolist(), self._scores(*places), strict=True))
        before = last = np.inf
        for _ in range(_MOST_STEPS if len(seen) > 1 else 0):
            factors = sorted(seen)
            f = np.array([seen[factor] for factor in factors])
            lowest = int(np.argmin(f))
            first = max(min(lowest - 1, len(f) - 3), 0)
            three = np.log(factors[first : first + 3])
            x, gain, curvature = _vertex(three, f[first : first + 3], curvature)
            if 0 < lowest < len(f) - 1:
                length = three[-1] - three[0]
                if length > before / 2.0:
                    widest = int(np.argmax(np.diff(three)))
                    x, length = three[widest : widest + 2].mean(), np.inf
                before, last = last, length
            x = np.round(x / _LOG_RESOLUTION) * _LOG_RESOLUTION
            further = float(np.clip(np.exp(x), self.grid[-1], self.grid[0]))
            if gain <= least_gain * abs(f[lowest]) or further in seen:
                break
            seen[further] = self._scores(further)[0]
        return min(seen, key=lambda factor: (seen[factor], -factor)), curvature

    def _scores(self, *factors: float) -> list[float]:
        return self.trials.add(self.criterion, np.array(factors)).tolist()


def _vertex(x: np.ndarray, f: np.ndarray, curvature: float) -> tuple[float, float, float]:
    """Of the parabola through three points: its minimum, how much lower it is than the lowest of them, and f''.

    Of the parabola through two points with the second derivative given. Beyond the points it goes at most two of their
    steps; where it has no minimum as far.
    """
    best = int(np.argmin(f))
    outer = float(3.0 * x[0] - 2.0 * x[1] if best == 0 else 3.0 * x[-1] - 2.0 * x[-2])
    if not np.all(np.isfinite(f)):
        inner = float((x[best] + x[np.argmax(~np.isfinite(f))]) / 2.0)
        return (inner if 0 < best < len(x) - 1 else outer), np.inf, 0.0
    slopes = np.diff(f) / np.diff(x)
    if len(x) == 3:
        curvature = float(2.0 * (slopes[1] - slopes[0]) / (x[2] - x[0]))
    if curvature <= 0.0:
        return (x[1], 0.0, 0.0) if 0 < best < len(x) - 1 else (outer, np.inf, 0.0)
    vertex = (x[0] + x[1]) / 2.0 - slopes[0] / curvature
    if best in (0, len(x) - 1) and abs(vertex - x[best]) > abs(outer - x[best]):
        return outer, np.inf, curvature
    return float(vertex), float(curvature * (vertex - x[best]) ** 2 / 2.0), curvature
