"""The leave-one-out loss as a function of w and the ridges, with its gradient.

With left-out weights P_ij = K(u_ij^2) w_j / D_i, u_ij^2 = ||(x_i - x_j) W||^2, and values m_i pooled with them,

    L(W, ridge) = sum_i w_i l(y_i, m_i) / sum_i w_i,

l the loss of `datafit`: the square of y_i - m_i averaged over outputs, or the log loss. Its derivative in W is 2 S W, S
the scatter matrix of `_kernel_sums.metric_gradient` for g_i = dL / dm_i (metric learning for kernel regression:
Weinberger & Tesauro 2007; here also for local lines, other kernels, weights and losses).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from sknw._kernel_sums.metric_gradient import WeightCotangent, metric_diagonal, metric_gradient, metric_rows
from sknw._kernel_sums.registry import kernel_sums
from sknw._metric.means import MeansWithMoments, pool_with_moments, takes_moments
from sknw._smoothing.datafit import Datafit, SquaredError
from sknw._smoothing.local_linear import LocalLinearSpec
from sknw._smoothing.smoother import LeftOutBatch, Queries, Smoother
from sknw._smoothing.training import TrainingSet, take_rows
from sknw._smoothing.unsupported import UnsupportedPolicy
from sknw._smoothing.validation import Validation


@dataclass(frozen=True, eq=False)
class Loss:
    """The loss L of left-out predictions as a function of w, (d,) or (d, r), and ridge (d,), of standardised features.

    The keys of `smoother` are the standardised inputs; for each w its w, keys and ridge are replaced.
    """

    smoother: Smoother
    training: TrainingSet
    validation: Validation
    datafit: Datafit = field(default_factory=SquaredError)

    @property
    def x(self) -> np.ndarray:
        """Standardised inputs, the columns of all features: (n, c)."""
        return self.smoother.keys

    def __call__(self, w: np.ndarray, ridge: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """L, and its derivatives in w and in the ridges (d,)."""
        whole, all_rows = self.smoother_at(w, ridge), self.validation.rows
        weights, features = self.training.sample_weight[all_rows], self.training.features
        c, ridge_of_columns = self.x.shape[1], features.repeat(ridge)
        has_slope = np.isfinite(ridge_of_columns)
        ridge_of_columns = ridge_of_columns[has_slope]
        used = np.ones(c, dtype=bool)
        if w.ndim == 1 and whole.line is not None:
            used = has_slope | (features.repeat(w) != 0)
        x_used = self.x if used.all() else self.x[:, used]
        by_w, by_ridge = np.zeros(c if w.ndim == 1 else w.shape), np.zeros(c)
        pooled_batches: Iterable[tuple[LeftOutBatch, Pooled | MeansWithMoments]]
        pooled_batches = self._means(whole) if takes_moments(whole) else self._pooled(whole, ridge_of_columns)
        datafit = self.datafit
        if datafit.has_parameters:  # which all predictions determine
            pooled_batches = list(pooled_batches)
            predictions = np.concatenate([of_batch.values for _, of_batch in pooled_batches])
            datafit = datafit.fit(whole.values[all_rows], predictions, weights)
        loss = datafit.constant
        for (batch, smoother, queries, keys), pooled in pooled_batches:
            rows = all_rows[batch]
            values, relative = whole.values[rows], weights[batch] / weights.sum()
            loss += float(relative @ datafit.losses(values, pooled.values))
            g = relative[:, np.newaxis] * datafit.derivatives(values, pooled.values)
            if isinstance(pooled, MeansWithMoments):
                by_w += pooled.by_squares(g)
                continue
            cotangent, batch_by_ridge = pooled.vjp(g)
            if not cotangent.is_of_means and not has_slope.all():
                cotangent = cotangent.among(has_slope[used])
            request = smoother.value_request(queries)
            x = x_used if keys is None else x_used[keys]
            of_batch = request, take_rows(x_used, rows), x, cotangent, smoother.algorithm
            if w.ndim == 1:
                by_w[used] += metric_diagonal(*of_batch)
            else:
                by_w += metric_gradient(*of_batch, w)
            if batch_by_ridge.size:  # weighted means have none
                by_ridge[has_slope] += batch_by_ridge.sum(axis=0)
        if w.ndim == 1:
            by_w = features.sum(by_w) * w
        return loss, 2.0 * by_w, features.sum(by_ridge)

    def roots(self, w: np.ndarray, ridge: np.ndarray) -> tuple[np.ndarray, Callable[[], tuple[np.ndarray, np.ndarray]]]:
        """The roots r_i = sqrt(l_i) of the losses of local lines (m,), and what returns their derivatives.

        L = sum_i w_i r_i^2 / sum_i w_i is a sum of squares. The derivatives in w (d,) and in the ridges are (m, d).
        """
        whole, rows, features = self.smoother_at(w, ridge), self.validation.rows, self.training.features
        ridge_of_columns, in_metric = features.repeat(ridge), features.repeat(w) != 0
        has_slope = np.isfinite(ridge_of_columns)
        pooled_batches = list(self._pooled(whole, ridge_of_columns[has_slope]))
        values, predictions = whole.values[rows], np.concatenate([pooled.values for _, pooled in pooled_batches])
        roots = np.sqrt(self.datafit.losses(values, predictions))

        def derivatives() -> tuple[np.ndarray, np.ndarray]:
            by_w, by_ridge = np.zeros((2, len(rows), len(has_slope)))
            by_prediction, twice = self.datafit.derivatives(values, predictions), 2.0 * roots[:, np.newaxis]
            g = np.divide(by_prediction, twice, out=np.zeros_like(by_prediction), where=twice > 0)
            used = has_slope | in_metric
            x, some, has_slope_of_used = self.x[:, used], in_metric[used], has_slope[used]
            for (batch, smoother, queries, keys), pooled in pooled_batches:
                cotangent, by_ridge[batch, has_slope] = pooled.vjp(g[batch])
                request, of_keys = smoother.value_request(queries), x if keys is None else x[keys]
                of_batch = x[rows[batch]], of_keys, cotangent.among(has_slope_of_used), some, smoother.algorithm
                by_w[batch, in_metric] = metric_rows(request, *of_batch)
            return 2.0 * features.sum(by_w) * w, features.sum(by_ridge)

        return roots, derivatives

    def _means(self, whole: Smoother) -> Iterator[tuple[LeftOutBatch, MeansWithMoments]]:
        """The left-out weighted means of each batch of rows, with what their derivatives take."""
        for batch in whole.left_out(self.validation):
            key_x = self.x if batch.keys is None else self.x[batch.keys]
            query_x = take_rows(self.x, self.validation.rows[batch.where])
            yield batch, pool_with_moments(batch.smoother, batch.queries, query_x, key_x)

    def _pooled(self, whole: Smoother, ridge: np.ndarray) -> Iterator[tuple[LeftOutBatch, Pooled]]:
        """The left-out predictions of each batch of rows, with the ridges of the columns that have a slope."""
        smoother, ridge_of_inputs, to_columns = along_rows(whole, ridge)
        for batch in smoother.left_out(self.validation):
            pooled = pool_with_vjp(batch.smoother, batch.queries, ridge_of_inputs)
            yield batch, pooled if to_columns is None else pooled.in_columns(to_columns, ridge)

    def value(self, w: np.ndarray, ridge: np.ndarray) -> float:
        """L alone."""
        whole, rows = self.smoother_at(w, ridge), self.validation.rows
        ridge = self.training.features.repeat(ridge)
        predictions = np.concatenate([pooled.values for _, pooled in self._pooled(whole, ridge[np.isfinite(ridge)])])
        values, weights = whole.values[rows], self.training.sample_weight[rows]
        return self.datafit.fit(values, predictions, weights).mean(values, predictions, weights)

    def slopes(self, w: np.ndarray, ridge: float) -> np.ndarray:
        """The slopes of the left-out local lines with one ridge, of shape (m, c, k)."""
        line, ridges = LocalLinearSpec(self.x, np.ones(self.x.shape[1]), 0.0), np.full(self.x.shape[1], ridge)
        whole = replace(self, smoother=self.smoother.with_line(line)).smoother_at(w, np.array(ridge))
        return np.concatenate([pooled.slope for _, pooled in self._pooled(whole, ridges)])

    def smoother_at(self, w: np.ndarray, ridge: np.ndarray) -> Smoother:
        """The smoother with w and ridge, and lines along the features whose ridge is finite."""
        features, smoother = self.training.features, self.smoother
        if smoother.line is not None:
            has_slope = np.isfinite(features.repeat(ridge))
            if not has_slope.all():
                smoother = smoother.with_line(smoother.line.along(has_slope))
            smoother = smoother.with_ridge(float(ridge.min()))  # the smallest ridge decides where digits are lost
        return smoother.in_metric(features.repeat(self.training.in_units_of_x(w)), features.repeat(w))


@dataclass(frozen=True, eq=False)
class Pooled:
    """Values m_i (m, k) pooled at m queries, and what their derivatives take.

    Local lines have m = y_mean + u'cov(x, y) with u = (C + R)^-1 (x_i - x_mean) of shape (m, d), C = cov(x, x) and
    R = diag(ridge), and slopes b = (C + R)^-1 cov(x, y) of shape (m, d, k); weighted means have d = 0.
    `values` of queries without support are those of `outside`; `log_mass` is log D_i.
    """

    values: np.ndarray
    log_mass: np.ndarray
    ridge: np.ndarray
    u: np.ndarray
    slope: np.ndarray
    u_at_mean: np.ndarray  # u'x_mean, (m,)
    slope_at_mean: np.ndarray  # b'x_mean, (m, k)
    y_mean: np.ndarray

    def vjp(self, g: np.ndarray) -> tuple[WeightCotangent, np.ndarray]:
        """The derivatives of sum_i g_i'm_i (vector-Jacobian products) in the weights P, and of each in the ridges.

        d(g_i'm_i) / dP_ij = (1 + u'(x_j - x_mean)) (g'(y_j - y_mean) - g'b'(x_j - x_mean)) - u'R b g
        d(g_i'm_i) / d(ridge_k) = -u_k (b g)_k
        """
        slope = np.einsum("idk,ik->id", self.slope, g)
        p = np.column_stack([1.0 - self.u_at_mean, self.u])
        level = np.einsum("ik,ik->i", g, self.y_mean - self.slope_at_mean)
        shrinkage = self.u * slope
        cotangent = WeightCotangent(p, g, np.column_stack([level, slope]), shrinkage @ self.ridge, self.log_mass)
        return cotangent, -shrinkage

    def in_columns(self, to_columns: np.ndarray, ridge: np.ndarray) -> Pooled:
        """The same for the columns (c,), from that along rows; see `along_rows`."""
        slope = np.einsum("irk,rc->ick", self.slope, to_columns)
        return replace(self, ridge=ridge, u=self.u @ to_columns, slope=slope)


def along_rows(smoother: Smoother, ridge: np.ndarray) -> tuple[Smoother, np.ndarray, np.ndarray | None]:
    """The same lines in fewer inputs than samples, where these are fewer than the columns, which have ridges (c,).

    With Q an orthonormal basis of the rows of X R^-1/2, lines in the inputs X R^-1/2 Q with ridge 1 have slopes b', and
    those in the columns are R^-1/2 Q b'. Returns the smoother, the ridges of its inputs (r,), and (R^-1/2 Q)' of shape
    (r, c), or None where the inputs are the columns. Equal ridges, which may be 0, stay what they are, and R is 1.
    """
    line = smoother.line
    if line is None or len(line.x) >= line.x.shape[1]:
        return smoother, ridge, None
    roots = np.sqrt(ridge) if ridge.min() < ridge.max() else np.ones_like(ridge)
    line = LocalLinearSpec(line.x / roots, roots, float(ridge[0] / roots[0] ** 2)).along_rows()
    assert line.basis is not None
    return smoother.with_line(line), np.full(line.x.shape[1], line.ridge), line.basis.T / roots


def pool_with_vjp(smoother: Smoother, queries: Queries, ridge: np.ndarray) -> Pooled:
    """Weighted means, or local lines with one ridge for each feature (d,), at the queries."""
    if smoother.line is None:
        sums = kernel_sums(smoother.request(queries), smoother.algorithm)
        log_mass, (y_mean, unsupported) = sums.log_mass(), sums.into_means()
        _, m, k = y_mean.shape
        u = x_mean = np.empty((1, m, 0))
        slope, values, ridge = np.empty((1, m, 0, k)), y_mean, ridge[:0]
    else:
        moments, unsupported = smoother.local_moments(queries)
        u, slope = moments.equivalent_kernel_and_slope(queries.x, ridge)
        x_mean, y_mean = moments.x_mean, moments.y_mean
        log_mass = moments.log_samples + smoother.log_at_zero(queries)
        values = y_mean + np.einsum("bid,bidk->bik", u, moments.xy)
    values = UnsupportedPolicy(smoother.policy, smoother.value_request(queries)).put(values, unsupported)
    u_at_mean = np.einsum("id,id->i", u[0], x_mean[0])
    slope_at_mean = np.einsum("id,idk->ik", x_mean[0], slope[0])
    return Pooled(values[0], log_mass[0], ridge, u[0], slope[0], u_at_mean, slope_at_mean, y_mean[0])
