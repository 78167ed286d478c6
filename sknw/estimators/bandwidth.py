"""What the estimators with a bandwidth share: its choice, and that of the ridge of local lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from sknw._selection.autocorrelation import Autocorrelation
from sknw._selection.criterion import Criterion
from sknw._selection.result import BandwidthSearch
from sknw._selection.ridge_path import Evaluation
from sknw._selection.rules import CRITERIA, RULES, n_validation_rows, rule_of_thumb
from sknw._selection.search import search_bandwidth
from sknw._sklearn_compat import Interval, StrOptions
from sknw._smoothing.local_linear import LocalLinearSpec, n_line_columns
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import Validation
from sknw.estimators.base import FitData, as_numbers
from sknw.estimators.incremental import IncrementalSmoother
from sknw.estimators.user_warnings import warn_user
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

    @property
    def _selector(self) -> str | None:
        """The name of the rule or the criterion that chooses the bandwidth; None where it is given."""
        return self.bandwidth if isinstance(self.bandwidth, str) else None

    @property
    def _has_steps(self) -> bool:
        return self._selector in CRITERIA

    def _fit_data(self, data: FitData, on_step: Callable[[], bool], start: None) -> None:
        training, kernel = data.training, resolve_kernel(self.kernel)
        if self._selector in ("aicc", "gcv") and data.rule is not None:
            raise ValueError(
                f'bandwidth="{self._selector}" leaves no sample out and cannot use cv or groups: choose "loo", which '
                "predicts each sample without its group or fold."
            )
        if self._selector is not None and isinstance(kernel, Pairwise):
            self._warn_of_no_width(kernel, training.X[:_TRIED_ROWS] - training.center)
        ridge = getattr(self, "ridge", None)  # None pools weighted means
        line = None if ridge is None else LocalLinearSpec.of(training, 0.0)
        fixed_ridge = None if isinstance(ridge, str) else float(ridge or 0.0)
        n_columns = 2 if line is None else 1 + n_line_columns(line.x.shape[1], 1)
        n_rows = n_validation_rows(len(training), len(training.center), kernel, n_columns=n_columns)
        validation = self._validation(data, n_rows)
        search = best = None
        if self._has_steps:
            search, best = self._search(data, kernel, validation, line, fixed_ridge, on_step)
            self.bandwidth_ = search.bandwidths[search.best_index]
        else:
            self.bandwidth_ = self._given_bandwidth(training)
        predictions = None if best is None else best.predictions
        smoother = self._build_smoother(training, kernel, _inverse(self.bandwidth_), validation, 1, line)
        if line is not None:
            criterion = Criterion(search.criterion if search else "loo", smoother, training, validation, fixed_ridge)
            self.ridge_ = criterion.best_ridge(1.0) if best is None else best.ridge
            self.slope_count_ = 0.0
            if fixed_ridge is None:
                path = best.path if best is not None and best.path is not None else criterion.ridge_path(self.ridge_)
                self.slope_count_, predictions = path.best_count(self.ridge_)
            smoother = smoother.with_ridge(self.ridge_).with_count(self.slope_count_)
        self._store_fit(data, smoother, validation, predictions)
        if search is not None:
            is_loo = search.criterion == "loo" and data.rule is None
            found = self._autocorrelation(len(validation)) if is_loo else None
            search = replace(search, autocorrelation=found)
            self._warn_of_fit(validation, search.criterion, found)
        self.bandwidth_search_ = search

    def _search(
        self,
        data: FitData,
        kernel: Kernel,
        validation: Validation,
        line: LocalLinearSpec | None,
        fixed_ridge: float | None,
        on_step: Callable[[], bool],
    ) -> tuple[BandwidthSearch, Evaluation | None]:
        """As `search_bandwidth`; what it is made of takes much memory, and goes with it."""
        training = data.training
        smoother = self._build_smoother(training, kernel, 1 / training.scales, validation, _PASSES_OF_A_SEARCH, line)
        judged = validation, fixed_ridge, self._datafit(), data.validation
        return search_bandwidth(Criterion(str(self._selector), smoother, training, *judged), on_step)

    @property
    def _remedy(self) -> str:
        return "Leave out features that do not matter, or learn a weight for each by attention pooling."

    def _autocorrelation(self, n_rows: int) -> Autocorrelation | None:
        """That of leave-one-out residuals, if there are residuals; `n_rows` were validated."""
        return None

    def _warn_of_no_width(self, kernel: Pairwise, points: np.ndarray) -> None:
        """Warn where dividing inputs by a bandwidth does more to a kernel than to change its width."""
        if not kernel.falls_with_distance(points):
            warn_user(
                f"bandwidth={self.bandwidth!r} cannot choose a width for kernel={self.kernel!r}, which is no falling "
                "function of the difference of two inputs: dividing them by a bandwidth also moves its period, or its "
                'origin. For a periodic feature use periodic_features with a kernel such as "gaussian"; else give '
                "bandwidth=1.0 and choose the kernel's own parameters by GridSearchCV over kernel."
            )

    def _fitted_metric(self) -> tuple[np.ndarray, float | np.ndarray | None]:
        return _inverse(self.bandwidth_), getattr(self, "ridge_", None)

    def _given_bandwidth(self, training: TrainingSet) -> np.ndarray:
        """The bandwidths that are given as numbers, or by a rule of thumb."""
        n_features = len(training.scales)
        if self._selector is not None:
            return rule_of_thumb(self._selector, len(training), n_features) * training.scales
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
