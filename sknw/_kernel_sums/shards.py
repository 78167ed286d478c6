"""Shards of the keys, as their workers have them, and an index of keys that are nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import pairwise
from operator import attrgetter
from typing import Any, NoReturn

import numpy as np

from sknw._kernel_sums.index import Groups, KeyIndex, smallest
from sknw._kernel_sums.request import KernelSumRequest, LeaveOut
from sknw._kernel_sums.workers import DaskShards

NEEDS_ALL_ROWS = (
    "This needs the training rows in the memory of this process, and fit has left those of a dask array on the workers "
    "of its cluster. fit to X.compute() instead; predict works with both."
)


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of all keys, for the workers who have them."""

    request: KernelSumRequest  # about no keys
    # (w, offset_magnitude) where the keys are those that the workers have times w, see `KeyIndex.in_metric`
    metric: tuple[np.ndarray, float] | None

    @classmethod
    def of(cls, request: KernelSumRequest) -> Question:
        """What a request asks."""
        index, metric = request.index, None
        if index.metric is not None:
            metric = index.metric[1], index.offset_magnitude
        return cls(replace(request, index=index.take(slice(0, 0))), metric)


@dataclass(frozen=True, eq=False)
class Shard:
    """Consecutive keys, from the one numbered `start` among all."""

    index: KeyIndex
    start: int
    # the last metric and the keys in it: sums and their derivatives are asked for in one after the other
    _in_metric: list[tuple[np.ndarray, KeyIndex]] = field(default_factory=list)

    def __reduce__(self) -> tuple[type, tuple[KeyIndex, int]]:
        return Shard, (self.index, self.start)

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

    def request(self, question: Question, n_threads: int) -> KernelSumRequest:
        """What is asked of all keys, about those of the shard."""
        leave_out, n = question.request.leave_out, len(self.index)
        if leave_out is not None:
            first, last = (np.clip(end - self.start, 0, n) for end in (leave_out.first, leave_out.last))
            leave_out = LeaveOut(first, last, leave_out.is_own)
        return replace(question.request, index=self._index_for(question), leave_out=leave_out, n_jobs=n_threads)

    def _index_for(self, question: Question) -> KeyIndex:
        """The keys in the metric of a question."""
        if question.metric is None:
            return self.index
        w, offset_magnitude = question.metric
        for last, index in self._in_metric:
            if np.array_equal(last, w):
                return index
        index = self.index.in_metric(w, offset_magnitude)
        self._in_metric[:] = [(w, index)]
        return index


class DistantRows:
    """An array (n, d) in shards on workers, of which some rows, or one column, can be fetched by an index.

    ``find(shard, rows)`` returns rows of a shard that is in the memory of its worker.
    """

    ndim = 2

    def __init__(self, shards: DaskShards, find: Callable[[Any, Any], np.ndarray], n_columns: int) -> None:
        self.shards, self.find = shards, find
        self.shape = shards.homes[-1].rows.stop, n_columns
        self._last: tuple[np.ndarray, np.ndarray] | None = None  # a search asks for the same ones again and again

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_last": None}

    def then(self, task: Callable[[np.ndarray], np.ndarray], n_columns: int | None = None) -> DistantRows:
        """``task(rows)`` in place of the rows; it returns as many columns as it is given, or `n_columns`."""
        find = partial(_find_then, find=self.find, task=task)
        return DistantRows(self.shards, find, self.shape[1] if n_columns is None else n_columns)

    def __matmul__(self, matrix: np.ndarray) -> DistantRows:
        return self.then(partial(np.dot, b=matrix), matrix.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray | slice | tuple[slice, int]) -> np.ndarray:
        if isinstance(rows, tuple):
            return np.concatenate(self.shards.map(_column, self.find, rows[1]))
        rows = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        if not len(rows):
            return np.empty((0, self.shape[1]))
        last = self._last
        if last is not None and np.array_equal(last[0], rows):
            return last[1]
        order, homes = np.argsort(rows, kind="stable"), self.shards.homes
        ends = np.searchsorted(rows[order], [home.rows.stop for home in homes])
        parts = np.split(rows[order], ends[:-1])
        parts = [part - home.rows.start for part, home in zip(parts, homes, strict=True)]
        fetched = np.concatenate(self.shards.map(self.find, parts))
        found = np.empty_like(fetched)
        found[order] = fetched
        self._last = rows, found
        return found

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise ValueError(NEEDS_ALL_ROWS)


