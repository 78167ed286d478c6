"""Classifiers against indicators pooled by brute force, and what labels may be."""

import pickle
from unittest.mock import patch

import numpy as np
import oracle
import pandas as pd
import pytest
from covering import covering_array
from numpy.testing import assert_allclose, assert_array_equal
from problems import KERNELS, engine_cases
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, RepeatedKFold, TimeSeriesSplit

import sknw._smoothing.smoother as smoother_module
from sknw import (
    AttentionPoolingClassifier,
    AttentionPoolingRegressor,
    NadarayaWatsonClassifier,
    NadarayaWatsonRegressor,
)
from sknw._metric.loss import Loss
from sknw._selection.criterion import Criterion
from sknw._smoothing.datafit import LogLoss
from sknw.kernels import resolve_kernel
from sknw.model_selection import LeaveBlockOut

LABELS = np.array(["ant", "bee", "cat"])


def problem(n=40, m=15, d=2, n_classes=3, weighted=False, seed=0):
    """X, codes of classes, weights or None, and queries; classes overlap, the last is rare."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = np.clip((X[:, 0] + 0.7 * rng.normal(size=n) > 0.2).astype(int) + (X[:, -1] > 1.0), 0, n_classes - 1)
    y[:n_classes] = np.arange(n_classes)
    w = rng.choice([0.25, 1.0, 1.5, 3.0], size=n) if weighted else None
    return X, y, w, rng.normal(size=(m, d))


def indicators(y, n_classes=3):
    return (y[:, np.newaxis] == np.arange(n_classes)).astype(float)


@pytest.mark.parametrize(
    "case",
    covering_array(
        engine_cases(["gaussian", "exponential", "tricube"], [1, 2, 5]),
        outside=["nearest", "mean", "nan"],
        weighted=[False, True],
        smoothing=[0.0, 0.2],
    ),
    ids=str,
)
def test_probabilities_are_indicators_pooled_by_brute_force(case):
    d, weighted, outside, s = case["d"], case["weighted"], case["outside"], case["smoothing"]
    X, y, w, Q = problem(d=d, weighted=weighted)
    Q[0] += 30.0
    kernel, of_oracle = KERNELS[case["kernel"]]
    h = np.full(d, 0.8 * np.sqrt(d))
    model = NadarayaWatsonClassifier(
        kernel, h, smoothing=s, outside=outside, algorithm=case["algorithm"], n_jobs=1 + weighted
    ).fit(X, LABELS[y], w)
    expected = (1 - s) * oracle.predict(Q, X, indicators(y), h, of_oracle, w, outside) + s / 3
    proba = model.predict_proba(Q)
    assert_allclose(proba, expected.astype(float), rtol=0, atol=1e-10)
    known = np.isfinite(proba[:, 0])
    assert np.all((proba[known] >= 0) & (proba[known] <= 1))
    assert_allclose(proba[known].sum(axis=1), 1.0, rtol=0, atol=1e-15)
    assert_array_equal(model.predict(Q[known]), LABELS[proba[known].argmax(axis=1)])
    loo = (1 - s) * oracle.leave_one_out(X, indicators(y), h, of_oracle, w, outside) + s / 3
    assert_allclose(model.loo_proba_, loo.astype(float), rtol=0, atol=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
def test_smoothing_and_loss_are_the_oracles(weighted):
    X, y, w, _ = problem(weighted=weighted)
    model = NadarayaWatsonClassifier(bandwidth=0.4).fit(X, LABELS[y], w)
    weights = oracle.weights_or_ones(w, X)
    q = oracle.own_class(y, oracle.leave_one_out(X, indicators(y), 0.4, "gaussian", w))
    assert model.smoothing_ == pytest.approx(float(oracle.best_smoothing(q, weights, 3)), abs=1e-8)
    # of the samples alone, without the one that was predicted with probability zero
    expected = log_loss(LABELS[y], model.loo_proba_, sample_weight=w)
    assert model.loo_log_loss_ == pytest.approx(expected, rel=1e-12)
    shares = np.average(indicators(y), axis=0, weights=w)
    of_shares = log_loss(y, np.tile(shares, (len(y), 1)), sample_weight=w)
    assert model._skill() == pytest.approx(1.0 - expected / of_shares, rel=1e-12)
    assert_array_equal(model.classes_, LABELS)


def test_with_no_sample_predicted_wrong_the_smoothing_is_that_of_one_sample_more():
    X = np.repeat([[0.0], [100.0]], 10, axis=0) + np.tile(np.arange(10.0), 2)[:, np.newaxis]
    model = NadarayaWatsonClassifier(bandwidth=1.0).fit(X, np.repeat([0, 1], 10))
    assert model.loo_proba_.max() == pytest.approx(20 / 21, rel=1e-7)


@pytest.mark.parametrize("smoothing", ["loo", 0.1])
def test_the_bandwidth_has_the_smallest_log_loss(smoothing):
    X, y, w, _ = problem(n=60, weighted=True)
    model = NadarayaWatsonClassifier(smoothing=smoothing).fit(X, y, w)
    search, weights = model.bandwidth_search_, oracle.weights_or_ones(w, X)
    for index in {search.best_index, 2, len(search.factors) // 2}:
        q = oracle.own_class(y, oracle.leave_one_out(X, indicators(y), search.bandwidths[index], "gaussian", w))
        if smoothing == "loo":
            expected = oracle.class_loss(q, weights, 3, oracle.best_smoothing(q, weights, 3))
        else:
            expected = -(weights @ np.log(0.9 * q + 0.1 / 3)) / weights.sum()
        assert search.scores[index] == pytest.approx(float(expected), rel=1e-10)
    assert search.scores[search.best_index] == search.scores.min()
    assert search.autocorrelation is None


def log_loss_of(X, y, w, algorithm, smoothing, groups=None):
    """The loss of a training set, in standardised inputs."""
    model = AttentionPoolingClassifier(algorithm=algorithm, smoothing=smoothing)
    data = model._validate_fit(X, y, w, groups)
    training = data.training
    smoother = model._build_smoother(
        training, resolve_kernel("gaussian"), 1 / training.scales, data.validation, 1, None
    )
    return Loss(smoother, training, data.validation, model._datafit())


@pytest.mark.parametrize(
    "case",
    covering_array(
        algorithm=["dense", "fused"],
        smoothing=["loo", 0.0, 0.3],
        weighted=[False, True],
        matrix=[False, True],
        has_groups=[False, True],
    ),
    ids=str,
)
def test_the_gradient_of_the_log_loss_is_that_of_finite_differences(case):
    X, y, w, _ = problem(n=30, d=3, weighted=case["weighted"])
    groups = np.arange(30) % 11 if case["has_groups"] else None
    loss = log_loss_of(X, y, w, case["algorithm"], case["smoothing"], groups)
    w0, ridge = np.array([1.0, 0.6, 1.7]), np.ones(3)
    if case["matrix"]:
        w0 = np.diag(w0) + 0.2 * np.random.default_rng(1).normal(size=(3, 3))
    _, gradient, _ = loss(w0, ridge)
    for index in np.ndindex(w0.shape):
        step = np.zeros_like(w0)
        step[index] = 1e-5
        difference = (loss(w0 + step, ridge)[0] - loss(w0 - step, ridge)[0]) / 2e-5
        assert gradient[index] == pytest.approx(difference, abs=1e-8)


def test_loss_and_gradient_do_not_depend_on_batches(monkeypatch):
    X, y, w, _ = problem(weighted=True)
    loss, w0 = log_loss_of(X, y, w, "dense", "loo"), np.array([1.0, 0.6])
    whole = loss(w0, np.ones(2))
    monkeypatch.setattr(smoother_module, "_POOLED_NUMBERS", 21)
    monkeypatch.setattr(smoother_module, "_POOLED_SHARE", 0.0)
    for a, b in zip(loss(w0, np.ones(2)), whole, strict=True):
        assert_allclose(a, b, rtol=1e-12)


def test_what_is_learned_is_the_loss_with_its_penalty_not_the_logarithm():
    X, y, _, _ = problem(n=60, d=3)
    model = AttentionPoolingClassifier(tol=1e-9).fit(X, y)
    n, s = 60, X.std(axis=0)

    def objective(w):
        q = oracle.own_class(y, oracle.leave_one_out(X, indicators(y), 1 / w, "gaussian"))
        loss = oracle.class_loss(q, np.ones(n), 3, oracle.best_smoothing(q, np.ones(n), 3))
        return float(loss + (1 - 1 / 3) * model.penalty / n * (w * s).sum())

    w = np.maximum(model.w_, 1e-3 / s)
    lowest = objective(w)
    for k in range(3):
        for factor in (0.97, 1.03):
            moved = w.copy()
            moved[k] *= factor
            assert objective(moved) > lowest - 1e-6
    assert len(model.loss_path_) == model.n_iter_ + 1
    assert np.all(np.isfinite(model.loss_path_))


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
def test_without_smoothing_it_is_the_regressor_of_one_hot_targets(kernel):
    X, y, w, Q = problem(weighted=True)
    regressor = NadarayaWatsonRegressor(kernel, 0.7).fit(X, indicators(y), w)
    classifier = NadarayaWatsonClassifier(kernel, 0.7, smoothing=0).fit(X, y, w)
    assert_allclose(classifier.predict_proba(Q), regressor.predict(Q), rtol=0, atol=1e-12)
    assert_allclose(classifier.loo_proba_, regressor.loo_prediction_, rtol=0, atol=1e-12)
    assert_allclose(classifier.attention_weights_(Q), regressor.attention_weights_(Q), rtol=1e-14)
    assert_allclose(classifier.effective_sample_size(Q), regressor.effective_sample_size(Q), rtol=1e-14)
    by_w = AttentionPoolingClassifier(kernel, 1 / 0.7, smoothing=0).fit(X, y, w)
    assert_allclose(by_w.predict_proba(Q), classifier.predict_proba(Q), rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", [NadarayaWatsonClassifier(), AttentionPoolingClassifier(tol=1e-3)], ids=str)
def test_integer_weights_equal_repeated_rows_and_the_names_of_classes_do_not_matter(model):
    X, y, _, Q = problem()
    w = np.random.default_rng(3).integers(1, 4, len(y))
    weighted = pickle.loads(pickle.dumps(model)).fit(X, y, w)
    repeated = pickle.loads(pickle.dumps(model)).fit(np.repeat(X, w, axis=0), np.repeat(y, w))
    assert_allclose(repeated.predict_proba(Q), weighted.predict_proba(Q), rtol=1e-9)
    assert repeated.smoothing_ == pytest.approx(weighted.smoothing_, rel=1e-9)
    assert repeated.loo_log_loss_ == pytest.approx(weighted.loo_log_loss_, rel=1e-9)
    names = np.array(["z", "a", "m"])
    renamed = pickle.loads(pickle.dumps(model)).fit(X, names[y], w)
    assert_array_equal(renamed.classes_, ["a", "m", "z"])
    assert_allclose(renamed.predict_proba(Q)[:, [2, 0, 1]], weighted.predict_proba(Q), rtol=1e-9)


RULES = {
    "groups": (None, LeaveOneGroupOut()),
    "folds of groups": (GroupKFold(3), GroupKFold(3)),
    "blocks of rows": (LeaveBlockOut(2), None),
    "repeated folds": (RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),) * 2,
    "the past": (TimeSeriesSplit(4),) * 2,
}


@pytest.mark.parametrize("rule", RULES)
def test_what_is_left_out_is_predicted_as_by_refits(rule):
    """At a bandwidth that is given; a class may be missing in what is left."""
    X, y, w, _ = problem(weighted=True)
    y[-4:] = 2
    groups = np.arange(40) // 4
    cv, splitter = RULES[rule]
    model = NadarayaWatsonClassifier(bandwidth=0.6, smoothing=0.1, cv=cv)
    model.fit(X, y, w, groups=groups if "groups" in rule else None)
    if splitter is None:
        splits = [(np.flatnonzero(np.abs(np.arange(40) - i) > 2), np.array([i])) for i in range(40)]
    else:
        splits = splitter.split(X, y, groups if "groups" in rule else None)
    total, count = np.zeros((40, 3)), np.zeros((40, 1))
    for train, test in splits:
        refit = NadarayaWatsonClassifier(bandwidth=0.6, smoothing=0.1).fit(X[train], y[train], w[train])
        part = np.full((len(test), 3), 0.1 / 3)
        part[:, refit.classes_] = refit.predict_proba(X[test])
        if len(refit.classes_) < 3:  # the share of the uniform distribution is that of three classes
            part[:, refit.classes_] += 0.1 / 3 - 0.1 / len(refit.classes_)
        total[test] += part
        count[test] += 1
    expected = np.divide(total, count, out=np.full((40, 3), np.nan), where=count > 0)
    assert_allclose(model.loo_proba_, expected, rtol=1e-10)


def test_an_int_stands_for_stratified_folds():
    X, y = load_iris(return_X_y=True)  # sorted by class: plain folds would leave whole classes out
    assert NadarayaWatsonClassifier(cv=3).fit(X, y).loo_log_loss_ < 0.3


@pytest.mark.parametrize(
    "labels",
    [[True, False], [-3, 7], ["yes", "no"], np.array(["b", "a"], dtype=object), [2.0, 1.0]],
    ids=["bool", "int", "str", "object", "float"],
)
def test_labels_come_back_as_they_were_given(labels):
    X, y, _, Q = problem(n_classes=2)
    given = np.asarray(labels)[y]
    model = NadarayaWatsonClassifier(bandwidth=0.5).fit(X, given)
    assert model.predict(Q).dtype == given.dtype
    assert set(model.predict(Q).tolist()) <= set(np.asarray(labels).tolist())
    assert_array_equal(model.y_train_, given)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.predict_proba(Q), model.predict_proba(Q))
    assert_array_equal(loaded.loo_proba_, model.loo_proba_)


@pytest.mark.parametrize("model", [NadarayaWatsonClassifier(), AttentionPoolingClassifier()], ids=str)
def test_one_class_has_probability_one(model):
    X, _, _, Q = problem()
    model.fit(X, ["only"] * len(X))
    assert_array_equal(model.predict_proba(Q), np.ones((len(Q), 1)))
    assert model.loo_log_loss_ == 0.0
    assert model.smoothing_ == 0.0


def test_a_class_of_weight_zero_is_not_there():
    X, y, _, Q = problem()
    w = (y != 1).astype(float)
    model = NadarayaWatsonClassifier().fit(X, y, w)
    without = NadarayaWatsonClassifier().fit(X[y != 1], y[y != 1])
    assert_array_equal(model.classes_, [0, 2])
    assert_allclose(model.predict_proba(Q), without.predict_proba(Q), rtol=1e-12)
    assert model.loo_proba_.shape == (len(y), 2)
    assert np.all(np.isfinite(model.loo_proba_))


def test_many_classes_and_batches(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 2)), np.arange(400) % 100
    X += 4.0 * np.column_stack([y // 10, y % 10])
    model = NadarayaWatsonClassifier().fit(X, y)
    proba = model.predict_proba(X)
    assert model.score(X, y) > 0.8
    monkeypatch.setattr(smoother_module, "_POOLED_NUMBERS", 700)
    monkeypatch.setattr(smoother_module, "_POOLED_SHARE", 0.0)
    assert_allclose(model.predict_proba(X), proba, rtol=1e-12)
    assert_array_equal(model.predict(X), proba.argmax(axis=1))


def test_without_smoothing_a_class_without_weight_has_the_logarithm_minus_infinity():
    X = np.array([[0.0], [0.1], [5.0], [5.1]])
    model = NadarayaWatsonClassifier("epanechnikov", 1.0, smoothing=0).fit(X, [0, 0, 1, 1])
    assert_array_equal(model.predict_log_proba([[0.0]]), [[0.0, -np.inf]])
    smoothed = NadarayaWatsonClassifier("epanechnikov", 1.0).fit(X, [0, 0, 1, 1])
    assert np.all(np.isfinite(smoothed.predict_log_proba([[0.0]])))


def test_a_single_sample_of_a_class_without_smoothing_has_no_finite_loss():
    X, y, _, Q = problem(n=20)
    y = np.where(np.arange(20) == 0, 2, y % 2)
    model = NadarayaWatsonClassifier(smoothing=0).fit(X, y)
    assert np.all(np.isinf(model.bandwidth_search_.scores))
    assert np.all(np.isfinite(model.predict_proba(Q)))


def test_a_query_without_support_has_nan_probabilities_and_no_class():
    X, y, _, _ = problem()
    Q = np.array([[0.0, 0.0], [50.0, 50.0]])
    model = NadarayaWatsonClassifier("tricube", 1.5, outside="nan").fit(X, y)
    assert_array_equal(np.isnan(model.predict_proba(Q)), [[False] * 3, [True] * 3])
    with pytest.raises(ValueError, match=r"1 quer.*predict_proba"):
        model.predict(Q)
    with pytest.raises(ValueError, match="no training sample"):
        NadarayaWatsonClassifier("tricube", 1.5, outside="raise").fit(X, y).predict_proba(Q)


def test_float32_queries_get_float32_probabilities():
    X, y, _, Q = problem()
    model = NadarayaWatsonClassifier().fit(X, y)
    assert model.predict_proba(Q.astype(np.float32)).dtype == np.float32
    assert_allclose(model.predict_proba(Q.astype(np.float32)), model.predict_proba(Q), atol=1e-5)


def test_categories_and_data_frames():
    X, y, _, _ = problem(n=60)
    frame = pd.DataFrame({"x": X[:, 0], "kind": pd.Categorical(np.where(y == 2, "third", "other"))})
    model = AttentionPoolingClassifier().fit(frame, LABELS[y])
    assert model.is_categorical_.tolist() == [False, True]
    assert np.all(model.predict(frame)[y == 2] == "cat")


def test_classes_of_one_feature_and_many_samples_take_a_subsample_for_the_scan():
    """Bins are for squared errors only."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 10, (6000, 1))
    y = rng.uniform(size=6000) < 0.5 + 0.4 * np.sin(X[:, 0])
    model = NadarayaWatsonClassifier().fit(X, y)
    p = model.predict_proba(X)[:, 1]
    assert np.sqrt(np.mean((p - 0.5 - 0.4 * np.sin(X[:, 0])) ** 2)) < 0.05


