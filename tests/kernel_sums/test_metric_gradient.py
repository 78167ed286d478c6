"""The derivative of pooled values in the metric, a scatter matrix, against its definition, a sum over all pairs."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
from covering import covering_array, describe, pairwise
from kernel_requests import request_of
from problems import DIFFERENTIABLE, DifferentiableCauchy, regression
from sklearn import config_context

from sknw._kernel_sums.metric_gradient import WeightCotangent
from sknw._kernel_sums.metric_gradient import metric_gradient as gradient_of_matrix
from sknw._kernel_sums.registry import kernel_sums
from sknw._kernel_sums.request import LeaveOut
from sknw.kernels import PowerExponential

KERNELS = {
    **DIFFERENTIABLE,
    "power 3": (PowerExponential(power=3.0), 3.0),  # not compiled: its weights fall too fast for the tile
    "user's": (DifferentiableCauchy(), lambda u: 1 / (1 + u**2)),
}


def metric_gradient(request, query_x, key_x, cotangent, algorithm):
    """The scatter matrix itself."""
    return gradient_of_matrix(request, query_x, key_x, cotangent, algorithm, np.eye(key_x.shape[1]))


def request_and_cotangent(
    kernel, d=2, n_outputs=None, weighted=False, left_out=True, width=1.3, is_line=True, n_jobs=None
):
    """A request whose queries are its keys, or others, and numbers of the size that lines give them."""
    X, y, w, Q = regression(d=d, n_outputs=n_outputs, weighted=weighted)
    rng = np.random.default_rng(1)
    kept = slice(None) if w is None else w > 0
    X, y = X[kept], y.reshape(len(X), -1)[kept]
    weights = np.ones(len(X)) if w is None else w[kept]
    rows = rng.permutation(len(X))[:25]  # validation rows
    own = np.where(np.arange(25) < 9, -1, rows) if left_out == "some" else rows
    leave_out = LeaveOut.own(own) if left_out else None
    if left_out == "groups":
        leave_out = LeaveOut(own // 7 * 7, np.minimum(own // 7 * 7 + 7, len(X)))
    x = X[rows] if left_out else Q
    if left_out == "some":
        x[:9] = Q[:9]
    m, k = len(x), y.shape[1]
    W = rng.normal(size=(d, d)) / (width * d)
    request = request_of(kernel, X @ W, x @ W, None, weights=weights / weights.max(), columns=y, n_jobs=n_jobs)
    request = replace(request, leave_out=leave_out)
    log_mass = kernel_sums(request, "dense").log_mass()[0]
    p, g, e, t = (rng.normal(size=shape) for shape in [(m, 1 + d), (m, k), (m, 1 + d), m])
    if not is_line:
        p, e, t[:] = np.ones((m, 1)), e[:, :1], 0.0
    return request, x, X, WeightCotangent(p, g, e, t, log_mass)


def scatter_of_pairs(request, query_x, key_x, cotangent, of_oracle):
    """S = sum_ij B_ij (x_i - x_j) (x_i - x_j)', pair by pair, and the sum of the sizes of its terms."""
    u = oracle.distances(request.queries, request.keys, 1.0)
    slopes = oracle.relative_slope(of_oracle, u, cotangent.log_mass[:, np.newaxis]) * request.weights
    total, size = 0.0, 0.0
    x, values = np.column_stack([np.ones(len(key_x)), key_x]), request.columns
    for i, q in enumerate(query_x):
        others = np.ones(len(key_x), dtype=bool)
        if request.leave_out is not None:
            others[request.leave_out.first[i] : request.leave_out.last[i]] = False
        for j in np.flatnonzero(others & (slopes[i] != 0)):
            p, e = (factor[i] @ x[j, : factor.shape[1]] for factor in (cotangent.p, cotangent.e))
            answer = p * (cotangent.g[i] @ values[j] - e) - cotangent.t[i]
            term = float(slopes[i, j]) * answer * np.outer(q - key_x[j], q - key_x[j])
            total, size = total + term, size + np.abs(term).max()
    return total, size


