"""Attention weights: kernel weights that sum to 1, in dense rows or sparse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array, vstack

from sknw._kernel_sums import dense
from sknw._kernel_sums.costs import TILED_WRITTEN
from sknw._kernel_sums.registry import ListsPairs, WritesWeights, algorithm_for, dispatcher, kernel_sums
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.threads import for_each_chunk
from sknw._smoothing.unsupported import policy_weights
from sknw.kernels import ExponentialForm

# A weight below this part of all counts as none: it may be what underflow has left, and engines differ in that.
NEGLIGIBLE = 1e-80

# Weights whose binary logarithms differ by less are equal.
_TIE = 1e-10

# Scales further from zero than this cancel with an error above 1e-12.
_LARGEST_LOG_SCALE = 1e3

# Rows of weights (len(rows), n) for a slice of the queries that begins at a multiple of four.
WeightRows = Callable[[slice], np.ndarray]


def weight_rows(request: KernelSumRequest, algorithm: str) -> WeightRows:
    """K_j w_j of a slice of queries, each row up to a factor: compiled where that pays, else by NumPy."""
    engine = None
    if request.leave_out is None:
        engine = dispatcher.choose_capable(WritesWeights, request, algorithm, TILED_WRITTEN)  # type: ignore[type-abstract]
    return (engine or dense.Dense()).weight_rows(request)


def attention_rows(request: KernelSumRequest, policy: str, rows: slice, weight_rows: WeightRows) -> np.ndarray:
    """Weights a_j = K_j w_j / sum_l K_l w_l of the queries `rows`, of shape (len(rows), n).

    NaN for queries without support where the policy is "nan" or "raise".
    """
    weights = weight_rows(rows)
    total = weights.sum(axis=1, keepdims=True)
    unsupported = np.flatnonzero(total == 0)
    if unsupported.size:
        queries = np.arange(len(request.queries))[rows][unsupported]
        weights[unsupported] = policy_weights(policy, request, queries).toarray()
        total = weights.sum(axis=1, keepdims=True)
    weights /= total
    return weights


def for_each_attention_block(
    request: KernelSumRequest, policy: str, algorithm: str, task: Callable[[slice, np.ndarray], None]
) -> np.ndarray:
    """Call ``task(rows, weights)`` for blocks of queries; returns which had no support, where that makes them NaN."""
    unsupported = np.zeros(len(request.queries), dtype=bool)
    rows_of_weights = weight_rows(request, algorithm)

    def block(rows: slice) -> None:
        weights = attention_rows(request, policy, rows, rows_of_weights)
        unsupported[rows] = np.isnan(weights[:, 0])
        task(rows, weights)

    # rows of weights, with what is made of them, fit the cache
    size = max(dense.rows_per_block(request) // 2, 1)
    for_each_chunk(block, len(request.queries), size, request.n_threads, multiple_of=4, uses_blas=True)
    return unsupported


def sparse_attention(
    request: KernelSumRequest, policy: str, algorithm: str, top_k: int | None, shares: csr_array
) -> tuple[csr_array, np.ndarray]:
    """Attention weights (m, n_given), all or the `top_k` largest of each row, and which queries had no support.

    `shares` (n, n_given) has what each given row gets of the weight of a key. Rows without support are empty where the
    policy is "raise". Of equal weights those of the first rows, as given, count as the largest.
    """

    def among_given(weights: csr_array) -> csr_array:
        return largest(weights @ shares, top_k)

    engine = dispatcher.choose_capable(ListsPairs, request, algorithm)  # type: ignore[type-abstract]
    if engine is not None:
        weights = engine.weight_pairs(request, NEGLIGIBLE, top_k)
        unsupported = np.diff(weights.indptr) == 0
        weights = normalised(_with_substitutes(weights, request, policy, np.flatnonzero(unsupported)))
        return among_given(weights), unsupported
    blocks = {}

    def compress(rows: slice, block: np.ndarray) -> None:
        least = np.full((len(block), 1), NEGLIGIBLE)
        if top_k is not None and top_k < block.shape[1]:
            kth = np.partition(block, -top_k, axis=1)[:, -top_k, np.newaxis]
            least = np.maximum(least, (1.0 - 2.0 * _TIE) * kth)
        block[block < least] = 0.0
        blocks[rows.start] = among_given(csr_array(block))

    unsupported = for_each_attention_block(request, policy, algorithm, compress)
    return vstack([blocks[start] for start in sorted(blocks)], format="csr"), unsupported


def _with_substitutes(weights: csr_array, request: KernelSumRequest, policy: str, rows: np.ndarray) -> csr_array:
    """The weights, with what a policy says in the empty `rows`, ascending."""
    if not rows.size or policy == "raise":
        return weights
    substitutes = policy_weights(policy, request, rows)
    count = np.zeros(weights.shape[0], dtype=substitutes.indptr.dtype)
    count[rows] = np.diff(substitutes.indptr)
    indptr = np.append(0, np.cumsum(count))
    return weights + csr_array((substitutes.data, substitutes.indices, indptr), shape=weights.shape)


def normalised(weights: csr_array) -> csr_array:
    """Rows scaled to sum to 1, those without entries left empty."""
    count = np.diff(weights.indptr)
    weights.data /= np.repeat(weights.sum(axis=1), count)
    weights.eliminate_zeros()
    return weights


def largest(weights: csr_array, top_k: int | None) -> csr_array:
    """The `top_k` largest entries of each row, scaled to sum to 1; rows of NaN as they are; None keeps all.

    Entries that are equal but for rounding are taken in their order. Equal are those whose shares of the largest of the
    row are: these do not depend on the factor of the row, which differs between engines.
    """
    weights.sort_indices()
    if top_k is None:
        return weights
    row = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    with np.errstate(invalid="ignore"):
        level = np.round(np.log2(weights.data / weights.max(axis=1).toarray().ravel()[row]) / _TIE)
    descending = np.lexsort((weights.indices, -level, row))
    rank = np.empty_like(row)
    rank[descending] = np.arange(len(row)) - weights.indptr[row]
    kept = np.flatnonzero((rank < top_k) | np.isnan(weights.data))
    indptr = np.searchsorted(kept, weights.indptr)
    return normalised(csr_array((weights.data[kept], weights.indices[kept], indptr), shape=weights.shape))


def effective_sample_size(request: KernelSumRequest, policy: str, algorithm: str) -> tuple[np.ndarray, np.ndarray]:
    """1 / sum_j (a_j^2 / w_j) = (sum_j K_j w_j)^2 / sum_j K_j^2 w_j at the queries: (m,), and which had no support.

    Far from all keys, where logarithms of both sums would cancel, it comes from the attention itself.
    """
    request = replace(request, index=request.index.without_columns())
    (mass, log_scale), (square, log_scale_of_square) = _masses_of_kernel_and_square(request, algorithm)
    scale = 2.0 * log_scale - log_scale_of_square
    unsupported = (mass == 0) | (square == 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        size = mass * (mass / square) * np.exp(scale)
    rows = np.flatnonzero(unsupported | (log_scale < -_LARGEST_LOG_SCALE))
    if request.index.engine is not None:  # no attention can be written, and a few digits less are enough there
        rows = rows[:0]

    def of_attention(block: slice, attention: np.ndarray) -> None:
        size[rows[block]] = 1.0 / (attention**2 @ (1.0 / request.weights))

    if rows.size:
        for_each_attention_block(request.take(rows), policy, algorithm, of_attention)
    return size, unsupported


def least_sample_size(request: KernelSumRequest, algorithm: str) -> tuple[np.ndarray, np.ndarray] | None:
    """A lower bound of the `effective_sample_size`, (m,), and which queries have no support, by one sum instead of two.

    It is sum_j K_j w_j for K <= 1, as K^2 <= K then. None where K may be larger, and where one request asks for both
    sums, as the square is the same kernel.
    """
    form = request.kernel.form
    if form is None or isinstance(form, ExponentialForm):
        return None
    sums = kernel_sums(replace(request, index=request.index.without_columns()), algorithm)
    return sums.mass[0] * np.exp(sums.log_scale[0]), sums.mass[0] == 0


def _masses_of_kernel_and_square(
    request: KernelSumRequest, algorithm: str
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """sum_j K_j w_j and sum_j K_j^2 w_j, each with its logarithmic scale: (m,).

    The square of exp(-rate u^power) is the same kernel at a narrower bandwidth: one request asks for both.
    """
    form = request.kernel.form
    if isinstance(form, ExponentialForm):
        both = replace(request, bandwidths=request.bandwidths[0] * np.array([1.0, 2.0 ** (-1.0 / form.power)]))
        sums = kernel_sums(both, algorithm)
        return (sums.mass[0], sums.log_scale[0]), (sums.mass[1], sums.log_scale[1])
    of_square = replace(request, kernel=request.kernel.square())
    sums, squares = kernel_sums(request, algorithm), kernel_sums(of_square, algorithm_for(of_square, algorithm))
    return (sums.mass[0], sums.log_scale[0]), (squares.mass[0], squares.log_scale[0])