@pytest.mark.parametrize("Classifier", [NadarayaWatsonClassifier, AttentionPoolingClassifier])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"smoothing": 1.0}, "smoothing"),
        ({"smoothing": -0.1}, "smoothing"),
        ({"smoothing": "gcv"}, "smoothing.*loo"),
        ({"smoothing": None}, "smoothing"),
        ({"smoothing": np.nan}, "smoothing"),
        ({"outside": "zero"}, "outside"),
    ],
)
def test_a_wrong_parameter_is_refused(Classifier, parameters, message):
    X, y, _, _ = problem()
    model = Classifier(**parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.parametrize("selector", ["aicc", "gcv"])
def test_criteria_of_squared_errors_are_refused(selector):
    X, y, _, _ = problem()
    with pytest.raises(ValueError, match=r"bandwidth.*loo"):
        NadarayaWatsonClassifier(bandwidth=selector).fit(X, y)
    fitted = NadarayaWatsonClassifier(bandwidth=1.0).fit(X, y)._fitted
    validation = NadarayaWatsonClassifier()._validate_fit(X, y, None, None).validation
    with pytest.raises(ValueError, match="squared errors only"):
        Criterion(selector, fitted.smoother, fitted.training, validation, 0.0, LogLoss(None))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((20, 2)), "1d array"),
        (np.linspace(0, 1, 20), "continuous"),
        (np.where(np.arange(20) == 3, np.nan, 1.0), "NaN"),
        (None, "requires y"),
        (["a"] * 19, "inconsistent"),
    ],
    ids=["two columns", "numbers", "NaN", "none", "too few"],
)
def test_wrong_classes_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        NadarayaWatsonClassifier().fit(np.random.default_rng(0).normal(size=(20, 2)), y)


