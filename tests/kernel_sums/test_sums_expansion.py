"""The Gaussian sums by expansions against the oracle and the dense engine, whichever way they are computed."""

from dataclasses import replace

import numpy as np
import pytest
from covering import covering_array, describe
from kernel_requests import LEFT_OUT, column, leave_out_of, oracle_log_weights
from kernel_requests import request_of as any_request_of
from numpy.testing import assert_allclose, assert_array_equal

from sknw._kernel_sums import costs
from sknw._kernel_sums.fast_gauss import engine, line, near_field
from sknw._kernel_sums.fast_gauss.grid import cell_width
from sknw._kernel_sums.registry import ENGINES
from sknw._kernel_sums.request import LeaveOut
from sknw.kernels import Epanechnikov, Exponential, Gaussian, PowerExponential

EXPANSION, DENSE = ENGINES["expansion"], ENGINES["dense"]
EPS = np.finfo(float).eps
# What the choice of the way by its cost is replaced with: always one way, where it is accurate.
WAYS = {
    "by cost": {},
    "expansions": {
        (costs, "NEAR_PAIR"): 1e9,
        (engine, "MEMORY"): 2**27,
        (costs, "LINE_KEY"): 1e9,
        (line, "_FEW_IN_CELL"): 0,
    },
    "direct": {
        (costs, "NEAR_PAIR"): 0.0,
        (near_field, "_FEW_PAIRS"): 0.0,
        (line, "_FEW_IN_CELL"): np.inf,
    },
}


def use(way, monkeypatch):
    """Sums by one of `WAYS`."""
    for (module, name), value in WAYS[way].items():
        monkeypatch.setattr(module, name, value)


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    use(request.param, monkeypatch)


