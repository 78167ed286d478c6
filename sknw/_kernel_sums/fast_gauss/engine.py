"""Cell expansions: the Gaussian in one to three features, in time O(n + m), with error at rounding level.

With u = g (q - z), g = sqrt(2 rate) / c, the weight is exp(-||u||^2 / 2): a product over the features. In a grid of
cells about one bandwidth wide, let x be a point's coordinate that goes from -1 to 1 in its cell. Between two cells D
apart the kernel is its interpolant at Chebyshev nodes,

    exp(-u^2 / 2) = sum_jk C_jk(D) T_j(x of the query) T_k(x of the key),

with P^2 coefficients for each D and a relative error, as a part of the largest weight between the cells, at rounding
level. Hence three steps, each linear:

    moments        M_k = sum over the keys of a cell of w V T_k(x)
    translation    L_j = sum over the cells near by of sum_k C_jk(D) M_k, feature after feature
    evaluation     S(q) = sum_j L_j T_j(x)

Each sum comes with a bound of its error; queries for which it is not small enough, as those in a gap beside many keys,
and those for which it would not pay, get the direct sum over the keys near them (`near_field`; `line_loops` of one
feature).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.spatial.distance import cdist

from sknw._kernel_sums import costs
from sknw._kernel_sums.fast_gauss.chebyshev import bytes_of_moments, error_factors, moments_of, translation_matrices
from sknw._kernel_sums.fast_gauss.constants import CELL_ERROR, CHUNK, LARGEST_LOSS, MEMORY, WIDTH, P
from sknw._kernel_sums.fast_gauss.grid import LARGEST_INDEX, Cells, TranslationStage, cell_width, translation_plan
from sknw._kernel_sums.fast_gauss.line import GaussianLine
from sknw._kernel_sums.fast_gauss.near_field import DIRECT_CELLS, DirectSums
from sknw._kernel_sums.fast_gauss.points import TOLERANCE, Bandwidth, Points
from sknw._kernel_sums.permutation import scatter_rows
from sknw._kernel_sums.registry import Engine, register
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.threads import for_each_chunk, one_blas_thread

# Cells of one bandwidth also serve wider ones whose own cells would be at most this many times as wide.
_NARROWER = 1.5
_cached_matrices = lru_cache(maxsize=16)(translation_matrices)


# Bandwidths within which keys are near when the cost is estimated, keys that stand for all, and queries and keys.
_USUAL_REACH, _SAMPLE, _SAMPLED_PAIRS = 9.0, 1000, (32, 256)


class FastGauss(Engine):
    """Expansions in cells."""

    name = "expansion"
    leaves_out_ranges = True
    least_seconds = 1e-9 * costs.LINE_CALL

    def refusal(self, request: KernelSumRequest) -> str | None:
        """Gaussian kernels in one to three features."""
        form = request.kernel.form
        if form is None or form.family != "exponential" or form.power != 2:
            return "computes the Gaussian kernel only, exp(-rate u^2)"
        if request.keys.shape[1] > 3:
            return f"takes one to three features, and there are {request.keys.shape[1]}"
        return None

    def estimate_seconds(self, request: KernelSumRequest) -> float:
        """With one feature by the number of points; with more as if these were normal, but for the keys near.

        And at every bandwidth: to put points in cells, and expansions or direct sums, which of them takes less. With
        ranges that are left out all sums are direct ones.
        """
        (n, d), m, n_bandwidths = request.keys.shape, len(request.queries), len(request.bandwidths)
        total = costs.CELLS_CALL + costs.CELLS_POINT * (n + m) * n_bandwidths
        if d == 1:
            total = costs.LINE_CALL + costs.LINE_POINT * (n + m) * (1 + n_bandwidths)
            total += costs.LINE_BANDWIDTH * n_bandwidths
            if not request.has_ranges:
                return 1e-9 * (total + _cost_of_line_sums(request))
        deviations = request.index.of_keys("deviations", lambda: request.keys[:: -(-n // _SAMPLE)].std(axis=0))
        per_unit = np.sqrt(2.0 * request.form.rate) / request.bandwidths
        for s, near in zip(deviations * per_unit[:, np.newaxis], _share_near(request, per_unit), strict=True):
            expansions = np.inf if request.has_ranges else _cost_of_expansions(n, m, s, 1 + request.columns.shape[1])
            total += min(expansions, _cost_of_direct_sums(m, s, n * near))
        return 1e-9 * total

    def compile_seconds(self, request: KernelSumRequest) -> float:
        """Loops of several features are many, and take longest of all to compile."""
        if request.keys.shape[1] == 1:
            return 0.0
        from sknw._kernel_sums.fast_gauss import near_field_loops
        from sknw._kernel_sums.numba import has_compiled

        return 0.0 if has_compiled(near_field_loops.add_near_keys) else costs.CELLS_COMPILING

    def compute(self, request: KernelSumRequest) -> ScaledSums:
        """The sums: by expansions where they pay, one bandwidth after the other; the others directly."""
        return self._sums(request, 1 + request.columns.shape[1])

    def line_refusal(self, request: KernelSumRequest) -> str | None:
        """As `refusal`, for lines: of one feature, and no ranges of keys left out."""
        if request.has_ranges or request.keys.shape[1] > 1:
            return "sums for lines with one feature only, and at most the own key left out"
        return self.refusal(request)

    def line_sums(self, request: KernelSumRequest) -> ScaledSums:
        """As of `registry.SumsLines`."""
        return self._sums(request, 3 + 2 * request.columns.shape[1])

    def _sums(self, request: KernelSumRequest, n_sums: int) -> ScaledSums:
        n_bandwidths, n_queries = len(request.bandwidths), len(request.queries)
        sums = np.zeros((n_bandwidths, n_sums, n_queries))
        log_scale = np.zeros((n_bandwidths, n_queries))
        points = Points(request)
        bandwidths = [Bandwidth.of(points, h) for h in request.bandwidths.tolist()]
        widths = _cell_widths(bandwidths)
        if points.d == 1:
            GaussianLine(points).set_sums(sums, log_scale, bandwidths, widths)
        else:
            for b in range(n_bandwidths - 1, -1, -1):  # bandwidths beside each other share cells and moments
                _set_sums(points, sums[b], log_scale[b], bandwidths[b], widths[b])
        return ScaledSums(sums[:, 0], sums[:, 1:].transpose(0, 2, 1), log_scale)


register(FastGauss())


def _cell_widths(bandwidths: list[Bandwidth]) -> list[float]:
    """The widths of cells at bandwidths in descending order: about one bandwidth, or about that of a narrower one."""
    widths, width = [], 0.0
    for bandwidth in reversed(bandwidths):
        widest = WIDTH / bandwidth.per_unit
        if not width <= widest <= _NARROWER * width:
            width = cell_width(widest)
        widths.append(width)
    return widths[::-1]


def _n_cells(s: np.ndarray, width: float) -> float:
    """Cells with points in them, of normal points with standard deviations s."""
    return float(np.prod(1.0 + 5.0 * s / width))


def _cost_of_expansions(n: int, m: int, s: np.ndarray, n_columns: int) -> float:
    d, n_coefficients = len(s), n_columns * P ** len(s)
    line = min(2.0 * _USUAL_REACH / WIDTH, 1.0 + 5.0 * s.max() / WIDTH)
    translation = costs.TRANSLATION_OVERHEAD * d * line * n_coefficients * P * costs.TRANSLATION[d]
    return costs.COEFFICIENT_POINT * n_coefficients * (n + m) + translation * min(_n_cells(s, WIDTH), n)


def _cost_of_line_sums(request: KernelSumRequest) -> float:
    """With one feature: at each bandwidth expansions, or direct sums over evenly spaced keys, which takes less."""
    (lowest,), (highest,) = request.index.ranges.tolist()
    extent, n, m = (highest - lowest) * math.sqrt(2.0 * request.form.rate), len(request.keys), len(request.queries)
    total, window = 0.0, 2.0 * _USUAL_REACH
    for h in request.bandwidths.tolist():  # in numbers, which take less time than arrays of a few
        near = n * window / max(extent / h, window)
        total += min(costs.LINE_EXPANSIONS, m * (costs.LINE_SUM + costs.LINE_KEY * near))
    return total


def _share_near(request: KernelSumRequest, per_unit: np.ndarray) -> np.ndarray:
    """About which share of the keys is near a query, in every feature, at each bandwidth: (b,), from a sample."""
    queries, keys = (
        points[:: -(-len(points) // most)]
        for points, most in zip((request.queries, request.keys), _SAMPLED_PAIRS, strict=True)
    )
    distance = cdist(queries, keys, "chebyshev")
    return np.array([np.mean(distance * unit <= _USUAL_REACH) for unit in per_unit])


def _cost_of_direct_sums(m: int, s: np.ndarray, near: float) -> float:
    """Keys near are found, and copied, once for the queries of a cell."""
    if len(s) == 1:
        return m * (costs.LINE_SUM + 2.0 * costs.LINE_KEY * near)
    n_cells = min(_n_cells(s, _USUAL_REACH / DIRECT_CELLS), m)
    of_cell = costs.NEAR_LINE * (2 * DIRECT_CELLS + 1) ** (len(s) - 1) + costs.NEAR_KEY * near
    return n_cells * of_cell + costs.NEAR_PAIR_ESTIMATED * m * near


def _set_sums(points: Points, sums: np.ndarray, log_scale: np.ndarray, bandwidth: Bandwidth, width: float) -> None:
    """Two and three features: set the sums (1 + k, m) and their scale (m,), given the width of cells."""
    keys = points.key_cells(width)
    queries = points.query_cells_beside(keys)
    with one_blas_thread():
        expansion = _Expansion(points, bandwidth, keys)
        done = np.zeros(len(queries), dtype=bool) if points.request.has_ranges else expansion.add_to(sums, queries)
    DirectSums(points, bandwidth, sums, log_scale).add_rest(keys, queries, done)


class _Expansion:
    """The sums over all keys at one bandwidth, for the queries for which it pays and is accurate."""

    def __init__(self, points: Points, bandwidth: Bandwidth, keys: Cells):
        from sknw._kernel_sums.fast_gauss import chebyshev_loops

        self.points, self.bandwidth, self.keys, self.loops = points, bandwidth, keys, chebyshev_loops
        self.n_threads, self.d = points.request.n_threads, len(keys.points)
        self.n_columns = 1 + len(points.columns)
        # cells on each side in which keys may be near
        self.n_near = int(np.ceil(bandwidth.reach / (bandwidth.per_unit * keys.width)))

    def add_to(self, sums: np.ndarray, queries: Cells) -> np.ndarray:
        """Set the sums (1 + k, m) of some queries; which of those in `queries`, in their order."""
        done = np.zeros(len(queries), dtype=bool)
        chosen = self._worthwhile(queries)
        if not len(chosen):
            return done
        targets = queries.cells[chosen]
        stages = translation_plan(self.keys.cells, targets, self.d, self.n_near)
        moments, sizes = self.points.index.of_bandwidth(
            ("moments", self.keys.width), lambda: moments_of(self.keys, self.n_columns, self.n_threads)
        )
        coefficients, bound = self._translated(moments, stages), self._error_bound(sizes, stages)
        cell, chunks = queries.chunks(chosen)
        place = np.searchsorted(chosen, cell)
        own = self.points.own(queries, self.keys)
        in_order = isinstance(queries.rows, slice)
        part = sums[:, queries.rows] if in_order else np.zeros((len(sums), len(queries)))

        def evaluate(some: slice) -> None:
            self.loops.evaluate(
                *(part, done, queries.points, coefficients, bound, targets, place[some], chunks[some]),
                *(self.keys.width, own, *self.keys.attached, self.points.scale, TOLERANCE, LARGEST_LOSS),
            )

        for_each_chunk(evaluate, len(chunks), CHUNK, self.n_threads)
        if not in_order:
            scatter_rows(sums, queries.rows, part)
        return done

    def _worthwhile(self, queries: Cells) -> np.ndarray:
        """The cells of queries for which expansions take less time than direct sums."""
        keys, d, line = self.keys, self.d, 2 * self.n_near + 1
        if not len(keys.cells) or not len(queries.cells):
            return np.empty(0, dtype=np.intp)
        n_coefficients = self.n_columns * P**d
        translation = costs.TRANSLATION[d] * line * n_coefficients * P  # of one feature to one cell
        evaluation = costs.COEFFICIENT_POINT * n_coefficients * queries.counts
        near_at_most = min(float(line) ** d * keys.counts.max(), len(keys))
        direct_at_most = costs.NEAR_PAIR * (costs.NEAR_QUERY + near_at_most) * queries.counts
        is_exact = np.all(np.abs(queries.cells) < LARGEST_INDEX - self.n_near, axis=1)
        chosen = np.flatnonzero(is_exact & (direct_at_most > evaluation + translation))
        if not len(chosen) or self._bytes(keys.cells, chosen) > MEMORY:
            return chosen[:0]
        stages = translation_plan(keys.cells, queries.cells[chosen], d, self.n_near)
        if self._bytes(*(stage.cells for stage in stages)) > MEMORY:
            return chosen[:0]
        near = self._propagate(keys.counts[:, np.newaxis].astype(float), stages, np.ones((line, 1)))[:, 0]
        direct = costs.NEAR_PAIR * np.where(near > 0, costs.NEAR_QUERY + near, 0.0) * queries.counts[chosen]
        saved = direct - evaluation[chosen]
        pays = saved > translation
        moments = costs.COEFFICIENT_POINT * n_coefficients * len(keys)
        translations = translation * sum(len(stage.cells) for stage in stages)
        if saved[pays].sum() < moments + translations:
            return chosen[:0]
        return chosen[pays]

    def _bytes(self, *cells: np.ndarray) -> int:
        """Memory that the coefficients of the longest of some lists of cells take."""
        return bytes_of_moments(max(len(of_list) for of_list in cells), self.n_columns, self.d)

    def _translated(self, moments: np.ndarray, stages: list[TranslationStage]) -> np.ndarray:
        """L of shape (t, P, (1 + k) P^(d - 1)), feature after feature from the last."""
        width = self.keys.width * self.bandwidth.per_unit
        matrices = _cached_matrices(width, self.n_near)
        return self._along(stages, moments, self.loops.translate, matrices, self.n_columns)

    def _error_bound(self, sizes: np.ndarray, stages: list[TranslationStage]) -> np.ndarray:
        """A bound of the errors of the sums in the cells at the end of the plan, of shape (t, 1 + k).

        d `CELL_ERROR` sum_s exp(-gap_s^2 / 4) sum_(j in s) |w V|_j, and all the keys that are not near.
        """
        width = self.keys.width * self.bandwidth.per_unit
        near = self._propagate(sizes, stages, error_factors(width, self.n_near, self.n_columns, self.n_columns))
        return self.d * CELL_ERROR * near + self.points.total * np.exp(-(self.bandwidth.reach**2) / 2)

    def _propagate(self, amounts: np.ndarray, stages: list[TranslationStage], factors: np.ndarray) -> np.ndarray:
        """sum_s amounts[s] prod over the features of factors[D], of shape (t, q)."""
        return self._along(stages, amounts, self.loops.spread, factors)

    def _along(self, stages: list[TranslationStage], amounts: np.ndarray, loop: Callable, *how: object) -> np.ndarray:
        """What a loop that goes along the last feature brings from the cells of the keys to the last stage."""
        cells = self.keys.cells

        def translate(some: slice) -> None:
            loop(arrived[some], stage.cells[some], amounts, cells, *how)

        for stage in stages:
            arrived = np.empty((len(stage.cells), *amounts.shape[1:]))
            for_each_chunk(translate, len(arrived), CHUNK, self.n_threads)
            amounts, cells = arrived, stage.turned
        return amounts
