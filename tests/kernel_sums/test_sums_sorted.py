"""The sorted engine against the oracle and the dense engine, above all where sums along a line go wrong."""

import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sknw._kernel_sums import dense
from sknw._kernel_sums.request import KernelSumRequest, LeaveOneOut
from sknw._kernel_sums.sweep import engine as sorted
from sknw.kernels import Gaussian, Kernel, PolynomialForm, PowerExponential, resolve_kernel

NAMES = [name for name in oracle.NAMES if name != "gaussian"]
EPS = np.finfo(float).eps


class Unbounded(Kernel):
    def profile(self, sq):
        return 1.0 / (1.0 + sq)


class FourthPower(Kernel):
    support = 1.0
    form = PolynomialForm(power=4, exponent=1)


def line_problem(kernel, keys, queries=None, own=None, n_outputs=1, factors=(1.0,), weights=None, seed=0, n_jobs=None):
    """A problem of one feature; with `own` (a `LeaveOneOut`) the queries are keys."""
    rng = np.random.default_rng(seed)
    keys = np.asarray(keys, dtype=float)
    queries = keys[own.index] if own is not None else np.asarray(queries, dtype=float)
    return KernelSumRequest(
        kernel=resolve_kernel(kernel),
        queries=queries[:, np.newaxis],
        keys=keys[:, np.newaxis],
        weights=rng.choice([0.1, 0.5, 1.0], len(keys)) if weights is None else weights,
        values=rng.normal(size=(len(keys), n_outputs)),
        own=own,
        factors=np.array(factors),
        n_jobs=n_jobs,
    )


def some_own(n, m, leave_one_out, seed=1):
    """Keys, some of them several times, that are queries; left out whole or keeping a share."""
    rng = np.random.default_rng(seed)
    share = rng.choice([0.0, 0.3, 1.0], m) if leave_one_out == "shares" else np.zeros(m)
    return LeaveOneOut(rng.integers(0, n, m), share)


def log_weights(problem, name, factor):
    """log(K_ij w_j) in long double, of shape (m, n)."""
    weights = np.tile(problem.weights.astype(np.longdouble), (len(problem.queries), 1))
    if problem.own is not None:
        weights[np.arange(len(weights)), problem.own.index] *= problem.own.retained
    with np.errstate(divide="ignore"):
        return oracle.log_kernel(name, oracle.distances(problem.queries, problem.keys, [factor])) + np.log(weights)


def assert_sums_are_the_oracles(problem, name, rtol=1e-10):
    """Relative to the mass, and to the sum of magnitudes of the moments."""
    sums = sorted.compute(problem)
    for b, factor in enumerate(problem.factors):
        weights = np.exp(log_weights(problem, name, factor) - sums.log_scale[b][:, np.newaxis])
        assert_allclose(sums.mass[b], weights.sum(axis=1).astype(float), rtol=rtol)
        error = np.abs(sums.moments[b] - weights @ problem.values)
        assert np.all(error <= rtol * (weights @ np.abs(problem.values)))


def assert_means_are_the_oracles(problem, name, tolerance=1e-10):
    """Where the dense engine has support, and only there, a mean equal up to `tolerance` in units of the values."""
    sums, reference = sorted.compute(problem), dense.compute(problem)
    assert_array_equal(sums.mass > 0, reference.mass > 0)
    assert np.all(np.isfinite(sums.log_scale))
    for b, factor in enumerate(problem.factors):
        rows = np.flatnonzero(sums.mass[b] > 0)
        logs = log_weights(problem, name, factor)[rows]
        top = logs.max(axis=1, keepdims=True)
        weights = np.exp(logs - top)
        expected = weights @ problem.values / weights.sum(axis=1, keepdims=True)
        # inputs known to eps decide exponents that may be large
        exponent = np.abs(top.astype(float)) if name == "exponential" else 0.0
        error = np.abs(sums.moments[b, rows] / sums.mass[b, rows, np.newaxis] - expected)
        assert np.all(error <= tolerance + 8 * EPS * exponent), factor


