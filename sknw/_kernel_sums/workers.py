"""The workers of a joblib backend, and the shards that they keep."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any
from uuid import uuid4

from joblib import Parallel, delayed
from joblib.parallel import ParallelBackendBase

# Shards that a process of other backends than dask keeps at most: those used last.
_MOST_KEPT = 16

# Makes the shards, given how many there should be.
Split = Callable[[int], list[Any]]


class DaskWorkers:
    """Processes of a dask cluster, each with its threads.

    `identity` names the processes that keep what is sent to them, and `number` is how many shards they sum at a time.
    """

    def __init__(self, client: Any) -> None:
        self.client, self.identity, self.threads = client, client.id, client.ncores()
        self.number = len(self.threads)

    @property
    def addresses(self) -> list[str]:
        """Where the workers are."""
        return sorted(self.threads)

    def keep(self, split: Split) -> DaskShards:
        """Send each shard to a worker."""
        shards = split(self.number)
        places = list(zip(self.addresses, shards, strict=False))
        kept = [submit(self.client, address, same, shard) for address, shard in places]
        homes = [Home(address, self.threads[address], shard.rows) for address, shard in places]
        return DaskShards(kept, homes)


@dataclass(frozen=True)
class Home:
    """The worker that keeps a shard, with its number of threads, and the rows of the shard among all."""

    address: str
    n_threads: int
    rows: slice


class DaskShards:
    """A shard in the memory of each worker.

    What is kept is the result of a task, and so dask makes it again where the worker that kept it has died.
    """

    def __init__(self, kept: list[Any], homes: list[Home]) -> None:
        self.homes, self._keys = homes, [future.key for future in kept]
        self._kept: list[Any] | None = kept

    def __getstate__(self) -> dict[str, Any]:
        """For workers of the same cluster, who find the shards by their keys when they need them."""
        return {**vars(self), "_kept": None}

    @property
    def kept(self) -> list[Any]:
        """The futures of the shards."""
        if self._kept is None:
            from distributed import Future, get_client

            client = get_client()
            self._kept = [Future(key, client) for key in self._keys]
        return self._kept

    def derive(self, task: Callable[..., Any], *data: Any) -> DaskShards:
        """Keep ``task(shard, *data)`` where each shard is; of data in a list each shard gets its own."""
        kept = [self._submit(i, task, *_of_shard(data, i)) for i in range(len(self.kept))]
        return DaskShards(kept, self.homes)

    def map(self, task: Callable[..., Any], *data: Any) -> list[Any]:
        """``task(shard, *data)`` of each shard, for data as of `derive`."""
        return self._results([self._submit(i, task, *_of_shard(data, i)) for i in range(len(self.kept))])

    def reduce(
        self, task: Callable[..., Any], merge: Callable[[Any, Any], Any], question: Any, data: Callable[[slice], Any]
    ) -> Any:
        """Merge what ``task(shard, n_threads, question, data(rows))`` returns, in the order of the shards.

        The `rows` are those of the shard among all. Pairs of answers are merged where they are; the client gets one.
        """
        client = self.kept[0].client
        asked = submit(client, self.homes[0].address, same, question)
        answers = [
            (home.address, self._submit(i, task, home.n_threads, asked, data(home.rows)))
            for i, home in enumerate(self.homes)
        ]
        while len(answers) > 1:
            pairs = [answers[i : i + 2] for i in range(0, len(answers), 2)]
            answers = [
                (pair[0][0], submit(client, pair[0][0], merge, *(answer for _, answer in pair)))
                if len(pair) > 1
                else pair[0]
                for pair in pairs
            ]
        return self._results([answers[0][1]])[0]

    def _submit(self, i: int, task: Callable[..., Any], *arguments: Any) -> Any:
        kept = self.kept[i]
        return submit(kept.client, self.homes[i].address, task, kept, *arguments)

    def _results(self, futures: list[Any]) -> list[Any]:
        with _outside_of_the_pool():
            return self.kept[0].client.gather(futures)


def _of_shard(data: tuple[Any, ...], i: int) -> tuple[Any, ...]:
    return tuple(one[i] if isinstance(one, list) else one for one in data)


def submit(client: Any, address: str | None, task: Callable[..., Any], *arguments: Any) -> Any:
    """The future of a task, at that worker of dask as long as it lives; None: where dask likes."""
    place = {} if address is None else {"workers": [address], "allow_other_workers": True}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph")
        return client.submit(task, *arguments, pure=False, **place)


def chunks_of(client: Any, array: Any) -> list[Any]:
    """The futures of the chunks of a dask array, row by row."""
    from dask.core import flatten
    from distributed import futures_of

    kept = client.persist(array)
    futures = {future.key: future for future in futures_of(kept)}
    return [futures[key] for key in flatten(kept.__dask_keys__())]


@contextmanager
def _outside_of_the_pool() -> Iterator[None]:
    """Within it a task of a worker that waits for other tasks leaves its thread to them."""
    from distributed import rejoin, secede
    from distributed.utils import thread_state

    is_task = hasattr(thread_state, "execution_state")
    if is_task:
        secede()
    try:
        yield
    finally:
        if is_task:
            rejoin()


def same(data: Any) -> Any:
    """Return the data: if the worker that stores this result dies, the cluster sends them to another one."""
    return data


class JoblibWorkers:
    """The worker processes of a joblib backend other than dask's, each with one thread; otherwise as `DaskWorkers`."""

    def __init__(self, backend: ParallelBackendBase) -> None:
        self.identity, self.number = type(backend).__qualname__, backend.effective_n_jobs(-1)

    def keep(self, split: Split) -> JoblibShards:
        """As of `DaskWorkers`."""
        return JoblibShards(split(self.number))


class JoblibShards:
    """Shards that processes keep under a name; a process that does not have one yet is asked again with the shard."""

    def __init__(self, shards: list[Any]) -> None:
        self.shards, self.name, self.is_sent = shards, uuid4().hex, False

    def reduce(
        self, task: Callable[..., Any], merge: Callable[[Any, Any], Any], question: Any, data: Callable[[slice], Any]
    ) -> Any:
        """As of `DaskShards`."""

        def ask(numbers: list[int], is_sent: bool) -> list[Any]:
            return Parallel(n_jobs=-1, batch_size=1)(
                delayed(_answer)(
                    (self.name, i), None if is_sent else self.shards[i], task, question, data(self.shards[i].rows)
                )
                for i in numbers
            )

        answers = ask(list(range(len(self.shards))), self.is_sent)
        self.is_sent = True
        missing = [i for i, answer in enumerate(answers) if answer is None]
        for i, answer in zip(missing, ask(missing, False) if missing else [], strict=True):
            answers[i] = answer
        return reduce(merge, answers)


Shards = DaskShards | JoblibShards


def workers_of(backend: ParallelBackendBase) -> DaskWorkers | JoblibWorkers:
    """The workers of a backend; those of dask are spoken to by its client, as that can keep data where they are."""
    client = getattr(backend, "client", None)
    if client is None:
        return JoblibWorkers(backend)
    backend.effective_n_jobs(-1)  # waits for the first worker
    return DaskWorkers(client)


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
