"""What the estimators share: validated data, prediction, attention weights, leave-one-out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, overload

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, vstack
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sknw._kernel_sums import (
    ALGORITHMS,
    choose_algorithm,
    compiled_parts,
    rows_are_compiled,
    rows_per_block,
    weight_rows,
)
from sknw._kernel_sums.permutation import row_blocks
from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.threads import for_each_chunk, one_blas_thread
from sknw._kernel_sums.tiled.blocks import DenseBlocks, Parts
from sknw._predictive.calibration import Residuals
from sknw._predictive.gradient import gradients
from sknw._predictive.jackknife import interval
from sknw._predictive.quantiles import NEGLIGIBLE, ForEachBlock, sample_indices
from sknw._predictive.quantiles import quantiles as quantiles_of
from sknw._sklearn_compat import CallbackSupportMixin, Interval, NotebookViewMixin, StrOptions, check_sample_weight
from sknw._smoothing.attention import normalised
from sknw._smoothing.smoother import LocalLinearSpec, Queries, Smoother, coordinates
from sknw._smoothing.training import TrainingSet, take_rows
from sknw._version import __version__
from sknw.kernels import NAMED_KERNELS, Kernel, Pairwise


class BaseSmoother(NotebookViewMixin, CallbackSupportMixin, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Base of the estimators: everything but the choice of the bandwidth or w."""

    # set by the subclasses' __init__
    outside: str
    validation_samples: int | str | None
    algorithm: str
    n_jobs: int | None
    random_state: int | np.random.RandomState | None

    # those of all estimators
    _parameter_constraints: ClassVar[dict] = {
        "kernel": [StrOptions(set(NAMED_KERNELS)), Kernel, callable],
        "outside": [StrOptions({"nearest", "mean", "nan", "raise"})],
        "validation_samples": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left"), None],
        "algorithm": [StrOptions(set(ALGORITHMS))],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def _validate_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, TrainingSet]:
        """Arrays of X, y and sample_weight, and the training set that they make."""
        parameters = self.get_params(deep=False)
        for name in [name for name in vars(self) if name.endswith("_") and name not in parameters]:
            delattr(self, name)  # a fit that fails leaves nothing of the last one
        for name in ("_smoother", "_residuals"):
            self.__dict__.pop(name, None)
        checks = {"dtype": (np.float64, np.float32), "multi_output": True, "y_numeric": True}
        X_array, y_array = validate_data(self, X, y, **checks)
        weights = None if sample_weight is None else check_sample_weight(sample_weight, X_array)
        return X_array, y_array, weights, TrainingSet.of(X_array, y_array, weights)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_smoother")

    def __getstate__(self) -> dict[str, Any]:
        state = {**super().__getstate__(), "_sknw_version": __version__}
        state.pop("_residuals", None)  # which are found again when they are asked for
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the state of a pickle; one of another version warns, as those of scikit-learn do."""
        version = state.pop("_sknw_version", "unknown")
        if version != __version__:
            warning = InconsistentVersionWarning(
                estimator_name=f"{type(self).__name__} of sknw",
                current_sklearn_version=__version__,
                original_sklearn_version=version,
            )
            warnings.warn(warning, stacklevel=2)
        super().__setstate__(state)

    def _validation_rows(self, n_auto: int, n_samples: int) -> np.ndarray:
        """The rows, in ascending order, that leave-one-out is averaged over; "auto" takes `n_auto` of `n_samples`."""
        n_rows = n_auto if self.validation_samples == "auto" else self.validation_samples
        if not isinstance(n_rows, int | Integral) or n_rows >= n_samples:
            return np.arange(n_samples)
        return np.sort(check_random_state(self.random_state).choice(n_samples, int(n_rows), replace=False))

    def _build_smoother(
        self,
        training: TrainingSet,
        kernel: Kernel,
        w: np.ndarray,
        rows: np.ndarray,
        n_passes: int,
        line: LocalLinearSpec | None = None,
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
            allow_float32=False,
            n_jobs=self.n_jobs,
            line=line,
        )
        problem = smoother.pooling_request(smoother.left_out(rows, take_rows(training.sample_weight, rows)))
        return replace(smoother, algorithm=choose_algorithm(problem, self.algorithm, n_passes))

    def _store_fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        training: TrainingSet,
        smoother: Smoother,
        rows: np.ndarray,
        fitted: np.ndarray | None = None,
    ) -> None:
        """Set the fitted attributes that all smoothers have.

        `rows` of the training set are those of leave-one-out, `fitted` their predictions from the others, if known (as
        by a search, in other units of the bandwidth: rounding may be other than here).
        """
        weights, k = take_rows(training.sample_weight, rows), training.values.shape[1]
        if fitted is None:
            fitted = _predicted_from_others(smoother, rows, weights)
        self.loo_score_ = _weighted_r2(take_rows(training.values, rows), fitted, weights)
        loo = np.full((len(X), k), np.nan)
        for block in row_blocks(len(rows)):
            loo[training.places(rows[block])] = fitted[block]
        if len(rows) == len(training) < len(X):
            weightless = np.delete(np.arange(len(X)), training.rows)  # their others are the whole training set
            loo[weightless] = smoother.pool(smoother.queries(X[weightless]))[0][0]
        self._in_units_of_y(loo, training)
        self.loo_prediction_ = loo.reshape(y.shape)
        self.n_validation_ = len(rows)
        self._validated_rows = slice(None) if len(rows) == len(training) else rows
        self.kernel_ = smoother.kernel
        self.X_train_, self.y_train_, self.sample_weight_ = X, y, sample_weight
        # predictions choose their engine anew: they may be many more, or far fewer, than the rows of leave-one-out
        self._smoother, self._training = replace(smoother, algorithm=self.algorithm), training

    @cached_property
    def _residuals(self) -> Residuals:
        """Leave-one-out residuals of the training set."""
        training = self._training
        rows = np.arange(len(training))[self._validated_rows]
        loo = self.loo_prediction_.reshape(-1, len(training.y_scales))[training.places(rows)]
        loo -= training.y_center
        loo /= training.y_scales
        squares = np.full_like(training.values, np.nan)
        squares[rows] = (training.values[rows] - loo) ** 2
        return Residuals(self._smoother, rows, squares, training.sample_weight)

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[False] = False) -> np.ndarray: ...

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    @overload
    def predict(self, X: ArrayLike, return_std: bool) -> np.ndarray | tuple[np.ndarray, np.ndarray]: ...

    def predict(self, X: ArrayLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict weighted means of the training targets, sum_i a(x, x_i) y_i, or values of local lines.

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
            The predictions, float32 for float32 queries; NaN for queries without support if `outside` is "nan".
        std : ndarray of the same shape
            The standard deviations, in units of y; only with `return_std`.

        Raises
        ------
        ValueError
            If `outside` is "raise" and a query has no training sample in the kernel's support.
        """
        check_is_fitted(self)
        array = self._validated_queries(X)
        smoother, training = self._smoother_for(array.dtype), self._training
        mean = np.empty((len(array), training.values.shape[1]), dtype=array.dtype)
        in_parts = smoother.for_parts()
        for part in smoother.parts(len(array)):
            mean[part] = self._in_units_of_y(self._pool_or_raise(in_parts, in_parts.queries(array[part])), training)
        mean = mean.reshape(self._shape_of_y(len(array)))
        if not return_std:
            return mean
        queries = smoother.queries(array)
        known = np.isfinite(self._residuals.squares)
        squares = np.where(known, self._residuals.squares, 0.0)
        with_squares = replace(smoother, values=np.hstack([squares, known]), line=None)
        pooled_squares, pooled_known = np.split(self._pool_or_raise(with_squares, queries), 2, axis=1)
        weights = training.sample_weight[:, np.newaxis]
        with np.errstate(invalid="ignore"):  # 0 / 0: no residual
            overall = (weights * squares).sum(axis=0) / (weights * known).sum(axis=0)
            variance = np.where(pooled_known == 0, overall, pooled_squares / pooled_known)
        return mean, (training.y_scales * np.sqrt(variance)).astype(array.dtype).reshape(self._shape_of_y(len(array)))

    def attention_weights_(
        self, X: ArrayLike, *, sparse_output: bool = False, top_k: int | None = None
    ) -> np.ndarray | csr_array:
        """Compute the weight that each query gives to each training sample.

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
        ndarray or csr_array of shape (n_queries, n_samples)
            Non-negative, each row sums to 1. Where values are pooled, ``weights @ y_train_`` is the prediction; local
            lines are fitted with these weights.

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
        n_queries, n_samples = len(problem.queries), len(self.X_train_)
        columns = self._training.places(np.arange(len(self._training)))
        if not sparse_output and top_k is None:
            weights = np.zeros((n_queries, n_samples))

            def fill(rows: slice, block: np.ndarray) -> None:
                weights[rows, columns] = block

            self._for_each_attention_block(problem, fill)
            return weights
        weights = self._sparse_attention(problem, top_k)
        return csr_array((weights.data, columns[weights.indices], weights.indptr), shape=(n_queries, n_samples))

    def effective_sample_size(self, X: ArrayLike) -> np.ndarray:
        """Count the equally weighted samples a prediction rests on, 1 / sum_i (a(x, x_i)^2 / sample_weight_i).

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.

        Returns
        -------
        ndarray of shape (n_queries,)
            Between the smallest sample weight (1 without weights) and their sum; NaN for queries without support if
            `outside` is "nan".

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

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> np.ndarray:
        """Predict bounds that hold a new observation with about the probability `coverage`, by the jackknife+.

        The bounds are order statistics of ``m_-i(q) -/+ R_i s_-i(q)`` over the training samples i [1]_: the prediction
        at the query without sample i, give or take the size of that sample's leave-one-out residual in units of a local
        scale, ``R_i = |y_i - m_-i(x_i)| / s_-i(x_i)``. Nothing is fitted again: leaving out a sample of attention a_i
        shift_bound the weighted mean m to m + a_i (m - y_i) / (1 - a_i), and a local line in a similar way. The scale::

            s^2 = (sum_j K_j r_j^2 + kappa V) / (sum_j K_j + kappa)

        is the standard deviation that `predict` returns, of leave-one-out residuals r_j around the query, drawn towards
        their mean square V where few samples are near (K(0) = 1). So intervals are wide where targets scatter. kappa
        is chosen to make the scores R_i alike; where the noise is the same everywhere, it is large and s everywhere
        the same.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.
        coverage : float, default=0.9
            Between 0 and 1.

        Returns
        -------
        ndarray of shape (n_queries, 2) or (n_queries, n_outputs, 2)
            Lower and upper bound, in units of y. Both are infinite where there are too few samples, floor((1 -
            coverage) (n + 1)) < 1: at coverage 0.9 fewer than 9. n is the sum of the sample weights of the rows that
            leave-one-out predicts, so weights that are not counts must be scaled to a sum of about the number of
            samples.

        Raises
        ------
        ValueError
            If `coverage` is not between 0 and 1; if `outside` is "raise" and a query has no training sample in the
            kernel's support.

        Notes
        -----
        With s the same everywhere and a bandwidth (or w) and ridge fixed beforehand, a new observation from the same
        distribution as the training samples lies in the interval with a probability of at least 2 coverage - 1 [1]_,
        averaged over queries and training sets: not for each single query, nor where queries come from elsewhere.
        In practice the probability is close to `coverage`. Two things void the promise, and little else where a sample
        has a small part of the attention: choosing the bandwidth on the same data, as leave-one-out residuals are a
        little too small at the bandwidth that makes them small; and the local scale, as the other samples' residuals
        know of sample i. Sample weights count samples.

        References
        ----------
        .. [1] R. F. Barber, E. J. Candes, A. Ramdas, R. J. Tibshirani, "Predictive inference with the jackknife+",
           Annals of Statistics 49 (2021) 486-507.
        """
        if not isinstance(coverage, Real) or not 0 < coverage < 1:
            raise ValueError(f"coverage must be a number between 0 and 1, both excluded, got {coverage!r}.")
        array, queries = self._queries(X)
        training, calibration = self._training, self._residuals.calibration
        smoother = self._smoother_for(np.dtype(np.float64)).in_order(calibration.order)
        sample_weight = training.sample_weight[calibration.order]
        blocks = partial(self._attention_blocks, smoother, out_of=len(queries))
        bounds = interval(smoother, queries, sample_weight, calibration, float(coverage), blocks)
        bounds = training.y_center[:, np.newaxis] + training.y_scales[:, np.newaxis] * bounds
        return bounds.astype(array.dtype).reshape(*self._shape_of_y(len(array)), 2)

    def predict_quantile(self, X: ArrayLike, quantiles: float | ArrayLike = 0.5) -> np.ndarray:
        """Predict quantiles: those of the training targets weighted by attention, without any assumed distribution.

        The quantile of level q is the smallest training target up to which the weights sum to q (no interpolation);
        of level 0 and 1, the smallest and largest target with a weight that is not negligible, more than 1e-80 of all.
        Local lines use the same weights.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.
        quantiles : float or array-like of shape (n_quantiles,), default=0.5
            Levels between 0 and 1.

        Returns
        -------
        ndarray of shape (n_queries,) or (n_queries, n_outputs), for an array of levels (..., n_quantiles)
            The quantiles, in units of y; NaN for queries without support if `outside` is "nan".

        Raises
        ------
        ValueError
            If a level is not between 0 and 1; if `outside` is "raise" and a query has no training sample in the
            kernel's support.
        """
        try:
            levels = np.asarray(quantiles, dtype=np.float64)
        except (TypeError, ValueError):
            levels = np.array(np.nan)
        if levels.ndim > 1 or not levels.size or not np.all((levels >= 0) & (levels <= 1)):
            raise ValueError(
                f"quantiles must be a number between 0 and 1 or a list of such numbers, got {quantiles!r}."
            )
        array, queries = self._queries(X)
        targets = self.y_train_.reshape(len(self.y_train_), -1)[self._training.rows].astype(np.float64)
        problem = self._smoother_for(np.dtype(np.float64)).problem(queries)
        found = np.stack([self._quantiles(problem, values, np.atleast_1d(levels)) for values in targets.T], axis=1)
        return found.astype(array.dtype).reshape(*self._shape_of_y(len(array)), *levels.shape)

    def sample_y(
        self, X: ArrayLike, n_samples: int = 1, random_state: int | np.random.RandomState | None = 0
    ) -> np.ndarray:
        """Draw from the attention-weighted distribution of the training targets.

        Of several outputs whole training rows are drawn, so that what belongs together stays together.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.
        n_samples : int, default=1
            Draws for each query.
        random_state : int, RandomState instance or None, default=0
            Determines the draws; an int gives the same ones at every call.

        Returns
        -------
        ndarray of shape (n_queries, n_samples) or (n_queries, n_outputs, n_samples)
            Training targets; NaN for queries without support if `outside` is "nan".

        Raises
        ------
        ValueError
            If `n_samples` is not a positive integer; if `outside` is "raise" and a query has no training sample in the
            kernel's support.
        """
        if not isinstance(n_samples, (int, Integral)) or isinstance(n_samples, bool) or n_samples < 1:
            raise ValueError(f"n_samples must be a positive integer, got {n_samples!r}.")
        array, queries = self._queries(X)
        uniform = check_random_state(random_state).random_sample((len(array), n_samples))
        drawn = sample_indices(uniform, self._attention_blocks(self._smoother, queries))
        targets = self.y_train_[self._training.rows][drawn].astype(array.dtype)
        targets[drawn < 0] = np.nan
        return np.moveaxis(targets, 1, -1)

    def gradient(self, X: ArrayLike) -> np.ndarray:
        """Compute the derivatives of the prediction in the features, the marginal effects.

        They are exact, no differences are taken.

        For the Gaussian kernel and weighted means it is the covariance of inputs and targets under the weights of the
        query, dm / dx_k = cov_a(x_k, y) / h_k^2. Kernels with a kink, such as "exponential" at a training sample, have
        none there and count as level at it.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.

        Returns
        -------
        ndarray of shape (n_queries, n_features) or (n_queries, n_outputs, n_features)
            In units of y by units of X; 0 for queries without support that get the mean or the nearest target, NaN for
            those that get NaN.

        Raises
        ------
        ValueError
            If the kernel has no derivative, as "tophat" and a callable have none; if `outside` is "raise" and a query
            has no training sample in the kernel's support.
        """
        array, queries = self._queries(X)
        kernel = self.kernel_
        if not kernel.is_differentiable:
            name = "A callable kernel" if isinstance(kernel, Pairwise) else repr(kernel)
            raise ValueError(
                f'{name} has no derivative, which a gradient needs; take a kernel that has, such as "gaussian", '
                "or a subclass of sknw.kernels.Kernel with a method derivative(sq)."
            )
        found = gradients(self._smoother, queries, self._attention_blocks(self._smoother, queries))
        found *= self._training.y_scales[:, np.newaxis]
        return found.astype(array.dtype).reshape(*self._shape_of_y(len(array)), array.shape[1])

    def _attention_blocks(self, smoother: Smoother, queries: Queries, out_of: int | None = None) -> ForEachBlock:
        return partial(self._for_each_attention_block, smoother.problem(queries), out_of=out_of)

    def _queries(self, X: ArrayLike) -> tuple[np.ndarray, Queries]:
        """X as an array, and as queries."""
        array = self._validated_queries(X)
        return array, self._smoother.queries(array)

    def _validated_queries(self, X: ArrayLike) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(self, X, dtype=(np.float64, np.float32), reset=False)

    def _smoother_for(self, dtype: np.dtype) -> Smoother:
        """The smoother for predictions at queries of a type, with the present `n_jobs`."""
        return replace(self._smoother, allow_float32=dtype == np.float32, n_jobs=self.n_jobs)

    def _pool_or_raise(self, smoother: Smoother, queries: Queries) -> np.ndarray:
        means, unsupported = smoother.pool(queries)
        self._raise_outside(unsupported[0])
        return means[0]

    def _for_each_attention_block(
        self, problem: KernelSumRequest, task: Callable[[slice, np.ndarray], None], out_of: int | None = None
    ) -> None:
        """Call ``task(rows, weights)`` for blocks of queries; weights of shape (len(rows), n of the training set).

        `out_of` is how many queries there are, if these are not all.
        """
        unsupported = np.empty(len(problem.queries), dtype=bool)
        rows_of_weights = weight_rows(problem, self._smoother.algorithm)

        def block(rows: slice) -> None:
            weights = self._smoother.attention(problem, rows, rows_of_weights)
            unsupported[rows] = np.isnan(weights[:, 0])
            task(rows, weights)

        with one_blas_thread():
            for_each_chunk(block, len(problem.queries), rows_per_block(problem), problem.n_threads, multiple_of=4)
        self._raise_outside(unsupported, out_of)

    def _sparse_attention(self, problem: KernelSumRequest, top_k: int | None) -> csr_array:
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

    def _quantiles(self, problem: KernelSumRequest, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """Quantiles of values (n,) at the queries: of shape (m, q)."""
        order = np.argsort(values, kind="stable")  # once for all queries
        keys, weights, values = (a[order] for a in (problem.keys, problem.weights, values))
        problem = replace(problem, keys=keys, weights=weights, values=np.empty((len(order), 0)))
        found = np.full((len(problem.queries), len(levels)), np.nan)

        def of_parts(rows: slice, parts: Parts) -> None:
            found[rows] = quantiles_of(parts, values, levels)

        if rows_are_compiled(problem, self._smoother.algorithm):
            compiled_parts(problem, of_parts)
        rest = np.flatnonzero(np.isnan(found[:, 0]))  # without support, or all

        def of_block(rows: slice, attention: np.ndarray) -> None:
            found[rest[rows]] = quantiles_of(DenseBlocks(attention), values, levels)

        if rest.size:
            there = replace(problem, queries=problem.queries[rest])
            self._for_each_attention_block(there, of_block, out_of=len(found))
        return found

    def _raise_outside(self, unsupported: np.ndarray, out_of: int | None = None) -> None:
        if self._smoother.policy == "raise" and unsupported.any():
            raise ValueError(
                f"{unsupported.sum()} of {out_of or unsupported.size} queries have no training sample within the "
                "kernel's support; choose a larger bandwidth, or outside='nearest', 'mean' or 'nan'."
            )

    @staticmethod
    def _in_units_of_y(values: np.ndarray, training: TrainingSet) -> np.ndarray:
        """y_center + y_scales * values, in place of the values (m, k)."""
        values *= training.y_scales
        values += training.y_center
        return values

    def _shape_of_y(self, n: int) -> tuple[int, ...]:
        return (n, *self.y_train_.shape[1:])


def _predicted_from_others(smoother: Smoother, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Leave-one-out predictions (m, k) of the training samples `rows`, with sample weights (m,)."""
    left_out, in_parts = smoother.left_out(rows, weights), smoother.for_parts()
    predictions = np.empty((len(rows), smoother.values.shape[1]))
    for part in smoother.parts(len(rows)):
        predictions[part] = in_parts.pool(left_out[part])[0][0]
    return predictions


def _weighted_r2(y: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> float:
    """Weighted R^2 over the rows that have a prediction, averaged over outputs; NaN with fewer than two."""
    known = np.isfinite(prediction).all(axis=1)
    if not known.all():
        y, prediction, weights = y[known], prediction[known], weights[known]
    if len(y) < 2:
        return np.nan
    mean = weights @ y / weights.sum()
    error = variance = np.zeros(len(mean))
    for some in row_blocks(len(y)):
        residual, deviation = y[some] - prediction[some], y[some] - mean
        error = error + np.einsum("i,ik,ik->k", weights[some], residual, residual)
        variance = variance + np.einsum("i,ik,ik->k", weights[some], deviation, deviation)
    # as scikit-learn's r2_score: of a constant output 1 where it is predicted, else 0
    part = np.divide(error, variance, out=(error > 0).astype(float), where=variance > 0)
    return float(1.0 - part.mean())


def _compressed(weights: np.ndarray, top_k: int | None) -> csr_array:
    """Rows of weights as a sparse array, cut to the `top_k` largest and scaled to sum to 1."""
    weights[weights < NEGLIGIBLE] = 0.0
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
