"""Intervals, quantiles, draws and gradients: what attention weights and leave-one-out tell beyond the mean."""

import tracemalloc

import numpy as np
import oracle
import pytest
from covering import covering_array, describe, pairwise
from numpy.testing import assert_allclose, assert_array_equal
from problems import ENGINES, FORMS, KERNELS, Cauchy, assert_close, bandwidth, engine_cases, regression
from sklearn import config_context

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw._predictive import jackknife
from sknw._predictive.jackknife import loo_predictions
from sknw._predictive.quantiles import inverse_cdf_of_rows, sample_indices
from sknw.datasets import make_sine_power

RIDGES = [None, 0.0, 0.05]
OUTSIDE = ["nearest", "mean", "nan"]


def fitted(X, y, w=None, kernel="gaussian", h=1.0, ridge=None, **parameters):
    """Nadaraya-Watson, or with a ridge local lines."""
    if ridge is None:
        return NadarayaWatsonRegressor(kernel, h, **parameters).fit(X, y, w)
    return LocalLinearRegressor(kernel, h, ridge=ridge, **parameters).fit(X, y, w)


# Intervals


@pytest.mark.parametrize(
    "case",
    covering_array(
        engine_cases(KERNELS, [1, 2]), ridge=RIDGES, weighted=[False, True], coverage=[0.8, 0.5], n_outputs=[None, 2]
    ),
    ids=describe,
)
def test_intervals_are_those_of_refits_without_each_sample(case):
    d, ridge, coverage = case["d"], case["ridge"], case["coverage"]
    X, y, w, Q = regression(n=20, m=6, d=d, n_outputs=case["n_outputs"], weighted=case["weighted"])
    parameter, of_oracle = KERNELS[case["kernel"]]
    h = bandwidth(d)
    actual = fitted(X, y, w, parameter, h, ridge, algorithm=case["algorithm"]).predict_interval(Q, coverage)
    expected = oracle.interval(Q, X, y, h, of_oracle, w, ridge=ridge, coverage=coverage).reshape(actual.shape)
    assert np.all(np.isfinite(actual))
    assert_close(actual, expected, y, 1e-8)


@pairwise(h=[0.03, 0.3], kernel=["gaussian", "tricube", "tophat"], outside=OUTSIDE, ridge=[None, 0.05])
def test_intervals_where_one_sample_has_all_the_attention(h, kernel, outside, ridge):
    X, y, w, Q = regression(n=30, m=12, d=2, weighted=True)
    Q = np.vstack([Q, X[5:10] + 0.01, [[30.0, 0.0]]])
    model = fitted(X, y, w, kernel, h, ridge, outside=outside)
    expected = oracle.interval(Q, X, y, [h, h], kernel, w, outside, ridge, coverage=0.7)[:, 0]
    predicted = model.predict(Q)
    expected[np.isnan(predicted)] = np.nan
    assert_close(model.predict_interval(Q, coverage=0.7), expected, y, 1e-8)


@pytest.mark.parametrize("ridge", [None, 0.05])
def test_every_bound_keeps_its_digits_where_one_sample_has_nearly_all_the_attention(ridge):
    """All but 1e-12 of it: without this sample the closed form would be a ratio of rounding errors."""
    rng = np.random.default_rng(0)
    x, query = np.concatenate([7.5 * np.arange(5.0), rng.uniform(50, 53, 10)]), np.array([[15.05]])
    X, y = x[:, np.newaxis], x % 3 * rng.normal(size=15)
    model = fitted(X, y, h=1.0, ridge=ridge)
    for rank in range(1, 16):
        coverage = 1.0 - (rank + 0.5) / 16.0
        expected = oracle.interval(query, X, y, [1.0], "gaussian", ridge=ridge, coverage=coverage)[:, 0]
        assert_close(model.predict_interval(query, coverage), expected, y, 1e-9)


def test_intervals_of_lines_have_the_slope_along_an_axis_on_which_samples_vary_little():
    X, y, _, Q = regression(n=30, m=9)
    X, Q = (np.column_stack([points[:, 0], points[:, 0] + 1e-3 * points[:, 1]]) for points in (X, Q))
    expected = oracle.interval(Q, X, y, [1.0, 1.0], "gaussian", ridge=0.0, coverage=0.7)[:, 0]
    assert_close(fitted(X, y, h=1.0, ridge=0.0).predict_interval(Q, 0.7), expected, y, 1e-7)


