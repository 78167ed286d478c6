"""Kernel sums by every engine, against the oracle's; test_nadaraya_watson.py tests what becomes of them."""

import sys
from functools import cache

import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import ENGINES, KERNELS, Cauchy, Quartic, bandwidth
from processes import run
from sklearn import config_context
from threadpoolctl import threadpool_info, threadpool_limits

from sknw import _kernel_sums as _sums
from sknw._kernel_sums import ALGORITHMS, choose_algorithm, kernel_sums
from sknw._kernel_sums.request import KernelSumRequest, LeaveOneOut
from sknw.kernels import Epanechnikov, Gaussian, Pairwise, resolve_kernel

# from bandwidths at which all weights are 1 - 1e-8 to those at which most are 0
SQRT_CHAIN = 1e4 / np.sqrt(2.0) ** np.arange(60)


def sum_problem(kernel, d=2, n=45, m=22, n_outputs=1, leave_one_out=None, seed=0, **parameters):
    """Standardised keys and queries; queries that are keys with leave_one_out, "whole" or "shares"."""
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(n, d)) / bandwidth(d)
    queries = 1.5 * rng.normal(size=(m, d)) / bandwidth(d)
    if leave_one_out is not None:
        key = rng.choice(n, m, replace=False)
        share = rng.choice([0.0, 0.3, 1.0], m) if leave_one_out == "shares" else np.zeros(m)
        parameters["own"] = LeaveOneOut(key, share)
        queries = keys[key]
    parameters = {"queries": queries, "weights": rng.choice([0.1, 0.5, 1.0], n)} | parameters
    return KernelSumRequest(kernel=kernel, keys=keys, values=rng.normal(size=(n, n_outputs)), **parameters)


def oracle_log_weights(problem, kernel, factor):
    """log(K_ij w_j) of every query and key, shape (m, n)."""
    weights = np.tile(problem.weights.astype(np.longdouble), (len(problem.queries), 1))
    if problem.own is not None:
        weights[np.arange(len(weights)), problem.own.index] *= problem.own.retained
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    u = oracle.distances(problem.queries, problem.keys, np.full(problem.keys.shape[1], factor))
    return oracle.log_kernel(kernel, u) + log_weights


