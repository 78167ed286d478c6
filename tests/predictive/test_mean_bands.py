"""Where the curve lies: the bands of `predict_mean_interval`."""

import numpy as np
import oracle
import pytest
from covering import covering_array, describe
from numpy.testing import assert_allclose, assert_array_equal
from problems import KERNELS, assert_close, bandwidth, engine_cases, regression
from sklearn import config_context
from sklearn.model_selection import GroupKFold, KFold

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw._predictive import mean_bands
from sknw._predictive.mean_bands import left_out_residuals, merge_near, twice
from sknw.model_selection import LeaveBlockOut

N_BOOTSTRAP = 20


def fitted(X, y, w=None, kernel="gaussian", h=1.0, ridge=None, groups=None, **parameters):
    """Nadaraya-Watson, or with a ridge local lines."""
    if ridge is None:
        return NadarayaWatsonRegressor(kernel, h, **parameters).fit(X, y, w, groups=groups)
    return LocalLinearRegressor(kernel, h, ridge=ridge, **parameters).fit(X, y, w, groups=groups)


def standard_normal(n, n_bootstrap=N_BOOTSTRAP):
    """What each draw of the bootstrap multiplies the errors of n samples or clusters with."""
    seeds = np.random.RandomState(0).randint(2**31, size=n_bootstrap)
    return np.column_stack([np.random.default_rng(seed).standard_normal(n) for seed in seeds])


def both_bands(model, Q, **parameters):
    return np.array(
        [model.predict_mean_interval(Q, simultaneous=s, n_bootstrap=N_BOOTSTRAP, **parameters) for s in (False, True)]
    )


@pytest.mark.parametrize(
    "case",
    covering_array(
        engine_cases(KERNELS, [1, 2]),
        ridge=[None, 0.0, 0.05],
        weighted=[False, True],
        n_outputs=[None, 2],
        memory=[1024, 0.01],  # MB: all draws together, or a few
        left_out=["own", "group", "fold", "some rows"],
    ),
    ids=describe,
)
def test_bands_are_those_of_matrices_of_weights(case):
    d, ridge = case["d"], case["ridge"]
    X, y, w, Q = regression(n=20, m=5, d=d, n_outputs=case["n_outputs"], weighted=case["weighted"])
    parameter, of_oracle = KERNELS[case["kernel"]]
    h, groups, parameters = bandwidth(d), None, {}
    if case["left_out"] == "group":
        groups = np.arange(len(X)) % 7
    elif case["left_out"] == "fold":
        parameters["cv"] = KFold(4)
    elif case["left_out"] == "some rows":  # the others are left out when they are needed
        parameters |= {"validation_samples": 10, "random_state": 0}
    model = fitted(X, y, w, parameter, h, ridge, groups, algorithm=case["algorithm"], **parameters)
    with config_context(working_memory=case["memory"]):
        actual = both_bands(model, Q)
    rows = model._fitted.training.given_rows
    splits = clusters = None
    if groups is not None:
        clusters = np.unique(groups[rows], return_inverse=True)[1]
        numbers = range(clusters.max() + 1)
        splits = [(np.flatnonzero(clusters != g), np.flatnonzero(clusters == g)) for g in numbers]
    elif case["left_out"] == "fold":
        fold = np.empty(len(X), dtype=int)
        for number, (_, test) in enumerate(KFold(4).split(X)):
            fold[test] = number
        splits = [(np.flatnonzero(fold[rows] != f), np.flatnonzero(fold[rows] == f)) for f in np.unique(fold[rows])]
    v = standard_normal(len(rows) if clusters is None else clusters.max() + 1)
    samples = X[rows], y[rows], h, of_oracle, None if w is None else w[rows], v
    expected = oracle.mean_interval(Q, *samples, ridge=ridge, splits=splits, clusters=clusters)
    assert_close(actual, expected.reshape(actual.shape), y, 1e-8)


