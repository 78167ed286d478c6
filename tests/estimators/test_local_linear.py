"""LocalLinearRegressor against the oracle; what a line can do and a mean cannot."""

import numpy as np
import oracle
import pytest
from covering import covering_array, describe, pairwise
from numpy.testing import assert_allclose, assert_array_equal
from problems import (
    ENGINES,
    KERNELS,
    TOLERANCE_FLOAT32,
    Cauchy,
    Quartic,
    assert_close,
    bandwidth,
    engine_cases,
    regression,
)
from sklearn.gaussian_process.kernels import RBF

from sknw import LocalLinearRegressor, NadarayaWatsonRegressor
from sknw._selection import ridge_path
from sknw._smoothing.neighbours import EffectiveNeighbours
from sknw.datasets import make_sine_power

CRITERIA = ["loo", "aicc", "gcv"]


def lines_of(model):
    """What the oracle takes for the lines of a model."""
    return oracle.Counted(model.ridge_, model.slope_count_)


SELECTORS = [*CRITERIA, "scott", "silverman"]


CASES = covering_array(
    engine_cases(KERNELS, [1, 2, 5]),
    n_outputs=[None, 3],
    weighted=[False, True],
    dtype=["float64", "float32"],
    ridge=[0.0, 1e-8, 0.01],
    width=[1.3, 0.8],
    scale=[1.0, 1e-3, 1e3],
    n_jobs=[None, 2],
)


@pytest.mark.parametrize("case", CASES, ids=describe)
def test_fitted_model_is_the_oracles(case):
    kernel, d, dtype, ridge, scale = (case[name] for name in ["kernel", "d", "dtype", "ridge", "scale"])
    X, y, w, Q = regression(d=d, n_outputs=case["n_outputs"], weighted=case["weighted"])
    X, Q = ((scale * points).astype(dtype) for points in (X, Q))
    parameter, of_oracle = KERNELS[kernel]
    h = scale * bandwidth(d, case["width"])
    loo = oracle.leave_one_out(X, y, h, of_oracle, w, ridge=ridge)
    model = LocalLinearRegressor(parameter, h, ridge=ridge, algorithm=case["algorithm"], n_jobs=case["n_jobs"])
    model.fit(X, y, w)
    assert model.ridge_ == ridge
    assert model.predict(Q).dtype == Q.dtype
    tolerance = 1e-10 if dtype == "float64" else TOLERANCE_FLOAT32
    assert_close(model.predict(Q), oracle.predict(Q, X, y, h, of_oracle, w, ridge=ridge), y, tolerance)
    assert_close(model.loo_prediction_, loo, y)
    assert model.loo_score_ == pytest.approx(float(oracle.r2(y, loo, w)), abs=1e-9)


@pytest.mark.parametrize(
    "case",
    covering_array(
        engine_cases(["gaussian", "exponential", "tophat", "tricube", "cosine"], [1, 5]),
        offset=[1e3, 1e6],
        ridge=[0.0, 1e-3],
    ),
    ids=describe,
)
def test_offset_of_the_data_costs_no_digits(case):
    kernel, d, offset, ridge = (case[name] for name in ["kernel", "d", "offset", "ridge"])
    X, y, w, Q = regression(d=d, weighted=True)
    X, y, Q = X + offset, y + offset, Q + offset
    model = LocalLinearRegressor(kernel, bandwidth(d), ridge=ridge, algorithm=case["algorithm"]).fit(X, y, w)
    assert_close(model.predict(Q), oracle.predict(Q, X, y, bandwidth(d), kernel, w, ridge=ridge), y)
    assert_close(model.loo_prediction_, oracle.leave_one_out(X, y, bandwidth(d), kernel, w, ridge=ridge), y)


