"""Local linear regression: at each query a line, fitted with the weights of a kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from sknw._sklearn_compat import Interval, StrOptions
from sknw.estimators.bandwidth import BandwidthSmoother
from sknw.estimators.regression import RegressionMixin
from sknw.kernels import Kernel


class LocalLinearRegressor(RegressionMixin, BandwidthSmoother):
    """Local linear kernel regression.

    At each query x the prediction is the value b0 of the weighted least-squares line that minimises::

        sum_i a(x, x_i) (y_i - b0 - b'(x_i - x))^2 + ridge sum_k s_k^2 b_k^2,

    with the attention weights a(x, x_i) of :class:`NadarayaWatsonRegressor` and s_k the standard deviation of feature k
    [1]_ [2]_. Where the weighted mean is pulled towards the inside at the edge of the data, and uphill where the
    samples are denser on one side, a line is not. The ridge keeps the slope in bounds where few samples carry it [3]_:
    0 is the plain local line, and a large one leaves the weighted mean. With ``ridge="loo"`` the slope is also
    multiplied by M / (M + c), M = sum_j K(u_j) w_j / K(0) the number of samples around the query (weights of mean 1,
    without what is left out), as if c samples more, spread as the others are, had no slope [4]_. c is 0.2, so that a
    query far from all samples gets the weighted mean, or less where leave-one-out says so (`slope_count_`).

    Parameters
    ----------
    kernel : str, Kernel or callable, default="gaussian"
        As of :class:`NadarayaWatsonRegressor`.
    bandwidth : float, array-like of shape (n_features,), or str, default="loo"
        A positive number for every feature, in units of X; one for each feature; or a selector, "loo", "aicc", "gcv",
        "scott" or "silverman", as of :class:`NadarayaWatsonRegressor`.
    ridge : float or "loo", default="loo"
        Penalty on the squared slope per standard deviation of each feature, in units of the (squared) standardised
        inputs; non-negative. "loo" chooses it together with the bandwidth, by the same criterion; by that of "loo"
        where the bandwidth is given or comes from a rule of thumb; and shrinks the slope by M / (M + c), with the c of
        `slope_count_`. With 0, and where the samples in reach do not determine the line, the prediction is the limit of
        a vanishing ridge; samples of less than 1e-26 of the largest weight are out of reach.
    outside : {"nearest", "mean", "nan", "raise"}, default="nearest"
        What a query without support gets, as of :class:`NadarayaWatsonRegressor`.
    cv : int, splitter, iterable or None, default=None
        Who is left out when a training sample is predicted, as of :class:`NadarayaWatsonRegressor`.
    categorical_features : array-like, "from_dtype" or None, default="from_dtype"
        Which features are categories, as of :class:`NadarayaWatsonRegressor`. In a line each level has its own height,
        and all levels of a category share one penalty.
    ordered_features : array-like or None, default=None
        Which features are ordered categories, as of :class:`NadarayaWatsonRegressor`.
    periodic_features : dict or None, default=None
        The period of each periodic feature, as of :class:`NadarayaWatsonRegressor`.
    scale : {"features", "common"}, default="features"
        Whether each number has its own standard deviation or all share one, for selectors and the ridge, as of
        :class:`NadarayaWatsonRegressor`.
    validation_samples : int, "auto" or None, default="auto"
        How many training samples the criterion and `loo_score_` are averaged over, as of
        :class:`NadarayaWatsonRegressor`. Where "auto" takes r = floor(4e8 / min(n, E)) > 2000 samples there, it takes
        2 r / c here, but at least 2000: a line of d columns sums c = 2 + 2 d + d (d + 1) / 2 columns in place of 2.
    algorithm : str, default="auto"
        How sums are computed, not what they are, as of :class:`NadarayaWatsonRegressor`.
    n_jobs : int, default=None
        Threads, by joblib's conventions, as of :class:`NadarayaWatsonRegressor`.
    random_state : int, RandomState instance or None, default=None
        Draws the validation samples where not all are taken, as of :class:`NadarayaWatsonRegressor`.
    verbose : int, default=0
        1 prints how far a long prediction is, as of :class:`NadarayaWatsonRegressor`.

    Attributes
    ----------
    bandwidth_ : ndarray of shape (n_features,)
        The bandwidth h of each feature, in units of X.
    bandwidth_search_ : BandwidthSearch or None
        What the selector saw, at each bandwidth with the best ridge; None where nothing was searched.
    ridge_ : float
        The ridge used.
    slope_count_ : float
        The c of the factor M / (M + c) of the slopes: the largest of 0.2, 0.02, 0.002 and 0 that multiplies the least
        of their mean squared errors by at most 1.2, and so 0 where y is a line; 0 for a ridge in numbers.
    kernel_ : Kernel
        The kernel object used.
    is_categorical_ : ndarray of shape (n_features,)
        Which features are categories, bool.
    categories_ : list of length n_features
        The levels of each category, None for numbers, as of :class:`NadarayaWatsonRegressor`.
    category_weight_ : ndarray of shape (n_features,)
        What a mismatch in a category leaves of the weight of a sample, as of :class:`NadarayaWatsonRegressor`.
    loo_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Each training row predicted without what `cv` leaves out, NaN where there is no prediction. A second
        :meth:`partial_fit` removes it, with `loo_score_` and `n_validation_`.
    loo_score_ : float
        The weighted R^2 of `loo_prediction_`.
    n_validation_ : int
        The number of samples that `loo_score_` rests on.
    X_train_ : ndarray of shape (n_samples, n_features)
        The keys; of categories the position of each value in `categories_`. A dask array, if its rows stayed on the
        workers of a cluster.
    y_train_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        The values.
    sample_weight_ : ndarray of shape (n_samples,) or None
        The sample weights; None without.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        The names of the features; defined only when X has feature names that are all strings.

    See Also
    --------
    NadarayaWatsonRegressor : The weighted mean, which needs no line and never leaves the range of y.
    AttentionPoolingRegressor : Learns what each feature is worth to the distance; with ``degree=1`` it pools lines.

    References
    ----------
    .. [1] W. S. Cleveland, "Robust locally weighted regression and smoothing scatterplots", Journal of the American
       Statistical Association 74 (1979) 829-836.
    .. [2] J. Fan, "Design-adaptive nonparametric regression", Journal of the American Statistical Association 87 (1992)
       998-1004.
    .. [3] B. Seifert, T. Gasser, "Finite-sample variance of local polynomials: analysis and solutions", Journal of the
       American Statistical Association 91 (1996) 267-275.
    .. [4] A. Zellner, "On assessing prior distributions and Bayesian regression analysis with g-prior distributions",
       in: Bayesian inference and decision techniques, North-Holland 1986, 233-243.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw import LocalLinearRegressor
    >>> X = np.linspace(0.0, 1.0, 50)[:, np.newaxis]
    >>> model = LocalLinearRegressor(bandwidth=0.2, ridge=0.0).fit(X, 3.0 * X[:, 0] + 1.0)
    >>> model.predict([[0.0], [0.5], [1.5]])  # a straight line, also at the edge and beyond
    array([1. , 2.5, 5.5])
    """

    _parameter_constraints: ClassVar[dict] = {
        **BandwidthSmoother._parameter_constraints,
        "ridge": [StrOptions({"loo"}), Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        kernel: str | Kernel | Callable[[np.ndarray, np.ndarray], np.ndarray] = "gaussian",
        bandwidth: float | ArrayLike | str = "loo",
        *,
        ridge: float | str = "loo",
        outside: str = "nearest",
        cv: Any = None,
        categorical_features: ArrayLike | str | None = "from_dtype",
        ordered_features: ArrayLike | None = None,
        periodic_features: Mapping[str | int, float] | None = None,
        scale: str = "features",
        validation_samples: int | str | None = "auto",
        algorithm: str = "auto",
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.ridge = ridge
        self.outside = outside
        self.cv = cv
        self.categorical_features = categorical_features
        self.ordered_features = ordered_features
        self.periodic_features = periodic_features
        self.scale = scale
        self.validation_samples = validation_samples
        self.algorithm = algorithm
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
