"""The engine room: kernel sums, by the engine that suits the problem."""

from __future__ import annotations

from types import ModuleType

from sknw._sums import dense, expansion, fused, pruned
from sknw._sums import sorted as sorted_
from sknw._sums._cells import Cells
from sknw._sums._problem import Own, Problem, Sums
from sknw._sums._threads import for_each_chunk, one_blas_thread

__all__ = [
    "ALGORITHMS",
    "Cells",
    "Own",
    "Problem",
    "Sums",
    "choose_algorithm",
    "for_each_chunk",
    "kernel_sums",
    "n_evaluations",
    "one_blas_thread",
]

_ENGINES: dict[str, ModuleType] = {
    "dense": dense,
    "fused": fused,
    "sorted": sorted_,
    "expansion": expansion,
    "pruned": pruned,
}
ALGORITHMS = ("auto", *_ENGINES)


def choose_algorithm(problem: Problem, algorithm: str, n_passes: int = 1) -> str:
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
        return min(usable, key=lambda name: _ENGINES[name].START_UP + n_passes * _ENGINES[name].seconds(problem))
    reason = _ENGINES[algorithm].is_usable_for(problem)
    raise ValueError(f"algorithm={algorithm!r} {reason}; usable here: {['auto', *usable]}.")


def n_evaluations(problem: Problem, algorithm: str) -> float:
    """The kernel evaluations of an engine, or, of one that does not look at all pairs, as many as take its time."""
    return min(problem.n_evaluations, _ENGINES[algorithm].n_evaluations(problem))


def kernel_sums(problem: Problem, algorithm: str = "auto") -> Sums:
    """The sums S of `problem`, the same to rounding whichever engine computes them."""
    return _ENGINES[choose_algorithm(problem, algorithm)].compute(problem)
