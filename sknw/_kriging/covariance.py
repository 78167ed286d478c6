"""The covariance of kriging, a product of power exponentials over the blocks of the feature map.

    kappa(x, x') = exp(-sum_k t_k),   t_k = (w_k ||b_k - b'_k||)^p_k

x is a point of c columns, as `FeatureMap.columns` makes them, centred and divided by the scales or not; b_k is its k-th
block, one column for a number and several for categories and cycles. What the rest of the package builds on:

    Covariance(starts, w, power, is_square)     the numbers; w and power (d,) in the unit of the columns it is given
    covariance.points(columns) -> Points        what the loops want of points (m, c), made once for keys and queries
    covariance.between(A, B, n_threads)         kappa (m, n)
    covariance.within(A, n_threads)             kappa (n, n), symmetric to the last bit, with ones on its diagonal
    covariance.cotangent(A, S, n_threads)       sum_ij S_ij dkappa_ij / d(log w, log p), S already times kappa
    covariance.derivative(queries, keys, kappa, values)    d/dx of kappa(x, keys) @ values
    KrigingModel(covariance, amplitude, noise, directions) all that is estimated; G = a kappa + noise diag(1 / omega)

Blocks that `is_square` marks, categories and columns of two values, have the power 2: their terms are squared distances
by matrix products. The other terms are computed in compiled loops (`covariance_loops`), one row of one term at a time;
an array (m, n, d) is never made. In compiled code, `covariance_loops.add_terms` adds the terms of one point and many.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sknw._kernel_sums.threads import for_each_chunk
from sknw._kriging.limits import LARGEST_SUM, LOG_TERMS, SMALLEST_SQUARE

# Terms so few are computed by NumPy, which needs no compiler.
_FEW_TERMS = 2e5
# Rows of a chunk of a thread.
_CHUNK = 64
# The smallest noise, in units of the amplitude: with less the equations would have no digits.
LEAST_NOISE = 1e-10


@dataclass(frozen=True, eq=False)
class Points:
    """Points as the loops want them."""

    powered: np.ndarray  # the columns of the blocks with a power of their own, transposed: (c1, m)
    squared: np.ndarray  # w_k times the columns of the blocks of squares, (m, c2)

    def __len__(self) -> int:
        return len(self.squared)

    def __getitem__(self, some: np.ndarray | slice) -> Points:
        return Points(np.ascontiguousarray(self.powered[:, some]), self.squared[some])


@dataclass(frozen=True, eq=False)
class Covariance:
    """kappa(x, x') = exp(-sum_k (w_k ||b_k - b'_k||)^p_k)."""

    starts: np.ndarray  # the first column of each block, and at last the number of columns: (d + 1,)
    w: np.ndarray  # (d,)
    power: np.ndarray  # (d,), 2 for squares
    is_square: np.ndarray  # bool (d,)

    def __call__(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        """kappa (m, n) of columns A (m, c) and B (n, c)."""
        center = B.mean(axis=0)
        return self.between(self.points(A - center), self.points(B - center))

    def with_parameters(self, w: np.ndarray, power: np.ndarray) -> Covariance:
        """The same with other w (d,) and powers (d,)."""
        return replace(self, w=w, power=power)

    def points(self, columns: np.ndarray) -> Points:
        """Points (m, c)."""
        of_square = np.repeat(self.is_square, np.diff(self.starts))
        w = np.repeat(self.w, np.diff(self.starts))
        powered = np.ascontiguousarray(columns[:, ~of_square].T, dtype=np.float64)
        return Points(powered, columns[:, of_square] * w[of_square])

    @property
    def terms(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the blocks that are no squares: where their columns start in `Points.powered`, p_k / 2, log2(w_k^2)."""
        powered = ~self.is_square
        starts = np.append(0, np.cumsum(np.diff(self.starts)[powered]))
        with np.errstate(divide="ignore"):
            log_square = 2.0 * np.log2(self.w[powered])
        return starts, 0.5 * self.power[powered], np.maximum(log_square, -1e4)

    def between(self, A: Points, B: Points, n_threads: int = 1) -> np.ndarray:
        """kappa (m, n) of points A and B."""
        return self._kappa(A, B, False, n_threads)

    def within(self, A: Points, n_threads: int = 1) -> np.ndarray:
        """kappa (n, n) of points among each other."""
        return self._kappa(A, A, True, n_threads)

    def _kappa(self, A: Points, B: Points, is_symmetric: bool, n_threads: int) -> np.ndarray:
        sums = _squared_distances(A.squared, B.squared)
        starts, half_power, log_square = self.terms
        if sums.size * len(half_power) <= _FEW_TERMS:
            for k in range(len(half_power)):
                sums += np.exp2(_log_terms(_squares(A, B, starts, k), half_power[k], log_square[k]))
            kappa = np.exp(-np.minimum(sums, LARGEST_SUM))
        else:
            from sknw._kriging.covariance_loops import write_kappa

            queries = np.ascontiguousarray(A.powered.T)

            def chunk(rows: slice) -> None:
                first = rows.start if is_symmetric else -1
                write_kappa(sums[rows], queries[rows], B.powered, starts, half_power, log_square, first)

            for_each_chunk(chunk, len(A), _CHUNK, n_threads)
            kappa = sums
        if is_symmetric:
            np.fill_diagonal(kappa, 1.0)
            mirror(kappa)
        return kappa

    def cotangent(self, A: Points, S: np.ndarray, n_threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The sums over pairs (i, j) of -S_ij dt_k / d log w_k and of -S_ij dt_k / d log p_k: (d,) each.

        S (n, n) is symmetric: of a loss L it is dL / dkappa o kappa.
        """
        by_w, by_power = np.zeros((2, len(self.w)))
        starts, half_power, log_square = self.terms
        if S.size * len(half_power) <= _FEW_TERMS:
            sums = np.empty((len(half_power), 2))
            for k in range(len(half_power)):
                squares = _squares(A, A, starts, k)
                terms = np.exp2(_log_terms(squares, half_power[k], log_square[k]))
                logs = np.log2(np.maximum(squares, SMALLEST_SQUARE)) + log_square[k]
                sums[k] = np.vdot(S, terms), np.vdot(S, terms * logs)
        else:
            from sknw._kriging.covariance_loops import add_term_sums

            queries = np.ascontiguousarray(A.powered.T)
            # loops are compiled for rows that are contiguous: of a symmetric S in Fortran order these are the columns
            S = np.ascontiguousarray(S.T if S.flags.f_contiguous else S)
            of_rows = np.zeros((len(A), len(half_power), 2))

            def chunk(rows: slice) -> None:
                columns = starts, half_power, log_square
                add_term_sums(of_rows[rows], S[rows], queries[rows], A.powered, *columns, rows.start)

            for_each_chunk(chunk, len(A), _CHUNK, n_threads)
            sums = 2.0 * of_rows.sum(axis=0)
        powered = ~self.is_square
        by_w[powered] = -self.power[powered] * sums[:, 0]
        by_power[powered] = -0.5 * np.log(2.0) * self.power[powered] * sums[:, 1]
        if A.squared.shape[1]:
            b = A.squared
            of_columns = 2.0 * (S.sum(axis=1) @ b**2 - np.einsum("ik,ik->k", b, S @ b))
            widths = np.diff(self.starts)[self.is_square]
            by_w[self.is_square] = -2.0 * np.add.reduceat(of_columns, np.append(0, np.cumsum(widths)[:-1]))
        return by_w, by_power

    def derivative(self, queries: np.ndarray, keys: np.ndarray, kappa: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Derivatives (m, k, c) of kappa(x, keys) @ values (n, k) in the columns of the queries (m, c).

        kappa (m, n) is that of queries and keys. NaN where a block with p_k <= 1 is that of a key that has a value.
        """
        found = np.empty((len(queries), values.shape[1], queries.shape[1]))
        for k, (w, p) in enumerate(zip(self.w, self.power, strict=True)):
            block = slice(*self.starts[k : k + 2])
            differences = [a[:, np.newaxis] - b for a, b in zip(queries[:, block].T, keys[:, block].T, strict=True)]
            squares = np.sum([difference**2 for difference in differences], axis=0)
            tied = squares == 0
            with np.errstate(divide="ignore", over="ignore"):
                terms = (w * np.sqrt(squares)) ** p / np.where(tied, 1.0, squares)
                factor = -p * np.where(kappa > 0, kappa * np.where(tied, 0.0, terms), 0.0)
            for column, difference in enumerate(differences, block.start):
                found[:, :, column] = (factor * difference) @ values
            if p <= 1 and w > 0:
                found[np.any(tied & np.any(values != 0, axis=1), axis=1), :, block] = np.nan
        return found


@dataclass(frozen=True, eq=False)
class KrigingModel:
    """What kriging estimates: y = trend + a Gaussian process of covariance a kappa + noise of variance noise / omega.

    amplitude and noise are in units of the variance of each output.
    """

    covariance: Covariance
    amplitude: float  # a
    noise: float
    directions: np.ndarray  # in which the trend is linear, (c, q - 1); none for a constant trend

    def noise_variances(self, weight: np.ndarray) -> np.ndarray:
        """noise / omega of samples of weights omega (n,), with a noise of at least 1e-10 a.

        Samples of hardly any weight have that of 1e-12 times the largest.
        """
        noise = max(self.noise, LEAST_NOISE * self.amplitude)
        return noise / np.maximum(weight, 1e-12 * weight.max())

    def trend(self, columns: np.ndarray) -> np.ndarray:
        """F (m, q): ones, and the columns (m, c) along the directions."""
        return np.hstack([np.ones((len(columns), 1)), columns @ self.directions])


def mirror(A: np.ndarray) -> None:
    """Copy what is below the diagonal of A (n, n) to above it, in blocks that fit into the cache."""
    size = 64
    above = np.tri(size, k=-1, dtype=bool).T
    for start in range(0, len(A), size):
        rows = slice(start, start + size)
        block = A[rows, rows]
        np.copyto(block, block.T.copy(), where=above[: len(block), : len(block)])
        A[rows, start + size :] = A[start + size :, rows].T


def _squared_distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """||a_i - b_j||^2 by a matrix product, (m, n)."""
    if not A.shape[1]:
        return np.zeros((len(A), len(B)))
    sums = A @ B.T
    sums *= -2.0
    sums += np.einsum("ij,ij->i", A, A)[:, np.newaxis]
    sums += np.einsum("ij,ij->i", B, B)
    return np.maximum(sums, 0.0, out=sums)


def _squares(A: Points, B: Points, starts: np.ndarray, k: int) -> np.ndarray:
    """||a_k - b_k||^2 of the k-th block of `Points.powered`, (m, n)."""
    block = slice(starts[k], starts[k + 1])
    return ((A.powered[block, :, np.newaxis] - B.powered[block, np.newaxis]) ** 2).sum(axis=0)


def _log_terms(squares: np.ndarray, half_power: float, log_square: float) -> np.ndarray:
    """log2 t = p / 2 log2(w^2 ||b - b'||^2)."""
    logs = np.log2(np.maximum(squares, SMALLEST_SQUARE))
    return np.clip(half_power * (logs + log_square), *LOG_TERMS)
