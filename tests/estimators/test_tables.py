"""Tables: categories, ordered categories and periodic features, in arrays and data frames."""

import pickle
import tracemalloc

import joblib
import numpy as np
import oracle
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from problems import KERNELS, assert_close, engine_cases
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw._metric.loss import Loss
from sknw._smoothing.features import FeatureMap
from sknw._smoothing.local_linear import LocalLinearSpec
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import Validation
from sknw.estimators.tables import append_levels, recode
from sknw.kernels import Gaussian

ESTIMATORS = [NadarayaWatsonRegressor, LocalLinearRegressor, AttentionPoolingRegressor]
every = pytest.mark.parametrize("Estimator", ESTIMATORS)

KINDS = ["number", "category", "ordered", 24.0]
MIXED = {"categorical_features": [1], "ordered_features": [2], "periodic_features": {3: 24}}
H = np.array([0.8, 0.9, 1.1, 5.0])
COLORS, SIZES = np.array(["blue", "green", "red"]), np.array(["small", "medium", "large", "huge"])


def table(n=60, seed=0, n_outputs=None, weighted=False):
    """X (n, 4) with codes of categories, y, sample_weight or None, and queries."""
    rng = np.random.default_rng(seed)
    m = n + 17
    X = np.column_stack([rng.normal(size=m), rng.integers(0, 3, m), rng.integers(0, 4, m), rng.uniform(0, 24, m)])
    X[: len(SIZES), 1:3] = np.column_stack([np.arange(4) % 3, np.arange(4)])  # every level is there
    truth = np.sin(2 * X[:, 0]) + np.array([0, 2, -1])[X[:, 1].astype(int)] + X[:, 2] + np.cos(np.pi * X[:, 3] / 12)
    y = truth[:n, np.newaxis] + 0.3 * rng.normal(size=(n, n_outputs or 1))
    w = rng.choice([0.0, 0.5, 1.0, 2.0], n) if weighted else None
    if weighted:
        w[:4] = 1.0
    return X[:n], y if n_outputs else y[:, 0], w, X[n:]


def frame(X, library="pandas"):
    """The same table with names of levels."""
    color, size = COLORS[X[:, 1].astype(int)], SIZES[X[:, 2].astype(int)]
    if library == "polars":
        columns = {"color": pl.Series(color, dtype=pl.Categorical), "size": pl.Series(size, dtype=pl.Enum(SIZES))}
        return pl.DataFrame({"x": X[:, 0], **columns, "hour": X[:, 3]})
    columns = {"color": pd.Categorical(color), "size": pd.Categorical(size, SIZES, ordered=True)}
    return pd.DataFrame({"x": X[:, 0], **columns, "hour": X[:, 3]})


def given(Estimator, h):
    """The parameter that gives bandwidths in numbers."""
    return {"w": 1 / h} if Estimator is AttentionPoolingRegressor else {"bandwidth": h}


def fixed(Estimator, **parameters):
    """At given bandwidths, and a ridge if there is one."""
    if Estimator is AttentionPoolingRegressor:
        return Estimator(w=1 / H, **parameters)
    return Estimator(bandwidth=H, **({"ridge": 0.1} if Estimator is LocalLinearRegressor else {}), **parameters)


# --- the same numbers as the formulas


def bandwidth_of(lambdas):
    """The bandwidth of the Gaussian at which a mismatch, or a step, leaves the part lambda of a weight."""
    with np.errstate(divide="ignore"):
        return 1 / np.sqrt(2 * np.abs(np.log(lambdas)))


@pytest.mark.parametrize("kinds", ["c", "cu", "co", "cuo"])
@pytest.mark.parametrize("lambdas", [(0.3, 0.6), (0.01, 1.0), (1.0, 0.2)], ids=str)
def test_predictions_are_those_of_the_kernels_of_li_and_racine(lambdas, kinds):
    """As of R's np; lambda = 1, an infinite bandwidth, takes the feature out."""
    X, y, w, Q = table(weighted=True)
    of_kind = {"c": 0, "u": 1, "o": 2}
    X, Q = (rows[:, [of_kind[kind] for kind in kinds]] for rows in (X, Q))
    of_features = [{"c": np.nan, "u": lambdas[0], "o": lambdas[1]}[kind] for kind in kinds]
    h = np.where([kind == "c" for kind in kinds], 0.8, bandwidth_of(of_features))
    categories, ordered = ([k for k, kind in enumerate(kinds) if kind == of] or None for of in "uo")
    model = NadarayaWatsonRegressor(bandwidth=h, categorical_features=categories, ordered_features=ordered)
    model.fit(X, y, w)
    weights = w * oracle.np_weights(Q, X, h, kinds, of_features)
    assert_allclose(model.predict(Q), (weights @ y / weights.sum(axis=1)).astype(float), rtol=1e-10)
    assert_allclose(model.category_weight_, of_features, rtol=1e-12)


