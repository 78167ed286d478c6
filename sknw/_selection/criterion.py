"""What a bandwidth is evaluations_at by: leave-one-out error, AICc and GCV, with the best ridge of local lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sknw._kernel_sums.registry import kernel_sums
from sknw._selection.ridge_path import Evaluation, RidgePath
from sknw._smoothing.local_linear import LocalFits
from sknw._smoothing.smoother import Queries, Smoother
from sknw._smoothing.training import TrainingSet, take_rows
from sknw._smoothing.unsupported import UnsupportedPolicy

# Runs or boxes of samples that stand for all where the bandwidth is small; a box has so many times as many as all rows.
_N_RUNS, _PLENTY = 4, 3
# Bandwidths are evaluations_at together as long as what is kept of each row fits in this many bytes.
_BATCH_BYTES = 2**27


@dataclass(frozen=True, eq=False)
class Criterion:
    """A criterion as a function of the bandwidth factor.

    Attributes
    ----------
    name : {"loo", "aicc", "gcv"}
    smoother : Smoother
        Of the training set with inputs divided by their standard deviations.
    training : TrainingSet
    rows : ndarray of int
        The rows it is averaged over.
    ridge : float or None
        Of local lines; None takes the best at every bandwidth.
    """

    name: str
    smoother: Smoother
    training: TrainingSet
    rows: np.ndarray
    ridge: float | None = 0.0

    def __call__(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores and numbers of unsupported rows at bandwidth factors given in descending order.

        With residuals r_i (values scaled to variance 1, so that the mean over outputs gives each the same weight)

            loo    mean of r_i^2, y_i predicted from the others
            gcv    mean of r_i^2 / (1 - tr / n)^2
            aicc   log(mean of r_i^2) + (1 + tr / n) / (1 - (tr + 2) / n)

        where tr is the trace of the smoother matrix, for weighted means tr = sum_i K(0) w_i / sum_j K_ij w_j (Craven &
        Wahba 1979; Hurvich, Simonoff & Tsai 1998). Infinite where a score does not exist.
        """
        scores, n_unsupported, _ = zip(*self.evaluations_at(factors, with_predictions=False), strict=True)
        return np.array(scores), np.array(n_unsupported)

    def evaluations_at(self, factors: np.ndarray, with_predictions: bool) -> Iterator[Evaluation]:
        """The same one after the other, perhaps with the predictions."""
        d, k = 0 if self.smoother.line is None else self.training.X.shape[1], self.smoother.values.shape[1]
        size = max(_BATCH_BYTES // (8 * len(self.rows) * (2 * d + d * k + k + 4)), 1)
        for start in range(0, len(factors), size):
            # a list, so that of one batch nothing is held any more that takes memory when the next begins
            yield from [
                curve.evaluations_at(self.ridge, with_predictions)
                for curve in self._curves(factors[start : start + size])
            ]

    def some(self, n_rows: int) -> Criterion:
        """The same on some of its rows, with the samples near them only: far ones do not matter to small bandwidths.

        Of one feature runs of samples, of several boxes around some of them.
        """
        n, d = self.smoother.keys.shape
        if n <= 2 * _N_RUNS * n_rows:
            n_rows = min(n_rows, len(self.rows))
            return replace(self, rows=np.sort(np.random.default_rng(0).choice(self.rows, n_rows, replace=False)))
        first = np.random.default_rng(0).integers(0, n - 2 * n_rows, _N_RUNS)
        is_taken, is_row = np.zeros((2, n), dtype=bool)
        for start in first.tolist():
            if d == 1:
                is_taken[start : start + 2 * n_rows] = True
                is_row[start + n_rows // 2 : start + n_rows + n_rows // 2] = True
            else:
                distance = np.abs(self.smoother.keys - self.smoother.keys[start]).max(axis=1)
                near = np.argpartition(distance, [n_rows // _N_RUNS, _PLENTY * n_rows])
                is_taken[near[: _PLENTY * n_rows]] = True
                is_row[near[: n_rows // _N_RUNS]] = True
        if len(self.rows) < n:
            is_row[np.delete(np.arange(n), self.rows)] = False
        taken = np.flatnonzero(is_taken)
        return self._of_samples(taken, np.flatnonzero(is_row[taken]))

    def thinned(self, n_samples: int, n_rows: int) -> Criterion:
        """The same for random samples and rows among them."""
        rng = np.random.default_rng(0)
        taken = np.sort(rng.choice(len(self.smoother.keys), n_samples, replace=False, shuffle=False))
        return self._of_samples(taken, np.sort(rng.choice(n_samples, n_rows, replace=False)))

    def _of_samples(self, taken: np.ndarray, rows: np.ndarray) -> Criterion:
        """The same for some samples and rows among them."""
        weights = self.training.sample_weight[taken]
        # so few want another engine, and one that is loaded
        algorithm = "dense" if self.smoother.algorithm == "dense" else "auto"
        few = replace(self.smoother.take(taken), algorithm=algorithm)
        return replace(self, smoother=few, training=replace(self.training, sample_weight=weights), rows=rows)

    @cached_property
    def _weights(self) -> np.ndarray:
        """Sample weights of the rows (m,)."""
        return take_rows(self.training.sample_weight, self.rows)

    @cached_property
    def _values(self) -> np.ndarray:
        """Values of the rows (m, k)."""
        return take_rows(self.smoother.values, self.rows)

    @cached_property
    def _queries(self) -> Queries:
        """The rows, without one unit of weight each."""
        return self.smoother.left_out(self.rows, self._weights)

    @cached_property
    def _substitutes(self) -> UnsupportedPolicy:
        """Of the rows; whether others are near does not depend on the bandwidth."""
        return UnsupportedPolicy(self.smoother.policy, self.smoother.value_request(self._queries))

    def best_ridge(self, factor: float) -> float:
        """The ridge with the smallest score at a bandwidth, or the one given."""
        if self.ridge is not None:
            return self.ridge
        return self._curves(np.array([factor]))[0].argmin()

    def degrees_of_freedom(self, factors: np.ndarray, ridge: float) -> np.ndarray:
        """The trace of the smoother matrix at bandwidth factors, estimated from `rows`: (b,)."""
        share_left = np.array([curve.freedom(ridge) for curve in self._curves(factors)])
        return self.training.sample_weight.sum() * (1.0 - share_left)

    def _curves(self, factors: np.ndarray) -> list[RidgePath]:
        """The criterion as a function of the ridge, at each bandwidth."""
        smoother, weights, queries, values = self.smoother, self._weights, self._queries, self._values
        lines, unsupported = self._lines(queries, factors)
        self._substitutes.put(lines.y_mean, unsupported)
        log_unit = np.broadcast_to(0.0, unsupported.shape)
        if self.name != "loo":
            unit = take_rows(smoother.weights, self.rows) * np.minimum(1.0, 1.0 / weights)  # what was left out
            at_zero = smoother.request(queries, factors).weight_at_zero()
            with np.errstate(divide="ignore"):
                log_unit = np.broadcast_to(np.log(unit) + np.log(at_zero), unsupported.shape)
        n = self.training.sample_weight.sum()
        return [
            RidgePath(self.name, lines[i], unsupported[i], values, weights, log_unit[i], n) for i in range(len(factors))
        ]

    def _lines(self, queries: Queries, factors: np.ndarray) -> tuple[LocalFits, np.ndarray]:
        """Local lines around the queries, and which have no support; weighted means as lines without axes."""
        smoother = self.smoother
        if smoother.line is None:
            return self._means(queries, factors)
        parts = [queries[part] for part in smoother.batches(len(queries), len(factors))]
        if self.ridge is None:
            found = [smoother.lines_for_any_ridge(part, factors) for part in parts]
        else:
            smoother = smoother.with_ridge(self.ridge)
            found = [smoother.lines(part, factors) for part in parts]
        lines, unsupported = zip(*found, strict=True)
        return LocalFits.joined(lines), np.concatenate(unsupported, axis=1)

    def _means(self, queries: Queries, factors: np.ndarray) -> tuple[LocalFits, np.ndarray]:
        smoother, shape = self.smoother, (len(factors), len(queries))
        means, unsupported = np.empty((*shape, smoother.values.shape[1])), np.empty(shape, dtype=bool)
        # "loo" needs no logarithm
        log_mass = np.broadcast_to(0.0, shape) if self.name == "loo" else np.empty(shape)
        for part in smoother.batches(len(queries), len(factors)):
            sums = kernel_sums(smoother.request(queries[part], factors), smoother.algorithm)
            if self.name != "loo":
                log_mass[:, part] = sums.log_mass()
            means[:, part], unsupported[:, part] = sums.into_means()
        return LocalFits.of_means(means, log_mass), unsupported

    def in_units_of_y(self, scores: np.ndarray) -> np.ndarray:
        """Scores of one output in its units; several outputs have none in common."""
        if len(self.training.y_scales) > 1:
            return scores
        scale = self.training.y_scales[0]
        with np.errstate(over="ignore", under="ignore"):
            return scores + 2 * np.log(scale) if self.name == "aicc" else scores * scale * scale
