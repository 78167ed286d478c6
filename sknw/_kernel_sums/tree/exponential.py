"""Kernels exp(-rate u^power) over a tree of blocks: the far blocks, which all together are rounding, are skipped.

With W the sum of all weights w and S(q) the mass of a query so far, keys with K(u) W < eps S(q) cannot change it by
more than the part eps. The same holds for the moments, relative to the mean magnitude of their column; where some
values of a column are far larger than most, by the part that this is, in the geometric mean, of the others.

Columns of local lines are products of values with up to two inputs. What is left out is left out of all sums, which so
stay those of one set of keys, and moments around the query follow from them as from all keys. So of these columns only
moments around the query are bounded, in bandwidths: keys with K(u) max(u^2, 1) W < eps S(q) cannot change
sum_j K_j w_j (1, u_j, u_j^2) by more than the part eps of S(q).
"""

from __future__ import annotations

import numpy as np

from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.scaled_sums import TINY, ScaledSums
from sknw._kernel_sums.threads import for_each_chunk
from sknw._kernel_sums.tree.pairs import CHUNK, Pairs

# A weight below this would be lost beside the smallest results of the exponential.
SMALLEST_WEIGHT = 1e-270


def skipped_share(index: KeyIndex) -> float:
    """The largest K(u), or K(u) u^2, of a key that is skipped, as a part of the mass of the query."""

    def make() -> float:
        share = np.finfo(np.float64).eps / index.weights.sum()
        for column in index.columns[:, index.value_columns].T:
            magnitudes = np.abs(column[column != 0.0])
            if magnitudes.size:
                share = min(share, share * np.exp(np.mean(np.log(magnitudes))) / magnitudes.mean())
        return float(share)

    return index.of_columns("skipped share", make)


class ExponentialSums:
    """The sums of a kernel exp(-rate u^power) in the numbers that the compiled loops take."""

    def __init__(self, pairs: Pairs):
        from sknw._kernel_sums.numba import SMALLEST_EXPONENT
        from sknw._kernel_sums.tree import exponential_loops

        self.pairs, self._loops, form = pairs, exponential_loops, pairs.request.form
        self.power = float(form.power)
        # weights are 2^(rate u^power), with a largest u^power that the exponential can take, (b,) each
        self.rates = -form.rate / np.log(2.0) / pairs.request.bandwidths**self.power
        self.furthest = SMALLEST_EXPONENT[np.float64] / self.rates
        self._log_share = float(np.log2(skipped_share(pairs.request.index)))
        # what makes squares of distances that count to the second power; zero where they do not
        self._per_square = pairs.request.index.has_products / pairs.request.bandwidths**2

    def nearest(self) -> np.ndarray:
        """The squared distance of the nearest key that is not left out, infinite where there is none: (m,)."""
        return self._visit(np.zeros(len(self.pairs.queries.order)), self.rates[:0], 0.0)[1]

    def sums(self, shift: np.ndarray, smallest: float) -> np.ndarray:
        """sum_j K_j w_j (1, V_j), K relative to its value at u^power = `shift` (m,): (b, m, 1 + k).

        Right to rounding where the mass is at least `smallest`.
        """
        return self._visit(shift, self.rates, smallest)[0]

    def log_scale(self, shift: np.ndarray) -> np.ndarray:
        """The logarithm of the weight at `shift`, of shape (b, len(shift))."""
        return np.log(2.0) * self.rates[:, np.newaxis] * shift

    def _visit(self, shift: np.ndarray, rates: np.ndarray, smallest: float) -> tuple[np.ndarray, np.ndarray]:
        """Sums at each of the rates; without any, squared distances of the nearest keys."""
        queries, columns = self.pairs.queries, self.pairs.columns
        by_block = np.zeros((len(rates), len(shift), columns.shape[1]))
        nearest = np.full(len(shift), np.inf)
        pairs = (queries.arrays, self.pairs.keys.arrays, columns, self.pairs.left_out)
        bound = (self._log_share, self._per_square, smallest)
        kernel = (self.power, shift[queries.order], rates, self.furthest, *bound)

        def add(part: slice) -> None:
            self._loops.add_exponential_sums(by_block, nearest, *pairs, *kernel, part.start, part.stop)

        for_each_chunk(add, len(queries.leaf), CHUNK, self.pairs.request.n_threads)
        sums, distance = np.empty_like(by_block), np.empty_like(nearest)
        sums[:, queries.order], distance[queries.order] = by_block, nearest
        return sums, distance


def exponential_sums(pairs: Pairs, pays: bool) -> tuple[ScaledSums, np.ndarray]:
    """The sums of a request, and the u^power at which weights count as 1, (m,).

    It is 0, and that of the nearest key for queries far from all keys, which are computed again.
    """
    shifts = np.zeros(len(pairs.queries.order))
    sums = ExponentialSums(pairs).sums(shifts, TINY)
    log_scale = np.zeros(sums.shape[:2])
    far = np.flatnonzero(sums[..., 0].min(axis=0) < TINY)
    if far.size:
        again = ExponentialSums(Pairs(pairs.request.take(far), pays))
        shift = again.nearest() ** (again.power / 2)
        is_found = np.isfinite(shift)  # else all keys are left out, or so far that the distance overflows
        shift[~is_found] = 0.0
        sums[:, far] = np.where(is_found[:, np.newaxis], again.sums(shift, 0.0), 0.0)
        log_scale[:, far], shifts[far] = again.log_scale(shift), shift
    return ScaledSums.of_columns(sums, log_scale), shifts
