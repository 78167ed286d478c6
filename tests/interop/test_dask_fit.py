"""Fits to dask arrays whose rows stay on the workers of a cluster: they are those of one process."""

import os
import pickle
import signal

import dask
import dask.array
import numpy as np
import pytest
from numpy.testing import assert_allclose
from problems import regression
from sklearn.base import clone
from sklearn.model_selection import KFold, TimeSeriesSplit

from sknw import (
    AttentionPoolingClassifier,
    AttentionPoolingRegressor,
    EffectDisplay,
    KrigingRegressor,
    LocalLinearRegressor,
    NadarayaWatsonClassifier,
    NadarayaWatsonRegressor,
)
from sknw._selection import rules
from sknw._selection.autocorrelation import least_contrasts
from sknw._smoothing import smoother
from sknw.estimators import dask_arrays
from sknw.inspection import summary
from sknw.model_selection import LeaveBlockOut


@pytest.fixture(autouse=True)
def leaves_few_rows_as_well(monkeypatch):
    monkeypatch.setattr(dask_arrays, "FEW_ROWS", 0)


def chunked(*arrays):
    """The arrays in chunks that do not fit each other."""
    sizes = (40, 33, 29)[: len(arrays)]
    return [dask.array.from_array(a, chunks=(size, *[1] * (a.ndim - 1))) for a, size in zip(arrays, sizes, strict=True)]


def both(model, X, y, w=None, groups=None):
    """The model fitted to rows on the workers, and to rows here."""
    rows, targets, *of_rows = chunked(X, y, *([] if groups is None else [groups]))
    there = clone(model).fit(rows, targets, w, groups=of_rows[0] if of_rows else None)
    assert isinstance(there.X_train_, dask.array.Array)
    return there, clone(model).fit(X, y, w, groups=groups)


def assert_same_fit(there, here, Q, rtol=1e-12):
    assert_allclose(there.loo_prediction_, here.loo_prediction_, rtol=0, atol=rtol * np.ptp(here.y_train_))
    assert_allclose(there.loo_score_, here.loo_score_, rtol=rtol)
    assert there.n_validation_ == here.n_validation_
    for found, expected in zip(there.predict(Q, return_std=True), here.predict(Q, return_std=True), strict=True):
        assert_allclose(found, expected, rtol=0, atol=rtol * np.ptp(here.y_train_))


# with whether there are weights, some of them zero, and the number of outputs; of all there are copies
FITS = [
    (NadarayaWatsonRegressor(bandwidth=0.4, validation_samples=50, random_state=0), True, 2),
    (NadarayaWatsonRegressor("tricube", bandwidth=[0.2, 0.4], periodic_features={1: 3.0}), False, None),
    (NadarayaWatsonRegressor("epanechnikov", bandwidth=0.1, outside="mean", scale="common"), True, None),
    (NadarayaWatsonRegressor(bandwidth="silverman", verbose=1), False, None),
    (AttentionPoolingRegressor("exponential", w=[1.0, 2.0]), True, None),
    (LocalLinearRegressor(bandwidth=0.6), True, 2),
    (LocalLinearRegressor("epanechnikov", bandwidth=0.4, ridge=0.1, outside="mean"), False, None),
    (AttentionPoolingRegressor("exponential", w=[1.0, 2.0], degree=1, ridge=[0.1, np.inf]), True, None),
]


@pytest.mark.parametrize(("model", "weighted", "n_outputs"), FITS, ids=str)
def test_a_fit_at_given_numbers_is_that_of_one_process(model, weighted, n_outputs, client):
    X, y, w, Q = regression(n=150, m=30, d=2, n_outputs=n_outputs, weighted=weighted)
    X[:20], y[:20] = X[100:120], y[100:120]
    there, here = both(model, X, y, w)
    assert_same_fit(there, here, 2.0 * Q)  # some are far from all samples


@pytest.mark.parametrize(
    ("model", "has_groups"),
    [
        (NadarayaWatsonRegressor(), False),
        (NadarayaWatsonRegressor("epanechnikov"), True),
        (LocalLinearRegressor(ridge=0.1), True),
    ],
    ids=str,
)
def test_a_chosen_bandwidth_is_that_of_one_process(model, has_groups, client):
    """Groups are left out as there: of copies in several groups each is a sample."""
    X, y, w, Q = regression(n=150, m=30, d=2, weighted=True)
    X[:20], y[:20] = X[100:120], y[100:120]
    groups = np.random.default_rng(0).integers(0, 12, 150).astype(str) if has_groups else None
    there, here = both(model, X, y, w, groups)
    assert len(there._fitted.training) == len(here._fitted.training)
    assert_allclose(there.bandwidth_, here.bandwidth_, rtol=1e-12)
    assert_same_fit(there, here, Q)


