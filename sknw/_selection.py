"""The choice of the bandwidth: criteria, rules of thumb, and a global search.

A selector chooses one factor c; feature k gets the bandwidth h_k = c s_k, s_k its standard deviation. Below, inputs are
already divided by s, so that c is the bandwidth.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.spatial import cKDTree
from scipy.special import expit

from sknw._lines import Lines
from sknw._pooling import Queries, Smoother, weighted_means
from sknw._sums import Problem, kernel_sums
from sknw._training import TrainingSet
from sknw.kernels import ExponentialForm, Kernel, Pairwise

CRITERIA = ("aicc", "gcv", "loo")
RULES = ("scott", "silverman")

# From one bandwidth of the scan to the next; the Gaussian weights at c / sqrt(2) are the squares of those at c.
_STEP = np.sqrt(2.0)
# Bandwidths below those at which a tenth of the samples see their nearest neighbour change little from one to the next.
_COARSE_STEP = 2.0
# Around the minima of a kernel of compact support.
_FINE_STEP = 2 ** (1 / 16)
_MOST_FINE_MINIMA = 4
# exp(-18) = 1.5e-8: where weights stop to matter. The Gaussian reaches 6 bandwidths so far.
_NEGLIGIBLE_EXPONENT, _GAUSSIAN_REACH = 18.0, 6.0
# Bandwidths that share the distances.
_BATCH = 8
# The scan takes all rows up to this many; above, so many or a tenth. The refinement takes all of them.
_SCAN_ROWS = 2000
# Tolerance of the refinement in log c. The criterion is flat there: a relative change of 1e-8 of its curvature.
_LOG_TOLERANCE = 1e-4
# Ridges tried at every bandwidth, in units of the mean variance around a sample: from the plain local line to the local
# mean; between the best and its neighbours it is found to a tolerance in log ridge.
_RIDGE_STEP = 10.0
_RIDGES = (0.0, *(_RIDGE_STEP**i for i in range(-6, 5)))
_LOG_RIDGE_TOLERANCE = 1e-3
# Scores, relative to the outputs' variance, that differ by less are equal; the larger bandwidth wins.
_EQUAL = 1e-12
# With less left of 1 - tr / n, its square and that of the residuals underflow.
_LEAST_FREEDOM = 1e-100
# A mean square below this is an exact fit; its logarithm says nothing.
_ROUNDING = np.finfo(np.float64).eps ** 2


@dataclass(frozen=True, eq=False)
class BandwidthSearch:
    """What a bandwidth selector saw.

    Attributes
    ----------
    criterion : {"loo", "aicc", "gcv"}
    factors : ndarray of shape (n_candidates,)
        The bandwidths tried, in units of the features' standard deviations; ascending.
    bandwidths : ndarray of shape (n_candidates, n_features)
        The same in units of X.
    scores : ndarray of shape (n_candidates,)
        The criterion, to be minimised; infinite where it does not exist. Of one output "loo" and "gcv" are in units of
        y squared; of several they are means of what each output has in units of its variance. For more than 2000
        validation rows, candidates far from every minimum of the scan were scored on a part of them only.
    best_index : int
        The chosen candidate.
    local_minima : ndarray of int
        All candidates at which the criterion has a local minimum.
    at_edge : bool
        Whether the choice is the smallest or the largest candidate: then the criterion prefers the nearest neighbour,
        or the mean, to any bandwidth.
    n_unsupported : int
        Validation rows with no other sample in the kernel's support at the chosen bandwidth.
    has_duplicates : bool
        Whether two samples have the same inputs, or one has a weight above 1, which counts as several: leave-one-out
        may then prefer the smallest bandwidth, at which each is predicted by its twin.
    """

    criterion: str
    factors: np.ndarray
    bandwidths: np.ndarray
    scores: np.ndarray
    best_index: int
    local_minima: np.ndarray
    at_edge: bool
    n_unsupported: int
    has_duplicates: bool


def rule_of_thumb(rule: str, n: float, d: int) -> float:
    """The factor c: Scott's n^(-1 / (d + 4)) or Silverman's (n (d + 2) / 4)^(-1 / (d + 4)), n the sum of weights."""
    base = n if rule == "scott" else n * (d + 2) / 4
    return float(base ** (-1 / (d + 4)))


@dataclass(frozen=True, eq=False)
class Criterion:
    """A criterion as a function of the bandwidth factor.

    Attributes
    ----------
    name : {"loo", "aicc", "gcv"}
    smoother : Smoother
        Of the training set with inputs divided by their standard deviations.
    training : TrainingSet
    rows : ndarray of int
        The rows it is averaged over.
    ridge : float or None
        Of local lines; None takes the best at every bandwidth.
    """

    name: str
    smoother: Smoother
    training: TrainingSet
    rows: np.ndarray
    ridge: float | None = 0.0

    def __call__(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores and numbers of unsupported rows at bandwidth factors given in descending order.

        With residuals r_i (values scaled to variance 1, so that the mean over outputs gives each the same weight)

            loo    mean of r_i^2, y_i predicted from the others
            gcv    mean of r_i^2 / (1 - tr / n)^2
            aicc   log(mean of r_i^2) + (1 + tr / n) / (1 - (tr + 2) / n)

        where tr is the trace of the smoother matrix, for weighted means tr = sum_i K(0) w_i / sum_j K_ij w_j (Craven &
        Wahba 1979; Hurvich, Simonoff & Tsai 1998). Infinite where a score does not exist.
        """
        curves = self._curves(factors)
        scores = [curve(self._ridge_of(curve)) for curve in curves]
        return np.array(scores), np.array([curve.unsupported.sum() for curve in curves])

    def best_ridge(self, factor: float) -> float:
        """The ridge with the smallest score at a bandwidth, or the one given."""
        if self.ridge is not None:
            return self.ridge
        return self._ridge_of(self._curves(np.array([factor]))[0])

    def _ridge_of(self, curve: _RidgeCurve) -> float:
        return curve.lowest() if self.ridge is None else self.ridge

    def _curves(self, factors: np.ndarray) -> list[_RidgeCurve]:
        """The criterion as a function of the ridge, at each bandwidth."""
        smoother, weights = self.smoother, self.training.sample_weight[self.rows]
        queries, values = smoother.left_out(self.rows, weights), smoother.values[self.rows]
        log_unit = np.log(smoother.weights[self.rows] * np.minimum(1.0, 1.0 / weights))  # of what was left out
        lines, unsupported = self._lines(queries, factors)
        problem = smoother.problem(queries, factors)
        with np.errstate(divide="ignore"):
            log_unit = log_unit + np.log(weight_at_zero(problem))
        share = np.where(unsupported, 0.0, expit(lines.log_mass - log_unit))
        substitutes = smoother.with_substitutes(problem, np.zeros_like(lines.y_mean), unsupported)
        n = self.training.sample_weight.sum()
        is_void = [smoother.policy in ("nan", "raise") and bool(rows.any()) for rows in unsupported]
        return [
            _RidgeCurve(self.name, lines[i], values, weights, n, unsupported[i], substitutes[i], share[i], is_void[i])
            for i in range(len(factors))
        ]

    def _lines(self, queries: Queries, factors: np.ndarray) -> tuple[Lines, np.ndarray]:
        """Lines around the queries, and which have no support; weighted means as lines without axes."""
        smoother = self.smoother
        if smoother.line is None:
            means, log_mass, unsupported = weighted_means(
                kernel_sums(smoother.problem(queries, factors), smoother.algorithm)
            )
            return Lines.of_means(means, log_mass), unsupported
        parts = [queries[part] for part in smoother.parts(len(queries))]
        if self.ridge is None:
            found = [smoother.lines_for_any_ridge(part, factors) for part in parts]
        else:
            smoother = replace(smoother, line=replace(smoother.line, ridge=self.ridge))
            found = [smoother.lines(part, factors) for part in parts]
        lines, unsupported = zip(*found, strict=True)
        return Lines.joined(lines), np.concatenate(unsupported, axis=1)

    def in_units_of_y(self, scores: np.ndarray) -> np.ndarray:
        """Scores of one output in its units; several outputs have none in common."""
        if len(self.training.y_scales) > 1:
            return scores
        scale = self.training.y_scales[0]
        with np.errstate(over="ignore", under="ignore"):
            return scores + 2 * np.log(scale) if self.name == "aicc" else scores * scale * scale