def request_of(keys, queries=None, *, kind=None, kernel=None, weighted=True, **parameters):
    """About the Gaussian; without queries these are half of the keys, left out as `kind` says."""
    keys, leave_out = column(keys), None
    n = len(keys)
    if queries is None:
        index = np.random.default_rng(0).permutation(n)[: max(n // 2, 1)]
        queries, leave_out = keys[index], leave_out_of(n, len(index), kind)
        if leave_out is not None:
            leave_out = LeaveOut.own(np.where(leave_out.index < 0, -1, index))
    if not weighted:
        parameters["weights"] = np.ones(n)
    return any_request_of(kernel or Gaussian(), keys, queries, leave_out, **parameters)


def brute_force(request, h):
    """Mass, moments and moments of |V| in long double, relative to the largest weight, and its logarithm."""
    power = float(request.kernel.form.power)
    exponents = oracle_log_weights(request, power, h * request.kernel.form.rate ** (-1.0 / power))
    top = exponents.max(axis=1)
    weights = np.exp(exponents - np.where(np.isfinite(top), top, 0.0)[:, np.newaxis])
    return weights.sum(axis=1), weights @ request.columns, weights @ np.abs(request.columns), top


def assert_sums_are_right(request, rtol=1e-12):
    sums = EXPANSION.compute(request)
    for b, h in enumerate(request.bandwidths):
        mass, moments, magnitude, top = brute_force(request, h)
        supported = np.isfinite(top)
        assert_array_equal(sums.mass[b] > 0, supported)
        # an exponent is known to a few of its last digits
        allowed = (rtol + 8 * EPS * np.abs(top[supported]))[:, np.newaxis]
        to_oracle = np.exp(sums.log_scale[b] - top)[supported, np.newaxis]
        error = sums.mass[b][supported, np.newaxis] * to_oracle / mass[supported, np.newaxis] - 1
        assert np.abs(error).max(initial=0) <= allowed.max(initial=0)
        assert np.all(np.abs(error) <= allowed)
        error = np.abs(sums.moments[b][supported] * to_oracle - moments[supported])
        scale = mass[supported, np.newaxis] * np.average(np.abs(request.columns), axis=0, weights=request.weights)
        assert np.all(error <= allowed * np.maximum(magnitude[supported], scale))


def sample(d, n=600, seed=1):
    return np.random.default_rng(seed).normal(size=(n, d))


# Accuracy


@pytest.mark.parametrize(
    "case",
    covering_array(d=[1, 2, 3], weighted=[False, True], n_columns=[0, 1, 3], kind=LEFT_OUT, way=list(WAYS)),
    ids=describe,
)
def test_sums_are_the_oracles(case, monkeypatch):
    use(case.pop("way"), monkeypatch)
    d = case.pop("d")
    bandwidths = [30.0, 2.0, 0.5, 0.49] if d == 3 else [30.0, 2.0, 0.5, 0.1, 0.01]
    request = request_of(sample(d, 300), bandwidths=bandwidths, **case)
    assert_sums_are_right(request)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_sums_are_the_dense_engines(d):
    n = 20_000
    keys = sample(d, n)
    request = request_of(
        keys, np.vstack([keys[:300], 4.0 * keys[300:600]]), n_columns=2, bandwidths=np.array([0.5, 0.2])
    )
    sums, expected = EXPANSION.compute(request), DENSE.compute(request)
    magnitude = DENSE.compute(replace(request, index=request.index.with_columns(np.abs(request.columns)))).moments
    scale = np.exp(sums.log_scale - expected.log_scale)
    assert_allclose(sums.mass * scale, expected.mass, rtol=1e-12)
    assert np.all(np.abs(sums.moments * scale[..., np.newaxis] - expected.moments) <= 1e-12 * magnitude)


@pytest.mark.parametrize("d", [1, 2])
def test_power_exponential_two_is_a_gaussian(d, way):
    assert_sums_are_right(request_of(sample(d), kernel=PowerExponential(2), bandwidths=np.array([1.0, 0.2])))


RATIOS = [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0]


@pytest.mark.parametrize("case", covering_array(d=[1, 2, 3], ratio=RATIOS, kind=LEFT_OUT, way=list(WAYS)), ids=describe)
def test_sums_are_right_at_every_bandwidth(case, monkeypatch):
    use(case["way"], monkeypatch)
    keys = np.random.default_rng(2).uniform(-0.5, 0.5, (300, case["d"]))
    assert_sums_are_right(request_of(keys, kind=case["kind"], bandwidths=[case["ratio"]]))


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("offset", [1e3, -1e6])
def test_an_offset_costs_no_digits(d, offset, way):
    # differences of the inputs as given are what counts
    keys = np.random.default_rng(2).uniform(-1.0, 1.0, (400, d)) + offset
    assert_sums_are_right(request_of(keys, kind="own", bandwidths=np.array([1.0, 0.25])))


@pytest.mark.parametrize(
    "case",
    covering_array(d=[1, 2], gap=[3.0, 4.5, 6.0, 8.0, 12.0, 30.0, 100.0], way=list(WAYS)),
    ids=describe,
)
def test_queries_in_a_gap_between_heavy_clusters_keep_their_digits(case, monkeypatch):
    """From a mass of 1e4 down to 1e-20 and far below, from one edge of the gap to the other."""
    use(case["way"], monkeypatch)
    d, gap = case["d"], case["gap"]
    rng = np.random.default_rng(3)
    left, right = rng.uniform(-1.0, 0.0, (3000, d)), rng.uniform(0.0, 1.0, (2000, d))
    left[:, 0], right[:, 0] = np.minimum(left[:, 0], 0.0), right[:, 0] + gap
    queries = rng.uniform(0.2, 0.4, (60, d))
    queries[:, 0] = np.linspace(-0.5, gap + 0.5, 60)
    assert_sums_are_right(request_of(np.vstack([left, right]), queries))


@pytest.mark.parametrize(
    "case", covering_array(d=[1, 2, 3], outlier=[1e3, 1e8, 1e14, 1e30], way=list(WAYS)), ids=describe
)
def test_one_huge_outlier_neither_costs_memory_nor_digits(case, monkeypatch):
    use(case["way"], monkeypatch)
    keys = sample(case["d"], 300)
    keys[17] = case["outlier"]
    request = request_of(keys, kind="own", bandwidths=np.array([1.0, 0.3]))
    kept = np.flatnonzero(request.leave_out.index != 17)
    leave_out = request.leave_out[kept]
    assert_sums_are_right(replace(request, queries=request.queries[kept], leave_out=leave_out))


def test_an_outlying_query_gets_the_limit():
    keys = sample(1, 300)
    for far in [1e7, 1e9]:
        request = request_of(keys, [far, 0.0, -far])
        sums = EXPANSION.compute(request)
        mean = sums.moments[0, :, 0] / sums.mass[0]
        assert_allclose(mean[[0, 2]], request.columns[[keys.argmax(), keys.argmin()], 0])


@pytest.mark.parametrize("far", [1e15, 1e16, 1e17, 1e30])
def test_keys_at_the_same_distance_but_for_rounding_all_count(far):
    request = request_of(sample(1, 300), [far, -far])
    means = [sums.moments / sums.mass[..., np.newaxis] for sums in (EXPANSION.compute(request), DENSE.compute(request))]
    assert_allclose(*means, rtol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_ties_are_all_counted_and_only_the_own_key_is_left_out(d, way):
    keys = np.repeat(np.random.default_rng(4).integers(-3, 3, (60, d)).astype(float), 7, axis=0)
    bandwidths = np.array([3.0, 1.0, 0.3]) if d < 3 else np.array([3.0, 1.0])
    assert_sums_are_right(request_of(keys, kind="own", bandwidths=bandwidths))
    assert_sums_are_right(request_of(np.ones((50, d)), kind="own", bandwidths=bandwidths))


@pytest.mark.parametrize("order", ["sorted", "reversed", "shuffled"])
def test_the_order_of_the_keys_does_not_matter(order, way):
    keys = np.sort(sample(1)[:, 0])
    keys = {"sorted": keys, "reversed": keys[::-1], "shuffled": np.random.default_rng(0).permutation(keys)}[order]
    assert_sums_are_right(request_of(keys, kind="own", bandwidths=np.array([1.0, 0.1])))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_all_keys_as_queries_in_their_order_are_right(d, way):
    """Leave-one-out over the training set: the engine sorts it only once."""
    keys = sample(d, 300)
    keys[5] = 1e20
    keep = np.arange(300) != 5
    leave_out = LeaveOut.own(np.where(keep, np.arange(300), -1))
    assert_sums_are_right(replace(request_of(keys, keys, bandwidths=np.array([1.0, 0.3])), leave_out=leave_out))
    keys = keys[keep]
    leave_out = LeaveOut.own(np.arange(299))
    assert_sums_are_right(replace(request_of(keys, keys, bandwidths=np.array([1.0, 0.3])), leave_out=leave_out))


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3), (3, 200), (600, 1)])
def test_any_number_of_keys_and_queries_is_taken(n, m, d, way):
    queries = np.random.default_rng(7).normal(size=(m, d))
    assert_sums_are_right(request_of(sample(d, n), queries, bandwidths=np.array([10.0, 0.5])))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_key_without_others_has_no_mass(d, way):
    leave_out = LeaveOut.own(np.zeros(1, dtype=np.intp))
    sums = EXPANSION.compute(replace(request_of(np.zeros((1, d)), np.zeros((1, d))), leave_out=leave_out))
    assert sums.mass[0, 0] < 1e-300


