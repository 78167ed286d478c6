"""A fitted kriging model, and what is asked of it: predictions with their errors, and the distribution of these.

A new observation at x is f(x) + s(x) e, s its standard deviation, with e distributed as the left-out residuals of the
samples in units of theirs, e_i = r_i / s_i, with the sample weights. Queries are standardised columns (m, c), and all
values are standardised targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtri

from sknw._kriging.exact import ExactKriging
from sknw._kriging.neighbours import LocalKriging
from sknw._smoothing.features import FeatureMap
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import LeaveOutRule, Validation

# Of sums of weights, relative to them.
_ROUNDING = 1e-12

# Both have the same methods.
Kriging = ExactKriging | LocalKriging


@dataclass(frozen=True, eq=False)
class FittedKriging:
    """A training set, the solution of kriging made of it, and its left-out residuals."""

    training: TrainingSet
    solution: Kriging
    rule: LeaveOutRule  # who was predicted without whom
    validation: Validation  # all left-out predictions that the rule asks for
    residuals: np.ndarray  # theirs, NaN where there is none, (p, k)
    variances: np.ndarray  # of these, (p,)

    @property
    def features(self) -> FeatureMap:
        """The columns that the features become."""
        return self.training.features

    @cached_property
    def varies(self) -> np.ndarray:
        """Which outputs are not constant: (k,). A constant one has no errors."""
        return np.any(self.training.values != 0, axis=0)

    @cached_property
    def errors(self) -> tuple[np.ndarray, np.ndarray]:
        """The errors e_i of the left-out predictions that there are, (p, k), and their weights (p,)."""
        known = np.isfinite(self.variances)
        errors = self.residuals[known] / np.sqrt(self.variances[known])[:, np.newaxis]
        return errors, self.training.sample_weight[self.validation.rows[known]]

    @cached_property
    def ranked_errors(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each output the errors, ascending, (p,), and the sums of the weights of the first 0, 1, ..., (p + 1,)."""
        (errors, weights), ranked = self.errors, []
        for column in errors.T if len(errors) else ():
            order = np.argsort(column, kind="stable")
            ranked.append((column[order], np.append(0.0, np.cumsum(weights[order]))))
        return ranked

    def clamp(self, predictions: np.ndarray) -> np.ndarray:
        """Predictions (..., k) in the range of the targets."""
        return np.clip(predictions, self.training.values.min(axis=0), self.training.values.max(axis=0))

    def predict_with_std(self, queries: np.ndarray, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """Clamped predictions, and standard deviations of a new observation: (m, k) each."""
        mean, variance = self.solution.predict_with_variance(queries, n_threads)
        return self.clamp(mean), np.sqrt(variance)[:, np.newaxis] * self.varies

    def quantiles(self, queries: np.ndarray, levels: np.ndarray, n_threads: int) -> np.ndarray:
        """Quantiles (m, k, q) of a new observation at levels (q,); NaN without errors."""
        mean, std = self.predict_with_std(queries, n_threads)
        of_levels = np.full((mean.shape[1], len(levels)), np.nan)
        for output, (errors, cumulated) in enumerate(self.ranked_errors):
            # sums of weights are as large as the level up to rounding
            at = np.searchsorted(cumulated[1:], levels * cumulated[-1] * (1.0 - _ROUNDING))
            of_levels[output] = errors[np.minimum(at, len(errors) - 1)]
        return mean[:, :, np.newaxis] + std[:, :, np.newaxis] * of_levels

    def probabilities(self, queries: np.ndarray, thresholds: np.ndarray, n_threads: int) -> np.ndarray:
        """Probabilities (m, k, t) that a new observation is at most a threshold, in units of y; NaN without errors."""
        mean, std = self.predict_with_std(queries, n_threads)
        training, found = self.training, np.full(thresholds.shape, np.nan)
        for output, (errors, cumulated) in enumerate(self.ranked_errors):
            for i, values in enumerate(thresholds[:, output]):
                observations = mean[i, output] + std[i, output] * errors
                observations = training.y_center[output] + training.y_scales[output] * observations
                found[i, output] = cumulated[np.searchsorted(observations, values, side="right")] / cumulated[-1]
        return found

    def draw(self, queries: np.ndarray, n_samples: int, rng: np.random.RandomState, n_threads: int) -> np.ndarray:
        """New observations (m, k, n_samples), the errors of all outputs from one sample; NaN without errors."""
        mean, std = self.predict_with_std(queries, n_threads)
        errors, weights = self.errors
        if not len(errors):
            errors, weights = np.full((1, mean.shape[1]), np.nan), np.ones(1)
        cumulated = np.cumsum(weights)
        uniform = rng.random_sample((len(mean), n_samples)) * cumulated[-1]
        drawn = errors[np.minimum(np.searchsorted(cumulated, uniform, side="right"), len(errors) - 1)]
        return mean[:, :, np.newaxis] + std[:, :, np.newaxis] * np.moveaxis(drawn, 1, 2)

    def mean_band(
        self, queries: np.ndarray, coverage: float, n_draws: int, rng: np.random.RandomState | None, n_threads: int
    ) -> np.ndarray:
        """Bounds (m, k, 2) of f, not clamped; of all queries at once by `n_draws` with `rng`, of each one without."""
        mean, variance = self.solution.predict_with_variance(queries, n_threads)
        std = np.sqrt(np.maximum(variance - self.solution.model.noise, 0.0))
        factor = ndtri(0.5 + 0.5 * coverage)
        if rng is not None:
            eigenvalues, vectors = np.linalg.eigh(self.solution.covariance(queries, n_threads))
            normal = rng.standard_normal((n_draws, len(mean)))
            draws = normal * np.sqrt(np.maximum(eigenvalues, 0.0)) @ vectors.T
            ratios = np.divide(np.abs(draws), std, out=np.zeros_like(draws), where=std > 0)
            factor = np.quantile(ratios.max(axis=1), coverage, method="higher")
        half = factor * std[:, np.newaxis] * self.varies
        return np.stack([mean - half, mean + half], axis=-1)


def keep_largest(weights: np.ndarray, top_k: int | None) -> np.ndarray:
    """The `top_k` weights (m, n) of each query that are largest by absolute value, 0 for the others; None keeps all."""
    if top_k is None or top_k >= weights.shape[1]:
        return weights
    largest = np.argsort(-np.abs(weights), axis=1, kind="stable")[:, :top_k]
    kept = np.zeros_like(weights)
    np.put_along_axis(kept, largest, np.take_along_axis(weights, largest, axis=1), axis=1)
    return kept
