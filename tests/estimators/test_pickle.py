"""What a stored model holds, how large it is, and what becomes of one that an earlier version has stored."""

import pickle
import pickletools
import sys

import numpy as np
import pytest
from covering import covering_array, describe, pairwise
from numpy.testing import assert_allclose, assert_array_equal
from problems import Cauchy, regression
from sklearn import __version__ as sklearn_version
from sklearn.base import clone
from sklearn.gaussian_process.kernels import RBF

import sknw
from sknw import (
    AttentionPoolingClassifier,
    AttentionPoolingRegressor,
    KrigingRegressor,
    LocalLinearRegressor,
    NadarayaWatsonClassifier,
    NadarayaWatsonRegressor,
)
from sknw.model_selection import LeaveBlockOut

MODELS = {
    "mean": NadarayaWatsonRegressor("gaussian", 0.7),
    "mean of a compact kernel": NadarayaWatsonRegressor("tricube", 0.9),
    "line": LocalLinearRegressor("gaussian", 0.7, ridge=0.01),
    "line with a ridge chosen": LocalLinearRegressor("epanechnikov", 0.9),
    "attention": AttentionPoolingRegressor(w=1.2),
    "attention line": AttentionPoolingRegressor(w=1.2, degree=1, ridge=0.01),
    "attention of a matrix": AttentionPoolingRegressor(w="matrix", degree=1, ridge=0.01),
}
every = pytest.mark.parametrize("name", MODELS)


def fitted(name, X, y, w=None, **parameters):
    model = clone(MODELS[name]).set_params(**parameters)
    if model.get_params().get("w") == "matrix":
        model.set_params(w=np.eye(X.shape[1])[:, : max(X.shape[1] - 1, 1)])
    return model.fit(X, y, w)


@pairwise(name=list(MODELS), d=[1, 5], weighted=[False, True])
def test_a_pickle_is_little_more_than_the_public_arrays(name, d, weighted):
    """What can be made again from them is made again."""
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(5000, d)), rng.integers(0, 3, 5000) if weighted else None
    model = fitted(name, X, np.sin(X[:, 0]) + rng.normal(size=5000), w, validation_samples=100, random_state=0)
    model.predict(X[:20], return_std=True)
    model.predict_interval(X[:20])
    public = [model.X_train_, model.y_train_, model.loo_prediction_, model.sample_weight_]
    n_bytes = sum(array.nbytes for array in public if array is not None)
    assert len(pickle.dumps(model)) <= 1.1 * n_bytes + 20_000


@pytest.mark.parametrize(
    "model",
    [
        NadarayaWatsonRegressor(),
        NadarayaWatsonRegressor(RBF(), 0.5, periodic_features={0: 5.0}, cv=LeaveBlockOut(2)),
        LocalLinearRegressor("tricube", 1.0, scale="common", cv=[(np.arange(90), np.arange(90, 160))]),
        AttentionPoolingRegressor(w=1.0, ordered_features=[1], cv=3),
        KrigingRegressor(0.5, 1.5, noise=0.1),
        NadarayaWatsonClassifier(bandwidth=0.5),
        AttentionPoolingClassifier(w=1.0),
    ],
)
def test_a_pickle_names_public_types_only(model):
    rng = np.random.default_rng(3)  # whose draws have an autocorrelation that is no alarm
    X = np.column_stack([rng.normal(size=160), rng.integers(0, 3, 160)])
    y = np.sin(X[:, 0]) + 0.5 * rng.normal(size=160)
    model = clone(model).fit(X, y > 0 if hasattr(model, "predict_proba") else y)
    stored = pickle.dumps(model, protocol=2)  # in which names are not abbreviated
    named = {name.replace(" ", ".") for opcode, name, _ in pickletools.genops(stored) if opcode.name == "GLOBAL"}
    assert {name for name in named if name.startswith("sknw.")} <= {*sknw.TRUSTED_TYPES}
    loaded = pickle.loads(stored)
    assert_array_equal(loaded.predict(X), model.predict(X))
    assert vars(loaded).keys() == vars(model).keys()
    assert type(loaded.kernel_) is type(model.kernel_)
    assert repr(getattr(loaded, "bandwidth_search_", None)) == repr(getattr(model, "bandwidth_search_", None))


