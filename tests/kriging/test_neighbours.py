"""Kriging on the nearest keys against dense brute force, and against kriging on all of them."""

import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sknw import KrigingRegressor
from sknw._kriging.estimate import standardised
from sknw._kriging.neighbours import LocalKriging
from sknw.model_selection import LeaveBlockOut

K = 32


def data(n=200, n_outputs=1, seed=0):
    """Numbers, one of them with ties, and one of two values; blocks of equal rows differ in y."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=(n, 2)), rng.integers(0, 5, n), rng.integers(0, 2, n)])
    X[n // 2 : n // 2 + 10] = X[:10]
    y = np.sin(X[:, :1]) + X[:, 2:3] + rng.normal(scale=0.3, size=(n, n_outputs))
    return X, y if n_outputs > 1 else y[:, 0]


def by_definition(model, X, Q, omega, k=K, left_out=None):
    """Weights (m, n) and variances (m,) of a model fitted to X."""
    F, f = (oracle.kriging_trend(A, model.trend == "linear") for A in (X, Q))
    kappa, keys = (oracle.kriging_covariance(A, X, model.w_, model.power_) for A in (Q, X))
    return oracle.kriging_on_neighbours(kappa, keys, model.amplitude_, model.noise_ / omega, f, F, k, left_out)


@pytest.mark.parametrize(("trend", "n_outputs"), [("constant", 2), ("linear", 1)])
def test_predictions_are_those_of_the_neighbours(trend, n_outputs):
    X, y = data(n_outputs=n_outputs)
    Q = np.vstack([data(60, seed=1)[0], [[9.0, -9.0, 2.0, 0.0]]])
    if trend == "linear":  # of columns that vary among all neighbours
        X, Q = X[:, :2], Q[:, :2]
    weights = np.random.default_rng(2).uniform(0.5, 2, len(X))
    model = KrigingRegressor(trend=trend, n_neighbors=K, max_iter=5).fit(X, y, weights)
    omega = weights / weights.mean()
    c, variances = by_definition(model, X, Q, omega)
    found = model.attention_weights_(Q, sparse_output=True)
    assert_allclose(found.toarray(), c, rtol=0, atol=1e-9)
    prediction, std = model.predict(Q, return_std=True)
    assert_allclose(prediction, np.clip(c @ y, y.min(axis=0), y.max(axis=0)), rtol=1e-9, atol=1e-9)
    spread = np.sqrt(np.outer(variances + model.noise_, model._fitted.training.y_scales**2)).reshape(std.shape)
    assert_allclose(std, spread, rtol=1e-8)
    own = [[i] for i in range(len(X))]
    assert_allclose(model.loo_prediction_, by_definition(model, X, X, omega, left_out=own)[0] @ y, atol=1e-9)


@pytest.mark.parametrize("kind", ["groups", "splits", "times"])
def test_what_is_left_out_is_no_neighbour(kind):
    X, y = data()
    groups, numbers = np.arange(200) * 7 % 9, np.arange(200)
    cv = None
    left_out = [np.flatnonzero(groups == g) for g in groups]
    if kind == "splits":
        halves = numbers[::2], numbers[1::2]
        cv, left_out = [halves, halves[::-1]], [halves[i % 2] for i in numbers]
    elif kind == "times":
        cv, left_out = LeaveBlockOut(30), [numbers[max(i - 30, 0) : i + 31] for i in numbers]
    model = KrigingRegressor(n_neighbors=K, cv=cv, max_iter=3)
    model.fit(X, y, groups=groups if cv is None else None)
    c, _ = by_definition(model, X, X, np.ones(200), left_out=left_out)
    assert_allclose(model.loo_prediction_, c @ y, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["rows", "groups", "splits"])
def test_with_all_samples_as_neighbours_it_is_kriging_on_all(kind):
    X, y = data(80)
    groups = np.arange(80) // 8 if kind == "groups" else None
    cv = 4 if kind == "splits" else None
    weights = np.random.default_rng(2).uniform(0.5, 2, 80)
    exact = KrigingRegressor(trend="linear", max_iter=5, cv=cv).fit(X, y, weights, groups=groups)
    fitted, validation = exact._fitted, exact._fitted.validation
    solution = fitted.solution
    local = LocalKriging(solution.model, solution.columns, solution.values, solution.weight, np.arange(80), 80)
    Q = standardised(fitted.training, data(20, seed=1)[0])
    found, expected = (
        (
            *solution.predict_with_variance(Q, 1),
            solution.covariance(Q, 1),
            solution.gradient(Q, 1),
            *solution.left_out(validation, 1),
            solution.interval(Q, validation, fitted.residuals, 0.8, 1),
        )
        for solution in (local, fitted.solution)
    )
    for a, b in zip(found, expected, strict=True):
        assert_allclose(a, b, rtol=1e-8, atol=1e-9)


def test_neighbours_are_those_of_the_query_alone_in_any_number_of_threads():
    X, y = data(400)
    Q = data(300, seed=1)[0]
    one = KrigingRegressor(n_neighbors=K, max_iter=3, n_jobs=1).fit(X, y)
    two = KrigingRegressor(n_neighbors=K, max_iter=3, n_jobs=2).fit(X, y)
    together = one.predict(Q)
    assert_array_equal(together, two.predict(Q))
    assert_array_equal(one.loo_prediction_, two.loo_prediction_)
    assert_array_equal(together[:40], [one.predict(q[np.newaxis])[0] for q in Q[:40]])
    assert_array_equal(one.predict_interval(Q[:5])[3:], one.predict_interval(Q[3:5]))


def test_of_ties_the_first_rows_are_neighbours():
    X = np.arange(3.0).repeat(100)[::-1, np.newaxis]
    model = KrigingRegressor(w=1.0, power=1.5, n_neighbors=50).fit(X, np.random.default_rng(0).normal(size=300))
    weights = model.attention_weights_(np.array([[0.1], [1.9]]))
    assert_array_equal(np.flatnonzero(weights[0]), np.arange(200, 250))
    assert_array_equal(np.flatnonzero(weights[1]), np.arange(50))


def test_copies_without_noise_are_no_trouble():
    X, y = data(150)
    X[100:], y[100:] = X[:50], y[:50] + 1e-3 * np.arange(50)
    model = KrigingRegressor(w=0.7, power=1.2, noise=0.0, n_neighbors=K).fit(X, y)
    assert np.all(np.isfinite(model.loo_prediction_))
    assert_allclose(model.predict(X[50:75]), y[50:75], atol=1e-6)


def test_an_offset_and_single_precision_change_little():
    X, y = data()
    model = KrigingRegressor(n_neighbors=K, max_iter=5).fit(X, y)
    far = KrigingRegressor(n_neighbors=K, max_iter=5).fit(X + 1e6, y + 1e6)
    assert_allclose(far.predict(X + 1e6) - 1e6, model.predict(X), rtol=0, atol=1e-5)
    single = KrigingRegressor(n_neighbors=K, max_iter=5).fit(X.astype(np.float32), y)
    found = single.predict(X.astype(np.float32))
    assert found.dtype == np.float32
    assert_allclose(found, model.predict(X), atol=1e-3)


def test_gradient_is_the_derivative_while_neighbours_stay():
    X, y = data(n_outputs=2)
    model = KrigingRegressor(n_neighbors=K, power=1.4, max_iter=5, trend="linear").fit(X, y)
    Q = data(40, seed=1)[0][:10] + 0.01
    found = model.gradient(Q)
    for k in range(3):
        h = 1e-6 * (np.arange(4) == k)
        numerical = (model.attention_weights_(Q + h) - model.attention_weights_(Q - h)) @ y / 2e-6
        assert_allclose(found[..., k], numerical, rtol=1e-5, atol=1e-6)


def test_a_linear_trend_keeps_its_constant_where_a_column_is_the_same_among_neighbours():
    """Two clusters: the slope between them is not known from the neighbours of one, their level is."""
    rng = np.random.default_rng(0)
    X = np.column_stack([np.repeat([0.0, 50.0, 51.0], 40), rng.uniform(size=120)])
    y = X[:, 1] + X[:, 0] + rng.normal(scale=0.1, size=120)
    model = KrigingRegressor(w=1.0, power=1.5, trend="linear", n_neighbors=K).fit(X, y)
    Q = np.column_stack([[0.0, 0.5, 20.0, 50.0, 60.0], np.full(5, 0.5)])
    assert_allclose(model.attention_weights_(Q).sum(axis=1), 1.0, rtol=1e-9)


def test_intervals_count_the_weights_of_neighbours_relative_to_each_other():
    """Half of the samples weigh 100 times less: an interval of theirs is as finite as one of the others."""
    X, y = data()
    weights = np.where(X[:, 0] < np.median(X[:, 0]), 0.01, 1.0)
    model = KrigingRegressor(w=1.0, power=1.5, n_neighbors=K).fit(X, y, weights)
    assert np.all(np.isfinite(model.predict_interval(X)))
