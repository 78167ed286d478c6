"""Kriging: attention with learned values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, NoReturn, overload

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from sklearn.utils import check_random_state

from sknw._kernel_sums.threads import effective_n_threads
from sknw._kriging.covariance import Covariance, KrigingModel
from sknw._kriging.estimate import (
    LIKELIHOOD_SAMPLES,
    MOST_EXACT,
    Given,
    Search,
    directions_of_trend,
    estimate,
    standardised,
    with_scales,
)
from sknw._kriging.exact import ExactKriging
from sknw._kriging.fitted import FittedKriging, Kriging, keep_largest
from sknw._kriging.likelihood import POWER_BOUNDS
from sknw._kriging.neighbours import MOST_NEIGHBORS, LocalKriging
from sknw._sklearn_compat import Interval, StrOptions
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import LeaveOutRule, Tests, Validation, mean_of_rows
from sknw.estimators import arguments
from sknw.estimators.base import BaseSmoother, FitData, as_numbers
from sknw.estimators.dask_arrays import takes_dask_arrays
from sknw.estimators.regression import RegressionMixin, weighted_r2

# Parameters of the other estimators that it does not have.
_NO_PARAMETERS = {"kernel", "outside", "validation_samples", "algorithm"}


class KrigingRegressor(RegressionMixin, BaseSmoother):
    """Kriging, attention with learned values, whose scales and powers are chosen by restricted likelihood.

    The prediction is a trend plus a sum over training samples::

        f(x) = trend(x) + sum_i kappa(x, x_i) alpha_i,   kappa(x, x') = a exp(-sum_k (w_k |x_k - x'_k|)^p_k)

    It is the mean of a Gaussian process of covariance kappa with noise, given the training data. Each feature has a
    scale w_k and a power p_k: at powers near 2 the target is smooth in the feature, at powers of 1 and below it is
    rough. The weights of the training targets are signed, while those of the other estimators are a distribution; in
    return, predictions are more accurate on most tables.

    Parameters
    ----------
    w : "learned", float or array-like of shape (n_features,), default="learned"
        What multiplies x; numbers, one for all features or one for each, are used as they are.
    power : "learned", float or array-like of shape (n_features,), default="learned"
        The power p of each feature, between 0.5 and 2. Categories, and numbers that take two values, have the power 2.
    trend : {"constant", "linear"}, default="constant"
        What is predicted far from all samples: a constant, or a linear function of the features.
    noise : "learned" or float, default="learned"
        The variance of the noise of a sample of mean weight, in units of the variance of y. 0 interpolates.
    n_neighbors : int, "auto" or None, default="auto"
        How many samples a prediction rests on: those of the largest kappa, of ties the first. "auto": all of up to 5000
        samples, 256 of more. None: all, for which time grows with the cube of their number, and memory with the square.
    cv : int, splitter, iterable or None, default=None
        Who is left out when a training sample is predicted, as of :class:`NadarayaWatsonRegressor`. It decides upon
        `loo_prediction_`, `loo_score_` and intervals, but not upon the scales, which maximise the likelihood.
    categorical_features : array-like, "from_dtype" or None, default="from_dtype"
        Which features are categories, as of :class:`NadarayaWatsonRegressor`. A category has one w.
    ordered_features : array-like or None, default=None
        Which features are ordered categories, as of :class:`NadarayaWatsonRegressor`.
    periodic_features : dict or None, default=None
        The period of each periodic feature, as of :class:`NadarayaWatsonRegressor`.
    scale : {"features", "common"}, default="features"
        The unit of the prior and of the start of each w: the standard deviation of its feature, or one for all numbers,
        for coordinates that share a unit.
    likelihood_samples : int or "auto", default="auto"
        How many samples, drawn with `random_state`, the likelihood of scales and powers is of. "auto": a third of all,
        but at least 600 and at most 1500. Amplitude and noise are then chosen on all samples, at most 5000.
    max_iter : int, default=60
        Iterations of the maximisation.
    tol : float, default=1e-6
        The maximisation ends when an iteration raises the logarithm of the likelihood of a sample by less, relative to
        itself or to 1.
    n_jobs : int, default=None
        Threads, by joblib's conventions.
    random_state : int, RandomState instance or None, default=0
        Draws the samples of the likelihood where not all are taken.
    verbose : int, default=0
        1 prints the logarithm of the likelihood at every iteration.

    Attributes
    ----------
    w_ : ndarray of shape (n_features,)
        What multiplies x.
    power_ : ndarray of shape (n_features,)
        The power of each feature.
    amplitude_ : float
        a, in units of the variance of each output.
    noise_ : float
        The variance of the noise of a sample of mean weight, in units of the variance of each output.
    trend_ : ndarray of shape (n_coefficients,) or (n_coefficients, n_outputs)
        The constant, and the slope of each feature if the trend is linear (of categories and periodic features that of
        each of their columns). Where a prediction rests on neighbours it has a trend of its own, and this is that of
        about 1000 samples.
    values_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        The learned values alpha, in units of y. Absent where a prediction rests on neighbours.
    kernel_ : Covariance
        ``kernel_(A, B)`` is ``exp(-sum_k (w_k |a_k - b_k|)^p_k)`` for arrays of inputs; of features that are not
        numbers for the columns that they become.
    log_likelihood_path_ : ndarray
        The logarithm of the restricted likelihood times the prior, up to a constant, at the start and after each
        iteration. Empty where w and power were given.
    n_iter_ : int
        Iterations of the maximisation, at least 1, also where w and power were given.
    is_categorical_ : ndarray of shape (n_features,)
        Which features are categories, bool.
    categories_ : list of length n_features
        The levels of each category, None for numbers, as of :class:`NadarayaWatsonRegressor`.
    category_weight_ : ndarray of shape (n_features,)
        What a mismatch in a category leaves of the covariance, ``exp(-w_k^2)``. NaN for numbers.
    loo_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Each training row predicted without what `cv` leaves out, at the same scales, amplitude and noise; not clamped.
        NaN where there is no prediction.
    loo_score_ : float
        The weighted R^2 of `loo_prediction_`.
    X_train_ : ndarray of shape (n_samples, n_features)
        The keys; of categories the position of each value in `categories_`.
    y_train_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        The targets.
    sample_weight_ : ndarray of shape (n_samples,) or None
        The sample weights; None without.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        The names of the features; defined only when X has feature names that are all strings.

    See Also
    --------
    AttentionPoolingRegressor : Attention weights that are a distribution, with a learned w.
    NadarayaWatsonRegressor : Weighted means with a bandwidth.
    sklearn.gaussian_process.GaussianProcessRegressor : Gaussian processes with a kernel of your choice.

    Notes
    -----
    Chosen are w, p, a and the noise that maximise the restricted likelihood [1]_ times a weak prior. That of w, in
    standard units, is exp(-sqrt(d) sum_k w_k), a lasso: where the likelihood does not need a feature its w goes towards
    0. The others are normal: log p around log 1.3 with a standard deviation of 0.4, log a around 0 with 3, log noise
    around log 0.1 with 2. The search starts at these means and w_k = 1 / sqrt(d). Several outputs share all of them.
    Weights are precisions: the noise of a sample has the variance noise / weight, with weights of mean 1. Predictions
    are clamped to the range of the training targets.

    Leave-one-out predictions are exact for given parameters and cost no fit [2]_. The time of a fit grows as
    n^2 d and n^3, n the number of samples.

    References
    ----------
    .. [1] H. D. Patterson, R. Thompson, "Recovery of inter-block information when block sizes are unequal", Biometrika
       58 (1971) 545-554.
    .. [2] O. Dubrule, "Cross validation of kriging in a unique neighborhood", Mathematical Geology 15 (1983) 687-699.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw import KrigingRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, size=(200, 3))
    >>> y = np.sin(4 * X[:, 0]) + np.abs(X[:, 1]) + 0.1 * rng.normal(size=200)
    >>> model = KrigingRegressor().fit(X, y)
    >>> bool(model.loo_score_ > 0.95)
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **{name: of for name, of in BaseSmoother._parameter_constraints.items() if name not in _NO_PARAMETERS},
        "w": [StrOptions({"learned"}), Interval(Real, None, None, closed="neither"), "array-like"],
        "power": [StrOptions({"learned"}), Interval(Real, None, None, closed="neither"), "array-like"],
        "trend": [StrOptions({"constant", "linear"})],
        "noise": [StrOptions({"learned"}), Interval(Real, 0, None, closed="left")],
        "n_neighbors": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left"), None],
        "likelihood_samples": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }

    _fitted: FittedKriging  # type: ignore[assignment]
    kernel_: Covariance  # type: ignore[assignment]

    def __init__(
        self,
        w: str | float | ArrayLike = "learned",
        power: str | float | ArrayLike = "learned",
        *,
        trend: str = "constant",
        noise: str | float = "learned",
        n_neighbors: int | str | None = "auto",
        cv: Any = None,
        categorical_features: ArrayLike | str | None = "from_dtype",
        ordered_features: ArrayLike | None = None,
        periodic_features: Mapping[str | int, float] | None = None,
        scale: str = "features",
        likelihood_samples: int | str = "auto",
        max_iter: int = 60,
        tol: float = 1e-6,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
        verbose: int = 0,
    ):
        self.w = w
        self.power = power
        self.trend = trend
        self.noise = noise
        self.n_neighbors = n_neighbors
        self.cv = cv
        self.categorical_features = categorical_features
        self.ordered_features = ordered_features
        self.periodic_features = periodic_features
        self.scale = scale
        self.likelihood_samples = likelihood_samples
        self.max_iter = max_iter
        self.tol = tol
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @property
    def _has_steps(self) -> bool:
        return isinstance(self.w, str) or isinstance(self.power, str)

    def _fit_data(self, data: FitData, on_step: Callable[[], bool], start: None) -> None:
        training, is_square = with_scales(data.training)
        scales, d = training.scales, len(training.scales)
        w = self._given("w", d, 0.0, np.finfo(np.float64).max)
        power = self._given("power", d, *POWER_BOUNDS)
        noise = None if isinstance(self.noise, str) else float(self.noise)
        given = Given(None if w is None else w * scales, power, noise)

        def on_iteration(log_likelihood: float) -> bool:
            if self.verbose:
                print(f"[{type(self).__name__}] log likelihood {log_likelihood:.6g}")
            return on_step()

        order = check_random_state(self.random_state).permutation(len(training))
        n_samples = self.likelihood_samples
        if isinstance(n_samples, str):
            n_samples = int(np.clip(len(training) // 3, *LIKELIHOOD_SAMPLES))
        search = Search(int(n_samples), self.max_iter, self.tol, order, on_iteration, self._n_threads)
        columns = standardised(training, training.X)
        model, path = estimate(columns, training, is_square, given, self.trend == "linear", search)
        self.w_ = model.covariance.w / scales if w is None else w
        self.power_ = model.covariance.power
        self.amplitude_, self.noise_, self.log_likelihood_path_ = float(model.amplitude), float(model.noise), path
        self.n_iter_ = max(len(path) - 1, 1)
        self._store_solution(data, training, is_square)

    def _validate_dask(self, X: Any, *_: Any) -> NoReturn:
        raise ValueError(
            "KrigingRegressor fits in the memory of one process: the equations for its values couple all rows, and are "
            f"no sums over shards. X is a dask array of {len(X)} rows: fit to X.compute() if that fits in memory."
        )

    def _given(self, name: str, d: int, least: float, most: float) -> np.ndarray | None:
        """The parameter `name` as numbers (d,) between two others; None where it is learned."""
        parameter = getattr(self, name)
        if isinstance(parameter, str):
            return None
        numbers = as_numbers(parameter)
        if numbers.shape not in [(), (d,)] or not np.all((numbers >= least) & (numbers <= most)):
            between = "not negative" if least == 0 else f"between {least} and {most}"
            raise ValueError(
                f'{name} must be "learned", a number, or {d} numbers, one for each feature, all of them {between}; '
                f"got {parameter!r}."
            )
        return np.broadcast_to(numbers, (d,)).copy()

    def _store_solution(self, data: FitData, training: TrainingSet, is_square: np.ndarray) -> None:
        """Set the fitted attributes that follow from the parameters of the model."""
        self.X_train_, self.y_train_, self.sample_weight_ = data.X, data.y, data.sample_weight
        self.kernel_ = Covariance(training.features.starts, self.w_, self.power_, is_square)
        self.category_weight_ = np.where(
            training.features.n_levels > 0, np.exp(-(np.minimum(self.w_, 1e9) ** 2)), np.nan
        )
        if isinstance(self.n_neighbors, str):
            n_neighbors = MOST_NEIGHBORS if len(training) > MOST_EXACT else None
        else:
            n_neighbors = self.n_neighbors
        solution = self._solve(training, self.trend == "linear", n_neighbors)
        residuals, variances = solution.left_out(data.validation, self._n_threads)
        self._fitted = FittedKriging(training, solution, data.rule, data.validation, residuals, variances)
        rows = data.validation.rows
        of_samples = mean_of_rows(training.values[rows] - residuals, rows, len(training))
        self.loo_score_ = weighted_r2(training.values, of_samples, training.sample_weight)

        def predict(rows: np.ndarray, tests: Tests) -> np.ndarray:
            return solution.predict_without(standardised(training, training.features.columns(data.X[rows])), tests)

        loo = data.for_given_rows(of_samples, predict)
        self.loo_prediction_ = training.into_units_of_y(loo).reshape(data.y.shape)
        if solution.alpha is not None:
            values = training.for_given_rows((solution.alpha * training.y_scales).T).T
            self.values_ = np.ascontiguousarray(values).reshape(data.y.shape)
        self.trend_ = _trend_coefficients(solution, training).reshape(-1, *data.y.shape[1:])

    def _solve(self, training: TrainingSet, is_linear: bool, n_neighbors: int | None) -> Kriging:
        """The solution of kriging by the fitted attributes."""
        columns = standardised(training, training.X)
        covariance = self.kernel_.with_parameters(self.w_ * training.scales, self.power_)
        model = KrigingModel(covariance, self.amplitude_, self.noise_, directions_of_trend(columns, is_linear))
        if n_neighbors is not None and n_neighbors < len(training):
            rank, weight = training.given_rows, training.sample_weight
            return LocalKriging(model, columns, training.values, weight, rank, n_neighbors)
        return ExactKriging.of(model, columns, training.values, training.sample_weight, self._n_threads)

    def _settings(self) -> dict[str, Any]:
        solution = self._fitted.solution
        return {"is_linear": solution.model.directions.shape[1] > 0, "n_neighbors": solution.n_neighbors}

    def _restore(self, training: TrainingSet, rule: LeaveOutRule, **settings: Any) -> None:
        training, is_square = with_scales(training)
        self.kernel_ = Covariance(training.features.starts, self.w_, self.power_, is_square)
        solution, validation = self._solve(training, **settings), Validation.of(rule, training)
        left_out = solution.left_out(validation, self._n_threads)
        self._fitted = FittedKriging(training, solution, rule, validation, *left_out)

    def _validate_columns(self, X: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """The queries as an array, with codes of categories, and as standardised columns."""
        array = self._validate_inputs(X)
        return array, self._columns_of(array)

    @property
    def _n_threads(self) -> int:
        return effective_n_threads(self.n_jobs)

    def _columns_of(self, array: np.ndarray) -> np.ndarray:
        training = self._fitted.training
        return standardised(training, training.features.columns(array))

    def _individual_curves(self, rows: np.ndarray, feature: int, values: np.ndarray) -> np.ndarray:
        curves = []
        for value in values.tolist():
            elsewhere = rows.copy()
            elsewhere[:, feature] = value
            curves.append(self._fitted.solution.predict(self._columns_of(elsewhere), self._n_threads))
        return self._fitted.clamp(np.stack(curves, axis=1))

    def _clamped(self, mean: np.ndarray, array: np.ndarray) -> np.ndarray:
        """Standardised predictions (m, k), clamped, in units of y: in the range of the targets to the last bit."""
        found = self._in_units_of_y(mean, array)
        return self._fitted.training.clip_to_targets(found.reshape(mean.shape)).reshape(found.shape)

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[False] = False) -> np.ndarray: ...

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    @overload
    def predict(self, X: ArrayLike, return_std: bool) -> np.ndarray | tuple[np.ndarray, np.ndarray]: ...

    @takes_dask_arrays
    def predict(self, X: ArrayLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict trend(x) + sum_i kappa(x, x_i) alpha_i, clamped to the range of the training targets.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries. For a dask array the result is lazy, in the same chunks of rows.
        return_std : bool, default=False
            Whether to return the kriging standard deviation of a new observation of mean weight as well: what is not
            known of f at the query, and the noise.

        Returns
        -------
        mean : ndarray of shape (n_queries,) or (n_queries, n_outputs)
            The predictions, float32 for float32 queries.
        std : ndarray of the same shape
            The standard deviations, in units of y; only with `return_std`.
        """
        array, columns = self._validate_columns(X)
        fitted = self._fitted
        if not return_std:
            return self._clamped(fitted.clamp(fitted.solution.predict(columns, self._n_threads)), array)
        mean, std = fitted.predict_with_std(columns, self._n_threads)
        found = self._clamped(mean, array)
        return found, (fitted.training.y_scales * std).astype(found.dtype).reshape(found.shape)

    def attention_weights_(
        self, X: ArrayLike, *, sparse_output: bool = False, top_k: int | None = None
    ) -> np.ndarray | csr_array:
        """Compute the signed weight that each query gives to each training sample.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.
        sparse_output : bool, default=False
            Whether to return a sparse array.
        top_k : int, default=None
            Keep the k weights of each query that are largest by absolute value, as they are; sparse. Of equal ones
            those of the first samples are kept. None keeps all.

        Returns
        -------
        ndarray or csr_array of shape (n_queries, n_samples)
            Of either sign; each row sums to 1. ``weights @ y_train_`` is the prediction before it is clamped.

        Raises
        ------
        ValueError
            If `top_k` is not a positive integer.
        """
        arguments.check_top_k(top_k)
        _, columns = self._validate_columns(X)
        training = self._fitted.training
        weights = self._fitted.solution.weights(columns, self._n_threads)
        if isinstance(weights, csr_array):
            weights = weights @ training.shares_of_given_rows()
            if sparse_output and top_k is None:
                return weights
            weights = weights.toarray()
        else:
            weights = training.for_given_rows(weights)
        return csr_array(keep_largest(weights, top_k)) if sparse_output or top_k is not None else weights

    def effective_sample_size(self, X: ArrayLike) -> np.ndarray:
        """Refuse: signed weights count no samples.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.

        Returns
        -------
        ndarray
            Nothing is returned.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            "KrigingRegressor has no effective sample size: its weights are signed, so that 1 / sum of their squares "
            "counts no samples. predict(X, return_std=True) tells how much is known at X."
        )

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> np.ndarray:
        """Predict bounds that hold a new observation with about the probability `coverage`, by the jackknife+ or CV+.

        The bounds are order statistics of ``f_-i(x) -/+ |r_i|`` over the training samples i [1]_; ``f_-i`` is the
        prediction without sample i (or its group or fold), before it is clamped, and r_i its left-out residual. Nothing
        is fitted again: ``f_-i(x) = f(x) - c_i(x) r_i``, c the attention weights.
        Where predictions rest on neighbours, the samples i are those of the query, and n their number; with splits
        ``f_-i(x)`` is then predicted.

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
            If `coverage` is not between 0 and 1; if `cv` tests a row several times.

        Notes
        -----
        With scales, amplitude and noise fixed beforehand the probability is at least 2 coverage - 1 [1]_, averaged over
        queries and training sets, and in practice close to `coverage`.

        References
        ----------
        .. [1] R. F. Barber, E. J. Candes, A. Ramdas, R. J. Tibshirani, "Predictive inference with the jackknife+",
           Annals of Statistics 49 (2021) 486-507.
        """
        arguments.check_coverage(coverage)
        array, columns = self._validate_columns(X)
        fitted = self._fitted
        arguments.check_tests_each_once(fitted.validation.tests_each_once)
        given = fitted.validation, fitted.residuals, float(coverage), self._n_threads
        bounds = fitted.solution.interval(columns, *given)
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

        They are the prediction, before it is clamped, and multiples of the standard deviation of the Gaussian process
        given the training data, without noise.

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
            The number of draws of the process from which a simultaneous band is taken.
        random_state : int, RandomState instance or None, default=0
            Determines the draws; an int gives the same ones at every call.

        Returns
        -------
        ndarray of shape (n_queries, 2) or (n_queries, n_outputs, 2)
            Lower and upper bound, in units of y.

        Raises
        ------
        ValueError
            If `coverage` is not between 0 and 1, `simultaneous` no bool or `n_bootstrap` no positive integer.

        Notes
        -----
        The probability is over functions that are draws of the process, with scales, amplitude and noise as estimated.
        Where the function is rougher in some places than in others, the band is too narrow there.
        """
        arguments.check_coverage(coverage)
        arguments.check_bool(simultaneous, "simultaneous")
        arguments.check_integer(n_bootstrap, "n_bootstrap")
        array, columns = self._validate_columns(X)
        rng = check_random_state(random_state) if simultaneous else None
        bounds = self._fitted.mean_band(columns, float(coverage), n_bootstrap, rng, self._n_threads)
        return self._in_units_of_y(bounds, array)

    def predict_quantile(self, X: ArrayLike, quantiles: float | ArrayLike = 0.5) -> np.ndarray:
        """Predict quantiles of a new observation: the prediction and a multiple of its standard deviation.

        The distribution of these multiples is that of the left-out residuals r_i of the training samples, in units of
        their standard deviations s_i: ``f(x) + s(x) e_q``, e_q the smallest of ``e_i = r_i / s_i`` up to which the
        sample weights sum to the fraction q.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.
        quantiles : float or array-like of shape (n_quantiles,), default=0.5
            Levels between 0 and 1.

        Returns
        -------
        ndarray of shape (n_queries,) or (n_queries, n_outputs), for an array of levels (..., n_quantiles)
            The quantiles, in units of y; NaN where no sample can be predicted from others.

        Raises
        ------
        ValueError
            If a level is not between 0 and 1.
        """
        levels = arguments.quantile_levels(quantiles)
        array, columns = self._validate_columns(X)
        found = self._fitted.quantiles(columns, levels.ravel(), self._n_threads)
        return self._in_units_of_y(found.reshape(*found.shape[:2], *levels.shape), array)

    def predict_cdf(self, X: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Predict the probability that a new observation is at most y.

        It is the distribution function of which :meth:`predict_quantile` gives the quantiles: the weighted fraction of
        the training samples with ``f(x) + s(x) e_i <= y``. At the observations themselves, of data not used in fitting,
        its values are uniform where the distribution is right (the probability integral transform).

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
            Between 0 and 1; NaN where no sample can be predicted from others.

        Raises
        ------
        ValueError
            If y is not numbers in one of these shapes.
        """
        array, columns = self._validate_columns(X)
        thresholds, shape = arguments.cdf_thresholds(y, self._shape_of_y(len(array)))
        found = self._fitted.probabilities(columns, thresholds, self._n_threads)
        return found.astype(array.dtype).reshape(shape)

    def sample_y(
        self, X: ArrayLike, n_samples: int = 1, random_state: int | np.random.RandomState | None = 0
    ) -> np.ndarray:
        """Draw new observations: the prediction and multiples of its standard deviation, as of `predict_quantile`.

        Of several outputs the residuals of whole training rows are drawn, so that what belongs together stays together.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.
        n_samples : int, default=1
            Draws for each query, independent of each other and of those of other queries.
        random_state : int, RandomState instance or None, default=0
            Determines the draws; an int gives the same ones at every call.

        Returns
        -------
        ndarray of shape (n_queries, n_samples) or (n_queries, n_outputs, n_samples)
            The draws; NaN where no sample can be predicted from others.

        Raises
        ------
        ValueError
            If `n_samples` is not a positive integer.
        """
        arguments.check_integer(n_samples, "n_samples")
        array, columns = self._validate_columns(X)
        found = self._fitted.draw(columns, n_samples, check_random_state(random_state), self._n_threads)
        return self._in_units_of_y(found, array)

    def gradient(self, X: ArrayLike) -> np.ndarray:
        """Compute the derivatives of the prediction, before it is clamped, in the features: the marginal effects.

        Where a feature with a power of at most 1 equals that of a training sample, the prediction has a kink or a
        cusp, and its derivative in that feature is NaN. In a category there is no derivative but a contrast: the
        prediction less that at the first level; in an ordered category less that at the level below, 0 at the lowest,
        and for an unknown or a missing value less that at the lowest.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            The queries.

        Returns
        -------
        ndarray of shape (n_queries, n_features) or (n_queries, n_outputs, n_features)
            In units of y by units of X.
        """
        array, columns = self._validate_columns(X)
        training, solution = self._fitted.training, self._fitted.solution
        features = training.features
        by_columns = solution.gradient(columns, self._n_threads) / features.repeat(training.scales)
        found = features.derivative(array, by_columns)
        here = solution.predict(columns, self._n_threads) if features.categories else None
        for k in features.categories:
            elsewhere = array.copy()
            elsewhere[:, k] = features.reference(k, array[:, k])
            found[..., k] = here - solution.predict(self._columns_of(elsewhere), self._n_threads)
        found = found * training.y_scales[:, np.newaxis]
        return found.astype(self._result_dtype(array)).reshape(*self._shape_of_y(len(array)), array.shape[1])


def _trend_coefficients(solution: Kriging, training: TrainingSet) -> np.ndarray:
    """The constant, and for a linear trend the slopes in the columns, (1 + c, k), in units of y and X."""
    slopes = solution.model.directions @ solution.beta[1:] * training.y_scales
    slopes /= training.features.repeat(training.scales)[:, np.newaxis]
    constant = training.y_center + training.y_scales * solution.beta[0] - training.center @ slopes
    return np.vstack([constant, slopes]) if solution.model.directions.size else constant[np.newaxis]
