"""Kernels: the weight of a training sample as a function of its scaled distance to the query.

With u = ||(x - x_i) / h|| the scaled distance, a kernel K gives sample i the weight K(u). Only ratios of weights matter
to a smoother, so kernels are not normalised: K(0) = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
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


class Form:
    """The formula of a kernel, from which everything else follows; engines ask it and never the kernel's name."""

    family: ClassVar[str]  # the loops that know the formula: "exponential", "polynomial" or "cosine"
    rate: float  # K is a function of rate u^power
    power: float
    exponent: int
    support: ClassVar[float] = 1.0  # the largest u of positive weight

    @property
    def is_differentiable(self) -> bool:
        """Whether K has a derivative but for a kink; a step has none."""
        return self.exponent > 0

    def profile(self, sq: np.ndarray) -> np.ndarray:
        """K as a function of u^2."""
        raise NotImplementedError

    def log_profile(self, sq: np.ndarray) -> np.ndarray:
        """log K, ``-inf`` where the weight is zero."""
        with np.errstate(divide="ignore"):
            return np.log(self.profile(sq), dtype=np.float64)

    def derivative(self, sq: np.ndarray) -> np.ndarray:
        """dK / d(u^2), 0 where it is infinite."""
        raise NotImplementedError

    def log_derivative(self, sq: np.ndarray) -> np.ndarray:
        """d(log K) / d(u^2) where K is positive, else 0; 0 where it is infinite."""
        return _relative(self.derivative(sq), self.profile(sq))

    def square(self) -> Form:
        """The formula of K^2."""
        raise NotImplementedError

    def derivative_form(self) -> tuple[float, Form] | None:
        """A factor and a formula whose product is dK / d(u^2), if there is one."""
        return None


@dataclass(frozen=True)
class ExponentialForm(Form):
    """K(u) = exp(-rate u^power)."""

    family = "exponential"
    support = np.inf
    exponent = 1
    rate: float
    power: float

    def profile(self, sq: np.ndarray) -> np.ndarray:
        exponents = self.log_profile(sq)
        return np.exp(exponents, out=exponents if isinstance(exponents, np.ndarray) else None)

    def log_profile(self, sq: np.ndarray) -> np.ndarray:
        return -self.rate * _power(sq, self.power)

    def derivative(self, sq: np.ndarray) -> np.ndarray:
        return self.log_derivative(sq) * self.profile(sq)

    def log_derivative(self, sq: np.ndarray) -> np.ndarray:
        return -0.5 * self.rate * self.power * _power_or_zero(sq, self.power / 2 - 1)

    def square(self) -> ExponentialForm:
        return ExponentialForm(2.0 * self.rate, self.power)

    def derivative_form(self) -> tuple[float, Form] | None:
        return (-self.rate, self) if self.power == 2 else None


@dataclass(frozen=True)
class PolynomialForm(Form):
    """K(u) = (1 - u^power)^exponent for u <= 1, else 0."""

    family = "polynomial"
    rate = 1.0
    power: int
    exponent: int

    def profile(self, sq: np.ndarray) -> np.ndarray:
        if self.exponent == 0:
            return (sq <= EDGE).astype(sq.dtype)
        base = 1.0 - (sq if self.power == 2 else _power(np.minimum(sq, 1.0), self.power))
        base = np.maximum(base, 0.0, out=base if isinstance(base, np.ndarray) else None)
        return base if self.exponent == 1 else base**self.exponent

    def derivative(self, sq: np.ndarray) -> np.ndarray:
        outer = PolynomialForm(self.power, self.exponent - 1).profile(sq)
        return -0.5 * self.exponent * self.power * _power_or_zero(sq, self.power / 2 - 1) * outer

    def square(self) -> PolynomialForm:
        return PolynomialForm(self.power, 2 * self.exponent)

    def derivative_form(self) -> tuple[float, Form] | None:
        if self.exponent == 0:
            return None
        factor, exponent = -0.5 * self.exponent * self.power, self.exponent - 1
        if self.power == 2:
            return factor, PolynomialForm(2, exponent)
        return factor, SlopeForm(self.power, exponent, self, factor)


