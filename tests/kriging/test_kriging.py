"""KrigingRegressor against the definitions: best linear unbiased predictions, densities and refits."""

import pickle

import numpy as np
import oracle
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sknw import EffectDisplay, KrigingRegressor
from sknw._kriging import covariance
from sknw._kriging.covariance import Covariance, KrigingModel
from sknw._kriging.estimate import standardised, with_scales
from sknw._kriging.exact import _inverse_of_part
from sknw._kriging.likelihood import Likelihood
from sknw._smoothing.training import TrainingSet
from sknw.estimators import kriging
from sknw.inspection import significance_test
from sknw.model_selection import LeaveBlockOut

KINDS = ["number", "number", 7.0, "number", "category", "ordered"]


def mixed_data(n, n_outputs, seed=0):
    """Numbers, a periodic one, one of two values, a category and an ordered one."""
    rng = np.random.default_rng(seed)
    numbers = rng.uniform(0, 7, (n, 3))
    codes = np.column_stack([rng.integers(0, m, n) for m in (2, 3, 4)])
    X = np.hstack([numbers, codes])
    y = np.sin(X[:, :1]) + np.cos(X[:, 2:3] / 7 * 2 * np.pi) + (codes == 1).sum(axis=1)[:, np.newaxis]
    y = y + rng.normal(scale=0.3, size=(n, n_outputs))
    return X, y if n_outputs > 1 else y[:, 0]


def mixed_model(**parameters):
    return KrigingRegressor(categorical_features=[4], ordered_features=[5], periodic_features={2: 7.0}, **parameters)


class Definition:
    """What a fitted model is by definition: in units of y, on samples that are the rows of positive weight."""

    def __init__(self, model, X, y, weights=None, kinds=None, is_linear=False):
        self.model, self.X, self.kinds, self.is_linear = model, X, kinds, is_linear
        self.y = y.reshape(len(y), -1)
        self.omega = np.ones(len(X)) if weights is None else weights / weights.mean()
        self.F = oracle.kriging_trend(X, is_linear)
        self.G = self.covariance(X) + np.diag(model.noise_ / self.omega)
        mean = self.omega @ self.y / len(X)
        self.variance = self.omega @ (self.y - mean) ** 2 / len(X)

    def covariance(self, Q):
        return self.model.amplitude_ * oracle.kriging_covariance(
            Q, self.X, self.model.w_, self.model.power_, self.kinds
        )

    def weights(self, Q, left=None):
        """Weights (m, n) without those that are not left, and the variances (m,) in units of that of y."""
        left = np.arange(len(self.X)) if left is None else left
        found, variances = np.zeros((len(Q), len(self.X))), np.empty(len(Q))
        variance = self.model.amplitude_ + self.model.noise_
        for i, (g, f) in enumerate(zip(self.covariance(Q), oracle.kriging_trend(Q, self.is_linear), strict=True)):
            G = self.G[np.ix_(left, left)]
            found[i, left], variances[i] = oracle.kriging(g[left], f, G, self.F[left], variance)
        return found, variances


@pytest.mark.parametrize("size", [0, 1e9])  # compiled, and NumPy
def test_likelihood_and_gradient(monkeypatch, size):
    """Differences of the likelihood are those of the density, and the gradient its difference quotient."""
    monkeypatch.setattr(covariance, "_FEW_TERMS", size)
    rng = np.random.default_rng(0)
    n, starts, is_square = 30, np.array([0, 1, 2, 4, 5]), np.array([False, True, False, False])
    columns, Y, omega = rng.normal(size=(n, 5)), rng.normal(size=(n, 2)), rng.uniform(0.5, 2.0, n)
    columns[:, 1] = columns[:, 1] > 0
    F = np.column_stack([np.ones(n), columns[:, 0]])
    likelihood = Likelihood.of(columns, Y, omega, F, 1)

    def evaluate(theta):
        w, power, (a, noise) = np.exp(theta[:4]), np.exp(theta[4:8]), np.exp(theta[8:])
        value, *by = likelihood.evaluate(KrigingModel(Covariance(starts, w, power, is_square), a, noise, None))
        distances = [np.linalg.norm(b[:, np.newaxis] - b, axis=2) for b in np.split(columns, starts[1:-1], axis=1)]
        terms = [(w[k] * distance) ** power[k] for k, distance in enumerate(distances)]
        G = a * np.exp(-np.sum(terms, axis=0)) + np.diag(noise / omega)
        return value, np.concatenate([*by[:2], by[2:]]), oracle.restricted_likelihood(G, F, Y)

    here = np.log([0.5, 0.7, 0.3, 0.9, 1.3, 2.0, 0.7, 1.9, 0.8, 0.07])
    there = here + np.where(np.arange(10) == 5, 0, rng.normal(scale=0.2, size=10))
    value, gradient, by_definition = evaluate(here)
    other, _, other_by_definition = evaluate(there)
    assert_allclose(other - value, other_by_definition - by_definition, rtol=1e-9)
    for k in np.delete(np.arange(10), 5):
        h = 1e-3 * (np.arange(10) == k)
        steps = [evaluate(here + s * h)[0] for s in (1, -1, 2, -2)]
        numerical = (8 * (steps[0] - steps[1]) - (steps[2] - steps[3])) / 12e-3
        assert_allclose(gradient[k], numerical, rtol=1e-7, atol=1e-7)


