"""What the estimators with a learned w share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning

from sknw._kernel_sums.threads import one_blas_thread
from sknw._metric import optimizer
from sknw._metric.loss import Loss
from sknw._metric.optimizer import MetricFit, MetricOptimizer, Progress
from sknw._metric.parametrization import STRUCTURES, W_BOUNDS
from sknw._metric.subsample import MORE, PREDICTED, TYPICAL_EXPONENT, draw_samples, extrapolate, scale_metric
from sknw._selection.criterion import Criterion
from sknw._selection.rules import n_learning_samples, n_validation_rows_of_attention
from sknw._sklearn_compat import Interval, StrOptions
from sknw._smoothing.features import FeatureMap
from sknw._smoothing.isolation import can_widen
from sknw._smoothing.local_linear import NO_RIDGE, LocalLinearSpec, n_line_columns
from sknw._smoothing.partition import ShardedTrainingSet
from sknw._smoothing.smoother import Smoother
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import Validation
from sknw.estimators.base import FitData, as_numbers
from sknw.estimators.incremental import IncrementalSmoother
from sknw.estimators.user_warnings import warn_user
from sknw.kernels import Kernel, resolve_kernel

# Learning is about 100 passes over the data, and one with the gradient takes as long as some without.
_PASSES_OF_LEARNING = 500
# Where w is learned from some of many samples, what needs few predictions only takes about this many.
_LOOKED_AT = 400
# Matrices of the size of w beside those that L-BFGS-B remembers; the most that all may take to be learned.
_MORE_MATRICES, _MOST_BYTES_OF_MATRIX = 8, 2**28


class MetricSmoother(IncrementalSmoother):
    """Base of the estimators with a learned w."""

    # set by the subclasses' __init__
    kernel: str | Kernel | Callable[[np.ndarray, np.ndarray], np.ndarray]
    w: str | float | ArrayLike
    rank: int | None
    penalty: float
    max_iter: int
    tol: float
    warm_start: bool

    # set by fit
    w_: np.ndarray
    ridge_: np.ndarray | None  # only where there is a parameter `ridge`
    slope_count_: float | None  # the same
    n_iter_: int
    loss_path_: np.ndarray
    _structure: str | None  # that was learned
    _widens: bool  # whether isolated queries have wider kernels: those of lines whose w and ridge are learned

    _parameter_constraints: ClassVar[dict] = {
        **IncrementalSmoother._parameter_constraints,
        "w": [StrOptions(set(STRUCTURES)), Interval(Real, None, None, closed="neither"), "array-like"],
        "rank": [Interval(Integral, 1, None, closed="left"), None],
        "penalty": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
    }

    @property
    def _has_steps(self) -> bool:
        return isinstance(self.w, str)

    def _warm_start(self) -> tuple[np.ndarray, np.ndarray | None] | None:
        """w and the ridge of the fit before; a w of 0 is no start: the loss hardly changes around it."""
        continues = self.warm_start and self._has_steps and hasattr(self, "_fitted") and self._structure == self.w
        return (self.w_, getattr(self, "ridge_", None)) if continues and self.w_.any() else None

    def _fit_data(
        self, data: FitData, on_step: Callable[[], bool], start: tuple[np.ndarray, np.ndarray | None] | None
    ) -> None:
        training, learned = data.training, None
        kernel = self._kernel()
        n, d = len(training), data.X.shape[1]
        if self._has_steps:
            self._check_structure(training)
        validation = self._validation(data, self._n_validation_rows(training))
        if self._has_steps:
            with one_blas_thread():
                learned = self._learn(data, kernel, validation, start, on_step)
            w, n_passes = training.in_units_of_x(learned.w), _PASSES_OF_LEARNING
        else:
            w, n_passes = self._given_w(training), 1
        looked_at = validation
        if self._learns_from_some(n, d):
            looked_at = validation[:: -(-len(validation) // _LOOKED_AT)]
        smoother = self._build_smoother(training, kernel, w, validation, n_passes)
        smoother, predictions = self._with_line(smoother, training, validation, looked_at, learned)
        self._store_fit(data, smoother, validation, predictions)
        self.w_, self._structure = w, str(self.w) if learned else None
        self.loss_path_ = np.array(learned.path if learned else [])
        self.n_iter_ = max(len(self.loss_path_) - 1, 1)
        if learned:
            self._warn_of_fit(looked_at)
        if learned and not learned.converged:
            warn_user(
                f"Learning w did not converge in max_iter={self.max_iter} iterations. Increase max_iter, or tol, or "
                "penalty.",
                ConvergenceWarning,
            )

    def _with_line(
        self,
        smoother: Smoother,
        training: TrainingSet,
        validation: Validation,
        looked_at: Validation,
        learned: MetricFit | None,
    ) -> tuple[Smoother, np.ndarray | None]:
        """The smoother with its line, if it has one, and the predictions of the validation, if they are known."""
        if "ridge" in self.get_params(deep=False):
            self.ridge_ = self.slope_count_ = None
        if self._ridge is None:
            return smoother, None
        self.ridge_ = learned.ridge if learned else self._ridge_for(smoother, training, validation)
        line, self.slope_count_ = LocalLinearSpec.of(training, self.ridge_), 0.0
        self._widens = learned is not None and isinstance(self._ridge, str) and can_widen(smoother.kernel)
        smoother = replace(smoother.with_line(line), widens=self._widens)
        if not isinstance(self._ridge, str):
            return smoother, None
        path = Criterion("loo", smoother, training, looked_at).ridge_path(line.ridge)
        self.slope_count_, predictions = path.best_count(line.ridge)
        return smoother.with_count(self.slope_count_), predictions if looked_at is validation else None

    @property
    def _remedy(self) -> str:
        if self._structure == "scalar":
            return 'Leave out features that do not matter, or learn a weight for each with w="diagonal".'
        found = "No weights of these features were found that help"
        if self.penalty > 0:
            return f"{found}; with few samples a smaller penalty may find some, else add other features."
        return f"{found}: add other features, or samples."

    def _check_can_append(self) -> None:
        if isinstance(self.w, str):
            raise AttributeError(
                f"partial_fit takes a w in numbers, and w={self.w!r} is learned, from all rows at once: fit, and then "
                "set_params(w=model.w_) to append rows at the w that was learned."
            )

    def _remake_smoother(self, training: TrainingSet, outside: str, algorithm: str) -> Smoother:
        smoother = super()._remake_smoother(training, outside, algorithm)
        return smoother if smoother.line is None else replace(smoother, widens=self._widens)

    def _fitted_metric(self) -> tuple[np.ndarray, float | np.ndarray | None]:
        return self.w_, getattr(self, "ridge_", None)

    @property
    def _ridge(self) -> float | ArrayLike | str | None:
        """The parameter `ridge`; None pools weighted means."""
        parameters = self.get_params(deep=False)
        return parameters["ridge"] if parameters.get("degree") else None

    def _kernel(self) -> Kernel:
        kernel = resolve_kernel(self.kernel)
        if self._has_steps and not kernel.is_differentiable:
            raise ValueError(
                f"kernel={self.kernel!r} has no derivative, which learning w takes; choose another kernel, such as "
                '"gaussian" or a subclass of sknw.kernels.Kernel with a method derivative(sq), or give w in numbers.'
            )
        return kernel

    def _learn(
        self,
        data: FitData,
        kernel: Kernel,
        validation: Validation,
        before: tuple[np.ndarray, np.ndarray | None] | None,
        on_step: Callable[[], bool],
    ) -> MetricFit:
        """The learned w, of standardised inputs; of many samples from some."""
        training, progress = data.training, Progress(on_step, self.verbose, type(self).__name__)
        n, d = len(training), len(training.scales)
        if before is not None and before[0].shape == self._shape(d):
            # features that were taken out may come back: from a ridge at which their slopes count
            ridge = optimizer.START_RIDGE if before[1] is None else np.where(np.isinf(before[1]), 1.0, before[1])
            w = (before[0].T * training.scales).T
            start = np.maximum(w, W_BOUNDS[0]) if w.ndim == 1 else w, np.broadcast_to(ridge, (d,))
        else:
            start = None
        if not self._learns_from_some(n, d):
            learner = self._learner(training, kernel, validation, progress)
            # without signal the loss has minima at w > 0 by chance; of many samples, a larger w may show a weak signal
            return self._minimise(learner, start, np.inf if learner.learns_one_number else optimizer.SMALL_W)
        groups = None if data.rule is None or data.rule.groups is None else data.rule.groups[training.given_rows]
        rng, n_few = np.random.default_rng(0), self._n_learning_samples(n, d)

        def learner_of(n_samples: int, n_predicted: int) -> MetricOptimizer:
            samples = draw_samples(n_samples, n, data.validation, groups, rng)
            some = data.validation.among(samples, np.isin(np.arange(n), samples, assume_unique=True))
            if len(some) > n_predicted:
                some = some[np.sort(rng.choice(len(some), n_predicted, replace=False))]
            return self._learner(training.take(samples), kernel, some, progress)

        few = learner_of(n_few, n)
        n_few = len(few.loss.training)
        if start is not None:
            start = scale_metric(*start, (n_few / n) ** TYPICAL_EXPONENT, few.learns_ridge)
        learned = self._minimise(few, start, optimizer.SMALL_W)
        return extrapolate(learned, learner_of(MORE * n_few, int(PREDICTED * n_few)), n_few, n)

    def _minimise(
        self, learner: MetricOptimizer, start: tuple[np.ndarray, np.ndarray] | None, largest: float
    ) -> MetricFit:
        """The minimum from a start, or the best of those from all starts; a w up to `largest` is 0 if it can be."""
        structure = str(self.w)
        if start is not None:
            learned = learner.minimise(*start, structure)
        else:
            learned = optimizer.learn(learner, structure, self._shape(len(learner.loss.training.scales))[-1])
        return optimizer.sharpen(learner, optimizer.prune_features(learner, learned, largest))

    def _learner(
        self, training: TrainingSet, kernel: Kernel, validation: Validation, progress: Progress
    ) -> MetricOptimizer:
        """The minimisation of the loss of a training set."""
        line = None if self._ridge is None else LocalLinearSpec.along_columns(training, 0.0)
        # lines are pooled in the inputs along rows, for which the engine is chosen
        along_rows = None if line is None else line.along_rows()
        w, passes = 1.0 / training.scales, _PASSES_OF_LEARNING
        smoother = self._build_smoother(training, kernel, w, validation, passes, along_rows).with_line(line)
        is_given = self._ridge is not None and not isinstance(self._ridge, str)
        return MetricOptimizer(
            loss=Loss(smoother, training, validation, self._datafit()),
            given_ridge=self._given_ridge(len(training.scales)) if is_given else None,
            penalty=0.0 if self.w == "scalar" else self.penalty,
            max_iter=self.max_iter,
            tol=self.tol,
            progress=progress,
        )

    def _shape(self, d: int) -> tuple[int, ...]:
        """The shape of the w that is learned."""
        if self.w not in ("low_rank", "full"):
            return (d,)
        return d, d if self.w == "full" else min(d, 3) if self.rank is None else self.rank

    def _n_validation_rows(self, training: TrainingSet) -> int:
        """On how many samples the score rests where that is not given: on all, if w is learned from all."""
        n = len(training)
        if self._has_steps and not self._learns_from_some(n, len(training.scales)):
            return n
        n_columns = 2 if self._ridge is None else 1 + n_line_columns(min(n, len(training.center)), 1)
        return n_validation_rows_of_attention(n, n_columns, is_learned=self._has_steps)

    def _n_learning_samples(self, n: int, d: int) -> int:
        """From how many of n samples w is learned where the number of validation samples is not given."""
        return n_learning_samples(n, 1 if self.w == "scalar" else int(np.prod(self._shape(d))))

    def _learns_from_some(self, n: int, d: int) -> bool:
        return self._has_steps and self.validation_samples == "auto" and self._n_learning_samples(n, d) < n

    def _check_structure(self, training: TrainingSet) -> None:
        """Refuse a w that the place of the rows, the features, their number or memory do not allow to learn."""
        n = len(training)
        if isinstance(training, ShardedTrainingSet) and not self._learns_from_some(n, len(training.scales)):
            raise ValueError(
                f"w={self.w!r} is learned from all {n} samples with validation_samples={self.validation_samples!r}, "
                "and fit leaves the rows of a dask array on the workers of its cluster: fit to X.compute(), or choose "
                'validation_samples="auto", with which some of many samples are enough.'
            )
        if self.w not in ("low_rank", "full"):
            return
        _refuse_matrix(training.features, f'w="{self.w}"')
        d, rank = self._shape(len(training.scales))
        if rank > d:
            raise ValueError(f"rank must be at most the number of features; got rank={rank} and n_features = {d}.")
        n_bytes = 8 * (2 * optimizer.N_CORRECTIONS + _MORE_MATRICES) * d * rank
        if n_bytes > _MOST_BYTES_OF_MATRIX:
            seconds = 1e-10 * self.max_iter * (2 * d * d * rank + 6 * n * d * d)
            raise ValueError(
                f"Learning w={self.w!r} of {d} x {rank} entries would take about {n_bytes / 2**20:.0f} MiB and, for "
                f'{self.max_iter} iterations, {seconds:.0f} seconds: choose w="diagonal", or w="low_rank" with a small '
                "rank, or reduce the features first, as by PCA."
            )

    def _ridge_for(self, smoother: Smoother, training: TrainingSet, validation: Validation) -> np.ndarray:
        """The ridge at a given w."""
        if not isinstance(self._ridge, str):
            return self._given_ridge(len(training.scales))
        with_line = smoother.with_line(LocalLinearSpec.of(training, 0.0))
        return np.full(len(training.scales), Criterion("loo", with_line, training, validation, None).best_ridge(1.0))

    def _given_ridge(self, d: int) -> np.ndarray:
        ridge = as_numbers(self._ridge)
        if ridge.shape not in [(), (d,)] or not (np.all(ridge >= 0) and np.isfinite(ridge).any()):
            raise ValueError(
                f'ridge must be "loo", a non-negative number, or {d} such numbers, one for each feature, of which some '
                f"may be infinite; got {self._ridge!r}."
            )
        if ridge.min() == 0 < ridge.max():
            # inputs are divided by the roots of their ridges, and a smaller one would cost the others their digits
            others = ridge[(ridge > 0) & np.isfinite(ridge)]
            least = np.sqrt(np.finfo(np.float64).eps * others) / (1.0 + others)
            ridge = np.maximum(ridge, least.max(initial=NO_RIDGE))
        return np.broadcast_to(ridge, (d,))

    def _given_w(self, training: TrainingSet) -> np.ndarray:
        w, d = as_numbers(self.w), len(training.scales)
        w = np.full(d, w) if w.ndim == 0 else w
        if w.ndim not in (1, 2) or len(w) != d or w.size == 0 or not np.all(np.isfinite(w)):
            raise ValueError(
                f"w must be one of {list(STRUCTURES)}, a number, {d} numbers, one for each feature, or a matrix of "
                f"{d} rows; got {self.w!r}."
            )
        if w.ndim == 2:
            _refuse_matrix(training.features, "w as a matrix")
        return w


def _refuse_matrix(features: FeatureMap, name: str) -> None:
    """A matrix mixes features, and categories and periodic features have no direction to mix."""
    if not features.is_identity:
        raise ValueError(
            f"{name} mixes the features, which must be numbers then; there are categories or periodic features: choose "
            'w="diagonal" or "scalar", or give one number for each feature, or encode these features yourself and set '
            "categorical_features=None."
        )
