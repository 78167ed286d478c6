"""Selection criteria as functions of the bandwidth: leave-one-out error, AICc and GCV, with the best ridge of lines."""

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

# Small bandwidths are scored on 4 local subsamples: with one feature runs of samples, with several features boxes, each
# of which holds 3 samples for every row of all boxes.
_N_LOCAL, _PER_ROW = 4, 3
# Bandwidths are evaluated together as long as what is kept of each row fits in this many bytes.
_BATCH_BYTES = 2**27


@dataclass(frozen=True, eq=False)
class Criterion:
    """A criterion as a function of the bandwidth factor."""

    name: str  # "loo", "aicc" or "gcv"
    smoother: Smoother  # of the training set with inputs divided by their standard deviations
    training: TrainingSet
    rows: np.ndarray  # the rows that it is averaged over
    ridge: float | None = 0.0  # of local lines; None takes the best one at every bandwidth

    def __call__(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores and numbers of unsupported rows at bandwidth factors given in descending order.

        With residuals r_i (values scaled to variance 1, so that the mean over outputs gives each the same weight)

            loo    mean of r_i^2, y_i predicted from the others
            gcv    mean of r_i^2 / (1 - tr / n)^2
            aicc   log(mean of r_i^2) + (1 + tr / n) / (1 - (tr + 2) / n)

        where tr is the trace of the smoother matrix, for weighted means tr = sum_i K(0) w_i / sum_j K_ij w_j (Craven &
        Wahba 1979; Hurvich, Simonoff & Tsai 1998). Infinite where a score does not exist.
        """
        scores, n_unsupported, _ = zip(*self.evaluate(factors, with_predictions=False), strict=True)
        return np.array(scores), np.array(n_unsupported)

    def evaluate(self, factors: np.ndarray, with_predictions: bool) -> Iterator[Evaluation]:
        """Yield the `Evaluation` at each bandwidth factor, given in descending order."""
        d, k = 0 if self.smoother.line is None else len(self.training.scales), self.smoother.values.shape[1]
        size = max(_BATCH_BYTES // (8 * len(self.rows) * (2 * d + d * k + k + 4)), 1)
        for start in range(0, len(factors), size):
            paths = self._ridge_paths(factors[start : start + size])
            # a list, so that the memory of a batch is free when the next one begins
            yield from [path.evaluate(self.ridge, with_predictions) for path in paths]

    def on_rows(self, n_rows: int) -> Criterion:
        """The same, averaged over random rows among its own."""
        return replace(self, rows=np.sort(np.random.default_rng(0).choice(self.rows, n_rows, replace=False)))

    def local_subsamples(self, n_rows: int) -> Criterion:
        """The same on some rows and the samples near them only: at small bandwidths those far away do not matter.

        With one feature these are runs of consecutive samples, with several boxes around random samples.
        """
        n, d = self.smoother.keys.shape
        if n <= 2 * _N_LOCAL * n_rows:
            return self.on_rows(min(n_rows, len(self.rows)))
        first = np.random.default_rng(0).integers(0, n - 2 * n_rows, _N_LOCAL)
        is_taken, is_row = np.zeros((2, n), dtype=bool)
        for start in first.tolist():
            if d == 1:
                is_taken[start : start + 2 * n_rows] = True
                is_row[start + n_rows // 2 : start + n_rows + n_rows // 2] = True
            else:
                distance = np.abs(self.smoother.keys - self.smoother.keys[start]).max(axis=1)
                near = np.argpartition(distance, [n_rows // _N_LOCAL, _PER_ROW * n_rows])
                is_taken[near[: _PER_ROW * n_rows]] = True
                is_row[near[: n_rows // _N_LOCAL]] = True
        if len(self.rows) < n:
            is_row[np.delete(np.arange(n), self.rows)] = False
        taken = np.flatnonzero(is_taken)
        return self._of_samples(taken, np.flatnonzero(is_row[taken]))

    def subsample(self, n_samples: int, n_rows: int) -> Criterion:
        """The same for random samples and random rows among them."""
        rng = np.random.default_rng(0)
        taken = np.sort(rng.choice(len(self.smoother.keys), n_samples, replace=False, shuffle=False))
        return self._of_samples(taken, np.sort(rng.choice(n_samples, n_rows, replace=False)))

    def _of_samples(self, taken: np.ndarray, rows: np.ndarray) -> Criterion:
        """The same for some samples, and rows among them."""
        # another engine may suit so few samples
        algorithm = "dense" if self.smoother.algorithm == "dense" else "auto"
        few = replace(self.smoother.take(taken), algorithm=algorithm)
        return replace(self, smoother=few, training=self.training.take(taken), rows=rows)

    @cached_property
    def _weights(self) -> np.ndarray:
        """Sample weights of the rows (m,)."""
        return take_rows(self.training.sample_weight, self.rows)

    @cached_property
    def _queries(self) -> Queries:
        """The rows as queries, each without one unit of its weight."""
        return self.smoother.left_out(self.rows, self._weights)

    @cached_property
    def _substitutes(self) -> UnsupportedPolicy:
        """What rows without support get; it does not depend on the bandwidth."""
        return UnsupportedPolicy(self.smoother.policy, self.smoother.value_request(self._queries))

    def best_ridge(self, factor: float) -> float:
        """The ridge with the smallest score at a bandwidth, or the one given."""
        if self.ridge is not None:
            return self.ridge
        return self._ridge_paths(np.array([factor]))[0].argmin()

    def degrees_of_freedom(self, factors: np.ndarray, ridge: float) -> np.ndarray:
        """The trace of the smoother matrix at bandwidth factors, estimated from `rows`: (b,)."""
        residual_dof = np.array([path.residual_dof(ridge) for path in self._ridge_paths(factors)])
        return self.training.sample_weight.sum() * (1.0 - residual_dof)

    def _ridge_paths(self, factors: np.ndarray) -> list[RidgePath]:
        """The criterion as a function of the ridge, at each bandwidth."""
        smoother, weights = self.smoother, self._weights
        lines, unsupported = self._means(factors) if smoother.line is None else self._lines(factors)
        self._substitutes.put(lines.y_mean, unsupported)
        log_unit = np.broadcast_to(0.0, unsupported.shape)
        if self.name != "loo":
            unit = take_rows(smoother.weights, self.rows) * np.minimum(1.0, 1.0 / weights)  # what was left out
            at_zero = smoother.request(self._queries, factors).weight_at_zero()
            with np.errstate(divide="ignore"):
                log_unit = np.broadcast_to(np.log(unit) + np.log(at_zero), unsupported.shape)
        shared = take_rows(smoother.values, self.rows), weights, self.training.sample_weight.sum()
        return [RidgePath(self.name, lines[i], unsupported[i], log_unit[i], *shared) for i in range(len(factors))]

    def _lines(self, factors: np.ndarray) -> tuple[LocalFits, np.ndarray]:
        """Local lines around the rows, and which rows have no support."""
        smoother, queries = self.smoother, self._queries
        batches = [queries[batch] for batch in smoother.batches(len(queries), len(factors))]
        if self.ridge is None:
            found = [smoother.lines_for_any_ridge(batch, factors) for batch in batches]
        else:
            smoother = smoother.with_ridge(self.ridge)
            found = [smoother.lines(batch, factors)[::2] for batch in batches]
        lines, unsupported = zip(*found, strict=True)
        return LocalFits.joined(lines), np.concatenate(unsupported, axis=1)

    def _means(self, factors: np.ndarray) -> tuple[LocalFits, np.ndarray]:
        """Weighted means at the rows, as lines without axes, and which rows have no support."""
        smoother, queries = self.smoother, self._queries
        shape = len(factors), len(queries)
        means, unsupported = np.empty((*shape, smoother.values.shape[1])), np.empty(shape, dtype=bool)
        # "loo" needs no logarithm
        log_mass = np.broadcast_to(0.0, shape) if self.name == "loo" else np.empty(shape)
        for batch in smoother.batches(len(queries), len(factors)):
            sums = kernel_sums(smoother.request(queries[batch], factors), smoother.algorithm)
            if self.name != "loo":
                log_mass[:, batch] = sums.log_mass()
            means[:, batch], unsupported[:, batch] = sums.into_means()
        return LocalFits.of_means(means, log_mass), unsupported

    def in_units_of_y(self, scores: np.ndarray) -> np.ndarray:
        """Scores in the units of a single output; several outputs have no common unit, and the scores stay."""
        if len(self.training.y_scales) > 1:
            return scores
        scale = self.training.y_scales[0]
        with np.errstate(over="ignore", under="ignore"):
            return scores + 2 * np.log(scale) if self.name == "aicc" else scores * scale * scale
