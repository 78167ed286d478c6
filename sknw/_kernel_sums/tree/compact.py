"""Compact kernels over a tree of blocks: only the pairs of blocks within reach of each other."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.threads import for_each_chunk
from sknw._kernel_sums.tree.pairs import CHUNK, Pairs
from sknw.kernels import EDGE, SlopeForm

# The top hat in the terms of the compiled loops: power, exponent, and whether it is a cosine, and a slope.
_TOP_HAT = (2, 0, False, False)


class CompactSums:
    """The sums of a compact kernel in the numbers that the compiled loops take."""

    def __init__(self, pairs: Pairs):
        from sknw._kernel_sums.tree import compact_loops  # imports numba

        self.pairs, self._loops = pairs, compact_loops
        form, bandwidths = pairs.request.form, pairs.request.bandwidths
        is_slope = form.family == "slope"
        is_cosine = (form.of if isinstance(form, SlopeForm) else form).family == "cosine"
        self.kernel = int(form.power), form.exponent, is_cosine, is_slope
        includes_edge = form.exponent == 0 and not is_cosine
        # the largest squared distance that gets a weight, and what multiplies it, (b,) each
        self.limits = np.array([largest_squared_distance(h, includes_edge) for h in bandwidths])
        self.rates = 1.0 / bandwidths**2

    def compute(self) -> ScaledSums:
        """The sums of the request."""
        sums = self._sums(self.kernel, self.pairs.columns)
        return ScaledSums.of_columns(sums, np.zeros(sums.shape[:2]))

    def _sums(self, kernel: tuple[int, int, bool, bool], columns: np.ndarray) -> np.ndarray:
        """sum_j K_j columns_j of a kernel that reaches as far as the request's: (b, m, c), of columns by block."""
        queries, keys = self.pairs.queries, self.pairs.keys
        by_block = np.zeros((len(self.limits), len(queries.order), columns.shape[1]))
        pairs = (queries.arrays, keys.arrays, columns, self.pairs.left_out)

        def add(part: slice) -> None:
            self._loops.add_sums(by_block, *pairs, kernel, self.limits, self.rates, part.start, part.stop)

        for_each_chunk(add, len(queries.leaf), CHUNK, self.pairs.request.n_threads)
        sums = np.empty_like(by_block)
        sums[:, queries.order] = by_block
        return sums

    def weights(self) -> csr_array:
        """K_j w_j of the pairs in reach, without the keys left out: (m, n)."""
        queries, keys, request = self.pairs.queries, self.pairs.keys, self.pairs.request
        n_queries, n_keys = len(queries.order), len(keys.order)
        ones = keys.columns(np.ones((n_keys, 1)))
        count = self._sums(_TOP_HAT, ones)[0, :, 0]
        indptr = np.append(0, np.cumsum(count.astype(np.int64)))
        indices, data = np.empty(indptr[-1], dtype=np.int64), np.empty(indptr[-1])
        end = indptr[queries.order]
        weights = keys.columns(request.weights[:, np.newaxis])
        pairs = (queries.arrays, keys.arrays, weights, self.pairs.left_out)

        def fill(part: slice) -> None:
            kernel = (self.kernel, self.limits[0], self.rates[0])
            self._loops.list_pairs(indices, data, end, *pairs, *kernel, part.start, part.stop)

        for_each_chunk(fill, len(queries.leaf), CHUNK, request.n_threads)
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
