"""Prediction intervals from leave-one-out: the jackknife+ in closed form, with a local scale.

They take rows of attention weights, a_j >= 0 of sum 1, a block of queries at a time. Values are standardised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sknw._criterion import weight_at_zero
from sknw._distribution import ForEachBlock
from sknw._lines import solve
from sknw._pooling import Queries, Smoother, weighted_means
from sknw._sums import Own, Problem, kernel_sums, rows_are_compiled
from sknw.kernels import Pairwise

# Prior masses to choose from, in samples; beside the last one the scale is the same everywhere.
_PRIOR_MASSES = 2.0 ** np.arange(0, 60, 2)
# So many training samples choose.
_MOST_ROWS = 5000
# A sample with a higher leverage is left out by pooling the others again: 1 - leverage would lose digits.
LARGEST_LEVERAGE = 0.5
# A mass below this may have lost terms to underflow.
_TINY = 1e-200
# A variance below this part of the largest is rounding.
_SINGULAR = 1e-10
# Of counts, relative to their number.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Calibration:
    """Leave-one-out residuals in units of a local scale.

    The scale at a point is s = sqrt((S_2 + kappa V) / (S_0 + kappa)), with S_0 = sum_j K_j w_j and S_2 the same sum of
    squared leave-one-out residuals r_j^2, K(0) = 1: the mean of the squares around, drawn towards V, that of all of
    them, as by kappa samples more.

    Attributes
    ----------
    order : ndarray of int, of shape (n,)
        The training samples: the p that have a leave-one-out residual, by descending score of the first output, and
        then the others. The arrays below are in this order.
    counts : ndarray of shape (p,)
        Sample weights.
    squares : ndarray of shape (p, k)
        r_i^2.
    scores : ndarray of shape (p, k)
        R_i = |r_i| / s_i, the scale without the sample itself.
    prior_mass, prior_square : ndarray of shape (k,)
        kappa and V.
    """

    order: np.ndarray
    counts: np.ndarray
    squares: np.ndarray
    scores: np.ndarray
    prior_mass: np.ndarray
    prior_square: np.ndarray

    @classmethod
    def of(
        cls, n: int, rows: np.ndarray, squares: np.ndarray, counts: np.ndarray, mass: np.ndarray, sums: np.ndarray
    ) -> Calibration:
        """From squared residuals of some `rows` (l,) of n samples, NaN where there is none, and S_0 and S_2 of others.

        `squares` and `sums` are of shape (l, k), `counts` and `mass` (l,).

        kappa makes the scores alike: it maximises the likelihood of residuals that have Laplace distributions of scale
        proportional to s_i, that is, it minimises mean(log s_i) + log(mean(|r_i| / s_i)).
        """
        known = np.isfinite(squares).all(axis=1)
        rows, squares, counts = rows[known], squares[known], counts[known]
        mass, sums = mass[known, np.newaxis], sums[known]
        nothing = np.ones(squares.shape[1])
        if not rows.size:
            return cls(np.arange(n), counts, squares, squares, nothing, nothing)
        prior_square = np.average(squares, axis=0, weights=counts)
        prior_square[prior_square == 0] = 1.0  # with residuals that are all zero any scale does
        prior_mass, some = nothing, slice(None, None, -(-len(rows) // _MOST_ROWS))
        least = np.full_like(nothing, np.inf)
        for kappa in _PRIOR_MASSES:
            s = _scale(mass[some], sums[some], kappa, prior_square)
            with np.errstate(divide="ignore"):
                log_ratio = np.log(np.average(np.sqrt(squares[some]) / s, axis=0, weights=counts[some]))
            cost = np.average(np.log(s), axis=0, weights=counts[some]) + log_ratio
            prior_mass, least = np.where(cost < least, kappa, prior_mass), np.minimum(cost, least)
        scores = np.sqrt(squares) / _scale(mass, sums, prior_mass, prior_square)
        descending = np.argsort(-scores[:, 0], kind="stable")
        order = np.concatenate([rows[descending], np.setdiff1d(np.arange(n), rows)])
        return cls(order, counts[descending], squares[descending], scores[descending], prior_mass, prior_square)

    def rank(self, coverage: float) -> float:
        """k = floor((1 - coverage) (n + 1))."""
        return float(np.floor((1.0 - coverage) * (self.counts.sum() + 1.0) + _ROUNDING * len(self.counts)))

    def bounds(self, means: np.ndarray, mass: float, a: np.ndarray, removed: np.ndarray, coverage: float) -> np.ndarray:
        """The k-th smallest of m_-i - R_i s_-i and the k-th largest of m_-i + R_i s_-i: of shape (n_outputs, 2).

        `means` (p, k) are the m_-i; of all kernel weights, `mass`, the part `a` (p,) goes to each sample, and the part
        `removed` (p,) is taken away when it is left out.
        """
        paid, taken = mass * a, mass * removed[:, np.newaxis]
        sums = paid @ self.squares - taken * self.squares
        reach = self.scores * _scale(paid.sum() - taken, sums, self.prior_mass, self.prior_square)
        unknown = np.isnan(means)  # where the others do not predict
        lower, upper = np.where(unknown, -np.inf, means - reach), np.where(unknown, np.inf, means + reach)
        rank = self.rank(coverage)
        return np.column_stack([order_statistic(lower, self.counts, rank), -order_statistic(-upper, self.counts, rank)])


def _scale(
    mass: np.ndarray, sums: np.ndarray, prior_mass: np.ndarray | float, prior_square: np.ndarray | float
) -> np.ndarray:
    """s = sqrt((S_2 + kappa V) / (S_0 + kappa))."""
    return np.sqrt((sums + prior_mass * prior_square) / (mass + prior_mass))


def sums_of_squares(
    smoother: Smoother, queries: Queries, squares: np.ndarray, unit: float
) -> tuple[np.ndarray, np.ndarray]:
    """S_0 (m,) and S_2 (m, k) of squared residuals (n, k), over those that are not NaN, by the smoother's engine.

    `unit` is the sample weight that the smoother counts as 1.
    """
    known = np.isfinite(squares)
    columns = np.where(known, squares, 0.0)
    if not known.all():
        columns = np.hstack([columns, known[:, :1]])
    problem = replace(smoother.problem(queries), values=columns)
    means, log_mass, unsupported = weighted_means(kernel_sums(problem, smoother.algorithm))
    mass = np.where(unsupported, 0.0, np.exp(log_mass) * unit / weight_at_zero(problem))[0]
    sums = mass[:, np.newaxis] * means[0]
    return (mass, sums) if known.all() else (sums[:, -1], sums[:, :-1])


@dataclass(frozen=True, eq=False)
class Residuals:
    """Leave-one-out residuals of a fit, calibrated when an interval is first asked for.

    Attributes
    ----------
    smoother : Smoother
    rows : ndarray of int, of shape (p,)
        The training samples that were left out.
    squares : ndarray of shape (n, k)
        Squared residuals, NaN in all other rows.
    sample_weight : ndarray of shape (n,)
        In units of samples.
    """

    smoother: Smoother
    rows: np.ndarray
    squares: np.ndarray
    sample_weight: np.ndarray

    @cached_property
    def calibration(self) -> Calibration:
        weights = self.sample_weight[self.rows]
        left_out = self.smoother.left_out(self.rows, weights)
        mass, sums = sums_of_squares(self.smoother, left_out, self.squares, self.sample_weight.max())
        return Calibration.of(len(self.squares), self.rows, self.squares[self.rows], weights, mass, sums)


def order_statistic(values: np.ndarray, counts: np.ndarray, rank: float) -> np.ndarray:
    """The smallest of `values` (p, k) up to which there are `rank` of them, each counted so often: of shape (k,)."""
    if rank == 0 or not len(values):
        return np.full(values.shape[1], -np.inf)
    if np.all(counts == 1):
        at = min(int(rank), len(values)) - 1
        return np.partition(values, at, axis=0)[at]
    order = np.argsort(values, axis=0)
    cumulated = np.cumsum(counts[order], axis=0)
    at = np.minimum((cumulated < rank - _ROUNDING * cumulated[-1]).sum(axis=0), len(values) - 1)
    return np.take_along_axis(values, np.take_along_axis(order, at[np.newaxis], axis=0), axis=0)[0]


def interval(
    smoother: Smoother,
    queries: Queries,
    sample_weight: np.ndarray,
    calibration: Calibration,
    coverage: float,
    attention_blocks: Callable[[Queries], ForEachBlock],
) -> np.ndarray:
    """Jackknife+ bounds of a new observation at the queries, of shape (m, k, 2).

    From the predictions m_-i(q) and scales s_-i(q) that all samples but the i-th give (Barber, Candes, Ramdas &
    Tibshirani 2021), in closed form for a smoother. The samples of `smoother`, `sample_weight`, in units of samples,
    and the attention of `attention_blocks` are in the order of the calibration.
    """
    bounds = np.full((len(queries), smoother.values.shape[1], 2), np.nan)
    if _has_compiled_bounds(smoother, queries, sample_weight, calibration, coverage):
        from sknw._interval_parts import compiled_bounds  # here, and not above, because it imports numba

        bounds[:, 0] = compiled_bounds(smoother, queries, calibration, coverage)
    rest = np.flatnonzero(np.isnan(bounds[:, 0, 0]))
    if not rest.size:
        return bounds
    queries = queries[rest]
    problem, unit, p = smoother.problem(queries), sample_weight.max(), len(calibration.scores)
    every = smoother.left_out(np.arange(len(sample_weight)), sample_weight).own
    assert every is not None

    def of_query(i: int, a: np.ndarray, log_mass: float) -> np.ndarray:
        here = replace(smoother, line=None) if np.isneginf(log_mass) else smoother
        removed, x = (1.0 - every.share) * a, queries.x[i]
        means, leverage = without_each(here, x, a, removed)
        for j in np.flatnonzero(leverage[:p] > LARGEST_LEVERAGE):
            own = Own(np.array([j]), every.share[[j]])
            others, log_mass_of_others = _attention_of_others(smoother, queries[i : i + 1], own, a, log_mass)
            here = replace(smoother, line=None) if np.isneginf(log_mass_of_others) else smoother
            means[j] = mean_of_row(here, x, others)
        return calibration.bounds(means[:p], np.exp(log_mass) * unit, a[:p], removed[:p], coverage)

    def block(rows: slice, attention: np.ndarray) -> None:
        log_mass = _log_mass(problem, rows, attention)
        for i in np.flatnonzero(~np.isnan(attention[:, 0])):
            bounds[rest[rows.start + i]] = of_query(rows.start + i, attention[i], log_mass[i])

    attention_blocks(queries)(block)
    return bounds


def _has_compiled_bounds(
    smoother: Smoother, queries: Queries, sample_weight: np.ndarray, calibration: Calibration, coverage: float
) -> bool:
    """Whether `compiled_bounds` takes the queries: weighted means of one output, of samples that count once.

    And so many that NumPy would lose the time that compiled loops take to load.
    """
    n_scores, n_outputs = calibration.scores.shape
    is_simple = smoother.line is None and n_outputs == 1 and np.all(sample_weight == 1)
    if not is_simple or not 0 < calibration.rank(coverage) <= n_scores:
        return False
    return rows_are_compiled(smoother.problem(queries), smoother.algorithm)


def mean_of_row(smoother: Smoother, x: np.ndarray, a: np.ndarray) -> np.ndarray:
    """The prediction at x, of shape (k,), with attention weights a."""
    mean = a @ smoother.values
    if smoother.line is None:
        return mean
    offsets = smoother.line.x - a @ smoother.line.x
    weighted = a[:, np.newaxis] * offsets
    slope = solve(weighted.T @ offsets, weighted.T @ (smoother.values - mean), smoother.line.ridge)
    return mean + (x - a @ smoother.line.x) @ slope


def without_each(
    smoother: Smoother, x: np.ndarray, a: np.ndarray, removed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions at x without a part of the attention of each sample in turn.

    With e_i the residual of sample i from the fit around x, l_i = a_i t_i its weight in the prediction and H_i its
    leverage in the fit, leaving it out moves the prediction by -l_i e_i / (1 - H_i) (Sherman & Morrison 1950); of a
    weighted mean t_i = 1 and H_i = a_i. The others' weights sum to 1 - a_i, so that beside them a ridge counts
    (1 - a_i) times as much as before.

    Parameters
    ----------
    smoother : Smoother
    x : ndarray of shape (d,)
        The query, as in `Queries.x`.
    a, removed : ndarray of shape (n,)
        Attention, and how much of it is taken from each sample.

    Returns
    -------
    means : ndarray of shape (n, k)
    leverage : ndarray of shape (n,)
    """
    removed = removed[:, np.newaxis]
    mean = a @ smoother.values
    residuals = smoother.values - mean
    leverage, pull = removed, np.ones(1)
    if smoother.line is not None:
        line = smoother.line
        offsets = line.x - a @ line.x
        weighted = a[:, np.newaxis] * offsets
        variances, axes = np.linalg.eigh(weighted.T @ offsets)
        along, to_query = offsets @ axes, (x - a @ line.x) @ axes  # coordinates in which the covariance is diagonal
        slopes = axes.T @ (weighted.T @ residuals)
        inverse = _regularised_inverse(variances, line.ridge * (1.0 - removed))
        mean = mean + (inverse * to_query) @ slopes
        residuals = residuals - (inverse * along) @ slopes
        pull = 1.0 + (inverse * along) @ to_query[:, np.newaxis]
        leverage = removed * (1.0 + (inverse * along**2).sum(axis=1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):  # a leverage of 1; such samples are left out by other means
        return mean - removed * pull * residuals / (1.0 - leverage), leverage[:, 0]


def _regularised_inverse(variances: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """1 / (variances + ridge) of the eigenvalues (d,) of C, ascending; 0 for directions without variance."""
    total = variances + ridge
    return np.divide(1.0, total, out=np.zeros_like(total), where=total > _SINGULAR * variances[-1])


def _log_mass(problem: Problem, rows: slice, attention: np.ndarray) -> np.ndarray:
    """log(D / unit) of the queries `rows`, from the sample that each attends to most: D a_j = K_j w_j / K(0)."""
    main = np.argmax(attention, axis=1)
    most = np.take_along_axis(attention, main[:, np.newaxis], axis=1)[:, 0]
    queries, keys = problem.queries[rows], problem.keys[main]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        if isinstance(problem.kernel, Pairwise):
            pairs = zip(queries[:, np.newaxis], keys[:, np.newaxis], strict=True)
            log_weight = np.log([problem.kernel.between(q, z)[0, 0] for q, z in pairs])
        else:
            log_weight = problem.kernel.log_profile(((queries - keys) ** 2).sum(axis=1))
        at_zero = weight_at_zero(replace(problem, queries=queries))[0]
        log_mass = log_weight + np.log(problem.weights[main]) - np.log(most) - np.log(at_zero)
    return np.where(np.isneginf(log_weight), -np.inf, log_mass)


def _attention_of_others(
    smoother: Smoother, query: Queries, own: Own, a: np.ndarray, log_mass: float
) -> tuple[np.ndarray, float]:
    """Attention a and log mass of one query with a sample left out."""
    others = a.copy()
    others[own.key] *= own.share
    rest = others.sum()
    if own.share[0] > 0 or rest * np.exp(log_mass) > _TINY:
        return others / rest, log_mass + np.log(rest)
    problem = smoother.problem(replace(query, own=own))
    others = smoother.attention(problem, slice(0, 1))
    return others[0], _log_mass(problem, slice(0, 1), others)[0]
