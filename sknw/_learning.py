"""Learning w: the leave-one-out loss of z = x w, its gradient, and the minimisation by L-BFGS-B.

Inputs x are centred and divided by their standard deviations. With leave-one-out weights P_ij = K(u_ij^2) w_j / D_i,
u_ij^2 = ||(x_i - x_j) W||^2, and values m_i pooled with them, the loss is

    L(W, ridge) = sum_i w_i (y_i - m_i)^2 / sum_i w_i + penalty ||W||^2,

averaged over outputs. Its derivative in W is 2 S W, S the scatter matrix of `_sums.scatter` (of metric learning for
kernel regression: Weinberger & Tesauro 2007; here also for local lines and other kernels).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sknw._pooling import Queries, Smoother, weighted_means
from sknw._sums import kernel_sums
from sknw._sums.scatter import Pull, scatter


@dataclass(frozen=True, eq=False)
class Loss:
    """The leave-one-out loss as a function of W, (d,) or (d, r), and of the ridge.

    Attributes
    ----------
    smoother : Smoother
        With the kernel, values and engine; its w, keys and ridge are replaced.
    x : ndarray of shape (n, d)
        Standardised inputs.
    rows : ndarray of int
        The rows it is averaged over.
    sample_weight : ndarray of shape (n,)
        In units of samples.
    penalty : float
    """

    smoother: Smoother
    x: np.ndarray
    rows: np.ndarray
    sample_weight: np.ndarray
    penalty: float

    def __call__(self, w: np.ndarray, ridge: float) -> tuple[float, np.ndarray, float]:
        """The loss, its derivatives in w and in log ridge."""
        smoother, weights = self._at(w, ridge), self.sample_weight[self.rows]
        loss, s, ridge_gradient = self.penalty * float((w**2).sum()), np.zeros((self.x.shape[1],) * 2), 0.0
        for part in smoother.parts(len(self.rows)):
            rows = self.rows[part]
            queries = smoother.left_out(rows, weights[part])
            pooled = _Means(smoother, queries) if smoother.line is None else _Lines(smoother, queries)
            residuals = smoother.values[rows] - pooled.values
            share = weights[part] / (weights.sum() * residuals.shape[1])
            loss += float(share @ (residuals**2).sum(axis=1))
            g = -2.0 * share[:, np.newaxis] * residuals  # dL / dm
            g[pooled.unsupported] = 0.0  # what a query without support gets does not change with w
            pull = pooled.pull(g)
            s += scatter(smoother.problem(queries), self.x[rows], self.x, pull, smoother.algorithm != "dense")
            ridge_gradient -= float(pull.t.sum())
        along = np.diagonal(s) * w if w.ndim == 1 else s @ w
        return loss, 2.0 * along + 2.0 * self.penalty * w, ridge_gradient

    def _at(self, w: np.ndarray, ridge: float) -> Smoother:
        keys = self.x * w if w.ndim == 1 else self.x @ w
        line = self.smoother.line
        return replace(self.smoother, keys=keys, line=None if line is None else replace(line, ridge=ridge))


class _Means:
    """Weighted means at some queries: values (m, k), unsupported (m,)."""

    def __init__(self, smoother: Smoother, queries: Queries):
        problem = smoother.problem(queries)
        means, log_mass, unsupported = weighted_means(kernel_sums(problem, smoother.algorithm))
        self.values, self.unsupported = smoother.with_substitutes(problem, means, unsupported)[0], unsupported[0]
        self.log_mass, self.d = log_mass[0], smoother.center.size

    def pull(self, g: np.ndarray) -> Pull:
        """g'(y_j - m_i)."""
        nothing = np.zeros((len(g), self.d))
        p = np.column_stack([np.ones(len(g)), nothing])
        e = np.column_stack([np.einsum("ik,ik->i", g, self.values), nothing])
        return Pull(p, g, e, np.zeros(len(g)), self.log_mass)


class _Lines:
    """Local lines at some queries: values (m, k), unsupported (m,)."""

    def __init__(self, smoother: Smoother, queries: Queries):
        assert smoother.line is not None
        self.moments, unsupported = smoother.local_moments(queries)
        self.ridge = smoother.line.ridge
        self.u, self.slope = (array[0] for array in self.moments.pull_and_slope(queries.x, self.ridge))
        values = self.moments.y_mean + np.einsum("id,bidk->bik", self.u, self.moments.xy)
        self.values = smoother.with_substitutes(smoother.problem(queries), values, unsupported)[0]
        self.unsupported = unsupported[0]

    def pull(self, g: np.ndarray) -> Pull:
        """(1 + u'(x_j - x_mean)) g'(y_j - y_mean - b'(x_j - x_mean)) - ridge u'b g; the last is -dm / d(log ridge)."""
        x_mean, y_mean = self.moments.x_mean[0], self.moments.y_mean[0]
        slope = np.einsum("idk,ik->id", self.slope, g)
        p = np.column_stack([1.0 - np.einsum("id,id->i", self.u, x_mean), self.u])
        e = np.column_stack([np.einsum("ik,ik->i", g, y_mean) - np.einsum("id,id->i", slope, x_mean), slope])
        return Pull(p, g, e, self.ridge * np.einsum("id,id->i", self.u, slope), self.moments.log_mass[0])
