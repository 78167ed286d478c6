"""Compiled sums over the pairs of near blocks, any number of features.

Queries and keys are put into trees of small blocks. Two blocks whose boxes are so far apart that the kernel ends
before, or that all it adds is rounding, are passed over; the others are summed as by brute force, a few queries and a
block of keys at a time. Trees follow the data: gaps, clusters and outliers cost nothing.

numba is imported, and the loops compiled (once a machine: they are cached on disk), when the first request arrives.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from sknw._kernel_sums import costs
from sknw._kernel_sums.registry import EXPONENTS, Engine, form_refusal, metric_form_refusal, register
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.tree.compact import CompactSums
from sknw._kernel_sums.tree.constants import BLOCK
from sknw._kernel_sums.tree.exponential import SMALLEST_WEIGHT, exponential_sums, skipped_share
from sknw._kernel_sums.tree.metric_gradient import metric_sums
from sknw._kernel_sums.tree.pairs import Pairs
from sknw._kernel_sums.tree.sparse_weights import sparse_weights

# Queries and keys whose distances stand for all others when the cost is estimated.
_SAMPLE = (48, 512)
# With fewer pairs no sample is looked at for a kernel that does not end.
_FEW_PAIRS = 2e7
# A weight exp(-x) with a larger x is zero beside every other one.
_LARGEST_EXPONENT = 1e100


class Tree(Engine):
    """Near blocks only."""

    name = "pruned"
    leaves_out_ranges = True
    least_seconds = 1e-9 * costs.TREE_CALL

    def refusal(self, request: KernelSumRequest) -> str | None:
        """Kernels whose formula the compiled loops know."""
        if reason := form_refusal(request, takes_slopes=True):
            return reason
        form = request.form
        if form.family == "exponential":
            if request.index.smallest_weight < SMALLEST_WEIGHT:
                return "computes with sample weights that span at most 270 orders of magnitude"
        elif form.power not in (1, 2, 3) or form.exponent not in EXPONENTS:
            return f"computes (1 - u^power)^exponent only for a power of 1, 2 or 3 and the exponents {EXPONENTS}"
        return None

    def estimate_seconds(self, request: KernelSumRequest) -> float:
        """To build trees, and the pairs of blocks in reach; or all pairs."""
        call = costs.TREE_CALL if request.kernel.is_compact else costs.TREE_CALL_EXPONENTIAL
        trees, all_pairs = _cost_of_trees(request), _cost_of_all_pairs(request)
        return 1e-9 * (call + (trees + _share_in_reach(request) * all_pairs if trees < all_pairs else all_pairs))

    def compile_seconds(self, request: KernelSumRequest) -> float:
        """Brute force computes exponentials by loops that others need as well."""
        if request.kernel.is_compact:
            return 0.0
        from sknw._kernel_sums.numba import has_compiled
        from sknw._kernel_sums.tree import exponential_loops

        return 0.0 if has_compiled(exponential_loops.add_exponential_sums) else costs.TREE_COMPILING

    def compute(self, request: KernelSumRequest) -> ScaledSums:
        """The sums; distances are computed once for all bandwidths."""
        pays = _trees_pay(request)
        pairs = Pairs(request, pays)
        return CompactSums(pairs).compute() if request.kernel.is_compact else exponential_sums(pairs, pays)[0]

    def weight_pairs(self, request: KernelSumRequest, negligible: float, top_k: int | None) -> csr_array:
        """As of `registry.ListsPairs`."""
        request = replace(request, bandwidths=request.bandwidths[:1], index=request.index.without_columns())
        pays = _trees_pay(request)
        pairs = Pairs(request, pays)
        if request.kernel.is_compact:
            weights = CompactSums(pairs).weights()
            weights.eliminate_zeros()
        else:
            weights = sparse_weights(pairs, pays, negligible, top_k)
        weights.sort_indices()
        return weights

    def metric_refusal(self, request: KernelSumRequest) -> str | None:
        """Kernels exp(-rate u^power) with a power up to 2."""
        return metric_form_refusal(request) or self.refusal(request)

    def metric_sums(self, request: KernelSumRequest, x: np.ndarray, cotangent: Any) -> Any:
        """As of `registry.DifferentiatesMetric`."""
        return metric_sums(request, x, cotangent, _trees_pay(request))


register(Tree())


def _trees_pay(request: KernelSumRequest) -> bool:
    """Whether trees are built sooner than all pairs are looked at; for a few queries they are not."""
    return _cost_of_trees(request) < _cost_of_all_pairs(request)


def _cost_of_all_pairs(request: KernelSumRequest) -> float:
    """Somewhat longer than tiles, which may round distances otherwise and so need fewer instructions."""
    form, d = request.form, request.keys.shape[1]
    pair = costs.TREE_PAIR_GAUSSIAN if form.family == "exponential" and form.power == 2 else costs.TREE_PAIR
    return (pair + costs.TREE_PAIR_FEATURE * d) * costs.tiled_pair(form, d, request.columns.shape[1]) * request.n_pairs


def _cost_of_trees(request: KernelSumRequest) -> float:
    """A point on each level of a tree costs the same, and more with many features."""
    levels = sum(len(points) * math.log2(2 + len(points) / BLOCK) for points in (request.queries, request.keys))
    return costs.TREE_POINT * (1 + request.keys.shape[1] / 10) * levels


def _share_in_reach(request: KernelSumRequest) -> float:
    """About which share of all pairs belongs to blocks in reach of each other, on average over the bandwidths.

    Blocks have the size of balls that hold as many keys, which adds to the reach. Of few pairs, and with one feature,
    for which there are better engines, all are in reach of a kernel that does not end: a sample would take too long.
    """
    n_pairs = len(request.queries) * len(request.keys)
    if not request.kernel.is_compact and (n_pairs < _FEW_PAIRS or request.keys.shape[1] == 1):
        return 1.0
    queries, keys = (
        points[:: -(-len(points) // most)]
        for points, most in zip((request.queries, request.keys), _SAMPLE, strict=True)
    )
    distance = cdist(queries, keys)
    of_block = min(int(BLOCK / len(request.keys) * distance.size), distance.size - 1)
    size = np.partition(distance, of_block, axis=None)[of_block]
    is_compact, h = request.kernel.is_compact, request.bandwidths[:, np.newaxis]
    reach = h if is_compact else _reach_of_exponential(request, distance)
    return float(np.mean(distance <= (reach + size)[..., np.newaxis]))


def _reach_of_exponential(request: KernelSumRequest, distance: np.ndarray) -> np.ndarray:
    """How far from each query of a sample keys are not skipped, for its distances from a sample of keys: (b, m)."""
    form, bandwidths = request.form, request.bandwidths[:, np.newaxis]
    with np.errstate(over="ignore"):
        exponent = form.rate * (distance / bandwidths[..., np.newaxis]) ** form.power
        exponent = np.minimum(exponent, _LARGEST_EXPONENT)  # differences of infinite ones are no numbers
        least = exponent.min(axis=2)
        mass = np.exp(least[..., np.newaxis] - exponent).sum(axis=2)
        log_mass = np.log(mass) - least + np.log(request.weights.sum() / distance.shape[1])
        log_least = log_mass + np.log(skipped_share(request.index))
        return bandwidths * np.maximum(-log_least / form.rate, 0.0) ** (1 / form.power)