def test_intervals_of_lines_where_other_samples_have_next_to_no_attention():
    X = np.array([[0.0], [0.3], [0.7], [1.0]])
    y, query = np.array([0.0, 1.0, 0.5, 2.0]), np.array([[1.0 + 706.0 / 0.3]])  # the second has exp(-706) of it
    expected = oracle.interval(query, X, y, [1.0], "gaussian", ridge=0.1, coverage=0.6)[:, 0]
    assert_close(fitted(X, y, h=1.0, ridge=0.1).predict_interval(query, 0.6), expected, y, 1e-8)


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("offset, scale", [(0.0, 1e-3), (1e4, 1e3)])
def test_intervals_keep_their_digits_at_offsets_and_scales(offset, scale, algorithm):
    X, y, w, Q = regression(n=40, m=9, d=1, weighted=True)
    model = fitted(offset + scale * X, y, w, h=0.4 * scale, algorithm=algorithm)
    expected = oracle.interval(offset + scale * Q, offset + scale * X, y, [0.4 * scale], "gaussian", w)
    assert_close(model.predict_interval(offset + scale * Q), expected[:, 0], y, 1e-8)


@pytest.mark.parametrize("ridge", [None, 0.05])
def test_integer_weights_give_the_intervals_of_repeated_rows(ridge):
    X, y, _, Q = regression(n=40, m=30)
    repeats = np.random.default_rng(0).integers(0, 4, size=40)
    weighted = fitted(X, y, repeats, h=0.5, ridge=ridge)
    # the scales of inputs are those of the repeated rows, so are the local lines
    repeated = fitted(np.repeat(X, repeats, axis=0), np.repeat(y, repeats), h=0.5, ridge=ridge)
    assert_close(weighted.predict_interval(Q), repeated.predict_interval(Q), y, 1e-9)


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_intervals_use_the_samples_that_have_a_residual(weighted, algorithm):
    X, y, w, Q = regression(n=60, weighted=weighted)
    model = fitted(X, y, w, h=0.6, validation_samples=25, random_state=0, algorithm=algorithm)
    seen = np.isfinite(model.loo_prediction_) & (np.ones(60) if w is None else w).astype(bool)
    assert seen.sum() == 25
    expected = oracle.interval(Q, X, y, [0.6, 0.6], "gaussian", w, coverage=0.8, seen=seen)[:, 0]
    assert_close(model.predict_interval(Q, 0.8), expected, y, 1e-8)
    assert np.isinf(fitted(X, y, h=0.6, validation_samples=8, random_state=0).predict_interval(Q)).all()


@pairwise(kernel=FORMS, h=[0.02, 0.2, 2.0], coverage=[0.5, 0.9, 0.995])
def test_compiled_intervals_are_those_of_numpy(kernel, h, coverage):
    """Also where one sample has most of the attention, among equal bounds, and far from all samples."""
    X, y, _, Q = regression(n=1100, m=41, d=2)
    y, Q = np.round(y, 1), np.vstack([Q, [[50.0, 50.0]]])
    compiled, numpy = (fitted(X, y, kernel=KERNELS[kernel][0], h=h, algorithm=name) for name in ["fused", "dense"])
    assert_close(compiled.predict_interval(Q, coverage), numpy.predict_interval(Q, coverage), y, 1e-11)


def test_compiled_intervals_of_many_samples_are_looked_for_in_every_block_that_may_have_them(monkeypatch):
    X, y, _, Q = regression(n=9000, m=41, d=2)
    model = fitted(X, y, h=0.1, algorithm="fused")
    compiled = [model.predict_interval(Q, coverage) for coverage in (0.5, 0.9)]
    monkeypatch.setattr(jackknife, "_block_engine", lambda *_: None)
    assert_close(compiled, [model.predict_interval(Q, coverage) for coverage in (0.5, 0.9)], y, 1e-11)


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov", "exponential"])
def test_compiled_intervals_of_some_samples_with_a_residual(kernel):
    X, y, _, Q = regression(n=1100, m=41, d=2)
    parameters = {"kernel": kernel, "h": 0.4, "validation_samples": 700, "random_state": 0}
    compiled, numpy = (fitted(X, y, algorithm=name, **parameters) for name in ["fused", "dense"])
    for coverage in [0.5, 0.9, 0.995]:
        assert_close(compiled.predict_interval(Q, coverage), numpy.predict_interval(Q, coverage), y, 1e-11)


