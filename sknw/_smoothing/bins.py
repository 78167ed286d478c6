"""Samples of one feature merged in bins, intervals of a regular grid.

To a kernel much wider than the bins, the samples of a bin are all at their mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sknw._kernel_sums.index import KeyIndex
from sknw._smoothing.smoother import Smoother


@dataclass(frozen=True, eq=False)
class Bins:
    """Sorted samples with their weights w (n,), those of a bin one after the other."""

    weights: np.ndarray  # of mean 1, (n,)
    first: np.ndarray  # the first sample of each bin, (s,)

    @cached_property
    def mass(self) -> np.ndarray:
        """sum_i w_i over the samples of each bin, (s,)."""
        return np.add.reduceat(self.weights, self.first)

    def mean(self, columns: np.ndarray) -> np.ndarray:
        """sum_i w_i V_i / sum_i w_i of columns V (n, k), (s, k)."""
        return np.add.reduceat(self.weights[:, np.newaxis] * columns, self.first) / self.mass[:, np.newaxis]

    def merge(self, smoother: Smoother, values: np.ndarray) -> Smoother:
        """The smoother of the samples with each bin as one sample, which pools `values` (s, k)."""
        line = None if smoother.line is None else replace(smoother.line, x=self.mean(smoother.line.x))
        unit = float(self.mass.max())
        index = KeyIndex(self.mean(smoother.keys), self.mass / unit, values, smoother.index.offset_magnitude)
        return replace(smoother, index=index, line=line, unit=unit).with_values(values)


def first_of_bins(points: np.ndarray, width: float) -> np.ndarray:
    """The first of the sorted points in each bin."""
    index = np.floor(points / width)
    return np.append(0, np.flatnonzero(index[1:] != index[:-1]) + 1)
