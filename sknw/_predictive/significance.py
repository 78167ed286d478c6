"""Whether a feature matters: mean squared derivatives, and their distribution where it does not.

The mean of y is pooled without the feature, at the same bandwidths, and twiced (its residuals are smoothed once more
and added: an order less bias): m = N y. With g_i the derivative, in the feature at sample i, of a fit to the residuals
y - m, and s_i the standard deviation of g_i where the feature does not matter, the statistic is

    T = sum_i w_i (g_i / s_i)^2 / sum_i w_i

(Racine 1997, the pivotal form). Of a category g_i are the predictions at each of its levels less their mean, all other
features as they are (after Racine, Hart & Li 2006). What the fit without the feature explains, bias included, is not
taken for an effect of the feature. The distribution of T where the feature does not matter, and s_i, are those of
targets drawn anew, each less its own fit without the feature:

    y*_i = m_i + v_i sigma_i,   v_i = -1 or 1.

The variances of errors sigma_i^2 are pooled around each sample from r_i^2 M_i / (M_i + 1): a left-out residual r_i also
has the error of its prediction, which rests on an effective number M_i of samples. Single residuals in place of sigma_i
would make s_i as uncertain as a variance of few numbers, which the draws do not show, and features without effect would
be found too often. Of a number they are residuals of the fit itself, which are as small as the noise also where the
feature matters; of a category of the fit without it, as the levels of few rows are predicted badly one at a time.
Samples of a cluster share a v, and are not pooled.

All g_i are linear in y, g = G y. With the attention a_j of a query, l_j = d log K_j / dx along the feature, l their
mean, and for local lines A = (C + ridge I)^-1, r = M / (M + count) (see `local_linear`), x~_j = x_j - x_mean and
t_j = 1 + r x~_j' A (x - x_mean), a row of G is

    q_j - a_j sum_i q_i + a_j x~_j' A (r e - sum_i (q_i - (1 - r) p_i) x~_i + r (1 - r) l (x - x_mean)),
    p_j = a_j (l_j - l),   q_j = t_j p_j,

e the direction of the feature, and the prediction itself is sum_j a_j t_j y_j. Weighted means have t_j = 1 and A = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from sklearn import get_config
from sklearn.utils import gen_batches

from sknw._kernel_sums.dense import squared_distances
from sknw._kernel_sums.registry import algorithm_for
from sknw._predictive.fitted import FittedRegression
from sknw._predictive.jackknife import log_mass_of
from sknw._predictive.mean_bands import left_out_residuals, scales_of_errors, twice
from sknw._smoothing.attention import effective_sample_size
from sknw._smoothing.isolation import slopes_that_hold_mass
from sknw._smoothing.local_linear import shrinkage, solve
from sknw._smoothing.smoother import Queries, Smoother, coordinates
from sknw._smoothing.training import TrainingSet, take_rows
from sknw._smoothing.validation import Validation

# The statistic is a mean over at most this many points, of categories points of all levels.
_MOST_POINTS = 2000
# Statistics that differ by a smaller part are equal.
_ROUNDING = 1e-10


def significance(
    fitted: FittedRegression,
    smoother: Smoother,
    feature: int,
    residuals: np.ndarray,
    signs: np.ndarray,
    rng: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray]:
    """The statistic of a feature for each output, (k,), and its p-value.

    `residuals` (n, k) are the left-out ones of all samples and `signs` (n, b) the v of b draws; `rng` takes the samples
    at which derivatives are averaged.
    """
    training = fitted.training
    if np.ptp(training.given[training.given_rows, feature]) == 0:  # a statistic would be a ratio of rounding errors
        return np.zeros(smoother.values.shape[1]), np.ones(smoother.values.shape[1])
    n, levels = len(training), _levels(training, feature)
    n_points = max(_MOST_POINTS // max(len(levels), 1), 1)
    samples = np.arange(n) if n <= n_points else np.sort(rng.choice(n, n_points, replace=False))
    X, weights = take_rows(training.given, training.given_rows[samples]), training.sample_weight[samples]
    null = without_feature(smoother, training, feature)
    if len(levels):
        residuals = left_out_residuals(replace(fitted, smoother=null), np.full_like(residuals, np.nan))
    residuals = np.where(np.isfinite(residuals), residuals, 0.0)  # where no sample is predicted from others
    size = _left_out_sizes(null if len(levels) else smoother, training)[:, np.newaxis]
    scales = scales_of_errors(smoother, residuals * np.sqrt(size / (size + 1.0)), fitted.cluster)

    def without(targets: np.ndarray) -> np.ndarray:
        return twice(null, targets).pool(null.samples)[0]

    def test(y: np.ndarray, scales: np.ndarray) -> tuple[float, float]:
        mean = without(y[:, np.newaxis])
        parts = []
        for batch in gen_batches(signs.shape[1], max(int(get_config()["working_memory"] * 2**20 / (8 * n)), 1)):
            targets = mean + scales[:, np.newaxis] * signs[:, batch]
            targets = np.column_stack([y, targets]) if batch.start == 0 else targets
            parts.append(_changes(smoother, X, feature, levels, targets - without(targets)))
        return _statistic_and_p_value(np.concatenate(parts, axis=2), weights)

    statistic, p_value = zip(*map(test, smoother.values.T, scales.T), strict=True)
    return np.array(statistic), np.array(p_value)


def _statistic_and_p_value(changes: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The statistic and the p-value, from the changes (l, m, 1 + b) of targets and of b drawn ones at m points."""
    deviation = changes[:, :, 1:].std(axis=2, keepdims=True)
    squares = ((changes / np.where(deviation > 0, deviation, np.inf)) ** 2).mean(axis=0)
    known = np.isfinite(squares).all(axis=1)  # points that have predictions
    statistics = weights[known] @ squares[known] / max(weights[known].sum(), weights.min())
    n_above = np.count_nonzero(statistics[1:] >= (1.0 - _ROUNDING) * statistics[0])
    return float(statistics[0]), (1.0 + n_above) / len(statistics)


