"""Groups, folds and blocks of time left out: against refits on the train rows of every split."""

import pickle
from datetime import timedelta

import numpy as np
import oracle
import pandas as pd
import pytest
from covering import covering_array, pairwise
from numpy.testing import assert_allclose, assert_array_equal
from problems import KERNELS, assert_close, engine_cases
from sklearn import config_context
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sknw import (
    AttentionPoolingRegressor,
    FitDisplay,
    KrigingRegressor,
    LocalLinearRegressor,
    NadarayaWatsonRegressor,
)
from sknw.estimators.leave_out import leave_out_rule
from sknw.model_selection import LeaveBlockOut

N = 42
TIMES = np.random.default_rng(7).choice(60, N)
GROUPS = np.random.default_rng(8).integers(0, 9, N)
# name: (cv, whether groups are given)
RULES = {
    "groups": (None, True),
    "folds": (KFold(4, shuffle=True, random_state=0), False),
    "folds of groups": (GroupKFold(3), True),
    "blocks of rows": (LeaveBlockOut(2), False),
    "blocks of time": (LeaveBlockOut(3, TIMES), False),
    "repeated folds": (RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), False),
    # time runs backwards through the rows
    "the past": ([(N - 1 - train, N - 1 - test) for train, test in TimeSeriesSplit(4).split(np.zeros(N))], False),
    "random splits": (ShuffleSplit(3, test_size=10, train_size=20, random_state=0), False),
    "some rows": ([(np.arange(10, N), np.arange(10)), (np.arange(20), np.arange(20, N))], False),
}


def problem(d=2, n_outputs=None, weighted=False, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, d))
    y = np.sin(2 * X[:, :1]) + X[:, -1:] + 0.3 * rng.normal(size=(N, n_outputs or 1)) + 3.0
    w = rng.choice([0.0, 0.25, 1.0, 1.5, 3.0], size=N) if weighted else None
    return X, y if n_outputs else y[:, 0], w


def splits_of(rule, X):
    cv, has_groups = RULES[rule]
    if cv is None:
        cv = LeaveOneGroupOut()
    return list(cv) if isinstance(cv, list) else list(cv.split(X, groups=GROUPS if has_groups else None))


def fit(rule, model, X, y, w=None):
    cv, has_groups = RULES[rule]
    return model.set_params(cv=cv).fit(X, y, w, groups=GROUPS if has_groups else None)


def mean_prediction(rule, X, y, h, kernel, w=None, outside="nearest", ridge=None):
    """The mean of the predictions of each row, NaN where there is none."""
    sums, count = np.zeros(np.shape(y), dtype=np.longdouble), np.zeros(len(y))
    for test, prediction in oracle.left_out(splits_of(rule, X), X, y, h, kernel, w, outside, ridge):
        sums[test] += prediction
        count[test] += 1
    with np.errstate(invalid="ignore"):
        return (sums.T / count).T


CASES = covering_array(
    engine_cases(["gaussian", "epanechnikov", "tophat", "tricube", "exponential", "power 1.5"], [1, 2]),
    rule=list(RULES),
    n_outputs=[None, 2],
    weighted=[False, True],
)


@pytest.mark.filterwarnings(
    "ignore:left-out predictions are no better:UserWarning", "ignore:.* in the kernel's support:UserWarning"
)
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_scores_and_predictions_are_those_of_refits(case):
    parameter, of_oracle = KERNELS[case["kernel"]]
    X, y, w = problem(case["d"], case["n_outputs"], case["weighted"])
    model = fit(case["rule"], NadarayaWatsonRegressor(parameter, algorithm=case["algorithm"]), X, y, w)
    search, splits = model.bandwidth_search_, splits_of(case["rule"], X)
    looked_at = [search.best_index, *range(0, len(search.factors), 7)]
    expected = [oracle.cross_validation(splits, X, y, search.bandwidths[i], of_oracle, w) for i in looked_at]
    assert_allclose(search.scores[looked_at], np.array(expected, dtype=float), rtol=1e-10)
    assert_close(model.loo_prediction_, mean_prediction(case["rule"], X, y, model.bandwidth_, of_oracle, w), y)
    assert model.loo_score_ == pytest.approx(float(oracle.r2(y, model.loo_prediction_, w)), rel=1e-9)


