"""Sums without a range of keys, as a difference: over all keys, less those over each query's own range.

So engines that carry sums from key to key, or put keys together, need not know of ranges. A difference loses digits
where the range holds nearly all of the mass: such queries are computed again by an engine that leaves keys out itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Protocol, cast, runtime_checkable

import numpy as np

from sknw._kernel_sums.contract import Engine, has_capability
from sknw._kernel_sums.costs import PART_CALL
from sknw._kernel_sums.permutation import Rows
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import TINY, ScaledSums

# With more distinct ranges than this, a request for each is never worth it.
_MOST_REQUESTS = 64
# The largest ratio of the mass of all keys to that of the keys left, by which a difference multiplies rounding errors.
_LARGEST_LOSS = 30.0


@runtime_checkable
class SumsRanges(Protocol):
    """Sums over the keys that each query leaves out; a capability of engines."""

    def range_seconds(self, request: KernelSumRequest) -> float:
        """About how long `range_sums` takes."""

    def range_sums(self, request: KernelSumRequest) -> np.ndarray:
        """sum_j K_j w_j (1, V_j) over the keys that each query leaves out: (b, m, 1 + k)."""


class RangeSums:
    """The sums of a request that leaves ranges out, as a difference.

    The sums over each query's own range are those of a compiled loop; or, where many queries share few ranges, of one
    request for each range by the engine that sums over all keys.
    """

    def __init__(self, request: KernelSumRequest, engines: Iterable[Engine]):
        loops = [
            cast(SumsRanges, e) for e in engines if has_capability(type(e), SumsRanges) and e.refusal(request) is None
        ]
        self.request, self._all_keys = request, replace(request, leave_out=None)
        self._loop = loops[0] if loops else None
        self._loop_seconds = self._loop.range_seconds(request) if self._loop else np.inf
        assert request.leave_out is not None
        order, starts = request.leave_out.distinct
        some = starts[:-1] if isinstance(order, slice) else order[starts[:-1]]
        n_keys = request.leave_out.last[some] - request.leave_out.first[some]
        # what the requests for ranges take, as a part of that for all keys; without a loop there is no other way
        self._share = (n_keys.sum() + len(request.queries)) / (len(request.keys) + len(request.queries))
        self._calls = PART_CALL * len(some) if len(some) <= _MOST_REQUESTS or not loops else np.inf

    @classmethod
    def of(cls, request: KernelSumRequest, engines: Iterable[Engine]) -> RangeSums | None:
        """Those of a request, None if it leaves no ranges out."""
        return cls(request, engines) if request.has_ranges else None

    def n_by_difference(self, engine: Engine) -> int:
        """Of how many bandwidths, the widest ones, an engine gets the sums by a difference.

        All, if it cannot leave ranges out; else those of which that takes less: in a narrow one few keys are near.
        """
        n_bandwidths = len(self.request.bandwidths)
        if not engine.leaves_out_ranges:
            return n_bandwidths
        if engine.estimate_seconds(self.request) <= engine.estimate_seconds(self._all_keys):
            return 0
        singles = (slice(b, b + 1) for b in range(n_bandwidths))
        takes_less = [self._difference(engine, one) < self._direct(engine, one) for one in singles]
        return int(np.max(np.flatnonzero(takes_less), initial=-1)) + 1

    def seconds_with(self, engine: Engine) -> float:
        """About how long the request takes with an engine."""
        n = self.n_by_difference(engine)
        return self._difference(engine, slice(0, n)) + self._direct(engine, slice(n, None))

    def _direct(self, engine: Engine, bandwidths: slice) -> float:
        some = self.request.bandwidths[bandwidths]
        return engine.estimate_seconds(replace(self.request, bandwidths=some)) if len(some) else 0.0

    def _difference(self, engine: Engine, bandwidths: slice) -> float:
        some = self.request.bandwidths[bandwidths]
        if not len(some):
            return 0.0
        seconds = engine.estimate_seconds(replace(self._all_keys, bandwidths=some))
        loop_seconds = self._loop_seconds * len(some) / len(self.request.bandwidths)
        return seconds + min(loop_seconds, self._share * seconds + self._calls * len(some))

    def difference(self, engine: Engine) -> tuple[ScaledSums, np.ndarray]:
        """The sums over all keys less those in the ranges, and where the difference has lost digits, (b, m).

        Errors of moments are relative to the mean of |V|, or to what they are.
        """
        index, leave_out = self.request.index, self.request.leave_out
        assert leave_out is not None
        total = engine.compute(self._all_keys)
        mass, moments = total.mass.copy(), total.moments.copy()
        calls = self._calls * len(self.request.bandwidths)
        if self._loop and self._loop_seconds <= self._share * engine.estimate_seconds(self._all_keys) + calls:
            in_ranges = self._loop.range_sums(self.request)
            mass -= in_ranges[..., 0]
            moments -= in_ranges[..., 1:]
        else:
            for rows, part in _requests_of_ranges(self.request):
                found = engine.compute(part)
                scale = np.exp(found.log_scale)
                mass[:, rows] -= scale * found.mass
                moments[:, rows] -= scale[..., np.newaxis] * found.moments
        mean = index.of_columns("mean magnitudes", lambda: np.average(np.abs(index.columns), 0, index.weights))
        is_lost = total.mass > _LARGEST_LOSS * mass
        for v in range(len(mean)):
            kept = np.maximum(mean[v] * mass, np.abs(moments[..., v]))
            is_lost |= np.abs(total.moments[..., v]) > _LARGEST_LOSS * kept
        is_lost |= (total.log_scale != 0.0) | ((total.mass > 0.0) & (total.mass < TINY))
        return ScaledSums(mass, moments, total.log_scale.copy()), is_lost & (leave_out.last > leave_out.first)


def _requests_of_ranges(request: KernelSumRequest) -> Iterator[tuple[Rows, KernelSumRequest]]:
    """For each distinct range the queries that leave it out, and their request about its keys."""
    leave_out, index = request.leave_out, request.index
    assert leave_out is not None
    order, starts = leave_out.distinct
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        rows = slice(start, stop) if isinstance(order, slice) else order[start:stop]
        some = start if isinstance(order, slice) else order[start]
        first, last = int(leave_out.first[some]), int(leave_out.last[some])
        if first < last:
            part = index.of_columns(("range", first, last), partial(index.take, slice(first, last)))
            yield rows, replace(request, index=part, queries=request.queries[rows], leave_out=None)
