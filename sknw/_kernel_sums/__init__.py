"""The engine room: kernel sums, by the engine that suits the problem."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType

import numpy as np
from sklearn import get_config

from sknw._kernel_sums import dense
from sknw._kernel_sums.fast_gauss import engine as expansion
from sknw._kernel_sums.permutation import row_blocks
from sknw._kernel_sums.request import KernelSumRequest, LeaveOneOut
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.sweep import engine as sorted_
from sknw._kernel_sums.threads import for_each_chunk, one_blas_thread
from sknw._kernel_sums.tiled import engine as fused
from sknw._kernel_sums.tiled.blocks import DenseBlocks, LazyBlocks, Parts
from sknw._kernel_sums.tree import engine as pruned

__all__ = [
    "ALGORITHMS",
    "LazyBlocks",
    "LeaveOneOut",
    "Parts",
    "KernelSumRequest",
    "ScaledSums",
    "DenseBlocks",
    "choose_algorithm",
    "compiled_parts",
    "for_each_chunk",
    "kernel_sums",
    "one_blas_thread",
    "pairs_are_listed",
    "row_blocks",
    "rows_are_compiled",
    "rows_per_block",
    "weight_rows",
]

_ENGINES: dict[str, ModuleType] = {
    "dense": dense,
    "fused": fused,
    "sorted": sorted_,
    "expansion": expansion,
    "pruned": pruned,
}
ALGORITHMS = ("auto", *_ENGINES)
# By NumPy to compiled loops, as long as none has been loaded.
_lost_seconds = 0.0
# Weights that are written out take so many times as long as weights that are summed at once.
_WRITTEN = 3


def choose_algorithm(problem: KernelSumRequest, algorithm: str, n_passes: int = 1) -> str:
    """The name of the engine for `n_passes` problems like this one; "auto" is the one expected to be done first.

    Raises
    ------
    ValueError
        If the algorithm asked for cannot take the problem; says why, and which can.
    """
    if algorithm != "auto" and _ENGINES[algorithm].is_usable_for(problem) is True:
        return algorithm
    usable = [name for name, engine in _ENGINES.items() if engine.is_usable_for(problem) is True]
    if algorithm == "auto":
        return min(usable, key=lambda name: _start_up(name) + n_passes * _ENGINES[name].seconds(problem))
    reason = _ENGINES[algorithm].is_usable_for(problem)
    raise ValueError(f"algorithm={algorithm!r} {reason}; usable here: {['auto', *usable]}.")


def _start_up(algorithm: str) -> float:
    """Seconds that loading an engine takes; next to nothing once a compiled one has been loaded.

    Less what NumPy, chosen or asked for, has lost by then because none was: many small problems take at most twice as
    long as they would if their number had been known, as one who rents until the rent has cost as much as buying.
    """
    return 0.0 if _is_loaded() else max(_ENGINES[algorithm].START_UP - _lost_seconds, 0.0)


def _is_loaded() -> bool:
    return "sknw._kernel_sums.numba" in sys.modules


def _count_lost(problem: KernelSumRequest) -> None:
    """NumPy sums a problem: add what that takes more than compiled brute force to `_lost_seconds`."""
    global _lost_seconds
    if fused.is_usable_for(problem) is True:
        _lost_seconds += max(dense.seconds(problem) - fused.seconds(problem), 0.0)


def kernel_sums(problem: KernelSumRequest, algorithm: str = "auto") -> ScaledSums:
    """The sums S of `problem`, the same to rounding whichever engine computes them."""
    chosen = choose_algorithm(problem, algorithm)
    if chosen == "dense" and not _is_loaded():
        _count_lost(problem)
    return _ENGINES[chosen].compute(problem)


def rows_are_compiled(problem: KernelSumRequest, algorithm: str) -> bool:
    """Whether `weight_rows` uses compiled loops: they can, and where "auto" has not loaded them yet that pays."""
    if algorithm == "dense" or fused.is_usable_for(problem) is not True or problem.own is not None:
        return False
    return algorithm != "auto" or dense.seconds(problem) > _start_up("fused") + _WRITTEN * fused.seconds(problem)


def pairs_are_listed(problem: KernelSumRequest, algorithm: str) -> bool:
    """Whether the weights of a compact kernel come from the pairs in reach: they can, and that pays."""
    if algorithm == "dense" or pruned.is_usable_for(problem) is not True:
        return False
    return algorithm == "pruned" or _start_up("pruned") + pruned.seconds(problem) < dense.seconds(problem)


def rows_per_block(problem: KernelSumRequest) -> int:
    """How many rows of weights, with what is made of them, fit the cache and scikit-learn's ``working_memory``."""
    return max(dense.rows_per_block(problem) // 2, 1)


def weight_rows(problem: KernelSumRequest, algorithm: str = "auto") -> Callable[[slice], np.ndarray]:
    """A function that returns the K_j w_j of a slice of queries, each row up to a factor of its own.

    The slice begins at a multiple of four.
    """
    if rows_are_compiled(problem, algorithm):
        return fused.WeightRows(problem)
    return partial(dense.weight_rows, problem)


def compiled_parts(problem: KernelSumRequest, task: Callable[[slice, LazyBlocks], None]) -> None:
    """Call ``task(rows, parts)`` for chunks of the queries, of a problem of which `rows_are_compiled`."""
    tiles, rows = fused.Tiles(problem, np.float64), np.arange(len(problem.queries))

    def chunk(part: slice) -> None:
        task(part, LazyBlocks(tiles, rows[part]))

    # of each query sums of all parts and weights of one, with what is made of them
    numbers = len(tiles.keys) * tiles.columns.shape[1] + tiles.keys.shape[2]
    size = max(int(get_config()["working_memory"] * 2**20 / (8 * 4 * numbers)), 1)
    for_each_chunk(chunk, len(rows), min(size, fused.CHUNK), problem.n_threads, multiple_of=4)
