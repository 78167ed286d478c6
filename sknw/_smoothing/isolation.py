"""Isolated queries: their kernel is wider than that of the others.

A query is isolated where M = sum_j K(u_j^2) w_j / K(0), the number of samples around it, is below `LEAST_SAMPLES`. The
one or two nearest samples then have almost all of the weight, and say little about a line. Its distances are divided by
the width s >= 1 for which

    sum_j K(u_j^2 / s^2) w_j / K(0) = LEAST_SAMPLES.

This is a bandwidth that adapts to the query, as that of nearest neighbours (Loftsgaarden & Quesenberry 1965). All other
queries have s = 1. The width of a query depends on the samples that are not left out of it, and on no other query.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sknw._kernel_sums import dense
from sknw._kernel_sums.registry import kernel_sums
from sknw._kernel_sums.request import KernelSumRequest
from sknw.kernels import Kernel

# One sample at the query itself is enough. Where all samples together are few, half of them are.
LEAST_SAMPLES, MOST_OF_ALL = 1.0, 0.5
# The relative error of the logarithm of the width, and the most steps to it.
_TOL, _MOST_STEPS = 1e-14, 200
# Leaving out a smaller part of the attention of a query does not change its width.
_NEGLIGIBLE = 1e-14


def can_widen(kernel: Kernel) -> bool:
    """Whether there is a width for every query: for kernels exp(-rate u^power), which are positive everywhere."""
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
    """Whether a query is isolated once a part of its attention is left out, so that its width is another one: bool.

    The array `attention` has the parts, each of which is left out alone; `log_samples` is log M with all of them.
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
    """The widths of some isolated queries, by Newton's method for log M as a function of t = log s^power.

    With K = exp(-rate u^power) and v_j = rate u_j^power, M = sum_j w_j exp(-v_j exp(-t)), which grows with t. A step
    that leaves the bracket of the root is replaced by a bisection.
    """
    form = request.form
    v = -form.log_profile(dense.squared_distances(request, rows))
    weights = np.broadcast_to(request.weights * unit, v.shape).copy()
    weights[request.left_out_entries(rows)] = 0.0
    total = weights.sum(axis=1)
    least = np.minimum(LEAST_SAMPLES, MOST_OF_ALL * total)
    v = np.where(weights > 0, v, 0.0)
    # at the upper end every K is at least `least` / `total`
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
