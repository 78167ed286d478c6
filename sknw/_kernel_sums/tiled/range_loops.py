"""The compiled loop over a range of keys for each query; keys stand by feature, (d, n)."""

import numpy as np

from sknw._kernel_sums.numba import compiled, max, min
from sknw._kernel_sums.row_loops import powers, product, set_squared_distances
from sknw._kernel_sums.tiled.loops import set_weights_of_any

# Keys whose distances and weights, of four queries, stay in the first-level cache; and how many a vector loop takes.
_PIECE, VECTOR = 512, 8


def filled_up(rows):
    """Rows with `VECTOR` zeros behind."""
    return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, VECTOR))))


@compiled()
def add_range_sums(sums, first_query, queries, first, last, keys, columns, power, exponent, is_cosine, rates, furthest):
    """sums[f, first_query + i, v] += sum_(first[i] <= j < last[i]) K_f(queries[i], keys[:, j]) columns[v, j].

    Four queries together where their ranges nearly are the same.

    Parameters
    ----------
    sums : array of shape (f, any, v)
    queries, first, last : arrays of shape (m, d), (m,), (m,)
    keys, columns : arrays of shape (d, n + `VECTOR`), (v, n + `VECTOR`)
        Filled up with keys of no weight.
    power, exponent, is_cosine, rates, furthest
        As of `loops.add_sums`, but exponent -1 for the exponential.
    """
    work = np.empty((2, 4 * _PIECE))
    i = 0
    while i < len(queries):
        low, high, count, n_pairs = first[i], last[i], min(4, len(queries) - i), np.int64(0)
        for r in range(i, i + count):
            low, high, n_pairs = min(low, first[r]), max(high, last[r]), n_pairs + last[r] - first[r]
        if 2 * count * (high - low) > 3 * n_pairs:
            low, high, count = first[i], last[i], 1
        for start in range(low, high, _PIECE):
            n = -(-min(_PIECE, high - start) // VECTOR) * VECTOR
            distances, weights = work[0, : count * n], work[1, : count * n]
            for r in range(count):
                set_squared_distances(distances[r * n : (r + 1) * n], queries[i + r], keys, start)
            if power != 2.0:
                powers(distances, power)
            for f in range(rates.size):
                set_weights_of_any(weights, distances, rates[f], furthest[f], exponent, is_cosine)
                for r in range(count):
                    row = weights[r * n : (r + 1) * n]
                    for j in range(min(first[i + r] - start, n)):
                        row[j] = 0.0
                    for j in range(max(last[i + r] - start, 0), n):
                        row[j] = 0.0
                    for v in range(len(columns)):
                        sums[f, first_query + i + r, v] += product(row, columns[v, start : start + n], n)
        i += count
