"""Training data as the smoothers want them: of positive weight, with centres and scales."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

# Multiples and sums of a few such values still are float64 numbers.
_TOO_LARGE = 1e304


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Samples of positive weight, with the weighted means and standard deviations of inputs and targets.

    Those of one feature are sorted by it: the engines for one feature need not sort them again.
    """

    given: np.ndarray  # the inputs of all samples, as given, (n_given, d)
    rows: slice | np.ndarray  # where those of positive weight stand among them
    center: np.ndarray  # (d,)
    scales: np.ndarray  # 1 for a constant feature, (d,)
    values: np.ndarray  # (y - y_center) / y_scales, (n, k)
    y_center: np.ndarray  # (k,)
    y_scales: np.ndarray  # (k,)
    sample_weight: np.ndarray  # in units of samples, (n,)

    def __len__(self) -> int:
        return len(self.values)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where some of the samples stand among those given."""
        return rows if isinstance(self.rows, slice) else np.take(self.rows, rows)

    @property
    def X(self) -> np.ndarray:
        """The inputs (n, d), put in order whenever they are asked for: they take much memory."""
        return take(self.given, self.rows)

    def take(self, rows: np.ndarray) -> TrainingSet:
        """Some of the samples, with the same centres and scales."""
        values, weights = self.values[rows], self.sample_weight[rows]
        return replace(self, rows=self.places(rows), values=values, sample_weight=weights)

    @classmethod
    def of(cls, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None) -> TrainingSet:
        """The samples of positive weight among X (n, d), y (n,) or (n, k)."""
        rows: slice | np.ndarray = slice(0, len(X))
        if sample_weight is not None and not np.all(sample_weight > 0):
            rows = np.flatnonzero(sample_weight > 0)
        if X.shape[1] == 1:
            order = np.argsort(X[rows, 0])
            # half the memory
            order = order.astype(np.int32) if len(X) <= np.iinfo(np.int32).max else order
            rows = order if isinstance(rows, slice) else rows[order]
        inputs = take(X, rows)
        weights = np.ones(len(inputs)) if sample_weight is None else take(sample_weight, rows)
        center, scales, _ = _standardisation(inputs, weights, "X")
        del inputs
        y_center, y_scales, values = _standardisation(take(y.reshape(len(y), -1), rows), weights, "y")
        values /= y_scales
        return cls(X, rows, center, scales, values, y_center, y_scales, weights)

    def into_units_of_y(self, values: np.ndarray) -> np.ndarray:
        """y_center + y_scales * values, in place of the values (m, k)."""
        values *= self.y_scales
        values += self.y_center
        return values

    def residuals(self, predictions: np.ndarray) -> np.ndarray:
        """The standardised residuals (n, k) of predictions for all samples as given, in units of y."""
        standardised = take(predictions.reshape(len(predictions), -1), self.rows) - self.y_center
        standardised /= self.y_scales
        return self.values - standardised

    def squared_residuals(self, predictions: np.ndarray) -> np.ndarray:
        """Squares (n, k) of the standardised residuals."""
        return self.residuals(predictions) ** 2

    def in_units_of_x(self, w: np.ndarray) -> np.ndarray:
        """What multiplies x, for the w (d,) or (d, r) that multiplies standardised inputs."""
        return (w.T / self.scales).T


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


def take_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """array[rows] for distinct ascending rows, without a copy where these are all."""
    return array if len(rows) == len(array) else array[rows]


def take(array: np.ndarray, rows: slice | np.ndarray) -> np.ndarray:
    """array[rows], without a copy where these are all in order."""
    if isinstance(rows, slice):
        return array[rows]
    # take(): indexing with an array of rows is several times slower
    return np.take(array, rows, axis=0)


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
