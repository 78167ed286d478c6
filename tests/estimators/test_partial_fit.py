"""Rows in batches: as one fit to all rows at the bandwidth or w that is there, at the cost of the batch."""

import pickle
import weakref
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
from covering import covering_array
from numpy.testing import assert_allclose, assert_array_equal
from problems import regression
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold, learning_curve
from sklearn.multioutput import MultiOutputRegressor

from sknw import (
    AttentionPoolingClassifier,
    AttentionPoolingRegressor,
    KrigingRegressor,
    LocalLinearRegressor,
    NadarayaWatsonClassifier,
    NadarayaWatsonRegressor,
)
from sknw._smoothing.training import TrainingSet
from sknw.displays import FitDisplay
from sknw.inspection import significance_test, summary

MODELS = {
    "mean": NadarayaWatsonRegressor(bandwidth=[0.7, 0.9]),
    "line": LocalLinearRegressor("tricube", bandwidth=2.0, ridge=0.01),
    "attention": AttentionPoolingRegressor(w=[[1.0], [0.5]]),
    "attention line": AttentionPoolingRegressor("exponential", w=1.2, degree=1, ridge=[0.1, 0.2]),
    "classes": NadarayaWatsonClassifier(bandwidth=0.7, smoothing=0.05),
    "attention on classes": AttentionPoolingClassifier("biweight", w=0.6, smoothing=0.0),
}
REGRESSORS = [name for name in MODELS if "classes" not in name]


def batches(X, y, w=None, n=10):
    return [(X[i], y[i], None if w is None else w[i]) for i in np.array_split(np.arange(len(X)), n)]


def append(model, X, y, w=None, n=10, ask=()):
    """The model with rows in n batches, with a prediction after those that are asked."""
    for i, (X_batch, y_batch, w_batch) in enumerate(batches(X, y, w, n)):
        classes = {"classes": np.unique(y)} if i == 0 and hasattr(model, "predict_proba") else {}
        model.partial_fit(X_batch, y_batch, sample_weight=w_batch, **classes)
        if i in ask:
            model.predict(X[:3])
    return model


def assert_same_answers(actual, expected, Q):
    for name in ("predict", "predict_proba", "attention_weights_", "effective_sample_size", "predict_quantile"):
        if hasattr(expected, name):
            a, b = getattr(actual, name)(Q), getattr(expected, name)(Q)
            assert a.dtype == b.dtype
            assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    if hasattr(expected, "sample_y"):
        assert_array_equal(actual.sample_y(Q), expected.sample_y(Q))
        assert_allclose(actual.gradient(Q), expected.gradient(Q), rtol=1e-12, atol=1e-12)
    for name in ("X_train_", "y_train_", "sample_weight_", "bandwidth_", "w_", "category_weight_"):
        if getattr(expected, name, None) is not None:
            assert_array_equal(getattr(actual, name), getattr(expected, name))


@pytest.mark.parametrize(
    "case",
    covering_array(
        name=list(MODELS), outside=["nearest", "mean"], weighted=[False, True], ask=[(), (0, 4, 5)], dtype=["f8", "f4"]
    ),
    ids=lambda case: "-".join(map(str, case.values())),
)
def test_ten_batches_equal_one_fit_to_all_rows(case):
    model = clone(MODELS[case["name"]]).set_params(outside=case["outside"])
    is_regressor = case["name"] in REGRESSORS
    X, y, w, Q = regression(n=80, n_outputs=2 * is_regressor, weighted=case["weighted"], dtype=case["dtype"])
    y = y if is_regressor else np.digitize(y, [2.5, 3.5])
    expected = clone(model).fit(X, y, w)
    assert_same_answers(append(model, X, y, w, ask=case["ask"]), expected, Q)
    assert_same_answers(pickle.loads(pickle.dumps(model)), expected, Q)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_values", [3, 8, 1000])
def test_samples_merged_into_an_order_are_those_that_are_sorted(n_values, seed):
    """Whether equal rows are copies or not, which further rows may change."""
    rng = np.random.default_rng(seed)
    X, y = rng.integers(0, n_values, (60, 2)).astype(float), rng.integers(0, n_values, 60).astype(float)
    X[20:30], y[20:30] = X[:10], y[:10]
    w = rng.choice([0.0, 1e-300, 1.0, 2.0], size=60) * np.where(np.arange(60) < 50, 1.0, 1e10)
    before = None
    for n in (30, 50, 60):
        before = TrainingSet.of(X[:n], y[:n], w[:n], before=before)
    expected = TrainingSet.of(X, y, w)
    for name in ("given_rows", "sample_of_rows", "values", "sample_weight", "share", "center", "scales", "y_range"):
        assert_array_equal(getattr(before, name), getattr(expected, name))