class ShardedIndex(KeyIndex):
    """Keys in shards on workers, which stay there, with their weights and columns."""

    engine = "cluster"
    has_equal_keys = False

    def __init__(
        self,
        shards: DaskShards,
        weights: np.ndarray,
        columns: np.ndarray,
        offset_magnitude: float,
        groups: Groups | None,
        has_equal_keys: bool,
        ranges: np.ndarray | None = None,
    ) -> None:
        if ranges is None:
            of_shards = np.array(shards.map(attrgetter("index.ranges")))
            ranges = np.array([of_shards[:, 0].min(axis=0), of_shards[:, 1].max(axis=0)])
        keys: Any = DistantRows(shards, partial(rows_of, name="index.keys"), ranges.shape[1])
        super().__init__(keys, weights, columns, offset_magnitude, groups)
        self.shards, self.ranges, self.has_equal_keys = shards, ranges, has_equal_keys

    def __reduce__(self) -> tuple[Any, ...]:
        """For workers of the same cluster, who ask for sums over the keys: without what has a number for each."""
        groups = None if self.groups is None else self.groups.take(slice(0))
        none, of_all = slice(0), (self.offset_magnitude, groups, self.has_equal_keys, self.ranges)
        data = self.shards, self.weights[none], self.columns[none], *of_all
        return ShardedIndex, data, {"_of_columns": self._of_columns}

    def _with(self, shards: DaskShards, columns: Any) -> ShardedIndex:
        """The same keys and weights, in shards that have other columns."""
        of_all = self.offset_magnitude, self.groups, self.has_equal_keys, self.ranges
        return ShardedIndex(shards, self.weights, columns, *of_all)

    def with_columns(self, columns: np.ndarray) -> KeyIndex:
        if columns is self.columns:
            return self._with(self.shards, columns)
        own = [columns[home.rows] for home in self.shards.homes]
        return self._with(self.shards.derive(_with_columns, own), columns)

    def with_columns_of(self, name: Hashable, x: Any, make: Callable[..., np.ndarray]) -> KeyIndex:
        """As of the base, for x on the same workers."""
        shards = self.shards.derive(_with_columns_of, x.shards.kept, x.find, make)
        n_columns = make(x[:0], self.columns[:0]).shape[1]
        return self._with(shards, DistantRows(shards, partial(rows_of, name="index.columns"), n_columns))

    def take(self, rows: np.ndarray | slice) -> KeyIndex:
        d, k = self.keys.shape[1], self.columns.shape[1]
        everything = DistantRows(self.shards, _everything, d + k + 2)[rows]
        keys, columns, (weights, numbers) = everything[:, :d], everything[:, d:-2], everything[:, -2:].T
        groups = None if self.groups is None else replace(self.groups, number=numbers.astype(np.intp))
        return KeyIndex(keys, weights, columns, self.offset_magnitude, groups)

    def coordinates_of(self, keys: np.ndarray) -> Iterator[np.ndarray]:
        rows, places = np.unique(keys, return_inverse=True)
        return (np.take(column, places.reshape(keys.shape)) for column in self.keys[rows].T)

    def in_metric(self, w: np.ndarray, offset_magnitude: float) -> NoReturn:
        raise ValueError(NEEDS_ALL_ROWS)

    @cached_property
    def mean(self) -> np.ndarray:
        sums = sum(self.shards.map(_weighted_sums))
        return sums[1:] / sums[0]

    @cached_property
    def smallest_weight(self) -> float:
        return min(self.shards.map(attrgetter("index.smallest_weight")))

    def nearest_in_max_norm(self, point: np.ndarray, n: int) -> np.ndarray:
        distances, keys = map(np.concatenate, zip(*self.shards.map(_nearest_in_max_norm, point, n), strict=True))
        return keys[smallest(distances, n)]

    def keys_within(self, points: np.ndarray, radii: np.ndarray) -> np.ndarray:
        return np.concatenate(self.shards.map(_keys_within, points, radii, self.max_abs_key))

    def find(self, task: Callable[..., np.ndarray], request: KernelSumRequest) -> np.ndarray:
        """The keys, ascending, whose numbers in their shard ``task(request about the shard)`` returns."""
        found = self.shards.map(_find, task, Question.of(request), self.max_abs_key)
        return np.concatenate([keys + home.rows.start for keys, home in zip(found, self.shards.homes, strict=True)])


# tasks of a worker


def _column(shard: Any, find: Callable[[Any, Any], np.ndarray], column: int) -> np.ndarray:
    return find(shard, slice(None))[:, column]


def _find_then(
    shard: Any, rows: np.ndarray, find: Callable[[Any, Any], np.ndarray], task: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    return task(find(shard, rows))


def rows_of(shard: Any, rows: np.ndarray, name: str) -> np.ndarray:
    """Rows of an attribute of a shard."""
    return attrgetter(name)(shard)[rows]


def _everything(shard: Shard, rows: np.ndarray) -> np.ndarray:
    """Keys, columns, weights and numbers of groups side by side."""
    index = shard.index
    number = np.zeros(len(index)) if index.groups is None else index.groups.number
    return np.column_stack([index.keys[rows], index.columns[rows], index.weights[rows], number[rows]])


def _with_columns(shard: Shard, columns: np.ndarray) -> Shard:
    return Shard(shard.index.with_columns(columns), shard.start)


def _with_columns_of(
    shard: Shard, other: Any, find: Callable[[Any, Any], np.ndarray], make: Callable[..., np.ndarray]
) -> Shard:
    """With columns that are made of what another shard of the same samples has."""
    return _with_columns(shard, make(find(other, slice(None)), shard.index.columns))


def _weighted_sums(shard: Shard) -> np.ndarray:
    """Of the weights, and of their products with the columns."""
    weights = shard.index.weights
    return np.append(weights.sum(), (weights[:, np.newaxis] * shard.index.columns).sum(axis=0))


def _nearest_in_max_norm(shard: Shard, point: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest differences in a coordinate of the nearest keys, and their numbers among all."""
    keys = shard.index.nearest_in_max_norm(point, n)
    return np.abs(shard.index.keys[keys] - point).max(axis=1), shard.start + keys


def _keys_within(shard: Shard, points: np.ndarray, radii: np.ndarray, max_abs_key: float) -> np.ndarray:
    """Their numbers among all."""
    shard.index.max_abs_key = max_abs_key  # of all keys
    return shard.start + shard.index.keys_within(points, radii)


def _find(
    shard: Shard, task: Callable[[KernelSumRequest], np.ndarray], question: Question, max_abs_key: float
) -> np.ndarray:
    shard.index.max_abs_key = max_abs_key  # of all keys
    return task(shard.request(question, 1))
