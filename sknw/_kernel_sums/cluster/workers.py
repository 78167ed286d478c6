"""The workers of a joblib backend, and the shards that they keep."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from functools import reduce
from typing import Any, Protocol
from uuid import uuid4

from joblib import Parallel, delayed
from joblib.parallel import ParallelBackendBase

# Shards that a process of other backends than dask keeps at most: those used last.
_MOST_KEPT = 16

# Makes the shards, given how many there should be.
Split = Callable[[int], list[Any]]


class Shards(Protocol):
    """Shards that workers keep."""

    def reduce(
        self, task: Callable[..., Any], merge: Callable[[Any, Any], Any], question: Any, data: Callable[[Any], Any]
    ) -> Any:
        """Merge what ``task(shard, n_threads, question, data(shard))`` returns, in the order of the shards."""


class Workers(Protocol):
    """The workers of a backend.

    Attributes
    ----------
    identity : str
        Names the processes that keep what is sent to them.
    number : int
        How many shards they sum at a time.
    """

    identity: str
    number: int

    def keep(self, split: Split) -> Shards:
        """Send each shard to a worker."""


def workers_of(backend: ParallelBackendBase) -> Workers:
    """The workers of a backend; those of dask are spoken to by its client, as that can keep data where they are."""
    client = getattr(backend, "client", None)
    return JoblibWorkers(backend) if client is None else DaskWorkers(backend, client)


class DaskWorkers:
    """Processes of a dask cluster, each with its threads."""

    def __init__(self, backend: ParallelBackendBase, client: Any) -> None:
        self.backend, self.client, self.identity = backend, client, client.id
        backend.effective_n_jobs(-1)  # waits for the first worker
        self.threads = client.ncores()
        self.number = len(self.threads)

    def keep(self, split: Split) -> Shards:
        return DaskShards(self, split(self.number))


class DaskShards:
    """A shard in the memory of each worker.

    What is sent is the result of a task, and so dask sends it again where the worker that kept it has died.
    """

    def __init__(self, workers: DaskWorkers, shards: list[Any]) -> None:
        self.workers, self.shards = workers, shards
        self.addresses = sorted(workers.threads)[: len(shards)]
        self.kept = [self._submit(address, _same, shard) for address, shard in zip(self.addresses, shards, strict=True)]

    def reduce(
        self, task: Callable[..., Any], merge: Callable[[Any, Any], Any], question: Any, data: Callable[[Any], Any]
    ) -> Any:
        """As of `Shards`; pairs of answers are merged where they are, and the client gets one."""
        threads, asked = self.workers.threads, self._submit(self.addresses[0], _same, question)
        answers = [
            (address, self._submit(address, task, kept, threads[address], asked, data(shard)))
            for address, kept, shard in zip(self.addresses, self.kept, self.shards, strict=True)
        ]
        while len(answers) > 1:
            pairs = [answers[i : i + 2] for i in range(0, len(answers), 2)]
            answers = [
                (pair[0][0], self._submit(pair[0][0], merge, *(answer for _, answer in pair)))
                if len(pair) > 1
                else pair[0]
                for pair in pairs
            ]
        with self.workers.backend.retrieval_context():
            return answers[0][1].result()

    def _submit(self, address: str, task: Callable[..., Any], *arguments: Any) -> Any:
        """The future of a task, at that worker as long as it lives."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")
            return self.workers.client.submit(task, *arguments, workers=[address], allow_other_workers=True, pure=False)


def _same(data: Any) -> Any:
    return data


class JoblibWorkers:
    """The worker processes of a joblib backend other than dask's, each with one thread."""

    def __init__(self, backend: ParallelBackendBase) -> None:
        self.identity, self.number = type(backend).__qualname__, backend.effective_n_jobs(-1)

    def keep(self, split: Split) -> Shards:
        return JoblibShards(split(self.number))


class JoblibShards:
    """Shards that processes keep under a name; a process that does not have one yet is asked again with the shard."""

    def __init__(self, shards: list[Any]) -> None:
        self.shards, self.name, self.is_sent = shards, uuid4().hex, False

    def reduce(
        self, task: Callable[..., Any], merge: Callable[[Any, Any], Any], question: Any, data: Callable[[Any], Any]
    ) -> Any:
        """As of `Shards`."""

        def ask(numbers: list[int], is_sent: bool) -> list[Any]:
            return Parallel(n_jobs=-1, batch_size=1)(
                delayed(_answer)(
                    (self.name, i), None if is_sent else self.shards[i], task, question, data(self.shards[i])
                )
                for i in numbers
            )

        answers = ask(list(range(len(self.shards))), self.is_sent)
        self.is_sent = True
        missing = [i for i, answer in enumerate(answers) if answer is None]
        for i, answer in zip(missing, ask(missing, False) if missing else [], strict=True):
            answers[i] = answer
        return reduce(merge, answers)


_kept: OrderedDict[tuple[str, int], Any] = OrderedDict()


def _answer(name: tuple[str, int], shard: Any, task: Callable[..., Any], question: Any, data: Any) -> Any:
    """In a worker: the answer of the shard of this name, None if it is neither given nor kept."""
    shard = _kept.pop(name, None) if shard is None else shard
    if shard is None:
        return None
    _kept[name] = shard
    while len(_kept) > _MOST_KEPT:
        _kept.popitem(last=False)
    return task(shard, 1, question, data)
