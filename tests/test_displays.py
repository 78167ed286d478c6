"""Pictures: what is drawn is the data; where it is drawn and how it is called follows scikit-learn."""

import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from problems import regression
from scipy.stats.mstats import mquantiles
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.inspection import partial_dependence
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sknw import (
    AttentionPoolingRegressor,
    KrigingRegressor,
    LocalLinearRegressor,
    NadarayaWatsonClassifier,
    NadarayaWatsonRegressor,
)
from sknw.datasets import make_sine_power
from sknw.displays import AttentionDisplay, BandwidthDisplay, EffectDisplay, FitDisplay

DRAW = {
    "attention": lambda model, X, y, **options: AttentionDisplay.from_estimator(model, X, **options),
    "effect": lambda model, X, y, **options: EffectDisplay.from_estimator(model, **options),
    "fit": lambda model, X, y, **options: FitDisplay.from_estimator(model, X, y, **options),
    "bandwidth": lambda model, X, y, **options: BandwidthDisplay.from_estimator(model, **options),
}


@pytest.fixture(autouse=True)
def close_figures():
    plt.close("all")  # those of other tests
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def problem():
    X, y = make_sine_power(60, sort=False, random_state=0)
    return NadarayaWatsonRegressor().fit(X, y), X, y


# Conventions


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_displays_draw_into_the_axes_given(draw, problem):
    figure, axes = plt.subplots(1, 2)
    display = draw(*problem, ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not axes[0].has_data()
    assert display.plot(axes[0]) is display
    assert display.ax_ is axes[0]
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_displays_work_in_subfigures_and_without_pyplot(draw, problem):
    figure = Figure(layout="constrained")
    ax = figure.subfigures(1, 2)[1].subplots()
    assert draw(*problem, ax=ax).figure_ is ax.figure
    figure.draw_without_rendering()
    assert plt.get_fignums() == []


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
@pytest.mark.parametrize("width", [3.3, 7.0])
def test_nothing_is_cut_off_at_the_width_of_a_column(draw, width, problem):
    figure, ax = plt.subplots(figsize=(width, 0.72 * width), layout="constrained")
    draw(*problem, ax=ax)
    figure.draw_without_rendering()
    inside = figure.bbox.padded(1.0)
    for axes in figure.axes:
        for box in (axes.get_tightbbox(), axes.xaxis.label.get_window_extent(), axes.yaxis.label.get_window_extent()):
            assert inside.containsx(box.x0)
            assert inside.containsx(box.x1)
            assert inside.containsy(box.y0)
            assert inside.containsy(box.y1)


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_displays_ask_for_a_fitted_smoother(draw, problem):
    _, X, y = problem
    with pytest.raises(NotFittedError):
        draw(NadarayaWatsonRegressor(), X, y)
    with pytest.raises(TypeError, match="estimator must be one of sknw"):
        draw(LinearRegression().fit(X, y), X, y)


def test_a_display_is_made_without_matplotlib(monkeypatch):
    for module in ["matplotlib", "matplotlib.pyplot"]:
        monkeypatch.setitem(sys.modules, module, None)
    display = FitDisplay(np.arange(2), np.ones(2), np.ones((2, 2)), coverage=0.9, data_x=[1], data_y=[1])
    with pytest.raises(ImportError, match="pip install matplotlib"):
        display.plot()


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_pipelines_and_data_frames_are_taken(draw, frame):
    X, y, _, _ = regression(d=3)
    X = frame(dict(zip(["age", "bmi", "bp"], X.T, strict=True)))
    model = make_pipeline(StandardScaler(), NadarayaWatsonRegressor()).fit(X, y)
    draw(model, X, y)


# Attention


def test_attention_of_one_feature_is_in_its_order(problem):
    model, X, _ = problem
    queries = X[:20]
    display = AttentionDisplay.from_estimator(model, queries)
    rows, columns = np.argsort(queries[:, 0]), np.argsort(X[:, 0])
    assert_array_equal(display.image_.get_array(), model.attention_weights_(queries)[rows][:, columns])
    assert display.ax_.get_xlabel() == "training sample, by x"
    assert display.ax_.get_ylabel() == "query, by x"
    assert display.colorbar_.ax.get_ylabel() == "attention weight"
    assert display.image_.norm.vmin == 0
    # a tick label is the value at its place
    label = display.ax_.xaxis.get_major_formatter()(7, None)
    assert float(label) == pytest.approx(np.sort(X[:, 0])[7], abs=0.06)


def test_signed_attention_has_zero_in_the_middle_of_its_colours(problem):
    _, X, y = problem
    display = AttentionDisplay.from_estimator(KrigingRegressor(max_iter=3).fit(X, y), X)
    norm = display.image_.norm
    assert norm.vmin == -norm.vmax == -np.abs(display.weights).max()
    assert_allclose([norm(0.0), norm(norm.vmax / 4)], [0.5, 0.75])


def test_attention_of_several_features_is_in_the_order_of_prediction_and_target():
    X, y, _, Q = regression(d=3)
    model = LocalLinearRegressor(bandwidth=1.0, ridge=0.1).fit(X, y)
    display = AttentionDisplay.from_estimator(model, Q, cmap="Greys", vmax=0.5)
    expected = model.attention_weights_(Q)[np.argsort(model.predict(Q))][:, np.argsort(y, kind="stable")]
    assert_array_equal(display.image_.get_array(), expected)
    assert display.image_.get_cmap().name == "Greys"
    assert display.image_.norm.vmax == 0.5
    assert display.ax_.get_ylabel() == "query, by prediction"


# Fit


def test_fit_draws_prediction_interval_and_data(problem):
    model, X, y = problem
    display = FitDisplay.from_estimator(model, X, y, coverage=0.8, line_kwargs={"lw": 5, "c": "k"})
    x, mean = display.line_.get_data()
    assert_allclose(x, np.linspace(X.min(), X.max(), 200))
    assert_array_equal(mean, model.predict(x[:, np.newaxis]))
    assert_array_equal(display.scatter_.get_offsets(), np.column_stack([X[:, 0], y]))
    vertices = display.band_.get_paths()[0].vertices
    for bound in model.predict_interval(x[:, np.newaxis], 0.8).T:
        assert np.isin(bound, vertices[:, 1]).all()
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["data", "prediction", "80 % interval"]
    assert display.line_.get_linewidth() == 5
    assert display.line_.get_color() == "k"


def test_fit_of_several_features_is_a_cut_at_the_medians_of_the_others():
    X, y, _, _ = regression(d=3)
    frame = pd.DataFrame(X, columns=["age", "bmi", "bp"])
    model = make_pipeline(StandardScaler(), NadarayaWatsonRegressor(bandwidth=1.0)).fit(frame, y)
    for feature in ["bmi", 1]:
        display = FitDisplay.from_estimator(model, frame, y, feature=feature)
        medians = np.median(X, axis=0)
        grid = np.column_stack([np.full(200, medians[0]), display.x, np.full(200, medians[2])])
        assert_allclose(display.line_.get_ydata(), model.predict(pd.DataFrame(grid, columns=frame.columns)))
        assert display.ax_.get_xlabel() == "bmi (others at their medians)"
        assert_array_equal(display.data_x, X[:, 1])


def test_fit_of_several_outputs_asks_which():
    X, y, _, _ = regression(n_outputs=2)
    model = NadarayaWatsonRegressor(bandwidth=1.0).fit(X, y)
    with pytest.raises(ValueError, match="target must be the position of one of the 2 outputs"):
        FitDisplay.from_estimator(model, X, y)
    display = FitDisplay.from_estimator(model, X, y, target=1)
    alone = FitDisplay.from_estimator(NadarayaWatsonRegressor(bandwidth=1.0).fit(X, y[:, 1]), X, y[:, 1])
    assert_allclose(display.mean, alone.mean)
    assert_allclose(display.interval, alone.interval)
    assert_array_equal(display.data_y, y[:, 1])


@pytest.mark.parametrize("feature", ["weight", 2, -1, None])
def test_fit_names_the_features_there_are(feature):
    X, y, _, _ = regression(d=2)
    model = NadarayaWatsonRegressor(bandwidth=1.0).fit(X, y)
    with pytest.raises(ValueError, match=r"^feature .*the features of X are \['x0', 'x1'\]"):
        FitDisplay.from_estimator(model, X, y, feature=feature)


def test_an_infinite_interval_fills_the_picture():
    X, y = np.arange(5.0)[:, np.newaxis], np.arange(5.0)
    display = FitDisplay.from_estimator(NadarayaWatsonRegressor(bandwidth=1.0).fit(X, y), X, y)
    assert np.isinf(display.interval).all()
    heights = display.band_.get_paths()[0].vertices[:, 1]
    assert np.isfinite(heights).all()
    assert heights.min() < 0
    assert heights.max() > 4


# Bandwidth


def test_bandwidth_draws_what_the_selector_saw(problem):
    model = problem[0]
    search = model.bandwidth_search_
    display = BandwidthDisplay.from_estimator(model)
    assert_allclose(display.line_.get_data(), [search.bandwidths[:, 0], search.scores], rtol=1e-14)
    assert_array_equal(display.choice_.get_xdata(), model.bandwidth_)
    assert_allclose(display.minima_.get_xdata(), search.bandwidths[search.local_minima, 0], rtol=1e-14)
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_ylabel() == "leave-one-out error"


@pytest.mark.parametrize(
    "estimator", [NadarayaWatsonRegressor(), LocalLinearRegressor(ridge=0.01)], ids=["mean", "line"]
)
def test_degrees_of_freedom_are_the_trace_of_the_smoother_matrix(estimator):
    X, y = make_sine_power(60, random_state=0)
    display = BandwidthDisplay.from_estimator(estimator.fit(X, y))
    bandwidths, freedom = display.degrees_of_freedom
    for k in [15, 20, 29]:
        model = estimator.set_params(bandwidth=bandwidths[k]).fit(X, y)
        smoother_matrix = model.fit(X, np.eye(60)).predict(X)
        assert freedom[k] == pytest.approx(np.trace(smoother_matrix), rel=1e-6)


def test_ticks_of_degrees_of_freedom_are_where_these_are(problem):
    display = BandwidthDisplay.from_estimator(problem[0])
    bandwidths, freedom = display.degrees_of_freedom
    ticks = display.freedom_axis_.get_xticks()
    labels = [float(label.get_text()) for label in display.freedom_axis_.get_xticklabels()]
    assert len(ticks) >= 3
    assert_allclose(np.interp(np.log(ticks), np.log(bandwidths), freedom), labels, rtol=0.1)


def test_bandwidth_of_several_features_is_in_standard_deviations():
    X, y, w, _ = regression(d=3, weighted=True)
    model = NadarayaWatsonRegressor("epanechnikov", "aicc").fit(X, y, w)
    display = BandwidthDisplay.from_estimator(model)
    assert_array_equal(display.bandwidths, model.bandwidth_search_.factors)
    assert display.ax_.get_xlabel() == "bandwidth (standard deviations)"
    assert display.ax_.get_ylabel() == "AICc"


def test_bandwidth_needs_a_search(problem):
    _, X, y = problem
    with pytest.raises(ValueError, match="has searched no bandwidth"):
        BandwidthDisplay.from_estimator(NadarayaWatsonRegressor(bandwidth=1.0).fit(X, y))


# Effects


def mixed_table(n=90):
    rng = np.random.default_rng(1)
    a, b, hour = rng.normal(size=n), rng.normal(size=n), rng.uniform(0, 24, n)
    X = pd.DataFrame({"a": a, "colour": pd.Categorical(rng.choice(list("xyz"), n)), "hour": hour, "b": b})
    return X, np.sin(a) * (X["colour"] == "x").to_numpy() + np.cos(hour * np.pi / 12) + 0.1 * rng.normal(size=n)


EFFECT_MODELS = {
    "means": NadarayaWatsonRegressor(bandwidth=[0.4, 0.4, 2.0, 0.5], periodic_features={"hour": 24}),
    "learned": AttentionPoolingRegressor(w=[2.0, 1.0, 0.0, 0.5]),
    "compact": NadarayaWatsonRegressor("epanechnikov", bandwidth=[2.0, 1.5, 9.0, 3.0]),
    "lines": LocalLinearRegressor(bandwidth=[0.5, 0.5, 3.0, 1.0], ridge=0.1),
}


@pytest.mark.parametrize("model", EFFECT_MODELS.values(), ids=EFFECT_MODELS)
def test_effects_are_the_partial_dependence_of_scikit_learn(model):
    X, y = mixed_table()
    model.fit(X, y)
    display = EffectDisplay.from_estimator(model, X[:40], grid_resolution=7)
    for k, name in enumerate(X):
        values = display.values[k] if name != "colour" else np.array(["x", "y", "z"], dtype=object)
        settings = {"kind": "both", "method": "brute", "custom_values": {name: values}}
        expected = partial_dependence(model, X[:40], [name], **settings)
        assert_allclose(display.average[k], expected["average"][0], rtol=0, atol=1e-12)
        lower, upper = np.quantile(expected["individual"][0], [0.25, 0.75], axis=0, method="inverted_cdf")
        assert_allclose(display.quartiles[k], [lower, upper], atol=1e-12)
        assert_allclose(np.sort(display.curves[k], axis=0), np.sort(expected["individual"][0], axis=0), atol=1e-12)
    assert_allclose(display.values[0], partial_dependence(model, X[:40], ["a"], grid_resolution=7)["grid_values"][0])


def test_the_effect_of_a_periodic_feature_is_that_of_the_whole_period_and_of_others_without_extremes():
    X, y = mixed_table()
    display = EffectDisplay.from_estimator(EFFECT_MODELS["means"].fit(X, y), features=["hour", "b"], grid_resolution=9)
    ends = [[values[0], values[-1]] for values in display.values]
    assert_allclose(ends, [mquantiles(X["hour"], [0.0, 1.0]), mquantiles(X["b"], [0.05, 0.95])])


def test_effects_of_queries_far_from_all_samples_lose_nothing():
    """In sums over the other features the sample that is nearest in all features may weigh 1e-300 of the rest."""
    X = np.array([[0.0, 0.0], [0.1, 0.0], [50.0, 50.0], [50.1, 50.0]])
    model = NadarayaWatsonRegressor(bandwidth=1.0).fit(X, [0.0, 1.0, 2.0, 3.0])
    display = EffectDisplay.from_estimator(model, features=0, kind="individual")
    by_row = np.array([model.predict(np.column_stack([display.values[0], np.full(4, x)])) for x in X[:, 1]])
    assert_allclose(np.sort(display.curves[0], axis=0), np.sort(by_row, axis=0), atol=1e-12)


def test_effects_are_those_of_the_training_rows_with_their_weights():
    X, y = mixed_table(60)
    weights = np.random.default_rng(0).integers(0, 3, 60)
    weighted = EffectDisplay.from_estimator(NadarayaWatsonRegressor(bandwidth=0.7).fit(X, y, weights), features=[0, 1])
    repeated = X.loc[X.index.repeat(weights)]
    model = NadarayaWatsonRegressor(bandwidth=0.7).fit(repeated, np.repeat(y, weights))
    effects = EffectDisplay.from_estimator(model, repeated, features=["a", "colour"])
    for k in range(2):
        assert_allclose(
            weighted.average[k], np.interp(weighted.values[k], effects.values[k], effects.average[k]), 1e-12
        )
        assert_allclose(weighted.quartiles[k], effects.quartiles[k], rtol=1e-12)


def test_effects_of_a_pipeline_are_those_of_the_features_that_it_is_given():
    X, y = mixed_table()
    encoder = OneHotEncoder(sparse_output=False)
    columns = ColumnTransformer([("codes", encoder, ["colour"])], remainder=StandardScaler())
    model = make_pipeline(columns, NadarayaWatsonRegressor(bandwidth=0.5)).fit(X, y)
    display = EffectDisplay.from_estimator(model, X, ["colour", "a"])
    assert display.levels[0] == ["x", "y", "z"]
    expected = partial_dependence(model, X, ["a"], method="brute")
    assert_allclose(display.average[1], expected["average"][0])
    inside = EffectDisplay.from_estimator(model)
    assert inside.feature_names[0] == "x0"
    assert len(inside.axes_) == 6


@pytest.mark.parametrize("kind", ["average", "individual", "both"])
def test_effects_draw_what_their_kind_says(kind):
    X, y = mixed_table()
    display = EffectDisplay.from_estimator(EFFECT_MODELS["means"].fit(X, y), kind=kind, line_kwargs={"c": "red"})
    for k, axes in enumerate(display.axes_):
        assert axes.get_xlabel() == X.columns[k]
        assert axes.get_ylim() == display.axes_[0].get_ylim()
        assert (display.band_[k] is not None) == (kind == "average")
        assert len(display.curves_[k]) == (0 if kind == "average" else 50)
        if kind != "individual":
            assert_array_equal(display.line_[k].get_ydata(), display.average[k])
            assert display.line_[k].get_color() == "red"
    assert [label.get_text() for label in display.axes_[1].get_xticklabels()] == ["x", "y", "z"]


def test_effects_of_several_outputs_name_one(problem):
    _, X, y = problem
    model = NadarayaWatsonRegressor(bandwidth=0.5).fit(X, np.column_stack([y, -y]))
    with pytest.raises(ValueError, match="target"):
        EffectDisplay.from_estimator(model)
    both = [EffectDisplay.from_estimator(model, target=target).average[0] for target in (0, 1)]
    assert_allclose(both[0], -both[1])
    with pytest.raises(ValueError, match="kind"):
        EffectDisplay.from_estimator(model, target=0, kind="mean")


def test_displays_of_classes_name_them_and_a_curve_is_refused():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), np.array(["bird", "cat"])[rng.integers(0, 2, 60)]
    X[y == "cat"] += 1.5
    model = NadarayaWatsonClassifier().fit(X, y)
    attention = AttentionDisplay.from_estimator(model, X[:20])
    assert [label.get_text() for label in attention.ax_.get_xticklabels()] == ["bird", "cat"]
    rows = np.argsort(model.predict(X[:20]), kind="stable")
    columns = np.argsort(y, kind="stable")
    assert_allclose(attention.image_.get_array(), model.attention_weights_(X[:20])[np.ix_(rows, columns)])
    assert BandwidthDisplay.from_estimator(model).ax_.get_ylabel() == "leave-one-out log loss (nats)"
    with pytest.raises(TypeError, match="a classifier does not have"):
        FitDisplay.from_estimator(model, X, y)


