"""The global search for the bandwidth.

A selector chooses one factor c; feature k gets the bandwidth h_k = c s_k, s_k its standard deviation. Below, inputs are
already divided by s, so that c is the bandwidth.

Steps take values of the criterion only: derivatives in log c would take more sums, and those of compact kernels have
jumps (benchmarks/search_evaluations.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import starmap

import numpy as np

from sknw._selection.criterion import NONE_SO_FAR, Criterion
from sknw._selection.grid import bandwidth_grid, local_minima
from sknw._selection.line_search import (
    OCTAVE,
    ParabolicSearch,
    first_minimum,
    lattice_point,
    lattice_values,
    score_tolerance,
)
from sknw._selection.result import BandwidthSearch
from sknw._selection.ridge_path import Evaluation
from sknw._selection.surrogate import SCAN_ROWS, BinnedCriterion, SubsampledCriterion

# The criterion of a kernel of compact support has kinks: around its lowest minima the grid is made finer, four times.
# The lattice points between bandwidths then, and around how many minima.
_FINE_STEPS = ((OCTAVE // 8, 4), (OCTAVE // 32, 3), (OCTAVE // 128, 2), (OCTAVE // 512, 1))
# With more samples the scan takes a surrogate: of weighted means by a smooth and by a compact kernel, of local lines.
_MAX_SMOOTH, _MAX_COMPACT, _MAX_LINES = 5000, 20_000, SCAN_ROWS
# A surrogate's minimum whose score is higher than its least one by a larger ratio cannot be the minimum on all samples;
# neither can one whose score on all samples is higher than that of another by a larger ratio. With the best ridge lines
# depend little on the bandwidth: a step from their minimum gains less.
_SCAN_ERROR, _HOPELESS, _HOPELESS_OF_LINES = 0.1, 5e-3, 1e-5
# The number of bandwidths that are evaluated together and share the distances; with few predictions it is larger, so
# that together they make the second number of predictions.
_BATCH, _BATCH_OF_ROWS = 8, 2**15
# Predictions or lines at the best bandwidth are kept if they fit in this many bytes.
_KEPT_BYTES = 2**26


class SearchStopped(Exception):
    """Raised through the search by a callback that has seen enough."""


class History:
    """Scores and numbers of unsupported rows so far, by bandwidth: of the criterion itself, and of its surrogates."""

    def __init__(self, criterion: Criterion, on_candidate: Callable[[], bool]):
        self.criterion, self.on_candidate = criterion, on_candidate
        k, line = criterion.smoother.values.shape[1], criterion.smoother.line
        # of lines those along one axis with the best ridge: these are few numbers, and accurate
        is_kept = line is None or (criterion.ridge is None and line.x.shape[1] == 1)
        n_numbers = k if line is None else 2 * k + 6
        self.keeps = is_kept and 8 * n_numbers * len(criterion.validation) <= _KEPT_BYTES
        self.on_all: dict[float, tuple[float, int]] = {}
        self.on_surrogate: dict[Callable, dict[float, tuple[float, int]]] = {}
        self.best_factor, self.best = 0.0, Evaluation(np.inf, 0)  # the best bandwidth on all rows

    def add(self, criterion: Criterion | BinnedCriterion | SubsampledCriterion, factors: np.ndarray) -> np.ndarray:
        """Return the scores at `factors`, in descending order; new ones are evaluated in batches."""
        is_all = criterion is self.criterion
        seen = self.on_all if is_all else self.on_surrogate.setdefault(criterion, {})
        new = np.array([factor for factor in dict.fromkeys(factors.tolist()) if factor not in seen])
        size = max(_BATCH, _BATCH_OF_ROWS // len(self.criterion.validation)) if is_all else _BATCH
        for start in range(0, len(new), size):
            batch = new[start : start + size]
            least = min(((score, factor) for factor, (score, _) in seen.items()), default=NONE_SO_FAR)
            evaluations: Iterable[Evaluation]
            if is_all:
                evaluations = self.criterion.evaluate(batch, self.keeps, least)
            else:
                evaluations = starmap(Evaluation, zip(*criterion(batch, least), strict=True))
            for factor, found in zip(batch.tolist(), evaluations, strict=True):
                seen[factor] = (float(found.score), int(found.n_unsupported))
                margin = score_tolerance(found.score) * (1 if factor < self.best_factor else -1)
                if is_all and found.score < self.best.score - margin:
                    self.best_factor, self.best = factor, found if len(batch) == 1 else found.copy()
                if self.on_candidate():
                    raise SearchStopped
        return np.array([seen[factor][0] for factor in factors.tolist()])

    def search(self, criterion: Criterion | BinnedCriterion | SubsampledCriterion, grid: np.ndarray) -> ParabolicSearch:
        """A search for local minima within a grid of bandwidths, in descending order."""
        return ParabolicSearch(partial(self.add, criterion), grid[-1], grid[0])


def search_bandwidth(
    criterion: Criterion, on_candidate: Callable[[], bool]
) -> tuple[BandwidthSearch, Evaluation | None]:
    """Find the factor c that minimises `criterion` over all bandwidths that make a difference.

    A scan of a geometric grid (`bandwidth_grid`) finds the local minima; each that can still win is refined in log c
    (`line_search`). On ties the larger bandwidth wins. The leave-one-out error of the top-hat kernel is a step function
    with as many steps as there are pairs of samples: its choice is a low step, not surely the lowest. With many samples
    the scan takes a surrogate of the criterion (`surrogate`): its choice is surely low, and mostly the lowest to 1e-4.

    `on_candidate` is called after each bandwidth, and ends the search with the best so far by returning True. Returned
    as well: the criterion at the chosen bandwidth, if the search has seen it on all rows.
    """
    keys, kernel = criterion.smoother.keys, criterion.smoother.kernel
    grid, has_equal_keys = bandwidth_grid(criterion.smoother.index, kernel)
    history = History(criterion, on_candidate)
    is_of_means = criterion.smoother.line is None
    # compact kernels, whose criterion has kinks, ask for many bandwidths on all samples as long as that takes little
    few = (_MAX_COMPACT if kernel.is_compact else _MAX_SMOOTH) if is_of_means else _MAX_LINES
    minima, is_complete = [], False
    can_merge = keys.shape[1] == 1 and is_of_means and criterion.validation.leaves_one_out and criterion.datafit.can_bin
    surrogate = BinnedCriterion if can_merge else SubsampledCriterion
    with suppress(SearchStopped):
        if len(keys) <= few or not criterion.validation.has_one_order:
            minima = _search_few(criterion, history, grid)
        else:
            minima = _search_many(criterion, history, grid, surrogate.of(criterion))
        is_complete = True
    trials: dict[float, tuple[float, int]] = {}
    for scores_of_one in reversed([history.on_all, *history.on_surrogate.values()]):
        trials |= scores_of_one
    eligible = sorted(history.on_all or trials, reverse=True)  # scores on different rows do not compare
    best_factor = eligible[first_minimum(np.array([trials[factor][0] for factor in eligible]))]
    factors = np.array(sorted(trials))
    scores, n_unsupported = np.array([trials[factor] for factor in factors.tolist()]).T
    best = int(np.searchsorted(factors, best_factor))
    result = BandwidthSearch(
        criterion=criterion.name,
        factors=factors,
        bandwidths=factors[:, np.newaxis] * criterion.training.scales,
        scores=criterion.in_units_of_y(scores),
        best_index=best,
        local_minima=np.flatnonzero(np.isin(factors, [*minima, best_factor])),
        at_edge=bool(is_complete and len(factors) > 1 and best in (0, len(factors) - 1)),
        n_unsupported=int(n_unsupported[best]),
        has_duplicates=bool(has_equal_keys),
        is_comparable=np.isin(factors, eligible),
    )
    return result, history.best if history.best_factor == best_factor else None


def _search_few(criterion: Criterion, history: History, grid: np.ndarray) -> list[float]:
    """Scan some rows, then all of them near the minima; return the local minima, refined if they can win."""
    scan_criterion, n_rows = criterion, len(criterion.validation)
    if n_rows > SCAN_ROWS:
        scan_criterion = criterion.on_rows(max(SCAN_ROWS, n_rows // 10))
    scan = history.add(scan_criterion, grid)
    if scan_criterion is not criterion:
        near = (local_minima(scan)[:, np.newaxis] + np.arange(-2, 3)).ravel()
        grid = grid[np.isin(np.arange(len(grid)), near)]
        scan = history.add(criterion, grid)
    for step, max_minima in _FINE_STEPS if criterion.smoother.kernel.is_compact else ():
        grid = _with_fine_steps(grid, scan, step, max_minima)
        scan = history.add(criterion, grid)
    # Between grid points a parabola through a minimum and its neighbours falls by at most an eighth of the rise to the
    # higher neighbour; a minimum that would have to fall by more than the whole rise to win is left as it is.
    minima = []
    for index in _by_score(local_minima(scan), scan):
        beside = slice(max(index - 1, 0), index + 2)
        minimum = float(grid[index])
        if 2 * scan[index] - scan[beside].max() <= history.best.score + score_tolerance(scan[index]):
            minimum = history.search(criterion, grid[beside]).minimize(grid[beside])[0]
        minima.append(minimum)
    return minima


def _with_fine_steps(grid: np.ndarray, scan: np.ndarray, step: int, max_minima: int) -> np.ndarray:
    """The grid with `step` lattice points between bandwidths around its lowest minima that can win.

    A sample that enters a compact support puts a kink or a step into the criterion: it has minima between those of the
    scan.
    """
    points: set[int] = set()
    for index in _by_score(local_minima(scan), scan)[:max_minima]:
        beside = slice(max(index - 1, 0), index + 2)
        if 2 * scan[index] - scan[beside].max() <= scan.min() + score_tolerance(scan[index]):
            points.update(range(lattice_point(grid[beside][-1]), lattice_point(grid[beside][0]), step))
    return np.union1d(grid, lattice_values(points))[::-1]


def _search_many(
    criterion: Criterion, history: History, grid: np.ndarray, surrogate: BinnedCriterion | SubsampledCriterion
) -> list[float]:
    """Scan a surrogate, then take all samples at few bandwidths; return the minima.

    At bandwidths too small for the surrogate, the scan takes local subsamples.
    """
    is_of_means = criterion.smoother.line is None
    hopeless = _HOPELESS if is_of_means else _HOPELESS_OF_LINES
    n_wide = surrogate.n_wide(grid)
    scan = history.add(surrogate, grid[:n_wide])
    indices = _by_score(local_minima(scan), scan)
    starts = [index for index in indices if scan[index] <= scan.min() + _SCAN_ERROR * abs(scan.min())]
    searches = [(history.search(surrogate, grid[:n_wide]), index) for index in starts]
    first, error = (n_wide - 1, 0.0) if surrogate.has_most_samples else (max(starts, default=0), _SCAN_ERROR)
    if len(narrow := grid[first:]) > 1:
        local = criterion.local_subsamples(surrogate.n_local_rows)
        scores = history.add(local, narrow)
        lowest = first_minimum(scores)
        margin = 0.0 if np.isinf(scores[0]) else error * abs(scores[0]) + score_tolerance(scores[0])
        if scores[lowest] < scores[0] - margin:
            # the end of the first scan then is no minimum
            searches = [(search, index) for search, index in searches if index < n_wide - 1]
            of_local = history.search(local, narrow), first + lowest
            searches.insert(0 if is_of_means else len(searches), of_local)
    found = [search.minimize(search.bracket(grid[index]), surrogate.least_gain) for search, index in searches]
    minima = np.array([minimum for minimum, _ in found])
    scores = np.array([history.add(criterion, minima[i : i + 1])[0] for i in range(len(minima))])
    on_all, best = history.search(criterion, grid), scores.min(initial=np.inf)
    for i in range(len(minima)):
        if scores[i] <= best + hopeless * abs(best):
            start, curvature = on_all.bracket(minima[i]), found[i][1] * surrogate.curvature_ratio
            if curvature > 0.0:  # two values are enough
                start = start[:2] if start[0] > start[1] else start[1:]
            minima[i] = on_all.minimize(start, surrogate.least_gain, curvature)[0]
    return minima.tolist()


def _by_score(indices: np.ndarray, scores: np.ndarray) -> list[int]:
    """Indices in the order of their scores; of those with equal scores the first index is first."""
    order = np.argsort(scores[indices])
    ascending = scores[indices][order]
    is_larger = np.diff(ascending, prepend=-np.inf) > score_tolerance(ascending)
    return indices[order][np.lexsort((order, np.cumsum(is_larger)))].tolist()
