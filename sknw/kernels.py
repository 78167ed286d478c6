"""Kernels: the weight of a training sample as a function of its scaled distance to the query.

With u = ||(x - x_i) / h|| the scaled distance, a kernel K gives sample i the weight K(u). Only ratios of weights matter
to a smoother, so kernels are not normalised: K(0) = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import NamedTuple, cast

import numpy as np
from sklearn.base import BaseEstimator, clone

from sknw._sklearn_compat import NotebookViewMixin

__all__ = [
    "Biweight",
    "Cosine",
    "Epanechnikov",
    "Exponential",
    "Gaussian",
    "Kernel",
    "Linear",
    "PowerExponential",
    "TopHat",
    "Tricube",
    "Triweight",
]

# A sample at u = 1 belongs to the support. Grid data with a bandwidth that is a multiple of the spacing put many
# samples there, up to rounding; this margin, far above rounding and far below any spacing of data, keeps them inside.
EDGE = 1.0 + 1e-10


class ExponentialForm(NamedTuple):
    """K(u) = exp(-rate u^power)."""

    rate: float
    power: float


class PolynomialForm(NamedTuple):
    """K(u) = (1 - u^power)^exponent for u <= 1, else 0."""

    power: int
    exponent: int


class CosineForm(NamedTuple):
    """K(u) = cos(pi u / 2) for u <= 1, else 0."""


class Kernel(NotebookViewMixin, BaseEstimator):
    """Base class of kernels: subclass it and write `profile` to add one.

    A kernel is a small estimator: its parameters are the arguments of ``__init__``, so that ``kernel__<parameter>`` can
    be searched, cloned and printed as any other parameter. Parameters are not validated in ``__init__``; `profile` may
    raise ValueError.

    Attributes
    ----------
    support : float
        The largest scaled distance u that gets a positive weight; ``inf`` unless the class says otherwise, which a
        kernel that cuts off should: a query with no training sample in a finite support is handled by the estimator's
        `outside`, and one that an unbounded kernel gives no weight gets the nearest sample.
    form : ExponentialForm, PolynomialForm, CosineForm or None
        The formula of the kernel in terms that the compiled engine knows. A kernel without one works everywhere, at the
        speed of NumPy.

    See Also
    --------
    Gaussian : A kernel that reaches everywhere.
    Epanechnikov : A kernel that ends at the bandwidth.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw import NadarayaWatsonRegressor
    >>> from sknw.kernels import Kernel
    >>> class Cauchy(Kernel):
    ...     def profile(self, sq):
    ...         return 1.0 / (1.0 + sq)
    >>> model = NadarayaWatsonRegressor(Cauchy(), bandwidth=1.0).fit([[0.0], [1.0]], [0.0, 3.0])
    >>> model.predict([[0.0]])
    array([1.])
    """

    support: float = np.inf
    form: ExponentialForm | PolynomialForm | CosineForm | None = None

    def profile(self, sq: np.ndarray) -> np.ndarray:
        """Weight as a function of the squared scaled distance.

        Parameters
        ----------
        sq : ndarray of any shape
            Squared scaled distances, u^2 = ||(x - x_i) / h||^2.

        Returns
        -------
        ndarray of the same shape
            The weights K(u), non-negative.

        Raises
        ------
        NotImplementedError
            If the class does not say what its profile is.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement profile(sq).")

    def log_profile(self, sq: np.ndarray) -> np.ndarray:
        """Logarithm of `profile`, exact also where `profile` underflows if the class says how.

        Parameters
        ----------
        sq : ndarray of any shape
            Squared scaled distances.

        Returns
        -------
        ndarray of the same shape
            The logarithms log K(u), ``-inf`` where the weight is zero.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.profile(sq), dtype=np.float64)

    @property
    def is_differentiable(self) -> bool:
        """Whether `derivative` can be had."""
        return type(self).derivative is not Kernel.derivative

    def derivative(self, sq: np.ndarray) -> np.ndarray:
        """Derivative of `profile`, which gradients and the learning of w need.

        Parameters
        ----------
        sq : ndarray of any shape
            Squared scaled distances.

        Returns
        -------
        ndarray of the same shape
            The derivatives dK / d(u^2), at most 0. Where a kernel has a peak it is infinite at u = 0, and 0 is
            returned: whoever uses it multiplies it by differences of inputs, which vanish faster.

        Raises
        ------
        NotImplementedError
            If the kernel has none, see `is_differentiable`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement derivative(sq).")