@pytest.mark.parametrize("model", [NadarayaWatsonRegressor(), LocalLinearRegressor(), AttentionPoolingRegressor()])
def test_bands_do_not_depend_on_the_memory_nor_on_the_query_beside(model):
    X, y, _, Q = regression(n=60, d=1)
    model.fit(X, y)
    expected = model.predict_mean_interval(Q, n_bootstrap=10)
    with config_context(working_memory=0.003):
        assert_allclose(model.predict_mean_interval(Q, n_bootstrap=10), expected, rtol=0, atol=1e-9)
    assert_allclose(model.predict_mean_interval(Q[:1], n_bootstrap=10), expected[:1], rtol=0, atol=1e-9)


def test_many_draws_give_the_standard_error_of_the_weights():
    X, y, _, Q = regression(n=30, m=9, d=1)
    model = fitted(X, y, h=0.6, ridge=0.01)
    lower, upper = model.predict_mean_interval(Q, n_bootstrap=20_000).T
    A, S = (oracle.smoother_matrix(P, X, 0.6, "gaussian", ridge=0.01) for P in (Q, X))
    twice, a = 2 * A - A @ S, oracle.attention_weights(Q, X, 0.6, "gaussian")
    squares = (y - model.loo_prediction_) ** 2
    variance = oracle.attention_weights(X, X, 0.6, "gaussian") @ squares
    se = np.sqrt(twice**2 @ variance)
    df = np.maximum((a @ squares / se**2).astype(float), 1)
    assert_allclose((lower + upper) / 2, twice @ y, rtol=1e-9)
    assert_allclose((upper - lower) / 2, se * oracle.student.ppf(0.975, df), rtol=0.03)


@pytest.mark.parametrize(
    ("model", "rtol"),
    [
        (NadarayaWatsonRegressor(bandwidth=0.5), 1e-3),
        (NadarayaWatsonRegressor("tricube", bandwidth=1.2), 3e-3),
        (LocalLinearRegressor(bandwidth=0.5), 1e-3),
        (AttentionPoolingRegressor(w=[[-2.0]]), 1e-3),
    ],
    ids=str,
)
def test_samples_that_share_an_error_have_its_standard_error(model, rtol):
    X, y, w, Q = regression(n=400, d=1, weighted=True)
    smoother = model.fit(X, y, w)._fitted.smoother
    # at the edge of what a compact kernel sees, and far away
    beyond = np.array([[1.19], [100.0]])
    Q = np.vstack([Q, X[w > 0].max() + beyond, X[w > 0].min() - beyond])
    s = 1.0 + np.random.default_rng(0).uniform(size=(len(smoother.keys), 1))
    se = []
    for of_errors, scales in (smoother, s), merge_near(smoother, s, smoother.queries(Q)):
        each_alone = twice(of_errors, np.diag(scales[:, 0]))
        se.append(np.sqrt((each_alone.pool(of_errors.queries(Q))[0] ** 2).sum(axis=1)))
    assert len(scales) < 0.75 * len(s)
    assert_allclose(se[1], se[0], rtol=rtol)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_samples_next_to_far_queries_are_those_around_the_nearest_one(sign):
    rng = np.random.default_rng(0)
    keys = sign * np.sort(rng.choice([0.0, 8.0, 11.0, 20.0], 60) + rng.uniform(-1.5, 1.5, 60))
    for query in (-3.0, -1.0, 0.0, 3.0, 5.0, 8.1, 15.0, 16.0, 40.0):
        distance = np.abs(sign * query - keys)
        expected = (np.abs(keys - keys[distance.argmin()]) <= 1.0) & (distance.min() > 0.5)
        assert_array_equal(mean_bands._are_next_to_far_queries(keys, np.array([sign * query])), expected)


