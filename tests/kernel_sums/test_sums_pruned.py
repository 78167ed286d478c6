"""The pruned engine against the oracle and the dense engine, and sparse attention weights from its pairs."""

import sys
import tracemalloc

import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import bandwidth, regression
from scipy.sparse import issparse
from test_sums import assert_sums_are_the_oracles, oracle_log_weights

from sknw import NadarayaWatsonRegressor
from sknw._kernel_sums import choose_algorithm, dense
from sknw._kernel_sums.request import KernelSumRequest, LeaveOneOut
from sknw._kernel_sums.tree import engine as pruned
from sknw.kernels import Epanechnikov, Gaussian, Kernel, PolynomialForm, resolve_kernel

NAMES = oracle.COMPACT
OWN = [None, "whole", "shares"]


class Unbounded(Kernel):
    def profile(self, sq):
        return 1.0 / (1.0 + sq)


class FourthPower(Kernel):
    support = 1.0
    form = PolynomialForm(power=4, exponent=1)


class FourthExponent(Kernel):
    support = 1.0
    form = PolynomialForm(power=2, exponent=4)


def reach_problem(kernel, keys, queries=None, own=None, n_outputs=1, factors=(1.0,), weights=None, n_jobs=None):
    """With `own` (a `LeaveOneOut`) the queries are keys."""
    rng = np.random.default_rng(0)
    keys = np.asarray(keys, dtype=float)
    return KernelSumRequest(
        kernel=resolve_kernel(kernel),
        queries=keys[own.index] if own is not None else np.asarray(queries, dtype=float),
        keys=keys,
        weights=rng.choice([0.1, 0.5, 1.0], len(keys)) if weights is None else weights,
        values=rng.normal(size=(len(keys), n_outputs)),
        own=own,
        factors=np.array(factors),
        n_jobs=n_jobs,
    )


def some_own(n, m, leave_one_out):
    """Keys, some of them several times, that are queries; left out whole or keeping a share."""
    if leave_one_out is None:
        return None
    rng = np.random.default_rng(1)
    share = rng.choice([0.0, 0.3, 1.0], m) if leave_one_out == "shares" else np.zeros(m)
    return LeaveOneOut(rng.integers(0, n, m), share)


def assert_means_are_the_oracles(problem, name, tolerance=1e-11):
    """Where the dense engine has support, and only there, a mean equal up to `tolerance` in units of the values."""
    sums, reference = pruned.compute(problem), dense.compute(problem)
    assert_array_equal(sums.mass > 0, reference.mass > 0)
    assert_array_equal(sums.log_scale, 0.0)
    for b, factor in enumerate(problem.factors):
        rows = np.flatnonzero(sums.mass[b] > 0)
        weights = np.exp(oracle_log_weights(problem, name, factor)[rows])
        expected = weights @ problem.values / weights.sum(axis=1, keepdims=True)
        error = np.abs(sums.moments[b, rows] / sums.mass[b, rows, np.newaxis] - expected)
        assert np.all(error <= tolerance), factor


@pytest.mark.parametrize("leave_one_out", OWN)
@pytest.mark.parametrize(("d", "n_outputs"), [(1, 2), (2, 1), (3, 3), (10, 2)])
@pytest.mark.parametrize("name", NAMES)
def test_sums_are_the_oracles(name, d, leave_one_out, n_outputs):
    rng = np.random.default_rng(3)
    for n, m in [(1, 1), (3, 1), (128, 129), (300, 40)]:
        keys, queries = rng.normal(size=(n, d)), np.vstack([1.5 * rng.normal(size=(m - 1, d)), np.zeros((1, d))])
        factors = np.sqrt(d) * np.array([20.0, 2.0, 1.0, 0.7, 0.11, 1e-5])
        problem = reach_problem(name, keys, queries, some_own(n, m, leave_one_out), n_outputs, factors)
        assert_sums_are_the_oracles(problem, name, "pruned", rtol=1e-11)


@pytest.mark.parametrize("d", range(1, 14))
def test_sums_are_right_in_any_dimension(d):
    """The compiled loops take features four at a time."""
    rng = np.random.default_rng(4)
    problem = reach_problem("cosine", rng.normal(size=(200, d)), rng.normal(size=(50, d)), factors=[1.4 * np.sqrt(d)])
    assert_sums_are_the_oracles(problem, "cosine", "pruned", rtol=1e-12)


