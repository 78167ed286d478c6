"""The compiled loop that writes kernel weights out instead of summing them; layout and arguments as in `_tiles`."""

from __future__ import annotations

from sknw._sums._compile import MULTIPLY_ADD, compiled, wide_vectors
from sknw._sums._tiles import (
    EXPONENTIAL,
    POLYNOMIAL,
    cosines,
    exponentials,
    polynomials,
    powers,
    row_length,
    squared_distances,
)


@compiled(MULTIPLY_ADD)
def _write_product(row, weights, sample_weights):
    wide_vectors()
    for j in range(row_length(weights)):
        row[j] = weights[j] * sample_weights[j]


@compiled()
def write_weights(
    tile,
    weights,
    queries,
    start,
    keys,
    key_start,
    sample_weights,
    products,
    power,
    kind,
    exponent,
    rate,
    furthest,
    rows,
):
    """rows[i, s, j] = K(queries[i], key j of block s) times the key's sample weight, for arrays (m, s, j)."""
    flat_tile, flat_weights = tile.reshape(4 * row_length(keys)), weights.reshape(4 * row_length(keys))
    for s in range(keys.shape[0]):
        for i in range(0, queries.shape[0], 4):
            squared_distances(tile, queries[i : i + 4], start[i : i + 4], keys[s], key_start[s], products)
            if power != 2.0:
                powers(flat_tile, power)
            if kind == EXPONENTIAL:
                exponentials(flat_weights, flat_tile, rate, furthest)
            elif kind == POLYNOMIAL:
                polynomials(flat_weights, flat_tile, rate, exponent)
            else:
                cosines(flat_weights, flat_tile, rate)
            for r in range(4):
                _write_product(rows[i + r, s], weights[r], sample_weights[s])