def test_intervals_are_infinite_where_samples_are_too_few():
    X, y = np.arange(9.0)[:, np.newaxis], np.arange(9.0)
    queries = [[2.5], [100.0]]
    assert np.isfinite(fitted(X, y).predict_interval(queries)).all()
    assert_array_equal(fitted(X[:8], y[:8]).predict_interval(queries), np.tile([-np.inf, np.inf], (2, 1)))
    assert_array_equal(fitted(X[:1], y[:1]).predict_interval(queries), np.tile([-np.inf, np.inf], (2, 1)))
    assert np.isfinite(fitted(X[:4], y[:4]).predict_interval(queries, 0.8)).all()


def test_constant_targets_have_intervals_without_width():
    X, _, _, Q = regression()
    assert_array_equal(fitted(X, np.full(len(X), 7.0)).predict_interval(Q), 7.0)


DESIGNS = {
    "homoscedastic": lambda rng, x: 0.5 * rng.normal(size=len(x)),
    "heteroscedastic": lambda rng, x: (0.1 + 0.3 * x) * rng.normal(size=len(x)),
    "skewed": lambda rng, x: 0.5 * rng.exponential(size=len(x)),
}


@pytest.mark.parametrize(
    "noise, ridge, n_sets", [*((noise, None, 30) for noise in DESIGNS), ("heteroscedastic", 1e-3, 15)]
)
def test_intervals_cover_as_often_as_they_say(noise, ridge, n_sets):
    """On average over training sets, and for each about as well, with the bandwidth chosen on the same data."""
    # how often of 250 new observations, with another training set of 200 each time
    covered = {0.9: [], 0.6: []}
    for seed in range(100, 100 + n_sets):
        rng = np.random.default_rng(seed)
        x = rng.uniform(0, 5, size=(450, 1))
        y = 2 * np.sin(x[:, 0]) + DESIGNS[noise](rng, x[:, 0])
        model = fitted(x[:200], y[:200], h="loo", ridge=ridge, algorithm="fused")
        for coverage, shares in covered.items():
            lower, upper = model.predict_interval(x[200:], coverage).T
            shares.append(np.mean((lower <= y[200:]) & (y[200:] <= upper)))
    for coverage, shares in covered.items():
        # one share varies by sqrt(c (1 - c) (1 / 250 + 1 / 200)), by the queries and by the training set
        deviation = np.sqrt(coverage * (1 - coverage) * (1 / 250 + 1 / 200))
        assert abs(np.mean(shares) - coverage) < 2.5 * deviation / np.sqrt(n_sets)
        assert np.std(shares, ddof=1) < 1.5 * deviation
        assert np.abs(np.array(shares) - coverage).max() < 4 * deviation


@pytest.mark.parametrize("ridge", [None, 1e-3])
def test_intervals_are_wide_where_the_noise_is(ridge):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, size=(600, 1))
    y = np.sin(3 * x[:, 0]) + np.where(x[:, 0] < 0.5, 0.2, 1.0) * rng.normal(size=600)
    widths = np.ptp(fitted(x, y, h="loo", ridge=ridge).predict_interval([[0.1], [0.2], [0.8], [0.9]]), axis=1)
    assert_allclose(widths, 2 * 1.645 * np.array([0.2, 0.2, 1.0, 1.0]), rtol=0.3)


def test_intervals_of_even_noise_are_those_of_the_plain_jackknife():
    """Where the noise is the same everywhere, kappa draws all scales together."""
    X, y = make_sine_power(400, random_state=1)
    model = fitted(X, y, h="loo")
    attention, mean, residuals = model.attention_weights_(X), model.predict(X)[:, np.newaxis], y - model.loo_prediction_
    others = mean + attention * (mean - y) / (1 - attention)
    lower = np.sort(others - np.abs(residuals), axis=1)[:, 39]
    upper = np.sort(others + np.abs(residuals), axis=1)[:, -40]
    widths = np.ptp(model.predict_interval(X), axis=1)
    assert np.mean(widths) == pytest.approx(np.mean(upper - lower), rel=0.03)
    assert np.std(widths) < 0.1 * np.mean(widths)


