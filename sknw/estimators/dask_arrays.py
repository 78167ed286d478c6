"""dask arrays: predictions at their rows, lazy and in their chunks, and fits to rows that stay on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from typing import Any, TypeVar
from uuid import uuid4
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from sknw._kernel_sums.workers import chunks_of, same, submit
from sknw._smoothing.training import TrainingSet
from sknw.estimators.tables import Categories, FeatureKinds, encode, find_categories, merge_categories

# As many rows, or one feature, are brought into this process by fit.
FEW_ROWS = 20_000

# Attributes with an entry for each row.
_OF_ROWS = ("y_train_", "loo_prediction_", "loo_proba_")

_Method = TypeVar("_Method", bound=Callable[..., Any])

# For each fit the futures of the model on the workers of a cluster, by the identity of its client.
_sent: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


def takes_dask_arrays(method: _Method) -> _Method:
    """Let a method that predicts at the rows of X take a dask array, for which it returns a lazy one."""

    @wraps(method)
    def predict(model: Any, X: Any, *arguments: Any, **settings: Any) -> Any:
        if not is_dask_array(X) or X.ndim != 2:  # the method says what is wrong with another number of dimensions
            return method(model, X, *arguments, **settings)
        check_is_fitted(model)
        return _map_chunks(model, X, method.__name__, arguments, settings)

    return predict  # type: ignore[return-value]


def is_dask_array(X: Any) -> bool:
    """Whether X is a dask array, without importing dask."""
    return type(X).__module__.startswith("dask.array") and hasattr(X, "map_blocks")


def client_that_keeps(X: Any) -> Any | None:
    """The client of the cluster on whose workers `fit` leaves the rows of X; None where it takes them itself.

    It takes few rows, and one feature, which takes no more memory than the targets; and all without a cluster.
    """
    client = _client() if is_dask_array(X) and X.ndim == 2 and X.shape[1] > 1 else None
    if client is None:
        return None
    if np.isnan(X.shape[0]):
        X.compute_chunk_sizes()
    return client if X.shape[0] > FEW_ROWS else None


def gather_targets(y: Any, X: Any, client: Any) -> tuple[np.ndarray, list[Any] | None]:
    """The targets here, and the futures of those of each chunk of the dask array X, if y are numbers of a dask array.

    Labels are found on the workers, and rows bring their number.
    """
    if is_dask_array(y) and np.isnan(y.shape[0]):
        y.compute_chunk_sizes()
    check_consistent_length(X, y)
    if not is_dask_array(y):
        return np.asarray(y), None
    chunks = chunks_of(client, y.rechunk((X.chunks[0], *y.shape[1:])))
    if y.dtype.kind in "biuf":
        return np.concatenate(client.gather(chunks)), chunks
    labels = client.gather([submit(client, None, _labels, chunk) for chunk in chunks])
    return np.concatenate([distinct[numbers] for distinct, numbers in labels]), None


def encode_chunks(X: Any, kinds: FeatureKinds, sample_weight: np.ndarray | None, client: Any) -> tuple[Any, Categories]:
    """The lazy dask array of X with the codes of categories, and their levels, which the workers find."""
    chunks = chunks_of(client, X)
    ends = np.cumsum(X.chunks[0])[:-1]
    there = [None] * len(chunks) if sample_weight is None else np.split(sample_weight > 0, ends)
    of_chunks = [submit(client, None, find_categories, x, kinds, some) for x, some in zip(chunks, there, strict=True)]
    categories = merge_categories(client.gather(of_chunks))
    dtype = X.dtype if X.dtype.kind == "f" else np.float64
    return X.map_blocks(_encode_chunk, categories, dtype=dtype, meta=np.empty((0, 0), dtype)), categories


def _encode_chunk(x: np.ndarray, categories: Categories) -> np.ndarray:
    return encode(x, categories) if len(x) else np.empty(x.shape)


def _client() -> Any | None:
    """The client of a cluster, if there is one."""
    try:
        return sys.modules["distributed"].get_client()
    except (KeyError, ValueError):
        return None


def _labels(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct labels, and the number of each one in as few bytes as hold it.

    Those of several kinds are given as they are, for the check of the targets to refuse.
    """
    try:
        distinct, numbers = np.unique(y, return_inverse=True)
    except TypeError:
        distinct, numbers = y.ravel(), np.arange(y.size)
    return distinct, numbers.reshape(y.shape).astype(np.min_scalar_type(len(distinct)))