def shapes_of_data(n=300, d=2):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(n, d))
    clusters = rng.choice([-5e3, -1.0, 0.0, 2.0, 7e4], (n, d)) + 1e-3 * rng.normal(size=(n, d))
    return {
        "random": x,
        "sorted": np.sort(x, axis=0),
        "reversed": np.sort(x, axis=0)[::-1],
        "offset": x + 1e6,
        "clusters": clusters,
        "outlier": np.vstack([x, np.full((1, d), 1e9)]),
        "ties": rng.integers(0, 7, (n, d)) / 8.0,
        "all equal": np.full((n, d), 0.3),
        "constant feature": x * ([1.0] * (d - 1) + [0.0]),
        "line": np.outer(x[:, 0], np.ones(d)),
        "heavy tails": rng.standard_cauchy((n, d)) ** 3,
        "float32": x.astype(np.float32),
        "few": x[:5],
    }


@pytest.mark.parametrize("leave_one_out", [None, "shares"])
@pytest.mark.parametrize("data", shapes_of_data())
@pytest.mark.parametrize("name", NAMES)
def test_means_are_the_oracles_whatever_the_shape_of_the_data(name, data, leave_one_out):
    keys = shapes_of_data()[data]
    own = some_own(len(keys), 30, leave_one_out)
    inside = keys[:10] + 1e-4 * np.arange(len(keys[:10]))[:, np.newaxis]
    queries = np.vstack([keys[:10], inside, np.linspace(keys.min(axis=0) - 3.0, keys.max(axis=0) + 3.0, 10)])
    # no multiples of the spacing of the ties: a key on the very edge has a weight that is nothing but rounding
    for spread in {np.ptp(keys), 1.0}:
        factors = 1.0345 * max(spread, 1e-3) * np.array([100.0, 1.0, 0.1, 1e-2, 1e-6])
        assert_means_are_the_oracles(reach_problem(name, keys, queries, own, factors=factors), name)


@pytest.mark.parametrize("h", [0.1, 0.3, 0.7, 1.0, 1e-3])
@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_keys_on_the_edge_are_in_the_support_of_every_engine_or_of_none(name, d, h):
    line = h / 3 * np.arange(-4, 5)
    keys = np.stack(np.meshgrid(*[line] * d), axis=-1).reshape(-1, d)
    own = LeaveOneOut(np.arange(len(keys)), np.zeros(len(keys)))
    problem = reach_problem(name, keys, own=own, factors=[h * 2, h * np.sqrt(2), h * 1.00000001, h, h / 3])
    sums, reference = pruned.compute(problem), dense.compute(problem)
    assert_array_equal(sums.mass > 0, reference.mass > 0)
    assert_allclose(sums.mass, reference.mass, rtol=1e-13, atol=1e-14)
    if name == "tophat":
        assert_allclose(sums.moments, reference.moments, rtol=0, atol=1e-13)


def test_the_largest_squared_distance_is_that_of_the_kernel():
    for factor in np.random.default_rng(5).lognormal(sigma=5.0, size=200):
        for name in NAMES:
            kernel = resolve_kernel(name)
            last = pruned.largest_squared_distance(factor, includes_edge=name == "tophat")
            weights = kernel.profile(np.array([last, np.nextafter(last, np.inf)]) / factor**2)
            assert weights[0] > 0
            assert weights[1] == 0


@pytest.mark.parametrize("name", NAMES)
def test_duplicates_of_the_own_key_stay(name):
    keys = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [5.0, 5.0]])
    problem = reach_problem(
        name, keys, own=LeaveOneOut(np.arange(4), np.zeros(4)), weights=np.array([1.0, 2.0, 4.0, 8.0])
    )
    assert_allclose(pruned.compute(problem).mass[0], [6.0, 5.0, 3.0, 0.0], rtol=1e-14)


def test_one_huge_outlier_takes_no_memory():
    rng = np.random.default_rng(6)
    keys = np.vstack([rng.normal(size=(2000, 3)), [[1e15, -1e15, 1e15]]])
    problem = reach_problem("epanechnikov", keys, keys[::2], factors=[1e-3])
    pruned.compute(problem)  # loads the loops
    tracemalloc.start()
    pruned.compute(problem)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * keys.nbytes


def test_distances_that_overflow_are_without_support():
    keys = np.array([[0.0, 0.0], [1e308, -1e308], [0.5, 0.0]])
    queries = np.array([[-1e308, 1e308], [np.inf, 0.0], [0.0, -np.inf], [0.1, 0.0], [1e308, -1e308]])
    for name in NAMES:
        mass = pruned.compute(reach_problem(name, keys, queries, weights=np.ones(3))).mass[0]
        assert_array_equal(mass[:3], 0.0)
        assert mass[3] > 0
        assert mass[4] == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize("tiny", [1e-10, 1e-100, 1e-300])
