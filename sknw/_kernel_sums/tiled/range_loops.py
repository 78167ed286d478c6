"""The compiled loop over a range of keys for each query; keys stand by feature, (d, n)."""

from __future__ import annotations

import numpy as np

from sknw._kernel_sums.numba import MULTIPLY_ADD, compiled, inner, wide_vectors
from sknw._kernel_sums.row_loops import exponentials, finish_compact, product
from sknw.kernels import EDGE

# Keys whose distances and weights stay in the first-level cache.
_PIECE = 1024


@inner(MULTIPLY_ADD)
def _set_distances(distances, query, keys, first, n, power):
    """distances[j] = ||query - keys[:, first + j]||^power."""
    wide_vectors()
    for k in range(len(keys)):
        q, z = query[k], keys[k, first : first + n]
        if k == 0:
            for j in range(n):
                distances[j] = (q - z[j]) ** 2
        else:
            for j in range(n):
                distances[j] += (q - z[j]) ** 2
    if power == 1.0:
        for j in range(n):
            distances[j] = np.sqrt(distances[j])
    elif power == 3.0:
        for j in range(n):
            distances[j] *= np.sqrt(distances[j])
    elif power != 2.0:
        for j in range(n):
            distances[j] = distances[j] ** (0.5 * power)


@inner(MULTIPLY_ADD)
def _set_weights(weights, distances, n, rate, furthest, exponent, is_cosine):
    """As `loops.set_weights`, of the first n."""
    wide_vectors()
    if exponent is None:
        exponentials(weights[:n], distances, rate, furthest)
    elif exponent == 0:
        for j in range(n):
            weights[j] = 1.0 if rate * distances[j] <= EDGE else 0.0
    else:
        for j in range(n):
            weights[j] = max(1.0 - rate * distances[j], 0.0)
        finish_compact(weights, n, exponent, is_cosine)


@compiled()
def add_range_sums(sums, first_query, queries, first, last, keys, columns, power, exponent, is_cosine, rates, furthest):
    """sums[f, first_query + i, v] += sum_(first[i] <= j < last[i]) K_f(queries[i], keys[:, j]) columns[v, j].

    Parameters
    ----------
    sums : array of shape (f, any, v)
    queries, first, last : arrays of shape (m, d), (m,), (m,)
    keys, columns : arrays of shape (d, n), (v, n)
    power, exponent, is_cosine, rates, furthest
        As of `loops.add_sums`.
    """
    distances, weights = np.empty(_PIECE), np.empty(_PIECE)
    for i in range(len(queries)):
        for start in range(first[i], last[i], _PIECE):
            n = min(_PIECE, last[i] - start)
            _set_distances(distances, queries[i], keys, start, n, power)
            for f in range(rates.size):
                _set_weights(weights, distances, n, rates[f], furthest[f], exponent, is_cosine)
                for v in range(len(columns)):
                    sums[f, first_query + i, v] += product(weights, columns[v, start : start + n], n)
