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
from sknw._kernel_sums.request import KernelSumRequest, LeaveOut
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
    """The sums over all other inputs, and over the other samples at each query's own input.

    The own sample is taken from the sum of the weights at the input, not from that of all: so no digit is lost.
    """
    assert request.leave_out is not None
    own, index, (_, place) = request.leave_out.index, request.index, _inputs(request.index)
    at = np.where(own < 0, -1, place[own])
    other_inputs = ENGINES["dense"].compute(replace(merged, leave_out=LeaveOut.own(at)))
    columns = np.column_stack([np.ones(len(index)), index.columns])
    others = merged.weights[at, np.newaxis] * np.column_stack([np.ones(len(at)), merged.columns[at]])
    others -= index.weights[own, np.newaxis] * columns[own]
    others[(own < 0) | (np.bincount(place)[at] == 1)] = 0.0  # a sample alone at its input
    at_input = np.tile(request.kernel.profile(np.zeros(1)) * others, (len(request.bandwidths), 1, 1))
    return other_inputs.merge(ScaledSums.of_columns(at_input, np.zeros(at_input.shape[:2])))


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