def _left_out_sizes(smoother: Smoother, training: TrainingSet) -> np.ndarray:
    """The effective number of samples of leave-one-out predictions, 1 where there is no other sample: (n,)."""
    sizes = []
    for _, part, queries, _ in smoother.left_out(Validation.of(None, training)):
        request = part.value_request(queries)
        size, is_alone = effective_sample_size(request, "mean", algorithm_for(request, part.algorithm))
        sizes.append(np.where(is_alone, 1.0, size))
    return training.sample_weight.max() * np.concatenate(sizes)


def without_feature(smoother: Smoother, training: TrainingSet, feature: int) -> Smoother:
    """The smoother whose weights and lines do not see a feature, at the same bandwidths of the others."""
    first, last = training.features.starts[feature : feature + 2]
    w = smoother.w.copy()
    w[first:last] = 0.0
    found = smoother.with_metric(w, coordinates(training.X, smoother.center, w))
    if found.line is None:
        return found
    x = found.line.x.copy()
    x[:, first:last] = 0.0
    return found.with_line(replace(found.line, x=x))


def _levels(training: TrainingSet, feature: int) -> np.ndarray:
    """The levels of a category that training samples have; of other features none."""
    is_category = feature in training.features.categories
    return np.unique(training.given[training.given_rows, feature]) if is_category else np.empty(0)


