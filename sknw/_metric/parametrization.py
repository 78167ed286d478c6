"""The learned numbers as one vector theta: a block for w and one for the ridges.

A block has four methods: `bounds` of its part of theta, `pack` (theta for an array), `unpack` (the array for theta) and
`gradient` (the derivative in theta, from the array and the derivative in it).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STRUCTURES = ("scalar", "diagonal", "low_rank", "full")

# In standardised inputs. A w at its lower bound is as good as zero.
W_BOUNDS, RIDGE_BOUNDS = (1e-3, 1e4), (1e-8, 1e3)


@dataclass(frozen=True)
class Positive:
    """Positive numbers (d,), theta their logarithms: `size` = d learns one for each feature, 1 the same for all."""

    d: int
    size: int
    limits: tuple[float, float]

    def bounds(self) -> list:
        return [tuple(np.log(self.limits).tolist())] * self.size

    def pack(self, value: np.ndarray) -> np.ndarray:
        return np.log(np.clip(np.abs(value[: self.size]), *self.limits))

    def unpack(self, theta: np.ndarray) -> np.ndarray:
        return np.repeat(np.exp(theta), self.d // self.size)

    def gradient(self, value: np.ndarray, by_value: np.ndarray) -> np.ndarray:
        return (by_value * value).reshape(self.size, -1).sum(axis=1)


@dataclass(frozen=True)
class Matrix:
    """A matrix, theta its entries, without bounds."""

    shape: tuple[int, ...]

    def bounds(self) -> list:
        return [(None, None)] * int(np.prod(self.shape))

    def pack(self, value: np.ndarray) -> np.ndarray:
        return value.ravel()

    def unpack(self, theta: np.ndarray) -> np.ndarray:
        return theta.reshape(self.shape)

    def gradient(self, value: np.ndarray, by_value: np.ndarray) -> np.ndarray:
        return by_value.ravel()


class Parametrization:
    """Theta of a structure: that of w (d,) or (d, r), and that of the ridges (d,) if they are learned.

    "scalar" learns one ridge for all features, the others one for each.
    """

    def __init__(self, structure: str, w: np.ndarray, ridge: np.ndarray, learns_ridge: bool):
        d = len(w)
        size = 1 if structure == "scalar" else d
        self.w = Positive(d, size, W_BOUNDS) if w.ndim == 1 else Matrix(w.shape)
        self.ridge, self.learns_ridge, self.given_ridge = Positive(d, size, RIDGE_BOUNDS), learns_ridge, ridge
        self.bounds = self.w.bounds() + self.ridge.bounds() * learns_ridge

    def pack(self, w: np.ndarray, ridge: np.ndarray) -> np.ndarray:
        of_w = self.w.pack(w)
        return np.append(of_w, self.ridge.pack(ridge)) if self.learns_ridge else of_w

    def unpack(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_w, of_ridge = np.split(theta, [len(self.w.bounds())])
        return self.w.unpack(of_w), self.ridge.unpack(of_ridge) if self.learns_ridge else self.given_ridge

    def gradient(self, w: np.ndarray, ridge: np.ndarray, by_w: np.ndarray, by_ridge: np.ndarray) -> np.ndarray:
        of_w = self.w.gradient(w, by_w)
        return np.append(of_w, self.ridge.gradient(ridge, by_ridge)) if self.learns_ridge else of_w
