"""What the estimators with a bandwidth share: its choice, and that of the ridge of local lines."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from sknw._selection.autocorrelation import Autocorrelation
from sknw._selection.criterion import Criterion
from sknw._selection.result import BandwidthSearch
from sknw._selection.ridge_path import RidgePath
from sknw._selection.rules import CRITERIA, RULES, n_validation_rows, rule_of_thumb
from sknw._selection.search import search_bandwidth
from sknw._sklearn_compat import FitTask, Interval, StrOptions
from sknw._smoothing.local_linear import n_line_columns
from sknw._smoothing.smoother import LocalLinearSpec, Smoother
from sknw._smoothing.training import TrainingSet
from sknw.estimators.base import as_numbers
from sknw.estimators.incremental import IncrementalSmoother
from sknw.kernels import Kernel, Pairwise, resolve_kernel

# A search is about this many passes over the data.
_PASSES_OF_A_SEARCH = 45
# The rows among which a function of two points is tried out.
_TRIED_ROWS = 3


class BandwidthSmoother(IncrementalSmoother):
    """Base of the estimators with a bandwidth."""

    # set by the subclasses' __init__
    kernel: str | Kernel | Callable[[np.ndarray, np.ndarray], np.ndarray]
    bandwidth: float | ArrayLike | str

    # set by fit
    bandwidth_: np.ndarray
    bandwidth_search_: BandwidthSearch | None

    _parameter_constraints: ClassVar[dict] = {
        **IncrementalSmoother._parameter_constraints,
        "bandwidth": [StrOptions({*CRITERIA, *RULES}), Interval(Real, 0, None, closed="neither"), "array-like"],
    }

    def _fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        groups: ArrayLike | None,
        classes: ArrayLike | None = None,
    ) -> Self:
        data = self._validate_fit(X, y, sample_weight, groups, classes)
        training, d = data.training, data.X.shape[1]
        selector = self.bandwidth if isinstance(self.bandwidth, str) else None
        if selector in ("aicc", "gcv") and data.rule is not None:
            raise ValueError(
                f'bandwidth="{selector}" leaves no sample out and cannot use cv or groups: choose "loo", which '
                "predicts each sample without its group or fold."
            )
        metadata = {"sample_weight": data.sample_weight, "groups": groups}
        task = FitTask(self, data.X, data.y, metadata, has_steps=selector in CRITERIA)
        kernel = resolve_kernel(self.kernel)
        if selector is not None and isinstance(kernel, Pairwise):
            self._warn_of_no_width(kernel, training.X[:_TRIED_ROWS] - training.center)
        ridge = self.get_params(deep=False).get("ridge")  # None pools weighted means
        line = None if ridge is None else LocalLinearSpec.of(training, 0.0)
        n_columns = 2 if line is None else 1 + n_line_columns(line.x.shape[1], 1)
        n_rows = n_validation_rows(len(training), len(training.center), kernel, n_columns=n_columns)
        validation = self._validation(data, n_rows)
        fixed_ridge = None if isinstance(ridge, str) else float(ridge or 0.0)
        search = best_ridge = kept = predictions = None
        if selector is None:
            bandwidth = self._given_bandwidth(d)
        elif selector in RULES:
            bandwidth = rule_of_thumb(selector, len(training), d) * training.scales
        else:
            smoother = self._build_smoother(
                training, kernel, 1 / training.scales, validation, _PASSES_OF_A_SEARCH, line
            )
            tests = validation, fixed_ridge, self._datafit(), data.validation
            criterion = Criterion(selector, smoother, training, *tests)
            search, best_ridge, kept = search_bandwidth(criterion, task.step)
            bandwidth = search.bandwidths[search.best_index]
            predictions = None if isinstance(kept, RidgePath) else kept
            del smoother, criterion  # before the next ones are made: they take much memory
        smoother = self._build_smoother(training, kernel, _inverse(bandwidth), validation, 1, line)
        if line is not None:
            criterion = Criterion(search.criterion if search else "loo", smoother, training, validation, fixed_ridge)
            self.ridge_ = criterion.best_ridge(1.0) if best_ridge is None else best_ridge
            self.slope_count_ = 0.0
            if fixed_ridge is None:
                path = kept if isinstance(kept, RidgePath) else criterion.ridge_path(self.ridge_)
                self.slope_count_, predictions = path.best_count(self.ridge_)
            smoother = smoother.with_ridge(self.ridge_).with_count(self.slope_count_)
        self._store_fit(data, smoother, validation, predictions)
        smoother = replace(smoother, algorithm=self.algorithm)
        found = None
        if search is not None and selector == "loo" and data.rule is None:
            found = self._autocorrelation(smoother, training, len(validation))
            search = replace(search, autocorrelation=found)
        self.bandwidth_, self.bandwidth_search_ = bandwidth, search
        if search is not None:
            self._warn_of_fit(smoother, training, validation, search.criterion, found)
        task.end()
        return self

    @property
    def _remedy(self) -> str:
        return "Leave out features that do not matter, or learn a weight for each by attention pooling."

    def _autocorrelation(self, smoother: Smoother, training: TrainingSet, n_rows: int) -> Autocorrelation | None:
        """That of leave-one-out residuals, if there are residuals."""
        return None

    def _warn_of_no_width(self, kernel: Pairwise, points: np.ndarray) -> None:
        """Warn where dividing inputs by a bandwidth does more to a kernel than to change its width."""
        if not kernel.falls_with_distance(points):
            warnings.warn(
                f"bandwidth={self.bandwidth!r} cannot choose a width for kernel={self.kernel!r}, which is no falling "
                "function of the difference of two inputs: dividing them by a bandwidth also moves its period, or its "
                'origin. For a periodic feature use periodic_features with a kernel such as "gaussian"; else give '
                "bandwidth=1.0 and choose the kernel's own parameters by GridSearchCV over kernel.",
                UserWarning,
                stacklevel=5,  # the caller of fit, beyond its decorator
            )

    def _fitted_metric(self) -> tuple[np.ndarray, float | np.ndarray | None]:
        return _inverse(self.bandwidth_), getattr(self, "ridge_", None)

    def _given_bandwidth(self, n_features: int) -> np.ndarray:
        bandwidth = as_numbers(self.bandwidth)
        if bandwidth.shape not in [(), (n_features,)] or not np.all(bandwidth > 0):
            raise ValueError(
                f"bandwidth must be a selector, a positive float, or {n_features} positive floats, one for each "
                f"feature, inf to leave it out of the distance; got {self.bandwidth!r}."
            )
        return np.full(n_features, bandwidth)


def _inverse(bandwidth: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1.0 / bandwidth