def assert_is_scatter(request, query_x, key_x, cotangent, of_oracle, algorithm, tolerance=1e-11):
    expected, size = scatter_of_pairs(request, query_x, key_x, cotangent, of_oracle)
    actual = metric_gradient(request, query_x, key_x, cotangent, algorithm)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * size)
    np.testing.assert_allclose(actual, actual.T, rtol=0, atol=1e-13 * size)
    assert size > 0


compilation = pytest.mark.parametrize("algorithm", ["dense", "fused", "pruned"])


@compilation
@pytest.mark.parametrize("is_line", [False, True], ids=["means", "lines"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_scatter_is_the_sum_over_pairs(kernel, is_line, algorithm):
    parameter, of_oracle = KERNELS[kernel]
    assert_is_scatter(*request_and_cotangent(parameter, is_line=is_line, weighted=True), of_oracle, algorithm)


@pairwise(kernel=["gaussian", "exponential", "tricube"], d=[1, 2, 3, 4, 5, 6], algorithm=["dense", "fused", "pruned"])
def test_any_number_of_features(kernel, d, algorithm):
    assert_is_scatter(*request_and_cotangent(kernel, d=d), kernel, algorithm)


@pairwise(
    kernel=["gaussian", "power 1.5", "biweight"],
    left_out=[False, True, "some", "groups"],
    n_outputs=[1, 3, 5],
    algorithm=["dense", "fused", "pruned"],
)
def test_outputs_add_up_and_own_samples_do_not_count(kernel, left_out, n_outputs, algorithm):
    parameter, of_oracle = KERNELS[kernel]
    case = request_and_cotangent(parameter, n_outputs=n_outputs, left_out=left_out, weighted=True)
    assert_is_scatter(*case, of_oracle, algorithm)


@compilation
@pytest.mark.parametrize("left_out", [False, True, "some", "groups"])
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "power 0.5", "power 1.5", "power 3"])
def test_masses_that_underflow_are_as_good_as_others(kernel, left_out, algorithm):
    """At the width 1e-3 nearest neighbours are hundreds of bandwidths away, and the Gaussian is exp(-1e5) there."""
    parameter, of_oracle = KERNELS[kernel]
    width = 0.05 if kernel == "power 3" else 1e-3
    request, query_x, key_x, cotangent = request_and_cotangent(parameter, left_out=left_out, width=width)
    if kernel in ["gaussian", "power 1.5", "power 3"]:
        assert cotangent.log_mass.min() < -800
    # the exponent has the rounding of its size, which is that of the distance
    tolerance = max(1e-11, 1e-14 * np.abs(cotangent.log_mass).max())
    assert_is_scatter(request, query_x, key_x, cotangent, of_oracle, algorithm, tolerance)


@compilation
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "linear"])
def test_threads_and_blocks_change_nothing(kernel, algorithm):
    request, query_x, key_x, cotangent = request_and_cotangent(kernel, left_out=False, n_jobs=2)
    repeats = np.arange(1203) % len(query_x)
    many = request.take(repeats)
    many_cotangent = WeightCotangent(*(array[repeats] for array in vars(cotangent).values()))
    counts = np.bincount(repeats)[:, np.newaxis]
    once = WeightCotangent(
        cotangent.p * counts, cotangent.g, cotangent.e, cotangent.t * counts[:, 0], cotangent.log_mass
    )
    expected = metric_gradient(request, query_x, key_x, once, algorithm)
    with config_context(working_memory=0.05):
        actual = metric_gradient(many, query_x[repeats], key_x, many_cotangent, algorithm)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@compilation
def test_more_keys_than_a_block_holds(algorithm):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1100, 3)), rng.normal(size=(1100, 2))
    rows = np.arange(0, 1100, 100)
    leave_out = LeaveOut.own(rows)
    request = request_of("gaussian", X, leave_out=leave_out, weights=np.ones(1100), columns=y)
    p, g, e = (rng.normal(size=(11, k)) for k in (4, 2, 4))
    cotangent = WeightCotangent(p, g, e, rng.normal(size=11), np.log(kernel_sums(request, "dense").mass[0]))
    assert_is_scatter(request, X[rows], X, cotangent, "gaussian", algorithm)


