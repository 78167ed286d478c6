"""Nadaraya-Watson regression: the kernel-weighted mean of the training targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sknw.estimators.bandwidth import BandwidthSmoother
from sknw.estimators.regression import RegressionMixin
from sknw.kernels import Kernel


class NadarayaWatsonRegressor(RegressionMixin, BandwidthSmoother):
    """Nadaraya-Watson kernel regression.

    The prediction is the mean of the training targets weighted by a kernel of the distance between query and sample::

        f(x) = sum_i a(x, x_i) y_i,   a(x, x_i) = K(u_i) w_i / sum_j K(u_j) w_j,   u_i = ||(x - x_i) / h||,

    where h, the bandwidth, divides feature by feature, and w_i are the sample weights (1 without) [1]_ [2]_. Read as
    attention, x is the query, the x_i are the keys, the y_i the values, and for the Gaussian kernel a(x, .) is the
    softmax of -u_i^2 / 2.

    Parameters
    ----------
    kernel : str, Kernel or callable, default="gaussian"
        One of "gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine", "biweight", "triweight",
        "tricube"; an object of :mod:`sknw.kernels`, whose parameters can be searched as ``kernel__<parameter>``; or a
        function ``kernel(A, B)`` that returns non-negative weights of shape (len(A), len(B)) for inputs already divided
        by the bandwidth, such as a kernel of :mod:`sklearn.gaussian_process.kernels`, which has no `gradient`. Of a
        function that does not fall with the distance alone, as periodic ones and dot products, no selector can choose
        the width, and `fit` warns.
    bandwidth : float, array-like of shape (n_features,), or str, default="loo"
        A positive number for every feature, in units of X; one for each feature, of which inf leaves a feature out of
        the distance; or a selector, which chooses one number c and sets ``h_k = c * s_k``, s_k the weighted standard
        deviation of feature k (1 for a constant one). In general s_k^2 is half the mean squared distance of two samples
        along feature k, for an ordered category at least that of equally frequent levels, and for every category at
        least half the squared distance of two levels, 1/2, so that rare levels borrow from the others. Selectors:

        * "loo": the smallest mean squared leave-one-out error;
        * "aicc": the improved Akaike criterion of Hurvich, Simonoff and Tsai [3]_;
        * "gcv": generalised cross-validation [4]_;
        * "scott", "silverman": rules of thumb for densities of normal data, c = n^(-1 / (d + 4)) and
          c = (n (d + 2) / 4)^(-1 / (d + 4)) of n samples. Quick, and blind to y.

        The first three search all bandwidths from a quarter of the smallest spacing of the data to four times their
        diameter. With compact kernels "gcv" can prefer a tiny bandwidth at which few pairs of samples are left within
        reach.
    outside : {"nearest", "mean", "nan", "raise"}, default="nearest"
        What a query gets that has no training sample in the support of the kernel: the target of its nearest sample
        (ties share), which is the limit of a widening kernel; the mean of all; NaN; or a ValueError. Leave-one-out does
        the same, except that it gives NaN instead of raising; with "nan" and "raise" a selector takes no bandwidth that
        leaves a sample without support.
    cv : int, splitter, iterable or None, default=None
        Who is left out when a training sample is predicted, by the criterion, in `loo_prediction_` and in intervals.
        None: the sample itself; with `groups` given to `fit`, its group. An int: its fold of
        :class:`~sklearn.model_selection.KFold`. A splitter of :mod:`sklearn.model_selection`,
        :class:`~sknw.model_selection.LeaveBlockOut` for rows in time, or an iterable of (train, test): the rows of test
        are predicted from those of train. "aicc" and "gcv" leave nothing out, and take no `cv`.
    categorical_features : array-like, "from_dtype" or None, default="from_dtype"
        Which features are categories: a mask, indices or names. "from_dtype": the columns of data frames whose dtype
        is category (pandas), Categorical or Enum (polars); of arrays none. Values may be strings or numbers. Two
        different levels are at distance 1, so that the Gaussian kernel is multiplied by
        ``lambda_k = exp(-1 / (2 h_k^2))`` for a mismatch, the kernel of Aitchison and Aitken [5]_ and of Li and
        Racine [6]_; with other kernels a mismatch counts in the distance. A missing value (NaN, None) is a level of its
        own. A level that `fit` has not seen is at the same distance from all levels.
    ordered_features : array-like or None, default=None
        Which features are ordered categories, as well as those with an ordered dtype (pandas, Enum of polars): a mask,
        indices or names. The squared distance of two levels is the number of steps between them. The order is that of
        the dtype, else of the values. Missing and unknown values are at the middle of the order, at the same distance
        from all levels; missing ones are one step aside.
    periodic_features : dict or None, default=None
        The period of each periodic feature, by name or index, in units of the feature, as ``{"hour": 24}``. Values
        become points on a circle, and their distance is the chord, which is their difference where that is small. The
        Gaussian kernel then is the von Mises kernel.
    scale : {"features", "common"}, default="features"
        What counts as one unit where features share a number, such as the c of a selector. "features": the s_k of each
        feature. "common": for all numbers one s, the root mean square of their standard deviations, for coordinates
        that share a unit, such as metres east and north. Their selected bandwidths are then equal, and turning the
        coordinates changes nothing. Categories and periodic features keep their own s_k.
    validation_samples : int, "auto" or None, default="auto"
        How many training samples, drawn among those that `cv` tests, the criterion and `loo_score_` are averaged over;
        each is predicted without what `cv` leaves out. "auto" takes all, or as many as keep one pass below about 4e8
        kernel evaluations: floor(4e8 / min(n, E)) of n samples where n min(n, E) > 4e8. A row takes E = n evaluations,
        except that with one feature E = 40 for the named kernels, and for the Gaussian E = 400 with two
        and 20 000 with three features, as such sums do not look at all pairs. None takes all.
    algorithm : {"auto", "dense", "fused", "sorted", "expansion", "pruned", "cluster"}, default="auto"
        How sums are computed, not what they are. "dense" is blocked NumPy and takes every kernel; "fused" is compiled
        brute force, many times faster, and takes every named kernel. The others do not look at every pair of query
        and sample: "sorted" takes one feature and the kernels of compact support or "exponential", "expansion" the
        Gaussian kernel with up to three features, "pruned" every named kernel with any number of features, and skips
        the samples that are too far away to change a sum.
        "cluster" sends shards of the samples to the workers of :obj:`joblib.parallel_config`'s backend, if these are on
        other machines, as those of dask. "auto" takes the one that it expects to be done first.
    n_jobs : int, default=None
        Threads, by joblib's conventions: None is 1 unless in a :obj:`joblib.parallel_config` context, -1 is all
        processors.
    random_state : int, RandomState instance or None, default=None
        Draws the validation samples where not all are taken. The random parts of the samples that the search for a
        bandwidth looks at first are always the same ones.
    verbose : int, default=0
        1 prints, of a prediction that is expected to take more than 5 seconds, how long that is, before it begins, and
        then how much of it is done.

    Attributes
    ----------
    bandwidth_ : ndarray of shape (n_features,)
        The bandwidth h of each feature, in units of X.
    bandwidth_search_ : BandwidthSearch or None
        What the selector saw; None where nothing was searched.
    kernel_ : Kernel
        The kernel object used.
    is_categorical_ : ndarray of shape (n_features,)
        Which features are categories, bool.
    categories_ : list of length n_features
        The levels of each category in an ndarray, a missing value last; None for numbers. Sorted values, or for an
        ordered dtype all levels of the dtype in its order.
    category_weight_ : ndarray of shape (n_features,)
        What a mismatch in a category, or one step between ordered levels, leaves of the weight of a sample,
        ``K(1 / h_k) / K(0)``; lambda_k for the Gaussian. 1: the category plays no part; 0: levels do not borrow from
        each other. NaN for numbers.
    loo_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Each training row predicted without what `cv` leaves out; the mean where it is tested several times, NaN where
        it is not tested or was not used for validation. A second :meth:`partial_fit` removes it, with `loo_score_` and
        `n_validation_`.
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
    LocalLinearRegressor : A local line instead of the mean, without bias at the edge of the data.
    AttentionPoolingRegressor : Learns what each feature is worth to the distance.
    sklearn.neighbors.KNeighborsRegressor : The mean of a fixed number of neighbours.
    sklearn.gaussian_process.GaussianProcessRegressor : Kernels as covariances, at a cost of n^3.

    References
    ----------
    .. [1] E. A. Nadaraya, "On estimating regression", Theory of Probability and Its Applications 9 (1964) 141-142.
    .. [2] G. S. Watson, "Smooth regression analysis", Sankhya A 26 (1964) 359-372.
    .. [3] C. M. Hurvich, J. S. Simonoff, C.-L. Tsai, "Smoothing parameter selection in nonparametric regression using
       an improved Akaike information criterion", Journal of the Royal Statistical Society B 60 (1998) 271-293.
    .. [4] P. Craven, G. Wahba, "Smoothing noisy data with spline functions", Numerische Mathematik 31 (1979) 377-403.
    .. [5] J. Aitchison, C. G. G. Aitken, "Multivariate binary discrimination by the kernel method", Biometrika 63
       (1976) 413-420.
    .. [6] J. S. Racine, Q. Li, "Nonparametric estimation of regression functions with both categorical and continuous
       data", Journal of Econometrics 119 (2004) 99-130.

    Examples
    --------
    >>> from sknw import NadarayaWatsonRegressor
    >>> from sknw.datasets import make_sine_power
    >>> X, y = make_sine_power(n_samples=200, random_state=0)
    >>> model = NadarayaWatsonRegressor().fit(X, y)
    >>> bool(model.loo_score_ > 0.6)
    True
    >>> model.predict(X[:3]).shape
    (3,)
    >>> weights = model.attention_weights_(X[:3])
    >>> weights.shape
    (3, 200)

    Categories, by their dtype or by name or position, need no encoder:

    >>> import numpy as np
    >>> X = np.array([["a", 0.1], ["a", 0.9], ["b", 0.2], ["b", 0.8]], dtype=object)
    >>> model = NadarayaWatsonRegressor(bandwidth=0.5, categorical_features=[0]).fit(X, [1.0, 1.2, 3.0, 3.1])
    >>> model.category_weight_.round(3)
    array([0.135,   nan])
    """

    def __init__(
        self,
        kernel: str | Kernel | Callable[[np.ndarray, np.ndarray], np.ndarray] = "gaussian",
        bandwidth: float | ArrayLike | str = "loo",
        *,
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
