"""Kernel sums by every engine, against the oracle's; test_nadaraya_watson.py tests what becomes of them."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
from covering import covering_array, describe
from kernel_requests import (
    LEFT_OUT,
    RANGES,
    assert_same_sums,
    assert_sums_are_the_oracles,
    oracle_log_weights,
    random_request,
    request_of,
    with_keys,
)
from numpy.testing import assert_allclose, assert_array_equal
from problems import KERNELS, DifferentiableCauchy, bandwidth, engine_cases
from processes import run
from scipy.spatial.distance import cdist
from sklearn import config_context
from threadpoolctl import threadpool_info, threadpool_limits

from sknw._kernel_sums.dense import squared_distances
from sknw._kernel_sums.derivative import derivative_sums
from sknw._kernel_sums.registry import ENGINES, dispatcher, kernel_sums
from sknw._kernel_sums.request import LeaveOut
from sknw._kernel_sums.scaled_sums import ScaledSums
from sknw._kernel_sums.tiled.pairs import takes_pairs
from sknw._smoothing.attention import effective_sample_size, least_sample_size
from sknw.kernels import ExponentialForm, Gaussian, resolve_kernel

# from bandwidths at which all weights are 1 - 1e-8 to those at which most are 0
SQRT_CHAIN = 1e4 / np.sqrt(2.0) ** np.arange(60)
NAMES = ["dense", "fused", "sorted", "expansion", "pruned"]

by_engine = pytest.mark.parametrize("engine", NAMES)
by_kernel_of_form = pytest.mark.parametrize("kernel", ["gaussian", "exponential", "tricube", "cosine", "tophat"])
by_brute_force = pytest.mark.parametrize("engine", ["dense", "fused"])


def cases_of(kernels=KERNELS, dimensions=(1, 2, 3, 5, 20)):
    """Kernels and numbers of features with the engines that take them, of K and of K^2."""
    cases = [case for case in engine_cases(kernels, dimensions) if case["algorithm"] != "auto"]
    cases = [{**case, "squared": squared} for case in cases for squared in (False, True)]
    return [
        case for case in cases if (case["algorithm"], case["kernel"], case["squared"]) != ("sorted", "cosine", True)
    ]


def crossed(cases, **levels):
    return pytest.mark.parametrize("case", covering_array(cases, **levels), ids=describe)


def kernel_of(case):
    """The kernel as sknw and as the oracle know it."""
    parameter, of_oracle = KERNELS[case["kernel"]]
    kernel = resolve_kernel(parameter)
    return (kernel.square(), (of_oracle, 2)) if case["squared"] else (kernel, of_oracle)


def test_every_engine_is_tested():
    assert set(ENGINES) == {*NAMES, "cluster"}  # the last one in test_cluster


@crossed(
    cases_of(),
    leave_out=[*LEFT_OUT, *RANGES],
    n_columns=[0, 1, 3],
    bandwidths=[[1.0], [2.0, 2.0 / np.sqrt(2.0), 1.0, 0.9], [0.3, 0.02]],
)
def test_sums_of_every_engine_are_the_oracles(case):
    kernel, of_oracle = kernel_of(case)
    parameters = {name: case[name] for name in ("d", "leave_out", "n_columns", "bandwidths")}
    assert_sums_are_the_oracles(random_request(kernel, **parameters), of_oracle, case["algorithm"])


@crossed(
    cases_of(["gaussian", "tricube"], [1, 2, 4]),
    sizes=[(1, 1), (2, 5), (511, 3), (513, 1), (1300, 9)],
    n_columns=[0, 1, 3, 7],
)
def test_sums_are_right_whatever_the_numbers_of_keys_queries_and_columns(case):
    (kernel, of_oracle), (n, m) = kernel_of(case), case["sizes"]
    request = random_request(kernel, case["d"], n, m, n_columns=case["n_columns"])
    assert_sums_are_the_oracles(request, of_oracle, case["algorithm"])


@crossed(
    [case for case in cases_of() if case["algorithm"] == "fused"],
    n=[1, 2, 9, 511, 514, 1030],
    n_columns=[0, 1, 2, 3],
    bandwidths=[[1.0], [2.0, 2.0 / np.sqrt(2.0), 1.0, 0.9, 0.45, 0.225, 0.1125], [0.3, 0.02]],
    n_jobs=[1, 3],
)
def test_sums_over_pairs_of_keys_are_the_oracles(case, monkeypatch):
    """Where every query is a key without itself, each weight serves both keys of a pair."""
    kernel, of_oracle = kernel_of(case)
    parameters = {name: case[name] for name in ("n_columns", "bandwidths", "n_jobs")}
    n = case["n"]
    keys = np.random.default_rng(0).normal(size=(n, case["d"])) / bandwidth(case["d"])
    request = request_of(kernel, keys, None, LeaveOut.own(np.arange(n)), **parameters)
    monkeypatch.setattr(dispatcher, "is_worth_compiling", lambda *_: True)
    assert takes_pairs(request, seconds=0.0)
    assert_sums_are_the_oracles(request, of_oracle, "fused")


@by_brute_force
@pytest.mark.parametrize("d", range(1, 14))
def test_sums_are_right_in_any_dimension(d, engine):
    """The compiled loops take features two or four at a time: products for the Gaussian, differences for the cosine."""
    for kernel in ["gaussian", "cosine"]:
        assert_sums_are_the_oracles(random_request(kernel, d, leave_out="some"), kernel, engine)


@crossed(
    [case for case in cases_of(["gaussian", "exponential", "power 0.5"], [1, 2, 5]) if not case["squared"]],
    distance=[20.0, 50.0, 100.0, 1e4],
)
def test_far_queries_keep_their_weights_by_the_log_scale(case):
    """exp(-100^2 / 2) is 1e-2171: every weight underflows, their ratios do not."""
    (kernel, of_oracle), d = kernel_of(case), case["d"]
    queries = random_request(kernel, d).queries + case["distance"] / np.sqrt(d)
    request = random_request(kernel, d, n_columns=2, queries=queries)
    exponent = np.abs(oracle_log_weights(request, of_oracle, 1.0)).min()
    rounding_of_exponent = 8 * np.finfo(float).eps * float(exponent)
    assert_sums_are_the_oracles(request, of_oracle, case["algorithm"], rtol=1e-10 + rounding_of_exponent)


@by_brute_force
@pytest.mark.parametrize("leave_out", [*LEFT_OUT, "blocks"])
@pytest.mark.parametrize("d", [1, 5])
def test_a_long_chain_of_bandwidths_is_each_bandwidth_alone(d, leave_out, engine):
    """Weights at h / sqrt(2) are the squares of those at h: the error of repeated squaring must not pile up."""
    request = random_request(Gaussian(), d, leave_out=leave_out, bandwidths=SQRT_CHAIN)
    together = kernel_sums(request, engine)
    mean_together = together.moments / together.mass[..., np.newaxis]
    for b, h in enumerate(SQRT_CHAIN):
        alone = replace(request, bandwidths=np.array([h]))
        logs = oracle_log_weights(alone, "gaussian", h)
        exponents = -logs.max(axis=1)
        weights = np.exp(logs + exponents[:, np.newaxis])
        mean = (weights @ alone.columns) / weights.sum(axis=1)[:, np.newaxis]
        # at the small end the coordinates, known to eps, decide exponents of up to 1e10
        tolerance = 1e-10 + 8 * np.finfo(float).eps * exponents.astype(float)[:, np.newaxis]
        assert np.all(np.abs(mean_together[b] - mean) <= tolerance), h
        sums = kernel_sums(alone, engine)
        assert np.all(np.abs(sums.moments[0] / sums.mass[0][:, np.newaxis] - mean) <= tolerance), h


@crossed(
    cases_of(dimensions=[1, 3]),
    leave_out=["own", "some", *RANGES],
    bandwidths=["roots of 2", "powers of 2", "uneven"],
)
def test_several_bandwidths_at_once_are_one_at_a_time(case):
    kernel, _ = kernel_of(case)
    power = 1.5 if case["kernel"] == "power 1.5" else 0.5 if case["kernel"] == "power 0.5" else 1.0
    bandwidths = {
        "roots of 2": SQRT_CHAIN[:40],
        "powers of 2": 2.0 ** -(np.arange(12) / power),
        "uneven": np.array([3.0, 1.0, 0.99, 0.4, 0.2, 1e-3]),
    }[case["bandwidths"]]
    request = random_request(kernel, case["d"], leave_out=case["leave_out"], n_columns=2, bandwidths=bandwidths)
    together = kernel_sums(request, case["algorithm"])
    for b, h in enumerate(bandwidths):
        alone = kernel_sums(replace(request, bandwidths=np.array([h])), case["algorithm"])
        of_b = ScaledSums(together.mass[[b]], together.moments[[b]], together.log_scale[[b]])
        # the sums of a polynomial of degree 18 along a line, in which rounding is amplified by 7^6
        assert_same_sums(of_b, alone, rtol=1e-11)


@by_brute_force
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "epanechnikov"])
def test_tiny_sample_weights_count_where_they_are_alone(kernel, engine):
    """Two keys of weight 1e-100 pool a query beside them, however heavy the keys far away."""
    weights, columns = np.array([1e-100, 2e-100, 1.0]), np.array([[1.0], [4.0], [100.0]])
    request = request_of(kernel, [0.0, 0.5, 1e3], [0.25, 0.5, -33.0, -700.0], weights=weights, columns=columns)
    sums = kernel_sums(request, engine)
    logs = oracle_log_weights(request, kernel, 1.0)
    supported = np.isfinite(logs).any(axis=1)
    attention = np.exp(logs[supported] - logs[supported].max(axis=1, keepdims=True))
    expected = attention @ columns / attention.sum(axis=1, keepdims=True)
    assert_array_equal(sums.mass[0] > 0, supported)
    means = sums.moments[0][supported] / sums.mass[0][supported, np.newaxis]
    assert_allclose(means, expected.astype(float), rtol=1e-10)


@by_brute_force
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "epanechnikov"])
def test_tiny_sample_weights_count_in_leave_one_out(kernel, engine):
    """Without itself a sample of the weight 1e-250 is pooled from its neighbours of as little weight."""
    leave_out = LeaveOut.own(np.array([0, 1]))
    weights, columns = np.array([1e-250, 1e-250, 2e-250, 1.0]), np.array([[1.0], [4.0], [7.0], [100.0]])
    keys = [0.0, 0.5, 0.75, 1e3]
    sums = kernel_sums(request_of(kernel, keys, None, leave_out, weights=weights, columns=columns), engine)
    near, far, middle = (float(np.exp(oracle.log_kernel(kernel, u))) for u in (0.25, 0.75, 0.5))
    expected = [(middle * 4.0 + far * 14.0) / (middle + 2 * far), (middle * 1.0 + near * 14.0) / (middle + 2 * near)]
    assert_allclose(sums.moments[0, :, 0] / sums.mass[0], expected, rtol=1e-10)


@crossed(cases_of(dimensions=[1, 3]), leave_out=[*LEFT_OUT, *RANGES])
def test_threads_and_blocks_change_nothing(case):
    kernel, _ = kernel_of(case)
    request = random_request(kernel, case["d"], 300, 131, case["leave_out"], n_columns=2, bandwidths=[1.0, 0.5])
    one, two = kernel_sums(request, case["algorithm"]), kernel_sums(replace(request, n_jobs=2), case["algorithm"])
    with config_context(working_memory=0.01):
        small_blocks = kernel_sums(request, case["algorithm"])
    for other in [two, small_blocks]:
        assert_allclose(other.mass, one.mass, rtol=1e-13)
        assert_allclose(other.moments, one.moments, rtol=1e-12, atol=1e-14)
        assert_array_equal(other.log_scale, one.log_scale)


# float32 and products of matrices: only where they are accurate, and for each query by itself


@pytest.mark.parametrize("d", [1, 3, 4, 20])
@pytest.mark.parametrize("kernel", KERNELS)
def test_float32_is_allowed_only_where_it_is_accurate(kernel, d):
    parameter, of_oracle = KERNELS[kernel]
    assert_sums_are_the_oracles(random_request(parameter, d, n=300, allow_float32=True), of_oracle, "fused", rtol=1e-5)


@by_brute_force
@pytest.mark.parametrize("radius", [1.0, 10.0, 30.0, 100.0, 1e3, 1e5])
def test_an_offset_costs_no_digits(radius, engine):
    """The error of ||q||^2 - 2 q.z + ||z||^2 grows with the square of the radius of the data."""
    request, offset = random_request(Gaussian(), 6), radius / np.sqrt(6)
    shifted = request_of(Gaussian(), request.keys + offset, request.queries + offset, weights=request.weights)
    assert_sums_are_the_oracles(shifted, "gaussian", engine)


@pytest.mark.parametrize("d", [2, 5])
@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
def test_a_far_query_leaves_the_others_in_float32(kernel, d):
    """Each query gets what it gets alone, to the last bit; not float64 because another one needs it."""
    near = random_request(kernel, d, n=300, m=40, n_columns=2, allow_float32=True)
    far = replace(near, queries=np.vstack([near.queries, np.full((1, d), 1e3)]))
    alone, together = ENGINES["fused"].compute(near), ENGINES["fused"].compute(far)
    assert_array_equal(together.mass[:, :-1], alone.mass)
    assert_array_equal(together.moments[:, :-1], alone.moments)
    in_float64 = ENGINES["fused"].compute(replace(near, allow_float32=False))
    error = np.abs(alone.mass / in_float64.mass - 1)
    assert 1e-9 < error.max() < 1e-5, "the near queries must be computed in float32"


@by_brute_force
def test_a_far_query_leaves_the_others_to_products(engine):
    """Whose error, here near the largest allowed, they have whether or not another query cannot be computed so."""
    near = random_request(Gaussian(), 5, n=300, m=40, n_columns=2)
    offset = 20.0
    keys, queries = near.keys + offset, near.queries + offset
    near = request_of(Gaussian(), keys, queries, weights=near.weights, columns=near.columns)
    far = replace(near, queries=np.vstack([queries, np.full((1, 5), 1e7)]))
    assert_array_equal(far.gemm_distances_ok(np.float64, slice(None)), [True] * 40 + [False])
    alone, together = ENGINES[engine].compute(near), ENGINES[engine].compute(far)
    assert_allclose(together.mass[:, :-1], alone.mass, rtol=1e-12)
    assert_allclose(together.moments[:, :-1], alone.moments, rtol=1e-12, atol=1e-12 * alone.mass.max())
    # that the others were computed by products is seen by their rounding
    exact = np.exp(oracle_log_weights(near, "gaussian", 1.0)).sum(axis=1)
    assert np.median(np.abs(together.mass[0, :-1] / exact - 1)) > 1e-14


def test_distances_of_dense_blocks_are_products_query_by_query():
    near = random_request(Gaussian(), 5, n=300, m=40)
    queries = np.vstack([near.queries + 20.0, np.full((1, 5), 1e7)])
    request = request_of(Gaussian(), near.keys + 20.0, queries)
    exact = ((queries[:, np.newaxis] - request.keys) ** 2).sum(axis=2)
    error = np.abs(squared_distances(request, slice(None)) - exact)
    assert np.all(error[:-1].max(axis=1) > 1e-13)
    assert np.all(error[:-1] < 1e-11)
    assert error[-1].max() < 1e-15 * exact[-1].max()


@pytest.mark.parametrize("kernel", [*KERNELS, "a function of two points"])
def test_weights_of_pairs_are_those_of_all_keys_at_some(kernel):
    parameter, of_oracle = KERNELS.get(kernel, (lambda A, B: np.exp(-0.5 * cdist(A, B) ** 2), "gaussian"))
    request = random_request(resolve_kernel(parameter), bandwidths=[1.5, 0.5])
    keys = np.random.default_rng(0).integers(0, 45, (22, 7))
    expected = np.take_along_axis(np.exp(oracle_log_weights(request, of_oracle, 1.5)), keys, axis=1).astype(float)
    assert_allclose(request.weights_of_pairs(keys), expected, rtol=1e-12, atol=1e-14)


def test_weights_of_pairs_of_wide_queries():
    request = replace(random_request(Gaussian()), widths=np.linspace(1.0, 3.0, 22))
    keys = np.random.default_rng(0).integers(0, 45, (22, 7))
    for i, width in enumerate(request.widths):
        expected = replace(request.take(slice(i, i + 1)), widths=None, bandwidths=np.array([width]))
        assert_allclose(request.weights_of_pairs(keys)[i], expected.weights_of_pairs(keys[i : i + 1])[0], rtol=1e-12)


# Sums of parts of the keys, and derivatives


def halves(n, kind):
    """Two sets of keys that together are all n."""
    rows = np.arange(n)
    mask = {"alternating": rows % 2 == 0, "one key": rows == 0, "first half": rows < n // 2}[kind]
    return np.flatnonzero(mask), np.flatnonzero(~mask)


@crossed(
    cases_of(dimensions=[1, 2, 5]),
    leave_out=LEFT_OUT,
    kind=["alternating", "one key", "first half"],
    n_columns=[0, 2],
    bandwidths=[[1.0], [2.0, 0.3]],
)
def test_sums_of_two_sets_of_keys_merge_into_those_of_all(case):
    """A query 60 standard deviations away among them, where only the logarithmic scale keeps the sums."""
    kernel, _ = kernel_of(case)
    parameters = {name: case[name] for name in ("d", "leave_out", "n_columns", "bandwidths")}
    request = random_request(kernel, n=60, m=25, **parameters)
    queries = request.queries.copy()
    if case["leave_out"] in (None, "some"):
        queries[0] = 60.0
    request = replace(request, queries=queries)
    one, other = (kernel_sums(with_keys(request, rows), case["algorithm"]) for rows in halves(60, case["kind"]))
    of_all = kernel_sums(request, case["algorithm"])
    # an exponent of 60^2 / 0.3^2 / 2, doubled, has the rounding of its size
    largest = 1e-13 if case["algorithm"] == "dense" else 1e-11
    allowed = largest + 4 * np.finfo(float).eps * np.abs(of_all.log_scale).max()
    for merged in [one.merge(other), other.merge(one)]:
        assert_same_sums(merged, of_all, allowed)


def test_merged_sums_are_exact_where_their_scales_are_equal():
    request = random_request("epanechnikov", n_columns=2, bandwidths=[2.0, 0.4])
    one, other = (ENGINES["dense"].compute(with_keys(request, rows)) for rows in halves(45, "alternating"))
    merged = one.merge(other)
    assert_array_equal(merged.mass, one.mass + other.mass)
    assert_array_equal(merged.moments, one.moments + other.moments)


def test_sums_of_no_key_change_nothing_when_merged():
    sums = ENGINES["dense"].compute(random_request("gaussian", queries=np.array([[0.0, 0.0], [60.0, 60.0]])))
    empty = ScaledSums(np.zeros((1, 2)), np.zeros((1, 2, 1)), np.zeros((1, 2)))
    for merged in [sums.merge(empty), empty.merge(sums)]:
        for name in ("mass", "moments", "log_scale"):
            assert_array_equal(getattr(merged, name), getattr(sums, name))
    nothing = empty.merge(empty)
    assert_array_equal(nothing.mass, 0.0)
    assert_array_equal(nothing.log_scale, 0.0)


DIFFERENTIABLE = {name: kernel for name, kernel in KERNELS.items() if name != "tophat"} | {
    "user's": (DifferentiableCauchy(), lambda u: 1 / (1 + u**2))
}


def log_mass_of(request):
    sums = ENGINES["dense"].compute(
        replace(request, index=request.index.with_columns(np.empty((len(request.keys), 0))))
    )
    return sums.log_mass()[0]


def sums_of_oracle(request, kernel, queries, log_mass):
    """sum_j K_j w_j (1, V_j) / D in long double: (m, 1 + k)."""
    moved = replace(request, queries=queries)
    weights = np.exp(oracle_log_weights(moved, kernel, request.bandwidths[0]) - log_mass[:, np.newaxis])
    return np.column_stack([weights.sum(axis=1), weights @ request.columns])


@crossed(
    [case for case in cases_of(dimensions=[1, 3, 5]) if case["kernel"] in DIFFERENTIABLE and not case["squared"]]
    + [{"kernel": "user's", "d": d, "algorithm": "dense", "squared": False} for d in (1, 3, 5)],
    leave_out=[*LEFT_OUT, *RANGES],
    n_columns=[0, 1, 3],
    bandwidths=[[1.0], [1.7]],
)
def test_derivatives_of_sums_are_their_differences(case):
    kernel, of_oracle = DIFFERENTIABLE[case["kernel"]]
    d, algorithm = case["d"], case["algorithm"]
    request = random_request(
        kernel, d, leave_out=case["leave_out"], n_columns=case["n_columns"], bandwidths=case["bandwidths"]
    )
    log_mass = log_mass_of(request)
    actual, step = derivative_sums(request, log_mass, algorithm), 1e-6
    assert actual.shape == (len(request.queries), 1 + case["n_columns"], d)
    for a in range(d):
        at = {
            n: sums_of_oracle(
                request, of_oracle, request.queries.astype(np.longdouble) + n * step * np.eye(d)[a], log_mass
            )
            for n in (-2, -1, 1, 2)
        }
        difference = ((8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * step)).astype(float)
        assert_allclose(actual[:, :, a], difference, rtol=0, atol=1e-8)


@pytest.mark.parametrize("algorithm", ["dense", "fused", "expansion"])
def test_derivatives_of_sums_are_relative_to_a_mass_that_underflows(algorithm):
    """60 standard deviations away, relative to the mass, the derivative of log S is about -60."""
    request = random_request("gaussian", 2, queries=np.array([[60.0, 0.0], [0.0, -60.0]]))
    sums = ENGINES["dense"].compute(request)
    relative = derivative_sums(request, sums.log_mass()[0], algorithm)
    logs = oracle_log_weights(request, "gaussian", 1.0)
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    attention = (weights / weights.sum(axis=1, keepdims=True)).astype(float)
    expected = attention @ request.keys - request.queries
    assert_allclose(relative[:, 0], expected, rtol=0, atol=1e-8)


# Threads, BLAS and compilation


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_blocks_leave_the_number_of_blas_threads_as_it_was():
    """Within them it is one, a setting of the whole process."""
    request = random_request(Gaussian(), 5, n=400, m=400, n_jobs=2)
    with threadpool_limits(2, user_api="blas"):
        kernel_sums(request, "dense")
        assert set(blas_threads()) == {2}


def test_callers_in_several_threads_leave_the_number_of_blas_threads_as_it_was():
    """In a new process: the first thread to set the number may be the only one whose setting has an effect."""
    printed = run(
        """
        from concurrent.futures import ThreadPoolExecutor
        import numpy as np
        from sknw import NadarayaWatsonRegressor
        from threadpoolctl import threadpool_info

        def blas_threads():
            return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

        def fit_and_predict(seed):
            X = np.random.default_rng(seed).normal(size=(400, 5))
            return NadarayaWatsonRegressor(bandwidth=1.0, algorithm="dense").fit(X, X[:, 0]).predict(X)

        before = blas_threads()
        for _ in range(5):
            with ThreadPoolExecutor(4) as pool:
                together = list(pool.map(fit_and_predict, range(16)))
                print(blas_threads() == before)
        print(blas_threads() == before)
        print(np.allclose(together, [fit_and_predict(seed) for seed in range(16)], rtol=1e-12))
        """
    )
    assert set(printed.split()) == {"True"}


def test_without_a_place_for_its_cache_numba_compiles_all_the_same(monkeypatch):
    from sknw._kernel_sums import numba as compiler

    def njit(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiler, "njit", njit)
    assert compiler.compiled()(abs)(-1) == 1


@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
def test_leaving_each_of_few_keys_out_is_the_same_where_the_queries_are_the_keys_themselves(kernel):
    """Of keys themselves NumPy keeps the exponents; the last key is far from all others."""
    n = 30
    keys = np.append(np.random.default_rng(0).normal(size=n - 1), 50.0)
    request = request_of(kernel, keys, leave_out=LeaveOut.own(np.arange(n)), n_columns=2, bandwidths=SQRT_CHAIN[:40])
    at_keys = replace(request, queries=request.keys)
    assert_same_sums(ENGINES["dense"].compute(at_keys), ENGINES["dense"].compute(request), 1e-12, 1e-9)
    alone = request_of(kernel, keys[:1], leave_out=LeaveOut.own(np.arange(1)))
    assert ENGINES["dense"].compute(replace(alone, queries=alone.keys)).mass == 0.0


@by_kernel_of_form
def test_the_sum_of_weights_is_no_larger_than_the_effective_sample_size(kernel):
    request = request_of(kernel, np.random.default_rng(0).normal(size=40), np.linspace(-3, 3, 9), weights=np.ones(40))
    bound = least_sample_size(request, "auto")
    assert (bound is None) == isinstance(request.form, ExponentialForm)
    if bound is not None:
        size, unsupported = effective_sample_size(request, "mean", "auto")
        assert_array_equal(bound[1], unsupported)
        assert np.all(bound[0][~unsupported] <= size[~unsupported] * (1 + 1e-12))