@pytest.mark.parametrize("lambda_", [0.01, 0.3, 0.6])
def test_predictions_are_those_of_the_kernels_of_aitchison_and_aitken_and_of_wang_and_van_ryzin(lambda_):
    """As of statsmodels; that of Wang and van Ryzin halves all mismatches: the column is entered twice."""
    X, y, _, Q = table()
    number = oracle.np_weights(Q[:, :1], X[:, :1], [0.8], "c", [])
    mismatch = lambda_ / (2 * (1 - lambda_))  # of three levels, relative to a match
    model = NadarayaWatsonRegressor(bandwidth=[0.8, bandwidth_of(mismatch)], categorical_features=[1])
    weights = number * oracle.aitchison_aitken(Q[:, 1], X[:, 1], lambda_, 3)
    expected = (weights @ y / weights.sum(axis=1)).astype(float)
    assert_allclose(model.fit(X[:, :2], y).predict(Q[:, :2]), expected, rtol=1e-10)
    h = [0.8, *bandwidth_of([lambda_, 0.5])]
    model = NadarayaWatsonRegressor(bandwidth=h, categorical_features=[2], ordered_features=[1])
    weights = number * oracle.wang_van_ryzin(Q[:, 2], X[:, 2], lambda_)
    expected = (weights @ y / weights.sum(axis=1)).astype(float)
    assert_allclose(model.fit(X[:, [0, 2, 2]], y).predict(Q[:, [0, 2, 2]]), expected, rtol=1e-10)


@every
def test_an_infinite_bandwidth_takes_a_feature_out_of_the_distance(Estimator):
    X, y, _, Q = table()
    wide, out = H.copy(), H.copy()
    wide[1:3], out[1:3] = 1e8, np.inf
    with np.errstate(divide="ignore"):
        models = [clone(fixed(Estimator, **MIXED)).set_params(**given(Estimator, h)) for h in (wide, out)]
    expected, found = (model.fit(X, y).predict(Q) for model in models)
    assert_allclose(found, expected, rtol=1e-8)
    assert_array_equal(models[1].category_weight_, [np.nan, 1.0, 1.0, np.nan])
    assert np.all(np.isfinite(pickle.loads(pickle.dumps(models[1])).gradient(Q)))


def test_the_gaussian_of_a_periodic_feature_is_the_von_mises_kernel():
    rng = np.random.default_rng(0)
    X, Q = rng.uniform(0, 24, (50, 1)), rng.uniform(-24, 48, (20, 1))
    model = NadarayaWatsonRegressor(bandwidth=2.0, periodic_features={0: 24}).fit(X, X[:, 0])
    angle = 2 * np.pi * (Q - X[:, 0]) / 24
    weights = np.exp((np.cos(angle) - 1) * (24 / (2 * np.pi * 2.0)) ** 2)
    assert_allclose(model.attention_weights_(Q), weights / weights.sum(axis=1, keepdims=True), rtol=1e-11, atol=1e-15)


def test_midnight_is_continuous_and_a_small_bandwidth_is_in_hours():
    X = np.random.default_rng(0).uniform(0, 24, (2000, 1))
    y = np.sin(np.pi * X[:, 0] / 12)
    model = NadarayaWatsonRegressor(bandwidth=0.5, periodic_features={0: 24}).fit(X, y)
    assert_allclose(model.predict([[0.0]]), model.predict([[24.0]]), rtol=1e-12)
    assert_allclose(model.predict([[23.9999]]), model.predict([[0.0001]]), atol=1e-4)
    Q = np.linspace(4, 20, 33)[:, np.newaxis]
    assert_allclose(model.predict(Q), NadarayaWatsonRegressor(bandwidth=0.5).fit(X, y).predict(Q), atol=0.01)


def test_there_is_no_seam_at_180_degrees():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.uniform(-180, 180, 200), rng.uniform(-60, 60, 200)])
    y = np.cos(np.radians(X[:, 0])) + X[:, 1] / 60
    model = NadarayaWatsonRegressor(bandwidth=[10.0, 10.0], periodic_features={0: 360}).fit(X, y)
    assert_allclose(model.predict([[-180.0, 20.0]]), model.predict([[180.0, 20.0]]), rtol=1e-12)
    east = np.array([57.0, 0.0])
    turned = clone(model).fit(np.where(X + east > 180, X + east - [360, 0], X + east), y)
    assert_allclose(turned.predict(X + east), model.predict(X), rtol=1e-10)