@pytest.mark.parametrize("band", ["interval", "mean", "both"])
def test_a_fit_has_the_bands_asked_for(band, problem):
    model, X, y = problem
    display = FitDisplay.from_estimator(model, X, y, band=band, coverage=0.8, mean_band_kwargs={"alpha": 0.5})
    assert (display.band_ is None) == (band == "mean")
    assert (display.mean_band_ is None) == (band == "interval")
    if band != "interval":
        assert_array_equal(display.mean_interval, model.predict_mean_interval(display.x[:, np.newaxis], 0.8))
        assert display.mean_band_.get_alpha() == 0.5
        assert "80 % band of the mean" in [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_a_fit_refuses_other_bands(problem):
    with pytest.raises(ValueError, match="band must be"):
        FitDisplay.from_estimator(*problem, band="std")


def test_effects_of_two_classes_are_those_of_predict_proba():
    X = np.random.default_rng(0).normal(size=(30, 2))
    model = make_pipeline(StandardScaler(), NadarayaWatsonClassifier(bandwidth=1.0, smoothing=0.4)).fit(X, X[:, 0] > 0)
    for target in (0, 1):
        inside = EffectDisplay.from_estimator(model[-1], features=0, target=target)
        whole = EffectDisplay.from_estimator(model, X, 0, target=target)
        assert_allclose(inside.average[0], whole.average[0], rtol=0, atol=1e-12)
    assert_array_equal(EffectDisplay.from_estimator(model[-1], features=0).average[0], inside.average[0])
    grid = model[0].inverse_transform(np.array([[inside.values[0][0], 0.0]]))[0, 0]
    X[:, 0] = grid
    assert_allclose(inside.average[0][0], model.predict_proba(X)[:, 1].mean(), rtol=0, atol=1e-12)
