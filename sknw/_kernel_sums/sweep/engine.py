"""Exact sums over one feature: O(n log n) to sort, then O(n + m) a bandwidth; compact kernels and exp(-rate u).

The keys left of a query and, mirrored, the keys right of it are summed apart. Leave-one-out is then strictly left plus
strictly right: nothing is subtracted. Only differences of inputs enter, so an offset costs no digits.

numba is imported, and the loops compiled (once a machine: they are cached on disk), when the first problem arrives.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from sknw._kernel_sums.line import SortedProblem
from sknw._kernel_sums.permutation import in_order, scatter_rows
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.threads import for_each_chunk
from sknw.kernels import EDGE, ExponentialForm, PolynomialForm

# Where all products of kernel and sample weight may fall below the exponential of this, near the subnormal numbers, a
# query is computed relative to its nearest key.
_SMALLEST_EXPONENT = -600.0
# Queries that a thread takes together.
_CHUNK = 2**16


def is_usable_for(problem: KernelSumRequest) -> bool | str:
    """One feature, and kernels whose sums can be carried along the line."""
    form = problem.kernel.form
    if form is None:
        return "computes the named kernels only, and this kernel is user-defined"
    if isinstance(form, ExponentialForm) and form.power != 1:
        return "computes compact kernels and exp(-u) only"
    if isinstance(form, PolynomialForm) and form.power not in (1, 2, 3):
        return "computes (1 - u^power)^exponent only for a power of 1, 2 or 3"
    if problem.keys.shape[1] != 1:
        return f"takes one feature, and here are {problem.keys.shape[1]}"
    return True


# As for the fused engine: the time to load numba.
START_UP = 0.4


def seconds(problem: KernelSumRequest) -> float:
    """About how long `compute` takes."""
    n_points, n_factors = len(problem.keys) + len(problem.queries), len(problem.factors)
    form = problem.kernel.form
    is_long = isinstance(form, PolynomialForm) and form.power * form.exponent > 4
    return (2.5e-8 if is_long else 1.2e-8) * n_points * (1 + n_factors) + 6e-5 * n_factors


def compute(problem: KernelSumRequest) -> ScaledSums:
    """The sums of `problem`, which is sorted once for all bandwidths."""
    n_queries, n_columns = len(problem.queries), 1 + problem.values.shape[1]
    sums = np.empty((len(problem.factors), n_columns, n_queries))
    log_scale = np.zeros((len(problem.factors), n_queries))
    line = SortedProblem.of(problem)
    set_sums = _set_exponential_sums if isinstance(problem.kernel.form, ExponentialForm) else _set_compact_sums
    for index, h in enumerate(problem.factors.tolist()):
        is_in_order = isinstance(line.order, slice)
        part = sums[index] if is_in_order else np.empty((n_columns, n_queries))
        scale = set_sums(part, problem, line, h)
        if not is_in_order:
            scatter_rows(sums[index], line.order, part)
        if scale is not None:
            log_scale[index, line.order] = scale
    if problem.own is not None and problem.own.retained.any():
        # K(0) = 1 for every kernel, and a query with a share is never scaled
        own = problem.own.index
        own_weight = problem.own.retained * problem.weights[own]
        sums += own_weight * np.vstack([np.ones(n_queries), problem.values[own].T])
    return ScaledSums(sums[:, 0], sums[:, 1:].transpose(0, 2, 1), log_scale)


# Below, sums (1 + k, m) are in the order of the line, and without the own keys; what is returned is the scale (m,), or
# None where it is zero everywhere.


def _set_compact_sums(sums: np.ndarray, problem: KernelSumRequest, line: SortedProblem, h: float) -> None:
    """Sums of a compact kernel at bandwidth h."""
    loops, form = _loops(), problem.kernel.form
    power, exponent = form if isinstance(form, PolynomialForm) else (0, 1)
    kernel = ((0.0,) * (1 + max(power * exponent, 1 - power)), (0,) * power, (0,) * exponent)
    radius = _radius(h, includes_edge=exponent == 0)
    columns = (line.keys, line.weights, line.values)

    def states_of_keys() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        begin, end = loops.cells_of_blocks(line.keys, radius)
        states = np.empty((2, 2, len(begin), 1 + len(line.values), len(kernel[0])))

        def set_states(sides: slice) -> None:
            for side in range(sides.start, sides.stop):
                loops.set_states(*states[side], kernel, side == 1, 1.0 / h, *columns, begin, end)

        for_each_chunk(set_states, 2, 1, problem.n_threads)
        return begin, end, states

    begin, end, states = problem.once(("states", h), states_of_keys)
    left, right = tuple(states[0]), tuple(states[1])

    def sum_some(some: slice) -> None:
        loops.compact_sums(
            *(sums, some.start, kernel, h, radius, *columns, begin, end, left, right),
            *(line.queries[some], line.place[some], line.is_own),
        )

    for_each_chunk(sum_some, len(line.queries), _CHUNK, problem.n_threads)


def _set_exponential_sums(
    sums: np.ndarray, problem: KernelSumRequest, line: SortedProblem, h: float
) -> np.ndarray | None:
    """Sums of exp(-rate u) at bandwidth h, relative to the nearest key where they would underflow."""
    assert isinstance(problem.kernel.form, ExponentialForm)
    loops, rate = _loops(), problem.kernel.form.rate / h
    furthest = (np.log(problem.weights.min()) - _SMALLEST_EXPONENT) / rate
    share = np.empty(0) if problem.own is None else in_order(problem.own.retained, line.order)
    shift = np.empty(len(line.queries))
    where = (line.queries, line.place, line.is_own)
    any_far = loops.far_shifts(shift, line.queries, line.keys, line.place, line.is_own, share, furthest)
    columns = [line.weights, *problem.once("columns", lambda: line.weights * line.values)]
    n_pairs = -(-len(columns) // 2)
    columns += columns[:1]  # the last pair may lack one
    parts = np.zeros((2, 2 * n_pairs, len(line.queries)))

    def sum_sides(sides: slice) -> None:
        for side in range(sides.start, sides.stop):
            for v in range(0, 2 * n_pairs, 2):
                part = parts[side, v : v + 2]
                loops.add_exponential_sums(part, side == 1, rate, line.keys, columns[v], columns[v + 1], *where, shift)

    for_each_chunk(sum_sides, 2, 1, problem.n_threads)
    np.add(parts[0, : len(sums)], parts[1, : len(sums)], out=sums)
    return -rate * shift if any_far else None


def _radius(h: float, includes_edge: bool) -> float:
    """The largest distance at which kernels.py gives a weight: fl(d^2 / h^2) at most `EDGE` or, without edge, below 1.

    Found among the neighbours of h in floating point, so that every engine has the same keys in a window.
    """
    largest = EDGE if includes_edge else np.nextafter(1.0, 0.0)
    mantissa, power_of_two = np.frexp(h)  # squares neither overflow nor vanish
    radius = mantissa * np.sqrt(largest)
    while radius * radius / mantissa**2 <= largest:
        radius = np.nextafter(radius, np.inf)
    while radius * radius / mantissa**2 > largest:
        radius = np.nextafter(radius, 0.0)
    return float(np.ldexp(radius, power_of_two))


def _loops() -> ModuleType:
    """The compiled module, imported here and not above because it imports numba."""
    from sknw._kernel_sums.sweep import loops as _sorted_loops

    return _sorted_loops
