"""Isolated queries: their kernel is wider than that of the others.

A query is isolated where M = sum_j K(u_j^2) w_j / K(0), the number of samples around it, is below `LEAST_SAMPLES`. The
one or two nearest samples then have almost all of the weight, and say little about a line. Its distances are divided by
the width s >= 1 for which

    sum_j K(u_j^2 / s^2) w_j / K(0) = LEAST_SAMPLES.

This is a bandwidth that adapts to the query, as that of nearest neighbours (Loftsgaarden & Quesenberry 1965). All other
queries have s = 1. The width of a query depends on the samples that are not left out of it, and on no other query.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sknw._kernel_sums.registry import kernel_sums
from sknw._kernel_sums.request import KernelSumRequest
from sknw.kernels import Kernel

# One sample at the query itself is enough. Where all samples together are few, half of them are.
LEAST_SAMPLES, MOST_OF_ALL = 1.0, 0.5
# The error of log M, the most steps to it, and the largest logarithm of a width.
_TOL, _MOST_STEPS, _WIDEST = 1e-14, 100, 340.0
# Leaving out a smaller part of the attention of a query does not change its width.
_NEGLIGIBLE = 1e-14


def can_widen(kernel: Kernel) -> bool:
    """Whether there is a width for every query: for kernels exp(-rate u^power), which are positive everywhere."""
    return kernel.form is not None and not kernel.is_compact


def find_widths(request: KernelSumRequest, unit: float, algorithm: str) -> np.ndarray | None:
    """The widths s (m,) of the queries of a request, None if all are 1; `unit` is the weight that counts as 1 there."""
    masses = replace(request, index=request.index.without_columns())

    def log_samples(rows: np.ndarray, log_widths: np.ndarray) -> np.ndarray:
        at_widths = replace(masses.take(rows), widths=np.exp(log_widths))
        return kernel_sums(at_widths, algorithm).log_mass()[0] + np.log(unit)

    here = kernel_sums(masses, algorithm).log_mass()[0] + np.log(unit)
    rows = np.flatnonzero(here < np.log(LEAST_SAMPLES))
    if rows.size:
        of_all = log_samples(rows, np.full(len(rows), _WIDEST))
        least = np.minimum(np.log(LEAST_SAMPLES), np.log(MOST_OF_ALL) + of_all)
        rows, least = rows[here[rows] < least], least[here[rows] < least]
    if not rows.size:
        return None
    widths = np.ones(len(here))
    excess_at_one = here[rows] - least
    widths[rows] = np.exp(_roots(lambda some, t: log_samples(rows[some], t) - least[some], excess_at_one))
    return widths


def _roots(f: Callable[[np.ndarray, np.ndarray], np.ndarray], at_zero: np.ndarray) -> np.ndarray:
    """Where increasing functions are zero that are negative at 0, `at_zero` (m,): by the Illinois method.

    ``f(some, t)`` returns the values of the functions `some` at t, which are of the same shape. The secant through the
    ends of the bracket of a root gives its next end; where the same end moves twice, the value at the other is halved.
    """
    m = len(at_zero)
    lower, upper, below, above = np.zeros(m), np.ones(m), at_zero.copy(), np.empty(m)
    some = np.arange(m)
    while some.size:  # `upper` is doubled until the function is positive
        above[some] = f(some, upper[some])
        some = some[(above[some] < 0) & (upper[some] < _WIDEST)]
        lower[some], below[some] = upper[some], above[some]
        upper[some] = np.minimum(2.0 * upper[some], _WIDEST)
    t, moved, some = upper.copy(), np.zeros(m), np.flatnonzero(above > _TOL)
    for _ in range(_MOST_STEPS):
        if not some.size:
            break
        a, b, f_a, f_b = lower[some], upper[some], below[some], above[some]
        t[some] = np.clip((a * f_b - b * f_a) / (f_b - f_a), a, b)
        value = f(some, t[some])
        side = np.sign(value)
        up, down = some[side > 0], some[side <= 0]
        below[up[moved[up] > 0]] *= 0.5
        above[down[moved[down] < 0]] *= 0.5
        upper[up], above[up] = t[up], value[side > 0]
        lower[down], below[down] = t[down], value[side <= 0]
        moved[some] = side
        some = some[(np.abs(value) > _TOL) & (upper[some] - lower[some] > _TOL)]
    return t


def is_isolated_without(attention: np.ndarray, log_samples: np.ndarray | float) -> np.ndarray:
    """Whether a query is isolated once a part of its attention is left out, so that its width is another one: bool.

    Each entry of `attention` is left out alone; `log_samples` is log M with all of them.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return (attention > _NEGLIGIBLE) & (log_samples + np.log1p(-attention) < np.log(LEAST_SAMPLES))


def slopes_that_hold_mass(
    kernel: Kernel, sq: np.ndarray, attention: np.ndarray, widths: np.ndarray, slopes: np.ndarray
) -> np.ndarray:
    """Derivatives of the log K_j of queries (m, l, c) in c numbers, from those at fixed widths, `slopes`.

    The width of an isolated query changes so that sum_j a_j dlog K_j = 0. With t = s^-2, u_j^2 / s^2 in `sq` (m, l) and
    q_j = dlog K_j / dlog t = u_j^2 / s^2 (log K)'(u_j^2 / s^2),

        dlog K_j = slope_j - q_j sum_l a_l slope_l / sum_l a_l q_l.
    """
    by_log_t = kernel.log_derivative(sq) * sq
    is_wide = (widths != 1.0)[:, np.newaxis]
    total = np.where(is_wide, (attention * by_log_t).sum(axis=1, keepdims=True), 1.0)
    change = np.where(is_wide, np.einsum("ml,mlc->mc", attention, slopes) / total, 0.0)
    return slopes - by_log_t[..., np.newaxis] * change[:, np.newaxis]