@pytest.mark.parametrize("outside", ["nearest", "mean", "nan"])
@pytest.mark.parametrize("rule", RULES)
def test_rows_without_support_get_what_outside_says(rule, outside):
    X, y, w = problem(1, weighted=True)
    model = fit(rule, NadarayaWatsonRegressor("epanechnikov", 0.05, outside=outside), X, y, w)
    assert_close(model.loo_prediction_, mean_prediction(rule, X, y, [0.05], "epanechnikov", w, outside), y)


@pairwise(rule=list(RULES), weighted=[False, True], algorithm=["auto", "dense", "fused"])
def test_local_lines_are_those_of_refits(rule, weighted, algorithm):
    X, y, w = problem(2, weighted=weighted)
    for kernel, h in [("gaussian", [0.5, 0.6]), ("tricube", [1.5, 1.2])]:
        model = fit(rule, LocalLinearRegressor(kernel, h, ridge=0.05, algorithm=algorithm), X, y, w)
        assert_close(model.loo_prediction_, mean_prediction(rule, X, y, h, kernel, w, ridge=0.05), y, 1e-8)


@pytest.mark.parametrize("rule", ["groups", "folds", "blocks of rows", "the past"])
def test_the_choice_is_the_best_of_a_fine_grid(rule):
    X, y, _ = problem(1)
    model, splits = fit(rule, NadarayaWatsonRegressor(), X, y), splits_of(rule, X)
    grid = model.bandwidth_[0] * np.geomspace(0.02, 50, 60)
    scores = np.array([oracle.cross_validation(splits, X, y, [h], "gaussian") for h in grid], dtype=float)
    best = float(oracle.cross_validation(splits, X, y, model.bandwidth_, "gaussian"))
    assert best <= scores.min() * (1 + 1e-6)


def test_scores_are_those_of_grid_search_with_equal_folds():
    X, y, _ = problem(1)
    X, y, cv = X[:40], y[:40], KFold(5)
    search = NadarayaWatsonRegressor(cv=cv).fit(X, y).bandwidth_search_
    some = search.bandwidths[::5, 0]
    grid = GridSearchCV(
        NadarayaWatsonRegressor(), {"bandwidth": some.tolist()}, cv=cv, scoring="neg_mean_squared_error"
    ).fit(X, y)
    assert_allclose(-grid.cv_results_["mean_test_score"], search.scores[::5], rtol=1e-10)


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("rule", ["groups", "folds", "blocks of time", "repeated folds", "the past"])
def test_the_loss_of_learning_is_that_of_refits(rule, degree):
    X, y, w = problem(2, weighted=True)
    model = fit(rule, AttentionPoolingRegressor(degree=degree, penalty=0.0, tol=0.1), X, y, w)
    expected = oracle.cross_validation(
        splits_of(rule, X), X, y, np.diag(model.w_), "gaussian", w, ridge=model.ridge_ if degree else None
    ) / oracle.variance(y[:, np.newaxis], oracle.weights_or_ones(w, X))
    assert model.loss_path_[-1] == pytest.approx(float(expected[0]), rel=1e-8)


@pytest.mark.parametrize("algorithm", ["dense", "fused"])
def test_learning_finds_a_minimum_of_the_left_out_loss(algorithm):
    X, y, _ = problem(2)
    model = AttentionPoolingRegressor(penalty=0.0, tol=1e-12, algorithm=algorithm).fit(X, y, groups=GROUPS)
    splits = splits_of("groups", X)
    loss = [oracle.cross_validation(splits, X, y, np.diag(model.w_ * f), "gaussian") for f in (1.0, 0.99, 1.01)]
    assert loss[0] == min(loss)


# Intervals


@pairwise(
    rule=["groups", "folds of groups", "blocks of rows", "blocks of time", "the past"],
    weighted=[False, True],
    ridge=[None, 0.05],
)
def test_intervals_are_those_of_refits(rule, weighted, ridge):
    X, y, w = problem(2, 2, weighted)
    for kernel, h in [("gaussian", [0.5, 0.6]), ("epanechnikov", [1.0, 0.8])]:
        of_lines = LocalLinearRegressor(kernel, h, ridge=ridge or 0.0)
        model = fit(rule, of_lines if ridge else NadarayaWatsonRegressor(kernel, h), X, y, w)
        Q = np.vstack([X[:3], X[3:6] + 0.3])
        expected = oracle.interval(Q, X, y, h, kernel, w, ridge=ridge, coverage=0.8, splits=splits_of(rule, X))
        assert_close(model.predict_interval(Q, 0.8), expected, y, 1e-8)