def clusters(width, d):
    """Groups of samples at distances of the order of `width`, of which a query at the middle sees its group only."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(-0.5, 0.5, size=(10, 1, d))
    X = centres + width * rng.uniform(-0.5, 0.5, size=(10, 8, d))
    return X.reshape(-1, d), rng.normal(size=80), X.mean(axis=1)


@pytest.mark.parametrize(
    "case",
    covering_array(
        engine_cases(["gaussian", "exponential", "epanechnikov", "tricube"], [1, 3]),
        width_offset=[(1e-6, 0.0), (1e-4, 0.0), (1e-4, 1e3), (1e-2, 1e3), (1.0, 0.0), (10.0, 1e3)],
        ridge_in_widths=[0.0, 1e-2],
    ),
    ids=describe,
)
def test_any_bandwidth_from_a_millionth_of_the_range_to_ten_ranges(case):
    """Sums over all the data leave nothing of a covariance of 1e-12; lines of narrow weights come from the samples."""
    kernel, d, (width, offset) = case["kernel"], case["d"], case["width_offset"]
    X, y, Q = clusters(width, d)
    X, Q, h = X + offset, Q + offset, np.full(d, width)
    # centring rounds the inputs
    tolerance = max(1e-10, 10 * np.finfo(float).eps / width)
    ridge = case["ridge_in_widths"] * min(width, 1.0) ** 2
    model = LocalLinearRegressor(kernel, width, ridge=ridge, algorithm=case["algorithm"]).fit(X, y)
    assert_close(model.predict(Q), oracle.predict(Q, X, y, h, kernel, ridge=ridge), y, tolerance)
    assert_close(model.loo_prediction_, oracle.leave_one_out(X, y, h, kernel, ridge=ridge), y, tolerance)


@pytest.mark.parametrize("outside", ["nearest", "mean", "nan"])
@pytest.mark.parametrize("kernel", ["tophat", "epanechnikov", "cosine"])
def test_policy_for_queries_without_support_has_one_meaning(kernel, outside):
    X, y, w, Q = regression(n=40, m=30, n_outputs=2, weighted=True)
    Q = np.vstack([Q, [[9.0, 9.0], [-1e4, 0.0]]])
    h = np.array([0.3, 0.3])
    for algorithm in ENGINES:
        model = LocalLinearRegressor(kernel, 0.3, ridge=0.01, outside=outside, algorithm=algorithm).fit(X, y, w)
        assert_close(model.predict(Q), oracle.predict(Q, X, y, h, kernel, w, outside, ridge=0.01), y)
        assert_close(model.loo_prediction_, oracle.leave_one_out(X, y, h, kernel, w, outside, ridge=0.01), y)
    raising = LocalLinearRegressor(kernel, 0.3, ridge=0.01, outside="raise").fit(X, y, w)
    with pytest.raises(ValueError, match="no training sample within the kernel's support"):
        raising.predict(Q)


@pytest.mark.parametrize(
    ("kernel", "of_oracle"),
    [
        (Cauchy(), lambda u: 1 / (1 + u**2)),
        (Quartic(), lambda u: np.maximum(1 - u**2, 0) ** 4),
        (RBF(1.0), "gaussian"),
    ],
)
def test_users_kernels_carry_lines(kernel, of_oracle):
    X, y, w, Q = regression(weighted=True)
    for ridge in [0.0, 1e-8, 0.01]:
        model = LocalLinearRegressor(kernel, 2.0, ridge=ridge).fit(X, y, w)
        assert_close(model.predict(Q), oracle.predict(Q, X, y, [2.0, 2.0], of_oracle, w, ridge=ridge), y)


# What a line is


@pytest.mark.parametrize(
    "case",
    covering_array(
        [{"kernel": "gaussian", "d": 1}, {"kernel": "gaussian", "d": 3}, {"kernel": "epanechnikov", "d": 1}],
        ridge=[0.0, "loo"],
        bandwidth=[0.9, *SELECTORS],
        algorithm=["auto", "dense", "fused"],
    ),
    ids=describe,
)
def test_straight_lines_are_reproduced_and_continued(case):
    d = case["d"]
    rng = np.random.default_rng(0)
    X, slope = rng.uniform(size=(60, d)), np.arange(1.0, d + 1)
    model = LocalLinearRegressor(
        case["kernel"], case["bandwidth"], ridge=case["ridge"], algorithm=case["algorithm"]
    ).fit(X, 5 + X @ slope)
    assert model.ridge_ == 0.0
    Q = rng.uniform(-0.1, 1.1, size=(20, d))
    assert_allclose(model.predict(Q), 5 + Q @ slope, rtol=1e-9)


def test_a_large_ridge_leaves_the_weighted_mean():
    X, y, w, Q = regression(d=3, weighted=True)
    for kernel in KERNELS:
        line = LocalLinearRegressor(KERNELS[kernel][0], 1.5, ridge=1e14).fit(X, y, w)
        mean = NadarayaWatsonRegressor(KERNELS[kernel][0], 1.5).fit(X, y, w)
        assert_close(line.predict(Q), mean.predict(Q), y)
        assert_close(line.loo_prediction_, mean.loo_prediction_, y)


def test_the_ridge_is_in_units_of_standard_deviations():
    """Wide weights are all the same, and the line is ridge regression of standardised inputs."""
    from sklearn.linear_model import Ridge

    X, y, _, Q = regression(d=3)
    X, Q = X * [1.0, 100.0, 1e-3], Q * [1.0, 100.0, 1e-3]
    line = LocalLinearRegressor(bandwidth=1e8, ridge=0.3).fit(X, y)
    # mean squares there are sums here
    reference = Ridge(alpha=0.3 * len(X)).fit(X / X.std(axis=0), y)
    assert_close(line.predict(Q), reference.predict(Q / X.std(axis=0)), y)


def test_few_samples_in_reach_give_the_limit_of_a_small_ridge():
    X = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.0, 5.1], [9.0, 0.0]])
    y = np.array([1.0, 2.0, 3.0, 5.0, 7.0])
    model = LocalLinearRegressor("tophat", 1.0, ridge=0.0).fit(X, y)
    # along the two samples in reach a line, across it a constant; one sample alone has no slope. Sums give ten digits.
    assert_allclose(model.predict([[0.2, 0.5], [5.3, 4.9], [9.5, 0.0]]), [3.0, 1.0, 7.0], rtol=1e-10)
    limit = LocalLinearRegressor("tophat", 1.0, ridge=1e-10).fit(X, y)
    assert_allclose(limit.predict([[0.2, 0.5], [5.3, 4.9], [9.5, 0.0]]), [3.0, 1.0, 7.0], rtol=1e-6)


@pytest.mark.parametrize("ridge", [0.0, "loo"])
@pytest.mark.parametrize("bandwidth", [0.8, "loo", "aicc"])
def test_features_that_say_the_same_share_the_slope(bandwidth, ridge):
    X, y, _, Q = regression(d=2)
    plain = LocalLinearRegressor(bandwidth=bandwidth, ridge=ridge)

    def with_copy(X):
        return np.column_stack([X, 3.0 * X[:, 0] - 2.0])

    model = LocalLinearRegressor(bandwidth=bandwidth, ridge=ridge).fit(with_copy(X), y)
    assert np.all(np.isfinite(model.loo_prediction_))
    # two standardised copies of a feature are one of sqrt(2) times the distance
    if bandwidth == 0.8 and ridge == 0.0:
        h = np.array([0.8 / np.sqrt(1 + 9), 0.8])  # |dx / h|^2 adds up over the copies
        plain = LocalLinearRegressor(bandwidth=h, ridge=0.0).fit(X, y)
        assert_close(model.predict(with_copy(Q)), plain.predict(Q), y, 1e-8)
    assert_close(model.predict(with_copy(Q)), oracle_of(model, with_copy(X), y, with_copy(Q)), y, 1e-8)


def oracle_of(model, X, y, Q, w=None):
    return oracle.predict(Q, X, y, model.bandwidth_, model.kernel, w, ridge=lines_of(model))


@pytest.mark.parametrize("ridge", [0.0, "loo"])
def test_a_constant_feature_changes_nothing(ridge):
    X, y, _, Q = regression(d=2)
    plain = LocalLinearRegressor(ridge=ridge).fit(X, y)
    model = LocalLinearRegressor(ridge=ridge).fit(np.insert(X, 1, -0.1, axis=1), y)
    assert_allclose(model.bandwidth_[[0, 2]], plain.bandwidth_, rtol=1e-3)
    assert_close(model.predict(np.insert(Q, 1, -0.1, axis=1)), plain.predict(Q), y, 1e-4)


@pytest.mark.parametrize("selector", [1.0, *SELECTORS])
@pytest.mark.parametrize("kernel", ["gaussian", "tricube"])
def test_samples_may_be_few_or_all_the_same(kernel, selector):
    for n in [1, 2, 3]:
        X = np.arange(n * 4.0).reshape(n, 4) ** 2
        model = LocalLinearRegressor(kernel, selector).fit(X, np.arange(float(n)))
        assert np.all(np.isfinite(model.predict(X)))
    same = LocalLinearRegressor(kernel, selector).fit(np.full((4, 2), 3.0), [1.0, 2.0, 6.0, 7.0])
    assert_allclose(same.predict([[3.0, 3.0], [4.0, 3.0]]), 4.0, rtol=1e-12)


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "power 0.5", "tricube"])
def test_far_queries_get_finite_predictions(kernel, algorithm):
    X, y, w, Q = regression(weighted=True)
    model = LocalLinearRegressor(KERNELS[kernel][0], 0.7, ridge=0.1, algorithm=algorithm).fit(X, y, w)
    far = Q + 100.0
    assert_close(model.predict(far), oracle.predict(far, X, y, [0.7, 0.7], KERNELS[kernel][1], w, ridge=0.1), y, 1e-9)
    assert np.all(np.isfinite(model.predict(np.array([[1e8, 0.0], [1e150, -1e150], [0.0, 1e300]]))))


def test_a_line_beyond_all_numbers_is_infinite():
    X = np.array([[-1.0], [0.0], [1.0]])
    model = LocalLinearRegressor(bandwidth=1e308, ridge=0.0).fit(X, 1e303 * X[:, 0])
    assert_allclose(model.predict([[1e4], [-1e4]]), [1e307, -1e307], rtol=1e-12)
    assert_array_equal(model.predict([[1e300], [-1e300]]), [np.inf, -np.inf])


@pytest.mark.parametrize(("kernel", "algorithm"), [("gaussian", "expansion"), ("epanechnikov", "sorted")])
def test_the_widest_bandwidths_are_as_good_as_infinite(kernel, algorithm):
    X, y, w, _ = regression(d=1, weighted=True)
    infinite, *others = (
        LocalLinearRegressor(kernel, h, ridge=0.1, algorithm=algorithm).fit(X, y, w).predict(X)
        for h in ([np.inf], 1e80, 1e120, 1e250)
    )
    for predictions in others:
        assert_allclose(predictions, infinite, rtol=1e-12)


@pytest.mark.parametrize(("x_unit", "y_unit"), [(1e-150, 1.0), (1e150, 1e-150), (1.0, 1e150)])
@pytest.mark.parametrize("selector", SELECTORS)
def test_units_change_nothing_but_the_unit(selector, x_unit, y_unit):
    X, y, w, Q = regression(weighted=True)
    plain = LocalLinearRegressor(bandwidth=selector).fit(X, y, w)
    scaled = LocalLinearRegressor(bandwidth=selector).fit(X * x_unit, y * y_unit, w)
    assert_allclose(scaled.bandwidth_ / x_unit, plain.bandwidth_, rtol=1e-4)
    assert_close(scaled.predict(Q * x_unit) / y_unit, plain.predict(Q), y, 1e-4)


@pytest.mark.filterwarnings(
    "ignore:.* in the kernel's support:UserWarning", "ignore:left-out predictions are no better:UserWarning"
)
@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
def test_a_selectors_fit_does_not_change_with_the_unit_of_a_feature(kernel, selector):
    X, y, w, Q = regression(d=3, weighted=True)
    unit = np.array([1.0, 1024.0, 2.0**-20])
    plain = LocalLinearRegressor(kernel, selector).fit(X, y, w)
    scaled = LocalLinearRegressor(kernel, selector).fit(X * unit, y, w)
    assert_allclose(scaled.bandwidth_, plain.bandwidth_ * unit, rtol=1e-9)
    assert scaled.ridge_ == pytest.approx(plain.ridge_, rel=1e-9)
    assert_close(scaled.predict(Q * unit), plain.predict(Q), y)


def edge_bias(Estimator, h, kernel="epanechnikov"):
    """The error at the edge of a fine grid without noise, in units of the standard deviation."""
    x = np.linspace(0.0, 1.0, 2001)
    y = np.exp(x)
    parameters = {"ridge": 0.0} if Estimator is LocalLinearRegressor else {}
    return (Estimator(kernel, h, **parameters).fit(x[:, np.newaxis], y).predict([[0.0]])[0] - 1.0) / y.std()


def test_lines_have_no_bias_of_first_order_at_the_edge():
    """A mean is off by h f' times a moment of half the kernel, a line by h^2 f'' times one (Fan 1992)."""
    widths = [0.04, 0.08, 0.16]
    mean, line = (
        [edge_bias(Estimator, h) for h in widths] for Estimator in [NadarayaWatsonRegressor, LocalLinearRegressor]
    )
    orders = [np.diff(np.log(np.abs(bias))) / np.log(2.0) for bias in (mean, line)]
    assert_allclose(orders[0], 1.0, atol=0.1)
    assert_allclose(orders[1], 2.0, atol=0.1)
    # with s_k = int_0^1 u^k (1 - u^2) du: s_1 / s_0 = 3 / 8, (s_2^2 - s_1 s_3) / (s_2 s_0 - s_1^2) / 2 = -11 / 190
    y_std = np.exp(np.linspace(0.0, 1.0, 2001)).std()
    assert mean[0] * y_std / 0.04 == pytest.approx(3 / 8, rel=0.03)
    assert line[0] * y_std / 0.04**2 == pytest.approx(-11 / 190, rel=0.03)
    assert abs(line[0]) < abs(mean[0]) / 100


