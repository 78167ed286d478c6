"""Parametric attention pooling: Nadaraya-Watson and local lines whose distances are learned."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning

from sknw._base import BaseSmoother
from sknw._learning import STRUCTURES, Learned, Learner, Loss, learn, scalar_starts, without_the_useless
from sknw._pooling import Line
from sknw._selection import RIDGES, Criterion
from sknw._sklearn_compat import FitTask, Interval, StrOptions, _fit_context
from sknw._sums import ALGORITHMS
from sknw._training import TrainingSet
from sknw.kernels import NAMED_KERNELS, Kernel, resolve_kernel

# Learning is about this many passes over the data.
_PASSES_OF_LEARNING = 200


class AttentionPoolingRegressor(BaseSmoother):
    """Kernel regression that learns which features matter: parametric attention pooling.

    The prediction pools the training targets with attention weights,

        f(x) = sum_i a(x, x_i) y_i,   a(x, x_i) = K(u_i) w_i / sum_j K(u_j) w_j,   u_i = ||(x - x_i) w||,

    where w, a number for each feature or a matrix, is learned. With the Gaussian kernel a(x, x_i) = softmax_i(-||(x - x_i)
    w||^2 / 2), the parametric attention pooling of [1]_; with w = 1 / h it is :class:`NadarayaWatsonRegressor`. The loss is
    the mean squared error of predicting each training sample from all the others, and its minimum is found by L-BFGS-B
    with the exact gradient [2]_.

    Parameters
    ----------
    kernel : str, Kernel or callable, default="gaussian"
        As of :class:`NadarayaWatsonRegressor`. To learn w it must have a derivative, which of the named kernels all but
        "tophat" have.
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
        targets.
    ridge : float, array-like of shape (n_features,) or "loo", default="loo"
        Penalty on the slopes of local lines as of :class:`LocalLinearRegressor`, one for all features or one for each.
        "loo" learns it with w: one number with "scalar", else one for each feature, so that the slope along a feature
        that does not matter goes. Without effect for degree 0.
    penalty : float, default=0.0
        Weight of a penalty on w, non-negative: minimised is log L + penalty / n sum_k ||w_k s_k||, L the loss, n the
        number of samples, s_k the standard deviation of feature k and w_k what multiplies it.
    max_iter : int, default=200
        Iterations of one minimisation.
    tol : float, default=1e-6
        A minimisation ends when the logarithm of the loss falls by less, as a part of itself or of 1, in an iteration.
    outside : {"nearest", "mean", "nan", "raise"}, default="nearest"
        What a query gets that has no training sample in the support of the kernel, as of
        :class:`NadarayaWatsonRegressor`.
    validation_samples : int, "auto" or None, default="auto"
        How many training samples the loss and `loo_score_` are averaged over; each is predicted from all others. "auto"
        takes all, or as many as keep one pass below 4e8 kernel evaluations. None takes all.
    algorithm : str, default="auto"
        How sums are computed, not what they are, as of :class:`NadarayaWatsonRegressor`.
    n_jobs : int, default=None
        Threads, by joblib's conventions: None is 1 unless in a :obj:`joblib.parallel_config` context, -1 is all
        processors.
    warm_start : bool, default=False
        Whether `fit` starts from the w and ridge of the fit before, if there is one of the same structure and number of
        features.
    random_state : int, RandomState instance or None, default=None
        Draws the validation samples where not all are taken.
    verbose : int, default=0
        1 prints the loss of every iteration.

    Attributes
    ----------
    w_ : ndarray of shape (n_features,) or (n_features, r)
        What multiplies x.
    ridge_ : ndarray of shape (n_features,) or None
        The ridge used; None for degree 0.
    n_iter_ : int
        Iterations of the last minimisation; 0 where w was given.
    loss_path_ : ndarray of shape (n_iter_ + 1,)
        The loss at its start and after each iteration: mean squared leave-one-out error, in units of the variance of y
        and averaged over outputs. Empty where w was given.
    kernel_ : Kernel
        The kernel object used.
    loo_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Each training sample predicted from the others, leaving out one unit of its weight. NaN in rows that were not
        used for validation.
    loo_score_ : float
        The weighted R^2 of `loo_prediction_`.
    n_validation_ : int
        The number of samples that `loo_score_` rests on.
    X_train_ : ndarray of shape (n_samples, n_features)
        The keys.
    y_train_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        The values.
    sample_weight_ : ndarray of shape (n_samples,) or None
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Defined only when X has feature names that are all strings.

    See Also
    --------
    NadarayaWatsonRegressor : A bandwidth instead of w.
    LocalLinearRegressor : The same for degree 1.

    Notes
    -----
    Inputs may have any units: a feature in other units gets another w_k, and the same predictions.

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
        "kernel": [StrOptions(set(NAMED_KERNELS)), Kernel, callable],
        "w": [StrOptions(set(STRUCTURES)), Real, "array-like"],
        "rank": [Interval(Integral, 1, None, closed="left"), None],
        "degree": [Interval(Integral, 0, 1, closed="both")],
        "ridge": [StrOptions({"loo"}), Interval(Real, 0, None, closed="left"), "array-like"],
        "penalty": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "outside": [StrOptions({"nearest", "mean", "nan", "raise"})],
        "validation_samples": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left"), None],
        "algorithm": [StrOptions(set(ALGORITHMS))],
        "n_jobs": [Integral, None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        kernel: str | Kernel | Callable[[np.ndarray, np.ndarray], np.ndarray] = "gaussian",
        w: str | float | ArrayLike = "diagonal",
        *,
        rank: int | None = None,
        degree: int = 0,
        ridge: str | float | ArrayLike = "loo",
        penalty: float = 0.0,
        max_iter: int = 200,
        tol: float = 1e-6,
        outside: str = "nearest",
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
        self.validation_samples = validation_samples
        self.algorithm = algorithm
        self.n_jobs = n_jobs
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Keep the training samples and learn w.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs, the keys.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Training targets, the values.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; an integer weight is the same as so many equal rows, as of
            :class:`NadarayaWatsonRegressor`. None: all 1.

        Returns
        -------
        self : AttentionPoolingRegressor

        Raises
        ------
        ValueError
            If a parameter or the data are not as described; if `algorithm` cannot take the kernel.
        """
        before = (self.w_, self.ridge_) if self.warm_start and hasattr(self, "_smoother") else None
        X, y, sample_weight, training = self._validated(X, y, sample_weight)
        rows = self._validation_rows(len(training.X))
        learns = isinstance(self.w, str)
        task = FitTask(self, X, y, {"sample_weight": sample_weight}, has_steps=learns)
        kernel, line = resolve_kernel(self.kernel), self._line(training)
        if learns:
            learned = self._learn(training, kernel, rows, line, before, task)
            self.n_iter_, self.loss_path_ = len(learned.path) - 1, np.array(learned.path)
            w, ridge = (learned.w.T / training.scales).T, learned.ridge
        else:
            self.n_iter_, self.loss_path_ = 0, np.empty(0)
            w, ridge = self._fixed_w(X.shape[1]), self._fixed_ridge(X.shape[1])
        smoother = self._smoother_for_fit(training, kernel, w, rows, _PASSES_OF_LEARNING if learns else 1, line)
        return self
