"""Gaussian sums over one feature: expansions where they pay, else over a window around the query."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sknw._kernel_sums import costs
from sknw._kernel_sums.fast_gauss.chebyshev import bytes_of_moments, error_factors, moments_of, translation_matrices
from sknw._kernel_sums.fast_gauss.constants import CELL_ERROR, LARGEST_LOSS, MEMORY
from sknw._kernel_sums.fast_gauss.grid import LARGEST_INDEX, Cells
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
    """The sums of a request of one feature, at one bandwidth after the other."""

    def __init__(self, points: Points):
        from sknw._kernel_sums.fast_gauss import line_loops
        from sknw._kernel_sums.numba import has_compiled

        self.has_compiled = has_compiled
        self.points, self.request, self.line = points, points.request, SortedRequest.of(points.request)
        self.loops = line_loops
        own = np.where(self.line.is_own, self.line.rank, -1)
        self.left_out = own, *points.ranges(self.line.order, self.line.key_order)

    def set_sums(self, sums: np.ndarray, log_scale: np.ndarray, bandwidth: Bandwidth, width: float) -> None:
        """Set the sums (c, m) and their scale (m,) at a bandwidth, given the width of cells.

        c = 1 + k; or 3 + 2 k, the sums of `registry.SumsLines`.
        """
        line, c, m = self.line, len(sums), len(log_scale)
        done, is_in_order = np.zeros(m, dtype=bool), isinstance(line.order, slice)
        part, scale = (sums, log_scale) if is_in_order else (np.zeros((c, m)), np.zeros(m))
        of_queries, of_keys = (line.queries[np.newaxis], self.left_out), (line.keys, line.weights, line.columns)
        expansions = self._expansions(bandwidth, width, c) if self._expansions_may_pay(bandwidth) else None
        direct = (bandwidth.rate, bandwidth.log_small_part, SMALLEST_EXPONENT)

        def sum_some(some: slice) -> None:
            where = (some.start, some.stop, of_queries, of_keys)
            if expansions is not None:
                self.loops.add_expansions(part, done, *where, *expansions)
            self.loops.add_windows(part, scale, done, *where, direct)

        for_each_chunk(sum_some, m, _CHUNK, self.request.n_threads)
        if not is_in_order:
            scatter_rows(sums, line.order, part)
            log_scale[line.order] = scale

    def _expansions_may_pay(self, bandwidth: Bandwidth) -> bool:
        """Whether direct sums over the near keys, the same number at every query, would take longer than expansions."""
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
        """What `line_loops.add_expansions` needs beside points, for c sums of each query; None without cells."""
        n_columns = 1 + len(self.line.columns)
        of_cells = self.points.index.of_bandwidth(("moments", width), lambda: self._moments(width, n_columns))
        if not len(of_cells[0]):
            return None
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

    def _moments(self, width: float, n_columns: int) -> tuple[np.ndarray, ...]:
        """The cells of the keys, where each begins, moments and sizes.

        No cells where all have few keys, or too many cells have some.
        """
        line = self.line
        keys = Cells.of_line(line.keys[np.newaxis], (line.weights, line.columns), width)
        if keys.counts.max() < _FEW_IN_CELL or bytes_of_moments(len(keys.cells), n_columns, 1) > MEMORY:
            return np.empty(0), keys.start[:1], np.empty((n_columns, 0)), np.empty((0, n_columns))
        moments, sizes = moments_of(keys, n_columns, self.request.n_threads)
        in_rows = np.ascontiguousarray(moments.transpose(2, 0, 1)).reshape(n_columns, -1)
        return keys.cells[:, 2].astype(np.float64), keys.start, in_rows, sizes


def _matrices_in_rows(width: float, reach: int, per_unit: float, n_powers: int) -> np.ndarray:
    """The `translation_matrices` for each power of s, in the unit of the keys, transposed."""
    return np.stack([per_unit**-p * _transposed(width, reach, p) for p in range(n_powers)])


@lru_cache(maxsize=48)
def _transposed(width: float, reach: int, power: int) -> np.ndarray:
    return np.ascontiguousarray(translation_matrices(width, reach, power).T)
