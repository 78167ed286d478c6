"""The keys of a request in tiles, as the compiled loops take them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sknw._kernel_sums.index import KeyIndex, squared_norms
from sknw._kernel_sums.memory import empty_aligned
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import TINY
from sknw._kernel_sums.threads import for_each_chunk

# Queries that a thread takes through all keys together, so that a block read from memory serves them all.
CHUNK = 512
# Binary logarithms of a kernel weight a little above `TINY`, and of one that is negligible beside that of the nearest
# key; both for equal sample weights.
_LOG_NEARLY_TINY, _LOG_NEGLIGIBLE = np.log2(TINY) + 64.0, -160.0
# The `TINY` of float32.
TINY_IN_FLOAT32 = 1e-20


def all_in_float64(request: KernelSumRequest) -> Tiles:
    """Tiles for all queries together."""
    return Tiles(request, np.float64, bool(request.gemm_distances_ok(np.float64, slice(None)).all()))


def tiles_in(
    request: KernelSumRequest, precision: type[np.floating], rows: np.ndarray
) -> Iterator[tuple[Tiles, np.ndarray]]:
    """The queries `rows` by how their distances may be computed, and the tiles for them."""
    ok = request.gemm_distances_ok(precision, rows)
    for products in (True, False):
        if (some := rows[ok == products]).size:
            yield Tiles(request, precision, products), some


@dataclass(frozen=True, eq=False)
class KeyTiles:
    """Keys in blocks of j: keys (s, d, j), and what begins their squared distances, (s, j)."""

    keys: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, index: KeyIndex, precision: type[np.floating], products: bool) -> KeyTiles:
        start = index.squared_norms if products else np.zeros(len(index))
        return cls(in_blocks(index.keys.T, precision), in_blocks(start[np.newaxis], precision, fill=np.inf)[:, 0])


class Tiles:
    """The keys of a request laid out in blocks, and the kernel in the numbers that the compiled loops take."""

    def __init__(self, request: KernelSumRequest, precision: type[np.floating], products: bool):
        from sknw._kernel_sums.numba import SMALLEST_EXPONENT
        from sknw._kernel_sums.tiled import loops

        index, form = request.index, request.form
        self.request, self.precision, self.loops = request, precision, loops
        # the compiler leaves out what None does not need
        self.products = products if request.may_take_products else None
        tiles = index.of_keys(("tiles", precision, products), lambda: KeyTiles.of(index, precision, products))
        self.keys, self.key_start = tiles.keys, tiles.start
        self.columns = index.of_weighted_columns(
            ("tiles", precision), lambda: in_blocks(index.weighted_columns.T, precision)
        )
        self.power = form.power
        # as of `loops.set_weights`
        exponent = None if form.family == "exponential" else form.exponent
        self.kernel = float(form.power), exponent, form.family == "cosine"
        rate = -form.rate / np.log(2.0) if form.family == "exponential" else form.rate
        self.rates = rate / request.bandwidths**self.power
        self.furthest = np.asarray(SMALLEST_EXPONENT[precision]) / self.rates

    def sums(self, rows: np.ndarray) -> np.ndarray:
        """sum_j K_j w_j (1, V_j) for the queries `rows`, of shape (b, len(rows), 1 + k)."""
        return self._visit(rows, np.zeros(len(rows)))[0]

    def far_sums(self, rows: np.ndarray, shift: np.ndarray) -> tuple[slice, np.ndarray, np.ndarray]:
        """The same with K relative to its value at the nearest key, where u^power is `shift`, if that value is small.

        Returns the bandwidths from the first one on at which a query needs this, the sums at these, and which queries
        need it at which of them, (b, len(rows)): those whose nearest key has a weight nearly as small as `TINY`.
        """
        shift = np.where(np.isinf(shift), 0.0, shift)
        largest = min(_LOG_NEARLY_TINY - np.log2(self.request.index.smallest_weight), 0.0)
        is_far = self.rates[:, np.newaxis] * shift < largest
        narrow = slice(int(np.argmax(is_far.any(axis=1))), None)
        return narrow, self._visit(rows, shift, narrow)[0], is_far[narrow]

    def far_shifts(self, rows: np.ndarray, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of `rows` whose mass (len(rows),) is tiny, and u^power of their nearest key; none if K is compact."""
        if self.request.kernel.is_compact or not np.any(mass < TINY):
            return rows[:0], np.empty(0)
        rows = rows[mass < TINY]
        return rows, np.maximum(self._visit(rows, np.zeros(len(rows)), slice(0, 0))[1], 0.0)

    def _visit(
        self, rows: np.ndarray, shift: np.ndarray, bandwidths: slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sums (b, len(rows), 1 + k) at some of the bandwidths; without any, the least u^power (len(rows),)."""
        furthest = self.furthest
        if shift.any():
            furthest = np.minimum(
                furthest, (_LOG_NEGLIGIBLE + np.log2(self.request.index.smallest_weight)) / self.rates
            )
        rates, furthest = (of_all[bandwidths].astype(self.precision) for of_all in (self.rates, furthest))
        sums, smallest = np.empty((len(rates), len(rows), self.columns.shape[1])), np.empty(len(rows))

        def visit(chunk: slice) -> None:
            queries, start, left_out = self.padded_queries(rows[chunk])
            n = chunk.stop - chunk.start
            part, nearest = np.zeros((len(rates), len(queries), sums.shape[2])), np.full(len(queries), np.inf)
            layout = (queries, start, left_out, self.keys, self.key_start, self.columns, self.products)
            kernel = (*self.kernel, self.padded(shift[chunk]), rates, furthest)
            work = self.empty_tiles(2)
            self.loops.add_sums(work, work.reshape(2, -1), *layout, *kernel, part, nearest)
            sums[:, chunk], smallest[chunk] = part[:, :n], nearest[:n]

        for_each_chunk(visit, len(rows), CHUNK, self.request.n_threads, multiple_of=4)
        return sums, smallest

    def log_scale(self, shift: np.ndarray) -> np.ndarray:
        """The logarithm of the weight at `shift`, of shape (b, len(shift))."""
        return np.log(2.0) * self.rates[:, np.newaxis] * shift

    def padded_queries(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Queries, their part of the squared distance, and the keys left out, filled up to a multiple of four."""
        queries = self.request.queries[rows]
        start = squared_norms(queries) if self.products else np.zeros(len(queries))
        leave_out, left_out = self.request.leave_out, np.zeros((len(queries), 2), dtype=np.int64)
        if leave_out is not None:
            left_out[:, 0], left_out[:, 1] = leave_out.first[rows], leave_out.last[rows]
        if self.products:
            queries = -2.0 * queries
        return self.padded(queries), self.padded(start), self.padded(left_out, np.int64)

    def for_rows(self) -> tuple[tuple, tuple]:
        """The arguments `layout` and `kernel` of the loops in `weight_loops`, at the first bandwidth."""
        layout = (self.keys, self.key_start, self.columns, bool(self.products))
        return layout, (*self.kernel_of_rows, self.rates[0], self.furthest[0])

    @property
    def kernel_of_rows(self) -> tuple[float, int, bool]:
        """The kernel in numbers of one type, for which loops are compiled once: exponent -1 for the exponential."""
        power, exponent, is_cosine = self.kernel
        return power, -1 if exponent is None else exponent, is_cosine

    def empty_tiles(self, n: int) -> np.ndarray:
        return empty_aligned((n, 4, self.keys.shape[2]), self.precision)

    def padded(self, array: np.ndarray, dtype: type | None = None) -> np.ndarray:
        missing = -len(array) % 4
        if missing:
            array = np.concatenate([array, np.zeros((missing, *array.shape[1:]), dtype=array.dtype)])
        return np.ascontiguousarray(array, dtype=dtype or self.precision)


def in_blocks(rows: np.ndarray, precision: type[np.floating], fill: float = 0.0) -> np.ndarray:
    """Rows of length n as blocks of shape (s, len(rows), j), the last filled up."""
    from sknw._kernel_sums.tiled.loops import ROW_BYTES

    (n_rows, n), size = rows.shape, ROW_BYTES // np.dtype(precision).itemsize
    n_whole, n_rest = divmod(n, size)
    blocks = empty_aligned((-(-n // size), n_rows, size), precision)
    blocks[:n_whole] = rows[:, : n - n_rest].reshape(n_rows, n_whole, size).transpose(1, 0, 2)
    blocks[n_whole:, :, :n_rest] = rows[:, n - n_rest :]
    blocks[n_whole:, :, n_rest:] = fill
    return blocks