def test_the_first_call_chooses_and_later_ones_keep_what_it_chose():
    X, y, _, Q = regression(n=80)
    for model in (NadarayaWatsonRegressor(), LocalLinearRegressor(), NadarayaWatsonClassifier()):
        targets = y > 3 if hasattr(model, "predict_proba") else y
        first = clone(model).fit(X[:40], targets[:40])
        append(model, X, targets, n=2)
        chosen = {
            name: getattr(first, name)
            for name in ("bandwidth_", "ridge_", "slope_count_", "smoothing_")
            if hasattr(first, name)
        }
        for name, value in chosen.items():
            assert_array_equal(getattr(model, name), value)
        given = {name[:-1]: value for name, value in chosen.items() if name != "slope_count_"}
        expected = clone(model).set_params(**given).fit(X, targets)
        if "slope_count_" in chosen:  # a loaded model is made of its attributes
            expected.slope_count_ = first.slope_count_
            expected = pickle.loads(pickle.dumps(expected))
        assert_same_answers(model, expected, Q)
        assert model.bandwidth_search_ is not None


def test_rows_without_a_weight_have_weight_one():
    X, y, _, Q = regression(n=60)
    w = np.repeat([1.0, 3.0, 1.0], 20)
    model = clone(MODELS["mean"])
    for i, (*batch, of_batch) in enumerate(batches(X, y, w, 3)):
        model.partial_fit(*batch, of_batch if i == 1 else None)
    assert_same_answers(model, clone(MODELS["mean"]).fit(X, y, w), Q)


def test_weights_of_copies_may_have_a_sum_that_is_no_number():
    X, y, _, Q = regression(n=40)
    model, expected = clone(MODELS["mean"]), clone(MODELS["mean"])
    for _ in range(3):
        model.partial_fit(X, y, np.full(40, 1e308)).predict(Q)
        expected.partial_fit(X, y)
    assert_array_equal(model.predict(Q), expected.predict(Q))
    assert_array_equal(
        clone(model).fit(np.tile(X, (3, 1)), np.tile(y, 3), np.full(120, 1e306)).predict(Q), model.predict(Q)
    )


def test_what_rests_on_left_out_predictions_says_why_it_is_gone():
    X, y, _, Q = regression()
    model = append(clone(MODELS["mean"]), X, y, n=1)
    assert_array_equal(model.loo_prediction_, clone(MODELS["mean"]).fit(X, y).loo_prediction_)
    model.predict_interval(Q)
    model.partial_fit(X, y)
    for ask in [
        lambda: model.predict(Q, return_std=True),
        lambda: model.predict_interval(Q),
        lambda: model.predict_mean_interval(Q),
        lambda: summary(model),
        lambda: significance_test(model),
        lambda: FitDisplay.from_estimator(model, X, y),
    ]:
        with pytest.raises(ValueError, match=r"rests on predictions of each training row.*partial_fit"):
            ask()
    assert not [name for name in vars(model) if name.startswith("loo_") or name == "n_validation_"]
    assert model.fit(X, y).predict_interval(Q).shape == (len(Q), 2)