def test_lines_fit_the_edges_of_noisy_data_better():
    errors = {NadarayaWatsonRegressor: [], LocalLinearRegressor: []}
    for seed in range(8):
        X, y, truth = make_sine_power(200, random_state=seed, return_truth=True)
        for Estimator, found in errors.items():
            found.append((Estimator().fit(X, y).predict(X) - truth)[[*range(8), *range(-8, 0)]])
    rmse = {Estimator: np.sqrt(np.mean(np.square(found))) for Estimator, found in errors.items()}
    assert rmse[LocalLinearRegressor] < 0.8 * rmse[NadarayaWatsonRegressor]


# The choice of the bandwidth and the ridge


# gcv chooses bandwidths that follow each target in some of these
@pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")
@pytest.mark.parametrize(
    "case",
    covering_array(
        engine_cases(["gaussian", "exponential", "tricube"], [1, 2]),
        criterion=CRITERIA,
        ridge=[1e-3, "loo"],
        n_outputs=[None, 2],
        weighted=[False, True],
    ),
    ids=describe,
)
def test_scores_are_the_oracles(case):
    kernel, criterion, ridge = case["kernel"], case["criterion"], case["ridge"]
    X, y, w, _ = regression(n=30, d=case["d"], n_outputs=case["n_outputs"], weighted=case["weighted"])
    model = LocalLinearRegressor(kernel, criterion, ridge=ridge, algorithm=case["algorithm"]).fit(X, y, w)
    search = model.bandwidth_search_
    looked_at = [search.best_index] if ridge == "loo" else [search.best_index, *range(0, len(search.factors), 6)]
    expected = [
        oracle.criterion(criterion, X, y, search.bandwidths[i], kernel, w, ridge=model.ridge_) for i in looked_at
    ]
    assert_allclose(search.scores[looked_at], np.array(expected, dtype=float), rtol=1e-7)
    assert search.scores[search.best_index] == pytest.approx(float(expected[0]), rel=1e-9)


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_choice_is_the_best_of_a_grid_of_bandwidths_and_ridges(criterion, kernel):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 2))
    y = np.sin(2 * X[:, 0]) + X[:, 1] + 0.3 * rng.normal(size=20)
    search = LocalLinearRegressor(kernel, criterion).fit(X, y).bandwidth_search_
    chosen = search.scores[search.best_index]
    for factor in np.geomspace(0.3, 10.0, 11):
        for ridge in min(factor, 1.0) ** 2 * np.geomspace(1e-5, 1e2, 5):
            score = oracle.criterion(criterion, X, y, factor * X.std(axis=0), kernel, ridge=ridge)
            assert score >= chosen - 1e-4 * abs(chosen)