def test_tiny_sample_weights_count_where_they_are_alone(tiny):
    keys, weights = np.array([[0.0, 0.0], [0.5, 0.0], [1e3, 0.0]]), np.array([tiny, 2 * tiny, 1.0])
    queries = np.array([[0.25, 0.1], [0.5, 0.0], [900.0, 0.0]])
    assert_means_are_the_oracles(reach_problem("biweight", keys, queries, weights=weights), "biweight")


@pytest.mark.parametrize("leave_one_out", [*OWN, "every key"])
@pytest.mark.parametrize("name", ["tophat", "tricube"])
def test_threads_the_order_and_other_bandwidths_change_nothing(name, leave_one_out):
    rng = np.random.default_rng(7)
    n, m, factors = 3000, 5000, [2.0, 0.3, 1e-3]
    keys, queries = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
    own = LeaveOneOut(np.arange(n), np.zeros(n)) if leave_one_out == "every key" else some_own(n, m, leave_one_out)
    problem = reach_problem(name, keys, queries, own, 2, factors)
    one = pruned.compute(problem)
    two = pruned.compute(reach_problem(name, keys, queries, own, 2, factors, n_jobs=2))
    assert_array_equal(two.mass, one.mass)
    assert_array_equal(two.moments, one.moments)
    for b, factor in enumerate(factors):
        alone = pruned.compute(reach_problem(name, keys, queries, own, 2, [factor]))
        assert_array_equal(alone.mass[0], one.mass[b])
    rows = rng.permutation(len(problem.queries))[:300]
    some = None if own is None else LeaveOneOut(own.index[rows], own.retained[rows])
    part = pruned.compute(reach_problem(name, keys, problem.queries[rows], some, 2, factors))
    assert_allclose(part.mass, one.mass[:, rows], rtol=1e-14)
    assert_allclose(part.moments, one.moments[:, rows], rtol=0, atol=1e-12)


def test_a_few_queries_beside_many_keys_are_no_different():
    """Trees are not built for them."""
    rng = np.random.default_rng(8)
    keys, queries = rng.normal(size=(3000, 2)), rng.normal(size=(2000, 2))
    whole = pruned.compute(reach_problem("tricube", keys, queries, factors=[0.5]))
    for rows in [slice(0, 1), slice(5, 9)]:
        assert_sums_are_the_oracles(reach_problem("tricube", keys, queries[rows], factors=[0.5]), "tricube", "pruned")
        few = pruned.compute(reach_problem("tricube", keys, queries[rows], factors=[0.5]))
        assert_allclose(few.mass, whole.mass[:, rows], rtol=1e-14)


def test_inputs_may_be_read_only_and_strided():
    keys = np.random.default_rng(9).normal(size=(300, 5))
    keys.flags.writeable = False
    values, weights = np.broadcast_to(1.0, (300, 1)), np.broadcast_to(1.0, 300)
    problem = KernelSumRequest(resolve_kernel("tricube"), keys[::3, 1::2], keys[:, 1::2], weights, values)
    before = keys.copy()
    assert_sums_are_the_oracles(problem, "tricube", "pruned")
    assert_array_equal(keys, before)


@pytest.mark.parametrize("leave_one_out", OWN)
@pytest.mark.parametrize("d", [1, 2, 6])
@pytest.mark.parametrize("name", NAMES)
def test_listed_weights_are_the_dense_ones(name, d, leave_one_out):
    rng = np.random.default_rng(10)
    keys, queries = rng.normal(size=(700, d)), rng.normal(size=(300, d))
    problem = reach_problem(name, keys, queries, some_own(700, 300, leave_one_out), factors=[0.5 * np.sqrt(d)])
    weights, expected = pruned.weights_in_reach(problem), dense.weight_rows(problem, slice(None))
    assert weights.has_canonical_format
    assert_array_equal(np.diff(weights.indptr), np.count_nonzero(expected, axis=1))
    assert_allclose(weights.toarray(), expected, rtol=0, atol=1e-14)


# Which problems


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (Gaussian(), "compact kernels only"),
        ("exponential", "compact kernels only"),
        (FourthPower(), "power of 1, 2 or 3"),
        (FourthExponent(), "exponent up to 3"),
        (Unbounded(), "user-defined"),
        (np.add, "user-defined"),
    ],
)
def test_refuses_with_the_reason(kernel, reason):
    assert reason in pruned.is_usable_for(reach_problem(kernel, np.zeros((3, 2)), np.zeros((1, 2))))