def test_isolated_keys_are_not_lost_to_subtraction(way):
    """Without its own weight 1 a key 7 bandwidths off the others has a mass of 1e-11."""
    for d in [1, 2, 3]:
        keys = np.vstack([np.random.default_rng(5).uniform(-0.5, 0.5, (400, d)), np.full((1, d), 7.5 / np.sqrt(d))])
        request = request_of(keys, keys[-1:], weighted=False)
        assert_sums_are_right(replace(request, leave_out=LeaveOut.own(np.array([400]))))


def test_an_extreme_own_value_leaves_no_trace(way):
    keys = sample(1)
    request = request_of(keys, kind="own", bandwidths=np.array([0.3]))
    request.columns[request.leave_out.index[0]] = 1e14
    sums = EXPANSION.compute(request)
    mass, moments = brute_force(request, 0.3)[:2]
    assert_allclose(sums.moments[0, 0] / sums.mass[0, 0], (moments[0] / mass[0]).astype(float), rtol=1e-12)


def test_tiny_sample_weights_count_where_they_are_alone(way):
    for d in [1, 2]:
        keys = np.zeros((500, d))
        keys[:, 0] = np.append(np.linspace(-1, 1, 498), [40.0, 40.5])
        weights = np.append(np.ones(498), [1e-100, 2e-100])
        request = request_of(keys, keys[[0, 498, 499, 250]] + 0.25, weights=weights)
        assert_sums_are_right(request)


