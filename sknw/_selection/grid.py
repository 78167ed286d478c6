"""The grid of bandwidths that a search scans, and the local minima on it."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import cKDTree

from sknw._kernel_sums.index import KeyIndex
from sknw._selection.line_search import OCTAVE, lattice_values, score_tolerance
from sknw.kernels import Kernel

# Lattice points between bandwidths of the scan: a factor of sqrt(2), with which the Gaussian weights at one bandwidth
# are the squares of those at the one before, and of 2 where fewer than a tenth of the samples have a neighbour near.
FINE_STEP, COARSE_STEP = OCTAVE // 2, OCTAVE
# Weights below exp(-18) = 1.5e-8 are negligible; those of the Gaussian are at 6 bandwidths.
_NEGLIGIBLE_EXPONENT, _GAUSSIAN_REACH = 18.0, 6.0
# The largest number of keys whose spacing is measured, and of keys among which it is measured.
_SPACED_KEYS, _MOST_KEYS = 2000, 20_000
# A kernel is as narrow as the spacing of samples where, of the distances of samples to the nearest other one, the
# quantile of the first number is the second number of effective supports.
_TYPICAL, _SUPPORTS_PER_SPACING = 0.1, 2.0


def bandwidth_grid(index: KeyIndex, kernel: Kernel) -> tuple[np.ndarray, bool]:
    """Bandwidths to scan for the keys of an index, in descending order, and whether two keys are equal.

    They are lattice values from at least four times the diameter of the keys to at most a quarter of their smallest
    spacing; less or more where the effective support of the kernel is more or less than one bandwidth.
    """
    spacing, has_equal = _spacing(index)
    if not len(spacing):
        return lattice_values([0]), has_equal
    support = effective_support(kernel)
    largest = 4.0 * np.linalg.norm(np.ptp(index.ranges, axis=0)) / min(support, 1.0)
    smallest = spacing.min() / 4.0 / max(support, 1.0)
    typical = max(np.quantile(spacing, _TYPICAL) / 4.0 / max(support, 1.0), smallest)
    top, turn, bottom = (OCTAVE * math.log2(value) - 0.5 for value in (largest, typical, smallest))
    # multiples of a step, whatever the data: rounding of the largest bandwidth must not move the others
    fine = FINE_STEP * np.arange(math.ceil(top / FINE_STEP), math.floor(turn / FINE_STEP) - 1, -1)
    n_coarse = max(math.ceil((fine[-1] - bottom) / COARSE_STEP), 0)
    return lattice_values([*fine, *(fine[-1] - COARSE_STEP * np.arange(1, n_coarse + 1))]), has_equal


def _spacing(index: KeyIndex) -> tuple[np.ndarray, bool]:
    """Distances from some keys to the nearest one that is not equal, and whether two keys are equal.

    With several features and many keys these are distances within a subsample, scaled to the density of all keys.
    """
    keys, groups = index.keys, index.groups
    n, d = keys.shape
    if d == 1:
        return _spacing_on_line(keys[:, 0])
    stride = -(-n // _MOST_KEYS)
    some = keys[::stride]
    if groups is not None:  # a column that says which group takes the place of those that say how far
        some = np.column_stack([np.delete(some, groups.columns, axis=1), groups.number[::stride]])
    distinct = np.unique(some, axis=0)
    has_equal = len(distinct) < len(some) or (stride > 1 and index.has_equal_keys)
    if len(distinct) == 1:
        return np.empty(0), has_equal
    some = distinct[:: -(-len(distinct) // _SPACED_KEYS)]
    if groups is None:
        spacing = _distance_to_nearest(distinct, some)
    else:  # the nearest of the own group, or along the other columns of any group, and a group further
        is_code = np.arange(distinct.shape[1]) == distinct.shape[1] - 1
        far = 2.0 * np.linalg.norm(np.ptp(distinct, axis=0)) + 1.0
        own, others = (_distance_to_nearest(distinct * by, some * by) for by in (np.where(is_code, far, 1.0), ~is_code))
        spacing = np.minimum(own, np.hypot(others, np.sqrt(groups.sq)))
    spacing = spacing / stride ** (1 / d)
    return spacing[spacing > 0], has_equal  # the square of a difference may underflow


def _spacing_on_line(x: np.ndarray) -> tuple[np.ndarray, bool]:
    """The same of one feature x (n,)."""
    gaps = np.diff(x if np.all(x[:-1] <= x[1:]) else np.sort(x))
    has_equal = not np.all(gaps)
    gaps = gaps[gaps > 0] if has_equal else gaps
    if not len(gaps):
        return gaps, has_equal
    # distinct keys at a constant stride, each between two gaps
    right = np.arange(0, len(gaps) + 1, -(-(len(gaps) + 1) // _SPACED_KEYS))
    return np.minimum(gaps[np.maximum(right - 1, 0)], gaps[np.minimum(right, len(gaps) - 1)]), has_equal


def _distance_to_nearest(points: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Of some of the points the distance to the nearest other one."""
    return cKDTree(points).query(some, k=[2])[0][:, 0]


def effective_support(kernel: Kernel) -> float:
    """The distance, in bandwidths, beyond which weights are negligible, relative to that of the Gaussian kernel.

    Of a compact kernel it is the support.
    """
    if kernel.form is not None and not kernel.is_compact:
        return (_NEGLIGIBLE_EXPONENT / kernel.form.rate) ** (1 / kernel.form.power) / _GAUSSIAN_REACH
    return kernel.support if kernel.is_compact else 1.0


def factor_of_spacing(x: np.ndarray, kernel: Kernel) -> float:
    """The factor of x (n,) that makes the kernel as narrow as their spacing; infinite without any spacing."""
    gaps = np.diff(np.sort(x))
    if not len(gaps):
        return np.inf
    typical = float(np.quantile(np.minimum(np.append(np.inf, gaps), np.append(gaps, np.inf)), _TYPICAL))
    return _SUPPORTS_PER_SPACING * effective_support(kernel) / typical if typical > 0 else np.inf


def local_minima(scores: np.ndarray) -> np.ndarray:
    """Indices of the local minima among finite scores; of a plateau the first index."""
    before, after = np.append(np.inf, scores[:-1]), np.append(scores[1:], np.inf)
    tolerance = score_tolerance(scores)
    return np.flatnonzero(np.isfinite(scores) & (scores < before - tolerance) & (scores <= after + tolerance))
