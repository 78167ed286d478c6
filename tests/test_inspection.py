"""What is known of a fitted smoother, and whether its features matter."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sknw import (
    AttentionPoolingRegressor,
    KrigingRegressor,
    LocalLinearRegressor,
    NadarayaWatsonClassifier,
    NadarayaWatsonRegressor,
)
from sknw._predictive import significance
from sknw._predictive.significance import derivatives, predictions, without_feature
from sknw.inspection import significance_test, summary


def table(n=80, seed=0):
    """A number, a category, an ordered one, hours and a number that does not matter, and targets."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "a": rng.normal(size=n),
            "colour": pd.Categorical(rng.choice(list("xyz"), n)),
            "size": pd.Categorical(rng.integers(0, 4, n), ordered=True),
            "hour": rng.uniform(0, 24, n),
            "junk": rng.normal(size=n),
        }
    )
    mean = np.sin(2 * X["a"]) + (X["colour"] == "x") + np.cos(X["hour"] * np.pi / 12)
    return X, mean.to_numpy(dtype=float) + 0.2 * rng.normal(size=n)


HOURS = {"periodic_features": {"hour": 24}}
MODELS = {
    "means": NadarayaWatsonRegressor(bandwidth=[0.6, 0.5, 0.7, 3.0, 2.0], **HOURS),
    "lines": LocalLinearRegressor(bandwidth=[0.6, 0.5, 0.7, 3.0, 2.0], ridge=0.02, **HOURS),
    "attention": AttentionPoolingRegressor(w=[2, 1, 0, 0.3, 0], degree=1, ridge=[0.1, 1, 2, 0.01, 3], **HOURS),
}


# The summary


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_degrees_of_freedom_are_the_trace_of_the_smoother_matrix(model):
    X, _ = table()
    model.fit(X, np.eye(len(X)))  # the predictions of unit vectors are the columns of the matrix
    assert_allclose(summary(model).degrees_of_freedom, np.trace(model.predict(X)), rtol=1e-12)


def test_a_summary_holds_what_the_fit_says_of_the_data():
    X, y = table()
    model = MODELS["means"].fit(X, y)
    found, residuals = summary(model), y - model.loo_prediction_
    assert (found.n_rows, found.n_samples, found.n_features, found.n_outputs) == (80, 80, 5, 1)
    assert found.feature_kinds == ["number", "category (3)", "ordered (4)", "period 24", "number"]
    assert_allclose(found.scale[[0, 4]], X[["a", "junk"]].std(ddof=0))
    assert_allclose(found.bandwidth, model.bandwidth_)
    assert_allclose(found.residual_std, np.sqrt(np.mean(residuals**2)))
    assert_allclose(found.effective_sample_size[2], np.median(model.effective_sample_size(X)))
    assert found.w is None
    assert found.search is None


def test_copies_and_weights_are_counted_as_one_sample():
    X, y = table()
    once = summary(NadarayaWatsonRegressor(bandwidth=0.7).fit(X, y))
    twice = summary(NadarayaWatsonRegressor(bandwidth=0.7).fit(pd.concat([X, X]), np.tile(y, 2)))
    assert (twice.n_rows, twice.n_samples) == (160, 80)
    assert_allclose(twice.degrees_of_freedom, once.degrees_of_freedom)
    assert_allclose(twice.effective_sample_size, once.effective_sample_size)


def test_a_summary_of_weighted_rows_tells_of_those_with_predictions():
    X, y = table()
    w = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 3.0], 80)
    model = clone(MODELS["means"]).set_params(validation_samples=30, random_state=0).fit(X, y, w)
    known = np.isfinite(model.loo_prediction_) & (w > 0)
    assert known.sum() == 30
    found, sizes = summary(model), model.effective_sample_size(X[known])
    assert_allclose(found.effective_sample_size, np.quantile(sizes, [0.0, 0.25, 0.5, 0.75, 1.0]))
    squares = (y - model.loo_prediction_)[known] ** 2
    assert_allclose(found.residual_std, np.sqrt(np.average(squares, weights=w[known])))