# Quantiles


@pytest.mark.parametrize(
    "case",
    covering_array(
        engine_cases(KERNELS, [1, 2]), outside=["nearest", "mean", "nan"], weighted=[False, True], h=[0.8, 0.1]
    ),
    ids=describe,
)
def test_quantiles_are_those_of_the_weighted_empirical_distribution(case):
    kernel, d, outside, h = (case[name] for name in ["kernel", "d", "outside", "h"])
    X, y, w, Q = regression(d=d, weighted=case["weighted"])
    y = np.round(y, 1)  # ties
    parameter, of_oracle = KERNELS[kernel]
    levels = [0.0, 0.1, 0.5, 0.9, 1.0]
    model = fitted(X, y, w, parameter, h, outside=outside, algorithm=case["algorithm"])
    found = model.predict_quantile(Q, levels)
    supported = ~np.isnan(oracle.predict(Q, X, y, np.full(d, h), of_oracle, w, outside))
    assert np.all(np.isnan(found[~supported]))
    for level, column in zip(levels, found[supported].T, strict=True):
        expected = oracle.quantile(Q[supported], X, y, np.full(d, h), of_oracle, level, w, outside)
        assert_array_equal(column, expected)


def test_quantiles_of_a_tophat_are_those_of_the_samples_inside():
    X, y = np.arange(10.0)[:, np.newaxis], np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5, 3])
    model = fitted(X, y, kernel="tophat", h=2.0)
    assert_array_equal(model.predict_quantile([[2.0]], [0, 0.2, 0.4, 0.41, 0.6, 1]), [[1, 1, 1, 3, 3, 5]])
    assert model.predict_quantile([[2.0]]) == [3.0]
    inside = np.sort(y[:5])
    assert_array_equal(
        model.predict_quantile([[2.0]], [0.1, 0.5, 0.7])[0],
        np.quantile(inside, [0.1, 0.5, 0.7], method="inverted_cdf"),
    )


@pytest.mark.parametrize("algorithm", ENGINES)
def test_quantiles_of_many_samples(algorithm):
    """Weights are cumulated in parts."""
    X, y, w, Q = regression(n=1000, m=21, n_outputs=2, weighted=True)
    found = fitted(X, y, w, h=0.4, algorithm=algorithm).predict_quantile(Q, [0.05, 0.5, 0.95])
    assert found.shape == (21, 2, 3)
    attention = fitted(X, y, w, h=0.4).attention_weights_(Q)
    for k in range(2):
        order = np.argsort(y[:, k])
        cumulated = np.cumsum(attention[:, order], axis=1)
        for index, level in enumerate([0.05, 0.5, 0.95]):
            assert_array_equal(found[:, k, index], y[order, k][np.argmax(cumulated >= level - 1e-12, axis=1)])


@pairwise(kernel=FORMS, h=[0.02, 0.2, 2.0], outside=OUTSIDE)
def test_compiled_quantiles_are_those_of_numpy(kernel, h, outside):
    """Also where few samples have all of the attention, among ties, and far from all samples."""
    X, y, w, Q = regression(n=1100, m=41, d=2, n_outputs=2, weighted=True)
    y, Q = np.round(y, 1), np.vstack([Q, X[:1], [[50.0, 50.0], [1e200, 0.0]]])
    models = [fitted(X, y, w, KERNELS[kernel][0], h, algorithm=name, outside=outside) for name in ["fused", "dense"]]
    compiled, numpy = (model.predict_quantile(Q, [0.0, 0.013, 0.25, 0.5, 0.813, 1.0]) for model in models)
    assert_array_equal(compiled, numpy)
    if outside != "nan":
        compiled, numpy = (model.attention_weights_(Q, sparse_output=True) for model in models)
        assert compiled.nnz == numpy.nnz