def test_hours_of_a_small_bandwidth_are_those_of_an_unwrapped_day():
    """To 1 %, the chord being shorter than the arc by a part (h / P)^2 or so."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 24, (300, 1))
    y = np.sin(X[:, 0]) + 0.3 * rng.normal(size=300)
    wrapped = NadarayaWatsonRegressor(periodic_features={0: 24}).fit(X, y)
    assert wrapped.bandwidth_[0] < 1.0
    plain = NadarayaWatsonRegressor(bandwidth=wrapped.bandwidth_[0])
    plain.fit(np.vstack([X - 24, X, X + 24]), np.tile(y, 3))
    Q = np.linspace(0, 24, 25)[:, np.newaxis]
    assert_allclose(wrapped.predict(Q), plain.predict(Q), atol=0.01)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("case", engine_cases(["gaussian", "exponential", "tricube", "power 1.5"], [5]), ids=str)
def test_every_engine_predicts_from_the_distances_of_the_features(case, weighted):
    """5 columns: 1, 2 of the category, and for one that is left out 3 or 2."""
    kernel, name = KERNELS[case["kernel"]]
    X, y, w, Q = table(n_outputs=2, weighted=weighted)
    h = 3 * H if name in oracle.COMPACT else H
    model = NadarayaWatsonRegressor(kernel, h, algorithm=case["algorithm"], **MIXED).fit(X, y, w)
    mixed = oracle.Mixed(h, KINDS)
    assert_close(model.predict(Q), oracle.predict(Q, X, y, mixed, name, w), y)
    assert_close(model.loo_prediction_, oracle.leave_one_out(X, y, mixed, name, w), y)
    assert_close(model.predict(Q, return_std=True)[1], oracle.std(Q, X, y, mixed, name, w), y)


@pytest.mark.parametrize("feature", range(4), ids=["number", "category", "ordered", "periodic"])
@pytest.mark.parametrize("algorithm", ["expansion", "fused", "dense"])
def test_fast_sums_take_single_features(feature, algorithm):
    X, y, w, Q = table(weighted=True)
    X, Q, kind = X[:, [feature]], Q[:, [feature]], KINDS[feature]
    parameters = {"category": {"categorical_features": [0]}, "ordered": {"ordered_features": [0]}}
    given = parameters.get(kind, {} if kind == "number" else {"periodic_features": {0: kind}})
    model = NadarayaWatsonRegressor(bandwidth=H[feature], algorithm=algorithm, **given).fit(X, y, w)
    assert_close(model.predict(Q), oracle.predict(Q, X, y, oracle.Mixed(H[feature], [kind]), "gaussian", w), y)


@pytest.mark.filterwarnings("ignore:the bandwidth is near zero:UserWarning")
@pytest.mark.parametrize("selector", ["loo", "gcv", "aicc"])
def test_a_selector_scores_one_bandwidth_for_each_feature(selector):
    X, y, w, _ = table(weighted=True)
    model = NadarayaWatsonRegressor(bandwidth=selector, **MIXED).fit(X, y, w)
    search, s = model.bandwidth_search_, oracle.mixed_scales(X, KINDS, w).astype(float)
    assert model.bandwidth_.shape == (4,)
    assert_allclose(search.bandwidths, search.factors[:, np.newaxis] * s, rtol=1e-12)
    for index in [*range(0, len(search.scores), 9), search.best_index]:
        score = oracle.criterion(selector, X, y, oracle.Mixed(search.bandwidths[index], KINDS), "gaussian", w)
        assert_allclose(search.scores[index], float(score), rtol=1e-8)


def columns(X):
    """One-hot columns / sqrt(2), as many thermometer columns as steps, and the circle; and the feature of each."""
    category = np.eye(3)[X[:, 1].astype(int)] / np.sqrt(2)
    ordered = X[:, 2:3] > np.arange(3)
    angle = X[:, 3:] * 2 * np.pi / 24
    circle = 24 / (2 * np.pi) * np.column_stack([np.cos(angle), np.sin(angle)])
    return np.column_stack([X[:, :1], category, ordered, circle]), np.repeat(np.arange(4), [1, 3, 3, 2])


@pytest.mark.parametrize("ridge", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
def test_lines_have_a_slope_for_each_column_and_one_ridge_for_each_feature(kernel, ridge):
    X, y, w, Q = table(weighted=True)
    h = 3 * H
    model = LocalLinearRegressor(kernel, h, ridge=ridge, **MIXED).fit(X, y, w)
    (A, feature), (B, _) = columns(X), columns(Q)
    s = oracle.mixed_scales(X, KINDS, w)[feature]
    expected = oracle.smoother_matrix(B, A, h[feature], kernel, w, ridge=ridge, s=s) @ y
    assert_close(model.predict(Q), expected, y, 1e-9)


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("algorithm", ["dense", "fused"])
def test_the_gradient_of_the_loss_is_one_number_for_each_feature(algorithm, degree):
    X, y, w, _ = table(weighted=True)
    X, y, w = X[w > 0], y[w > 0], w[w > 0]
    kinds = FeatureMap(np.array([0, 3, 4, 0]), np.arange(4) == 2, np.zeros(4, dtype=bool), np.array([0, 0, 0, 24.0]))
    training = TrainingSet.of(X, y, w, None, kinds)
    validation = Validation.of(None, training)
    line = LocalLinearSpec.along_columns(training, 0.0) if degree else None
    model = AttentionPoolingRegressor(algorithm=algorithm)
    smoother = model._build_smoother(training, Gaussian(), 1 / training.scales, validation, 1, line)
    loss, at = Loss(smoother, training, validation), np.array([1.1, 0.7, 0.9, 1.3])
    ridge = np.array([0.3, 0.1, 0.5, 0.2])
    value, by_w, by_ridge = loss(at, ridge)
    if not degree:
        assert_allclose(value, float(oracle.loss(X, y, oracle.Mixed(training.scales / at, KINDS), "gaussian", w)))
    step = 1e-5
    for k, e in enumerate(step * np.eye(4)):
        assert_allclose(by_w[k], (loss(at + e, ridge)[0] - loss(at - e, ridge)[0]) / (2 * step), atol=1e-8)
        assert_allclose(by_ridge[k], (loss(at, ridge + e)[0] - loss(at, ridge - e)[0]) / (2 * step), atol=1e-8)


@pytest.mark.parametrize("degree", [0, 1])
def test_learning_switches_a_category_off_that_does_not_matter(degree):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.uniform(-1, 1, 400), rng.integers(0, 6, 400), rng.integers(0, 3, 400)])
    y = np.sin(4 * X[:, 0]) + (X[:, 2] == 1) + 0.2 * rng.normal(size=400)
    model = AttentionPoolingRegressor(degree=degree, categorical_features=[1, 2]).fit(X, y)
    assert model.w_.shape == (3,)
    assert degree == 0 or model.ridge_.shape == (3,)
    assert_array_equal(model.category_weight_, np.where([False, True, True], np.exp(-(model.w_**2) / 2), np.nan))
    assert model.category_weight_[1] > 0.95
    assert degree == 1 or model.category_weight_[2] < 0.3
    score = model.loo_score_
    assert_allclose(model.set_params(warm_start=True).fit(X, y).loo_score_, score, atol=1e-3)


# --- levels that are rare, unknown or missing


def errors_at_a_rare_level(model, n_rare):
    """Root mean square error at queries of a level that few of 1000 rows have, and of the common level."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(1100, 3)), np.zeros(1100)])
    X[:n_rare, 3] = 1
    truth = np.sin(2 * X[:, 0]) + X[:, 1] + X[:, 2]
    model.fit(X[:1000], truth[:1000] + 0.5 * rng.normal(size=1000))
    for level in (1, 0):
        X[1000:, 3] = level
        yield np.sqrt(np.mean((model.predict(X[1000:]) - truth[1000:]) ** 2))


