"""The worked case of the tutorial on engines: it is the dense engine on inputs that repeat, and estimators take it."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from covering import covering_array, describe
from kernel_requests import LEFT_OUT, leave_out_of, request_of
from numpy.testing import assert_allclose, assert_array_equal
from problems import KERNELS, Cauchy

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.registry import ALGORITHMS, ENGINES, Dispatcher, WritesWeights


@pytest.fixture
def merged():
    """The engine of the tutorial, registered as by a user who imports its file; nothing else is changed."""
    path = Path(__file__).parents[2] / "docs" / "extending" / "merged.py"
    spec = importlib.util.spec_from_file_location("merged", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield ENGINES["merged"]
    del ENGINES["merged"]
    ALGORITHMS.remove("merged")


def ages(kernel, d=1, n=200, n_columns=1, leave_out=None, n_ages=20):
    rng = np.random.default_rng(0)
    keys = rng.integers(0, n_ages, size=(n, d)) / 4.0
    keys[0] = 1.05 * n_ages / 4.0  # one that is nobody else's
    left_out = leave_out_of(n, 31, leave_out)
    if left_out is not None:
        left_out.first[1], left_out.last[1] = 0, 1
    weights = rng.uniform(0.1, 1.0, n)
    queries = rng.uniform(0, 6, size=(31, d))
    return request_of(kernel, keys, queries, left_out, n_columns, weights, bandwidths=[3.0, 1.0, 0.3])


CASES = covering_array(kernel=list(KERNELS), d=[1, 2], n_columns=[0, 1, 3], leave_out=LEFT_OUT)


@pytest.mark.parametrize("case", CASES, ids=describe)
def test_the_merged_engine_is_the_dense_one(merged, case):
    request = ages(KERNELS[case["kernel"]][0], case["d"], 200, case["n_columns"], case["leave_out"])
    sums, expected = merged.compute(request), ENGINES["dense"].compute(request)
    scale = np.exp(sums.log_scale - expected.log_scale)
    assert_allclose(sums.mass * scale, expected.mass, rtol=1e-12)
    moments = sums.moments * scale[..., np.newaxis]
    assert_allclose(moments, expected.moments, rtol=0, atol=1e-12 * (1 + expected.mass.max()))


def test_the_merged_engine_is_taken_where_inputs_repeat_and_says_why_where_not(merged):
    large = replace(ages(Cauchy(), n=2000), queries=np.zeros((2000, 1)))
    assert merged.refusal(large) is None
    assert merged.estimate_seconds(large) < ENGINES["dense"].estimate_seconds(large)
    assert Dispatcher().choose(large, "auto") is merged
    different = replace(large, index=KeyIndex(np.arange(4.0)[:, np.newaxis], np.ones(4), np.ones((4, 1))))
    with pytest.raises(ValueError, match="'merged' takes keys that repeat, and 4 of 4 are different"):
        Dispatcher().choose(different, "merged")
    with pytest.raises(ValueError, match="functions of the distance"):
        Dispatcher().choose(ages(lambda A, B: np.ones((len(A), len(B)))), "merged")


@pytest.fixture
def by_age():
    rng = np.random.default_rng(0)
    X = rng.integers(20, 60, size=(500, 1)).astype(float)
    return X, np.sin(X[:, 0] / 8) + 0.1 * rng.normal(size=500)


@pytest.mark.parametrize(
    "estimator",
    [
        NadarayaWatsonRegressor(bandwidth=3.0),
        NadarayaWatsonRegressor("epanechnikov"),
        LocalLinearRegressor(bandwidth=3.0),
        AttentionPoolingRegressor(w=0.3),
    ],
    ids=str,
)
def test_estimators_take_a_registered_engine(estimator, merged, by_age):
    X, y = by_age
    dense, by_merged = (estimator.set_params(algorithm=name).fit(X, y).loo_prediction_ for name in ("dense", "merged"))
    assert_allclose(by_merged, dense, rtol=1e-8)
    assert_allclose(estimator.predict(X), estimator.set_params(algorithm="dense").fit(X, y).predict(X), rtol=1e-8)


def test_its_name_is_no_algorithm_before_it_is_registered(by_age):
    with pytest.raises(ValueError, match="'algorithm' parameter"):
        NadarayaWatsonRegressor(bandwidth=3.0, algorithm="merged").fit(*by_age)


def test_a_capability_of_a_registered_engine_is_used_by_those_who_ask_for_it(merged, by_age, monkeypatch):
    """Rows of weights, by attention weights and draws."""
    X, y = by_age
    model, dense = (
        NadarayaWatsonRegressor(bandwidth=3.0, algorithm=name).fit(X, y, np.linspace(0.5, 1.5, 500))
        for name in ("merged", "dense")
    )
    assert isinstance(merged, WritesWeights)
    asked, weight_rows = [], merged.weight_rows

    def counted(request):
        asked.append(len(request.queries))
        return weight_rows(request)

    monkeypatch.setattr(merged, "weight_rows", counted)
    assert_allclose(model.attention_weights_(X[:9]), dense.attention_weights_(X[:9]), rtol=1e-10, atol=1e-15)
    assert asked == [9]
    drawn = [of.sample_y(X[:9], n_samples=5, random_state=0) for of in (model, dense)]
    assert_array_equal(*drawn)
    assert asked == [9, 9]
