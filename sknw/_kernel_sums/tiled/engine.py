"""Compiled brute force: distances, weights and sums of a small tile never leave the cache; every kernel with a form.

numba is imported, and the loops compiled (once a machine: they are cached on disk), when the first request arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn import get_config

from sknw._kernel_sums import dense
from sknw._kernel_sums.costs import RANGE_PAIR, RANGE_QUERY, TILED_BLOCK, TILED_CALL, tiled_pair
from sknw._kernel_sums.registry import EXPONENTS, Engine, form_refusal, metric_form_refusal, register
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import TINY, ScaledSums
from sknw._kernel_sums.threads import for_each_chunk
from sknw._kernel_sums.tiled.blocks import LazyBlocks
from sknw._kernel_sums.tiled.metric_gradient import metric_sums
from sknw._kernel_sums.tiled.pairs import pair_sums, takes_pairs
from sknw._kernel_sums.tiled.tiles import CHUNK, TINY_IN_FLOAT32, Tiles, all_in_float64, tiles_in

# The exponential of a far key is not zero but as small as to be lost beside weights from here on.
_SMALLEST_WEIGHT = 1e-270
# Distances in float32 carry an error of about eps R, R the radius of the data in bandwidths; and far beyond, with many
# features, most masses are tiny.
_LARGEST_RADIUS_IN_FLOAT32 = 12.0


class Tiled(Engine):
    """Compiled brute force."""

    name = "fused"
    leaves_out_ranges = True
    least_seconds = 1e-9 * TILED_CALL

    def refusal(self, request: KernelSumRequest) -> str | None:
        """Kernels whose formula the compiled loops know."""
        if reason := form_refusal(request):
            return reason
        if request.form.exponent not in EXPONENTS:
            return f"computes powers of a kernel only for the exponents {EXPONENTS}"
        if request.index.smallest_weight < _SMALLEST_WEIGHT:
            return "computes with sample weights that span at most 270 orders of magnitude"
        return None

    def estimate_seconds(self, request: KernelSumRequest) -> float:
        pair = tiled_pair(request.form, request.keys.shape[1], request.columns.shape[1])
        n_keys = -(-len(request.keys) // TILED_BLOCK) * TILED_BLOCK
        return 1e-9 * (TILED_CALL + pair * n_keys * len(request.queries) * len(request.bandwidths))

    def compute(self, request: KernelSumRequest) -> ScaledSums:
        """The sums; queries far from all keys are computed again relative to their nearest key."""
        n_bandwidths, n_queries = len(request.bandwidths), len(request.queries)
        log_scale = np.zeros((n_bandwidths, n_queries))
        if takes_pairs(request, self.estimate_seconds(request)):
            tiles = Tiles(request, np.float64, products=False)
            sums = pair_sums(request, tiles)
            _repair_far(tiles, np.arange(n_queries), sums, log_scale)
            return ScaledSums.of_columns(sums, log_scale)
        sums = np.empty((n_bandwidths, n_queries, 1 + request.columns.shape[1]))
        left = np.ones(n_queries, dtype=bool)
        for tiles, rows in _tiles_in_float32(request):
            sums[:, rows] = tiles.sums(rows)
            left[rows] = np.any(sums[:, rows, 0] < TINY_IN_FLOAT32, axis=0)
        for tiles, rows in tiles_in(request, np.float64, np.flatnonzero(left)):
            sums[:, rows] = tiles.sums(rows)
            _repair_far(tiles, rows, sums, log_scale)
        return ScaledSums.of_columns(sums, log_scale)

    def range_seconds(self, request: KernelSumRequest) -> float:
        """As of `ranges.SumsRanges`."""
        leave_out, pair = request.leave_out, tiled_pair(request.form, request.keys.shape[1], request.columns.shape[1])
        assert leave_out is not None
        n_pairs = int((leave_out.last - leave_out.first).sum())
        return 1e-9 * len(request.bandwidths) * (RANGE_QUERY * len(request.queries) + RANGE_PAIR * pair * n_pairs)

    def range_sums(self, request: KernelSumRequest) -> np.ndarray:
        """As of `ranges.SumsRanges`."""
        from sknw._kernel_sums.tiled import range_loops

        index, leave_out, tiles = request.index, request.leave_out, all_in_float64(request)
        assert leave_out is not None
        keys = index.of_keys("by feature", lambda: range_loops.filled_up(index.keys.T))
        columns = index.of_columns("weighted, by column", lambda: range_loops.filled_up(index.weighted_columns.T))
        sums = np.zeros((len(request.bandwidths), len(request.queries), len(columns)))
        kernel = (*tiles.kernel_of_rows, tiles.rates, tiles.furthest)

        def add(rows: slice) -> None:
            ranges = (np.ascontiguousarray(request.queries[rows]), leave_out.first[rows], leave_out.last[rows])
            range_loops.add_range_sums(sums, rows.start, *ranges, keys, columns, *kernel)

        for_each_chunk(add, len(request.queries), CHUNK, request.n_threads)
        return sums

    def weight_rows(self, request: KernelSumRequest) -> Callable[[slice], np.ndarray]:
        """As of `registry.WritesWeights`."""
        return WeightRows(request)

    def for_each_chunk_of_blocks(self, request: KernelSumRequest, task: Callable[[slice, Any], None]) -> None:
        """As of `registry.SumsBlocks`."""
        tiles = all_in_float64(request)
        # of each query sums of all blocks and weights of one, with what is made of them
        numbers = len(tiles.keys) * tiles.columns.shape[1] + tiles.keys.shape[2]
        size = max(int(get_config()["working_memory"] * 2**20 / (8 * 4 * numbers)), 1)
        rows = np.arange(len(request.queries))

        def chunk(part: slice) -> None:
            task(part, LazyBlocks(tiles, rows[part]))

        for_each_chunk(chunk, len(rows), min(size, CHUNK), request.n_threads, multiple_of=4)

    def metric_refusal(self, request: KernelSumRequest) -> str | None:
        """Kernels exp(-rate u^power) with a power up to 2."""
        return metric_form_refusal(request) or self.refusal(request)

    def metric_sums(self, request: KernelSumRequest, x: np.ndarray, cotangent: Any) -> Any:
        """As of `registry.DifferentiatesMetric`."""
        return metric_sums(request, x, cotangent)


register(Tiled())


def _repair_far(tiles: Tiles, rows: np.ndarray, sums: np.ndarray, log_scale: np.ndarray) -> None:
    """Set sums (b, m, 1 + k) and scales (b, m) of the `rows` far from all keys, by weights relative to the nearest."""
    far, shift = tiles.far_shifts(rows, sums[:, rows, 0].min(axis=0))
    if far.size:
        narrow, found, is_far = tiles.far_sums(far, shift)
        sums[narrow, far] = np.where(is_far[..., np.newaxis], found, sums[narrow, far])
        log_scale[narrow, far] = np.where(is_far, tiles.log_scale(shift)[narrow], 0.0)
        sums[:, far[np.isinf(shift)]] = 0.0  # so far that the distance overflows: without support
        log_scale[:, far[np.isinf(shift)]] = 0.0


def _tiles_in_float32(request: KernelSumRequest) -> Iterator[tuple[Tiles, np.ndarray]]:
    """The queries for which float32 arithmetic is correct to about float32 rounding, and the tiles for them.

    Kernels exp(-rate u^power) with a power of 1 or more: others end, and a sample on the wrong side of the edge changes
    the result; a smaller power magnifies the error of a small u.
    """
    form = request.kernel.form
    if request.allow_float32 and form is not None and form.family == "exponential" and form.power >= 1:
        yield from tiles_in(request, np.float32, np.flatnonzero(request.squared_radii <= _LARGEST_RADIUS_IN_FLOAT32**2))


class WeightRows:
    """A function that returns the K_j w_j of a slice of queries and all keys, as `dense.weight_rows` does."""

    def __init__(self, request: KernelSumRequest):
        from sknw._kernel_sums.tiled import weight_loops

        self.request, self.write = request, weight_loops.write_weights
        self.tiles = all_in_float64(request)
        self.queries, self.start, _ = self.tiles.padded_queries(np.arange(len(request.queries)))
        self.layout, self.kernel = self.tiles.for_rows()

    def __call__(self, rows: slice) -> np.ndarray:
        """Of shape (len(rows), n); `rows` begins at a multiple of four."""
        n_queries, n_keys = rows.stop - rows.start, len(self.request.keys)
        fours = slice(rows.start, rows.start - (-n_queries // 4) * 4)
        weights = np.empty((fours.stop - fours.start, *self.tiles.key_start.shape))
        tile, products = self.tiles.empty_tiles(2)
        queries = (self.queries[fours], self.start[fours], np.zeros(len(weights)))
        self.write(tile, products, *queries, self.layout, self.kernel, weights)
        weights = weights.reshape(len(weights), -1)[:n_queries, :n_keys]
        far = np.flatnonzero(weights.sum(axis=1) < TINY)
        if far.size:
            weights[far] = dense.weight_rows(self.request, rows.start + far)
        return weights
