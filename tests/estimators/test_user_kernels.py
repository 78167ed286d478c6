"""Kernels that a user writes: a class with `profile`, or a function of two sets of points."""

import numpy as np
import oracle
import pytest
from covering import covering_array, describe, pairwise
from numpy.testing import assert_allclose, assert_array_equal
from problems import KERNELS, Cauchy, Quartic, assert_close, engine_cases, regression
from scipy.spatial.distance import cdist
from sklearn.gaussian_process.kernels import RBF, DotProduct, ExpSineSquared, Matern, RationalQuadratic, WhiteKernel
from sklearn.metrics.pairwise import laplacian_kernel

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw.kernels import (
    CosineForm,
    ExponentialForm,
    Kernel,
    Pairwise,
    PolynomialForm,
    PowerExponential,
    resolve_kernel,
)


def cauchy(u):
    return 1 / (1 + u**2)


def quartic(u):
    return np.where(u <= 1, np.maximum(1 - u**2, 0) ** 4, 0)


# `kernel`, and the formula that it is
PROFILES = {"unbounded": (Cauchy(), cauchy), "bounded": (Quartic(), quartic)}
FUNCTIONS = {
    "Matern": (Matern(nu=1.5), lambda u: (1 + np.sqrt(3) * u) * np.exp(-np.sqrt(3) * u)),
    "RBF": (RBF(), lambda u: np.exp(-(u**2) / 2)),
    "RBF of another length": (RBF(length_scale=2.0), lambda u: np.exp(-(u**2) / 8)),
    "RationalQuadratic": (RationalQuadratic(alpha=0.7), lambda u: (1 + u**2 / 1.4) ** -0.7),
    "function": (lambda A, B: 1 / (1 + cdist(A, B, "sqeuclidean")), cauchy),
}


@pairwise(kernel=[*PROFILES, *FUNCTIONS], d=[1, 3, 20], weighted=[False, True], algorithm=["auto", "dense"])
def test_a_users_kernel_is_its_formula(kernel, d, weighted, algorithm):
    X, y, w, Q = regression(d=d, n_outputs=2, weighted=weighted)
    parameter, formula = (PROFILES | FUNCTIONS)[kernel]
    h = np.full(d, 1.2 * np.sqrt(d))
    model = NadarayaWatsonRegressor(parameter, h, algorithm=algorithm).fit(X, y, w)
    u = oracle.distances(Q, X, h)
    # the oracle gives samples of equal distance the nearest's share where a kernel is zero: only the bounded one is
    supported = np.isfinite(np.where(formula(u) > 0, u, np.inf).min(axis=1)) & (formula(u).max(axis=1) > 0)
    assert supported.sum() > 5
    expected = oracle.predict(Q, X, y, h, formula, w)
    assert_close(model.predict(Q)[supported], expected[supported], y)
    attention = oracle.attention_weights(Q, X, h, formula, w)
    assert_allclose(model.attention_weights_(Q)[supported], attention[supported].astype(float), rtol=0, atol=1e-11)
    if kernel != "bounded":
        assert_close(model.loo_prediction_, oracle.leave_one_out(X, y, h, formula, w), y)


@pytest.mark.parametrize("kernel", FUNCTIONS)
def test_a_function_gets_inputs_divided_by_the_bandwidth_of_each_feature(kernel):
    X, y, _, Q = regression(d=2)
    parameter, formula = FUNCTIONS[kernel]
    h = np.array([0.3, 3.0])
    model = NadarayaWatsonRegressor(parameter, h).fit(X, y)
    assert_close(model.predict(Q), oracle.predict(Q, X, y, h, formula), y)


@pytest.mark.parametrize("kernel", ["RBF", "Matern"])
def test_a_function_that_underflows_leaves_the_query_to_the_nearest_sample(kernel):
    model = NadarayaWatsonRegressor(FUNCTIONS[kernel][0], 1e-6).fit([[0.0], [1.0], [3.0]], [1.0, 2.0, 4.0])
    assert_allclose(model.predict([[0.1], [2.9], [0.5]]), [1.0, 4.0, 1.5], rtol=1e-9)


@pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")
@pytest.mark.filterwarnings("ignore:bandwidth=.* cannot choose a width:UserWarning")
def test_a_function_need_not_depend_on_the_distance_alone():
    """Its value on the diagonal, which aicc and gcv need, is asked for point by point."""
    rng = np.random.default_rng(0)
    X, y = rng.uniform(1, 2, size=(30, 1)), rng.normal(size=30)

    def relative(A, B):
        return np.exp(-np.abs(A - B.T)) * (2 + np.sin(A)) * (2 + np.sin(B.T))

    for criterion in ["aicc", "gcv"]:
        search = NadarayaWatsonRegressor(relative, criterion).fit(X, y).bandwidth_search_
        z = (X - X.mean()) / search.bandwidths[search.best_index]
        attention = relative(z, z) / relative(z, z).sum(axis=1, keepdims=True)
        n, trace = 30, np.trace(attention)
        error = np.mean((y - attention @ y) ** 2)
        expected = (
            error / (1 - trace / n) ** 2
            if criterion == "gcv"
            else np.log(error) + (1 + trace / n) / (1 - (trace + 2) / n)
        )
        assert search.scores[search.best_index] == pytest.approx(expected, rel=1e-9)


def test_kernels_of_sklearn_metrics_can_be_passed():
    X, y, _, Q = regression(d=1)
    by_function = NadarayaWatsonRegressor(lambda A, B: laplacian_kernel(A, B, gamma=1.0), 0.4).fit(X, y)
    assert_close(by_function.predict(Q), NadarayaWatsonRegressor("exponential", 0.4).fit(X, y).predict(Q), y)


def test_a_class_that_is_a_named_kernel_agrees_with_it():
    class MyGaussian(Kernel):
        def profile(self, sq):
            return np.exp(-sq / 2)

    X, y, w, Q = regression(weighted=True)
    for selector in [0.3, "loo", "aicc"]:
        mine = NadarayaWatsonRegressor(MyGaussian(), selector).fit(X, y, w)
        named = NadarayaWatsonRegressor("gaussian", selector).fit(X, y, w)
        assert_allclose(mine.bandwidth_, named.bandwidth_, rtol=1e-5)
        assert_close(mine.predict(Q), named.predict(Q), y, 1e-5)


def test_a_function_with_weights_of_exactly_zero_pools_the_others():
    def window(A, B):
        return (cdist(A, B) <= 1).astype(float)

    X = np.array([[0.0], [0.5], [2.0]])
    model = NadarayaWatsonRegressor(window, 1.0).fit(X, [1.0, 3.0, 9.0])
    assert_allclose(model.predict([[0.2], [2.1]]), [2.0, 9.0], rtol=1e-12)
    assert_array_equal(model.attention_weights_([[0.2]]), [[0.5, 0.5, 0.0]])


@pytest.mark.parametrize(
    ("outside", "expected"), [("nearest", [2.0, 9.0]), ("mean", [2.0, 13 / 3]), ("nan", [2, np.nan])]
)
def test_a_function_whose_support_nobody_knows_leaves_queries_without_weight_to_the_policy(outside, expected):
    X, y = np.array([[0.0], [0.5], [2.0]]), [1.0, 3.0, 9.0]

    def window(A, B):
        return (cdist(A, B) <= 1).astype(float)

    model = NadarayaWatsonRegressor(window, 1.0, outside=outside).fit(X, y)
    assert_allclose(model.predict([[0.2], [50.0]]), expected, rtol=1e-12)
    assert_allclose(model.attention_weights_([[0.2], [50.0]]) @ y, expected, rtol=1e-12)
    raising = NadarayaWatsonRegressor(window, 1.0, outside="raise").fit(X, y)
    with pytest.raises(ValueError, match="1 of 2 queries have no training sample within the kernel's support"):
        raising.predict([[0.2], [50.0]])


# What a kernel must not return


class Returning(Kernel):
    """A profile that returns what its parameter says where samples are far."""

    def __init__(self, value=0.0, support=np.inf):
        self.value = value
        self.support = support

    def profile(self, sq):
        return np.where(sq > 0.01, self.value, 1.0)


