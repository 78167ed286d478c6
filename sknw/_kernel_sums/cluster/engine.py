"""Sums over shards of the keys, each summed by a worker of the active joblib backend.

Kernel sums are additive over keys: with the keys in shards 1, ..., s

    S(q) = S_1(q) + ... + S_s(q),

each brought to the largest of the logarithmic scales. A shard is sent to its worker once, in the first request about
an index; queries follow with each request, and the worker sums by whichever engine suits its shard.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from joblib import parallel_config

from sknw._kernel_sums.cluster.workers import Shards, workers_of
from sknw._kernel_sums.costs import CLUSTER_BYTE, CLUSTER_CALL
from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.metric_gradient import MetricSums, WeightCotangent, metric_sums
from sknw._kernel_sums.registry import ENGINES, Engine, dispatcher, kernel_sums, register
from sknw._kernel_sums.request import KernelSumRequest, LeaveOut
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.threads import distant_backend


@dataclass(frozen=True, eq=False)
class Shard:
    """Consecutive keys, from the one numbered `start` among all.

    Attributes
    ----------
    index : KeyIndex
    start : int
    """

    index: KeyIndex
    start: int

    @property
    def rows(self) -> slice:
        """Which of all keys these are."""
        return slice(self.start, self.start + len(self.index))

    @classmethod
    def split(cls, index: KeyIndex, n_shards: int) -> list[Shard]:
        """All keys of an index in shards of equal size."""
        ends = np.linspace(0, len(index), n_shards + 1).round().astype(int).tolist()
        rows = [slice(start, stop) for start, stop in pairwise(ends) if start < stop]
        return [cls(index.take(some), some.start) for some in rows]

    def request(self, question: KernelSumRequest, n_threads: int) -> KernelSumRequest:
        """What is asked of all keys, about those of the shard."""
        leave_out, n = question.leave_out, len(self.index)
        if leave_out is not None:
            first, last = (np.clip(end - self.start, 0, n) for end in (leave_out.first, leave_out.last))
            leave_out = LeaveOut(first, last, leave_out.is_own)
        return replace(question, index=self.index, leave_out=leave_out, n_jobs=n_threads)


class Cluster(Engine):
    """A shard of the keys for each worker."""

    name = "cluster"
    leaves_out_ranges = True

    def refusal(self, request: KernelSumRequest) -> str | None:
        """Takes every request while a joblib backend of distant workers is active."""
        if distant_backend() is None:
            return "needs a joblib backend with workers on other machines, as in joblib.parallel_config('dask')"
        return None

    def estimate_seconds(self, request: KernelSumRequest) -> float:
        """The share of a worker in the time of the quickest other engine, and the way to the workers and back."""
        others = [engine for engine in ENGINES.values() if engine is not self and engine.refusal(request) is None]
        seconds = min(engine.estimate_seconds(request) for engine in others)
        n_sums = len(request.bandwidths) * len(request.queries) * (2 + request.columns.shape[1])
        n_bytes = 8 * (n_sums + request.queries.size + request.keys.size + request.columns.size)
        return seconds / workers_of(distant_backend()).number + 1e-9 * (CLUSTER_CALL + CLUSTER_BYTE * n_bytes)

    def compute(self, request: KernelSumRequest) -> ScaledSums:
        """The sums; a request that takes less time than the way to the workers is computed here."""
        quickest = dispatcher.choose(request, "auto")
        if quickest is not self:
            return dispatcher.compute(quickest, request)
        shards, question = self._shards(request.index), _without_keys(request)
        return shards.reduce(sums_of_shard, ScaledSums.merge, question, lambda shard: None)

    def metric_refusal(self, request: KernelSumRequest) -> str | None:
        """As for sums."""
        return self.refusal(request)

    def metric_sums(self, request: KernelSumRequest, x: np.ndarray, cotangent: WeightCotangent) -> MetricSums:
        """As of `registry.DifferentiatesMetric`."""
        question = _without_keys(request), cotangent
        return self._shards(request.index).reduce(
            metric_sums_of_shard, merge_metric_sums, question, lambda shard: x[shard.rows]
        )

    def _shards(self, index: KeyIndex) -> Shards:
        workers = workers_of(distant_backend())
        return index.of_columns(
            ("shards", workers.identity), lambda: workers.keep(lambda n_shards: Shard.split(index, n_shards))
        )


register(Cluster())


def _without_keys(request: KernelSumRequest) -> KernelSumRequest:
    """What is asked, without the keys, which workers have."""
    return replace(request, index=request.index.take(slice(0, 0)))


def sums_of_shard(shard: Shard, n_threads: int, question: KernelSumRequest, _: None) -> ScaledSums:
    """The sums over the keys of a shard, by the threads of the worker."""
    with parallel_config("threading"):
        return kernel_sums(shard.request(question, n_threads))


def metric_sums_of_shard(
    shard: Shard, n_threads: int, question: tuple[KernelSumRequest, WeightCotangent], x: np.ndarray
) -> MetricSums:
    """The same for the derivative in the metric, given the inputs x of the keys."""
    request, cotangent = question
    with parallel_config("threading"):
        return metric_sums(shard.request(request, n_threads), x, cotangent, "auto")


def merge_metric_sums(first: MetricSums, second: MetricSums) -> MetricSums:
    """Sums over rows and products add up; sums over columns stand side by side."""
    return first[0] + second[0], np.concatenate([first[1], second[1]]), first[2] + second[2]
