"""What a sample is: copies, weights, and the order of samples."""

import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import AdaBoostRegressor, BaggingRegressor

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw._smoothing.training import TrainingSet, sort_rows


def continuous(n=60, d=2, seed=0, n_outputs=None):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = np.sin(2 * X[:, :1]) + 0.3 * rng.normal(size=(n, n_outputs or 1))
    return X, y if n_outputs else y[:, 0]


def of_few_values(n=400, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(1, 11, n).astype(float)
    return x[:, np.newaxis], (rng.uniform(size=n) < x / 12).astype(float)


MODELS = [
    NadarayaWatsonRegressor(),
    NadarayaWatsonRegressor("tricube", "aicc"),
    NadarayaWatsonRegressor(bandwidth="gcv"),
    NadarayaWatsonRegressor(bandwidth="scott"),
    LocalLinearRegressor(),
    AttentionPoolingRegressor(tol=1e-3),
    AttentionPoolingRegressor(degree=1, tol=1e-3),
]


def learned(model):
    return model.w_ if hasattr(model, "w_") else model.bandwidth_


def assert_same_model(actual, expected, Q, rtol):
    assert_allclose(learned(actual), learned(expected), rtol=rtol, atol=rtol)
    assert_allclose(actual.loo_score_, expected.loo_score_, rtol=1e-6)
    assert actual.n_validation_ == expected.n_validation_
    for method in ("predict", "effective_sample_size", "predict_interval", "predict_quantile"):
        assert_allclose(getattr(actual, method)(Q), getattr(expected, method)(Q), rtol=1e-6, atol=1e-6)
    assert_allclose(actual.predict(Q, return_std=True)[1], expected.predict(Q, return_std=True)[1], rtol=1e-6)


# The training set itself


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("n_outputs", [None, 2])
def test_integer_weights_and_repeated_rows_in_any_order_are_the_same_training_set(d, n_outputs):
    X, y = continuous(d=d, n_outputs=n_outputs)
    w = np.random.default_rng(1).integers(0, 4, len(X))
    rows = np.random.default_rng(2).permutation(np.repeat(np.arange(len(X)), w))
    weighted, repeated = TrainingSet.of(X, y, w.astype(float)), TrainingSet.of(X[rows], y[rows], None)
    for name in ("X", "values", "sample_weight", "center", "scales", "y_center", "y_scales"):
        assert_array_equal(getattr(repeated, name), getattr(weighted, name))


def test_samples_are_sorted_by_x_and_then_y_and_copies_add_their_weights():
    X = np.array([[2.0, 1.0], [0.0, 5.0], [2.0, 1.0], [-0.0, 5.0], [2.0, 0.0], [9.0, 9.0]])
    y = np.array([1.0, 5.0, 1.0, 5.0, 3.0, 4.0])
    training = TrainingSet.of(X, y, np.array([1.0, 2.0, 3.0, 0.5, 1.5, 0.0]))
    assert_array_equal(training.X, [[0.0, 5.0], [2.0, 0.0], [2.0, 1.0]])
    assert_allclose(training.sample_weight, np.array([2.5, 1.5, 4.0]) * 3 / 8)
    assert_allclose(training.for_given_rows(np.array([1.0, 10.0, 100.0])), [25.0, 0.8, 75.0, 0.2, 10.0, 0.0])


@pytest.mark.parametrize("values", ["all differ", "one pair is equal", "few", "zeros of both signs", "sorted runs"])
def test_equal_rows_stay_in_their_order(values):
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    if values == "one pair is equal":
        x[499] = x[0]
    elif values == "few":
        x = rng.integers(0, 5, 500).astype(float)
    elif values == "zeros of both signs":
        x[::7], x[3::7] = 0.0, -0.0
    elif values == "sorted runs":
        x = np.append(np.arange(300.0), np.arange(200.0))
    rows = rng.permutation(500)
    order, (begins,) = sort_rows(rows, [x[np.newaxis]])
    expected = rows[np.array(sorted(range(500), key=lambda i: x[rows[i]]), dtype=int)]  # Python's sort is stable
    assert_array_equal(order, expected)
    assert_array_equal(begins, np.append(True, x[expected][1:] != x[expected][:-1]))


def test_copies_of_other_blocks_are_other_samples():
    X, y = np.array([[1.0], [1.0], [1.0], [2.0]]), np.array([3.0, 3.0, 3.0, 4.0])
    training = TrainingSet.of(X, y, None, block=np.array([1, 0, 1, 0]))
    assert_array_equal(training.X[:, 0], [1.0, 2.0, 1.0])
    assert_allclose(training.sample_weight, np.array([1, 1, 2]) * 0.75)


@pytest.mark.parametrize(
    ("x", "y", "n_samples"),
    [
        (np.arange(20) % 10, np.arange(20) % 10, 10),  # every x twice with its y
        (np.arange(20) % 10, np.repeat([0.0, 1.0], 10), 20),  # two targets of each x
        (np.append(np.arange(18) % 9, [20, 21]), np.append(np.arange(18) % 9, [0, 1]), 11),
        (np.repeat([0.0, 1.0], 20), np.tile([0.0, 0.0, 0.0, 1.0], 10), 40),  # a two by two table
        (np.zeros(20), np.arange(20) // 2, 10),  # a constant input, and distinct targets that come twice
        (np.zeros(20), np.zeros(20), 1),
    ],
)
def test_copies_are_merged_where_x_or_y_identifies_a_sample(x, y, n_samples):
    X, y = np.asarray(x, dtype=float)[:, np.newaxis], np.asarray(y, dtype=float)
    assert len(TrainingSet.of(X, y, None)) == n_samples
    w = np.random.default_rng(0).uniform(0.1, 9, len(X))
    rows = np.random.default_rng(1).permutation(np.repeat(np.arange(len(X)), 3))
    assert len(TrainingSet.of(X, y, w)) == n_samples, "weights do not decide"
    assert len(TrainingSet.of(X[rows], y[rows], None)) == (n_samples if n_samples < len(X) else 3 * n_samples)


# What follows for models


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_only_ratios_of_weights_matter(model):
    X, y = continuous()
    w = np.random.default_rng(1).lognormal(size=len(X))
    first = model.fit(X, y, w)
    kept = {name: value for name, value in vars(first).items() if name.endswith("_")}
    expected = type(model)(**model.get_params()).fit(X, y, 7.3 * w)
    assert_allclose(kept.get("w_", kept.get("bandwidth_")), learned(expected), rtol=1e-6, atol=1e-6)
    assert_same_model(expected, type(model)(**model.get_params()).fit(X, y, w), X[:10], 1e-6)


@pytest.mark.parametrize("model", MODELS, ids=str)
@pytest.mark.parametrize("weight", [1e-5, 0.1, 7.0])
def test_equal_weights_of_any_size_are_no_weights(model, weight):
    X, y = continuous()
    fits = [type(model)(**model.get_params()).fit(X, y, w) for w in (None, np.full(len(X), weight))]
    assert_array_equal(learned(fits[1]), learned(fits[0]))
    assert_array_equal(fits[1].loo_prediction_, fits[0].loo_prediction_)
    assert_array_equal(fits[1].effective_sample_size(X), fits[0].effective_sample_size(X))


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_copied_data_choose_what_the_original_chooses(model):
    X, y = continuous()
    one = type(model)(**model.get_params()).fit(X, y)
    three = type(model)(**model.get_params()).fit(np.tile(X, (3, 1)), np.tile(y, 3))
    assert_array_equal(learned(three), learned(one))
    assert_array_equal(three.loo_prediction_, np.tile(one.loo_prediction_, 3))
    assert_same_model(three, one, X[:10], 1e-12)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_integer_weights_are_repeated_rows(model):
    X, y = continuous()
    w = np.random.default_rng(1).integers(0, 5, len(X))
    weighted = type(model)(**model.get_params()).fit(X, y, w)
    repeated = type(model)(**model.get_params()).fit(np.repeat(X, w, axis=0), np.repeat(y, w))
    assert_array_equal(learned(repeated), learned(weighted))
    assert_array_equal(repeated.loo_prediction_, np.repeat(weighted.loo_prediction_, w))
    assert_same_model(repeated, weighted, X[:10], 1e-12)


@pytest.mark.parametrize("sparse", [False, True])
def test_copies_share_the_attention_by_their_weights(sparse):
    X, y = continuous()
    w = np.random.default_rng(1).uniform(1, 3, len(X))
    model = NadarayaWatsonRegressor("epanechnikov", 1.0).fit(np.vstack([X, X]), np.append(y, y), np.append(w, 3 * w))
    attention = model.attention_weights_(X, sparse_output=sparse)
    attention = attention.toarray() if sparse else attention
    assert_allclose(attention[:, len(X) :], 3 * attention[:, : len(X)], rtol=1e-12)
    assert_allclose(attention @ np.append(y, y), model.predict(X), rtol=1e-12, atol=1e-12)
    largest = model.attention_weights_(X, top_k=3).toarray()
    assert np.all(np.count_nonzero(largest, axis=1) <= 3)


@pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")
@pytest.mark.parametrize("data", ["integers and zeros or ones", "two by two"])
def test_tables_of_few_values_choose_as_row_wise_leave_one_out(data):
    X, y = of_few_values()
    if data == "two by two":
        rng = np.random.default_rng(0)
        X = rng.integers(0, 2, (1000, 1)).astype(float)
        y = (rng.uniform(size=1000) < np.where(X[:, 0] > 0, 0.9, 0.1)).astype(float)
    model = NadarayaWatsonRegressor().fit(X, y)
    assert model.n_validation_ == len(X)
    grid = np.geomspace(0.05, 30, 30)
    scores = [float(oracle.criterion("loo", X[:150], y[:150], [h], "gaussian")) for h in grid]
    own = NadarayaWatsonRegressor().fit(X[:150], y[:150]).bandwidth_
    assert float(oracle.criterion("loo", X[:150], y[:150], own, "gaussian")) <= min(scores) * (1 + 1e-5)
    if data == "two by two":
        assert model.loo_score_ > 0.6


def test_in_tables_of_few_values_integer_weights_equal_repeats_at_a_fixed_bandwidth():
    X, y = of_few_values(100)
    w = np.random.default_rng(1).integers(1, 4, len(X))
    weighted = NadarayaWatsonRegressor(bandwidth=0.7).fit(X, y, w)
    repeated = NadarayaWatsonRegressor(bandwidth=0.7).fit(np.repeat(X, w, axis=0), np.repeat(y, w))
    assert (weighted.n_validation_, repeated.n_validation_) == (100, w.sum())
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-12)


def test_a_row_of_large_weight_does_not_predict_itself():
    X, y = continuous(d=1)
    w = np.ones(len(X))
    w[3] = 1e6
    model = NadarayaWatsonRegressor(bandwidth=0.3).fit(X, y, w)
    assert_allclose(model.loo_prediction_[3], oracle.leave_one_out(X, y, [0.3], "gaussian")[3].astype(float))


def test_bootstrap_refits_choose_about_the_bandwidth_of_the_data():
    X, y = continuous(200, d=1)
    original = NadarayaWatsonRegressor().fit(X, y).bandwidth_[0]
    rng = np.random.default_rng(0)
    refits = []
    for _ in range(25):
        rows = rng.integers(0, len(X), len(X))
        refits.append(NadarayaWatsonRegressor().fit(X[rows], y[rows]).bandwidth_[0])
        counts = np.bincount(rows, minlength=len(X))
        assert NadarayaWatsonRegressor().fit(X, y, counts).bandwidth_[0] == refits[-1]
    assert 1 / 1.5 < np.median(refits) / original < 1.5


@pytest.mark.parametrize("ensemble", [BaggingRegressor, AdaBoostRegressor])
def test_ensembles_of_resamples_are_no_worse_than_one_model(ensemble):
    X, y = continuous(300, d=1)
    Q, y_of_Q = continuous(300, d=1, seed=1)
    one = NadarayaWatsonRegressor().fit(X, y).score(Q, y_of_Q)
    assert ensemble(NadarayaWatsonRegressor(), n_estimators=10, random_state=0).fit(X, y).score(Q, y_of_Q) > one - 0.02
