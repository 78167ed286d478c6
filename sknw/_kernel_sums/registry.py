"""Engines, and the choice among them.

An engine computes kernel sums in its own way. It subclasses `Engine`, and calls `register` with an instance in its own
file. What it can do beyond sums it says by the methods of the capabilities below, for which the door asks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
from scipy.sparse import csr_array

from sknw._kernel_sums.contract import Engine, has_capability
from sknw._kernel_sums.copies import may_have_copies, sums_of_distinct
from sknw._kernel_sums.costs import LOAD_SECONDS, SMALL_SECONDS
from sknw._kernel_sums.groups import group_sums, takes_groups
from sknw._kernel_sums.ranges import RangeSums
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.shards import NEEDS_ALL_ROWS

# Capabilities, which an engine may have.


@runtime_checkable
class WritesWeights(Protocol):
    """Rows of kernel weights, written out."""

    def weight_rows(self, request: KernelSumRequest) -> Callable[[slice], np.ndarray]:
        """A function that returns the K_j w_j of a slice of queries and all keys, (len(rows), n).

        At the first bandwidth, each row up to a factor of its own. The slice begins at a multiple of four.
        """


@runtime_checkable
class ListsPairs(Protocol):
    """Sparse kernel weights."""

    def weight_pairs(self, request: KernelSumRequest, negligible: float, top_k: int | None) -> csr_array:
        """K(q_i, z_j) w_j at the first bandwidth, of shape (m, n), each row up to a factor, columns ascending.

        Without zeros, and without weights below the part `negligible` of the sum of the row if the kernel does not end.
        With `top_k` at least the k largest weights of each row, and all that are equal to one of these.
        """


class Blocks(Protocol):
    """Weights of some queries in blocks of consecutive keys, each row up to a factor of its own."""

    size: int  # keys of a block
    sums: np.ndarray  # of the weights of each block, and of their products with the k columns, (b, s, 1 + k)
    largest: np.ndarray  # at least the largest weight of each block, (b, s)
    log_scale: np.ndarray  # the logarithm of the factor that makes kernel weights of those here, (b,)

    @property
    def block_sums(self) -> np.ndarray:
        """The sum of the weights of each block: (b, s)."""

    def weights(self, rows: np.ndarray, blocks: np.ndarray) -> np.ndarray:
        """The weights of the queries `rows` (c,), each of one block, (c,): of shape (c, size), filled up with zeros."""

    def loop_arguments(self, rows: np.ndarray) -> tuple[np.ndarray, tuple]:
        """The queries `rows`, filled up to fours, and what the loops of `tiled.weight_loops` begin with."""


@runtime_checkable
class SumsBlocks(Protocol):
    """Sums over blocks of consecutive keys, and the weights of the blocks asked for."""

    def for_each_chunk_of_blocks(self, request: KernelSumRequest, task: Callable[[slice, Blocks], None]) -> None:
        """Call ``task(rows, blocks)`` for chunks of the queries."""


@runtime_checkable
class DifferentiatesSums(Protocol):
    """Derivatives of the sums in the query, of kernels whose derivative is no kernel with a form."""

    def derivative_refusal(self, request: KernelSumRequest) -> str | None:
        """As `Engine.refusal`, for these sums."""

    def derivative_sums(self, request: KernelSumRequest, log_mass: np.ndarray) -> np.ndarray:
        """See `derivative.derivative_sums`."""


@runtime_checkable
class SumsLines(Protocol):
    """The sums that local lines of one feature need, of inputs minus the query."""

    def line_refusal(self, request: KernelSumRequest) -> str | None:
        """As `Engine.refusal`, for these sums."""

    def line_sums(self, request: KernelSumRequest) -> ScaledSums:
        """sum_j K_j w_j (1, V_j, s_j, s_j V_j, s_j^2) with s_j = z_j - q: 2 + 2 k moments.

        Errors are relative to the mass times 1, h and h^2, and for the columns V times the mean of |V|.
        """


@runtime_checkable
class DifferentiatesMetric(Protocol):
    """The sums over pairs that the derivative of pooled values in the metric needs."""

    def metric_refusal(self, request: KernelSumRequest) -> str | None:
        """As `Engine.refusal`, for these sums."""

    def metric_sums(self, request: KernelSumRequest, x: np.ndarray, cotangent: Any) -> Any:
        """See `metric_gradient`."""


# The powers of a compact kernel that compiled loops know: up to a cube, and the squares of these.
EXPONENTS = (0, 1, 2, 3, 4, 6)

_Capability = TypeVar("_Capability")

ENGINES: dict[str, Engine] = {}
# The values of `algorithm`; estimators hold this very set, so that a registered engine is among them.
ALGORITHMS: set[str] = {"auto"}


def register(engine: Engine) -> None:
    """Add an engine: estimators take its name for `algorithm`, and "auto" takes it where it is the quickest."""
    ENGINES[engine.name] = engine
    ALGORITHMS.add(engine.name)


class Dispatcher:
    """Which engine computes a request, and when compiled loops are worth loading.

    As one who rents until the rent has cost as much as buying (the ski-rental rule): the time that NumPy has lost so
    far, because nothing was loaded, counts towards the cost of loading, so that many small requests take at most twice
    as long as if their number had been known. Compiling the loops of one engine, where brute force would do, is decided
    in the same way. It decides who computes, and nothing else.
    """

    def __init__(self) -> None:
        self.is_loaded, self._overpaid, self._lock = False, 0.0, Lock()
        # for each engine the seconds lost so far by taking others because its loops were not compiled
        self._lost: defaultdict[str, float] = defaultdict(float)

    def choose(self, request: KernelSumRequest, algorithm: str, n_passes: int = 1) -> Engine:
        """The engine for `n_passes` requests like this one; "auto" is the one expected to be done first.

        A ValueError says why the algorithm asked for cannot take the request, and which can.
        """
        only = request.index.engine
        if only is not None and algorithm in ("auto", only):
            return ENGINES[only]
        if only is not None:
            raise ValueError(f"algorithm={algorithm!r} needs the samples here, and they are elsewhere: give {only!r}.")
        if algorithm == "auto":
            return self._quickest(request, n_passes)
        engine = ENGINES.get(algorithm)
        reason = "is not known" if engine is None else engine.refusal(request)
        if engine is not None and reason is None:
            return engine
        usable = [name for name, engine in ENGINES.items() if engine.refusal(request) is None]
        raise ValueError(f"algorithm={algorithm!r} {reason}; usable here: {['auto', *usable]}.")

    def choose_capable(
        self,
        capability: type[_Capability],
        request: KernelSumRequest,
        algorithm: str,
        work: float = 1.0,
        refusal: str = "refusal",
    ) -> _Capability | None:
        """The engine asked for if it has a capability, else the quickest compiled one that does and takes the request.

        None where NumPy is to be preferred: if no engine has it, if the one asked for is not compiled, if there are
        widths, or if it is expected to be done first. The engine's work is `work` times that of its sums; `refusal`
        names the method that says why it cannot.
        """
        only, wanted = request.index.engine, cast(Any, capability)
        if only is not None and not has_capability(type(ENGINES[only]), wanted):
            raise ValueError(NEEDS_ALL_ROWS)
        algorithm = only or algorithm
        if request.widths is not None:
            return None
        able: list[Any] = [
            engine
            for engine in ENGINES.values()
            if has_capability(type(engine), wanted) and getattr(engine, refusal)(request) is None
        ]
        if algorithm != "auto":
            asked: Any = self.choose(request, algorithm)
            if asked in able:
                self.has_loaded(asked)
                return asked
            if not asked.is_compiled:
                return None
        usable = [(engine.estimate_seconds(request), engine) for engine in able if engine.is_compiled]
        if not usable:
            return None
        seconds, quickest = min(usable, key=lambda pair: pair[0])
        total = self.remaining_load_cost(quickest) + work * seconds
        if ENGINES["dense"].estimate_seconds(request) <= total:
            return None
        self.has_loaded(quickest)
        return quickest

    def has_loaded(self, engine: Engine) -> None:
        """Take note that an engine is about to compute: it has loaded what it needs."""
        self.is_loaded |= engine.is_compiled

    def remaining_load_cost(self, engine: Engine) -> float:
        """Seconds of loading that the choice of an engine still has to bear."""
        return 0.0 if self.is_loaded or not engine.is_compiled else max(LOAD_SECONDS - self._overpaid, 0.0)

    def compute(self, engine: Engine, request: KernelSumRequest) -> ScaledSums:
        """The sums by an engine; those without ranges of keys by a difference, if that is quicker or the only way."""
        self.has_loaded(engine)
        ranges = RangeSums.of(request, ENGINES.values())
        n_wide = 0 if ranges is None else ranges.n_by_difference(engine)
        if n_wide == 0:
            return engine.compute(request)
        if n_wide == len(request.bandwidths):
            return self._difference(engine, request)
        wide, narrow = (replace(request, bandwidths=h) for h in np.split(request.bandwidths, [n_wide]))
        return ScaledSums.joined([self._difference(engine, wide), engine.compute(narrow)])

    def _difference(self, engine: Engine, request: KernelSumRequest) -> ScaledSums:
        """The sums without ranges by a difference, computed again where that has lost digits."""
        sums, is_lost = RangeSums(request, ENGINES.values()).difference(engine)
        rows = np.flatnonzero(is_lost.any(axis=0))
        if rows.size:
            bandwidths = np.flatnonzero(is_lost.any(axis=1))
            lost = replace(request.take(rows), bandwidths=request.bandwidths[bandwidths])
            able = [e for e in ENGINES.values() if e.leaves_out_ranges and e.refusal(lost) is None]
            found = min(able, key=lambda e: e.estimate_seconds(lost)).compute(lost)
            where = np.ix_(bandwidths, rows)
            sums.mass[where], sums.moments[where], sums.log_scale[where] = found.mass, found.moments, found.log_scale
        return sums

    def is_worth_compiling(self, loops: str, seconds: float, compiling: float, is_kept: bool = True) -> bool:
        """Whether loops that would save `seconds` now are worth the time to compile them, with what was lost before.

        What is lost now is kept for the next request, unless that is only planned.
        """
        with self._lock:
            lost = self._lost[loops] + seconds
            if is_kept:
                self._lost[loops] = lost
            return lost >= compiling

    def _quickest(self, request: KernelSumRequest, n_passes: int) -> Engine:
        dense = ENGINES["dense"]
        if dense.estimate_seconds(request) <= SMALL_SECONDS:
            return dense  # done before the others would have been asked
        ranges = RangeSums.of(request, ENGINES.values())
        quickest, usable = dense, dict[Engine, float]()
        # seconds with loading, and seconds of compiling of the engines that must be compiled first
        total, waiting = dict[Engine, float](), dict[Engine, float]()
        for engine in ENGINES.values():  # NumPy, which takes every request, is the first
            if self.is_loaded and total and n_passes * engine.least_seconds >= total[quickest]:
                continue  # it cannot be the quickest, and is not asked for its estimate
            if engine.refusal(request) is not None:
                continue
            seconds = engine.estimate_seconds(request) if ranges is None else ranges.seconds_with(engine)
            usable[engine], total[engine] = seconds, self.remaining_load_cost(engine) + n_passes * seconds
            if total[engine] < total[quickest]:
                compiling = engine.compile_seconds(request)
                if compiling > 0.0:
                    waiting[engine] = compiling
                else:
                    quickest = engine
        for engine in sorted(waiting, key=lambda e: total[e], reverse=True):
            # several passes are a plan: what each of them loses is kept when it is made
            saved = total[quickest] - total[engine]
            if saved > 0.0 and self.is_worth_compiling(engine.name, saved, waiting[engine], n_passes == 1):
                quickest = engine
        if not self.is_loaded and not quickest.is_compiled:
            with self._lock:
                self._overpaid += n_passes * max(usable[quickest] - min(usable.values()), 0.0)
        return quickest


dispatcher = Dispatcher()


def choose_algorithm(request: KernelSumRequest, algorithm: str, n_passes: int = 1) -> str:
    """The algorithm for `n_passes` requests like this one, at other bandwidths or of some of the queries.

    "auto" stays that where compiled loops are worth loading, and each request then gets the engine that suits it.
    """
    if algorithm == "auto" and takes_groups(request):
        return algorithm
    if algorithm == "auto":  # of many columns NumPy computes the sums, but not their derivatives
        request = replace(request, index=request.index.without_columns())
    engine = dispatcher.choose(request, algorithm, n_passes)
    if algorithm != "auto" or not engine.is_compiled:
        return engine.name
    dispatcher.has_loaded(engine)
    return algorithm


def expected_seconds(request: KernelSumRequest, algorithm: str) -> tuple[str, float]:
    """The engine that computes a request, and about how long it takes."""
    engine = dispatcher.choose(request, algorithm)
    return engine.name, engine.estimate_seconds(request) / request.n_threads


def algorithm_for(request: KernelSumRequest, algorithm: str) -> str:
    """The algorithm of a request that follows from the user's, such as one about K^2: "auto" if theirs refuses it."""
    return "auto" if algorithm != "auto" and ENGINES[algorithm].refusal(request) else algorithm


