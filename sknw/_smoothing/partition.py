"""Training data that stay on the workers of a cluster, where they are partitioned once.

Rows go to shards by ranges of the order in which samples are sorted: by their block, such as a group or a fold, if
there are blocks, then by x, and then by y. So copies meet in one shard, and rows of a block unless it is large; the
samples of a shard are consecutive ones, and sample i is the same as if all rows were in one process. What has one
number for each row, whatever the number of features, is in this process as well: targets, weights, blocks and the
order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from operator import getitem
from typing import Any

import numpy as np
from sklearn.utils import check_array

from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.shards import DistantRows, Shard, ShardedIndex, rows_of
from sknw._kernel_sums.workers import DaskShards, DaskWorkers, Home, chunks_of, submit
from sknw._smoothing import training
from sknw._smoothing.features import FeatureMap
from sknw._smoothing.training import TrainingSet

# Rows for each shard, and at least of each chunk, among which the bounds of the shards are chosen.
_PER_SHARD, _PER_CHUNK = 500, 20
# Multiplying by it, 2^64 times the golden ratio, carries each bit to many others.
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class ShardedTrainingSet(TrainingSet):
    """Samples whose inputs are on workers; `given` is the dask array of the inputs of all rows."""

    shards: DaskShards  # of `ShardSamples`
    differs_in_x: np.ndarray  # which samples differ in their inputs from the one before, bool (n,)
    has_equal_inputs: bool  # whether two samples do not

    @property
    def inputs(self) -> Any:
        """As of the base, where some can be fetched."""
        return DistantRows(self.shards, partial(rows_of, name="x"), len(self.features))

    @property
    def X(self) -> Any:
        """As of the base, where some can be fetched."""
        return self.inputs.then(self.features.columns, len(self.center))

    def coordinates(self, w: np.ndarray) -> Any:
        """As of the base, where some can be fetched, for w (c,)."""
        return self.X.then(partial(training.coordinates, center=self.center, w=w))

    @property
    def first_of_inputs(self) -> np.ndarray:
        return np.flatnonzero(self.differs_in_x)

    def key_index(self, w: np.ndarray, weights: np.ndarray, columns: np.ndarray, offset_magnitude: float) -> KeyIndex:
        """As of the base, for columns that are the values."""
        unit = float(self.sample_weight.max())
        shards = self.shards.derive(_shard, self.features, self.center, w, unit, offset_magnitude)
        groups = self.features.groups(self.inputs, w)
        return ShardedIndex(shards, weights, columns, offset_magnitude, groups, self.has_equal_inputs)

    def take(self, samples: np.ndarray) -> TrainingSet:
        """As of the base; their inputs are fetched."""
        all_rows, scales = slice(0, len(samples)), (self.y_center, self.y_scales, self.y_range)
        of_samples = self.values[samples], *scales, self.sample_weight[samples], all_rows, np.ones(len(samples))
        return TrainingSet(self.inputs[samples], self.features, all_rows, self.center, self.scales, *of_samples)

    @classmethod
    def of_dask(
        cls,
        given: DaskRows,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        block: np.ndarray | None,
        features: FeatureMap,
        n_classes: int | None,
    ) -> ShardedTrainingSet:
        """As `TrainingSet.of`, of the rows of a dask array."""
        y, weights = y.reshape(len(y), -1), training.scale_weights(sample_weight, len(y))
        is_there = None if np.all(weights > 0) else weights > 0
        y_chunks = given.y_chunks if n_classes is None else None  # labels there have no numbers
        sorted_rows = partition(given, y if y_chunks is None else y_chunks, [is_there, block])
        order, differs_in_x, differs, starts = _orders(sorted_rows)
        begins_x, begins_xy = differs_in_x, differs
        if block is not None:  # equal rows need not be next to each other
            begins_x, begins_xy = _begins(sorted_rows, order, y)
        is_first = differs
        if not differs.all() and not training.is_identified(y, order, begins_x, begins_xy):
            is_first = np.ones(len(order), dtype=bool)
        rows, sample = order[is_first], np.zeros(len(y), dtype=np.intp)
        sample[order] = np.cumsum(is_first) - 1
        relative, share = training.weights_of_samples(weights, rows, sample)
        stored = training.small(rows)
        y_of_samples = training.take_rows(y, stored)
        of_y = values, y_center, y_scales, _ = training.standardise_targets(y_of_samples, relative, n_classes)
        ends = np.cumsum(np.add.reduceat(is_first, starts, dtype=np.intp)).tolist()
        shards = _samples(sorted_rows, ends, relative, is_first is differs, (y_center, y_scales, n_classes))
        center, scales = _standardisation(shards, features, len(values))
        of_x, of_given = (given.X, features, stored, center, scales), training.small(sample)
        has_equal_inputs = bool(np.count_nonzero(begins_x) < len(values))
        return cls(*of_x, *of_y, relative, of_given, share, shards, differs_in_x[is_first], has_equal_inputs)


@dataclass(frozen=True, eq=False)
class DaskRows:
    """The rows of a dask array X, whose chunks have all columns, for the workers of a client's cluster.

    `y_chunks` are futures of the targets of each chunk of X, if these are there.
    """

    X: Any
    y_chunks: list[Any] | None
    client: Any

    def __len__(self) -> int:
        return len(self.X)


def _begins(shards: DaskShards, order: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Which rows begin a run of equal x, and of equal (x, y), once they are sorted by these."""
    hashes = np.empty((1, len(y)), dtype=np.uint64)
    hashes[0, order] = np.concatenate(shards.map(_hashes))
    return training.sort_rows(order, [hashes, y.T])[1]