@dataclass(frozen=True)
class CosineForm(Form):
    """K(u) = cos(pi u / 2)^exponent for u <= 1, else 0."""

    family = "cosine"
    rate = 1.0
    power = 1
    exponent: int = 1

    def profile(self, sq: np.ndarray) -> np.ndarray:
        # cos(pi u / 2) = sin(pi (1 - u) / 2) keeps its relative accuracy at the edge, where the cosine would cancel
        return np.sin(0.5 * np.pi * np.maximum(1.0 - np.sqrt(sq), 0.0)) ** self.exponent

    def derivative(self, sq: np.ndarray) -> np.ndarray:
        # -sin(pi u / 2) / u, by sin(pi x) / (pi x), which knows its limit at 0
        inner = np.where(sq < 1.0, -0.125 * np.pi**2 * np.sinc(0.5 * np.sqrt(sq)), 0.0)
        return inner if self.exponent == 1 else self.exponent * CosineForm(self.exponent - 1).profile(sq) * inner

    def square(self) -> CosineForm:
        return CosineForm(2 * self.exponent)

    def derivative_form(self) -> tuple[float, Form] | None:
        factor = -0.25 * np.pi
        return (factor, SlopeForm(self.power, 0, self, factor)) if self.exponent == 1 else None


@dataclass(frozen=True)
class SlopeForm(Form):
    """dK / d(u^2) of a compact kernel, divided by the factor of its `derivative_form`.

    u^(power - 2) (1 - u^power)^(exponent - 1), or sin(pi u / 2) / u for the cosine; 0 where it is infinite.
    """

    family = "slope"
    rate = 1.0
    power: float
    exponent: int  # one less than that of the kernel
    of: Form
    factor: float

    def profile(self, sq: np.ndarray) -> np.ndarray:
        return self.of.derivative(sq) / self.factor


def _power(sq: np.ndarray, power: float) -> np.ndarray:
    """u^power from u^2."""
    if power == 2:
        return sq
    if power == 1:
        return np.sqrt(sq)
    return sq * np.sqrt(sq) if power == 3 else sq ** (power / 2)


def _power_or_zero(sq: np.ndarray, exponent: float) -> np.ndarray:
    """sq^exponent, with a negative exponent 0 at 0."""
    if exponent >= 0:
        return sq**exponent
    return np.power(sq, exponent, out=np.zeros_like(sq, dtype=np.float64), where=sq > 0)