@pytest.mark.parametrize("n_outputs", [1, 2, 3])
@pytest.mark.parametrize("leave_one_out", [None, "whole", "shares"])
@pytest.mark.parametrize("name", NAMES)
def test_sums_are_the_oracles(name, leave_one_out, n_outputs):
    rng = np.random.default_rng(3)
    for n, m in [(1, 1), (1, 4), (2, 3), (3, 1), (50, 40), (250, 60)]:
        keys = rng.normal(size=n)
        own = None if leave_one_out is None else some_own(n, m, leave_one_out)
        queries = np.concatenate([1.5 * rng.normal(size=m - 1), keys[:1]])
        problem = line_problem(name, keys, queries, own, n_outputs, factors=[90.0, 2.0, 1.0, 0.7, 0.11, 1e-2, 1e-5])
        assert_sums_are_the_oracles(problem, name, rtol=1e-10 if name != "exponential" else 1e-9)


def shapes_of_data(n=150):
    rng = np.random.default_rng(4)
    x = rng.normal(size=n)
    clusters = rng.choice([-5e3, -1.0, 0.0, 2.0, 7e4], n) + 1e-3 * rng.normal(size=n)
    return {
        "random": x,
        "sorted": np.sort(x),
        "reversed": np.sort(x)[::-1],
        "offset": x + 1e6,
        "clusters": clusters,
        "outlier": np.append(x, 1e9),
        "ties": rng.integers(0, 20, n) / 8.0,
        "all equal": np.full(n, 0.3),
        "heavy tails": rng.standard_cauchy(n) ** 3,
        "few": x[:5],
    }


@pytest.mark.parametrize("leave_one_out", [None, "whole", "shares"])
@pytest.mark.parametrize("data", shapes_of_data())
@pytest.mark.parametrize("name", NAMES)
def test_means_are_the_oracles_whatever_the_shape_of_the_data(name, data, leave_one_out):
    keys = shapes_of_data()[data]
    m = 40
    own = None if leave_one_out is None else some_own(len(keys), m, leave_one_out)
    inside = keys[:15] + 1e-4 * np.arange(len(keys[:15]))
    queries = np.concatenate([keys[:15], inside, np.linspace(keys.min() - 3.0, keys.max() + 3.0, 10)])
    # no multiples of the spacing of the ties: a key on the very edge has a weight that is nothing but rounding
    for spread in {np.ptp(keys), 1.0}:
        factors = 1.0345 * max(spread, 1e-3) * np.array([100.0, 1.0, 0.1, 1e-2, 1e-4, 1e-6])
        assert_means_are_the_oracles(line_problem(name, keys, queries, own, factors=factors), name)


@pytest.mark.parametrize("h", [0.1, 0.3, 0.7, 1.0, 1e-3])
@pytest.mark.parametrize("name", oracle.COMPACT)
def test_keys_on_the_edge_are_in_the_support_of_every_engine_or_of_none(name, h):
    keys = h / 3 * np.arange(-20, 30)
    factors = [h * 2, h * 1.00000001, h, h / 3]
    own = LeaveOneOut(np.arange(len(keys)), np.zeros(len(keys)))
    problem = line_problem(name, keys, own=own, factors=factors)
    sums, reference = sorted.compute(problem), dense.compute(problem)
    assert_array_equal(sums.mass > 0, reference.mass > 0)
    assert_allclose(sums.mass, reference.mass, rtol=1e-10, atol=1e-12)
    if name == "tophat":
        assert_allclose(sums.mass, reference.mass, rtol=1e-13)
        assert_allclose(sums.moments, reference.moments, rtol=0, atol=1e-13)


