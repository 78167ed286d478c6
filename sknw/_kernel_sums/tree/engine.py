"""Compiled sums of compact kernels over the pairs in reach of each other, any number of features.

Queries and keys are put into trees of small blocks. Two blocks whose boxes are further apart than the kernel reaches
are passed over; the others are summed as by brute force, a few queries and a block of keys at a time. Trees follow the
data: gaps, clusters and outliers cost nothing.

numba is imported, and the loops compiled (once a machine: they are cached on disk), when the first problem arrives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.threads import for_each_chunk
from sknw._kernel_sums.tiled import engine as fused
from sknw.kernels import EDGE, ExponentialForm, PolynomialForm

# Points of a block: many enough for the inner loops to pay, few enough to be near each other.
BLOCK = 128
# Blocks of queries that a thread takes at a time.
_CHUNK = 16
# A kernel in the terms of the compiled loops: power, exponent, and whether it is the cosine.
_TOP_HAT = (2, 0, False)
# Seconds of a call whatever its size.
_START = 1e-4
# Queries and keys whose distances stand for all others when the cost is estimated.
_SAMPLE = (64, 512)


def is_usable_for(problem: KernelSumRequest) -> bool | str:
    """Kernels of compact support whose formula the compiled loops know."""
    form = problem.kernel.form
    if form is None:
        return "computes the named kernels only, and this kernel is user-defined"
    if isinstance(form, ExponentialForm):
        return "computes compact kernels only, and this one gives every sample a weight"
    if isinstance(form, PolynomialForm) and (form.power not in (1, 2, 3) or form.exponent > 3):
        return "computes (1 - u^power)^exponent only for a power of 1, 2 or 3 and an exponent up to 3"
    return True


# As for the fused engine: the time to load numba.
START_UP = 0.4


def seconds(problem: KernelSumRequest) -> float:
    """About how long `compute` takes: 0.1 ms, to build trees, and the pairs of blocks in reach; or all pairs."""
    if not _trees_pay(problem):
        return _START + _seconds_of_all_pairs(problem)
    return _START + _seconds_of_trees(problem) + _share_in_reach(problem) * _seconds_of_all_pairs(problem)


def _trees_pay(problem: KernelSumRequest) -> bool:
    """Whether trees are built sooner than all pairs are looked at; for a few queries they are not."""
    return _seconds_of_trees(problem) < _seconds_of_all_pairs(problem)


def _seconds_of_all_pairs(problem: KernelSumRequest) -> float:
    """Somewhat longer than the fused engine, which may round distances otherwise and so need fewer instructions."""
    return (1.1 + 0.03 * problem.keys.shape[1]) * (fused.seconds(problem) - fused.START)


def _seconds_of_trees(problem: KernelSumRequest) -> float:
    """20 ns for a point on each level of a tree, and more with many features."""
    levels = sum(len(points) * np.log2(2 + len(points) / BLOCK) for points in (problem.queries, problem.keys))
    return 2e-8 * (1 + problem.keys.shape[1] / 10) * levels


def _share_in_reach(problem: KernelSumRequest) -> float:
    """About which part of all pairs belongs to blocks in reach of each other, on average over the bandwidths.

    Blocks have the size of balls that hold as many keys, which adds to the reach.
    """
    queries, keys = (
        points[:: -(-len(points) // most)]
        for points, most in zip((problem.queries, problem.keys), _SAMPLE, strict=True)
    )
    distance = cdist(queries, keys).ravel()
    of_block = min(int(BLOCK / len(problem.keys) * len(distance)), len(distance) - 1)
    reach = problem.factors + np.partition(distance, of_block)[of_block]
    return float(np.mean(distance <= reach[:, np.newaxis]))


def compute(problem: KernelSumRequest) -> ScaledSums:
    """The sums of `problem`; distances are computed once for all bandwidths."""
    pairs = _Pairs(problem)
    values = np.column_stack([np.ones(len(problem.keys)), problem.values])
    sums = pairs.sums(pairs.kernel, problem.weights[:, np.newaxis] * values, pairs.share)
    return ScaledSums(sums[..., 0], sums[..., 1:], np.zeros(sums.shape[:2]))


def weights_in_reach(problem: KernelSumRequest) -> csr_array:
    """K(q_i, z_j) w_j at the first factor, of shape (m, n): sparse, no zeros among them, columns ascending."""
    weights = _Pairs(replace(problem, factors=problem.factors[:1])).weights()
    weights.eliminate_zeros()
    weights.sort_indices()
    return weights


@dataclass(frozen=True, eq=False)
class _Tree:
    """Points in a tree of blocks; `build_tree` in _pruned_loops.py says how.

    Attributes
    ----------
    order : ndarray of shape (n,)
        The points, block after block.
    blocks : ndarray of shape (s, d, BLOCK)
    lower, upper : ndarrays of shape (2 s - 1, d)
        The boxes of the nodes.
    leaf : ndarray of shape (s,)
        The node that each block is.
    """

    order: np.ndarray
    blocks: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    leaf: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, pays: bool) -> _Tree:
        """The tree of points (n, d); of blocks as the points come unless it pays to put near points together."""
        n, d = points.shape
        n_blocks = -(-n // BLOCK)
        lower, upper = np.empty((2, 2 * n_blocks - 1, d))
        blocks, leaf = np.full((n_blocks, d, BLOCK), np.inf), np.empty(n_blocks, dtype=np.int64)
        tree = cls(np.arange(n), blocks, lower, upper, leaf)
        # infinite queries are as far as the largest numbers, and their differences are numbers
        largest = np.finfo(np.float64).max
        _loops().build_tree(tree.order, *tree.arrays, np.clip(points, -largest, largest), pays)
        return tree

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What the compiled loops take."""
        return self.blocks, self.lower, self.upper, self.leaf

    def columns(self, of_points: np.ndarray) -> np.ndarray:
        """Columns (n, c) of the points, by block: (s, c, BLOCK), zero behind the last point."""
        columns = np.zeros((len(self.blocks) * BLOCK, of_points.shape[1]))
        np.take(of_points, self.order, axis=0, out=columns[: len(self.order)])
        return np.ascontiguousarray(columns.reshape(len(self.blocks), BLOCK, -1).transpose(0, 2, 1))


