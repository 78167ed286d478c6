"""What is asked of a fitted regressor beyond the prediction: intervals, quantiles, draws, derivatives."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from sknw._predictive.fitted import FittedRegression
from sknw._predictive.fold_intervals import fold_interval
from sknw._predictive.gradient import feature_gradients
from sknw._predictive.jackknife import interval
from sknw._predictive.mean_bands import mean_band
from sknw._predictive.quantiles import probabilities, sample_indices
from sknw._predictive.quantiles import quantiles as quantiles_of
from sknw.estimators import arguments
from sknw.estimators.attention import AttentionMixin
from sknw.kernels import Kernel

# Results for float32 queries are float32, unless the targets are so large that this could overflow.
_FLOAT32_LIMIT = 1e30


class PredictiveMixin(AttentionMixin):
    """Methods of a fitted regressor that read it."""

    _fitted: FittedRegression
    kernel_: Kernel
    loo_prediction_: np.ndarray

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
            a row several times; if rows were appended by `partial_fit`.

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
        arguments.check_coverage(coverage)
        array, smoother = self._validate_queries(X, "for_intervals")
        fitted, training, queries = self._fitted, self._fitted.training, smoother.queries(array)
        arguments.check_tests_each_once(fitted.validation.tests_each_once)
        if fitted.rule is None:
            weights = training.sample_weight[fitted.calibration.order]
            bounds, unsupported = interval(smoother, queries, weights, fitted.calibration, float(coverage))
        else:
            unit, tests = training.sample_weight.max(), fitted.calibrated_validation
            bounds, unsupported = fold_interval(smoother, queries, unit, tests, fitted.calibration, float(coverage))
        self._raise_outside(smoother, unsupported)
        return self._in_units_of_y(bounds, array)

    def predict_mean_interval(
        self,
        X: ArrayLike,
        coverage: float = 0.95,
        *,
        simultaneous: bool = False,
        n_bootstrap: int = 500,
        random_state: int | np.random.RandomState | None = 0,
    ) -> np.ndarray:
        """Predict bounds that hold the mean of y, the curve itself, with about the probability `coverage`.

        The middle of the interval is not the prediction m but the prediction with its bias taken off: the residuals of
        the fit are pooled once more with the same weights and added ("twicing" [1]_). Where there are bends the two
        differ. The width comes from a multiplier bootstrap [2]_: random errors, of the size of the left-out residuals
        around each sample, go through the same weights, at the bandwidth (or w) and ridge of the fit. Nothing is fitted
        again, and noise need not be the same everywhere.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.
        coverage : float, default=0.95
            Between 0 and 1.
        simultaneous : bool, default=False
            Whether the whole curve lies in the band with this probability, at all queries of this call at once, for
            each output by itself; else each interval by itself.
        n_bootstrap : int, default=500
            The number of bootstrap draws; the width has a relative error of about 0.7 / sqrt(n_bootstrap).
        random_state : int, RandomState instance or None, default=0
            Determines the errors; an int gives the same ones at every call.

        Returns
        -------
        ndarray of shape (n_queries, 2) or (n_queries, n_outputs, 2)
            Lower and upper bound, in units of y; infinite where no sample is predicted from others, NaN for queries
            without support if `outside` is "nan".

        Raises
        ------
        ValueError
            If `coverage` is not between 0 and 1, `simultaneous` no bool or `n_bootstrap` no integer above 1; if
            `outside` is "raise" and a query is without support; if rows were appended by `partial_fit`.

        Notes
        -----
        With A the weights at the queries, S those at the samples, s the root of the squared left-out residuals pooled
        around each sample, and v_b standard normal numbers::

            middle    A y + A (y - S y)
            se        root mean square over b of A e_b + A (e_b - S e_b),  e_b = s v_b

        and the bounds are the middle -/+ c se, c the quantile of Student's t with as many degrees of freedom as the
        middle rests on samples. A simultaneous band takes c from the bootstrap distribution of the largest deviation.
        Rows of one group given to `fit` share a v, and have their own residuals for s; so do rows of a stretch of time
        with :class:`~sknw.model_selection.LeaveBlockOut`: dependence within them widens the band. All residuals count:
        those of rows that `validation_samples` has left out are computed here. Of more than 5000 samples of one
        feature, those within a thirty-second of a bandwidth share an error, which changes se by less than one part in
        1000.

        References
        ----------
        .. [1] W. Stuetzle, Y. Mittal, "Some comments on the asymptotic behavior of robust smoothers", in Smoothing
           Techniques for Curve Estimation, Springer 1979, 191-195.
        .. [2] V. Chernozhukov, D. Chetverikov, K. Kato, "Anti-concentration and honest, adaptive confidence bands",
           Annals of Statistics 42 (2014) 1787-1818.
        """
        arguments.check_coverage(coverage)
        arguments.check_bool(simultaneous, "simultaneous")
        arguments.check_integer(n_bootstrap, "n_bootstrap", least=2)
        array, smoother = self._validate_queries(X)
        self._require_left_out("A band of the mean")
        fitted, training = self._fitted, self._fitted.training
        seeds = check_random_state(random_state).randint(2**31, size=n_bootstrap)
        residuals = training.residuals(self.loo_prediction_)
        settings = residuals, float(coverage), bool(simultaneous), seeds
        bounds, unsupported = mean_band(fitted, smoother, smoother.queries(array), *settings)
        self._raise_outside(smoother, unsupported)
        return self._in_units_of_y(bounds, array)

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
        levels = arguments.quantile_levels(quantiles)
        array, smoother = self._validate_queries(X)
        queries, levels_of_all = smoother.queries(array), np.atleast_1d(levels)
        found = np.stack([quantiles_of(smoother, queries, y, levels_of_all) for y in self._targets.T], axis=1)
        if smoother.policy == "raise":
            self._raise_outside(smoother, np.isnan(found[:, 0, 0]))
        return found.astype(self._result_dtype(array)).reshape(*self._shape_of_y(len(array)), *levels.shape)

    def predict_cdf(self, X: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Predict the probability that a new observation is at most y: the attention on training targets up to y.

        It is the distribution function of which :meth:`predict_quantile` gives the quantiles. At the observations
        themselves, of data not used in fitting, its values are uniform where the distribution is right (the
        probability integral transform).

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.
        y : float, array-like of shape (n_values,), (n_queries, n_values) or (n_queries, n_outputs, n_values)
            The values, in units of y: the same for all queries (and outputs), or some for each. One of its own for each
            query, as its observation, is ``y[:, np.newaxis]``.

        Returns
        -------
        ndarray of shape (n_queries,) or (n_queries, n_outputs), for an array y (..., n_values)
            Between 0 and 1; NaN for queries without support if `outside` is "nan".

        Raises
        ------
        ValueError
            If y is not numbers in one of these shapes; if `outside` is "raise" and a query is without support.
        """
        array, smoother = self._validate_queries(X)
        thresholds, shape = arguments.cdf_thresholds(y, self._shape_of_y(len(array)))
        found = probabilities(smoother, smoother.queries(array), self._targets, thresholds)
        if smoother.policy == "raise":
            self._raise_outside(smoother, np.isnan(found).any(axis=(1, 2)))
        return found.astype(array.dtype).reshape(shape)

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
        arguments.check_integer(n_samples, "n_samples")
        array, smoother = self._validate_queries(X)
        uniform = check_random_state(random_state).random_sample((len(array), n_samples))
        drawn = sample_indices(smoother, smoother.queries(array), uniform)
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
        arguments.require_derivative(self.kernel_)
        found, unsupported = feature_gradients(smoother, array)
        self._raise_outside(smoother, unsupported)
        found *= self._fitted.training.y_scales[:, np.newaxis]
        unit = self._fitted.training.y_scales.max() / self._fitted.training.scales.min()
        dtype = self._result_dtype(array) if unit < _FLOAT32_LIMIT else np.float64
        return found.astype(dtype).reshape(*self._shape_of_y(len(array)), array.shape[1])

    def _in_units_of_y(self, standardised_values: np.ndarray, array: np.ndarray) -> np.ndarray:
        """Values (m, k, ...) less their standardisation, in the shape and dtype of results for the queries."""
        training, trailing = self._fitted.training, standardised_values.shape[2:]
        shape = (-1, *(1,) * len(trailing))
        found = training.y_center.reshape(shape) + training.y_scales.reshape(shape) * standardised_values
        return found.astype(self._result_dtype(array)).reshape(*self._shape_of_y(len(array)), *trailing)

    def _result_dtype(self, array: np.ndarray) -> np.dtype:
        """float32 for float32 queries, unless the targets are too large for it."""
        return array.dtype if self._fitted.training.largest_magnitude < _FLOAT32_LIMIT else np.dtype(np.float64)

    @property
    def _targets(self) -> np.ndarray:
        """The targets of the samples, as given, (n, k)."""
        return self.y_train_.reshape(len(self.y_train_), -1)[self._fitted.training.rows].astype(np.float64)

    def _shape_of_y(self, n: int) -> tuple[int, ...]:
        return (n, *self.y_train_.shape[1:])
