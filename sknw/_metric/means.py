"""Weighted means and their derivatives in w (d,) by one pass over all pairs, where K' is a multiple of K: the Gaussian.

With u_ij^2 = sum_a w_a^2 (x_ia - x_ja)^2, K' = dK / d(u^2) = f K, m_i the weighted mean of y at x_i and M_i[v] that of
any other v,

    dm_i / d(w_a^2) = f sum_j P_ij (x_ia - x_ja)^2 (y_j - m_i)
                    = f (M_i[x_a^2 y] - m_i M_i[x_a^2] - 2 x_ia (M_i[x_a y] - m_i M_i[x_a])),

as the sum of P_ij (y_j - m_i) is 0. So the derivatives are weighted means of more columns.

The sum over (x_ia - x_ja)^2 is a difference of numbers of size x_a^2, of which pairs nearer than the bandwidth 1 / w_a
leave 1 / w_a^2: the derivative in log w_a has an error of about eps (w_a x_a)^2 L, with eps = 2e-16, x in standard
deviations from the mean, and L the loss. This is 1e-9 L where the bandwidth is a thousandth of a standard deviation,
far less than the tolerance of the search for w.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sknw._kernel_sums.registry import kernel_sums
from sknw._smoothing.smoother import Queries, Smoother
from sknw._smoothing.unsupported import UnsupportedPolicy
from sknw.kernels import Kernel

# With more columns than this a second pass, see `_kernel_sums.metric_gradient`, takes less time.
_MOST_COLUMNS = 32


@dataclass(frozen=True, eq=False)
class MeansWithMoments:
    """Weighted means at m queries, and the means M_i of which their derivatives consist."""

    values: np.ndarray  # m_i, (m, k)
    x: np.ndarray  # x_i, (m, c)
    moments: np.ndarray  # M_i of (x, x^2), and of their products with each y, (m, 1 + k, 2 c)
    factor: float  # f

    def by_squares(self, g: np.ndarray) -> np.ndarray:
        """The derivatives of sum_i g_i'm_i in each w_a^2: (c,)."""
        c = self.x.shape[1]
        moments = np.einsum("ik,ikc->ic", g, self.moments[:, 1:])
        moments -= np.einsum("ik,ik->i", g, self.values)[:, np.newaxis] * self.moments[:, 0]
        return self.factor * (moments[:, c:].sum(axis=0) - 2.0 * np.einsum("ic,ic->c", self.x, moments[:, :c]))


def takes_moments(smoother: Smoother) -> bool:
    """Whether the values are weighted means whose derivatives this module has, in less time than by a second pass."""
    k, c = smoother.values.shape[1], len(smoother.w)
    of_means = smoother.line is None and smoother.w.ndim == 1
    return of_means and (1 + k) * (1 + 2 * c) <= _MOST_COLUMNS and _factor(smoother.kernel) is not None


def _factor(kernel: Kernel) -> float | None:
    """f, or None where K' is no multiple of K."""
    of_form = None if kernel.form is None else kernel.form.derivative_form()
    return of_form[0] if of_form is not None and of_form[1] == kernel.form else None


def pool_with_moments(smoother: Smoother, queries: Queries, query_x: np.ndarray, key_x: np.ndarray) -> MeansWithMoments:
    """The weighted means at the queries; `query_x` (m, c) and `key_x` (n, c) are the inputs x of queries and keys."""
    request, k, factor = smoother.value_request(queries), smoother.values.shape[1], _factor(smoother.kernel)
    assert factor is not None
    index = request.index.with_columns_of("metric moments", key_x, _columns)
    if smoother.w.all():  # where w_a = 0, x_a is no coordinate of the keys, as the index takes for granted of products
        index.value_columns = np.arange(k)
    means, unsupported = kernel_sums(replace(request, index=index), smoother.algorithm).into_means()
    values = UnsupportedPolicy(smoother.policy, request).put(means[:, :, :k], unsupported)[0]
    return MeansWithMoments(values, query_x, means[0, :, k:].reshape(len(values), 1 + k, -1), factor)


def _columns(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """y, x and x^2, and the products of these with y: (n, k + (1 + k) 2 c)."""
    powers = np.hstack([x, x**2])
    return np.hstack([values, powers, *(y[:, np.newaxis] * powers for y in values.T)])
