"""Parametric attention pooling: Nadaraya-Watson and local lines whose distances are learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from sknw._sklearn_compat import Interval, StrOptions
from sknw._smoothing.smoother import Smoother
from sknw._smoothing.training import TrainingSet
from sknw.estimators.base import LeftOut
from sknw.estimators.metric import MetricSmoother
from sknw.estimators.regression import RegressionMixin, keeps_range
from sknw.kernels import Kernel


class AttentionPoolingRegressor(RegressionMixin, MetricSmoother):
    """Kernel regression that learns which features matter: parametric attention pooling.

    The prediction pools the training targets with attention weights::

        f(x) = sum_i a(x, x_i) y_i,   a(x, x_i) = K(u_i) w_i / sum_j K(u_j) w_j,   u_i = ||(x - x_i) w||,

    where w, a number for each feature or a matrix, is learned. With the Gaussian kernel the weights a(x, .) are the
    softmax of -u_i^2 / 2 = -||(x - x_i) w||^2 / 2, the parametric attention pooling of [1]_; with w = 1 / h the
    prediction is that of :class:`NadarayaWatsonRegressor`. The loss is the mean squared error of predicting each
    training sample from all the others, and L-BFGS-B minimises it by its exact gradient [2]_; with many features, that
    of lines is minimised by Gauss-Newton steps.

    Parameters
    ----------
    kernel : str, Kernel or callable, default="gaussian"
        As of :class:`NadarayaWatsonRegressor`. To learn w it must have a derivative, which of the named kernels all but
        "tophat" have; a callable has none, and takes w in numbers.
    w : {"scalar", "diagonal", "low_rank", "full"}, float or array-like, default="diagonal"
        What to learn:

        * "scalar": one number c, w_k = c / s_k with s_k the standard deviation of feature k;
        * "diagonal": one number w_k >= 0 for each feature; 0 switches the feature off;
        * "low_rank": a matrix of shape (n_features, rank), u_i = ||(x - x_i) w||;
        * "full": a matrix of shape (n_features, n_features), which learns most and, from few samples, too much;

        or what to use: a number, one for each feature, or a matrix of shape (n_features, r).
    rank : int, default=None
        The number of columns of a "low_rank" w. None: 3, or n_features where that is smaller.
    degree : {0, 1}, default=0
        0 pools the targets, 1 local lines as :class:`LocalLinearRegressor` does, which is more accurate on smooth
        targets. Where w and the ridge are learned, predictions are kept within the range of the training targets,
        unless this would multiply the mean squared error of the left-out predictions by more than 1.2, as for a target
        that is nearly a line. Left-out predictions, gradients and intervals are those before that. There, isolated
        queries also have a wider kernel, if it is positive everywhere; the Notes say how wide.
    ridge : float, array-like of shape (n_features,) or "loo", default="loo"
        Penalty on the slopes of local lines as of :class:`LocalLinearRegressor`, one for all features or one for each.
        "loo" learns it with w: one number with "scalar", else one for each feature, so that the slope along a feature
        that does not matter goes. It also shrinks slopes where few samples are near, as there. With more than 15
        features and w="diagonal" slopes that hardly change the loss are taken out: their ridge is infinite. An
        array-like may have infinite numbers, too. A 0 beside other numbers counts as a very small one, between 1e-14
        and 1e-8. Without effect for degree 0.
    penalty : float, default=3.0
        Non-negative; keeps many learned numbers from fitting the noise of few samples. Minimised is
        log L + (1 - 1/d) penalty / n P, L the loss, d and n the numbers of features and samples, P = sum_k ||w_k s_k||,
        s_k the standard deviation of feature k and w_k what multiplies it; for degree 1 this sum counts sqrt(d) times.
        With a ridge for each feature P also has 0.01 times the squared deviations of the log ridges from their mean.
        "scalar" is not penalised.
    max_iter : int, default=200
        Iterations of one minimisation.
    tol : float, default=1e-6
        A minimisation ends when an iteration lowers the logarithm of the loss by less, relative to itself or to 1; of
        lines of more than 15 features, also when it is less than 0.3 / n. At the end all small w are set to 0 if the
        logarithm of the loss, with its penalty, does not rise by more; a w of any size if it is the only number that is
        learned, from all samples.
    outside : {"nearest", "mean", "nan", "raise"}, default="nearest"
        What a query without support gets, as of :class:`NadarayaWatsonRegressor`.
    cv : int, splitter, iterable or None, default=None
        Who is left out when a training sample is predicted, as of :class:`NadarayaWatsonRegressor`.
    categorical_features : array-like, "from_dtype" or None, default="from_dtype"
        Which features are categories, as of :class:`NadarayaWatsonRegressor`. A category has one w, whatever the number
        of its levels, and one ridge; a w that is a matrix takes numbers only.
    ordered_features : array-like or None, default=None
        Which features are ordered categories, as of :class:`NadarayaWatsonRegressor`.
    periodic_features : dict or None, default=None
        The period of each periodic feature, as of :class:`NadarayaWatsonRegressor`.
    scale : {"features", "common"}, default="features"
        Whether each number has its own standard deviation or all share one, for ``w="scalar"``, the penalty and the
        ridge, as of :class:`NadarayaWatsonRegressor`.
    validation_samples : int, "auto" or None, default="auto"
        How many training samples, drawn among those that `cv` tests, the loss and `loo_score_` are averaged over; each
        is predicted without what `cv` leaves out. "auto" learns w and the ridge from 2000 + 50 p samples, at most
        10 000, for the p numbers of w, or from all n if these are fewer. Of more they are drawn at random, groups as a
        whole where there are enough, and w and the ridge are then multiplied by the power of n that leave-one-out of
        eight times as many, or of all, shows to suit. `loo_score_` rests on max(4e8 / n, 400) samples, on all while n
        is at most 20 000, each predicted from all others. With numbers for w it rests on 4e8 / n. Lines along c
        columns (a category of L levels has L - 1) sum q = 2 + 2 c + c (c + 1) / 2 numbers of each sample; with c > 11
        the score rests on max(4e10 / (n q), 400) samples where that is less. None takes all, and an int that
        many, both for learning and for the score.
    algorithm : str, default="auto"
        How sums are computed, not what they are, as of :class:`NadarayaWatsonRegressor`.
    n_jobs : int, default=None
        Threads, by joblib's conventions, as of :class:`NadarayaWatsonRegressor`.
    warm_start : bool, default=False
        Whether `fit` starts from the w and ridge of the fit before, if there is one of the same structure and number of
        features whose w is not 0.
    random_state : int, RandomState instance or None, default=None
        Draws the validation samples where not all are taken. Which of many samples w is learned from does not depend on
        it.
    verbose : int, default=0
        1 prints the loss of every iteration, and of how many samples it is; and how far a long prediction is, as of
        :class:`NadarayaWatsonRegressor`.

    Attributes
    ----------
    w_ : ndarray of shape (n_features,) or (n_features, r)
        What multiplies x.
    ridge_ : ndarray of shape (n_features,) or None
        The ridge used, infinite for features without a slope; None for degree 0.
    slope_count_ : float or None
        The c of the factor M / (M + c) of the slopes, as of :class:`LocalLinearRegressor`; None for degree 0.
    n_iter_ : int
        Iterations of the last minimisation, at least 1, also where w was given.
    loss_path_ : ndarray
        The loss at the start of the last minimisation and after each iteration: mean squared error of the left-out
        predictions, in units of the variance of y and averaged over outputs. It is that of the samples that w was
        learned from, predicted from each other. Empty where w was given.
    kernel_ : Kernel
        The kernel object used.
    is_categorical_ : ndarray of shape (n_features,)
        Which features are categories, bool.
    categories_ : list of length n_features
        The levels of each category, None for numbers, as of :class:`NadarayaWatsonRegressor`.
    category_weight_ : ndarray of shape (n_features,)
        What a mismatch in a category leaves of the weight of a sample, K(w_k) / K(0), ``exp(-w_k^2 / 2)`` for the
        Gaussian: 1 where the category plays no part. NaN for numbers.
    loo_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Each training row predicted without what `cv` leaves out, NaN where there is no prediction. A second
        :meth:`partial_fit` removes it, with `loo_score_` and `n_validation_`.
    loo_score_ : float
        The weighted R^2 of `loo_prediction_`, at the w that is used, whatever samples it was learned from.
    n_validation_ : int
        The number of samples that `loo_score_` rests on, each predicted from all others that `cv` keeps.
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
    NadarayaWatsonRegressor : A bandwidth instead of w.
    LocalLinearRegressor : The same for degree 1.

    Notes
    -----
    Inputs may have any units: a feature in other units gets another w_k, and the same predictions.

    Where local lines learn w and the ridge, a query is isolated if M = sum_j K(u_j) w_j / K(0), the number of samples
    around it (weights of mean 1), is below 1. Its distances u_j are then divided by the number s for which M is 1, or
    half of all samples if these are fewer than 2. Predictions, left-out predictions, attention weights, gradients and
    intervals all use this kernel, also after `partial_fit`. w and the ridge are learned without it.

    References
    ----------
    .. [1] A. Zhang, Z. C. Lipton, M. Li, A. J. Smola, "Dive into Deep Learning", Cambridge University Press 2023,
       chapter on attention pooling by similarity.
    .. [2] K. Q. Weinberger, G. Tesauro, "Metric learning for kernel regression", AISTATS 2007, 612-619.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw import AttentionPoolingRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, size=(300, 3))
    >>> y = np.sin(4 * X[:, 0]) + 0.1 * rng.normal(size=300)  # of three features one matters
    >>> model = AttentionPoolingRegressor().fit(X, y)
    >>> bool(model.w_[0] > 20 * model.w_[1:].max())
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **MetricSmoother._parameter_constraints,
        "degree": [Interval(Integral, 0, 1, closed="both")],
        "ridge": [StrOptions({"loo"}), Interval(Real, 0, None, closed="left"), "array-like"],
    }

    slope_count_: float | None

    def __init__(
        self,
        kernel: str | Kernel | Callable[[np.ndarray, np.ndarray], np.ndarray] = "gaussian",
        w: str | float | ArrayLike = "diagonal",
        *,
        rank: int | None = None,
        degree: int = 0,
        ridge: str | float | ArrayLike = "loo",
        penalty: float = 3.0,
        max_iter: int = 200,
        tol: float = 1e-6,
        outside: str = "nearest",
        cv: Any = None,
        categorical_features: ArrayLike | str | None = "from_dtype",
        ordered_features: ArrayLike | None = None,
        periodic_features: Mapping[str | int, float] | None = None,
        scale: str = "features",
        validation_samples: int | str | None = "auto",
        algorithm: str = "auto",
        n_jobs: int | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.kernel = kernel
        self.w = w
        self.rank = rank
        self.degree = degree
        self.ridge = ridge
        self.penalty = penalty
        self.max_iter = max_iter
        self.tol = tol
        self.outside = outside
        self.cv = cv
        self.categorical_features = categorical_features
        self.ordered_features = ordered_features
        self.periodic_features = periodic_features
        self.scale = scale
        self.validation_samples = validation_samples
        self.algorithm = algorithm
        self.n_jobs = n_jobs
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def _store_left_out(self, training: TrainingSet, smoother: Smoother, left_out: LeftOut) -> None:
        super()._store_left_out(training, smoother, left_out)
        chooses = isinstance(self.w, str) and isinstance(self._ridge, str)
        self._keeps_range = chooses and keeps_range(training.values, left_out.of_samples, training.sample_weight)
