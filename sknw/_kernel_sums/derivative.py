"""The third door of the engine room: derivatives of kernel sums in the query."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sknw._kernel_sums import dense
from sknw._kernel_sums.registry import DifferentiatesSums, algorithm_for, dispatcher, kernel_sums
from sknw._kernel_sums.request import KernelSumRequest
from sknw.kernels import Formula


def derivative_sums(request: KernelSumRequest, log_mass: np.ndarray, algorithm: str) -> np.ndarray:
    """sum_j dK_j/dq w_j (1, V_j) / D at one bandwidth h, with log D given for each query, (m,): (m, 1 + k, d).

    dK/dq = 2 K'(u^2) (q - z) / h^2, K' = dK / d(u^2), at the widths that the request has, if any. Where K' is a factor
    times a kernel that has a form, these are the sums of that kernel, of the columns (1, V) and of these times the
    coordinates of z. NaN for queries at infinity.
    """
    form, h = request.kernel.form, request.bandwidths[0]
    of_form = None if form is None else form.derivative_form()
    if of_form is None:
        able = dispatcher.choose_capable(DifferentiatesSums, request, algorithm, refusal="derivative_refusal")  # type: ignore[type-abstract]
        return (able or dense.Dense()).derivative_sums(request, log_mass)
    factor, derivative = of_form
    index = request.index.of_columns("times z", lambda: request.index.with_columns(_times_z(request)))
    of_derivative = replace(request, kernel=Formula(derivative), index=index, allow_float32=False)
    sums = kernel_sums(of_derivative, algorithm_for(of_derivative, algorithm))
    d, k = request.keys.shape[1], request.columns.shape[1]
    with np.errstate(over="ignore"):
        scale = 2.0 * factor / h**2 * np.exp(sums.log_scale[0] - log_mass)
    own = np.concatenate([sums.mass[0][:, np.newaxis], sums.moments[0][:, :k]], axis=1)
    times_z = sums.moments[0][:, k:].reshape(len(own), 1 + k, d)
    if request.widths is not None:
        scale = scale / request.widths**2
    with np.errstate(invalid="ignore"):  # of queries at infinity no key is in the support, and 0 inf is no number
        found = own[:, :, np.newaxis] * request.queries[:, np.newaxis] - times_z
    return scale[:, np.newaxis, np.newaxis] * found


def _times_z(request: KernelSumRequest) -> np.ndarray:
    """V, and (1, V) times the coordinates of z: (n, k + (1 + k) d)."""
    columns, n = np.column_stack([np.ones(len(request.keys)), request.columns]), len(request.keys)
    products = columns[:, :, np.newaxis] * request.keys[:, np.newaxis, :]
    return np.hstack([request.columns, products.reshape(n, -1)])