@pytest.mark.parametrize("margin", [1e-2, 1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("name", oracle.COMPACT)
def test_small_weights_at_the_edge_keep_their_relative_accuracy(name, margin):
    """Thousands of keys just outside the window, thousands just inside: powers of u would cancel to nothing."""
    rng = np.random.default_rng(5)
    near_edge = np.concatenate([1.0 - margin * rng.uniform(0.1, 1.0, 2000), 1.0 + rng.uniform(1e-3, 0.5, 2000)])
    keys = np.concatenate([-near_edge, near_edge])
    # other queries, for windows that end and begin within the cluster
    queries = np.concatenate([[0.0], np.linspace(-1.2, 1.2, 40)])
    problem = line_problem(name, keys, queries)
    sums = sorted.compute(problem)
    weights = np.exp(log_weights(problem, name, 1.0)[0])
    # 1 - u, from differences rounded once, is known to eps
    rtol = 1e-12 + 30 * EPS / margin
    assert abs(sums.mass[0, 0] / weights.sum() - 1) <= rtol
    assert abs(sums.moments[0, 0, 0] - weights @ problem.values[:, 0]) <= rtol * weights.sum()
    assert_means_are_the_oracles(problem, name, tolerance=1e-10 + rtol)


@pytest.mark.parametrize("name", oracle.COMPACT)
def test_a_few_far_apart_keys_at_the_edge_are_the_oracles(name):
    for margin in [1e-3, 1e-6]:
        keys = np.array([-1.0 + margin, 1.0 - 2 * margin, 1.0 - margin, 5.0, 5.0 + margin])
        problem = line_problem(name, keys, queries=[0.0, 4.0 + 2 * margin])
        assert_means_are_the_oracles(problem, name, tolerance=1e-12 + 30 * EPS / margin)


@pytest.mark.parametrize("name", NAMES)
def test_duplicates_of_the_own_key_stay(name):
    keys = np.array([0.0, 0.0, 0.0, 5.0])
    problem = line_problem(
        name, keys, own=LeaveOneOut(np.arange(4), np.zeros(4)), weights=np.array([1.0, 2.0, 4.0, 8.0])
    )
    mass = sorted.compute(problem).mass[0]
    others = np.array([6.0, 5.0, 3.0])
    far = 8 * np.exp(-5.0) if name == "exponential" else 0.0
    assert_allclose(mass[:3], others + far, rtol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_a_key_alone_has_no_others(name):
    sums = sorted.compute(line_problem(name, [0.5], own=LeaveOneOut(np.zeros(1, dtype=np.intp), np.zeros(1))))
    assert_array_equal(sums.mass, 0.0)
    assert_array_equal(sums.moments, 0.0)
    assert_array_equal(sums.log_scale, 0.0)


@pytest.mark.parametrize("leave_one_out", [None, "shares"])
def test_exponential_far_from_all_keys_is_relative_to_the_nearest(leave_one_out):
    keys = np.array([0.0, 1.0, 1.5, 4e3, 9e3])
    own = None if leave_one_out is None else LeaveOneOut(np.arange(5), np.array([0.0, 0.0, 1.0, 0.0, 0.5]))
    queries = [-1e5, -601.0, -599.0, 1.2, 2e3, 2.0008e3, 1e9]
    problem = line_problem("exponential", keys, queries, own, n_outputs=2, factors=[1e3, 1.0, 0.01, 1e-4])
    assert_means_are_the_oracles(problem, "exponential")
    sums, reference = sorted.compute(problem), dense.compute(problem)
    log_mass, log_reference = np.log(sums.mass) + sums.log_scale, np.log(reference.mass) + reference.log_scale
    assert_allclose(log_mass, log_reference, rtol=1e-13, atol=1e-13)


def test_distances_that_overflow_are_without_support():
    problem = line_problem("exponential", [0.0, 1e308], queries=[-1e308, 0.0])
    sums = sorted.compute(problem)
    assert np.all(np.isfinite(sums.log_scale))
    assert np.all(np.isfinite(sums.mass))
    assert sums.mass[0, 1] == problem.weights[0]


@pytest.mark.parametrize("tiny", [1e-10, 1e-100, 1e-300])
def test_tiny_sample_weights_count_where_they_are_alone(tiny):
    for name in ["epanechnikov", "exponential"]:
        keys, weights = np.array([0.0, 0.5, 1e3]), np.array([tiny, 2 * tiny, 1.0])
        queries = np.array([0.25, 0.5, -33.0, -700.0, 300.0, 650.0, 900.0])
        assert_means_are_the_oracles(line_problem(name, keys, queries, weights=weights), name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", ["random", "regular grid"])
def test_rounding_does_not_pile_up_over_many_keys(data, name):
    """On a regular grid every step of a recurrence may err to the same side."""
    n = 60_000
    rng = np.random.default_rng(6)
    keys = rng.permutation(np.arange(n) / n if data == "regular grid" else rng.normal(size=n))
    own = LeaveOneOut(np.array([0, n // 2, keys.argmin(), keys.argmax()]), np.zeros(4))
    problem = line_problem(name, keys, own=own, factors=[100.0, 1.0, 0.0503], weights=np.ones(n))
    assert_sums_are_the_oracles(problem, name, rtol=2e-12)


@pytest.mark.parametrize("leave_one_out", [None, "whole", "every key"])
@pytest.mark.parametrize("name", NAMES)
def test_threads_the_order_and_other_bandwidths_change_nothing(name, leave_one_out):
    rng = np.random.default_rng(7)
    n, m, factors = 500, 200, [2.0, 0.3, 1e-3]
    keys, queries = rng.normal(size=n), rng.normal(size=m)
    own = None if leave_one_out is None else some_own(n, m, leave_one_out)
    if leave_one_out == "every key":
        own = LeaveOneOut(np.arange(n), np.zeros(n))
    problem = line_problem(name, keys, queries, own, n_outputs=2, factors=factors)
    one = sorted.compute(problem)
    two = sorted.compute(line_problem(name, keys, queries, own, n_outputs=2, factors=factors, n_jobs=2))
    assert_array_equal(two.mass, one.mass)
    assert_array_equal(two.moments, one.moments)
    for b, factor in enumerate(factors):
        alone = sorted.compute(line_problem(name, keys, queries, own, n_outputs=2, factors=[factor]))
        assert_array_equal(alone.mass[0], one.mass[b])
    rows = rng.permutation(len(problem.queries))
    shuffled = KernelSumRequest(
        kernel=problem.kernel,
        queries=problem.queries[rows],
        keys=problem.keys,
        weights=problem.weights,
        values=problem.values,
        own=None if own is None else LeaveOneOut(own.index[rows], own.retained[rows]),
        factors=problem.factors,
    )
    assert_allclose(sorted.compute(shuffled).mass, one.mass[:, rows], rtol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_the_unit_of_the_feature_changes_nothing(name):
    """Also where squares of the inputs would overflow or vanish."""
    keys = np.random.default_rng(10).normal(size=200)
    own = LeaveOneOut(np.arange(200), np.zeros(200))
    sums = sorted.compute(line_problem(name, keys, own=own, factors=[1.0, 0.1]))
    for unit in [2.0**600, 2.0**-600]:
        rescaled = sorted.compute(line_problem(name, unit * keys, own=own, factors=[unit, unit * 0.1]))
        assert_array_equal(rescaled.mass, sums.mass)
        assert_array_equal(rescaled.moments, sums.moments)


def test_queries_equal_to_the_keys_are_queries():
    keys = np.random.default_rng(8).normal(size=100)
    assert_sums_are_the_oracles(line_problem("biweight", keys, keys.copy(), factors=[1.0, 0.1]), "biweight")


def test_inputs_may_be_read_only_and_strided():
    keys = np.random.default_rng(9).normal(size=(100, 2))
    keys.flags.writeable = False
    values = np.broadcast_to(1.0, (100, 1))
    weights = np.broadcast_to(1.0, 100)
    problem = KernelSumRequest(resolve_kernel("tricube"), keys[::3, 1:], keys[:, 1:], weights, values)
    assert_sums_are_the_oracles(problem, "tricube")


@pytest.mark.parametrize("name", [*NAMES, PowerExponential(power=1.0)], ids=str)
def test_takes_one_feature(name):
    assert sorted.is_usable_for(line_problem(name, [0.0], [0.0])) is True


@pytest.mark.parametrize(
    ("kernel", "d", "reason"),
    [
        (Gaussian(), 1, "compact kernels and exp"),
        (PowerExponential(power=0.5), 1, "compact kernels and exp"),
        (FourthPower(), 1, "power of 1, 2 or 3"),
        (Unbounded(), 1, "user-defined"),
        (np.add, 1, "user-defined"),
        ("epanechnikov", 2, "one feature, and here are 2"),
    ],
)
def test_refuses_with_the_reason(kernel, d, reason):
    points = np.zeros((3, d))
    problem = KernelSumRequest(resolve_kernel(kernel), points, points, np.ones(3), np.ones((3, 1)))
    assert reason in sorted.is_usable_for(problem)