class _ExponentialFamily(Kernel):
    """K(u) = exp(-rate u^power)."""

    def profile(self, sq: np.ndarray) -> np.ndarray:
        return np.exp(self.log_profile(sq))

    def log_profile(self, sq: np.ndarray) -> np.ndarray:
        rate, power = cast(ExponentialForm, self.form)
        if power == 2:
            return -rate * sq
        if power == 1:
            return -rate * np.sqrt(sq)
        return -rate * sq ** (power / 2)

    def derivative(self, sq: np.ndarray) -> np.ndarray:
        return self.log_slope(sq) * self.profile(sq)

    def log_slope(self, sq: np.ndarray) -> np.ndarray:
        """Derivative of `log_profile`.

        Parameters
        ----------
        sq : ndarray of any shape
            Squared scaled distances.

        Returns
        -------
        ndarray of the same shape
            The derivatives d(log K) / d(u^2), 0 where they are infinite.
        """
        rate, power = cast(ExponentialForm, self.form)
        return -0.5 * rate * power * _power_or_zero(sq, power / 2 - 1)


class _PolynomialFamily(Kernel):
    """K(u) = (1 - u^power)^exponent for u <= 1, else 0."""

    support = 1.0

    def profile(self, sq: np.ndarray) -> np.ndarray:
        power, exponent = cast(PolynomialForm, self.form)
        if exponent == 0:
            return (sq <= EDGE).astype(sq.dtype)
        sq = np.minimum(sq, 1.0)
        distance_power = sq if power == 2 else np.sqrt(sq) if power == 1 else sq * np.sqrt(sq)
        return np.maximum(1.0 - distance_power, 0.0) ** exponent

    @property
    def is_differentiable(self) -> bool:
        return cast(PolynomialForm, self.form).exponent > 0  # a step has no derivative

    def derivative(self, sq: np.ndarray) -> np.ndarray:
        power, exponent = cast(PolynomialForm, self.form)
        if exponent == 0:
            return super().derivative(sq)
        base = np.maximum(1.0 - sq ** (power / 2), 0.0)
        outer = base ** (exponent - 1) if exponent > 1 else (base > 0).astype(sq.dtype)
        return -0.5 * exponent * power * _power_or_zero(sq, power / 2 - 1) * outer


class Gaussian(_ExponentialFamily):
    """K(u) = exp(-u^2 / 2).

    The default of all estimators. Its weights, scaled to sum to 1, are the softmax of -u^2 / 2. It is the smoothest of
    the kernels and reaches everywhere, so that no query is without support.

    See Also
    --------
    Exponential : A sharper peak and heavier tails.
    Triweight : Much the same shape, and ends at the bandwidth.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw.kernels import Gaussian
    >>> Gaussian().profile(np.array([0.0, 1.0, 4.0]))  # at u = 0, 1 and 2
    array([1.        , 0.60653066, 0.13533528])
    """

    form = ExponentialForm(rate=0.5, power=2)


class Exponential(_ExponentialFamily):
    """K(u) = exp(-u).

    It reaches everywhere and has a peak at u = 0: the nearest samples count for more than with the Gaussian kernel, and
    so do the far ones. The curve has a kink at each training sample.

    See Also
    --------
    PowerExponential : The exponent u^power instead of u.
    Gaussian : Smooth, with light tails.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw.kernels import Exponential
    >>> Exponential().profile(np.array([0.0, 1.0, 4.0]))  # at u = 0, 1 and 2
    array([1.        , 0.36787944, 0.13533528])
    """

    form = ExponentialForm(rate=1.0, power=1)


