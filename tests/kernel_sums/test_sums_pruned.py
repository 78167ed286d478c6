"""The pruned engine against the oracle and the dense engine, and sparse attention weights from its pairs."""

import tracemalloc

import numpy as np
import oracle
import pytest
from covering import covering_array, describe
from kernel_requests import (
    LEFT_OUT,
    assert_means_are_the_oracles,
    assert_sums_are_the_oracles,
    leave_out_of,
    request_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from problems import Cauchy, bandwidth, regression
from scipy.sparse import issparse

from sknw import NadarayaWatsonRegressor
from sknw._kernel_sums.dense import weight_rows
from sknw._kernel_sums.registry import ENGINES, Dispatcher
from sknw._kernel_sums.request import LeaveOut
from sknw._kernel_sums.tree.compact import largest_squared_distance
from sknw.kernels import Epanechnikov, Kernel, PolynomialForm, resolve_kernel

NAMES = oracle.COMPACT
# One of each kind: without an exponent, of each power, and the cosine.
KINDS = ["tophat", "linear", "epanechnikov", "tricube", "cosine"]
PRUNED, DENSE = ENGINES["pruned"], ENGINES["dense"]


class FourthPower(Kernel):
    form = PolynomialForm(power=4, exponent=1)


class FifthExponent(Kernel):
    form = PolynomialForm(power=2, exponent=5)


@pytest.mark.parametrize(
    "case", covering_array(name=NAMES, d=[1, 2, 3, 10], kind=LEFT_OUT, n_columns=[0, 1, 3]), ids=describe
)
def test_sums_are_the_oracles(case):
    name, d, kind, n_columns = (case[parameter] for parameter in ("name", "d", "kind", "n_columns"))
    rng = np.random.default_rng(3)
    for n, m in [(1, 1), (3, 1), (128, 129), (300, 40)]:
        keys, queries = rng.normal(size=(n, d)), np.vstack([1.5 * rng.normal(size=(m - 1, d)), np.zeros((1, d))])
        bandwidths = np.sqrt(d) * np.array([20.0, 2.0, 1.0, 0.7, 0.11, 1e-5])
        request = request_of(name, keys, queries, leave_out_of(n, m, kind), n_columns, bandwidths=bandwidths)
        assert_sums_are_the_oracles(request, name, "pruned", rtol=1e-11)


@pytest.mark.parametrize("d", range(1, 14))
def test_sums_are_right_in_any_dimension(d):
    """The compiled loops take features four at a time."""
    rng = np.random.default_rng(4)
    request = request_of("cosine", rng.normal(size=(200, d)), rng.normal(size=(50, d)), bandwidths=[1.4 * np.sqrt(d)])
    assert_sums_are_the_oracles(request, "cosine", "pruned", rtol=1e-12)


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


@pytest.mark.parametrize("case", covering_array(name=KINDS, data=list(shapes_of_data()), kind=LEFT_OUT), ids=describe)
def test_means_are_the_oracles_whatever_the_shape_of_the_data(case):
    name, keys = case["name"], shapes_of_data()[case["data"]]
    inside = keys[:10] + 1e-4 * np.arange(len(keys[:10]))[:, np.newaxis]
    queries = np.vstack([keys[:10], inside, np.linspace(keys.min(axis=0) - 3.0, keys.max(axis=0) + 3.0, 10)])
    leave_out = leave_out_of(len(keys), len(queries), case["kind"])
    # no multiples of the spacing of the ties: a key on the very edge has a weight that is nothing but rounding
    for spread in {np.ptp(keys), 1.0}:
        bandwidths = 1.0345 * max(spread, 1e-3) * np.array([100.0, 1.0, 0.1, 1e-2, 1e-6])
        assert_means_are_the_oracles(
            request_of(name, keys, queries, leave_out, bandwidths=bandwidths), name, "pruned", 1e-11
        )


@pytest.mark.parametrize("case", covering_array(name=KINDS, d=[2, 3], h=[0.1, 0.3, 0.7, 1.0, 1e-3]), ids=describe)
def test_keys_on_the_edge_are_in_the_support_of_every_engine_or_of_none(case):
    name, d, h = case.values()
    line = h / 3 * np.arange(-4, 5)
    keys = np.stack(np.meshgrid(*[line] * d), axis=-1).reshape(-1, d)
    leave_out = LeaveOut.own(np.arange(len(keys)))
    request = request_of(name, keys, leave_out=leave_out, bandwidths=[h * 2, h * np.sqrt(2), h * 1.00000001, h, h / 3])
    sums, reference = PRUNED.compute(request), DENSE.compute(request)
    assert_array_equal(sums.mass > 0, reference.mass > 0)
    assert_allclose(sums.mass, reference.mass, rtol=1e-13, atol=1e-14)
    if name == "tophat":
        assert_allclose(sums.moments, reference.moments, rtol=0, atol=1e-13)


def test_the_largest_squared_distance_is_that_of_the_kernel():
    for h in np.random.default_rng(5).lognormal(sigma=5.0, size=200):
        for name in NAMES:
            kernel = resolve_kernel(name)
            last = largest_squared_distance(h, includes_edge=name == "tophat")
            weights = kernel.profile(np.array([last, np.nextafter(last, np.inf)]) / h**2)
            assert weights[0] > 0
            assert weights[1] == 0


@pytest.mark.parametrize("name", NAMES)
def test_duplicates_of_the_own_key_stay(name):
    keys = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [5.0, 5.0]])
    request = request_of(name, keys, leave_out=LeaveOut.own(np.arange(4)), weights=np.array([1.0, 2.0, 4.0, 8.0]))
    assert_allclose(PRUNED.compute(request).mass[0], [6.0, 5.0, 3.0, 0.0], rtol=1e-14)


