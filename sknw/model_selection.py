"""Splitters for rows that depend on each other along time, or along any other order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import BaseCrossValidator

from sknw._sklearn_compat import get_column, n_rows
from sknw._smoothing.validation import Blocks

__all__ = ["LeaveBlockOut"]


class LeaveBlockOut(BaseCrossValidator):
    """Leave out each row with its neighbours in time.

    There are as many splits as rows. Split i tests row i and trains on the rows j that are further away in time,
    ``|t_j - t_i| > half_width`` up to rounding (leaving out 2 l + 1 observations: Chu & Marron 1991 [1]_). Where noise
    is similar at neighbouring times, leave-one-out predicts the noise of a row from that of its neighbours and chooses
    a bandwidth near zero; a block that is as wide as the noise remembers does not.

    As `cv` of an estimator of this package it costs about as much as leave-one-out; elsewhere, as in
    :func:`sklearn.model_selection.cross_val_score`, it is one fit for each row.

    Parameters
    ----------
    half_width : float or timedelta
        Rows at most this far away in time are left out together; non-negative, in the unit of the times. A timedelta
        where the times are dates.
    times : None, int, str or array-like of shape (n_samples,), default=None
        The time of each row. None: the number of the row. An int or str: a column of X by its position or name. An
        array: one time for each row, numbers or dates.

    References
    ----------
    .. [1] C.-K. Chu, J. S. Marron, "Comparison of two bandwidth selectors with dependent errors", Annals of Statistics
       19 (1991) 1906-1918.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw.model_selection import LeaveBlockOut
    >>> train, test = next(LeaveBlockOut(half_width=2).split(np.zeros((6, 1))))
    >>> train, test
    (array([3, 4, 5]), array([0]))

    The noise of this curve is an autoregression; leave-one-out follows it.

    >>> from sknw import NadarayaWatsonRegressor
    >>> rng = np.random.default_rng(0)
    >>> X, noise = np.linspace(0, 1, 400)[:, np.newaxis], np.zeros(400)
    >>> for i in range(1, 400):
    ...     noise[i] = 0.7 * noise[i - 1] + 0.3 * rng.normal()
    >>> y = np.sin(6 * X[:, 0]) + noise
    >>> model = NadarayaWatsonRegressor(cv=LeaveBlockOut(half_width=10)).fit(X, y)
    >>> bool(model.bandwidth_[0] > 0.01)
    True
    """

    def __init__(self, half_width: Any, times: int | str | ArrayLike | None = None):
        self.half_width = half_width
        self.times = times

    def blocks(self, X: Any) -> Blocks:
        """The block of each row of X, as a range of times.

        Raises
        ------
        ValueError
            If `half_width` is negative or no number, or the times are not one number or date for each row.
        """
        n = n_rows(X)
        if self.times is None:
            times = np.arange(n)
        elif isinstance(self.times, int | np.integer | str):
            times = np.asarray(get_column(X, self.times))
            if times.shape != (n,):
                raise ValueError(f"times={self.times!r} is no column of X.")
        else:
            times = np.asarray(self.times)
        if times.shape != (n,):
            raise ValueError(f"times must have one entry for each of the {n} rows of X; got shape {times.shape}.")
        is_time = isinstance(self.half_width, timedelta | np.timedelta64)
        half_width = _in_nanoseconds(self.half_width) if is_time else self.half_width
        if isinstance(half_width, bool) or not isinstance(half_width, Real) or not 0 <= float(half_width) < np.inf:
            raise ValueError(
                "half_width must be a non-negative number, or a timedelta where times are dates; "
                f"got {self.half_width!r}."
            )
        if times.dtype == object:
            times = _as_dates(times)
        if (times.dtype.kind in "mM") != is_time:
            raise ValueError(
                f"half_width must be a timedelta where times are dates, else a number; got {self.half_width!r}, and "
                f"times of {times.dtype}."
            )
        if is_time:
            is_missing = np.isnat(times)
            nanoseconds = times.astype(f"{times.dtype.kind}8[ns]").astype(np.int64)
            first = nanoseconds[np.argmin(np.where(is_missing, np.iinfo(np.int64).max, nanoseconds))]
            times = np.where(is_missing, np.nan, nanoseconds - first)  # a small difference keeps its digits
        if times.dtype.kind not in "iuf" or not np.all(np.isfinite(times)):
            raise ValueError("times must be finite numbers, or dates without a time zone.")
        return Blocks(times.astype(np.float64), float(half_width))

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Generate row numbers of the training and the test set of each split.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.
        y, groups : object
            Not used; here for compatibility.

        Yields
        ------
        train, test : ndarrays
            Row numbers; `test` has one.
        """
        blocks = self.blocks(X)
        order = np.argsort(blocks.position, kind="stable")
        left_out = blocks.of(np.arange(len(order)), blocks.position[order])
        for i, (first, last) in enumerate(zip(left_out.first, left_out.last, strict=True)):
            yield np.sort(np.append(order[:first], order[last:])), np.array([i])

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of splits, that of the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.
        y, groups : object
            Not used; here for compatibility.

        Returns
        -------
        int
        """
        return n_rows(X)


def _in_nanoseconds(half_width: timedelta | np.timedelta64) -> float:
    """NaN where it has no fixed length, as months have."""
    if isinstance(half_width, np.timedelta64) and np.datetime_data(half_width)[0] in ("generic", "M", "Y"):
        return np.nan
    return float(np.timedelta64(half_width, "ns").astype(np.int64))


def _as_dates(times: np.ndarray) -> np.ndarray:
    """Objects as dates, if they are dates; else as they are."""
    if not all(isinstance(time, date) and getattr(time, "tzinfo", None) is None for time in times):
        return times
    return times.astype("M8[ns]")
