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


@dataclass(frozen=True, eq=False)
class Given:
    """Numbers that are not learned, theta empty."""

    value: np.ndarray

    def bounds(self) -> list:
        return []

    def pack(self, value: np.ndarray) -> np.ndarray:
        return np.empty(0)

    def unpack(self, theta: np.ndarray) -> np.ndarray:
        return self.value

    def gradient(self, value: np.ndarray, by_value: np.ndarray) -> np.ndarray:
        return np.empty(0)


class Parametrization:
    """Theta of a structure, for w (d,) or (d, r) and ridges (d,); "scalar" learns one ridge, the others d."""

    def __init__(self, structure: str, w: np.ndarray, ridge: np.ndarray, learns_ridge: bool):
        d = len(w)
        size = 1 if structure == "scalar" else d
        self.w = Positive(d, size, W_BOUNDS) if w.ndim == 1 else Matrix(w.shape)
        self.ridge = Positive(d, size, RIDGE_BOUNDS) if learns_ridge else Given(ridge)
        self.bounds = self.w.bounds() + self.ridge.bounds()

    def pack(self, w: np.ndarray, ridge: np.ndarray) -> np.ndarray:
        return np.append(self.w.pack(w), self.ridge.pack(ridge))

    def unpack(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_w, of_ridge = np.split(theta, [len(self.w.bounds())])
        return self.w.unpack(of_w), self.ridge.unpack(of_ridge)

    def gradient(self, w: np.ndarray, ridge: np.ndarray, by_w: np.ndarray, by_ridge: np.ndarray) -> np.ndarray:
        return np.append(self.w.gradient(w, by_w), self.ridge.gradient(ridge, by_ridge))
