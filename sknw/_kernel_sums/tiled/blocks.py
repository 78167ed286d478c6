"""Kernel weights by parts of the keys, in their order: the sum of each part, and the weights of the parts asked for.

To find where cumulated weights reach a level takes the sums of all parts, and the weights of one.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from sknw._kernel_sums.tiled.engine import Tiles, is_tiny


class Parts(Protocol):
    """Weights of b queries and n keys, by parts of `size` consecutive keys.

    Attributes
    ----------
    size : int
    masses : ndarray of shape (b, s)
        The sum of the weights of each part.
    """

    size: int

    @property
    def masses(self) -> np.ndarray: ...

    def weights(self, rows: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """The weights of the queries `rows` (c,), each of one part, (c,): of shape (c, size), filled up with zeros."""
        ...


class DenseBlocks:
    """Parts of weights (b, n) that are written out already."""

    def __init__(self, weights: np.ndarray):
        b, n = weights.shape
        self.size = max(int(np.sqrt(n)), 1)
        padded = np.pad(weights, [(0, 0), (0, -n % self.size)])
        self._weights = padded.reshape(b, -1, self.size)
        self.masses = self._weights.sum(axis=2)

    def weights(self, rows: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """As of `Parts`."""
        return self._weights[rows, parts]


class LazyBlocks:
    """Parts of weights that compiled loops compute when asked for, each row up to a factor of its own.

    Attributes
    ----------
    sums : ndarray of shape (b, s, 1 + k)
        Of the weights of each part and of their products with the k values of the problem.
    largest : ndarray of shape (b, s)
        At least the largest weight of each part.
    log_scale : ndarray of shape (b,)
        The logarithm of the factor that makes kernel weights of those here.
    """

    def __init__(self, tiles: Tiles, rows: np.ndarray):
        from sknw._kernel_sums.tiled import weight_loops as _row_tiles

        self._loops, self._tiles, self._rows = _row_tiles, tiles, rows
        self._shift = np.zeros(len(rows))
        self.size = tiles.keys.shape[2]
        self.sums, self.largest = self._sums(np.arange(len(rows)))
        tiny = np.flatnonzero(is_tiny(self.masses.sum(axis=1)))
        if tiny.size and np.isinf(tiles.problem.kernel.support):
            shift = tiles.nearest(rows[tiny])
            self.sums[tiny[np.isinf(shift)]] = 0.0  # so far that the distance overflows: without support
            tiny, shift = tiny[np.isfinite(shift)], shift[np.isfinite(shift)]
            self._shift[tiny] = shift
            self.sums[tiny], self.largest[tiny] = self._sums(tiny)
        self.log_scale = tiles.log_scale(self._shift)[0]

    @property
    def masses(self) -> np.ndarray:
        """As of `Parts`."""
        return self.sums[:, :, 0]

    def weights(self, rows: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """As of `Parts`."""
        slots, part_of_four = _in_fours(parts)
        in_slots = np.zeros(4 * len(part_of_four), dtype=np.intp)
        in_slots[slots] = rows
        queries, arguments = self.loop_arguments(in_slots)
        weights = np.empty((len(queries), self.size))
        self._loops.write_parts(*arguments, part_of_four, weights)
        return weights[slots]

    def _sums(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        queries, arguments = self.loop_arguments(rows)
        sums = np.zeros((len(queries), len(self._tiles.keys), self._tiles.columns.shape[1]))
        largest = np.empty(sums.shape[:2])
        self._loops.add_sums_of_parts(*arguments, sums, largest)
        return sums[: len(rows)], largest[: len(rows)]

    def loop_arguments(self, rows: np.ndarray) -> tuple[np.ndarray, tuple]:
        """The padded queries, and the arguments that all loops of `_row_tiles` begin with."""
        tiles = self._tiles
        queries, start, _ = tiles.padded_queries(self._rows[rows])
        working_memory = tiles.empty_tile(), tiles.empty_tile()
        return queries, (*working_memory, queries, start, tiles.padded(self._shift[rows]), *tiles.for_rows())


def _in_fours(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places for queries such that each four of them look at one part: the place of each, the part of each four."""
    count = np.bincount(parts)
    n_fours = -(-count // 4)
    order = np.argsort(parts, kind="stable")
    ends, ends_of_fours = np.cumsum(count), np.cumsum(n_fours)
    slots = np.empty_like(parts)
    slots[order] = np.arange(len(parts)) + (4 * (ends_of_fours - n_fours) - (ends - count))[parts[order]]
    return slots, np.repeat(np.arange(len(count)), n_fours)
