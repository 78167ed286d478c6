"""The levels of amplitude and noise of kriging at given scales and powers.

Both enter the likelihood by their ratio r = noise / a, G = a R with R = kappa + r diag(1 / omega): with r fixed,

    L(a) = (s / a + N log a + k log|R| + k log|F'R^-1 F|) / 2,   s = sum over outputs of y'B y at a = 1,

N = k (n - q), and L with the prior is convex in log a. A search along log r is left, one factorisation a step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import qr, solve_triangular
from scipy.optimize import brentq, minimize_scalar

from sknw._kriging import likelihood as prior
from sknw._kriging.covariance import KrigingModel
from sknw._kriging.likelihood import Likelihood, factorise

# The search ends at this relative error of log r.
_TOL = 1e-2
_LOG_AMPLITUDES, _LOG_NOISES = np.log(prior.AMPLITUDE_BOUNDS), np.log(prior.NOISE_BOUNDS)


def find_levels(likelihood: Likelihood, model: KrigingModel, learns_noise: bool) -> KrigingModel:
    """The model with the amplitude, and the noise if it is learned, that maximise likelihood times prior."""
    levels = _Levels(likelihood, model, learns_noise)
    if model.noise == 0 and not learns_noise:
        return replace(model, amplitude=float(np.exp(levels.minimum(-np.inf)[1])))
    noises = _LOG_NOISES if learns_noise else np.log([model.noise, model.noise])
    least, most = noises[0] - _LOG_AMPLITUDES[1], noises[1] - _LOG_AMPLITUDES[0]

    def of_ratio(log_r: float) -> float:
        return levels.minimum(float(np.clip(log_r, least, most)))[0]

    start = np.log(model.noise / model.amplitude)
    found = minimize_scalar(of_ratio, bracket=(start, start + 0.5), method="brent", options={"xtol": _TOL})
    log_r = float(np.clip(found.x, least, most))
    amplitude = float(np.exp(levels.minimum(log_r)[1]))
    return replace(model, amplitude=amplitude, noise=amplitude * float(np.exp(log_r)) if learns_noise else model.noise)


@dataclass(frozen=True, eq=False)
class _Levels:
    """L with the prior as a function of the ratio r and the amplitude, at the scales and powers of a model."""

    likelihood: Likelihood
    model: KrigingModel
    learns_noise: bool

    @cached_property
    def kappa(self) -> np.ndarray:
        covariance = self.model.covariance
        return covariance.within(covariance.points(self.likelihood.columns), self.likelihood.n_threads)

    @cached_property
    def n_free(self) -> int:
        """N, of residuals."""
        n, k = self.likelihood.values.shape
        return k * (n - self.likelihood.basis.shape[1])

    def minimum(self, log_r: float) -> tuple[float, float]:
        """The smallest L with the prior at a ratio, and the log amplitude there."""
        squares, log_det = self._parts(log_r)
        if self.learns_noise or self.model.noise == 0:
            log_a = self._best_amplitude(log_r, squares)
        else:
            log_a = float(np.clip(np.log(self.model.noise) - log_r, *_LOG_AMPLITUDES))
        value = 0.5 * (squares * np.exp(-log_a) + self.n_free * log_a + log_det)
        value += 0.5 * (log_a / prior.AMPLITUDE_SD) ** 2
        if self.learns_noise:
            value += 0.5 * ((log_a + log_r - np.log(prior.START_NOISE)) / prior.NOISE_SD) ** 2
        return value, log_a

    def _parts(self, log_r: float) -> tuple[float, float]:
        """s, and k (log|R| + log|F'R^-1 F|)."""
        likelihood, q = self.likelihood, self.likelihood.basis.shape[1]
        ratio = replace(self.model, amplitude=1.0, noise=np.exp(log_r))
        L = factorise(self.kappa, 1.0, ratio.noise_variances(likelihood.weight))
        half = solve_triangular(L, np.hstack([likelihood.basis, likelihood.values]), lower=True, overwrite_b=True)
        Q, R = qr(half[:, :q], mode="economic")
        y = half[:, q:]
        y -= Q @ (Q.T @ y)
        log_det = 2.0 * (np.log(np.diag(L)).sum() + np.log(np.abs(np.diag(R))).sum())
        return float(np.vdot(y, y)), likelihood.values.shape[1] * log_det

    def _best_amplitude(self, log_r: float, squares: float) -> float:
        """The log amplitude that minimises, the root of the derivative."""
        low, high = _LOG_AMPLITUDES
        if self.learns_noise:
            low, high = max(low, _LOG_NOISES[0] - log_r), min(high, _LOG_NOISES[1] - log_r)

        def slope(log_a: float) -> float:
            by_noise = (log_a + log_r - np.log(prior.START_NOISE)) / prior.NOISE_SD**2 if self.learns_noise else 0.0
            return 0.5 * (self.n_free - squares * np.exp(-log_a)) + log_a / prior.AMPLITUDE_SD**2 + by_noise

        if slope(low) >= 0:
            return low
        return high if slope(high) <= 0 else brentq(slope, low, high, xtol=1e-12)
