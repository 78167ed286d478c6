"""Kernel weights by blocks of the keys, in their order: the sums of each block, and the weights of those asked for.

To find where cumulated weights reach a level takes the sums of all blocks, and the weights of one.
"""

from __future__ import annotations

import numpy as np

from sknw._kernel_sums.tiled.tiles import Tiles


class LazyBlocks:
    """As of `registry.Blocks`: compiled loops compute the weights when they are asked for."""

    def __init__(self, tiles: Tiles, rows: np.ndarray):
        from sknw._kernel_sums.tiled import weight_loops

        self._loops, self._tiles, self._rows = weight_loops, tiles, rows
        self._shift = np.zeros(len(rows))
        self.size = tiles.keys.shape[2]
        self.sums, self.largest = self._sums(np.arange(len(rows)))
        far, shift = tiles.far_shifts(rows, self.block_sums.sum(axis=1))
        if far.size:
            at = np.flatnonzero(np.isin(rows, far))
            self.sums[at[np.isinf(shift)]] = 0.0  # so far that the distance overflows: without support
            at, shift = at[np.isfinite(shift)], shift[np.isfinite(shift)]
            self._shift[at] = shift
            self.sums[at], self.largest[at] = self._sums(at)
        self.log_scale = tiles.log_scale(self._shift)[0]

    @property
    def block_sums(self) -> np.ndarray:
        """The sum of the weights of each block: (b, s)."""
        return self.sums[:, :, 0]

    def weights(self, rows: np.ndarray, blocks: np.ndarray) -> np.ndarray:
        """The weights of the queries `rows` (c,), each of one block, (c,): of shape (c, size), filled up with zeros."""
        slots, block_of_four = _in_fours(blocks)
        in_slots = np.zeros(4 * len(block_of_four), dtype=np.intp)
        in_slots[slots] = rows
        queries, arguments = self.loop_arguments(in_slots)
        weights = np.empty((len(queries), self.size))
        self._loops.write_blocks(*arguments, block_of_four, weights)
        return weights[slots]

    def _sums(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        queries, arguments = self.loop_arguments(rows)
        sums = np.zeros((len(queries), len(self._tiles.keys), self._tiles.columns.shape[1]))
        largest = np.empty(sums.shape[:2])
        self._loops.add_block_sums(*arguments, sums, largest)
        return sums[: len(rows)], largest[: len(rows)]

    def loop_arguments(self, rows: np.ndarray) -> tuple[np.ndarray, tuple]:
        """The padded queries, and the arguments that all loops of `weight_loops` begin with."""
        tiles = self._tiles
        queries, start, _ = tiles.padded_queries(self._rows[rows])
        working_memory = tuple(tiles.empty_tiles(2))
        return queries, (*working_memory, queries, start, tiles.padded(self._shift[rows]), *tiles.for_rows())


def _in_fours(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places for queries such that each four of them look at one block: the place of each, the block of each four."""
    count = np.bincount(blocks)
    n_fours = -(-count // 4)
    order = np.argsort(blocks, kind="stable")
    ends, ends_of_fours = np.cumsum(count), np.cumsum(n_fours)
    slots = np.empty_like(blocks)
    slots[order] = np.arange(len(blocks)) + (4 * (ends_of_fours - n_fours) - (ends - count))[blocks[order]]
    return slots, np.repeat(np.arange(len(count)), n_fours)
