"""Training data as the smoothers want them: of positive weight, with centres and scales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Multiples and sums of a few such values still are float64 numbers.
_TOO_LARGE = 1e304


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Samples of positive weight, their centres and scales.

    Those of one feature are sorted by it: the engines for one feature need not sort them again.

    Attributes
    ----------
    X : ndarray of shape (n, d)
    center, scales : ndarrays of shape (d,)
        Weighted means and standard deviations; a constant feature has the scale 1.
    values : ndarray of shape (n, k)
        (y - y_center) / y_scales.
    y_center, y_scales : ndarrays of shape (k,)
    sample_weight : ndarray of shape (n,)
        In units of samples.
    rows : ndarray of int, of shape (n,)
        Where they stand among the samples given.
    """

    X: np.ndarray
    center: np.ndarray
    scales: np.ndarray
    values: np.ndarray
    y_center: np.ndarray
    y_scales: np.ndarray
    sample_weight: np.ndarray
    rows: np.ndarray

    @property
    def relative_weight(self) -> np.ndarray:
        """Sample weights of which the largest is 1."""
        largest = self.sample_weight.max()
        return self.sample_weight if largest == 1.0 else self.sample_weight / largest

    @classmethod
    def of(cls, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None) -> TrainingSet:
        """The samples of positive weight among X (n, d), y (n,) or (n, k)."""
        rows = np.arange(len(X)) if sample_weight is None else np.flatnonzero(sample_weight > 0)
        if X.shape[1] == 1:
            order = np.argsort(X[:, 0] if len(rows) == len(X) else X[rows, 0])
            rows = order if len(rows) == len(X) else rows[order]
        # take(): indexing with an array of rows is several times slower
        X, y = (np.take(array, rows, axis=0) for array in (X, y.reshape(len(y), -1)))
        weights = np.ones(len(X)) if sample_weight is None else sample_weight[rows]
        center, scales, _ = _standardisation(X, weights, "X")
        y_center, y_scales, values = _standardisation(y, weights, "y")
        values /= y_scales
        return cls(X, center, scales, values, y_center, y_scales, weights, rows)

    def in_units_of_x(self, w: np.ndarray) -> np.ndarray:
        """What multiplies x, for the w (d,) or (d, r) that multiplies standardised inputs."""
        return (w.T / self.scales).T


def _standardisation(columns: np.ndarray, weights: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted means, standard deviations sqrt(sum w (x - mean)^2 / sum w), and the centred columns."""
    centred, weights = columns.astype(np.float64), weights / weights.sum()
    with np.errstate(over="ignore", invalid="ignore"):
        highest, lowest = centred.max(axis=0), centred.min(axis=0)
        constant = highest == lowest  # a computed mean would differ by rounding
        means = np.where(constant, lowest, weights @ centred)
        centred -= means
        # taken out, so that no square overflows
        largest = np.where(constant, 1.0, np.maximum(highest - means, means - lowest))
        squares = centred / largest
        squares *= squares
        scales = largest * np.sqrt(weights @ squares)
    if not np.all(largest < _TOO_LARGE):
        raise ValueError(f"{name} has values too large to compute with; divide it by a constant.")
    scales[constant] = 1.0
    return means, scales, centred
