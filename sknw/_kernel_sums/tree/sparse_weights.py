"""Sparse weights of kernels exp(-rate u^power): those of a query that are not negligible, or the largest of these."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from sknw._kernel_sums.threads import for_each_chunk
from sknw._kernel_sums.tree.exponential import ExponentialSums, exponential_sums
from sknw._kernel_sums.tree.pairs import CHUNK, Pairs

# Weights whose binary logarithms differ by less than this from that of the k-th largest are listed too: they may tie.
_TIE = 1e-9


def sparse_weights(pairs: Pairs, pays: bool, negligible: float, top_k: int | None) -> csr_array:
    """K_j w_j, each row up to a factor, without what is below the part `negligible` of the sum of a row: (m, n).

    `pairs` are those of a request without columns. With `top_k`, the k largest of each row and those equal to these.
    """
    queries, keys, weights = pairs.queries, pairs.keys, pairs.request.weights
    sums, shift = exponential_sums(pairs, pays)
    mass = sums.mass[0]
    with np.errstate(divide="ignore"):
        least = np.where(mass > 0, np.log2(mass) + np.log2(negligible), np.inf)[queries.order]
    finder = _Finder(pairs, shift)
    if top_k is not None and top_k < len(weights):
        heaps = np.full((len(least), top_k), -np.inf)
        finder.visit(np.where(np.isinf(least), least, -np.inf), heaps=heaps)
        least = np.maximum(least, heaps[:, 0] - _TIE)
    count = finder.visit(least)
    by_query = np.empty_like(count)
    by_query[queries.order] = count
    indptr = np.append(0, np.cumsum(by_query))
    indices, data = np.empty(indptr[-1], dtype=np.int64), np.empty(indptr[-1])
    if len(indices):
        finder.visit(least, ends=indptr[queries.order], pairs=(indices, data))
    return csr_array((data, indices, indptr), shape=(len(queries.order), len(keys.order)))


class _Finder:
    """The loop of `pair_loops`, for the first bandwidth of a request."""

    def __init__(self, pairs: Pairs, shift: np.ndarray):
        from sknw._kernel_sums.tree import pair_loops  # imports numba

        sums, self._pairs, self._loop = ExponentialSums(pairs), pairs, pair_loops.visit_pairs
        log_weights = np.log2(pairs.request.weights)
        by_block = pairs.keys.columns(log_weights[:, np.newaxis])
        trees = (pairs.queries.arrays, pairs.keys.arrays, by_block, pairs.left_out)
        shift = shift[pairs.queries.order]
        self._arguments = (*trees, shift, sums.power, sums.rates[0], float(log_weights.max()))

    def visit(
        self,
        least: np.ndarray,
        heaps: np.ndarray | None = None,
        ends: np.ndarray | None = None,
        pairs: tuple[np.ndarray, np.ndarray] = (np.empty(0, dtype=np.int64), np.empty(0)),
    ) -> np.ndarray:
        """See `pair_loops.visit_pairs`; the arrays are in the order of the queries' tree. Returns the `ends`."""
        m = len(least)
        heaps = np.empty((m, 0)) if heaps is None else heaps
        ends = np.zeros(m, dtype=np.int64) if ends is None else ends

        def visit(part: slice) -> None:
            self._loop(heaps, least, ends, *pairs, *self._arguments, part.start, part.stop)

        for_each_chunk(visit, len(self._pairs.queries.leaf), CHUNK, self._pairs.request.n_threads)
        return ends