@pytest.mark.parametrize("share", [0.989, 0.991])
def test_a_feature_is_switched_off_where_the_samples_furthest_apart_keep_99_percent_of_their_weight(share):
    """The squared distance of ordered levels is their number of steps."""
    X, y = table()
    X = X[["a", "size"]]
    h = np.sqrt(np.array([np.ptp(X["a"]) ** 2, 3.0]) / (-2.0 * np.log(share)))
    model = NadarayaWatsonRegressor(bandwidth=h).fit(X, y)
    for k, name in enumerate(X):
        one = NadarayaWatsonRegressor(bandwidth=h[k]).fit(X[[name]], y)
        ends = X[[name]].loc[[X[name].argmin(), X[name].argmax()]]
        a = one.attention_weights_(ends[:1])[0]
        assert_allclose(a[ends.index[1]] / a[ends.index[0]], share)
    assert summary(model).is_switched_off.tolist() == [share > 0.99] * 2


def test_features_that_do_not_count_for_the_weights_are_switched_off():
    X, y = table()
    assert summary(MODELS["attention"].fit(X, y)).is_switched_off.tolist() == [False, False, True, False, True]
    model = NadarayaWatsonRegressor("epanechnikov", bandwidth=[0.5, 200.0, 0.5, 1.0, 200.0]).fit(X, y)
    assert summary(model).is_switched_off.tolist() == [False, True, False, False, True]
    matrix = AttentionPoolingRegressor(w=[[1.0, 2.0], [0.0, 0.0]]).fit(X[["a", "junk"]], y)
    assert summary(matrix).is_switched_off.tolist() == [False, True]


def test_a_summary_prints_as_text_and_as_tables():
    X, y = table(120)
    model = LocalLinearRegressor(**HOURS).fit(X, y)
    found = summary(model)
    text, html = str(found), found._repr_html_()
    assert repr(found) == text
    for word in ["LocalLinearRegressor", "120 rows", "category (3)", "period 24", "lambda", f"{model.ridge_:.4g}"]:
        assert word in text
        assert word in html
    assert f"{model.loo_score_:.4g}" in text
    assert 'bandwidth by "loo"' in text
    assert "Warning" not in text
    wide = np.random.default_rng(0).normal(size=(20, 40))
    assert "... and 10 more" in str(summary(NadarayaWatsonRegressor(bandwidth=9.0).fit(wide, wide[:, 0])))


def test_a_summary_repeats_the_warning_of_the_search():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(200, 6)), rng.normal(size=200)
    with pytest.warns(UserWarning, match="no better than the mean"):
        model = make_pipeline(StandardScaler(), NadarayaWatsonRegressor()).fit(X, y)
    found = summary(model)
    assert "no better than the mean" in found.warnings[0]
    assert str(found).endswith(found.warnings[0])


def test_a_summary_reads_only_rows_with_left_out_predictions():
    X, y = table(300)
    few = summary(NadarayaWatsonRegressor(bandwidth=1.0, validation_samples=100, random_state=0).fit(X, y))
    every = summary(NadarayaWatsonRegressor(bandwidth=1.0).fit(X, y))
    assert few.degrees_of_freedom != every.degrees_of_freedom
    assert_allclose(few.degrees_of_freedom, every.degrees_of_freedom, rtol=0.1)


# Significance


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_changes_that_are_linear_in_the_targets_are_the_gradient_and_the_prediction(model, kernel):
    X, y = table()
    model = clone(model).set_params(kernel=kernel).fit(X, y)
    smoother, training = model._fitted.smoother, model._fitted.training
    codes, gradient, values = model.X_train_, model.gradient(X), smoother.values
    for k in np.flatnonzero(~model.is_categorical_):
        found = training.y_scales * derivatives(smoother, codes, k, values)[:, 0]
        assert_allclose(found, gradient[:, k], atol=1e-11 * np.abs(gradient[:, k]).max())
    found = training.into_units_of_y(predictions(smoother, codes, values))[:, 0]
    assert_allclose(found, model.predict(X), rtol=0, atol=1e-12)


@pytest.mark.parametrize("degree", [0, 1])
def test_the_null_hypothesis_is_a_fit_without_the_feature_at_the_same_bandwidths(degree):
    X, y = table()
    w = np.array([2.0, 1.0, 0.5, 0.3, 1.0])
    settings = {"degree": degree, "ridge": 0.1, "periodic_features": {"hour": 24}}
    model = AttentionPoolingRegressor(w=w, **settings).fit(X, y)
    for k, name in enumerate(X):
        null = without_feature(model._fitted.smoother, model._fitted.training, k)
        found = model._fitted.training.into_units_of_y(null.pool(null.queries(model.X_train_))[0])[:, 0]
        kept = X.drop(columns=name)
        settings["periodic_features"] = {"hour": 24} if "hour" in kept else None
        small = AttentionPoolingRegressor(w=np.delete(w, k), **settings).fit(kept, y)
        assert_allclose(found, small.predict(kept), atol=1e-12)


