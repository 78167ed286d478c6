"""The workers of a joblib backend, and the shards that they keep."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from functools import reduce
from time import sleep
from typing import Any, Protocol
from uuid import uuid4

from joblib import Parallel, delayed
from joblib.parallel import ParallelBackendBase

# Times that shards are sent again after a worker that kept one has died, and the seconds until the others know of it.
_MOST_LOSSES, _WAIT = 5, 1.0
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
        return DaskShards(self, split)


class DaskShards:
    """A shard in the memory of each worker."""

    def __init__(self, workers: DaskWorkers, split: Split) -> None:
        self.workers, self.split, self.is_sent = workers, split, False

    def _send(self) -> None:
        """Send each worker its shard."""
        workers = self.workers = DaskWorkers(self.workers.backend, self.workers.client)
        self.shards = self.split(workers.number)
        self.addresses = sorted(workers.threads)[: len(self.shards)]
        pairs = zip(self.shards, self.addresses, strict=True)
        self.kept = [self._scatter(shard, workers=[address]) for shard, address in pairs]
        self.is_sent = True

    def reduce(
        self, task: Callable[..., Any], merge: Callable[[Any, Any], Any], question: Any, data: Callable[[Any], Any]
    ) -> Any:
        """As of `Shards`; shards of a worker that dies are sent again, to those that are left."""
        for _ in range(_MOST_LOSSES):
            try:
                return self._reduce(task, merge, question, data)
            except CancelledError:
                self.is_sent = False
                sleep(_WAIT)
        return self._reduce(task, merge, question, data)

    def _reduce(
        self, task: Callable[..., Any], merge: Callable[[Any, Any], Any], question: Any, data: Callable[[Any], Any]
    ) -> Any:
        if not self.is_sent:
            self._send()
        client, threads = self.workers.client, self.workers.threads
        asked = self._scatter(question, broadcast=True)
        answers: Sequence[Any] = []
        for shard, kept, address in zip(self.shards, self.kept, self.addresses, strict=True):
            here = {"workers": [address], "pure": False}
            more = self._scatter(data(shard), workers=[address])
            answers = [*answers, client.submit(task, kept, threads[address], asked, more, **here)]
        while len(answers) > 1:  # pairs are merged where they are: the client gets one answer
            pairs = [answers[i : i + 2] for i in range(0, len(answers), 2)]
            answers = [client.submit(merge, *pair, pure=False) if len(pair) > 1 else pair[0] for pair in pairs]
        with self.workers.backend.retrieval_context():
            return answers[0].result()

    def _scatter(self, data: Any, **where: Any) -> Any:
        try:
            return self.workers.client.scatter(data, hash=False, **where)
        except (KeyError, OSError) as error:  # the worker is not there any more
            raise CancelledError from error


class JoblibWorkers:
    """Processes of which only joblib knows, each with one thread."""

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
