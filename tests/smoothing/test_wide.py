"""More features than rows: the same numbers, in as many coordinates as rows."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sknw import AttentionPoolingRegressor, LocalLinearRegressor
from sknw._metric.loss import Loss
from sknw._smoothing.smoother import LocalLinearSpec
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import Validation
from sknw.kernels import Gaussian


def wide(n=24, d=40, m=5):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n + m, d))
    return X[:n], np.sin(X[:n, 0]) + X[:n, 1], X[n:]


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
def test_lines_in_a_basis_of_the_rows_are_those_of_all_columns(kernel, ridge, monkeypatch):
    X, y, Q = wide()
    model = LocalLinearRegressor(kernel, 12.0, ridge=ridge).fit(X, y)
    assert model._fitted.smoother.line.x.shape == (24, 24)
    monkeypatch.setattr(LocalLinearSpec, "along_rows", lambda line: line)
    expected = LocalLinearRegressor(kernel, 12.0, ridge=ridge).fit(X, y)
    assert expected._fitted.smoother.line.x.shape == (24, 40)
    monkeypatch.undo()
    for method in ["predict", "predict_interval", "gradient"]:
        assert_allclose(getattr(model, method)(Q), getattr(expected, method)(Q), rtol=1e-7, atol=1e-7)
    assert_allclose(model.loo_prediction_, expected.loo_prediction_, rtol=1e-7, atol=1e-7)
    assert_allclose(pickle.loads(pickle.dumps(model)).predict(Q), model.predict(Q), rtol=1e-9)


def test_ridges_of_single_features_are_scales_of_a_basis(monkeypatch):
    X, y, Q = wide()
    model = AttentionPoolingRegressor(w=0.1, degree=1, ridge=np.geomspace(0.1, 10, 40))
    found = model.fit(X, y).predict(Q)
    monkeypatch.setattr(LocalLinearSpec, "along_rows", lambda line: line)
    assert_allclose(found, model.fit(X, y).predict(Q), rtol=1e-8)


def test_slopes_of_left_out_lines_are_those_of_all_columns(monkeypatch):
    X, y, _ = wide()
    training = TrainingSet.of(X, y, None)
    validation = Validation.of(None, training)
    smoother = AttentionPoolingRegressor()._build_smoother(training, Gaussian(), 1 / training.scales, validation, 1)
    loss = Loss(smoother, training, validation)
    found = loss.slopes(np.full(40, 0.2), 0.1)
    monkeypatch.setattr(LocalLinearSpec, "along_rows", lambda line: line)
    assert_allclose(found, loss.slopes(np.full(40, 0.2), 0.1), atol=1e-9)


def test_a_search_of_lines_takes_the_rows_for_coordinates():
    X, y, Q = wide(n=20, d=200)
    assert np.all(np.isfinite(LocalLinearRegressor().fit(X, y).predict(Q)))


def test_a_full_matrix_of_many_features_is_refused_with_memory_and_time():
    X, y, _ = wide(d=1000)
    with pytest.raises(ValueError, match=r"1000 x 1000 entries.* 366 MiB .* seconds: choose w=\"diagonal\""):
        AttentionPoolingRegressor(w="full").fit(X, y)
