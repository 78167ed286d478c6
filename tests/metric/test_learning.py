"""The loss of w and its gradient against the oracle; what the minimisation promises."""

import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose
from problems import DIFFERENTIABLE, ENGINES, DifferentiableCauchy, regression

from sknw import AttentionPoolingRegressor
from sknw._metric.loss import Loss
from sknw._smoothing.smoother import LocalLinearSpec
from sknw._smoothing.training import TrainingSet
from sknw.kernels import PowerExponential, resolve_kernel

KERNELS = {
    **DIFFERENTIABLE,
    "power 3": (PowerExponential(power=3.0), 3.0),
    "user's": (DifferentiableCauchy(), lambda u: 1 / (1 + u**2)),
}
COMPILED = ["gaussian", "exponential", "power 0.5", "power 1.5"]


def loss_of(X, y, w, kernel, degree, rows=None, algorithm="dense", outside="nearest"):
    """The loss of a training set of positive weights, in standardised inputs."""
    training = TrainingSet.of(X, y, w)
    rows = np.arange(len(training.X)) if rows is None else rows
    model = AttentionPoolingRegressor(outside=outside, algorithm=algorithm)
    line = LocalLinearSpec.of(training, 0.0) if degree else None
    smoother = model._build_smoother(training, resolve_kernel(kernel), 1 / training.scales, rows, 1, line)
    return Loss(smoother, training, rows)


def in_units_of_inputs(X, w, W):
    """What the oracle takes for W of standardised inputs."""
    s = oracle.scales(X, w)
    with np.errstate(divide="ignore"):
        return s / W if W.ndim == 1 else W / s[:, np.newaxis]


def derivatives(function, theta, step=1e-6):
    """By central differences, in each entry of theta, in long double."""
    found = np.empty(theta.shape, dtype=np.longdouble)
    for index in np.ndindex(theta.shape):
        ends = []
        for sign in (1, -1):
            moved = theta.astype(np.longdouble)
            moved[index] += sign * step
            ends.append(function(moved))
        found[index] = (ends[0] - ends[1]) / (2 * np.longdouble(step))
    return found.astype(float)


def some_w(structure, d, size=1.2):
    rng = np.random.default_rng(5)
    size = size / np.sqrt(d)
    return {
        "diagonal": size * rng.uniform(0.5, 1.5, d),
        "low_rank": size * rng.normal(size=(d, min(d, 2))),
        "full": size * (np.eye(d) + 0.3 * rng.normal(size=(d, d))),
    }[structure]


def assert_loss_and_gradient_are_right(
    kernel, structure, degree, d=2, n_outputs=None, weighted=False, size=1.2, **options
):
    X, y, w, _ = regression(n=20, d=d, n_outputs=n_outputs, weighted=weighted)
    if weighted:
        X, y, w = X[w > 0], y[w > 0], w[w > 0]
    parameter, of_oracle = KERNELS[kernel]
    W, ridge = some_w(structure, d, size), np.geomspace(0.05, 0.5, d)
    outside, rows = options.get("outside", "nearest"), options.get("rows", slice(None))

    def expected(W, log_ridge):
        by_feature = np.exp(log_ridge) if degree else None
        return oracle.loss(X, y, in_units_of_inputs(X, w, W), of_oracle, w, outside, by_feature, rows)

    by_w = derivatives(lambda W: expected(W, np.log(ridge)), W)
    by_ridge = derivatives(lambda log_ridge: expected(W, log_ridge), np.log(ridge)) if degree else np.zeros(d)
    assert np.abs(by_w).max() > 1e-3
    for algorithm in ENGINES[: 2 if kernel in COMPILED else 1]:
        loss = loss_of(X, y, w, parameter, degree, algorithm=algorithm, **options)
        found, w_gradient, ridge_gradient = loss(W, ridge)
        assert found == pytest.approx(float(expected(W, np.log(ridge))), rel=1e-11 if degree == 0 else 1e-7)
        tolerance = (1e-9 if degree == 0 else 1e-7) * np.abs(by_w).max()
        assert_allclose(w_gradient, by_w, rtol=0, atol=tolerance)
        assert_allclose(ridge_gradient, by_ridge, rtol=0, atol=tolerance)


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("structure", ["diagonal", "full"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_loss_and_gradient_are_the_oracles(kernel, structure, degree):
    assert_loss_and_gradient_are_right(kernel, structure, degree, weighted=structure == "full")


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "tricube"])
def test_gradient_with_outputs_and_weights(kernel, weighted, n_outputs, degree):
    assert_loss_and_gradient_are_right(kernel, "diagonal", degree, n_outputs=n_outputs, weighted=weighted)


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize(("structure", "d"), [("diagonal", 1), ("diagonal", 5), ("low_rank", 3), ("full", 3)])
@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
def test_gradient_in_any_dimension(kernel, structure, d, degree):
    assert_loss_and_gradient_are_right(kernel, structure, degree, d=d)


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("outside", ["nearest", "mean"])
def test_gradient_where_some_rows_have_no_support(outside, degree):
    """What they get is the same on both sides of a small step."""
    assert_loss_and_gradient_are_right("tricube", "diagonal", degree, outside=outside, size=2.4)


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_gradient_on_some_rows(kernel, degree):
    assert_loss_and_gradient_are_right(kernel, "full", degree, rows=np.array([1, 4, 7, 12, 19]))