def assert_sums_are_the_oracles(problem, kernel, algorithm, rtol=1e-10):
    sums = kernel_sums(problem, algorithm)
    for b, factor in enumerate(problem.factors):
        logs = oracle_log_weights(problem, kernel, factor) - sums.log_scale[b][:, np.newaxis]
        weights = np.exp(logs)
        assert_allclose(sums.mass[b], weights.sum(axis=1).astype(float), rtol=rtol)
        moments, magnitude = weights @ problem.values, weights @ np.abs(problem.values)
        assert np.all(np.abs(sums.moments[b] - moments) <= rtol * magnitude)


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("leave_one_out", [None, "whole", "shares"])
@pytest.mark.parametrize("d", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("kernel", KERNELS)
def test_sums_of_every_engine_are_the_oracles(kernel, d, leave_one_out, algorithm):
    parameter, of_oracle = KERNELS[kernel]
    factors = np.array([2.0, 2.0 / np.sqrt(2.0), 1.0, 0.9])
    problem = sum_problem(resolve_kernel(parameter), d, leave_one_out=leave_one_out, factors=factors)
    assert_sums_are_the_oracles(problem, of_oracle, algorithm)


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("n_outputs", [1, 3, 7])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 5), (511, 3), (513, 1), (1300, 9)])
def test_sums_are_right_whatever_the_numbers_of_keys_queries_and_outputs(n, m, n_outputs, algorithm):
    for kernel in ["gaussian", "tricube"]:
        problem = sum_problem(resolve_kernel(kernel), 4, n, m, n_outputs)
        assert_sums_are_the_oracles(problem, kernel, algorithm)


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("d", range(1, 14))
def test_sums_are_right_in_any_dimension(d, algorithm):
    """The compiled loops take features two or four at a time: products for the Gaussian, differences for the cosine."""
    for kernel in ["gaussian", "cosine"]:
        assert_sums_are_the_oracles(sum_problem(resolve_kernel(kernel), d, leave_one_out="shares"), kernel, algorithm)


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("d", [1, 5])
@pytest.mark.parametrize("distance", [20.0, 50.0, 100.0, 1e4])
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "power 0.5"])
def test_far_queries_keep_their_weights_by_the_log_scale(kernel, distance, d, algorithm):
    """exp(-100^2 / 2) is 1e-2171: every weight underflows, their ratios do not."""
    parameter, of_oracle = KERNELS[kernel]
    problem = sum_problem(resolve_kernel(parameter), d, n_outputs=2)
    direction = np.ones(d) / np.sqrt(d)
    problem = sum_problem(resolve_kernel(parameter), d, n_outputs=2, queries=problem.queries + distance * direction)
    exponent = np.abs(oracle_log_weights(problem, of_oracle, 1.0)).min()
    rounding_of_exponent = 8 * np.finfo(float).eps * float(exponent)
    assert_sums_are_the_oracles(problem, of_oracle, algorithm, rtol=1e-10 + rounding_of_exponent)


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("leave_one_out", [None, "whole", "shares"])
@pytest.mark.parametrize("d", [1, 5])
def test_a_long_chain_of_bandwidths_is_each_bandwidth_alone(d, leave_one_out, algorithm):
    """Weights at h / sqrt(2) are the squares of those at h: the error of repeated squaring must not pile up."""
    problem = sum_problem(Gaussian(), d, leave_one_out=leave_one_out, factors=SQRT_CHAIN)
    together = kernel_sums(problem, algorithm)
    mean_together = together.moments / together.mass[..., np.newaxis]
    for b, factor in enumerate(SQRT_CHAIN):
        alone = sum_problem(Gaussian(), d, leave_one_out=leave_one_out, factors=np.array([factor]))
        logs = oracle_log_weights(alone, "gaussian", factor)
        exponents = -logs.max(axis=1)
        weights = np.exp(logs + exponents[:, np.newaxis])
        mean = (weights @ alone.values) / weights.sum(axis=1)[:, np.newaxis]
        # at the small end the coordinates, known to eps, decide exponents of up to 1e10
        tolerance = 1e-10 + 8 * np.finfo(float).eps * exponents.astype(float)[:, np.newaxis]
        assert np.all(np.abs(mean_together[b] - mean) <= tolerance), factor
        sums = kernel_sums(alone, algorithm)
        assert np.all(np.abs(sums.moments[0] / sums.mass[0][:, np.newaxis] - mean) <= tolerance), factor


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_several_bandwidths_at_once_are_one_at_a_time(kernel, algorithm):
    parameter, _ = KERNELS[kernel]
    power = 1.5 if kernel == "power 1.5" else 0.5 if kernel == "power 0.5" else 1.0
    for factors in [SQRT_CHAIN[:40], 2.0 ** -(np.arange(12) / power), np.array([3.0, 1.0, 0.99, 0.4, 0.2, 1e-3])]:
        problem = sum_problem(resolve_kernel(parameter), 3, leave_one_out="shares", n_outputs=2, factors=factors)
        together = kernel_sums(problem, algorithm)
        for b, factor in enumerate(factors):
            alone = kernel_sums(
                sum_problem(
                    resolve_kernel(parameter), 3, leave_one_out="shares", n_outputs=2, factors=np.array([factor])
                ),
                algorithm,
            )
            scale = np.exp(together.log_scale[b] - alone.log_scale[0])
            assert_allclose(together.mass[b] * scale, alone.mass[0], rtol=1e-11)
            assert_allclose(together.moments[b] * scale[:, np.newaxis], alone.moments[0], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "epanechnikov"])
