"""Selection criteria as functions of the bandwidth: leave-one-out loss, AICc and GCV, with the best ridge of lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from sknw._kernel_sums.permutation import sorting_rows
from sknw._kernel_sums.registry import kernel_sums
from sknw._selection.ridge_path import Evaluation, RidgePath, is_much_larger
from sknw._smoothing.datafit import Datafit, SquaredError
from sknw._smoothing.local_linear import LocalFits
from sknw._smoothing.smoother import FindLines, FoundLines, Queries, Smoother
from sknw._smoothing.training import TrainingSet, take_rows
from sknw._smoothing.unsupported import UnsupportedPolicy
from sknw._smoothing.validation import Validation

# Small bandwidths are scored on 4 local subsamples: with one feature runs of samples, with several features boxes, each
# of which holds 3 samples for every row of all boxes.
_N_LOCAL, _PER_ROW = 4, 3
# Bandwidths are evaluated together as long as what is kept of each row fits in this many bytes.
_BATCH_BYTES = 2**27
# Where lines are not accurate at all ridges, this many rows say whether a bandwidth may be the best.
_ROWS_TO_TELL = 100

# The smallest score so far, and the bandwidth factor where it is.
Least = tuple[float, float]
NONE_SO_FAR: Least = (np.inf, np.inf)


@dataclass(frozen=True, eq=False)
class Criterion:
    """A criterion as a function of the bandwidth factor."""

    name: str  # "loo", "aicc" or "gcv"
    smoother: Smoother  # of the training set with inputs divided by their standard deviations
    training: TrainingSet
    validation: Validation  # the left-out predictions that it is averaged over
    ridge: float | None = 0.0  # of local lines; None takes the best one at every bandwidth
    datafit: Datafit = field(default_factory=SquaredError)
    all_tests: Validation | None = None  # those of which `validation` are some, from which subsamples draw; None: these

    def __post_init__(self) -> None:
        if self.name not in self.datafit.criteria:
            raise ValueError(f'The criterion "{self.name}" is defined for squared errors only.')

    def __call__(self, factors: np.ndarray, least: Least = NONE_SO_FAR) -> tuple[np.ndarray, np.ndarray]:
        """Scores and numbers of unsupported rows at bandwidth factors, see `evaluate`.

        With residuals r_i (values scaled to variance 1, so that the mean over outputs gives each the same weight)

            loo    mean of r_i^2, y_i predicted from the others; with another `datafit` the mean of its losses
            gcv    mean of r_i^2 / (1 - tr / n)^2
            aicc   log(mean of r_i^2) + (1 + tr / n) / (1 - (tr + 2) / n)

        Means are weighted, sum_i w_i r_i^2 / sum_i w_i; tr is the trace of the smoother matrix, for weighted means
        tr = sum_i K(0) w_i / sum_j K_ij w_j (Craven & Wahba 1979; Hurvich, Simonoff & Tsai 1998). Infinite where a
        score does not exist.
        """
        evaluations = list(self.evaluate(factors, least=least))
        return np.array([one.score for one in evaluations]), np.array([one.n_unsupported for one in evaluations])

    def evaluate(
        self, factors: np.ndarray, keeps_predictions: bool = False, least: Least = NONE_SO_FAR
    ) -> Iterator[Evaluation]:
        """Yield the criterion at each bandwidth factor, given in descending order.

        Where the score is much larger than the `least` so far, it need not be that of the best ridge.
        """
        line, k = self.smoother.line, self.smoother.values.shape[1]
        d = 0 if line is None else line.x.shape[1]
        size = _BATCH_BYTES // (8 * len(self.validation) * (2 * d + d * k + k + 4))
        if line is not None:  # fewer bandwidths rather than several batches of rows
            size = min(size, self.smoother.batch_size() // len(self.validation))
        size = max(size, 1)
        for start in range(0, len(factors), size):
            if line is None and self.name == "loo":
                yield from self._losses_of_means(factors[start : start + size], keeps_predictions)
                continue
            some = factors[start : start + size]
            # lists, so that the memory of a batch is free when the next one begins
            if self.ridge is not None:
                yield from [path.at(self.ridge, keeps_predictions) for path in self._ridge_paths(some)]
                continue
            found = self._with_best_ridges(some, keeps_predictions, least)
            least = min(least, *zip((one.score for one in found), some.tolist(), strict=True))
            yield from found

    @property
    def rows(self) -> np.ndarray:
        """The sample of each prediction."""
        return self.validation.rows

    def on_rows(self, n_rows: int) -> Criterion:
        """The same, averaged over random rows among its own."""
        some = np.sort(np.random.default_rng(0).choice(len(self.validation), n_rows, replace=False))
        return replace(self, validation=self.validation[some])

    def local_subsamples(self, n_rows: int) -> Criterion:
        """The same on some rows and the samples near them only: at small bandwidths those far away do not matter.

        With one feature these are runs of consecutive samples, with several boxes around random samples.
        """
        keys = self.smoother.keys
        n, d = keys.shape
        if n <= 2 * _N_LOCAL * n_rows:
            return self.on_rows(min(n_rows, len(self.validation)))
        first = np.random.default_rng(0).integers(0, n - 2 * n_rows, _N_LOCAL)
        is_near, is_row = np.zeros((2, n), dtype=bool)
        along = sorting_rows(keys[:, 0]) if d == 1 else slice(None)
        for start in first.tolist():
            if d == 1:
                order = np.arange(n)[along]
                is_near[order[start : start + 2 * n_rows]] = True
                is_row[order[start + n_rows // 2 : start + n_rows + n_rows // 2]] = True
            else:
                near = self.smoother.index.nearest_in_max_norm(keys[start : start + 1], _PER_ROW * n_rows)
                is_near[near] = True
                is_row[near[: n_rows // _N_LOCAL]] = True
        return self._among(np.flatnonzero(is_near), is_row)

    def subsample(self, n_samples: int, n_rows: int) -> Criterion:
        """The same for random samples and random rows among them; rows of lines are among the samples in any case."""
        rng = np.random.default_rng(0)
        n = len(self.smoother.keys)
        samples = np.sort(rng.choice(n, n_samples, replace=False, shuffle=False))
        is_row = np.zeros(n, dtype=bool)
        if self.smoother.line is None or len(self.validation) >= n:
            is_row[samples[rng.choice(n_samples, n_rows, replace=False)]] = True
        else:  # few of the validation rows are among the samples by chance
            is_row[rng.choice(self.rows, min(n_rows, len(self.rows)), replace=False)] = True
            samples = np.union1d(samples, np.flatnonzero(is_row))
        return self._among(samples, is_row)

    def _among(self, samples: np.ndarray, is_row: np.ndarray) -> Criterion:
        """The same for some samples, averaged over the predictions of those for which `is_row` is true."""
        # another engine may suit so few samples
        algorithm = "dense" if self.smoother.algorithm == "dense" else "auto"
        few = replace(self.smoother.take(samples), algorithm=algorithm)
        tests = self.validation if self.all_tests is None else self.all_tests
        validation = tests.among(samples, is_row)
        few_samples = self.training.take(samples)
        return replace(self, smoother=few, training=few_samples, validation=validation, all_tests=None)

    @cached_property
    def _weights(self) -> np.ndarray:
        """Sample weights of the rows (m,)."""
        return take_rows(self.training.sample_weight, self.rows)

    @cached_property
    def _substitutes(self) -> dict[tuple[int, int], UnsupportedPolicy]:
        """What rows without support get, for each batch; it does not depend on the bandwidth."""
        return {}

    def best_ridge(self, factor: float) -> float:
        """The ridge with the smallest score at a bandwidth, or the one given."""
        if self.ridge is not None:
            return self.ridge
        return next(self.evaluate(np.array([factor]))).ridge

    def _with_best_ridges(self, factors: np.ndarray, keeps_paths: bool, least: Least) -> list[Evaluation]:
        """The criterion with the best ridge at each bandwidth factor, see `evaluate`."""
        paths = self._ridge_paths(factors)
        scans = [path.scan() for path in paths]
        found: dict[int, Evaluation] = {}
        for i in np.argsort([scan.minimum[1] for scan in scans]).tolist():
            path, scan, factor = paths[i], scans[i], float(factors[i])
            if scan.falls and self._may_win(scan.minimum[1], factor, least):
                path = self.ridge_path(0.0, factor)
                scan = path.scan()
            is_worse = is_much_larger(self.name, scan.minimum[1], least[0])
            found[i] = path.evaluation(*(scan.minimum if is_worse else path.refined(scan)), keeps_paths)
            least = min(least, (found[i].score, factor))
        return [found[i] for i in range(len(factors))]

    def _may_win(self, score: float, factor: float, least: Least) -> bool:
        """Whether accurate lines may have a score that is not much larger than the least one.

        Few of many rows tell that, but neither a trace nor a weighted mean.
        """
        if self.name != "loo" or len(self.validation) < 2 * _ROWS_TO_TELL or np.ptp(self._weights) > 0.0:
            return True
        if not is_much_larger(self.name, score, least[0]):
            return True
        return not is_much_larger(self.name, self._score_of_few(factor), self._score_of_few(least[1]))

    def _score_of_few(self, factor: float) -> float:
        """The score of few rows at a bandwidth factor, by accurate lines."""
        if factor not in self._scores_of_few:
            few = self.on_rows(_ROWS_TO_TELL)
            self._scores_of_few[factor] = few.ridge_path(0.0, factor).scan().minimum[1]
        return self._scores_of_few[factor]

    @cached_property
    def _scores_of_few(self) -> dict[float, float]:
        """Those that `_score_of_few` has computed."""
        return {}

    def ridge_path(self, ridge: float, factor: float = 1.0) -> RidgePath:
        """The criterion at a bandwidth factor, by lines that are accurate from a ridge on."""
        return replace(self, ridge=ridge)._ridge_paths(np.array([factor]))[0]

    def degrees_of_freedom(self, factors: np.ndarray, ridge: float) -> np.ndarray:
        """The trace of the smoother matrix at bandwidth factors, estimated from `rows`: (b,)."""
        residual_dof = np.array([path.residual_dof(ridge) for path in self._ridge_paths(factors)])
        return len(self.training) * (1.0 - residual_dof)

    def _losses_of_means(self, factors: np.ndarray, keeps_predictions: bool) -> list[Evaluation]:
        """The evaluations of "loo" for weighted means, which have no ridge."""
        batches = []
        for where, smoother, queries, _ in self.smoother.left_out(self.validation):
            means, unsupported = kernel_sums(smoother.request(queries, factors), smoother.algorithm).into_means()
            batches.append(self._with_substitutes(where, smoother, queries, means, unsupported))
        means, unsupported = (
            of_batches[0] if len(batches) == 1 else np.concatenate(of_batches, axis=1)
            for of_batches in zip(*batches, strict=True)
        )
        scores = self.datafit.means(take_rows(self.smoother.values, self.rows), means, self._weights)
        scores[np.isnan(scores)] = np.inf
        n_unsupported = np.count_nonzero(unsupported, axis=1).tolist()
        kept = means if keeps_predictions else [None] * len(factors)
        by_bandwidth = zip(scores.tolist(), n_unsupported, kept, strict=True)
        return [Evaluation(score, count, predictions=predictions) for score, count, predictions in by_bandwidth]

    def _with_substitutes(
        self, where: slice, smoother: Smoother, queries: Queries, means: np.ndarray, unsupported: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Means (b, m, k) of a batch with what rows without support get, in place, and which these are."""
        if unsupported.any():
            policy = UnsupportedPolicy(smoother.policy, smoother.value_request(queries))
            self._substitutes.setdefault((where.start, where.stop), policy).put(means, unsupported)
        return means, unsupported

    def _ridge_paths(self, factors: np.ndarray) -> list[RidgePath]:
        """The criterion as a function of the ridge, at each bandwidth."""
        batches = []
        # Krylov spaces take the bandwidths one by one
        n_together = 1 if self.name == "loo" and self.smoother.takes_krylov_spaces else len(factors)
        for where, smoother, queries, _ in self.smoother.left_out(self.validation, n_together):
            find = self._means if smoother.line is None else self._lines
            lines, unsupported = find(smoother, queries, factors)
            self._with_substitutes(where, smoother, queries, lines.y_mean, unsupported)
            batches.append((lines, unsupported))
        lines = batches[0][0] if len(batches) == 1 else LocalFits.joined([lines for lines, _ in batches])
        unsupported = np.concatenate([unsupported for _, unsupported in batches], axis=1)
        shared = take_rows(self.smoother.values, self.rows), self._weights, len(self.training), self.datafit
        count = 0.0 if self.smoother.line is None else self.smoother.line.count
        return [RidgePath(self.name, count, lines[i], unsupported[i], *shared) for i in range(len(factors))]

    def _lines(self, smoother: Smoother, queries: Queries, factors: np.ndarray) -> FoundLines:
        """Local lines around the rows, and which rows have no support."""
        if self.ridge is None and not self.smoother.has_one_input:
            find: FindLines = smoother.lines_from_sums
        else:  # engines differ in what sums of squares of one input lose
            with_ridge = smoother.with_ridge(self.ridge or 0.0)

            def find(queries: Queries, factors: np.ndarray) -> FoundLines:
                lines, _, unsupported = with_ridge.lines(queries, factors)
                return lines, unsupported

        return smoother.without_leverage(find, queries, factors) if self.name == "loo" else find(queries, factors)

    def _means(self, smoother: Smoother, queries: Queries, factors: np.ndarray) -> tuple[LocalFits, np.ndarray]:
        """Weighted means at the rows, as lines without axes, and which rows have no support."""
        sums = kernel_sums(smoother.request(queries, factors), smoother.algorithm)
        # "loo" needs no logarithm
        log_samples = np.broadcast_to(0.0, sums.mass.shape)
        if self.name != "loo":
            log_samples = sums.log_mass() - smoother.log_at_zero(queries, factors)
        means, unsupported = sums.into_means()
        return LocalFits.of_means(means, log_samples), unsupported

    def in_units_of_y(self, scores: np.ndarray) -> np.ndarray:
        """Scores in the units of a single output; several outputs have no common unit, and the scores stay."""
        if len(self.training.y_scales) > 1:
            return scores
        scale = self.training.y_scales[0]
        with np.errstate(over="ignore", under="ignore"):
            return scores + 2 * np.log(scale) if self.name == "aicc" else scores * scale * scale