@pytest.mark.parametrize(
    "row",
    covering_array(
        [
            *({"kernel": kernel, "scale": 1.0} for kernel in ["gaussian", "exponential", "power 1.5"]),
            {"kernel": "gaussian", "scale": 40.0},
        ],
        n_outputs=[1, 3],
        n_jobs=[1, 2],
        left_out=["own", "groups", "blocks", "one-sided"],
    ),
    ids=describe,
)
def test_every_pair_once(row):
    """Means where all keys are the queries, in order; masses that cannot be divided by at the last scale."""
    kernel, scale, n_outputs, n_jobs, left_out = row.values()
    rng = np.random.default_rng(2)
    n, d = 1033, 4
    X, y, weights = rng.normal(size=(n, d)), rng.normal(size=(n, n_outputs)), rng.uniform(0.1, 1.0, size=n)
    i = np.arange(n)
    leave_out = {
        "own": LeaveOut.own(i),
        "groups": LeaveOut(i // 300 * 300, np.minimum(i // 300 * 300 + 300, n)),
        "blocks": LeaveOut(np.maximum(i - 40, 0), np.minimum(i + 41, n)),
        "one-sided": LeaveOut(np.maximum(i - 40, 0), i + 1),
    }[left_out]
    assert leave_out.is_symmetric == (left_out != "one-sided")
    request = request_of(KERNELS[kernel][0], scale * X, scale * X, weights=weights, columns=y, n_jobs=n_jobs)
    request = replace(request, leave_out=leave_out)
    sums = kernel_sums(request, "dense")
    assert (sums.log_scale[0].min() < -700) == (scale > 1.0)
    p, g, e = np.ones((n, 1)), rng.normal(size=(n, n_outputs)), rng.normal(size=(n, 1))
    cotangent = WeightCotangent(p, g, e, np.zeros(n), np.log(sums.mass[0]) + sums.log_scale[0])
    by_blocks = metric_gradient(request, X, X, cotangent, "dense")
    atol = 1e-11 * np.abs(by_blocks).max()
    np.testing.assert_allclose(metric_gradient(request, X, X, cotangent, "fused"), by_blocks, rtol=0, atol=atol)


@pytest.mark.parametrize("is_line", [False, True], ids=["means", "lines"])
@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
def test_blocks_that_are_skipped_count_for_nothing(kernel, is_line):
    """Clusters far from each other: most pairs are none of those that the tree looks at."""
    rng = np.random.default_rng(3)
    n, d = 1200, 3
    X = 100.0 * rng.normal(size=(8, d))[rng.integers(0, 8, n)] + rng.normal(size=(n, d))
    request = request_of(KERNELS[kernel][0], X, leave_out=LeaveOut.own(np.arange(n)), n_columns=2)
    log_mass = kernel_sums(request, "dense").log_mass()[0]
    p, g, e, t = (rng.normal(size=shape) for shape in [(n, 1 + d), (n, 2), (n, 1 + d), n])
    p[:, 1:], e[:, 1:] = p[:, 1:] / 100.0, e[:, 1:] / 100.0
    if not is_line:
        p, e, t[:] = np.ones((n, 1)), e[:, :1], 0.0
    pruned, dense = (
        metric_gradient(request, X, X, WeightCotangent(p, g, e, t, log_mass), name) for name in ["pruned", "dense"]
    )
    np.testing.assert_allclose(pruned, dense, rtol=0, atol=1e-9 * np.abs(dense).max())


def test_weighted_means_are_lines_without_slope():
    """The compiled loop leaves the products with x out."""
    request, query_x, key_x, cotangent = request_and_cotangent("gaussian", is_line=False)
    none = np.zeros_like(query_x)
    p, e = np.hstack([cotangent.p, none]), np.hstack([cotangent.e, none])
    np.testing.assert_allclose(
        metric_gradient(request, query_x, key_x, replace(cotangent, p=p, e=e), "fused"),
        metric_gradient(request, query_x, key_x, cotangent, "fused"),
        rtol=1e-12,
    )
