"""Training samples in a canonical form, so that what is learned does not depend on how they were given."""

from __future__ import annotations

import numpy as np


def merge_copies(
    X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The distinct samples (x, y) in ascending order, and the sums of the weights of their copies.

    The loss is the same, as one unit of weight is left out of each sample: sums over samples are then rounded alike for
    integer weights and repeated rows, in any order. Samples stay as they are where a weight is not an integer.
    """
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    if np.any(weights != np.floor(weights)):
        return X, y, sample_weight
    samples = np.column_stack([X, y])[weights > 0] + 0.0  # -0.0 is 0.0
    distinct, index = np.unique(samples, axis=0, return_inverse=True)
    d = X.shape[1]
    return distinct[:, :d], distinct[:, d:], np.bincount(index.ravel(), weights[weights > 0])
