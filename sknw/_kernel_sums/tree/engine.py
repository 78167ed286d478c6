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

from sknw._kernel_sums.costs import TREE_CALL, TREE_PAIR, TREE_PAIR_FEATURE, TREE_POINT, tiled_pair
from sknw._kernel_sums.permutation import inverse_permutation, places_of
from sknw._kernel_sums.registry import Engine, form_refusal, register
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.threads import for_each_chunk
from sknw._kernel_sums.tree.constants import BLOCK
from sknw.kernels import EDGE, SlopeForm

# The powers of a kernel that the loops know: up to a cube, and the squares of these.
EXPONENTS = (0, 1, 2, 3, 4, 6)
# Blocks of queries that a thread takes at a time.
_CHUNK = 16
# The top hat in the terms of the compiled loops: power, exponent, and whether it is a cosine, and a slope.
_TOP_HAT = (2, 0, False, False)
# Queries and keys whose distances stand for all others when the cost is estimated.
_SAMPLE = (64, 512)


class Tree(Engine):
    """Near blocks only."""

    name = "pruned"
    leaves_out_ranges = True

    def refusal(self, request: KernelSumRequest) -> str | None:
        """Kernels of compact support whose formula the compiled loops know."""
        if reason := form_refusal(request, takes_slopes=True):
            return reason
        form = request.form
        if not request.kernel.is_compact:
            return "computes compact kernels only, and this one gives every sample a weight"
        if form.power not in (1, 2, 3) or form.exponent not in EXPONENTS:
            return f"computes (1 - u^power)^exponent only for a power of 1, 2 or 3 and the exponents {EXPONENTS}"
        return None

    def estimate_seconds(self, request: KernelSumRequest) -> float:
        """To build trees, and the pairs of blocks in reach; or all pairs."""
        if not _trees_pay(request):
            return 1e-9 * (TREE_CALL + _cost_of_all_pairs(request))
        return 1e-9 * (TREE_CALL + _cost_of_trees(request) + _share_in_reach(request) * _cost_of_all_pairs(request))

    def compute(self, request: KernelSumRequest) -> ScaledSums:
        """The sums; distances are computed once for all bandwidths."""
        pairs = _Pairs(request)
        columns = request.index.of_columns(
            ("tree columns", pairs.pays), lambda: pairs.keys.columns(request.index.weighted_columns)
        )
        sums = pairs.sums(pairs.kernel, columns)
        return ScaledSums.of_columns(sums, np.zeros(sums.shape[:2]))

    def weight_pairs(self, request: KernelSumRequest) -> csr_array:
        """As of `registry.ListsPairs`."""
        weights = _Pairs(replace(request, bandwidths=request.bandwidths[:1])).weights()
        weights.eliminate_zeros()
        weights.sort_indices()
        return weights


register(Tree())


def _trees_pay(request: KernelSumRequest) -> bool:
    """Whether trees are built sooner than all pairs are looked at; for a few queries they are not."""
    return _cost_of_trees(request) < _cost_of_all_pairs(request)


def _cost_of_all_pairs(request: KernelSumRequest) -> float:
    """Somewhat longer than tiles, which may round distances otherwise and so need fewer instructions."""
    form, d = request.form, request.keys.shape[1]
    return (TREE_PAIR + TREE_PAIR_FEATURE * d) * tiled_pair(form, d) * request.n_pairs


def _cost_of_trees(request: KernelSumRequest) -> float:
    """A point on each level of a tree costs the same, and more with many features."""
    levels = sum(len(points) * np.log2(2 + len(points) / BLOCK) for points in (request.queries, request.keys))
    return TREE_POINT * (1 + request.keys.shape[1] / 10) * levels


