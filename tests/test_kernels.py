import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sknw import NadarayaWatsonRegressor, kernels
from sknw.kernels import NAMED_KERNELS, Exponential, Gaussian, Kernel, PowerExponential, resolve_kernel

U = np.concatenate([np.linspace(0.0, 1.0, 101), [1.01, 1.5, 2.0, 5.0, 20.0]])
CLASSES = [getattr(kernels, name) for name in kernels.__all__ if name != "Kernel"]


@pytest.mark.parametrize("name", oracle.NAMES)
def test_profile_is_the_formula(name):
    expected = np.exp(oracle.log_kernel(name, U)).astype(float)
    assert_allclose(resolve_kernel(name).profile(U**2), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("power", [0.3, 0.5, 1.0, 1.5, 2.0, 3.0])
def test_power_exponential_is_the_formula(power):
    assert_allclose(PowerExponential(power=power).profile(U**2), np.exp(-(U**power)), rtol=1e-13)


@pytest.mark.parametrize("name", oracle.NAMES)
def test_log_profile_is_the_logarithm_of_the_formula(name):
    with np.errstate(divide="ignore"):
        expected = np.asarray(oracle.log_kernel(name, U), dtype=float)
    # near the edge the logarithm magnifies the rounding of 1 - u
    away_from_edge = np.abs(U - 1) > 1e-3
    assert_allclose(
        resolve_kernel(name).log_profile(U**2)[away_from_edge], expected[away_from_edge], rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("kernel", [Gaussian(), Exponential(), PowerExponential(power=1.3)], ids=str)
def test_log_profile_is_exact_where_the_weight_underflows(kernel):
    u = np.array([1e3, 1e6])
    power = {Gaussian: 2, Exponential: 1}.get(type(kernel), 1.3)
    rate = 0.5 if isinstance(kernel, Gaussian) else 1.0
    assert_array_equal(kernel.profile(u**2), 0.0)
    assert_allclose(kernel.log_profile(u**2), -rate * u**power, rtol=1e-14)


@pytest.mark.parametrize("cls", CLASSES)
def test_kernels_start_at_one_and_never_rise(cls):
    weights = cls().profile(U**2)
    assert weights[0] == 1
    assert np.all(np.diff(weights) <= 0)


@pytest.mark.parametrize("cls", CLASSES)
def test_support_is_where_the_weight_is_positive(cls):
    kernel = cls()
    assert np.all(kernel.profile(U[kernel.support > U] ** 2) > 0)
    assert_array_equal(kernel.profile(U[kernel.support < U] ** 2), 0.0)
    assert (kernel.support == np.inf) == (cls in {Gaussian, Exponential, PowerExponential})


def test_profile_keeps_the_shape():
    for name in oracle.NAMES:
        assert resolve_kernel(name).profile(np.full((2, 3, 4), 0.5)).shape == (2, 3, 4)


@pytest.mark.parametrize("distance", [1.0, np.nextafter(1.0, 2.0), 0.1 * 3 / 0.3, (0.7 - 0.4) / 0.3])
def test_tophat_takes_a_sample_at_its_edge_whatever_the_rounding(distance):
    assert resolve_kernel("tophat").profile(np.array([distance**2])) == 1


def test_tophat_leaves_out_a_sample_that_is_beyond_rounding():
    assert resolve_kernel("tophat").profile(np.array([1.000001**2])) == 0


def test_names_are_those_of_kernel_density_and_three_more():
    from sklearn.neighbors import KernelDensity

    (of_kernel_density,) = [c.options for c in KernelDensity._parameter_constraints["kernel"]]
    assert set(NAMED_KERNELS) == of_kernel_density | {"biweight", "triweight", "tricube"}
    assert set(oracle.NAMES) == set(NAMED_KERNELS)


def test_every_kernel_is_importable_by_the_name_of_its_class():
    assert {cls.__name__ for cls in NAMED_KERNELS.values()} | {"Kernel", "PowerExponential"} == set(kernels.__all__)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_kernel_is_an_estimator(cls):
    kernel = cls()
    assert repr(clone(kernel)) == repr(kernel) == f"{cls.__name__}()"
    assert clone(kernel).set_params(**kernel.get_params()).get_params() == kernel.get_params()


def test_kernel_parameters_are_not_validated_before_fit():
    assert PowerExponential(power="wrong").set_params(power=-1).power == -1


@pytest.mark.parametrize("name", oracle.NAMES)
def test_name_and_object_are_the_same_kernel(name):
    X, y = np.arange(5.0)[:, np.newaxis], np.arange(5.0) ** 2
    by_name = NadarayaWatsonRegressor(name, 1.7).fit(X, y)
    by_object = NadarayaWatsonRegressor(NAMED_KERNELS[name](), 1.7).fit(X, y)
    assert type(by_name.kernel_) is NAMED_KERNELS[name]
    assert_array_equal(by_name.predict(X + 0.3), by_object.predict(X + 0.3))


def test_power_one_is_exponential_and_power_two_a_wider_gaussian():
    rng = np.random.default_rng(0)
    X, y, Q = rng.normal(size=(30, 2)), rng.normal(size=30), rng.normal(size=(10, 2))

    def predict(kernel, bandwidth):
        return NadarayaWatsonRegressor(kernel, bandwidth).fit(X, y).predict(Q)

    assert_allclose(predict(PowerExponential(power=1.0), 0.4), predict("exponential", 0.4), rtol=1e-13)
    assert_allclose(predict(PowerExponential(power=2.0), 0.4 * np.sqrt(2)), predict("gaussian", 0.4), rtol=1e-12)


def test_fit_leaves_the_kernel_parameter_alone():
    kernel = PowerExponential(power=1.2)
    model = NadarayaWatsonRegressor(kernel, 1.0).fit([[0.0], [1.0]], [0.0, 1.0])
    assert model.kernel is kernel
    assert model.kernel_ is not kernel
    assert vars(kernel) == {"power": 1.2}


def test_a_kernel_without_profile_says_what_is_missing():
    class Nothing(Kernel):
        pass

    with pytest.raises(NotImplementedError, match=r"Nothing must implement profile\(sq\)"):
        NadarayaWatsonRegressor(Nothing(), 1.0).fit([[0.0], [1.0]], [0.0, 1.0])


DIFFERENTIABLE = [cls() for cls in CLASSES if cls is not kernels.TopHat] + [PowerExponential(power=p) for p in (0.5, 3)]


@pytest.mark.parametrize("kernel", DIFFERENTIABLE, ids=str)
def test_derivative_is_that_of_the_profile(kernel):
    sq = U[(U > 0) & (np.abs(U - 1) > 1e-3)] ** 2
    step = 1e-4 * sq
    expected = (kernel.profile(sq + step) - kernel.profile(sq - step)) / (2 * step)
    assert kernel.is_differentiable
    assert_allclose(kernel.derivative(sq), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kernel", DIFFERENTIABLE, ids=str)
def test_derivative_at_zero_is_finite(kernel):
    at_zero = kernel.derivative(np.zeros(1))
    has_peak = kernel.derivative(np.full(1, 1e-12)) < -1e3
    assert at_zero == 0.0 if has_peak else at_zero == pytest.approx(kernel.derivative(np.full(1, 1e-12)), abs=1e-5)


@pytest.mark.parametrize("kernel", [kernels.TopHat(), Kernel()], ids=str)
def test_a_kernel_without_derivative_says_so(kernel):
    assert not kernel.is_differentiable
    with pytest.raises(NotImplementedError, match=rf"{type(kernel).__name__} must implement derivative\(sq\)"):
        kernel.derivative(np.ones(1))


@pytest.mark.parametrize("name", NAMED_KERNELS)
def test_a_kernel_takes_a_single_number(name):
    """As an integral over it asks for."""
    kernel, sq = NAMED_KERNELS[name](), np.float64(0.3)
    assert kernel.profile(sq) == kernel.profile(np.array([sq]))[0]
    assert kernel.log_profile(sq) == kernel.log_profile(np.array([sq]))[0]
    if kernel.is_differentiable:
        assert kernel.derivative(sq) == kernel.derivative(np.array([sq]))[0]