def kernel_sums(request: KernelSumRequest, algorithm: str = "auto") -> ScaledSums:
    """The sums S of a request, the same to rounding whichever engine computes them."""
    if request.widths is not None:
        return _sums_by_width(request, algorithm)
    engine = dispatcher.choose(request, algorithm)
    if engine.is_compiled and takes_groups(request):
        return group_sums(request, lambda part: kernel_sums(part, algorithm_for(part, algorithm)))
    if engine.is_compiled and may_have_copies(request):
        return sums_of_distinct(request, lambda part: dispatcher.compute(dispatcher.choose(part, algorithm), part))
    return dispatcher.compute(engine, request)


def _sums_by_width(request: KernelSumRequest, algorithm: str) -> ScaledSums:
    """The sums of a request with widths: by NumPy, or where the keys are, if the width is not 1."""
    shape = len(request.bandwidths), len(request.queries)
    sums = ScaledSums(np.empty(shape), np.empty((*shape, request.columns.shape[1])), np.empty(shape))
    for rows, part in request.split_by_width():
        if part.widths is None:
            found = kernel_sums(part, algorithm)
        else:
            found = ENGINES[request.index.engine or "dense"].compute(part)
        sums.mass[:, rows], sums.moments[:, rows], sums.log_scale[:, rows] = found.mass, found.moments, found.log_scale
    return sums


def line_sums(request: KernelSumRequest, algorithm: str = "auto") -> ScaledSums | None:
    """The sums of `SumsLines`; None where the engine that takes the request has none, or there are widths."""
    engine = dispatcher.choose(request, algorithm)
    if request.widths is not None or not isinstance(engine, SumsLines) or engine.line_refusal(request):
        return None
    dispatcher.has_loaded(engine)
    return engine.line_sums(request)


def form_refusal(request: KernelSumRequest, takes_slopes: bool = False) -> str | None:
    """What compiled engines say of kernels that they do not know, and most of derivatives."""
    form = request.kernel.form
    if form is None:
        return "computes kernels that have a form, as the named ones, and this kernel is user-defined"
    return "computes kernels, and not their derivatives" if form.family == "slope" and not takes_slopes else None


def metric_form_refusal(request: KernelSumRequest) -> str | None:
    """What compiled engines say of kernels whose derivative in the metric they do not know."""
    form = request.kernel.form
    if form is None or form.family != "exponential" or form.power > 2:
        return "differentiates exp(-rate u^power) with a power up to 2"
    return None
