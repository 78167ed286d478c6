"""What the estimators share: validated data, prediction, attention weights, leave-one-out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, vstack
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sknw._pooling import Line, Queries, Smoother, coordinates, normalised
from sknw._sklearn_compat import CallbackSupportMixin, check_sample_weight
from sknw._sums import Problem, choose_algorithm, dense, for_each_chunk, one_blas_thread
from sknw._training import TrainingSet
from sknw.kernels import Kernel

# With validation_samples="auto" a pass of leave-one-out stays below this many kernel evaluations.
_MOST_EVALUATIONS = 4e8


class BaseSmoother(CallbackSupportMixin, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Base of the estimators: everything but the choice of the bandwidth or w."""

    # set by the subclasses' __init__
    outside: str
    validation_samples: int | str | None
    algorithm: str
    n_jobs: int | None
    random_state: int | np.random.RandomState | None

    def _validated(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, TrainingSet]:
        """Arrays of X, y and sample_weight, and the training set that they make."""
        parameters = self.get_params(deep=False)
        for name in [name for name in vars(self) if name.endswith("_") and name not in parameters]:
            delattr(self, name)  # a fit that fails leaves nothing of the last one
        self.__dict__.pop("_smoother", None)
        checks = {"dtype": (np.float64, np.float32), "multi_output": True, "y_numeric": True}
        X_array, y_array = validate_data(self, X, y, **checks)
        weights = None if sample_weight is None else check_sample_weight(sample_weight, X_array)
        return X_array, y_array, weights, TrainingSet.of(X_array, y_array, weights)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_smoother")

    def _validation_rows(self, n_samples: int, n_evaluations: float) -> np.ndarray:
        """The rows, in ascending order, that leave-one-out is averaged over; all take `n_evaluations` a pass."""
        n_rows = self.validation_samples
        if n_rows == "auto":
            n_rows = max(int(n_samples * min(_MOST_EVALUATIONS / n_evaluations, 1.0)), 1)
        if not isinstance(n_rows, int | Integral) or n_rows >= n_samples:
            return np.arange(n_samples)
        return np.sort(check_random_state(self.random_state).choice(n_samples, int(n_rows), replace=False))

    def _smoother_for_fit(
        self,
        training: TrainingSet,
        kernel: Kernel,
        w: np.ndarray,
        rows: np.ndarray,
        n_passes: int,
        line: Line | None = None,
    ) -> Smoother:
        """The training set pooled at z = (x - center) w, by the engine that suits `n_passes` of leave-one-out."""
        keys = coordinates(training.X, training.center, w)
        if not np.isfinite([keys.min(), keys.max()]).all():
            raise ValueError(
                "bandwidth is too small, or w too large, for X: scaled inputs are not float64 numbers any more."
            )
        smoother = Smoother(
            center=training.center,
            w=w,
            keys=keys,
            values=training.values,
            weights=training.relative_weight,
            kernel=kernel,
            outside=self.outside,
            algorithm=self.algorithm,
            float32_is_enough=False,
            n_jobs=self.n_jobs,
            line=line,
        )
        problem = smoother.sums_problem(smoother.left_out(rows, training.sample_weight[rows]))
        return replace(smoother, algorithm=choose_algorithm(problem, self.algorithm, n_passes))

    def _keep(
        self,
        X: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        training: TrainingSet,
        smoother: Smoother,
        rows: np.ndarray,
    ) -> None:
        """Set the fitted attributes that all smoothers have; `rows` of the training set are those of leave-one-out."""
        weights = training.sample_weight[rows]
        loo = np.full((len(X), training.values.shape[1]), np.nan)
        left_out = smoother.pool(smoother.left_out(rows, weights))[0][0]
        loo[training.rows[rows]] = left_out
        self.loo_score_ = _weighted_r2(training.values[rows], left_out, weights)
        if len(rows) == len(training.rows) < len(X):
            weightless = np.setdiff1d(np.arange(len(X)), training.rows)  # their others are the whole training set
            loo[weightless] = smoother.pool(smoother.queries(X[weightless]))[0][0]
        self.loo_prediction_ = (training.y_center + training.y_scales * loo).reshape(y.shape)
        self.n_validation_ = len(rows)
        self.kernel_ = smoother.kernel
        self.X_train_, self.y_train_, self.sample_weight_ = X, y, sample_weight
        # a compiled engine that was worth loading for the fit serves predictions too; otherwise they choose anew
        algorithm = self.algorithm if smoother.algorithm == "dense" else smoother.algorithm
        self._smoother, self._training = replace(smoother, algorithm=algorithm), training

    def predict(self, X: ArrayLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Weighted means of the training targets, f(x) = sum_i a(x, x_i) y_i.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.
        return_std : bool, default=False
            Whether to return the standard deviation of a new observation as well: the root of the squared leave-one-out
            residuals pooled with the same weights, sqrt(sum_i a(x, x_i) r_i^2). With `validation_samples` below the
            number of samples, the weights are those of the samples that have a residual; a query none of whose
            neighbours has one gets the root mean square of all. NaN where there is no residual at all.

        Returns
        -------
        mean : ndarray of shape (n_queries,) or (n_queries, n_outputs)
        std : ndarray of the same shape
            Only with `return_std`.

        Raises
        ------
        ValueError
            If `outside` is "raise" and a query has no training sample in the kernel's support.
        """
        array, queries = self._queries(X)
        smoother, training = self._smoother_for(array.dtype), self._training
        mean = self._in_units_of_y(self._pooled(smoother, queries), array.dtype)
        if not return_std:
            return mean
        residuals = (training.values - (self._loo_of_training() - training.y_center) / training.y_scales) ** 2
        known = np.isfinite(residuals)
        squares = np.where(known, residuals, 0.0)
        with_squares = replace(smoother, values=np.hstack([squares, known]), line=None)
        pooled_squares, pooled_known = np.split(self._pooled(with_squares, queries), 2, axis=1)
        weights = training.sample_weight[:, np.newaxis]
        with np.errstate(invalid="ignore"):  # 0 / 0: no residual
            overall = (weights * squares).sum(axis=0) / (weights * known).sum(axis=0)
            variance = np.where(pooled_known == 0, overall, pooled_squares / pooled_known)
        return mean, (training.y_scales * np.sqrt(variance)).astype(array.dtype).reshape(self._shape_of_y(len(array)))

    def attention_weights_(
        self, X: ArrayLike, *, sparse_output: bool = False, top_k: int | None = None
    ) -> np.ndarray | csr_array:
        """The weight that each query gives to each training sample.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.
        sparse_output : bool, default=False
            Whether to return a sparse array, of the weights that are not zero: few with a compact kernel.
        top_k : int, default=None
            Keep the k largest weights of each query, scaled to sum to 1; sparse. None keeps all.

        Returns
        -------
        weights : ndarray or csr_array of shape (n_queries, n_samples)
            Non-negative, each row sums to 1, and ``weights @ y_train_`` is the prediction.

        Raises
        ------
        ValueError
            If `outside` is "raise" and a query has no training sample in the kernel's support; if `top_k` is not a
            positive integer.
        """
        if top_k is not None and (not isinstance(top_k, (int, Integral)) or isinstance(top_k, bool) or top_k < 1):
            raise ValueError(f"top_k must be a positive integer or None, got {top_k!r}.")
        _, queries = self._queries(X)
        problem = self._smoother.problem(queries)
        n_queries, n_samples, columns = len(problem.queries), len(self.X_train_), self._training.rows
        if not sparse_output and top_k is None:
            weights = np.zeros((n_queries, n_samples))

            def fill(rows: slice, block: np.ndarray) -> None:
                weights[rows, columns] = block

            self._for_each_attention_block(problem, fill)
            return weights
        weights = self._sparse_attention(problem, top_k)
        return csr_array((weights.data, columns[weights.indices], weights.indptr), shape=(n_queries, n_samples))

    def effective_sample_size(self, X: ArrayLike) -> np.ndarray:
        """How many equally weighted samples a prediction rests on, 1 / sum_i (a(x, x_i)^2 / sample_weight_i).

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.

        Returns
        -------
        ndarray of shape (n_queries,)
            Between the smallest sample weight (1 without weights) and their sum.

        Raises
        ------
        ValueError
            If `outside` is "raise" and a query has no training sample in the kernel's support.
        """
        _, queries = self._queries(X)
        problem = self._smoother.problem(queries)
        size = np.empty(len(problem.queries))

        def sum_squares(rows: slice, block: np.ndarray) -> None:
            size[rows] = 1.0 / (block**2 @ (1.0 / self._training.sample_weight))

        self._for_each_attention_block(problem, sum_squares)
        return size

    def _queries(self, X: ArrayLike) -> tuple[np.ndarray, Queries]:
        """X as an array, and as queries."""
        check_is_fitted(self)
        array = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return array, self._smoother.queries(array)

    def _smoother_for(self, dtype: np.dtype) -> Smoother:
        """The smoother for predictions at queries of a type, with the present `n_jobs`."""
        return replace(self._smoother, float32_is_enough=dtype == np.float32, n_jobs=self.n_jobs)

    def _pooled(self, smoother: Smoother, queries: Queries) -> np.ndarray:
        means, unsupported = smoother.pool(queries)
        self._raise_outside(unsupported[0])
        return means[0]

    def _for_each_attention_block(self, problem: Problem, task: Callable[[slice, np.ndarray], None]) -> None:
        """Call ``task(rows, weights)`` for blocks of queries; weights of shape (len(rows), n of the training set)."""
        unsupported = np.empty(len(problem.queries), dtype=bool)

        def block(rows: slice) -> None:
            weights = self._smoother.attention(problem, rows)
            unsupported[rows] = np.isnan(weights[:, 0])
            task(rows, weights)

        with one_blas_thread():
            for_each_chunk(block, len(problem.queries), dense.rows_per_block(problem), self.n_jobs)
        self._raise_outside(unsupported)

    def _sparse_attention(self, problem: Problem, top_k: int | None) -> csr_array:
        """Attention weights (m, n of the training set), all or the `top_k` largest of each row."""
        if self._smoother.lists_pairs(problem):
            weights, unsupported = self._smoother.sparse_attention(problem)
            self._raise_outside(unsupported)
            return weights if top_k is None else _largest(weights, top_k)
        blocks = {}

        def compress(rows: slice, block: np.ndarray) -> None:
            blocks[rows.start] = _compressed(block, top_k)

        self._for_each_attention_block(problem, compress)
        return vstack([blocks[start] for start in sorted(blocks)], format="csr")

    def _raise_outside(self, unsupported: np.ndarray) -> None:
        if self._smoother.policy == "raise" and unsupported.any():
            raise ValueError(
                f"{unsupported.sum()} of {unsupported.size} queries have no training sample within the kernel's "
                'support; choose a larger bandwidth, or outside="nearest", "mean" or "nan".'
            )

    def _in_units_of_y(self, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
        prediction = self._training.y_center + self._training.y_scales * values
        return prediction.astype(dtype).reshape(self._shape_of_y(len(values)))

    def _shape_of_y(self, n: int) -> tuple[int, ...]:
        return (n, *self.y_train_.shape[1:])

    def _loo_of_training(self) -> np.ndarray:
        return self.loo_prediction_.reshape(len(self.X_train_), -1)[self._training.rows]

    def _get_fitted_attr_html(self, doc_link: str = "") -> Any:
        # scikit-learn's notebook view takes every public name that ends in "_" for an attribute
        attributes = super()._get_fitted_attr_html(doc_link)
        attributes.pop("attention_weights_", None)
        return attributes


def _weighted_r2(y: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> float:
    """Weighted R^2 over the rows that have a prediction, averaged over outputs; NaN with fewer than two."""
    known = np.isfinite(prediction).all(axis=1)
    if not known.all():
        y, prediction, weights = y[known], prediction[known], weights[known]
    if len(y) < 2:
        return np.nan
    weights = weights / weights.sum()
    error, variance = (
        np.einsum("i,ik,ik->k", weights, residual, residual) for residual in (y - prediction, y - weights @ y)
    )
    # as scikit-learn's r2_score: of a constant output 1 where it is predicted, else 0
    part = np.divide(error, variance, out=(error > 0).astype(float), where=variance > 0)
    return float(1.0 - part.mean())


def _compressed(weights: np.ndarray, top_k: int | None) -> csr_array:
    """Rows of weights as a sparse array, cut to the `top_k` largest and scaled to sum to 1."""
    if top_k is not None and top_k < weights.shape[1]:
        smaller = np.argpartition(weights, -top_k, axis=1)[:, :-top_k]
        np.put_along_axis(weights, smaller, 0.0, axis=1)
        weights /= weights.sum(axis=1, keepdims=True)
    return csr_array(weights)


def _largest(weights: csr_array, top_k: int) -> csr_array:
    """The `top_k` largest entries of each row, scaled to sum to 1; rows of NaN as they are."""
    row = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    descending = np.lexsort((-weights.data, row))
    rank = np.empty_like(row)
    rank[descending] = np.arange(len(row)) - weights.indptr[row]
    kept = np.flatnonzero((rank < top_k) | np.isnan(weights.data))
    indptr = np.searchsorted(kept, weights.indptr)
    return normalised(csr_array((weights.data[kept], weights.indices[kept], indptr), shape=weights.shape))
