"""The worked case of the tutorial on engines: it is the dense engine on inputs that repeat, and "auto" can take it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from problems import KERNELS

from sknw import NadarayaWatsonRegressor
from sknw import _kernel_sums as _sums
from sknw._kernel_sums import choose_algorithm, dense
from sknw._kernel_sums.request import KernelSumRequest, LeaveOneOut
from sknw.estimators import base as _base
from sknw.kernels import resolve_kernel


@pytest.fixture
def merged(monkeypatch):
    """The engine of the tutorial, on the list."""
    path = Path(__file__).parents[2] / "docs" / "extending" / "merged.py"
    spec = importlib.util.spec_from_file_location("merged", path)
    engine = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(engine)
    monkeypatch.setitem(_sums._ENGINES, "merged", engine)
    return engine


def ages(kernel, d=1, n=200, n_outputs=1, leave_one_out=None, n_ages=20):
    rng = np.random.default_rng(0)
    keys = rng.integers(0, n_ages, size=(n, d)) / 4.0
    keys[0] = 1.05 * n_ages / 4.0  # one that is nobody else's
    own = None
    if leave_one_out is not None:
        own = LeaveOneOut(np.arange(n), rng.uniform(size=n) if leave_one_out == "shares" else np.zeros(n))
    return KernelSumRequest(
        kernel=resolve_kernel(kernel),
        queries=rng.uniform(0, 6, size=(31, d)) if own is None else keys,
        keys=keys,
        weights=rng.uniform(0.1, 1.0, n),
        values=rng.normal(size=(n, n_outputs)),
        own=own,
        factors=np.array([3.0, 1.0, 0.3]),
    )


@pytest.mark.parametrize("leave_one_out", [None, "whole", "shares"])
@pytest.mark.parametrize(("d", "n_outputs"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_merged_engine_is_the_dense_one(merged, kernel, d, n_outputs, leave_one_out):
    problem = ages(KERNELS[kernel][0], d, n_outputs=n_outputs, leave_one_out=leave_one_out)
    sums, expected = merged.compute(problem), dense.compute(problem)
    scale = np.exp(sums.log_scale - expected.log_scale)
    assert_allclose(sums.mass * scale, expected.mass, rtol=1e-12)
    moments = sums.moments * scale[..., np.newaxis]
    assert_allclose(moments, expected.moments, rtol=0, atol=1e-12 * (1 + expected.mass.max()))


def test_the_merged_engine_is_taken_where_inputs_repeat_and_says_why_where_not(merged):
    large = ages("gaussian", n=2000, leave_one_out="whole")
    assert merged.is_usable_for(large) is True
    assert merged.seconds(large) < dense.seconds(large)
    different = KernelSumRequest(
        kernel=large.kernel,
        queries=large.queries,
        keys=np.arange(4.0)[:, np.newaxis],
        weights=np.ones(4),
        values=np.ones((4, 1)),
    )
    with pytest.raises(ValueError, match="4 of 4 are different"):
        choose_algorithm(different, "merged")
    with pytest.raises(ValueError, match="functions of the distance"):
        choose_algorithm(ages(lambda A, B: np.ones((len(A), len(B)))), "merged")


def test_an_estimator_can_ask_for_the_merged_engine(merged, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.integers(20, 60, size=(500, 1)).astype(float)
    y = np.sin(X[:, 0] / 8) + 0.1 * rng.normal(size=500)
    constraints = {**NadarayaWatsonRegressor._parameter_constraints}
    constraints["algorithm"] = [_base.StrOptions({*_sums.ALGORITHMS, "merged"})]
    monkeypatch.setattr(NadarayaWatsonRegressor, "_parameter_constraints", constraints)
    fits = {
        algorithm: NadarayaWatsonRegressor(bandwidth=3.0, algorithm=algorithm).fit(X, y)
        for algorithm in ["dense", "merged"]
    }
    assert_allclose(fits["merged"].loo_prediction_, fits["dense"].loo_prediction_, rtol=1e-10)
    assert_allclose(fits["merged"].predict(X), fits["dense"].predict(X), rtol=1e-10)
