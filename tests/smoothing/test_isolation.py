"""Isolated queries, whose kernel is as wide as it takes to see one sample, against the oracle."""

import pickle

import numpy as np
import oracle
import pytest
from covering import covering_array, describe
from kernel_requests import request_of
from numpy.testing import assert_allclose, assert_array_equal
from problems import assert_close, engine_cases, regression
from sklearn.model_selection import KFold

from sknw import AttentionPoolingRegressor
from sknw._predictive.gradient import gradients
from sknw._predictive.significance import derivatives
from sknw._smoothing.isolation import find_widths

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def learned(kernel="gaussian", d=2, n_outputs=None, weighted=False, **parameters):
    """A fitted model, X, y, w, queries of which some are isolated, and h and the lines of the oracle."""
    X, y, w, Q = regression(n=18, m=5, d=d, n_outputs=n_outputs, weighted=weighted)
    Q = np.vstack([Q[:3], np.full(d, 2.5), np.full(d, -30.0)])
    model = AttentionPoolingRegressor(kernel, degree=1, penalty=0.01, max_iter=8, tol=1e-3, **parameters).fit(X, y, w)
    with np.errstate(divide="ignore"):
        h = 1.0 / model.w_
    return model, X, y, w, Q, h, oracle.Counted(model.ridge_, model.slope_count_, least=1.0)


@pytest.mark.parametrize(
    "case",
    covering_array(engine_cases(["gaussian", "exponential"], [1, 2]), n_outputs=[None, 2], weighted=[False, True]),
    ids=describe,
)
def test_lines_are_the_oracles(case):
    kernel = case["kernel"]
    model, X, y, w, Q, h, lines = learned(**case)
    widths = model._fitted.smoother.queries(Q).widths
    assert 1 < np.count_nonzero(widths > 1.0) < len(Q)
    expected = oracle.predict(Q, X, y, h, kernel, w, ridge=lines)
    if model._keeps_range:
        samples = y if w is None else y[w > 0]
        expected = np.clip(expected, samples.min(axis=0), samples.max(axis=0))
    assert_close(model.predict(Q), expected, y, 1e-9)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(Q), model.predict(Q))
    assert_close(np.concatenate([model.predict(q[np.newaxis]) for q in Q]), model.predict(Q), y)
    assert_close(model.loo_prediction_, oracle.leave_one_out(X, y, h, kernel, w, ridge=lines), y, 1e-9)
    weights = oracle.weights_or_ones(w, X)
    u = [oracle.widened(row, kernel, weights, 1.0) for row in oracle.distances(Q, X, h)]
    attention = np.array([oracle.attention_row(row, kernel, weights) for row in u], dtype=float)
    assert_allclose(model.attention_weights_(Q), attention, rtol=0, atol=1e-10)
    sizes = 1.0 / (attention[:, weights > 0] ** 2 / weights[weights > 0]).sum(axis=1)
    assert_allclose(model.effective_sample_size(Q), sizes.astype(float), rtol=1e-9)


@pytest.mark.parametrize("cv", [None, KFold(3, shuffle=True, random_state=0)], ids=["jackknife", "folds"])
@pytest.mark.parametrize(("kernel", "weighted"), [("gaussian", True), ("exponential", False)])
def test_intervals_are_the_oracles(kernel, weighted, cv):
    model, X, y, w, Q, h, lines = learned(kernel, weighted=weighted, cv=cv)
    splits = None if cv is None else list(cv.split(X))
    interval = oracle.interval(Q[2:], X, y, h, kernel, w, ridge=lines, coverage=0.6, splits=splits)
    assert_close(model.predict_interval(Q[2:], 0.6), interval[:, 0], y, 1e-7)


@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
def test_gradients_know_that_widths_change(kernel):
    model, X, y, _, Q, h, lines = learned(kernel, n_outputs=2)
    Q = Q + 0.05
    slopes = oracle.gradient(lambda P: oracle.predict(P, X, y, h, kernel, ridge=lines), Q, 1e-4)
    assert_allclose(model.gradient(Q), slopes.astype(float), rtol=0, atol=1e-6)
    smoother = model._fitted.smoother
    by_columns = gradients(smoother, smoother.queries(Q))[0]
    assert_allclose(derivatives(smoother, Q, 0, smoother.values), by_columns[..., 0], rtol=0, atol=1e-9)


def test_isolated_queries_of_a_learned_model_stay_so_when_rows_are_appended():
    model, X, y, _, Q, h, lines = learned()
    more, of_more, _, _ = regression(n=6, d=2, seed=1)
    model.set_params(w=model.w_).partial_fit(more, of_more)
    X, y = np.vstack([X, more]), np.append(y, of_more)
    expected = oracle.predict(Q, X, y, h, "gaussian", ridge=lines)
    if model._keeps_range:
        expected = np.clip(expected, y.min(), y.max())
    assert_close(model.predict(Q), expected, y, 1e-9)


def test_of_few_samples_half_of_all_are_enough():
    keys, w, query = np.array([0.0, 0.5, 2.0]), np.array([0.1, 0.3, 0.4]), np.array([5.0])
    widths = find_widths(request_of("gaussian", keys, query, weights=w), 1.0, "auto")
    u = np.abs(query - keys).astype(np.longdouble)
    assert_allclose(widths, (u / oracle.widened(u, "gaussian", w, 1.0))[:1].astype(float), rtol=1e-12)


def test_only_learned_lines_whose_ridge_is_learned_widen():
    X, y, _, _ = regression(n=18, d=2)
    for parameters in ({"w": 3.0}, {"ridge": 0.1}, {"kernel": "tricube"}):
        model = AttentionPoolingRegressor(degree=1, max_iter=2, **parameters).fit(X, y)
        assert model._fitted.smoother.queries(10.0 + X).widths is None