@pytest.mark.parametrize("model", [NadarayaWatsonRegressor(), LocalLinearRegressor("epanechnikov")], ids=str)
def test_autocorrelation_of_residuals_is_that_of_one_process(model, client):
    """None where errors are independent: that residuals say so to first order is known without any drawn."""
    rng = np.random.default_rng(0)
    X, errors = rng.uniform(size=(400, 2)), rng.normal(size=400)
    there, here = both(model, X, np.sin(6.0 * X[:, 0]) + 0.5 * errors)
    assert there.bandwidth_search_.autocorrelation is here.bandwidth_search_.autocorrelation is None
    with pytest.warns(UserWarning, match="autocorrelated"):
        there, here = both(model, X, np.sin(6.0 * X[:, 0]) + 0.5 * np.repeat(errors[:100], 4))
    found, expected = (fit.bandwidth_search_.autocorrelation for fit in (there, here))
    assert (found.order, found.span) == (expected.order, expected.span)
    assert_allclose([found.excess, found.z], [expected.excess, expected.z], rtol=1e-9)
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(400), (3, 1)), axis=1)
    found, expected = (least_contrasts(fit._fitted.smoother, orders, [1, 2, 4], np.arange(50)) for fit in (there, here))
    for span, of_orders in expected.items():
        assert_allclose(found[span], of_orders, rtol=1e-9)


def test_folds_and_blocks_of_time_are_those_of_one_process(client):
    X, y, w, Q = regression(n=150, m=30, d=2, weighted=True)
    for cv in (KFold(3, shuffle=True, random_state=0), LeaveBlockOut(0.2, times=1)):
        there, here = both(NadarayaWatsonRegressor(bandwidth=0.4, cv=cv), X, y, w)
        assert_same_fit(there, here, Q)


CLASSIFIERS = [
    (NadarayaWatsonClassifier(cv=3), False),
    (AttentionPoolingClassifier("epanechnikov", w=[2.0, 1.0]), True),
]