def test_queries_without_support_are_counted_among_all():
    X, y, _, Q = regression()
    model = fitted(X, y, kernel="tricube", h=2.0, outside="raise", algorithm="fused")
    with pytest.raises(ValueError, match=f"1 of {len(Q) + 1} queries"):
        model.predict_quantile(np.vstack([Q, [[50.0, 50.0]]]))


# Draws


def test_draws_come_as_often_as_the_attention_says():
    X, y, w, Q = regression(d=1, m=5, weighted=True)
    y = np.arange(len(y), dtype=float)
    model = fitted(X, y, w, h=0.4)
    drawn = model.sample_y(Q, 40_000, random_state=3)
    frequency = np.array([np.bincount(row.astype(int), minlength=len(y)) for row in drawn]) / 40_000
    attention = model.attention_weights_(Q)
    assert np.all(frequency[attention == 0] == 0)
    assert_allclose(frequency, attention, rtol=0, atol=4 * np.sqrt(0.25 / 40_000))
    assert_allclose(drawn.mean(axis=1), model.predict(Q), atol=4 * len(y) / np.sqrt(12 * 40_000))


def test_no_sample_without_attention_is_drawn():
    X = np.array([[0.0], [5.0], [5.1], [9.0]])
    smoother = fitted(X, X[:, 0], kernel="epanechnikov")._fitted.smoother
    drawn = sample_indices(smoother, smoother.queries(np.array([[5.0]])), np.array([[0.0, 1.0 - 2.0**-53]]))
    assert drawn.tolist() == [[1, 2]]


def test_a_level_that_rounding_puts_above_all_sums_is_reached_by_the_last_sample_of_weight():
    weights = np.array([[0.0, 0.25, 0.75, 0.0], [1.0, 0.0, 0.0, 0.0]])
    for backwards, expected in ((False, [2, 0]), (True, [1, 0])):
        assert inverse_cdf_of_rows(weights, np.full(2, 1.0 + 1e-15), backwards).tolist() == expected


def test_draws_of_several_outputs_are_whole_rows():
    X, y, _, Q = regression(n_outputs=3)
    drawn = fitted(X, y).sample_y(Q, 7)
    assert drawn.shape == (len(Q), 3, 7)
    rows = {tuple(row) for row in y}
    assert all(tuple(draw) in rows for draws in drawn for draw in draws.T)


def test_draws_are_repeatable():
    X, y, _, Q = regression()
    model = fitted(X, y)
    assert_array_equal(model.sample_y(Q, 3), model.sample_y(Q, 3, random_state=0))
    assert_array_equal(model.sample_y(Q, 3, np.random.RandomState(0)), model.sample_y(Q, 3))
    assert not np.array_equal(model.sample_y(Q, 3, 1), model.sample_y(Q, 3))
    with config_context(working_memory=0.001):
        assert_array_equal(fitted(X, y, n_jobs=2).sample_y(Q, 3), model.sample_y(Q, 3))


# Gradients

SMOOTH = [name for name in KERNELS if name != "tophat"]


@pytest.mark.parametrize(
    "case", covering_array(engine_cases(SMOOTH, [1, 3]), ridge=RIDGES, weighted=[False, True]), ids=describe
)
def test_gradients_are_those_of_finite_differences(case):
    kernel, d = case["kernel"], case["d"]
    X, y, w, Q = regression(d=d, n_outputs=2, weighted=case["weighted"], n=60)
    model = fitted(X, y, w, KERNELS[kernel][0], 3 * bandwidth(d), case["ridge"], algorithm=case["algorithm"])
    Q = Q[:-3] / 2
    Q = Q[oracle.distances(Q, X, np.ones(d)).min(axis=1) > 0.02]  # at a sample some kernels have a kink
    assert_allclose(model.gradient(Q), oracle.gradient(model.predict, Q, 1e-4), rtol=0, atol=2e-6)


def test_gradient_of_the_gaussian_is_a_covariance_under_attention():
    X, y, w, Q = regression(d=2, weighted=True)
    h = np.array([0.5, 0.9])
    model = fitted(X, y, w, h=h)
    attention, mean = model.attention_weights_(Q), model.predict(Q)
    covariance = np.einsum("mn,mnd,mn->md", attention, X - Q[:, np.newaxis], y - mean[:, np.newaxis])
    assert_allclose(model.gradient(Q), covariance / h**2, atol=1e-10)


