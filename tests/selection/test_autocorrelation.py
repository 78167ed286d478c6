"""When a fit says that leave-one-out residuals are autocorrelated, and when it does not."""

import warnings

import numpy as np
import pytest

from sknw import LocalLinearRegressor, NadarayaWatsonRegressor
from sknw._selection.autocorrelation import _orders, least_contrasts, neighbour_contrasts
from sknw._smoothing.smoother import Smoother
from sknw._smoothing.training import TrainingSet


def autoregressive(rng, n, correlation):
    errors = rng.normal(size=n)
    for i in range(1, n):
        errors[i] = correlation * errors[i - 1] + np.sqrt(1 - correlation**2) * errors[i]
    return errors


def on_a_time_axis(seed, correlation=0.7, n=400):
    rng = np.random.default_rng(seed)
    t = np.arange(n) / n
    return t[:, np.newaxis], np.sin(6 * t) + 0.5 * autoregressive(rng, n, correlation)


def groups(seed, d=1):
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(400, d))
    return X, np.sin(6 * X[:, 0]) + 0.5 * np.repeat(rng.normal(size=40), 10) + 0.5 * rng.normal(size=400)


def shuffled(X, y):
    order = np.random.default_rng(0).permutation(len(X))
    return X[order], y[order]


def fitted(X, y, estimator=NadarayaWatsonRegressor, **parameters):
    """The search of a fit, and the messages of its warnings on autocorrelation."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search = estimator(**parameters).fit(X, y).bandwidth_search_
    assert len(caught) <= 1
    return search, [str(one.message) for one in caught if "autocorrelated" in str(one.message)]


def n_alarms(data, n_seeds, estimator=NadarayaWatsonRegressor):
    return sum(len(fitted(*data(seed), estimator)[1]) for seed in range(n_seeds))


def brute_force_contrast(r, span):
    n = len(r) - 4 * span
    near = [r[i] * np.mean(r[i + 1 : i + span + 1]) for i in range(n)]
    far = [r[i] * np.mean(r[i + 2 * span + 1 : i + 4 * span + 1]) for i in range(n)]
    return (sum(near) - sum(far)) / sum(r[:n] ** 2)


@pytest.mark.parametrize("span", [1, 2, 4])
def test_the_contrast_is_its_formula(span):
    r = np.random.default_rng(0).normal(size=(3, 1, 60))
    expected = [brute_force_contrast(r[b, 0], span) for b in range(3)]
    np.testing.assert_allclose(neighbour_contrasts(r, [span])[span], expected, rtol=1e-12)


def test_few_draws_are_enough_where_they_show_no_autocorrelation(monkeypatch):
    """An alarm rests on all draws; where the first few show no evidence, they decide."""
    data = on_a_time_axis(5, 0.2), on_a_time_axis(0)
    few = [fitted(*one)[0].autocorrelation for one in data]
    monkeypatch.setattr("sknw._selection.autocorrelation._LEAST_DRAWS", 32)
    of_all = [fitted(*one)[0].autocorrelation for one in data]
    assert [one.is_alarm for one in few] == [one.is_alarm for one in of_all] == [False, True]
    assert few[0] != of_all[0] and few[1] == of_all[1]


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("h", [0.01, 0.05, 0.3])
def test_independent_errors_give_no_less_than_the_least_contrasts(h, is_weighted):
    """These are -S - S' in the formula of the contrast, S written out; what such errors give has S S' as well."""
    rng = np.random.default_rng(0)
    X, y = rng.uniform(size=(200, 1)), rng.normal(size=200)
    w = rng.exponential(size=200) if is_weighted else np.ones(200)
    fit = NadarayaWatsonRegressor(bandwidth=h).fit(X, y, w)
    smoother, training = fit._fitted.smoother, fit._fitted.training
    orders = np.stack([np.argsort(training.given_rows), np.argsort(training.inputs[:, 0])])
    K = np.exp(-0.5 * ((training.inputs - training.inputs[:, 0]) / h) ** 2) * training.sample_weight
    np.fill_diagonal(K, 0.0)
    S = K / K.sum(axis=1, keepdims=True)
    covariance = (np.eye(200) - S) @ (np.eye(200) - S).T
    least = least_contrasts(smoother, orders, [1, 2], np.arange(200))
    for span in (1, 2):
        for order, found in zip(orders, least[span], strict=True):
            first_order, given = (contrast_of(G[np.ix_(order, order)], span) for G in (-S - S.T, covariance))
            np.testing.assert_allclose(found, first_order, rtol=1e-9, atol=1e-12)
            assert given / np.diag(covariance).mean() >= found - 0.01


def test_the_least_contrasts_are_unknown_with_a_sample_that_has_no_others_near():
    X = np.append(np.linspace(0.0, 1.0, 200), 9.0)[:, np.newaxis]
    for kernel in ("gaussian", "tricube"):
        fit = NadarayaWatsonRegressor(kernel, bandwidth=0.1).fit(X, X[:, 0])
        smoother, orders = fit._fitted.smoother, np.argsort(fit._fitted.training.inputs[:, 0])[np.newaxis]
        assert np.isnan(least_contrasts(smoother, orders, [1], orders[0, 190:])[1]).all()
        assert np.isfinite(least_contrasts(smoother, orders, [1], orders[0, :-1])[1]).all()


def contrast_of(G, span):
    """The mean over all i of that of G_ij over the near j after i, minus that over the far ones."""
    sums = [np.trace(G, offset=apart) / len(G) for apart in range(4 * span + 1)]
    return np.mean(sums[1 : span + 1]) - np.mean(sums[2 * span + 1 :])


def test_independent_errors_are_mostly_told_without_any_drawn(monkeypatch):
    def refuse(*_):
        raise AssertionError

    data = [on_a_time_axis(seed, 0.0) for seed in range(4)]
    monkeypatch.setattr(Smoother, "with_values", refuse)
    assert [fitted(*one)[0].autocorrelation for one in data] == [None] * 4
    with pytest.raises(AssertionError):
        fitted(*on_a_time_axis(0))


@pytest.mark.parametrize("estimator", [NadarayaWatsonRegressor, LocalLinearRegressor])
def test_autoregressive_errors_are_found_although_residuals_are_negatively_correlated(estimator):
    assert n_alarms(on_a_time_axis, 5, estimator) >= 4


def test_a_rough_signal_with_little_noise_is_none_of_the_errors():
    """Residuals below 2 % of the variance of the targets give no alarm, whatever they are."""

    def walk(seed):
        return np.arange(400.0)[:, np.newaxis], np.cumsum(on_a_time_axis(seed, 0.0)[1])

    assert n_alarms(walk, 5) == 0


def test_groups_of_rows_are_found():
    assert n_alarms(groups, 5) == 5
    assert n_alarms(lambda seed: groups(seed, d=3), 5) == 5
    assert n_alarms(lambda seed: shuffled(*groups(seed)), 5) == 0


def test_an_order_is_that_of_a_feature_beside_categories_and_periods():
    """These become several columns, and the features after them have other places among the columns."""
    X, y = shuffled(*on_a_time_axis(0, correlation=0.9))
    rng = np.random.default_rng(0)
    beside = np.column_stack([rng.integers(0, 4, len(y)), rng.uniform(0, 24, len(y)), X])
    search, (message,) = fitted(beside, y, categorical_features=[0], periodic_features={1: 24})
    assert search.autocorrelation.order == 2
    assert "LeaveBlockOut(half_width, times=2)" in message


def test_the_warning_names_the_order_and_the_remedy():
    search, (message,) = fitted(*on_a_time_axis(0))
    assert search.autocorrelation.order is None
    assert "in the order of the rows" in message
    assert "cv=LeaveBlockOut(half_width)" in message
    assert "groups=" in message
    assert "Leave-one-out residuals are autocorrelated" in repr(search)
    search, (message,) = fitted(*shuffled(*on_a_time_axis(0)))
    assert search.autocorrelation.order == 0
    assert "in the order of feature 0" in message
    assert "cv=LeaveBlockOut(half_width, times=0)" in message


def independent(kind, seed):
    rng = np.random.default_rng(seed)
    n = 300
    noise, t = rng.normal(size=n), np.arange(n) / n
    if kind == "time axis":
        return t[:, np.newaxis], np.sin(20 * t) + 0.3 * noise
    if kind == "sorted":
        x = np.sort(rng.uniform(size=n))
        return x[:, np.newaxis], np.sin(6 * x) + (0.1 + x) * noise
    if kind == "integers":
        x = rng.integers(1, 11, n)
        return x[:, np.newaxis].astype(float), np.sin(x) + 0.5 * noise
    if kind == "sorted integers":
        x = np.sort(rng.integers(9, 101, n))
        return x[:, np.newaxis].astype(float), np.sin(x / 10) + 0.5 * noise
    if kind == "classes":
        return t[:, np.newaxis], (np.sin(6 * t) + noise > 0).astype(float)
    if kind == "heavy tails":
        return t[:, np.newaxis], np.sin(6 * t) + 0.3 * rng.standard_t(2, size=n)
    X = rng.uniform(size=(n, 4))
    X = X[np.argsort(X[:, 0])] if kind == "four features, sorted" else X
    return X, np.sin(6 * X[:, 0]) + X[:, 1] + 0.3 * noise


@pytest.mark.parametrize(
    "kind",
    ["time axis", "sorted", "integers", "sorted integers", "classes", "heavy tails", "four", "four features, sorted"],
)
def test_independent_errors_give_no_alarm(kind):
    assert n_alarms(lambda seed: independent(kind, seed), 10) == 0


def test_a_signal_without_noise_gives_no_alarm():
    for t in (np.arange(400) / 400, np.random.default_rng(0).uniform(size=400)):
        assert fitted(t[:, np.newaxis], np.sin(6 * t))[1] == []


def test_lack_of_fit_gives_no_alarm():
    """Of a signal that changes faster than the samples show, neighbours share the residuals."""

    def rapid(seed):
        x = np.sort(np.random.default_rng(seed).uniform(size=160))
        return x[:, np.newaxis], np.sin(60 * x)

    assert n_alarms(rapid, 5) <= 1


def test_rows_without_support_take_nothing_from_the_others():
    """A row far from all others, which the search has not looked at and means NaN."""
    X, y = on_a_time_axis(0)
    X, y = np.vstack([X, [[9.0]]]), np.append(y, 0.0)
    model = NadarayaWatsonRegressor("tricube", outside="nan", validation_samples=300, random_state=2)
    with pytest.warns(UserWarning, match="autocorrelated"):
        model.fit(X, y)
    assert np.isnan(model.loo_prediction_[-1])


def test_few_samples_and_other_criteria_say_nothing():
    assert fitted(*on_a_time_axis(0, n=149))[0].autocorrelation is None
    assert fitted(*on_a_time_axis(0), bandwidth="aicc")[0].autocorrelation is None
    assert fitted(*on_a_time_axis(0), validation_samples=50)[0].autocorrelation is None
    assert fitted(np.arange(200.0)[:, np.newaxis], np.ones(200))[0].autocorrelation is None


def test_ties_do_not_carry_the_order_of_the_rows_into_a_feature():
    """Errors autocorrelated along the rows; a feature with equal values in blocks of unrelated rows."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 10, 400).astype(float)
    search, (message,) = fitted(x[:, np.newaxis], autoregressive(rng, 400, 0.7))
    assert search.autocorrelation.order is None
    assert "order of the rows" in message


def test_orders_are_those_of_features_with_mostly_distinct_values():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.arange(200) // 4, np.append(np.arange(110), np.zeros(90)), rng.normal(size=200)])
    names, orders = _orders(TrainingSet.of(X, rng.normal(size=(200, 1)), None), rng)
    assert names == [None, 1, 2]
    assert orders.shape == (3, 200)


@pytest.mark.parametrize("n", [400, 1100])
def test_engine_threads_and_earlier_fits_do_not_matter(n):
    X, y = on_a_time_axis(1, n=n)
    found = [
        fitted(X, y, algorithm=algorithm, n_jobs=n_jobs)[0].autocorrelation
        for algorithm, n_jobs in [("auto", 1), ("dense", 2), ("fused", 1), ("auto", 1)]
    ]
    for one in found[1:]:
        assert (one.order, one.span) == (found[0].order, found[0].span)
        np.testing.assert_allclose([one.excess, one.z], [found[0].excess, found[0].z], rtol=1e-7)


def test_several_outputs_and_large_data_are_looked_at():
    X, y = on_a_time_axis(0, n=20_000)
    assert fitted(X, y)[1]
    assert fitted(X[:400], np.column_stack([y, -2 * y])[:400])[1]
