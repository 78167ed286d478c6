"""The second door of the engine room: the derivative of pooled values in the metric, summed over all pairs.

Let a value m_i be pooled at query i with weights P_ij = K(u_ij^2) w_j / D_i, u_ij^2 = ||(x_i - x_j) W||^2, and let

    dm_i / dP_ij = (p_i'(1, x_j)) (g_i'y_j - e_i'(1, x_j)) - t_i,

which a local line and, with p = (1, 0) and t = 0, a weighted mean have. The derivative of sum_i m_i in W is 2 S W with
the scatter matrix of the differences of inputs

    S = sum_ij B_ij (x_i - x_j) (x_i - x_j)',   B_ij = K'(u_ij^2) w_j / D_i (dm_i / dP_ij),   K' = dK / d(u^2).

It is formed from the sums over rows and columns of B and the products B X, a block at a time: memory O(n + m). Where
it pays, each pair is looked at once: S is the same for the upper triangle of B + B'.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock

import numpy as np

from sknw._kernel_sums import dense
from sknw._kernel_sums.groups import log_factors, members_of, request_of_all, request_of_group, takes_groups
from sknw._kernel_sums.registry import DifferentiatesMetric, algorithm_for, dispatcher
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.threads import for_each_chunk


@dataclass(frozen=True, eq=False)
class WeightCotangent:
    """The derivatives dm_i / dP_ij of the value pooled at each query, in factored form; see above."""

    p: np.ndarray  # first factor of dm / dP, of (1, x_j): (m, 1 + d), of weighted means (m, 1)
    g: np.ndarray  # what each of the k outputs counts, (m, k)
    e: np.ndarray  # what is taken from g'y_j, of (1, x_j): (m, 1 + d), of weighted means (m, 1)
    t: np.ndarray  # (m,)
    log_mass: np.ndarray  # log D, where the sums are S of `KernelSumRequest`, (m,)

    @property
    def is_of_means(self) -> bool:
        """Whether the values are weighted means."""
        return self.p.shape[1] == 1

    def among(self, columns: np.ndarray) -> WeightCotangent:
        """The same for x with further columns; `columns` (d,) says which of all have a slope."""
        with_level = np.append(True, columns)
        p, e = (np.zeros((len(self.t), len(with_level))) for _ in range(2))
        p[:, with_level], e[:, with_level] = self.p, self.e
        return replace(self, p=p, e=e)

    def take(self, rows: np.ndarray) -> WeightCotangent:
        """Those of some of the queries."""
        return WeightCotangent(*(array[rows] for array in vars(self).values()))


def metric_gradient(
    request: KernelSumRequest,
    query_x: np.ndarray,
    key_x: np.ndarray,
    cotangent: WeightCotangent,
    algorithm: str,
    w: np.ndarray,
) -> np.ndarray:
    """The product S W, (d, r), of the scatter matrix and a matrix w (d, r).

    The request has the queries and keys in the metric, at one bandwidth, 1, and its columns are the y_j; `query_x`
    (m, d) and `key_x` (n, d) are the inputs x of both.
    """
    engine, query_z, key_z = _engine_for(request, algorithm), query_x @ w, key_x @ w
    if engine is None:
        return _dense_metric_gradient(request, (query_x, key_x), (query_z, key_z), cotangent)
    row_sums, column_sums, products = engine.metric_sums(request, key_x, cotangent)
    of_queries = query_x.T @ (row_sums[:, np.newaxis] * query_z - products @ w)
    return of_queries + key_x.T @ (column_sums[:, np.newaxis] * key_z) - products.T @ query_z


def metric_diagonal(
    request: KernelSumRequest, query_x: np.ndarray, key_x: np.ndarray, cotangent: WeightCotangent, algorithm: str
) -> np.ndarray:
    """The diagonal of S, for the arguments of `metric_gradient`; along groups only its sum counts."""
    if takes_groups(request) and cotangent.is_of_means:
        return _diagonal_by_groups(request, query_x, key_x, cotangent, algorithm)
    return _diagonal(request, query_x, key_x, cotangent, algorithm)[0]


def _diagonal_by_groups(
    request: KernelSumRequest, query_x: np.ndarray, key_x: np.ndarray, cotangent: WeightCotangent, algorithm: str
) -> np.ndarray:
    """As `metric_diagonal`, of weighted means whose sums split up as in `groups`.

    B = lambda B_all + (1 - lambda) B_own; pairs of different groups have lambda (B_all - B_own).
    """
    groups, of_all = request.index.groups, request_of_all(request)
    assert groups is not None
    columns, log_mass = groups.columns, cotangent.log_mass
    (log_other,), ((log_rest,),) = log_factors(request)
    other = int(np.argmax(groups.number != groups.number[0]))
    sq = ((key_x[other, columns] - key_x[0, columns]) ** 2).sum()  # of two groups
    query_x, key_x = (np.delete(x, columns, axis=1) for x in (query_x, key_x))
    by_others, total = _diagonal(of_all, query_x, key_x, replace(cotangent, log_mass=log_mass - log_other), algorithm)
    for rows, keys in members_of(request) if np.isfinite(log_rest) else ():
        part = request_of_group(request, of_all, rows, keys)
        few = replace(cotangent.take(rows), log_mass=(log_mass - log_rest)[rows])
        own, total_of_own = _diagonal(part, query_x[rows], key_x[keys], few, "auto")
        by_others = by_others + own
        total -= total_of_own * np.exp(log_other[0] - log_rest)
    diagonal = np.full(columns.stop - columns.start + len(by_others), sq * total / groups.n_columns)
    diagonal[np.delete(np.arange(len(diagonal)), columns)] = by_others
    return diagonal


def _diagonal(
    request: KernelSumRequest, query_x: np.ndarray, key_x: np.ndarray, cotangent: WeightCotangent, algorithm: str
) -> tuple[np.ndarray, float]:
    """The diagonal of S, and the sum of B."""
    row_sums, column_sums, products = metric_sums(request, key_x, cotangent, algorithm)
    if query_x is key_x:
        squares = (row_sums + column_sums) @ key_x**2
    else:
        squares = row_sums @ query_x**2 + column_sums @ key_x**2
    return squares - 2.0 * np.einsum("ia,ia->a", query_x, products), float(row_sums.sum())


def metric_rows(
    request: KernelSumRequest,
    query_x: np.ndarray,
    key_x: np.ndarray,
    cotangent: WeightCotangent,
    some: np.ndarray,
    algorithm: str,
) -> np.ndarray:
    """What each query adds to the diagonal of S, sum_j B_ij (x_ia - x_ja)^2, for `some` (d,) of the inputs: (m, a)."""
    columns = np.hstack([key_x, key_x[:, some] ** 2])
    is_of_x = np.arange(columns.shape[1]) < key_x.shape[1]
    row_sums, _, products = metric_sums(request, columns, cotangent.among(is_of_x), algorithm)
    query_x, of_x, of_squares = query_x[:, some], products[:, is_of_x][:, some], products[:, ~is_of_x]
    return row_sums[:, np.newaxis] * query_x**2 - 2.0 * query_x * of_x + of_squares


def metric_sums(request: KernelSumRequest, x: np.ndarray, cotangent: WeightCotangent, algorithm: str) -> MetricSums:
    """The sums of B over its rows (m,) and columns (n,), and B X of shape (m, d)."""
    engine = _engine_for(request, algorithm)
    return (engine.metric_sums if engine else _dense_metric_sums)(request, x, cotangent)


def _engine_for(request: KernelSumRequest, algorithm: str) -> DifferentiatesMetric | None:
    """The engine of the sums; None: NumPy."""
    algorithm = algorithm_for(request, algorithm)
    return dispatcher.choose_capable(DifferentiatesMetric, request, algorithm, refusal="metric_refusal")  # type: ignore[type-abstract]


# The sums of B over its rows (m,) and columns (n,), and B X of shape (m, d).
MetricSums = tuple[np.ndarray, np.ndarray, np.ndarray]


def _dense_metric_sums(request: KernelSumRequest, x: np.ndarray, cotangent: WeightCotangent) -> MetricSums:
    """NumPy, a block of queries against all keys; every kernel with a derivative."""
    m, d = len(request.queries), x.shape[1]
    row_sums, column_sums, products = np.empty(m), np.zeros(len(x)), np.empty((m, d))
    lock = Lock()

    def block(rows: slice) -> None:
        b = _rows_of_b(request, x, cotangent, rows)
        row_sums[rows], products[rows] = b.sum(axis=1), b @ x
        with lock:
            column_sums[:] += b.sum(axis=0)

    for_each_chunk(block, m, dense.rows_per_block(request), request.n_threads, uses_blas=True)
    return row_sums, column_sums, products


def _dense_metric_gradient(
    request: KernelSumRequest,
    x: tuple[np.ndarray, np.ndarray],
    z: tuple[np.ndarray, np.ndarray],
    cotangent: WeightCotangent,
) -> np.ndarray:
    """S W from the x and the z = x W of queries and keys, by the products B Z and B'Z: z has fewer columns than x."""
    (query_x, key_x), (query_z, key_z) = x, z
    of_queries, of_keys, lock = np.empty_like(query_z), np.zeros_like(key_z), Lock()

    def block(rows: slice) -> None:
        b = _rows_of_b(request, key_x, cotangent, rows)
        of_queries[rows] = b.sum(axis=1)[:, np.newaxis] * query_z[rows] - b @ key_z
        of_these_keys = b.sum(axis=0)[:, np.newaxis] * key_z - b.T @ query_z[rows]
        with lock:
            of_keys[:] += of_these_keys

    for_each_chunk(block, len(query_z), dense.rows_per_block(request), request.n_threads, uses_blas=True)
    return query_x.T @ of_queries + key_x.T @ of_keys


def _rows_of_b(request: KernelSumRequest, x: np.ndarray, cotangent: WeightCotangent, rows: slice) -> np.ndarray:
    """Some rows of B, for the inputs x (n, d) of the keys."""
    sq = dense.squared_distances(request, rows)
    first, taken = cotangent.p[rows, :1], cotangent.e[rows, :1]
    if not cotangent.is_of_means:
        first, taken = first + cotangent.p[rows, 1:] @ x.T, taken + cotangent.e[rows, 1:] @ x.T
    second = cotangent.g[rows] @ request.columns.T - taken
    b = (first * second - cotangent.t[rows, np.newaxis]) * request.weights
    b *= dense.relative_derivatives(request.kernel, sq, cotangent.log_mass[rows])
    b[request.left_out_entries(rows)] = 0.0
    return b
