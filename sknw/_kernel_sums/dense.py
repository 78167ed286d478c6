"""The reference engine: NumPy, a block of queries against all keys, every kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from sklearn import get_config

from sknw._kernel_sums.costs import DENSE_PAIR
from sknw._kernel_sums.index import squared_norms
from sknw._kernel_sums.registry import Engine, register
from sknw._kernel_sums.request import KernelSumRequest, OwnEntries
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.threads import for_each_chunk, one_blas_thread
from sknw.kernels import Kernel, Pairwise

# A block of this many bytes stays in the second-level cache of today's processors.
_BLOCK_BYTES = 2**21
# Where all products of kernel and sample weight may fall below the exponential of this, near the subnormal numbers, a
# row is computed relative to its largest kernel weight.
_SMALLEST_EXPONENT = -600.0
# Each squaring of a weight doubles its relative error: after eight it is 2^8 eps = 6e-14.
_MOST_SQUARINGS = 8

# The exponential of this, and its products, are float64 numbers.
LARGEST_EXPONENT = 650.0


class Dense(Engine):
    """NumPy."""

    name = "dense"
    is_compiled = False

    def refusal(self, request: KernelSumRequest) -> str | None:
        """Takes every request."""
        return None

    def estimate_seconds(self, request: KernelSumRequest) -> float:
        return 1e-9 * DENSE_PAIR * request.n_pairs

    def compute(self, request: KernelSumRequest) -> ScaledSums:
        """The sums, in blocks of queries: memory O(n + m)."""
        n_bandwidths, n_queries = len(request.bandwidths), len(request.queries)
        columns = request.index.of_columns("weighted", lambda: _weighted_columns(request))
        sums = np.empty((n_bandwidths, n_queries, columns.shape[1]))
        log_scale = np.empty((n_bandwidths, n_queries))

        def sum_block(rows: slice) -> None:
            for b, (weights, scale) in enumerate(_weights(request, rows)):
                sums[b, rows], log_scale[b, rows] = weights @ columns, scale

        with one_blas_thread():
            for_each_chunk(sum_block, n_queries, rows_per_block(request), request.n_threads)
        return ScaledSums.of_columns(sums, log_scale)

    def weight_rows(self, request: KernelSumRequest) -> Callable[[slice], np.ndarray]:
        """As of `registry.WritesWeights`; own keys have what they retain."""
        return lambda rows: weight_rows(request, rows)

    def derivative_refusal(self, request: KernelSumRequest) -> str | None:
        """Takes every kernel that has a derivative."""
        return None

    def derivative_sums(self, request: KernelSumRequest, log_mass: np.ndarray) -> np.ndarray:
        """As of `registry.DifferentiatesSums`."""
        columns = request.index.of_columns("weighted", lambda: _weighted_columns(request))
        sums = np.empty((len(request.queries), columns.shape[1], request.keys.shape[1]))
        h = request.bandwidths[0]

        def sum_block(rows: slice) -> None:
            sq = squared_distances(request, rows) / h**2
            slopes = 2.0 / h**2 * relative_derivatives(request.kernel, sq, log_mass[rows])
            slopes[request.own_entries(rows).at] = 0.0  # a difference of zero
            for a, z in enumerate(request.keys.T):
                sums[rows, :, a] = (slopes * (request.queries[rows, a, np.newaxis] - z)) @ columns

        with one_blas_thread():
            for_each_chunk(sum_block, len(sums), rows_per_block(request), request.n_threads)
        return sums


register(Dense())


def _weighted_columns(request: KernelSumRequest) -> np.ndarray:
    """w_j (1, V_j), of shape (n, 1 + k)."""
    return request.weights[:, np.newaxis] * np.column_stack([np.ones(len(request.keys)), request.columns])


def rows_per_block(request: KernelSumRequest) -> int:
    """How many queries make a block that fits the cache and scikit-learn's ``working_memory``."""
    # distances, weights and one temporary are alive at a time
    block_bytes = min(_BLOCK_BYTES, get_config()["working_memory"] * 2**20 / 3)
    return max(1, int(block_bytes // (8 * len(request.keys))))


def weight_rows(request: KernelSumRequest, rows: slice | np.ndarray) -> np.ndarray:
    """K(q_i, z_j) w_j for the queries `rows` and all keys, at the first bandwidth, each row up to a factor."""
    weights, _ = next(_weights(request, rows))
    return weights * request.weights


# Weights K(q_i, z_j) / exp(s_i) of shape (m, n), and the s_i.
_Weights = tuple[np.ndarray, np.ndarray]


def _weights(request: KernelSumRequest, rows: slice | np.ndarray) -> Iterator[_Weights]:
    """The weights of the queries `rows` at each bandwidth; a query's own key has what it retains."""
    own = request.own_entries(rows)
    if isinstance(request.kernel, Pairwise):
        return _pairwise_weights(request.kernel, request.queries[rows], request.keys, request.bandwidths, own)
    sq = squared_distances(request, rows)
    if request.kernel.is_compact:
        return _compact_weights(request.kernel, sq, request.bandwidths, own)
    smallest_exponent = _SMALLEST_EXPONENT - np.log(request.index.smallest_weight)
    return _unbounded_weights(request.kernel, sq, request.bandwidths, own, smallest_exponent)


def _pairwise_weights(
    kernel: Pairwise, queries: np.ndarray, keys: np.ndarray, bandwidths: np.ndarray, own: OwnEntries
) -> Iterator[_Weights]:
    for h in bandwidths:
        weights = kernel.between(queries / h, keys / h)
        weights[own.at] *= own.retained
        yield weights, np.zeros(len(weights))


def _compact_weights(kernel: Kernel, sq: np.ndarray, bandwidths: np.ndarray, own: OwnEntries) -> Iterator[_Weights]:
    for h in bandwidths:
        weights = _profile(kernel, sq / h**2)
        weights[own.at] *= own.retained
        yield weights, np.zeros(len(weights))


def _unbounded_weights(
    kernel: Kernel, sq: np.ndarray, bandwidths: np.ndarray, own: OwnEntries, smallest_exponent: float
) -> Iterator[_Weights]:
    """Relative to the largest weight of the row where all of them would underflow.

    For K = exp(-rate u^power) the weight at bandwidth h / 2^(1 / power) is the square of the weight at h, which spares
    the exponential.
    """
    power = None if kernel.form is None else kernel.form.power
    previous, n_squarings = np.inf, 0
    weights, top, log_scale = np.empty(0), np.empty(0), np.empty(0)
    for h in bandwidths:
        is_square = power is not None and abs((previous / h) ** power - 2.0) < 1e-14
        if is_square and n_squarings < _MOST_SQUARINGS and (2.0 * (top - log_scale)).min() > smallest_exponent:
            n_squarings += 1
            np.square(weights, out=weights)
            if own.retained.any():
                weights[own.at] = np.divide(
                    weights[own.at], own.retained, out=np.zeros_like(own.retained), where=own.retained > 0
                )
            top, log_scale = 2.0 * top, 2.0 * log_scale
        else:
            n_squarings = 0
            exponents = _log_profile(kernel, sq / h**2)
            if own.retained.size:
                exponents[own.at] = np.where(own.retained > 0, exponents[own.at], -np.inf)
            top = exponents.max(axis=1)
            # the largest of a row without any weight is no scale
            log_scale = np.where(np.isfinite(top) & (top < smallest_exponent), top, 0.0)
            if log_scale.any():
                exponents -= log_scale[:, np.newaxis]
            weights = np.exp(exponents, out=exponents)
            if own.retained.any():
                weights[own.at] *= own.retained
        previous = h
        yield weights, log_scale


def _profile(kernel: Kernel, sq: np.ndarray) -> np.ndarray:
    """K(u), of a user's kernel checked and copied."""
    weights = kernel.profile(sq)
    if kernel.form is not None:
        return weights
    weights = np.array(weights, dtype=np.float64)
    if weights.shape != sq.shape or not np.all(weights >= 0) or not np.all(np.isfinite(weights)):
        raise _not_weights(kernel)
    return weights


def _log_profile(kernel: Kernel, sq: np.ndarray) -> np.ndarray:
    """log K(u), of a user's kernel checked and copied."""
    exponents = kernel.log_profile(sq)
    if kernel.form is not None:
        return exponents
    exponents = np.array(exponents, dtype=np.float64)
    if exponents.shape != sq.shape or not np.all(exponents < np.inf):
        raise _not_weights(kernel)
    return exponents


def _not_weights(kernel: Kernel) -> ValueError:
    return ValueError(
        f"{type(kernel).__name__}.profile(sq) must return finite, non-negative weights, an array of the shape of sq."
    )


def squared_distances(request: KernelSumRequest, rows: slice | np.ndarray) -> np.ndarray:
    """||q_i - z_j||^2 of the queries `rows`, of shape (len(rows), n)."""
    queries, keys = request.queries[rows], request.keys
    ok = request.gemm_distances_ok(np.float64, rows)
    if not ok.any():
        return _by_differences(queries, keys)
    with np.errstate(over="ignore", invalid="ignore"):  # of far queries, which are done again
        sq = queries @ keys.T
        sq *= -2.0
        sq += squared_norms(queries)[:, np.newaxis]
        sq += request.index.of_keys("squared norms", lambda: squared_norms(keys))
        np.maximum(sq, 0.0, out=sq)
    if not ok.all():
        sq[~ok] = _by_differences(queries[~ok], keys)
    return sq


def _by_differences(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    sq = np.zeros((len(queries), len(keys)))
    with np.errstate(over="ignore"):  # a distance that overflows is as infinite as it should be
        for query_feature, key_feature in zip(queries.T, keys.T, strict=True):
            difference = query_feature[:, np.newaxis] - key_feature
            difference *= difference
            sq += difference
    return sq


def relative_derivatives(kernel: Kernel, sq: np.ndarray, log_mass: np.ndarray) -> np.ndarray:
    """K'(sq) / D; of the exponential family also where K and D underflow."""
    with np.errstate(under="ignore"):
        if kernel.form is None or kernel.is_compact:
            return kernel.derivative(sq) * np.exp(-log_mass)[:, np.newaxis]
        # an own key may outweigh the mass of the others by any factor
        log_ratio = np.minimum(kernel.log_profile(sq) - log_mass[:, np.newaxis], LARGEST_EXPONENT)
        return np.exp(log_ratio) * kernel.log_derivative(sq)
