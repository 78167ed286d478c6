"""Bands of the mean: a fit that is pooled twice, and a multiplier bootstrap of its errors.

With S the matrix of the smoother at its own samples and A that at the queries, twicing pools the residuals once more
(Tukey 1977; Stuetzle & Mittal 1979), which takes an order off the bias for any kernel, number of features and degree:

    m~ = A y + A (y - S y) = A (2 y - S y).

The bootstrap (Chernozhukov, Chetverikov & Kato 2014) repeats this with errors e_b = s v_b, v_b standard normal:

    delta_b = A (2 e_b - S e_b),      se(q)^2 = mean_b delta_b(q)^2,

s_i^2 the squared left-out residuals pooled around sample i. Single residuals r in place of s would make se as uncertain
as a variance of few numbers, and bands would cover less. Samples of a cluster share a v, and there e_b = r v_b, as the
residuals themselves carry the correlation within a cluster.

Both are kernel sums with other columns, at the samples and then at the queries. Values are standardised.

Of many samples of one feature, those that a kernel hardly tells apart share one error, the weighted mean of theirs:

    sum_i w_i s_i v_i / sum_i w_i = s v,   s^2 = sum_i w_i^2 s_i^2 / (sum_i w_i)^2.

Near samples it changes se by about one part in 1000, with the top hat by a few parts in 100 at most: no more than the
draws do. Far from all samples the weights of a query differ within a bin, and so the samples that are next to such a
query keep errors of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.stats import norm, t
from sklearn import get_config
from sklearn.utils import gen_batches

from sknw._predictive.fitted import FittedRegression
from sknw._smoothing.bins import Bins, first_of_bins
from sknw._smoothing.smoother import Queries, Smoother
from sknw._smoothing.validation import Validation, mean_of_rows

# As many arrays of the size of a batch of columns are alive at a time.
_COPIES = 6
# Of more samples of one feature those within this part of a bandwidth share an error.
_MANY, _NEAR = 5000, 1 / 32
# Where the nearest sample is farther from a query, in bandwidths, those within one bandwidth of it do not share one.
_FAR = 0.5


def twice(smoother: Smoother, values: np.ndarray) -> Smoother:
    """The smoother with 2 V - S V in place of its values, for values V (n, k): it pools them twice."""
    return smoother.with_values(2.0 * values - smoother.with_values(values).pool(smoother.samples)[0])


def left_out_residuals(fitted: FittedRegression, residuals: np.ndarray) -> np.ndarray:
    """Residuals of left-out predictions of all samples (n, k), of which those that are NaN in `residuals` are found.

    A sample that `validation_samples` has skipped is predicted as the others are; one that `cv` does not test, without
    itself; and one that others do not predict gets the root mean square of all, infinite if there is none.
    """
    residuals, n = residuals.copy(), len(residuals)
    for validation in (fitted.validation, Validation.of(None, fitted.training)):
        some = validation.of_rows(np.flatnonzero(np.isnan(residuals).any(axis=1)))
        for where, smoother, queries, _ in fitted.smoother.left_out(some) if len(some) else ():
            found = mean_of_rows(smoother.pool(queries)[0], some.rows[where], n)
            residuals = np.where(np.isnan(residuals), fitted.training.values - found, residuals)
    known = np.isfinite(residuals).all(axis=1)
    spread = np.sqrt(np.mean(residuals[known] ** 2, axis=0)) if known.any() else np.inf
    return np.where(np.isfinite(residuals), residuals, spread)


def with_squares(smoother: Smoother, residuals: np.ndarray) -> Smoother:
    """The smoother that pools squared residuals (n, k), by weighted means."""
    return smoother.with_line(None).with_values(residuals**2)


def scales_of_errors(smoother: Smoother, residuals: np.ndarray, cluster: np.ndarray | None) -> np.ndarray:
    """s (n, k), the roots of the squared residuals pooled around each sample; with clusters the residuals r."""
    if cluster is not None:
        return residuals
    of_squares = with_squares(smoother, residuals)
    return np.sqrt(of_squares.pool(of_squares.samples)[0])


def merge_near(smoother: Smoother, scales: np.ndarray, queries: Queries) -> tuple[Smoother, np.ndarray]:
    """The smoother with samples of its one feature that are near each other as one, and the scales of their errors.

    Samples that are next to a query far from all samples stay alone.
    """
    is_alone = _are_next_to_far_queries(smoother.keys[:, 0], queries.z[:, 0])
    is_first = is_alone | np.append(True, is_alone[:-1])
    is_first[first_of_bins(smoother.keys[:, 0], _NEAR)] = True
    bins = Bins(smoother.unit * smoother.weights, np.flatnonzero(is_first))
    squares = np.add.reduceat((bins.weights[:, np.newaxis] * scales) ** 2, bins.first)
    s = np.sqrt(squares) / bins.mass[:, np.newaxis]
    return bins.merge(smoother, s), s


def _are_next_to_far_queries(keys: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Which keys (n,) are within one bandwidth of the nearest key of a far query: bool (n,)."""
    ascending = np.sort(keys)  # with a negative w they descend
    after = np.searchsorted(ascending, queries).clip(1, len(keys) - 1)
    below, above = ascending[after - 1], ascending[after]
    nearest = np.where(queries - below < above - queries, below, above)
    nearest = nearest[np.abs(queries - nearest) > _FAR]
    n_started = np.searchsorted(np.sort(nearest - 1.0), keys, side="right")
    n_ended = np.searchsorted(np.sort(nearest + 1.0), keys, side="left")
    return n_started > n_ended


