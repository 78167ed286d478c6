"""The algebra of local lines, and the samples that carry them."""

import numpy as np
import pytest
from covering import pairwise
from kernel_requests import request_of
from numpy.testing import assert_allclose, assert_array_equal
from problems import KERNELS, Cauchy, regression
from sklearn.gaussian_process.kernels import RBF

from sknw import AttentionPoolingRegressor
from sknw._kernel_sums import dense
from sknw._kernel_sums.request import LeaveOut
from sknw._smoothing.local_linear import (
    LocalFits,
    LocalMoments,
    line_columns,
    lines_around,
    moments_around,
    n_line_columns,
)
from sknw._smoothing.neighbours import EffectiveNeighbours


@pytest.fixture
def samples(rng):
    """Weights p (m, l) of sum 1, inputs x (m, l, d) and values y (m, l, k) around queries (m, d)."""
    p = rng.uniform(size=(7, 30))
    return (
        p / p.sum(axis=1, keepdims=True),
        rng.normal(size=(7, 30, 4)),
        rng.normal(size=(7, 30, 2)),
        rng.normal(size=(7, 4)),
    )


def moments_of(p, x, y):
    """From weighted sums, as the engines give them."""
    means = [weights @ line_columns(inputs, values) for weights, inputs, values in zip(p, x, y, strict=True)]
    assert len(means[0]) == n_line_columns(x.shape[2], y.shape[2])
    return LocalMoments.of(np.array(means), np.zeros(len(p)), x.shape[2], y.shape[2])


def least_squares(p, x, y, query, ridge):
    """b0 of the line by its normal equations, intercept and slopes together, and its slopes."""
    values, slopes = [], []
    for weights, inputs, targets, q in zip(p, x, y, query, strict=True):
        design = np.column_stack([np.ones(len(inputs)), inputs - q])
        penalty = np.diag([0.0] + [ridge] * len(q))
        b = np.linalg.solve((weights * design.T) @ design + penalty, (weights * design.T) @ targets)
        values.append(b[0])
        slopes.append(b[1:])
    return np.array(values), np.array(slopes)


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 5.0])
def test_moments_and_lines_are_weighted_least_squares(ridge, samples):
    p, x, y, query = samples
    value, slope = least_squares(p, x, y, query, ridge)
    by_sums = moments_of(p, x, y)
    around = moments_around(p, x - query[:, np.newaxis], y, query, np.zeros(7))
    for moments in [by_sums, around]:
        pull, of_pull = moments.equivalent_kernel_and_slope(query, ridge)
        assert_allclose(moments.y_mean + np.einsum("md,mdk->mk", pull, moments.xy), value, rtol=1e-9)
        assert_allclose(of_pull, slope, rtol=1e-9)
        assert_allclose(LocalFits.of(moments, query).value(ridge, 0.0), value, rtol=1e-9)
    exact = lines_around(p, x - query[:, np.newaxis], y, np.zeros(7), 1.0)
    assert_allclose(exact.value(ridge, 0.0), value, rtol=1e-9)
    assert_allclose(exact.value(np.full(7, ridge), 0.0), value, rtol=1e-9)


def test_an_axis_along_which_samples_vary_little_has_its_slope(samples):
    """Without a ridge: the variance along one axis is a millionth of the others."""
    p, x, y, query = samples
    size = np.array([1.0, 1e-3, 1.0, 1.0])
    x, query = x * size, query * size
    value, slope = least_squares(p, x, y, query, 0.0)
    for moments in [moments_of(p, x, y), moments_around(p, x - query[:, np.newaxis], y, query, np.zeros(7))]:
        pull, of_pull = moments.equivalent_kernel_and_slope(query, 0.0)
        assert_allclose(moments.y_mean + np.einsum("md,mdk->mk", pull, moments.xy), value, rtol=1e-8)
        assert_allclose(of_pull, slope, rtol=1e-8)


@pytest.mark.parametrize(("n", "ridge"), [(30, 0.0), (30, 0.1), (3, 0.1)])
def test_reach_gives_the_leverage_of_a_sample_at_the_query(n, ridge, samples):
    """With a sample of weight p more at the query, dm / dy of it is 1 - s / (1 + p reach(ridge / s)), s = 1 - p.

    Of three samples in four inputs the query is off the plane.
    """
    p, x, y, query = samples
    p, x, y = p[:, :n] / p[:, :n].sum(axis=1, keepdims=True), x[:, :n], y[:, :n]
    lines = lines_around(p, x - query[:, np.newaxis], y, np.zeros(7), 1.0)
    own = 0.2
    with_own = (
        np.concatenate([(1 - own) * p, np.full((7, 1), own)], axis=1),
        np.concatenate([x, query[:, np.newaxis]], axis=1),
    )
    of_own = np.zeros((7, n + 1, 1))
    of_own[:, -1] = 1.0
    leverage = least_squares(*with_own, of_own, query, ridge)[0][:, 0]
    assert_allclose(1 - (1 - own) / (1 + own * lines.leverage(ridge / (1 - own))), leverage, rtol=1e-10)


