"""Properties that hold for any data, tried on data that hypothesis thinks of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from problems import ENGINES, KERNELS

from sknw import LocalLinearRegressor, NadarayaWatsonRegressor

# Numbers on a coarse grid: ties, duplicates and constant features are frequent, and shifts of them exact.
numbers = st.integers(-64, 64).map(lambda i: i / 16)
kernels = st.sampled_from(sorted(KERNELS)).map(lambda name: KERNELS[name][0])
engines = st.sampled_from(ENGINES)
bandwidths = st.sampled_from([0.06, 0.25, 1.0, 4.0, 30.0])
selectors = st.sampled_from(["loo", "aicc", "gcv", "scott"])
policies = st.sampled_from(["nearest", "mean"])


@st.composite
def data(draw):
    """X (n, d), y (n,), weights (n,), queries (m, d)."""
    n, d, m = draw(st.integers(1, 12)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    weights = draw(arrays(float, n, elements=st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])).filter(np.any))
    X, y, Q = (draw(arrays(float, shape, elements=numbers)) for shape in [(n, d), n, (m, d)])
    return X, y, weights, Q


@given(data(), kernels, bandwidths, policies, engines)
def test_predictions_lie_between_the_smallest_and_the_largest_target(data, kernel, bandwidth, outside, engine):
    X, y, w, Q = data
    model = NadarayaWatsonRegressor(kernel, bandwidth, outside=outside, algorithm=engine).fit(X, y, w)
    low, high = y[w > 0].min(), y[w > 0].max()
    prediction = model.predict(Q)
    for means in (prediction, model.loo_prediction_, model.predict(Q.astype(np.float32)).astype(float)):
        assert np.all(np.isnan(means) | (means >= low) & (means <= high))  # not even by rounding
    attention = model.attention_weights_(Q)
    assert np.all(attention >= 0)
    assert_allclose(attention.sum(axis=1), 1.0, atol=1e-12)
    assert_allclose(attention @ y, prediction, rtol=0, atol=1e-12 * max(np.ptp(y), 1))
    size = model.effective_sample_size(Q)
    n = model.n_validation_  # samples, over which weights have the mean 1
    assert np.all((size >= w[w > 0].min() / w.sum() * n * (1 - 1e-9)) & (size <= n * (1 + 1e-9)))


@given(data(), kernels, bandwidths, policies, engines, st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(data, kernel, bandwidth, outside, engine, random):
    X, y, w, Q = data
    order = random.sample(range(len(X)), len(X))
    model = NadarayaWatsonRegressor(kernel, bandwidth, outside=outside, algorithm=engine)
    assert_allclose(
        model.fit(X[order], y[order], w[order]).predict(Q), model.fit(X, y, w).predict(Q), rtol=0, atol=1e-9
    )


@given(data(), kernels, bandwidths, engines, numbers, st.sampled_from([-1.0, 0.125, 3.0, 1e6]))
def test_a_shift_and_a_factor_of_y_come_through(data, kernel, bandwidth, engine, shift, factor):
    X, y, w, Q = data
    plain = NadarayaWatsonRegressor(kernel, bandwidth, algorithm=engine).fit(X, y, w)
    moved = NadarayaWatsonRegressor(kernel, bandwidth, algorithm=engine).fit(X, shift + factor * y, w)
    atol = 1e-11 * (np.ptp(y) + 8) * abs(factor)
    assert_allclose(moved.predict(Q), shift + factor * plain.predict(Q), rtol=0, atol=atol)
    assert_allclose(moved.loo_prediction_, shift + factor * plain.loo_prediction_, rtol=0, atol=atol)


@given(data(), kernels, bandwidths, engines, st.sampled_from([0.5, -3.0, 1000.0, -(2.0**20)]))
def test_a_shift_of_all_inputs_changes_nothing(data, kernel, bandwidth, engine, shift):
    X, y, w, Q = data
    plain = NadarayaWatsonRegressor(kernel, bandwidth, algorithm=engine).fit(X, y, w)
    moved = NadarayaWatsonRegressor(kernel, bandwidth, algorithm=engine).fit(X + shift, y, w)
    assert_allclose(moved.predict(Q + shift), plain.predict(Q), rtol=0, atol=1e-8)


@given(data(), kernels, bandwidths, policies)
def test_the_engines_agree(data, kernel, bandwidth, outside):
    X, y, w, Q = data
    dense, fused = (
        NadarayaWatsonRegressor(kernel, bandwidth, outside=outside, algorithm=engine).fit(X, y, w) for engine in ENGINES
    )
    assert_allclose(fused.predict(Q), dense.predict(Q), rtol=0, atol=1e-9)
    assert_allclose(fused.loo_prediction_, dense.loo_prediction_, rtol=0, atol=1e-9)


# weights that sum to less than the number of rows, as some here do, leave aicc with a warning
few_samples = pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")


@few_samples
@pytest.mark.parametrize("engine", ENGINES)
@given(data(), kernels, selectors)
def test_every_selector_gets_along_with_any_data(engine, data, kernel, selector):
    X, y, w, Q = data
    model = NadarayaWatsonRegressor(kernel, selector, algorithm=engine).fit(X, y, w)
    assert np.all(np.isfinite(model.bandwidth_)) and np.all(model.bandwidth_ > 0)
    mean, _ = model.predict(Q, return_std=True)
    assert np.all((mean >= y.min() - 1e-9) & (mean <= y.max() + 1e-9))


@few_samples
@given(data(), kernels, selectors, st.sampled_from(["loo", 0.0, 1e-6, 1.0]))
def test_lines_get_along_with_any_data(data, kernel, selector, ridge):
    X, y, w, Q = data
    model = LocalLinearRegressor(kernel, selector, ridge=ridge).fit(X, y, w)
    mean, _ = model.predict(Q, return_std=True)
    assert np.all(np.isfinite(mean))
    assert model.ridge_ >= 0


@pytest.mark.filterwarnings(
    "ignore:left-out predictions are no better:UserWarning"
)  # weights of a small sum leave aicc and gcv no score
@few_samples
@given(data(), selectors)
def test_a_selector_does_not_see_the_unit_of_y(data, selector):
    X, y, w, _ = data
    plain, scaled = (NadarayaWatsonRegressor(bandwidth=selector).fit(X, unit * y, w) for unit in [1.0, 2.0**30])
    assert_allclose(scaled.bandwidth_, plain.bandwidth_, rtol=1e-12)


@pytest.mark.parametrize("engine", ["dense", "fused", "sorted"])
def test_means_of_zeros_and_ones_are_probabilities(engine):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 1))
    y = np.column_stack([X[:, 0] > 0, X[:, 0] > 1, 0.1 + 0.2 * (X[:, 0] > 0)])
    model = NadarayaWatsonRegressor("epanechnikov", 0.3, algorithm=engine).fit(X, y)
    Q = rng.normal(size=(1000, 1))
    for means in (model.predict(Q), model.predict(Q.astype(np.float32)).astype(float), model.loo_prediction_):
        assert np.all((means >= y.min(axis=0)) & (means <= y.max(axis=0)))
    assert np.all(np.isfinite(np.sqrt(model.predict(Q))))
