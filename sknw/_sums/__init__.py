"""The engine room: kernel sums, by the engine that suits the problem."""

from __future__ import annotations

from types import ModuleType

from sknw._sums import dense, fused
from sknw._sums._problem import Own, Problem, Sums
from sknw._sums._threads import for_each_chunk, one_blas_thread

__all__ = [
    "ALGORITHMS",
    "Own",
    "Problem",
    "Sums",
    "choose_algorithm",
    "for_each_chunk",
    "kernel_sums",
    "one_blas_thread",
]

_ENGINES: dict[str, ModuleType] = {"dense": dense, "fused": fused}
ALGORITHMS = ("auto", *_ENGINES)

# Brute force in NumPy does this many kernel evaluations in about half a second. Below, loading a compiled engine, let
# alone compiling it, would cost more than it saves.
_SMALL = 1e8


def choose_algorithm(problem: Problem, algorithm: str, n_passes: int = 1) -> str:
    """The name of the engine for `n_passes` problems like this one.

    Raises
    ------
    ValueError
        If the algorithm asked for cannot take the problem; says why, and which can.
    """
    if algorithm == "auto":
        small = problem.n_evaluations * n_passes < _SMALL
        return "dense" if small or fused.is_usable_for(problem) is not True else "fused"
    reason = _ENGINES[algorithm].is_usable_for(problem)
    if reason is not True:
        usable = [name for name, engine in _ENGINES.items() if engine.is_usable_for(problem) is True]
        raise ValueError(f"algorithm={algorithm!r} {reason}; usable here: {['auto', *usable]}.")
    return algorithm


def kernel_sums(problem: Problem, algorithm: str = "auto") -> Sums:
    """The sums S of `problem`, the same to rounding whichever engine computes them."""
    return _ENGINES[choose_algorithm(problem, algorithm)].compute(problem)
