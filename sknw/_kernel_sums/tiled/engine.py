"""Compiled brute force: distances, weights and sums of a small tile never leave the cache; every named kernel.

numba is imported, and the loops compiled (once a machine: they are cached on disk), when the first problem arrives.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sknw._kernel_sums import dense
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.threads import for_each_chunk
from sknw.kernels import ExponentialForm, PolynomialForm

# Queries that a thread takes through all keys together, so that a block read from memory serves them all.
CHUNK = 512
# A mass below this may have lost terms to underflow.
_TINY = {np.float32: 1e-20, np.float64: 1e-200}
# The exponential of a far key is not zero but as small as to be lost beside weights from here on.
_SMALLEST_WEIGHT = 1e-270
# Distances in float32 carry an error of about eps R, R the radius of the data in bandwidths; and far beyond, with many
# features, most masses are tiny.
_LARGEST_RADIUS_IN_FLOAT32 = 12.0


def is_usable_for(problem: KernelSumRequest) -> bool | str:
    """Kernels whose formula the compiled loops know."""
    if problem.kernel.form is None:
        return "computes the named kernels only, and this kernel is user-defined"
    if isinstance(problem.kernel.form, PolynomialForm) and problem.kernel.form.exponent > 3:
        return "computes (1 - u^power)^exponent only for an exponent up to 3"
    if problem.weights.min() < _SMALLEST_WEIGHT:
        return "computes with sample weights that span at most 270 orders of magnitude"
    return True


# Loading numba and the compiled loops takes half a second, compiling them on a new machine some seconds: a small
# problem must not pay for that.
START_UP = 0.4
# Seconds of a call whatever its size.
START = 3e-4


def seconds(problem: KernelSumRequest) -> float:
    """About how long `compute` takes: 0.5 ns for a kernel evaluation, or 1.3 ns where it takes a root.

    And more with many features.
    """
    form = problem.kernel.form
    is_simple = isinstance(form, (ExponentialForm, PolynomialForm)) and form.power == 2
    return START + ((5e-10 if is_simple else 1.3e-9) + 4e-11 * problem.keys.shape[1]) * problem.n_evaluations


def compute(problem: KernelSumRequest) -> ScaledSums:
    """The sums of `problem`; queries far from all keys are computed again relative to their nearest key."""
    n_factors, n_queries = len(problem.factors), len(problem.queries)
    sums = np.empty((n_factors, n_queries, 1 + problem.values.shape[1]))
    log_scale = np.zeros((n_factors, n_queries))
    rows = np.arange(n_queries)
    if float32_is_accurate(problem):
        sums[:, rows] = Tiles(problem, np.float32).sums(rows)
        rows = _tiny(sums, rows, np.float32)
    if rows.size:
        tiles = Tiles(problem, np.float64)
        sums[:, rows] = tiles.sums(rows)
        rows = _tiny(sums, rows, np.float64)
        if rows.size and np.isinf(problem.kernel.support):
            shift = tiles.nearest(rows)
            sums[:, rows[np.isinf(shift)]] = 0.0  # so far that the distance overflows: without support
            rows, shift = rows[np.isfinite(shift)], shift[np.isfinite(shift)]
            sums[:, rows] = tiles.sums(rows, shift)
            log_scale[:, rows] = tiles.log_scale(shift)
    return ScaledSums(sums[..., 0], sums[..., 1:], log_scale)


def is_tiny(mass: np.ndarray) -> np.ndarray:
    """Where a mass in float64 may have lost terms to underflow."""
    return mass < _TINY[np.float64]


def _tiny(sums: np.ndarray, rows: np.ndarray, precision: type[np.floating]) -> np.ndarray:
    """Those of `rows` with a tiny mass at any bandwidth."""
    return rows[np.any(sums[:, rows, 0] < _TINY[precision], axis=0)]


def float32_is_accurate(problem: KernelSumRequest) -> bool:
    """Whether float32 arithmetic gives results correct to about float32 rounding.

    For exp(-rate u^power) with a power of 1 or more: other kernels cut off, and a sample on the wrong side of the edge
    changes the result; a smaller power magnifies the error of a small u.
    """
    form = problem.kernel.form
    if not problem.allow_float32 or not isinstance(form, ExponentialForm) or form.power < 1:
        return False
    return problem.squared_radius <= _LARGEST_RADIUS_IN_FLOAT32**2


class Tiles:
    """The keys of a problem laid out in blocks, and the kernel in the numbers that the compiled loops take."""

    def __init__(self, problem: KernelSumRequest, precision: type[np.floating]):
        from sknw._kernel_sums import numba as _compile
        from sknw._kernel_sums.tiled import loops as _tiles

        self.problem, self.precision, self.loops = problem, precision, _tiles
        self.products = problem.gemm_distances_ok(precision)
        n = len(problem.keys)
        key_start = _squared_norms(problem.keys) if self.products else np.zeros(n)
        self.keys = self.in_blocks(problem.keys.T)
        self.key_start = self.in_blocks(key_start[np.newaxis], fill=np.inf)[:, 0]
        self.columns = self.in_blocks(problem.weights * np.vstack([np.ones(n), problem.values.T]))

        form = problem.kernel.form
        if isinstance(form, ExponentialForm):
            self.kind, self.power, self.exponent, rate = _tiles.EXPONENTIAL, form.power, 0, -form.rate / np.log(2.0)
        elif isinstance(form, PolynomialForm):
            self.kind, self.power, self.exponent, rate = _tiles.POLYNOMIAL, form.power, form.exponent, 1.0
        else:
            self.kind, self.power, self.exponent, rate = _tiles.COSINE, 1, 0, 1.0
        self.rates = rate / problem.factors**self.power
        self.furthest = _compile.SMALLEST_EXPONENT[precision] / self.rates

    def in_blocks(self, rows: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """Rows of length n as blocks of shape (s, len(rows), j), the last filled up."""
        n, size = rows.shape[1], self.loops.ROW_BYTES // np.dtype(self.precision).itemsize
        n_whole = n // size
        blocks = _empty_aligned((-(-n // size), len(rows), size), self.precision)
        whole, rest = np.split(rows, [n_whole * size], axis=1)
        blocks[:n_whole] = whole.reshape(len(rows), n_whole, size).transpose(1, 0, 2)
        blocks[n_whole:] = fill
        blocks[n_whole:, :, : rest.shape[1]] = rest
        return blocks

    def sums(self, rows: np.ndarray, shift: np.ndarray | None = None) -> np.ndarray:
        """sum_j K_j w_j (1, V_j) for the queries `rows`, of shape (b, len(rows), 1 + k), K relative to `shift`."""
        problem = self.problem
        shift = np.zeros(len(rows)) if shift is None else shift
        sums = np.empty((len(self.rates), len(rows), self.columns.shape[1]))

        def sum_chunk(chunk: slice) -> None:
            queries, start, own = self.padded_queries(rows[chunk])
            part = np.zeros((len(self.rates), len(queries), sums.shape[2]))
            layout = (queries, start, own, self.keys, self.key_start, self.columns, self.products)
            kernel = (float(self.power), self.padded(shift[chunk]), self.kind, self.exponent)
            rates, furthest = self.rates.astype(self.precision), self.furthest.astype(self.precision)
            self.loops.add_sums(self.empty_tile(), self.empty_tile(), *layout, *kernel, rates, furthest, part)
            sums[:, chunk] = part[:, : len(rows[chunk])]

        for_each_chunk(sum_chunk, len(rows), CHUNK, problem.n_threads, multiple_of=4)
        if problem.own is not None:
            # K(0) = 1 for every kernel that has a form; a row with a share is never shifted
            own = problem.own.index[rows]
            own_weight = problem.own.retained[rows] * problem.weights[own]
            sums += own_weight[:, np.newaxis] * np.column_stack([np.ones(len(rows)), problem.values[own]])
        return sums

    def nearest(self, rows: np.ndarray) -> np.ndarray:
        """u^power of the nearest key; zero where the own key takes part."""
        smallest = np.empty(len(rows))

        def search_chunk(chunk: slice) -> None:
            queries, start, own = self.padded_queries(rows[chunk])
            part = np.full(len(queries), np.inf)
            self.loops.nearest(self.empty_tile(), queries, start, own, self.keys, self.key_start, self.products, part)
            smallest[chunk] = part[: len(rows[chunk])]

        for_each_chunk(search_chunk, len(rows), CHUNK, self.problem.n_threads, multiple_of=4)
        if self.problem.own is not None:
            smallest[self.problem.own.retained[rows] > 0] = 0.0
        return np.maximum(smallest, 0.0) ** (self.power / 2)

    def log_scale(self, shift: np.ndarray) -> np.ndarray:
        """The logarithm of the weight at `shift`, of shape (b, len(shift))."""
        return np.log(2.0) * self.rates[:, np.newaxis] * shift

    def padded_queries(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Queries, their part of the squared distance, and their own keys, filled up to a multiple of four."""
        queries = self.problem.queries[rows]
        start = _squared_norms(queries) if self.products else np.zeros(len(queries))
        own = np.full(len(queries), -1) if self.problem.own is None else self.problem.own.index[rows]
        if self.products:
            queries = -2.0 * queries
        return self.padded(queries), self.padded(start), self.padded(own, np.int64)

    def for_rows(self) -> tuple[tuple, tuple]:
        """The arguments `layout` and `kernel` of the loops in `_row_tiles`, at the first bandwidth."""
        layout = (self.keys, self.key_start, self.columns, self.products)
        return layout, (float(self.power), self.kind, self.exponent, self.rates[0], self.furthest[0])

    def empty_tile(self) -> np.ndarray:
        return _empty_aligned((4, self.keys.shape[2]), self.precision)

    def padded(self, array: np.ndarray, dtype: type | None = None) -> np.ndarray:
        missing = -len(array) % 4
        if missing:
            array = np.concatenate([array, np.zeros((missing, *array.shape[1:]), dtype=array.dtype)])
        return np.ascontiguousarray(array, dtype=dtype or self.precision)