def test_samples_on_a_line_have_no_slope_across_it_and_do_not_reach_beyond():
    t = np.linspace(-1.0, 1.0, 9)
    x, y, p = np.column_stack([t, 2 * t])[np.newaxis], (3 * t)[np.newaxis, :, np.newaxis], np.full((1, 9), 1 / 9)
    on, off = np.array([[0.3, 0.6]]), np.array([[0.3 + 2.0, 0.6 - 1.0]])  # the second across from the first
    for query, reaches in [(on, True), (off, False)]:
        from_sums = LocalFits.of(moments_of(p, x, y), query)
        from_samples = lines_around(p, x - query[:, np.newaxis], y, np.zeros(1), 1.0)
        for lines in [from_sums, from_samples]:
            assert not lines.is_ill_conditioned(0.0).any()
            assert_allclose(lines.value(0.0, 0.0), [[0.9]], rtol=1e-12)
            assert np.isfinite(lines.leverage(0.0))[0] == reaches


def test_an_axis_whose_variance_is_rounding_plays_no_part():
    axes, one = np.ones((1, 2)), np.zeros(1)
    covariances, least = np.array([[[2.0], [1e-9]]]), 1e-14 * axes
    lines = LocalFits(np.zeros((1, 1)), np.array([[1.0, 1e-16]]), axes, covariances, 1e-6 * axes, least, one, one)
    assert_array_equal(lines.value(0.0, 0.0), [[2.0]])
    assert_array_equal(lines.leverage(0.0), [np.inf])


def test_lines_of_tiny_weights_are_as_sharp_as_of_large_ones():
    """Two samples of which one has a weight of 1e-24: the line still goes through both."""
    p, y = np.array([[1.0, 1e-24]]), np.array([[[1.0], [3.0]]])
    x = np.array([[[0.1], [0.7]]])
    assert_allclose(lines_around(p, x, y, np.zeros(1), 1.0).value(0.0, 0.0), [[1.0 - 2.0 / 6.0]], rtol=1e-12)


def test_a_sample_far_away_of_next_to_no_weight_costs_no_digits():
    p, y = np.array([[0.5, 0.5, 1e-60]]), np.array([[[1.0], [3.0], [7.0]]])
    x = np.array([[[0.1e-9], [0.7e-9], [1e3]]])
    assert_allclose(lines_around(p, x, y, np.zeros(1), 1e-9).value(0.0, 0.0), [[1.0 - 2.0 / 6.0]], rtol=1e-12)


def test_rounding_of_the_inputs_is_no_slope():
    p, y = np.full((1, 2), 0.5), np.array([[[1.0], [3.0]]])
    for size in [1.0, 1e6]:
        x = np.array([[[0.5], [0.5 + 1e-16 * size]]])
        assert_allclose(lines_around(p, x, y, np.zeros(1), size).value(0.0, 0.0), [[2.0]], rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-7])
def test_lost_digits_are_noticed(scale, samples):
    p, x, y, query = samples
    moments = moments_of(p, 1.0 + scale * x, y)
    assert np.all(moments.has_cancellation(0.0)) == (scale < 1e-3)
    assert not np.any(moments.has_cancellation(0.1))
    assert np.all(LocalFits.of(moments, query).is_ill_conditioned(0.0)) == (scale < 1e-3)


NEIGHBOUR_KERNELS = {
    **{name: parameter for name, (parameter, _) in KERNELS.items()},
    "user's": Cauchy(),
    "callable": RBF(1.0),
}


@pytest.mark.parametrize("w", [1.0, [0.0, 1.0]])
def test_lines_at_the_largest_numbers_are_numbers(w):
    X, y, _, _ = regression(n=20)
    model = AttentionPoolingRegressor(w=w, degree=1, ridge=0.1).fit(X, y)
    query = [[-np.finfo(np.float64).max, 0.1]]
    assert np.isfinite(model.predict(query)).all()


@pairwise(kernel=list(NEIGHBOUR_KERNELS), width=[0.02, 0.3, 5.0], leave_out=[None, "all", "some"], least=[0.25, 1e-30])
def test_neighbours_are_the_samples_of_weight(kernel, width, leave_out, least):
    X, _, w, Q = regression(n=60, weighted=True)
    kept = w > 0
    w = np.maximum(w - 0.25, least)
    keys, weights = X[kept] / width, w[kept] / 3.0
    own, queries = None, Q / width
    if leave_out is not None:
        own, queries = np.arange(len(keys)), keys.copy()
        if leave_out == "some":
            own[:9], queries[:9] = -1, Q[:9] / width
        own = LeaveOut.own(own)
    request = request_of(NEIGHBOUR_KERNELS[kernel], keys, queries, own, weights=weights)
    expected = dense.weight_rows(request, slice(None))
    supported = np.flatnonzero(expected.any(axis=1))
    expected[supported] /= expected[supported].sum(axis=1, keepdims=True)
    neighbours, seen = EffectiveNeighbours(request), []
    for chunk in neighbours.chunks(supported):
        rows, (of_rows, p) = chunk.rows, neighbours.of(chunk)
        found = np.zeros((len(rows), len(keys)))
        np.add.at(found, (np.arange(len(rows))[:, np.newaxis], of_rows), p)
        assert_allclose(found, expected[rows], rtol=1e-11, atol=1e-25)
        seen.extend(rows)
    assert sorted(seen) == supported.tolist()
