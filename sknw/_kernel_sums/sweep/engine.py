"""Exact sums over one feature: O(n log n) to sort, then O(n + m) a bandwidth; compact kernels and exp(-rate u).

The keys left of a query and, mirrored, the keys right of it are summed apart. Leave-one-out is then strictly left plus
strictly right: nothing is subtracted. Only differences of inputs enter, so an offset costs no digits.

numba is imported, and the loops compiled (once a machine: they are cached on disk), when the first request arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
from numpy.polynomial import Polynomial
from scipy.linalg import pascal

from sknw._kernel_sums.costs import SWEEP_BANDWIDTH, SWEEP_POINT, SWEEP_POINT_OF_HIGH_DEGREE
from sknw._kernel_sums.line import SortedRequest
from sknw._kernel_sums.permutation import scatter_rows
from sknw._kernel_sums.registry import Engine, form_refusal, register
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.threads import for_each_chunk
from sknw.kernels import EDGE

# Where all products of kernel and sample weight may fall below the exponential of this, near the subnormal numbers, a
# query is computed relative to its nearest key.
_SMALLEST_EXPONENT = -600.0
# Queries that a thread takes together.
_CHUNK = 2**16


class Sweep(Engine):
    """Running sums along the sorted keys of one feature."""

    name = "sorted"
    least_seconds = 1e-9 * SWEEP_BANDWIDTH

    def refusal(self, request: KernelSumRequest) -> str | None:
        """One feature, and kernels whose sums can be carried along the line."""
        if reason := form_refusal(request):
            return reason
        form = request.form
        if form.family == "exponential" and form.power != 1:
            return "computes compact kernels and exp(-rate u) only"
        if form.power not in (1, 2, 3):
            return "computes (1 - u^power)^exponent only for a power of 1, 2 or 3"
        if form.family == "cosine" and form.exponent > 1:
            return "computes the cosine, and not powers of it"
        if request.keys.shape[1] != 1:
            return f"takes one feature, and here are {request.keys.shape[1]}"
        return None

    def estimate_seconds(self, request: KernelSumRequest) -> float:
        n_points, n_bandwidths = len(request.keys) + len(request.queries), len(request.bandwidths)
        form = request.form
        point = (
            SWEEP_POINT_OF_HIGH_DEGREE
            if form.family == "polynomial" and form.power * form.exponent > 4
            else SWEEP_POINT
        )
        return 1e-9 * (point * n_points * (1 + n_bandwidths) + SWEEP_BANDWIDTH * n_bandwidths)

    def compute(self, request: KernelSumRequest) -> ScaledSums:
        """The sums; queries and keys are sorted once for all bandwidths."""
        set_sums = _set_compact_sums if request.kernel.is_compact else _set_exponential_sums
        return _sums(request, 1 + request.columns.shape[1], set_sums)

    def line_refusal(self, request: KernelSumRequest) -> str | None:
        """As `refusal`, for lines: compact polynomial kernels, and no ranges of keys left out."""
        if request.has_ranges or request.form.family != "polynomial":
            return "sums for lines with compact polynomial kernels only, and at most the own key left out"
        return self.refusal(request)

    def line_sums(self, request: KernelSumRequest) -> ScaledSums:
        """As of `registry.SumsLines`."""
        return _sums(request, 3 + 2 * request.columns.shape[1], partial(_set_compact_sums, degree=1))

    def derivative_refusal(self, request: KernelSumRequest) -> str | None:
        """The kernel exp(-rate u) of one feature, without own keys."""
        if request.kernel.is_compact or request.leave_out is not None:
            return "differentiates exp(-rate u) only, of queries that are no keys"
        return self.refusal(request)

    def derivative_sums(self, request: KernelSumRequest, log_mass: np.ndarray) -> np.ndarray:
        """As of `registry.DifferentiatesSums`: dK/dq = -rate K on the right of a key, rate K on its left."""
        h, line = float(request.bandwidths[0]), SortedRequest.of(request)
        (left, right), shift, _ = _exponential_sides(request, line, h)
        first = np.minimum(np.searchsorted(line.keys, line.queries), len(line.keys) - 1)
        at_key = line.keys[first] == line.queries  # where the kernel has its peak, and counts as level
        columns = line.weights * np.vstack([np.ones(len(line.keys)), line.columns])
        starts = np.flatnonzero(np.append(True, line.keys[1:] != line.keys[:-1]))
        there = np.add.reduceat(columns, starts, axis=1)[:, np.searchsorted(starts, first[at_key])]
        right[: len(columns), at_key] -= there
        with np.errstate(over="ignore"):
            scale = request.form.rate / h * np.exp(-request.form.rate / h * shift - log_mass[line.order])
        found = np.empty((len(line.queries), 1 + request.columns.shape[1], 1))
        found[line.order, :, 0] = (scale * (right - left)[: found.shape[1]]).T
        return found


register(Sweep())


def _sums(request: KernelSumRequest, n_sums: int, set_sums: Callable[..., np.ndarray | None]) -> ScaledSums:
    """All `n_sums` sums, which ``set_sums(sums, request, line, h)`` sets at each bandwidth."""
    n_queries, n_bandwidths = len(request.queries), len(request.bandwidths)
    sums, log_scale = np.empty((n_bandwidths, n_sums, n_queries)), np.zeros((n_bandwidths, n_queries))
    line = SortedRequest.of(request)
    for b, h in enumerate(request.bandwidths.tolist()):
        is_in_order = isinstance(line.order, slice)
        part = sums[b] if is_in_order else np.empty((n_sums, n_queries))
        scale = set_sums(part, request, line, h)
        if not is_in_order:
            scatter_rows(sums[b], line.order, part)
        if scale is not None:
            log_scale[b, line.order] = scale
    return ScaledSums(sums[:, 0], sums[:, 1:].transpose(0, 2, 1), log_scale)


# Below, sums (1 + k or more, m) are in the order of the line, and without the own keys; what is returned is the scale
# (m,), or None where it is zero everywhere.


def _set_compact_sums(
    sums: np.ndarray, request: KernelSumRequest, line: SortedRequest, h: float, degree: int = 0
) -> None:
    """Sums of a compact kernel at bandwidth h; with degree 1 those of lines."""
    from sknw._kernel_sums.sweep import loops  # imports numba

    form = request.form
    power, exponent = (int(form.power), form.exponent) if form.family == "polynomial" else (0, 1)
    n_moments = 1 + max(power * exponent, 1 - power) + 2 * degree
    kernel = ((0.0,) * n_moments, (0,) * power, (0,) * exponent, (0,) * (2 * degree))
    radius = _radius(h, includes_edge=exponent == 0)
    columns = (line.keys, line.weights, line.columns)

    def states_of_keys() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        begin, end = loops.cells_of_blocks(line.keys, radius)
        states = np.empty((2, 2, len(begin), 1 + len(line.columns), n_moments))

        def set_states(sides: slice) -> None:
            for side in range(sides.start, sides.stop):
                loops.set_states(*states[side], kernel, side == 1, 1.0 / h, *columns, begin, end)

        for_each_chunk(set_states, 2, 1, request.n_threads)
        return begin, end, states

    begin, end, states = request.index.of_bandwidth(("states", kernel, h), states_of_keys)
    terms = h ** np.arange(1.0 + 2 * degree)[:, np.newaxis, np.newaxis] * _terms(power, exponent, 2 * degree)

    def sum_some(some: slice) -> None:
        loops.compact_sums(
            *(sums, some.start, kernel, h, radius, *columns, begin, end, states, terms),
            *(line.queries[some], line.rank[some], line.is_own[some]),
        )

    for_each_chunk(sum_some, len(line.queries), _CHUNK, request.n_threads)


@lru_cache(maxsize=32)
def _terms(power: int, exponent: int, highest: int) -> np.ndarray:
    """K^(m)(0) / m! binomial(m, k) of K = (1 - v)^p (1 - (1 - v)^power)^exponent, [p, m, k], p from 0 to `highest`."""
    u = Polynomial([1.0, -1.0])
    kernels = [u**p * (1.0 - u**power) ** exponent for p in range(highest + 1)]
    taylor = np.array([np.pad(kernel.coef, (0, highest - p)) for p, kernel in enumerate(kernels)])
    return taylor[..., np.newaxis] * pascal(taylor.shape[1], kind="lower", exact=False)


def _set_exponential_sums(
    sums: np.ndarray, request: KernelSumRequest, line: SortedRequest, h: float
) -> np.ndarray | None:
    """Sums of exp(-rate u) at bandwidth h, relative to the nearest key where they would underflow."""
    (left, right), shift, any_far = _exponential_sides(request, line, h)
    np.add(left[: len(sums)], right[: len(sums)], out=sums)
    return -request.form.rate / h * shift if any_far else None


def _exponential_sides(request: KernelSumRequest, line: SortedRequest, h: float) -> tuple[np.ndarray, np.ndarray, bool]:
    """Sums of exp(-rate u) over the keys left and right of each query, (2, 1 + k or more, m), relative to a shift (m,).

    And whether any shift is not zero. Keys at a query stand right of it.
    """
    from sknw._kernel_sums.sweep import loops  # imports numba

    rate = request.form.rate / h
    furthest = (np.log(request.index.smallest_weight) - _SMALLEST_EXPONENT) / rate
    shift = np.empty(len(line.queries))
    where = (line.queries, line.rank, line.is_own)
    any_far = loops.far_shifts(shift, line.queries, line.keys, line.rank, line.is_own, furthest)
    columns = [line.weights, *request.index.of_columns("weighted on the line", lambda: line.weights * line.columns)]
    n_pairs = -(-len(columns) // 2)
    columns += columns[:1]  # the last pair may lack one
    parts = np.zeros((2, 2 * n_pairs, len(line.queries)))

    def sum_sides(sides: slice) -> None:
        for side in range(sides.start, sides.stop):
            for v in range(0, 2 * n_pairs, 2):
                part = parts[side, v : v + 2]
                loops.add_exponential_sums(part, side == 1, rate, line.keys, columns[v], columns[v + 1], *where, shift)

    for_each_chunk(sum_sides, 2, 1, request.n_threads)
    return parts, shift, any_far


@lru_cache(maxsize=128)
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