def test_tiny_sample_weights_count_where_they_are_alone(kernel, algorithm):
    """Two keys of weight 1e-100 pool a query beside them, however heavy the keys far away."""
    keys = np.array([[0.0], [0.5], [1e3]])
    problem = KernelSumRequest(
        kernel=resolve_kernel(kernel),
        queries=np.array([[0.25], [0.5], [-33.0], [-700.0]]),
        keys=keys,
        weights=np.array([1e-100, 2e-100, 1.0]),
        values=np.array([[1.0], [4.0], [100.0]]),
    )
    sums = kernel_sums(problem, algorithm)
    weights = oracle_log_weights(problem, kernel, 1.0)
    supported = np.isfinite(weights).any(axis=1)
    weights = np.exp(weights[supported] - weights[supported].max(axis=1, keepdims=True))
    expected = weights @ problem.values / weights.sum(axis=1, keepdims=True)
    assert_array_equal(sums.mass[0] > 0, supported)
    assert_allclose(
        sums.moments[0][supported] / sums.mass[0][supported, np.newaxis], expected.astype(float), rtol=1e-10
    )


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "epanechnikov"])
def test_tiny_sample_weights_count_in_leave_one_out(kernel, algorithm):
    """A sample that keeps half of its own weight, 1e-250, is pooled with its neighbour of as little weight."""
    problem = KernelSumRequest(
        kernel=resolve_kernel(kernel),
        queries=np.array([[0.0], [0.5]]),
        keys=np.array([[0.0], [0.5], [1e3]]),
        weights=np.array([1e-250, 1e-250, 1.0]),
        values=np.array([[1.0], [4.0], [100.0]]),
        own=LeaveOneOut(np.array([0, 1]), np.array([0.5, 0.5])),
    )
    sums = kernel_sums(problem, algorithm)
    other = float(np.exp(oracle.log_kernel(kernel, 0.5)))
    expected = [(0.5 * 1.0 + other * 4.0) / (0.5 + other), (other * 1.0 + 0.5 * 4.0) / (0.5 + other)]
    assert_allclose(sums.moments[0, :, 0] / sums.mass[0], expected, rtol=1e-10)


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_threads_and_blocks_change_nothing(kernel, algorithm):
    parameter, _ = KERNELS[kernel]
    sizes = {"d": 3, "n": 300, "m": 131, "n_outputs": 2, "leave_one_out": "shares", "factors": np.array([1.0, 0.5])}
    one = kernel_sums(sum_problem(resolve_kernel(parameter), **sizes), algorithm)
    two = kernel_sums(sum_problem(resolve_kernel(parameter), **sizes, n_jobs=2), algorithm)
    with config_context(working_memory=0.01):
        small_blocks = kernel_sums(sum_problem(resolve_kernel(parameter), **sizes), algorithm)
    for other in [two, small_blocks]:
        assert_allclose(other.mass, one.mass, rtol=1e-13)
        assert_allclose(other.moments, one.moments, rtol=1e-12, atol=1e-14)
        assert_array_equal(other.log_scale, one.log_scale)


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("d", [1, 3, 4, 20])
@pytest.mark.parametrize("kernel", KERNELS)
def test_float32_is_allowed_only_where_it_is_accurate(kernel, d, algorithm):
    parameter, of_oracle = KERNELS[kernel]
    problem = sum_problem(resolve_kernel(parameter), d, n=300, allow_float32=True)
    assert_sums_are_the_oracles(problem, of_oracle, algorithm, rtol=1e-5)