@pytest.mark.parametrize(("model", "has_groups"), CLASSIFIERS, ids=str)
def test_classes_are_those_of_one_process(model, has_groups, client):
    """The last class has no weight, and is none."""
    X, y, _, Q = regression(n=150, m=30, d=2)
    labels = np.array(["low", "middle", "high", "?"], dtype=object)[np.searchsorted(np.quantile(y, [0.3, 0.6, 0.9]), y)]
    w = np.where(labels == "?", 0.0, np.random.default_rng(0).uniform(0.5, 2.0, len(y)))
    there, here = both(model, X, labels, w, np.arange(150) // 7 if has_groups else None)
    np.testing.assert_array_equal(there.classes_, ["high", "low", "middle"])
    np.testing.assert_array_equal(there.y_train_, labels)
    for name in ("loo_proba_", "loo_log_loss_", "smoothing_"):
        assert_allclose(getattr(there, name), getattr(here, name), rtol=1e-12, err_msg=name)
    (queries,) = chunked(2.0 * Q)
    assert_allclose(there.predict_proba(queries), here.predict_proba(2.0 * Q), rtol=1e-12)
    np.testing.assert_array_equal(there.predict(queries), here.predict(2.0 * Q))


def test_categories_are_those_of_one_process(client):
    """Their levels are found on the workers; one has many, and a missing one; some rows have no neighbour."""
    X, y, w, Q = regression(n=150, m=30, d=3, weighted=True)
    for a in (X, Q):
        a[:, 0], a[:, 1] = np.round(3.0 * a[:, 0]), np.round(a[:, 1])
        a[::7, 0] = np.nan
    model = NadarayaWatsonRegressor("epanechnikov", bandwidth=0.5, categorical_features=[0], ordered_features=[1])
    there, here = both(model, X, y, w)
    np.testing.assert_array_equal(there.X_train_, here.X_train_)
    for found, expected in zip(there.categories_[:2], here.categories_[:2], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert_same_fit(there, here, Q)
    assert_allclose(there.predict(*chunked(Q)), here.predict(Q), rtol=0, atol=1e-12 * np.ptp(y))
    lines = LocalLinearRegressor(bandwidth=1.0, ridge=0.1, categorical_features=[0])
    assert_same_fit(*both(lines, X[:, :2], y, w), Q[:, :2])


def test_lines_that_lose_digits_are_found_again_from_the_rows_near(client, monkeypatch):
    """Windows are narrow beside the distance from the centre, and the ridge is none."""
    monkeypatch.setattr(smoother, "_LEAST_TOGETHER", 7)  # several groups of queries
    monkeypatch.setattr(smoother, "_SAMPLES_TOGETHER", 1)
    rng = np.random.default_rng(0)
    middles = rng.uniform(-1.0, 1.0, size=(15, 2))
    X, Q = (np.repeat(middles, n, axis=0) + 1e-5 * rng.normal(size=(15 * n, 2)) for n in (10, 2))
    y = 1e5 * (X - np.repeat(middles, 10, axis=0)) @ [1.0, -2.0] + rng.normal(size=150)
    there, here = both(LocalLinearRegressor(bandwidth=1e-5, ridge=0.0), X, y)
    assert_same_fit(there, here, Q, 1e-9)
    assert_allclose(there.predict(*chunked(Q)), here.predict(Q), rtol=0, atol=1e-9 * np.ptp(y))


def test_a_search_among_many_rows_takes_the_same_subsamples(client):
    """More than 8000 rows, whose scan takes random rows, and boxes around some; many are equally far from these."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8500, 2)).round(2).astype(np.float32)
    y = np.sin(5.0 * X[:, 0]) + 0.1 * rng.normal(size=len(X))
    model = NadarayaWatsonRegressor("tricube", validation_samples=100, random_state=0)
    rows = dask.array.from_array(X, chunks=(3000, 2))
    there, here = clone(model).fit(rows, y), clone(model).fit(X, y)
    assert_allclose(there.bandwidth_, here.bandwidth_, rtol=1e-12)
    assert_allclose(there.bandwidth_search_.scores, here.bandwidth_search_.scores, rtol=1e-10)
    assert there.bandwidth_search_.has_duplicates == here.bandwidth_search_.has_duplicates


@pytest.mark.parametrize("degree", [0, 1])
def test_a_learned_w_is_that_of_one_process(degree, client, monkeypatch):
    monkeypatch.setattr(rules, "_MAX_EVALUATIONS", 1e4)  # of few rows w is learned from some as well
    monkeypatch.setattr(rules, "_LEARNED_FROM", 60)
    monkeypatch.setattr(rules, "_PER_NUMBER", 0)
    X, y, w, Q = regression(n=150, m=30, d=2, weighted=True)
    there, here = both(AttentionPoolingRegressor(degree=degree, random_state=0, tol=1e-3), X, y, w)
    assert_allclose(there.w_, here.w_, rtol=1e-8)
    assert_same_fit(there, here, Q, 1e-8)


@pytest.mark.parametrize("groups", [None, np.arange(200) // 50], ids=["alone", "in groups"])
def test_a_table_of_few_values_keeps_its_rows(groups, client):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 3, size=(200, 2)) / 2.0, rng.integers(0, 3, size=200)
    there, here = both(NadarayaWatsonRegressor(bandwidth=0.5), X, y, groups=groups)
    assert there._fitted.training.sample_weight.max() == 1.0
    assert_same_fit(there, here, X[:5])


def test_predictions_on_the_workers(client):
    """Also of queries without support, at the nearest of all samples."""
    X, y, _, Q = regression(n=150, m=30, d=2)
    there, here = both(NadarayaWatsonRegressor("epanechnikov", bandwidth=0.1), X, y)
    (queries,) = chunked(2.0 * Q)
    mean, std = there.predict(queries, return_std=True)
    found = dask.compute(there.predict(queries), mean, std)
    mean, std = here.predict(2.0 * Q, return_std=True)
    for actual, expected in zip(found, [mean, mean, std], strict=True):
        assert_allclose(actual, expected, rtol=0, atol=1e-12 * np.ptp(y))
    assert_allclose(there.score(*chunked(X, y)), here.score(X, y), rtol=1e-12)


def test_rows_are_on_both_workers_and_only_there(client):
    X, y, _, _ = regression(n=150, d=2)
    model = NadarayaWatsonRegressor(bandwidth=0.4).fit(*chunked(X, y))
    shards = model._fitted.smoother.index.shards
    assert sorted(address for where in client.who_has(shards.kept).values() for address in where) == sorted(
        client.ncores()
    )
    sizes = [home.rows.stop - home.rows.start for home in shards.homes]
    assert sum(sizes) == len(model._fitted.training)
    assert max(sizes) < 0.7 * sum(sizes)


def test_a_worker_that_dies_is_survived(client):
    X, y, _, Q = regression(n=150, d=2)
    there, here = both(LocalLinearRegressor(bandwidth=0.6, ridge=0.1), X, y)
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    assert_allclose(there.predict(Q), here.predict(Q), rtol=1e-12)


def test_chunks_of_unknown_size(client):
    X, y, _, Q = regression(n=150, d=2)
    rows, targets = chunked(X, y)
    is_kept = rows[:, 0] > np.median(X[:, 0])
    there = NadarayaWatsonRegressor(bandwidth=0.4).fit(rows[is_kept], targets[is_kept])
    here = NadarayaWatsonRegressor(bandwidth=0.4).fit(X[is_kept.compute()], y[is_kept.compute()])
    assert_same_fit(there, here, Q)


def test_chunks_without_rows(client):
    """A selection by a condition may leave such chunks."""
    X, y, _, Q = regression(n=60, d=2)
    rows, targets = (dask.array.from_array(a, chunks=(10, *a.shape[1:])) for a in (X, y))
    is_kept = rows[:, 0] > np.sort(X[:, 0])[-12]
    there = NadarayaWatsonRegressor(bandwidth=0.4).fit(rows[is_kept], targets[is_kept])
    assert 0 in there.X_train_.chunks[0]
    here = NadarayaWatsonRegressor(bandwidth=0.4).fit(X[is_kept.compute()], y[is_kept.compute()])
    assert_same_fit(there, here, Q)


def test_rows_that_are_all_one_sample(client):
    """Nothing is left that could predict it."""
    X, y = np.ones((30, 2)), np.ones(30)
    there, here = both(NadarayaWatsonRegressor(bandwidth=0.4), X, y)
    np.testing.assert_array_equal(there.loo_prediction_, here.loo_prediction_)
    np.testing.assert_array_equal(there.predict(X[:2]), here.predict(X[:2]))


def test_few_rows_and_one_feature_are_taken_here(client, monkeypatch):
    X, y, _, _ = regression(n=60, d=2)
    assert isinstance(NadarayaWatsonRegressor(bandwidth=1.0).fit(*chunked(X[:, :1], y)).X_train_, np.ndarray)
    monkeypatch.setattr(dask_arrays, "FEW_ROWS", 60)
    assert isinstance(NadarayaWatsonRegressor(bandwidth=1.0).fit(*chunked(X, y)).X_train_, np.ndarray)


def test_what_needs_the_rows_here_says_so(client):
    X, y, _, Q = regression(n=60, d=2)
    rows = chunked(X, y)
    model = NadarayaWatsonRegressor(bandwidth=0.4).fit(*rows)
    needs_rows = [
        model.predict_interval,
        model.predict_mean_interval,
        model.attention_weights_,
        model.effective_sample_size,
        model.gradient,
        model.predict_quantile,
        lambda Q: model.partial_fit(X, y),
        lambda Q: summary(model),
        lambda Q: EffectDisplay.from_estimator(model, Q),
    ]
    for method in needs_rows:
        with pytest.raises(ValueError, match=r"in the memory of this process.*X\.compute\(\)"):
            method(Q)
    with pytest.raises(ValueError, match=r"cannot be stored.*bandwidth_"):
        pickle.dumps(model)
    with pytest.raises(ValueError, match=r"^cv=TimeSeriesSplit.* splits that are no folds.*X\.compute\(\)"):
        NadarayaWatsonRegressor(cv=TimeSeriesSplit(3)).fit(*rows)
    with pytest.raises(ValueError, match=r"^KrigingRegressor fits in the memory of one process: the equations"):
        KrigingRegressor().fit(*rows)
    with pytest.raises(ValueError, match=r"is learned from all 60 samples"):
        AttentionPoolingRegressor().fit(*rows)
    with pytest.raises(ValueError, match=r"algorithm='dense' needs the samples here"):
        NadarayaWatsonRegressor(bandwidth=0.4, algorithm="dense").fit(*rows)
    with pytest.raises(ValueError, match=r"^Input X contains NaN"):
        NadarayaWatsonRegressor(bandwidth=0.4).fit(dask.array.where(rows[0] == X[0, 0], np.nan, rows[0]), y)
    with pytest.raises(TypeError, match=r"^y must hold labels of one kind, none of them missing"):
        NadarayaWatsonClassifier(bandwidth=0.4).fit(*chunked(X, np.array(["a", None] * 30)))
    with pytest.raises(ValueError, match=r"requires y to be passed"):
        NadarayaWatsonRegressor(bandwidth=0.4).fit(rows[0], None)
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples"):
        NadarayaWatsonRegressor(bandwidth=0.4).fit(rows[0], y[:-1])