def test_many_samples_of_one_feature_share_errors(monkeypatch):
    X, y, _, Q = regression(n=400, d=1)
    model = LocalLinearRegressor().fit(X, y)
    expected = model.predict_mean_interval(Q, n_bootstrap=400)
    monkeypatch.setattr(mean_bands, "_MANY", 100)
    actual = model.predict_mean_interval(Q, n_bootstrap=400)
    assert_allclose(actual.mean(axis=1), expected.mean(axis=1), rtol=1e-9)
    assert_allclose(np.diff(actual), np.diff(expected), rtol=0.2)


def test_a_band_that_holds_everywhere_is_wider_than_one_that_holds_at_each_query():
    X, y, _, Q = regression(n=100, d=1)
    at_each, everywhere = both_bands(LocalLinearRegressor().fit(X, y), Q)
    assert np.all((everywhere[:, 0] < at_each[:, 0]) & (at_each[:, 1] < everywhere[:, 1]))


def test_clusters_are_the_groups_given_to_fit_or_stretches_of_time():
    X, y, _, Q = regression(n=60, d=1)
    group = np.arange(60) // 6
    grouped = NadarayaWatsonRegressor(bandwidth=1.0).fit(X, y, groups=group)
    folds = NadarayaWatsonRegressor(bandwidth=1.0, cv=GroupKFold(10)).fit(X, y, groups=group)
    assert_allclose(folds.predict_mean_interval(Q), grouped.predict_mean_interval(Q))
    times = NadarayaWatsonRegressor(bandwidth=1.0, cv=LeaveBlockOut(3)).fit(X, y)
    rows = times._fitted.training.given_rows
    assert_array_equal(times._fitted.cluster, group[rows])


def test_rows_that_cv_does_not_test_are_predicted_without_themselves():
    X, y, _, _ = regression(n=40, d=1)
    cv = [(np.arange(10, 40), np.arange(10))]
    some = NadarayaWatsonRegressor(bandwidth=0.8, cv=cv).fit(X, y)
    loo = NadarayaWatsonRegressor(bandwidth=0.8).fit(X, y).loo_prediction_
    loo[:10] = some.loo_prediction_[:10]
    training = some._fitted.training
    found = left_out_residuals(some._fitted, training.residuals(some.loo_prediction_))
    assert_allclose(found, training.residuals(loo), rtol=0, atol=1e-12)


@pytest.mark.parametrize("outside", ["nearest", "nan", "raise"])
def test_without_support_and_without_others(outside):
    X, y = np.array([[0.0], [0.1], [0.2], [9.0]]), np.array([1.0, 2.0, 4.0, 3.0])
    model = NadarayaWatsonRegressor("epanechnikov", 0.5, outside=outside).fit(X, y)
    assert np.all(np.isfinite(model.predict_mean_interval(X)))
    if outside == "raise":
        with pytest.raises(ValueError, match="1 of 1 queries"):
            model.predict_mean_interval([[4.0]])
    else:
        assert np.all(np.isnan(model.predict_mean_interval([[4.0]])) == (outside == "nan"))
    alone = NadarayaWatsonRegressor(bandwidth=1.0, outside=outside).fit([[0.0]], [1.0])
    assert_array_equal(alone.predict_mean_interval([[0.0]]), [[-np.inf, np.inf]])
    constant = NadarayaWatsonRegressor(bandwidth=1.0, outside=outside).fit(X, np.full(4, 0.1))
    assert_array_equal(constant.predict_mean_interval([[0.0]], simultaneous=True), [[0.1, 0.1]])


def test_float32_queries_and_bad_parameters():
    X, y, _, Q = regression(n=40, d=1, dtype=np.float32)
    model = LocalLinearRegressor().fit(X, y)
    found = model.predict_mean_interval(Q)
    assert found.dtype == np.float32
    assert_allclose(found, model.predict_mean_interval(Q.astype(float)), rtol=1e-5)
    with pytest.raises(ValueError, match="coverage"):
        model.predict_mean_interval(Q, coverage=95)
    with pytest.raises(ValueError, match="n_bootstrap"):
        model.predict_mean_interval(Q, n_bootstrap=1)
