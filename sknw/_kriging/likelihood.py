"""The restricted likelihood of kriging and its gradient.

With G = a kappa + noise diag(1 / omega) and the trend F, minus the logarithm of the restricted likelihood (Patterson &
Thompson 1971), the likelihood of what is orthogonal to F, is up to a constant

    L = sum over outputs of (y'alpha + log|G| + log|F'G^-1 F|) / 2,
    B = G^-1 - G^-1 F (F'G^-1 F)^-1 F'G^-1,   alpha = B y,

and dL = <W, dG> with W = sum over outputs of (B - alpha alpha') / 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas, lapack, solve_triangular

from sknw._kriging.covariance import LEAST_NOISE, KrigingModel, mirror

# Bounds, and the prior N(log(start), sd^2) of logarithms. That of w is exp(-sqrt(d) w), so that w may go to 0.
W_BOUNDS, POWER_BOUNDS, AMPLITUDE_BOUNDS, NOISE_BOUNDS = (1e-3, 20.0), (0.5, 2.0), (1e-4, 1e3), (1e-6, 10.0)
START_POWER, START_AMPLITUDE, START_NOISE = 1.3, 1.0, 0.1
POWER_SD, AMPLITUDE_SD, NOISE_SD = 0.4, 3.0, 2.0
# Diagonals grow by this part, and then by 10 times as much, until a matrix is positive definite.
_JITTER = 8.0 * np.finfo(np.float64).eps


def factorise(kappa: np.ndarray, amplitude: float, noise: np.ndarray) -> np.ndarray:
    """The lower Cholesky factor of G = a kappa + diag(noise), in Fortran order, whose upper triangle means nothing.

    Where rounding keeps G from being positive definite its diagonal grows a little.
    """
    jitter = 0.0
    while True:
        G = np.multiply(kappa.T, amplitude, order="F")  # kappa is symmetric
        G[np.diag_indices_from(G)] += noise
        G[np.diag_indices_from(G)] *= 1.0 + jitter
        L, info = lapack.dpotrf(G, lower=1, clean=0, overwrite_a=1)
        if info == 0:
            return L
        jitter = max(10.0 * jitter, len(G) * _JITTER)


def inverse(L: np.ndarray) -> np.ndarray:
    """(L L')^-1 in C order, in place of the factor."""
    C, _ = lapack.dpotri(L, lower=1, overwrite_c=1)
    mirror(C)
    return C.T


@dataclass(frozen=True, eq=False)
class Likelihood:
    """Minus the logarithm of the restricted likelihood of some samples, a function of the logarithms of parameters."""

    columns: np.ndarray  # (n, c)
    values: np.ndarray  # standardised, without outputs that are constant, (n, k)
    weight: np.ndarray  # omega, (n,)
    basis: np.ndarray  # an orthonormal basis of the span of the trend, (n, q)
    n_threads: int

    @classmethod
    def of(
        cls, columns: np.ndarray, values: np.ndarray, weight: np.ndarray, trend: np.ndarray, n_threads: int
    ) -> Likelihood:
        """Of a trend (n, q) that these samples need not determine."""
        U, s, _ = np.linalg.svd(trend, full_matrices=False)
        basis = U[:, s > 1e-10 * s[0]]
        return cls(columns, values[:, np.any(values != 0, axis=0)], weight, basis, n_threads)

    def evaluate(self, model: KrigingModel) -> tuple[float, np.ndarray, np.ndarray, float, float]:
        """L and its derivatives in log w, log power, log amplitude and log noise."""
        covariance, noise = model.covariance, model.noise_variances(self.weight)
        points = covariance.points(self.columns)
        kappa = covariance.within(points, self.n_threads)
        k, L = self.values.shape[1], factorise(kappa, model.amplitude, noise)
        log_det = 2.0 * np.log(np.diag(L)).sum()
        W = inverse(L)  # G^-1
        half = W @ self.basis
        M = np.linalg.cholesky(self.basis.T @ half)
        half = solve_triangular(M, half.T, lower=True).T  # B = G^-1 - half half'
        alpha = W @ self.values - half @ (half.T @ self.values)
        value = 0.5 * (np.vdot(self.values, alpha) + k * (log_det + 2.0 * np.log(np.diag(M)).sum()))
        U = np.hstack([np.sqrt(0.5 * k) * half, np.sqrt(0.5) * alpha])
        W = blas.dgemm(-1.0, U, U, 0.5 * k, W.T, trans_b=1, overwrite_c=1).T  # k B / 2 - alpha alpha' / 2
        by_noise = float(np.diag(W) @ noise)
        W *= kappa
        W *= model.amplitude
        by_amplitude = float(W.sum())
        if model.noise < LEAST_NOISE * model.amplitude:  # then the noise is a multiple of the amplitude
            by_amplitude, by_noise = by_amplitude + by_noise, 0.0
        return value, *covariance.cotangent(points, W, self.n_threads), by_amplitude, by_noise