rare = pytest.mark.parametrize("n_rare", [1, 2, 10], ids=["one row", "0.2 %", "1 %"])


@rare
def test_under_one_bandwidth_a_rare_level_borrows_more_than_by_its_own_variance(n_rare):
    """As a number, of standard deviation 0.03 to 0.1, it would be alone."""
    error, of_common = errors_at_a_rare_level(NadarayaWatsonRegressor(categorical_features=[3]), n_rare)
    alone, _ = errors_at_a_rare_level(NadarayaWatsonRegressor(), n_rare)
    assert error < 0.6 * alone
    assert error < 2.0 * of_common


@rare
@pytest.mark.parametrize("degree", [0, 1])
def test_a_rare_level_borrows_from_the_others_where_w_is_learned(degree, n_rare):
    error, of_common = errors_at_a_rare_level(
        AttentionPoolingRegressor(degree=degree, categorical_features=[3]), n_rare
    )
    assert error < 1.2 * of_common


@every
def test_an_unknown_level_is_predicted_as_if_the_feature_were_not_there(Estimator):
    """Of weighted means by the Gaussian: the distance to all levels is the same, and cancels."""
    X, y, _, Q = table()
    model = fixed(Estimator, **MIXED).fit(X, y)
    unknown = Q.copy()
    unknown[:, 1] = 77
    assert np.all(np.isfinite(model.predict(unknown)))
    if Estimator is NadarayaWatsonRegressor:
        without = NadarayaWatsonRegressor(bandwidth=H[[0, 2, 3]], ordered_features=[1], periodic_features={2: 24})
        assert_allclose(model.predict(unknown), without.fit(X[:, [0, 2, 3]], y).predict(Q[:, [0, 2, 3]]), rtol=1e-12)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA], ids=str)
def test_a_missing_value_is_a_level_of_its_own(missing):
    X, y, _, Q = table()
    given, queries = X.astype(object), Q.astype(object)
    for rows in (given, queries):
        rows[rows[:, 1] == 2, 1] = missing
    model = NadarayaWatsonRegressor(bandwidth=H, **MIXED)
    expected = clone(model).fit(X, y).predict(Q)
    assert_allclose(model.fit(given, y).predict(queries), expected, rtol=1e-12)
    assert_array_equal(model.categories_[1], [0.0, 1.0, np.nan])


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA], ids=str)
def test_a_missing_value_that_fit_has_not_seen_is_an_unknown_level(missing):
    X, y, _, Q = table()
    model = NadarayaWatsonRegressor(bandwidth=H, **MIXED).fit(X, y)
    absent, unknown = Q.astype(object), Q.copy()
    absent[:, [1, 2]], unknown[:, [1, 2]] = missing, 77
    assert_array_equal(model.predict(absent), model.predict(unknown))


