"""Cheap surrogates of the selection criterion for large n: a random subsample, or (d = 1) binned data.

With m the prediction at the mean of a bin without one of its samples, the mean of the squared leave-one-out residuals
in the bin is

    (y_mean - m)^2 + variance / (1 - a)^2,

a the weight of a sample in its own prediction. All of this follows from the sums without the whole bin: nothing is a
difference of numbers that are almost equal, as it is between all samples and the others where these are far away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from sknw._kernel_sums.registry import kernel_sums
from sknw._kernel_sums.request import LeaveOut
from sknw._selection.criterion import NONE_SO_FAR, Criterion, Least
from sknw._selection.grid import COARSE_STEP, FINE_STEP, effective_support
from sknw._selection.line_search import OCTAVE
from sknw._selection.ridge_path import gcv_or_aicc
from sknw._selection.rules import evaluations_per_row
from sknw._smoothing.bins import Bins, first_of_bins
from sknw._smoothing.smoother import Queries, Smoother

# The largest number of bins, the least mean number of samples in a bin, and of bin widths in the smallest bandwidth.
_MAX_BINS, _SAMPLES_PER_BIN, _LEAST_WIDTHS = 5000, 4, 3.0
# A subsample is half of the samples, at most the first number, and scores the second number of rows.
_MAX_SUBSAMPLE, _SUBSAMPLE_ROWS = 20_000, 1000
# The same two numbers of local lines, whose subsample is all samples up to the first.
_MAX_SUBSAMPLE_OF_LINES, SCAN_ROWS = 10_000, 2000
# Where the sum of a row counts for at most the first number of kernel evaluations, as fast sums of one feature do, the
# subsample of lines is all samples up to the second number.
_FEW_EVALUATIONS, _MAX_SUBSAMPLE_OF_FAST_LINES = 100, 50_000
# A kernel that is no function of the distance may be zero at distance zero; a ratio to this is finite.
_LEAST_AT_ZERO = 1e-290
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

    criterion: Criterion
    bandwidth_inflation: float

    @classmethod
    def of(cls, criterion: Criterion) -> SubsampledCriterion:
        """The surrogate of a criterion of many samples; the subsample does not depend on `random_state`."""
        n, d = criterion.smoother.keys.shape
        if criterion.smoother.line is None:
            n_samples, n_rows = min(_MAX_SUBSAMPLE, n // 2), _SUBSAMPLE_ROWS
        else:
            is_fast = evaluations_per_row(n, d, criterion.smoother.kernel) <= _FEW_EVALUATIONS
            most = _MAX_SUBSAMPLE_OF_FAST_LINES if is_fast else _MAX_SUBSAMPLE_OF_LINES
            n_samples, n_rows = min(most, n), min(SCAN_ROWS, len(criterion.validation))
        some = criterion.on_rows(n_rows) if n_samples == n else criterion.subsample(n_samples, n_rows)
        return cls(some, (n / len(some.smoother.keys)) ** (1 / (4 + d)))

    def __call__(self, factors: np.ndarray, least: Least = NONE_SO_FAR) -> tuple[np.ndarray, np.ndarray]:
        """Scores and numbers of unsupported rows, as those of a `Criterion`."""
        score, factor = least
        return self.criterion(self.bandwidth_inflation * factors, (score, self.bandwidth_inflation * factor))

    def n_wide(self, grid: np.ndarray) -> int:
        """How many bandwidths of a descending grid are large enough: in coarse steps few samples see each other."""
        if self.bandwidth_inflation == 1.0:  # of all samples
            return len(grid)
        is_fine = grid[:-1] / grid[1:] < 2.0 ** ((FINE_STEP + COARSE_STEP) / (2 * OCTAVE))
        return 1 + int(np.count_nonzero(is_fine))

    @property
    def has_most_samples(self) -> bool:
        """Whether more than half of the samples are here: they tell of all bandwidths that are large enough."""
        return self.bandwidth_inflation < 2.0 ** (1 / (4 + self.criterion.smoother.keys.shape[1]))

    @property
    def n_local_rows(self) -> int:
        """See `Criterion.local_subsamples`, which takes four times as many of one feature."""
        smoother = self.criterion.smoother
        is_of_means = smoother.line is None
        return _SUBSAMPLE_ROWS if is_of_means or smoother.keys.shape[1] > 1 else _SUBSAMPLE_ROWS // 4

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
    rest: np.ndarray  # the mean weight of the bin without one of its samples, (s,)
    variances: np.ndarray  # of the values around their mean, averaged over outputs, (s,)

    @classmethod
    def of(cls, smoother: Smoother, sample_weight: np.ndarray, n_bins: int) -> BinnedData:
        """The samples of a smoother, sorted by their one feature, in about `n_bins` bins."""
        width = _bin_width(smoother.keys[:, 0], n_bins)
        bins = Bins(sample_weight, first_of_bins(smoother.keys[:, 0], width))
        n_each = np.diff(bins.first, append=len(sample_weight))
        values = bins.mean(smoother.values)
        rest = bins.mean((np.repeat(bins.mass, n_each) - sample_weight)[:, np.newaxis])[:, 0]
        variances = bins.mean((smoother.values - np.repeat(values, n_each, axis=0)) ** 2).mean(axis=1)
        return cls(bins.merge(smoother, values), width, bins.first, bins.mass, rest, variances)

    def leave_one_out(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(y_mean - m)^2, averaged over outputs, 1 - a, a / unit, and which bins are a sample alone: (b, s) each.

        With D and M the kernel mass and the mean of the other bins, and K = K(0),

            y_mean - m = D / (D + K rest) (y_mean - M),    a = K unit / (D + K mass),    unit = mass - rest.
        """
        smoother, bins = self.smoother, np.arange(len(self.mass))
        leave_out = LeaveOut.own(bins)
        request = smoother.request(Queries(smoother.keys, smoother.keys[:, :0], leave_out), factors)
        sums = kernel_sums(request, smoother.algorithm)
        at_zero = np.maximum(request.weight_at_zero() / self.mass.max(), _LEAST_AT_ZERO)
        with np.errstate(divide="ignore", invalid="ignore"):
            others = sums.mass * np.exp(sums.log_scale - np.log(at_zero))  # D / K
            share = np.where(others + self.rest > 0, others / (others + self.rest), 1.0)
        is_alone = (sums.mass == 0) & (self.rest == 0)
        means, _ = sums.into_means()
        squares = ((smoother.values - means) ** 2).mean(axis=2) * share**2
        return squares, (others + self.rest) / (others + self.mass), 1.0 / (others + self.mass), is_alone