def _map_chunks(model: Any, X: Any, name: str, arguments: tuple, settings: dict[str, Any]) -> Any:
    X = X.rechunk({1: -1})
    # of what type and shape an answer is
    example = getattr(model, name)(_example_row(model, X.dtype), *arguments, **settings)
    is_pair = isinstance(example, tuple)
    example = _stacked(example)
    shape: dict[str, Any] = {"drop_axis": 1}
    if example.ndim > 1:
        shape = {"chunks": (X.chunks[0], *((n,) for n in example.shape[1:])), "new_axis": [*range(2, example.ndim)]}
    found = X.map_blocks(
        partial(_predict_chunk, name=name, arguments=arguments, settings=settings, none=example[:0]),
        model=_sent_once(model),
        meta=np.empty((0,) * example.ndim, dtype=example.dtype),
        **shape,
    )
    return (found[..., 0], found[..., 1]) if is_pair else found


def _example_row(model: Any, dtype: np.dtype) -> np.ndarray:
    """A training row with the levels of categories, as a query of a dask array of this dtype would be."""
    row = np.asarray(model.X_train_[:1]).astype(object)
    for k, levels in enumerate(model.categories_):
        if levels is not None:
            row[0, k] = levels[int(row[0, k])]
    return row if dtype.kind not in "biuf" else row.astype(dtype if dtype.kind == "f" else np.float64)


def _predict_chunk(
    chunk: np.ndarray, model: Any, name: str, arguments: tuple, settings: dict[str, Any], none: np.ndarray
) -> np.ndarray:
    """The answer for the rows of a chunk; that for no rows is `none`."""
    if not len(chunk):
        return none
    if isinstance(model, tuple):
        kind, attributes = model
        model = kind.__new__(kind)
        vars(model).update(attributes)
    return _stacked(getattr(model, name)(chunk, *arguments, **settings))


def _stacked(answer: Any) -> np.ndarray:
    """The mean and the standard deviation side by side, where both are asked for."""
    return np.stack(answer, axis=-1) if isinstance(answer, tuple) else answer


def _sent_once(model: Any) -> Any:
    """The model in the graph of dask; with a cluster it is sent to this once, in the first call."""
    import dask

    client = _client()
    if client is None:  # threads or processes of this machine
        return dask.delayed(model, name=f"{type(model).__name__}-{uuid4().hex}")
    futures, name, sent = _sent.setdefault(model._fitted, {}), client.id, model
    if is_dask_array(model.X_train_):
        sent = type(model), _without_rows(model)
        name += " with residuals" * ("with_squares" in vars(model._fitted))
    if name not in futures:
        futures[name] = submit(client, None, same, sent)
    return futures[name]


def _without_rows(model: Any) -> dict[str, Any]:
    """The attributes of a model whose rows are on workers, for predictions there: without one for each row."""
    fitted, training, none = model._fitted, model._fitted.training, slice(0, 0)
    of_y = training.values[none], training.y_center, training.y_scales, training.y_range
    of_x = np.empty((0, len(training.features))), training.features, none, training.center, training.scales
    few = TrainingSet(*of_x, *of_y, training.sample_weight[none], none, training.share[none])
    squares = {"squares": fitted.squares[none]} if hasattr(fitted, "squares") else {}
    light = replace(fitted, training=few, smoother=replace(fitted.smoother, values=few.values), rule=None, **squares)
    if "with_squares" in vars(fitted):
        squares = fitted.with_squares
        vars(light)["with_squares"] = replace(squares, values=squares.values[none])
        vars(light)["mean_squares"] = fitted.mean_squares
    rows = {name: getattr(model, name)[none] for name in _OF_ROWS if hasattr(model, name)}
    return {**vars(model), **rows, "X_train_": few.given, "sample_weight_": None, "_fitted": light}