@pytest.mark.parametrize("rule", ["repeated folds", "random splits"])
def test_intervals_are_refused_where_a_row_is_tested_several_times(rule):
    X, y, _ = problem(1)
    with pytest.raises(ValueError, match="tested some rows several times"):
        fit(rule, NadarayaWatsonRegressor(bandwidth=0.5), X, y).predict_interval(X)


# Which rows


def test_rows_that_no_split_tests_have_no_prediction():
    X, y, _ = problem(1)
    model = fit("the past", NadarayaWatsonRegressor(), X, y)
    tested = np.concatenate([test for _, test in splits_of("the past", X)])
    assert_array_equal(np.flatnonzero(~np.isnan(model.loo_prediction_)), np.sort(tested))
    assert model.n_validation_ == len(tested)


@pytest.mark.parametrize("rule", RULES)
def test_validation_samples_are_drawn_from_the_tested_rows(rule):
    X, y, _ = problem(1)
    all_of_them = fit(rule, NadarayaWatsonRegressor(), X, y)
    some = fit(rule, NadarayaWatsonRegressor(validation_samples=9, random_state=0), X, y)
    there = ~np.isnan(some.loo_prediction_)
    assert some.n_validation_ == np.count_nonzero(there) == 9
    assert np.all(~np.isnan(all_of_them.loo_prediction_[there]))


def test_leave_one_out_as_a_splitter_is_leave_one_out():
    X, y, w = problem(2, weighted=True)
    own, split = (NadarayaWatsonRegressor(cv=cv).fit(X, y, w) for cv in (None, LeaveOneOut()))
    assert_allclose(split.bandwidth_, own.bandwidth_, rtol=1e-12)
    assert_allclose(split.loo_prediction_, own.loo_prediction_, rtol=1e-12)
    assert_allclose(split.predict_interval(X), own.predict_interval(X), rtol=1e-9)


@pytest.mark.parametrize("labels", [[f"g{g}" for g in GROUPS], GROUPS.astype(float) / 7, -3 * GROUPS])
def test_groups_may_be_any_labels(labels):
    X, y, _ = problem(1)
    labelled, numbered = (NadarayaWatsonRegressor().fit(X, y, groups=g) for g in (labels, GROUPS))
    assert_allclose(labelled.loo_prediction_, numbered.loo_prediction_, rtol=1e-12)


def test_an_int_is_that_many_folds():
    X, y, _ = problem(1)
    models = [NadarayaWatsonRegressor(cv=cv).fit(X, y) for cv in (5, KFold(5), list(KFold(5).split(X)))]
    for model in models[1:]:
        assert_array_equal(model.loo_prediction_, models[0].loo_prediction_)


def test_folds_stay_apart_from_each_other_and_from_rows_that_none_tests():
    """Of 256 folds and the other rows the numbers do not fit in a byte."""
    rows, X = np.arange(260), np.zeros((260, 1))
    splits = [(np.delete(rows, i), rows[i : i + 1]) for i in range(256)]
    rule = leave_out_rule(splits, None, X, X[:, 0], False)
    assert len(np.unique(rule.position[:257])) == 257
    assert_array_equal(rule.is_tested, rows < 256)


def test_masks_are_rows():
    X, y, _ = problem(1)
    masks = [(np.isin(np.arange(N), train), np.isin(np.arange(N), test)) for train, test in KFold(3).split(X)]
    assert_array_equal(
        NadarayaWatsonRegressor(cv=masks).fit(X, y).loo_prediction_,
        NadarayaWatsonRegressor(cv=3).fit(X, y).loo_prediction_,
    )


# Refusals


