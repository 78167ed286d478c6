"""What is known of a fitted smoother, and whether its features matter."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw.inspection import summary


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
    with pytest.warns(UserWarning, match="largest bandwidth"):
        model = make_pipeline(StandardScaler(), NadarayaWatsonRegressor()).fit(X, y)
    found = summary(model)
    assert "largest bandwidth" in found.warnings[0]
    assert str(found).endswith(found.warnings[0])


def test_a_summary_reads_only_rows_with_left_out_predictions():
    X, y = table(300)
    few = summary(NadarayaWatsonRegressor(bandwidth=1.0, validation_samples=100, random_state=0).fit(X, y))
    every = summary(NadarayaWatsonRegressor(bandwidth=1.0).fit(X, y))
    assert few.degrees_of_freedom != every.degrees_of_freedom
    assert_allclose(few.degrees_of_freedom, every.degrees_of_freedom, rtol=0.1)
