"""Cheap surrogates of the selection criterion for large n: a random subsample, or (d = 1) binned data.

A bin is an interval of a regular grid. To a kernel much wider than the bins, the samples of a bin are all at their
mean. With m the prediction there without one of them, the mean of the squared leave-one-out residuals in the bin is

    (y_mean - m)^2 + variance / (1 - a)^2,

a the weight of a sample in its own prediction. Nothing here is a difference of numbers that are almost equal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from scipy.special import expit

from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.registry import kernel_sums
from sknw._selection.criterion import Criterion
from sknw._selection.grid import COARSE_STEP, FINE_STEP, effective_support
from sknw._selection.line_search import OCTAVE
from sknw._selection.ridge_path import gcv_or_aicc
from sknw._smoothing.smoother import Smoother

# The largest number of bins, the least mean number of samples in a bin, and of bin widths in the smallest bandwidth.
_MAX_BINS, _SAMPLES_PER_BIN, _LEAST_WIDTHS = 5000, 4, 3.0
# A subsample is half of the samples, at most the first number, and scores the second number of rows.
_MAX_SUBSAMPLE, _SUBSAMPLE_ROWS = 20_000, 1000
# Points that are counted to find a bin width, and its least ratio to the largest coordinate: narrower bins would be of
# the size of rounding.
_COUNTED, _LEAST_RELATIVE_WIDTH = 20_000, 2.0**-40


@dataclass(frozen=True, eq=False)
class SubsampledCriterion:
    """The criterion of a random subsample, at bandwidths for all samples.

    For n_s among n samples of d features the best bandwidth is b = (n / n_s)^(1 / (4 + d)) times as wide, and the rise
    of the criterion beside it is b^4 times as large.
    """

    # what a refinement on all samples must be expected to gain, relative to the score
    least_gain: ClassVar[float] = 1e-5
    has_all_samples: ClassVar[bool] = False
    n_local_rows: ClassVar[int] = _SUBSAMPLE_ROWS

    criterion: Criterion
    bandwidth_inflation: float

    @classmethod
    def of(cls, criterion: Criterion) -> SubsampledCriterion:
        """The surrogate of a criterion of many samples; the subsample does not depend on `random_state`."""
        n, d = criterion.smoother.keys.shape
        n_samples = min(_MAX_SUBSAMPLE, n // 2)
        return cls(criterion.subsample(n_samples, _SUBSAMPLE_ROWS), (n / n_samples) ** (1 / (4 + d)))

    def __call__(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores and numbers of unsupported rows, as those of a `Criterion`."""
        return self.criterion(self.bandwidth_inflation * factors)

    def n_wide(self, grid: np.ndarray) -> int:
        """How many bandwidths of a descending grid are large enough: in coarse steps few samples see each other."""
        is_fine = grid[:-1] / grid[1:] < 2.0 ** ((FINE_STEP + COARSE_STEP) / (2 * OCTAVE))
        return 1 + int(np.count_nonzero(is_fine))

    @property
    def curvature_ratio(self) -> float:
        """The curvature of the criterion at a minimum relative to that of the surrogate; zero where it is not known.

        With the best ridge local lines depend so little on the bandwidth that a subsample does not show how.
        """
        return 0.0 if self.criterion.smoother.line is not None else self.bandwidth_inflation**-4


