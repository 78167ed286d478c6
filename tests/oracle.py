"""Slow, obviously right versions of everything, written from the formulas and sharing no code with sknw.

Distances are differences of the inputs as given, divided by the bandwidth; arithmetic is in `np.longdouble` (80 bits on
x86, elsewhere perhaps float64); weights are normalised by log-sum-exp; leave-one-out is a loop that takes a sample out.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

# A sample at exactly the bandwidth belongs to the top hat, and samples at equal distance are equally near, both up to
# the rounding of the inputs.
ROUNDING = 1e-11

# Samples of smaller weight than this part of the largest do not carry a line.
NEGLIGIBLE = np.exp(-60)

# A sample of at most this part of the attention is no quantile.
TOO_LITTLE = 1e-80

NAMES = ["gaussian", "exponential", "tophat", "epanechnikov", "biweight", "triweight", "linear", "tricube", "cosine"]
COMPACT = NAMES[2:]


def log_kernel(kernel, u):
    """log K(u), of a kernel given by name, by its power p for exp(-u^p), or as a function of u."""
    u = np.asarray(u, dtype=np.longdouble)
    if isinstance(kernel, float):
        return -(u**kernel)
    if kernel == "gaussian":
        return -(u**2) / 2
    if kernel == "exponential":
        return -u
    with np.errstate(divide="ignore"):
        return np.log(kernel(u) if callable(kernel) else compact_kernel(kernel, u))


def compact_kernel(name, u):
    """K(u) of the kernels that vanish for u > 1."""
    if name == "tophat":
        return np.where(u <= 1 + ROUNDING, 1.0, 0.0).astype(np.longdouble)
    inside = np.minimum(u, 1)  # all of them vanish at 1 as well
    pi = 4 * np.arctan(np.longdouble(1))
    return {
        "epanechnikov": lambda v: 1 - v**2,
        "biweight": lambda v: (1 - v**2) ** 2,
        "triweight": lambda v: (1 - v**2) ** 3,
        "linear": lambda v: 1 - v,
        "tricube": lambda v: (1 - v**3) ** 3,
        "cosine": lambda v: np.where(v < 1, np.cos(pi * v / 2), 0),
    }[name](inside)


def relative_slope(kernel, u, log_mass):
    """dK / d(u^2) / exp(log_mass), of a compact kernel (or function) by differences, inside its support; 0 at u = 0."""
    u, log_mass = np.broadcast_arrays(np.asarray(u, dtype=np.longdouble), log_mass)
    slope, there = np.zeros_like(u), u > 0
    sq, log_mass = u[there] ** 2, log_mass[there]
    rate, power = {"gaussian": (0.5, 2), "exponential": (1, 1)}.get(kernel, (1, kernel))
    if isinstance(power, float | int):
        log_slope = -rate * power / 2 * sq ** (np.longdouble(power) / 2 - 1)
        slope[there] = log_slope * np.exp(log_kernel(kernel, u[there]) - log_mass)
    else:
        step = 1e-6 * np.minimum(sq, 1)
        above, below = (np.exp(log_kernel(kernel, np.sqrt(s)) - log_mass) for s in (sq + step, sq - step))
        slope[there] = (above - below) / (2 * step)
    return slope


class Mixed:
    """Bandwidths h (d,) of features each of which is a "number", a "category", "ordered", or periodic: its period."""

    def __init__(self, h, kinds):
        self.h, self.kinds = np.broadcast_to(h, len(kinds)), kinds


def distance_of_feature(kind, q, x):
    """The distance of two values, of categories given as codes: 1 for two levels, the root of the number of steps."""
    if kind == "number":
        return abs(q - x)
    if kind == "category":
        return 0 if q == x else 1
    if kind == "ordered":
        return np.sqrt(abs(q - x))
    pi = 4 * np.arctan(np.longdouble(1))
    return abs(kind / pi * np.sin(pi * (q - x) / kind))


def distances(Q, X, h):
    """||(q_i - x_j) / h||, or with a matrix W in place of h ||(q_i - x_j) W||, of shape (m, n)."""
    if isinstance(h, Mixed):
        return np.sqrt(sum(s**2 for s in distances_of_features(Q, X, h)))
    Q, X, h = (np.asarray(a, dtype=np.longdouble) for a in (Q, X, h))
    differences = Q[:, np.newaxis, :] - X[np.newaxis, :, :]
    scaled = differences @ h if h.ndim == 2 else differences / h
    return np.sqrt((scaled**2).sum(axis=2))


def distances_of_features(Q, X, mixed):
    """The distance along each feature in units of its bandwidth, of shape (m, n)."""
    for k, kind in enumerate(mixed.kinds):
        rows = [[distance_of_feature(kind, q, x) for x in X[:, k].astype(np.longdouble)] for q in Q[:, k]]
        yield np.array(rows, dtype=np.longdouble) / np.longdouble(mixed.h[k])


def mixed_scales(X, kinds, w=None):
    """s_k: the root of half the mean squared distance, of categories at least that of even shares, and of 1/2."""
    w = weights_or_ones(w, X)
    p = w / w.sum()
    scales = []
    for k, kind in enumerate(kinds):
        sq = next(distances_of_features(X[:, [k]], X[:, [k]], Mixed([1], [kind]))) ** 2
        scale = p @ sq @ p / 2
        if kind in ("category", "ordered"):
            levels = np.unique(X[w > 0, k])[:, np.newaxis]
            sq = next(distances_of_features(levels, levels, Mixed([1], [kind]))) ** 2
            scale = max(scale, sq.mean() / 2, 0.5) if len(levels) > 1 else scale
        scales.append(np.sqrt(scale) if scale > 0 else 1)
    return np.array(scales)


def np_weights(Q, X, h, kinds, lambdas):
    """The product kernels of the R package np: Gaussian, and of Li and Racine lambda^[x != x'] and lambda^|x - x'|.

    `kinds` says what each feature is: "c" a number with its bandwidth in h, "u" a category, "o" an ordered one, with
    its lambda.
    """
    weights = np.ones((len(Q), len(X)), dtype=np.longdouble)
    for k, kind in enumerate(kinds):
        difference = Q[:, k, np.newaxis].astype(np.longdouble) - X[:, k]
        if kind == "c":
            weights *= np.exp(-((difference / h[k]) ** 2) / 2)
        else:
            weights *= np.longdouble(lambdas[k]) ** (difference != 0 if kind == "u" else np.abs(difference))
    return weights


def aitchison_aitken(Q, X, lambda_, n_levels):
    """The kernel of a category in statsmodels: 1 - lambda for a match, lambda / (c - 1) for a mismatch."""
    return np.where(Q[:, np.newaxis] == X, 1 - lambda_, lambda_ / (n_levels - 1))


def wang_van_ryzin(Q, X, lambda_):
    """That of an ordered category in statsmodels: 1 - lambda for a match, (1 - lambda) lambda^|x - x'| / 2 else."""
    steps = np.abs(Q[:, np.newaxis] - X)
    return np.where(steps == 0, 1 - lambda_, (1 - lambda_) / 2 * np.longdouble(lambda_) ** steps)


def attention_row(u, kernel, w, outside="nearest"):
    """Weights of samples at distances u with sample weights w: of shape (n,), NaN where nothing supports the query."""
    taken = w > 0
    if not taken.any():
        return np.full(len(w), np.nan)
    with np.errstate(divide="ignore"):
        logits = log_kernel(kernel, u) + np.log(w.astype(np.longdouble))
    if np.isfinite(logits[taken]).any():
        a = np.exp(logits - logits[taken].max())
    elif outside == "nearest" or kernel not in COMPACT:
        a = w * (u <= u[taken].min() * (1 + ROUNDING))
    elif outside == "mean":
        a = w.copy()
    else:
        return np.where(taken, np.nan, 0)
    return a / a.sum()


def weights_or_ones(w, X):
    """Sample weights, scaled to mean 1 over the samples, which are the rows of positive weight."""
    w = np.ones(len(X), dtype=np.longdouble) if w is None else np.asarray(w, dtype=np.longdouble)
    return w / w[w > 0].mean() if np.any(w > 0) else w


def merged(X, y, w=None):
    """Distinct rows (x, y) in ascending order, and the sums of the weights of their copies."""
    w = weights_or_ones(w, X)
    rows, sample = np.unique(np.column_stack([X, y])[w > 0], axis=0, return_inverse=True)
    total = np.zeros(len(rows), dtype=np.longdouble)
    np.add.at(total, sample.ravel(), w[w > 0])
    d = X.shape[1]
    return rows[:, :d], rows[:, d:].reshape(len(rows), *np.shape(y)[1:]), total


def attention_weights(Q, X, h, kernel, w=None, outside="nearest"):
    w = weights_or_ones(w, X)
    return np.array([attention_row(u, kernel, w, outside) for u in distances(Q, X, h)])


def widened(u, kernel, w, least):
    """The distances u (n,) of a query from samples, divided by the s >= 1 with which it sees `least` samples.

    These are sum_j K(u_j / s) w_j, by bisection; of few samples half of all are enough.
    """
    least, lower, upper = min(least, w.sum() / 2), np.longdouble(1), np.longdouble(1e9)

    def n_seen(s):
        return np.exp(log_kernel(kernel, u / s)) @ w

    if n_seen(lower) >= least:
        return u
    while upper > lower * (1 + 1e-17):
        middle = np.sqrt(lower * upper)
        if middle in (lower, upper):
            break
        lower, upper = (middle, upper) if n_seen(middle) < least else (lower, middle)
    return u / upper


class Counted(NamedTuple):
    """A ridge, one or one for each feature, the count of samples without a slope, and what a query sees at least."""

    ridge: object
    count: float
    least: float = 0.0


def smoother_matrix(Q, X, h, kernel, w=None, outside="nearest", ridge=None, s=None):
    """What multiplies y: attention weights, or with a ridge that of local lines, s being the standard deviations.

    With a count the lines are M / (M + count) of the way from the weighted mean, M = sum_j K_j w_j / K(0).
    """
    w = weights_or_ones(w, X)
    if ridge is None:
        return attention_weights(Q, X, h, kernel, w, outside)
    ridge, count, least = ridge if isinstance(ridge, Counted) else (ridge, 0, 0)
    x, s = np.asarray(X, dtype=np.longdouble), scales(X, w) if s is None else s
    u = np.array([widened(row, kernel, w, least) for row in distances(Q, X, h)])
    attention = np.array([attention_row(row, kernel, w, outside) for row in u])
    with np.errstate(divide="ignore"):
        masses = np.exp(log_kernel(kernel, u)) @ w  # all kernels here have K(0) = 1
    has_support = np.isfinite(log_kernel(kernel, u[:, w > 0])).any(axis=1)
    rows = zip(attention, np.asarray(Q, dtype=np.longdouble), masses, has_support, strict=True)
    return np.array(
        [
            a + (m / (m + count) if count else 1) * (line_weights(a, (x - q) / s, ridge) - a) if supported else a
            for a, q, m, supported in rows
        ]
    )


def line_weights(a, x, ridge):
    """What multiplies y in the value b0 at x = 0 of the line that minimises

        sum_j a_j (y_j - b0 - b'x_j)^2 + sum_k ridge_k b_k^2

    (one ridge, or one for each feature) which is mean(y) - b'mean(x) with (C + diag(ridge)) b = cov(x, y). Where there
    is no ridge and C is singular, the pseudo-inverse takes the shortest b, which is the limit of a small ridge.
    """
    a = np.where(a < NEGLIGIBLE * a.max(), 0, a)
    x0, x = (
        -x[np.argmax(a)],
        x - x[np.argmax(a)],
    )  # where one sample has almost all the weight, the mean is almost there
    x_mean, root = a @ x, np.sqrt(a)
    design = root[:, np.newaxis] * (x - x_mean)
    if np.all(ridge):
        direction = solve(design.T @ design + ridge * np.eye(x.shape[1]), x0 - x_mean) @ design.T
    else:
        direction = (x0 - x_mean) @ np.linalg.pinv(design.astype(float), rcond=1e-11)
    pull = root * direction
    return a + pull - a * pull.sum()  # which is zero up to rounding


def solve(matrix, right):
    """matrix^-1 right by elimination."""
    rows = np.column_stack([matrix, right])
    for i in range(len(rows)):
        largest = i + np.argmax(np.abs(rows[i:, i]))
        rows[[i, largest]] = rows[[largest, i]]
        rows[i] /= rows[i, i]
        others = np.arange(len(rows)) != i
        rows[others] -= np.outer(rows[others, i], rows[i])
    return rows[:, -1]


def predict(Q, X, y, h, kernel, w=None, outside="nearest", ridge=None, s=None):
    return smoother_matrix(Q, X, h, kernel, w, outside, ridge, s) @ np.asarray(y, dtype=np.longdouble)


def leave_one_out(X, y, h, kernel, w=None, outside="nearest", ridge=None):
    """Row i predicted by a fit in which its weight is zero."""
    splits = [(np.delete(np.arange(len(X)), i), [i]) for i in range(len(X))]
    return np.array([prediction[0] for _, prediction in left_out(splits, X, y, h, kernel, w, outside, ridge)])


def left_out(splits, X, y, h, kernel, w=None, outside="nearest", ridge=None):
    """For each split (train, test) the test rows, and their predictions by a fit to the train rows."""
    w = weights_or_ones(w, X)
    s = scales(X, w)
    for train, test in splits:
        of_train = np.zeros_like(w)
        of_train[train] = w[train]
        of_fit = ridge
        if isinstance(ridge, Counted) and of_train.any():  # samples count in units of the mean weight of all samples
            unit = of_train[of_train > 0].mean()
            of_fit = Counted(ridge.ridge, ridge.count / unit, ridge.least / unit)
        yield test, predict(X[test], X, y, h, kernel, of_train, outside, of_fit, s)


def cross_validation(splits, X, y, h, kernel, w=None, outside="nearest", ridge=None):
    """sum w r^2 / sum w over all tests of all splits; of several outputs the mean, each divided by its variance."""
    w, y = weights_or_ones(w, X), np.asarray(y, dtype=np.longdouble)
    numerator, denominator = np.zeros(y.reshape(len(y), -1).shape[1]), 0.0
    for test, prediction in left_out(splits, X, y, h, kernel, w, outside, ridge):
        tested = w[test] > 0
        squares = (y[test] - prediction).reshape(len(test), -1)[tested] ** 2
        numerator = numerator + w[test][tested] @ squares
        denominator = denominator + w[test].sum()
    score = numerator / denominator
    return score[0] if len(score) == 1 else (score / variance(y, w)).mean()


def variance(y, w):
    """Weighted variance, of a column that does not vary 1."""
    mean = (w[:, np.newaxis] * y).sum(axis=0) / w.sum()
    var = (w[:, np.newaxis] * (y - mean) ** 2).sum(axis=0) / w.sum()
    return np.where(np.ptp(y, axis=0) == 0, 1, var)


def mean_square(y, fitted, w):
    """sum w r^2 / sum w; of several outputs the mean, each divided by its variance."""
    y = np.asarray(y, dtype=np.longdouble).reshape(len(w), -1)
    per_output = (w[:, np.newaxis] * (y - fitted.reshape(y.shape)) ** 2).sum(axis=0) / w.sum()
    return per_output[0] if len(per_output) == 1 else (per_output / variance(y, w)).mean()


def loss(X, y, h, kernel, w=None, outside="nearest", ridge=None, rows=slice(None)):
    """The mean square of leave-one-out residuals at some rows, each output divided by its variance."""
    loo = leave_one_out(X, y, h, kernel, w, outside, ridge)
    w = weights_or_ones(w, X)
    y, loo = (np.asarray(a, dtype=np.longdouble).reshape(len(w), -1) for a in (y, loo))
    squares = ((y - loo) ** 2 / variance(y, w)).mean(axis=1)
    return (w * squares)[rows].sum() / w[rows].sum()


def criterion(name, X, y, h, kernel, w=None, outside="nearest", ridge=None):
    """The loo, gcv or aicc of bandwidth h, of local lines with a ridge; infinite where it does not exist."""
    if name == "loo":
        score = mean_square(y, leave_one_out(X, y, h, kernel, w, outside, ridge), weights_or_ones(w, X))
        return np.inf if np.isnan(score) else score
    matrix = smoother_matrix(X, X, h, kernel, w, ridge=ridge)
    w = weights_or_ones(w, X)
    n, trace = np.count_nonzero(w), np.trace(matrix[w > 0][:, w > 0])
    s2 = mean_square(y, matrix @ np.asarray(y, dtype=np.longdouble), w)
    if name == "gcv":
        return s2 / (1 - trace / n) ** 2 if trace < n else np.inf
    return np.log(s2) + (1 + trace / n) / (1 - (trace + 2) / n) if 1 - (trace + 2) / n > 1e-6 else np.inf


def scales(X, w=None):
    """Standard deviations of the features."""
    return np.sqrt(variance(np.asarray(X, dtype=np.longdouble), weights_or_ones(w, X)))


def rule_of_thumb(name, X, w=None):
    n, d = np.count_nonzero(weights_or_ones(w, X)), np.shape(X)[1]
    return scales(X, w) * (n if name == "scott" else n * (d + 2) / 4) ** (-1 / (d + 4))


def r2(y, prediction, w=None):
    """Weighted R^2, over the rows that have a prediction; of several outputs the mean."""
    y = np.asarray(y, dtype=np.longdouble).reshape(len(y), -1)
    prediction = prediction.reshape(y.shape)
    there = ~np.isnan(prediction[:, 0])
    w, y, prediction = weights_or_ones(w, y)[there, np.newaxis], y[there], prediction[there]
    mean = (w * y).sum(axis=0) / w.sum()
    return np.mean(1 - (w * (y - prediction) ** 2).sum(axis=0) / (w * (y - mean) ** 2).sum(axis=0))


def std(Q, X, y, h, kernel, w=None, outside="nearest", residuals=None):
    """Squared leave-one-out residuals pooled with the same weights, over the samples that have one."""
    if residuals is None:
        residuals = y - leave_one_out(X, y, h, kernel, w, outside)
    squares = np.asarray(residuals, dtype=np.longdouble).reshape(len(X), -1) ** 2
    there = ~np.isnan(squares[:, 0])
    attention = attention_weights(Q, X, h, kernel, w, outside)[:, there]
    overall = np.average(squares[there], axis=0, weights=weights_or_ones(w, X)[there])
    mass = attention.sum(axis=1, keepdims=True)
    pooled = np.where(mass == 0, overall, attention @ squares[there] / np.where(mass == 0, 1, mass))
    return np.sqrt(pooled).reshape(len(Q), *np.shape(y)[1:])


def effective_sample_size(Q, X, h, kernel, w=None, outside="nearest"):
    w = weights_or_ones(w, X)
    attention = attention_weights(Q, X, h, kernel, w, outside)
    return np.array([1 / sum(a_i**2 / w_i for a_i, w_i in zip(a, w, strict=True) if w_i > 0) for a in attention])


def fit_at(q, X, y, h, kernel, w, outside="nearest", ridge=None, scales=None):
    """Prediction, of shape (k,), and kernel weights of the fit around q: a weighted mean, or a line with a ridge."""
    least = ridge.least if isinstance(ridge, Counted) else 0
    u = widened(distances(q[np.newaxis], X, h)[0], kernel, w, least)
    a = attention_row(u, kernel, w, outside)
    weights = np.where(w > 0, np.exp(log_kernel(kernel, u)) * w, 0)
    mean = a @ y
    if ridge is None or not weights.any():
        return mean, weights
    ridge, count, _ = ridge if isinstance(ridge, Counted) else (ridge, 0, 0)
    # the penalty as one more observation for each slope: target 0, input 1, weight ridge; without one the least slopes
    d, x_mean = X.shape[1], a @ X
    root = np.sqrt(np.append(a, np.full(d, ridge)).astype(float))
    design = root[:, np.newaxis] * np.vstack([(X - x_mean) / scales, np.eye(d)]).astype(float)
    targets = root[:, np.newaxis] * np.vstack([y - mean, np.zeros((d, y.shape[1]))]).astype(float)
    slope = (weights.sum() / (weights.sum() + count) if count else 1) * np.linalg.lstsq(design, targets, rcond=1e-5)[0]
    return mean + ((q - x_mean) / scales) @ slope, weights


def interval(Q, X, y, h, kernel, w=None, outside="nearest", ridge=None, coverage=0.9, seen=None, splits=None):
    """Jackknife+ or CV+ by fitting again, at the bandwidth given, of shape (m, k, 2).

    Each sample is left out alone or, with splits (train, test) that test it once, predicted from train. Only the
    samples `seen` have a residual; None: all.
    """
    w, y = weights_or_ones(w, X), np.asarray(y, dtype=np.longdouble).reshape(len(X), -1)
    line = ridge, scales(X, w)
    splits = [(np.delete(np.arange(len(X)), i), [i]) for i in range(len(X))] if splits is None else splits
    weights_without = {}
    for train, test in splits:
        of_train = np.zeros_like(w)
        of_train[train] = w[train]
        weights_without |= dict.fromkeys(test, of_train)

    def fit(q, i):
        return fit_at(q, X, y, h, kernel, weights_without[i], outside, *line)

    seen = np.ones(len(X), dtype=bool) if seen is None else seen
    rows = np.array([i for i in sorted(weights_without) if w[i] > 0 and seen[i]])
    at_rows = [fit(X[i], i) for i in rows]
    residuals = y[rows] - [mean for mean, _ in at_rows]
    known = ~np.isnan(residuals[:, 0])
    weights_of_rows = [weights for (_, weights), is_known in zip(at_rows, known, strict=True) if is_known]
    rows, residuals = rows[known], np.abs(residuals[known])
    counts = w[rows]
    overall = np.average(residuals**2, axis=0, weights=counts)

    def scale(weights, pseudo_count):
        """Root of the mean square around, with so many more samples that have the mean square of all."""
        sums = weights[rows] @ residuals**2 + pseudo_count * overall
        return np.sqrt(sums / (weights[rows].sum() + pseudo_count))

    def cost(pseudo_count):
        s = np.array([scale(weights, pseudo_count) for weights in weights_of_rows])
        return np.average(np.log(s), axis=0, weights=counts) + np.log(np.average(residuals / s, axis=0, weights=counts))

    prior_masses = 2.0 ** np.arange(0, 60, 2)
    pseudo_count = prior_masses[np.argmin([cost(pseudo_count) for pseudo_count in prior_masses], axis=0)]
    scores = residuals / [scale(weights, pseudo_count) for weights in weights_of_rows]
    rank = np.floor((1 - coverage) * (counts.sum() + 1) + 1e-9)
    bounds = np.empty((len(Q), y.shape[1], 2))
    for row, q in zip(bounds, np.asarray(Q, dtype=np.longdouble), strict=True):
        fits = [fit(q, i) for i in rows]
        m = np.array([mean for mean, _ in fits])
        s = np.array([scale(weights, pseudo_count) for _, weights in fits])
        unknown = np.isnan(m)
        lower, upper = np.where(unknown, -np.inf, m - scores * s), np.where(unknown, np.inf, m + scores * s)
        for k in range(y.shape[1]):
            row[k] = kth_smallest(lower[:, k], counts, rank), -kth_smallest(-upper[:, k], counts, rank)
    return bounds


def kth_smallest(values, counts, rank):
    """The smallest value up to which there are `rank` of them, each counted so often."""
    if rank == 0:
        return -np.inf
    order = np.argsort(values)
    return values[order][np.searchsorted(np.cumsum(counts[order]), rank - 1e-9)]


def quantile(Q, X, y, h, kernel, q, w=None, outside="nearest"):
    """The smallest y at which the weighted empirical distribution function of each query reaches q: of shape (m,).

    Of level 0 and 1, the smallest and largest y whose weight is more than TOO_LITTLE of all.
    """
    values = np.sort(y)
    found = []
    for a in attention_weights(Q, X, h, kernel, w, outside):
        a = np.where(a > TOO_LITTLE, a, 0)
        distribution = np.array([a[y <= value].sum() for value in values])
        reaches = (distribution >= q - 1e-12) & (distribution > 0)
        found.append(values[np.argmax(reaches)] if q < 1 else y[a > 0].max())
    return np.array(found)


def gradient(predict, Q, step=1e-5):
    """Derivatives of predict(Q), of shape (m, k), by central differences of fourth order: of shape (m, k, d)."""
    by_feature = []
    for k in range(Q.shape[1]):
        e = step * np.eye(Q.shape[1])[k]
        near, far = predict(Q + e) - predict(Q - e), predict(Q + 2 * e) - predict(Q - 2 * e)
        by_feature.append((8 * near - far) / (12 * step))
    return np.stack(by_feature, axis=-1)


def mean_interval(Q, X, y, h, kernel, w, v, coverage=0.95, outside="nearest", ridge=None, splits=None, clusters=None):
    """The pointwise and the simultaneous band of the mean, each of shape (m, k, 2), from matrices of weights.

    Of errors e = s v with given v, (n or n_clusters, B); the rows of X are samples.
    """
    w, y = weights_or_ones(w, X), np.asarray(y, dtype=np.longdouble).reshape(len(X), -1)
    s_x = scales(X, w)
    A, S = (smoother_matrix(P, X, h, kernel, w, outside, ridge, s_x) for P in (Q, X))
    twice = 2 * A - A @ S
    splits = [(np.delete(np.arange(len(X)), i), [i]) for i in range(len(X))] if splits is None else splits
    residuals = np.empty_like(y)
    for test, prediction in left_out(splits, X, y, h, kernel, w, outside, ridge):
        residuals[test] = y[test] - prediction
    means = [smoother_matrix(P, X, h, kernel, w, outside) for P in (Q, X)]
    errors, v = (np.sqrt(means[1] @ residuals**2), v) if clusters is None else (residuals, v[clusters])
    bands = np.empty((2, len(Q), y.shape[1], 2))
    for k, e in enumerate(errors.T):
        deltas = twice @ (e[:, np.newaxis] * v)
        se = np.sqrt((deltas**2).mean(axis=1))
        largest = np.sort((np.abs(deltas) / se[:, np.newaxis]).max(axis=0))
        c = [norm.isf((1 - coverage) / 2), float(largest[int(np.ceil(coverage * (len(largest) - 1)))])]
        df = np.maximum((means[0] @ residuals[:, k] ** 2 / se**2).astype(float), 1)
        for band, c_of_band in zip(bands[:, :, k], c, strict=True):
            band[:] = (twice @ y[:, k])[:, np.newaxis]
            band += (student.isf(norm.sf(c_of_band), df) * se)[:, np.newaxis] * np.array([-1, 1])
    return bands


def kriging_covariance(A, B, w, power, kinds=None):
    """exp(-sum_k (w_k |a_k - b_k|)^p_k), of shape (m, n)."""
    total = np.zeros((len(A), len(B)))
    for k in range(A.shape[1]):
        rows = [[distance_of_feature(kinds[k] if kinds else "number", q, x) for x in B[:, k]] for q in A[:, k]]
        total += (w[k] * np.array(rows, dtype=np.float64)) ** power[k]
    return np.exp(-total)


def kriging_trend(X, is_linear):
    """F: ones, and the inputs if the trend is linear."""
    return np.hstack([np.ones((len(X), 1)), X]) if is_linear else np.ones((len(X), 1))


def restricted_likelihood(G, F, Y):
    """Minus the log density of N'y, N the orthogonal complement of F, summed over the columns of Y; less constants."""
    N = np.linalg.svd(F)[0][:, np.linalg.matrix_rank(F) :]
    V, Z = N.T @ G @ N, N.T @ Y
    sign, log_det = np.linalg.slogdet(V)
    assert sign > 0
    return 0.5 * (np.sum(Z * np.linalg.solve(V, Z)) + Y.shape[1] * log_det)


def kriging(g, f, G, F, variance):
    """Weights (n,) of the best linear unbiased prediction, and its mean squared error, of one query.

    Minimised is var(c'y - y0) subject to F'c = f, by its Lagrange equations; g are the covariances of y and y0.
    """
    q = F.shape[1]
    equations = np.block([[G, F], [F.T, np.zeros((q, q))]])
    c = np.linalg.solve(equations, np.concatenate([g, f]))[: len(G)]
    return c, c @ G @ c - 2 * c @ g + variance


def kriging_on_neighbours(kappa, keys, amplitude, noise, f, F, k, left_out=None):
    """Weights (m, n) and variances (m,) of queries of covariances kappa (m, n) with the keys, (n, n) among these.

    Each rests on the k keys of the largest kappa, of ties the first, that are not left out; noise is that of each key.
    """
    weights, variances = np.zeros(kappa.shape), np.empty(len(kappa))
    for i in range(len(kappa)):
        left = np.setdiff1d(np.arange(len(keys)), [] if left_out is None else left_out[i])
        near = np.sort(left[np.argsort(-kappa[i, left], kind="stable")[:k]])
        G = amplitude * keys[np.ix_(near, near)] + np.diag(noise[near])
        weights[i, near], variances[i] = kriging(amplitude * kappa[i, near], f[i], G, F[near], amplitude)
    return weights, variances


def own_class(y, pooled):
    """Of pooled indicators (m, C) that of the class of each row; classes are 0, 1, ..."""
    return np.array([pooled[i, c] for i, c in enumerate(y)])


def class_loss(q, w, n_classes, s):
    """The log loss of (1 - s) q + s / C, and of one sample more of weight 1 with q = 0, over the sum of the w."""
    with np.errstate(divide="ignore"):
        logs = np.log((1 - s) * q + s / n_classes)
        return -(w @ logs + np.log(s / np.longdouble(n_classes))) / w.sum()


def best_smoothing(q, w, n_classes):
    """The s in (0, 0.999) with the smallest `class_loss`, which is convex in s, by golden section."""
    a, b, ratio = np.longdouble(0), np.longdouble(0.999), (np.sqrt(np.longdouble(5)) - 1) / 2
    for _ in range(100):
        left, right = b - ratio * (b - a), a + ratio * (b - a)
        if class_loss(q, w, n_classes, left) < class_loss(q, w, n_classes, right):
            b = right
        else:
            a = left
    return (a + b) / 2