@pytest.mark.parametrize(
    ("cv", "groups", "message"),
    [
        ([(np.arange(30), np.arange(29, N))], None, "row 29 in both train and test"),
        ([(np.arange(30), np.arange(30, N + 1))], None, "numbers of rows, from 0 to 41"),
        ([(np.arange(30), np.arange(-5, 0))], None, "numbers of rows"),
        ([([], np.arange(N))], None, "without training rows"),
        ([([1, 2, 1], [3])], None, "a row twice"),
        ([([0.5], [3])], None, "numbers of rows"),
        ([(np.arange(3), np.array([], dtype=int))], None, "test no row"),
        (None, np.zeros(3), r"groups must have one label for each of the 42 rows of X; got shape \(3,\)"),
        (None, np.zeros((N, 2)), "one label for each"),
        (None, 3, "one label for each"),
        (None, [None, *"a" * (N - 1)], "labels of one kind"),
        (None, np.append(np.zeros(N - 1), np.nan), "groups must not be missing"),
        ([], None, "cv has no splits"),
        ([1, 2], None, "pairs"),
        ([(np.arange(20), 25)], None, "numbers of rows"),
        ([(np.arange(N), [])], None, "test no row"),
        ([(np.ones(25, dtype=bool), np.arange(30, 35))], None, "or masks"),
        (GroupKFold(2), None, "groups"),
        (LeaveBlockOut(-1), None, "half_width must be a non-negative number"),
        (LeaveBlockOut("2"), None, "half_width must be a non-negative number"),
        (LeaveBlockOut(True), None, "half_width must be a non-negative number"),
        (LeaveBlockOut(np.timedelta64(2)), None, "half_width must be a non-negative number"),
        (LeaveBlockOut(timedelta(days=2)), None, "half_width must be a timedelta where times are dates, else a number"),
        (LeaveBlockOut(1, times=np.arange(5)), None, r"one entry for each of the 42 rows of X; got shape \(5,\)"),
        (LeaveBlockOut(1, times="when"), None, "times='when' is no column"),
        (LeaveBlockOut(1, times=4), None, "times=4 is no column"),
        (LeaveBlockOut(1, times=np.full(N, np.nan)), None, "finite"),
    ],
)
def test_splits_that_do_not_fit_are_refused(cv, groups, message):
    X, y, _ = problem(1)
    with pytest.raises(ValueError, match=message):
        NadarayaWatsonRegressor(cv=cv).fit(X, y, groups=groups)


@pytest.mark.parametrize("selector", ["aicc", "gcv"])
@pytest.mark.parametrize(("cv", "groups"), [(3, None), (None, GROUPS)])
def test_criteria_that_leave_nothing_out_take_no_folds(selector, cv, groups):
    X, y, _ = problem(1)
    with pytest.raises(ValueError, match="leaves no sample out"):
        NadarayaWatsonRegressor(bandwidth=selector, cv=cv).fit(X, y, groups=groups)


# Groups through pipelines and searches


def test_pipelines_pass_groups_to_the_step():
    X, y, _ = problem(2)
    model = make_pipeline(StandardScaler(), NadarayaWatsonRegressor())
    model.fit(X, y, nadarayawatsonregressor__groups=GROUPS)
    expected = NadarayaWatsonRegressor().fit(StandardScaler().fit_transform(X), y, groups=GROUPS)
    assert_array_equal(model[-1].loo_prediction_, expected.loo_prediction_)


def test_a_search_keeps_groups_for_its_own_splitter():
    X, y, _ = problem(2)
    search = GridSearchCV(NadarayaWatsonRegressor(), {"kernel": ["gaussian", "tricube"]}, cv=GroupKFold(3))
    best = search.fit(X, y, groups=GROUPS).best_estimator_
    assert_array_equal(best.loo_prediction_, NadarayaWatsonRegressor(best.kernel).fit(X, y).loo_prediction_)


def test_with_routing_groups_reach_the_estimator_through_pipeline_and_search():
    X, y, _ = problem(2)
    with config_context(enable_metadata_routing=True):
        smoother = NadarayaWatsonRegressor().set_fit_request(groups=True)
        search = GridSearchCV(
            make_pipeline(smoother),
            {"nadarayawatsonregressor__kernel": ["gaussian", "tricube"]},
            cv=GroupKFold(3),
        )
        best = search.fit(X, y, groups=GROUPS).best_estimator_[-1]
    expected = NadarayaWatsonRegressor(best.kernel).fit(X, y, groups=GROUPS)
    assert_array_equal(best.loo_prediction_, expected.loo_prediction_)


# Time


