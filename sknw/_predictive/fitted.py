"""A fitted smoother, and what predictions make of its training set once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np
from scipy.sparse import csr_array

from sknw._predictive.calibration import ConformalCalibration
from sknw._smoothing.features import FeatureMap
from sknw._smoothing.smoother import Smoother
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import Blocks, LeaveOutRule, Validation


@dataclass(frozen=True, eq=False)
class FittedSmoother:
    """A training set, and the smoother made of it.

    What predictions need beyond these is made when it is first asked for, and depends on nothing else: making it twice,
    as two threads may, does no harm.
    """

    training: TrainingSet
    smoother: Smoother
    rule: LeaveOutRule  # who was predicted without whom

    @property
    def features(self) -> FeatureMap:
        """The columns that the features become."""
        return self.training.features

    @property
    def settings(self) -> tuple[str, str]:
        """`outside` and `algorithm`, as they were in fit."""
        return self.smoother.outside, self.smoother.algorithm

    @property
    def made_training(self) -> TrainingSet:
        """The last training set that was made, of all rows or of the first of them."""
        return self.training

    @cached_property
    def shares(self) -> csr_array:
        """What each given row has of the weight of its sample: (n, n_given)."""
        return self.training.shares_of_given_rows()

    @cached_property
    def validation(self) -> Validation:
        """All left-out predictions that the rule asks for."""
        return Validation.of(self.rule, self.training)


class AppendedSmoother(FittedSmoother):
    """A fitted smoother to which rows were appended: it is made when it is first asked for, once.

    `make` gets the training set of the first rows, from which that of all is made faster.
    """

    rule = None

    def __init__(
        self,
        before: FittedSmoother,
        features: FeatureMap,
        make: Callable[[TrainingSet], tuple[TrainingSet, Smoother]],
    ) -> None:
        self._features, self._settings = features, before.settings
        self._before, self._make, self._lock = before.made_training, make, Lock()
        self._made: tuple[TrainingSet, Smoother] | None = None

    def _both(self) -> tuple[TrainingSet, Smoother]:
        with self._lock:
            if self._made is None:
                self._made = self._make(self._before)
                del self._before, self._make  # they take memory
            return self._made

    @property
    def training(self) -> TrainingSet:
        return self._both()[0]

    @property
    def smoother(self) -> Smoother:
        return self._both()[1]

    @property
    def features(self) -> FeatureMap:
        return self._features

    @property
    def settings(self) -> tuple[str, str]:
        return self._settings

    @property
    def made_training(self) -> TrainingSet:
        with self._lock:
            return self._before if self._made is None else self._made[0]


@dataclass(frozen=True, eq=False)
class FittedRegression(FittedSmoother):
    """The same with left-out residuals."""

    squares: np.ndarray  # squared left-out residuals of standardised targets, NaN where there is none, (n, k)

    @cached_property
    def with_squares(self) -> Smoother:
        """The smoother that also pools squared residuals, and where they are known: 2 k more values."""
        known = np.isfinite(self.squares)
        return self.smoother.with_means(np.hstack([np.where(known, self.squares, 0.0), known]))

    @cached_property
    def mean_squares(self) -> np.ndarray:
        """The weighted mean of the squared residuals, (k,); NaN without any."""
        known, weights = np.isfinite(self.squares), self.training.sample_weight[:, np.newaxis]
        with np.errstate(invalid="ignore"):  # 0 / 0: no residual
            return (weights * np.where(known, self.squares, 0.0)).sum(axis=0) / (weights * known).sum(axis=0)

    @cached_property
    def cluster(self) -> np.ndarray | None:
        """The number of the cluster of each sample, within which errors depend on each other: (n,); None without.

        It is the group that was given to `fit`; or of blocks of time, an interval as wide as the block.
        """
        rule = self.rule
        if rule is not None and rule.groups is not None:
            of_rows = rule.groups
        elif isinstance(rule, Blocks) and rule.half_width > 0:
            of_rows = np.floor((rule.position - rule.position.min()) / (2.0 * rule.half_width))
        else:
            return None
        return np.unique(of_rows[self.training.given_rows], return_inverse=True)[1]

    @cached_property
    def calibrated_validation(self) -> Validation:
        """Those of the samples that have a residual, as `validation_samples` may leave samples out."""
        return self.validation[np.isfinite(self.squares[self.validation.rows]).all(axis=1)]

    @cached_property
    def calibration(self) -> ConformalCalibration:
        """Nonconformity scores of the training set."""
        weights = self.training.sample_weight
        return ConformalCalibration.of_fit(self.smoother, self.squares, weights, self.calibrated_validation)

    @cached_property
    def for_intervals(self) -> Smoother:
        """The smoother; where one sample is left out at a time, with its samples in the order of the calibration."""
        return self.smoother.take(self.calibration.order) if self.rule is None else self.smoother
