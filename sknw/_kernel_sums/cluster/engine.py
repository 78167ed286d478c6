"""Sums over shards of the keys, each summed by a worker.

Kernel sums are additive over keys: with the keys in shards 1, ..., s

    S(q) = S_1(q) + ... + S_s(q),

each brought to the largest of the logarithmic scales. A shard is sent to its worker once, in the first request about
an index; queries follow with each request, and the worker sums by whichever engine suits its shard. Keys that are those
of another index times w are not sent: the worker gets w.
"""

from __future__ import annotations

import numpy as np
from joblib import parallel_config

from sknw._kernel_sums.costs import CLUSTER_BYTE, CLUSTER_CALL, dense_pair, tiled_pair
from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.metric_gradient import MetricSums, WeightCotangent, metric_sums
from sknw._kernel_sums.registry import ENGINES, Engine, dispatcher, kernel_sums, register
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.shards import Question, Shard, ShardedIndex
from sknw._kernel_sums.threads import distant_backend
from sknw._kernel_sums.workers import Shards, workers_of


class Cluster(Engine):
    """A shard of the keys for each worker."""

    name = "cluster"
    leaves_out_ranges = True
    least_seconds = 1e-9 * CLUSTER_CALL

    def refusal(self, request: KernelSumRequest) -> str | None:
        """Takes requests about keys on workers, and all while a joblib backend of distant workers is active."""
        if request.index.engine is None and distant_backend() is None:
            return "needs a joblib backend with workers on other machines, as in joblib.parallel_config('dask')"
        return None

    def estimate_seconds(self, request: KernelSumRequest) -> float:
        """The share of a worker in the time of the quickest other engine, and the way to the workers and back."""
        index, form = request.index, request.kernel.form
        n_sums = len(request.bandwidths) * len(request.queries) * (2 + request.columns.shape[1])
        n_sent = n_sums + request.queries.size
        if isinstance(index, ShardedIndex):  # which no other engine knows: brute force
            pair = (
                dense_pair(request.columns.shape[1])
                if form is None
                else tiled_pair(form, request.keys.shape[1], request.columns.shape[1])
            )
            seconds, n_workers = 1e-9 * pair * request.n_pairs, len(index.shards.homes)
        else:
            others = [engine for engine in ENGINES.values() if engine is not self and engine.refusal(request) is None]
            seconds = min(engine.estimate_seconds(request) for engine in others)
            n_workers = workers_of(distant_backend()).number
            n_sent += 0 if index.metric is not None else request.keys.size + request.columns.size
        return seconds / n_workers + 1e-9 * (CLUSTER_CALL + 8 * CLUSTER_BYTE * n_sent)

    def compute(self, request: KernelSumRequest) -> ScaledSums:
        """The sums; a request that takes less time than the way to the workers is computed here."""
        quickest = dispatcher.choose(request, "auto")
        if quickest is not self:
            return dispatcher.compute(quickest, request)
        shards, question = self._shards(request.index), Question.of(request)
        return shards.reduce(sums_of_shard, ScaledSums.merge, question, lambda rows: None)

    def metric_refusal(self, request: KernelSumRequest) -> str | None:
        """As for sums."""
        return self.refusal(request)

    def metric_sums(self, request: KernelSumRequest, x: np.ndarray, cotangent: WeightCotangent) -> MetricSums:
        """As of `registry.DifferentiatesMetric`; inputs x that are the keys before the metric are not sent."""
        metric = request.index.metric
        are_there = metric is not None and x is metric[0].keys
        question = Question.of(request), cotangent
        return self._shards(request.index).reduce(
            metric_sums_of_shard, merge_metric_sums, question, lambda rows: None if are_there else x[rows]
        )

    def _shards(self, index: KeyIndex) -> Shards:
        """The shards of an index, or of the one whose keys are times w those of this."""
        if index.metric is not None:
            return self._shards(index.metric[0])
        if isinstance(index, ShardedIndex):
            return index.shards
        workers = workers_of(distant_backend())
        return index.of_columns(
            ("shards", workers.identity), lambda: workers.keep(lambda n_shards: Shard.split(index, n_shards))
        )


register(Cluster())


def sums_of_shard(shard: Shard, n_threads: int, question: Question, _: None) -> ScaledSums:
    """The sums over the keys of a shard, by the threads of the worker."""
    with parallel_config("threading"):
        return kernel_sums(shard.request(question, n_threads))


def metric_sums_of_shard(
    shard: Shard, n_threads: int, question: tuple[Question, WeightCotangent], x: np.ndarray | None
) -> MetricSums:
    """The same for the derivative in the metric, given the inputs x of the keys; None: the keys before the metric."""
    with parallel_config("threading"):
        request = shard.request(question[0], n_threads)
        return metric_sums(request, shard.index.keys if x is None else x, question[1], "auto")


def merge_metric_sums(first: MetricSums, second: MetricSums) -> MetricSums:
    """Sums over rows and products add up; sums over columns stand side by side."""
    return first[0] + second[0], np.concatenate([first[1], second[1]]), first[2] + second[2]