@dataclass(frozen=True, eq=False)
class MultiplierBootstrap:
    """Errors e_b = s v_b of the samples, drawn again when they are asked for: not all may fit in memory."""

    smoother: Smoother
    scales: np.ndarray  # s, or r of clusters, (n, k)
    cluster: np.ndarray | None  # the number of the cluster of each sample, (n,)
    seeds: np.ndarray  # one for each b: what is drawn does not depend on how many are drawn together

    @property
    def _n_bytes(self) -> float:
        return get_config()["working_memory"] * 2.0**20

    @cached_property
    def _batches(self) -> list[np.ndarray]:
        n, k = self.scales.shape
        d = 0 if self.smoother.line is None else self.smoother.line.x.shape[1]
        size = max(int(self._n_bytes / (8 * n * k * (1 + d) * _COPIES)), 1)
        return np.array_split(self.seeds, -(-len(self.seeds) // size))

    @cached_property
    def _only(self) -> Smoother:
        return self._twice(self.seeds)

    def _twice(self, seeds: np.ndarray) -> Smoother:
        """The smoother that pools the errors of some seeds twice, columns (n, len(seeds) k)."""
        n = len(self.scales) if self.cluster is None else self.cluster.max() + 1
        v = np.array([np.random.default_rng(seed).standard_normal(n) for seed in seeds]).T
        v = v if self.cluster is None else v[self.cluster]
        return twice(self.smoother, (v[:, :, np.newaxis] * self.scales[:, np.newaxis]).reshape(len(v), -1))

    def _smoothers(self) -> Iterator[Smoother]:
        return iter([self._only]) if len(self._batches) == 1 else map(self._twice, self._batches)

    def batches(self, queries: Queries) -> Iterator[tuple[slice, np.ndarray]]:
        """delta_b of batches of queries, (m, B, k), as many as fit in the working memory."""
        k = self.scales.shape[1]
        size = max(int(self._n_bytes / (8 * len(self.seeds) * k * 2)), 1)
        for where in gen_batches(len(queries), size):
            deltas = np.hstack([smoother.pool(queries[where])[0] for smoother in self._smoothers()])
            yield where, deltas.reshape(len(deltas), len(self.seeds), k)


def mean_band(
    fitted: FittedRegression,
    smoother: Smoother,
    queries: Queries,
    residuals: np.ndarray,
    coverage: float,
    simultaneous: bool,
    seeds: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """m~ -/+ c se at the queries, of shape (m, k, 2), and which had no support.

    c is the normal quantile, or of a simultaneous band that of max_q |delta_b(q)| / se(q) over all queries; and then
    the quantile of the same tail of a t distribution. Its degrees of freedom are the number of samples that the fit
    rests on, A r^2 / se^2: the variance of an error, by that of the fit.
    """
    smoother = replace(smoother, allow_float32=False)
    center, unsupported = twice(smoother, smoother.values).pool(queries)
    residuals = left_out_residuals(fitted, residuals)
    if np.isinf(residuals).any():
        return center[..., np.newaxis] + [-np.inf, np.inf], unsupported
    of_squares, scales = with_squares(smoother, residuals), scales_of_errors(smoother, residuals, fitted.cluster)
    if fitted.cluster is None and len(scales) > _MANY and smoother.keys.shape[1] == 1 and smoother.index.groups is None:
        smoother, scales = merge_near(smoother, scales, queries)
    bootstrap = MultiplierBootstrap(smoother, scales, fitted.cluster, seeds)
    se, largest = np.empty_like(center), np.zeros((len(seeds), center.shape[1]))
    for where, deltas in bootstrap.batches(queries):
        se[where] = np.sqrt(np.mean(deltas**2, axis=1))
        if simultaneous:
            ratios = np.abs(deltas) / np.where(se[where] > 0, se[where], np.inf)[:, np.newaxis]
            largest = np.fmax(largest, np.fmax.reduce(ratios, axis=0, initial=0.0))
    c = np.quantile(largest, coverage, axis=0, method="higher") if simultaneous else norm.isf((1.0 - coverage) / 2.0)
    variance = of_squares.pool(queries)[0]
    n_effective = np.divide(variance, se**2, out=np.ones_like(se), where=se**2 > 0)
    radius = se * t.isf(norm.sf(c), np.maximum(n_effective, 1.0))
    return center[..., np.newaxis] + radius[..., np.newaxis] * [-1.0, 1.0], unsupported
