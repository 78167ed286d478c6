"""Gaussian sums over one feature: expansions where they pay, else over a window around the query."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sknw._kernel_sums import costs
from sknw._kernel_sums.fast_gauss.chebyshev import bytes_of_moments, error_factors, moments_of, translation_matrices
from sknw._kernel_sums.fast_gauss.constants import CELL_ERROR, LARGEST_LOSS, MEMORY, P
from sknw._kernel_sums.fast_gauss.grid import LARGEST_INDEX, Cells, cells_of_line
from sknw._kernel_sums.fast_gauss.near_field import SMALLEST_EXPONENT
from sknw._kernel_sums.fast_gauss.points import TOLERANCE, Bandwidth, Points
from sknw._kernel_sums.line import SortedRequest
from sknw._kernel_sums.permutation import scatter_rows
from sknw._kernel_sums.registry import dispatcher
from sknw._kernel_sums.threads import for_each_chunk

# Fewer keys in a cell than this are summed directly anyway.
_FEW_IN_CELL = 8
# Queries that a thread takes together.
_CHUNK = 2**14


class GaussianLine:
    """The sums of a request of one feature."""

    def __init__(self, points: Points):
        from sknw._kernel_sums.fast_gauss import line_loops
        from sknw._kernel_sums.numba import has_compiled

        self.has_compiled = has_compiled
        self.points, self.request, self.line = points, points.request, SortedRequest.of(points.request)
        self.loops = line_loops
        own = np.where(self.line.is_own, self.line.rank, -1)
        self.of_queries = self.line.queries[np.newaxis], (own, *points.ranges(self.line.order, self.line.key_order))
        self.of_keys = self.line.keys, self.line.weights, self.line.columns

    def set_sums(
        self, sums: np.ndarray, log_scale: np.ndarray, bandwidths: list[Bandwidth], widths: list[float]
    ) -> None:
        """Set the sums (b, c, m) and their scale (b, m) at bandwidths, given the width of cells for each.

        c = 1 + k; or 3 + 2 k, the sums of `registry.SumsLines`.
        """
        order, m, n_threads = self.line.order, log_scale.shape[1], self.request.n_threads
        is_in_order = isinstance(order, slice)
        part, scale = (sums, log_scale) if is_in_order else (np.zeros_like(sums), np.zeros_like(log_scale))
        done = np.zeros(log_scale.shape, dtype=bool)
        for b in range(len(bandwidths) - 1, -1, -1):  # bandwidths beside each other share cells and moments
            if self._expansions_may_pay(bandwidths[b]):
                self._add_expansions(part[b], done[b], bandwidths[b], widths[b])
        direct = np.array([bandwidth.rate for bandwidth in bandwidths]), bandwidths[0].log_small_part, SMALLEST_EXPONENT

        def sum_directly(some: slice) -> None:
            self.loops.add_windows(part, scale, done, some.start, some.stop, self.of_queries, self.of_keys, direct)

        for_each_chunk(sum_directly, m, _CHUNK, n_threads)
        if not is_in_order:
            scatter_rows(sums.reshape(-1, m), order, part.reshape(-1, m))
            scatter_rows(log_scale, order, scale)

    def _add_expansions(self, sums: np.ndarray, done: np.ndarray, bandwidth: Bandwidth, width: float) -> None:
        """Set the sums (c, m) of the queries for which expansions pay at a bandwidth, which are then `done` (m,)."""
        expansions = self._expansions(bandwidth, width, len(sums))
        if expansions is None:
            return

        def expand(some: slice) -> None:
            self.loops.add_expansions(sums, done, some.start, some.stop, self.of_queries, self.of_keys, *expansions)

        for_each_chunk(expand, len(done), _CHUNK, self.request.n_threads)

    def _expansions_may_pay(self, bandwidth: Bandwidth) -> bool:
        """Whether expansions would be faster than direct sums over evenly spaced keys, and are worth compiling."""
        if self.request.has_ranges or not len(self.line.keys):
            return False
        n, m, window = len(self.line.keys), len(self.line.queries), 2.0 * bandwidth.reach
        extent = float(self.line.keys[-1] - self.line.keys[0]) * bandwidth.per_unit
        near = n * min(window / extent, 1.0) if extent > 0.0 else n
        saved = m * (costs.LINE_SUM + costs.LINE_KEY * near) - costs.LINE_EXPANSIONS
        if saved <= 0.0 or self.has_compiled(self.loops.add_expansions):
            return saved > 0.0
        saved -= costs.LINE_POINT * (n + m)
        return dispatcher.is_worth_compiling("expansions of one feature", 1e-9 * max(saved, 0.0), costs.LINE_COMPILING)

    def _expansions(self, bandwidth: Bandwidth, width: float, c: int) -> tuple | None:
        """What `line_loops.add_expansions` needs beside points, for c sums of a query; None if moments do not pay."""
        keys, weights, columns = self.of_keys
        n_columns = 1 + len(columns)
        where = self.points.index.of_bandwidth(("cells on the line", width), lambda: cells_of_line(keys, width))
        cells = Cells(slice(0, len(keys)), keys[np.newaxis], (weights, columns), *where, width)
        if not self._moments_pay(cells, bandwidth, n_columns):
            return None
        of_cells = self.points.index.of_bandwidth(("moments", width), lambda: self._moments(cells, n_columns))
        relative_width = width * bandwidth.per_unit
        reach = int(np.ceil(bandwidth.reach / relative_width))
        power = np.arange(c) // n_columns  # of s = key - query, with which a sum is multiplied
        unit = bandwidth.per_unit**-power
        grid = (width, LARGEST_INDEX, _matrices_in_rows(relative_width, reach, bandwidth.per_unit, 1 + power[-1]))
        decay = CELL_ERROR * unit * error_factors(relative_width, reach, c, n_columns)
        column = np.arange(c) % n_columns
        rest = self.points.total[column] * unit * bandwidth.reach**power * np.exp(-(bandwidth.reach**2) / 2)
        errors = (decay, rest, self.points.scale[column] * unit, TOLERANCE, LARGEST_LOSS)
        of_points = costs.LINE_SUM, costs.LINE_KEY, costs.LINE_CELL, costs.COEFFICIENT_POINT, costs.LINE_TRANSLATION
        return of_cells, grid, errors, of_points

    def _moments_pay(self, cells: Cells, bandwidth: Bandwidth, n_columns: int) -> bool:
        """Whether moments fit into memory, and take less time than direct sums over the keys near."""
        counts, n = cells.counts, len(cells)
        if counts.max() < _FEW_IN_CELL or bytes_of_moments(len(counts), n_columns, 1) > MEMORY:
            return False
        n_cells_near = 1.0 + 2.0 * bandwidth.reach / (cells.width * bandwidth.per_unit)
        near = min(n_cells_near * (counts @ counts) / n, n)  # the mean over queries where keys are
        direct = len(self.line.queries) * (costs.LINE_SUM + costs.LINE_KEY * near)
        return bool(direct > costs.LINE_CELL * len(counts) + costs.COEFFICIENT_POINT * n_columns * P * n)

    def _moments(self, cells: Cells, n_columns: int) -> tuple[np.ndarray, ...]:
        """The cells as numbers, where each begins, moments and sizes."""
        moments, sizes = moments_of(cells, n_columns, self.request.n_threads)
        in_rows = np.ascontiguousarray(moments.transpose(2, 0, 1)).reshape(n_columns, -1)
        return cells.cells[:, 2].astype(np.float64), cells.start, in_rows, sizes


def _matrices_in_rows(width: float, reach: int, per_unit: float, n_powers: int) -> np.ndarray:
    """The `translation_matrices` for each power of s, in the unit of the keys, transposed."""
    return np.stack([per_unit**-p * _transposed(width, reach, p) for p in range(n_powers)])


@lru_cache(maxsize=48)
def _transposed(width: float, reach: int, power: int) -> np.ndarray:
    return np.ascontiguousarray(translation_matrices(width, reach, power).T)