class PowerExponential(_ExponentialFamily):
    """K(u) = exp(-u^power).

    The power is a parameter, which a grid search can choose as ``kernel__power``.

    Parameters
    ----------
    power : float, default=1.0
        Positive. 1 is the exponential kernel, 2 a Gaussian one (with a bandwidth sqrt(2) times `Gaussian`'s); below 1
        the kernel has heavier tails and a sharper peak.

    See Also
    --------
    Exponential : The same with power 1.
    Gaussian : The same shape with power 2.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw.kernels import PowerExponential
    >>> PowerExponential(power=2.0).profile(np.array([0.0, 1.0, 4.0]))  # at u = 0, 1 and 2
    array([1.        , 0.36787944, 0.01831564])
    """

    def __init__(self, power: float = 1.0):
        self.power = power

    @property
    def form(self) -> ExponentialForm:  # type: ignore[override]
        """The formula, with the present `power`."""
        if not isinstance(self.power, Real) or not 0 < self.power < np.inf:
            raise ValueError(f"power of PowerExponential must be a positive number, got {self.power!r}.")
        return ExponentialForm(rate=1.0, power=float(self.power))


class TopHat(_PolynomialFamily):
    """K(u) = 1 for u <= 1, else 0.

    The prediction is the plain mean of all samples within the bandwidth, and jumps where one enters or leaves: the
    kernel has no derivative.

    See Also
    --------
    Epanechnikov : Falls to 0 at the bandwidth, so that the prediction does not jump.
    sklearn.neighbors.RadiusNeighborsRegressor : The same mean.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw.kernels import TopHat
    >>> TopHat().profile(np.array([0.0, 1.0, 1.21]))  # at u = 0, 1 and 1.1
    array([1., 1., 0.])
    """

    form = PolynomialForm(power=2, exponent=0)


class Epanechnikov(_PolynomialFamily):
    """K(u) = 1 - u^2 for u <= 1, else 0.

    The parabola, which of all non-negative kernels has the smallest asymptotic mean squared error [1]_; the others come
    close. The curve has kinks where a sample enters or leaves the support.

    See Also
    --------
    Biweight : Its square, without the kinks.
    TopHat : The mean of all samples within the bandwidth.

    References
    ----------
    .. [1] V. A. Epanechnikov, "Non-parametric estimation of a multivariate probability density", Theory of Probability
       and Its Applications 14 (1969) 153-158.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw.kernels import Epanechnikov
    >>> Epanechnikov().profile(np.array([0.0, 0.25, 1.0]))  # at u = 0, 0.5 and 1
    array([1.  , 0.75, 0.  ])
    """

    form = PolynomialForm(power=2, exponent=1)


class Biweight(_PolynomialFamily):
    """K(u) = (1 - u^2)^2 for u <= 1, else 0.

    Also called the quartic or bisquare kernel. It has a derivative everywhere, also where it ends.

    See Also
    --------
    Epanechnikov : Its root.
    Triweight : Still smoother.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw.kernels import Biweight
    >>> Biweight().profile(np.array([0.0, 0.25, 1.0]))  # at u = 0, 0.5 and 1
    array([1.    , 0.5625, 0.    ])
    """

    form = PolynomialForm(power=2, exponent=2)


class Triweight(_PolynomialFamily):
    """K(u) = (1 - u^2)^3 for u <= 1, else 0.

    The smoothest of the kernels of compact support here, and the closest to the Gaussian one.

    See Also
    --------
    Biweight : The square instead of the cube.
    Gaussian : Reaches everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw.kernels import Triweight
    >>> Triweight().profile(np.array([0.0, 0.25, 1.0]))  # at u = 0, 0.5 and 1
    array([1.      , 0.421875, 0.      ])
    """

    form = PolynomialForm(power=2, exponent=3)


class Linear(_PolynomialFamily):
    """K(u) = 1 - u for u <= 1, else 0.

    Also called the triangular kernel. The curve has a kink at each training sample.

    See Also
    --------
    Exponential : A peak too, and reaches everywhere.
    Epanechnikov : Round at the top.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw.kernels import Linear
    >>> Linear().profile(np.array([0.0, 0.25, 1.0]))  # at u = 0, 0.5 and 1
    array([1. , 0.5, 0. ])
    """

    form = PolynomialForm(power=1, exponent=1)


class Tricube(_PolynomialFamily):
    """K(u) = (1 - u^3)^3 for u <= 1, else 0.

    The weights of LOWESS [1]_: flat near the query, smooth where they end.

    See Also
    --------
    sknw.LocalLinearRegressor : LocalFits with these weights are LOWESS with a fixed bandwidth instead of a fixed number of
        neighbours.
    Triweight : Less flat at the top.

    References
    ----------
    .. [1] W. S. Cleveland, "Robust locally weighted regression and smoothing scatterplots", Journal of the American
       Statistical Association 74 (1979) 829-836.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw.kernels import Tricube
    >>> Tricube().profile(np.array([0.0, 0.25, 1.0]))  # at u = 0, 0.5 and 1
    array([1.        , 0.66992188, 0.        ])
    """

    form = PolynomialForm(power=3, exponent=3)


