"""An engine for inputs that repeat, such as ages in years: samples at the same place are merged, and summed once.

With v distinct places among n keys there are v kernel evaluations for each query instead of n, and the sums are those
of the dense engine for keys of weight W_p = sum of w_j and value sum of w_j V_j / W_p, both over the samples at p.
"""

from dataclasses import replace

import numpy as np

from sknw._kernel_sums import dense
from sknw._kernel_sums.request import KernelSumRequest, LeaveOneOut
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw.kernels import Pairwise

START_UP = 0.0


def is_usable_for(problem: KernelSumRequest) -> bool | str:
    """Functions of the distance, and keys of which there are two at a place or more, on average."""
    if isinstance(problem.kernel, Pairwise):
        return "takes kernels that are functions of the distance"
    n_places, n = len(_places(problem)[0]), len(problem.keys)
    return True if 2 * n_places <= n else f"takes keys that repeat, and {n_places} of {n} are different"


def seconds(problem: KernelSumRequest) -> float:
    """About how long `compute` takes: to sort the keys, then the dense engine on the places."""
    n = len(problem.keys)
    return 1e-7 * n * np.log2(n + 1) + dense.seconds(problem) * len(_places(problem)[0]) / n


def compute(problem: KernelSumRequest) -> ScaledSums:
    """The sums of `problem`."""
    keys, place = _places(problem)
    weights = _at_places(problem.weights, place)
    values = _at_places(problem.weights[:, np.newaxis] * problem.values, place) / weights[:, np.newaxis]
    merged = replace(problem, keys=keys, weights=weights, values=values, own=None, of_keys=None)
    if problem.own is None:
        return dense.compute(merged)
    return _leave_one_out(problem, merged, place)


def _leave_one_out(problem: KernelSumRequest, merged: KernelSumRequest, place: np.ndarray) -> ScaledSums:
    """Sums without a part of each query's own key.

    What is taken away is taken from the weight of its place, not from the sum: beside a place that is left empty no
    digit is lost.
    """
    own, at = problem.own, place[problem.own.index]
    removed = (1.0 - own.retained) * problem.weights[own.index]
    is_alone = np.bincount(place)[at] == 1
    left = np.where(is_alone, own.retained * merged.weights[at], merged.weights[at] - removed)
    sums = dense.compute(replace(merged, own=LeaveOneOut(at, left / merged.weights[at])))
    # of the mean value of the place a part was taken; it was to be the own value
    too_much = removed[:, np.newaxis] * (problem.values[own.index] - merged.values[at])
    at_zero = problem.kernel.profile(np.zeros(1)) * np.exp(-sums.log_scale)
    return replace(sums, moments=sums.moments - at_zero[..., np.newaxis] * too_much)


def _places(problem: KernelSumRequest) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys (v, d), and which of them each key is (n,); kept for other problems with the same keys."""

    def make() -> tuple[np.ndarray, np.ndarray]:
        keys, place = np.unique(problem.keys, axis=0, return_inverse=True)
        return keys, place.ravel()

    return problem.once("places", make)


def _at_places(columns: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Sums of the rows of `columns` (n, ...) over the samples at each place: (v, ...)."""
    sums = np.zeros((place.max() + 1, *columns.shape[1:]))
    np.add.at(sums, place, columns)
    return sums
