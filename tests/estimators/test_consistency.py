"""Two limits: average pooling, and the truth."""

import numpy as np
import pytest
from covering import covering_array, describe
from numpy.testing import assert_allclose
from problems import ENGINES, KERNELS, assert_close, regression
from sklearn.dummy import DummyRegressor

from sknw import NadarayaWatsonRegressor
from sknw.datasets import make_sine_power


@pytest.mark.parametrize(
    "row", covering_array(kernel=list(KERNELS), weighted=[False, True], algorithm=ENGINES), ids=describe
)
def test_average_pooling_is_the_limit_of_a_wide_bandwidth(row):
    kernel, weighted, algorithm = row.values()
    X, y, w, Q = regression(n_outputs=2, weighted=weighted)
    average = DummyRegressor(strategy="mean").fit(X, y, w).predict(Q)
    wide = NadarayaWatsonRegressor(KERNELS[kernel][0], 1e30, algorithm=algorithm).fit(X, y, w)
    assert_close(wide.predict(Q), average, y)
    total = np.ones(len(X)) if w is None else w
    assert_allclose(wide.attention_weights_(Q), np.tile(total / total.sum(), (len(Q), 1)), rtol=1e-9)
    assert_allclose(wide.effective_sample_size(Q), np.count_nonzero(total), rtol=1e-9)


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
def test_the_wider_the_bandwidth_the_closer_to_the_average(kernel):
    X, y, _, Q = regression(d=1)
    away = [
        np.abs(NadarayaWatsonRegressor(kernel, h).fit(X, y).predict(Q) - y.mean()).max() for h in [10.0, 100.0, 1000.0]
    ]
    # of second order in 1 / h
    assert_allclose(np.array(away[:-1]) / away[1:], 100.0, rtol=0.5)


def rate(errors, sizes):
    """Slope of log error against log n."""
    return np.polyfit(np.log(sizes), np.log(errors), 1)[0]


SIZES = [125, 500, 2000]


def error(n, seed, bandwidth):
    X, y = make_sine_power(n, random_state=seed)
    # away from the ends, where the error of a local constant is of another order
    Q = np.linspace(0.5, 4.5, 200)[:, np.newaxis]
    truth = 2 * np.sin(Q[:, 0]) + Q[:, 0] ** 0.8
    return np.mean((NadarayaWatsonRegressor(bandwidth=bandwidth).fit(X, y).predict(Q) - truth) ** 2)


def test_the_error_against_the_truth_falls_at_the_optimal_rate():
    """n^(-2/5) is the best rate that any estimator reaches for a function with two derivatives (Stone 1982)."""
    errors = [np.sqrt(np.mean([error(n, seed, "loo") for seed in range(15)])) for n in SIZES]
    assert -0.5 < rate(errors, SIZES) < -0.3


def test_a_bandwidth_that_does_not_shrink_is_not_consistent():
    """That the slope above can tell: a fixed bandwidth keeps its bias, and a spiky one its variance."""
    errors = [np.sqrt(np.mean([error(n, seed, 1.0) for seed in range(15)])) for n in SIZES]
    assert rate(errors, SIZES) > -0.1
