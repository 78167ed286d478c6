"""What interpolating the Gaussian between cells takes: moments of the keys, matrices, and bounds of the error.

See `engine` for the formulas.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sknw._kernel_sums.fast_gauss.constants import CHUNK, P
from sknw._kernel_sums.fast_gauss.grid import Cells
from sknw._kernel_sums.threads import for_each_chunk


def moments_of(keys: Cells, n_columns: int, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
    """M of shape (s, P, n_columns P^(d - 1)), and the sums of |w V| (s, n_columns)."""
    from sknw._kernel_sums.fast_gauss import chebyshev_loops

    cell, chunks = keys.chunks(np.arange(len(keys.cells)))
    moments = np.zeros((len(chunks), P, n_columns * P ** (len(keys.points) - 1)))
    sizes = np.zeros((len(chunks), n_columns))

    def add(some: slice) -> None:
        chebyshev_loops.add_moments(
            *(moments[some], sizes[some], keys.points, *keys.attached),
            *(keys.cells, cell[some], chunks[some], keys.width),
        )

    for_each_chunk(add, len(chunks), CHUNK, n_threads)
    if len(chunks) == len(keys.cells):
        return moments, sizes
    first = np.searchsorted(cell, np.arange(len(keys.cells)))
    return np.add.reduceat(moments, first, axis=0), np.add.reduceat(sizes, first, axis=0)


def bytes_of_moments(n_cells: int, n_columns: int, d: int) -> int:
    """The memory that the coefficients of `n_cells` cells take."""
    return 8 * n_columns * P**d * n_cells


def translation_matrices(width: float, reach: int, power: int = 0) -> np.ndarray:
    """C_jk(D) of (-u)^power exp(-u^2 / 2) as [(reach - D, k), j], for cells of `width` bandwidths.

    The values of the function at the P Chebyshev nodes of both cells, transformed in both to coefficients.
    """
    angles = np.pi * (np.arange(P) + 0.5) / P
    to_coefficients = 2.0 / P * np.cos(np.arange(P)[:, np.newaxis] * angles)
    to_coefficients[0] /= 2.0
    nodes = np.cos(angles) / 2.0
    distance = np.arange(reach, -reach - 1, -1)[:, np.newaxis, np.newaxis]
    u = width * (distance + nodes - nodes[:, np.newaxis])  # [D, node of the key, node of the query]
    values = (-u) ** power * np.exp(-(u**2) / 2)
    return np.ascontiguousarray((to_coefficients @ values @ to_coefficients.T).reshape(-1, P))


@lru_cache(maxsize=16)
def error_factors(width: float, reach: int, n_sums: int, n_columns: int) -> np.ndarray:
    """(1 + u / sqrt(P))^p exp(-gap^2 / 4) of cells D = -reach..reach apart, for every sum: (2 reach + 1, n_sums).

    With u^p for the sums from number p `n_columns` on, u is the largest distance of two points. By Cramer's bound the
    derivatives f^(P) of u^p exp(-u^2 / 2) are at most (u + sqrt(P))^p times as large as those of exp(-u^2 / 2), and the
    unit of errors is sqrt(P)^p.
    """
    distance, power = np.abs(np.arange(-reach, reach + 1))[:, np.newaxis], np.arange(n_sums) // n_columns
    gap, furthest = np.maximum(distance - 1, 0) * width, (distance + 1) * width
    return (1.0 + furthest / np.sqrt(P)) ** power * np.exp(-(gap**2) / 4)
