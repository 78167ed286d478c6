"""An engine for inputs that repeat, such as ages in years: samples with the same input are merged, and summed once.

With v distinct inputs among n keys there are v kernel evaluations for each query instead of n. The sums are those of
the dense engine for keys of weight W_p = sum of w_j and columns sum of w_j V_j / W_p, both over the samples at input p.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sknw._kernel_sums import dense
from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.registry import ENGINES, Engine, register
from sknw._kernel_sums.request import KernelSumRequest, LeaveOneOut
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw.kernels import Pairwise


class Merged(Engine):
    """Sums over the distinct inputs."""

    name = "merged"
    is_compiled = False

    def refusal(self, request: KernelSumRequest) -> str | None:
        """Takes functions of the distance, and keys of which on average two or more are equal."""
        if isinstance(request.kernel, Pairwise):
            return "takes kernels that are functions of the distance"
        n_inputs, n = len(_inputs(request.index)[0]), len(request.index)
        return None if 2 * n_inputs <= n else f"takes keys that repeat, and {n_inputs} of {n} are different"

    def estimate_seconds(self, request: KernelSumRequest) -> float:
        """The time to merge the keys, and that of the dense engine on the distinct inputs."""
        n = len(request.index)
        of_all = ENGINES["dense"].estimate_seconds(request)
        return 1e-7 * n * np.log2(n + 1) + of_all * len(_inputs(request.index)[0]) / n

    def compute(self, request: KernelSumRequest) -> ScaledSums:
        """The sums over the distinct inputs, in the dense engine."""
        index = request.index.of_columns("merged", lambda: _merged(request.index))
        merged = replace(request, index=index, leave_out=None)
        if request.leave_out is None:
            return ENGINES["dense"].compute(merged)
        return _leave_one_out(request, merged)

    def weight_rows(self, request: KernelSumRequest) -> Callable[[slice], np.ndarray]:
        """A capability: rows of weights, those of an input divided among its samples by their sample weights."""
        index = request.index.of_columns("merged", lambda: _merged(request.index))
        merged, (_, place) = replace(request, index=index, leave_out=None), _inputs(request.index)
        share = request.weights / index.weights[place]
        return lambda rows: dense.weight_rows(merged, rows)[:, place] * share


def _leave_one_out(request: KernelSumRequest, merged: KernelSumRequest) -> ScaledSums:
    """The sums without a part of each query's own key.

    The part is taken from the weight of the input, not from the sum: if no weight is left there, no digit is lost.
    """
    own, index, (_, place) = request.leave_out, request.index, _inputs(request.index)
    is_key = own.index >= 0
    at = np.where(is_key, place[own.index], -1)
    removed = np.where(is_key, (1.0 - own.retained) * index.weights[own.index], 0.0)
    is_alone = np.bincount(place)[at] == 1
    weight = merged.weights[at]
    retained = np.where(is_alone, own.retained, (weight - removed) / weight)
    sums = ENGINES["dense"].compute(replace(merged, leave_out=LeaveOneOut(at, np.where(is_key, retained, 0.0))))
    # the part was taken of the mean columns of the input, instead of the columns of the query's own key
    too_much = removed[:, np.newaxis] * (index.columns[own.index] - merged.columns[at])
    at_zero = request.kernel.profile(np.zeros(1)) * np.exp(-sums.log_scale)
    return replace(sums, moments=sums.moments - at_zero[..., np.newaxis] * too_much)


def _inputs(index: KeyIndex) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys (v, d), and which of them each key is (n,); computed once for all requests with these keys."""

    def make() -> tuple[np.ndarray, np.ndarray]:
        keys, place = np.unique(index.keys, axis=0, return_inverse=True)
        return keys, place.ravel()

    return index.of_keys("distinct", make)


def _merged(index: KeyIndex) -> KeyIndex:
    """The distinct keys with the sums of the weights, and the weighted means of the columns, of their samples."""
    keys, place = _inputs(index)
    weights, columns = np.zeros(len(keys)), np.zeros((len(keys), index.columns.shape[1]))
    np.add.at(weights, place, index.weights)
    np.add.at(columns, place, index.weights[:, np.newaxis] * index.columns)
    return KeyIndex(keys, weights, columns / weights[:, np.newaxis], index.offset_magnitude)


register(Merged())