@dataclass(frozen=True, eq=False)
class BinnedData:
    """Samples merged in s bins."""

    smoother: Smoother  # of the bins
    width: float
    first: np.ndarray  # the first sample of each bin, (s,)
    mass: np.ndarray  # sums of sample weights, (s,)
    unit: np.ndarray  # the mean weight that leaving out a sample of the bin takes away: its weight, 1 at most, (s,)
    variances: np.ndarray  # of the values around their mean, averaged over outputs, (s,)

    @classmethod
    def of(cls, smoother: Smoother, sample_weight: np.ndarray, n_bins: int) -> BinnedData:
        """The samples of a smoother, sorted by their one feature, in about `n_bins` bins."""
        width = _bin_width(smoother.keys[:, 0], n_bins)
        start = _first_of_bins(smoother.keys[:, 0], width)
        mass = np.add.reduceat(sample_weight, start)
        # one column after the other, to save memory
        weights, per_mass = sample_weight[:, np.newaxis], 1.0 / mass[:, np.newaxis]
        keys = np.add.reduceat(weights * smoother.keys, start) * per_mass
        unit = np.add.reduceat(weights * np.minimum(weights, 1.0), start) * per_mass
        values = np.add.reduceat(weights * smoother.values, start) * per_mass
        n_each = np.diff(start, append=len(sample_weight))
        squares = (smoother.values - np.repeat(values, n_each, axis=0)) ** 2
        variances = (np.add.reduceat(weights * squares, start) * per_mass).mean(axis=1)
        variances[n_each == 1] = 0.0  # exactly
        index = KeyIndex(keys, mass / mass.max(), values, smoother.index.offset_magnitude)
        few = replace(smoother, values=values, index=index)
        return cls(few, width, start, mass, unit[:, 0], variances)

    def leave_one_out(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(y - m)^2 of the mean sample of each bin, m from all but one, 1 - a, and which bins have no support: (b, s).

        In its own prediction a sample has the weight a = K(0) w / (K(0) w + D), D the kernel mass of the others.
        """
        smoother = self.smoother
        queries = smoother.left_out(np.arange(len(self.mass)), self.mass / self.unit)
        request = smoother.request(queries, factors)
        sums = kernel_sums(request, smoother.algorithm)
        log_own = np.log(self.unit * request.weight_at_zero() / self.mass.max())
        log_ratio = sums.log_mass() - log_own
        means, unsupported = sums.into_means()
        squares = ((smoother.values - means) ** 2).mean(axis=2)
        return squares, expit(np.where(unsupported, -np.inf, log_ratio)), unsupported


@dataclass(frozen=True, eq=False)
class BinnedCriterion:
    """The criterion of the samples of one feature, merged in bins."""

    # what a refinement on all samples must be expected to gain, relative to the score
    least_gain: ClassVar[float] = 1e-6
    has_all_samples: ClassVar[bool] = True
    n_local_rows: ClassVar[int] = 2000
    curvature_ratio: ClassVar[float] = 1.0

    criterion: Criterion
    binned: BinnedData

    @classmethod
    def of(cls, criterion: Criterion, max_bins: int = _MAX_BINS) -> BinnedCriterion:
        """The surrogate of a criterion of weighted means of many samples of one feature."""
        n_bins = min(max_bins, len(criterion.smoother.keys) // _SAMPLES_PER_BIN)
        return cls(criterion, BinnedData.of(criterion.smoother, criterion.training.sample_weight, n_bins))

    def n_wide(self, grid: np.ndarray) -> int:
        """How many bandwidths of a descending grid are large enough: at smaller ones samples cannot be merged."""
        support = min(effective_support(self.criterion.smoother.kernel), 1.0)
        return int(np.count_nonzero(grid >= _LEAST_WIDTHS * self.binned.width / support))

    def __call__(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores and numbers of unsupported samples, as those of a `Criterion`."""
        name, n = self.criterion.name, self.binned.mass.sum()
        weights, variances = self.binned.mass / n, self.binned.variances
        squares, rest, unsupported = self.binned.leave_one_out(factors)
        if name == "loo":
            varies = np.broadcast_to(variances > 0, rest.shape)
            scores = (squares + np.divide(variances, rest**2, out=np.zeros_like(rest), where=varies)) @ weights
        else:
            residual_dof = 1.0 - ((1.0 - rest) / self.binned.unit) @ weights
            by_bandwidth = zip((variances + squares * rest**2) @ weights, residual_dof, strict=True)
            scores = np.array([gcv_or_aicc(name, mean_square, dof, n) for mean_square, dof in by_bandwidth])
        if self.criterion.smoother.policy in ("nan", "raise"):
            scores = np.where(unsupported[:, self._has_rows].any(axis=1), np.inf, scores)
        return np.where(np.isnan(scores), np.inf, scores), np.count_nonzero(unsupported, axis=1)

    @cached_property
    def _has_rows(self) -> np.ndarray:
        """Which bins hold samples that the criterion is averaged over."""
        is_row = np.zeros(len(self.criterion.smoother.keys), dtype=bool)
        is_row[self.criterion.rows] = True
        return np.logical_or.reduceat(is_row, self.binned.first)


def _bin_width(points: np.ndarray, n_bins: int) -> float:
    """The width at which sorted points lie in about `n_bins` bins of a grid, or in fewer where many are equal."""
    some = points[:: -(-len(points) // _COUNTED)]
    n_distinct, least = len(np.unique(some)), _LEAST_RELATIVE_WIDTH * max(-points[0], points[-1])
    width, n_occupied = float(np.ptp(some) or 1.0) / n_bins, 0
    while width > least and n_occupied < n_distinct:
        n_occupied = len(_first_of_bins(some, width / 2.0))
        if n_occupied > n_bins:
            break
        width /= 2.0
    return width


def _first_of_bins(points: np.ndarray, width: float) -> np.ndarray:
    """The first of the sorted points in each bin."""
    index = np.floor(points / width)
    return np.append(0, np.flatnonzero(index[1:] != index[:-1]) + 1)
