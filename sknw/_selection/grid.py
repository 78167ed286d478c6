"""The bandwidths of a scan, and the local minima on them."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from sknw.kernels import Kernel

# From one bandwidth of the scan to the next; the Gaussian weights at c / sqrt(2) are the squares of those at c.
STEP = np.sqrt(2.0)
# Bandwidths below those at which a tenth of the samples see their nearest neighbour change little from one to the next.
COARSE_STEP = 2.0
# exp(-18) = 1.5e-8: where weights stop to matter. The Gaussian reaches 6 bandwidths so far.
_NEGLIGIBLE_EXPONENT, _GAUSSIAN_REACH = 18.0, 6.0
# Keys whose spacing is looked at, and among how many.
_SPACED_KEYS, _MOST_KEYS = 2000, 20_000
# Scores, relative to the outputs' variance, that differ by less are equal; the larger bandwidth wins.
SCORE_TOL = 1e-12


def bandwidth_grid(keys: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, bool]:
    """Bandwidths to scan for keys (n, d), descending, and whether two keys are the same."""
    spacing, has_equal = _spacing(keys)
    if not len(spacing):
        return np.ones(1), has_equal
    reach = effective_support(kernel)
    largest = 4.0 * np.linalg.norm(np.ptp(keys, axis=0)) / min(reach, 1.0)
    smallest = spacing.min() / 4.0 / max(reach, 1.0)
    typical = max(np.quantile(spacing, 0.1) / 4.0 / max(reach, 1.0), smallest)
    n_fine = int(np.ceil(np.log(largest / typical) / np.log(STEP)))
    fine = largest * 2.0 ** (-np.arange(n_fine + 1) / 2.0)  # every other exactly half: engines keep what they can
    n_coarse = max(int(np.ceil(np.log(fine[-1] / smallest) / np.log(COARSE_STEP))), 0)
    coarse = fine[-1] / COARSE_STEP ** np.arange(1, n_coarse + 1)
    return np.append(fine, coarse), has_equal


def _spacing(keys: np.ndarray) -> tuple[np.ndarray, bool]:
    """Distances from some keys (n, d) to the nearest other that is not the same; and whether two are the same.

    In several features and with many keys they are from a part of them, scaled to how near all would be.
    """
    n, d = keys.shape
    if d == 1:
        x = keys[:, 0]
        gaps = np.diff(x if np.all(x[:-1] <= x[1:]) else np.sort(x))
        has_equal = not np.all(gaps)
        gaps = gaps[gaps > 0] if has_equal else gaps
        if not len(gaps):
            return gaps, has_equal
        # some of the distinct keys, each between two gaps
        right = np.arange(0, len(gaps) + 1, -(-(len(gaps) + 1) // _SPACED_KEYS))
        return np.minimum(gaps[np.maximum(right - 1, 0)], gaps[np.minimum(right, len(gaps) - 1)]), has_equal
    step = -(-n // _MOST_KEYS)
    distinct = np.unique(keys[::step], axis=0)
    has_equal = len(distinct) < len(keys[::step]) or (step > 1 and _has_equal(keys))
    if len(distinct) == 1:
        return np.empty(0), has_equal
    # of so many keys that it takes little time
    some = distinct[:: -(-len(distinct) // _SPACED_KEYS)]
    spacing = cKDTree(distinct).query(some, k=[2])[0][:, 0] / step ** (1 / d)
    return spacing[spacing > 0], has_equal  # the square of a difference may underflow


def _has_equal(keys: np.ndarray) -> bool:
    """Whether two keys are the same: of those with the same weighted sum of coordinates."""
    sums = keys @ np.sqrt(np.arange(2.0, 2.0 + keys.shape[1]))
    order = np.argsort(sums)
    sums = sums[order]
    same = np.flatnonzero(sums[1:] == sums[:-1])
    return bool(np.any(np.all(keys[order[same]] == keys[order[same + 1]], axis=1)))


def effective_support(kernel: Kernel) -> float:
    """How far a kernel reaches in bandwidths, in units of how far the named ones do."""
    if kernel.form is not None and not kernel.is_compact:
        return (_NEGLIGIBLE_EXPONENT / kernel.form.rate) ** (1 / kernel.form.power) / _GAUSSIAN_REACH
    return kernel.support if kernel.is_compact else 1.0


def local_minima(scores: np.ndarray) -> np.ndarray:
    """Indices of the local minima of finite scores, of a stretch that is level but for rounding its first."""
    before, after = np.append(np.inf, scores[:-1]), np.append(scores[1:], np.inf)
    return np.flatnonzero(np.isfinite(scores) & (scores < before - SCORE_TOL) & (scores <= after + SCORE_TOL))