def test_the_path_is_that_of_the_likelihood_times_the_prior():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(25, 3)) * [1.0, 10.0, 0.1]
    y = np.sin(X[:, 0]) + rng.normal(scale=0.3, size=25)
    model = KrigingRegressor(max_iter=8).fit(X, y)
    scales, values = X.std(axis=0), ((y - y.mean()) / y.std())[:, np.newaxis]

    def log_posterior(w, power, a, noise):
        G = a * oracle.kriging_covariance(X, X, w / scales, power) + noise * np.eye(25)
        log_prior = -np.sqrt(3) * w.sum() - np.sum(np.log(power / 1.3) ** 2) / (2 * 0.4**2)
        log_prior -= np.log(a) ** 2 / (2 * 3**2) + np.log(noise / 0.1) ** 2 / (2 * 2**2)
        return log_prior - oracle.restricted_likelihood(G, np.ones((25, 1)), values)

    first = log_posterior(np.full(3, 3**-0.5), np.full(3, 1.3), 1.0, 0.1)
    last = log_posterior(model.w_ * scales, model.power_, model.amplitude_, model.noise_)
    path = model.log_likelihood_path_
    assert_allclose(path[-1] - path[0], last - first, rtol=1e-8)
    assert last > first


def test_features_that_do_not_matter_lose_their_w():
    X = np.random.default_rng(0).normal(size=(100, 6))
    w = KrigingRegressor().fit(X, np.sin(2 * X[:, 0]) * X[:, 1]).w_
    assert w[2:].max() < 0.03 * w[:2].min()