@pytest.mark.parametrize("bandwidth", [0.5, "scott"])
def test_at_a_given_bandwidth_the_ridge_has_the_smallest_leave_one_out_error(bandwidth):
    X, y, w, _ = regression(n=40, weighted=True)
    model = LocalLinearRegressor(bandwidth=bandwidth).fit(X, y, w)
    assert model.bandwidth_search_ is None

    def error(ridge):
        fitted = LocalLinearRegressor(bandwidth=model.bandwidth_, ridge=ridge).fit(X, y, w)
        return np.average((fitted.loo_prediction_ - y)[w > 0] ** 2, weights=w[w > 0])

    assert error(model.ridge_) <= min(error(ridge) for ridge in [0.0, *np.geomspace(1e-8, 1e4, 60)]) * (1 + 1e-5)


@pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")
def test_pure_noise_gets_nearly_its_mean():
    rng = np.random.default_rng(1)
    X, y = rng.uniform(size=(200, 2)), rng.normal(size=200)
    model = LocalLinearRegressor().fit(X, y)
    assert np.abs(model.predict(X) - y.mean()).max() < 0.35 * y.std()


@pairwise(kernel=["gaussian", "tricube"], selector=[0.7, *SELECTORS], n_outputs=[None, 2])
def test_integer_weights_are_repeated_rows_and_zero_weights_no_rows(kernel, selector, n_outputs):
    X, y, _, Q = regression(n=40, n_outputs=n_outputs)
    w = np.random.default_rng(7).integers(0, 4, 40)
    weighted = LocalLinearRegressor(kernel, selector).fit(X, y, w)
    repeated = LocalLinearRegressor(kernel, selector).fit(np.repeat(X, w, axis=0), np.repeat(y, w, axis=0))
    assert_allclose(weighted.bandwidth_, repeated.bandwidth_, rtol=1e-7)
    assert weighted.ridge_ == pytest.approx(repeated.ridge_, rel=1e-6)
    assert_close(weighted.predict(Q), repeated.predict(Q), y, 1e-7)
    assert_close(np.repeat(weighted.loo_prediction_, w, axis=0), repeated.loo_prediction_, y, 1e-7)


@pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")
@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("outside", ["nan", "raise"])
def test_no_bandwidth_is_chosen_that_leaves_a_row_unsupported_where_that_means_nothing(outside, criterion):
    rng = np.random.default_rng(0)
    x = np.append(np.linspace(0, 1, 60), [3.0])
    y = np.append(np.sin(20 * x[:60]) + 0.1 * rng.normal(size=60), 0.0)
    model = LocalLinearRegressor("tricube", criterion, outside=outside).fit(x[:, np.newaxis], y)
    assert model.bandwidth_[0] >= 2.0
    assert np.all(np.isfinite(model.loo_prediction_))


def test_a_search_on_some_rows_averages_over_those():
    X, y = make_sine_power(80, random_state=0)
    model = LocalLinearRegressor(validation_samples=30, random_state=1).fit(X, y)
    seen = np.isfinite(model.loo_prediction_)
    assert seen.sum() == model.n_validation_ == 30
    loo = oracle.leave_one_out(X, y, model.bandwidth_, "gaussian", ridge=lines_of(model))
    assert_close(model.loo_prediction_[seen], loo[seen], y)
    search = model.bandwidth_search_  # of lines that count no samples
    loo = oracle.leave_one_out(X, y, model.bandwidth_, "gaussian", ridge=model.ridge_)
    assert search.scores[search.best_index] == pytest.approx(float(np.mean((y - loo)[seen] ** 2)), rel=1e-8)