@dataclass(frozen=True, eq=False)
class _RidgeCurve:
    """A criterion at one bandwidth, as a function of the ridge.

    Attributes
    ----------
    name : {"loo", "aicc", "gcv"}
    lines : Lines
        Around each of m rows, from the others; of weighted means without axes.
    values : ndarray of shape (m, k)
    weights : ndarray of shape (m,)
        Sample weights.
    n : float
        The sum of all sample weights.
    unsupported : bool ndarray of shape (m,)
        The rows that no other supports.
    substitutes : ndarray of shape (m, k)
        What those get.
    share : ndarray of shape (m,)
        The share of weight that the others have in the fit at each row.
    is_void : bool
        There must not be unsupported rows, and there are.
    """

    name: str
    lines: Lines
    values: np.ndarray
    weights: np.ndarray
    n: float
    unsupported: np.ndarray
    substitutes: np.ndarray
    share: np.ndarray
    is_void: bool

    def __call__(self, ridge: float) -> float:
        if self.name == "loo":
            fitted = np.where(self.unsupported[:, np.newaxis], self.substitutes, self.lines.value(ridge))
            score = self._mean_square(self.values - fitted)
        else:
            score = self._penalised(*self._of_the_fit_itself(ridge))
        return np.inf if self.is_void or np.isnan(score) else score

    def _of_the_fit_itself(self, ridge: float) -> tuple[float, float]:
        """The mean square of the residuals of the fit itself, and 1 - tr / n.

        With p and s the shares of the sample itself and of the others, and m_i and C the line and covariances of the
        others at ridge / s, the residual is t (y_i - m_i), and dm / dy of the sample itself is 1 - t, with

            t = s / (1 + p (x_i - x_mean)' (C + ridge / s I)^-1 (x_i - x_mean)):

        nothing is a difference of numbers that are almost equal.
        """
        some = self.share > 0
        with np.errstate(over="ignore"):
            ridges = np.divide(ridge, self.share, out=np.full(len(some), np.inf), where=some)
        own = 1.0 - self.share
        reach = np.where(own > 0, self.lines.reach(ridges), 0.0)
        t = self.share / (1.0 + own * reach)
        mean_square = self._mean_square(t[:, np.newaxis] * (self.values - self.lines.value(ridges)))
        # the rows stand for all, each for its weight
        freedom = np.where(self.weights >= 1, self.weights * t, self.weights - 1.0 + t)
        return mean_square, float(freedom.sum() / self.weights.sum())

    def _mean_square(self, residuals: np.ndarray) -> float:
        """Weighted mean square of residuals (m, k), averaged over the outputs."""
        return float(np.average(residuals**2, axis=0, weights=self.weights).mean())

    def _penalised(self, mean_square: float, freedom: float) -> float:
        """GCV or AICc from the mean square of the fit itself and 1 - tr / n."""
        if self.name == "gcv":
            return mean_square / freedom**2 if freedom > _LEAST_FREEDOM else np.inf
        if freedom <= 2 / self.n:
            return np.inf
        return np.log(max(mean_square, _ROUNDING)) + (2 - freedom) / (freedom - 2 / self.n)

    def lowest(self) -> float:
        """The ridge with the smallest score, of equal ones the largest.

        The plain line is not a candidate where it hangs by so little that rounding shows.
        """
        weights = np.where(self.unsupported, 0.0, self.weights)
        variance = float(weights @ self.lines.variances.mean(axis=1)) / max(weights.sum(), self.weights.min())
        ridges = (variance or 1.0) * np.array(_RIDGES)
        if np.any(self.lines.are_unsure(0.0) & ~self.unsupported):
            ridges = ridges[1:]
        scores = np.array([self(ridge) for ridge in ridges])
        best = int(np.flatnonzero(scores <= scores.min()).max())
        if ridges[best] == 0.0 or not np.isfinite(scores[best]):
            return float(ridges[best])
        bounds = np.log([ridges[best] / _RIDGE_STEP, ridges[best] * _RIDGE_STEP])
        found = minimize_scalar(
            lambda log_ridge: self(np.exp(log_ridge)),
            bounds=bounds,
            method="bounded",
            options={"xatol": _LOG_RIDGE_TOLERANCE},
        )
        return float(np.exp(found.x)) if found.fun < scores[best] else float(ridges[best])