def test_a_missing_ordered_value_is_equally_far_from_all():
    X = np.array([[0.0], [1.0], [2.0], [np.nan]])
    model = NadarayaWatsonRegressor(bandwidth=1.0, ordered_features=[0]).fit(X, [0.0, 1.0, 2.0, 3.0])
    weights = model.attention_weights_([[np.nan], [0.0]])
    mean = np.exp(-1.5 / 2)  # half a step in each of two columns, and one step aside
    assert_allclose(weights[0], np.array([mean, mean, mean, 1]) / (1 + 3 * mean), rtol=1e-12)
    assert weights[1, 0] > weights[1, 1] > weights[1, 2]


def test_missing_numbers_are_refused():
    X, y, _, _ = table()
    X[3, 0] = np.nan
    with pytest.raises(ValueError, match=r"NaN.*IterativeImputer.*missing_values"):
        NadarayaWatsonRegressor(**MIXED).fit(X, y)


# --- one scale for coordinates that share a unit


def test_a_common_scale_is_the_root_mean_square_of_those_of_numbers():
    X, y, _, _ = table()
    X = np.column_stack([X, 7 * X[:, 0] ** 2, np.ones(len(X))])
    model = NadarayaWatsonRegressor(bandwidth="scott", **MIXED).fit(X, y)
    common = clone(model).set_params(scale="common").fit(X, y)
    expected = model.bandwidth_.copy()
    expected[[0, 4, 5]] = np.sqrt(np.mean(model.bandwidth_[[0, 4]] ** 2))  # that of the constant one is arbitrary
    assert_allclose(common.bandwidth_, expected, rtol=1e-12)


@every
def test_on_a_common_scale_coordinates_may_be_turned(Estimator):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2)) * [5.0, 1.0]
    y = np.sin(X[:, 0]) + X[:, 1] + 0.1 * rng.normal(size=80)
    turned = X @ [[0.6, -0.8], [0.8, 0.6]]
    parameters = {"w": "scalar", "degree": 1} if Estimator is AttentionPoolingRegressor else {}
    model, other = (Estimator(scale="common", **parameters).fit(A, y) for A in (X, turned))
    assert_allclose(other.predict(turned), model.predict(X), rtol=1e-6, atol=1e-6)
    loaded = pickle.loads(pickle.dumps(model))
    assert_allclose(loaded.predict(X), model.predict(X), rtol=1e-12)


