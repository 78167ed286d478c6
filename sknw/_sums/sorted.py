"""Exact sums over one feature: O(n log n) to sort, then O(n + m) a bandwidth; compact kernels and exp(-rate u).

The keys left of a query and, mirrored, the keys right of it are summed apart. Leave-one-out is then strictly left plus
strictly right: nothing is subtracted. Only differences of inputs enter, so an offset costs no digits.

numba is imported, and the loops compiled (once a machine: they are cached on disk), when the first problem arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np

from sknw._sums._problem import Problem, Sums
from sknw._sums._threads import for_each_chunk
from sknw.kernels import EDGE, ExponentialForm, PolynomialForm

# Where all products of kernel and sample weight may fall below the exponential of this, near the subnormal numbers, a
# query is computed relative to its nearest key.
_SMALLEST_EXPONENT = -600.0


def is_usable_for(problem: Problem) -> bool | str:
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
START_UP = 1.0


def seconds(problem: Problem) -> float:
    """About how long `compute` takes: 0.1 us for a point, and at each bandwidth as much again."""
    return 1e-7 * (len(problem.keys) + len(problem.queries)) * (1 + len(problem.factors))


def compute(problem: Problem) -> Sums:
    """The sums of `problem`, which is sorted once for all bandwidths."""
    n_queries, n_columns = len(problem.queries), 1 + problem.values.shape[1]
    sums = np.empty((len(problem.factors), n_queries, n_columns))
    log_scale = np.zeros((len(problem.factors), n_queries))
    line = _Line(problem)
    set_sums = _set_exponential_sums if isinstance(problem.kernel.form, ExponentialForm) else _set_compact_sums
    for index, h in enumerate(problem.factors.tolist()):
        set_sums(sums[index], log_scale[index], problem, line, h)
    if problem.own is not None and problem.own.share.any():
        # K(0) = 1 for every kernel, and a query with a share is never scaled
        own = problem.own.key
        own_weight = problem.own.share * problem.weights[own]
        sums += own_weight[:, np.newaxis] * np.column_stack([np.ones(n_queries), problem.values[own]])
    return Sums(sums[..., 0], sums[..., 1:], log_scale)


class _Line:
    """A problem in order: its queries sorted (by `order`), with the keys left of them, and right of them.

    `right` is mirrored, so that what is right there is left here. Of several keys at a query its own is on neither
    side, and the others on either.
    """

    def __init__(self, problem: Problem):
        keys, queries = problem.keys[:, 0], problem.queries[:, 0]
        key_order = _order(keys)
        sorted_keys = keys[key_order]
        if problem.own is None:
            self.order = key_order if np.array_equal(queries, keys) else _order(queries)
            sorted_queries = queries[self.order]
            end = start = _loops().count_below(sorted_keys, sorted_queries)
        else:
            self.order, end = _own_in_order(problem.own.key, key_order)
            start = end + 1
            sorted_queries = sorted_keys[end]
        columns = _column_pairs(problem, key_order)
        mirrored = (-sorted_keys, columns, -sorted_queries, len(keys) - start)
        self.left = _Side(sorted_keys, columns, sorted_queries, end)
        self.right = _Side(*(np.ascontiguousarray(array[..., ::-1]) for array in mirrored))

    @cached_property
    def nearest(self) -> np.ndarray:
        """Distance of each query of the left side to its nearest key, of shape (m,); infinite without one."""
        return np.minimum(self.left.nearest, self.right.nearest[::-1])


@dataclass(frozen=True, eq=False)
class _Side:
    """Sorted queries, and the keys left of each.

    Attributes
    ----------
    keys : ndarray of shape (n,), ascending
    columns : ndarray of shape (p, 2, n)
        (w, w V) of the keys, two columns at a time; the last pair may be filled up with zeros.
    queries : ndarray of shape (m,), ascending
    end : ndarray of shape (m,), intp, ascending
        The keys before this one are left of the query.
    """

    keys: np.ndarray
    columns: np.ndarray
    queries: np.ndarray
    end: np.ndarray

    @cached_property
    def nearest(self) -> np.ndarray:
        """Distance of each query to the nearest key on the left, of shape (m,); infinite where there is none."""
        with np.errstate(over="ignore"):
            distance = self.queries - self.keys[np.maximum(self.end - 1, 0)]
        return np.where(self.end > 0, distance, np.inf)


def _set_compact_sums(sums: np.ndarray, log_scale: np.ndarray, problem: Problem, line: _Line, h: float) -> None:
    """Sums of a compact kernel at bandwidth h without the own keys; the scale stays zero."""
    form = problem.kernel.form
    is_cosine = not isinstance(form, PolynomialForm)
    power, exponent = form if isinstance(form, PolynomialForm) else (1, 1)
    no_moments = (0.0,) * (1 + power * exponent)
    radius = _radius(h, includes_edge=exponent == 0)

    def sum_side(side: _Side, pair: int, part: np.ndarray) -> None:
        column0, column1 = side.columns[pair]
        kernel = (no_moments, power, exponent, is_cosine)
        _loops().compact_sums(part, kernel, h, radius, side.keys, column0, column1, side.queries, side.end)

    _set_sums_of_both_sides(sums, sum_side, problem, line)


def _set_exponential_sums(sums: np.ndarray, log_scale: np.ndarray, problem: Problem, line: _Line, h: float) -> None:
    """Sums of exp(-rate u) at bandwidth h without the own keys, relative to the nearest key where they underflow."""
    assert isinstance(problem.kernel.form, ExponentialForm)
    rate = problem.kernel.form.rate / h
    furthest = (np.log(problem.weights.min()) - _SMALLEST_EXPONENT) / rate
    is_far = (line.nearest > furthest) & np.isfinite(line.nearest)
    if problem.own is not None:
        is_far &= problem.own.share[line.order] == 0.0
    shift = np.where(is_far, line.nearest, 0.0)

    def sum_side(side: _Side, pair: int, part: np.ndarray) -> None:
        beyond = side.nearest - (shift if side is line.left else shift[::-1])
        column0, column1 = side.columns[pair]
        _loops().exponential_sums(part, rate, side.keys, column0, column1, side.end, beyond)

    _set_sums_of_both_sides(sums, sum_side, problem, line)
    if is_far.any():
        log_scale[line.order] = -rate * shift


def _set_sums_of_both_sides(
    sums: np.ndarray, sum_side: Callable[[_Side, int, np.ndarray], None], problem: Problem, line: _Line
) -> None:
    """`sums` in the order of the problem, from ``sum_side(side, pair, part)``, which sets `part` of shape (m, 2)."""
    sides, n_pairs = (line.left, line.right), len(line.left.columns)
    parts = np.empty((2, n_pairs, len(sums), 2))

    def sum_sides(rows: slice) -> None:
        for index in range(rows.start, rows.stop):
            for pair in range(n_pairs):
                sum_side(sides[index], pair, parts[index, pair])

    for_each_chunk(sum_sides, len(sides), 1, problem.n_jobs)
    _loops().join(sums, parts[0], parts[1], line.order)


def _order(x: np.ndarray) -> np.ndarray:
    """The order that sorts x; quickly where x is sorted."""
    return np.arange(len(x)) if np.all(x[:-1] <= x[1:]) else np.argsort(x)


def _own_in_order(own_key: np.ndarray, key_order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order of the queries by the place of their own key among the sorted keys, and the places in that order."""
    place = np.arange(len(key_order))
    if np.array_equal(own_key, place):  # every key is a query
        return key_order, place
    place_of_key = np.empty_like(key_order)
    place_of_key[key_order] = place
    place = place_of_key[own_key]
    order = _order(place)
    return order, place[order]


def _column_pairs(problem: Problem, key_order: np.ndarray) -> np.ndarray:
    """`_Side.columns` of the keys in order."""
    n_columns = 1 + problem.values.shape[1]
    pairs = np.zeros((-(-n_columns // 2), 2, len(key_order)))
    columns = pairs.reshape(-1, len(key_order))[:n_columns]
    columns[0] = problem.weights[key_order]
    for column, values in zip(columns[1:], problem.values.T, strict=True):
        np.multiply(columns[0], values[key_order], out=column)
    return pairs


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
    from sknw._sums import _sorted_loops

    return _sorted_loops
