"""Cheap likenesses of a criterion, for a first look at much data: some of the samples, or all of them merged.

Samples of one feature are merged in cells of a grid. To a kernel much wider than the cells, the samples of a cell are
all at their mean. There the smoother is fitted, from the cells with the weights of their samples; and as the sum of
squares in a cell is known, so is that of the residuals of all its samples. Leaving one out divides a residual by 1 - a,
a the weight of a sample in its own prediction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.registry import kernel_sums
from sknw._selection.criterion import Criterion
from sknw._selection.ridge_path import gcv_or_aicc
from sknw._smoothing.smoother import Queries, Smoother

# Points whose cells are counted to find a width.
_SAMPLE = 20_000
_MOST_STEPS = 40
# Of the largest coordinate: narrower cells would be of the size of rounding.
_LEAST_WIDTH = 2.0**-40
# A sample with less of others in its prediction, as a part, counts as alone.
_ALONE = 1e-9


@dataclass(frozen=True, eq=False)
class SubsampledCriterion:
    """A criterion of some of the samples, at bandwidths for all of them.

    Of n_s among n samples in d features the best bandwidth is (n / n_s)^(1 / (4 + d)) times as wide; what the criterion
    rises beside it is (n / n_s)^(4 / (4 + d)) times as much.
    """

    criterion: Criterion
    bandwidth_inflation: float

    @classmethod
    def of(cls, criterion: Criterion, n_samples: int, n_rows: int) -> SubsampledCriterion:
        n, d = criterion.smoother.keys.shape
        return cls(criterion.thinned(n_samples, n_rows), (n / n_samples) ** (1 / (4 + d)))

    def __call__(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.criterion(self.bandwidth_inflation * factors)


@dataclass(frozen=True, eq=False)
class BinnedData:
    """Samples merged in s cells.

    Attributes
    ----------
    smoother : Smoother
        Of the cells.
    width : float
        Of a cell.
    first : int ndarray of shape (s,)
        The first sample of each.
    mass : ndarray of shape (s,)
        Sums of sample weights.
    unit : ndarray of shape (s,)
        What a sample of the cell leaves behind that is left out, on average: its weight, 1 at most.
    squares : ndarray of shape (s, k)
        Weighted means of the squared values.
    """

    smoother: Smoother
    width: float
    first: np.ndarray
    mass: np.ndarray
    unit: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, smoother: Smoother, sample_weight: np.ndarray, n_cells: int) -> BinnedData:
        """Of the samples of a smoother, sorted, in about so many cells."""
        width = _width_of_cells(smoother.keys[:, 0], n_cells)
        start = _first_of_cells(smoother.keys[:, 0], width)
        mass = np.add.reduceat(sample_weight, start)
        # one column after the other: each takes much memory
        weights, per_mass = sample_weight[:, np.newaxis], 1.0 / mass[:, np.newaxis]
        keys = np.add.reduceat(weights * smoother.keys, start) * per_mass
        unit = np.add.reduceat(weights * np.minimum(weights, 1.0), start) * per_mass
        values = np.add.reduceat(weights * smoother.values, start) * per_mass
        squares = np.add.reduceat(weights * smoother.values**2, start) * per_mass
        index = KeyIndex(keys, mass / mass.max(), values, smoother.index.offset_magnitude)
        few = replace(smoother, values=values, index=index)
        return cls(few, width, start, mass, unit[:, 0], squares)

    def fit(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean square residual of the samples of each cell, averaged over the outputs, and their own weight a.

        Both of shape (b, s).
        """
        smoother = self.smoother
        request = smoother.request(Queries(smoother.keys, smoother.keys[:, :0]), factors)
        sums = kernel_sums(request, smoother.algorithm)
        log_unit = np.log(self.unit * request.weight_at_zero() / self.mass.max())
        own = np.exp(log_unit - sums.log_scale) / sums.mass
        fitted, _ = sums.into_means()
        fitted[own > 1.0 - _ALONE] = 0.0
        squares = self.squares - 2.0 * fitted * smoother.values + fitted**2
        return np.maximum(squares, 0.0).mean(axis=2), own


@dataclass(frozen=True, eq=False)
class BinnedCriterion:
    """A criterion as a function of the bandwidth factor, of samples merged in cells."""

    criterion: Criterion
    likeness: BinnedData

    @classmethod
    def of(cls, criterion: Criterion, n_cells: int) -> BinnedCriterion:
        return cls(criterion, BinnedData.of(criterion.smoother, criterion.training.sample_weight, n_cells))

    def __call__(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores and numbers of unsupported samples, as those of a `Criterion`."""
        name, n = self.criterion.name, self.likeness.mass.sum()
        weights = self.likeness.mass / n
        squares, own = self.likeness.fit(factors)
        is_alone = own > 1.0 - _ALONE
        if name == "loo":
            scores = (squares / (1.0 - np.where(is_alone, 0.0, own)) ** 2) @ weights
        else:
            freedom = 1.0 - (own / self.likeness.unit) @ weights
            scores = np.array(
                [gcv_or_aicc(name, *of_one, n) for of_one in zip(squares @ weights, freedom, strict=True)]
            )
        if self.criterion.smoother.policy in ("nan", "raise"):
            scores = np.where(is_alone[:, self._has_rows].any(axis=1), np.inf, scores)
        return np.where(np.isnan(scores), np.inf, scores), np.count_nonzero(is_alone, axis=1)

    @cached_property
    def _has_rows(self) -> np.ndarray:
        """The cells of the samples that the criterion is averaged over."""
        is_row = np.zeros(len(self.criterion.smoother.keys), dtype=bool)
        is_row[self.criterion.rows] = True
        return np.logical_or.reduceat(is_row, self.likeness.first)


def _width_of_cells(points: np.ndarray, n_cells: int) -> float:
    """The width at which about `n_cells` cells of a grid have sorted points in them, or fewer where many are equal."""
    some = points[:: -(-len(points) // _SAMPLE)]
    low, high = np.quantile(some, [0.1, 0.9])
    width = float(high - low or np.ptp(some) or 1.0) / n_cells
    for _ in range(_MOST_STEPS):
        if _n_cells(some, width) <= n_cells:
            break
        width *= 2.0
    n_distinct, least = len(np.unique(some)), _LEAST_WIDTH * max(-points[0], points[-1])
    while width > least and _n_cells(some, width) < n_distinct and _n_cells(some, width / 2.0) <= n_cells:
        width /= 2.0
    return width


def _n_cells(points: np.ndarray, width: float) -> int:
    return len(_first_of_cells(points, width))


def _first_of_cells(points: np.ndarray, width: float) -> np.ndarray:
    """The first of the sorted points in each cell."""
    cell = np.floor(points / width)
    return np.append(0, np.flatnonzero(cell[1:] != cell[:-1]) + 1)
