"""Attention weights as sparse arrays."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array


def _at_rows(part: csr_array, rows: np.ndarray, n_rows: int) -> csr_array:
    """The rows of `part` as the `rows`, ascending, of an array that is empty elsewhere."""
    count = np.zeros(n_rows, dtype=part.indptr.dtype)
    count[rows] = np.diff(part.indptr)
    return csr_array((part.data, part.indices, np.append(0, np.cumsum(count))), shape=(n_rows, part.shape[1]))


def normalised(weights: csr_array) -> csr_array:
    """Rows scaled to sum to 1, those without entries left empty."""
    count = np.diff(weights.indptr)
    weights.data /= np.repeat(weights.sum(axis=1), count)
    weights.eliminate_zeros()
    return weights