def _share_in_reach(request: KernelSumRequest) -> float:
    """About which share of all pairs belongs to blocks in reach of each other, on average over the bandwidths.

    Blocks have the size of balls that hold as many keys, which adds to the reach.
    """
    queries, keys = (
        points[:: -(-len(points) // most)]
        for points, most in zip((request.queries, request.keys), _SAMPLE, strict=True)
    )
    distance = cdist(queries, keys).ravel()
    of_block = min(int(BLOCK / len(request.keys) * len(distance)), len(distance) - 1)
    reach = request.bandwidths + np.partition(distance, of_block)[of_block]
    return float(np.mean(distance <= reach[:, np.newaxis]))


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
    pays : bool
        Whether near points are put together.
    queries, keys : _Tree
    left_out : tuple of ndarrays (own, ranges, order)
        As of `loops.add_sums`, in the order of the queries' tree.
    kernel : tuple (power, exponent, is_cosine, is_slope)
    limits, rates : ndarrays of shape (b,)
        The largest squared distance that gets a weight, and what multiplies it.
    """

    def __init__(self, request: KernelSumRequest):
        self.request, index, self.pays = request, request.index, _trees_pay(request)
        self.keys = index.of_keys(("tree of blocks", self.pays), lambda: _Tree.of(index.keys, self.pays))
        same = np.array_equal(request.queries, index.keys)
        self.queries = self.keys if same else _Tree.of(request.queries, self.pays)
        own, ranges = np.full(len(request.queries), -1), np.empty((0, 2), dtype=np.int64)
        if request.leave_out is not None:
            leave_out = request.leave_out[self.queries.order]
            if leave_out.is_own:
                own = places_of(leave_out.index, inverse_permutation(self.keys.order, len(index)))
            else:
                ranges = np.column_stack([leave_out.first, leave_out.last])
        self.left_out = own, ranges, self.keys.order
        form = request.form
        is_slope = form.family == "slope"
        is_cosine = (form.of if isinstance(form, SlopeForm) else form).family == "cosine"
        self.kernel = int(form.power), form.exponent, is_cosine, is_slope
        includes_edge = form.exponent == 0 and not is_cosine
        self.limits = np.array([largest_squared_distance(h, includes_edge) for h in request.bandwidths])
        self.rates = 1.0 / request.bandwidths**2

    def sums(self, kernel: tuple[int, int, bool, bool], columns: np.ndarray) -> np.ndarray:
        """sum_j K_j columns_j of a kernel that reaches as far as the request's: (b, m, c), of columns by block."""
        by_block = np.zeros((len(self.limits), len(self.queries.order), columns.shape[1]))
        pairs = (self.queries.arrays, self.keys.arrays, columns, self.left_out)

        def add(part: slice) -> None:
            _loops().add_sums(by_block, *pairs, kernel, self.limits, self.rates, part.start, part.stop)

        for_each_chunk(add, len(self.queries.leaf), _CHUNK, self.request.n_threads)
        sums = np.empty_like(by_block)
        sums[:, self.queries.order] = by_block
        return sums

    def weights(self) -> csr_array:
        """K_j w_j of the pairs in reach, without the keys left out: (m, n)."""
        n_queries, n_keys = len(self.queries.order), len(self.keys.order)
        ones = self.keys.columns(np.ones((n_keys, 1)))
        count = self.sums(_TOP_HAT, ones)[0, :, 0]
        indptr = np.append(0, np.cumsum(count.astype(np.int64)))
        indices, data = np.empty(indptr[-1], dtype=np.int64), np.empty(indptr[-1])
        end = indptr[self.queries.order]
        weights = self.keys.columns(self.request.weights[:, np.newaxis])
        pairs = (self.queries.arrays, self.keys.arrays, weights, self.left_out)

        def fill(part: slice) -> None:
            kernel = (self.kernel, self.limits[0], self.rates[0])
            _loops().list_pairs(indices, data, end, *pairs, *kernel, part.start, part.stop)

        for_each_chunk(fill, len(self.queries.leaf), _CHUNK, self.request.n_threads)
        return csr_array((data, indices, indptr), shape=(n_queries, n_keys))


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
    from sknw._kernel_sums.tree import loops

    return loops