@pytest.mark.parametrize("value", [-0.5, np.nan, np.inf])
@pytest.mark.parametrize("support", [np.inf, 1.0])
@pytest.mark.parametrize("bandwidth", [1.0, "loo", "aicc"])
def test_a_profile_must_return_finite_non_negative_weights(bandwidth, support, value):
    X, y, _, _ = regression()
    model = NadarayaWatsonRegressor(Returning(value, support), bandwidth)
    with pytest.raises(ValueError, match=r"Returning\.profile.* must return finite, non-negative weights"):
        model.fit(X, y)


@pytest.mark.parametrize("value", [-0.5, np.nan, np.inf])
def test_a_function_must_return_finite_non_negative_weights(value):
    X, y, _, _ = regression()
    with pytest.raises(ValueError, match=r"kernel\(A, B\) must return finite, non-negative weights"):
        NadarayaWatsonRegressor(lambda A, B: np.full((len(A), len(B)), value), 1.0).fit(X, y)


def test_a_function_must_return_a_matrix_of_the_right_shape():
    X, y, _, _ = regression(m=5)
    for function in [lambda A, B: np.ones(len(A)), lambda A, B: np.ones((len(B) + 1, len(A))), lambda A, B: 1.0]:
        with pytest.raises(ValueError, match=r"kernel\(A, B\) must return an array of shape \(len\(A\), len\(B\)\)"):
            NadarayaWatsonRegressor(function, 1.0).fit(X, y)


@pytest.mark.parametrize("kernel", [*PROFILES, *FUNCTIONS])
def test_fused_refuses_a_users_kernel_and_names_what_can(kernel):
    X, y, _, _ = regression()
    model = NadarayaWatsonRegressor((PROFILES | FUNCTIONS)[kernel][0], 1.0, algorithm="fused")
    with pytest.raises(ValueError, match=r"fused.*computes kernels that have a form.*user-defined.*auto.*dense"):
        model.fit(X, y)


def test_a_parameter_of_a_users_kernel_can_be_searched():
    from sklearn.model_selection import GridSearchCV

    X, y, _, _ = regression(n=60)
    model = NadarayaWatsonRegressor(RationalQuadratic(), 0.5)
    search = GridSearchCV(model, {"kernel__alpha": [0.1, 1.0, 10.0]}, cv=3).fit(X, y)
    assert search.best_params_["kernel__alpha"] in {0.1, 1.0, 10.0}
    assert len(set(search.cv_results_["mean_test_score"])) == 3
    model = NadarayaWatsonRegressor(PowerExponential(), 0.5).set_params(kernel__power=0.8)
    assert model.fit(X, y).kernel_.power == 0.8


# A form is all that a kernel needs


class OfForm(Kernel):
    """A user's kernel that says nothing but its formula."""

    def __init__(self, form):
        self.form = form


FORMS = {
    "gaussian": ExponentialForm(0.5, 2),
    "exponential": ExponentialForm(1.0, 1),
    "power 0.5": ExponentialForm(1.0, 0.5),
    "power 1.5": ExponentialForm(1.0, 1.5),
    "tophat": PolynomialForm(2, 0),
    "epanechnikov": PolynomialForm(2, 1),
    "biweight": PolynomialForm(2, 2),
    "triweight": PolynomialForm(2, 3),
    "linear": PolynomialForm(1, 1),
    "tricube": PolynomialForm(3, 3),
    "cosine": CosineForm(),
}