@pytest.mark.parametrize(("n_outputs", "is_weighted"), [(1, False), (2, True)])
def test_predictions_are_the_best_linear_unbiased_ones(n_outputs, is_weighted):
    X, y = mixed_data(50, n_outputs)
    Q = mixed_data(20, 1, seed=1)[0]
    weights = np.random.default_rng(2).uniform(0.5, 2, len(X)) if is_weighted else None
    if is_weighted:
        weights[:2] = 1e-6, 1e-3
    model = mixed_model(max_iter=5).fit(X, y, weights)
    by_definition = Definition(model, X, y, weights, KINDS)
    c, variance = by_definition.weights(Q)
    found = model.attention_weights_(Q)
    assert_allclose(found, c, rtol=0, atol=1e-10)
    assert_allclose(found.sum(axis=1), 1.0, rtol=1e-10)
    prediction, std = model.predict(Q, return_std=True)
    assert_allclose(prediction, np.clip(c @ y, y.min(axis=0), y.max(axis=0)), rtol=1e-10, atol=1e-10)
    expected = np.sqrt(variance[:, np.newaxis] * by_definition.variance).reshape(std.shape)
    assert_allclose(std, expected, rtol=1e-9)
    covariances = model.amplitude_ * oracle.kriging_covariance(Q, X, model.w_, model.power_, KINDS)
    assert_allclose(model.trend_ + covariances @ model.values_, c @ y, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_neighbors", [None, 20])
def test_errors_at_several_queries_have_the_covariances_of_their_weights(n_neighbors):
    X, y = mixed_data(40, 1)
    Q = mixed_data(6, 1, seed=1)[0]
    model = mixed_model(max_iter=5, n_neighbors=n_neighbors).fit(X, y)
    by_definition = Definition(model, X, y, kinds=KINDS)
    c = model.attention_weights_(Q)
    within = model.amplitude_ * oracle.kriging_covariance(Q, Q, model.w_, model.power_, KINDS)
    cross = c @ by_definition.covariance(Q).T
    expected = within - cross - cross.T + c @ by_definition.G @ c.T
    found = model._fitted.solution.covariance(model._validate_columns(Q)[1], 1)
    assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_without_noise_predictions_are_the_targets():
    X, y = mixed_data(40, 1)
    model = KrigingRegressor(w=0.5, power=1.5, noise=0.0).fit(X, y)
    assert_allclose(model.predict(X), y, rtol=0, atol=1e-7)


def test_a_linear_trend_leaves_residuals_to_half_of_the_samples():
    X = np.random.default_rng(0).normal(size=(10, 8))
    model = KrigingRegressor(w=0.5, power=1.5, noise=0.1, trend="linear").fit(X, X[:, 0])
    assert model._fitted.solution.model.directions.shape == (8, 4)


@pytest.mark.parametrize(("size", "largest"), [(1e4, None), (1e9, 1e6)])
def test_scales_are_no_smaller_than_a_millionth_of_what_they_divide(size, largest):
    X, y, weights = np.random.default_rng(0).normal(size=(3, 20, 1))
    X[0], y[0], weights = size, -size, np.abs(weights[:, 0])
    weights[0] = 1e-30
    training = TrainingSet.of(X, y, weights)
    scaled, _ = with_scales(training)
    columns = standardised(scaled, training.X)
    assert_allclose(columns * scaled.scales, training.X - training.center)
    assert_allclose(scaled.values * scaled.y_scales, training.values * training.y_scales)
    for numbers, scales, before in [
        (columns, scaled.scales, training.scales),
        (scaled.values, scaled.y_scales, training.y_scales),
    ]:
        if largest is None:
            assert_array_equal(scales, before)
        else:
            assert_allclose(np.abs(numbers).max(), largest)


def test_a_linear_trend_has_its_slopes_in_units_of_x_and_y():
    X, y = mixed_data(40, 2)
    X = X[:, :2] * [1e3, 1e-3] + 100.0
    model = KrigingRegressor(trend="linear", max_iter=5).fit(X, y)
    Q = X[::4] + np.array([500, 5e-4])
    c, _ = Definition(model, X, y, is_linear=True).weights(Q)
    assert_allclose(model.attention_weights_(Q), c, rtol=0, atol=1e-8)
    trend = model.trend_[0] + Q @ model.trend_[1:]
    assert_allclose(trend + model.amplitude_ * model.kernel_(Q, X) @ model.values_, c @ y, rtol=1e-8, atol=1e-8)


def blocks_of(kind, n):
    """A `cv`, groups, and for each row the rows that are left out with it."""
    groups = np.arange(n) * 7 % 9
    if kind == "rows":
        return None, None, [[i] for i in range(n)]
    if kind == "groups":
        return None, groups, [np.flatnonzero(groups == g) for g in groups]
    if kind == "splits":  # the second half, from some of the first half
        splits = [(np.arange(0, n // 2, 2), np.arange(n // 2, n)), (np.arange(n // 2, n), np.arange(n // 2))]
        return splits, None, [np.setdiff1d(np.arange(n), splits[i < n // 2][0]) for i in range(n)]
    return LeaveBlockOut(2), None, [np.arange(max(i - 2, 0), min(i + 3, n)) for i in range(n)]


@pytest.mark.parametrize("trend", ["constant", "linear"])
@pytest.mark.parametrize("kind", ["rows", "groups", "splits", "times"])
def test_left_out_predictions_and_intervals_are_those_of_refits(kind, trend):
    rng = np.random.default_rng(3)
    X, Q = rng.uniform(-1, 1, (45, 3)), rng.uniform(-1.5, 1.5, (6, 3))
    y = np.sin(3 * X[:, 0]) + np.abs(X[:, 1]) + rng.normal(scale=0.2, size=45)
    weights = rng.uniform(0.5, 2, 45)
    cv, groups, left_out = blocks_of(kind, 45)
    model = KrigingRegressor(trend=trend, cv=cv, max_iter=5).fit(X, y, weights, groups=groups)
    by_definition = Definition(model, X, y, weights, is_linear=trend == "linear")
    loo, at_queries = np.empty(45), np.empty((45, 6))
    for i in range(45):
        left = np.setdiff1d(np.arange(45), left_out[i])
        loo[i], *at_queries[i] = by_definition.weights(np.vstack([X[i], Q]), left)[0] @ y
    assert_allclose(model.loo_prediction_, loo, rtol=0, atol=1e-10)
    error, total = weights @ (y - loo) ** 2, weights @ (y - weights @ y / weights.sum()) ** 2
    assert_allclose(model.loo_score_, 1 - error / total, rtol=1e-9)
    radius, omega = np.abs(y - loo)[:, np.newaxis], weights / weights.mean()
    interval = model.predict_interval(Q, 0.8)
    rank = np.floor(0.2 * 46 + 1e-9)
    for side, bounds in [(0, at_queries - radius), (1, -at_queries - radius)]:
        for j in range(6):
            order = np.argsort(bounds[:, j])
            bound = bounds[order, j][np.searchsorted(np.cumsum(omega[order]), rank - 1e-9)]
            assert_allclose(interval[j, side], (-1) ** side * bound, rtol=0, atol=1e-9)


def test_a_sample_that_nearly_alone_determines_a_slope_is_predicted_from_the_others():
    rng = np.random.default_rng(0)
    X, y = np.append(rng.uniform(size=24), 100.0)[:, np.newaxis], rng.normal(size=25)
    model = KrigingRegressor(w=1.0, power=1.5, noise=0.1, trend="linear").fit(X, y)
    c, _ = Definition(model, X, y, is_linear=True).weights(X[-1:], np.arange(24))
    assert_allclose(model.loo_prediction_[-1], (c @ y)[0], rtol=1e-8)


def test_a_sample_that_nothing_predicts_has_no_part_in_quantiles_and_draws():
    """A linear trend along a column in which it alone differs."""
    rng = np.random.default_rng(0)
    X, y = np.column_stack([rng.normal(size=25), np.arange(25) == 24]), rng.normal(size=25)
    model = KrigingRegressor(w=0.5, power=1.5, noise=0.1, trend="linear").fit(X, y)
    assert_array_equal(np.flatnonzero(np.isnan(model.loo_prediction_)), [24])
    assert np.all(np.isfinite(model.predict_quantile(X, [0.0, 0.5, 1.0])))
    assert np.all(np.isfinite(model.sample_y(X, 50)))


@pytest.mark.parametrize("rounding", [0.0, 1e-14])
def test_left_out_samples_without_which_there_is_no_trend_have_the_least_residuals(rounding):
    """In units of their deviations, although rounding may leave the equations a solution of enormous numbers."""
    factors = np.random.default_rng(0).normal(size=(5, 4)) * [1.0, 0.5, 0.2, 0.05]
    factors /= np.linalg.norm(factors, axis=1, keepdims=True)
    scales = np.arange(1.0, 6.0)
    B = (factors @ factors.T + rounding * np.eye(5)) * np.outer(scales, scales)
    expected = np.linalg.pinv(factors @ factors.T, rcond=1e-10) / np.outer(scales, scales)
    assert_allclose(_inverse_of_part(B), expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())


def test_rows_of_weight_zero_are_predicted_from_the_others_and_change_nothing():
    X, y = mixed_data(40, 1)
    weights = np.where(np.arange(40) % 5 == 0, 0.0, 1.0)
    groups = np.arange(40) // 4
    with_zeros = mixed_model(max_iter=5).fit(X, y, weights, groups=groups)
    there = weights > 0
    without = mixed_model(max_iter=5).fit(X[there], y[there], groups=groups[there])
    assert_allclose(with_zeros.loo_prediction_[there], without.loo_prediction_, rtol=1e-10)
    by_definition = Definition(without, X[there], y[there], kinds=KINDS)
    c, _ = by_definition.weights(X[:1], np.flatnonzero(groups[there] != 0))
    assert_allclose(with_zeros.loo_prediction_[0], (c @ y[there])[0], rtol=1e-9)


def test_integer_weights_are_repeated_rows():
    X, y = mixed_data(30, 1)
    weights = np.arange(30) % 3 + 1
    weighted = KrigingRegressor(max_iter=10).fit(X, y, weights)
    repeated = KrigingRegressor(max_iter=10).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    assert_allclose(repeated.predict(X), weighted.predict(X), rtol=1e-9)
    assert_allclose(np.repeat(weighted.loo_prediction_, weights), repeated.loo_prediction_, rtol=1e-9)
    sums = np.add.reduceat(repeated.attention_weights_(X), np.append(0, np.cumsum(weights)[:-1]), axis=1)
    assert_allclose(sums, weighted.attention_weights_(X), rtol=0, atol=1e-9)
    covariances = repeated.amplitude_ * repeated.kernel_(X, np.repeat(X, weights, axis=0))
    assert_allclose(
        repeated.trend_ + covariances @ repeated.values_, repeated.attention_weights_(X) @ repeated.y_train_
    )


def test_units_of_x_and_y_and_the_order_of_rows_and_columns_do_not_matter():
    X, y = mixed_data(60, 1)
    Q, row, column = X[:20] + 0.1, np.random.default_rng(0).permutation(60), [3, 1, 0, 2]
    X, Q = X[:, :4], Q[:, :4]
    model = KrigingRegressor(max_iter=15).fit(X, y)
    other = KrigingRegressor(max_iter=15).fit((1e3 * X - 5e4)[row][:, column], 7.0 - 1e-3 * y[row])
    found = other.predict((1e3 * Q - 5e4)[:, column])
    assert_allclose(found, 7.0 - 1e-3 * model.predict(Q), rtol=0, atol=1e-7 * np.ptp(y) * 1e-3)
    assert_allclose(other.w_ * 1e3, model.w_[column], rtol=1e-5)
    assert_allclose(other.power_, model.power_[column], rtol=1e-5)


def test_gradient_is_the_derivative_before_clamping_and_contrasts_categories():
    X, y = mixed_data(40, 2)
    model = mixed_model(power=1.4, max_iter=5, trend="linear").fit(X, y)
    Q = mixed_data(10, 1, seed=1)[0]
    found = model.gradient(Q)
    assert found.shape == (10, 2, 6)
    for k in range(4):
        h = 1e-5 * (np.arange(6) == k)
        numerical = (model.attention_weights_(Q + h) - model.attention_weights_(Q - h)) @ y / 2e-5
        assert_allclose(found[..., k], numerical, rtol=1e-5, atol=1e-6)
    first = Q.copy()
    first[:, 4] = 0
    contrast = (model.attention_weights_(Q) - model.attention_weights_(first)) @ y
    assert_allclose(found[..., 4], contrast, atol=1e-9)


def test_gradient_is_not_a_number_at_a_kink():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(30, 2))
    model = KrigingRegressor(w=1.0, power=[1.0, 1.5]).fit(X, X.sum(axis=1))
    assert_array_equal(np.isnan(model.gradient(X[:3])), [[True, False]] * 3)
    assert np.all(np.isfinite(model.gradient(X[:3] + 1e-3)))


def test_weights_can_be_the_largest_by_absolute_value():
    X, y = mixed_data(30, 1)
    model = KrigingRegressor(max_iter=5).fit(X, y)
    weights = model.attention_weights_(X)
    assert np.any(weights < 0)
    sparse = model.attention_weights_(X, sparse_output=True)
    assert_array_equal(sparse.toarray(), weights)
    largest = model.attention_weights_(X, top_k=4).toarray()
    assert_array_equal((largest != 0).sum(axis=1), 4)
    assert_array_equal(largest[largest != 0], weights[largest != 0])
    assert_array_equal(np.sort(np.abs(largest))[:, -4:], np.sort(np.abs(weights))[:, -4:])


def test_quantiles_and_draws_are_of_scaled_left_out_residuals():
    X, y = mixed_data(50, 2)
    weights = np.random.default_rng(0).uniform(0.5, 2, 50)
    weights[7] = 30.0
    model = KrigingRegressor(max_iter=5).fit(X, y, weights)
    mean, std = model.predict(X[:4], return_std=True)
    omega = weights / weights.mean()
    by_definition = Definition(model, X, y, weights)
    errors = np.empty((50, 2))
    for i in range(50):
        c, variance = by_definition.weights(X[[i]], np.delete(np.arange(50), i))
        variance = variance - model.noise_ + model.noise_ / omega[i]
        errors[i] = (y[i] - c[0] @ y) / np.sqrt(variance * by_definition.variance)
    levels = [0.1, 0.5, 0.9]
    found = model.predict_quantile(X[:4], levels)
    for output in range(2):
        order = np.argsort(errors[:, output])
        at = np.searchsorted(np.cumsum(weights[order]), np.multiply(levels, weights.sum()))
        expected = mean[:, output, np.newaxis] + std[:, output, np.newaxis] * errors[order[at], output]
        assert_allclose(found[:, output], expected, rtol=1e-8)
    assert np.all(model.predict_cdf(X[:4], found) >= np.array(levels) - 1e-12)
    assert np.all(model.predict_cdf(X[:4], np.nextafter(found, -np.inf)) < levels)
    assert_array_equal(model.predict_cdf(X[:4], np.inf), np.ones((4, 2)))
    draws = model.sample_y(X[:4], 300)
    assert draws.shape == (4, 2, 300)
    scaled = (draws - mean[..., np.newaxis]) / std[..., np.newaxis]
    which = [np.abs(errors - draw).sum(axis=1).argmin() for draw in scaled[0].T]
    assert_allclose(scaled[0].T, errors[which], atol=1e-7)  # both outputs are of one row
    assert_allclose(np.bincount(which, minlength=50) / 300, weights / weights.sum(), atol=0.05)


def test_the_distribution_function_is_that_of_the_quantiles_and_draws():
    X, y = mixed_data(50, 2)
    model = KrigingRegressor(max_iter=5).fit(X, y, np.random.default_rng(0).uniform(0.5, 2, 50))
    levels = np.array([0.1, 0.5, 0.9])
    quantiles = model.predict_quantile(X[:4], levels)
    assert np.all(model.predict_cdf(X[:4], quantiles) >= levels - 1e-12)
    assert np.all(model.predict_cdf(X[:4], quantiles - 1e-9) < levels)
    draws = model.sample_y(X[:4], 4000)
    assert_allclose(model.predict_cdf(X[:4], 1.0), (draws <= 1.0).mean(axis=-1), atol=0.03)
    assert_array_equal(model.predict_cdf(X[:4], [-1e9, 1e9])[:, 1], [[0.0, 1.0]] * 4)
    with pytest.raises(ValueError, match="y must be"):
        model.predict_cdf(X[:4], np.ones((3, 1)))


def test_a_quantile_at_whose_level_a_sum_of_weights_is_needs_no_further_sample():
    X, y = mixed_data(100, 1)
    model = KrigingRegressor(w=0.5, power=1.5, noise=0.1).fit(X, y)
    assert 0.07 * 100 > 7
    at_level, below, above = model.predict_quantile(X[:3], [0.07, 0.0699, 0.0701]).T
    assert_array_equal(at_level, below)
    assert np.all(above > at_level)


def test_predictions_are_in_the_range_of_the_targets_to_the_last_bit():
    rng = np.random.default_rng(0)
    X, y = rng.uniform(-1, 1, (40, 2)), np.column_stack([rng.normal(size=40), 1e8 / 3 + rng.normal(size=40)])
    model = KrigingRegressor(w=1.0, power=1.5, noise=0.0, trend="linear").fit(X, y)
    for Q in (np.vstack([X, 9 * X]), (9 * X).astype(np.float32)):
        prediction = model.predict(Q).astype(np.float64)
        assert np.all((prediction >= y.min(axis=0)) & (prediction <= y.max(axis=0)))


def test_a_simultaneous_band_on_neighbours_is_wider_than_pointwise_ones():
    X, y = mixed_data(60, 1)
    model = KrigingRegressor(max_iter=5, n_neighbors=20).fit(X, y)
    width, at_once = (np.ptp(model.predict_mean_interval(X, simultaneous=s), axis=1) for s in (False, True))
    assert np.all((at_once > 1.2 * width) & (at_once < 2.5 * width))


def test_a_band_of_the_mean_has_the_variance_without_noise():
    X, y = mixed_data(40, 2)
    model = KrigingRegressor(max_iter=5).fit(X, y)
    by_definition = Definition(model, X, y)
    c, variance = by_definition.weights(X[:5] + 0.2)
    half = 1.959963984540054 * np.sqrt((variance - model.noise_)[:, np.newaxis] * by_definition.variance)
    band = model.predict_mean_interval(X[:5] + 0.2)
    assert_allclose(band, np.stack([c @ y - half, c @ y + half], axis=-1), rtol=1e-8)
    at_once = model.predict_mean_interval(X[:5] + 0.2, simultaneous=True, n_bootstrap=4000)
    factor = np.ptp(at_once, axis=-1) / np.ptp(band, axis=-1)
    assert_allclose(factor, factor[0, 0])
    assert 1.1 < factor[0, 0] < 1.35  # independent deviations: 1.31
    one = model.predict_mean_interval(X[:1], simultaneous=True, n_bootstrap=4000)
    assert_allclose(np.ptp(one, axis=-1), np.ptp(model.predict_mean_interval(X[:1]), axis=-1), rtol=0.05)


def test_numbers_are_used_as_they_are():
    X, y = mixed_data(40, 1)
    model = KrigingRegressor(w=[0.3] * 6, power=1.5, noise=0.2).fit(X, y)
    assert_array_equal(model.w_, 0.3)
    assert_array_equal(model.power_, [1.5, 1.5, 1.5, 2.0, 1.5, 1.5])  # the fourth has two values
    assert (model.noise_, model.n_iter_, len(model.log_likelihood_path_)) == (0.2, 1, 0)
    half = KrigingRegressor(power=1.5, noise=0.2, max_iter=5).fit(X, y)
    assert_array_equal(half.power_, model.power_)
    assert half.noise_ == 0.2
    assert len(half.log_likelihood_path_) == half.n_iter_ + 1 == 6
    assert np.all(np.diff(half.log_likelihood_path_) > 0)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_amplitude_and_noise_are_those_of_all_samples(n_outputs):
    """At given scales they maximise the likelihood, whether the search has seen the others or not."""
    X, y = mixed_data(60, n_outputs)
    searched = KrigingRegressor(w=0.5, max_iter=200, tol=1e-12).fit(X, y)
    given = KrigingRegressor(w=0.5, power=searched.power_).fit(X, y)
    assert_allclose([given.amplitude_, given.noise_], [searched.amplitude_, searched.noise_], rtol=0.02)
    part = KrigingRegressor(likelihood_samples=40, random_state=1).fit(X, y)
    again = KrigingRegressor(w=part.w_, power=part.power_).fit(X, y)
    assert_allclose([part.amplitude_, part.noise_], [again.amplitude_, again.noise_], rtol=0.02)


@pytest.mark.parametrize(("n", "n_samples"), [(150, 60), (240, 80), (600, 150)])
def test_scales_are_those_of_a_third_of_the_samples_between_two_numbers(n, n_samples, monkeypatch):
    assert kriging.LIKELIHOOD_SAMPLES == (600, 1500)
    monkeypatch.setattr(kriging, "LIKELIHOOD_SAMPLES", (60, 150))
    X, y = mixed_data(n, 1)
    found, given, other = (
        KrigingRegressor(max_iter=1, likelihood_samples=samples).fit(X, y)
        for samples in ("auto", n_samples, n_samples - 1)
    )
    assert_array_equal(found.log_likelihood_path_, given.log_likelihood_path_)
    assert found.log_likelihood_path_[0] != other.log_likelihood_path_[0]


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"power": 0.4}, "power must be"),
        ({"power": [1.0, 2.1]}, "power must be"),
        ({"w": -1.0}, "w must be"),
        ({"w": [1.0, 1.0, 1.0]}, "2 numbers"),
        ({"w": "diagonal"}, "'w' parameter"),
        ({"noise": -1.0}, "'noise' parameter"),
    ],
)
def test_impossible_parameters_are_refused(parameters, match):
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(ValueError, match=match):
        KrigingRegressor(**parameters).fit(X, X[:, 0])


def test_signed_weights_have_no_effective_sample_size():
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(ValueError, match="signed"):
        KrigingRegressor(max_iter=1).fit(X, X[:, 0]).effective_sample_size(X)


def test_the_significance_test_is_not_of_signed_weights():
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(TypeError, match="non-negative weights, got KrigingRegressor"):
        significance_test(KrigingRegressor(max_iter=1).fit(X, X[:, 0]))


def test_pickles_and_clones():
    X, y = mixed_data(40, 2)
    model = mixed_model(max_iter=3, trend="linear").fit(X, y, groups=np.arange(40) // 2)
    again = pickle.loads(pickle.dumps(model))
    for ask in [lambda m: m.predict(X), lambda m: m.predict_interval(X), lambda m: m.sample_y(X)]:
        assert_array_equal(ask(again), ask(model))
    assert len(pickle.dumps(model)) < 20_000
    assert_array_equal(clone(model).fit(X, y).predict(X), mixed_model(max_iter=3, trend="linear").fit(X, y).predict(X))


def test_frames_have_categories_that_may_be_missing_or_unknown():
    X, y = mixed_data(40, 1)
    frame = pd.DataFrame(
        {"a": X[:, 0], "b": pd.Categorical(np.array(["x", "y", None], dtype=object)[X[:, 4].astype(int)])}
    )
    model = KrigingRegressor(max_iter=5).fit(frame, y)
    assert model.categories_[1].tolist()[:2] == ["x", "y"]
    assert_allclose(model.category_weight_[1], np.exp(-(model.w_[1] ** 2)))
    queries = pd.DataFrame({"a": [1.0, 1.0], "b": pd.Categorical(["x", "new"])})
    assert np.all(np.isfinite(model.predict(queries)))


def test_a_frame_s_category_is_a_number_of_two_values():
    X, y = mixed_data(40, 1)
    number = KrigingRegressor(max_iter=10).fit(X[:, [0, 3]], y)
    category = KrigingRegressor(max_iter=10, categorical_features=[1]).fit(X[:, [0, 3]], y)
    assert_allclose(category.predict(X[:, [0, 3]]), number.predict(X[:, [0, 3]]), rtol=1e-7)


def degenerate_data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 2))
    y = X[:, 0] + np.sin(X[:, 1])
    yield "one row", X[:1], y[:1], None
    yield "two rows", X[:2], y[:2], None
    yield "constant targets", X, np.full(20, 3.0), None
    yield "one of two outputs constant", X, np.column_stack([y, np.ones(20)]), None
    yield "constant features", np.ones((20, 2)), y, None
    yield "exactly linear", X, X @ [1.0, 2.0], None
    yield "equal inputs", np.repeat(X[:5], 4, axis=0), y, None
    yield "offsets", X + 1e6, y + 1e6, None
    yield "wide", rng.normal(size=(6, 12)), y[:6], None
    yield "noise only", X, 1e8 * rng.normal(size=20), None
    yield "one row of nearly all weight", X, y, np.append(1e300, np.ones(19))
    yield "tiny numbers", X * 1e-200, y * 1e-200, None
    yield "huge numbers", X * 1e150, y * 1e150, None
    yield "an outlier", np.vstack([X, [[1e8, 0]]]), np.append(y, 1e8), None


@pytest.mark.parametrize(
    ("X", "y", "weights"), [d[1:] for d in degenerate_data()], ids=[d[0] for d in degenerate_data()]
)
@pytest.mark.parametrize(
    "parameters", [{"max_iter": 10}, {"w": 1.0, "power": 2.0, "noise": 0.0, "trend": "linear"}], ids=str
)
def test_degenerate_data_have_finite_predictions(X, y, weights, parameters):
    model = KrigingRegressor(**parameters).fit(X, y, weights)
    Q = np.vstack([X, X + 0.3])
    prediction, std = model.predict(Q, return_std=True)
    assert np.all(np.isfinite(prediction) & np.isfinite(std))
    assert np.all((prediction >= y.min(axis=0)) & (prediction <= y.max(axis=0)) | (np.ptp(y, axis=0) == 0))
    assert np.all(np.isfinite(model.attention_weights_(Q)))
    assert model.predict_interval(Q).shape == (*prediction.shape, 2)
    assert model.gradient(Q).shape == (*prediction.shape, X.shape[1])
    assert model.sample_y(Q).shape == (*prediction.shape, 1)


def test_a_common_scale_makes_rotations_of_coordinates_alike():
    """With one w for all, and p = 2, the covariance is that of the distance."""
    X, y = mixed_data(40, 1)
    angle = np.pi / 6
    R = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    model = KrigingRegressor(power=2.0, scale="common", max_iter=1).fit(X[:, :2] * [1, 9], y)
    assert_allclose(model._fitted.training.scales, np.sqrt(((X[:, :2] * [1, 9]).var(axis=0)).mean()))
    found = [KrigingRegressor(0.3, 2.0, scale="common").fit(Z, y).predict(Z) for Z in (X[:, :2], X[:, :2] @ R)]
    assert_allclose(*found, rtol=1e-9)


def test_effects_are_averages_of_predictions():
    X, y = mixed_data(30, 1)
    model = KrigingRegressor(max_iter=5).fit(X, y)
    display = EffectDisplay.from_estimator(model, features=[0], grid_resolution=5)
    elsewhere = np.column_stack([np.full(30, display.values[0][2]), X[:, 1:]])
    assert_allclose(display.average[0][2], model.predict(elsewhere).mean())