@dataclass(frozen=True, eq=False)
class BinnedCriterion:
    """The criterion of the samples of one feature, merged in bins."""

    # what a refinement on all samples must be expected to gain, relative to the score
    least_gain: ClassVar[float] = 1e-6
    has_most_samples: ClassVar[bool] = True
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

    def __call__(self, factors: np.ndarray, _: Least = NONE_SO_FAR) -> tuple[np.ndarray, np.ndarray]:
        """Scores and numbers of unsupported samples, as those of a `Criterion`."""
        name, n = self.criterion.name, self.binned.mass.sum()
        weights, variances = self.binned.mass / n, self.binned.variances
        squares, without_own, own_per_unit, is_alone = self.binned.leave_one_out(factors)
        if name == "loo":
            is_several = np.broadcast_to(self.binned.rest > 0, squares.shape)
            scores = (squares + np.divide(variances, without_own**2, out=0.0 * squares, where=is_several)) @ weights
        else:
            mean_squares = (variances + squares * without_own**2) @ weights
            by_bandwidth = zip(mean_squares, 1.0 - own_per_unit @ weights, strict=True)
            scores = np.array([gcv_or_aicc(name, mean_square, dof, n) for mean_square, dof in by_bandwidth])
        if self.criterion.smoother.policy in ("nan", "raise"):
            scores = np.where(is_alone[:, self._has_rows].any(axis=1), np.inf, scores)
        return np.where(np.isnan(scores), np.inf, scores), np.count_nonzero(is_alone, axis=1)

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
        n_occupied = len(first_of_bins(some, width / 2.0))
        if n_occupied > n_bins:
            break
        width /= 2.0
    return width
