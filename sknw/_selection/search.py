"""The choice of the bandwidth: criteria, rules of thumb, and a global search.

A selector chooses one factor c; feature k gets the bandwidth h_k = c s_k, s_k its standard deviation. Below, inputs are
already divided by s, so that c is the bandwidth.

Steps take values of the criterion only. Derivatives in log c would save nothing: of smooth kernels the refinement takes
4 to 8 values, with more than 5000 samples 1 to 3, and the secant rule 5 or 6 derivatives, each at twice the sums; of
compact kernels it does not converge in 10, because the criterion has kinks (benchmarks/search_evaluations.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar

from sknw._selection.criterion import Criterion
from sknw._selection.grid import COARSE_STEP, SCORE_TOL, STEP, bandwidth_grid, effective_support, local_minima
from sknw._selection.line_search import History, ParabolicSearch, SearchStopped
from sknw._selection.result import BandwidthSearch
from sknw._selection.surrogate import BinnedCriterion, SubsampledCriterion

# Around the minima of a kernel of compact support.
_FINE_STEP = 2 ** (1 / 16)
_MOST_FINE_MINIMA = 4
# The scan takes all rows up to this many; above, so many or a tenth. The refinement takes all of them.
_SCAN_ROWS = 2000
# More samples than these are not all taken by the scan: of means with a smooth kernel, and of all others.
_MOST_SMOOTH, _MOST_SAMPLES = 5000, 20_000
# Of one feature they are merged, in at most so many cells, with so many samples in each on average at least.
_SCAN_CELLS, _SAMPLES_IN_CELL = 5000, 4
# Of several features, and for local lines, a half of them are taken, so many at most.
_SCAN_SAMPLES = 20_000
# Rows of these; and what more steps must be expected to gain, as a part, for all samples to take them.
_THINNED_ROWS, _THINNED_GAIN = 1000, 1e-5
# The least bandwidth for merged samples, in widths of their cells.
_LEAST_FOR_CELLS = 3.0
# With many samples a minimum that the scan finds so much higher than the least with all, as a part of it, cannot be the
# least.
_SCAN_ERROR = 0.1
# With few samples: the least gain, and of compact kernels the tolerance in log c, where the criterion is flat: a
# relative change of 1e-8 of its curvature.
_LEAST_REFINED, _LOG_TOLERANCE = 1e-9, 1e-4


def search_bandwidth(
    criterion: Criterion, on_candidate: Callable[[], bool]
) -> tuple[BandwidthSearch, np.ndarray | None]:
    """The factor c that minimises `criterion` over all bandwidths that make a difference.

    A geometric scan from a quarter of the smallest spacing (that of 2000 samples where there are more) to four times
    the diameter of the data, or beyond where the kernel reaches more or less far, finds the local minima; each that can
    still win is refined in log c (`_descent`). On ties the larger bandwidth wins. The leave-one-out error of the
    top-hat kernel is a step function with as many steps as there are pairs of samples: there, the choice is a low step,
    not surely the lowest. Of many samples the scan takes a likeness of the criterion (`_likeness`); there the choice is
    surely low, and mostly the lowest to 1e-4.

    Parameters
    ----------
    criterion : Criterion
    on_candidate : callable
        Called after each bandwidth; returns True to end the search with the best so far.

    Returns
    -------
    search : BandwidthSearch
    predictions : ndarray of shape (m, k) or None
        Of the rows of `criterion`, from the others, at the bandwidth chosen; where the search has them.
    """
    grid, has_equal_keys = bandwidth_grid(criterion.smoother.keys, criterion.smoother.kernel)
    trials = History(criterion, on_candidate)
    minima: list[float] = []
    n, d = criterion.smoother.keys.shape
    is_of_means = criterion.smoother.line is None
    # compact kernels, whose criterion has kinks, ask for many bandwidths with all samples as long as that takes little
    is_smooth = is_of_means and not criterion.smoother.kernel.is_compact
    if n <= (_MOST_SMOOTH if is_smooth else _MOST_SAMPLES):
        search = _search_few
    else:
        # with several features cells merge too little to be worth it, and of local lines they have no likeness
        search = _search_many if d == 1 and is_of_means else _search_thinned
    is_complete = False  # a search that was stopped has no edge
    with suppress(SearchStopped):
        search(criterion, trials, grid, minima)
        is_complete = True
    eligible = trials.on_all or trials.on_surrogate  # scores on different rows do not compare
    trial = trials.on_surrogate | trials.on_all
    factors = np.array(sorted(trial))
    scores, n_unsupported = np.array([trial[factor] for factor in factors.tolist()]).T
    least = min(score for score, _ in eligible.values())
    weights = criterion.training.sample_weight
    if np.isinf(least) and criterion.name != "loo" and weights.sum() < len(weights) > 1:
        warnings.warn(
            f'The criterion "{criterion.name}" exists at no bandwidth, and the widest is taken. It counts samples by '
            "sample_weight, whose sum is small: scale it to about the number of samples.",
            stacklevel=4,
        )
    best = max(i for i, factor in enumerate(factors.tolist()) if factor in eligible and scores[i] <= least + SCORE_TOL)
    result = BandwidthSearch(
        criterion=criterion.name,
        factors=factors,
        bandwidths=factors[:, np.newaxis] * criterion.training.scales,
        scores=criterion.in_units_of_y(scores),
        best_index=best,
        local_minima=np.flatnonzero(np.isin(factors, [*minima, factors[best]])),
        at_edge=bool(is_complete and len(factors) > 1 and best in (0, len(factors) - 1)),
        n_unsupported=int(n_unsupported[best]),
        has_duplicates=bool(has_equal_keys or np.any(criterion.training.sample_weight > 1)),
    )
    _, known, predictions = trials.best
    return result, predictions if known == factors[best] else None


def _search_few(criterion: Criterion, trials: History, grid: np.ndarray, minima: list[float]) -> None:
    """Scan some rows, then all of them near the minima; to `minima` come those found."""
    rows, scan_criterion = criterion.rows, criterion
    if len(rows) > _SCAN_ROWS:
        n_rows = max(_SCAN_ROWS, len(rows) // 10)
        part = np.sort(np.random.default_rng(0).choice(rows, n_rows, replace=False))
        scan_criterion = replace(criterion, rows=part)
    scan = trials.add(scan_criterion, grid)
    minima[:] = grid[local_minima(scan)].tolist()
    if scan_criterion is not criterion:
        near = np.isin(np.arange(len(grid)), (local_minima(scan)[:, np.newaxis] + np.arange(-2, 3)).ravel())
        grid = grid[near]
        scan = trials.add(criterion, grid)
    if criterion.smoother.kernel.is_compact:
        grid = _with_fine_steps(grid, scan)
        scan = trials.add(criterion, grid)
    minima[:] = _refined(criterion, trials, grid, scan)


def _search_many(criterion: Criterion, trials: History, grid: np.ndarray, minima: list[float]) -> None:
    """Scan with the samples merged in cells; then take them as they are, at few bandwidths.

    For small bandwidths samples cannot be merged. There the scan takes some of them.
    """
    n_cells = min(_SCAN_CELLS, len(criterion.smoother.keys) // _SAMPLES_IN_CELL)
    merged = BinnedCriterion.of(criterion, n_cells)
    least_width = _LEAST_FOR_CELLS * merged.likeness.width / min(effective_support(criterion.smoother.kernel), 1.0)
    wide, narrow = grid[grid >= least_width], grid[grid < least_width]
    factors, scores = wide, trials.add(merged, wide)
    part = criterion
    if len(narrow):
        part = criterion.some(_SCAN_ROWS)
        at_join = part(wide[-1:])[0][0]
        is_joined = np.isfinite(at_join) and np.isfinite(scores[-1])
        difference = scores[-1] - at_join if is_joined else 0.0  # of these rows from all samples
        factors, scores = grid, np.append(scores, trials.add(part, narrow) + difference)
    indices = local_minima(scores)
    minima[:] = factors[indices].tolist()
    for number in np.argsort(scores[indices], kind="stable").tolist():
        index, least = indices[number], trials.best[0]
        if np.isfinite(least) and scores[index] > least + _SCAN_ERROR * abs(least):
            break
        is_wide = factors[index] >= wide[-1]
        rough = ParabolicSearch(trials, merged, wide) if is_wide else ParabolicSearch(trials, part, grid)
        factor, curvature = rough.minimum(rough.around(factors[index]))
        minima[number] = ParabolicSearch(trials, criterion, grid).near(factor, curvature)


def _search_thinned(criterion: Criterion, trials: History, grid: np.ndarray, minima: list[float]) -> None:
    """Scan with random samples; then take all, at few bandwidths. For several features, and for local lines.

    These are around the minima found, and around one below where all samples show what a part does not.
    """
    n_samples = min(_SCAN_SAMPLES, len(criterion.smoother.keys) // 2)
    thinned = SubsampledCriterion.of(criterion, n_samples, _THINNED_ROWS)
    # where steps are wide few of some samples see each other
    n_fine = np.count_nonzero(grid[:-1] / grid[1:] < (STEP + COARSE_STEP) / 2)
    scan = trials.add(thinned, grid[: n_fine + 1])
    indices = local_minima(scan)
    minima[:] = grid[indices].tolist()
    starts = indices[scan[indices] <= scan.min() + _SCAN_ERROR * abs(scan.min())]
    rough, down = ParabolicSearch(trials, thinned, grid), ParabolicSearch(trials, criterion, grid)
    places = [rough.minimum(rough.around(factor)) for factor in grid[starts].tolist()]
    # all samples of some places
    narrow = grid[starts.max(initial=0) :]
    scores = criterion.some(_THINNED_ROWS)(narrow)[0]
    lowest = int(np.argmin(scores))
    if scores[lowest] < scores[0] - _SCAN_ERROR * abs(scores[0]):
        places.insert(0, (float(narrow[lowest]), 0.0))
    # local lines with the best ridge depend so little on the bandwidth that a part does not show how
    is_known = criterion.smoother.line is None
    for factor, curvature in places:
        minima.append(down.near(factor, is_known * curvature / thinned.bandwidth_inflation**4, _THINNED_GAIN))


def _with_fine_steps(grid: np.ndarray, scan: np.ndarray) -> np.ndarray:
    """The grid with fine steps around its least minima that can win.

    A sample that enters a compact support puts a kink or a step into the criterion: minima between those of the scan.
    """
    fine = []
    minima = local_minima(scan)
    for index in minima[np.argsort(scan[minima], kind="stable")][:_MOST_FINE_MINIMA]:
        left, right, rise = _beside(scan, index)
        if left < right and scan[index] - rise <= scan.min():
            n_steps = int(np.ceil(np.log(grid[left] / grid[right]) / np.log(_FINE_STEP)))
            fine.append(np.geomspace(grid[left], grid[right], n_steps + 1)[1:-1])
    return np.unique(np.concatenate([grid, *fine]))[::-1]


def _beside(scan: np.ndarray, index: int) -> tuple[int, int, float]:
    """The indices beside one of a minimum, and how much higher the higher score there is."""
    left, right = max(index - 1, 0), min(index + 1, len(scan) - 1)
    return left, right, float(max(scan[left], scan[right]) - scan[index])


def _refined(criterion: Criterion, trials: History, grid: np.ndarray, scan: np.ndarray) -> list[float]:
    """All local minima, those that can still win refined.

    Between grid points a parabola through the minimum and its neighbours falls by at most an eighth of the rise to the
    higher neighbour; a minimum that would have to fall by more than the whole rise to win is left as it is.
    """
    indices = local_minima(scan)
    minima, best = [], np.inf
    for index in indices[np.argsort(scan[indices], kind="stable")]:
        left, right, rise = _beside(scan, index)
        minimum = float(grid[index])
        if left < right and scan[index] - rise <= best:
            between = grid[left : right + 1]
            if left < index < right and not criterion.smoother.kernel.is_compact:
                minimum = ParabolicSearch(trials, criterion, between).minimum(between, _LEAST_REFINED)[0]
            else:
                # the parabolas of the minimisation need finite numbers, and none above the neighbours matters
                ceiling = scan[index] + (rise if np.isfinite(rise) else 1.0)
                minimum = _lowest_between(criterion, trials, between, minimum, ceiling)
            best = min(best, trials.on_all[minimum][0])
        minima.append(minimum)
    return minima


def _lowest_between(criterion: Criterion, trials: History, between: np.ndarray, start: float, ceiling: float) -> float:
    """The factor with the lowest score that a bounded minimisation in log c finds, or the start.

    For compact kernels, because samples that enter the support put kinks into the criterion, and at the ends of a scan.
    """

    def score(log_factor: float) -> float:
        return min(float(trials.add(criterion, np.exp([log_factor]))[0]), ceiling)

    bounds = (np.log(between[-1]), np.log(between[0]))
    found = minimize_scalar(score, bounds=bounds, method="bounded", options={"xatol": _LOG_TOLERANCE})
    return float(np.exp([found.x])[0]) if found.fun < trials.on_all[start][0] else start