def _relative(derivative: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The derivative divided by the weight, 0 where that is 0."""
    return np.divide(derivative, weight, out=np.zeros_like(weight), where=weight > 0)


class _SupportOfForm:
    """The `support` of a kernel unless its class, or itself, has another: that of its form, infinite without one."""

    def __get__(self, kernel: Kernel | None, owner: type[Kernel]) -> float:
        form = owner.form if kernel is None else kernel.form
        return form.support if isinstance(form, Form) else np.inf


class Kernel(NotebookViewMixin, BaseEstimator):
    """Base class of kernels: subclass it and write `profile` to add one.

    A kernel is a small estimator: its parameters are the arguments of ``__init__``, so that ``kernel__<parameter>`` can
    be searched. Parameters are not validated in ``__init__``; `profile` may raise ValueError.

    Attributes
    ----------
    form : ExponentialForm, PolynomialForm, CosineForm or None
        The formula of the kernel in terms that the compiled loops know. A kernel that has one needs nothing else:
        `profile`, `derivative` and `support` follow from it. A kernel without one works everywhere, at the speed of
        NumPy.
    support : float
        The largest scaled distance u that gets a positive weight: that of the form, or ``inf`` unless the class says
        otherwise, which a kernel that ends should. A query with no training sample in a finite support is handled by
        the estimator's `outside`; one that an unbounded kernel gives no weight gets the nearest sample.

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

    form: Form | None = None
    support: float = _SupportOfForm()  # type: ignore[assignment]

    @property
    def is_compact(self) -> bool:
        """Whether weights are surely zero beyond the `support`."""
        return bool(np.isfinite(self.support))

    @property
    def reaches_everywhere(self) -> bool:
        """Whether every sample has a positive weight, be it too small for a floating-point number."""
        return not self.is_compact

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
        if self.form is None:
            raise NotImplementedError(f"{type(self).__name__} must implement profile(sq).")
        return self.form.profile(sq)

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
        if self.form is not None:
            return self.form.log_profile(sq)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.profile(sq), dtype=np.float64)

    @property
    def is_differentiable(self) -> bool:
        """Whether `derivative` can be had."""
        if self.form is not None:
            return self.form.is_differentiable
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
        if self.form is None or not self.is_differentiable:
            raise NotImplementedError(f"{type(self).__name__} must implement derivative(sq).")
        return self.form.derivative(sq)

    def log_derivative(self, sq: np.ndarray) -> np.ndarray:
        """Derivative of `log_profile`.

        Parameters
        ----------
        sq : ndarray of any shape
            Squared scaled distances.

        Returns
        -------
        ndarray of the same shape
            The derivatives d(log K) / d(u^2) where K is positive, else 0; 0 where they are infinite.
        """
        if self.form is not None:
            return self.form.log_derivative(sq)
        return _relative(self.derivative(sq), self.profile(sq))

    def square(self) -> Kernel:
        """The kernel K^2, whose sums the effective sample size needs.

        Returns
        -------
        Kernel
            By its form where this one has a form, so that it is computed as fast.
        """
        return Formula(self.form.square()) if self.form is not None else _Square(self)


class Formula(Kernel):
    """The kernel of a form."""

    def __init__(self, form: Form):
        self.form = form


class _Square(Kernel):
    """The square of a kernel without a form."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.support = kernel.support

    def profile(self, sq: np.ndarray) -> np.ndarray:
        return np.asarray(self.kernel.profile(sq)) ** 2

    def log_profile(self, sq: np.ndarray) -> np.ndarray:
        return 2.0 * np.asarray(self.kernel.log_profile(sq))


class Gaussian(Kernel):
    """K(u) = exp(-u^2 / 2).

    The default: the smoothest of the kernels; its weights, scaled to sum to 1, are the softmax of -u^2 / 2.

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


class Exponential(Kernel):
    """K(u) = exp(-u).

    Samples very near and far count for more than with the Gaussian kernel. The curve has a kink at each sample.

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


class PowerExponential(Kernel):
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
        if isinstance(self.power, bool) or not isinstance(self.power, Real) or not 0 < self.power < np.inf:
            raise ValueError(f"power of PowerExponential must be a positive number, got {self.power!r}.")
        return ExponentialForm(rate=1.0, power=float(self.power))


class TopHat(Kernel):
    """K(u) = 1 for u <= 1, else 0.

    The prediction is the plain mean of all samples within the bandwidth, and jumps: the kernel has no derivative.

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


class Epanechnikov(Kernel):
    """K(u) = 1 - u^2 for u <= 1, else 0.

    Of all non-negative kernels it has the smallest asymptotic mean squared error [1]_; the others come close.

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


class Biweight(Kernel):
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


class Triweight(Kernel):
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


class Linear(Kernel):
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


class Tricube(Kernel):
    """K(u) = (1 - u^3)^3 for u <= 1, else 0.

    The weights of LOWESS [1]_: flat near the query, smooth where they end.

    See Also
    --------
    sknw.LocalLinearRegressor : Local lines; with these weights they are LOWESS with a fixed bandwidth.
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

    form = CosineForm()


# How a function of two points is tried out: at how many points, along how many axes, at which distances; and below
# which part of the largest weight a difference is rounding.
_MOST_POINTS, _MOST_AXES, _DISTANCES, _NO_DIFFERENCE = 3, 4, np.geomspace(1e-2, 1e2, 200), 1e-8


