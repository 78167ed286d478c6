"""NadarayaWatsonRegressor at a given bandwidth: every number it returns, held against the oracle."""

import re

import numpy as np
import oracle
import pytest
from covering import covering_array, describe, pairwise
from numpy.testing import assert_allclose, assert_array_equal
from problems import (
    ALGORITHMS,
    ENGINES,
    KERNELS,
    TOLERANCE_FLOAT32,
    assert_close,
    bandwidth,
    engine_cases,
    regression,
    takes,
)

from sknw import NadarayaWatsonRegressor
from sknw.kernels import PowerExponential

SELECTORS = ["loo", "aicc", "gcv", "scott", "silverman"]


CASES = covering_array(
    engine_cases(KERNELS, [1, 2, 3, 5, 20]),
    n_outputs=[None, 3],
    weighted=[False, True],
    dtype=["float64", "float32"],
    outside=["nearest", "mean", "nan", "raise"],
    width=[1.3, 0.4],
    offset=[0.0, 1e3, 1e6],
    scale=[1.0, 1e-3, 1e3],
    n_jobs=[None, 2],
)


@pytest.mark.parametrize("case", CASES, ids=describe)
def test_fitted_model_is_the_oracles(case):
    kernel, d, dtype, outside, scale = (case[name] for name in ["kernel", "d", "dtype", "outside", "scale"])
    X, y, w, Q = regression(d=d, n_outputs=case["n_outputs"], weighted=case["weighted"])
    X, Q = ((scale * (points + case["offset"])).astype(dtype) for points in (X, Q))
    parameter, of_oracle = KERNELS[kernel]
    h = scale * bandwidth(d, case["width"])
    loo = oracle.leave_one_out(X, y, h, of_oracle, w, outside)
    prediction = oracle.predict(Q, X, y, h, of_oracle, w, outside)
    std = oracle.std(Q, X, y, h, of_oracle, w, outside, residuals=y - loo)

    model = NadarayaWatsonRegressor(
        parameter, h, outside=outside, algorithm=case["algorithm"], n_jobs=case["n_jobs"]
    ).fit(X, y, w)
    # leave-one-out is computed in float64 whatever X
    assert_close(model.loo_prediction_, loo, y)
    assert model.loo_score_ == pytest.approx(float(oracle.r2(y, loo, w)), abs=1e-9, nan_ok=True)
    unsupported = np.isnan(prediction.reshape(len(Q), -1)[:, 0])
    if outside == "raise" and unsupported.any():
        with pytest.raises(ValueError, match=f"{unsupported.sum()} of {len(Q)} queries have no training sample"):
            model.predict(Q)
        Q, prediction, std = Q[~unsupported], prediction[~unsupported], std[~unsupported]
    tolerance = 1e-10 if dtype == "float64" else TOLERANCE_FLOAT32
    assert_close(model.predict(Q), prediction, y, tolerance)
    mean, deviation = model.predict(Q, return_std=True)
    assert mean.dtype == deviation.dtype == Q.dtype
    assert_close(mean, prediction, y, tolerance)
    assert_close(deviation, std, y, tolerance)


def test_the_cases_hold_every_engine_and_leave_some_queries_without_support():
    assert {case["algorithm"] for case in CASES} == set(ALGORITHMS)
    narrow = [case for case in CASES if case["kernel"] in oracle.COMPACT and case["width"] == 0.4]
    assert {case["outside"] for case in narrow} == {"nearest", "mean", "nan", "raise"}
    assert {case["algorithm"] for case in narrow} == {*ALGORITHMS} - {"expansion"}


@pytest.mark.parametrize("case", engine_cases(KERNELS, [1, 2, 4], accepted=False), ids=describe)
def test_an_engine_that_cannot_take_a_problem_says_why_and_names_those_that_can(case):
    X, y, _, _ = regression(d=case["d"])
    can = [engine for engine in ALGORITHMS if takes(case["kernel"], case["d"], engine)]
    model = NadarayaWatsonRegressor(KERNELS[case["kernel"]][0], algorithm=case["algorithm"])
    with pytest.raises(ValueError, match=rf"algorithm='{case['algorithm']}' .*; usable here: {re.escape(str(can))}"):
        model.fit(X, y)


