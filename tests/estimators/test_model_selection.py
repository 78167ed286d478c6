"""The estimator among scikit-learn's tools: grids, pipelines, frames, metadata."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import assert_close, regression
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sknw import LocalLinearRegressor, NadarayaWatsonRegressor
from sknw.datasets import make_sine_power
from sknw.kernels import PowerExponential

both = pytest.mark.parametrize("Estimator", [NadarayaWatsonRegressor, LocalLinearRegressor])


def test_grid_search_over_bandwidths_finds_the_best_one():
    X, y = make_sine_power(150, sort=False, random_state=0)
    grid = {"bandwidth": [0.001, 0.3, 100.0, "loo", "silverman"]}
    search = GridSearchCV(NadarayaWatsonRegressor(), grid, cv=5).fit(X, y)
    scores = dict(zip(grid["bandwidth"], search.cv_results_["mean_test_score"], strict=True))
    assert scores[0.3] > max(scores[0.001], scores[100.0]) + 0.05
    assert scores["loo"] > scores[0.3] - 0.02
    assert scores[100.0] == pytest.approx(0, abs=0.2)


def test_grid_search_reaches_the_power_of_the_kernel_through_a_pipeline():
    X, y = make_sine_power(100, sort=False, random_state=0)
    pipeline = make_pipeline(StandardScaler(), NadarayaWatsonRegressor(PowerExponential()))
    grid = {"nadarayawatsonregressor__kernel__power": [0.3, 1.0, 2.0]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    assert search.best_estimator_[-1].kernel_.power == search.best_params_["nadarayawatsonregressor__kernel__power"]
    assert len(set(search.cv_results_["mean_test_score"])) == 3
    assert pipeline[-1].kernel.power == 1.0


@pytest.mark.parametrize("kernel", ["gaussian", "tricube"])
def test_selection_in_a_pipeline_beats_the_mean_on_the_diabetes_data(kernel):
    X, y = load_diabetes(return_X_y=True, scaled=False)
    scores = cross_val_score(make_pipeline(StandardScaler(), NadarayaWatsonRegressor(kernel)), X, y, cv=5)
    assert scores.min() > 0.25


def test_standardising_changes_nothing_for_a_selector():
    X, y, _, Q = regression(d=3)
    X, Q = X * [1, 1000, 0.01] + [0, 50, 7], Q * [1, 1000, 0.01] + [0, 50, 7]
    plain = NadarayaWatsonRegressor().fit(X, y)
    standardised = make_pipeline(StandardScaler(), NadarayaWatsonRegressor()).fit(X, y)
    # the search stops at 1e-4 in log h, where rounding decides
    assert_close(plain.predict(Q), standardised.predict(Q), y, 1e-4)


def test_loo_score_is_the_score_of_scikit_learns_leave_one_out():
    from sklearn.model_selection import LeaveOneOut, cross_val_predict

    X, y, _, _ = regression(n=30)
    model = NadarayaWatsonRegressor("tricube", 0.5).fit(X, y)
    by_cross_validation = cross_val_predict(NadarayaWatsonRegressor("tricube", 0.5), X, y, cv=LeaveOneOut())
    assert_close(model.loo_prediction_, by_cross_validation, y)
    assert model.loo_score_ == pytest.approx(r2_score(y, by_cross_validation), abs=1e-10)


def test_score_is_r2_with_sample_weights():
    X, y, w, _ = regression(weighted=True, n_outputs=2)
    model = NadarayaWatsonRegressor(bandwidth=0.8).fit(X, y, w)
    assert model.score(X, y, w) == pytest.approx(r2_score(y, model.predict(X), sample_weight=w))
    assert model.score(X, y) == pytest.approx(r2_score(y, model.predict(X)))


def test_targets_can_be_transformed():
    X, y, _, Q = regression()
    model = TransformedTargetRegressor(NadarayaWatsonRegressor(), func=np.exp, inverse_func=np.log).fit(X, y)
    assert np.all(np.isfinite(model.predict(Q)))


def test_sample_weight_and_return_std_can_be_routed():
    from sklearn import config_context

    X, y, w, Q = regression(weighted=True)
    with config_context(enable_metadata_routing=True):
        model = NadarayaWatsonRegressor("tricube", 0.5).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler(), model.set_predict_request(return_std=True))
        pipeline[0].set_fit_request(sample_weight=False)
        mean, std = pipeline.fit(X, y, sample_weight=w).predict(Q, return_std=True)
    assert mean.shape == std.shape == (len(Q),)
    assert_array_equal(pipeline[-1].sample_weight_, w)


# Frames


@both
@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_frames_come_in_and_their_names_are_kept(Estimator, frame):
    X, y, w, Q = regression(d=3, weighted=True)
    names = ["age", "bmi", "bp"]
    as_frame = {array_id: frame(dict(zip(names, a.T, strict=True))) for array_id, a in {"X": X, "Q": Q}.items()}
    model = Estimator().fit(as_frame["X"], y, w)
    plain = Estimator().fit(X, y, w)
    assert model.feature_names_in_.tolist() == names
    assert model.n_features_in_ == 3
    assert not hasattr(plain, "feature_names_in_")
    assert isinstance(model.X_train_, np.ndarray)
    assert_array_equal(model.predict(as_frame["Q"]), plain.predict(Q))
    assert_array_equal(model.attention_weights_(as_frame["Q"]), plain.attention_weights_(Q))
    assert_array_equal(model.effective_sample_size(as_frame["Q"]), plain.effective_sample_size(Q))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
@pytest.mark.parametrize("method", ["predict", "attention_weights_", "effective_sample_size"])
def test_columns_in_another_order_are_an_error(method, frame):
    X, y, _, _ = regression(d=2)
    model = NadarayaWatsonRegressor(bandwidth=1.0).fit(frame({"a": X[:, 0], "b": X[:, 1]}), y)
    with pytest.raises(ValueError, match="order"):
        getattr(model, method)(frame({"b": X[:, 1], "a": X[:, 0]}))
    with pytest.raises(ValueError, match="c"):
        getattr(model, method)(frame({"a": X[:, 1], "c": X[:, 0]}))


@both
def test_target_and_weights_may_be_series(Estimator):
    X, y, w, Q = regression(weighted=True)
    shuffled = np.random.default_rng(0).permutation(len(y))
    model = Estimator().fit(X, pd.Series(y, index=shuffled), pd.Series(w, index=shuffled))
    assert_array_equal(model.predict(Q), Estimator().fit(X, y, w).predict(Q))
    by_frame = Estimator().fit(X, pd.DataFrame({"u": y, "v": -y}))
    assert by_frame.predict(Q).shape == (len(Q), 2)


@both
@pytest.mark.parametrize("train", [np.float32, np.float64])
@pytest.mark.parametrize("query", [np.float32, np.float64])
def test_predictions_have_the_type_of_the_query(Estimator, query, train):
    X, y, _, Q = regression()
    model = Estimator().fit(X.astype(train), y)
    assert model.X_train_.dtype == train
    assert model.predict(Q.astype(query)).dtype == query
    # attention weights and bandwidths are float64 throughout
    assert model.attention_weights_(Q.astype(query)).dtype == np.float64
    assert model.bandwidth_.dtype == model.loo_prediction_.dtype == np.float64


@both
def test_parallel_config_sets_the_threads(Estimator):
    import joblib

    X, y, _, Q = regression(n=200, m=300)
    model = Estimator()
    with joblib.parallel_config("threading", n_jobs=2):
        prediction = clone(model).fit(X, y).predict(Q)
    assert_allclose(prediction, clone(model).fit(X, y).predict(Q), rtol=1e-10)


def test_grid_search_runs_in_processes():
    X, y = make_sine_power(80, sort=False, random_state=0)
    grid = {"bandwidth": [0.1, 0.3, 1.0]}
    serial = GridSearchCV(NadarayaWatsonRegressor(n_jobs=2), grid, cv=3).fit(X, y)
    parallel = GridSearchCV(NadarayaWatsonRegressor(n_jobs=2), grid, cv=3, n_jobs=2).fit(X, y)
    assert_allclose(parallel.cv_results_["mean_test_score"], serial.cv_results_["mean_test_score"], rtol=1e-12)
