"""Kernel sums with a logarithmic scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class ScaledSums:
    """Kernel sums S = exp(log_scale) * (mass, moments).

    The scale keeps queries far from all keys representable, where every weight underflows.

    Attributes
    ----------
    mass : ndarray of shape (b, m)
        sum_j K_j w_j; zero where no key is in the support.
    moments : ndarray of shape (b, m, k)
        sum_j K_j w_j V_j.
    log_scale : ndarray of shape (b, m)
    """

    mass: np.ndarray
    moments: np.ndarray
    log_scale: np.ndarray