# Promises beside accuracy


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_prediction_does_not_depend_on_the_batch(d):
    keys = sample(d, 4000)
    queries = np.vstack([sample(d, 4000, seed=8), 3.0 * sample(d, 40, seed=9)])
    request = request_of(keys, queries, bandwidths=np.array([0.5]))
    whole = EXPANSION.compute(request)
    for row in [0, 1, 17, 2000, *range(4000, 4040)]:
        alone = EXPANSION.compute(replace(request, queries=queries[row : row + 1]))
        scale = np.exp(alone.log_scale[0, 0] - whole.log_scale[0, row])
        assert_allclose(alone.mass[0, 0] * scale, whole.mass[0, row], rtol=1e-13)
        mean = whole.moments[0, row] / whole.mass[0, row]
        assert_allclose(alone.moments[0, 0] / alone.mass[0, 0], mean, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_threads_change_nothing(d, way):
    request = request_of(sample(d), kind="own", n_columns=2, bandwidths=np.array([2.0, 0.5]))
    one, two = EXPANSION.compute(request), EXPANSION.compute(replace(request, n_jobs=2))
    assert_array_equal(one.mass, two.mass)
    assert_array_equal(one.moments, two.moments)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_bandwidths_together_are_each_alone(d, way):
    bandwidths = np.array([3.0, 1.0, 0.7])
    request = request_of(sample(d, 300), kind="own", bandwidths=bandwidths)
    together = EXPANSION.compute(request)
    for b in range(len(bandwidths)):
        alone = EXPANSION.compute(replace(request, bandwidths=bandwidths[b : b + 1]))
        # 1.0 and 0.7 share cells
        assert_allclose(together.mass[b], alone.mass[0], rtol=1e-12)
        assert_allclose(
            together.moments[b] / together.mass[b, :, None],
            alone.moments[0] / alone.mass[0, :, None],
            rtol=1e-12,
            atol=1e-12,
        )


def test_read_only_input_is_taken():
    request = request_of(sample(2), kind="own")
    for array in [
        request.keys,
        request.queries,
        request.weights,
        request.columns,
        request.leave_out.first,
        request.leave_out.last,
    ]:
        array.setflags(write=False)
    assert_sums_are_right(request)


@pytest.mark.parametrize("largest", [1e-300, 0.3, 1.15, np.pi, 7e200])
def test_centres_of_cells_are_exact(largest):
    width = cell_width(largest)
    assert 0.9 * largest < width <= largest
    index = 2**45 - 1
    mantissa, _ = np.frexp(width)
    assert (index + 0.5) * mantissa == np.longdouble(index + 0.5) * np.longdouble(mantissa)


# What it takes


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("kernel", [Gaussian(), PowerExponential(2)], ids=str)
def test_gaussian_kernels_in_one_to_three_features_are_taken(kernel, d):
    assert EXPANSION.refusal(request_of(sample(d), kernel=kernel)) is None


@pytest.mark.parametrize("kernel", [Exponential(), PowerExponential(1.5), Epanechnikov()], ids=str)
def test_other_kernels_are_refused_with_the_reason(kernel):
    assert "Gaussian" in EXPANSION.refusal(request_of(sample(1), kernel=kernel))


def test_more_features_are_refused_with_the_reason():
    assert "4" in EXPANSION.refusal(request_of(sample(4)))


@pytest.mark.parametrize("d", [1, 2])
def test_a_sample_far_from_all_others_is_predicted_from_them(d):
    """Relative to a key 38 bandwidths away the own key would weigh exp(710)."""
    keys = np.zeros((40, d))
    keys[:, 0] = np.cumsum(np.linspace(36.0, 40.0, 40))
    assert_sums_are_right(request_of(keys, kind="own", bandwidths=np.array([1.0])))
