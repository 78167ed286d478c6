"""The leave-one-out loss as a function of the metric, with its gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sknw._kernel_sums.metric_gradient import WeightCotangent, metric_gradient
from sknw._kernel_sums.registry import kernel_sums
from sknw._smoothing.smoother import LOSS_IN_SEARCH, LocalLinearSpec, Queries, Smoother, coordinates
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.unsupported import UnsupportedPolicy

# Starts besides the scalar optimum: every w, every ridge.
START_W, START_RIDGE = (0.3, 1.0), 0.1


@dataclass(frozen=True, eq=False)
class Loss:
    """The leave-one-out loss as a function of W, (d,) or (d, r), and of the ridge.

    Attributes
    ----------
    smoother : Smoother
        Of the training set with standardised inputs, its keys; w, keys and ridge are replaced.
    training : TrainingSet
    rows : ndarray of int
        The rows it is averaged over.
    """

    smoother: Smoother
    training: TrainingSet
    rows: np.ndarray

    @property
    def x(self) -> np.ndarray:
        """Standardised inputs (n, d)."""
        return self.smoother.keys

    @property
    def sample_weight(self) -> np.ndarray:
        return self.training.sample_weight

    def __call__(self, w: np.ndarray, ridge: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The loss, its derivatives in w and in log ridge (d,)."""
        smoother, weights = self._at(w, ridge), self.sample_weight[self.rows]
        d = self.x.shape[1]
        loss, s, ridge_gradient = 0.0, np.zeros((d, d)), np.zeros(d)
        for part in smoother.batches(len(self.rows)):
            rows = self.rows[part]
            queries = smoother.left_out(rows, weights[part])
            pooled = _Means(smoother, queries) if smoother.line is None else _Lines(smoother, queries, ridge)
            residuals = smoother.values[rows] - pooled.values
            share = weights[part] / (weights.sum() * residuals.shape[1])
            loss += float(share @ (residuals**2).sum(axis=1))
            g = -2.0 * share[:, np.newaxis] * residuals  # dL / dm
            g[pooled.unsupported] = 0.0  # what a query without support gets does not change with w
            pull, ridge_part = pooled.pull(g)
            s += metric_gradient(smoother.value_request(queries), self.x[rows], self.x, pull, smoother.algorithm)
            ridge_gradient += ridge_part
        return loss, 2.0 * (np.diagonal(s) * w if w.ndim == 1 else s @ w), ridge_gradient

    def slopes(self, rows: np.ndarray, learned: MetricFit) -> np.ndarray:
        """The slopes of leave-one-out local lines at some rows: (len(rows), d, k)."""
        ridge = np.maximum(learned.ridge, START_RIDGE)
        line = LocalLinearSpec(self.x, np.ones(self.x.shape[1]), START_RIDGE)
        smoother = self._at(learned.w, ridge).with_line(line)
        return _Lines(smoother, smoother.left_out(rows, self.sample_weight[rows]), ridge).slope

    def _at(self, w: np.ndarray, ridge: np.ndarray) -> Smoother:
        # z as predictions compute it: whether a key is in a compact support may hang by a rounding
        w = self.training.in_units_of_x(w)
        keys = coordinates(self.training.X, self.training.center, w)
        smoother = self.smoother.with_metric(w, keys)
        # the least ridge decides where digits are lost
        return smoother if smoother.line is None else smoother.with_ridge(float(ridge.min()))


class _Means:
    """Weighted means at some queries: values (m, k), unsupported (m,)."""

    def __init__(self, smoother: Smoother, queries: Queries):
        request = smoother.request(queries)
        sums = kernel_sums(request, smoother.algorithm)
        self.log_mass, self.d = sums.log_mass()[0], smoother.center.size
        means, unsupported = sums.into_means()
        self.values = UnsupportedPolicy(smoother.policy, request).put(means, unsupported)[0]
        self.unsupported = unsupported[0]

    def pull(self, g: np.ndarray) -> tuple[WeightCotangent, np.ndarray]:
        """g'(y_j - m_i), and 0, the derivative in the ridge, which is not used."""
        nothing = np.zeros((len(g), self.d))
        p = np.column_stack([np.ones(len(g)), nothing])
        e = np.column_stack([np.einsum("ik,ik->i", g, self.values), nothing])
        return WeightCotangent(p, g, e, np.zeros(len(g)), self.log_mass), np.zeros(self.d)


class _Lines:
    """Local lines at some queries: values (m, k), unsupported (m,)."""

    def __init__(self, smoother: Smoother, queries: Queries, ridge: np.ndarray):
        self.moments, unsupported = smoother.local_moments(queries, largest_loss=LOSS_IN_SEARCH)
        self.ridge = ridge
        self.u, self.slope = (array[0] for array in self.moments.equivalent_kernel_and_slope(queries.x, self.ridge))
        values = self.moments.y_mean + np.einsum("id,bidk->bik", self.u, self.moments.xy)
        self.values = UnsupportedPolicy(smoother.policy, smoother.value_request(queries)).put(values, unsupported)[0]
        self.unsupported = unsupported[0]

    def pull(self, g: np.ndarray) -> tuple[WeightCotangent, np.ndarray]:
        """(1 + u'(x_j - x_mean)) g'(y_j - y_mean - b'(x_j - x_mean)) - u' ridge b g, and dm / d(log ridge) g.

        The latter are -u_k ridge_k (b g)_k.
        """
        x_mean, y_mean = self.moments.x_mean[0], self.moments.y_mean[0]
        slope = np.einsum("idk,ik->id", self.slope, g)
        p = np.column_stack([1.0 - np.einsum("id,id->i", self.u, x_mean), self.u])
        e = np.column_stack([np.einsum("ik,ik->i", g, y_mean) - np.einsum("id,id->i", slope, x_mean), slope])
        along = self.u * self.ridge * slope
        return WeightCotangent(p, g, e, along.sum(axis=1), self.moments.log_mass[0]), -along.sum(axis=0)


@dataclass(frozen=True, eq=False)
class MetricFit:
    """A minimum of the objective.

    Attributes
    ----------
    w : ndarray of shape (d,) or (d, r)
        In units of standardised inputs.
    ridge : ndarray of shape (d,)
    objective : float
    path : list of float
        L at the start and after each iteration.
    converged : bool
    """

    w: np.ndarray
    ridge: np.ndarray
    objective: float
    path: list[float]
    converged: bool