def test_features_that_matter_are_found_whatever_they_are():
    X, y = table(150)
    found = significance_test(LocalLinearRegressor(**HOURS).fit(X, y))
    assert found.feature_names == list(X)
    assert (found.p_value <= 0.05).tolist() == [True, True, False, True, False]
    assert "hour" in repr(found)
    assert "**" in repr(found)


def test_p_values_do_not_depend_on_what_else_is_tested_or_on_levels_and_units():
    X, y = table(100)
    model = MODELS["means"].fit(X, y)
    every = significance_test(model, n_bootstrap=99)
    some = significance_test(model, ["junk", 1], n_bootstrap=99)
    assert_allclose(some.p_value, every.p_value[[4, 1]])
    assert_allclose(some.statistic, every.statistic[[4, 1]])
    other = X.assign(colour=X["colour"].cat.rename_categories({"x": "z", "z": "x"}), junk=1000 * X["junk"])
    model = NadarayaWatsonRegressor(bandwidth=[0.6, 0.5, 0.7, 3.0, 2000.0], **HOURS).fit(other, 7 * y)
    assert_allclose(significance_test(model, n_bootstrap=99).p_value, every.p_value)


def test_every_output_has_its_own_p_values():
    X, y = table(100)
    both = NadarayaWatsonRegressor(bandwidth=1.0).fit(X, np.column_stack([y, X["junk"]]))
    found = significance_test(both, ["a", "junk"], n_bootstrap=99)
    assert found.p_value.shape == (2, 2)
    alone = significance_test(NadarayaWatsonRegressor(bandwidth=1.0).fit(X, X["junk"]), ["a", "junk"], n_bootstrap=99)
    assert_allclose(found.p_value[1], alone.p_value)
    assert found.p_value[1, 1] == 0.01


def test_a_feature_without_weight_has_the_p_value_one_and_lines_still_test_it():
    X, y = table(100)
    settings = {"w": [1.0, 0.0], "ridge": 0.01}
    means = AttentionPoolingRegressor(**settings).fit(X[["junk", "a"]], y)
    lines = AttentionPoolingRegressor(**settings, degree=1).fit(X[["junk", "a"]], X["a"] + 0.1 * y)
    found = significance_test(means, "a", n_bootstrap=99)
    assert (found.statistic[0], found.p_value[0]) == (0.0, 1.0)
    assert significance_test(lines, "a", n_bootstrap=99).p_value[0] == 0.01


def test_a_constant_feature_has_the_p_value_one():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(40, 2)), np.full(40, 7.3)])
    y = X[:, :2] + rng.normal(size=(40, 2))
    found = significance_test(LocalLinearRegressor(bandwidth=0.8, ridge=0.0).fit(X, y), 2, n_bootstrap=49)
    assert_array_equal(found.statistic, np.zeros((2, 1)))
    assert_array_equal(found.p_value, np.ones((2, 1)))


def test_of_many_rows_some_points_are_tested_in_batches(monkeypatch):
    X, y = table(100)
    model = MODELS["lines"].fit(X, y)
    every = significance_test(model, n_bootstrap=99)
    with config_context(working_memory=0.05):
        in_batches = significance_test(model, n_bootstrap=99)
    assert_allclose(in_batches.statistic, every.statistic)
    monkeypatch.setattr(significance, "_MOST_POINTS", 75)
    some = significance_test(model, n_bootstrap=99)
    assert np.all(some.statistic != every.statistic)
    assert_allclose(some.statistic, every.statistic, rtol=0.3)


@pytest.mark.parametrize(
    ("settings", "features", "options", "message"),
    [
        ({"kernel": "tophat"}, None, {}, "no derivative"),
        ({}, "colours", {}, "features names the feature 'colours'"),
        ({}, [5], {}, "features must hold names of features or indices from 0 to 4, and the features of X are"),
        ({}, None, {"n_bootstrap": 0}, "n_bootstrap"),
    ],
)
def test_what_cannot_be_tested_is_refused(settings, features, options, message):
    X, y = table(20)
    with pytest.raises(ValueError, match=message):
        significance_test(NadarayaWatsonRegressor(bandwidth=2.0, **settings).fit(X, y), features, **options)