def _samples(
    shards: DaskShards,
    ends: list[int],
    weights: np.ndarray,
    has_copies: bool,
    of_y: tuple[np.ndarray, np.ndarray, int | None],
) -> DaskShards:
    """Futures of `ShardSamples`, made of `SortedRows`; those of a shard end where `ends` says."""
    rows = [slice(*pair) for pair in pairwise([0, *ends])]
    given_weights = [None if np.all(weights == 1.0) else weights[some] for some in rows]
    samples = shards.derive(_samples_of_shard, has_copies, given_weights, [some.start for some in rows], of_y)
    homes = [replace(home, rows=some) for home, some in zip(samples.homes, rows, strict=True)]
    return DaskShards(samples.kept, homes)


def partition(given: DaskRows, y: np.ndarray | list[Any], of_rows: list[np.ndarray | None]) -> DaskShards:
    """The rows in shards of about equal size, each sorted, in the memory of the workers: futures of `SortedRows`.

    Of the rows it is given whether they are there, and their blocks.
    """
    X, client = given.X, given.client
    client.wait_for_workers(1)
    workers = DaskWorkers(client)
    x_chunks = chunks_of(client, X)
    ends = [slice(*pair) for pair in pairwise(np.cumsum([0, *X.chunks[0]]).tolist())]
    y_chunks = y if isinstance(y, list) else [y[rows] for rows in ends]
    of_chunks = [[None if of_all is None else of_all[rows] for of_all in of_rows] for rows in ends]
    chunks = [
        submit(client, None, _chunk, x, y_chunk, rows.start, *of_chunk)
        for x, y_chunk, rows, of_chunk in zip(x_chunks, y_chunks, ends, of_chunks, strict=True)
    ]
    n_each = max(_PER_SHARD * workers.number // len(chunks), _PER_CHUNK)
    some = client.gather([submit(client, None, _some_rows, chunk, n_each) for chunk in chunks])
    bounds = _bounds(Chunk.joined(some), workers.number)
    pieces = [submit(client, None, _split, chunk, bounds) for chunk in chunks]
    kept = [
        submit(client, address, _sort, *(submit(client, None, getitem, piece, s) for piece in pieces))
        for s, address in enumerate(workers.addresses)
    ]
    homes = [Home(address, workers.threads[address], slice(0, 0)) for address in workers.addresses]
    sizes = DaskShards(kept, homes).map(len)
    filled = [i for i, size in enumerate(sizes) if size]
    return DaskShards([kept[i] for i in filled], [homes[i] for i in filled])


def _bounds(some: Chunk, n_shards: int) -> Chunk:
    """The least row of each shard but the first, for some of the rows."""
    order, _ = some.sort()
    return some.take(order[np.linspace(0, len(order), n_shards, endpoint=False).astype(int)[1:]])


def _orders(shards: DaskShards) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The given rows in order; which differ in x, and in (x, y), from the one before; and where each shard begins."""
    rows, in_x, differs, first, last = zip(*shards.map(_order), strict=True)
    starts, differs_in_x = np.cumsum([0, *map(len, rows[:-1])]), np.concatenate(in_x)
    differs_in_x[starts[1:]] = [not np.array_equal(*pair) for pair in zip(first[1:], last[:-1], strict=True)]
    return np.concatenate(rows), differs_in_x, np.concatenate(differs), starts


def _standardisation(shards: DaskShards, features: FeatureMap, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The centres of the columns, and the scales of the features."""
    lowest, highest, sums = map(np.array, zip(*shards.map(_moments, features), strict=True))
    ranges = np.array([lowest.min(axis=0), highest.max(axis=0)])

    def mean_square(means: np.ndarray, largest: np.ndarray) -> np.ndarray:
        return sum(shards.map(_squares, features, means, largest)) / n

    center, scales, is_constant = training.standardise(ranges, lambda: sums.sum(axis=0) / n, mean_square, "X")
    return center, features.scales(is_constant, scales)


# what workers keep, and their tasks


@dataclass(frozen=True, eq=False)
class Chunk:
    """Rows of a chunk of the dask array that are there, and which of all they are."""

    block: np.ndarray  # (n, 1); (n, 0) without blocks
    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray

    @classmethod
    def joined(cls, chunks: Iterable[Chunk]) -> Chunk:
        """The rows of several, one after the other."""
        columns = zip(*((chunk.block, chunk.x, chunk.y, chunk.rows) for chunk in chunks), strict=True)
        return cls(*map(np.concatenate, columns))

    def take(self, rows: np.ndarray) -> Chunk:
        """Some of the rows, or all in another order."""
        return Chunk(self.block[rows], self.x[rows], self.y[rows], self.rows[rows])

    def sort(self) -> tuple[np.ndarray, np.ndarray]:
        """The order of the rows, and which of them, in this order, differ from the one before; equal rows stay."""
        order, (*_, differs) = training.sort_rows(np.arange(len(self.x)), [self.block.T, self.x.T, self.y.T])
        return order, differs


@dataclass(frozen=True, eq=False)
class SortedRows:
    """Sorted rows, and which differ in x, and in anything, from the one before."""

    given: Chunk
    differs_in_x: np.ndarray
    differs: np.ndarray

    def __len__(self) -> int:
        return len(self.differs)


@dataclass(frozen=True, eq=False)
class ShardSamples:
    """Samples, from the one numbered `start` among all: a given row of each, the values and the weights, of mean 1."""

    x: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    start: int


def _chunk(x: np.ndarray, y: np.ndarray, first: int, is_there: np.ndarray | None, block: np.ndarray | None) -> Chunk:
    x = check_array(x, dtype=(np.float64, np.float32), ensure_min_samples=0, input_name="X")
    block = np.empty((len(x), 0)) if block is None else block[:, np.newaxis]
    chunk = Chunk(block, x, y if y.ndim > 1 else y[:, np.newaxis], np.arange(first, first + len(x)))
    return chunk if is_there is None else chunk.take(is_there)


def _some_rows(chunk: Chunk, n: int) -> Chunk:
    """Random rows; which they are decides the sizes of shards, and nothing else."""
    return chunk.take(np.random.default_rng(0).permutation(len(chunk.x))[:n])


def _split(chunk: Chunk, bounds: Chunk) -> list[Chunk]:
    """The rows of each shard, for the least rows of all shards but the first."""
    n_bounds = len(bounds.x)
    order, _ = Chunk.joined([bounds, chunk]).sort()  # a bound comes before rows that equal it
    shard = np.empty(len(order), dtype=np.intp)
    shard[order] = np.cumsum(order < n_bounds)
    shard = shard[n_bounds:]
    return [chunk.take(np.flatnonzero(shard == s)) for s in range(n_bounds + 1)]


def _sort(*pieces: Chunk) -> SortedRows:
    chunk = Chunk.joined(pieces)
    order, differs = chunk.sort()
    x = chunk.x[order]
    return SortedRows(chunk.take(order), np.append(True, np.any(x[1:] != x[:-1], axis=1))[: len(x)], differs)


def _order(shard: SortedRows) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The given rows, which of them differ from the one before, and the first x and the last."""
    x = shard.given.x
    return shard.given.rows, shard.differs_in_x, shard.differs, x[0], x[-1]


def _hashes(shard: SortedRows) -> np.ndarray:
    """A number for each x, equal ones for equal x, and with 64 bits hardly for others."""
    hashes = np.zeros(len(shard.differs), dtype=np.uint64)
    for column in shard.given.x.T:
        hashes ^= (column.astype(np.float64) + 0.0).view(np.uint64)  # the sum makes a positive zero of a negative one
        hashes *= _ODD
        hashes ^= hashes >> np.uint64(32)
    return hashes


def _samples_of_shard(
    shard: SortedRows,
    has_copies: bool,
    weights: np.ndarray | None,
    start: int,
    of_y: tuple[np.ndarray, np.ndarray, int | None],
) -> ShardSamples:
    given, kept = shard.given, shard.differs if has_copies and not shard.differs.all() else slice(None)
    values = training.values_of(given.y[kept], *of_y)
    return ShardSamples(given.x[kept], values, np.ones(len(values)) if weights is None else weights, start)


def _moments(shard: ShardSamples, features: FeatureMap) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The least and the largest values of the columns, and their weighted sums."""
    columns = features.columns(shard.x).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return columns.min(axis=0), columns.max(axis=0), shard.weights @ columns


def _squares(shard: ShardSamples, features: FeatureMap, means: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """The weighted sums of squares of the centred columns."""
    return shard.weights @ training.scaled_squares(features.columns(shard.x).astype(np.float64), means, largest)


def _shard(
    shard: ShardSamples, features: FeatureMap, center: np.ndarray, w: np.ndarray, unit: float, offset_magnitude: float
) -> Shard:
    """The samples as keys."""
    keys = training.coordinates(features.columns(shard.x), center, w)
    groups = features.groups(shard.x, w)
    return Shard(KeyIndex(keys, shard.weights / unit, shard.values, offset_magnitude, groups), shard.start)