def test_many_queries_are_taken_in_parts(monkeypatch):
    from sknw._smoothing import smoother as smoother_module

    X, y, w, Q = regression(m=101, weighted=True, n_outputs=2)
    whole = LocalLinearRegressor("tricube").fit(X, y, w)
    monkeypatch.setattr(smoother_module, "_MOMENT_BYTES", 2000)
    assert len(whole._fitted.smoother.batches(101)) > 5
    parted = LocalLinearRegressor("tricube").fit(X, y, w)
    assert_allclose(parted.bandwidth_, whole.bandwidth_, rtol=1e-9)
    assert_close(parted.predict(Q), whole.predict(Q), y)
    assert_close(parted.loo_prediction_, whole.loo_prediction_, y)


@pytest.mark.parametrize("width", [1e-4, 0.5])
def test_two_threads_give_what_one_gives(width):
    X, y, Q = clusters(width, 3)
    one, two = (LocalLinearRegressor("tricube", width, n_jobs=n_jobs).fit(X, y) for n_jobs in [None, 2])
    assert two.ridge_ == pytest.approx(one.ridge_, rel=1e-6)
    assert_close(two.loo_prediction_, one.loo_prediction_, y, 1e-8)
    assert_close(two.predict(Q), one.predict(Q), y, 1e-8)


