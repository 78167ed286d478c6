"""From features to columns: numbers, categories, ordered categories and periodic features as points.

Each feature of X becomes a block of columns, and all columns of a block share one w. With K the Gaussian kernel,

    K(||z - z'||),   ||z - z'||^2 = sum_k w_k^2 d_k(x_k, x'_k)^2,

is the product of the kernels exp(-(w_k d_k)^2 / 2) of the features, and d_k^2 is

    number                (x - x')^2
    category              1 if x != x', else 0                    (Aitchison & Aitken 1976; Li & Racine 2003)
    ordered category      the number of steps between the levels  (Li & Racine 2007)
    periodic, period P    (P / pi)^2 sin^2(pi (x - x') / P)       (von Mises)

with lambda = exp(-w^2 / 2) the weight of a mismatch, or of one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import helmert

from sknw._kernel_sums.index import Groups

# Half the squared distance of two levels.
_HALF_A_MISMATCH = 0.5
# Sums take fewer columns as they are.
_FEWEST_GROUPS = 8


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """What each feature of X is, and the columns that it becomes. The X of categories are codes: numbers of levels.

    A category of L levels becomes the L - 1 coordinates of the corners of a regular simplex with edges of length 1,
    which is one-hot coding divided by sqrt(2) without the direction in which it is constant. An ordered one becomes the
    L - 1 columns +-1/2 that say whether x is above each level but the last; its missing values are at the middle of the
    order and one step aside. Code -1, an unknown level, is at the middle, at the same distance from all levels. A
    periodic feature becomes a point on a circle of circumference P.
    """

    n_levels: np.ndarray  # of each feature, a missing value counts as one; 0 for numbers, (d,)
    is_ordered: np.ndarray  # bool (d,)
    has_missing: np.ndarray  # whether the last level of a category is a missing value, bool (d,)
    period: np.ndarray  # 0 for features that are not periodic, (d,)
    has_common_scale: bool = False  # whether all numbers that are not periodic have one scale

    @classmethod
    def of_numbers(cls, d: int) -> FeatureMap:
        """The map of d numbers, which changes nothing."""
        nothing = np.zeros(d, dtype=bool)
        return cls(np.zeros(d, dtype=np.intp), nothing, nothing, np.zeros(d))

    def __len__(self) -> int:
        return len(self.n_levels)

    @cached_property
    def is_identity(self) -> bool:
        """Whether all features are numbers, so that the columns are X itself."""
        return not (self.n_levels.any() or self.period.any())

    @cached_property
    def categories(self) -> dict[int, np.ndarray]:
        """The points of the levels of each category, and at last that of an unknown level: (L + 1, c)."""
        return {k: self._points(k) for k in np.flatnonzero(self.n_levels).tolist()}

    def _points(self, k: int) -> np.ndarray:
        n = int(self.n_levels[k])
        if self.is_ordered[k]:
            n_steps = n - 1 - int(self.has_missing[k])
            points = np.tri(n, n_steps, -1) - 0.5
            if self.has_missing[k]:
                points[-1] = 0.0
                points = np.column_stack([points, np.arange(n) == n - 1])
        else:
            points = helmert(n).T / np.sqrt(2.0)
        if not points.size:  # a single level
            points = np.zeros((n, 1))
        return np.vstack([points, np.zeros(points.shape[1])])

    @cached_property
    def starts(self) -> np.ndarray:
        """The first column of each feature, and at last the number of columns: (d + 1,)."""
        n_columns = np.where(self.period > 0, 2, 1)
        for k, points in self.categories.items():
            n_columns[k] = points.shape[1]
        return np.append(0, np.cumsum(n_columns))

    def columns(self, X: np.ndarray) -> np.ndarray:
        """The columns (m, c) of the rows of X (m, d); X itself where all features are numbers."""
        if self.is_identity:
            return X
        columns = np.empty((len(X), self.starts[-1]))
        for k in range(len(self)):
            columns[:, self._block(k)] = self._columns_of(k, X[:, k])
        return columns

    def _block(self, k: int) -> slice:
        return slice(*self.starts[k : k + 2])

    def _columns_of(self, k: int, x: np.ndarray) -> np.ndarray:
        if k in self.categories:
            return self.categories[k][x.astype(np.intp)]
        if not self.period[k]:
            return x[:, np.newaxis]
        angle, radius = self._angle(k, x)
        return radius * np.column_stack([np.cos(angle), np.sin(angle)])

    def _angle(self, k: int, x: np.ndarray) -> tuple[np.ndarray, float]:
        """Where x is on its circle, and the radius."""
        period = float(self.period[k])
        return 2.0 * np.pi * (np.remainder(x.astype(np.float64), period) / period), period / (2.0 * np.pi)

    def repeat(self, of_features: np.ndarray) -> np.ndarray:
        """What each column has of numbers (d,) that features have: (c,). Arrays (d, r) where all are numbers."""
        return of_features if self.is_identity else np.repeat(of_features, np.diff(self.starts), axis=0)

    def sum(self, of_columns: np.ndarray) -> np.ndarray:
        """The sums of numbers (..., c) over the columns of each feature: (..., d)."""
        return of_columns if self.is_identity else np.add.reduceat(of_columns, self.starts[:-1], axis=-1)

    def scales(self, is_constant: np.ndarray, of_columns: np.ndarray) -> np.ndarray:
        """The scale s_k of each feature, (d,), for the standard deviations (c,) of columns, 1 for a constant one.

        s_k^2 is half the mean squared distance of two samples: the sum of the variances of the columns. That of a
        category is not below its value for equally frequent levels, nor below half the squared distance of two levels,
        or a rare level would be alone at every bandwidth: 1/2 for all categories without an order.
        A common scale of numbers is the root mean square of those that are not constant, so that a rotation of
        coordinates does not change it.
        """
        if self.is_identity and not self.has_common_scale:
            return of_columns
        scales = np.where(is_constant, 0.0, of_columns)
        if not self.is_identity:
            scales = np.hypot.reduceat(scales, self.starts[:-1])
        for k, points in self.categories.items():
            if self.n_levels[k] > 1:
                scales[k] = max(scales[k], np.sqrt(max(points[:-1].var(axis=0).sum(), _HALF_A_MISMATCH)))
        if self.has_common_scale:
            numbers = (self.n_levels == 0) & (self.period == 0)
            varying = scales[numbers & (scales > 0)]
            scales[numbers] = np.hypot.reduce(varying / np.sqrt(max(len(varying), 1)))
        return np.where(scales > 0, scales, 1.0)

    def groups(self, X: np.ndarray, w: np.ndarray) -> Groups | None:
        """The rows of X in groups, by the unordered category of most levels, at the w (c,) of columns; None without."""
        k = self._largest_category
        if k is None:
            return None
        number, block = X[:, k].astype(np.intp), self._block(k)
        return Groups(number, int(self.n_levels[k]), block, float(w[block.start] ** 2))

    @cached_property
    def _largest_category(self) -> int | None:
        """The unordered category of most levels; None where sums take its columns as they are."""
        n_levels = np.where(self.is_ordered, 0, self.n_levels)
        return int(np.argmax(n_levels)) if n_levels.max(initial=0) >= _FEWEST_GROUPS else None

    def derivative(self, X: np.ndarray, by_columns: np.ndarray) -> np.ndarray:
        """Derivatives (m, k, d) in the features at X (m, d), from those in the columns (m, k, c); 0 in categories."""
        if self.is_identity:
            return by_columns
        by_features = np.zeros((*by_columns.shape[:2], len(self)))
        for k in np.flatnonzero(self.n_levels == 0).tolist():
            block = by_columns[..., self._block(k)]
            if not self.period[k]:
                by_features[..., k] = block[..., 0]
                continue
            angle, _ = self._angle(k, X[:, k])
            tangent = np.column_stack([-np.sin(angle), np.cos(angle)])
            by_features[..., k] = np.einsum("mkc,mc->mk", block, tangent)
        return by_features

    def reference(self, k: int, codes: np.ndarray) -> np.ndarray:
        """The level to which each level (m,) of a category is compared.

        It is the first; in an ordered category the one below, and the first itself for the first, for unknown levels
        and for missing values.
        """
        if not self.is_ordered[k]:
            return np.zeros_like(codes)
        is_aside = codes == self.n_levels[k] - 1 if self.has_missing[k] else np.zeros(len(codes), dtype=bool)
        return np.where(is_aside, 0, np.maximum(codes - 1, 0))
