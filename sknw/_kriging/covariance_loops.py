"""Compiled loops over the terms of the covariance: one point and many, one block after the other.

Points are `powered`, (c, n), the queries transposed, (m, c). Block k has the columns starts[k] to starts[k + 1], and
half_power = p / 2, log_square = log2(w^2) of each block.
"""

import numpy as np

from sknw._kernel_sums.numba import MULTIPLY_ADD, REORDERED, compiled, exp2, inner, log2, wide_vectors
from sknw._kriging.limits import LARGEST_SUM, LOG_TERMS, SMALLEST_SQUARE

_LOWEST, _HIGHEST = LOG_TERMS
_MINUS_LOG2_E = -float(np.log2(np.e))


@inner(MULTIPLY_ADD)
def set_log_squares(logs, query, powered, first, last, log_square, n):
    """logs[j] = log2(w^2 ||b - b_j||^2) of the block of columns first to last, j < n."""
    wide_vectors()
    x, row = query[first], powered[first]
    for j in range(n):
        difference = x - row[j]
        logs[j] = difference * difference
    for c in range(first + 1, last):
        x, row = query[c], powered[c]
        for j in range(n):
            difference = x - row[j]
            logs[j] += difference * difference
    for j in range(n):
        logs[j] = log2(max(logs[j], SMALLEST_SQUARE)) + log_square


@inner(MULTIPLY_ADD)
def add_powers(sums, logs, half_power, n):
    wide_vectors()
    for j in range(n):
        sums[j] += exp2(min(max(half_power * logs[j], _LOWEST), _HIGHEST), 1.0)


@inner()
def add_terms(sums, logs, query, powered, starts, half_power, log_square, n):
    """sums[j] += sum_k t_k(query, point j) for j < n; `logs` is working memory of the same length."""
    for k in range(half_power.size):
        set_log_squares(logs, query, powered, starts[k], starts[k + 1], log_square[k], n)
        add_powers(sums, logs, half_power[k], n)


@inner(MULTIPLY_ADD)
def exponentiate(sums, n):
    """sums[j] becomes exp(-sums[j]) for j < n."""
    wide_vectors()
    for j in range(n):
        sums[j] = exp2(min(sums[j], LARGEST_SUM), _MINUS_LOG2_E)


@compiled()
def write_kappa(sums, queries, powered, starts, half_power, log_square, first):
    """sums[i, j], the squares' sum, becomes kappa; with first >= 0 only where j < first + i."""
    logs = np.empty(powered.shape[1])
    for i in range(queries.shape[0]):
        n = powered.shape[1] if first < 0 else first + i
        add_terms(sums[i], logs, queries[i], powered, starts, half_power, log_square, n)
        exponentiate(sums[i], n)


@inner(REORDERED)
def _weighted_sums(found, weights, logs, half_power, n):
    wide_vectors()
    total, of_logs = 0.0, 0.0
    for j in range(n):
        product = weights[j] * exp2(min(max(half_power * logs[j], _LOWEST), _HIGHEST), 1.0)
        total += product
        of_logs += product * logs[j]
    found[0] += total
    found[1] += of_logs


@compiled()
def add_term_sums(found, weights, queries, powered, starts, half_power, log_square, first):
    """found[i, k] += sum of weights[i, j] t_k (1, log2(w^2 ||b - b_j||^2)) over j < first + i."""
    logs = np.empty(powered.shape[1])
    for i in range(queries.shape[0]):
        for k in range(half_power.size):
            n = first + i
            set_log_squares(logs, queries[i], powered, starts[k], starts[k + 1], log_square[k], n)
            _weighted_sums(found[i, k], weights[i], logs, half_power[k], n)
