"""Isolated queries: how much wider than that of the others their kernel is.

At a query with few samples around it, M = sum_j K(u_j^2) w_j / K(0) < `LEAST_SAMPLES`, a line would rest on the one or
two nearest samples, and run far from them. There distances are divided by the width s >= 1 for which

    sum_j K(u_j^2 / s^2) w_j / K(0) = LEAST_SAMPLES,

as the bandwidth of nearest neighbours is (Loftsgaarden & Quesenberry 1965), so that the query sees some samples; at the
others s = 1. A width depends on its query alone, and on the samples that are left out of it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sknw._kernel_sums import dense
from sknw._kernel_sums.registry import kernel_sums
from sknw._kernel_sums.request import KernelSumRequest
from sknw.kernels import Kernel

# As many as one sample at the query itself; of few samples at most half of them all.
LEAST_SAMPLES, MOST_OF_ALL = 1.0, 0.5
# The logarithm of the width is known to this; a step of Newton's method that leaves the bracket is a bisection.
_TOL, _MOST_STEPS = 1e-14, 200
# Of the attention of a query.
_NEGLIGIBLE = 1e-14


def can_widen(kernel: Kernel) -> bool:
    """Whether every query has a width: of kernels that have a formula and no end."""
    return kernel.form is not None and not kernel.is_compact


def find_widths(request: KernelSumRequest, unit: float, algorithm: str) -> np.ndarray | None:
    """The widths s (m,) of the queries of a request, None if all are 1; `unit` is the weight that counts as 1 there."""
    masses = replace(request, index=request.index.of_columns("no columns", request.index.without_columns))
    log_samples = kernel_sums(masses, algorithm).log_mass()[0] - np.log(request.weight_at_zero()[0] / unit)
    rows = np.flatnonzero(log_samples < np.log(LEAST_SAMPLES))
    if not rows.size:
        return None
    widths, size = np.ones(len(log_samples)), dense.rows_per_block(request)
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        widths[some] = _widths_of(request, some, unit)
    return widths


def is_isolated_without(attention: np.ndarray, log_samples: np.ndarray | float) -> np.ndarray:
    """Whether a query is isolated without part of its attention, in which case its width is larger: of that shape.

    `log_samples` is log M with all of it. A part that is negligible changes nothing.
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


def _widths_of(request: KernelSumRequest, rows: np.ndarray, unit: float) -> np.ndarray:
    """The widths of some isolated queries, by Newton's method for log M as a function of log s, within a bracket.

    With K = exp(-rate u^power) and v_j = rate u_j^power, M(s) = sum_j w_j exp(-v_j / s^power).
    """
    form = request.form
    v = -form.log_profile(dense.squared_distances(request, rows))
    weights = np.broadcast_to(request.weights * unit, v.shape).copy()
    weights[request.left_out_entries(rows)] = 0.0
    total = weights.sum(axis=1)
    least = np.minimum(LEAST_SAMPLES, MOST_OF_ALL * total)
    v = np.where(weights > 0, v, 0.0)
    # t = log s^power; from the upper end on every K is at least `least` / `total`
    lower = np.zeros(len(rows))
    with np.errstate(divide="ignore", invalid="ignore"):
        upper = np.maximum(np.log(v.max(axis=1) / np.log(total / least)), 0.0)
    upper = np.where(np.isfinite(upper), upper, 0.0)
    t = upper.copy()
    for _ in range(_MOST_STEPS):
        scaled = v * np.exp(-t)[:, np.newaxis]
        k_w = weights * np.exp(-scaled)
        mass = k_w.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            excess = np.log(mass / least)
            step = excess * mass / (k_w * scaled).sum(axis=1)
        lower, upper = np.where(excess < 0, t, lower), np.where(excess < 0, upper, t)
        proposed = t - step
        inside = (proposed >= lower) & (proposed <= upper)
        proposed = np.where(inside, proposed, 0.5 * (lower + upper))
        if np.all(np.abs(proposed - t) <= _TOL * (1.0 + np.abs(t))):
            break
        t = proposed
    return np.exp(proposed / form.power)