def same(actual, expected):
    assert_allclose(actual, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "case",
    covering_array(engine_cases(FORMS, [1, 2, 4]), estimator=[NadarayaWatsonRegressor, LocalLinearRegressor]),
    ids=describe,
)
def test_a_kernel_with_a_form_is_the_named_one_everywhere(case):
    X, y, w, Q = regression(d=case["d"], weighted=True)
    mine, named = (
        case["estimator"](kernel, 1.2 * np.sqrt(case["d"]), algorithm=case["algorithm"]).fit(X, y, w)
        for kernel in (OfForm(FORMS[case["kernel"]]), KERNELS[case["kernel"]][0])
    )
    same(mine.loo_prediction_, named.loo_prediction_)
    same(mine.predict(Q, return_std=True), named.predict(Q, return_std=True))
    same(mine.effective_sample_size(Q), named.effective_sample_size(Q))
    same(mine.attention_weights_(Q), named.attention_weights_(Q))
    same(mine.attention_weights_(Q, sparse_output=True).toarray(), named.attention_weights_(Q))
    same(mine.predict_interval(Q), named.predict_interval(Q))
    same(mine.predict_quantile(Q, 0.3), named.predict_quantile(Q, 0.3))
    if case["kernel"] == "tophat":
        for model in (mine, named):
            with pytest.raises((AttributeError, NotImplementedError, ValueError)):
                model.gradient(Q)
    else:
        same(mine.gradient(Q), named.gradient(Q))


@pytest.mark.parametrize(
    ("algorithm", "form"),
    [(name, PolynomialForm(2, 4)) for name in ("auto", "fused", "pruned")]
    + [(name, PolynomialForm(2, 6)) for name in ("fused", "pruned")]
    + [("sorted", CosineForm())],
    ids=str,
)
def test_an_engine_that_takes_a_kernel_need_not_take_its_square_or_derivative(algorithm, form):
    X, y, w, Q = regression(d=1, weighted=True)
    model, dense = (
        NadarayaWatsonRegressor(OfForm(form), 2.0, algorithm=name).fit(X, y, w) for name in (algorithm, "dense")
    )
    same(model.effective_sample_size(Q), dense.effective_sample_size(Q))
    same(model.gradient(Q), dense.gradient(Q))


@pytest.mark.parametrize("algorithm", ["dense", "fused"])
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "epanechnikov", "tricube", "cosine"])
def test_w_is_learned_with_a_kernel_that_has_a_form(kernel, algorithm):
    X, y, _, Q = regression(n=60)
    mine, named = (
        AttentionPoolingRegressor(parameter, algorithm=algorithm, random_state=0).fit(X, y)
        for parameter in (OfForm(FORMS[kernel]), kernel)
    )
    assert_allclose(mine.w_, named.w_, rtol=1e-9)
    assert_close(mine.predict(Q), named.predict(Q), y)


@pytest.mark.parametrize("form", [PolynomialForm(2, 1), PolynomialForm(1, 0), CosineForm(), CosineForm(2)], ids=str)
def test_a_form_that_ends_obeys_the_policy_outside(form):
    X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 2.0, 3.0])
    model = NadarayaWatsonRegressor(OfForm(form), 0.9, outside="nan").fit(X, y)
    assert_array_equal(np.isnan(model.predict([[0.1], [2.8], [3.0], [4.5]])), [False, False, True, True])
    raising = NadarayaWatsonRegressor(OfForm(form), 0.9, outside="raise").fit(X, y)
    with pytest.raises(ValueError, match="no training sample within the kernel's support"):
        raising.predict([[4.5]])


class Square(Kernel):
    """K = (1 - u^2)^2, said several times."""

    form = PolynomialForm(2, 2)
    support = 1.0

    def profile(self, sq):
        return np.maximum(1.0 - sq, 0.0) ** 2

    def derivative(self, sq):
        return -2.0 * np.maximum(1.0 - sq, 0.0)


class OtherProfile(Square):
    def profile(self, sq):
        return np.maximum(1.0 - sq, 0.0) ** 3


class OtherSupport(Square):
    support = 2.0


class Endless(Square):
    support = np.inf


class OtherDerivative(Square):
    def derivative(self, sq):
        return -np.maximum(1.0 - sq, 0.0)


@pytest.mark.parametrize(
    ("kernel", "method"),
    [(OtherProfile, "profile"), (OtherSupport, "support"), (Endless, "support"), (OtherDerivative, "derivative")],
)
def test_what_contradicts_the_form_is_refused_by_name(kernel, method):
    model = NadarayaWatsonRegressor(kernel(), 1.0)
    with pytest.raises(ValueError, match=rf"^{method} of kernel {kernel.__name__} must agree with its form .*2"):
        model.fit([[0.0], [1.0]], [0.0, 1.0])


