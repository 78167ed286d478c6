"""Damped Gauss-Newton steps within bounds, for sums of squares (Levenberg 1944, Marquardt 1963).

With g the gradient and H = A'A + C what takes the place of the second derivatives, C diagonal, a step from theta is

    s = -(H + damping F)^-1 g

in the numbers that are not at a bound beyond which the function falls, each cut off at `_LONGEST_STEP` and at the
bounds. F is diagonal: how firmly each number is held. A step is made if the function falls; then damping is less where
g's + s'H s / 2 foretold by how much, else more. With D = C + damping F and fewer rows of A than numbers

    (A'A + D)^-1 = D^-1 - D^-1 A' (I + A D^-1 A')^-1 A D^-1.

Damping has a lower bound. Directions of less curvature say little about the function of other samples: steps along
them are short, and the descent ends before it has gone far along them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

# Of logarithms: a factor of about 4.5.
_LONGEST_STEP = 1.5
# The damping to begin with, its bounds, and by what it is divided or multiplied.
_DAMPING, _LEAST_DAMPING, _MOST_DAMPING, _FACTOR = 0.1, 0.03, 1e6, 4.0
# Of what the step was expected to lower the function: with more, damping is less, with less it is more.
_GOOD, _POOR = 0.75, 0.25

# The gradient g (p,), A (m, p), the diagonal of C (p,), and that of F (p,), whose entries are positive.
Derivatives = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def minimise_squares(
    function: Callable[[np.ndarray], tuple[float, Callable[[], Derivatives]]],
    start: np.ndarray,
    at_start: tuple[float, Callable[[], Derivatives]],
    bounds: Sequence[tuple[float | None, float | None]],
    after_step: Callable[[], None],
    max_iter: int,
    tol: float,
) -> bool:
    """Make steps until one lowers the function by less than `tol`; whether there was one, or no step lowers it.

    ``function(theta)`` returns its value and a function that returns its derivatives; `at_start` is what it returns at
    `start`, which is within the bounds. ``after_step`` may raise StopIteration.
    """
    lower, upper = np.array(bounds, dtype=np.float64).T
    theta, damping, (value, derivatives) = start, _DAMPING, at_start
    for _ in range(max_iter):
        g, a, c, firmness = derivatives()
        free = ~((theta <= lower) & (g > 0) | (theta >= upper) & (g < 0))
        before = value
        while True:
            if damping > _MOST_DAMPING or not g[free].any():
                return True
            step = np.zeros_like(theta)
            step[free] = -_solve(a[:, free], (c + damping * firmness)[free], g[free])
            end = np.clip(theta + np.clip(step, -_LONGEST_STEP, _LONGEST_STEP), lower, upper)
            value, derivatives = function(end)
            if value < before:
                break
            damping *= _FACTOR
        step = end - theta
        curvature = ((a @ step) ** 2).sum() + c @ step**2
        expected, theta = -(g @ step + 0.5 * curvature), end
        if before - value > _GOOD * expected:
            damping = max(damping / _FACTOR, _LEAST_DAMPING)
        elif before - value < _POOR * expected:
            damping *= _FACTOR
        try:
            after_step()
        except StopIteration:
            return True
        if before - value <= tol * max(abs(before), abs(value), 1.0):
            return True
    return False


def _solve(a: np.ndarray, d: np.ndarray, g: np.ndarray) -> np.ndarray:
    """(A'A + D)^-1 g for A (m, p) and the diagonal of D (p,)."""
    if len(a) >= len(d):
        return np.linalg.solve(a.T @ a + np.diag(d), g)
    over_d = a / d
    return g / d - over_d.T @ np.linalg.solve(np.eye(len(a)) + over_d @ a.T, over_d @ g)
