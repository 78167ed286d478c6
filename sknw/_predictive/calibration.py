"""Left-out residuals in units of a local scale, for conformal prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sknw._kernel_sums.registry import kernel_sums
from sknw._smoothing.smoother import Queries, Smoother
from sknw._smoothing.validation import Validation

# Pseudo-counts to choose from, in samples; beside the last one the scale is the same everywhere.
_PSEUDO_COUNTS = 2.0 ** np.arange(0, 60, 2)
# So many training samples choose.
_MOST_ROWS = 5000
# A sample with a higher leverage is left out by pooling the others again: 1 - leverage would lose digits.
LARGEST_LEVERAGE = 0.5
# Of counts, relative to their number.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class ConformalCalibration:
    """Left-out residuals in units of a local scale.

    The scale at a point is s = sqrt((S_2 + kappa V) / (S_0 + kappa)), with S_0 = sum_j K_j w_j and S_2 the same sum of
    squared left-out residuals r_j^2, K(0) = 1: the mean of the squares around, drawn towards V, that of all of
    them, as kappa samples more would draw it.

    `order` (n,) has first the p training samples that have a left-out residual, by descending nonconformity of the
    first output, and then the others; the arrays of p samples are in this order.
    """

    order: np.ndarray
    counts: np.ndarray  # sample weights, (p,)
    squares: np.ndarray  # r_i^2, (p, k)
    nonconformity: np.ndarray  # R_i = |r_i| / s_i, the scale without the sample itself, (p, k)
    pseudo_count: np.ndarray  # kappa, (k,)
    prior_variance: np.ndarray  # V, (k,)

    @classmethod
    def of_fit(
        cls, smoother: Smoother, squares: np.ndarray, sample_weight: np.ndarray, validation: Validation
    ) -> ConformalCalibration:
        """From the squared left-out residuals (n, k) of a fit, and the validation, one prediction of each that has one.

        kappa makes the scores R_i alike: it maximises the likelihood of residuals that have Laplace distributions of
        scale proportional to s_i, that is, it minimises mean(log s_i) + log(mean(|r_i| / s_i)).
        """
        rows, nothing = validation.rows, np.ones(squares.shape[1])
        n, counts = len(squares), sample_weight[rows]
        if not rows.size:
            return cls(np.arange(n), counts, squares[rows], squares[rows], nothing, nothing)
        mass, sums = np.empty((len(rows), 1)), np.empty((len(rows), squares.shape[1]))
        for where, part, queries, keys in smoother.left_out(validation):
            known = squares if keys is None else squares[keys]
            mass[where, 0], sums[where] = sums_of_squares(part, queries, known, sample_weight.max())
        squares = squares[rows]
        prior_variance = np.average(squares, axis=0, weights=counts)
        prior_variance[prior_variance == 0] = 1.0  # with residuals that are all zero any scale does
        pseudo_count, some = nothing, slice(None, None, -(-len(rows) // _MOST_ROWS))
        least = np.full_like(nothing, np.inf)
        for kappa in _PSEUDO_COUNTS:
            s = _scale(mass[some], sums[some], kappa, prior_variance)
            with np.errstate(divide="ignore"):
                log_ratio = np.log(np.average(np.sqrt(squares[some]) / s, axis=0, weights=counts[some]))
            cost = np.average(np.log(s), axis=0, weights=counts[some]) + log_ratio
            pseudo_count, least = np.where(cost < least, kappa, pseudo_count), np.minimum(cost, least)
        nonconformity = np.sqrt(squares) / _scale(mass, sums, pseudo_count, prior_variance)
        descending = np.argsort(-nonconformity[:, 0], kind="stable")
        order = np.concatenate([rows[descending], np.setdiff1d(np.arange(n), rows)])
        counts, squares, nonconformity = (array[descending] for array in (counts, squares, nonconformity))
        return cls(order, counts, squares, nonconformity, pseudo_count, prior_variance)

    def rank(self, coverage: float) -> float:
        """k = floor((1 - coverage) (n + 1))."""
        return _rank(self.counts, coverage)

    def bounds(self, means: np.ndarray, scales: np.ndarray, coverage: float) -> np.ndarray:
        """`jackknife_plus` for means m_-i and residuals R_i s_-i (p, k): of shape (n_outputs, 2)."""
        return jackknife_plus(means, self.nonconformity * scales, self.counts, coverage)

    def scales(self, mass: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """s of kernel weights that sum to S_0, `mass` (..., 1), with the squares to S_2, `sums` (..., k)."""
        return _scale(mass, sums, self.pseudo_count, self.prior_variance)


def _scale(
    mass: np.ndarray, sums: np.ndarray, pseudo_count: np.ndarray | float, prior_variance: np.ndarray | float
) -> np.ndarray:
    """s = sqrt((S_2 + kappa V) / (S_0 + kappa))."""
    return np.sqrt((sums + pseudo_count * prior_variance) / (mass + pseudo_count))


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
    request = replace(smoother.request(queries), index=smoother.index.with_columns(columns), allow_float32=False)
    sums = kernel_sums(request, smoother.algorithm)
    log_mass, (means, unsupported) = sums.log_mass(), sums.into_means()
    mass = np.where(unsupported, 0.0, np.exp(log_mass) * unit / request.weight_at_zero())[0]
    sums_of_columns = mass[:, np.newaxis] * means[0]
    return (mass, sums_of_columns) if known.all() else (sums_of_columns[:, -1], sums_of_columns[:, :-1])


def _rank(counts: np.ndarray, coverage: float) -> float:
    """k = floor((1 - coverage) (n + 1)), n the sum of the `counts` of samples."""
    return float(np.floor((1.0 - coverage) * (counts.sum() + 1.0) + _ROUNDING * len(counts)))


def jackknife_plus(means: np.ndarray, radius: np.ndarray, counts: np.ndarray, coverage: float) -> np.ndarray:
    """The k-th smallest of m_-i - |r_i| and the k-th largest of m_-i + |r_i|, k of `_rank`: of shape (n_outputs, 2).

    Of means m_-i and |r_i| (p, n_outputs); a mean is NaN where the others do not predict.
    """
    unknown, rank = np.isnan(means), _rank(counts, coverage)
    lower, upper = np.where(unknown, -np.inf, means - radius), np.where(unknown, np.inf, means + radius)
    return np.column_stack([order_statistic(lower, counts, rank), -order_statistic(-upper, counts, rank)])


def order_statistic(values: np.ndarray, counts: np.ndarray, rank: float) -> np.ndarray:
    """The smallest of `values` (p, k) up to which the `counts` (p,) sum to `rank`: of shape (k,)."""
    if rank == 0 or not len(values):
        return np.full(values.shape[1], -np.inf)
    if np.all(counts == 1):
        at = min(int(rank), len(values)) - 1
        return np.partition(values, at, axis=0)[at]
    order = np.argsort(values, axis=0)
    cumulated = np.cumsum(counts[order], axis=0)
    at = np.minimum((cumulated < rank - _ROUNDING * cumulated[-1]).sum(axis=0), len(values) - 1)
    return np.take_along_axis(values, np.take_along_axis(order, at[np.newaxis], axis=0), axis=0)[0]
