"""From `cv` and `groups` to who is predicted without whom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import check_cv

from sknw._smoothing.validation import Blocks, LeaveOutRule, Splits
from sknw.model_selection import LeaveBlockOut


def leave_out_rule(cv: Any, groups: ArrayLike | None, X: Any, y: np.ndarray, are_classes: bool) -> LeaveOutRule:
    """The rule that `cv` and `groups` stand for, on the rows of X and y as given.

    An int stands for `KFold`, or for `StratifiedKFold` where y are classes. A ValueError where `groups` or a split does
    not fit the rows.
    """
    numbers = None if groups is None else _numbers(groups, len(y))
    if cv is None:
        return None if numbers is None else Blocks(numbers, groups=numbers)
    if isinstance(cv, LeaveBlockOut):
        return replace(cv.blocks(X), groups=numbers)
    is_given = isinstance(cv, Iterable) and not hasattr(cv, "split")
    pairs = cv if is_given else check_cv(cv, y, classifier=are_classes).split(X, y, groups)
    splits = [_checked(split, len(y)) for split in pairs]
    if not splits:
        raise ValueError("cv has no splits; a generator has none left after a fit: give a list.")
    return replace(_folds(splits, len(y)) or Splits(splits), groups=numbers)


def _numbers(groups: ArrayLike, n: int) -> np.ndarray:
    """A number for each group, that of each row: in as few bytes as hold it, because pickles do."""
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise ValueError(f"groups must have one label for each of the {n} rows of X; got shape {labels.shape}.")
    try:
        distinct, numbers = np.unique(labels, return_inverse=True)
    except TypeError:
        raise ValueError("groups must be labels of one kind, numbers or strings, none of them missing.") from None
    if np.any(distinct != distinct):
        raise ValueError("groups must not be missing: give each row without a group a label of its own.")
    return numbers.astype(np.min_scalar_type(len(distinct)))


def _checked(split: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A split as two ascending arrays of row numbers."""
    try:
        train, test = (np.asarray(rows) for rows in split)
    except (TypeError, ValueError):
        raise ValueError(f"cv must give pairs (train, test) of rows; got {split!r}.") from None
    if not train.size:
        raise ValueError("cv has a split without training rows, from which nothing can be predicted.")
    both = []
    for rows in (train, test):
        rows = rows.astype(np.intp) if not rows.size else rows
        is_mask = rows.dtype == bool and rows.shape == (n,)
        is_numbers = rows.ndim == 1 and np.issubdtype(rows.dtype, np.integer) and not np.any((rows < 0) | (rows >= n))
        if not is_mask and not is_numbers:
            raise ValueError(
                f"cv must split the {n} rows of X: train and test are numbers of rows, from 0 to {n - 1}, or masks."
            )
        both.append(np.flatnonzero(rows) if is_mask else np.sort(rows))
        if np.any(both[-1][1:] == both[-1][:-1]):
            raise ValueError("cv must not give a row twice in one train or test; use sample_weight to repeat rows.")
    train, test = both
    if len(shared := np.intersect1d(train, test, assume_unique=True)):
        raise ValueError(
            f"cv has a split with row {shared[0]} in both train and test: a row must be predicted from others."
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
