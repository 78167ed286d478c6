"""A file of skops holds every public model, and needs trust in nothing but sknw's own public types."""

import numpy as np
import pytest
import skops.io
from sklearn.base import clone
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sknw
from sknw.model_selection import LeaveBlockOut

MODELS = {
    "means, searched": sknw.NadarayaWatsonRegressor(),
    "means, in blocks": sknw.NadarayaWatsonRegressor("tricube", cv=LeaveBlockOut(2)),
    "means, in folds": sknw.NadarayaWatsonRegressor(sknw.PowerExponential(1.5), 0.5, cv=5),
    "lines": sknw.LocalLinearRegressor("epanechnikov"),
    "attention": sknw.AttentionPoolingRegressor(max_iter=5, tol=0.1),
    "attention, a matrix": sknw.AttentionPoolingRegressor(w=np.eye(2), degree=1, ridge=0.1),
    "kriging": sknw.KrigingRegressor(max_iter=2, tol=1.0),
    "classes": sknw.NadarayaWatsonClassifier(),
    "attention to classes": sknw.AttentionPoolingClassifier(max_iter=5, tol=0.1),
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 2))
    return X, np.sin(2.0 * X[:, 0]) + 0.3 * rng.normal(size=160), rng.normal(size=(20, 2))


def store_and_load(model):
    return skops.io.loads(skops.io.dumps(model), trusted=sknw.TRUSTED_TYPES)


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_predicts_the_same(name, data):
    X, y, Q = data
    model = clone(MODELS[name])
    if hasattr(model, "predict_proba"):
        y = np.where(y > 0.0, "up", "down")
    model = make_pipeline(StandardScaler(), model).fit(X, y)
    loaded = store_and_load(model)
    np.testing.assert_array_equal(loaded.predict(Q), model.predict(Q))
    np.testing.assert_array_equal(loaded[-1].attention_weights_(Q), model[-1].attention_weights_(Q))
    if hasattr(model, "predict_proba"):
        np.testing.assert_array_equal(loaded.predict_proba(Q), model.predict_proba(Q))
    elif name != "kriging":
        np.testing.assert_array_equal(loaded[-1].predict_interval(Q), model[-1].predict_interval(Q))


def test_categories_groups_and_weights_are_stored():
    rng = np.random.default_rng(1)
    table = np.array([["a", "b", None][k] for k in rng.integers(0, 3, 90)], dtype=object)
    X = np.column_stack([rng.uniform(0, 24, 90), table])
    y, groups = rng.normal(size=90), rng.integers(0, 9, 90)
    model = sknw.NadarayaWatsonRegressor(bandwidth=0.4, categorical_features=[1], periodic_features={0: 24.0})
    model.fit(X, y, rng.uniform(1, 2, 90), groups=groups)
    loaded = store_and_load(model)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    np.testing.assert_array_equal(loaded.predict_mean_interval(X[:3]), model.predict_mean_interval(X[:3]))
    splits = list(GroupKFold(3).split(X, y, groups))[:2]  # each without some rows that no split tests
    model.set_params(cv=splits).fit(X, y)
    np.testing.assert_array_equal(store_and_load(model).loo_prediction_, model.loo_prediction_)


def test_a_file_of_an_older_layout_is_refused(monkeypatch, data):
    X, y, _ = data
    monkeypatch.setattr("sknw.estimators.stored._STATE", 4)
    stored = skops.io.dumps(sknw.NadarayaWatsonRegressor(bandwidth=0.5).fit(X, y))
    monkeypatch.undo()
    with pytest.raises(ValueError, match="refit"):
        skops.io.loads(stored, trusted=sknw.TRUSTED_TYPES)


def test_a_type_that_is_not_named_is_not_loaded(data):
    X, y, _ = data
    model = sknw.NadarayaWatsonRegressor(bandwidth=0.5).fit(X, y)
    with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException, match="NadarayaWatsonRegressor"):
        skops.io.loads(skops.io.dumps(model))
