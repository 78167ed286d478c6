"""The reference engine: NumPy, a block of queries against all keys, every kernel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn import get_config

from sknw._sums._problem import Problem, Sums
from sknw._sums._threads import for_each_chunk
from sknw.kernels import ExponentialForm, Kernel, Pairwise

# A block of this many bytes stays in the second-level cache of today's processors.
_BLOCK_BYTES = 2**21
# Below this exponent exp() nears the subnormal numbers: such rows are computed relative to their nearest key.
_SMALLEST_EXPONENT = -600.0
# Each squaring of a weight doubles its relative error: after eight it is 2^8 eps = 6e-14.
_MOST_SQUARINGS = 8


def is_usable_for(problem: Problem) -> bool | str:
    """Every problem."""
    return True


def compute(problem: Problem) -> Sums:
    """The sums of `problem`, in blocks of queries: memory O(n + m)."""
    n_factors, n_queries = len(problem.factors), len(problem.queries)
    mass = np.empty((n_factors, n_queries))
    moments = np.empty((n_factors, n_queries, problem.values.shape[1]))
    log_scale = np.empty((n_factors, n_queries))
    columns = problem.weights[:, np.newaxis] * np.column_stack([np.ones(len(problem.keys)), problem.values])

    def sum_block(rows: slice) -> None:
        for index, (weights, own_weight, log_scale[index, rows]) in enumerate(_weights_of(problem, rows)):
            sums = weights @ columns
            if problem.own is not None:
                sums += own_weight[:, np.newaxis] * columns[problem.own[rows]]
            mass[index, rows] = sums[:, 0]
            moments[index, rows] = sums[:, 1:]

    for_each_chunk(sum_block, n_queries, rows_per_block(problem), problem.n_jobs)
    return Sums(mass, moments, log_scale)


def rows_per_block(problem: Problem) -> int:
    """How many queries fit a block, within the cache and scikit-learn's ``working_memory``."""
    # distances, weights and one temporary are alive at a time
    block_bytes = min(_BLOCK_BYTES, get_config()["working_memory"] * 2**20 / 3)
    return max(1, int(block_bytes // (8 * max(len(problem.keys), 1))))


def weight_rows(problem: Problem, rows: slice) -> np.ndarray:
    """K(q_i, z_j) w_j for the queries `rows` and all keys at the first factor, each row up to a factor of its own."""
    weights, own_weight, _ = next(_weights_of(problem, rows))
    if problem.own is not None:
        weights[np.arange(len(weights)), problem.own[rows]] = own_weight
    return weights * problem.weights


def _weights_of(problem: Problem, rows: slice) -> Iterator[tuple[np.ndarray, np.ndarray | None, np.ndarray]]:
    """For each factor: K(q_i, z_j) / exp(s_i) with zeros for own keys, the own keys' share of weight, and s_i."""
    queries = problem.queries[rows]
    own = None if problem.own is None else (np.arange(len(queries)), problem.own[rows])
    share = None if problem.own_share is None else problem.own_share[rows]
    kernel = problem.kernel
    if isinstance(kernel, Pairwise):
        yield from _pairwise_weights(kernel, queries, problem.keys, problem.factors, own, share)
        return
    sq = _squared_distances(problem, queries)
    if np.isfinite(kernel.support):
        yield from _compact_weights(kernel, sq, problem.factors, own, share)
    else:
        yield from _unbounded_weights(kernel, sq, problem.factors, own, share)


def _pairwise_weights(kernel, queries, keys, factors, own, share):
    for factor in factors:
        yield _with_own_apart(kernel.between(queries / factor, keys / factor), own, share)


def _compact_weights(kernel, sq, factors, own, share):
    for factor in factors:
        weights = kernel.profile(sq / factor**2)
        _check_weights(kernel, weights)
        yield _with_own_apart(weights, own, share)


def _with_own_apart(weights, own, share):
    own_weight = None
    if own is not None:
        own_weight = share * weights[own]
        weights[own] = 0.0
    return weights, own_weight, np.zeros(len(weights))


def _unbounded_weights(kernel, sq, factors, own, share):
    """Weights relative to the largest of their row where all of the row would underflow.

    For K = exp(-rate u^power) the weight at bandwidth c / 2^(1/power) is the square of the weight at c, which spares the
    exponential.
    """
    form = kernel.form
    previous, n_squarings = np.inf, _MOST_SQUARINGS
    weights = own_weight = top = log_scale = None
    for factor in factors:
        halved = isinstance(form, ExponentialForm) and abs((previous / factor) ** form.power - 2.0) < 1e-14
        if halved and n_squarings < _MOST_SQUARINGS and np.all(2.0 * (top - log_scale) > _SMALLEST_EXPONENT):
            n_squarings += 1
            np.square(weights, out=weights)
            top, log_scale = 2.0 * top, 2.0 * log_scale
            own_weight = None if own is None else _own_weight(own_exponent := 2.0 * own_exponent, log_scale, share)
        else:
            n_squarings = 0
            exponents = kernel.log_profile(sq / factor**2)
            own_exponent = None
            if own is not None:
                own_exponent = exponents[own]
                exponents[own] = -np.inf
            top = exponents.max(axis=1)
            if own is not None:
                top = np.where(share > 0, np.maximum(top, own_exponent), top)
            log_scale = np.where(np.isfinite(top) & (top < _SMALLEST_EXPONENT), top, 0.0)
            if log_scale.any():
                exponents -= log_scale[:, np.newaxis]
            own_weight = None if own is None else _own_weight(own_exponent, log_scale, share)
            weights = np.exp(exponents, out=exponents)
            _check_weights(kernel, weights)
        previous = factor
        yield weights, own_weight, log_scale


def _own_weight(own_exponent, log_scale, share):
    # without a share the exponent may lie far above the scale of the others
    return share * np.exp(np.where(share > 0, own_exponent - log_scale, 0.0))


def _check_weights(kernel: Kernel, weights: np.ndarray) -> None:
    # the named kernels are known to be right; a user's profile is not
    if kernel.form is None and not (np.all(weights >= 0) and np.all(np.isfinite(weights))):
        raise ValueError(f"{type(kernel).__name__}.profile(sq) must return finite, non-negative weights.")


def _squared_distances(problem: Problem, queries: np.ndarray) -> np.ndarray:
    """||q_i - z_j||^2 of shape (len(queries), n)."""
    keys = problem.keys
    if problem.products_are_accurate(np.float64):
        sq = queries @ keys.T
        sq *= -2.0
        sq += np.einsum("ij,ij->i", queries, queries)[:, np.newaxis]
        sq += np.einsum("ij,ij->i", keys, keys)
        return np.maximum(sq, 0.0, out=sq)
    sq = np.zeros((len(queries), len(keys)))
    for query_feature, key_feature in zip(queries.T, keys.T, strict=True):
        difference = query_feature[:, np.newaxis] - key_feature
        difference *= difference
        sq += difference
    return sq
