"""Derivatives of the prediction in the inputs.

With S(q) = sum_j K_j w_j V_j the sums and G = dS / dq their derivatives in the query, the weighted mean m = S_V / S_1
has the derivative

    dm / dq = (G_V - m G_1) / S_1,

which for the Gaussian kernel is cov_a(z, V), the covariance under the attention weights. The weighted means of all
columns (y, x, x x', x y) have it, and so it is known how the value of a local line changes:

    m = y_mean + r v'c,   dm = dy_mean + r (s'(dx - dx_mean) + v'(dc - dC s)) + r (1 - r) v'c dlog M,

C = cov(x, x), c = cov(x, y), r = M / (M + count), v = (C + ridge I)^-1 (x - x_mean), and r s = r (C + ridge I)^-1 c the
slope (see `local_linear`); M changes as S_1.
"""

from __future__ import annotations

import numpy as np

from sknw._kernel_sums.derivative import derivative_sums
from sknw._kernel_sums.registry import kernel_sums
from sknw._smoothing.isolation import slopes_that_hold_mass
from sknw._smoothing.local_linear import LocalFits, LocalMoments, moments_around, shrinkage, split_line_columns
from sknw._smoothing.neighbours import EffectiveNeighbours
from sknw._smoothing.smoother import Queries, Smoother

# Queries this many times as far from the centre as the furthest key are differentiated from their neighbours.
_FAR = 4.0


