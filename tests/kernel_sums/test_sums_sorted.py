"""The sorted engine against the oracle and the dense engine, above all where sums along a line go wrong."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
from covering import covering_array, describe
from kernel_requests import (
    LEFT_OUT,
    assert_means_are_the_oracles,
    assert_same_sums,
    assert_sums_are_the_oracles,
    leave_out_of,
    oracle_log_weights,
    request_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from problems import OF_SORTED, Cauchy

from sknw._kernel_sums.registry import ENGINES
from sknw._kernel_sums.request import LeaveOut
from sknw._kernel_sums.sweep.engine import _terms
from sknw.kernels import Cosine, Gaussian, Kernel, PolynomialForm, PowerExponential, resolve_kernel

# The power of each polynomial is another branch of the loops, its exponent none.
NAMES = [*OF_SORTED, "linear"]
COMPACT = [name for name in NAMES if name != "exponential"]
EPS = np.finfo(float).eps
SORTED, DENSE = ENGINES["sorted"], ENGINES["dense"]


class FourthPower(Kernel):
    form = PolynomialForm(power=4, exponent=1)


@pytest.mark.parametrize("case", covering_array(name=NAMES, kind=LEFT_OUT, n_columns=[0, 1, 2, 3]), ids=describe)
def test_sums_are_the_oracles(case):
    name, kind, n_columns = case["name"], case["kind"], case["n_columns"]
    bandwidths = [90.0, 2.0, 1.0, 0.7, 0.11, 1e-2, 1e-5]
    rng = np.random.default_rng(3)
    for n, m in [(1, 1), (1, 4), (2, 3), (3, 1), (50, 40), (250, 60)]:
        keys = rng.normal(size=n)
        leave_out = leave_out_of(n, m, kind)
        queries = np.concatenate([1.5 * rng.normal(size=m - 1), keys[:1]])
        request = request_of(name, keys, queries, leave_out, n_columns, bandwidths=bandwidths)
        assert_sums_are_the_oracles(request, name, "sorted", rtol=1e-10 if name != "exponential" else 1e-9)


@pytest.mark.parametrize("power_of_u", [0, 1, 2])
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("name", [name for name in oracle.COMPACT if name != "cosine"])
def test_the_series_of_every_polynomial_is_the_kernel(name, squared, power_of_u):
    """u^p K(u) at u = 1 - a - t is sum_mk terms_mk a^(m - k) t^k; the compiled loops know no more of a kernel."""
    kernel = resolve_kernel(name).square() if squared else resolve_kernel(name)
    terms = _terms(int(kernel.form.power), kernel.form.exponent, 2)[power_of_u]
    a, t = np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], 50)[:, :2].T
    m, k = np.indices(terms.shape)
    found = (terms * np.where(k > m, 0.0, a[:, None, None] ** np.maximum(m - k, 0) * t[:, None, None] ** k)).sum((1, 2))
    u = 1.0 - a - t
    amplified_rounding = 1e-15 * 7.0**kernel.form.exponent
    assert_allclose(found, u**power_of_u * kernel.profile(u**2), rtol=0, atol=amplified_rounding)


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


@pytest.mark.parametrize("case", covering_array(name=NAMES, data=list(shapes_of_data()), kind=LEFT_OUT), ids=describe)
def test_means_are_the_oracles_whatever_the_shape_of_the_data(case):
    name, keys = case["name"], shapes_of_data()[case["data"]]
    inside = keys[:15] + 1e-4 * np.arange(len(keys[:15]))
    queries = np.concatenate([keys[:15], inside, np.linspace(keys.min() - 3.0, keys.max() + 3.0, 10)])
    leave_out = leave_out_of(len(keys), len(queries), case["kind"])
    # no multiples of the spacing of the ties: a key on the very edge has a weight that is nothing but rounding
    for spread in {np.ptp(keys), 1.0}:
        bandwidths = 1.0345 * max(spread, 1e-3) * np.array([100.0, 1.0, 0.1, 1e-2, 1e-4, 1e-6])
        assert_means_are_the_oracles(request_of(name, keys, queries, leave_out, bandwidths=bandwidths), name, "sorted")


@pytest.mark.parametrize("h", [0.1, 0.3, 0.7, 1.0, 1e-3])
@pytest.mark.parametrize("name", COMPACT)
def test_keys_on_the_edge_are_in_the_support_of_every_engine_or_of_none(name, h):
    keys = h / 3 * np.arange(-20, 30)
    bandwidths = [h * 2, h * 1.00000001, h, h / 3]
    leave_out = LeaveOut.own(np.arange(len(keys)))
    request = request_of(name, keys, leave_out=leave_out, bandwidths=bandwidths)
    sums, reference = SORTED.compute(request), DENSE.compute(request)
    assert_array_equal(sums.mass > 0, reference.mass > 0)
    assert_allclose(sums.mass, reference.mass, rtol=1e-10, atol=1e-12)
    if name == "tophat":
        assert_allclose(sums.mass, reference.mass, rtol=1e-13)
        assert_allclose(sums.moments, reference.moments, rtol=0, atol=1e-13)


@pytest.mark.parametrize("margin", [1e-2, 1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("name", COMPACT)
def test_small_weights_at_the_edge_keep_their_relative_accuracy(name, margin):
    """Thousands of keys just outside the window, thousands just inside: powers of u would cancel to nothing."""
    rng = np.random.default_rng(5)
    near_edge = np.concatenate([1.0 - margin * rng.uniform(0.1, 1.0, 1000), 1.0 + rng.uniform(1e-3, 0.5, 1000)])
    keys = np.concatenate([-near_edge, near_edge])
    # other queries, for windows that end and begin within the cluster
    queries = np.concatenate([[0.0], np.linspace(-1.2, 1.2, 24)])
    request = request_of(name, keys, queries)
    sums = SORTED.compute(request)
    weights = np.exp(oracle_log_weights(request, name, 1.0)[0])
    # 1 - u, from differences rounded once, is known to eps
    rtol = 1e-12 + 30 * EPS / margin
    assert abs(sums.mass[0, 0] / weights.sum() - 1) <= rtol
    assert abs(sums.moments[0, 0, 0] - weights @ request.columns[:, 0]) <= rtol * weights.sum()
    assert_means_are_the_oracles(request, name, "sorted", tolerance=1e-10 + rtol)


@pytest.mark.parametrize("name", COMPACT)
def test_a_few_far_apart_keys_at_the_edge_are_the_oracles(name):
    for margin in [1e-3, 1e-6]:
        keys = np.array([-1.0 + margin, 1.0 - 2 * margin, 1.0 - margin, 5.0, 5.0 + margin])
        request = request_of(name, keys, queries=[0.0, 4.0 + 2 * margin])
        assert_means_are_the_oracles(request, name, "sorted", tolerance=1e-12 + 30 * EPS / margin)


@pytest.mark.parametrize("name", NAMES)
def test_duplicates_of_the_own_key_stay(name):
    keys = np.array([0.0, 0.0, 0.0, 5.0])
    request = request_of(name, keys, leave_out=LeaveOut.own(np.arange(4)), weights=np.array([1.0, 2.0, 4.0, 8.0]))
    mass = SORTED.compute(request).mass[0]
    others = np.array([6.0, 5.0, 3.0])
    far = 8 * np.exp(-5.0) if name == "exponential" else 0.0
    assert_allclose(mass[:3], others + far, rtol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_a_key_alone_has_no_others(name):
    sums = SORTED.compute(request_of(name, [0.5], leave_out=LeaveOut.own(np.zeros(1, dtype=np.intp))))
    assert_array_equal(sums.mass, 0.0)
    assert_array_equal(sums.moments, 0.0)
    assert_array_equal(sums.log_scale, 0.0)


@pytest.mark.parametrize("kind", [None, "some"])
def test_exponential_far_from_all_keys_is_relative_to_the_nearest(kind):
    keys = np.array([0.0, 1.0, 1.5, 4e3, 9e3])
    leave_out = None if kind is None else LeaveOut.own(np.array([0, 1, -1, 3, 4, -1, -1]))
    queries = [-1e5, -601.0, -599.0, 1.2, 2e3, 2.0008e3, 1e9]
    request = request_of("exponential", keys, queries, leave_out, n_columns=2, bandwidths=[1e3, 1.0, 0.01, 1e-4])
    assert_means_are_the_oracles(request, "exponential", "sorted")
    sums, reference = SORTED.compute(request), DENSE.compute(request)
    log_mass, log_reference = np.log(sums.mass) + sums.log_scale, np.log(reference.mass) + reference.log_scale
    assert_allclose(log_mass, log_reference, rtol=1e-13, atol=1e-13)


def test_distances_that_overflow_are_without_support():
    request = request_of("exponential", [0.0, 1e308], queries=[-1e308, 0.0])
    sums = SORTED.compute(request)
    assert np.all(np.isfinite(sums.log_scale))
    assert np.all(np.isfinite(sums.mass))
    assert sums.mass[0, 1] == request.weights[0]


@pytest.mark.parametrize("tiny", [1e-10, 1e-100, 1e-300])
def test_tiny_sample_weights_count_where_they_are_alone(tiny):
    for name in ["epanechnikov", "exponential"]:
        keys, weights = np.array([0.0, 0.5, 1e3]), np.array([tiny, 2 * tiny, 1.0])
        queries = np.array([0.25, 0.5, -33.0, -700.0, 300.0, 650.0, 900.0])
        assert_means_are_the_oracles(request_of(name, keys, queries, weights=weights), name, "sorted")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", ["random", "regular grid"])
def test_rounding_does_not_pile_up_over_many_keys(data, name):
    """On a regular grid every step of a recurrence may err to the same side."""
    n = 60_000
    rng = np.random.default_rng(6)
    keys = rng.permutation(np.arange(n) / n if data == "regular grid" else rng.normal(size=n))
    leave_out = LeaveOut.own(np.array([0, n // 2, keys.argmin(), keys.argmax()]))
    request = request_of(name, keys, leave_out=leave_out, bandwidths=[100.0, 1.0, 0.0503], weights=np.ones(n))
    assert_sums_are_the_oracles(request, name, "sorted", rtol=2e-12)


@pytest.mark.parametrize("kind", [None, "some", "every key"])
@pytest.mark.parametrize("name", NAMES)
def test_threads_the_order_and_other_bandwidths_change_nothing(name, kind):
    rng = np.random.default_rng(7)
    n, m, bandwidths = 500, 200, [2.0, 0.3, 1e-3]
    keys, queries = rng.normal(size=n), rng.normal(size=m)
    leave_out = LeaveOut.own(np.arange(n)) if kind == "every key" else leave_out_of(n, m, kind)
    request = request_of(name, keys, queries, leave_out, n_columns=2, bandwidths=bandwidths)
    one = SORTED.compute(request)
    two = SORTED.compute(request_of(name, keys, queries, leave_out, n_columns=2, bandwidths=bandwidths, n_jobs=2))
    assert_array_equal(two.mass, one.mass)
    assert_array_equal(two.moments, one.moments)
    for b, h in enumerate(bandwidths):
        alone = SORTED.compute(request_of(name, keys, queries, leave_out, n_columns=2, bandwidths=[h]))
        assert_array_equal(alone.mass[0], one.mass[b])
    rows = rng.permutation(len(request.queries))
    assert_allclose(SORTED.compute(request.take(rows)).mass, one.mass[:, rows], rtol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_the_unit_of_the_feature_changes_nothing(name):
    """Also where squares of the inputs would overflow or vanish."""
    keys = np.random.default_rng(10).normal(size=200)
    leave_out = LeaveOut.own(np.arange(200))
    sums = SORTED.compute(request_of(name, keys, leave_out=leave_out, bandwidths=[1.0, 0.1]))
    for unit in [2.0**600, 2.0**-600]:
        rescaled = SORTED.compute(request_of(name, unit * keys, leave_out=leave_out, bandwidths=[unit, unit * 0.1]))
        assert_array_equal(rescaled.mass, sums.mass)
        assert_array_equal(rescaled.moments, sums.moments)


def test_queries_equal_to_the_keys_are_queries():
    keys = np.random.default_rng(8).normal(size=100)
    request = request_of("epanechnikov", keys, keys.copy(), bandwidths=[1.0, 0.1])
    assert_sums_are_the_oracles(request, "epanechnikov", "sorted")


@pytest.mark.parametrize("name", ["exponential", "epanechnikov"])
def test_of_two_queries_at_a_key_only_one_may_leave_it_out(name):
    keys, order = np.random.default_rng(0).normal(size=40), np.random.default_rng(1).permutation(80)
    own = LeaveOut.own(np.append(np.arange(40), np.full(40, -1))[order])
    request = replace(request_of(name, keys, np.append(keys, keys)[order], bandwidths=[1.0, 0.3]), leave_out=own)
    assert_same_sums(SORTED.compute(request), DENSE.compute(request), rtol=1e-12)


def test_inputs_may_be_read_only_and_strided():
    keys = np.random.default_rng(9).normal(size=(100, 2))
    keys.flags.writeable = False
    columns = np.broadcast_to(1.0, (100, 1))
    weights = np.broadcast_to(1.0, 100)
    request = request_of("tricube", keys[:, 1:], keys[::3, 1:], weights=weights, columns=columns)
    assert_sums_are_the_oracles(request, "tricube", "sorted")


@pytest.mark.parametrize("name", [*oracle.COMPACT, "exponential", PowerExponential(power=1.0)], ids=str)
def test_takes_one_feature(name):
    assert SORTED.refusal(request_of(name, [0.0], [0.0])) is None


@pytest.mark.parametrize(
    ("kernel", "d", "reason"),
    [
        (Gaussian(), 1, "compact kernels and exp"),
        (PowerExponential(power=0.5), 1, "compact kernels and exp"),
        (FourthPower(), 1, "power of 1, 2 or 3"),
        (Cauchy(), 1, "user-defined"),
        (np.add, 1, "user-defined"),
        (Cosine().square(), 1, "not powers of it"),
        ("epanechnikov", 2, "one feature, and here are 2"),
    ],
)
def test_refuses_with_the_reason(kernel, d, reason):
    points = np.zeros((3, d))
    assert reason in SORTED.refusal(request_of(kernel, points, points))