def _changes(smoother: Smoother, X: np.ndarray, feature: int, levels: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How the predictions of b targets (n, b) change with a feature at X (m, d): (1, m, b), of a category (l, m, b)."""
    if not len(levels):
        return derivatives(smoother, X, feature, targets)[np.newaxis]
    at_levels = []
    for level in levels:
        elsewhere = X.copy()
        elsewhere[:, feature] = level
        at_levels.append(predictions(smoother, elsewhere, targets))
    return np.stack(at_levels) - np.mean(at_levels, axis=0)


def predictions(smoother: Smoother, X: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Predictions (m, b) at X (m, d) of targets (n, b)."""
    queries = smoother.queries(X)

    def rows_of(block: slice, a: np.ndarray) -> np.ndarray:
        return a if smoother.line is None else a * _Lines(smoother, queries, block, a).t

    return _sums(smoother, queries, rows_of, targets)


def derivatives(smoother: Smoother, X: np.ndarray, feature: int, targets: np.ndarray) -> np.ndarray:
    """Derivatives (m, b) in a feature, no category, of the predictions at X (m, d) of targets (n, b)."""
    queries, n_columns = smoother.queries(X), len(smoother.center)
    of_columns = np.broadcast_to(np.eye(n_columns), (len(X), n_columns, n_columns))
    direction = smoother.features.derivative(X, of_columns)[..., feature]  # of the columns along the feature, (m, c)
    along = direction * smoother.w if smoother.w.ndim == 1 else direction @ smoother.w
    request = smoother.value_request(queries)

    def rows_of(block: slice, a: np.ndarray) -> np.ndarray:
        difference = (queries.z[block] * along[block]).sum(axis=1, keepdims=True) - along[block] @ smoother.keys.T
        sq = squared_distances(request, block)
        slope = 2.0 * smoother.kernel.log_derivative(sq) * difference
        if queries.widths is not None:
            widths = queries.widths[block]
            at_fixed_width = (slope / widths[:, np.newaxis] ** 2)[..., np.newaxis]
            slope = slopes_that_hold_mass(smoother.kernel, sq, a, widths, at_fixed_width)[..., 0]
        mean = (a * slope).sum(axis=1, keepdims=True)
        p = a * (slope - mean)
        if smoother.line is None:
            return p
        lines = _Lines(smoother, queries, block, a)
        q, r = lines.t * p, lines.r
        v = r * direction[block] / smoother.line.scales - lines.sums(q - (1.0 - r) * p)
        v += r * (1.0 - r) * mean * lines.offset
        return q + a * (lines.along(v) - q.sum(axis=1, keepdims=True))

    return _sums(smoother, queries, rows_of, targets)


def _sums(
    smoother: Smoother, queries: Queries, rows_of: Callable[[slice, np.ndarray], np.ndarray], targets: np.ndarray
) -> np.ndarray:
    """The sums (m, b) over targets (n, b) with the rows that `rows_of` makes of attention, a block at a time."""
    sums = np.empty((len(queries), targets.shape[1]))

    def fill(block: slice, attention: np.ndarray) -> None:
        sums[block] = rows_of(block, attention) @ targets

    smoother.for_each_attention_block(queries, fill)
    return sums


class _Lines:
    """The algebra of local lines around a block of queries x (m, c) with attention a (m, n)."""

    def __init__(self, smoother: Smoother, queries: Queries, block: slice, a: np.ndarray):
        line = smoother.line
        assert line is not None
        x_mean = a @ line.x
        self.centred = line.x - x_mean[:, np.newaxis]
        covariance = np.swapaxes(a[..., np.newaxis] * self.centred, 1, 2) @ self.centred
        self.inverse = solve(covariance, np.eye(covariance.shape[-1]), line.ridge, line.singular)
        log_samples = log_mass_of(smoother.value_request(queries), block, a) + np.log(smoother.unit)
        self.r = shrinkage(log_samples, line.count)[:, np.newaxis]
        self.offset = queries.x[block] - x_mean
        self.t = 1.0 + self.r * self.along(self.offset)

    def along(self, v: np.ndarray) -> np.ndarray:
        """(x_j - x_mean)' (C + ridge I)^-1 v of vectors v (m, c): (m, n)."""
        return (self.centred @ (self.inverse @ v[..., np.newaxis]))[..., 0]

    def sums(self, q: np.ndarray) -> np.ndarray:
        """sum_j q_j (x_j - x_mean) of rows q (m, n): (m, c)."""
        return (q[:, np.newaxis] @ self.centred)[:, 0]
