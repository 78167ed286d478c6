"""Training data as the smoothers want them: samples, each with its weight, in an order that the data alone decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.permutation import Rows
from sknw._smoothing.features import FeatureMap

# Multiples and sums of a few such values still are float64 numbers.
_TOO_LARGE = 1e304
# Equal rows (x, y) are copies of one sample where the number of distinct x, or of distinct y, is at least this fraction
# of the number of distinct rows: near 1 for continuous data, however many copies there are, and near 0 for tables of
# few values.
_IDENTIFIED = 0.9


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Samples with the weighted means and standard deviations of their inputs and targets.

    A sample is a given row of positive weight; or all rows that are copies of each other, with the sum of their
    weights. Samples are sorted by their block, if there are blocks, then by x, and then by y.
    """

    given: np.ndarray  # the inputs of all rows, as given, (n_given, d)
    features: FeatureMap  # the columns that they become
    rows: Rows  # a given row of each sample
    center: np.ndarray  # of the columns, (c,)
    scales: np.ndarray  # of the features, 1 for a constant one, (d,)
    values: np.ndarray  # (y - y_center) / y_scales, or the indicators of classes, (n, k)
    y_center: np.ndarray  # (k,)
    y_scales: np.ndarray  # (k,)
    y_range: np.ndarray  # smallest and largest target, (2, k)
    sample_weight: np.ndarray  # of mean 1, (n,)
    sample: Rows  # the sample of each given row, any for rows of weight zero, (n_given,)
    share: np.ndarray  # the weight of each given row as a fraction of that of its sample, (n_given,)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def inputs(self) -> np.ndarray:
        """The inputs of the samples (n, d), put in order whenever they are asked for: they take much memory."""
        return take_rows(self.given, self.rows)

    @property
    def X(self) -> np.ndarray:
        """The columns that they become, (n, c), made whenever they are asked for."""
        return self.features.columns(self.inputs)

    def coordinates(self, w: np.ndarray) -> np.ndarray:
        """(x - center) w for the columns x of the samples, with w (c,) or (c, r)."""
        return coordinates(self.X, self.center, w)

    @property
    def first_of_inputs(self) -> np.ndarray:
        """The first sample of each run of samples with equal inputs."""
        X = self.X
        return np.append(0, 1 + np.flatnonzero(np.any(X[1:] != X[:-1], axis=1)))

    def key_index(self, w: np.ndarray, weights: np.ndarray, columns: np.ndarray, offset_magnitude: float) -> KeyIndex:
        """The samples as keys (x - center) w, with their columns V."""
        groups = self.features.groups(self.inputs, w)
        return KeyIndex(self.coordinates(w), weights, columns, offset_magnitude, groups)

    @cached_property
    def given_rows(self) -> np.ndarray:
        """A given row of each sample: (n,)."""
        return np.arange(len(self.given))[self.rows]

    @property
    def sample_of_rows(self) -> np.ndarray:
        """The sample of each given row, any for rows of weight zero: (n_given,)."""
        return np.arange(len(self.given))[self.sample]

    @property
    def sorted_rows(self) -> np.ndarray:
        """The given rows of positive weight in the order of their samples: (at most n_given,)."""
        return self.shares_of_given_rows().indices

    def take(self, samples: np.ndarray) -> TrainingSet:
        """Some of the samples, with the same centres and scales."""
        values, weights = self.values[samples], self.sample_weight[samples]
        return replace(self, rows=self.given_rows[samples], values=values, sample_weight=weights)

    @classmethod
    def of(
        cls,
        X: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        block: np.ndarray | None = None,
        features: FeatureMap | None = None,
        n_classes: int | None = None,
        before: TrainingSet | None = None,
    ) -> TrainingSet:
        """The samples among the rows X (n, d), y (n,) or (n, k); all features are numbers unless `features` are given.

        Rows of different blocks (n,), if these are given, are not copies of each other. With `n_classes` y (n,) are
        codes 0, 1, ... of classes, whose indicators are the values, in no other units. `before` is the training set of
        the first of these rows, without blocks: the others are merged into its order, and the result is the same.
        """
        features = FeatureMap.of_numbers(X.shape[1]) if features is None else features
        y = y.reshape(len(y), -1)
        weights = scale_weights(sample_weight, len(X))
        given = np.arange(len(X))
        if before is not None:
            given = np.concatenate([before.sorted_rows, given[len(before.given) :]])
        rows, sample = _samples(X, y, given[weights[given] > 0], block)
        relative, share = weights_of_samples(weights, rows, sample)
        in_order = bool(np.all(rows[:-1] < rows[1:])) and len(rows) == len(X)
        stored: Rows = slice(0, len(X)) if in_order else small(rows)
        inputs = features.columns(take_rows(X, stored))
        center, scales, is_constant, _ = _standardisation(inputs, relative, "X")
        scales = features.scales(is_constant, scales)
        del inputs
        of_y = standardise_targets(take_rows(y, stored), relative, n_classes)
        of_given: Rows = stored if in_order else small(sample)
        return cls(X, features, stored, center, scales, *of_y, relative, of_given, share)

    def for_given_rows(self, of_samples: np.ndarray) -> np.ndarray:
        """What each given row has of numbers (..., n) that sum over samples, as attention: (..., n_given)."""
        return np.where(self.share > 0, self.share * np.take(of_samples, self.sample_of_rows, axis=-1), 0.0)

    def shares_of_given_rows(self) -> csr_array:
        """What each given row has of the weight of its sample: (n, n_given)."""
        row = np.flatnonzero(self.share > 0)
        return csr_array((self.share[row], (self.sample_of_rows[row], row)), shape=(len(self), len(self.given)))

    def into_units_of_y(self, values: np.ndarray) -> np.ndarray:
        """y_center + y_scales * values, in place of the values (m, k); infinite where a line is too far up."""
        with np.errstate(over="ignore"):
            values *= self.y_scales
            values += self.y_center
        return values

    def clip_to_targets(self, means: np.ndarray) -> np.ndarray:
        """Weighted means (m, k), in units of y, in the range of the targets, which rounding may have left; in place."""
        lower, upper = self.y_range if means.dtype == np.float64 else self._range_in_float32
        np.maximum(means, lower, out=means)
        return np.minimum(means, upper, out=means)

    @cached_property
    def _range_in_float32(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest of the numbers of float32 in the range of the targets."""
        (smallest, largest), (lower, upper) = self.y_range, self.y_range.astype(np.float32)
        lower = np.where(lower < smallest, np.nextafter(lower, upper), lower)
        return lower, np.where(upper > largest, np.nextafter(upper, lower), upper)

    @cached_property
    def largest_magnitude(self) -> float:
        """About the largest target of any output."""
        return float((np.abs(self.y_center) + self.y_scales).max())

    def residuals(self, predictions: np.ndarray) -> np.ndarray:
        """The standardised residuals (n, k) of predictions for all rows as given, in units of y."""
        standardised = take_rows(predictions.reshape(len(predictions), -1), self.rows) - self.y_center
        standardised /= self.y_scales
        return self.values - standardised

    def in_units_of_x(self, w: np.ndarray) -> np.ndarray:
        """What multiplies x, for the w (d,) or (d, r) that multiplies standardised inputs."""
        with np.errstate(over="ignore"):
            of_x = (w.T / self.scales).T
        if not np.all(np.isfinite(of_x)):
            raise ValueError("X has values too small for w, which multiplies them; multiply X by a constant.")
        return of_x


def coordinates(X: np.ndarray, center: np.ndarray, w: np.ndarray) -> np.ndarray:
    """z = (x - center) w for the rows of X, in float64 whatever the type of X: an offset must not cost digits."""
    with np.errstate(over="ignore", invalid="ignore"):
        centred = X - center  # the centre is float64
        if w.ndim == 2:
            return centred @ w
        centred *= w
        return centred


def scale_weights(sample_weight: np.ndarray | None, n: int) -> np.ndarray:
    """The weights of n rows, 1 without, in a unit in which sums are finite; those as good as zero are zero."""
    weights = np.ones(n) if sample_weight is None else sample_weight
    weights = np.ldexp(weights, -np.frexp(weights.max())[1])  # no digit changes
    weights[weights < np.finfo(np.float64).tiny] = 0.0
    return weights


def weights_of_samples(weights: np.ndarray, rows: np.ndarray, sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights of samples, of mean 1, and what part of that of its sample each given row has."""
    n_given = len(weights)
    total = weights[rows] if len(rows) == n_given else np.bincount(sample, weights, minlength=len(rows))
    relative = total / total.max()  # equal weights of any size are 1 exactly
    with np.errstate(under="ignore"):
        relative /= relative.sum() / len(rows)
    return relative, np.broadcast_to(1.0, n_given) if len(rows) == n_given else weights / total[sample]


def standardise_targets(
    y: np.ndarray, weights: np.ndarray, n_classes: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The values of samples, their centres and scales, and the range of the targets."""
    if n_classes is None:
        y_center, y_scales, _, y_range = _standardisation(y, weights, "y")
    else:
        y_center, y_scales = np.zeros(n_classes), np.ones(n_classes)
        y_range = np.stack([y_center, y_scales])
    return values_of(y, y_center, y_scales, n_classes), y_center, y_scales, y_range


def values_of(y: np.ndarray, center: np.ndarray, scales: np.ndarray, n_classes: int | None) -> np.ndarray:
    """(y - center) / scales; of codes of classes their indicators."""
    if n_classes is not None:
        return (y == np.arange(n_classes)).astype(np.float64)
    values = y.astype(np.float64)
    values -= center
    values /= scales
    return values


def _samples(
    X: np.ndarray, y: np.ndarray, given: np.ndarray, block: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """A given row of each sample, and the sample of each given row, of the rows `given` that have a weight.

    Rows with equal (x, y), of one block, are copies if (x, y) identifies a sample: the larger of the numbers of
    distinct x and of distinct y is at least 0.9 of the number of distinct (x, y). Neither weights nor repetition
    change that share. Elsewhere equal rows are samples that happen to agree, as in tables of few values.
    """
    order, (begins_x, begins_xy) = sort_rows(given, [X.T, y.T])
    is_first = np.ones(len(order), dtype=bool)
    if not begins_xy.all() and is_identified(y, given, begins_x, begins_xy):
        is_first = begins_xy
        if block is not None:
            order, (_, is_first) = sort_rows(given, [np.vstack([*X.T, *y.T]), block[np.newaxis]])
    rows, number = order[is_first], np.cumsum(is_first) - 1
    if block is not None:
        by_block = np.argsort(block[rows], kind="stable")
        rows, number = rows[by_block], np.argsort(by_block)[number]
    sample = np.zeros(len(X), dtype=np.intp)
    sample[order] = number
    return rows, sample


def is_identified(y: np.ndarray, given: np.ndarray, begins_x: np.ndarray, begins_xy: np.ndarray) -> bool:
    """Whether (x, y) identifies a sample, of the rows `given` that begin a run of equal x, or (x, y), when sorted."""
    least = _IDENTIFIED * np.count_nonzero(begins_xy)
    if np.count_nonzero(begins_x) >= least:
        return True
    return bool(np.count_nonzero(sort_rows(given, [y.T])[1][0]) >= least)


def sort_rows(rows: np.ndarray, keys: Iterable[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Sort rows by groups of columns (c, n), the first column first; equal rows stay in their order.

    Returned as well, for each group: which of the sorted rows differ from the one before in a column so far.
    Rows that begin as a few sorted runs take little more than a pass: the sort merges runs, and tied rows that are in
    order are left alone.
    """
    begins, results = np.zeros(len(rows), dtype=bool), []
    begins[:1] = True
    for columns in keys:
        for column in columns:
            tied = ~(begins & np.append(begins[1:], True))
            if not tied.any():
                break
            values, run = column[rows[tied]], np.cumsum(begins)[tied]
            falls = (values[1:] < values[:-1]) & (run[1:] == run[:-1])
            if falls.any():
                rows = rows.copy()
                if len(run) == len(rows) and run[-1] == 1:
                    ascending = _stable_order(values, int(np.count_nonzero(falls)))
                    rows, values = rows[ascending], values[ascending]
                else:
                    has_fall = np.zeros(run[-1] + 1, dtype=bool)
                    has_fall[run[1:][falls]] = True
                    unsorted = np.flatnonzero(has_fall[run])
                    ascending = unsorted[np.lexsort((values[unsorted], run[unsorted]))]
                    where = np.flatnonzero(tied)
                    rows[where[unsorted]], values[unsorted] = rows[where[ascending]], values[ascending]
            differs = np.append(True, (values[1:] != values[:-1]) | (run[1:] != run[:-1]))
            begins[tied] |= differs
        results.append(begins.copy())
    return rows, results


def _stable_order(values: np.ndarray, n_falls: int) -> np.ndarray:
    """The order of ascending values, equal ones as they stand; `n_falls` of the values are less than the one before.

    With many falls a sort that is not stable takes a fraction of the time. It gives the same where all values differ.
    """
    if n_falls > np.log2(len(values)):
        order = np.argsort(values)
        ascending = values[order]
        if np.all(ascending[:-1] < ascending[1:]):
            return order
    return np.argsort(values, kind="stable")


def small(rows: np.ndarray) -> np.ndarray:
    """The same numbers in half the memory, where that holds them."""
    return rows.astype(np.int32) if len(rows) <= np.iinfo(np.int32).max else rows


def take_rows(array: np.ndarray, rows: Rows) -> np.ndarray:
    """array[rows], without a copy where these are all in order."""
    if isinstance(rows, slice):
        return array[rows]
    # take(): indexing with an array of rows is several times slower
    return array if np.array_equal(rows, np.arange(len(array))) else np.take(array, rows, axis=0)


def refuse_large(values: np.ndarray, name: str) -> None:
    """Refuse values of which two may differ by more than can be squared, once they are divided by the difference."""
    if not float(np.abs(values).max()) < _TOO_LARGE / 2:
        raise ValueError(f"{name} has values too large to compute with; divide it by a constant.")


def _standardisation(
    columns: np.ndarray, weights: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weighted means, standard deviations sqrt(sum w (x - mean)^2 / sum w), which are constant, and ranges (2, c)."""
    centred, weights = columns.astype(np.float64), weights / weights.sum()
    ranges = np.array([centred.min(axis=0), centred.max(axis=0)])

    def mean_square(means: np.ndarray, largest: np.ndarray) -> np.ndarray:
        return weights @ scaled_squares(centred, means, largest)

    return *standardise(ranges, lambda: weights @ centred, mean_square, name), ranges


def scaled_squares(columns: np.ndarray, means: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """((x - mean) / largest)^2, in place of the columns."""
    columns -= means
    columns /= largest
    columns *= columns
    return columns


def standardise(
    ranges: np.ndarray,
    find_mean: Callable[[], np.ndarray],
    find_mean_square: Callable[[np.ndarray, np.ndarray], np.ndarray],
    name: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, standard deviations and which columns are constant, from their ranges (2, c) and functions.

    The second function returns the weighted means of `scaled_squares`.
    """
    lowest, highest = ranges
    with np.errstate(over="ignore", invalid="ignore"):
        is_constant = highest == lowest  # a computed mean would differ by rounding
        means = np.where(is_constant, lowest, find_mean())
        # taken out, so that no square overflows
        largest = np.where(is_constant, 1.0, np.maximum(highest - means, means - lowest))
        scales = largest * np.sqrt(find_mean_square(means, largest))
    if not np.all(largest < _TOO_LARGE):
        raise ValueError(f"{name} has values too large to compute with; divide it by a constant.")
    scales[is_constant] = 1.0
    return means, scales, is_constant