def weight_at_zero(problem: Problem) -> np.ndarray:
    """K at distance zero, of shape (b, 1), or (b, m) for a kernel that is not a function of the distance."""
    if isinstance(problem.kernel, Pairwise):
        return np.array([problem.kernel.diagonal(problem.queries / factor) for factor in problem.factors])
    return np.broadcast_to(problem.kernel.profile(np.zeros(1)), (len(problem.factors), 1))


class SearchStopped(Exception):
    """Raised through the search by a callback that has seen enough."""


class _Trials:
    """Scores and numbers of unsupported rows so far: on all rows, and on the part of them that the scan took."""

    def __init__(self, criterion: Criterion, on_candidate: Callable[[], bool]):
        self.criterion, self.on_candidate = criterion, on_candidate
        self.on_all: dict[float, tuple[float, int]] = {}
        self.on_part: dict[float, tuple[float, int]] = {}

    def add(self, criterion: Criterion, factors: np.ndarray) -> np.ndarray:
        """The scores at `factors`, descending; of those not yet tried in batches that share the distances."""
        seen = self.on_all if criterion is self.criterion else self.on_part
        new = np.array([factor for factor in factors.tolist() if factor not in seen])
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            for factor, score, n_unsupported in zip(
                batch.tolist(), *map(np.ndarray.tolist, criterion(batch)), strict=True
            ):
                seen[factor] = (score, n_unsupported)
                if self.on_candidate():
                    raise SearchStopped
        return np.array([seen[factor][0] for factor in factors.tolist()])


