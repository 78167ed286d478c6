"""Copies among keys and queries change nothing but who is computed: each distinct one once."""

import numpy as np
import pytest
from kernel_requests import assert_same_sums, assert_sums_are_the_oracles, request_of

from sknw._kernel_sums import copies
from sknw._kernel_sums.permutation import sort_equal
from sknw._kernel_sums.registry import ENGINES, kernel_sums


@pytest.fixture
def requests_seen(monkeypatch):
    """The requests that the pruned engine computes, with copies looked for in small problems too."""
    monkeypatch.setattr(copies, "_FEW_PAIRS", 0.0)
    seen, compute = [], type(ENGINES["pruned"]).compute
    monkeypatch.setattr(
        type(ENGINES["pruned"]), "compute", lambda e, request: (seen.append(request), compute(e, request))[1]
    )
    return seen


def ties(n, d, seed):
    return np.random.default_rng(seed).integers(0, 4, (n, d)).astype(float)


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
@pytest.mark.parametrize("d", [2, 3])
def test_sums_are_the_oracles_where_keys_and_queries_repeat(kernel, d, requests_seen):
    request = request_of(kernel, ties(400, d, 1), ties(600, d, 2) + 0.25, n_columns=2, bandwidths=[3.0, 0.9])
    assert_sums_are_the_oracles(request, kernel, "pruned")
    assert [(len(seen.queries), len(seen.keys)) for seen in requests_seen] == [(4**d, 4**d)]


def test_without_copies_all_are_computed(requests_seen):
    points = np.random.default_rng(0).normal(size=(50, 2))
    kernel_sums(request_of("gaussian", points, points), "pruned")
    assert len(requests_seen[0].keys) == 50


def test_distinct_points_of_equal_sums_stay_apart(requests_seen):
    """The sums that points are sorted by are equal at infinity, and where rounding takes a coordinate away."""
    queries = np.array([[np.inf, 0.0], [np.inf, 1.0], [np.inf, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, np.inf]])
    request = request_of("gaussian", ties(40, 2, 3), queries)
    assert_same_sums(kernel_sums(request, "pruned"), ENGINES["dense"].compute(request), rtol=1e-12)
    assert sort_equal(np.array([[1e20, 0.0], [1e20, 1.0], [1e20, 1.0]]))[1].tolist() == [True, True, False]