def test_standard_deviations_pool_the_residuals_of_the_lines():
    X, y, w, Q = regression(weighted=True)
    model = LocalLinearRegressor("tricube", 0.9, ridge=0.01).fit(X, y, w)
    residuals = y - oracle.leave_one_out(X, y, [0.9, 0.9], "tricube", w, ridge=0.01)
    mean, std = model.predict(Q, return_std=True)
    assert_array_equal(mean, model.predict(Q))
    assert_close(std, oracle.std(Q, X, y, [0.9, 0.9], "tricube", w, residuals=residuals), y)


def two_clusters(d, offset, seed=0):
    """Samples in two clusters of some thirty bandwidths of 1, a hundred thousand apart: sums about zero lose digits."""
    rng = np.random.default_rng(seed)
    X = 30.0 ** (1 / d) * rng.uniform(size=(220, d)) + 1e5 * (np.arange(220) % 2)[:, np.newaxis] + offset
    return X, rng.uniform(0.5, 2.0, len(X)), np.sin(X @ np.ones((d, 2)) + [0.0, 1.0])


CLUSTERS = covering_array(
    kernel=["gaussian", "exponential", "tricube"],
    d=[1, 2],
    n_outputs=[1, 2],
    weighted=[False, True],
    ridge=[0.0, 1e-12],
    offset=[0.0, 1e6],
    algorithm=["auto", "dense"],
    groups=[False, True],
)


@pytest.mark.parametrize("case", CLUSTERS, ids=describe)
def test_sums_in_cells_are_the_oracles(case):
    d, kernel, ridge = case["d"], case["kernel"], case["ridge"]
    X, w, y = two_clusters(d, case["offset"])
    w, y = w if case["weighted"] else None, y[:, : case["n_outputs"]]
    block = 5 if case["groups"] else 1
    groups = np.arange(len(X)) // block if case["groups"] else None
    model = LocalLinearRegressor(kernel, 2.0, ridge=ridge, algorithm=case["algorithm"]).fit(X, y, w, groups=groups)
    rows, s = [0, 1, 100, 219], oracle.scales(X, w)
    splits = [(np.flatnonzero(np.arange(len(X)) // block != i // block), [i]) for i in rows]
    left_out = oracle.left_out(splits, X, y, 2.0 * np.ones(d), kernel, w, ridge=ridge)
    expected = np.array([predictions[0] for _, predictions in left_out])
    assert_allclose(model.loo_prediction_.reshape(len(X), -1)[rows], expected.astype(np.float64), atol=1e-9)
    Q = X[:160] + 0.1
    expected = oracle.predict(Q[::40], X, y, 2.0 * np.ones(d), kernel, w, ridge=ridge, s=s).astype(np.float64)
    assert_allclose(model.predict(Q).reshape(len(Q), -1)[::40], expected, atol=1e-9)


def test_sums_in_cells_need_no_neighbours(monkeypatch):
    X, _, y = two_clusters(1, 1e6)
    model = LocalLinearRegressor(bandwidth=2.0, ridge=0.0).fit(X, y)
    monkeypatch.setattr(EffectiveNeighbours, "of", None)
    assert model.predict(X).shape == y.shape


def test_the_ridge_of_many_rows_is_nearly_the_best(monkeypatch):
    X, y = make_sine_power(600, random_state=0)
    best = LocalLinearRegressor(bandwidth=0.6).fit(X, y).loo_score_
    monkeypatch.setattr(ridge_path, "_SCANNED_ROWS", 100)
    assert_allclose(LocalLinearRegressor(bandwidth=0.6).fit(X, y).loo_score_, best, rtol=1e-6)


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
def test_left_out_lines_that_a_search_hands_over_are_those_of_the_bandwidth(kernel):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 1)).round(2)  # ties, and rows alone in a narrow window
    y = np.sin(2 * X[:, 0]) + 0.2 * rng.standard_normal(200)
    found = LocalLinearRegressor(kernel).fit(X, y)
    given = LocalLinearRegressor(kernel, bandwidth=found.bandwidth_).fit(X, y)
    assert (found.ridge_, found.slope_count_) == (given.ridge_, given.slope_count_)
    assert_allclose(found.loo_prediction_, given.loo_prediction_, rtol=1e-11, atol=1e-12)
