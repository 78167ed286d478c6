"""Predictions of rows at which one feature takes other values: individual curves, whose mean is partial dependence.

Where the kernel factors, K(u_C^2 + u_S^2) = K(u_C^2) K(u_S^2), as the Gaussian one does, with S the feature and C the
others, the weighted mean of row i at the value g is

    f_i(g) = sum_j K_C(i, j) K_S(g, j) w_j y_j / sum_j K_C(i, j) K_S(g, j) w_j:

kernel sums over the other features, in which K_S(g, .) (1, y) are columns. One pass over the pairs serves all values.
"""

from __future__ import annotations

import numpy as np
from sklearn import get_config
from sklearn.utils import gen_batches

from sknw._kernel_sums.dense import rows_per_block, squared_distances
from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.registry import algorithm_for
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.threads import for_each_chunk
from sknw._smoothing.attention import weight_rows
from sknw._smoothing.smoother import Smoother

# Sums below this may have lost terms to underflow.
_TINY = 1e-250


def individual_curves(smoother: Smoother, X: np.ndarray, feature: int, values: np.ndarray) -> np.ndarray:
    """Predictions (m, g, k) of the rows X (m, d) with each of the values (g,) in place of that of a feature."""
    if not _factors(smoother) or len(smoother.center) == 1:
        return np.stack([_predict(smoother, X, feature, value) for value in values.tolist()], axis=1)
    curves = np.empty((len(X), len(values), smoother.values.shape[1]))
    bytes_of_value = 8 * (len(X) + len(smoother.keys)) * (1 + curves.shape[2])
    size = max(int(get_config()["working_memory"] * 2**20 / bytes_of_value), 1)
    for some in gen_batches(len(values), size):
        curves[:, some], is_lost = _by_columns(smoother, X, feature, values[some])
        for g in np.flatnonzero(is_lost.any(axis=0)).tolist():
            rows = np.flatnonzero(is_lost[:, g])
            curves[rows, some.start + g] = _predict(smoother, X[rows], feature, values[some.start + g])
    return curves


def _factors(smoother: Smoother) -> bool:
    """Whether the weights are products of those of the features."""
    form = smoother.kernel.form
    is_gaussian = form is not None and form.family == "exponential" and form.power == 2
    return is_gaussian and smoother.line is None and smoother.w.ndim == 1


def _predict(smoother: Smoother, X: np.ndarray, feature: int, value: float) -> np.ndarray:
    elsewhere = X.copy()
    elsewhere[:, feature] = value
    return smoother.pool(smoother.queries(elsewhere))[0]


def _by_columns(smoother: Smoother, X: np.ndarray, feature: int, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curves (m, g, k) by sums over the other features, and where these are too small to trust (m, g)."""
    first, last = smoother.features.starts[feature : feature + 2]
    is_other = np.ones(len(smoother.center), dtype=bool)
    is_other[first:last] = False
    at_values = np.tile(X[:1], (len(values), 1))
    at_values[:, feature] = values
    index, y = smoother.index, smoother.values
    of_feature = KeyIndex(index.keys[:, ~is_other], index.weights, y[:, :0])
    request = KernelSumRequest(smoother.kernel, of_feature, smoother.queries(at_values).z[:, ~is_other])
    exponents = smoother.kernel.log_profile(squared_distances(request, slice(None)))
    k_s = np.exp(exponents - exponents.max(axis=1, keepdims=True)).T  # a factor of each value cancels
    columns = np.concatenate([k_s, *(k_s * of_output[:, np.newaxis] for of_output in y.T)], axis=1)
    others = KeyIndex(index.keys[:, is_other], index.weights, y[:, :0], index.offset_magnitude)
    request = KernelSumRequest(smoother.kernel, others, smoother.queries(X).z[:, is_other], n_jobs=smoother.n_jobs)
    weights_of = weight_rows(request, algorithm_for(request, smoother.algorithm))
    curves = np.empty((y.shape[1], len(X), len(values)))
    is_lost = np.empty((len(X), len(values)), dtype=bool)

    def fill(rows: slice) -> None:
        mass, *sums = np.split(weights_of(rows) @ columns, 1 + len(curves), axis=1)
        is_lost[rows] = mass < _TINY
        mass[is_lost[rows]] = 1.0
        for output, of_output in enumerate(sums):
            np.divide(of_output, mass, out=curves[output, rows])

    size = max(rows_per_block(request) // 2, 1)
    for_each_chunk(fill, len(X), size, request.n_threads, multiple_of=4, uses_blas=True)
    return np.moveaxis(curves, 0, 2), is_lost
