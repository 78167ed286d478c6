"""The second door of the engine room: how pooled values change with the metric, summed over all pairs.

Let a value m_i be pooled at query i with weights P_ij = K(u_ij^2) w_j / D_i, u_ij^2 = ||(x_i - x_j) W||^2, and let

    dm_i / dP_ij = (p_i'(1, x_j)) (g_i'y_j - e_i'(1, x_j)) - t_i,

which a local line and, with p = (1, 0) and t = 0, a weighted mean have. The derivative of sum_i m_i in W is 2 S W with
the scatter matrix of the differences of inputs

    S = sum_ij B_ij (x_i - x_j) (x_i - x_j)',   B_ij = K'(u_ij^2) w_j / D_i (dm_i / dP_ij),   K' = dK / d(u^2).

It is formed from the sums over rows and columns of B and the products B X, a block at a time: memory O(n + m). Where
it pays, each pair is looked at once: S is the same for the upper triangle of B + B'.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import numpy as np

from sknw._kernel_sums import dense
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.threads import for_each_chunk, one_blas_thread
from sknw._kernel_sums.tiled.engine import CHUNK, Tiles
from sknw.kernels import ExponentialForm, Kernel

# The exponential of this, and its products, are float64 numbers.
_LARGEST_EXPONENT = 650.0


@dataclass(frozen=True, eq=False)
class WeightCotangent:
    """How the value pooled at each query answers to the weight of a key.

    Attributes
    ----------
    p : ndarray of shape (m, 1 + d)
        First factor of dm / dP, of (1, x_j).
    g : ndarray of shape (m, k)
        What each of the k outputs counts.
    e : ndarray of shape (m, 1 + d)
        What is taken from g'y_j, of (1, x_j).
    t : ndarray of shape (m,)
    log_mass : ndarray of shape (m,)
        log D, where the sums are S of `KernelSumRequest`.
    """

    p: np.ndarray
    g: np.ndarray
    e: np.ndarray
    t: np.ndarray
    log_mass: np.ndarray


def scatter(
    problem: KernelSumRequest, query_x: np.ndarray, key_x: np.ndarray, pull: WeightCotangent, compiled: bool
) -> np.ndarray:
    """The scatter matrix S of shape (d, d).

    Parameters
    ----------
    problem : KernelSumRequest
        The queries and keys in the metric, at the factor 1; its values are the y_j.
    query_x, key_x : ndarray of shape (m, d), (n, d)
        The inputs x of both.
    pull : WeightCotangent
    compiled : bool
        Whether loading the compiled loops pays; they take kernels exp(-rate u^power) with a power up to 2.
    """
    form = problem.kernel.form
    in_tiles = compiled and isinstance(form, ExponentialForm) and form.power <= 2
    parts = _of_tiles(problem, key_x, pull) if in_tiles else _of_blocks(problem, key_x, pull)
    row_sums, column_sums, products = parts
    mixed = query_x.T @ products
    return (row_sums * query_x.T) @ query_x + (column_sums * key_x.T) @ key_x - mixed - mixed.T


# The sums of B over its rows (m,) and columns (n,), and B X of shape (m, d).
_Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def _of_blocks(problem: KernelSumRequest, x: np.ndarray, pull: WeightCotangent) -> _Parts:
    """NumPy, a block of queries against all keys; every kernel with a derivative."""
    m, d = len(problem.queries), x.shape[1]
    row_sums, column_sums, products = np.empty(m), np.zeros(len(x)), np.empty((m, d))
    lock = Lock()

    def block(rows: slice) -> None:
        sq = dense.squared_distances(problem, problem.queries[rows])
        first = pull.p[rows, :1] + pull.p[rows, 1:] @ x.T
        second = pull.g[rows] @ problem.values.T - (pull.e[rows, :1] + pull.e[rows, 1:] @ x.T)
        b = (first * second - pull.t[rows, np.newaxis]) * problem.weights
        b *= _relative_derivatives(problem.kernel, sq, pull.log_mass[rows])
        if problem.own is not None:
            b[np.arange(len(b)), problem.own.index[rows]] = 0.0  # a difference of zero
        row_sums[rows], products[rows] = b.sum(axis=1), b @ x
        with lock:
            column_sums[:] += b.sum(axis=0)

    with one_blas_thread():
        for_each_chunk(block, m, dense.rows_per_block(problem), problem.n_threads)
    return row_sums, column_sums, products


def _relative_derivatives(kernel: Kernel, sq: np.ndarray, log_mass: np.ndarray) -> np.ndarray:
    """K'(sq) / D; of the exponential family also where K and D underflow."""
    with np.errstate(under="ignore"):
        if isinstance(kernel.form, ExponentialForm):
            # an own key may outweigh the mass of the others by any factor
            log_ratio = np.minimum(kernel.log_profile(sq) - log_mass[:, np.newaxis], _LARGEST_EXPONENT)
            return np.exp(log_ratio) * kernel.log_slope(sq)
        return kernel.derivative(sq) * np.exp(-log_mass)[:, np.newaxis]