class Pairwise(Kernel):
    """A kernel given as a function of two sets of points, such as scikit-learn's Gaussian-process kernels.

    ``function(A, B)`` returns the weights, of shape (len(A), len(B)), for inputs already divided by the bandwidth.
    """

    # the function does not say where it ends: it may be zero far away, or anywhere
    is_compact = False
    reaches_everywhere = False

    def __init__(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray]):
        self.function = function

    def square(self) -> Pairwise:
        return Pairwise(lambda queries, keys: self.between(queries, keys) ** 2)

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

    def falls_with_distance(self, points: np.ndarray) -> bool:
        """Whether K(a, a + t v) is the same at all `points` a, (m, d), and never rises in t > 0.

        Then dividing the inputs by a bandwidth changes the width of the kernel. It is found out by trying a few points,
        directions v and distances t. A periodic kernel rises again; a dot product differs from point to point.
        """
        d = points.shape[1]
        directions = np.vstack([np.eye(d)[:_MOST_AXES], np.full(d, d**-0.5)])
        steps = (directions[:, np.newaxis] * _DISTANCES[:, np.newaxis]).reshape(-1, d)
        some = points[:: -(-len(points) // _MOST_POINTS)]
        along = [np.asarray(self.function(a[np.newaxis], a + steps))[0].reshape(-1, len(_DISTANCES)) for a in some]
        tolerance = _NO_DIFFERENCE * np.abs(along[0]).max()
        is_same = all(np.all(np.abs(other - along[0]) <= tolerance) for other in along)
        return is_same and bool(np.all(np.diff(along[0], axis=1) <= tolerance))

    def diagonal(self, points: np.ndarray) -> np.ndarray:
        """K of each point with itself, of shape (len(points),)."""
        blocks = [points[start : start + 100] for start in range(0, len(points), 100)]
        return np.concatenate([np.diagonal(self.between(block, block)) for block in blocks])


_KERNELS = (Biweight, Cosine, Epanechnikov, Exponential, Gaussian, Linear, TopHat, Tricube, Triweight)
NAMED_KERNELS: dict[str, type[Kernel]] = {kernel.__name__.lower(): kernel for kernel in _KERNELS}


def resolve_kernel(kernel: str | Kernel | Callable) -> Kernel:
    """The kernel object that a `kernel` parameter stands for: named, cloned, or wrapped."""
    if isinstance(kernel, str) and kernel in NAMED_KERNELS:
        return NAMED_KERNELS[kernel]()
    if isinstance(kernel, Kernel):
        copy: Kernel = clone(kernel)
        _check_form(copy)
        return copy
    if callable(kernel) and not isinstance(kernel, type):
        return Pairwise(kernel)
    raise ValueError(
        f"kernel must be one of {sorted(NAMED_KERNELS)}, a sknw.kernels.Kernel object, or a callable kernel(A, B), "
        f"got {kernel!r}."
    )


def _check_form(kernel: Kernel) -> None:
    """Refuse a kernel whose own methods say something else than its form, by which engines compute."""
    if kernel.form is None or type(kernel).__module__ == __name__:
        return
    sq = np.array([0.0, 0.04, 0.25, 0.81, 1.44, 4.0])
    told: dict[str, tuple[ArrayLike, ArrayLike]] = {
        "profile": (kernel.profile(sq), kernel.form.profile(sq)),
        "support": (kernel.support, kernel.form.support),
    }
    if kernel.form.is_differentiable:
        told["derivative"] = kernel.derivative(sq), kernel.form.derivative(sq)
    for name, (own, of_form) in told.items():
        if not np.allclose(own, of_form, rtol=1e-6, atol=1e-12):
            raise ValueError(
                f"{name} of kernel {type(kernel).__name__} must agree with its form {kernel.form!r}; leave {name} out, "
                "because it follows from the form, or leave out the form."
            )
