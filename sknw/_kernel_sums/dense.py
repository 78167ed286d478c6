"""The reference engine: NumPy, a block of queries against all keys, every kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.spatial.distance import cdist
from sklearn import get_config

from sknw._kernel_sums.costs import dense_pair
from sknw._kernel_sums.index import squared_norms
from sknw._kernel_sums.registry import Engine, register
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import TINY, ScaledSums
from sknw._kernel_sums.threads import for_each_chunk, is_large_product, one_blas_thread
from sknw.kernels import ExponentialForm, Kernel, Pairwise

# A block of this many bytes and two temporaries stay in the second-level cache of today's processors, and the memory of
# one block serves the next.
_BLOCK_BYTES = 2**19
# What is made of all pairs of keys is kept if it takes at most this many bytes.
_KEPT_BYTES = 2**21
# From here on differences are taken pair by pair, not feature by feature.
_MANY_FEATURES = 16
# Each squaring of a weight doubles its relative error: after eight it is 2^8 eps = 6e-14.
_MOST_SQUARINGS = 8
# Beside a weight of 1 this one, and its square, are nothing.
_LOG_NOTHING = -345.0
_NOTHING = float(np.exp(_LOG_NOTHING))

# The exponential of this, and its products, are float64 numbers.
LARGEST_EXPONENT = 650.0


class Dense(Engine):
    """NumPy."""

    name = "dense"
    is_compiled = False
    leaves_out_ranges = True

    def refusal(self, request: KernelSumRequest) -> str | None:
        """Takes every request."""
        return None

    def estimate_seconds(self, request: KernelSumRequest) -> float:
        return 1e-9 * dense_pair(request.columns.shape[1]) * request.n_pairs

    def compute(self, request: KernelSumRequest) -> ScaledSums:
        """The sums, in blocks of queries: memory O(n + m)."""
        if _leaves_out_one_of_few(request):
            return _sums_of_few(request)
        n_bandwidths, n_queries, block = len(request.bandwidths), len(request.queries), rows_per_block(request)
        columns = request.index.weighted_columns
        sums = np.empty((n_bandwidths, n_queries, columns.shape[1]))
        log_scale = np.zeros((n_bandwidths, n_queries))

        def sum_block(rows: slice) -> None:
            for b, weights in enumerate(_weights(request, rows)):
                sums[b, rows] = weights @ columns

        uses_blas = n_queries > block or is_large_product(n_queries * columns.size)
        for_each_chunk(sum_block, n_queries, block, request.n_threads, uses_blas=uses_blas)
        if request.kernel.reaches_everywhere:
            for b, rows in _tiny(sums[..., 0], block):
                weights, log_scale[b, rows] = _scaled_weights(request, rows, request.bandwidths[b])
                sums[b, rows] = weights @ columns
        return ScaledSums.of_columns(sums, log_scale)

    def weight_rows(self, request: KernelSumRequest) -> Callable[[slice], np.ndarray]:
        """As of `registry.WritesWeights`."""
        return lambda rows: weight_rows(request, rows)

    def derivative_refusal(self, request: KernelSumRequest) -> str | None:
        """Takes every kernel that has a derivative."""
        return None

    def derivative_sums(self, request: KernelSumRequest, log_mass: np.ndarray) -> np.ndarray:
        """As of `registry.DifferentiatesSums`."""
        columns = request.index.weighted_columns
        sums = np.empty((len(request.queries), columns.shape[1], request.keys.shape[1]))
        h = request.bandwidths[0]

        def sum_block(rows: slice) -> None:
            sq = squared_distances(request, rows) / h**2
            slopes = 2.0 / h**2 * relative_derivatives(request.kernel, sq, log_mass[rows])
            slopes[request.left_out_entries(rows)] = 0.0
            with np.errstate(invalid="ignore"):  # 0 inf, of queries at infinity
                for a, z in enumerate(request.keys.T):
                    sums[rows, :, a] = (slopes * (request.queries[rows, a, np.newaxis] - z)) @ columns

        for_each_chunk(sum_block, len(sums), rows_per_block(request), request.n_threads, uses_blas=True)
        return sums


register(Dense())


def _leaves_out_one_of_few(request: KernelSumRequest) -> bool:
    """Whether all keys, few of them, are the queries, each without itself, for a kernel exp(-rate u^power)."""
    n, leave_out = len(request.keys), request.leave_out
    return (
        request.queries is request.keys
        and 8 * n * n <= _KEPT_BYTES
        and isinstance(request.kernel.form, ExponentialForm)
        and leave_out is not None
        and leave_out.is_all_in_order(n)
    )


def _sums_of_few(request: KernelSumRequest) -> ScaledSums:
    """The sums where `_leaves_out_one_of_few`, relative to the largest weight of each query.

    A search asks for them at many bandwidths h: the exponents at h = 1 are kept, and those at h are h^-power times
    these.
    """
    columns, form = request.index.weighted_columns, request.form
    exponents, top, is_alone = request.index.of_keys(("exponents", form), lambda: _exponents_of_few(request))
    per_bandwidth = request.bandwidths**-form.power
    sums = np.empty((len(per_bandwidth), len(columns), columns.shape[1]))
    previous, n_squarings, weights = 0.0, 0, np.empty_like(exponents)
    with one_blas_thread() if is_large_product(len(columns) * columns.size) else nullcontext():
        for b, factor in enumerate(per_bandwidth.tolist()):
            # the largest weight is 1, and processors are slow at numbers below the normal ones
            if n_squarings < _MOST_SQUARINGS and abs(factor - 2.0 * previous) < 1e-14 * factor:
                n_squarings += 1
                np.square(np.maximum(weights, _NOTHING, out=weights), out=weights)
            else:
                n_squarings = 0
                np.multiply(exponents, factor, out=weights)
                np.exp(np.maximum(weights, _LOG_NOTHING, out=weights), out=weights)
            previous = factor
            np.fill_diagonal(weights, 0.0)
            np.matmul(weights, columns, out=sums[b])
    sums[:, is_alone] = 0.0
    return ScaledSums.of_columns(sums, per_bandwidth[:, np.newaxis] * top)


def _exponents_of_few(request: KernelSumRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log K(z_i - z_j) less the largest of the row i, -inf for the key left out, that largest one, or that all are."""
    exponents = request.form.log_profile(squared_distances(request, slice(None)))
    np.fill_diagonal(exponents, -np.inf)
    top = exponents.max(axis=1)
    is_alone = np.isneginf(top)
    top[is_alone] = 0.0
    exponents -= top[:, np.newaxis]
    return exponents, top, is_alone