class Cosine(Kernel):
    """K(u) = cos(pi u / 2) for u <= 1, else 0.

    Close to the parabola of :class:`Epanechnikov`; named as in :class:`sklearn.neighbors.KernelDensity`.

    See Also
    --------
    Epanechnikov : Nearly the same, in fewer operations.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw.kernels import Cosine
    >>> Cosine().profile(np.array([0.0, 0.25, 1.0]))  # at u = 0, 0.5 and 1
    array([1.        , 0.70710678, 0.        ])
    """

    support = 1.0
    form = CosineForm()

    def profile(self, sq: np.ndarray) -> np.ndarray:
        # cos(pi u / 2) = sin(pi (1 - u) / 2) keeps its relative accuracy at the edge, where the cosine would cancel.
        return np.sin(0.5 * np.pi * np.maximum(1.0 - np.sqrt(sq), 0.0))

    def derivative(self, sq: np.ndarray) -> np.ndarray:
        # -sin(pi u / 2) / u, by sin(pi x) / (pi x), which knows its limit at 0
        return np.where(sq < 1.0, -0.125 * np.pi**2 * np.sinc(0.5 * np.sqrt(sq)), 0.0)


def _power_or_zero(sq: np.ndarray, exponent: float) -> np.ndarray:
    """sq^exponent, with a negative exponent 0 at 0."""
    if exponent >= 0:
        return sq**exponent
    return np.power(sq, exponent, out=np.zeros_like(sq, dtype=np.float64), where=sq > 0)


class Pairwise(Kernel):
    """A kernel given as a function of two sets of points, such as scikit-learn's Gaussian-process kernels.

    Parameters
    ----------
    function : callable
        ``function(A, B)`` returns the weights, of shape (len(A), len(B)), for inputs already divided by the bandwidth.
    """

    support = np.nan  # not known: neither surely bounded nor surely unbounded

    def __init__(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray]):
        self.function = function

    def between(self, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Weights of shape (m, n) for queries (m, d) and keys (n, d), checked to be finite and non-negative."""
        weights = np.array(self.function(queries, keys), dtype=np.float64)  # a copy, for it may be written into
        if weights.shape != (len(queries), len(keys)):
            raise ValueError(
                f"kernel(A, B) must return an array of shape (len(A), len(B)) = ({len(queries)}, {len(keys)}), "
                f"got shape {weights.shape}."
            )
        if not np.all(weights >= 0) or not np.all(np.isfinite(weights)):
            raise ValueError("kernel(A, B) must return finite, non-negative weights.")
        return weights

    def diagonal(self, points: np.ndarray) -> np.ndarray:
        """K of each point with itself, of shape (len(points),)."""
        blocks = [points[start : start + 100] for start in range(0, len(points), 100)]
        return np.concatenate([np.diagonal(self.between(block, block)) for block in blocks])


NAMED_KERNELS: dict[str, type[Kernel]] = {
    "biweight": Biweight,
    "cosine": Cosine,
    "epanechnikov": Epanechnikov,
    "exponential": Exponential,
    "gaussian": Gaussian,
    "linear": Linear,
    "tophat": TopHat,
    "tricube": Tricube,
    "triweight": Triweight,
}


def resolve_kernel(kernel: str | Kernel | Callable) -> Kernel:
    """The kernel object that a `kernel` parameter stands for: named, cloned, or wrapped."""
    if isinstance(kernel, str) and kernel in NAMED_KERNELS:
        return NAMED_KERNELS[kernel]()
    if isinstance(kernel, Kernel):
        return clone(kernel)
    if callable(kernel) and not isinstance(kernel, type):
        return Pairwise(kernel)
    raise ValueError(
        f"kernel must be one of {sorted(NAMED_KERNELS)}, a sknw.kernels.Kernel object, or a callable kernel(A, B), "
        f"got {kernel!r}."
    )