@pytest.mark.parametrize("case", covering_array(engine_cases(KERNELS, [1, 5]), offset=[1e3, 1e6]), ids=describe)
def test_offset_of_the_data_costs_no_digits(case):
    X, y, w, Q = regression(d=case["d"], weighted=True)
    X, y, Q = X + case["offset"], y + case["offset"], Q + case["offset"]
    parameter, of_oracle = KERNELS[case["kernel"]]
    h = bandwidth(case["d"])
    model = NadarayaWatsonRegressor(parameter, h, algorithm=case["algorithm"]).fit(X, y, w)
    assert_close(model.predict(Q), oracle.predict(Q, X, y, h, of_oracle, w), y)
    assert_close(model.loo_prediction_, oracle.leave_one_out(X, y, h, of_oracle, w), y)


def clusters(width, d):
    """Groups of samples and queries at distances of the order of `width`, and single samples between them."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(-0.5, 0.5, size=(12, d))
    X = np.vstack([(centres[:, np.newaxis] + width * rng.uniform(-0.5, 0.5, size=(12, 4, d))).reshape(-1, d), centres])
    Q = np.vstack([centres + width * rng.uniform(-0.3, 0.3, size=(12, d)), rng.uniform(-0.6, 0.6, size=(10, d))])
    return X, rng.normal(size=len(X)), Q


@pytest.mark.parametrize(
    "case",
    covering_array(engine_cases(KERNELS, [1, 3]), width=[1e-4, 1e-2, 1.0, 10.0], offset=[0.0, 1e3]),
    ids=describe,
)
def test_any_bandwidth_from_a_ten_thousandth_of_the_range_to_ten_ranges(case):
    (parameter, of_oracle), d, width = KERNELS[case["kernel"]], case["d"], case["width"]
    X, y, Q = clusters(width, d)
    X, Q, h = X + case["offset"], Q + case["offset"], np.full(d, width)
    model = NadarayaWatsonRegressor(parameter, width, algorithm=case["algorithm"]).fit(X, y)
    assert_close(model.predict(Q), oracle.predict(Q, X, y, h, of_oracle), y)
    assert_close(model.loo_prediction_, oracle.leave_one_out(X, y, h, of_oracle), y)


@pytest.mark.parametrize("case", engine_cases(KERNELS, [1]), ids=describe)
def test_duplicates_share_and_isolated_points_get_their_nearest(case):
    """A row that others repeat is predicted by its twins at any small bandwidth, an isolated one by its neighbour."""
    X = np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [50.0], [1000.0]])
    y = np.array([1.0, 2.0, 6.0, 10.0, 20.0, 30.0, 40.0])
    model = NadarayaWatsonRegressor(KERNELS[case["kernel"]][0], 1e-7, algorithm=case["algorithm"]).fit(X, y)
    assert_allclose(model.predict(X), [3.0, 3.0, 3.0, 15.0, 15.0, 30.0, 40.0], rtol=1e-12)
    # the samples at 1 are the nearest of the one at 50, and that one is the nearest of the one at 1000
    assert_allclose(model.loo_prediction_, [4.0, 3.5, 1.5, 20.0, 10.0, 15.0, 30.0], rtol=1e-12)


@pytest.mark.parametrize("case", covering_array(engine_cases(KERNELS, [1, 3, 6]), distance=[100.0, 1e6]), ids=describe)
def test_far_queries_get_the_limit_of_the_weights(case):
    (parameter, of_oracle), d, distance = KERNELS[case["kernel"]], case["d"], case["distance"]
    X, y, w, Q = regression(d=d, weighted=True)
    Q = Q + distance * np.where(np.arange(d) % 2, -1.0, 1.0)
    model = NadarayaWatsonRegressor(parameter, 1.0, algorithm=case["algorithm"]).fit(X, y, w)
    # a coordinate is known to eps; at this distance that much decides the ratio of two exponential weights
    tolerance = 1e-10 + 8 * np.finfo(float).eps * distance * np.sqrt(d)
    of_queries = oracle.predict(Q, X, y, np.ones(d), of_oracle, w)
    assert_close(model.predict(Q), of_queries, y, tolerance)
    assert_close(model.attention_weights_(Q) @ y, of_queries, y, tolerance)
    assert_allclose(model.attention_weights_(Q).sum(axis=1), 1.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", engine_cases(KERNELS, [2]), ids=describe)
def test_queries_whose_squares_overflow_get_a_mean_of_samples(case):
    X, y, _, _ = regression(d=2)
    Q = np.array([[1e200, 0.0], [-1e200, 1e200], [0.0, 1e300], [1e160, -1e155], [1e308, 1e308]])
    model = NadarayaWatsonRegressor(KERNELS[case["kernel"]][0], 0.5, algorithm=case["algorithm"]).fit(X, y)
    for prediction in [model.predict(Q), model.attention_weights_(Q) @ y]:
        assert np.all((prediction >= y.min() - 1e-9) & (prediction <= y.max() + 1e-9))
    assert np.all(np.isfinite(model.predict(Q, return_std=True)[1]))


@pytest.mark.parametrize(
    "case",
    covering_array(engine_cases(["gaussian", "exponential", "epanechnikov"], [2]), bandwidth=[0.7, *SELECTORS]),
    ids=describe,
)
def test_one_sample_is_every_prediction(case):
    model = NadarayaWatsonRegressor(case["kernel"], case["bandwidth"], algorithm=case["algorithm"])
    model.fit([[3.0, 4.0]], [5.0])
    assert_array_equal(model.predict([[3.0, 4.0], [0.0, 0.0], [1e9, 0.0]]), 5.0)
    assert_array_equal(model.attention_weights_([[3.0, 4.0], [0.0, 0.0]]), 1.0)
    assert_allclose(model.effective_sample_size([[3.0, 4.0]]), 1.0, rtol=1e-13)
    # nobody is left to predict it, nor to say how far off that would be
    assert np.isnan(model.loo_prediction_[0])
    assert np.isnan(model.loo_score_)
    assert np.isnan(model.predict([[3.0, 4.0]], return_std=True)[1][0])


@pytest.mark.parametrize(
    "case",
    covering_array(
        engine_cases(["gaussian", "exponential", "epanechnikov"], [1, 2]),
        bandwidth=SELECTORS,
        units=[(1e-150, 1.0), (1e150, 1.0), (1.0, 1e-150), (1.0, 1e150), (1e150, 1e-150)],
    ),
    ids=describe,
)
@pytest.mark.filterwarnings("ignore:rows with equal inputs:UserWarning")
def test_units_from_1e_minus_150_to_1e150_change_nothing_but_the_unit(case):
    X, y, w, Q = regression(d=case["d"], weighted=True)
    kernel, bandwidth, algorithm, (x_unit, y_unit) = (
        case[name] for name in ["kernel", "bandwidth", "algorithm", "units"]
    )

    def fit(x_unit, y_unit):
        return NadarayaWatsonRegressor(kernel, bandwidth, algorithm=algorithm).fit(X * x_unit, y * y_unit, w)

    plain, scaled = fit(1.0, 1.0), fit(x_unit, y_unit)
    assert_allclose(scaled.bandwidth_ / x_unit, plain.bandwidth_, rtol=1e-5)
    # the search stops at 1e-4 in log h; the predictions are compared at the same relative bandwidth
    plain = NadarayaWatsonRegressor(kernel, scaled.bandwidth_ / x_unit, algorithm=algorithm).fit(X, y, w)
    assert_close(scaled.predict(Q * x_unit) / y_unit, plain.predict(Q), y)
    assert_close(scaled.predict(Q * x_unit, return_std=True)[1] / y_unit, plain.predict(Q, return_std=True)[1], y)
    assert_close(scaled.loo_prediction_ / y_unit, plain.loo_prediction_, y)
    assert scaled.loo_score_ == pytest.approx(plain.loo_score_, abs=1e-10)


@pytest.mark.parametrize("bandwidth", SELECTORS)
@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov", "exponential"])
def test_a_selectors_fit_does_not_change_with_the_unit_of_a_feature(kernel, bandwidth):
    X, y, w, Q = regression(d=3, weighted=True)
    unit = np.array([1.0, 1024.0, 2.0**-20])  # powers of two: the same rounding in either unit
    plain = NadarayaWatsonRegressor(kernel, bandwidth).fit(X, y, w)
    scaled = NadarayaWatsonRegressor(kernel, bandwidth).fit(X * unit, y, w)
    assert_allclose(scaled.bandwidth_, plain.bandwidth_ * unit, rtol=1e-12)
    assert_close(scaled.predict(Q * unit), plain.predict(Q), y)


@pytest.mark.parametrize("value", [7.0, -0.1, 1e6 / 3])
def test_a_constant_feature_changes_nothing(value):
    X, y, _, Q = regression(d=2)
    plain = NadarayaWatsonRegressor().fit(X, y)
    with_constant = NadarayaWatsonRegressor().fit(np.insert(X, 1, value, axis=1), y)
    assert_allclose(with_constant.bandwidth_[[0, 2]], plain.bandwidth_, rtol=1e-6)
    # s = 1 for a constant feature, so that its bandwidth is the factor itself
    factor = with_constant.bandwidth_search_.factors[with_constant.bandwidth_search_.best_index]
    assert with_constant.bandwidth_[1] == factor
    assert_close(with_constant.predict(np.insert(Q, 1, value, axis=1)), plain.predict(Q), y, 1e-5)


@pytest.mark.parametrize("bandwidth", [0.7, *SELECTORS])
@pytest.mark.parametrize("value", [0.1, -1e6 / 3])
def test_a_constant_target_is_predicted_without_rounding(value, bandwidth):
    X, _, w, Q = regression(weighted=True)
    model = NadarayaWatsonRegressor(bandwidth=bandwidth).fit(X, np.full(len(X), value), w)
    assert_array_equal(model.predict(Q), value)
    assert_array_equal(model.predict(Q, return_std=True)[1], 0.0)
    assert_array_equal(model.loo_prediction_, value)
    assert model.loo_score_ == 1.0


@pytest.mark.parametrize("algorithm", ENGINES)
def test_a_bandwidth_for_each_feature_divides_that_feature(algorithm):
    X, y, _, Q = regression(d=3)
    h = np.array([0.5, 2.0, 7.0])
    each = NadarayaWatsonRegressor(bandwidth=h, algorithm=algorithm).fit(X, y)
    one = NadarayaWatsonRegressor(bandwidth=1.0, algorithm=algorithm).fit(X / h, y)
    assert_array_equal(each.bandwidth_, h)
    assert_array_equal(one.bandwidth_, [1.0, 1.0, 1.0])
    assert_close(each.predict(Q), one.predict(Q / h), y)
    assert_array_equal(NadarayaWatsonRegressor(bandwidth=2).fit(X, y).bandwidth_, [2.0, 2.0, 2.0])


@pytest.mark.parametrize(
    "case",
    [*engine_cases(["gaussian", "exponential", "tricube"], [3]), {"kernel": "tricube", "d": 1, "algorithm": "sorted"}],
    ids=describe,
)
@pytest.mark.filterwarnings("ignore:rows with equal inputs:UserWarning")
def test_two_threads_give_what_one_gives(case):
    X, y, w, Q = regression(n=300, m=500, d=case["d"], n_outputs=2, weighted=True)

    def fit(n_jobs):
        model = NadarayaWatsonRegressor(case["kernel"], algorithm=case["algorithm"], n_jobs=n_jobs)
        return model.fit(X, y, w)

    one, two = fit(None), fit(2)
    assert_allclose(two.bandwidth_, one.bandwidth_, rtol=1e-9)
    assert_close(two.loo_prediction_, one.loo_prediction_, y)
    assert_close(two.predict(Q), one.predict(Q), y)
    assert_close(two.predict(Q, return_std=True)[1], one.predict(Q, return_std=True)[1], y)
    assert_allclose(two.attention_weights_(Q), one.attention_weights_(Q), rtol=0, atol=1e-12)
    sparse = [model.attention_weights_(Q, top_k=5).toarray() for model in (one, two)]
    assert_allclose(*sparse, rtol=0, atol=1e-12)
    assert_allclose(two.effective_sample_size(Q), one.effective_sample_size(Q), rtol=1e-9)


@pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")
@pytest.mark.parametrize("algorithm", ENGINES)
def test_fortran_order_and_views_are_taken_as_they_are(algorithm):
    X, y, w, Q = regression(n_outputs=2, weighted=True, d=4)
    plain = NadarayaWatsonRegressor(algorithm=algorithm).fit(X, y, w)
    wide = np.repeat(X, 2, axis=1)[:, ::2]
    for other in [np.asfortranarray(X), wide, X.tolist()]:
        model = NadarayaWatsonRegressor(algorithm=algorithm).fit(other, np.asfortranarray(y), w)
        assert_close(model.predict(np.asfortranarray(Q)), plain.predict(Q), y)


def test_integer_and_float32_inputs_are_their_float64_values():
    X, y, Q = np.arange(12).reshape(6, 2) ** 2, np.arange(6), np.arange(4).reshape(2, 2)
    expected = NadarayaWatsonRegressor(bandwidth=5.0).fit(X.astype(float), y.astype(float)).predict(Q.astype(float))
    assert_close(NadarayaWatsonRegressor(bandwidth=5.0).fit(X, y).predict(Q), expected, y)
    single = NadarayaWatsonRegressor(bandwidth=5.0).fit(X.astype(np.float32), y).predict(Q.astype(np.float32))
    assert single.dtype == np.float32
    assert_close(single, expected, y, TOLERANCE_FLOAT32)


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "tophat", "power 0.5"])
def test_float32_is_right_at_an_offset_of_a_thousand_deviations(kernel, algorithm):
    X, y, _, Q = regression(d=5, n=200)
    X, Q = (X + 1000).astype(np.float32), (Q + 1000).astype(np.float32)
    parameter, of_oracle = KERNELS[kernel]
    model = NadarayaWatsonRegressor(parameter, 1.5, algorithm=algorithm).fit(X, y)
    assert_close(model.predict(Q), oracle.predict(Q, X, y, np.full(5, 1.5), of_oracle), y, TOLERANCE_FLOAT32)


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "power 0.1", "power 0.3", "power 0.5"])
def test_float32_is_right_beside_a_sample(kernel, algorithm):
    """A query one rounding away from a sample: u^0.1 tells a distance of 1e-7 from one of 1e-6."""
    X, y, _, _ = regression(dtype=np.float32)
    Q = np.nextafter(X, np.float32(9.0))
    power = float(kernel.split()[1]) if " " in kernel else None
    model = NadarayaWatsonRegressor(PowerExponential(power) if power else kernel, 1.0, algorithm=algorithm).fit(X, y)
    assert_close(model.predict(Q), oracle.predict(Q, X, y, np.ones(2), power or kernel), y, TOLERANCE_FLOAT32)


@pairwise(
    [{"kernel": k, "d": d} for k, d in [("gaussian", 1), ("gaussian", 5), ("exponential", 3), ("power 1.5", 2)]],
    width=[0.1, 1e-2, 1e-3],
    offset=[0.0, 1e3],
    algorithm=["auto", "dense", "fused"],
)
def test_float32_is_right_at_bandwidths_far_below_the_range(kernel, d, width, offset, algorithm):
    """To the rounding of the answers: distances that float32 computes are wrong by eps times the range."""
    rng = np.random.default_rng(0)
    # groups of samples that share the weights of the queries among them
    centres = rng.uniform(-0.5, 0.5, size=(12, 1, d))
    X = (centres + width * rng.normal(size=(12, 12, d))).reshape(-1, d) + offset
    Q = (centres + width * rng.normal(size=(12, 6, d))).reshape(-1, d) + offset
    X, Q, y = X.astype(np.float32), Q.astype(np.float32), rng.normal(size=len(X))
    parameter, of_oracle = KERNELS[kernel]
    model = NadarayaWatsonRegressor(parameter, width, algorithm=algorithm).fit(X, y)
    expected = oracle.predict(Q, X, y, np.full(d, width), of_oracle)
    assert_close(model.predict(Q), expected, y, 2 * np.finfo(np.float32).eps)


@pairwise(d=[1, 3], kernel=["tophat", "tricube"], algorithm=["auto", "dense", "fused", "pruned"])
def test_samples_whose_distances_differ_by_more_than_rounding_do_not_tie(d, kernel, algorithm):
    """A sample that is nearer by a part in 1e12 is the only nearest one; two that differ by rounding tie."""
    direction = np.eye(d)[0]
    X = np.array([-1.0, 1.0 + 1e-12, 5.0, 9.0, 9.0 - 2e-15])[:, np.newaxis] * direction
    y = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    model = NadarayaWatsonRegressor(kernel, 0.1, algorithm=algorithm).fit(X, y)
    Q = np.array([0.0, 2e-12, 1e-12 / 2, 7.0 + 1e-9])[:, np.newaxis] * direction
    expected = np.array([1.0, 2.0, 1.5, 12.0])
    assert_allclose(model.predict(Q), expected, rtol=1e-12)
    assert_allclose(model.attention_weights_(Q) @ y, expected, rtol=1e-12)
    # the third has the second, nearer by 1e-12 than the others; the last two have each other
    assert_allclose(model.loo_prediction_, [2.0, 1.0, 2.0, 16.0, 8.0], rtol=1e-12)
