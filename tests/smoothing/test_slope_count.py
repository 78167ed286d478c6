"""Lines whose slope is shrunken by M / (M + count), M the number of samples around the query, against the oracle."""

import pickle

import numpy as np
import oracle
import pytest
from covering import covering_array, describe
from numpy.testing import assert_allclose
from problems import KERNELS, assert_close, engine_cases, regression
from sklearn.gaussian_process.kernels import RBF
from sklearn.model_selection import KFold

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw._selection.criterion import Criterion
from sknw._smoothing.local_linear import LocalLinearSpec
from sknw.kernels import resolve_kernel


def lines_of(model):
    assert model.slope_count_ == 0.2
    return oracle.Counted(model.ridge_, model.slope_count_)


@pytest.mark.parametrize(
    "case",
    covering_array(engine_cases(["gaussian", "exponential", "tricube"], [1, 2]), n_outputs=[None, 2], weighted=[0, 1]),
    ids=describe,
)
def test_lines_are_the_oracles(case):
    d, kernel = case["d"], case["kernel"]
    X, y, w, Q = regression(n=20, m=5, d=d, n_outputs=case["n_outputs"], weighted=bool(case["weighted"]))
    Q, h = np.vstack([Q, 4.0 + np.zeros(d)]), np.full(d, 0.7)
    model = LocalLinearRegressor(kernel, h, algorithm=case["algorithm"]).fit(X, y, w)
    lines = lines_of(model)
    assert_close(model.predict(Q), oracle.predict(Q, X, y, h, kernel, w, ridge=lines), y)
    assert_close(model.loo_prediction_, oracle.leave_one_out(X, y, h, kernel, w, ridge=lines), y)
    interval = oracle.interval(Q, X, y, h, kernel, w, ridge=lines, coverage=0.6)
    assert_close(model.predict_interval(Q, 0.6).reshape(interval.shape), interval, y, 1e-8)
    again = pickle.loads(pickle.dumps(model))
    assert_allclose(again.predict(Q), model.predict(Q), rtol=1e-12)
    slopes = oracle.gradient(lambda Q: model.predict(Q).reshape(len(Q), -1), Q[:-1] / 2, 1e-4)
    # the exponential kernel has kinks at the samples, which are further away than the differences reach
    assert_allclose(model.gradient(Q[:-1] / 2).reshape(slopes.shape), slopes, rtol=0, atol=2e-6)


def test_few_samples_around_a_query_have_no_slope_to_tell():
    X, y, _, _ = regression(n=40, d=1)
    model = LocalLinearRegressor(bandwidth=0.3).fit(X, y)
    far = X.max() + np.array([[2.0], [3.0], [30.0]])
    assert lines_of(model)
    mean = NadarayaWatsonRegressor(bandwidth=0.3).fit(X, y).predict(far)
    assert_allclose(model.predict(far), mean, atol=1e-6)
    assert_allclose(model.gradient(far)[2], 0.0, atol=1e-6)  # nearer the weighted mean itself still changes
    of_function = LocalLinearRegressor(RBF(1.0), 0.3).fit(X, y)
    assert_allclose(of_function.predict(far), model.predict(far), rtol=1e-9)


def test_groups_count_as_much_as_their_samples():
    X, y, w, Q = regression(n=30, m=5, d=2, weighted=True)
    folds = KFold(4, shuffle=True, random_state=0)
    model = LocalLinearRegressor(bandwidth=0.9, cv=folds).fit(X, y, w)
    expected = oracle.interval(
        Q, X, y, [0.9, 0.9], "gaussian", w, ridge=lines_of(model), coverage=0.6, splits=list(folds.split(X))
    )
    assert_close(model.predict_interval(Q, 0.6), expected[:, 0], y, 1e-8)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["loo", "gcv", "aicc"])
