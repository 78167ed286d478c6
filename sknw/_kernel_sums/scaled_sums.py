"""Kernel sums with a logarithmic scale, which are additive over keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A sum of weights below this may have lost terms to underflow.
TINY = 1e-200


@dataclass(frozen=True, eq=False)
class ScaledSums:
    """Kernel sums S = exp(log_scale) * (mass, moments).

    The scale keeps queries far from all keys representable, where every weight underflows.
    """

    mass: np.ndarray  # sum_j K_j w_j, zero where no key is in the support, (b, m)
    moments: np.ndarray  # sum_j K_j w_j V_j, (b, m, k)
    log_scale: np.ndarray  # (b, m)

    @classmethod
    def of_columns(cls, sums: np.ndarray, log_scale: np.ndarray) -> ScaledSums:
        """From sums of the columns (1, V), of shape (b, m, 1 + k)."""
        return cls(sums[..., 0], sums[..., 1:], log_scale)

    @classmethod
    def joined(cls, parts: list[ScaledSums]) -> ScaledSums:
        """The sums at the bandwidths of several parts, one after the other."""
        columns = zip(*((part.mass, part.moments, part.log_scale) for part in parts), strict=True)
        return cls(*map(np.concatenate, columns))

    def merge(self, other: ScaledSums) -> ScaledSums:
        """The sums over the keys of both, brought to the larger of the two scales."""
        scales = [np.where(sums.mass == 0, -np.inf, sums.log_scale) for sums in (self, other)]
        log_scale = np.maximum(*scales)
        log_scale = np.where(np.isneginf(log_scale), 0.0, log_scale)
        mine, others = (np.exp(scale - log_scale) for scale in scales)
        mass = mine * self.mass + others * other.mass
        moments = mine[..., np.newaxis] * self.moments + others[..., np.newaxis] * other.moments
        return ScaledSums(mass, moments, log_scale)

    def into_means(self) -> tuple[np.ndarray, np.ndarray]:
        """moments / mass of shape (b, m, k), written over the moments, and where the mass is zero, (b, m)."""
        unsupported = self.mass == 0
        mass = np.where(unsupported, 1.0, self.mass) if unsupported.any() else self.mass
        return np.divide(self.moments, mass[..., np.newaxis], out=self.moments), unsupported

    def log_mass(self) -> np.ndarray:
        """The logarithm of sum_j K_j w_j, zero where that is zero: (b, m)."""
        return np.log(np.where(self.mass == 0, 1.0, self.mass)) + self.log_scale
