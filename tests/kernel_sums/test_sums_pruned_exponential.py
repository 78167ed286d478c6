"""The pruned engine skips far blocks of kernels that never end: equal to the oracle, whatever lies far away."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
from covering import covering_array, describe
from kernel_requests import (
    LEFT_OUT,
    RANGES,
    assert_means_are_the_oracles,
    assert_same_sums,
    assert_sums_are_the_oracles,
    leave_out_of,
    request_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from problems import KERNELS

from sknw import NadarayaWatsonRegressor
from sknw._kernel_sums.dense import weight_rows
from sknw._kernel_sums.registry import ENGINES, Dispatcher
from sknw._kernel_sums.request import LeaveOut
from sknw._kernel_sums.tree import engine
from sknw._kernel_sums.tree.constants import BLOCK
from sknw.kernels import resolve_kernel

PRUNED, DENSE = ENGINES["pruned"], ENGINES["dense"]
NAMES = [name for name in KERNELS if name not in oracle.COMPACT]


def clusters(n, d, seed=0):
    """Tight clusters far from each other, duplicates, and one lonely point."""
    rng = np.random.default_rng(seed)
    points = 30.0 * rng.normal(size=(12, d))[rng.integers(0, 12, n)] + rng.normal(size=(n, d))
    points[5:9], points[-1] = points[4], 500.0
    return points


@pytest.mark.parametrize(
    "case",
    covering_array(
        name=NAMES,
        d=[1, 2, 4, 7],
        kind=[*LEFT_OUT, *RANGES],
        n_columns=[0, 1, 3],
        squared=[False, True],
        offset=[0.0, 1e5],
        weights=["some", "far apart"],
        bandwidths=[[1.0], [30.0, 1.0, 0.03], [0.2, 1e-3]],
    ),
    ids=describe,
)
def test_sums_are_the_oracles_on_clusters_and_for_a_far_query(case):
    kernel, of_oracle = KERNELS[case["name"]]
    n, m, d = 900, 20, case["d"]
    rng, keys = np.random.default_rng(1), clusters(n, d) + case["offset"]
    queries = np.vstack([clusters(m - 2, d, seed=2), np.full((1, d), 300.0), np.full((1, d), 1e4)]) + case["offset"]
    weights = None if case["weights"] == "some" else 10.0 ** rng.uniform(-200, 0, n)
    request = request_of(
        resolve_kernel(kernel).square() if case["squared"] else resolve_kernel(kernel),
        keys,
        queries,
        leave_out_of(n, m, case["kind"]),
        case["n_columns"],
        weights,
        bandwidths=case["bandwidths"],
    )
    if case["squared"]:
        assert_same_sums(PRUNED.compute(request), DENSE.compute(request), rtol=1e-10, log_tolerance=1e-4)
    else:
        assert_means_are_the_oracles(request, of_oracle, "pruned")


@pytest.mark.parametrize("name", NAMES)
def test_far_blocks_are_skipped(name):
    """A column that is not zero in the far half only: brute force adds the rounding that skipping leaves out."""
    rng = np.random.default_rng(3)
    keys = np.vstack([rng.normal(size=(512, 4)), rng.normal(size=(512, 4)) + 100.0])
    columns = (np.arange(1024) >= 512)[:, np.newaxis].astype(float)
    request = request_of(KERNELS[name][0], keys / 0.05, keys[:512] / 0.05, columns=columns)
    assert_array_equal(PRUNED.compute(request).moments, 0.0)
    assert_same_sums(PRUNED.compute(request), DENSE.compute(request), rtol=1e-15, log_tolerance=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_huge_target_far_away_counts_for_what_it_is_worth(name):
    """Its weight is rounding, and its product with the target is not."""
    rng = np.random.default_rng(4)
    keys, columns = rng.normal(size=(1024, 2)), rng.normal(size=(1024, 1))
    power = KERNELS[name][1] if isinstance(KERNELS[name][1], float) else {"gaussian": 2, "exponential": 1}[name]
    rate = 0.5 if name == "gaussian" else 1.0
    # a block of its own
    keys[-BLOCK:], columns[-1] = 0.1 * keys[-BLOCK:] + [(40.0 / rate) ** (1 / power) + 1.0, 0.0], 1e18
    request = request_of(KERNELS[name][0], keys, 0.1 * rng.normal(size=(50, 2)), columns=columns)
    assert_sums_are_the_oracles(request, KERNELS[name][1], "pruned")


@pytest.mark.parametrize("name", NAMES)
def test_keys_whose_squared_distances_count_are_not_skipped(name):
    """Far keys whose weights together are rounding, a fifth of it, and times u^2 are not."""
    of_oracle = KERNELS[name][1]
    power = of_oracle if isinstance(of_oracle, float) else {"gaussian": 2, "exponential": 1}[name]
    rate = 0.5 if name == "gaussian" else 1.0
    u = (-np.log(np.finfo(float).eps / 5.0) / rate) ** (1 / power)
    keys = np.random.default_rng(4).uniform(-1e-3, 1e-3, (1024, 2))
    keys[512:, 0] += u
    request = request_of(
        KERNELS[name][0], keys, keys[:512], weights=np.ones(1024), columns=keys[:, :1] ** 2 * (keys[:, :1] > 1)
    )
    assert_array_equal(PRUNED.compute(request).moments, 0.0)
    request.index.value_columns = np.arange(0)
    expected = DENSE.compute(request).moments
    assert_allclose(PRUNED.compute(replace(request)).moments, expected, rtol=1e-9)


def test_a_query_without_its_cluster_gets_the_next_one():
    """Its own block, and all that is near, is left out."""
    keys = np.repeat(np.arange(8.0), 200)[:, np.newaxis] * 1e3 + np.random.default_rng(5).normal(size=(1600, 3))
    start = np.arange(1600) // 200 * 200
    request = request_of("gaussian", keys, leave_out=LeaveOut(start, start + 200)).take(slice(7, None, 40))
    assert_means_are_the_oracles(request, "gaussian", "pruned", tolerance=1e-9)
    none_left = request_of("gaussian", keys, leave_out=LeaveOut(0 * start, np.full(1600, 1600)))
    assert_array_equal(PRUNED.compute(none_left).mass, 0.0)


@pytest.mark.parametrize("name", ["gaussian", "exponential"])
def test_auto_takes_it_where_most_blocks_are_far(name):
    points = clusters(30_000, 5)
    near, far = (request_of(name, points / h, points / h) for h in (100.0, 0.05))
    # many passes are worth compiling, whatever has been
    assert Dispatcher().choose(far, "auto", n_passes=1000).name == "pruned"
    assert Dispatcher().choose(near, "auto", n_passes=1000).name == "fused"


@pytest.mark.parametrize("name", NAMES)
def test_the_estimate_of_time_is_a_number_for_queries_at_infinity(name, monkeypatch):
    monkeypatch.setattr(engine, "_FEW_PAIRS", 0.0)
    keys = clusters(2000, 3)
    queries = np.vstack([np.full((1, 3), np.inf), np.full((1, 3), 1e200), keys])
    assert np.isfinite(PRUNED.estimate_seconds(request_of(KERNELS[name][0], keys, queries)))


def test_threads_and_other_queries_change_nothing_but_rounding():
    points = clusters(4000, 3)
    request = request_of("exponential", points, leave_out=LeaveOut.own(np.arange(4000)), bandwidths=[3.0, 0.1])
    one = PRUNED.compute(request)
    two = PRUNED.compute(
        request_of("exponential", points, leave_out=LeaveOut.own(np.arange(4000)), bandwidths=[3.0, 0.1], n_jobs=2)
    )
    assert_array_equal(two.mass, one.mass)
    rows = np.random.default_rng(6).permutation(4000)[:300]
    part = PRUNED.compute(request.take(rows))
    assert_same_sums(part, type(one)(*(array[:, rows] for array in vars(one).values())), rtol=1e-12)


# Sparse weights


@pytest.mark.parametrize(
    "case",
    covering_array(name=NAMES, d=[1, 2, 6], kind=LEFT_OUT, h=[20.0, 1.0, 0.01], top_k=[None, 1, 3, 2000]),
    ids=describe,
)
def test_listed_weights_are_the_largest_of_the_dense_ones(case):
    d, kind, top_k = case["d"], case["kind"], case["top_k"]
    keys, queries = clusters(900, d), np.vstack([clusters(29, d, seed=2), np.full((1, d), 1e3)])
    request = request_of(KERNELS[case["name"]][0], keys, queries, leave_out_of(900, 30, kind), bandwidths=[case["h"]])
    listed = PRUNED.weight_pairs(request, 1e-80, top_k)
    assert listed.has_canonical_format
    with np.errstate(under="ignore"):
        expected = weight_rows(request, slice(None))
        expected /= expected.sum(axis=1, keepdims=True)
        expected[expected < 1e-80] = 0.0
        if top_k is not None and top_k < 900:
            expected[expected < (1 - 1e-8) * np.sort(expected)[:, [-top_k]]] = 0.0
        expected /= expected.sum(axis=1, keepdims=True)
    found = listed.toarray() / listed.sum(axis=1)[:, np.newaxis]
    assert_array_equal(found > 0, expected > 0)
    assert np.abs(found - expected).max() < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_a_query_so_far_away_that_all_samples_are_equally_far_gets_their_mean(name):
    X = clusters(300, 2)
    y, Q = X[:, 0], np.array([[1e100, 1e100], [-1e100, 1e99]])
    model = NadarayaWatsonRegressor(KERNELS[name][0], bandwidth=0.3, algorithm="pruned").fit(X, y)
    np.testing.assert_allclose(model.predict(Q), y.mean(), rtol=1e-9)
    sparse = model.attention_weights_(Q, sparse_output=True)
    np.testing.assert_allclose(sparse.toarray(), 1 / 300, rtol=1e-9)


@pytest.mark.parametrize("top_k", [None, 1, 4])
def test_attention_is_that_of_the_dense_engine(top_k):
    """With copies among the samples, ties, and weights of zero."""
    rng = np.random.default_rng(7)
    X = np.repeat(rng.integers(0, 5, (150, 3)).astype(float), 2, axis=0) * [1.0, 40.0, 1.0]
    y, w = rng.normal(size=300), rng.choice([0.0, 1.0, 2.0], 300)
    y[1::4] = y[::4]
    Q = np.vstack([X[:40] + 0.25, np.full((1, 3), 1e4)])
    pruned, dense = (
        NadarayaWatsonRegressor(bandwidth=0.4, algorithm=name)
        .fit(X, y, w)
        .attention_weights_(Q, sparse_output=True, top_k=top_k)
        for name in ["pruned", "dense"]
    )
    assert_array_equal(pruned.indptr, dense.indptr)
    assert_array_equal(pruned.indices, dense.indices)
    assert np.abs(pruned.data - dense.data).max() < 1e-12
