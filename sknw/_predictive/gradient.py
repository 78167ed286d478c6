"""Derivatives of the prediction in the inputs."""

from __future__ import annotations

import numpy as np

from sknw._predictive.quantiles import ForEachBlock
from sknw._smoothing.local_linear import solve
from sknw._smoothing.smoother import Queries, Smoother
from sknw.kernels import ExponentialForm, Kernel


def gradients(smoother: Smoother, queries: Queries, for_each_block: ForEachBlock) -> np.ndarray:
    """Derivatives dm / dx of the predictions in the inputs: of shape (m, k, d).

    With g_j = d log K_j / dx, t_j and e_j as in `_intervals.loo_predictions` and b the slope of the line (0 for means),

        dm / dx = b + sum_j a_j t_j e_j (g_j - sum_l a_l g_l)

    which for the Gaussian kernel and weighted means is w^2 cov_a(x, y).
    """
    found = np.empty((len(queries), smoother.values.shape[1], len(smoother.center)))
    line = smoother.line

    def of_query(i: int, a: np.ndarray) -> np.ndarray:
        seen = np.flatnonzero(a)
        a, difference = a[seen], queries.z[i] - smoother.keys[seen]
        with np.errstate(over="ignore"):
            sq = (difference**2).sum(axis=1)
        falls = 2.0 * _log_derivative(smoother.kernel, sq)[:, np.newaxis] * difference
        falls -= a @ falls
        residuals = smoother.values[seen] - a @ smoother.values[seen]
        slope: np.ndarray | float = 0.0
        pull: np.ndarray | float = 1.0
        if line is not None and np.isfinite(smoother.kernel.log_profile(sq)).any():
            offsets = line.x[seen] - a @ line.x[seen]
            weighted = a[:, np.newaxis] * offsets
            xx = weighted.T @ offsets
            slopes = solve(xx, weighted.T @ residuals, line.ridge)
            residuals = residuals - offsets @ slopes
            pull = 1.0 + offsets @ solve(xx, (queries.x[i] - a @ line.x[seen])[:, np.newaxis], line.ridge)
            slope = slopes.T / line.scales
        by_z = ((a[:, np.newaxis] * pull) * residuals).T @ falls
        return slope + (by_z * smoother.w if smoother.w.ndim == 1 else by_z @ smoother.w.T)

    def block(rows: slice, attention: np.ndarray) -> None:
        for i, a in zip(range(rows.start, rows.stop), attention, strict=True):
            found[i] = np.nan if np.isnan(a[0]) else of_query(i, a)

    for_each_block(block)
    return found


def _log_derivative(kernel: Kernel, sq: np.ndarray) -> np.ndarray:
    """d log K / d(u^2) where K is positive, else 0."""
    if isinstance(kernel.form, ExponentialForm):
        return kernel.log_slope(sq)  # also where K underflows
    weight = kernel.profile(sq)
    return np.divide(kernel.derivative(sq), weight, out=np.zeros_like(sq), where=weight > 0)