def test_a_block_is_left_out_by_the_splitter_as_by_the_estimator():
    X = np.column_stack([np.arange(N), TIMES]).astype(float)
    for cv in (LeaveBlockOut(0), LeaveBlockOut(2), LeaveBlockOut(3, TIMES), LeaveBlockOut(3, times=1)):
        splits = list(cv.split(X))
        assert len(splits) == cv.get_n_splits(X) == N
        times = np.arange(N) if cv.times is None else TIMES
        for i, (train, test) in enumerate(splits):
            assert_array_equal(test, [i])
            assert_array_equal(train, np.flatnonzero(np.abs(times - times[i]) > cv.half_width))
        model = NadarayaWatsonRegressor(bandwidth=1.0, cv=cv).fit(X, X[:, 0])
        by_splits = NadarayaWatsonRegressor(bandwidth=1.0, cv=splits).fit(X, X[:, 0])
        assert_allclose(model.loo_prediction_, by_splits.loo_prediction_, rtol=1e-12)


def test_times_may_be_a_column_by_name_or_dates():
    X, y, _ = problem(1)
    frame = pd.DataFrame({"x": X[:, 0], "day": TIMES})
    expected = NadarayaWatsonRegressor(bandwidth=0.5, cv=LeaveBlockOut(3, TIMES)).fit(frame, y).loo_prediction_
    dates = pd.Timestamp("2026-03-28") + pd.to_timedelta(TIMES, unit="D")
    for cv in [
        LeaveBlockOut(3, "day"),
        LeaveBlockOut(pd.Timedelta("3D"), dates),
        LeaveBlockOut(timedelta(days=3), dates.to_numpy()),
        LeaveBlockOut(np.timedelta64(72, "h"), dates.to_numpy()),
    ]:
        model = NadarayaWatsonRegressor(bandwidth=0.5, cv=cv).fit(frame, y)
        assert_array_equal(model.loo_prediction_, expected)
    with pytest.raises(ValueError, match="a timedelta where times are dates, else a number; got 3"):
        NadarayaWatsonRegressor(cv=LeaveBlockOut(3, dates)).fit(frame, y)
    with pytest.raises(ValueError, match="times must be finite"):
        missing = dates.to_series()
        missing.iloc[2] = pd.NaT
        NadarayaWatsonRegressor(cv=LeaveBlockOut(timedelta(days=3), missing)).fit(frame, y)


@pytest.mark.parametrize("Estimator", [NadarayaWatsonRegressor, KrigingRegressor])
def test_a_block_that_is_too_wide_leaves_nothing_and_says_so(Estimator):
    X, y, _ = problem(1)
    with pytest.raises(ValueError, match="leave nothing to predict from"):
        Estimator(cv=LeaveBlockOut(N)).fit(X, y)
    with pytest.raises(ValueError, match="leave nothing to predict from"):
        Estimator().fit(X, y, groups=np.zeros(N))


