"""Kriging with all samples as neighbours: predictions, signed weights, leave-one-out and intervals in closed form.

With G = a kappa + noise diag(1 / omega) and the trend F, and of a query x the covariances g with the keys and trend f,

    B = G^-1 - G^-1 F (F'G^-1 F)^-1 F'G^-1,   P = (F'G^-1 F)^-1 F'G^-1,   alpha = B y,   beta = P y,
    f(x) = f'beta + g'alpha = c'y,            c = B g + P'f,
    var(x) = a + noise - g'B g - 2 f'P g + f'(F'G^-1 F)^-1 f,
    y_S - f_-S(x_S) = r_S = B_SS^-1 alpha_S,  f_-S(x) = f(x) - c_S'r_S                        (Dubrule 1983)

for the samples S left out, the parameters as they are. Queries are standardised columns, (m, c), values standardised
targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve, pinvh
from sklearn.utils import gen_batches

from sknw._kriging.covariance import KrigingModel, Points
from sknw._kriging.likelihood import factorise, inverse
from sknw._predictive.calibration import jackknife_plus
from sknw._smoothing.validation import Tests, Validation

# A batch of queries has at most this many numbers for each of a few arrays.
_BATCH = 2**22


@dataclass(frozen=True, eq=False)
class ExactKriging:
    """The solution of all samples."""

    model: KrigingModel
    columns: np.ndarray  # standardised, of the samples, (n, c)
    values: np.ndarray  # standardised, (n, k)
    weight: np.ndarray  # omega, (n,)
    B: np.ndarray  # (n, n)
    P: np.ndarray  # (q, n)
    trend_covariance: np.ndarray  # (F'G^-1 F)^-1, (q, q)

    n_neighbors = None

    @classmethod
    def of(
        cls, model: KrigingModel, columns: np.ndarray, values: np.ndarray, weight: np.ndarray, n_threads: int
    ) -> ExactKriging:
        """Solve for samples of standardised columns (n, c), values (n, k) and weights (n,)."""
        points, F = model.covariance.points(columns), model.trend(columns)
        kappa = model.covariance.within(points, n_threads)
        B = inverse(factorise(kappa, model.amplitude, model.noise_variances(weight)))
        del kappa
        BF = B @ F
        trend_covariance = pinvh(F.T @ BF)
        P = trend_covariance @ BF.T
        B -= BF @ P
        return cls(model, columns, values, weight, B, P, trend_covariance)

    def __len__(self) -> int:
        return len(self.columns)

    @cached_property
    def points(self) -> Points:
        """The samples as the loops of the covariance want them."""
        return self.model.covariance.points(self.columns)

    @cached_property
    def alpha(self) -> np.ndarray:
        """The learned values, (n, k)."""
        return self.B @ self.values

    @cached_property
    def beta(self) -> np.ndarray:
        """The coefficients of the trend, (q, k)."""
        return self.P @ self.values

    def batches(self, n_queries: int, n_numbers: int = 1) -> Iterator[slice]:
        """Slices of the queries, each of which has `n_numbers` (n,) in a batch."""
        return gen_batches(n_queries, max(_BATCH // (len(self) * n_numbers), 1))

    def _covariances(self, queries: np.ndarray, n_threads: int) -> np.ndarray:
        """g of each query, (m, n)."""
        covariance = self.model.covariance
        return self.model.amplitude * covariance.between(covariance.points(queries), self.points, n_threads)

    def predict(self, queries: np.ndarray, n_threads: int) -> np.ndarray:
        """Predictions f'beta + g'alpha (m, k), not clamped."""
        found = self.model.trend(queries) @ self.beta
        for batch in self.batches(len(queries)):
            found[batch] += self._covariances(queries[batch], n_threads) @ self.alpha
        return found

    def predict_with_variance(self, queries: np.ndarray, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (m, k), and the variance (m,) of a new observation of weight 1."""
        F = self.model.trend(queries)
        found, variance = F @ self.beta, np.einsum("mq,qr,mr->m", F, self.trend_covariance, F)
        for batch in self.batches(len(queries), 2):
            g = self._covariances(queries[batch], n_threads)
            found[batch] += g @ self.alpha
            variance[batch] -= np.einsum("mn,mn->m", g @ self.B, g)
            variance[batch] -= 2.0 * np.einsum("mq,mq->m", F[batch], g @ self.P.T)
        return found, np.maximum(variance + self.model.amplitude, 0.0) + self.model.noise

    def covariance(self, queries: np.ndarray, n_threads: int) -> np.ndarray:
        """The covariances (m, m) of the process at the queries, given the samples, without noise."""
        F, g = self.model.trend(queries), self._covariances(queries, n_threads)
        within = self.model.covariance.within(self.model.covariance.points(queries), n_threads)
        cross = F @ (self.P @ g.T)
        return self.model.amplitude * within - g @ self.B @ g.T - cross - cross.T + F @ self.trend_covariance @ F.T

    def weights(self, queries: np.ndarray, n_threads: int) -> np.ndarray:
        """The signed weights c = B g + P'f (m, n) of the samples, whose rows sum to 1."""
        weights = self._covariances(queries, n_threads) @ self.B
        weights += self.model.trend(queries) @ self.P
        return weights

    def gradient(self, queries: np.ndarray, n_threads: int) -> np.ndarray:
        """Derivatives (m, k, c) of the predictions in the columns of the queries; NaN at a kink or cusp."""
        found = np.empty((len(queries), self.values.shape[1], queries.shape[1]))
        for batch in self.batches(len(queries), 4):
            kappa = self._covariances(queries[batch], n_threads)
            found[batch] = self.model.covariance.derivative(queries[batch], self.columns, kappa, self.alpha)
        return found + (self.model.directions @ self.beta[1:]).T

    def left_out(self, validation: Validation, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """The residuals r (p, k) of left-out predictions of samples, and their variances (p,), diag(B_SS^-1).

        NaN where what is left does not determine a prediction.
        """
        rows = validation.rows
        if validation.leaves_one_out:
            return self._single(rows)
        residuals, variances = np.empty((len(rows), self.values.shape[1])), np.empty(len(rows))
        for samples, tests in _deletions(validation.parts, len(self)):
            at = np.searchsorted(samples, rows[tests])
            B_inverse = _inverse_of_part(self.B[np.ix_(samples, samples)])
            residuals[tests] = B_inverse[at] @ self.alpha[samples]
            variances[tests] = np.diag(B_inverse)[at]
        return residuals, variances

    def _single(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """r_i = alpha_i / B_ii and 1 / B_ii."""
        diagonal = np.diag(self.B)[rows]
        # the others do not determine the trend where B_ii = 0, but for rounding
        is_determined = diagonal * (self.model.amplitude + self.model.noise_variances(self.weight)[rows]) > 1e-10
        variances = 1.0 / np.where(is_determined, diagonal, np.nan)
        return self.alpha[rows] * variances[:, np.newaxis], variances

    def predict_without(self, queries: np.ndarray, tests: Tests) -> np.ndarray:
        """f(x) - c_S'r_S (p, k) of queries (p, c) that are no samples."""
        found, c = self.predict(queries, 1), self.weights(queries, 1)
        for samples, some in _deletions((tests,), len(self)):
            found[some] -= c[np.ix_(some, samples)] @ self._residuals_without(samples)
        return found

    def _residuals_without(self, samples: np.ndarray) -> np.ndarray:
        """r_S = B_SS^-1 alpha_S."""
        return _inverse_of_part(self.B[np.ix_(samples, samples)]) @ self.alpha[samples]

    def interval(
        self, queries: np.ndarray, validation: Validation, residuals: np.ndarray, coverage: float, n_threads: int
    ) -> np.ndarray:
        """Bounds (m, k, 2): order statistics of f_-S(i)(x) - |r_i| and f_-S(i)(x) + |r_i| over the predictions i."""
        p, k = residuals.shape
        known = np.isfinite(residuals).all(axis=1)
        rows = validation.rows
        counts, radius = self.weight[rows][known], np.abs(residuals[known])
        bounds = np.empty((len(queries), k, 2))
        parts = None
        if not validation.leaves_one_out:
            parts = [(S, tests, self._residuals_without(S)) for S, tests in _deletions(validation.parts, len(self))]
        for batch in self.batches(len(queries), 3 * k + 1):
            c, shift = self.weights(queries[batch], n_threads), np.zeros((len(queries[batch]), p, k))
            if parts is None:
                shift = c[:, rows, np.newaxis] * residuals
            else:
                for samples, tests, r in parts:
                    shift[:, tests] = (c[:, samples] @ r)[:, np.newaxis]
            means = (c @ self.values)[:, np.newaxis] - shift[:, known]
            for i, without in enumerate(means, batch.start):
                bounds[i] = jackknife_plus(without, radius, counts, coverage)
        return bounds


def _deletions(parts: tuple[Tests, ...], n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The sets of samples that are left out together, ascending, and the predictions for which they are."""
    first = 0
    for tests in parts:
        of_part = np.arange(first, first + len(tests))
        first += len(tests)
        if tests.keys is not None:
            yield np.setdiff1d(np.arange(n), tests.keys, assume_unique=True), of_part
            continue
        ranges = np.column_stack([tests.leave_out.first, tests.leave_out.last])
        distinct, of_test = np.unique(ranges, axis=0, return_inverse=True)
        in_order = np.argsort(of_test.ravel(), kind="stable")
        ends = np.cumsum(np.bincount(of_test.ravel(), minlength=len(distinct)))
        for (begin, end), some in zip(distinct, np.split(in_order, ends[:-1]), strict=True):
            yield np.arange(begin, end), of_part[some]


def _inverse_of_part(B_SS: np.ndarray) -> np.ndarray:
    """B_SS^-1; where the samples that are left do not determine the trend, the least solution."""
    scale = np.sqrt(np.maximum(np.diag(B_SS), np.finfo(np.float64).tiny))
    correlation = B_SS / np.outer(scale, scale)
    try:
        found = cho_solve(cho_factor(correlation), np.eye(len(B_SS)))
        if np.abs(found).max(initial=0.0) > 1e12:
            raise np.linalg.LinAlgError
    except np.linalg.LinAlgError:
        found = pinvh(correlation, rtol=1e-10)
    return found / np.outer(scale, scale)