class _Pairs:
    """Queries and keys in trees, and the kernel in the numbers that the compiled loops take.

    Attributes
    ----------
    queries, keys : _Tree
    own, share : ndarrays of shape (m,)
        In the order of the queries' tree: the place, in the keys' tree, of the key that each is, and its share.
    kernel : tuple (power, exponent, is_cosine)
    limits, rates : ndarrays of shape (b,)
        The largest squared distance that gets a weight, and what multiplies it.
    """

    def __init__(self, problem: KernelSumRequest):
        self.problem = problem
        self.queries, self.keys = _trees(problem)
        self.own, self.share = np.full(len(problem.queries), -1), np.ones(len(problem.queries))
        if problem.own is not None:
            place = np.empty_like(self.keys.order)
            place[self.keys.order] = np.arange(len(place))
            self.own = place[problem.own.index[self.queries.order]]
            self.share = problem.own.retained[self.queries.order]
        form = problem.kernel.form
        self.kernel = (*form, False) if isinstance(form, PolynomialForm) else (1, 1, True)
        self.limits = np.array([largest_squared_distance(h, self.kernel[1] == 0) for h in problem.factors])
        self.rates = 1.0 / problem.factors**2

    def sums(self, kernel: tuple[int, int, bool], columns: np.ndarray, share: np.ndarray) -> np.ndarray:
        """sum_j K_j columns_j of a kernel that reaches as far as the problem's: (b, m, c) from columns (n, c)."""
        in_order = np.zeros((len(self.limits), len(self.own), columns.shape[1]))
        pairs = (self.queries.arrays, self.keys.arrays, self.keys.columns(columns), self.own, share)

        def add(part: slice) -> None:
            _loops().add_sums(in_order, *pairs, kernel, self.limits, self.rates, part.start, part.stop)

        for_each_chunk(add, len(self.queries.leaf), _CHUNK, self.problem.n_threads)
        sums = np.empty_like(in_order)
        sums[:, self.queries.order] = in_order
        return sums

    def weights(self) -> csr_array:
        """K_j w_j of the pairs in reach, own keys with their shares: (m, n)."""
        n_queries, n_keys = len(self.own), len(self.keys.order)
        count = self.sums(_TOP_HAT, np.ones((n_keys, 1)), np.ones(n_queries))[0, :, 0]
        indptr = np.append(0, np.cumsum(count.astype(np.int64)))
        indices, data = np.empty(indptr[-1], dtype=np.int64), np.empty(indptr[-1])
        end = indptr[self.queries.order]
        weights = self.keys.columns(self.problem.weights[:, np.newaxis])
        pairs = (self.queries.arrays, self.keys.arrays, weights, self.own, self.share)

        def fill(part: slice) -> None:
            kernel = (self.kernel, self.limits[0], self.rates[0])
            _loops().list_pairs(indices, data, end, self.keys.order, *pairs, *kernel, part.start, part.stop)

        for_each_chunk(fill, len(self.queries.leaf), _CHUNK, self.problem.n_threads)
        return csr_array((data, indices, indptr), shape=(n_queries, n_keys))


def _trees(problem: KernelSumRequest) -> tuple[_Tree, _Tree]:
    """Of the queries, and of the keys: the same one where these are the same."""
    pays = _trees_pay(problem)
    if np.array_equal(problem.queries, problem.keys):
        tree = _Tree.of(problem.keys, pays)
        return tree, tree
    trees: dict[int, _Tree] = {}

    def build(part: slice) -> None:
        for index in range(part.start, part.stop):
            trees[index] = _Tree.of((problem.queries, problem.keys)[index], pays)

    for_each_chunk(build, 2, 1, problem.n_threads)
    return trees[0], trees[1]


def largest_squared_distance(factor: float, includes_edge: bool) -> float:
    """The largest sq at which kernels.py gives a weight: fl(sq / factor^2) at most `EDGE` or, without edge, below 1.

    So every engine has the same keys in reach, also those whose distance is the bandwidth up to rounding.
    """
    largest = EDGE if includes_edge else np.nextafter(1.0, 0.0)
    sq = largest * factor**2
    while np.nextafter(sq, np.inf) / factor**2 <= largest:
        sq = np.nextafter(sq, np.inf)
    while sq / factor**2 > largest:
        sq = np.nextafter(sq, 0.0)
    return sq


def _loops() -> ModuleType:
    """The compiled module, imported here and not above because it imports numba."""
    from sknw._kernel_sums.tree import loops as _pruned_loops

    return _pruned_loops
