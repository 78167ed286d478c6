"""More features than rows: the same numbers, in as many coordinates as rows."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import KFold

from sknw import AttentionPoolingRegressor, LocalLinearRegressor
from sknw._kernel_sums.dense import squared_distances
from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.request import KernelSumRequest
from sknw._metric import loss as loss_module
from sknw._metric import slopes as slopes_module
from sknw._metric.loss import Loss, along_rows
from sknw._metric.slopes import rises_without_slopes
from sknw._smoothing.local_linear import LocalLinearSpec
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import Validation
from sknw.kernels import Epanechnikov, Gaussian


def wide(n=24, d=40, m=5):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n + m, d))
    return X[:n], np.sin(X[:n, 0]) + X[:n, 1], X[n:]


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
def test_lines_in_a_basis_of_the_rows_are_those_of_all_columns(kernel, ridge, monkeypatch):
    X, y, Q = wide()
    model = LocalLinearRegressor(kernel, 12.0, ridge=ridge).fit(X, y)
    assert model._fitted.smoother.line.x.shape == (24, 23)
    monkeypatch.setattr(LocalLinearSpec, "along_rows", lambda line: line)
    expected = LocalLinearRegressor(kernel, 12.0, ridge=ridge).fit(X, y)
    assert expected._fitted.smoother.line.x.shape == (24, 40)
    monkeypatch.undo()
    for method in ["predict", "predict_interval", "gradient"]:
        assert_allclose(getattr(model, method)(Q), getattr(expected, method)(Q), rtol=1e-7, atol=1e-7)
    assert_allclose(model.loo_prediction_, expected.loo_prediction_, rtol=1e-7, atol=1e-7)
    assert_allclose(pickle.loads(pickle.dumps(model)).predict(Q), model.predict(Q), rtol=1e-9)


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
def test_repeated_features_make_the_line_of_one_of_each(kernel):
    """Along most axes rows do not vary but by rounding, and without a ridge a line has no slope there."""
    X, y, Q = wide(14, 3)
    expected = LocalLinearRegressor(kernel, 3.0, ridge=0.0).fit(X, y)
    repeated = LocalLinearRegressor(kernel, 3.0 * np.sqrt(15), ridge=0.0).fit(np.repeat(X, 15, axis=1), y)
    assert_allclose(repeated.predict(np.repeat(Q, 15, axis=1)), expected.predict(Q), rtol=1e-9)
    assert_allclose(repeated.loo_prediction_, expected.loo_prediction_, rtol=1e-9)


def test_ridges_of_single_features_are_scales_of_a_basis(monkeypatch):
    X, y, Q = wide()
    model = AttentionPoolingRegressor(w=0.1, degree=1, ridge=np.geomspace(0.1, 10, 40))
    found = model.fit(X, y).predict(Q)
    monkeypatch.setattr(LocalLinearSpec, "along_rows", lambda line: line)
    assert_allclose(found, model.fit(X, y).predict(Q), rtol=1e-8)


def loss_of_lines(X, y, cv):
    model = AttentionPoolingRegressor(cv=cv)
    data = model._validate_fit(X, y, None, None)
    training, line = data.training, LocalLinearSpec.along_columns(data.training, 0.0)
    smoother = model._build_smoother(training, Gaussian(), 1 / training.scales, data.validation, 1, line)
    return Loss(smoother, training, data.validation)


@pytest.mark.parametrize("cv", [None, KFold(4)])
@pytest.mark.parametrize("ridge", [np.geomspace(0.1, 10, 40), np.full(40, 0.3)], ids=["own ridges", "one ridge"])
def test_the_loss_of_lines_along_rows_is_that_of_all_columns(ridge, cv, monkeypatch):
    """With its derivatives, its slopes, and what it loses without each slope; some features without slope or w."""
    X, y, _ = wide()
    w, ridge = np.full(40, 0.2), np.where(np.arange(40) % 9 == 8, np.inf, ridge)
    w[3] = w[8] = 0.0
    loss = loss_of_lines(X, np.column_stack([y, y**2]), cv)

    def numbers():
        roots, derivatives = loss.roots(w, ridge)
        slopes, rises = loss.slopes(w, 0.1), rises_without_slopes(loss, w, ridge)
        return loss.value(w, ridge), *loss(w, ridge), roots, *derivatives(), slopes, rises

    assert along_rows(loss.smoother_at(w, ridge), ridge[np.isfinite(ridge)])[0].line.x.shape == (24, 23)
    found = numbers()
    monkeypatch.setattr(loss_module, "along_rows", lambda smoother, ridge: (smoother, ridge, None))
    monkeypatch.setattr(slopes_module, "along_rows", lambda smoother, ridge: (smoother, ridge, None))
    for one, expected in zip(found, numbers(), strict=True):
        assert_allclose(one, expected, rtol=1e-9, atol=1e-10 * np.abs(expected).max())


def test_a_search_of_lines_takes_the_rows_for_coordinates():
    X, y, Q = wide(n=20, d=200)
    assert np.all(np.isfinite(LocalLinearRegressor().fit(X, y).predict(Q)))


@pytest.mark.parametrize("smallest", [1.0, 1e-3])  # well conditioned; and so badly that rows take all axes
def test_krylov_spaces_give_the_values_of_all_principal_axes(smallest):
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(30, 60)) * np.geomspace(1.0, smallest, 60)
    X, y = factors @ rng.normal(size=(60, 300)), factors[:, 0] + 0.1 * rng.normal(size=30)
    training = TrainingSet.of(X, y, None)
    validation, line = Validation.of(None, training), LocalLinearSpec.of(training, 0.0)
    estimator = LocalLinearRegressor()
    smoother = estimator._build_smoother(training, Gaussian(), 1 / training.scales, validation, 1, line)
    queries = smoother.queries_of(validation.parts[0])
    bandwidths = np.array([500.0, 20.0, 4.0])
    assert smoother.takes_krylov_spaces
    expected, _ = smoother.lines_from_sums(queries, bandwidths)
    found, unsupported = smoother.without_leverage(smoother.lines_from_sums, queries, bandwidths)
    assert not unsupported.any()
    assert np.array_equal(found.is_ill_conditioned(0.0), expected.is_ill_conditioned(0.0))
    for ridge in [1e-3, 0.1, 10.0, *([] if expected.is_ill_conditioned(0.0).any() else [0.0])]:
        assert_allclose(found.value(ridge, 0.2), expected.value(ridge, 0.2), atol=1e-10)
    assert_allclose(found.mean_variance, expected.mean_variance, rtol=1e-9)


def test_squared_distances_of_few_keys_are_kept_and_right():
    X = np.random.default_rng(0).normal(size=(20, 30))
    index = KeyIndex(X, np.ones(20), X[:, :1])
    for kernel in [Gaussian(), Epanechnikov()]:
        request = KernelSumRequest(kernel, index, X)
        kept = squared_distances(request, slice(None))
        assert squared_distances(request, slice(None)).base is kept.base
        others = squared_distances(KernelSumRequest(kernel, index, X.copy()), slice(3, 5))
        assert_allclose(kept[3:5], others, atol=1e-12)


def test_a_full_matrix_of_many_features_is_refused_with_memory_and_time():
    X, y, _ = wide(d=1000)
    with pytest.raises(ValueError, match=r"1000 x 1000 entries.* 366 MiB .* seconds: choose w=\"diagonal\""):
        AttentionPoolingRegressor(w="full").fit(X, y)
