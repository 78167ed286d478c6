"""Classifiers: class probabilities from the attention of the regressors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from sknw._selection.rules import RULES
from sknw._sklearn_compat import Interval, StrOptions
from sknw._smoothing.datafit import LogLoss
from sknw.estimators.bandwidth import BandwidthSmoother
from sknw.estimators.classification import ClassificationMixin
from sknw.estimators.metric import MetricSmoother
from sknw.kernels import Kernel


class NadarayaWatsonClassifier(ClassificationMixin, BandwidthSmoother):
    """Kernel classification: class probabilities by the weights of Nadaraya-Watson regression.

    The probability of a class is the weight of its training samples around the query, a little smoothed::

        p_c(x) = (1 - s) sum_i a(x, x_i) 1[y_i = c] + s / C,   a(x, x_i) = K(u_i) w_i / sum_j K(u_j) w_j,

    where u_i = ||(x - x_i) / h||, h the bandwidth, w_i the sample weights, and s, the smoothing, a share that the C
    classes divide evenly, as the kernel of Aitchison and Aitken [1]_ for the class gives it. The bandwidth has the
    smallest log loss of samples that are predicted from all others, and s the smallest at this bandwidth.

    Parameters
    ----------
    kernel : str, Kernel or callable, default="gaussian"
        As of :class:`NadarayaWatsonRegressor`.
    bandwidth : float, array-like of shape (n_features,), or str, default="loo"
        A positive number for every feature, in units of X; one for each feature; or a selector, which chooses one
        number c and sets ``h_k = c * s_k``, s_k the weighted standard deviation of feature k: "loo", the smallest
        leave-one-out log loss; "scott" or "silverman", the rules of thumb of :class:`NadarayaWatsonRegressor`, which
        are blind to y. The criteria "aicc" and "gcv" are defined for squared errors only.
    smoothing : float or "loo", default="loo"
        The share s of the uniform distribution, at least 0 and below 1. With 0 a class without any weight has
        probability 0, and a leave-one-out log loss may be infinite. "loo" takes the smallest leave-one-out log loss of
        all samples and of one more, of mean weight, whose class had probability 0; so s is positive although no sample
        may have been predicted wrong.
    outside : {"nearest", "mean", "nan", "raise"}, default="nearest"
        What a query gets that has no training sample in the support of the kernel: the class of its nearest sample
        (ties share); the frequencies of the classes; NaN, where `predict` raises; or a ValueError.
    cv : int, splitter, iterable or None, default=None
        Who is left out when a training sample is predicted, as of :class:`NadarayaWatsonRegressor`; an int stands for
        :class:`~sklearn.model_selection.StratifiedKFold`. A class that the others do not have keeps probability
        s / C.
    categorical_features : array-like, "from_dtype" or None, default="from_dtype"
        Which features are categories, as of :class:`NadarayaWatsonRegressor`.
    ordered_features : array-like or None, default=None
        Which features are ordered categories, as of :class:`NadarayaWatsonRegressor`.
    periodic_features : dict or None, default=None
        The period of each periodic feature, as of :class:`NadarayaWatsonRegressor`.
    scale : {"features", "common"}, default="features"
        Whether each number has its own standard deviation or all share one, as of :class:`NadarayaWatsonRegressor`.
    validation_samples : int, "auto" or None, default="auto"
        How many training samples the criterion and `loo_log_loss_` are averaged over, as of
        :class:`NadarayaWatsonRegressor`.
    algorithm : str, default="auto"
        How sums are computed, not what they are, as of :class:`NadarayaWatsonRegressor`.
    n_jobs : int, default=None
        Threads, by joblib's conventions, as of :class:`NadarayaWatsonRegressor`.
    random_state : int, RandomState instance or None, default=None
        Draws the validation samples where not all are taken.
    verbose : int, default=0
        1 prints how far a long prediction is, as of :class:`NadarayaWatsonRegressor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels of the classes, sorted.
    bandwidth_ : ndarray of shape (n_features,)
        The bandwidth h of each feature, in units of X.
    bandwidth_search_ : BandwidthSearch or None
        What the selector saw; None where nothing was searched. Scores include the sample that was predicted with
        probability 0 (see `smoothing`).
    smoothing_ : float
        The smoothing s.
    loo_proba_ : ndarray of shape (n_samples, n_classes)
        Class probabilities of each training row, predicted without what `cv` leaves out; the mean where it is tested
        several times, NaN where it is not tested or was not used for validation. A second :meth:`partial_fit` removes
        it, with `loo_log_loss_` and `n_validation_`.
    loo_log_loss_ : float
        The weighted log loss of `loo_proba_`, in nats.
    kernel_ : Kernel
        The kernel object used.
    is_categorical_ : ndarray of shape (n_features,)
        Which features are categories, bool.
    categories_ : list of length n_features
        The levels of each category, None for numbers, as of :class:`NadarayaWatsonRegressor`.
    category_weight_ : ndarray of shape (n_features,)
        What a mismatch in a category leaves of the weight of a sample, as of :class:`NadarayaWatsonRegressor`.
    n_validation_ : int
        The number of samples that `loo_log_loss_` rests on.
    X_train_ : ndarray of shape (n_samples, n_features)
        The keys; of categories the position of each value in `categories_`. A dask array, if its rows stayed on the
        workers of a cluster.
    y_train_ : ndarray of shape (n_samples,)
        The classes.
    sample_weight_ : ndarray of shape (n_samples,) or None
        The sample weights; None without.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        The names of the features; defined only when X has feature names that are all strings.

    See Also
    --------
    AttentionPoolingClassifier : Learns what each feature is worth to the distance.
    sklearn.neighbors.KNeighborsClassifier : Votes of a fixed number of neighbours.

    References
    ----------
    .. [1] J. Aitchison, C. G. G. Aitken, "Multivariate binary discrimination by the kernel method", Biometrika 63
       (1976) 413-420.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sknw import NadarayaWatsonClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = NadarayaWatsonClassifier().fit(X, y)
    >>> model.predict_proba(X[:2]).shape
    (2, 3)
    >>> bool(model.loo_log_loss_ < 0.2)
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **BandwidthSmoother._parameter_constraints,
        "bandwidth": [StrOptions({*LogLoss.criteria, *RULES}), Interval(Real, 0, None, closed="neither"), "array-like"],
        **ClassificationMixin._class_constraints,
    }

    def __init__(
        self,
        kernel: str | Kernel | Callable[[np.ndarray, np.ndarray], np.ndarray] = "gaussian",
        bandwidth: float | ArrayLike | str = "loo",
        *,
        smoothing: float | str = "loo",
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
        self.smoothing = smoothing
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


class AttentionPoolingClassifier(ClassificationMixin, MetricSmoother):
    """Kernel classification that learns which features matter: attention pooling of classes.

    The probability of a class is the attention that the query gives to its training samples, a little smoothed::

        p_c(x) = (1 - s) sum_i a(x, x_i) 1[y_i = c] + s / C,   a(x, x_i) = K(u_i) w_i / sum_j K(u_j) w_j,

    where u_i = ||(x - x_i) w||, and w, a number for each feature or a matrix, is learned; with w = 1 / h the
    probabilities are those of :class:`NadarayaWatsonClassifier`. What is minimised is the log loss of samples that are
    predicted from all others, as neighbourhood component analysis [1]_ does for their probabilities, here with a
    smoothing s [2]_ and a penalty, by L-BFGS-B and the exact gradient.

    Parameters
    ----------
    kernel : str, Kernel or callable, default="gaussian"
        As of :class:`AttentionPoolingRegressor`.
    w : {"scalar", "diagonal", "low_rank", "full"}, float or array-like, default="diagonal"
        What to learn, or what to use, as of :class:`AttentionPoolingRegressor`.
    rank : int, default=None
        The number of columns of a "low_rank" w. None: 3, or n_features where that is smaller.
    smoothing : float or "loo", default="loo"
        The share s of the uniform distribution, as of :class:`NadarayaWatsonClassifier`; "loo" finds the best at every
        w.
    penalty : float, default=3.0
        Non-negative; keeps many learned numbers from fitting the noise of few samples. Minimised is
        L + (1 - 1/d) penalty / n P, L the log loss, d and n the numbers of features and samples, P = sum_k ||w_k s_k||,
        s_k the standard deviation of feature k and w_k what multiplies it. "scalar" is not penalised.
    max_iter : int, default=200
        Iterations of one minimisation.
    tol : float, default=1e-6
        A minimisation ends when an iteration lowers the loss by less, relative to itself or to 1. At the end all small
        w are set to 0 if the loss, with its penalty, does not rise by more.
    outside : {"nearest", "mean", "nan", "raise"}, default="nearest"
        What a query without support gets, as of :class:`NadarayaWatsonClassifier`.
    cv : int, splitter, iterable or None, default=None
        Who is left out when a training sample is predicted, as of :class:`NadarayaWatsonClassifier`.
    categorical_features : array-like, "from_dtype" or None, default="from_dtype"
        Which features are categories, as of :class:`NadarayaWatsonRegressor`; a w that is a matrix takes numbers only.
    ordered_features : array-like or None, default=None
        Which features are ordered categories, as of :class:`NadarayaWatsonRegressor`.
    periodic_features : dict or None, default=None
        The period of each periodic feature, as of :class:`NadarayaWatsonRegressor`.
    scale : {"features", "common"}, default="features"
        Whether each number has its own standard deviation or all share one, as of :class:`NadarayaWatsonRegressor`.
    validation_samples : int, "auto" or None, default="auto"
        How many training samples the loss and `loo_log_loss_` are averaged over, and how w is learned from many
        samples, as of :class:`AttentionPoolingRegressor`.
    algorithm : str, default="auto"
        How sums are computed, not what they are, as of :class:`NadarayaWatsonRegressor`.
    n_jobs : int, default=None
        Threads, by joblib's conventions, as of :class:`NadarayaWatsonRegressor`.
    warm_start : bool, default=False
        Whether `fit` starts from the w of the fit before, if there is one of the same structure and number of features
        that is not 0.
    random_state : int, RandomState instance or None, default=None
        Draws the validation samples where not all are taken.
    verbose : int, default=0
        1 prints the loss of every iteration, and how far a long prediction is, as of
        :class:`NadarayaWatsonRegressor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels of the classes, sorted.
    w_ : ndarray of shape (n_features,) or (n_features, r)
        What multiplies x.
    smoothing_ : float
        The smoothing s.
    n_iter_ : int
        Iterations of the last minimisation, at least 1, also where w was given.
    loss_path_ : ndarray
        The loss at the start of the last minimisation and after each iteration: the log loss of the left-out
        predictions, and, with smoothing="loo", of the sample that was predicted with probability 0. Empty where w was
        given.
    loo_proba_ : ndarray of shape (n_samples, n_classes)
        Class probabilities of each training row, predicted without what `cv` leaves out, NaN where there is no
        prediction. A second :meth:`partial_fit` removes it, with `loo_log_loss_` and `n_validation_`.
    loo_log_loss_ : float
        The weighted log loss of `loo_proba_`, in nats.
    kernel_ : Kernel
        The kernel object used.
    is_categorical_ : ndarray of shape (n_features,)
        Which features are categories, bool.
    categories_ : list of length n_features
        The levels of each category, None for numbers, as of :class:`NadarayaWatsonRegressor`.
    category_weight_ : ndarray of shape (n_features,)
        What a mismatch in a category leaves of the weight of a sample, as of :class:`AttentionPoolingRegressor`.
    n_validation_ : int
        The number of samples that `loo_log_loss_` rests on.
    X_train_ : ndarray of shape (n_samples, n_features)
        The keys; of categories the position of each value in `categories_`. A dask array, if its rows stayed on the
        workers of a cluster.
    y_train_ : ndarray of shape (n_samples,)
        The classes.
    sample_weight_ : ndarray of shape (n_samples,) or None
        The sample weights; None without.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        The names of the features; defined only when X has feature names that are all strings.

    See Also
    --------
    NadarayaWatsonClassifier : A bandwidth instead of w.
    AttentionPoolingRegressor : The same for numbers.
    sklearn.neighbors.NeighborhoodComponentsAnalysis : Learns a matrix w, and predicts nothing.

    References
    ----------
    .. [1] J. Goldberger, S. Roweis, G. Hinton, R. Salakhutdinov, "Neighbourhood components analysis", Advances in
       Neural Information Processing Systems 17 (2005) 513-520.
    .. [2] J. Aitchison, C. G. G. Aitken, "Multivariate binary discrimination by the kernel method", Biometrika 63
       (1976) 413-420.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sknw import AttentionPoolingClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = AttentionPoolingClassifier().fit(X, y)
    >>> bool(model.w_[2:].min() > model.w_[:2].max())  # petals tell more than sepals
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **MetricSmoother._parameter_constraints,
        **ClassificationMixin._class_constraints,
    }

    def __init__(
        self,
        kernel: str | Kernel | Callable[[np.ndarray, np.ndarray], np.ndarray] = "gaussian",
        w: str | float | ArrayLike = "diagonal",
        *,
        rank: int | None = None,
        smoothing: float | str = "loo",
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
        self.smoothing = smoothing
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
