"""Sums by compiled brute force where query i is key i, summed without itself: each weight serves two sums."""

from __future__ import annotations

import numpy as np

from sknw._kernel_sums.costs import PAIRS_COMPILING, PAIRS_SAVE
from sknw._kernel_sums.memory import empty_aligned
from sknw._kernel_sums.registry import dispatcher
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.threads import for_each_chunk
from sknw._kernel_sums.tiled.tiles import Tiles

# Each thread has an array of sums. `takes_pairs` is False if the arrays of all threads would exceed this many numbers.
_MOST_SUMS = 2**23


def takes_pairs(request: KernelSumRequest, seconds: float) -> bool:
    """Whether query i is key i, summed without itself, and the loops are compiled or worth compiling.

    `seconds` is what the request takes without them. Not where the sums of all threads would take much memory.
    """
    leave_out, n = request.leave_out, len(request.keys)
    if leave_out is None or request.allow_float32 or not leave_out.is_all_in_order(n):
        return False
    if 4 * request.n_threads * len(request.bandwidths) * n * (1 + request.columns.shape[1]) > _MOST_SUMS:
        return False
    from sknw._kernel_sums.numba import has_compiled
    from sknw._kernel_sums.tiled import pair_loops

    is_there = has_compiled(pair_loops.add_pair_sums)
    return is_there or dispatcher.is_worth_compiling("pairs of keys", PAIRS_SAVE * seconds, PAIRS_COMPILING)


def pair_sums(request: KernelSumRequest, tiles: Tiles) -> np.ndarray:
    """sum_j K_j w_j (1, V_j) for each key, over all others, (b, n, 1 + k); `tiles` has the numbers of the kernel."""
    from sknw._kernel_sums.tiled import pair_loops as loops

    index, n, n_columns = request.index, len(request.keys), 1 + request.columns.shape[1]
    keys = index.of_keys("in pairs", lambda: _filled_up(index.keys.T, loops.VECTOR))
    columns = index.of_columns("weighted, in pairs", lambda: _filled_up(index.weighted_columns.T, loops.VECTOR))
    sums, by_column = np.zeros((len(request.bandwidths), keys.shape[1], len(columns))), {}

    def add(rows: slice) -> None:
        work = empty_aligned((2, 4 * loops.BLOCK))
        of_keys = empty_aligned((len(sums), len(columns), keys.shape[1]))
        of_keys[:] = 0.0
        kernel = (*tiles.kernel, tiles.rates, tiles.furthest)
        loops.add_pair_sums(work, rows.start, rows.stop, keys, columns, *kernel, sums, of_keys)
        by_column[rows.start] = of_keys

    for_each_chunk(add, n, n, request.n_threads, multiple_of=4)
    for start in sorted(by_column):
        sums += by_column[start].transpose(0, 2, 1)
    return sums[:, :n, :n_columns]


def _filled_up(rows: np.ndarray, multiple_of: int) -> np.ndarray:
    """The rows, filled up with zeros to a length that is a multiple, and with a row of zeros to an even number."""
    n_rows, n = rows.shape
    filled = empty_aligned((n_rows + n_rows % 2, n + -n % multiple_of))
    filled[:] = 0.0
    filled[:n_rows, :n] = rows
    return filled
