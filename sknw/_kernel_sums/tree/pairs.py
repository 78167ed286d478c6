"""Queries and keys in trees of blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sknw._kernel_sums.memory import empty_aligned
from sknw._kernel_sums.permutation import inverse_permutation, places_of
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.tree.constants import BLOCK

# Blocks of queries that a thread takes at a time.
CHUNK = 16


@dataclass(frozen=True, eq=False)
class BlockTree:
    """Points in a tree of blocks; `loops.build_tree` says how."""

    order: np.ndarray  # the points, block after block, (n,)
    blocks: np.ndarray  # (s, d, BLOCK)
    lower: np.ndarray  # the boxes of the nodes, (2 s - 1, d)
    upper: np.ndarray
    leaf: np.ndarray  # the node that each block is, (s,)

    @classmethod
    def of(cls, points: np.ndarray, pays: bool) -> BlockTree:
        """The tree of points (n, d); of blocks as the points come unless it pays to put near points together."""
        from sknw._kernel_sums.tree import loops  # imports numba

        n, d = points.shape
        n_blocks = -(-n // BLOCK)
        lower, upper = np.empty((2, 2 * n_blocks - 1, d))
        blocks, leaf = empty_aligned((n_blocks, d, BLOCK)), np.empty(n_blocks, dtype=np.int64)
        blocks[-1] = np.inf
        tree = cls(np.arange(n), blocks, lower, upper, leaf)
        # infinite queries are as far as the largest numbers, and their differences are numbers
        largest = np.finfo(np.float64).max
        loops.build_tree(tree.order, *tree.arrays, np.clip(points, -largest, largest), pays)
        return tree

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What the compiled loops take."""
        return self.blocks, self.lower, self.upper, self.leaf

    def columns(self, of_points: np.ndarray) -> np.ndarray:
        """Columns (n, c) of the points, by block: (s, c, BLOCK), zero behind the last point."""
        columns = np.zeros((len(self.blocks) * BLOCK, of_points.shape[1]))
        np.take(of_points, self.order, axis=0, out=columns[: len(self.order)])
        by_block = empty_aligned((len(self.blocks), of_points.shape[1], BLOCK))
        by_block[...] = columns.reshape(len(self.blocks), BLOCK, -1).transpose(0, 2, 1)
        return by_block


class Pairs:
    """Queries and keys of a request in trees.

    `columns` are w_j (1, V_j) by block, (s, 1 + k, BLOCK), and `left_out` is as of `loops.leave_out`, in the order of
    the queries' tree.
    """

    def __init__(self, request: KernelSumRequest, pays: bool):
        index = request.index
        self.request = request
        self.keys = index.of_keys(("tree of blocks", pays), lambda: BlockTree.of(index.keys, pays))
        same = np.array_equal(request.queries, index.keys)
        self.queries = self.keys if same else BlockTree.of(request.queries, pays)
        self.columns = index.of_columns(("tree columns", pays), lambda: self.keys.columns(index.weighted_columns))
        own, ranges = np.full(len(request.queries), -1), np.empty((0, 2), dtype=np.int64)
        if request.leave_out is not None:
            leave_out = request.leave_out[self.queries.order]
            if leave_out.is_own:
                own = places_of(leave_out.index, inverse_permutation(self.keys.order, len(index)))
            else:
                ranges = np.column_stack([leave_out.first, leave_out.last])
        self.left_out = own, ranges, self.keys.order