def test_one_huge_outlier_takes_no_memory():
    rng = np.random.default_rng(6)
    keys = np.vstack([rng.normal(size=(2000, 3)), [[1e15, -1e15, 1e15]]])
    request = request_of("epanechnikov", keys, keys[::2], bandwidths=[1e-3])
    PRUNED.compute(request)  # loads the loops
    tracemalloc.start()
    PRUNED.compute(request)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * keys.nbytes


def test_distances_that_overflow_are_without_support():
    keys = np.array([[0.0, 0.0], [1e308, -1e308], [0.5, 0.0]])
    queries = np.array([[-1e308, 1e308], [np.inf, 0.0], [0.0, -np.inf], [0.1, 0.0], [1e308, -1e308]])
    for name in NAMES:
        mass = PRUNED.compute(request_of(name, keys, queries, weights=np.ones(3))).mass[0]
        assert_array_equal(mass[:3], 0.0)
        assert mass[3] > 0
        assert mass[4] == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize("tiny", [1e-10, 1e-100, 1e-300])
def test_tiny_sample_weights_count_where_they_are_alone(tiny):
    keys, weights = np.array([[0.0, 0.0], [0.5, 0.0], [1e3, 0.0]]), np.array([tiny, 2 * tiny, 1.0])
    queries = np.array([[0.25, 0.1], [0.5, 0.0], [900.0, 0.0]])
    assert_means_are_the_oracles(request_of("biweight", keys, queries, weights=weights), "biweight", "pruned", 1e-11)


@pytest.mark.parametrize("kind", [*LEFT_OUT, "every key"])
@pytest.mark.parametrize("name", ["tophat", "tricube"])
def test_threads_the_order_and_other_bandwidths_change_nothing(name, kind):
    rng = np.random.default_rng(7)
    n, m, bandwidths = 3000, 5000, [2.0, 0.3, 1e-3]
    keys, queries = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
    leave_out = LeaveOut.own(np.arange(n)) if kind == "every key" else leave_out_of(n, m, kind)
    request = request_of(name, keys, queries, leave_out, 2, bandwidths=bandwidths)
    one = PRUNED.compute(request)
    two = PRUNED.compute(request_of(name, keys, queries, leave_out, 2, bandwidths=bandwidths, n_jobs=2))
    assert_array_equal(two.mass, one.mass)
    assert_array_equal(two.moments, one.moments)
    for b, h in enumerate(bandwidths):
        alone = PRUNED.compute(request_of(name, keys, queries, leave_out, 2, bandwidths=[h]))
        assert_array_equal(alone.mass[0], one.mass[b])
    rows = rng.permutation(len(request.queries))[:300]
    some = None if leave_out is None else leave_out[rows]
    part = PRUNED.compute(request_of(name, keys, request.queries[rows], some, 2, bandwidths=bandwidths))
    assert_allclose(part.mass, one.mass[:, rows], rtol=1e-14)
    assert_allclose(part.moments, one.moments[:, rows], rtol=0, atol=1e-12)


