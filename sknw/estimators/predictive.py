"""What is asked of a fitted model beyond the prediction: weights, intervals, quantiles, draws, derivatives."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral, Real
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, issparse
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sknw._predictive.fitted import FittedSmoother
from sknw._predictive.fold_intervals import fold_interval
from sknw._predictive.gradient import feature_gradients
from sknw._predictive.jackknife import interval
from sknw._predictive.quantiles import quantiles as quantiles_of
from sknw._predictive.quantiles import sample_indices
from sknw._smoothing.attention import effective_sample_size, for_each_attention_block, sparse_attention
from sknw._smoothing.smoother import Smoother
from sknw.estimators.tables import Categories, as_table, encode, names_the_remedy
from sknw.kernels import Kernel, Pairwise

# Results for float32 queries are float32, unless the targets are so large that this could overflow.
_FLOAT32_LIMIT = 1e30


class PredictiveMixin:
    """Methods of a fitted smoother that read it."""

    _fitted: FittedSmoother
    X_train_: np.ndarray
    y_train_: np.ndarray
    kernel_: Kernel
    is_categorical_: np.ndarray
    categories_: Categories
    n_jobs: int | None

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
            Keep the k largest weights of each query, scaled to sum to 1; sparse. Of equal weights those of the first
            samples are kept. None keeps all.

        Returns
        -------
        ndarray or csr_array of shape (n_queries, n_samples)
            Non-negative, each row sums to 1. Where values are pooled, ``weights @ y_train_`` is the prediction; local
            lines are fitted with these weights.

        Raises
        ------
        ValueError
            If `top_k` is not a positive integer; if `outside` is "raise" and a query is without support.
        """
        if top_k is not None and not _is_positive_integer(top_k):
            raise ValueError(f"top_k must be a positive integer or None, got {top_k!r}.")
        array, smoother = self._validate_queries(X)
        request = smoother.value_request(smoother.queries(array))
        training = self._fitted.training
        if sparse_output or top_k is not None:
            sparse, unsupported = sparse_attention(
                request, smoother.policy, smoother.algorithm, top_k, self._fitted.shares
            )
            self._raise_outside(smoother, unsupported)
            return sparse
        weights = np.empty((len(array), len(self.X_train_)))

        def fill(rows: slice, block: np.ndarray) -> None:
            weights[rows] = training.for_given_rows(block)

        unsupported = for_each_attention_block(request, smoother.policy, smoother.algorithm, fill)
        self._raise_outside(smoother, unsupported)
        return weights

    def effective_sample_size(self, X: ArrayLike) -> np.ndarray:
        """Count the equally weighted samples a prediction rests on, 1 / sum_i (a(x, x_i)^2 / sample_weight_i).

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.

        Returns
        -------
        ndarray of shape (n_queries,)
            Between the smallest sample weight, of weights scaled to mean 1, and the number of samples; NaN for queries
            without support if `outside` is "nan".

        Raises
        ------
        ValueError
            If `outside` is "raise" and a query has no sample in the kernel's support.
        """
        array, smoother = self._validate_queries(X)
        request = smoother.value_request(smoother.queries(array))
        size, unsupported = effective_sample_size(request, smoother.policy, smoother.algorithm)
        self._raise_outside(smoother, unsupported)
        return self._fitted.training.sample_weight.max() * size

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> np.ndarray:
        """Predict bounds that hold a new observation with about the probability `coverage`, by the jackknife+ or CV+.

        The bounds are order statistics of ``m_-i(q) -/+ R_i s_-i(q)`` over the training samples i [1]_: the prediction
        at the query without sample i, give or take the size of that sample's leave-one-out residual in units of a local
        scale, ``R_i = |y_i - m_-i(x_i)| / s_-i(x_i)``. Nothing is fitted again: leaving out a sample of attention a_i
        moves the weighted mean m to m + a_i (m - y_i) / (1 - a_i), and a local line in a similar way. The scale::

            s^2 = (sum_j K_j r_j^2 + kappa V) / (sum_j K_j + kappa)

        is the standard deviation that `predict` returns, of leave-one-out residuals r_j around the query, drawn towards
        their mean square V where few samples are near (K(0) = 1). kappa is chosen to make the scores R_i alike; where
        the noise is the same everywhere, it is large and s everywhere the same.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.
        coverage : float, default=0.9
            Between 0 and 1.

        Returns
        -------
        ndarray of shape (n_queries, 2) or (n_queries, n_outputs, 2)
            Lower and upper bound, in units of y; infinite where floor((1 - coverage) (n + 1)) < 1, n the number of
            samples that are predicted from others: at coverage 0.9 with fewer than 9 samples.

        Raises
        ------
        ValueError
            If `coverage` is not between 0 and 1; if `outside` is "raise" and a query is without support; if `cv` tests
            a row several times.

        Notes
        -----
        With s the same everywhere and a bandwidth (or w) and ridge fixed beforehand, a new observation from the same
        distribution as the training samples lies in the interval with a probability of at least 2 coverage - 1 [1]_,
        averaged over queries and training sets: not for each single query, nor where queries come from elsewhere. With
        groups or folds ``m_-i`` is the prediction without those of sample i, and the guarantee is about the same [1]_.
        In practice the probability is close to `coverage`. Two things void the promise: choosing the bandwidth on the
        same data, as leave-one-out residuals are a little too small at the bandwidth that makes them small; and the
        local scale, as the other samples' residuals know of sample i.

        References
        ----------
        .. [1] R. F. Barber, E. J. Candes, A. Ramdas, R. J. Tibshirani, "Predictive inference with the jackknife+",
           Annals of Statistics 49 (2021) 486-507.
        """
        if not isinstance(coverage, Real) or not 0 < coverage < 1:
            raise ValueError(f"coverage must be a number between 0 and 1, both excluded, got {coverage!r}.")
        array, smoother = self._validate_queries(X, "for_intervals")
        fitted, training, queries = self._fitted, self._fitted.training, smoother.queries(array)
        if not fitted.tests_each_once:
            raise ValueError(
                "predict_interval needs one left-out prediction of each row, and cv has tested some rows several "
                "times: fit with a cv that tests each row once, such as KFold."
            )
        if fitted.rule is None:
            weights = training.sample_weight[fitted.calibration.order]
            bounds, unsupported = interval(smoother, queries, weights, fitted.calibration, float(coverage))
        else:
            unit, tests = training.sample_weight.max(), fitted.calibrated_validation
            bounds, unsupported = fold_interval(smoother, queries, unit, tests, fitted.calibration, float(coverage))
        self._raise_outside(smoother, unsupported)
        bounds = training.y_center[:, np.newaxis] + training.y_scales[:, np.newaxis] * bounds
        return bounds.astype(self._result_dtype(array)).reshape(*self._shape_of_y(len(array)), 2)

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
            If a level is not between 0 and 1; if `outside` is "raise" and a query is without support.
        """
        try:
            levels = np.asarray(quantiles, dtype=np.float64)
        except (TypeError, ValueError):
            levels = np.array(np.nan)
        if levels.ndim > 1 or not levels.size or not np.all((levels >= 0) & (levels <= 1)):
            raise ValueError(
                f"quantiles must be a number between 0 and 1 or a list of such numbers, got {quantiles!r}."
            )
        array, smoother = self._validate_queries(X)
        request = smoother.value_request(smoother.queries(array))
        targets = self.y_train_.reshape(len(self.y_train_), -1)[self._fitted.training.rows].astype(np.float64)
        settings = request, smoother.policy, smoother.algorithm
        found = np.stack([quantiles_of(*settings, y, np.atleast_1d(levels)) for y in targets.T], axis=1)
        if smoother.policy == "raise":
            self._raise_outside(smoother, np.isnan(found[:, 0, 0]))
        return found.astype(self._result_dtype(array)).reshape(*self._shape_of_y(len(array)), *levels.shape)

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
            If `n_samples` is not a positive integer; if `outside` is "raise" and a query is without support.
        """
        if not _is_positive_integer(n_samples):
            raise ValueError(f"n_samples must be a positive integer, got {n_samples!r}.")
        array, smoother = self._validate_queries(X)
        request = smoother.value_request(smoother.queries(array))
        uniform = check_random_state(random_state).random_sample((len(array), n_samples))
        drawn = sample_indices(request, smoother.policy, smoother.algorithm, uniform)
        self._raise_outside(smoother, drawn[:, 0] < 0)
        targets = self.y_train_[self._fitted.training.rows][drawn].astype(self._result_dtype(array))
        targets[drawn < 0] = np.nan
        return np.moveaxis(targets, 1, -1)

    def gradient(self, X: ArrayLike) -> np.ndarray:
        """Compute the derivatives of the prediction in the features, the marginal effects.

        They are exact; of weighted means by the Gaussian kernel the covariance of inputs and targets under the weights
        of the query, dm / dx_k = cov_a(x_k, y) / h_k^2. A kernel with a kink, such as "exponential" at a training
        sample, counts as level there. In a category there is no derivative but a contrast: the prediction less that at
        the first level, with all other features as they are; in an ordered category less that at the level below, 0 at
        the lowest, and for an unknown or a missing value less that at the lowest.

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
            If the kernel has no derivative, as "tophat" and a callable; if `outside` is "raise" and a query is without
            support.
        """
        array, smoother = self._validate_queries(X)
        require_derivative(self.kernel_)
        found, unsupported = feature_gradients(smoother, array)
        self._raise_outside(smoother, unsupported)
        found *= self._fitted.training.y_scales[:, np.newaxis]
        unit = self._fitted.training.y_scales.max() / self._fitted.training.scales.min()
        dtype = self._result_dtype(array) if unit < _FLOAT32_LIMIT else np.float64
        return found.astype(dtype).reshape(*self._shape_of_y(len(array)), array.shape[1])

    def _validate_queries(
        self, X: ArrayLike, name: Literal["smoother", "with_squares", "for_intervals"] = "smoother"
    ) -> tuple[np.ndarray, Smoother]:
        """X as an array, with codes of categories, and the smoother of that name for it, with the present `n_jobs`."""
        check_is_fitted(self)
        if self.is_categorical_.any() and not issparse(X):
            table = as_table(X)
            validate_data(self, X, reset=False, skip_check_array=True)
            with names_the_remedy(self):
                array = encode(table, self.categories_)
        else:
            with names_the_remedy(self):
                array = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        smoother: Smoother = getattr(self._fitted, name)
        return array, replace(smoother, allow_float32=array.dtype == np.float32, n_jobs=self.n_jobs)

    def _result_dtype(self, array: np.ndarray) -> np.dtype:
        """float32 for float32 queries, unless the targets are too large for it."""
        largest = np.abs(self._fitted.training.y_center) + self._fitted.training.y_scales
        return array.dtype if np.all(largest < _FLOAT32_LIMIT) else np.dtype(np.float64)

    @staticmethod
    def _raise_outside(smoother: Smoother, unsupported: np.ndarray) -> None:
        if smoother.policy == "raise" and unsupported.any():
            raise ValueError(
                f"{unsupported.sum()} of {unsupported.size} queries have no training sample within the kernel's "
                "support; choose a larger bandwidth, or outside='nearest', 'mean' or 'nan'."
            )

    def _shape_of_y(self, n: int) -> tuple[int, ...]:
        return (n, *self.y_train_.shape[1:])


def require_derivative(kernel: Kernel) -> None:
    """Refuse a kernel that has no derivative.

    Raises
    ------
    ValueError
        If it has none; says which have.
    """
    if not kernel.is_differentiable:
        name = "A callable kernel" if isinstance(kernel, Pairwise) else repr(kernel)
        raise ValueError(
            f'{name} has no derivative, which a gradient needs; take a kernel that has, such as "gaussian", '
            "or a subclass of sknw.kernels.Kernel with a method derivative(sq)."
        )


def _is_positive_integer(value: object) -> bool:
    return isinstance(value, int | Integral) and not isinstance(value, bool) and int(value) >= 1
