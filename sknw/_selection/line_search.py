"""Search for a minimum on a lattice of bandwidths or ridges, by successive interpolation.

Engines, numbers of threads and repeated rows in place of weights change a score by rounding only. So that rounding does
not decide what is chosen, every value that is tried lies on one fixed lattice, and scores that differ by at most their
`score_tolerance` are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

# Lattice points in an octave: neighbours differ by 4e-5, which changes a score by about 1e-9 of its curvature.
OCTAVE = 2**14
# Rounding of predictions, relative to the standard deviation of the outputs, with a margin.
SCORE_TOL = 1e-12
# The first step to either side is 0.15 in the natural logarithm.
_FIRST_STEP = round(0.15 / math.log(2.0) * OCTAVE)
_MAX_STEPS = 16
# The largest number of values that a polynomial goes through, and the steps to its minimum.
_MOST_POINTS, _NEWTON_STEPS = 5, 4
# A search ends where the next step is expected to lower the score by less, relative to the score.
LEAST_GAIN = 1e-8


def lattice_values(points: Iterable[int]) -> np.ndarray:
    """2^((p + 1/2) / OCTAVE) at the lattice points p.

    The half keeps the values apart from all ratios of distances, many of which are equal for samples on a regular
    grid: the support of a compact kernel then never ends at a sample. Points an octave apart differ by exactly 2.
    """
    return np.array([math.ldexp(2.0 ** ((p % OCTAVE + 0.5) / OCTAVE), p // OCTAVE) for p in map(int, points)])


def lattice_point(value: float) -> int:
    """The lattice point nearest to a positive value, on a logarithmic scale."""
    return round(math.log2(value) * OCTAVE - 0.5)


def score_tolerance(scores: np.ndarray | float) -> np.ndarray:
    """Scores that differ by at most SCORE_TOL sqrt(s) are equal, s = |score|, at least SCORE_TOL^2 and at most 1.

    A mean square r^2 of residuals moves by about 2 r times the rounding of a prediction, a logarithm by more. Below
    SCORE_TOL^2 it is that of an exact fit.
    """
    return SCORE_TOL * np.sqrt(np.clip(np.abs(scores), SCORE_TOL**2, 1.0))


def first_minimum(scores: np.ndarray) -> int:
    """The first index whose score is the smallest, or equal to it."""
    return int(np.argmax(scores <= scores.min() + score_tolerance(scores.min())))


class ParabolicSearch:
    """Search between two lattice values for a local minimum of `scores`, a function of arrays of such values."""

    def __init__(self, scores: Callable[[np.ndarray], np.ndarray], smallest: float, largest: float):
        self.scores, self.first, self.last = scores, lattice_point(smallest), lattice_point(largest)

    def bracket(self, value: float) -> np.ndarray:
        """A lattice value between one to each side, in descending order."""
        point = lattice_point(value)
        return lattice_values(self._clip(point + step) for step in (_FIRST_STEP, 0, -_FIRST_STEP))

    def minimize(
        self, start: np.ndarray, least_gain: float = LEAST_GAIN, curvature: float = 0.0
    ) -> tuple[float, float]:
        """Return the minimum near lattice values in descending order, and the second derivative in log2 of the value.

        Three values to start from are enough, or two where the second derivative is known; it is 0 where it is not. Of
        minima with equal scores it is the largest. From the fourth value on a polynomial through more than three of
        them takes the place of the parabola. Where two steps do not halve the bracket, its wider interval is halved.
        """
        seen: dict[int, float] = dict(zip(map(lattice_point, start.tolist()), self.scores(start).tolist(), strict=True))
        length_before = last_length = math.inf
        for _ in range(_MAX_STEPS if len(seen) > 1 else 0):
            points = sorted(seen, reverse=True)
            f = [seen[point] for point in points]
            lowest = _first_minimum_of(f)
            near = slice(first := max(min(lowest - 1, len(f) - 3), 0), first + 3)
            x = [point / OCTAVE for point in points[near]]
            vertex, gain, curvature = _vertex(x, f[near], lowest - first, curvature)
            if 0 < lowest < len(f) - 1:
                three = points[near]
                length = float(three[0] - three[2])
                if length > length_before / 2.0:
                    wide = 0 if three[0] - three[1] >= three[1] - three[2] else 1
                    vertex, length = (three[wide] + three[wide + 1]) / (2.0 * OCTAVE), math.inf
                elif len(f) > 3 and gain > _tolerance_of(f[lowest]):
                    vertex, gain = _refined_vertex([point / OCTAVE for point in points], f, lowest, vertex, gain)
                length_before, last_length = last_length, length
            point = self._clip(round(vertex * OCTAVE))
            if gain <= least_gain * abs(f[lowest]) or point in seen:
                break
            seen[point] = float(self.scores(lattice_values([point]))[0])
        points = sorted(seen, reverse=True)
        best = points[_first_minimum_of([seen[point] for point in points])]
        return float(lattice_values([best])[0]), curvature

    def _clip(self, point: int) -> int:
        return min(max(point, self.first), self.last)


def _first_minimum_of(scores: list[float]) -> int:
    """`first_minimum` of a few numbers."""
    smallest = min(scores)
    largest = smallest + _tolerance_of(smallest)
    return next(i for i, score in enumerate(scores) if score <= largest)


def _tolerance_of(score: float) -> float:
    """`score_tolerance` of one number."""
    return SCORE_TOL * math.sqrt(min(max(abs(score), SCORE_TOL**2), 1.0))


def _vertex(x: list[float], f: list[float], best: int, curvature: float) -> tuple[float, float, float]:
    """Return the minimum of a parabola, how much lower it is than the smallest of the values f, and f''.

    Three points (x, f) determine the parabola; two do with the second derivative given. A step beyond the points is at
    most twice as long as that between the outer two; where the parabola has no minimum, it is exactly twice as long.
    """
    at_end = best in (0, len(x) - 1)
    outer = 3.0 * x[0] - 2.0 * x[1] if best == 0 else 3.0 * x[-1] - 2.0 * x[-2]
    is_infinite = [not math.isfinite(value) for value in f]
    if any(is_infinite):
        inner = (x[best] + x[is_infinite.index(True)]) / 2.0
        return (outer if at_end else inner), math.inf, 0.0
    tolerance, slopes = _tolerance_of(f[best]), []
    for i in range(len(x) - 1):
        rise = f[i + 1] - f[i]
        slopes.append((rise if abs(rise) > tolerance else 0.0) / (x[i + 1] - x[i]))
    if len(x) == 3:
        curvature = 2.0 * (slopes[1] - slopes[0]) / (x[2] - x[0])
    if curvature <= 0.0:
        return (outer, math.inf, 0.0) if at_end else (x[best], 0.0, 0.0)
    vertex = (x[0] + x[1]) / 2.0 - slopes[0] / curvature
    if at_end and abs(vertex - x[best]) > abs(outer - x[best]):
        return outer, math.inf, curvature
    return vertex, curvature * (vertex - x[best]) ** 2 / 2.0, curvature


def _refined_vertex(x: list[float], f: list[float], best: int, vertex: float, gain: float) -> tuple[float, float]:
    """The `_vertex` and its gain, of the polynomial through the points (x, f) nearest to the best one, if it has one.

    The polynomial in Newton's form, by divided differences, and its minimum between the neighbours of the best point by
    Newton's method from the vertex of the parabola.
    """
    finite = [i for i in range(len(x)) if math.isfinite(f[i])]
    nearest = sorted(finite, key=lambda i: abs(x[i] - x[best]))[:_MOST_POINTS]
    at, differences = [x[i] for i in nearest], [f[i] - f[best] for i in nearest]
    for k in range(1, len(at)):
        for i in range(len(at) - 1, k - 1, -1):
            differences[i] = (differences[i] - differences[i - 1]) / (at[i] - at[i - k])
    minimum = vertex
    for _ in range(_NEWTON_STEPS):
        value, slope, curvature = differences[-1], 0.0, 0.0
        for point, difference in zip(at[-2::-1], differences[-2::-1], strict=True):
            u = minimum - point
            value, slope, curvature = value * u + difference, slope * u + value, curvature * u + 2.0 * slope
        if curvature <= 0.0:
            return vertex, gain
        minimum -= slope / curvature
    return (minimum, -value) if x[best + 1] < minimum < x[best - 1] else (vertex, gain)
