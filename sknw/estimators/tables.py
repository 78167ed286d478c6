"""From tables to numbers: what each feature is, by its dtype or by parameters, and the codes of categories."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.utils import check_array

from sknw._sklearn_compat import get_column
from sknw._smoothing.features import FeatureMap

_PAGE = "https://scikit-nw.readthedocs.io/en/stable/guide/missing_values.html"
# The levels of each category in their order, a missing value last as NaN; None for numbers.
Categories = list[np.ndarray | None]


def is_table(X: Any) -> bool:
    """Whether X is a data frame of pandas or polars, whose columns have dtypes of their own."""
    return hasattr(X, "columns") and (hasattr(X, "iloc") or hasattr(X, "get_column"))


def densify(X: Any) -> Any:
    """X as a dense array if it is sparse, or a data frame of sparse columns only; else X itself.

    Refused where the dense array would be larger than scikit-learn's ``working_memory``.
    """
    is_frame = is_table(X) and hasattr(X, "sparse")
    if not is_frame and not issparse(X):
        return X
    n_bytes, limit = 8 * math.prod(X.shape), get_config()["working_memory"] * 2**20
    if n_bytes > limit:
        raise ValueError(
            f"Sparse X of shape {X.shape} would take {n_bytes / 2**20:.0f} MiB as a dense array, more than the "
            f"{limit / 2**20:.0f} MiB of scikit-learn's working_memory. One-hot columns are not needed: give the "
            "categories themselves, with categorical_features. Else use OneHotEncoder(sparse_output=False), reduce the "
            "columns, or raise the limit with sklearn.set_config(working_memory=...)."
        )
    return X.sparse.to_dense() if is_frame else X.toarray()


def as_table(X: Any) -> Any:
    """X itself if it is a data frame, else as an array of two dimensions and of its own dtype."""
    if is_table(X):
        return X
    return check_array(X, dtype=None if hasattr(X, "dtype") else object, ensure_all_finite=False)


@contextmanager
def names_the_remedy(estimator: object) -> Iterator[None]:
    """Say what helps where scikit-learn has found missing values or strings, or a y that is a single number.

    A ValueError with the remedy takes the place of the error of scikit-learn; other errors stay as they are.
    """
    name = type(estimator).__name__
    try:
        yield
    except (TypeError, ValueError) as error:
        message = str(error)
        if message.startswith("Input should have at least 1 dimension"):
            message = "y must have a target for each row of X, got a single one."
        elif message.startswith("Input X contains NaN"):
            message = (
                f"Input X contains NaN. {name} takes missing values in categories, where they are a level, and not in "
                f"numbers: impute these first, as by make_pipeline(IterativeImputer(add_indicator=True), {name}()). "
                f"See {_PAGE}"
            )
        elif message.startswith("could not convert string to float"):
            message = (
                f"Input X must consist of numbers and categories: {message}. Name the features that hold labels in "
                "categorical_features, or give these columns of the data frame the dtype 'category'."
            )
        elif message == "Input contains NaN":  # what scikit-learn says of objects in y
            message = "Input y contains NaN: leave out rows whose target is missing."
        else:
            raise
        raise ValueError(message) from error


class FeatureKinds(NamedTuple):
    """Which features are categories, which of these are ordered, and the periods, 0 for the others: (d,) each."""

    is_categorical: np.ndarray
    is_ordered: np.ndarray
    period: np.ndarray

    @classmethod
    def of_numbers(cls, d: int) -> FeatureKinds:
        """d numbers."""
        return cls(np.zeros(d, dtype=bool), np.zeros(d, dtype=bool), np.zeros(d))

    @classmethod
    def of(
        cls,
        X: Any,
        names: Sequence[str] | None,
        d: int,
        categorical_features: ArrayLike | str | None,
        ordered_features: ArrayLike | None,
        periodic_features: Mapping[str | int, float] | None,
    ) -> FeatureKinds:
        """What the d features of X are, by dtype and by these parameters; a ValueError where one does not fit."""
        of_dtype, has_ordered_dtype = np.zeros((2, d), dtype=bool)
        if is_table(X):
            dtypes = [_dtype_of_category(dtype) for dtype in X.dtypes]
            of_dtype = np.array([dtype is not None for dtype in dtypes])
            has_ordered_dtype = np.array([dtype is not None and dtype[0] for dtype in dtypes])
        if isinstance(categorical_features, str):
            is_categorical = of_dtype
        else:
            is_categorical = _mask(categorical_features, "categorical_features", names, d)
        is_ordered = _mask(ordered_features, "ordered_features", names, d)
        is_ordered, is_categorical = is_ordered | (has_ordered_dtype & is_categorical), is_categorical | is_ordered
        period = np.zeros(d)
        for key, value in (periodic_features or {}).items():
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < np.inf:
                raise ValueError(
                    f"periodic_features must give each feature a positive period, got {value!r} for {key!r}."
                )
            period[positions_of([key], "periodic_features", names, d)] = value
        if np.any(both := is_categorical & (period > 0)):
            k = int(np.argmax(both))
            name = k if names is None else repr(names[k])
            raise ValueError(
                f"Feature {name} is in periodic_features and a category as well; it can be one of the two."
            )
        return cls(is_categorical, is_ordered, period)


def _mask(features: ArrayLike | None, parameter: str, names: Sequence[str] | None, d: int) -> np.ndarray:
    """Which features a mask, indices or names stand for: bool (d,)."""
    mask = np.zeros(d, dtype=bool)
    if features is None:
        return mask
    given = np.asarray(features)
    if given.dtype.kind == "b":
        if given.shape != (d,):
            raise ValueError(f"{parameter} as a mask must have one entry for each of the {d} features, got {given}.")
        return given
    mask[positions_of(given.ravel().tolist(), parameter, names, d)] = True
    return mask


def positions_of(features: Iterable[Any], parameter: str, names: Sequence[str] | None, d: int) -> list[int]:
    """The positions of features given by index or name, for the parameter of that name."""
    found = []
    known = "X has no feature names" if names is None else f"the features of X are {list(names)}"
    for feature in features:
        if isinstance(feature, str):
            if names is None or feature not in names:
                raise ValueError(f"{parameter} names the feature {feature!r}, but {known}.")
            found.append(list(names).index(feature))
        elif isinstance(feature, Integral) and not isinstance(feature, bool) and 0 <= int(feature) < d:
            found.append(int(feature))
        else:
            raise ValueError(
                f"{parameter} must hold names of features or indices from 0 to {d - 1}, and {known}; got {feature!r}."
            )
    return found


def _dtype_of_category(dtype: Any) -> tuple[bool, list | None] | None:
    """Of a categorical dtype of pandas or polars whether it is ordered, and its levels if the dtype knows an order."""
    name = type(dtype).__name__
    if name == "CategoricalDtype":
        return bool(dtype.ordered), list(dtype.categories)
    if name == "Enum":
        return True, dtype.categories.to_list()
    return (False, None) if name == "Categorical" else None


def find_categories(X: Any, kinds: FeatureKinds, is_there: np.ndarray | None) -> Categories:
    """The levels of each category among the rows that are there, None: all; in an ordered dtype those of the dtype."""
    categories: Categories = [None] * len(kinds.is_categorical)
    for k in np.flatnonzero(kinds.is_categorical).tolist():
        column = get_column(X, k)
        given = np.asarray(column)
        given = given if is_there is None else given[is_there]
        dtype = _dtype_of_category(column.dtype) if is_table(X) else None
        levels, has_missing = _sorted_levels(given.tolist(), k)
        if kinds.is_ordered[k] and dtype is not None and dtype[1] is not None:
            levels = dtype[1]
        categories[k] = _as_levels(levels, has_missing)
    return categories


def merge_categories(found: list[Categories]) -> Categories:
    """The levels of each category that any of several parts of the rows of an array has."""

    def merge(k: int) -> np.ndarray:
        levels = [level for part in found for level in np.asarray(part[k]).tolist()]
        return _as_levels(*_sorted_levels(levels, k))

    return [None if levels is None else merge(k) for k, levels in enumerate(found[0])]


def _sorted_levels(values: list[Any], k: int) -> tuple[list[Any], bool]:
    """The distinct values of feature k that are not missing, sorted if they can be, and whether any is missing."""
    try:
        distinct = set(values)
        levels = sorted(value for value in distinct if not _is_missing(value))
    except TypeError as error:
        raise TypeError(
            f"The values of the categorical feature {k} cannot be sorted, and an argument must be a string or a "
            f"number, all of one kind: {error}."
        ) from error
    return levels, len(levels) < len(distinct)


def _as_levels(levels: list[Any], has_missing: bool) -> np.ndarray:
    """Levels as they are in `Categories`."""
    levels = levels + [np.nan] * has_missing
    are_numbers = all(isinstance(level, Real) and not isinstance(level, bool) for level in levels)
    return np.array(levels, dtype=None if are_numbers and levels else object)


def append_levels(X: Any, categories: Categories, is_ordered: np.ndarray, is_there: np.ndarray | slice) -> Categories:
    """The levels of each category, with those that only further rows X have; `categories` itself without any.

    New levels of an ordered category, which would move the steps between the others, are refused.
    """
    extended = list(categories)
    for k, levels in enumerate(categories):
        if levels is None:
            continue
        values = np.asarray(get_column(X, k))[is_there]
        new = values[_codes(values, levels) < 0].tolist()
        found, has_missing = _sorted_levels(new, k)
        if found and is_ordered[k]:
            raise ValueError(
                f"The ordered category {k} has new levels, {found}, which would move the steps between those of the "
                f"first batch, {levels.tolist()}: begin with an ordered dtype that has all levels."
            )
        if new:
            known = [level for level in levels.tolist() if not _is_missing(level)]
            is_missing = has_missing or len(known) < len(levels)
            extended[k] = _as_levels(_sorted_levels(known + found, k)[0] if found else known, is_missing)
    are_new = any(levels is not before for levels, before in zip(extended, categories, strict=True))
    return extended if are_new else categories


def recode(X: np.ndarray, before: Categories, categories: Categories) -> np.ndarray:
    """X (n, d) with codes of other levels, among which are all those `before`."""
    recoded = X.copy()
    for k, (known, levels) in enumerate(zip(before, categories, strict=True)):
        if known is not None and levels is not None and levels is not known:
            codes = np.append(_codes(known, levels), -1.0)  # of unknown levels -1, the last one
            recoded[:, k] = codes[X[:, k].astype(np.intp)]
    return recoded


def encode(X: Any, categories: Categories) -> np.ndarray:
    """X (m, d) as numbers, which must be finite; of categories the codes of their levels, -1 for unknown ones."""
    is_number = [levels is None for levels in categories]
    dtype = (np.float64, np.float32)
    if any(is_number):
        numbers = check_array(get_column(X, np.flatnonzero(is_number).tolist()), dtype=dtype, input_name="X")
    else:
        numbers = np.empty((X.shape[0], 0))
    encoded = np.empty((X.shape[0], len(categories)), dtype=numbers.dtype)
    encoded[:, is_number] = numbers
    for k, levels in enumerate(categories):
        if levels is not None:
            encoded[:, k] = _codes(np.asarray(get_column(X, k)), levels)
    return encoded


def _codes(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The number of the level of each value (m,), -1 for those that are none of the levels."""
    distinct, places = values, np.arange(len(values))
    if values.dtype.kind in "biuf":  # each number is looked up once
        distinct, places = np.unique(values, return_inverse=True)
    codes = {level: code for code, level in enumerate(levels.tolist()) if not _is_missing(level)}
    of_missing = len(levels) - 1 if len(codes) < len(levels) else -1
    found = (of_missing if _is_missing(value) else codes.get(value, -1) for value in distinct.tolist())
    return np.fromiter(found, dtype=np.float64, count=len(distinct))[places]


def _is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or pandas' NA, which is not even unequal to itself."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def feature_map(kinds: FeatureKinds, categories: Categories, scale: str) -> FeatureMap:
    """The map from encoded features to columns, for a `scale` of numbers, "features" or "common"."""
    nothing = np.zeros(len(categories), dtype=np.intp)
    return with_categories(
        FeatureMap(nothing, kinds.is_ordered, nothing > 0, kinds.period, scale == "common"), categories
    )


def with_categories(features: FeatureMap, categories: Categories) -> FeatureMap:
    """The same features with other levels of categories."""
    n_levels = np.array([0 if levels is None else len(levels) for levels in categories])
    has_missing = np.array(
        [levels is not None and len(levels) > 0 and _is_missing(levels[-1]) for levels in categories]
    )
    return replace(features, n_levels=n_levels, has_missing=has_missing)
