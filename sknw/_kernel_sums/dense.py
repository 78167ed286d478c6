"""The reference engine: NumPy, a block of queries against all keys, every kernel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn import get_config

from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.threads import for_each_chunk, one_blas_thread
from sknw.kernels import ExponentialForm, Kernel, Pairwise

# A block of this many bytes stays in the second-level cache of today's processors.
_BLOCK_BYTES = 2**21
# Where all products of kernel and sample weight may fall below the exponential of this, near the subnormal numbers, a
# row is computed relative to its largest kernel weight.
_SMALLEST_EXPONENT = -600.0
# Each squaring of a weight doubles its relative error: after eight it is 2^8 eps = 6e-14.
_MOST_SQUARINGS = 8


def is_usable_for(problem: KernelSumRequest) -> bool | str:
    """Every problem."""
    return True


# Nothing to load, and about 10 ns for a kernel evaluation.
START_UP = 0.0


def seconds(problem: KernelSumRequest) -> float:
    """About how long `compute` takes."""
    return 1e-8 * problem.n_evaluations


def compute(problem: KernelSumRequest) -> ScaledSums:
    """The sums of `problem`, in blocks of queries: memory O(n + m)."""
    n_factors, n_queries = len(problem.factors), len(problem.queries)
    columns = problem.weights[:, np.newaxis] * np.column_stack([np.ones(len(problem.keys)), problem.values])
    sums = np.empty((n_factors, n_queries, columns.shape[1]))
    log_scale = np.empty((n_factors, n_queries))

    def sum_block(rows: slice) -> None:
        for index, (weights, scale) in enumerate(_weights(problem, rows)):
            sums[index, rows], log_scale[index, rows] = weights @ columns, scale

    with one_blas_thread():
        for_each_chunk(sum_block, n_queries, rows_per_block(problem), problem.n_threads)
    return ScaledSums(sums[..., 0], sums[..., 1:], log_scale)


def rows_per_block(problem: KernelSumRequest) -> int:
    """How many queries make a block that fits the cache and scikit-learn's ``working_memory``."""
    # distances, weights and one temporary are alive at a time
    block_bytes = min(_BLOCK_BYTES, get_config()["working_memory"] * 2**20 / 3)
    return max(1, int(block_bytes // (8 * len(problem.keys))))


def weight_rows(problem: KernelSumRequest, rows: slice) -> np.ndarray:
    """K(q_i, z_j) w_j for the queries `rows` and all keys at the first factor, each row up to a factor of its own."""
    weights, _ = next(_weights(problem, rows))
    return weights * problem.weights


# Weights K(q_i, z_j) / exp(s_i) of shape (m, n), and the s_i.
_Weights = tuple[np.ndarray, np.ndarray]


def _weights(problem: KernelSumRequest, rows: slice) -> Iterator[_Weights]:
    """The weights of the queries `rows` at each factor; a query's own key has its share only."""
    queries, kernel, factors = problem.queries[rows], problem.kernel, problem.factors
    own = _OwnEntries(problem, rows)
    if isinstance(kernel, Pairwise):
        return _pairwise_weights(kernel, queries, problem.keys, factors, own)
    sq = squared_distances(problem, queries)
    if np.isfinite(kernel.support):
        return _compact_weights(kernel, sq, factors, own)
    smallest_exponent = _SMALLEST_EXPONENT - np.log(problem.weights.min())
    return _unbounded_weights(kernel, sq, factors, own, smallest_exponent)


class _OwnEntries:
    """The entries of a block of weights that belong to a query and its own key."""

    def __init__(self, problem: KernelSumRequest, rows: slice):
        n_queries = len(problem.queries[rows])
        if problem.own is None:
            self.at = (np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp))
            self.retained = np.empty(0)
        else:
            self.at = (np.arange(n_queries), problem.own.index[rows])
            self.retained = problem.own.retained[rows]


def _pairwise_weights(
    kernel: Pairwise, queries: np.ndarray, keys: np.ndarray, factors: np.ndarray, own: _OwnEntries
) -> Iterator[_Weights]:
    for factor in factors:
        weights = kernel.between(queries / factor, keys / factor)
        weights[own.at] *= own.retained
        yield weights, np.zeros(len(weights))


def _compact_weights(kernel: Kernel, sq: np.ndarray, factors: np.ndarray, own: _OwnEntries) -> Iterator[_Weights]:
    for factor in factors:
        weights = _profile(kernel, sq / factor**2)
        weights[own.at] *= own.retained
        yield weights, np.zeros(len(weights))


def _unbounded_weights(
    kernel: Kernel, sq: np.ndarray, factors: np.ndarray, own: _OwnEntries, smallest_exponent: float
) -> Iterator[_Weights]:
    """Relative to the largest weight of the row where all of them would underflow.

    For K = exp(-rate u^power) the weight at bandwidth c / 2^(1 / power) is the square of the weight at c, which spares
    the exponential.
    """
    power = kernel.form.power if isinstance(kernel.form, ExponentialForm) else None
    previous, n_squarings = np.inf, 0
    weights, top, log_scale = np.empty(0), np.empty(0), np.empty(0)
    for factor in factors:
        is_square = power is not None and abs((previous / factor) ** power - 2.0) < 1e-14
        if is_square and n_squarings < _MOST_SQUARINGS and np.all(2.0 * (top - log_scale) > smallest_exponent):
            n_squarings += 1
            np.square(weights, out=weights)
            weights[own.at] = np.divide(
                weights[own.at], own.retained, out=np.zeros_like(own.retained), where=own.retained > 0
            )
            top, log_scale = 2.0 * top, 2.0 * log_scale
        else:
            n_squarings = 0
            exponents = _log_profile(kernel, sq / factor**2)
            exponents[own.at] = np.where(own.retained > 0, exponents[own.at], -np.inf)
            top = exponents.max(axis=1)
            # the largest of a row without any weight is no scale
            log_scale = np.where(np.isfinite(top) & (top < smallest_exponent), top, 0.0)
            if log_scale.any():
                exponents -= log_scale[:, np.newaxis]
            weights = np.exp(exponents, out=exponents)
            weights[own.at] *= own.retained
        previous = factor
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


def squared_distances(problem: KernelSumRequest, queries: np.ndarray) -> np.ndarray:
    """||q_i - z_j||^2 of shape (len(queries), n)."""
    keys = problem.keys
    if problem.gemm_distances_ok(np.float64):
        sq = queries @ keys.T
        sq *= -2.0
        sq += np.einsum("ij,ij->i", queries, queries)[:, np.newaxis]
        sq += np.einsum("ij,ij->i", keys, keys)
        return np.maximum(sq, 0.0, out=sq)
    sq = np.zeros((len(queries), len(keys)))
    with np.errstate(over="ignore"):  # a distance that overflows is as infinite as it should be
        for query_feature, key_feature in zip(queries.T, keys.T, strict=True):
            difference = query_feature[:, np.newaxis] - key_feature
            difference *= difference
            sq += difference
    return sq