def test_on_a_common_scale_a_strip_of_land_is_not_stretched():
    """100 by 2 km, and hills of 4 km."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0, [100, 2], size=(1200, 2))
    truth = np.sin(X[:, 0] / 2) + np.cos(X[:, 1] / 2)
    y = truth + 0.3 * rng.normal(size=1200)
    error = {}
    for scale in ("features", "common"):
        predicted = NadarayaWatsonRegressor(scale=scale).fit(X[:600], y[:600]).predict(X[600:])
        error[scale] = np.sqrt(np.mean((predicted - truth[600:]) ** 2))
    assert error["common"] < 0.5 * error["features"]


# --- sparse columns

METHODS = ["predict", "attention_weights_", "effective_sample_size", "predict_interval", "predict_quantile"]
METHODS += ["sample_y", "gradient"]


@every
@pytest.mark.parametrize("parameters", [{}, {"categorical_features": [1]}], ids=["numbers", "category"])
@pytest.mark.parametrize("sparse", [scipy.sparse.csr_array, pd.DataFrame.sparse.from_spmatrix])
def test_sparse_columns_are_dense_ones(sparse, parameters, Estimator):
    X, y, w, Q = table(weighted=True)
    dense, model = (fixed(Estimator, **parameters) for _ in range(2))
    dense.fit(X, y, w)
    columns, queries = (sparse(scipy.sparse.csr_array(A)) for A in (X, Q))
    model.fit(columns, y, w)
    for method in METHODS:
        assert_allclose(getattr(model, method)(queries), getattr(dense, method)(Q), rtol=1e-11, atol=1e-14)
    assert_allclose(model.score(columns, y), dense.score(X, y))


def test_a_pipeline_whose_one_hot_columns_are_sparse():
    X, y, _, Q = table()
    encoder = ColumnTransformer([("", OneHotEncoder(), ["color", "size"])], remainder="passthrough", sparse_threshold=1)
    model = make_pipeline(encoder, NadarayaWatsonRegressor(bandwidth=0.5)).fit(frame(X), y)
    assert scipy.sparse.issparse(model[0].transform(frame(Q)))
    assert np.all(np.isfinite(model.predict(frame(Q))))


def test_sparse_columns_that_would_take_too_much_memory_are_refused():
    X = scipy.sparse.eye_array(2000, 1000, format="csr")
    model = NadarayaWatsonRegressor(bandwidth=1.0).fit(X[:10], np.arange(10))
    message = r"OneHotEncoder\(sparse_output=False\)"
    with config_context(working_memory=15):
        for refused in (model.predict, lambda X: NadarayaWatsonRegressor().fit(X, np.arange(2000.0))):
            with pytest.raises(ValueError, match=rf"15 MiB.*categorical_features.*{message}"):
                refused(X)
    assert model.predict(X).shape == (2000,)


# --- arrays and frames


@every
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_say_by_dtype_what_arrays_say_by_parameters(library, Estimator):
    X, y, w, Q = table(weighted=True)
    by_dtype = fixed(Estimator, periodic_features={"hour": 24}).fit(frame(X, library), y, w)
    by_parameter = fixed(Estimator, **MIXED).fit(X, y, w)
    assert_array_equal(by_dtype.predict(frame(Q, library)), by_parameter.predict(Q))
    assert_array_equal(by_dtype.loo_prediction_, by_parameter.loo_prediction_)
    assert_array_equal(by_dtype.X_train_, X)
    assert_array_equal(by_dtype.is_categorical_, [False, True, True, False])
    assert_array_equal(by_dtype.categories_[1], COLORS)
    assert_array_equal(by_dtype.categories_[2], SIZES)
    assert by_dtype.categories_[0] is None
    assert_array_equal(by_dtype.feature_names_in_, ["x", "color", "size", "hour"])
    assert by_dtype.n_features_in_ == 4


@pytest.mark.parametrize("features", [[1], ["color"], [False, True, False, False], np.array([1]), pd.Index(["color"])])
def test_features_are_given_by_index_name_or_mask(features):
    X, y, _, Q = table()
    data, queries = (frame(A).astype({"color": object, "size": object}) for A in (X, Q))
    for table_ in (data, queries):
        table_["size"] = 1.0
    model = NadarayaWatsonRegressor(bandwidth=H, categorical_features=features).fit(data, y)
    assert_array_equal(model.is_categorical_, [False, True, False, False])
    coded = np.column_stack([X[:, :2], np.ones(len(X)), X[:, 3]])
    expected = NadarayaWatsonRegressor(bandwidth=H, categorical_features=[1]).fit(coded, y)
    assert_array_equal(model.predict(queries), expected.predict(np.column_stack([Q[:, :2], np.ones(len(Q)), Q[:, 3]])))


def test_levels_of_further_rows_are_appended_and_keep_their_rows():
    before = [np.array(["b", "d", np.nan], dtype=object), None]
    X = np.array([["c", 1.0], ["b", 2.0], ["a", 3.0]], dtype=object)
    found = append_levels(X, before, np.zeros(2, dtype=bool), np.array([True, True, False]))
    assert found[0].tolist()[:-1] == ["b", "c", "d"]
    assert np.isnan(found[0][-1])
    assert append_levels(X, before, np.zeros(2, dtype=bool), np.array([False, True, False])) is before
    codes = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [-1.0, 5.0]])
    assert_array_equal(recode(codes, before, found), [[0, 5], [2, 5], [3, 5], [-1, 5]])


def test_no_features_are_categories_on_request():
    data = pd.DataFrame({"x": [0.0, 1.0, 2.0], "c": pd.Categorical([1, 2, 1])})
    model = NadarayaWatsonRegressor(bandwidth=1.0, categorical_features=None).fit(data, [0.0, 1.0, 2.0])
    assert not model.is_categorical_.any()
    assert_array_equal(model.X_train_, [[0, 1], [1, 2], [2, 1]])


def test_the_names_of_levels_do_not_matter():
    """Nor their order, nor levels of the dtype that no row has."""
    X, y, _, Q = table()
    data, queries = frame(X), frame(Q)
    expected = NadarayaWatsonRegressor().fit(data, y)
    names = {"blue": "z", "green": "m", "red": "a"}
    for some in (data, queries):
        some["color"] = some["color"].cat.rename_categories(names).cat.add_categories(["never"])
    model = NadarayaWatsonRegressor().fit(data, y)
    assert_allclose(model.bandwidth_, expected.bandwidth_, rtol=1e-6)
    assert_allclose(model.predict(queries), expected.predict(frame(Q)), rtol=1e-6)
    assert_array_equal(model.categories_[1], ["a", "m", "z"])


@every
def test_the_order_of_the_columns_does_not_matter(Estimator):
    X, y, _, Q = table()
    data, queries, order = frame(X), frame(Q), ["hour", "size", "x", "color"]
    model = Estimator(periodic_features={"hour": 24}).fit(data, y)
    other = clone(model).fit(data[order], y)
    assert_allclose(other.predict(queries[order]), model.predict(queries), rtol=1e-4, atol=1e-4)


def test_an_order_without_a_dtype_is_that_of_the_values():
    X, y, _, Q = table()
    strings, queries = X.astype(object), Q.astype(object)
    for rows in (strings, queries):
        rows[:, 2] = np.array(["a", "b", "c", "d"])[rows[:, 2].astype(int)]
    model = NadarayaWatsonRegressor(bandwidth=H, **MIXED)
    assert_array_equal(clone(model).fit(strings, y).predict(queries), clone(model).fit(X, y).predict(Q))


def test_lists_of_rows_with_strings():
    X = [["a", 0.1], ["b", 0.4], ["a", 0.9]]
    model = NadarayaWatsonRegressor(bandwidth=0.5, categorical_features=[0]).fit(X, [1.0, 2.0, 3.0])
    assert_array_equal(model.predict(X), model.predict(np.array(X, dtype=object)))
    assert_array_equal(model.X_train_, [[0, 0.1], [1, 0.4], [0, 0.9]])


def test_float32_stays_float32():
    X, y, _, Q = table()
    model = NadarayaWatsonRegressor(bandwidth=H, **MIXED).fit(X.astype(np.float32), y)
    assert model.X_train_.dtype == np.float32
    assert model.predict(Q.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"categorical_features": [4]}, "categorical_features must hold names of features or indices from 0 to 3"),
        ({"categorical_features": [-1]}, "categorical_features"),
        ({"categorical_features": [0.5]}, "categorical_features"),
        ({"categorical_features": [True, False]}, "categorical_features as a mask"),
        ({"categorical_features": ["x"]}, "X has no feature names"),
        ({"categorical_features": "x"}, "categorical_features"),
        ({"ordered_features": [9]}, "ordered_features"),
        ({"ordered_features": ["x"]}, "ordered_features"),
        ({"periodic_features": {9: 1.0}}, "periodic_features"),
        ({"periodic_features": {True: 1.0}}, "periodic_features"),
        ({"periodic_features": {0: 0.0}}, "positive period"),
        ({"periodic_features": {0: np.inf}}, "positive period"),
        ({"periodic_features": {0: "day"}}, "positive period"),
        ({"periodic_features": [24]}, "periodic_features"),
        ({"categorical_features": [3], "periodic_features": {3: 24}}, "Feature 3 is in periodic_features"),
    ],
)
@every
def test_bad_parameters_are_named(parameters, message, Estimator):
    X, y, _, _ = table()
    with pytest.raises(ValueError, match=message):
        Estimator(**parameters).fit(X, y)


def test_names_that_x_has_not_are_named():
    X, y, _, _ = table()
    with pytest.raises(ValueError, match=r"periodic_features names the feature 'minute', but the features of X are"):
        NadarayaWatsonRegressor(periodic_features={"minute": 60}).fit(frame(X), y)


def test_values_that_have_no_order_are_refused():
    X = np.array([["a"], [1.0], ["b"]], dtype=object)
    with pytest.raises(TypeError, match="categorical feature 0 cannot be sorted"):
        NadarayaWatsonRegressor(categorical_features=[0]).fit(X, [1.0, 2.0, 3.0])


@pytest.mark.parametrize("parameters", [MIXED, {"periodic_features": {3: 24}}], ids=["mixed", "periodic"])
@pytest.mark.parametrize("w", ["low_rank", "full", np.eye(4)[:, :2]], ids=["low_rank", "full", "matrix"])
def test_a_matrix_takes_numbers_only(w, parameters):
    X, y, _, _ = table()
    with pytest.raises(ValueError, match=r"mixes the features, which must be numbers.*categorical_features=None"):
        AttentionPoolingRegressor(w=w, **parameters).fit(X, y)


def test_queries_must_have_the_features_of_the_fit():
    X, y, _, Q = table()
    model = NadarayaWatsonRegressor(periodic_features={"hour": 24}).fit(frame(X), y)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame(Q).drop(columns="hour"))
    with pytest.raises(ValueError, match="4 features"):
        NadarayaWatsonRegressor(bandwidth=H, **MIXED).fit(X, y).predict(Q[:, :3])
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame(Q).rename(columns={"x": "z"}))
    with pytest.raises(ValueError, match="2D array"):
        NadarayaWatsonRegressor(bandwidth=H, **MIXED).fit(X, y).predict(Q[0])


# --- what else a fit is asked


@pytest.mark.parametrize("library", ["pandas", "polars"])
@every
def test_frames_survive_clone_pickle_and_joblib(Estimator, library, tmp_path):
    X, y, w, Q = table(weighted=True)
    model = clone(fixed(Estimator, periodic_features={"hour": 24})).fit(frame(X, library), y, w)
    stored, queries = pickle.dumps(model), frame(Q, library)
    assert len(stored) < 10_000
    joblib.dump(model, tmp_path / "model")
    assert_array_equal(joblib.load(tmp_path / "model").predict(queries), model.predict(queries))
    loaded = pickle.loads(stored)
    for method in ("predict", "predict_interval", "gradient", "attention_weights_", "effective_sample_size"):
        assert_allclose(getattr(loaded, method)(queries), getattr(model, method)(queries), rtol=1e-12, atol=1e-14)


def test_rows_of_weight_zero_have_no_levels():
    X, y, _, Q = table()
    more = np.vstack([X, [[0.0, 9.0, 9.0, 3.0]]])
    w = np.append(np.ones(len(X)), 0.0)
    model, expected = (NadarayaWatsonRegressor(**MIXED) for _ in range(2))
    model.fit(more, np.append(y, 5.0), w)
    expected.fit(X, y)
    assert_array_equal(model.bandwidth_, expected.bandwidth_)
    assert_array_equal(model.predict(Q), expected.predict(Q))
    assert_array_equal(model.X_train_[-1], [0.0, -1.0, -1.0, 3.0])
    assert np.isfinite(model.loo_prediction_[-1])


@every
def test_copies_are_weights(Estimator):
    X, y, _, Q = table()
    w = np.random.default_rng(1).integers(1, 4, len(X))
    rows = np.repeat(np.arange(len(X)), w)
    weighted, repeated = fixed(Estimator, **MIXED).fit(X, y, w), fixed(Estimator, **MIXED).fit(X[rows], y[rows])
    assert_allclose(repeated.predict(Q), weighted.predict(Q), rtol=1e-12)
    assert_allclose(repeated.loo_prediction_, weighted.loo_prediction_[rows], rtol=1e-12)


def test_folds_and_groups_are_left_out_of_tables():
    X, y, _, _ = table()
    groups = np.arange(60) % 7
    data, mixed = frame(X), oracle.Mixed(H, KINDS)
    parameters = {"bandwidth": H, "periodic_features": {"hour": 24}}
    for cv, of_fit, splits in [
        (KFold(4), {}, KFold(4).split(X)),
        (None, {"groups": groups}, GroupKFold(7).split(X, y, groups)),
    ]:
        model = NadarayaWatsonRegressor(cv=cv, **parameters).fit(data, y, **of_fit)
        for test, prediction in oracle.left_out(splits, X, y, mixed, "gaussian"):
            assert_close(model.loo_prediction_[test], prediction, y)


def test_a_table_in_cross_validation_needs_no_encoder():
    X, y, _, _ = table(n=200)
    assert np.mean(cross_val_score(NadarayaWatsonRegressor(periodic_features={"hour": 24}), frame(X), y)) > 0.7


def test_a_contrast_needs_support_at_the_other_level_too():
    X, y = np.array([[0, 0.0], [0, 0.5], [1, 9.0], [1, 9.5]]), np.arange(4.0)
    settings = {"bandwidth": [0.1, 1.0], "categorical_features": [0]}
    found = NadarayaWatsonRegressor("epanechnikov", outside="nan", **settings).fit(X, y).gradient([[1, 9.2]])
    assert np.isnan(found).tolist() == [[True, False]]
    with pytest.raises(ValueError, match="1 of 1 queries"):
        NadarayaWatsonRegressor("epanechnikov", outside="raise", **settings).fit(X, y).gradient([[1, 9.2]])


@every
def test_the_gradient_is_a_contrast_of_categories_and_a_derivative_else(Estimator):
    X, y, _, Q = table(n_outputs=2)
    model = fixed(Estimator, **MIXED).fit(X, y)
    gradient = model.gradient(Q)
    assert gradient.shape == (len(Q), 2, 4)
    numeric = oracle.gradient(model.predict, Q, step=1e-3)
    assert_allclose(gradient[..., [0, 3]], numeric[..., [0, 3]], atol=1e-7)
    first, below = Q.copy(), Q.copy()
    first[:, 1], below[:, 2] = 0, np.maximum(Q[:, 2] - 1, 0)
    assert_allclose(gradient[..., 1], model.predict(Q) - model.predict(first), rtol=1e-12, atol=1e-14)
    assert_allclose(gradient[..., 2], model.predict(Q) - model.predict(below), rtol=1e-12, atol=1e-14)
    assert np.all(gradient[Q[:, 1] == 0, :, 1] == 0)


def test_the_contrast_of_a_missing_or_unknown_ordered_level_is_to_the_lowest():
    X = np.array([[0.0], [1.0], [2.0], [np.nan]])
    model = NadarayaWatsonRegressor(bandwidth=1.0, ordered_features=[0]).fit(X, [0.0, 1.0, 4.0, 9.0])
    Q = [[np.nan], [7.0]]
    assert_allclose(model.gradient(Q)[:, 0], model.predict(Q) - model.predict([[0.0]]), rtol=1e-12)


def test_a_callable_kernel_sees_the_columns():
    X, y, _, Q = table()

    def gaussian(A, B):
        return np.exp(-((A[:, np.newaxis] - B) ** 2).sum(axis=2) / 2)

    model, expected = (NadarayaWatsonRegressor(kernel, H, **MIXED).fit(X, y) for kernel in (gaussian, "gaussian"))
    assert_allclose(model.predict(Q), expected.predict(Q), rtol=1e-12)
    assert_allclose(model.category_weight_, expected.category_weight_, rtol=1e-12)


@pytest.mark.parametrize("algorithm", ["fused", "auto"])
def test_a_category_of_many_levels_takes_memory_for_its_columns_only(algorithm):
    """The columns of 200 levels are 199 numbers a row; copies of them are few."""
    rng = np.random.default_rng(0)
    n = 20_000
    X = np.column_stack([rng.normal(size=n), rng.integers(0, 200, n)])
    y = X[:, 0] + rng.normal(size=n)
    model = NadarayaWatsonRegressor(
        bandwidth=0.5, categorical_features=[1], validation_samples=200, random_state=0, algorithm=algorithm
    )
    model.fit(X[:500], y[:500])  # compiled
    tracemalloc.start()
    model.fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 8 * 200 * n
