"""The sums over pairs of `metric_gradient`, in compiled tiles."""

from __future__ import annotations

from threading import Lock

import numpy as np

from sknw._kernel_sums.dense import LARGEST_EXPONENT
from sknw._kernel_sums.metric_gradient import MetricSums, WeightCotangent
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.threads import for_each_chunk
from sknw._kernel_sums.tiled.tiles import CHUNK, all_in_float64, in_blocks


def metric_sums(request: KernelSumRequest, x: np.ndarray, cotangent: WeightCotangent) -> MetricSums:
    """The sums of B over its rows (m,) and columns (n,), and B X of shape (m, d)."""
    from sknw._kernel_sums.tiled import metric_gradient_loops

    m, n, d = len(request.queries), *x.shape
    is_line = not cotangent.is_of_means
    once = not is_line and _takes_pairs_once(request, cotangent)
    values, weights = request.columns, request.weights
    if once:
        cotangent, values, weights = _symmetric(cotangent, values, weights)
    tiles = all_in_float64(request)
    keys, weight_blocks = (
        (tiles.keys, tiles.key_start, tiles.products),
        in_blocks(weights[np.newaxis], np.float64)[:, 0],
    )
    columns = in_blocks(np.vstack([np.ones(n), x.T]), np.float64), in_blocks(values.T, np.float64), weight_blocks
    sums, column_sums = np.empty((m, 1 + d)), np.zeros(weight_blocks.shape)
    # weights K / D are 2^(rate (u^power - shift))
    shift = cotangent.log_mass / (np.log(2.0) * tiles.rates[0])
    lock = Lock()

    def chunk(rows: slice) -> None:
        queries = tiles.padded_queries(np.arange(m)[rows])
        part, part_of_keys = np.zeros((len(queries[0]), 1 + d)), np.zeros_like(column_sums)
        kernel = tiles.padded(shift[rows]), float(tiles.power), tiles.rates[0], tiles.furthest[0]
        of_queries = tuple(tiles.padded(a[rows]) for a in (cotangent.p, cotangent.g, -cotangent.e, cotangent.t))
        work, first = tiles.empty_tiles(3), rows.start if once else -1
        numbers = keys, kernel, of_queries, columns
        metric_gradient_loops.add_metric_sums(work, queries, first, is_line, *numbers, part, part_of_keys)
        sums[rows] = part[: len(sums[rows])]
        with lock:
            column_sums[:] += part_of_keys

    for_each_chunk(chunk, m, CHUNK, request.n_threads, multiple_of=4)
    slope = -0.5 * request.form.rate * tiles.power
    sums *= slope
    return sums[:, 0], slope * column_sums.ravel()[:n], sums[:, 1:]


def _takes_pairs_once(request: KernelSumRequest, cotangent: WeightCotangent) -> bool:
    """Whether to form the upper triangle of B + B': half the pairs.

    For weighted means, whose cotangents have few numbers, where the queries are the keys, these leave each other out,
    and no mass is too small to divide by.
    """
    leave_out = request.leave_out
    return (
        leave_out is not None
        and leave_out.is_symmetric
        and float(cotangent.log_mass.min()) > -LARGEST_EXPONENT
        and np.array_equal(request.queries, request.keys)
    )


def _symmetric(
    cotangent: WeightCotangent, values: np.ndarray, weights: np.ndarray
) -> tuple[WeightCotangent, np.ndarray, np.ndarray]:
    """The cotangent, values and weights with which B is (B + B') of weighted means.

    With a = g / D and b = e / D it is K'_ij (w_j (a_i'y_j - b_i) + w_i (a_j'y_i - b_j)): linear in the columns
    (w y, w, a, -b) of the keys.
    """
    n, d = len(weights), cotangent.e.shape[1] - 1
    mass, column = np.exp(cotangent.log_mass)[:, np.newaxis], weights[:, np.newaxis]
    a, b = cotangent.g / mass, cotangent.e[:, :1] / mass
    both = WeightCotangent(
        cotangent.p, np.hstack([a, -b, column * values, column]), np.zeros((n, 1 + d)), np.zeros(n), np.zeros(n)
    )
    return both, np.hstack([column * values, column, a, -b]), np.ones(n)
