"""Parametric attention pooling: Nadaraya-Watson and local lines whose distances are learned."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning

from sknw._kernel_sums.threads import one_blas_thread
from sknw._metric import optimizer
from sknw._metric.loss import Loss
from sknw._metric.optimizer import MetricFit, MetricOptimizer, Progress
from sknw._metric.parametrization import STRUCTURES
from sknw._selection.criterion import Criterion
from sknw._selection.rules import n_validation_rows
from sknw._sklearn_compat import FitTask, Interval, StrOptions
from sknw._smoothing.features import FeatureMap
from sknw._smoothing.smoother import LocalLinearSpec, Smoother
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import Validation
from sknw.estimators.base import BaseSmoother, as_numbers
from sknw.kernels import Kernel, resolve_kernel

# Learning is about 100 passes over the data, and one with the gradient takes as long as some without.
_PASSES_OF_LEARNING = 500


class AttentionPoolingRegressor(BaseSmoother):
    """Kernel regression that learns which features matter: parametric attention pooling.

    The prediction pools the training targets with attention weights::

        f(x) = sum_i a(x, x_i) y_i,   a(x, x_i) = K(u_i) w_i / sum_j K(u_j) w_j,   u_i = ||(x - x_i) w||,

    where w, a number for each feature or a matrix, is learned. With the Gaussian kernel the weights a(x, .) are the
    softmax of -u_i^2 / 2 = -||(x - x_i) w||^2 / 2, the parametric attention pooling of [1]_; with w = 1 / h the
    prediction is that of :class:`NadarayaWatsonRegressor`. The loss is the mean squared error of predicting each
    training sample from all the others, and L-BFGS-B minimises it by its exact gradient [2]_.

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
        targets. Where w and the ridge are learned and `slope_count_` is not 0, predictions are kept within the range of
        the training targets; left-out predictions, gradients and intervals are those before that.
    ridge : float, array-like of shape (n_features,) or "loo", default="loo"
        Penalty on the slopes of local lines as of :class:`LocalLinearRegressor`, one for all features or one for each.
        "loo" learns it with w: one number with "scalar", else one for each feature, so that the slope along a feature
        that does not matter goes. It also shrinks slopes where few samples are near, as there. Without effect for
        degree 0.
    penalty : float, default=3.0
        Non-negative; keeps many learned numbers from fitting the noise of few samples. Minimised is
        log L + (1 - 1/d) penalty / n P, L the loss, d and n the numbers of features and samples, P = sum_k ||w_k s_k||,
        s_k the standard deviation of feature k and w_k what multiplies it. With a ridge for each feature P also has
        0.01 times the squared deviations of the log ridges from their mean. "scalar" is not penalised.
    max_iter : int, default=200
        Iterations of one minimisation.
    tol : float, default=1e-6
        A minimisation ends when an iteration lowers the logarithm of the loss by less, relative to itself or to 1. At
        the end all small w are set to 0 if the logarithm of the loss, with its penalty, does not rise by more.
    outside : {"nearest", "mean", "nan", "raise"}, default="nearest"
        What a query without support gets, as of :class:`NadarayaWatsonRegressor`.
    cv : int, splitter, iterable or None, default=None
        Who is left out when a training sample is predicted, as of :class:`NadarayaWatsonRegressor`.
    categorical_features : array-like, "from_dtype" or None, default="from_dtype"
        Which features are categories, as of :class:`NadarayaWatsonRegressor`. A
        category has one w, whatever the number of its levels, and one ridge; a w that is a matrix takes numbers only.
    ordered_features : array-like or None, default=None
        Which features are ordered categories, as of :class:`NadarayaWatsonRegressor`.
    periodic_features : dict or None, default=None
        The period of each periodic feature, as of :class:`NadarayaWatsonRegressor`.
    validation_samples : int, "auto" or None, default="auto"
        How many training samples the loss and `loo_score_` are averaged over, as of :class:`NadarayaWatsonRegressor`;
        "auto" counts n kernel evaluations for each row, and so takes all of up to 20 000 samples.
    algorithm : str, default="auto"
        How sums are computed, not what they are, as of :class:`NadarayaWatsonRegressor`.
    n_jobs : int, default=None
        Threads, by joblib's conventions, as of :class:`NadarayaWatsonRegressor`.
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
    slope_count_ : float or None
        The c of the factor M / (M + c) of the slopes, as of :class:`LocalLinearRegressor`; None for degree 0.
    n_iter_ : int
        Iterations of the last minimisation, at least 1, also where w was given.
    loss_path_ : ndarray
        The loss at the start of the last minimisation and after each iteration: mean squared error of the left-out
        predictions, in units of the variance of y and averaged over outputs. Empty where w was given.
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
        Each training row predicted without what `cv` leaves out, NaN where there is no prediction.
    loo_score_ : float
        The weighted R^2 of `loo_prediction_`.
    n_validation_ : int
        The number of samples that `loo_score_` rests on.
    X_train_ : ndarray of shape (n_samples, n_features)
        The keys; of categories the position of each value in `categories_`.
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
        **BaseSmoother._parameter_constraints,
        "w": [StrOptions(set(STRUCTURES)), Real, "array-like"],
        "rank": [Interval(Integral, 1, None, closed="left"), None],
        "degree": [Interval(Integral, 0, 1, closed="both")],
        "ridge": [StrOptions({"loo"}), Interval(Real, 0, None, closed="left"), "array-like"],
        "penalty": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
    }

    w_: np.ndarray
    ridge_: np.ndarray | None
    slope_count_: float | None
    _structure: str | None  # that was learned

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
        self.validation_samples = validation_samples
        self.algorithm = algorithm
        self.n_jobs = n_jobs
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def _fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, groups: ArrayLike | None) -> Self:
        learns = isinstance(self.w, str)
        continues = self.warm_start and learns and hasattr(self, "_fitted") and self._structure == self.w
        before = (self.w_, self.ridge_) if continues else None
        data = self._validate_fit(X, y, sample_weight, groups)
        kernel, learned, training = self._kernel(learns), None, data.training
        n_auto = n_validation_rows(len(training), len(training.center), kernel, all_pairs=True)
        validation = self._validation(data, n_auto)
        metadata = {"sample_weight": data.sample_weight, "groups": groups}
        task = FitTask(self, data.X, data.y, metadata, has_steps=learns)
        if learns:
            with one_blas_thread():
                learned = self._learn(training, kernel, validation, before, task.step)
            w = training.in_units_of_x(learned.w)
        else:
            w = self._given_w(data.X.shape[1])
            if w.ndim == 2:
                _refuse_matrix(training.features, "w as a matrix")
        smoother = self._build_smoother(training, kernel, w, validation, _PASSES_OF_LEARNING if learns else 1, None)
        self.ridge_ = self.slope_count_ = None
        if self.degree == 1:
            self.ridge_ = learned.ridge if learned else self._ridge_for(smoother, training, validation)
            line, self.slope_count_ = LocalLinearSpec.of(training, self.ridge_), 0.0
            smoother = smoother.with_line(line)
            if isinstance(self.ridge, str):
                self.slope_count_ = Criterion("loo", smoother, training, validation).best_count(line.ridge)
                smoother = smoother.with_count(self.slope_count_)
        self._store_fit(data, smoother, validation)
        self.w_, self._structure = w, str(self.w) if learns else None
        self.loss_path_ = np.array(learned.path if learned else [])
        self.n_iter_ = max(len(self.loss_path_) - 1, 1)
        if learned and learned.at_bound:
            warnings.warn(
                "The learned w is at its upper bound, where the kernel is as narrow as the spacing of the samples: "
                "every prediction is nearly the target of the nearest ones. Leave-one-out takes evenly spaced, nearly "
                "noiseless samples for that; if there is noise, choose w, or a cv such as LeaveBlockOut.",
                UserWarning,
                stacklevel=4,  # the caller of fit, beyond its decorator
            )
        if learned and not learned.converged:
            warnings.warn(
                f"Learning w did not converge in max_iter={self.max_iter} iterations. Increase max_iter, or tol, or "
                "penalty.",
                ConvergenceWarning,
                stacklevel=4,  # the caller of fit, beyond its decorator
            )
        task.end()
        return self

    @property
    def _keeps_range(self) -> bool:
        return self._structure is not None and bool(self.slope_count_)

    def _fitted_metric(self) -> tuple[np.ndarray, float | np.ndarray | None]:
        return self.w_, self.ridge_

    def _kernel(self, learns: bool) -> Kernel:
        kernel = resolve_kernel(self.kernel)
        if learns and not kernel.is_differentiable:
            raise ValueError(
                f"kernel={self.kernel!r} has no derivative, which learning w takes; choose another kernel, such as "
                '"gaussian" or a subclass of sknw.kernels.Kernel with a method derivative(sq), or give w in numbers.'
            )
        return kernel

    def _learn(
        self,
        training: TrainingSet,
        kernel: Kernel,
        validation: Validation,
        before: tuple[np.ndarray, np.ndarray | None] | None,
        on_iteration: Callable[[], bool],
    ) -> MetricFit:
        """The learned w, of standardised inputs."""
        d, structure = len(training.scales), str(self.w)
        if structure in ("low_rank", "full"):
            _refuse_matrix(training.features, f'w="{structure}"')
        rank = d if structure == "full" else min(d, 3) if self.rank is None else self.rank
        if structure == "low_rank" and rank > d:
            raise ValueError(f"rank must be at most the number of features; got rank={rank} and n_features = {d}.")
        line = LocalLinearSpec.of(training, 0.0) if self.degree == 1 else None
        smoother = self._build_smoother(training, kernel, 1.0 / training.scales, validation, _PASSES_OF_LEARNING, line)
        learner = MetricOptimizer(
            loss=Loss(smoother, training, validation),
            given_ridge=None if isinstance(self.ridge, str) else self._given_ridge(d),
            penalty=0.0 if structure == "scalar" else self.penalty,
            max_iter=self.max_iter,
            tol=self.tol,
            progress=Progress(on_iteration, self.verbose),
        )
        shape = (d, rank) if structure in ("low_rank", "full") else (d,)
        if before is not None and before[0].shape == shape:
            ridge = np.full(d, optimizer.START_RIDGE) if before[1] is None else before[1]
            learned = learner.minimise((before[0].T * training.scales).T, ridge, structure)
        else:
            learned = optimizer.learn(learner, structure, rank)
        return optimizer.sharpen(learner, optimizer.prune_features(learner, learned))

    def _ridge_for(self, smoother: Smoother, training: TrainingSet, validation: Validation) -> np.ndarray:
        """The ridge at a given w."""
        if not isinstance(self.ridge, str):
            return self._given_ridge(len(training.scales))
        with_line = smoother.with_line(LocalLinearSpec.of(training, 0.0))
        return np.full(len(training.scales), Criterion("loo", with_line, training, validation, None).best_ridge(1.0))

    def _given_ridge(self, d: int) -> np.ndarray:
        ridge = as_numbers(self.ridge)
        least = 0.0 if ridge.ndim == 0 else np.finfo(np.float64).tiny
        if ridge.shape not in [(), (d,)] or not np.all(np.isfinite(ridge) & (ridge >= least)):
            raise ValueError(
                f'ridge must be "loo", a non-negative number, or {d} positive numbers, one for each feature; '
                f"got {self.ridge!r}."
            )
        return np.broadcast_to(ridge, (d,))

    def _given_w(self, d: int) -> np.ndarray:
        w = as_numbers(self.w)
        w = np.full(d, w) if w.ndim == 0 else w
        if w.ndim not in (1, 2) or len(w) != d or w.size == 0 or not np.all(np.isfinite(w)):
            raise ValueError(
                f"w must be one of {list(STRUCTURES)}, a number, {d} numbers, one for each feature, or a matrix of "
                f"{d} rows; got {self.w!r}."
            )
        return w


def _refuse_matrix(features: FeatureMap, name: str) -> None:
    """A matrix mixes features, and categories and periodic features have no direction to mix."""
    if not features.is_identity:
        raise ValueError(
            f"{name} mixes the features, which must be numbers then; there are categories or periodic features: choose "
            'w="diagonal" or "scalar", or give one number for each feature, or encode these features yourself and set '
            "categorical_features=None."
        )