def test_a_category_can_be_tested_with_any_kernel():
    X, y = table(100)
    model = NadarayaWatsonRegressor("tophat", bandwidth=1.5).fit(X[["a", "colour"]], y)
    assert significance_test(model, "colour", n_bootstrap=99).p_value[0] == 0.01


@pytest.mark.parametrize("is_category", [False, True], ids=["number", "category"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("settings", [(NadarayaWatsonRegressor, {}), (LocalLinearRegressor, {"ridge": 0.1})])
def test_the_test_is_that_of_matrices_of_weights(settings, weighted, is_category):
    """Of a category of the residuals of the fit without it; also where a weight is much larger than the others."""
    estimator, parameters = settings
    rng, h = np.random.default_rng(0), np.array([0.8, 0.9])
    X = rng.normal(size=(30, 2))
    X = X[np.argsort(X[:, 0])]
    if is_category:
        X[:, 1] = rng.integers(0, 3, 30)
    y = X[:, 0] + 0.3 * X[:, 1] + rng.normal(size=30)
    w = rng.choice([0.0, 0.5, 1.0, 20.0], 30) if weighted else np.ones(30)
    with_both = estimator(bandwidth=h, categorical_features=[1] if is_category else None, **parameters)
    alone = estimator(bandwidth=h[0], **parameters)
    found = significance_test(clone(with_both).fit(X, y, w), 1, n_bootstrap=50)

    X, y, w = X[w > 0], y[w > 0], w[w > 0] / w[w > 0].mean()
    n = len(X)
    of_unit_vectors = clone(with_both).fit(X, np.eye(n), w)
    null = clone(alone).fit(X[:, :1], np.eye(n), w).predict(X[:, :1])
    null = 2 * null - null @ null
    of_residuals = clone(alone).fit(X[:, :1], y, w) if is_category else clone(with_both).fit(X, y, w)
    others = of_residuals.attention_weights_(X[:, :1] if is_category else X) * (1 - np.eye(n))
    M = others.sum(axis=1) ** 2 / (others**2 @ (1 / w))
    squares = (y - of_residuals.loo_prediction_) ** 2 * M / (M + 1)
    sigma = np.sqrt(of_unit_vectors.attention_weights_(X) @ squares)
    v = np.random.RandomState(0).choice(np.array([-1, 1], dtype=np.int8), (n, 50))
    targets = np.column_stack([y, (null @ y)[:, np.newaxis] + sigma[:, np.newaxis] * v])
    if is_category:
        at_levels = np.array([of_unit_vectors.predict(np.column_stack([X[:, 0], np.full(n, c)])) for c in range(3)])
        changes = at_levels - at_levels.mean(axis=0)
    else:
        changes = of_unit_vectors.gradient(X)[np.newaxis, :, :, 1]
    g = changes @ (targets - null @ targets)
    T = np.average(((g / g[..., 1:].std(axis=2, keepdims=True)) ** 2).mean(axis=0), axis=0, weights=w)
    assert_allclose(found.statistic, T[0], rtol=1e-8)
    assert_allclose(found.p_value, (1 + np.sum(T[1:] >= T[0])) / 51)


def test_a_feature_of_groups_that_share_errors_does_not_matter():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 5)
    X = np.column_stack([rng.normal(size=100), rng.normal(size=20)[group]])
    y = X[:, 0] + rng.normal(size=20)[group] + 0.1 * rng.normal(size=100)
    of_groups = (None, group)
    alone, together = (
        significance_test(NadarayaWatsonRegressor(bandwidth=0.7).fit(X, y, groups=g), n_bootstrap=99) for g in of_groups
    )
    assert alone.p_value.tolist() == [0.01, 0.01]
    assert together.p_value[0] == 0.01
    assert together.p_value[1] > 0.1


@pytest.mark.parametrize("inspect", [summary, significance_test])
def test_classifiers_and_kriging_are_refused(inspect):
    X = np.random.default_rng(0).normal(size=(20, 1))
    for model in (NadarayaWatsonClassifier(bandwidth=1.0), KrigingRegressor(max_iter=1, tol=1e3)):
        with pytest.raises(TypeError, match="takes regressors with non-negative weights, got"):
            inspect(model.fit(X, (X[:, 0] > 0).astype(int)))