def test_what_only_numbers_have_classes_have_not():
    for name in ["predict_interval", "predict_quantile", "sample_y", "gradient", "loo_score_", "ridge_"]:
        assert not hasattr(NadarayaWatsonClassifier(bandwidth=1.0).fit(*problem()[:2]), name)
    names = set(AttentionPoolingRegressor().get_params()) - {"degree", "ridge"} | {"smoothing"}
    assert set(AttentionPoolingClassifier().get_params()) == names


def test_a_class_that_a_fold_never_sees_is_an_infinite_loss_without_a_warning():
    X = np.random.default_rng(0).normal(size=(30, 2))
    y = np.append(5, (X[1:, 0] > 0).astype(int))
    model = AttentionPoolingClassifier(cv=KFold(3), smoothing=0).fit(X, y)
    assert model.loo_log_loss_ == np.inf
    assert np.isfinite(model.w_).all()


def test_logarithms_of_probabilities_have_the_order_of_the_probabilities():
    """Rounded to float32, logarithms of neighbouring numbers are equal."""
    X, y, *_ = problem(n=20)
    model = NadarayaWatsonClassifier(bandwidth=1.0).fit(X.astype(np.float32), y)
    close = np.array([[0.25, np.nextafter(np.float32(0.25), 1), 0.5]], dtype=np.float32)
    with patch.object(type(model), "predict_proba", return_value=close):
        assert np.all(np.diff(model.predict_log_proba(X[:1].astype(np.float32))) > 0)