@pytest.mark.parametrize("Estimator", [NadarayaWatsonRegressor, LocalLinearRegressor, AttentionPoolingRegressor])
def test_rows_that_nothing_is_left_to_predict_from_are_not_tested(Estimator):
    X, y, _ = problem(2)
    model = Estimator(cv=LeaveBlockOut(N // 2)).fit(X, y)
    is_known = ~np.isnan(model.loo_prediction_)
    assert 0 < np.count_nonzero(~is_known) < 5
    assert model.n_validation_ == np.count_nonzero(is_known)
    assert np.isfinite(model.loo_score_)
    assert np.all(np.isfinite(model.predict_interval(X, 0.5)))


def test_rows_of_weight_zero_that_no_split_tests_have_no_prediction():
    X, y, _ = problem(1)
    w = np.ones(N)
    w[2] = 0.0
    model = NadarayaWatsonRegressor(cv=[(np.arange(20), np.arange(20, N))]).fit(X, y, w)
    assert_array_equal(np.flatnonzero(np.isnan(model.loo_prediction_)), np.arange(20))


def test_a_split_whose_train_has_no_weight_is_refused():
    X, y, _ = problem(1)
    with pytest.raises(ValueError, match="training rows all have a sample_weight of zero"):
        NadarayaWatsonRegressor(cv=TimeSeriesSplit(4)).fit(X, y, np.where(np.arange(N) < 12, 0.0, 1.0))


@pytest.mark.parametrize("times", ["decimal", "dates", "durations"])
def test_blocks_of_rounded_times_are_whole_and_symmetric(times):
    half_width = timedelta(milliseconds=3)
    if times == "decimal":
        t, half_width = 0.1 * np.arange(N), 0.3
    elif times == "dates":
        t = np.datetime64("2024-03-01T00:00:00.000") + np.arange(N)
    else:
        t = np.arange(N).astype("m8[ms]")
    sizes = [N - len(train) for train, _ in LeaveBlockOut(half_width, t).split(np.zeros((N, 1)))]
    assert_array_equal(sizes, [4, 5, 6, *[7] * (N - 6), 6, 5, 4])


@pytest.mark.parametrize("outside", ["nan", "raise"])
def test_intervals_reach_as_far_as_predictions(outside):
    x = np.arange(40.0)[:, np.newaxis]
    model = NadarayaWatsonRegressor("epanechnikov", 3.0, outside=outside, cv=TimeSeriesSplit(4))
    model.fit(x, np.sin(x[:, 0] / 5))
    assert np.isfinite(model.predict([[38.0]])).all()
    assert not np.isnan(model.predict_interval([[38.0]], 0.5)).any()
    if outside == "nan":
        assert np.isnan(model.predict_interval([[99.0]])).all()


def test_a_fit_is_drawn_without_interval_where_there_is_none():
    X, y, _ = problem(1)
    display = FitDisplay.from_estimator(fit("repeated folds", NadarayaWatsonRegressor(), X, y), X, y)
    assert np.isnan(display.interval).all()
    assert np.isfinite(display.mean).all()


# What stays


@pytest.mark.parametrize("rule", ["groups", "blocks of time", "repeated folds", "the past"])
def test_a_loaded_model_answers_as_it_did(rule):
    X, y, w = problem(2, weighted=True)
    model = fit(rule, NadarayaWatsonRegressor(), X, y, w)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.predict(X), model.predict(X))
    if rule != "repeated folds":
        assert_array_equal(loaded.predict_interval(X), model.predict_interval(X))


@pytest.mark.parametrize(("rule", "d"), [("groups", 1), ("blocks of rows", 2)])
def test_many_samples_choose_as_brute_force_does(rule, d):
    """Where the search looks at a part of the samples first."""
    rng = np.random.default_rng(0)
    n = 5200
    X = rng.uniform(size=(n, d))
    y = np.sin(12 * X[:, 0]) + 0.3 * rng.normal(size=n)
    groups = rng.integers(0, 200, n) if rule == "groups" else None
    cv = None if rule == "groups" else LeaveBlockOut(5)
    models = [
        NadarayaWatsonRegressor(cv=cv, algorithm=algorithm).fit(X, y, groups=groups)
        for algorithm in ("auto", "fused", "expansion")
    ]
    for model in models[1:]:
        assert_allclose(model.bandwidth_, models[0].bandwidth_, rtol=1e-8)
    for factor in (0.97, 1.03):
        beside = NadarayaWatsonRegressor(bandwidth=factor * models[0].bandwidth_, cv=cv).fit(X, y, groups=groups)
        assert beside.loo_score_ < models[0].loo_score_ + 1e-5


@pytest.mark.parametrize("algorithm", ["auto", "dense", "fused", "sorted", "pruned"])
def test_a_row_of_weight_zero_is_predicted_without_its_group_of_one(algorithm):
    X, y, _ = problem(1)
    w, groups = np.ones(N), np.arange(N)
    w[:8], groups[:8] = 0.0, np.arange(20, 28)
    model = NadarayaWatsonRegressor("epanechnikov", 0.6, algorithm=algorithm).fit(X, y, w, groups=groups)
    splits = LeaveOneGroupOut().split(X, groups=groups)
    expected = np.full(N, np.nan, dtype=np.longdouble)
    for test, prediction in oracle.left_out(splits, X, y, [0.6], "epanechnikov", w):
        expected[test] = prediction
    assert_close(model.loo_prediction_, expected, y)
    Q, splits = X[:5] + 0.1, list(LeaveOneGroupOut().split(X, groups=groups))
    bounds = oracle.interval(Q, X, y, [0.6], "epanechnikov", w, splits=splits)[:, 0]
    assert_close(model.predict_interval(Q), bounds, y, 1e-8)