def _of_tiles(problem: KernelSumRequest, x: np.ndarray, pull: WeightCotangent) -> _Parts:
    """Compiled tiles of the fused engine."""
    from sknw._kernel_sums.tiled import metric_gradient_loops as _scatter_tiles

    m, n, d = len(problem.queries), *x.shape
    once = _takes_pairs_once(problem, pull)
    values, weights = problem.values, problem.weights
    if once:
        pull, values, weights = _symmetric(pull, values, weights)
    tiles = Tiles(problem, np.float64)
    key_columns = tiles.in_blocks(np.vstack([np.ones(n), x.T]))
    value_blocks, weight_blocks = tiles.in_blocks(values.T), tiles.in_blocks(weights[np.newaxis])[:, 0]
    sums, column_sums = np.empty((m, 1 + d)), np.zeros(weight_blocks.shape)
    # weights K / D are 2^(rate (u^power - shift))
    shift = pull.log_mass / (np.log(2.0) * tiles.rates[0])
    lock = Lock()

    def chunk(rows: slice) -> None:
        queries, start, own = tiles.padded_queries(np.arange(m)[rows])
        part, columns = np.zeros((len(queries), 1 + d)), np.zeros(weight_blocks.shape)
        _scatter_tiles.add_scatter(
            *(tiles.empty_tile() for _ in range(3)),
            *(queries, start, own, once, tiles.keys, tiles.key_start, tiles.products),
            *(tiles.padded(shift[rows]), float(tiles.power), tiles.rates[0], tiles.furthest[0]),
            *(tiles.padded(a[rows]) for a in (pull.p, pull.g, -pull.e, pull.t)),
            *(key_columns, value_blocks, weight_blocks, part, columns),
        )
        sums[rows] = part[: len(sums[rows])]
        with lock:
            column_sums[:] += columns

    for_each_chunk(chunk, m, CHUNK, problem.n_threads, multiple_of=4)
    assert isinstance(problem.kernel.form, ExponentialForm)
    slope = -0.5 * problem.kernel.form.rate * tiles.power
    sums *= slope
    return sums[:, 0], slope * column_sums.ravel()[:n], sums[:, 1:]


def _takes_pairs_once(problem: KernelSumRequest, pull: WeightCotangent) -> bool:
    """Whether to form the upper triangle of B + B': half the pairs.

    For weighted means, which pull with few numbers, where the queries are the keys and no mass is too small to divide
    by.
    """
    n = len(problem.keys)
    is_line = pull.p[:, 1:].any() or pull.e[:, 1:].any()
    own = None if problem.own is None else problem.own.index
    in_order = own is not None and len(own) == n and np.array_equal(own, np.arange(n))
    return in_order and not is_line and float(pull.log_mass.min()) > -_LARGEST_EXPONENT


def _symmetric(
    pull: WeightCotangent, values: np.ndarray, weights: np.ndarray
) -> tuple[WeightCotangent, np.ndarray, np.ndarray]:
    """The pull, values and weights with which B is (B + B') of weighted means.

    With a = g / D and b = e / D it is K'_ij (w_j (a_i'y_j - b_i) + w_i (a_j'y_i - b_j)): linear in the columns
    (w y, w, a, -b) of the keys.
    """
    n, d = len(weights), pull.e.shape[1] - 1
    mass, column = np.exp(pull.log_mass)[:, np.newaxis], weights[:, np.newaxis]
    a, b = pull.g / mass, pull.e[:, :1] / mass
    both = WeightCotangent(
        pull.p, np.hstack([a, -b, column * values, column]), np.zeros((n, 1 + d)), np.zeros(n), np.zeros(n)
    )
    return both, np.hstack([column * values, column, a, -b]), np.ones(n)
