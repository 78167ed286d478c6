"""The sums over pairs of `metric_gradient`, over a tree of blocks."""

from __future__ import annotations

from threading import Lock

import numpy as np

from sknw._kernel_sums.metric_gradient import MetricSums, WeightCotangent
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.threads import for_each_chunk
from sknw._kernel_sums.tree.exponential import ExponentialSums, skipped_share
from sknw._kernel_sums.tree.pairs import CHUNK, Pairs

# Derivatives of lines grow with the distance, from what a weight counts to about this many times as much.
_LARGEST_GROWTH = 1e8


def metric_sums(request: KernelSumRequest, x: np.ndarray, cotangent: WeightCotangent, pays: bool) -> MetricSums:
    """The sums of B over its rows (m,) and columns (n,), and B X of shape (m, d)."""
    from sknw._kernel_sums.tree import metric_loops

    pairs = Pairs(request, pays)
    kernel, (queries, keys) = ExponentialSums(pairs), (pairs.queries, pairs.keys)
    (rate,), (furthest,), power = kernel.rates, kernel.furthest, kernel.power
    one = np.ones((len(x), 1))
    s, y = np.hstack([-cotangent.e[:, :1], cotangent.g]), np.hstack([one, request.columns])
    if not cotangent.is_of_means:
        s, y = np.hstack([s, -cotangent.e[:, 1:]]), np.hstack([y, x])
    of_queries = [np.ascontiguousarray(array[queries.order]) for array in (cotangent.p, s, cotangent.t)]
    of_keys = [keys.columns(columns) for columns in (np.hstack([one, x]), y, request.weights[:, np.newaxis])]
    # weights K / D are 2^(rate (u^power - shift))
    shift = cotangent.log_mass[queries.order] / (np.log(2.0) * rate)
    smallest = np.log2(skipped_share(request.index) / _LARGEST_GROWTH)
    reach = np.maximum(shift + smallest / rate, 0.0) ** (2.0 / power)
    sums, column_sums = np.zeros((len(shift), 1 + x.shape[1])), np.zeros((len(keys.leaf), keys.blocks.shape[2]))
    lock = Lock()

    def add(part: slice) -> None:
        columns = np.zeros_like(column_sums)
        metric_loops.add_metric_sums(
            *(sums, columns, queries.arrays, keys.arrays, *of_queries, *of_keys, pairs.left_out),
            *(reach, shift, power, rate, furthest, part.start, part.stop),
        )
        with lock:
            column_sums[:] += columns

    for_each_chunk(add, len(queries.leaf), CHUNK, request.n_threads)
    slope = -0.5 * request.form.rate * power
    by_query, by_key = np.empty_like(sums), np.empty(len(x))
    by_query[queries.order], by_key[keys.order] = slope * sums, slope * column_sums.ravel()[: len(x)]
    return by_query[:, 0], by_key, by_query[:, 1:]
