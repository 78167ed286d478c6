"""Direct Gaussian sums in two and three features.

The keys are those in the cells near by, and further where these are few.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sknw._kernel_sums.fast_gauss.grid import Cells, cell_width
from sknw._kernel_sums.fast_gauss.points import Bandwidth, Points
from sknw._kernel_sums.permutation import take_last
from sknw._kernel_sums.registry import ENGINES
from sknw._kernel_sums.threads import for_each_chunk

# Chunks of queries that a thread takes.
_CHUNK = 512
# Fewer pairs than this are left to the fused engine when only far queries remain.
_FEW_PAIRS = 2e7
# Searches for the nearest key, each further than the one before, until the fused engine takes what is left.
_MOST_SEARCHES = 24
# Direct sums reach this many cells far. With more, cells fit the sphere of near keys closer, and runs are shorter.
DIRECT_CELLS = 4
# Sums smaller than exp of this, which small weights might bring to underflow, are relative to their nearest key.
SMALLEST_EXPONENT = -400.0


class DirectSums:
    """Sums over the keys near a query, written to `sums` (1 + k, m) and `log_scale` (m,)."""

    def __init__(self, points: Points, bandwidth: Bandwidth, sums: np.ndarray, log_scale: np.ndarray):
        from sknw._kernel_sums.fast_gauss import near_field_loops

        self.points, self.request, self.bandwidth = points, points.request, bandwidth
        self.sums, self.log_scale, self.loops = sums, log_scale, near_field_loops

    def add_rest(self, keys: Cells, queries: Cells, done: np.ndarray) -> None:
        """The sums of all queries but those of `queries` with a True in `done`."""
        is_left = np.ones(len(self.request.queries), dtype=bool)
        is_left[queries.rows] = ~done
        reach = self.bandwidth.reach / self.bandwidth.per_unit
        if done.any() and not done.all():
            # few queries: not worth cells of their own
            self._add_near(keys, queries.subset(~done), reach / keys.width, is_left)
            reach *= 2.0
        self._add_near_and_further(np.flatnonzero(is_left), reach)

    def _add_near(
        self, keys: Cells, queries: Cells, reach: float, is_left: np.ndarray, searching: bool = False
    ) -> None:
        """Sums over the keys nearer than `reach` widths; `is_left` (m,) becomes False where the others do not matter.

        When `searching`, the nearest key is found first, and sums that would underflow are relative to it.
        """
        rate = self.bandwidth.rate
        nearest = np.zeros(len(queries))
        if searching:
            nearest[:] = np.inf
            self._visit(np.empty((0, len(queries))), nearest, keys, queries, reach, searching=True)
            is_found = np.isfinite(nearest)
            queries, nearest = queries.subset(is_found), nearest[is_found]
            nearest[rate * nearest < -SMALLEST_EXPONENT] = 0.0
        sums = np.zeros((len(self.sums), len(queries)))
        self._visit(sums, nearest, keys, queries, reach, searching=False)
        log_scale = -rate * nearest
        with np.errstate(divide="ignore"):
            log_mass = np.log(sums[0]) + log_scale
        good = log_mass > self.bandwidth.log_small_part - rate * (reach * keys.width) ** 2
        rows = take_last(np.arange(len(is_left)), queries.rows)[good]
        self.sums[:, rows], self.log_scale[rows], is_left[rows] = sums[:, good], log_scale[good], False

    def _visit(
        self, sums: np.ndarray, nearest: np.ndarray, keys: Cells, queries: Cells, reach: float, searching: bool
    ) -> None:
        left_out = self.points.left_out(queries, keys)
        cell, chunks = queries.chunks(np.arange(len(queries.cells)))
        rate = -self.bandwidth.rate / np.log(2.0)

        def visit(some: slice) -> None:
            self.loops.add_near_keys(
                *(sums, nearest, searching, queries.points, left_out, queries.cells, cell[some], chunks[some]),
                *(keys.points, *keys.attached, keys.cells, keys.start, reach, rate),
            )

        for_each_chunk(visit, len(chunks), _CHUNK, self.request.n_threads)

    def _add_near_and_further(self, rows: np.ndarray, reach: float) -> None:
        """Sums over the keys nearer than `reach`, and further where there are few."""
        request, points = self.request, self.points
        for n_times in range(_MOST_SEARCHES):
            if len(rows) * len(request.keys) <= _FEW_PAIRS:
                break
            width = cell_width(1.07 * reach / DIRECT_CELLS)
            keys, queries = points.key_cells(width), points.query_cells(width, rows)
            is_left = np.ones(len(request.queries), dtype=bool)
            self._add_near(keys, queries, float(DIRECT_CELLS), is_left, searching=n_times > 0)
            n_before, rows = len(rows), rows[is_left[rows]]
            reach *= 2.0 if 2 * len(rows) < n_before else 8.0
        if len(rows):
            there = replace(request.take(rows), bandwidths=np.array([self.bandwidth.h]))
            sums = ENGINES["fused"].compute(there)
            self.sums[0, rows], self.sums[1:, rows] = sums.mass[0], sums.moments[0].T
            self.log_scale[rows] = sums.log_scale[0]
