"""Local lines: the algebra that turns kernel sums of (1, y, x, x x', x y) into weighted least-squares lines.

At a query x0, with attention weights P_j (non-negative, of sum 1) and inputs x in units of their standard deviations,
the line minimises

    sum_j P_j (y_j - b0 - b'(x_j - x0))^2 + ridge ||b||^2

and its value at x0 is

    m = y_mean + b'(x0 - x_mean),   b = (C + ridge I)^-1 c,   C = cov(x, x), c = cov(x, y),

means and covariances weighted by P (Cleveland 1979; Fan 1992; with a ridge Seifert & Gasser 1996). A large ridge leaves
the weighted mean, which is Nadaraya-Watson. Along the principal axes of C, of variances v_i, the line at every ridge is
a sum of shrunken parts,

    m(ridge) = y_mean + sum_i a_i c_i / (v_i + ridge),   a_i and c_i the components of x0 - x_mean and c.

Weights of sum 1 do not tell how many samples they come from: few, far from the query, would carry a line as many do. So
the slope is also shrunken by M / (M + count), M = sum_j K_j w_j / K(0) the number of samples around the query, as if
`count` samples more were there, spread as the others are, that see no slope (the g-prior of Zellner 1986):

    b = M / (M + count) (C + ridge I)^-1 c.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, Self

import numpy as np
from scipy.linalg import qr
from scipy.special import expit

from sknw._smoothing.training import TrainingSet, coordinates

# Sums of squares carry rounding of about 2e-16 of their size. A variance with the ridge above this part of the size has
# ten digits;
ACCURATE = 1e-6
# below this part it is rounding.
_ROUNDING = 1e-14
# Of samples seen from the query itself, whose differences are not squared, much smaller variances are known.
_ROUNDING_OF_DIFFERENCES = 1e-22
_ROUNDING_OF_DEVIATIONS = 1e-15
# Lines with one ridge have no slope along axes with at most this part of the largest variance.
SINGULAR = 1e-10
# A smaller ridge counts as none.
NO_RIDGE = 1e-14
# Inputs of lines count as this where they are larger, so that sums of them are finite.
_FARTHEST = 1e300


def line_columns(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The columns (y, x, x x', x y) of which a line needs the sums, for x (n, d) and values (n, k)."""
    (n, d), k = x.shape, values.shape[1]
    columns = np.empty((n, n_line_columns(d, k)))
    _, _, products, mixed = np.split(columns, np.cumsum([k, d, d * (d + 1) // 2]), axis=1)
    columns[:, :k], columns[:, k : k + d] = values, x
    for i, end in enumerate(np.cumsum(np.arange(d, 0, -1)).tolist()):
        np.multiply(x[:, i:], x[:, i, np.newaxis], out=products[:, end - d + i : end])
        np.multiply(values, x[:, i, np.newaxis], out=mixed[:, i * k : (i + 1) * k])
    return columns


def n_line_columns(d: int, k: int) -> int:
    """How many columns `line_columns` returns."""
    return k + d + d * (d + 1) // 2 + d * k


def split_line_columns(means: np.ndarray, d: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The parts y (..., k), x (..., d), x x' (..., d, d) and x y (..., d, k) of means of `line_columns` (..., c)."""
    y, x, products, mixed = np.split(means, np.cumsum([k, d, d * (d + 1) // 2]), axis=-1)
    return y, x, np.take(products, _places_of_products(d), axis=-1), mixed.reshape(*means.shape[:-1], d, k)


@cache
def _places_of_products(d: int) -> np.ndarray:
    """The column of each product of two inputs among all products: (d, d)."""
    places, (rows, columns) = np.empty((d, d), dtype=np.intp), np.triu_indices(d)
    places[rows, columns] = places[columns, rows] = np.arange(len(rows))
    return places


@dataclass(frozen=True, eq=False)
class LocalLinearSpec:
    """What pooling by local lines needs beyond the weights."""

    x: np.ndarray  # inputs of the training samples, (x - center) / scales, of shape (n, c), or along a basis (n, r)
    scales: np.ndarray  # of the columns (c,); with a ridge for each feature, these times the roots of the ridges
    ridge: float  # penalty on the squared slope; 1 where the scales account for it
    basis: np.ndarray | None = None  # orthonormal, of the rows of inputs, (c, r)
    singular: float = SINGULAR  # no slope along axes with at most this part of the largest variance
    count: float = 0.0  # slopes are those of M / (M + count) of what the M samples around a query say

    @classmethod
    def of(cls, training: TrainingSet, ridge: float | np.ndarray, count: float = 0.0) -> LocalLinearSpec:
        """For a training set and one ridge for all features, or one for each, (d,), positive if they differ.

        With more columns than samples it is `along_rows`.
        """
        return replace(cls.along_columns(training, ridge).along_rows(), count=count)

    @classmethod
    def along_columns(cls, training: TrainingSet, ridge: float | np.ndarray) -> LocalLinearSpec:
        """The same without a basis, for ridges that will differ from column to column."""
        scales, common, singular = training.scales, float(np.min(ridge)), SINGULAR
        if common < np.max(ridge):  # columns are of any size then, and axes of small variance count too
            scales, common, singular = scales * np.sqrt(ridge), 1.0, _ROUNDING_OF_DIFFERENCES
        scales = training.features.repeat(scales)
        line = cls(training.coordinates(1.0 / scales), scales, common, singular=singular)
        return line.along(np.isfinite(scales))

    def along(self, columns: np.ndarray) -> LocalLinearSpec:
        """The same with a slope along some columns only, (c,)."""
        if columns.all():
            return self
        basis = np.eye(len(columns))[:, columns]
        return replace(self, x=self.x @ basis, basis=basis)

    def along_rows(self) -> LocalLinearSpec:
        """The same in fewer coordinates than samples, where these are fewer than columns, for one ridge.

        Slopes lie in the space of the rows of inputs, and an orthonormal basis of it keeps their squared length. It has
        no axis along which rows differ by rounding only: centred rows have one less than samples.
        """
        if len(self.x) >= self.x.shape[1]:
            return self
        basis, triangle, _ = qr(np.transpose(self.x), mode="economic", pivoting=True)
        squares = np.diagonal(triangle) ** 2
        basis = basis[:, squares >= _ROUNDING_OF_DIFFERENCES * squares[0]]
        return replace(self, x=self.x @ basis, basis=basis if self.basis is None else self.basis @ basis)

    def inputs(self, columns: np.ndarray, center: np.ndarray) -> np.ndarray:
        """The inputs of columns (m, c)."""
        x = np.clip(coordinates(columns, center, 1.0 / self.scales), -_FARTHEST, _FARTHEST)
        return x if self.basis is None else x @ self.basis

    @cached_property
    def largest_input(self) -> float:
        """The largest absolute input of a training sample."""
        return float(np.abs(self.x).max())

    def slope_of_columns(self, slope: np.ndarray) -> np.ndarray:
        """The slopes (m, k, c) in the columns, from those in the inputs (m, r, k)."""
        slope = np.swapaxes(slope, 1, 2)
        return (slope if self.basis is None else slope @ self.basis.T) / self.scales


class _PerQuery:
    """Base of dataclasses of arrays whose first axes, (...), are bandwidths and queries."""

    def __getitem__(self, index: Any) -> Self:
        return type(self)(*(array[index] for array in vars(self).values()))

    def __setitem__(self, index: Any, others: Self) -> None:
        for array, other in zip(vars(self).values(), vars(others).values(), strict=True):
            array[index] = other

    def copy(self) -> Self:
        """The same with arrays of its own, where these are parts of larger ones."""
        return type(self)(*(array.copy() for array in vars(self).values()))

    @classmethod
    def joined(cls, batches: Sequence[Self]) -> Self:
        """Those of consecutive batches of the queries, the second axis."""
        by_attribute = zip(*(vars(batch).values() for batch in batches), strict=True)
        return cls(*(np.concatenate(arrays, axis=1) for arrays in by_attribute))

    @classmethod
    def stacked(cls, at_bandwidths: Sequence[Self]) -> Self:
        """Those of the same queries at several bandwidths, which become the first axis."""
        return cls(*(np.stack(arrays) for arrays in zip(*(vars(one).values() for one in at_bandwidths), strict=True)))


@dataclass(frozen=True, eq=False)
class LocalMoments(_PerQuery):
    """Weighted means and covariances around each of some queries, of any leading shape (...)."""

    x_mean: np.ndarray  # (..., d)
    y_mean: np.ndarray  # (..., k)
    xx: np.ndarray  # C, (..., d, d)
    xy: np.ndarray  # c, (..., d, k)
    squares: np.ndarray  # weighted mean squares of what xx and xy are differences of, (..., d)
    log_samples: np.ndarray  # log M, (...)

    @classmethod
    def of(cls, means: np.ndarray, log_samples: np.ndarray, d: int, k: int) -> LocalMoments:
        """From the weighted means of `line_columns`, of shape (..., n_line_columns(d, k))."""
        y_mean, x_mean, xx, xy = split_line_columns(means, d, k)
        squares = np.diagonal(xx, axis1=-2, axis2=-1).copy()
        xx -= x_mean[..., :, np.newaxis] * x_mean[..., np.newaxis, :]
        xy = xy - x_mean[..., :, np.newaxis] * y_mean[..., np.newaxis, :]
        return cls(x_mean, y_mean, xx, xy, squares, log_samples)

    def has_cancellation(self, ridge: float) -> np.ndarray:
        """Where a variance with the ridge is less than `ACCURATE` of the square that it was made from: bool (...)."""
        variances = np.diagonal(self.xx, axis1=-2, axis2=-1)
        return np.any(variances + ridge < ACCURATE * self.squares, axis=-1)

    def equivalent_kernel_and_slope(
        self, x: np.ndarray, ridge: float | np.ndarray, singular: float = SINGULAR
    ) -> tuple[np.ndarray, np.ndarray]:
        """v = (C + ridge I)^-1 (x - x_mean) at queries x (..., d), and s = (C + ridge I)^-1 c, (..., d, k).

        With r = M / (M + count), m = y_mean + r v'c = y_mean + r s'(x - x_mean).
        """
        right = np.concatenate([(x - self.x_mean)[..., np.newaxis], self.xy], axis=-1)
        both = solve(self.xx, right, ridge, singular)
        return both[..., 0], both[..., 1:]


def shrinkage(log_samples: np.ndarray, count: float) -> np.ndarray:
    """M / (M + count)."""
    return expit(log_samples - np.log(count)) if count > 0 else np.ones_like(log_samples)


def solve(xx: np.ndarray, right: np.ndarray, ridge: float | np.ndarray, singular: float = SINGULAR) -> np.ndarray:
    """(C + ridge I)^-1 times `right`, with one ridge, or with one for each feature (d,) that are all positive or 0.

    With one ridge there is nothing along axes with at most the part `singular` of the largest variance.
    """
    if np.ndim(ridge) and np.all(ridge >= NO_RIDGE):
        return np.linalg.solve(xx + ridge * np.eye(xx.shape[-1]), right)
    variances, directions = np.linalg.eigh(xx)
    varies = variances > singular * variances[..., -1:]
    total = variances + (0.0 if np.ndim(ridge) else ridge)
    inverse = np.divide(1.0, total, out=np.zeros_like(variances), where=varies)
    along = np.swapaxes(directions, -2, -1) @ right
    return directions @ (inverse[..., np.newaxis] * along)


@dataclass(frozen=True, eq=False)
class LocalFits(_PerQuery):
    """Local lines at some queries, of any leading shape (...), along the principal axes of C around each."""

    y_mean: np.ndarray  # (..., k)
    variances: np.ndarray  # v_i, (..., d)
    query_scores: np.ndarray  # a_i, the components of x0 - x_mean, (..., d)
    covariances: np.ndarray  # c_i, (..., d, k)
    known: np.ndarray  # from here on variances with the ridge are accurate, (..., d)
    least: np.ndarray  # along axes with smaller variances there is no slope, (..., d)
    log_samples: np.ndarray  # log M, (...)
    mean_variance: np.ndarray  # of all axes, (...)

    @classmethod
    def of(cls, moments: LocalMoments, x: np.ndarray, singular: float = SINGULAR) -> LocalFits:
        """From the moments around the queries x (..., d)."""
        scores, covariances = x - moments.x_mean, moments.xy
        if moments.xx.shape[-1] == 1:  # the axis is the input itself
            variances = moments.xx[..., 0]
        else:
            variances, directions = np.linalg.eigh(moments.xx)
            axes = np.swapaxes(directions, -2, -1)
            scores, covariances = (axes @ scores[..., np.newaxis])[..., 0], axes @ covariances
        variances = np.maximum(variances, 0.0)
        size = np.broadcast_to(moments.squares.sum(axis=-1, keepdims=True), variances.shape)  # whatever the axes
        least = np.repeat(singular * variances[..., -1:], variances.shape[-1], axis=-1)
        mean_variance = np.where(variances > _ROUNDING * size, variances, 0.0).mean(axis=-1)
        # where only the rounding is unknown there is surely no slope, and nothing more to know
        may_vary = variances + _ROUNDING * size > least
        variances, known = variances * may_vary, ACCURATE * size * may_vary
        covariances = covariances * may_vary[..., np.newaxis]
        return cls(moments.y_mean, variances, scores, covariances, known, least, moments.log_samples, mean_variance)

    @classmethod
    def of_means(cls, means: np.ndarray, log_samples: np.ndarray) -> LocalFits:
        """Weighted means (..., k), as lines that have no axes."""
        no_axes = np.empty((*log_samples.shape, 0))
        covariances = np.empty((*no_axes.shape, means.shape[-1]))
        return cls(means, no_axes, no_axes, covariances, no_axes, no_axes, log_samples, np.zeros_like(log_samples))

    def value(self, ridge: float | np.ndarray, count: float) -> np.ndarray:
        """m of shape (..., k), at one ridge or at one for each query."""
        return self.shrunken_value(ridge, shrinkage(self.log_samples, count))

    def shrunken_value(self, ridge: float | np.ndarray, factor: np.ndarray) -> np.ndarray:
        """m of shape (..., k), with the slopes that the ridge leaves multiplied by a factor (...)."""
        if self.variances.shape[-1] == 0:
            return self.y_mean
        kernel = factor[..., np.newaxis] * self.query_scores * self._inverse(ridge)
        return self.y_mean + np.einsum("...i,...ik->...k", kernel, self.covariances)

    def leverage(self, ridge: float | np.ndarray) -> np.ndarray:
        """(x0 - x_mean)' (C + ridge I)^-1 (x0 - x_mean), of shape (...); infinite off the plane of the samples."""
        inverse, squares = self._inverse(ridge), self.query_scores**2
        has_slope = self.variances + np.asarray(ridge)[..., np.newaxis] > self.least
        return np.where(has_slope | (squares <= self.least), squares * inverse, np.inf).sum(axis=-1)

    def is_ill_conditioned(self, ridge: float) -> np.ndarray:
        """Where a variance with the ridge is not accurate: bool of shape (...)."""
        return np.any(self.variances + ridge < self.known, axis=-1)

    def _inverse(self, ridge: float | np.ndarray) -> np.ndarray:
        total = self.variances + np.asarray(ridge)[..., np.newaxis]
        has_slope = total > self.least
        if has_slope.all():
            return np.divide(1.0, total, out=total)
        return np.divide(1.0, total, out=np.zeros_like(total), where=has_slope)


def lines_around(
    p: np.ndarray, x: np.ndarray, y: np.ndarray, log_samples: np.ndarray, size: float, singular: float = SINGULAR
) -> LocalFits:
    """Local lines at m queries from the l samples around each, by singular values, which need no squares.

    `p` (m, l) are the weights, of sum 1, `x` (m, l, d) the inputs as seen from the query, x_j - x0, and `y` (m, l, k);
    inputs have the rounding of the largest one, `size`.
    """
    x_mean, y_mean, x, y = _centred(p, x, y)
    root = np.sqrt(p)[..., np.newaxis]
    missing = max(x.shape[2] - x.shape[1], 0)  # as many singular values as features
    design, targets = (np.pad(root * a, [(0, 0), (0, missing), (0, 0)]) for a in (x, y))
    if x.shape[2] == 1:  # the axis is x itself
        deviations = np.sqrt(np.einsum("mla,mla->ma", design, design))
        left = np.divide(
            design, deviations[:, np.newaxis], out=np.zeros_like(design), where=deviations[:, np.newaxis] > 0
        )
        axes = np.ones((len(x), 1, 1))
    else:
        left, deviations, axes = np.linalg.svd(design, full_matrices=False)
    least_deviations = np.maximum(np.sqrt(singular) * deviations[:, :1], _ROUNDING_OF_DEVIATIONS * size)
    deviations[deviations <= least_deviations] = 0.0
    covariances = deviations[..., np.newaxis] * (np.swapaxes(left, -2, -1) @ targets)
    variances, scores = deviations**2, -(axes @ x_mean[..., np.newaxis])[..., 0]
    least = np.broadcast_to(singular * variances[:, :1], variances.shape)
    mean_variance, nothing = variances.mean(axis=-1), np.zeros_like(least)
    return LocalFits(y_mean, variances, scores, covariances, nothing, least, log_samples, mean_variance)


def moments_around(
    p: np.ndarray, x: np.ndarray, y: np.ndarray, query: np.ndarray, log_samples: np.ndarray
) -> LocalMoments:
    """Moments around the queries (m, d) from the samples around each, given as in `lines_around`."""
    x_mean, y_mean, x, y = _centred(p, x, y)
    weighted = np.swapaxes(p[..., np.newaxis] * x, -2, -1)
    xx = weighted @ x
    return LocalMoments(query + x_mean, y_mean, xx, weighted @ y, np.diagonal(xx, axis1=-2, axis2=-1), log_samples)


def _centred(p: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weighted means of x and y, and both less their means.

    First less those of the heaviest sample: where it has almost all of the weight, the mean differs from it by little.
    """
    heaviest = p.argmax(axis=1)[:, np.newaxis, np.newaxis]
    origins = [np.take_along_axis(a, heaviest, axis=1) for a in (x, y)]
    x, y = (a - origin for a, origin in zip((x, y), origins, strict=True))
    means = [p[:, np.newaxis] @ a for a in (x, y)]
    x_mean, y_mean = ((origin + mean)[:, 0] for origin, mean in zip(origins, means, strict=True))
    return x_mean, y_mean, x - means[0], y - means[1]