@pytest.mark.parametrize("kernel", ["gaussian", "tricube"])
def test_criteria_are_the_oracles(kernel, name, weighted):
    X, y, w, _ = regression(n=30, d=2, weighted=weighted)
    model = LocalLinearRegressor()
    data = model._validate_fit(X, y, w, None)
    line = LocalLinearSpec.of(data.training, 0.0, 0.5)
    smoother = model._build_smoother(
        data.training, resolve_kernel(kernel), 1 / data.training.scales, data.validation, 1, line
    )
    h, lines = np.array([2.0, 0.7]), oracle.Counted(0.01, 0.5)
    criterion = Criterion(name, smoother, data.training, data.validation, 0.01)
    scores = criterion.in_units_of_y(criterion(h)[0])
    expected = [oracle.criterion(name, X, y, b * oracle.scales(X, w), kernel, w, ridge=lines) for b in h]
    assert_allclose(scores, np.array(expected, dtype=float), rtol=1e-9)


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize(
    "model",
    [
        LocalLinearRegressor(),
        LocalLinearRegressor(bandwidth="aicc"),
        LocalLinearRegressor("tricube", 2.0),
        AttentionPoolingRegressor(degree=1),
        AttentionPoolingRegressor(w=0.5, degree=1),
    ],
    ids=str,
)
def test_exact_lines_are_not_shrunken(model, d):
    X, _, _, Q = regression(n=40, d=d)
    slope = np.arange(1.0, d + 1.0)
    model.fit(X, X @ slope + 5.0)
    assert model.slope_count_ == 0.0
    assert_allclose(model.predict(Q / 4), Q / 4 @ slope + 5.0, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("noise", "keeps_range"), [(1e-3, False), (1.0, True)])
def test_learned_lines_keep_the_range_of_y_unless_that_loses_much(noise, keeps_range):
    X, _, _, _ = regression(n=40, d=2)
    X = np.unique(X, axis=0)  # without copies, and in the order of the samples
    y, far = X @ [1.0, 2.0] + 50.0, 1.5 * X
    model = AttentionPoolingRegressor(w="scalar", degree=1).fit(
        X, y + noise * np.random.default_rng(0).normal(size=len(y))
    )
    predictions, targets = model.predict(far), model.y_train_
    assert keeps_range == (targets.min() <= predictions.min() and predictions.max() <= targets.max())
    if not keeps_range:
        assert_allclose(predictions, far @ [1.0, 2.0] + 50.0, rtol=0, atol=0.05)
    assert_allclose(pickle.loads(pickle.dumps(model)).predict(far), predictions, rtol=1e-12)


def test_the_count_is_the_largest_that_is_not_much_worse():
    X, y, _, _ = regression(n=30, d=2)
    counts = set()
    for noise in (0.001, 0.01, 0.1, 1.0):
        targets = X @ [10.0, 5.0] + noise * y
        model = LocalLinearRegressor(bandwidth=1.0).fit(X, targets)
        errors = {}
        for count in (0.2, 0.02, 0.002, 0.0):
            lines = oracle.Counted(model.ridge_, count)
            left_out = oracle.leave_one_out(X, targets, [1.0, 1.0], "gaussian", ridge=lines)
            errors[count] = np.mean((left_out - targets) ** 2)
        assert model.slope_count_ == next(c for c, error in errors.items() if error <= 1.2 * min(errors.values()))
        counts.add(model.slope_count_)
    assert len(counts) > 2


def test_a_ridge_in_numbers_is_all_there_is():
    X, y, _, _ = regression(n=30, d=2)
    assert LocalLinearRegressor(ridge=0.1).fit(X, y).slope_count_ == 0.0
    assert AttentionPoolingRegressor(w=1.0, degree=1, ridge=0.1).fit(X, y).slope_count_ == 0.0
    assert AttentionPoolingRegressor(w=1.0).fit(X, y).slope_count_ is None


@pytest.mark.parametrize("kernel", KERNELS)
def test_learned_attention_gives_the_same_lines_as_a_bandwidth(kernel):
    X, y, w, Q = regression(n=30, m=5, d=2, weighted=True)
    bandwidth, attention = (
        model.fit(X, y, w)
        for model in (
            LocalLinearRegressor(KERNELS[kernel][0], 0.8),
            AttentionPoolingRegressor(KERNELS[kernel][0], 1 / 0.8, degree=1),
        )
    )
    assert attention.slope_count_ == bandwidth.slope_count_
    assert_allclose(attention.predict(Q), bandwidth.predict(Q), rtol=1e-9)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 3.0), (-20.0, 1000.0)])
def test_even_nearly_noiseless_series_are_no_staircase_whatever_the_unit_of_y(scale, offset):
    x = np.linspace(0.0, 1.0, 100)
    y = np.sin(6 * x) + 1e-2 * np.random.default_rng(0).normal(size=100)
    Q = np.linspace(0.05, 0.95, 300)
    plain, moved = (
        AttentionPoolingRegressor(degree=1).fit(x[:, np.newaxis], targets).predict(Q[:, np.newaxis])
        for targets in (y, scale * y + offset)
    )
    assert_allclose((moved - offset) / scale, plain, rtol=0, atol=1e-5)
    lines = LocalLinearRegressor().fit(x[:, np.newaxis], y).predict(Q[:, np.newaxis])
    errors = [np.sqrt(np.mean((found - np.sin(6 * Q)) ** 2)) for found in (plain, lines)]
    assert errors[0] < 1.5 * errors[1]
