"""From `cv` and `groups` to who is predicted without whom."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import check_cv
from sklearn.utils import check_consistent_length, column_or_1d

from sknw._smoothing.validation import Blocks, LeaveOutRule, Splits
from sknw.model_selection import LeaveBlockOut


def leave_out_rule(cv: Any, groups: ArrayLike | None, X: Any, y: np.ndarray) -> LeaveOutRule:
    """The rule that `cv` and `groups` stand for, on the rows of X and y as given.

    Raises
    ------
    ValueError
        If `groups` or a split does not fit the rows.
    """
    if groups is not None:
        check_consistent_length(y, groups)
    if cv is None:
        return None if groups is None else Blocks(_numbers(groups))
    if isinstance(cv, LeaveBlockOut):
        return cv.blocks(X)
    splits = [_checked(train, test, len(y)) for train, test in check_cv(cv).split(X, y, groups)]
    return _folds(splits, len(y)) or Splits(splits)


def _numbers(groups: ArrayLike) -> np.ndarray:
    """A number for each group, that of each row: in as few bytes as hold it, because pickles do."""
    labels, numbers = np.unique(column_or_1d(groups), return_inverse=True)
    return numbers.astype(np.min_scalar_type(len(labels)))


def _checked(train: ArrayLike, test: ArrayLike, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A split as two ascending arrays of row numbers."""
    train, test = (np.flatnonzero(a) if a.dtype == bool else np.sort(a) for a in map(np.asarray, (train, test)))
    if not train.size:
        raise ValueError("cv has a split without training rows, from which nothing can be predicted.")
    for rows in (train, test):
        if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer) or np.any((rows < 0) | (rows >= n)):
            raise ValueError(f"cv must split the {n} rows of X: train and test are numbers of rows, from 0 to {n - 1}.")
        if np.any(rows[1:] == rows[:-1]):
            raise ValueError("cv must not give a row twice in one train or test; use sample_weight to repeat rows.")
    if len(both := np.intersect1d(train, test, assume_unique=True)):
        raise ValueError(
            f"cv has a split with row {both[0]} in both train and test: a row must be predicted from others."
        )
    return train, test


def _folds(splits: Iterable[tuple[np.ndarray, np.ndarray]], n: int) -> Blocks | None:
    """Folds as blocks, if every train is all rows but those of its test, and no row is tested twice."""
    number = np.full(n, -1)
    for fold, (train, test) in enumerate(splits):
        if len(train) + len(test) < n or np.any(number[test] >= 0):
            return None
        number[test] = fold
    is_tested = number >= 0
    number = (number + 1).astype(np.min_scalar_type(number.max() + 1))
    return Blocks(number, is_tested=None if is_tested.all() else is_tested)