def test_gradient_of_a_line_is_its_slope():
    X, _, _, Q = regression(d=2)
    model = fitted(X, 3 * X[:, 0] - 2 * X[:, 1], h=0.8, ridge=0.0)
    assert_allclose(model.gradient(Q), np.tile([3.0, -2.0], (len(Q), 1)), rtol=1e-8)


@pytest.mark.parametrize("ridge", [0.0, 1e-12, 1e-9])
def test_gradient_has_no_slope_either_where_features_are_nearly_collinear(ridge):
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(200, 2)), rng.normal(size=200)
    X = np.column_stack([X, X[:, 0] + 3e-6 * noise])
    model = LocalLinearRegressor(bandwidth=1.5, ridge=ridge).fit(X, np.sin(X[:, 0]) + noise)
    step = 1e-4 * np.eye(3)
    expected = [(model.predict(X[:9] + s) - model.predict(X[:9] - s)) / 2e-4 for s in step]
    assert_allclose(model.gradient(X[:9]), np.transpose(expected), rtol=1e-5, atol=1e-5)


def test_gradient_far_from_all_samples_is_that_of_the_two_nearest():
    """All weights underflow there; their ratio does not."""
    X, y = np.array([[0.0], [1e-2]]), np.array([0.0, 1.0])
    model = fitted(X, y)
    a = 1 / (1 + np.exp(-0.01 * 50 + 0.5e-4))
    assert_allclose(model.gradient([[50.0]]), [[0.01 * a * (1 - a)]], rtol=1e-6)


@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "biweight"])
@pytest.mark.parametrize("ridge", [None, 0.1])
def test_gradient_is_level_where_scaled_inputs_overflow(kernel, ridge):
    X, y, w, _ = regression(d=2)
    assert_array_equal(fitted(X, y, w, kernel, 0.5, ridge).gradient([[1e308, 0.0], [-1e308, 1e308]]), 0.0)


def test_gradient_of_a_users_kernel():
    class Differentiable(Cauchy):
        def derivative(self, sq):
            return -1.0 / (1.0 + sq) ** 2

    X, y, w, Q = regression(d=2, weighted=True)
    model = fitted(X, y, w, Differentiable(), 0.7)
    assert_allclose(model.gradient(Q), oracle.gradient(model.predict, Q, 1e-4), atol=2e-6)


def test_gradient_is_level_outside_the_support():
    X, y, _, Q = regression(d=2)
    for outside in ["nearest", "mean"]:
        assert_array_equal(fitted(X, y, kernel="biweight", outside=outside).gradient(Q + 50), 0.0)


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        ("tophat", r"TopHat\(\)"),
        (Cauchy(), r"Cauchy\(\)"),
        (lambda A, B: np.ones((len(A), len(B))), "A callable kernel"),
    ],
)
def test_gradient_needs_a_kernel_with_a_derivative(kernel, name):
    X, y, _, Q = regression()
    with pytest.raises(ValueError, match=f"^{name} has no derivative"):
        fitted(X, y, kernel=kernel).gradient(Q)


# All of them

METHODS = {
    "predict_interval": lambda model, Q: model.predict_interval(Q, 0.8),
    "predict_quantile": lambda model, Q: model.predict_quantile(Q, [0.2, 0.7]),
    "sample_y": lambda model, Q: model.sample_y(Q, 2),
    "gradient": lambda model, Q: model.gradient(Q),
}