def rows_per_block(request: KernelSumRequest) -> int:
    """How many queries make a block that fits the cache and scikit-learn's ``working_memory``."""
    # distances, weights and one temporary are alive at a time
    block_bytes = min(_BLOCK_BYTES, get_config()["working_memory"] * 2**20 / 3)
    return max(1, int(block_bytes // (8 * len(request.keys))))


def weight_rows(request: KernelSumRequest, rows: slice | np.ndarray) -> np.ndarray:
    """K(q_i, z_j) w_j for the queries `rows` and all keys, at the first bandwidth, each row up to a factor."""
    weights = next(_weights(request, rows))
    if request.kernel.reaches_everywhere:
        places = np.arange(len(request.queries))[rows]
        for _, tiny in _tiny((weights @ request.weights)[np.newaxis], len(weights)):
            weights[tiny], _ = _scaled_weights(request, places[tiny], request.bandwidths[0])
    weights *= request.weights
    return weights


def _weights(request: KernelSumRequest, rows: slice | np.ndarray) -> Iterator[np.ndarray]:
    """K(q_i, z_j) of the queries `rows` at each bandwidth, (m, n); zero for the keys left out.

    For K = exp(-rate u^power) the weight at bandwidth h / 2^(1 / power) is the square of the weight at h, which spares
    the exponential.
    """
    left_out, kernel = request.left_out_entries(rows), request.kernel
    previous, n_squarings, weights = np.inf, 0, np.empty(0)
    power = kernel.form.power if kernel.form is not None and not kernel.is_compact else None
    sq = np.empty(0) if isinstance(kernel, Pairwise) else squared_distances(request, rows)
    for h in request.bandwidths.tolist():
        if power is not None and n_squarings < _MOST_SQUARINGS and abs((previous / h) ** power - 2.0) < 1e-14:
            n_squarings += 1
            np.square(weights, out=weights)
        else:
            n_squarings = 0
            if isinstance(kernel, Pairwise):
                weights = kernel.between(request.queries[rows] / h, request.keys / h)
            else:
                weights = profile(kernel, sq if h == 1.0 else sq / h**2)
            weights[left_out] = 0.0
        previous = h
        yield weights


def _scaled_weights(request: KernelSumRequest, rows: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights K(q_i, z_j) / exp(s_i) of the queries `rows`, of which the largest of each is 1, and the s_i."""
    exponents = _log_profile(request.kernel, squared_distances(request, rows) / h**2)
    exponents[request.left_out_entries(rows)] = -np.inf
    top = exponents.max(axis=1)
    log_scale = np.where(np.isfinite(top), top, 0.0)  # the largest of a row without any weight is no scale
    return np.exp(exponents - log_scale[:, np.newaxis]), log_scale


def _tiny(mass: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """For each bandwidth the queries whose mass (b, m) may have lost terms to underflow, at most `size` at a time."""
    for b, is_tiny in enumerate(mass < TINY):
        rows = np.flatnonzero(is_tiny)
        for start in range(0, len(rows), size):
            yield b, rows[start : start + size]


def profile(kernel: Kernel, sq: np.ndarray) -> np.ndarray:
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
    """||q_i - z_j||^2 / s_i^2 of the queries `rows`, s_i their widths, (len(rows), n); not to be written to.

    Those of few keys themselves are kept: the batches of a search, and sums and their derivatives, take the same ones.
    """
    if request.widths is not None:
        sq = squared_distances(replace(request, widths=None), rows)
        return sq / request.widths[rows, np.newaxis] ** 2
    n = len(request.keys)
    ok = request.gemm_distances_ok(np.float64, rows)
    are_kept = request.queries is request.keys and 8 * n * n <= _KEPT_BYTES
    if not are_kept or request.kernel.form is None:  # a user's kernel might write to them
        return _squared_distances(request, rows, ok)
    by_products = bool(ok.all())
    make = partial(_squared_distances, request, slice(None), np.full(n, by_products))
    return request.index.of_keys(("squared distances", by_products), make)[rows]


def _squared_distances(request: KernelSumRequest, rows: slice | np.ndarray, ok: np.ndarray) -> np.ndarray:
    """As `squared_distances`, by matrix products for the queries for which that is accurate."""
    queries, keys = request.queries[rows], request.keys
    if not ok.any():
        return _by_differences(queries, keys)
    with np.errstate(over="ignore", invalid="ignore"):  # of far queries, which are done again
        sq = queries @ keys.T
        sq *= -2.0
        sq += squared_norms(queries)[:, np.newaxis]
        sq += request.index.squared_norms
        np.maximum(sq, 0.0, out=sq)
    if not ok.all():
        sq[~ok] = _by_differences(queries[~ok], keys)
    return sq


def _by_differences(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    if queries.shape[1] > _MANY_FEATURES:
        return cdist(queries, keys, "sqeuclidean")
    with np.errstate(over="ignore"):  # a distance that overflows is as infinite as it should be
        sq = queries[:, :1] - keys[:, 0]
        sq *= sq
        for query_feature, key_feature in zip(queries.T[1:], keys.T[1:], strict=True):
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
