"""Predictions at the rows of a dask array: lazy, and in the chunks of the array."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar
from uuid import uuid4
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.utils.validation import check_is_fitted

_Method = TypeVar("_Method", bound=Callable[..., Any])

# For each fit the futures of the model on the workers of a cluster, by the identity of its client.
_sent: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


def takes_dask_arrays(method: _Method) -> _Method:
    """Let a method that predicts at the rows of X take a dask array, for which it returns a lazy one."""

    @wraps(method)
    def predict(model: Any, X: Any, *arguments: Any, **settings: Any) -> Any:
        if not is_dask_array(X):
            return method(model, X, *arguments, **settings)
        check_is_fitted(model)
        return _map_chunks(model, X, method.__name__, arguments, settings)

    return predict  # type: ignore[return-value]


def is_dask_array(X: Any) -> bool:
    """Whether X is a dask array, without importing dask."""
    return type(X).__module__.startswith("dask.array") and hasattr(X, "map_blocks")


def _map_chunks(model: Any, X: Any, name: str, arguments: tuple, settings: dict[str, Any]) -> Any:
    X = X.rechunk({1: -1})
    # of what type and shape an answer is
    row = model.X_train_[:1].astype(X.dtype if X.dtype.kind == "f" else np.float64)
    example = getattr(model, name)(row, *arguments, **settings)
    is_pair = isinstance(example, tuple)
    example = _stacked(example)
    shape: dict[str, Any] = {"drop_axis": 1}
    if example.ndim > 1:
        shape = {"chunks": (X.chunks[0], *((n,) for n in example.shape[1:])), "new_axis": [*range(2, example.ndim)]}
    found = X.map_blocks(
        partial(_predict_chunk, name=name, arguments=arguments, settings=settings),
        model=_sent_once(model),
        meta=np.empty((0,) * example.ndim, dtype=example.dtype),
        **shape,
    )
    return (found[..., 0], found[..., 1]) if is_pair else found


def _predict_chunk(chunk: np.ndarray, model: Any, name: str, arguments: tuple, settings: dict[str, Any]) -> np.ndarray:
    return _stacked(getattr(model, name)(chunk, *arguments, **settings))


def _stacked(answer: Any) -> np.ndarray:
    """The mean and the standard deviation side by side, where both are asked for."""
    return np.stack(answer, axis=-1) if isinstance(answer, tuple) else answer


def _sent_once(model: Any) -> Any:
    """The model in the graph of dask; with a cluster it is sent to this once, in the first call."""
    import dask

    try:
        client = sys.modules["distributed"].get_client()
    except (KeyError, ValueError):  # threads or processes of this machine
        return dask.delayed(model, name=f"{type(model).__name__}-{uuid4().hex}")
    futures = _sent.setdefault(model._fitted, {})
    if client.id not in futures:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")
            futures[client.id] = client.submit(_model, model, pure=False)
    return futures[client.id]


def _model(model: Any) -> Any:
    """As the result of a task the model is sent again where a worker has died."""
    return model
