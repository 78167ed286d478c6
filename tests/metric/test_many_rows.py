"""Learning w from some of many samples: which these are, and what w becomes at all of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import KFold, TimeSeriesSplit

from sknw import AttentionPoolingClassifier, AttentionPoolingRegressor
from sknw._metric.optimizer import MetricFit, Progress
from sknw._metric.subsample import draw_samples, extrapolate
from sknw._selection import rules
from sknw._selection.rules import n_learning_samples, n_validation_rows_of_attention
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import Blocks, Splits, Validation
from sknw.estimators import metric

N = 1200


@pytest.fixture
def many_are_few(monkeypatch):
    """Learned from are 150 samples and 25 for each number, the score is that of 250 of N, and 5 n_s are less than N."""
    monkeypatch.setattr(metric, "MORE", 5)
    monkeypatch.setattr(rules, "_LEARNED_FROM", 150)
    monkeypatch.setattr(rules, "_PER_NUMBER", 25)
    monkeypatch.setattr(rules, "_LEAST_ROWS_OF_SCORE", 100)
    monkeypatch.setattr(rules, "_MAX_EVALUATIONS", 250 * N)


def data(n=N, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n, 3))
    truth = np.sin(5 * X[:, 0]) + X[:, 1] ** 2
    return X, truth + 0.2 * rng.normal(size=n), truth


def test_rows_follow_from_the_numbers_of_samples_and_of_what_is_learned():
    assert [n_learning_samples(n, 6) for n in (2299, 2300, 2301, 10**6)] == [2299, 2300, 2300, 2300]
    assert n_learning_samples(10**6, 1000) == 10_000


@pytest.mark.parametrize(
    ("n", "n_columns", "of_learned", "of_given"),
    [
        (300, 2, 300, 300),
        (20_000, 2, 20_000, 20_000),
        (25_000, 90, 16_000, 16_000),  # lines of 11 features
        (10**7, 90, 400, 40),
        (20_000, 902, 2217, 2217),  # lines of a number and a category of 40 levels
        (100_000, 5000, 400, 400),
        (10**7, 5000, 400, 40),
    ],
)
def test_rows_of_the_score_follow_from_the_numbers_of_samples_and_of_columns(n, n_columns, of_learned, of_given):
    assert n_validation_rows_of_attention(n, n_columns, is_learned=True) == of_learned
    assert n_validation_rows_of_attention(n, n_columns, is_learned=False) == of_given


def validation_of(n, rule):
    return Validation.of(rule, TrainingSet.of(np.arange(float(n))[:, np.newaxis], np.arange(n) ** 0.5, None))


def test_groups_are_drawn_whole_unless_they_are_few():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 200, 2000)
    validation = validation_of(2000, None)
    drawn = draw_samples(300, 2000, validation, groups, rng)
    assert 300 <= len(drawn) < 330
    assert np.isin(groups[drawn], np.setdiff1d(groups, groups[drawn])).sum() == 0
    assert np.isin(np.flatnonzero(np.isin(groups, groups[drawn])), drawn).all()
    assert_array_equal(drawn, np.sort(drawn))
    drawn = draw_samples(300, 2000, validation, groups % 5, rng)
    assert len(drawn) == 300
    assert len(np.unique(groups[drawn] % 5)) == 5


def test_half_of_what_is_drawn_is_tested():
    tested = np.arange(0, 1000, 20)
    rule = Splits([(np.setdiff1d(np.arange(1000), tested), tested)])
    drawn = draw_samples(80, 1000, validation_of(1000, rule), None, np.random.default_rng(0))
    assert len(drawn) == 80
    assert np.isin(drawn, tested).sum() >= 40


@pytest.mark.parametrize("rule", ["folds", "splits"])
def test_validation_among_some_samples_leaves_out_and_keeps_the_same_ones(rule):
    n, some = 30, np.arange(0, 30, 2)
    splits = [(np.arange(10), np.arange(10, 20)), (np.arange(1, 20), np.arange(20, 30)), (np.array([1]), np.array([0]))]
    of_rule = Blocks(np.repeat(np.arange(3), 10)) if rule == "folds" else Splits(splits)
    for part in validation_of(n, of_rule).among(some, np.isin(np.arange(n), some)).parts:
        for i, row in enumerate(part.rows):
            keys = np.arange(len(some)) if part.keys is None else part.keys
            left = np.delete(keys, np.arange(part.leave_out.first[i], part.leave_out.last[i]))
            fold = some[row] // 10
            if rule == "folds":
                expected = some[some // 10 != fold]
            else:  # of the last split no key is among them
                expected = np.intersect1d(splits[fold - 1][0], some)
                assert fold > 0
            assert_array_equal(some[left], expected)


def test_among_the_samples_of_one_group_there_is_nothing_to_predict_from():
    some = np.arange(3, 9)
    validation = validation_of(30, Blocks(np.repeat([0, 1, 2, 3], [4, 4, 12, 10])))
    assert_array_equal(validation.among(some, np.isin(np.arange(30), some)).rows, np.arange(6))
    assert len(validation.among(some[1:5], np.isin(np.arange(30), some[1:5]))) == 0


@pytest.mark.usefixtures("many_are_few")
@pytest.mark.parametrize("degree", [0, 1])
def test_error_is_within_two_percent_of_that_of_learning_on_all_rows(degree):
    X, y, _ = data()
    Q, _, truth = data(2000, seed=1)
    some, every = (
        AttentionPoolingRegressor(degree=degree, validation_samples=rows, random_state=0).fit(X, y)
        for rows in ("auto", None)
    )
    assert (some.n_validation_, every.n_validation_) == (250, N)
    assert np.isfinite(some.loo_prediction_).sum() == 250
    errors = [np.sqrt(0.2**2 + np.mean((model.predict(Q) - truth) ** 2)) for model in (some, every)]
    assert errors[0] < 1.02 * errors[1]
    seen = np.isfinite(some.loo_prediction_)
    r2 = 1 - np.mean((y - some.loo_prediction_)[seen] ** 2) / np.var(y[seen])
    assert some.loo_score_ == pytest.approx(r2, rel=1e-9)


@pytest.mark.usefixtures("many_are_few")
@pytest.mark.parametrize(
    "options",
    [
        {"w": "scalar", "degree": 1, "ridge": 0.1},
        {"w": "low_rank", "rank": 1, "kernel": "exponential", "groups": True},
        {"w": "full", "cv": TimeSeriesSplit(3)},
        {"kernel": "tricube", "outside": "mean", "cv": KFold(4, shuffle=True, random_state=0), "weights": True},
        {"degree": 1, "groups": True, "weights": True},
    ],
    ids=["scalar", "low rank, groups", "full, splits", "compact, folds, weights", "lines, groups, weights"],
)
def test_structures_weights_and_what_is_left_out_are_as_of_all_rows(options):
    X, y, _ = data()
    rng = np.random.default_rng(2)
    options = dict(options)
    groups = rng.integers(0, 300, N) if options.pop("groups", False) else None
    weights = rng.uniform(0.5, 1.5, N) if options.pop("weights", False) else None
    model = AttentionPoolingRegressor(**options, tol=1e-3, random_state=0).fit(X, y, weights, groups=groups)
    shape = {"low_rank": (3, 1), "full": (3, 3)}.get(options.get("w"), (3,))
    assert model.w_.shape == shape
    assert model.n_validation_ == 250
    assert model.loo_score_ > (0.7 if model.w_.ndim == 1 and options.get("w") != "scalar" else 0.4)
    if "ridge" in options:
        assert_array_equal(model.ridge_, 0.1)


@pytest.mark.usefixtures("many_are_few")
@pytest.mark.parametrize("degree", [0, 1])
def test_a_few_rows_more_than_are_learned_from_make_no_step(degree):
    X, y, _ = data(226)
    w, ridge = [], []
    for n in (225, 226):
        model = AttentionPoolingRegressor(degree=degree).fit(X[:n], y[:n])
        w.append(model.w_)
        ridge.append(model.ridge_ if degree else np.ones(3))
    assert_allclose(w[1], w[0], rtol=0.05, atol=0.05)
    assert_allclose(ridge[1], ridge[0], rtol=0.2)


@pytest.mark.usefixtures("many_are_few")
def test_whole_groups_that_make_all_rows_are_learned_from_as_all_rows():
    X, y, _ = data(230)
    groups = np.repeat(np.arange(23), 10)
    some, every = (
        AttentionPoolingRegressor(validation_samples=rows).fit(X, y, groups=groups) for rows in ("auto", None)
    )
    assert_array_equal(some.w_, every.w_)


def test_what_a_callback_stops_grows_by_the_typical_power():
    stopped = SimpleNamespace(stopped=True)
    learner = SimpleNamespace(progress=stopped, learns_ridge=True, loss=SimpleNamespace(training=range(1600)))
    learned = extrapolate(MetricFit(np.ones(2), np.full(2, 0.1), 0.0, [1.0], False), learner, 200, 64 * 200)
    assert_allclose(learned.w, 2.0)
    assert_allclose(learned.ridge, 0.025)


def test_w_grows_as_the_one_of_least_loss_among_more_samples_does():
    def value(w, ridge):
        return np.cosh(3.0 * np.log(w[0] / 8.0**0.4))

    loss = SimpleNamespace(training=range(1600), validation=range(100), value=value)
    learner = SimpleNamespace(progress=Progress(lambda: False, 0), learns_ridge=True, loss=loss)
    learned = extrapolate(MetricFit(np.ones(2), np.full(2, 0.1), 0.0, [1.0], False), learner, 200, 64 * 200)
    assert_allclose(learned.w, 64.0**0.4, rtol=0.02)
    assert_allclose(learned.ridge, 0.1 / learned.w**2)


@pytest.mark.usefixtures("many_are_few")
def test_classes_are_learned_from_some_rows():
    X, y, _ = data()
    model = AttentionPoolingClassifier(random_state=0).fit(X, y > 0)
    assert model.n_validation_ == 250
    assert model.loo_log_loss_ < 0.4
    assert model.w_[2] < 0.2 * model.w_[0]


@pytest.mark.usefixtures("many_are_few")
def test_engines_and_the_order_of_rows_do_not_change_w_and_a_warm_start_goes_on():
    X, y, _ = data()
    dense = AttentionPoolingRegressor(algorithm="dense", warm_start=True).fit(X, y)
    order = np.random.default_rng(0).permutation(N)
    fused = AttentionPoolingRegressor(algorithm="fused", n_jobs=2).fit(X[order], y[order])
    assert_allclose(fused.w_, dense.w_, rtol=1e-5, atol=1e-8)
    w, n_iter = dense.w_, dense.n_iter_
    dense.fit(X, y)
    assert dense.n_iter_ <= n_iter
    assert_allclose(dense.w_[:2], w[:2], rtol=0.1)


@pytest.mark.usefixtures("many_are_few")
def test_an_exact_line_is_found_from_some_rows():
    X, _, _ = data()
    model = AttentionPoolingRegressor(degree=1).fit(X, X @ [1.0, -2.0, 0.5])
    assert_allclose(model.predict(X[:50]), X[:50] @ [1.0, -2.0, 0.5], atol=1e-8)


@pytest.mark.usefixtures("many_are_few")
def test_progress_tells_of_the_rows_of_each_stage(capsys):
    X, y, _ = data()
    AttentionPoolingRegressor(verbose=1, tol=1e-3).fit(X, y)
    lines = capsys.readouterr().out
    assert "diagonal w, 225 rows" in lines
    assert "common factor of w, 112 rows" in lines
    last = lines.splitlines()[-1]
    assert last.startswith("[AttentionPoolingRegressor] common factor of w, 112 rows: leave-one-out loss 0.")
