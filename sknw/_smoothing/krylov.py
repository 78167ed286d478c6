"""Local lines of more features than samples: principal axes within a Krylov space instead of all of them.

The value of the line at a query takes (C + ridge I)^-1 c alone, C = cov(x, x) and c = cov(x, y) of the weighted samples
around it. From c, k steps of Lanczos (1950) span the space of c, C c, ..., C^(k-1) c, within which C is the tridiagonal

    T = [alpha_1 beta_1 0 ...; beta_1 alpha_2 beta_2 ...; ...],

and with V the basis of the steps, V (T + ridge I)^-1 V'c is the solution for every ridge at once, as conjugate
gradients would find it; its residual is beta_k |e_k'(T + ridge I)^-1 e_1| |c|. A step is two matrix products for all
queries together, since C v = X'(p * (X v - x_mean'v)). Few steps are enough where C is well conditioned.

No variance that is not zero is below the least p_j times the least square that is not zero of the samples along any
axis: with contrasts u, which sum to zero, u'D u >= min p u'u, D = diag(p).
"""

from __future__ import annotations

import numpy as np

from sknw._smoothing.local_linear import ACCURATE, LocalFits

# After more steps the basis is not orthogonal any more, and principal axes are as quick.
_MAX_STEPS = 48
# Of the values, in units of the standard deviation of the targets.
_TOLERANCE = 1e-13
# Below this an axis plays no part in c.
_NOTHING = 1e-13
# A variance below this part of the mean square is mostly rounding.
_LOST = 1e-9


def krylov_lines(
    p: np.ndarray, x: np.ndarray, y: np.ndarray, queries: np.ndarray, log_samples: np.ndarray
) -> tuple[LocalFits, np.ndarray]:
    """Local lines at m queries for every ridge, and where they are accurate (m,); their `leverage` is none.

    `p` (m, n) are weights of sum 1, or all 0, `x` (n, d) inputs, `y` (n,) targets, `queries` (m, d) inputs, and
    `log_samples` (m,) log M. The first axes are those of the Krylov space, the others nothing. Accurate lines have
    variances with ten digits, as those that `LocalFits.is_ill_conditioned` passes.
    """
    m, d = queries.shape
    x_mean, y_mean = p @ x, p @ y
    c = p @ (x * y[:, np.newaxis]) - x_mean * y_mean[:, np.newaxis]
    a = queries - x_mean
    squares = p @ np.einsum("nd,nd->n", x, x)
    trace = squares - np.einsum("md,md->m", x_mean, x_mean)
    norm, reach = np.linalg.norm(c, axis=1), np.linalg.norm(a, axis=1)
    alpha, beta, score = np.zeros((3, m, min(_MAX_STEPS, d)))
    last, is_open = np.zeros_like(c), norm > 0
    v = np.divide(c, norm[:, np.newaxis], out=np.zeros_like(c), where=is_open[:, np.newaxis])
    pivot, corner, before = np.ones(m), np.ones(m), np.zeros(m)  # the last pivot of T, and |e_k'T^-1 e_1|
    n_steps = 0
    while n_steps < alpha.shape[1] and (n_steps == 0 or is_open.any()):
        k, n_steps = n_steps, n_steps + 1
        t = p * (v @ x.T - np.einsum("md,md->m", v, x_mean)[:, np.newaxis])
        w = t @ x - t.sum(axis=1)[:, np.newaxis] * x_mean - before[:, np.newaxis] * last
        alpha[:, k], score[:, k] = np.einsum("md,md->m", w, v), np.einsum("md,md->m", a, v)
        w -= alpha[:, k, np.newaxis] * v
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            pivot = alpha[:, k] - before**2 / pivot
            corner = corner * (before if k else 1.0) / pivot
            length = np.linalg.norm(w, axis=1)
            is_open &= ~(np.abs(corner) * length * norm * reach <= _TOLERANCE)
        before = np.where(is_open, length, 0.0)
        beta[:, k], last = before, v
        v = np.divide(w, before[:, np.newaxis], out=np.zeros_like(w), where=before[:, np.newaxis] > 0)
    T = np.zeros((m, n_steps, n_steps))
    diagonal, below = np.arange(n_steps), np.arange(1, n_steps)
    T[:, diagonal, diagonal] = alpha[:, :n_steps]
    T[:, below, below - 1] = beta[:, : n_steps - 1]  # eigh reads no more
    ritz, vectors = np.linalg.eigh(T)
    plays_part = np.abs(vectors[:, 0]) > _NOTHING
    least_variance = np.where(p > 0, p, np.inf).min(axis=1) * _least_square(x)
    is_accurate = ~is_open & (least_variance > ACCURATE * squares) & (trace > _LOST * squares)
    variances, scores, covariances = np.zeros((3, m, d))
    variances[:, :n_steps] = np.where(plays_part, ritz, 0.0)
    scores[:, :n_steps] = np.einsum("mjk,mj->mk", vectors, score[:, :n_steps])
    covariances[:, :n_steps] = norm[:, np.newaxis] * vectors[:, 0] * plays_part
    known, least = np.zeros((2, m, d))
    of_y = y_mean[:, np.newaxis], variances, scores, covariances[..., np.newaxis]
    return LocalFits(*of_y, known, least, log_samples, trace / d), is_accurate


def _least_square(x: np.ndarray) -> float:
    """The least sum of squares of the centred x (n, d) along an axis along which they vary, d >= n - 1."""
    centred = x - x.mean(axis=0)
    return float(np.linalg.eigvalsh(centred @ centred.T)[1])  # the first is that of the mean, 0
