"""Local lines: the algebra that turns kernel sums of (1, y, x, x x', x y) into weighted least-squares lines.

At a query x0, with attention weights P_j (non-negative, of sum 1) and inputs x in units of their standard deviations,
the line minimises

    sum_j P_j (y_j - b0 - b'(x_j - x0))^2 + ridge ||b||^2

and its value at x0 is

    m = y_mean + b'(x0 - x_mean),   b = (C + ridge I)^-1 c,   C = cov(x, x), c = cov(x, y),

means and covariances weighted by P (Cleveland 1979; Fan 1992; with a ridge Seifert & Gasser 1996). A large ridge leaves
the weighted mean, which is Nadaraya-Watson.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A ridge below this may be lost beside the rounding of C, which is of the order of 1. Then directions along which the
# inputs vary by less than a part of their largest variance have no slope.
_TINY_RIDGE = 1e-12
_SINGULAR = 1e-10


def line_columns(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The columns (y, x, x x', x y) of which a line needs the sums, for x (n, d) and values (n, k)."""
    rows, columns = np.triu_indices(x.shape[1])
    products = x[:, rows] * x[:, columns]
    mixed = x[:, :, np.newaxis] * values[:, np.newaxis, :]
    return np.hstack([values, x, products, mixed.reshape(len(x), -1)])


def n_line_columns(d: int, k: int) -> int:
    """How many columns `line_columns` returns."""
    return k + d + d * (d + 1) // 2 + d * k


@dataclass(frozen=True, eq=False)
class LocalMoments:
    """Weighted means and covariances around each of some queries, of any leading shape (...).

    Attributes
    ----------
    x_mean : ndarray of shape (..., d)
    y_mean : ndarray of shape (..., k)
    xx : ndarray of shape (..., d, d)
        The covariances C.
    xy : ndarray of shape (..., d, k)
        The covariances c.
    log_mass : ndarray of shape (...)
        The logarithm of the sum of weights before they were made to sum to 1.
    """

    x_mean: np.ndarray
    y_mean: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    log_mass: np.ndarray

    @classmethod
    def of(cls, means: np.ndarray, log_mass: np.ndarray, d: int, k: int) -> LocalMoments:
        """From the weighted means of `line_columns`, of shape (..., n_line_columns(d, k))."""
        y_mean, x_mean, products, mixed = np.split(means, np.cumsum([k, d, d * (d + 1) // 2]), axis=-1)
        xx = np.empty((*means.shape[:-1], d, d))
        rows, columns = np.triu_indices(d)
        xx[..., rows, columns] = xx[..., columns, rows] = products
        xx -= x_mean[..., :, np.newaxis] * x_mean[..., np.newaxis, :]
        xy = mixed.reshape(*means.shape[:-1], d, k) - x_mean[..., :, np.newaxis] * y_mean[..., np.newaxis, :]
        return cls(x_mean, y_mean, xx, xy, log_mass)

    def has_lost_digits(self, largest_loss: float) -> np.ndarray:
        """Where a variance is less than `largest_loss` of the square it is a difference of: bool of shape (...)."""
        variances = np.diagonal(self.xx, axis1=-2, axis2=-1)
        return np.any(variances < largest_loss * self.x_mean**2, axis=-1)

    def pull(self, x: np.ndarray, ridge: float | np.ndarray) -> np.ndarray:
        """u = (C + ridge I)^-1 (x - x_mean) at queries x (..., d): m = y_mean + u'c, of shape (..., d)."""
        return _solve(self.xx, (x - self.x_mean)[..., np.newaxis], ridge)[..., 0]

    def pull_and_slope(self, x: np.ndarray, ridge: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """u as of `pull`, and b = (C + ridge I)^-1 c, of shape (..., d, k)."""
        both = _solve(self.xx, np.concatenate([(x - self.x_mean)[..., np.newaxis], self.xy], axis=-1), ridge)
        return both[..., 0], both[..., 1:]

    def value(self, x: np.ndarray, ridge: float | np.ndarray) -> np.ndarray:
        """m at the queries x (..., d): of shape (..., k)."""
        return self.y_mean + np.einsum("...d,...dk->...k", self.pull(x, ridge), self.xy)

    def leverage(self, x: np.ndarray, log_own: np.ndarray, ridge: float | np.ndarray) -> np.ndarray:
        """dm / dy of a sample at the query itself, of shape (...): P_own (1 + (x - x_mean)'u), log_own its weight."""
        along = np.einsum("...d,...d->...", self.pull(x, ridge), x - self.x_mean)
        return np.exp(log_own - self.log_mass) * (1.0 + along)


def _solve(xx: np.ndarray, right: np.ndarray, ridge: float | np.ndarray) -> np.ndarray:
    """(C + ridge I)^-1 times `right`; for ridge = 0 and C singular the limit ridge -> 0, the pseudo-inverse."""
    if np.all(ridge >= _TINY_RIDGE):
        return np.linalg.solve(xx + ridge * np.eye(xx.shape[-1]), right)
    variances, directions = np.linalg.eigh(xx)
    varies = variances > _SINGULAR * variances[..., -1:]
    inverse = np.divide(1.0, variances + ridge, out=np.zeros_like(variances), where=varies)
    along = np.swapaxes(directions, -2, -1) @ right
    return directions @ (inverse[..., np.newaxis] * along)