def test_what_agrees_with_the_form_may_be_said_again():
    X, y, _, Q = regression()
    by_class, by_name = (NadarayaWatsonRegressor(kernel, 1.5).fit(X, y) for kernel in (Square(), "biweight"))
    same(by_class.predict(Q), by_name.predict(Q))
    same(by_class.gradient(Q), by_name.gradient(Q))


def test_the_power_of_a_power_exponential_may_change():
    kernel = PowerExponential(1.0)
    assert kernel.form == ExponentialForm(1.0, 1.0)
    assert kernel.set_params(power=3.0).form == ExponentialForm(1.0, 3.0)
    assert kernel.square().form == ExponentialForm(2.0, 3.0)
    assert not kernel.is_compact
    for power in [0.0, -1.0, np.inf, "2", None]:
        with pytest.raises(ValueError, match="power of PowerExponential must be a positive number"):
            NadarayaWatsonRegressor(PowerExponential(power), 1.0).fit([[0.0], [1.0]], [0.0, 1.0])


def test_where_a_function_ends_is_not_known():
    kernel = resolve_kernel(RBF())
    for of_function in (kernel, kernel.square()):
        assert isinstance(of_function, Pairwise)
        assert not of_function.is_compact
        assert not of_function.reaches_everywhere
    assert Cauchy().reaches_everywhere
    assert not Quartic().reaches_everywhere
    assert Quartic().square().is_compact
    assert Quartic().square().support == Quartic.support


@pytest.mark.parametrize("kernel", [Cauchy(), Quartic(), RBF(), *FORMS.values()], ids=str)
def test_the_square_of_a_kernel_is_its_square(kernel):
    """Whose sums the effective sample size takes."""
    kernel = resolve_kernel(OfForm(kernel) if not isinstance(kernel, Kernel) and not callable(kernel) else kernel)
    sq = np.linspace(0.0, 2.0, 50)
    if isinstance(kernel, Pairwise):
        points = np.sqrt(sq)[:, np.newaxis]
        assert_allclose(kernel.square().between(points, points), kernel.between(points, points) ** 2, rtol=1e-14)
    else:
        assert_allclose(kernel.square().profile(sq), kernel.profile(sq) ** 2, rtol=1e-13)
        with np.errstate(divide="ignore"):
            assert_allclose(kernel.square().log_profile(sq), 2 * kernel.log_profile(sq), rtol=1e-11)


PERIODIC = ExpSineSquared(periodicity=3.0)
MOVES = [PERIODIC, RBF(5.0) * PERIODIC, Matern() + DotProduct(), DotProduct() ** 2]
FALLS = [RBF(0.1), Matern(nu=0.8), RationalQuadratic(alpha=0.1), 2 * RBF() + Matern(), RBF() * Matern() + WhiteKernel()]
FALLS += [laplacian_kernel, lambda A, B: np.where(cdist(A, B) < 1, 1.0, 0.0)]


@pytest.mark.parametrize("d", [1, 5])
def test_a_function_falls_with_the_distance_or_has_more_to_it(d):
    points = np.random.default_rng(0).normal(size=(3, d))
    assert [Pairwise(kernel).falls_with_distance(points) for kernel in FALLS] == [True] * len(FALLS)
    assert [Pairwise(kernel).falls_with_distance(points) for kernel in MOVES] == [False] * len(MOVES)


@pytest.mark.parametrize("bandwidth", ["loo", "scott"])
@pytest.mark.parametrize("Estimator", [NadarayaWatsonRegressor, LocalLinearRegressor])
def test_a_selector_warns_that_it_would_move_a_period(Estimator, bandwidth):
    X = np.random.default_rng(0).uniform(0, 10, (40, 1))
    with pytest.warns(UserWarning, match=r"ExpSineSquared.*periodic_features.*GridSearchCV") as caught:
        Estimator(PERIODIC, bandwidth).fit(X, np.sin(X[:, 0]))
    assert caught[0].filename == __file__
    Estimator(PERIODIC, 1.0).fit(X, np.sin(X[:, 0]))  # in numbers it is as good as any