class WeightRows:
    """A function that returns the K_j w_j of a slice of queries and all keys, as `dense.weight_rows` does."""

    def __init__(self, problem: KernelSumRequest):
        from sknw._kernel_sums.tiled import weight_loops as _row_tiles

        self.problem, self.write = problem, _row_tiles.write_weights
        tiles = Tiles(problem, np.float64)
        self.queries, self.start, _ = tiles.padded_queries(np.arange(len(problem.queries)))
        self.layout, self.kernel = tiles.for_rows()
        self.tiles = tiles

    def __call__(self, rows: slice) -> np.ndarray:
        """Of shape (len(rows), n); `rows` begins at a multiple of four."""
        n_queries, n_keys = rows.stop - rows.start, len(self.problem.keys)
        fours = slice(rows.start, rows.start - (-n_queries // 4) * 4)
        weights = np.empty((fours.stop - fours.start, *self.tiles.key_start.shape))
        tile, products = self.tiles.empty_tile(), self.tiles.empty_tile()
        queries = (self.queries[fours], self.start[fours], np.zeros(len(weights)))
        self.write(tile, products, *queries, self.layout, self.kernel, weights)
        weights = weights.reshape(len(weights), -1)[:n_queries, :n_keys]
        far = np.flatnonzero(is_tiny(weights.sum(axis=1)))
        if far.size:
            there = replace(self.problem, queries=self.problem.queries[rows][far])
            weights[far] = dense.weight_rows(there, slice(None))
        return weights


def _squared_norms(points: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", points, points)


def _empty_aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An array that starts at a cache line: a vector read or written across two lines costs up to twice the time."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(n_bytes + 64, dtype=np.uint8)
    first = -memory.ctypes.data % 64
    return memory[first : first + n_bytes].view(dtype).reshape(shape)
