"""Isolated queries, whose kernel is as wide as it takes to see one sample, against the oracle."""

import numpy as np
import oracle
import pytest
from covering import covering_array, describe
from numpy.testing import assert_allclose
from problems import assert_close, engine_cases, regression
from sklearn.model_selection import KFold

from sknw import AttentionPoolingRegressor

LEAST = 1.0


def learned(kernel="gaussian", n=24, d=2, n_outputs=None, weighted=False, **parameters):
    """A fitted model, X, y, w, some queries, of which several are isolated, and h and the lines of the oracle."""
    X, y, w, Q = regression(n=n, m=5, d=d, n_outputs=n_outputs, weighted=weighted)
    Q = np.vstack([Q, np.full(d, 2.5), np.full(d, -30.0)])
    model = AttentionPoolingRegressor(kernel, degree=1, penalty=0.01, max_iter=12, tol=1e-3, **parameters)
    model.fit(X, y, w)
    with np.errstate(divide="ignore"):
        h = 1.0 / model.w_
    return model, X, y, w, Q, h, oracle.Counted(model.ridge_, model.slope_count_, LEAST)


@pytest.mark.filterwarnings("ignore")  # of an early end
@pytest.mark.parametrize(
    "case",
    covering_array(engine_cases(["gaussian", "exponential"], [1, 2]), n_outputs=[None, 2], weighted=[0, 1]),
    ids=describe,
)
def test_lines_are_the_oracles(case):
    kernel = case["kernel"]
    model, X, y, w, Q, h, lines = learned(**case)
    widths = model._fitted.smoother.queries(Q).widths
    assert 1 < np.count_nonzero(widths > 1.0) < len(Q)
    expected = oracle.predict(Q, X, y, h, kernel, w, ridge=lines)
    weights = np.ones(len(X)) if w is None else w
    seen = y[weights > 0]
    expected = np.clip(expected, seen.min(axis=0), seen.max(axis=0)) if model._keeps_range else expected
    assert_close(model.predict(Q), expected, y, 1e-9)
    assert_close(np.concatenate([model.predict(q[np.newaxis]) for q in Q]), model.predict(Q), y)
    assert_close(model.loo_prediction_, oracle.leave_one_out(X, y, h, kernel, w, ridge=lines), y, 1e-9)
    interval = oracle.interval(Q, X, y, h, kernel, w, ridge=lines, coverage=0.6)
    assert_close(model.predict_interval(Q, 0.6).reshape(interval.shape), interval, y, 1e-7)