@pytest.mark.parametrize(
    "row",
    covering_array(
        name=list(MODELS), weighted=[False, True], outside=["nearest", "mean"], dtype=["float64", "float32"]
    ),
    ids=describe,
)
def test_a_loaded_model_answers_as_it_did(row):
    name, weighted, outside, dtype = row.values()
    X, y, w, Q = regression(n=80, n_outputs=2, weighted=weighted, dtype=dtype)
    model = fitted(name, X, y, w, outside=outside, validation_samples=50, random_state=0)
    loaded = pickle.loads(pickle.dumps(model))
    # and one that has made by then whatever it makes when it is asked
    model.predict_interval(Q)
    asked = pickle.loads(pickle.dumps(model))
    for other in [loaded, asked, pickle.loads(pickle.dumps(loaded))]:
        for a, b in [
            (other.predict(Q), model.predict(Q)),
            (other.predict(Q, return_std=True)[1], model.predict(Q, return_std=True)[1]),
            (other.predict_interval(Q, 0.8), model.predict_interval(Q, 0.8)),
            (other.attention_weights_(Q), model.attention_weights_(Q)),
            (other.effective_sample_size(Q), model.effective_sample_size(Q)),
            (other.gradient(Q), model.gradient(Q)),
            (other.score(X, y, w), model.score(X, y, w)),
        ]:
            assert_allclose(a, b, rtol=1e-12, atol=1e-12 * np.nanmax(np.abs(b)))
        assert_array_equal(other.predict_quantile(Q, [0.1, 0.9]), model.predict_quantile(Q, [0.1, 0.9]))
        assert_array_equal(other.sample_y(Q, 3), model.sample_y(Q, 3))
        assert_array_equal(other.loo_prediction_, model.loo_prediction_)
        assert other.loo_score_ == model.loo_score_


@pytest.mark.parametrize("kernel", [Cauchy(), "cosine"])
@pytest.mark.parametrize("Estimator", [NadarayaWatsonRegressor, LocalLinearRegressor])
def test_the_choice_of_the_bandwidth_is_stored(Estimator, kernel):
    X, y, w, Q = regression(weighted=True)
    model = Estimator(kernel).fit(X, y, w)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.bandwidth_, model.bandwidth_)
    assert_array_equal(loaded.bandwidth_search_.scores, model.bandwidth_search_.scores)
    assert_allclose(loaded.predict(Q), model.predict(Q), rtol=1e-12)


@every
def test_a_model_that_is_not_fitted_can_be_stored(name):
    loaded = pickle.loads(pickle.dumps(MODELS[name]))
    assert str(loaded) == str(MODELS[name])


@every
def test_a_pickle_of_the_former_layout_is_refused_with_the_word_to_fit_again(name):
    """It held the smoother and the training set themselves; to load it by half would be worse."""
    X, y, _, _ = regression()
    model = fitted(name, X, y)
    public = {key: value for key, value in vars(model).items() if not key.startswith("_")}
    former = {"_smoother": object(), "_training": object(), "_validated_rows": slice(None)}
    state = {**public, **former, "_sknw_version": sknw.__version__, "_sklearn_version": sklearn_version}
    with pytest.raises(ValueError, match=r"refit|fit again"):
        type(model)().__setstate__(state)


@pytest.mark.parametrize(
    "name", ["_nadaraya_watson.NadarayaWatson", "_local_linear.LocalLinear", "_attention_pooling.AttentionPooling"]
)
def test_bytes_of_the_former_layout_are_refused(name):
    module, stem = name.split(".")
    with pytest.raises(ValueError, match="refit"):
        pickle.loads(f"csknw.{module}\n{stem}Regressor\n.".encode())  # what such a pickle begins with


def test_other_objects_are_not_refused():
    """For the name of one that does not say its module, as a ufunc, pickle looks into all modules that are loaded."""
    assert not hasattr(sys.modules["sknw._local_linear"], "expit")


def test_a_pickle_predicts_with_the_policy_of_the_fit():
    X = np.linspace(0.0, 1.0, 50)[:, np.newaxis]
    model = NadarayaWatsonRegressor("epanechnikov", 0.1, outside="nan").fit(X, X[:, 0]).set_params(outside="mean")
    assert np.isnan(model.predict([[9.0]])[0])
    assert np.isnan(pickle.loads(pickle.dumps(model)).predict([[9.0]])[0])