@pytest.mark.parametrize("shape", [(45,), (45, 1), (45, 3)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_shapes_and_types(shape, dtype):
    X, _, _, Q = regression(dtype=dtype)
    model = fitted(X, np.random.default_rng(0).normal(size=shape))
    shape_of_y = (len(Q), *shape[1:])
    expected = {"predict_interval": 2, "predict_quantile": 2, "sample_y": 2, "gradient": 2}
    for name, method in METHODS.items():
        found = method(model, Q)
        assert found.shape == (*shape_of_y, expected[name])
        assert found.dtype == dtype
    assert model.predict_quantile(Q).shape == shape_of_y


@pytest.mark.parametrize("ridge", [None, 0.05])
@pytest.mark.parametrize("method", METHODS)
def test_blocks_and_threads_change_nothing(method, ridge):
    X, y, w, Q = regression(n_outputs=2, m=31, weighted=True)
    whole = METHODS[method](fitted(X, y, w, h=0.6, ridge=ridge), Q)
    with config_context(working_memory=0.002):
        assert_allclose(METHODS[method](fitted(X, y, w, h=0.6, ridge=ridge, n_jobs=2), Q), whole, rtol=1e-11)


@pytest.mark.parametrize("method", METHODS)
def test_memory_does_not_grow_with_queries_times_samples(method):
    X, y, _, Q = regression(n=2000, m=800, d=2)
    model = fitted(X, y)
    with config_context(working_memory=1):
        METHODS[method](model, Q[:5])
        tracemalloc.start()
        METHODS[method](model, Q)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2.5e6 < X.shape[0] * len(Q) * 8 / 5


@pytest.mark.parametrize("method", METHODS)
def test_unsupported_queries_get_what_outside_says(method):
    X, y, _, Q = regression()
    Q = np.vstack([Q, [[50.0, 50.0]]])
    found = METHODS[method](fitted(X, y, kernel="tricube", h=2.0, outside="nan"), Q)
    assert np.isnan(found[-1]).all()
    assert not np.isnan(found[-4]).any()
    with pytest.raises(ValueError, match="no training sample within the kernel's support"):
        METHODS[method](fitted(X, y, kernel="tricube", h=2.0, outside="raise"), Q)


@pytest.mark.parametrize("coverage", [0.0, 1.0, 90, "0.9", None])
def test_coverage_must_be_a_probability(coverage):
    X, y, _, Q = regression()
    with pytest.raises(ValueError, match="coverage must be a number between 0 and 1"):
        fitted(X, y).predict_interval(Q, coverage)


@pytest.mark.parametrize("quantiles", [[], -0.1, 1.1, np.nan, "median", None, [0.5, 2.0], [[0.5]]])
def test_levels_must_be_probabilities(quantiles):
    X, y, _, Q = regression()
    with pytest.raises(ValueError, match="quantiles must be"):
        fitted(X, y).predict_quantile(Q, quantiles)


@pytest.mark.parametrize("n_samples", [0, -1, 1.5, True, "3"])
def test_number_of_draws_must_be_a_positive_integer(n_samples):
    X, y, _, Q = regression()
    with pytest.raises(ValueError, match="n_samples must be a positive integer"):
        fitted(X, y).sample_y(Q, n_samples)


@pytest.mark.parametrize("ridge", [0.1, [0.02, 0.1, 0.5]])
@pytest.mark.parametrize("degree", [0, 1])
def test_learned_attention_tells_as_much(degree, ridge):
    """With a matrix w and a ridge for each feature: intervals by refits, gradients by differences."""
    X, y, _, Q = regression(n=40, m=9, d=3)
    w = np.array([[1.0, 0.2], [0.0, 0.8], [-0.5, 0.1]])
    parameters = {"w": w, "degree": degree} | ({"ridge": ridge} if degree else {})
    model = AttentionPoolingRegressor(**parameters).fit(X, y)
    Q = Q[:-3]
    assert_allclose(model.gradient(Q), oracle.gradient(lambda Q: model.predict(Q)[:, np.newaxis], Q)[:, 0], atol=1e-6)
    assert model.predict_quantile(Q).shape == (6,)
    lower, upper = model.predict_interval(Q, 0.8).T
    assert np.all(lower < model.predict(Q))
    assert np.all(upper > model.predict(Q))
    # a ridge counts among weights that sum to 1 again, so that all of a fit is done again
    smoother = model._fitted.smoother
    query, attention = smoother.queries(Q[:1]), model.attention_weights_(Q[:1])[0]
    means, _ = loo_predictions(smoother, query.x[0], attention, attention, 0.0)
    for i in range(0, 40, 7):
        others = np.where(np.arange(40) == i, 0.0, attention)
        refitted = loo_predictions(smoother, query.x[0], others / others.sum(), np.zeros(1), 0.0)[0][0]
        assert_allclose(means[i], refitted, atol=1e-10)


@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
@pytest.mark.parametrize("degree", [0, 1])
def test_far_queries_cost_no_digits(degree, kernel):
    """At 1e3 to 1e15 bandwidths from the data one key has all of the attention, or those at one distance share it."""
    X = np.random.default_rng(0).normal(size=(200, 3))
    model = AttentionPoolingRegressor(kernel, w=[3.0, 2.0, 1.0], degree=degree, ridge=0.1).fit(X, X[:, 0])
    far = np.array([[1e3, 0.0, 0.0], [1e6, 1.0, 2.0], [1e9, 3.0, 1e9], [-1e15, 0.0, 1.0]])
    size = 1.0 / (model.attention_weights_(far) ** 2).sum(axis=1)
    assert_allclose(model.effective_sample_size(far), size, rtol=1e-9)
    if kernel == "gaussian":
        assert_allclose(model.gradient(far[1:]), 0.0, atol=1e-6)


def test_a_sample_without_which_a_query_has_no_support_leaves_the_bounds_open():
    """Leaving it out leaves nothing to predict from, which counts as unknown."""
    rng = np.random.RandomState(28)
    X, y = rng.randn(7, 5), rng.randn(7)
    w = np.full(5, 1.5) / np.sqrt(5)
    model = AttentionPoolingRegressor("epanechnikov", w, degree=1, ridge=0.05, outside="nan").fit(X, y)
    lower, upper = model.predict_interval((X + 0.1 * rng.randn(7, 5))[4:5], 0.5)[0]
    assert lower < model.predict(X[4:5])[0] < upper


# Probabilities


@pytest.mark.parametrize(
    "case",
    covering_array(
        engine_cases(["gaussian", "tricube"], [1, 2]), outside=OUTSIDE, ridge=[None, 0.05], n_outputs=[None, 2]
    ),
    ids=describe,
)
def test_probabilities_are_the_attention_on_targets_up_to_y(case):
    X, y, w, Q = regression(d=case["d"], n_outputs=case["n_outputs"], weighted=True)
    parameters = {"outside": case["outside"], "algorithm": case["algorithm"]}
    model = fitted(X, y, w, case["kernel"], bandwidth(case["d"], 0.5), case["ridge"], **parameters)
    values = np.append(y.ravel()[:5], [-np.inf, np.inf, 3.0])
    targets, attention = y.reshape(len(y), -1), model.attention_weights_(Q)
    expected = np.array([[(attention * (column <= t)).sum(axis=1) for t in values] for column in targets.T])
    expected[:, :, np.isnan(attention[:, 0])] = np.nan
    found = model.predict_cdf(Q, values)
    assert found.shape == (len(Q), *y.shape[1:], len(values))
    assert_allclose(found.reshape(len(Q), -1, len(values)), np.moveaxis(expected, 2, 0), rtol=0, atol=1e-12)
    assert_array_equal(found[..., 6][~np.isnan(found[..., 6])], 1.0)
    assert_array_equal(model.predict_cdf(Q, 3.0), found[..., 7])
    each = np.broadcast_to(values[:2], (*found.shape[:-1], 2))  # values for each query
    assert_array_equal(model.predict_cdf(Q, each), found[..., :2])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_quantile_is_the_first_value_whose_probability_reaches_the_level(engine):
    X, y, w, Q = regression(weighted=True)
    model = fitted(X, y, w, h=0.8, algorithm=engine)
    levels = np.linspace(0.05, 0.95, 19)
    quantiles = model.predict_quantile(Q, levels)
    assert np.all(model.predict_cdf(Q, quantiles) >= levels - 1e-11)
    assert np.all(model.predict_cdf(Q, np.nextafter(quantiles, -np.inf)) < levels)


def test_what_probabilities_refuse():
    X, y, _, Q = regression()
    model = fitted(X, y, kernel="tricube", h=0.1, outside="raise")
    for values in [np.nan, "a", np.zeros((3, 2))]:
        with pytest.raises(ValueError, match="y must be a number"):
            model.predict_cdf(Q, values)
    with pytest.raises(ValueError, match="queries have no training sample"):
        model.predict_cdf([[50.0, 50.0]], 1.0)
