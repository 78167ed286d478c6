"""Arrays in memory as the compiled loops want them."""

from __future__ import annotations

import math

import numpy as np


def empty_aligned(shape: tuple[int, ...], dtype: type = np.float64) -> np.ndarray:
    """An array that starts at a cache line: a vector read or written across two lines costs up to twice the time."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(n_bytes + 64, dtype=np.uint8)
    first = -memory.ctypes.data % 64
    return memory[first : first + n_bytes].view(dtype).reshape(shape)
