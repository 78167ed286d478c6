"""The learned numbers as one vector theta: logarithms of w (d,) or entries of a matrix, and logarithms of ridges."""

from __future__ import annotations

import numpy as np

STRUCTURES = ("scalar", "diagonal", "low_rank", "full")

# In standardised inputs. A w at its lower bound is as good as zero. The lower bound of ridges is relative to the
# variance of the inputs around a sample.
W_BOUNDS, RIDGE_BOUNDS = (1e-3, 1e4), (1e-8, 1e3)
# A smaller one is no ridge: singular covariances stay singular.
_LEAST_RIDGE = 1e-13


class Parametrization:
    """Theta of a structure, for w (d,) or (d, r) and, if they are learned, the ridges (d,).

    "scalar" learns one w and one ridge for all features, the others one for each. Entries of a matrix have no bounds.
    With w (d,), a w of 0 and an infinite ridge stay what they are.
    """

    def __init__(
        self,
        structure: str,
        w: np.ndarray,
        ridge: np.ndarray,
        learns_ridge: bool,
        w_bounds: tuple[float, float] = W_BOUNDS,
    ):
        self.shape, self.given_ridge, self.learns_ridge = w.shape, ridge, learns_ridge
        self.is_zero, self.is_infinite = (w == 0) & (w.ndim == 1), np.isinf(ridge)
        self.size = 1 if structure == "scalar" else len(w)
        self.w_bounds = w_bounds
        self.ridge_bounds = ridge_bounds(float(np.abs(w).max()))
        of_w = [_logarithms(w_bounds)] * self.size if w.ndim == 1 else [(None, None)] * w.size
        self.n_w = len(of_w)
        self.bounds = of_w + [_logarithms(self.ridge_bounds)] * self.size * learns_ridge

    def pack(self, w: np.ndarray, ridge: np.ndarray) -> np.ndarray:
        """Theta for w and ridges."""
        of_w = self._pack(w, self.w_bounds) if w.ndim == 1 else w.ravel()
        return np.append(of_w, self._pack(ridge, self.ridge_bounds)) if self.learns_ridge else of_w

    def unpack(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The w and the ridges of theta."""
        of_w, of_ridge = np.split(theta, [self.n_w])
        w = np.where(self.is_zero, 0.0, self._unpack(of_w) if len(self.shape) == 1 else of_w.reshape(self.shape))
        return w, np.where(self.is_infinite, np.inf, self._unpack(of_ridge)) if self.learns_ridge else self.given_ridge

    def gradient(self, w: np.ndarray, ridge: np.ndarray, by_w: np.ndarray, by_ridge: np.ndarray) -> np.ndarray:
        """The derivatives in theta, from those in w and in the ridges; with w (d,) also of many, (..., d)."""
        of_w = self._by_logarithms(w, by_w) if w.ndim == 1 else by_w.ravel()
        if not self.learns_ridge:
            return of_w
        return np.concatenate([of_w, self._by_logarithms(ridge, by_ridge)], axis=-1)

    def _pack(self, value: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
        return np.log(np.clip(np.abs(value[: self.size]), *bounds))

    def _unpack(self, logarithms: np.ndarray) -> np.ndarray:
        return np.repeat(np.exp(logarithms), self.shape[0] // self.size)

    def _by_logarithms(self, value: np.ndarray, by_value: np.ndarray) -> np.ndarray:
        by_logarithms = np.multiply(by_value, value, out=np.zeros_like(by_value), where=np.isfinite(value))
        return by_logarithms.reshape(*by_value.shape[:-1], self.size, -1).sum(axis=-1)


def ridge_bounds(w: float) -> tuple[float, float]:
    """The bounds of ridges for a kernel whose largest w is about this."""
    return max(RIDGE_BOUNDS[0] / (1.0 + w**2), _LEAST_RIDGE), RIDGE_BOUNDS[1]


def _logarithms(bounds: tuple[float, float]) -> tuple[float | None, float | None]:
    return float(np.log(bounds[0])), float(np.log(bounds[1]))