def test_radius_decides_whether_products_and_float32_are_used():
    """The error of ||q||^2 - 2 q.z + ||z||^2 grows with the square of the radius: offsets must not cost digits."""
    for radius in [1.0, 10.0, 30.0, 100.0, 1e3, 1e5]:
        problem = sum_problem(Gaussian(), 6, allow_float32=True)
        offset = radius / np.sqrt(6)
        shifted = KernelSumRequest(
            kernel=problem.kernel,
            queries=problem.queries + offset,
            keys=problem.keys + offset,
            weights=problem.weights,
            values=problem.values,
        )
        for algorithm in ENGINES:
            assert_sums_are_the_oracles(shifted, "gaussian", algorithm, rtol=1e-10)


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_blocks_leave_the_number_of_blas_threads_as_it_was():
    """Within them it is one, a setting of the whole process."""
    problem = sum_problem(Gaussian(), 5, n=400, m=400, n_jobs=2)
    with threadpool_limits(2, user_api="blas"):
        kernel_sums(problem, "dense")
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
    from sknw._kernel_sums import numba as _compile

    def njit(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(_compile, "njit", njit)
    assert _compile.compiled()(abs)(-1) == 1


# Which engine takes what: the refusals are data too


USER_KERNELS = {"user, unbounded": Cauchy(), "user, compact": Quartic(), "user, pairwise": Pairwise(np.add)}
ALL_KERNELS = [*KERNELS, *USER_KERNELS]
COMPACT = [name for name in KERNELS if np.isfinite(resolve_kernel(KERNELS[name][0]).support)]
# (algorithm, kernel, number of features): True, or what the refusal says
TAKES = {
    **{(algorithm, kernel, d): True for algorithm in ["auto", "dense"] for kernel in ALL_KERNELS for d in [1, 4]},
    **{("fused", kernel, d): True if kernel in KERNELS else "user-defined" for kernel in ALL_KERNELS for d in [1, 4]},
    **{("sorted", kernel, 1): "user-defined" for kernel in USER_KERNELS},
    **{("sorted", kernel, 1): "compact kernels and exp" for kernel in KERNELS},
    **{("sorted", kernel, 1): True for kernel in [*COMPACT, "exponential"]},
    **{("sorted", kernel, 4): "one feature" for kernel in [*COMPACT, "exponential"]},
    **{("expansion", kernel, 1): "Gaussian" for kernel in ALL_KERNELS},
    **{("expansion", "gaussian", 1): True, ("expansion", "gaussian", 4): "features"},
    **{("pruned", kernel, d): "compact kernels" for kernel in KERNELS for d in [1, 4]},
    **{("pruned", kernel, d): "user-defined" for kernel in USER_KERNELS for d in [1, 4]},
    **{("pruned", kernel, d): True for kernel in COMPACT for d in [1, 4]},
}


@cache
def small_problem(kernel, d):
    return sum_problem(USER_KERNELS[kernel] if kernel in USER_KERNELS else resolve_kernel(KERNELS[kernel][0]), d)


def test_the_table_of_combinations_is_complete():
    asked = {(algorithm, kernel) for algorithm, kernel, _ in TAKES}
    assert asked == {(algorithm, kernel) for algorithm in ALGORITHMS for kernel in ALL_KERNELS}


@pytest.fixture
def nothing_loaded(monkeypatch):
    """As in a process in which nothing has been compiled yet."""
    monkeypatch.delitem(sys.modules, "sknw._kernel_sums.numba", raising=False)
    monkeypatch.setattr(_sums, "_lost_seconds", 0.0)


@pytest.mark.parametrize(("algorithm", "kernel", "d"), [case for case, takes in TAKES.items() if takes is True])
def test_engine_takes_what_it_promises(algorithm, kernel, d, nothing_loaded):
    assert choose_algorithm(small_problem(kernel, d), algorithm) == ("dense" if algorithm == "auto" else algorithm)


@pytest.mark.parametrize(("algorithm", "kernel", "d"), [case for case, takes in TAKES.items() if takes is not True])
def test_engine_refuses_with_the_reason_and_the_alternatives(algorithm, kernel, d):
    with pytest.raises(ValueError, match=rf"{algorithm}.*{TAKES[algorithm, kernel, d]}.*auto.*dense"):
        kernel_sums(small_problem(kernel, d), algorithm)


def test_fused_refuses_sample_weights_that_vanish_beside_the_others():
    problem = sum_problem(Gaussian(), weights=np.geomspace(1e-290, 1.0, 45))
    with pytest.raises(ValueError, match=r"fused.*sample weights.*auto.*dense"):
        kernel_sums(problem, "fused")
    assert_sums_are_the_oracles(problem, "gaussian", "auto")


def problem_of_size(kernel, n, d):
    points = np.broadcast_to(0.0, (n, d))
    return KernelSumRequest(
        kernel, points, points, weights=np.broadcast_to(1.0, n), values=np.broadcast_to(1.0, (n, 1))
    )


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("kernel", [Gaussian(), Epanechnikov(), Cauchy()], ids=str)
def test_auto_compiles_nothing_for_a_small_problem(kernel, d, nothing_loaded):
    assert choose_algorithm(problem_of_size(kernel, 500, d), "auto", n_passes=50) == "dense"


def test_many_small_problems_are_worth_compiling(nothing_loaded, monkeypatch):
    monkeypatch.setattr(_sums.dense, "compute", lambda problem: None)
    problem = problem_of_size(Gaussian(), 500, 5)
    saved = _sums.dense.seconds(problem) - _sums.fused.seconds(problem)
    for _ in range(int(_sums.fused.START_UP / saved) - 1):
        kernel_sums(problem)
    assert choose_algorithm(problem, "auto") == "dense"
    kernel_sums(problem)
    kernel_sums(problem)
    assert choose_algorithm(problem, "auto") == "fused"


def test_loaded_engines_cost_no_start_up(monkeypatch):
    monkeypatch.setitem(sys.modules, "sknw._kernel_sums.numba", sys)
    assert choose_algorithm(problem_of_size(Gaussian(), 500, 5), "auto", n_passes=50) == "fused"


@pytest.mark.parametrize(
    ("kernel", "d", "algorithm"),
    [
        (Gaussian(), 1, "expansion"),
        (Gaussian(), 2, "expansion"),
        (Gaussian(), 5, "fused"),
        (Epanechnikov(), 1, "sorted"),
        (Epanechnikov(), 2, "fused"),
        (Cauchy(), 1, "dense"),
    ],
    ids=str,
)
def test_auto_takes_the_engine_that_suits_a_large_problem(kernel, d, algorithm):
    assert choose_algorithm(problem_of_size(kernel, 10**5, d), "auto") == algorithm