@pytest.mark.parametrize(
    ("d", "h", "algorithm"), [(1, 0.1, "sorted"), (2, 0.1, "pruned"), (3, 0.3, "pruned"), (5, 0.5, "pruned")]
)
def test_auto_takes_it_where_few_pairs_are_in_reach(d, h, algorithm):
    points = np.random.default_rng(11).normal(size=(30_000, d))
    few = reach_problem(Epanechnikov(), points / h, points / h)
    assert choose_algorithm(few, "auto") == algorithm
    if d > 1:
        assert choose_algorithm(reach_problem(Epanechnikov(), points / 30, points / 30), "auto") == "fused"


# Sparse attention weights


def fitted(name, h, algorithm, outside="nearest", d=2, weighted=True, dtype=np.float64):
    """Models and queries, some of which are far from all samples."""
    X, y, w, Q = regression(n=300, m=80, d=d, weighted=weighted, dtype=dtype)
    Q = np.vstack([Q, Q[:5] + 30.0, [X[0] + X[1]]]).astype(dtype)
    return NadarayaWatsonRegressor(name, h, outside=outside, algorithm=algorithm).fit(X, y, w), Q


@pytest.mark.parametrize("outside", ["nearest", "mean", "nan"])
@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("name", NAMES)
def test_sparse_attention_is_the_dense_one(name, d, outside):
    for width, dtype in [(0.05, np.float64), (0.4, np.float32), (1.0, np.float64)]:
        h = bandwidth(d, width)
        (sparse_model, Q), (dense_model, _) = (
            fitted(name, h, algorithm, outside, d, dtype=dtype) for algorithm in ["pruned", "dense"]
        )
        sparse, expected = sparse_model.attention_weights_(Q, sparse_output=True), dense_model.attention_weights_(Q)
        assert issparse(sparse)
        assert sparse.format == "csr"
        assert_array_equal(sparse.toarray() != 0, expected != 0)
        assert sparse.nnz == np.count_nonzero(expected)
        assert_allclose(sparse.toarray(), expected, rtol=0, atol=1e-12)
        assert np.isnan(expected).any() == (outside == "nan")


@pytest.mark.parametrize("outside", ["nearest", "mean", "nan"])
@pytest.mark.parametrize("top_k", [1, 3, 1000])
def test_top_k_of_sparse_attention_is_that_of_the_dense_one(top_k, outside):
    (sparse_model, Q), (dense_model, _) = (
        fitted("biweight", 0.4, algorithm, outside, weighted=False) for algorithm in ["pruned", "dense"]
    )
    sparse, expected = (model.attention_weights_(Q, top_k=top_k) for model in [sparse_model, dense_model])
    assert_array_equal(np.diff(sparse.indptr), np.diff(expected.indptr))
    # which of several equal weights are kept is open: compare those kept, in order of size
    for row in range(len(Q)):
        kept, reference = (
            np.sort(weights.data[slice(*weights.indptr[row : row + 2])]) for weights in [sparse, expected]
        )
        assert_allclose(kept, reference, rtol=0, atol=1e-12)


def test_sparse_attention_raises_for_queries_without_support():
    model, Q = fitted("tricube", 0.5, "pruned", "raise", weighted=False)
    with pytest.raises(ValueError, match=r"of 86 queries have no training sample"):
        model.attention_weights_(Q, sparse_output=True)
    inside = model.X_train_[:5]
    assert_allclose(model.attention_weights_(inside, sparse_output=True).sum(axis=1), 1.0, rtol=1e-12)


def test_sparse_attention_is_listed_where_it_pays(monkeypatch):
    """Not at the price of loading compiled loops for a small problem, nor against the user's word."""
    points = np.random.default_rng(12).normal(size=(20_000, 2))
    model, Q = fitted("epanechnikov", 0.1, "auto")
    smoother = model._smoother
    small = smoother.problem(smoother.queries(Q))
    monkeypatch.setitem(sys.modules, "sknw._kernel_sums.numba", object())
    assert smoother.lists_pairs(small)
    monkeypatch.delitem(sys.modules, "sknw._kernel_sums.numba")
    assert not smoother.lists_pairs(small)
    large = reach_problem("epanechnikov", points / 0.1, points / 0.1)
    assert smoother.lists_pairs(large)
    assert not fitted("epanechnikov", 0.1, "dense")[0]._smoother.lists_pairs(large)
    assert not smoother.lists_pairs(reach_problem("gaussian", points, points))