def search_bandwidth(criterion: Criterion, on_candidate: Callable[[], bool]) -> BandwidthSearch:
    """The factor c that minimises `criterion` over all bandwidths that make a difference.

    A geometric scan from a quarter of the smallest spacing (that of 2000 samples where there are more) to four times
    the diameter of the data, or beyond where the kernel reaches more or less far, finds the local minima; each that can
    still win is refined by a bounded minimisation in log c. On ties the larger bandwidth wins. The leave-one-out error
    of the top-hat kernel is a step function with as many steps as there are pairs of samples: there, the choice is a
    low step, not surely the lowest.

    Parameters
    ----------
    criterion : Criterion
    on_candidate : callable
        Called after each bandwidth; returns True to end the search with the best so far.
    """
    rows, scan_criterion = criterion.rows, criterion
    if len(rows) > _SCAN_ROWS:
        n_rows = max(_SCAN_ROWS, len(rows) // 10)
        part = np.sort(np.random.default_rng(0).choice(rows, n_rows, replace=False))
        scan_criterion = replace(criterion, rows=part)
    grid, has_equal_keys = scan_grid(criterion.smoother.keys, criterion.smoother.kernel)
    trials = _Trials(criterion, on_candidate)
    minima = np.empty(0)
    try:
        scan = trials.add(scan_criterion, grid)
        minima = grid[local_minima(scan)]
        if scan_criterion is not criterion:
            near = np.isin(np.arange(len(grid)), (local_minima(scan)[:, np.newaxis] + np.arange(-2, 3)).ravel())
            grid = grid[near]
            scan = trials.add(criterion, grid)
        if np.isfinite(criterion.smoother.kernel.support):
            grid = _with_fine_steps(grid, scan)
            scan = trials.add(criterion, grid)
        minima = _refined(criterion, trials, grid, scan)
    except SearchStopped:
        pass
    eligible = trials.on_all or trials.on_part  # scores on different rows do not compare
    trial = trials.on_part | trials.on_all
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
    best = max(i for i, factor in enumerate(factors.tolist()) if factor in eligible and scores[i] <= least + _EQUAL)
    return BandwidthSearch(
        criterion=criterion.name,
        factors=factors,
        bandwidths=factors[:, np.newaxis] * criterion.training.scales,
        scores=criterion.in_units_of_y(scores),
        best_index=best,
        local_minima=np.flatnonzero(np.isin(factors, np.append(minima, factors[best]))),
        at_edge=bool(len(factors) > 1 and best in (0, len(factors) - 1)),
        n_unsupported=int(n_unsupported[best]),
        has_duplicates=bool(has_equal_keys or np.any(criterion.training.sample_weight > 1)),
    )


def scan_grid(keys: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, bool]:
    """Bandwidths to scan for keys (n, d), descending, and whether two keys are the same."""
    distinct, multiplicity = np.unique(keys, axis=0, return_counts=True)
    has_equal = bool(np.any(multiplicity > 1))
    if len(distinct) == 1:
        return np.ones(1), has_equal
    # the distance to the nearest other key, of so many keys that it takes little time
    some = distinct[:: -(-len(distinct) // _SCAN_ROWS)]
    spacing = cKDTree(distinct).query(some, k=[2])[0][:, 0]
    spacing = spacing[spacing > 0]  # the square of a difference may underflow
    reach = _reach(kernel)
    largest = 4.0 * np.linalg.norm(np.ptp(keys, axis=0)) / min(reach, 1.0)
    smallest = spacing.min() / 4.0 / max(reach, 1.0)
    typical = max(np.quantile(spacing, 0.1) / 4.0 / max(reach, 1.0), smallest)
    n_fine = int(np.ceil(np.log(largest / typical) / np.log(_STEP)))
    fine = largest / _STEP ** np.arange(n_fine + 1)
    n_coarse = max(int(np.ceil(np.log(fine[-1] / smallest) / np.log(_COARSE_STEP))), 0)
    coarse = fine[-1] / _COARSE_STEP ** np.arange(1, n_coarse + 1)
    return np.append(fine, coarse), has_equal


def _reach(kernel: Kernel) -> float:
    """How far a kernel reaches in bandwidths, in units of how far the named ones do."""
    if isinstance(kernel.form, ExponentialForm):
        return (_NEGLIGIBLE_EXPONENT / kernel.form.rate) ** (1 / kernel.form.power) / _GAUSSIAN_REACH
    return kernel.support if np.isfinite(kernel.support) else 1.0


def local_minima(scores: np.ndarray) -> np.ndarray:
    """Indices of the local minima of finite scores, of a level stretch its first."""
    before, after = np.append(np.inf, scores[:-1]), np.append(scores[1:], np.inf)
    return np.flatnonzero(np.isfinite(scores) & (scores < before - _EQUAL) & (scores <= after))


def _with_fine_steps(grid: np.ndarray, scan: np.ndarray) -> np.ndarray:
    """The grid with fine steps around its least minima.

    A sample that enters a compact support puts a kink or a step into the criterion: minima between those of the scan.
    """
    fine = []
    minima = local_minima(scan)
    for index in minima[np.argsort(scan[minima], kind="stable")][:_MOST_FINE_MINIMA]:
        left, right = max(index - 1, 0), min(index + 1, len(grid) - 1)
        if left < right:
            n_steps = int(np.ceil(np.log(grid[left] / grid[right]) / np.log(_FINE_STEP)))
            fine.append(np.geomspace(grid[left], grid[right], n_steps + 1)[1:-1])
    return np.unique(np.concatenate([grid, *fine]))[::-1]


def _refined(criterion: Criterion, trials: _Trials, grid: np.ndarray, scan: np.ndarray) -> np.ndarray:
    """All local minima, those that can still win refined.

    Between grid points a parabola through the minimum and its neighbours falls by at most an eighth of the rise to the
    higher neighbour; a minimum that would have to fall by more than the whole rise to win is left as it is.
    """
    indices = local_minima(scan)
    minima, best = [], np.inf
    for index in indices[np.argsort(scan[indices], kind="stable")]:
        left, right = max(index - 1, 0), min(index + 1, len(grid) - 1)
        rise = max(scan[left], scan[right]) - scan[index]
        minimum = grid[index]
        if left < right and scan[index] - rise <= best:
            # the parabolas of the minimisation need finite numbers, and none above the neighbours matters
            ceiling = scan[index] + (rise if np.isfinite(rise) else 1.0)

            def score(log_factor: float, ceiling: float = ceiling) -> float:
                return min(float(trials.add(criterion, np.exp([log_factor]))[0]), ceiling)

            bounds = (np.log(grid[right]), np.log(grid[left]))
            found = minimize_scalar(score, bounds=bounds, method="bounded", options={"xatol": _LOG_TOLERANCE})
            if found.fun < scan[index]:
                minimum = float(np.exp([found.x])[0])
            best = min(best, found.fun, scan[index])
        minima.append(minimum)
    return np.array(minima)
