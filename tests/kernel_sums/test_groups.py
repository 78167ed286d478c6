"""Sums over keys in groups, all equally far from each other, against sums in all columns."""

from dataclasses import replace

import numpy as np
import pytest
from covering import pairwise
from numpy.testing import assert_allclose

from sknw._kernel_sums import groups, metric_gradient
from sknw._kernel_sums.groups import group_sums
from sknw._kernel_sums.index import Groups, KeyIndex
from sknw._kernel_sums.metric_gradient import WeightCotangent, metric_diagonal
from sknw._kernel_sums.registry import kernel_sums
from sknw._kernel_sums.request import KernelSumRequest, LeaveOut
from sknw._selection.grid import bandwidth_grid
from sknw._smoothing.features import FeatureMap
from sknw.kernels import Gaussian

N_LEVELS = 9


def request_of(d=2, n=90, w=1.5, left_out="own", h=(2.0, 1.0, 0.05), seed=0):
    """Keys whose category has levels with many, few, one and no rows; among the queries are unknown levels."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=(n + 20, d)), np.minimum(rng.geometric(0.35, n + 20) - 1, N_LEVELS - 2)])
    X[n : n + 5, d], X[n + 5, d] = -1, N_LEVELS - 1
    none = np.zeros(d + 1)
    features = FeatureMap(np.append(none[:d], N_LEVELS).astype(int), none > 0, none > 0, none)
    columns, found = features.columns(X), features.groups(X, np.full(d + N_LEVELS - 1, w))
    columns[:, d:] *= w
    index = KeyIndex(columns[:n], rng.uniform(0.1, 1, n), rng.normal(size=(n, 2)), 0.0, found.take(slice(n)))
    rows, leave_out = slice(n, None), None
    if left_out:
        rows, leave_out = slice(n), LeaveOut.own(np.arange(n))
    if left_out == "ranges":
        leave_out = LeaveOut(np.arange(n) // 7 * 7, np.minimum(np.arange(n) // 7 * 7 + 7, n))
    return KernelSumRequest(
        Gaussian(), index, columns[rows], leave_out, np.array(h), query_groups=found.number[rows]
    ), columns


@pairwise(d=[0, 2], left_out=[None, "own", "ranges"], w=[0.0, 1.5, 60.0], small=[0, 10**6])
def test_sums_of_groups_are_those_of_all_columns(d, left_out, w, small, monkeypatch):
    monkeypatch.setattr(groups, "_SMALL", small)
    request, _ = request_of(d, w=w, left_out=left_out)
    found, expected = group_sums(request, kernel_sums), kernel_sums(request, "dense")
    # of rare levels all weights may underflow without a scale
    assert_allclose(found.log_mass(), expected.log_mass(), rtol=1e-10, atol=1e-10)
    assert_allclose(found.into_means()[0], expected.into_means()[0], rtol=1e-9, atol=1e-10)


def test_groups_are_taken_where_that_is_quicker():
    request, _ = request_of(n=60)
    assert not groups.takes_groups(request)
    queries = np.tile(request.queries, (20_000, 1))
    many = replace(request, queries=queries, query_groups=np.tile(request.query_groups, 20_000))
    assert groups.takes_groups(many)
    assert not groups.takes_groups(replace(many, query_groups=None))


@pytest.mark.parametrize("w", [0.4, 3.0])
def test_the_diagonal_of_the_scatter_matrix_by_groups(w, monkeypatch):
    request, x = request_of(w=w, h=(1.0,))
    m, rng = len(request.queries), np.random.default_rng(1)
    x = x[:m] / np.append([1.0, 1.0], np.full(N_LEVELS - 1, w))
    cotangent = WeightCotangent(
        np.ones((m, 1)),
        rng.normal(size=(m, 2)),
        rng.normal(size=(m, 1)),
        np.zeros(m),
        kernel_sums(request, "dense").log_mass()[0],
    )
    expected = np.diagonal(metric_gradient.metric_gradient(request, x, x, cotangent, "dense", np.eye(x.shape[1])))
    assert_allclose(metric_diagonal(request, x, x, cotangent, "dense"), expected, rtol=1e-10, atol=1e-13)
    monkeypatch.setattr(metric_gradient, "takes_groups", lambda request: True)
    found = metric_diagonal(request, x, x, cotangent, "auto")
    assert_allclose(found[:2], expected[:2], rtol=1e-9, atol=1e-12)
    assert_allclose(found[2:].sum(), expected[2:].sum(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("w", [1e-3, 0.5, 20.0])
def test_the_grid_of_bandwidths_knows_the_distances_of_groups(w):
    index = request_of(w=w)[0].index
    for some in (index, index.take(np.repeat(np.arange(30), 2))):
        without = KeyIndex(some.keys, some.weights, some.columns)
        (grid, has_equal), (expected, also) = (bandwidth_grid(keys, Gaussian()) for keys in (some, without))
        np.testing.assert_array_equal(grid, expected)
        assert has_equal == also


def test_groups_of_some_keys():
    found = Groups(np.array([2, 0, 2, 1]), 4, slice(1, 4), 1.0).take(np.array([0, 2, 3]))
    assert [found.members(g).tolist() for g in (-1, 0, 1, 2, 3)] == [[], [], [2], [0, 1], []]