def test_left_out_rows_and_appended_rows_exclude_each_other():
    X, y, _, _ = regression()
    for model in (
        NadarayaWatsonRegressor(bandwidth=1.0, cv=3),
        NadarayaWatsonRegressor(bandwidth=1.0).fit(X, y, groups=np.arange(len(X)) // 2),
        AttentionPoolingRegressor(w=1.0, cv=GroupKFold()),
    ):
        with pytest.raises(ValueError, match=r"partial_fit predicts no row from others, and .*(cv=|groups)"):
            model.partial_fit(X, y)


def test_a_refused_batch_changes_nothing():
    X, y, _, Q = regression()
    model = append(clone(MODELS["mean"]), X, y, n=2)
    before, predictions = vars(model).copy(), model.predict(Q)
    huge = np.where(np.arange(len(X))[:, np.newaxis] == 7, 1e304, X)
    for batch, message in [
        ((X[:, :1], y), "1 features"),
        ((X, np.column_stack([y, y])), r"outputs of the first call, a shape of \(n_samples,\); got"),
        ((X, np.full(len(X), "a")), "y must consist of numbers"),
        ((np.where(X > 1, np.nan, X), y), "NaN"),
        ((X, y[:-1]), "inconsistent"),
        ((X, y, np.zeros(len(X))), r"(?i)weight.*zero"),
        ((huge, y), "X has values too large"),
        ((X, huge[:, 0]), "y has values too large"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.partial_fit(*batch)
        assert vars(model) == before
        assert_array_equal(model.predict(Q), predictions)
    narrow = AttentionPoolingRegressor(w=1e10).partial_fit(X, y)
    with pytest.raises(ValueError, match="bandwidth is too small, or w too large"):
        narrow.partial_fit(X * 1e300, y)
    constant = NadarayaWatsonRegressor(bandwidth=1e-10).fit(np.full((3, 1), 1e300), [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="bandwidth is too small, or w too large"):
        constant.partial_fit([[0.0]], [1.0])
    assert_array_equal(constant.predict([[1e300]]), [2.0])


def test_classes_are_given_in_the_first_call():
    X, y, _, _ = regression(n=60)
    labels = np.array(["a", "b", "cc"])[np.digitize(y, [2.5, 3.5])]
    model = NadarayaWatsonClassifier(bandwidth=0.7)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, labels)
    with pytest.raises(ValueError, match=r"not among the classes.*'cc'"):
        model.partial_fit(X, labels, classes=["a", "b"])
    for classes in ["abc", [["a", "b", "cc"]], ["a", "b", "cc", None]]:
        with pytest.raises(ValueError, match="classes must be a list of labels"):
            model.partial_fit(X, labels, classes=classes)
    is_a = labels == "a"
    model.partial_fit(X[is_a], labels[is_a], classes=["cc", "b", "a"])
    assert_array_equal(model.classes_, ["a", "b", "cc"])
    assert np.all(model.predict(X) == "a")
    with pytest.raises(ValueError, match="not those of the first call"):
        model.partial_fit(X, labels, classes=["a", "b"])
    with pytest.raises(ValueError, match=r"not among the classes.*'d'"):
        model.partial_fit(X[:1], ["d"])
    for others in [None, "d"], [3, "d"]:  # of kinds that cannot be sorted
        with pytest.raises(ValueError, match=r"not among the classes.*'d'"):
            model.partial_fit(X[:2], np.array(others, dtype=object))
    with pytest.raises(TypeError, match="another kind than the classes"):  # even without a weight
        model.partial_fit(X[:2], np.array(["a", 3], dtype=object), sample_weight=[1.0, 0.0])
    model.partial_fit(X[~is_a], labels[~is_a], classes=["a", "b", "cc"])
    expected = clone(model).set_params(smoothing=model.smoothing_).fit(X, labels)
    assert_allclose(model.predict_proba(X), expected.predict_proba(X), rtol=1e-12)


@pytest.mark.parametrize("name", ["mean", "line"])
def test_new_levels_of_a_category_are_learned(name):
    """As one fit learns them; missing values too."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"shop": rng.choice(["b", "d"], 60), "x": rng.normal(size=60)})
    X.loc[20:, "shop"] = rng.choice(["a", "b", "c", None], 40)
    y = X["shop"].map({"a": 0.0, "b": 1.0, "c": 2.0, "d": 3.0}).fillna(4.0) + 0.1 * rng.normal(size=60)
    model = clone(MODELS[name]).set_params(categorical_features=["shop"])
    expected = clone(model).fit(X, y)
    model.partial_fit(X[:20], y[:20]).predict(X)
    first_keys = model.X_train_.copy()
    kept = model.X_train_
    for i in (20, 40):
        model.partial_fit(X[i : i + 20], y[i : i + 20])
    assert model.categories_[0].tolist()[:4] == ["a", "b", "c", "d"]
    assert_array_equal(kept, first_keys)
    assert_same_answers(model, expected, X)


def test_new_levels_of_an_ordered_category_are_refused_unless_its_dtype_has_them():
    X = pd.DataFrame({"size": ["S", "M", "S", "M"], "x": [0.0, 1.0, 2.0, 3.0]})
    more = pd.DataFrame({"size": ["L", "M", None], "x": [0.0, 1.0, 2.0]})
    model = NadarayaWatsonRegressor(bandwidth=1.0, ordered_features=["size"]).partial_fit(X, X["x"])
    with pytest.raises(ValueError, match=r"ordered category 0 has new levels, \['L'\].*ordered dtype"):
        model.partial_fit(more, more["x"])
    dtype = pd.CategoricalDtype(["S", "M", "L"], ordered=True)
    X, more = (frame.astype({"size": dtype}) for frame in (X, more))
    model = NadarayaWatsonRegressor(bandwidth=1.0).partial_fit(X, X["x"]).partial_fit(more, more["x"])
    whole = pd.concat([X, more])
    assert_same_answers(model, clone(model).fit(whole, whole["x"]), whole)


def test_batches_are_taken_as_predict_takes_queries():
    X, y, _, Q = regression()
    frame = pd.DataFrame(X, columns=["a", "b"])
    model = clone(MODELS["mean"]).partial_fit(frame, y)
    with pytest.raises(ValueError, match="feature names"):
        model.partial_fit(frame[["b", "a"]], y)
    model = clone(MODELS["mean"]).partial_fit(csr_array(X), y.astype("f4")).partial_fit(X.astype("f4").tolist(), y)
    model.partial_fit(Q, Q[:, 0].astype(str))
    whole = np.concatenate([X, X.astype("f4"), Q]), np.concatenate([y.astype("f4"), y, Q[:, 0]])
    assert_same_answers(model, clone(model).fit(*whole), Q)
    assert_same_answers(model, clone(model).fit(whole[0], whole[1].astype(str)), Q)


def test_the_next_batch_may_be_written_into_the_same_array():
    X, y, w, Q = regression(n=60, weighted=True)
    model, arrays = clone(MODELS["mean"]), [np.empty((20, 2)), np.empty(20), np.empty(20)]
    for batch in batches(X, y, w, 3):
        for array, of_batch in zip(arrays, batch, strict=True):
            array[:] = of_batch
        model.partial_fit(*arrays)
    assert_same_answers(model, clone(model).fit(X, y, w), Q)


def test_copies_go_on_by_themselves():
    X, y, _, Q = regression(n=60)
    model = clone(MODELS["line"]).partial_fit(X[:20], y[:20]).partial_fit(X[20:40], y[20:40])
    others = [deepcopy(model), pickle.loads(pickle.dumps(model))]
    model.partial_fit(X[40:], y[40:])
    for other in others:
        other.partial_fit(X[40:] + 1.0, y[40:])
        rows = np.concatenate([X[:40], X[40:] + 1.0])
        assert_same_answers(other, clone(model).fit(rows, y), Q)
    assert_same_answers(model, clone(model).fit(X, y), Q)
    with pytest.raises(NotFittedError):
        clone(model).predict(Q)


def test_a_learned_w_is_appended_to_once_it_is_given_in_numbers():
    X, y, _, Q = regression(n=60)
    model = AttentionPoolingRegressor(tol=0.1)
    with pytest.raises(AttributeError) as error:
        model.partial_fit(X, y)
    assert "set_params(w=model.w_)" in str(error.value.__cause__)
    assert not hasattr(AttentionPoolingClassifier(), "partial_fit")
    assert not hasattr(KrigingRegressor(), "partial_fit")
    model.fit(X[:40], y[:40]).set_params(w=model.w_).partial_fit(X[40:], y[40:])
    assert_same_answers(model, clone(model).fit(X, y), Q)


def test_weights_of_batches_can_be_routed():
    X, y, w, Q = regression(weighted=True)
    with config_context(enable_metadata_routing=True):
        model = MultiOutputRegressor(clone(MODELS["mean"]).set_partial_fit_request(sample_weight=True))
        model.partial_fit(X, y[:, np.newaxis], sample_weight=w)
        model.partial_fit(Q, Q[:, :1], sample_weight=np.ones(len(Q)))
    rows = np.concatenate([X, Q]), np.concatenate([y, Q[:, 0]]), np.concatenate([w, np.ones(len(Q))])
    assert_allclose(model.predict(Q)[:, 0], clone(MODELS["mean"]).fit(*rows).predict(Q), rtol=1e-12)


@pytest.mark.parametrize("name", ["mean", "classes"])
def test_learning_curves_may_be_made_of_batches(name):
    X, y, _, _ = regression(n=90)
    y = y if name == "mean" else y > 3
    curves = [
        learning_curve(MODELS[name], X, y, train_sizes=[20, 40], cv=2, exploit_incremental_learning=by_batches)[2]
        for by_batches in (False, True)
    ]
    assert_allclose(*curves, rtol=1e-12)


def test_a_batch_costs_what_it_holds(monkeypatch):
    """All rows are moved only when there are twice as many, and what predictions need is made by the next one."""
    X, y, _, Q = regression(n=400)
    model = clone(MODELS["line"]).fit(X[:20], y[:20])
    of, made = TrainingSet.of, []
    monkeypatch.setattr(TrainingSet, "of", lambda *args: made.append(len(args[0])) or of(*args))
    rooms = set()
    for X_batch, y_batch, _ in batches(X[20:], y[20:], n=190):
        model.partial_fit(X_batch, y_batch)
        rooms.add(id(model.X_train_.base))
    assert len(rooms) <= 5
    pickle.dumps(model)
    assert made == []
    model.predict(Q)
    model.predict(Q)
    assert made == [400]


def test_nothing_of_earlier_batches_is_kept_beside_the_rows():
    X, y, _, Q = regression()
    model = clone(MODELS["mean"])
    earlier = []
    for _ in range(4):
        model.partial_fit(X, y).predict(Q)
        earlier.append(weakref.ref(model._fitted.training))
    model.partial_fit(X, y).partial_fit(X, y)
    assert [training() is None for training in earlier] == [True, True, True, False]
    model.predict(Q)
    assert earlier[-1]() is None
