"""Who is predicted without whom: the own sample, its block of samples, or what a split does not train on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sknw._kernel_sums.request import LeaveOut
from sknw._smoothing.training import TrainingSet

# Of differences of positions, in units of the largest.
_ROUNDING = 8 * np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class Blocks:
    """Row i is predicted without its block, the rows j with |position_j - position_i| <= half_width.

    Groups and folds are blocks of half width 0: their number is the position.
    """

    position: np.ndarray  # of each given row, (n_given,)
    half_width: float = 0.0
    groups: np.ndarray | None = None  # the group of each given row, if groups were given, (n_given,)
    is_tested: np.ndarray | None = None  # which given rows are predicted, (n_given,); None: all

    def of(self, rows: np.ndarray, ascending: np.ndarray) -> LeaveOut:
        """The blocks of given rows as ranges among ascending positions."""
        position = self.position[rows]
        # positions that differ by the half width but for rounding belong to the block
        largest = max(abs(float(ascending[0])), abs(float(ascending[-1]))) + self.half_width
        half_width = self.half_width + (_ROUNDING * largest if self.half_width else 0.0)
        return LeaveOut(
            np.searchsorted(ascending, position - half_width, side="left"),
            np.searchsorted(ascending, position + half_width, side="right"),
        )


@dataclass(frozen=True, eq=False)
class Splits:
    """The given rows of each test are predicted from those of its train."""

    splits: list[tuple[np.ndarray, np.ndarray]]  # (train, test), each ascending
    groups: np.ndarray | None = None  # as of `Blocks`


# None: every sample is predicted from all others.
LeaveOutRule = Blocks | Splits | None


def restore_rule(stored: dict[str, Any] | None) -> LeaveOutRule:
    """The rule whose fields were stored as a dict."""
    if stored is None:
        return None
    return Splits(**stored) if "splits" in stored else Blocks(**stored)


@dataclass(frozen=True, eq=False)
class Tests:
    """Rows that are predicted from the same keys, less those that are left out for each."""

    rows: np.ndarray  # (m,)
    leave_out: LeaveOut  # positions among the keys, (m,)
    keys: np.ndarray | None = None  # the samples that are keys, ascending; None: all
    split: int = 0  # the number of the split that these are the keys of: what is made of them is kept under it

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, some: np.ndarray | slice) -> Tests:
        return replace(self, rows=self.rows[some], leave_out=self.leave_out[some])


def tests_of(rule: LeaveOutRule, training: TrainingSet, rows: np.ndarray) -> tuple[Tests, ...]:
    """The tests of given rows by a rule; `Tests.rows` are positions in `rows`."""
    if rule is None:
        own = np.where(training.share[rows] > 0, training.sample_of_rows[rows], -1)
        return (Tests(np.arange(len(rows)), LeaveOut.own(own)),)
    if isinstance(rule, Blocks):
        leave_out = rule.of(rows, rule.position[training.given_rows])
        if rows is training.given_rows and np.all(leave_out.last - leave_out.first == 1):
            leave_out = LeaveOut.own(leave_out.first)
        is_tested = leave_out.last - leave_out.first < len(training)  # else nothing is left to predict from
        if rule.is_tested is not None:
            is_tested &= rule.is_tested[rows]
        tests = Tests(np.arange(len(rows)), leave_out)
        return (tests if is_tested.all() else tests[is_tested],)
    is_sample, sample = training.share > 0, training.sample_of_rows
    at = np.full(len(training.given), -1)
    at[rows] = np.arange(len(rows))
    parts = []
    for split, (train, test) in enumerate(rule.splits):
        tested, keys = at[test][at[test] >= 0], np.sort(sample[train[is_sample[train]]])
        parts.append(Tests(tested, LeaveOut.own(np.full(len(tested), -1)), keys, split))
    return tuple(parts)


def mean_of_rows(predictions: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """The mean of the predictions (m, k) of each row, NaN where it has none: (n, k)."""
    count = np.bincount(rows, minlength=n)[:, np.newaxis]
    if np.all(count <= 1):
        means = np.full((n, predictions.shape[1]), np.nan)
        means[rows] = predictions
        return means
    sums = np.column_stack([np.bincount(rows, column, minlength=n) for column in predictions.T])
    return np.divide(sums, count, out=np.full_like(sums, np.nan), where=count > 0)


def predict_rows(
    rule: LeaveOutRule, training: TrainingSet, rows: np.ndarray, predict: Callable[[np.ndarray, Tests], np.ndarray]
) -> np.ndarray:
    """The mean left-out predictions of given rows that are no samples, NaN where there is none: (m, k).

    ``predict(some, tests)`` are those of some of these rows in a test.
    """
    tests = [some for some in tests_of(rule, training, rows) if len(some)]
    if not tests:
        return np.full((len(rows), training.values.shape[1]), np.nan)
    predictions = np.concatenate([predict(rows[some.rows], some) for some in tests])
    return mean_of_rows(predictions, np.concatenate([some.rows for some in tests]), len(rows))


@dataclass(frozen=True, eq=False)
class Validation:
    """Predictions of samples, one or several of each, in which samples that belong together are left out together."""

    parts: tuple[Tests, ...]  # of the same samples in the same order; rows are samples

    @classmethod
    def of(cls, rule: LeaveOutRule, training: TrainingSet) -> Validation:
        """All predictions of a training set that a rule asks for."""
        if rule is None:
            own = np.arange(len(training))
            return cls((Tests(own, LeaveOut(own, own + 1, is_own=True)),))
        return cls(tests_of(rule, training, training.given_rows))

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def rows(self) -> np.ndarray:
        """The sample of each prediction."""
        return self.parts[0].rows if len(self.parts) == 1 else np.concatenate([part.rows for part in self.parts])

    @property
    def leaves_one_out(self) -> bool:
        """Whether each prediction is without one sample."""
        return all(part.keys is None and part.leave_out.is_own for part in self.parts)

    @cached_property
    def tests_each_once(self) -> bool:
        """Whether no sample has several left-out predictions, which intervals take."""
        return len(np.unique(self.rows)) == len(self)

    @property
    def has_one_order(self) -> bool:
        """Whether all predictions have the same keys but for a range of these."""
        return len(self.parts) == 1 and self.parts[0].keys is None

    def __getitem__(self, some: np.ndarray | slice) -> Validation:
        """Some of the predictions, in ascending order."""
        chosen = np.arange(len(self))[some]
        ends = np.cumsum([len(part) for part in self.parts])
        starts = np.searchsorted(chosen, np.append(0, ends))
        pieces = zip(self.parts, ends - [len(part) for part in self.parts], starts[:-1], starts[1:], strict=True)
        parts = [part[chosen[begin:end] - first] for part, first, begin, end in pieces if end > begin]
        return Validation(tuple(parts) or (self.parts[0][:0],))

    def of_rows(self, rows: np.ndarray) -> Validation:
        """The predictions of some samples."""
        return self[np.flatnonzero(np.isin(self.rows, rows))]

    def among(self, samples: np.ndarray, is_row: np.ndarray) -> Validation:
        """The same within some ascending `samples`, of those for which `is_row` is true; all are renumbered.

        Without those that nothing is left to predict from.
        """
        parts = []
        for part in self.parts:
            some, keys, known = part[np.flatnonzero(is_row[part.rows])], None, samples
            if part.keys is not None:
                known = np.flatnonzero(np.isin(part.keys, samples, assume_unique=True))
                keys = np.searchsorted(samples, part.keys[known])
            leave_out = some.leave_out.among(known)
            few = Tests(np.searchsorted(samples, some.rows), leave_out, keys, part.split)
            parts.append(few[leave_out.last - leave_out.first < len(known)])
        return Validation(tuple(filter(len, parts)) or (parts[0],))

    def batches(self, size: int) -> Iterator[tuple[slice, Tests]]:
        """Batches of predictions from the same keys, and where they are among all."""
        first = 0
        for part in self.parts:
            for start in range(0, len(part), size):
                batch = part[start : start + size]
                yield slice(first + start, first + start + len(batch)), batch
            first += len(part)