def test_a_few_queries_beside_many_keys_are_no_different():
    """Trees are not built for them."""
    rng = np.random.default_rng(8)
    keys, queries = rng.normal(size=(3000, 2)), rng.normal(size=(2000, 2))
    whole = PRUNED.compute(request_of("tricube", keys, queries, bandwidths=[0.5]))
    for rows in [slice(0, 1), slice(5, 9)]:
        assert_sums_are_the_oracles(request_of("tricube", keys, queries[rows], bandwidths=[0.5]), "tricube", "pruned")
        few = PRUNED.compute(request_of("tricube", keys, queries[rows], bandwidths=[0.5]))
        assert_allclose(few.mass, whole.mass[:, rows], rtol=1e-14)


def test_inputs_may_be_read_only_and_strided():
    keys = np.random.default_rng(9).normal(size=(300, 5))
    keys.flags.writeable = False
    columns, weights = np.broadcast_to(1.0, (300, 1)), np.broadcast_to(1.0, 300)
    request = request_of("tricube", keys[:, 1::2], keys[::3, 1::2], weights=weights, columns=columns)
    before = keys.copy()
    assert_sums_are_the_oracles(request, "tricube", "pruned")
    assert_array_equal(keys, before)


@pytest.mark.parametrize("case", covering_array(name=NAMES, d=[1, 2, 6], kind=LEFT_OUT), ids=describe)
def test_listed_weights_are_the_dense_ones(case):
    name, d, kind = case.values()
    rng = np.random.default_rng(10)
    keys, queries = rng.normal(size=(700, d)), rng.normal(size=(300, d))
    request = request_of(name, keys, queries, leave_out_of(700, 300, kind), bandwidths=[0.5 * np.sqrt(d)])
    weights, expected = PRUNED.weight_pairs(request, 0.0, None), weight_rows(request, slice(None))
    assert weights.has_canonical_format
    assert_array_equal(np.diff(weights.indptr), np.count_nonzero(expected, axis=1))
    assert_allclose(weights.toarray(), expected, rtol=0, atol=1e-14)


# Which problems


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (FourthPower(), "power of 1, 2 or 3"),
        (FifthExponent(), "the exponents"),
        (Cauchy(), "user-defined"),
        (np.add, "user-defined"),
    ],
)
def test_refuses_with_the_reason(kernel, reason):
    assert reason in PRUNED.refusal(request_of(kernel, np.zeros((3, 2)), np.zeros((1, 2))))


@pytest.mark.parametrize(
    ("d", "h", "algorithm"), [(1, 0.1, "sorted"), (2, 0.1, "pruned"), (3, 0.3, "pruned"), (5, 0.5, "pruned")]
)
def test_auto_takes_it_where_few_pairs_are_in_reach(d, h, algorithm):
    points = np.random.default_rng(11).normal(size=(30_000, d))
    few = request_of(Epanechnikov(), points / h, points / h)
    assert Dispatcher().choose(few, "auto").name == algorithm
    if d > 1:
        many = request_of(Epanechnikov(), points / 30, points / 30)
        assert Dispatcher().choose(many, "auto").name == "fused"


# Sparse attention weights


def fitted(name, h, algorithm, outside="nearest", d=2, weighted=True, dtype=np.float64):
    """Models and queries, some of which are far from all samples."""
    X, y, w, Q = regression(n=300, m=80, d=d, weighted=weighted, dtype=dtype)
    Q = np.vstack([Q, Q[:5] + 30.0, [X[0] + X[1]]]).astype(dtype)
    return NadarayaWatsonRegressor(name, h, outside=outside, algorithm=algorithm).fit(X, y, w), Q


@pytest.mark.parametrize(
    "case", covering_array(name=KINDS, d=[1, 2, 5], outside=["nearest", "mean", "nan"]), ids=describe
)
def test_sparse_attention_is_the_dense_one(case):
    name, d, outside = case.values()
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