def feature_gradients(smoother: Smoother, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of the predictions at X (m, d) in the features, and contrasts of categories to another level.

    Of shape (m, k, d); and which queries had no support, or not at the other level.
    """
    features, queries = smoother.features, smoother.queries(X)
    by_columns, unsupported = gradients(smoother, queries)
    found = features.derivative(X, by_columns)
    if features.categories:
        here = smoother.pool(queries)[0]
    for k in features.categories:
        elsewhere = X.copy()
        elsewhere[:, k] = features.reference(k, X[:, k])
        there, without_support = smoother.pool(smoother.queries(elsewhere))
        found[..., k] = here - there
        unsupported = unsupported | without_support
    return found, unsupported


def gradients(smoother: Smoother, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives dm / dx of the predictions in the columns of inputs, (m, k, c), and which queries had no support.

    0 for queries without support that get the mean or the nearest value, NaN for those that get NaN.
    """
    batches = [_of_batch(smoother, queries[batch]) for batch in smoother.batches(len(queries), len(smoother.center))]
    found, unsupported = zip(*batches, strict=True)
    return np.concatenate(found), np.concatenate(unsupported)


def _of_batch(smoother: Smoother, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
    sums = kernel_sums(smoother.request(queries), smoother.algorithm)
    log_mass, (means, no_support) = sums.log_mass()[0], sums.into_means()
    mean, unsupported = means[0], no_support[0]
    relative = derivative_sums(smoother.request(queries), log_mass, smoother.algorithm)
    by_x = _in_x(relative[:, 1:] - mean[:, :, np.newaxis] * relative[:, :1], smoother.w)
    # coordinates of queries far outside cost digits
    lost = np.abs(queries.z).max(axis=1) > _FAR * smoother.index.max_abs_key
    if smoother.line is not None:
        log_samples = log_mass - smoother.log_at_zero(queries)
        moments, ridge = LocalMoments.of(means, log_samples, *_shape(smoother)), smoother.line.ridge
        lines = LocalFits.of(moments, queries.x, smoother.line.singular)
        lost |= (moments.has_cancellation(ridge) | lines.is_ill_conditioned(ridge))[0]
        by_x = _of_lines(smoother, queries, moments[0], by_x, _in_x(relative[:, 0], smoother.w))
    if queries.widths is not None:  # which change with the query
        lost |= queries.widths != 1.0
    rest = np.flatnonzero(lost & ~unsupported)
    if rest.size:
        neighbours = EffectiveNeighbours(smoother.value_request(queries))
        for chunk in neighbours.chunks(rest):
            rows = chunk.rows
            by_x[rows] = _around(smoother, queries[rows], *neighbours.of(chunk), log_mass[rows])
    by_x[unsupported] = 0.0 if smoother.policy in ("nearest", "mean") else np.nan
    return by_x, unsupported


def _shape(smoother: Smoother) -> tuple[int, int]:
    """The numbers of inputs of the line and of outputs."""
    assert smoother.line is not None
    return smoother.line.x.shape[1], smoother.values.shape[1]


def _in_x(by_z: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Derivatives (..., d) in x from those in z = (x - center) w, (..., r)."""
    return by_z * w if w.ndim == 1 else by_z @ w.T


def _of_lines(
    smoother: Smoother, queries: Queries, moments: LocalMoments, by_x: np.ndarray, by_log_mass: np.ndarray
) -> np.ndarray:
    """dm / dx (m, k, d), from the derivatives of the weighted means of all columns (m, c, d), and of log M (m, d)."""
    assert smoother.line is not None
    # the derivative in feature a is [:, a]
    y, x, xx, xy = split_line_columns(np.swapaxes(by_x, 1, 2), *_shape(smoother))
    xx -= np.einsum("mai,mj->maij", x, moments.x_mean) + np.einsum("mi,maj->maij", moments.x_mean, x)
    xy = xy - np.einsum("mai,mk->maik", x, moments.y_mean) - np.einsum("mi,mak->maik", moments.x_mean, y)
    v, slope = moments.equivalent_kernel_and_slope(queries.x, smoother.line.ridge, smoother.line.singular)
    r = shrinkage(moments.log_samples, smoother.line.count)
    change = xy - np.einsum("maij,mjk->maik", xx, slope)
    u, slope = r[:, np.newaxis] * v, r[:, np.newaxis, np.newaxis] * slope
    found = np.swapaxes(y - x @ slope + np.einsum("mi,maik->mak", u, change), 1, 2)
    found += np.einsum("m,mi,mik,ma->mka", 1.0 - r, u, moments.xy, by_log_mass)
    return found + smoother.line.slope_of_columns(slope)


def _around(smoother: Smoother, queries: Queries, keys: np.ndarray, a: np.ndarray, log_mass: np.ndarray) -> np.ndarray:
    """dm / dx (m, k, d), from the keys (m, l) near each query, their attention (m, l), and log sum_j K_j w_j (m,).

    With g_j = d log K_j / dx, in which the width of the query changes too, and for lines t_j = 1 + r v'(x_j - x_mean),
    e_j = y_j - y_mean - s'(x_j - x_mean),

        dm / dx = r s + sum_j a_j (t_j e_j + (1 - r) s'(x_j - x_mean)) (g_j - dlog M) + r (1 - r) v'c dlog M,

    and dlog M = sum_l a_l g_l; weighted means have s = 0, t_j = 1 and e_j = y_j - m.
    """
    line, kernel = smoother.line, smoother.kernel
    with np.errstate(over="ignore"):
        difference = queries.z[:, np.newaxis] - smoother.keys[keys]
        if queries.widths is not None:
            difference = difference / queries.widths[:, np.newaxis, np.newaxis]
        sq = (difference**2).sum(axis=2)
        g = 2.0 * kernel.log_derivative(sq)[..., np.newaxis] * difference
    if queries.widths is not None:
        g = slopes_that_hold_mass(kernel, sq, a, queries.widths, g / queries.widths[:, np.newaxis, np.newaxis])
    nearest = np.take_along_axis(g, a.argmax(axis=1)[:, np.newaxis, np.newaxis], axis=1)
    g = g - nearest
    mean = np.einsum("ml,mla->ma", a, g)[:, np.newaxis]
    g -= mean
    y = smoother.values[keys]
    if line is None:
        residuals = y - np.einsum("ml,mlk->mk", a, y)[:, np.newaxis]
        return _in_x(np.swapaxes(a[..., np.newaxis] * residuals, 1, 2) @ g, smoother.w)
    x = line.x[keys]
    log_samples = log_mass - smoother.log_at_zero(queries)[0]
    moments = moments_around(a, x - queries.x[:, np.newaxis], y, queries.x, log_samples)
    v, slope = moments.equivalent_kernel_and_slope(queries.x, line.ridge, line.singular)
    r = shrinkage(log_samples, line.count)[:, np.newaxis, np.newaxis]
    offsets = x - moments.x_mean[:, np.newaxis]
    along, u, slope = offsets @ slope, r[..., 0] * v, r * slope
    t = 1.0 + offsets @ u[..., np.newaxis]
    pull = t * (y - moments.y_mean[:, np.newaxis] - along) + (1.0 - r) * along
    by_z = np.swapaxes(a[..., np.newaxis] * pull, 1, 2) @ g
    of_line = np.einsum("mi,mik->mk", u, moments.xy)[..., np.newaxis]
    by_z += (1.0 - r) * of_line * (nearest + mean)
    return line.slope_of_columns(slope) + _in_x(by_z, smoother.w)
