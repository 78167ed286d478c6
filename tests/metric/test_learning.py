"""The loss of w and its gradient against the oracle; what the minimisation promises."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
from covering import covering_array, describe, pairwise
from numpy.testing import assert_allclose
from problems import DIFFERENTIABLE, ENGINES, DifferentiableCauchy, regression
from sklearn.model_selection import KFold, LeaveOneGroupOut, RepeatedKFold

from sknw import AttentionPoolingRegressor
from sknw._metric import loss as loss_module
from sknw._metric import optimizer
from sknw._metric.gauss_newton import minimise_squares
from sknw._metric.loss import Loss
from sknw._metric.optimizer import MetricFit, MetricOptimizer, Progress
from sknw._metric.parametrization import Parametrization
from sknw._metric.slopes import rises_without_slopes
from sknw._smoothing.features import FeatureMap
from sknw._smoothing.local_linear import LocalLinearSpec
from sknw.kernels import PowerExponential, resolve_kernel
from sknw.model_selection import LeaveBlockOut

KERNELS = {
    **DIFFERENTIABLE,
    "power 3": (PowerExponential(power=3.0), 3.0),
    "user's": (DifferentiableCauchy(), lambda u: 1 / (1 + u**2)),
}
BLOCKS = LeaveBlockOut(2)
COMPILED = ["gaussian", "exponential", "power 0.5", "power 1.5"]


def loss_of(
    X, y, w, kernel, degree, rows=None, algorithm="dense", outside="nearest", cv=None, groups=None, **parameters
):
    """The loss of a training set of positive weights, in standardised inputs."""
    model = AttentionPoolingRegressor(outside=outside, algorithm=algorithm, cv=cv, **parameters)
    data = model._validate_fit(X, y, w, groups)
    training, validation = data.training, data.validation
    if rows is not None:
        validation = validation.of_rows(np.flatnonzero(np.isin(training.given_rows, rows)))
    line = LocalLinearSpec.along_columns(training, 0.0) if degree else None
    smoother = model._build_smoother(training, resolve_kernel(kernel), 1 / training.scales, validation, 1, line)
    return Loss(smoother, training, validation)


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


def derivatives_of_value(loss, W, step=1e-5):
    """Of the loss alone, by central differences relative to each w."""
    moves = step * np.maximum(W, 1e-3) * np.eye(len(W))
    ends = [[loss.value(W + sign * move, np.ones(len(W))) for sign in (1, -1)] for move in moves]
    return np.array([a - b for a, b in ends]) / (2 * moves.max(axis=1))


def some_w(structure, d, size=1.2):
    rng = np.random.default_rng(5)
    size = size / np.sqrt(d)
    return {
        "scalar": np.full(d, size),
        "diagonal": size * rng.uniform(0.5, 1.5, d),
        "low_rank": size * rng.normal(size=(d, min(d, 2))),
        "full": size * (np.eye(d) + 0.3 * rng.normal(size=(d, d))),
    }[structure]


def assert_loss_and_gradient_are_right(
    kernel, structure, degree, d=2, n_outputs=None, weighted=False, size=1.2, has_groups=False, **options
):
    X, y, w, _ = regression(n=20, d=d, n_outputs=n_outputs, weighted=weighted)
    if weighted:
        X, y, w = X[w > 0], y[w > 0], w[w > 0]
    parameter, of_oracle = KERNELS[kernel]
    W, ridge = some_w(structure, d, size), np.geomspace(0.05, 0.5, d)
    outside, rows = options.get("outside", "nearest"), options.get("rows", slice(None))
    cv, groups = options.get("cv"), np.random.default_rng(8).integers(0, 6, len(X)) if has_groups else None
    splitter = LeaveOneGroupOut() if cv is None else cv
    # the oracle leaves the score of one output in its unit
    unit = 1.0 if n_outputs else oracle.variance(y[:, np.newaxis], oracle.weights_or_ones(w, X))[0]

    def expected(W, ridge):
        h, ridge = in_units_of_inputs(X, w, W), ridge if degree else None
        if cv is None and groups is None:
            return oracle.loss(X, y, h, of_oracle, w, outside, ridge, rows)
        splits = splitter.split(X, groups=groups)
        return oracle.cross_validation(splits, X, y, h, of_oracle, w, outside, ridge) / unit

    by_w = derivatives(lambda W: expected(W, ridge), W)
    by_ridge = derivatives(lambda ridge: expected(W, ridge), ridge) if degree else np.zeros(d)
    assert np.abs(by_w).max() > 1e-3
    for algorithm in ENGINES[: 2 if kernel in COMPILED else 1]:
        loss = loss_of(X, y, w, parameter, degree, algorithm=algorithm, groups=groups, **options)
        found, w_gradient, ridge_gradient = loss(W, ridge)
        assert found == pytest.approx(float(expected(W, ridge)), rel=1e-11 if degree == 0 else 1e-7)
        tolerance = (1e-9 if degree == 0 else 1e-7) * np.abs(by_w).max()
        assert_allclose(w_gradient, by_w, rtol=0, atol=tolerance)
        assert_allclose(ridge_gradient * ridge, by_ridge * ridge, rtol=0, atol=tolerance)


@pairwise(kernel=list(KERNELS), structure=["diagonal", "full"], degree=[0, 1])
def test_loss_and_gradient_are_the_oracles(kernel, structure, degree):
    assert_loss_and_gradient_are_right(kernel, structure, degree, weighted=structure == "full")


@pairwise(kernel=["gaussian", "exponential", "tricube"], weighted=[False, True], n_outputs=[1, 3], degree=[0, 1])
def test_gradient_with_outputs_and_weights(kernel, weighted, n_outputs, degree):
    assert_loss_and_gradient_are_right(kernel, "diagonal", degree, n_outputs=n_outputs, weighted=weighted)


@pairwise(
    [{"structure": s, "d": d} for s, d in [("diagonal", 1), ("diagonal", 5), ("low_rank", 3), ("full", 3)]],
    kernel=["gaussian", "exponential"],
    degree=[0, 1],
)
def test_gradient_in_any_dimension(kernel, structure, d, degree):
    assert_loss_and_gradient_are_right(kernel, structure, degree, d=d)


@pytest.mark.parametrize(("d", "n_outputs", "kernel", "n_passes"), [
    (1, 1, "gaussian", 1), (7, 1, "gaussian", 1), (3, 3, "gaussian", 1), (8, 1, "gaussian", 2), (4, 3, "gaussian", 2),
    (1, 1, "exponential", 2), (1, 1, "epanechnikov", 2),
])  # fmt: skip
@pytest.mark.parametrize("cv", [None, BLOCKS, KFold(4)], ids=["own", "blocks", "folds"])
def test_gaussian_means_of_few_columns_and_their_gradient_take_one_pass(
    monkeypatch, d, n_outputs, kernel, n_passes, cv
):
    """By both ways the gradient is the same; that of two passes is the oracle's as well."""
    X, y, w, _ = regression(n=30, d=d, n_outputs=n_outputs)
    W, second_passes, of_loss = some_w("diagonal", d), [], loss_of(X, y, w, kernel, 0, cv=cv)
    diagonal = loss_module.metric_diagonal

    def noted(*arguments):
        second_passes.append(arguments)
        return diagonal(*arguments)

    monkeypatch.setattr(loss_module, "metric_diagonal", noted)
    loss, gradient, _ = of_loss(W, np.ones(d))
    assert bool(second_passes) == (n_passes == 2)
    monkeypatch.setattr(loss_module, "takes_moments", lambda _: False)
    loss_by_two, gradient_by_two, _ = of_loss(W, np.ones(d))
    assert second_passes
    assert loss == pytest.approx(loss_by_two, rel=1e-13)
    assert_allclose(gradient, gradient_by_two, rtol=0, atol=1e-12 * np.abs(gradient_by_two).max())


@pytest.mark.parametrize(("kernel", "algorithm"), [("gaussian", "expansion"), ("epanechnikov", "sorted")])
def test_gradient_of_lines_of_one_feature_whose_inputs_are_summed_as_seen_from_each_query(kernel, algorithm):
    X, y, w, _ = regression(n=60, d=1)
    losses = [loss_of(7.0 + X, y, w, kernel, 1, algorithm=of_loss) for of_loss in (algorithm, "dense")]
    assert losses[0].smoother.has_one_input
    for found, expected in zip(*(loss(np.array([0.9]), np.array([0.1])) for loss in losses), strict=True):
        assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("algorithm", ["dense", "fused", "expansion", "pruned"])
def test_the_gradient_of_gaussian_means_is_right_where_w_is_large_or_0(algorithm):
    """Narrow kernels among samples that lie far from the centre, and a feature that is taken out of the distance."""
    X, y, w, _ = regression(n=300, d=3)
    X = 1e3 + X
    for W in (np.array([20.0, 0.3, 7.0]), np.array([9.0, 0.0, 1.1])):
        expected = loss_of(X, y, w, "gaussian", 0)(W, np.ones(3))
        found = loss_of(X, y, w, "gaussian", 0, algorithm=algorithm)(W, np.ones(3))
        assert found[0] == pytest.approx(expected[0], rel=1e-12)
        assert_allclose(found[1], expected[1], rtol=0, atol=1e-10 * np.abs(expected[1]).max())
        by_difference = derivatives_of_value(loss_of(X, y, w, "gaussian", 0, algorithm=algorithm), W)
        assert_allclose(found[1], by_difference * (W > 0), rtol=0, atol=1e-6 * np.abs(expected[1]).max())


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("outside", ["nearest", "mean"])
def test_gradient_where_some_rows_have_no_support(outside, degree):
    """What they get is the same on both sides of a small step."""
    assert_loss_and_gradient_are_right("tricube", "diagonal", degree, outside=outside, size=2.4)


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_gradient_on_some_rows(kernel, degree):
    assert_loss_and_gradient_are_right(kernel, "full", degree, rows=np.array([1, 4, 7, 12, 19]))


@pairwise(
    [{"weighted": weighted, "n_outputs": k} for weighted, k in [(False, None), (True, None), (True, 2)]],
    cv=[None, KFold(4, shuffle=True, random_state=0), RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), BLOCKS],
    kernel=["gaussian", "exponential", "tricube"],
    degree=[0, 1],
)
def test_gradient_without_what_belongs_together(cv, kernel, weighted, n_outputs, degree):
    of_data = {"n_outputs": n_outputs, "weighted": weighted, "has_groups": cv is None}
    assert_loss_and_gradient_are_right(kernel, "full" if weighted else "diagonal", degree, cv=cv, **of_data)


# Features without a slope, or without a part in the distance


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize(("kernel", "cv"), [("gaussian", None), ("tricube", None), ("exponential", BLOCKS)])
def test_lines_without_some_slopes_and_distances_without_some_features(kernel, cv, weighted):
    X, y, w, _ = regression(n=24, d=4, n_outputs=2, weighted=weighted)
    if weighted:
        X, y, w = X[w > 0], y[w > 0], w[w > 0]
    W, ridge = np.array([0.9, 0.0, 0.5, 0.0]), np.array([0.1, 0.3, np.inf, np.inf])

    def expected(W, ridge):
        h, ridge = in_units_of_inputs(X, w, W), np.where(np.isinf(ridge), 1e14, ridge)
        if cv is None:
            return oracle.loss(X, y, h, KERNELS[kernel][1], w, ridge=ridge)
        return oracle.cross_validation(cv.split(X), X, y, h, KERNELS[kernel][1], w, "nearest", ridge)

    by_w, by_ridge = derivatives(lambda W: expected(W, ridge), W), derivatives(lambda r: expected(W, r), ridge)
    for algorithm in ENGINES[: 2 if kernel in COMPILED else 1]:
        loss = loss_of(X, y, w, kernel, 1, algorithm=algorithm, cv=cv)
        found, w_gradient, ridge_gradient = loss(W, ridge)
        assert found == pytest.approx(float(expected(W, ridge)), rel=1e-7)
        assert loss.value(W, ridge) == pytest.approx(found, rel=1e-13)
        assert_allclose(w_gradient, by_w, rtol=0, atol=1e-7 * np.abs(by_w).max())
        assert_allclose(ridge_gradient[:2], by_ridge[:2], rtol=0, atol=1e-7 * np.abs(by_ridge[:2]).max())
        np.testing.assert_array_equal(ridge_gradient[2:], 0.0)
        (roots, of_roots), shares = loss.roots(W, ridge), shares_of_rows(loss)
        assert shares @ roots**2 == pytest.approx(found, rel=1e-13)
        for by_number, of_loss in zip(of_roots(), (w_gradient, ridge_gradient), strict=True):
            assert_allclose(2 * (shares * roots) @ by_number, of_loss, rtol=0, atol=1e-12 * np.abs(of_loss).max())


def shares_of_rows(loss):
    weights = loss.training.sample_weight[loss.validation.rows]
    return weights / weights.sum()


def test_each_root_of_a_loss_has_the_derivatives_of_the_loss_of_its_row():
    X, y, _, _ = regression(n=24, d=3)
    loss, W, ridge = loss_of(X, y, None, "gaussian", 1), np.array([0.9, 0.5, 0.0]), np.array([0.1, np.inf, 0.3])
    roots, derivatives = loss.roots(W, ridge)
    for row in (2, 17):
        found, *expected = replace(loss, validation=loss.validation[row : row + 1])(W, ridge)
        assert roots[row] ** 2 == pytest.approx(found, rel=1e-12)
        for of_roots, of_row in zip(derivatives(), expected, strict=True):
            assert_allclose(2 * roots[row] * of_roots[row], of_row, rtol=0, atol=1e-12 * np.abs(expected[0]).max())


@pytest.mark.parametrize(
    ("kernel", "n_outputs", "n", "d", "ridges"),
    [
        ("gaussian", None, 24, 4, [0.1, np.inf, 0.02, 1.0]),
        ("tricube", 2, 24, 4, [0.1, np.inf, 0.02, 1.0]),
        ("gaussian", 2, 6, 9, [0.1, np.inf, 0.02, 1.0]),
        ("gaussian", 2, 6, 15, [0.1, np.inf]),
    ],
)
def test_how_much_a_slope_lowers_the_objective_is_the_difference_to_an_infinite_ridge(kernel, n_outputs, n, d, ridges):
    """Also where some rows have no support, of the tricube, and of fewer samples than columns."""
    X, y, w, _ = regression(n=n, d=d, n_outputs=n_outputs)
    loss, W = loss_of(X, y, w, kernel, 1), np.full(d, 1.0 / np.sqrt(d))
    ridge = np.resize(ridges, d)
    expected = [np.log(loss.value(W, np.where(np.arange(d) == k, np.inf, ridge))) for k in range(d)]
    assert_allclose(rises_without_slopes(loss, W, ridge), expected - np.log(loss.value(W, ridge)), atol=1e-12)


def test_without_a_feature_of_several_columns_the_objective_rises_as_without_one_of_them():
    X, y, _, _ = regression(n=24, d=2)
    loss, w, ridge = loss_of(X, y, None, "gaussian", 1, periodic_features={0: 3.0}), np.array([0.5, 1]), [0.1, 0.02]
    features, training = loss.training.features, loss.training
    of_numbers = replace(training, features=FeatureMap.of_numbers(3), scales=features.repeat(training.scales))
    alone = rises_without_slopes(replace(loss, training=of_numbers), features.repeat(w), features.repeat(ridge))
    assert abs(alone[0] - alone[1]) > 1e-3
    assert_allclose(rises_without_slopes(loss, w, np.array(ridge)), [max(alone[:2]), alone[2]], rtol=1e-9)


def test_of_copies_of_a_feature_not_all_slopes_are_taken_out():
    """Each of them alone is not needed."""
    x, most = np.random.default_rng(0).normal(size=(120, 2)), optimizer._MOST_RISE / 120
    loss = loss_of(np.repeat(x[:, :1], 4, axis=1), x @ [1.0, 0.3], None, "gaussian", 1)
    learner, w, ridge = learner_of(loss), np.full(4, 0.06), np.full(4, 0.01)
    assert np.all(rises_without_slopes(loss, w, ridge) < most)
    learned = MetricFit(w, ridge, learner.value(w, ridge)[0], [1.0], True)
    fewer = learner.without_idle_features(learned)
    assert np.isinf(fewer[1]).sum() == 1
    assert learner.value(*fewer)[0] <= learned.objective + most


def wide(n=120, d=18):
    """Of many features two matter, and one of these for the slope only."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, d))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] + 0.1 * rng.normal(size=n)


def test_of_many_features_those_that_do_not_matter_have_no_slope():
    X, y = wide()
    model = AttentionPoolingRegressor(degree=1).fit(X, y)
    assert np.isfinite(model.ridge_[:2]).all()
    assert np.isinf(model.ridge_[2:]).sum() >= 6
    assert model.w_[0] > 0.5
    assert np.all(model.w_[1:] < 0.05)
    query = X[:5] + 0.1
    given = AttentionPoolingRegressor(w=model.w_, degree=1, ridge=model.ridge_).fit(X, y)
    large = np.where(np.isinf(model.ridge_), 1e14, model.ridge_)
    nearly = AttentionPoolingRegressor(w=model.w_, degree=1, ridge=large).fit(X, y)
    assert_allclose(given.predict(query), nearly.predict(query), rtol=1e-9)
    assert_allclose(given.gradient(query), nearly.gradient(query), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(model.gradient(query)[:, np.isinf(model.ridge_) & (model.w_ == 0)], 0.0)


def test_a_matrix_is_learned_without_the_slope_of_the_first_feature():
    X, y, _, _ = regression(n=24, d=3)
    ridges = [[last, 0.1, 0.1] for last in (np.inf, 1e14)]
    without, nearly = (AttentionPoolingRegressor(w="low_rank", degree=1, ridge=r).fit(X, y) for r in ridges)
    assert without.loss_path_[-1] == pytest.approx(nearly.loss_path_[-1], rel=1e-4)


def test_lines_without_some_slopes_of_fewer_samples_than_columns():
    X, y = wide(n=9)
    ridges = [np.where(np.arange(18) < 11, 0.1, last) for last in (np.inf, 1e14)]
    without, nearly = (AttentionPoolingRegressor(w=0.3, degree=1, ridge=r).fit(X, y).predict(X + 0.1) for r in ridges)
    assert_allclose(without, nearly, rtol=1e-9)


# The objective


def learner_of(loss, penalty=3.0, tol=1e-6, given_ridge=None):
    return MetricOptimizer(loss, given_ridge, penalty, 200, tol, Progress(lambda: False, 0))


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize(("degree", "given_ridge"), [(0, False), (1, False), (1, True)])
@pytest.mark.parametrize("structure", ["scalar", "diagonal", "low_rank", "full"])
def test_objective_and_its_gradient_in_theta_are_the_penalised_logarithm(structure, degree, given_ridge, weighted):
    """log L + (1 - 1/d) penalty / n (gamma sum_k ||W_k|| + 0.01 sum_k (log ridge_k - mean)^2), as the class says."""
    d, penalty = 3, 100.0  # so large that each part of the penalty counts
    X, y, w, _ = regression(n=20, d=d, weighted=weighted)
    if weighted:
        X, y, w = X[w > 0], y[w > 0], w[w > 0]
    W, ridge = some_w(structure, d), np.full(d, 0.2) if structure == "scalar" else np.array([0.02, 0.3, 0.9])
    learns_ridge = degree == 1 and not given_ridge
    learner = learner_of(loss_of(X, y, w, "gaussian", degree), penalty, given_ridge=ridge if given_ridge else None)
    strength = (1 - 1 / d) * penalty / (len(X) if w is None else np.count_nonzero(w))

    def expected(numbers):
        numbers = np.asarray(numbers, dtype=np.longdouble)
        n_ridges = 0 if not learns_ridge else 1 if structure == "scalar" else d
        of_w, log_ridge = numbers[: len(numbers) - n_ridges], numbers[len(numbers) - n_ridges :]
        metric = of_w.reshape(d, -1) if W.ndim == 2 else np.broadcast_to(np.exp(of_w), d)
        ridges = np.broadcast_to(np.exp(log_ridge) if learns_ridge else ridge, d)
        size = np.abs(metric).sum() if metric.ndim == 1 else np.sqrt((metric**2).sum(axis=1)).sum()
        loss = oracle.loss(X, y, in_units_of_inputs(X, w, metric), "gaussian", w, ridge=ridges if degree else None)
        spread = ((np.log(ridges) - np.log(ridges).mean()) ** 2).sum() if learns_ridge else 0.0
        return np.log(loss) + strength * ((np.sqrt(d) if degree else 1.0) * size + spread / 100)

    theta = Parametrization(structure, W, ridge, learns_ridge)
    packed = theta.pack(W, ridge)
    assert len(theta.bounds) == len(packed)
    for found, given in zip(theta.unpack(packed), (W, ridge), strict=True):
        assert_allclose(found, given, rtol=1e-14)
    objective, _, by_w, by_ridge = learner.objective(W, ridge)
    assert objective == pytest.approx(float(expected(packed)), rel=1e-7)
    by_theta = derivatives(expected, packed)
    assert_allclose(theta.gradient(W, ridge, by_w, by_ridge), by_theta, rtol=0, atol=1e-7 * np.abs(by_theta).max())


@pytest.mark.parametrize("structure", ["scalar", "diagonal"])
def test_gauss_newton_steps_know_the_gradient_and_the_curvature_of_the_penalty(structure):
    d = 3
    X, y, w, _ = regression(n=20, d=d)
    W, ridge = some_w(structure, d), np.full(d, 0.2) if structure == "scalar" else np.array([0.02, 0.3, 0.9])
    of_theta, of_roots, of_penalty = [], [], []
    for penalty in (0.0, 100.0):
        learner = learner_of(loss_of(X, y, w, "gaussian", 1), penalty)
        theta = Parametrization(structure, W, ridge, True)
        objective, loss, by_w, by_ridge = learner.objective(W, ridge)
        *values, derivatives = learner.squares(W, ridge, theta)
        gradient, a, c = derivatives()
        assert values == pytest.approx([objective, loss], rel=1e-12)
        assert_allclose(gradient, theta.gradient(W, ridge, by_w, by_ridge), rtol=0, atol=1e-12 * np.abs(gradient).max())
        of_theta.append(gradient)
        of_roots.append(a)
        of_penalty.append(c)
    np.testing.assert_array_equal(of_roots[0], of_roots[1])
    np.testing.assert_array_equal(of_penalty[0], 0.0)
    n_w = len(of_penalty[1]) // 2
    assert_allclose(of_penalty[1][:n_w], (of_theta[1] - of_theta[0])[:n_w], rtol=1e-9)  # linear in w: exp(theta)
    assert np.all(of_penalty[1][n_w:] > 0)


def test_gauss_newton_steps_end_at_the_minimum_within_bounds():
    """Rosenbrock's function, whose valley is bent, as a sum of squares; with a bound that keeps from the minimum."""

    def function(theta):
        a, b = theta
        residuals = np.array([10 * (b - a**2), 1 - a])
        j = np.array([[-20 * a, 10.0], [-1.0, 0.0]])
        return residuals @ residuals, lambda: (2 * j.T @ residuals, np.sqrt(2) * j, np.zeros(2), np.ones(2))

    ends = []

    def noted(theta):
        ends.append(theta)
        return function(theta)

    start = np.array([-1.2, 1.0])
    for upper, expected in ((10.0, [1.0, 1.0]), (0.5, [0.5, 0.25])):
        bounds = [(-10.0, upper), (-10.0, 10.0)]
        assert minimise_squares(noted, start, function(start), bounds, lambda: None, 200, 1e-14)
        assert_allclose(ends[-1], expected, atol=1e-5)
    assert not minimise_squares(function, start, function(start), [(-10.0, 10.0)] * 2, lambda: None, 3, 1e-14)


def steps_of(values, derivatives, start, bounds, max_iter, tol=0.0):
    """What Gauss-Newton steps ask for of a function with these values, the first at the start, and whether they end."""
    asked, (first, *rest) = [], values

    def function(theta):
        asked.append(theta)
        return rest[len(asked) - 1], lambda: derivatives

    ends = minimise_squares(function, start, (first, lambda: derivatives), bounds, lambda: None, max_iter, tol)
    return np.array(asked), ends


@pytest.mark.parametrize(("share", "damping"), [(0.9, 0.03), (0.5, 0.1), (0.1, 0.4)])
def test_damping_follows_from_how_much_of_what_is_foretold_a_step_lowers_the_function(share, damping):
    """Of one number with A'A = 4, C = 6 and F = 5 a step is -g / (10 + 5 damping)."""
    derivatives = tuple(map(np.array, ([3.0], [[2.0]], [6.0], [5.0])))
    first = -3.0 / (10.0 + 5.0 * 0.1)
    foretold = -(3.0 * first + 10.0 * first**2 / 2.0)
    asked, _ = steps_of([7.0, 7.0 - share * foretold, 0.0], derivatives, np.zeros(1), [(-9.0, 9.0)], 2)
    assert_allclose(asked[:, 0], [first, first - 3.0 / (10.0 + 5.0 * damping)], rtol=1e-12)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_number_that_is_at_a_bound_leaves_it_only_inwards_and_no_step_is_longer_than_the_longest(side):
    a, bounds = np.array([[1.0, 0.5], [0.0, 1.0]]), [tuple(sorted((0.0, 9.0 * side))), (-9.0, 9.0)]
    for outwards, size in [(True, 1.0), (False, 1.0), (False, 1e3)]:
        g = size * np.array([side if outwards else -side, 0.5])
        h = a.T @ a + np.diag([0.1, 0.1])
        expected = np.array([0.0, -g[1] / h[1, 1]]) if outwards else np.clip(-np.linalg.solve(h, g), -1.5, 1.5)
        asked, _ = steps_of([0.0, -1.0], (g, a, np.zeros(2), np.ones(2)), np.zeros(2), bounds, 1)
        assert_allclose(asked[0], expected, rtol=1e-12)


@pytest.mark.parametrize(("value", "fall", "ends"), [(1e3, 0.9, True), (1e3, 1.1, False), (0.1, 9e-4, True)])
def test_steps_end_where_the_fall_is_small_beside_the_value_or_one(value, fall, ends):
    derivatives = tuple(map(np.array, ([3.0], [[2.0]], [6.0], [5.0])))
    assert steps_of([value, value - fall], derivatives, np.zeros(1), [(-9.0, 9.0)], 1, tol=1e-3)[1] == ends


@pytest.mark.parametrize("shape", [(3, 8), (8, 3)])
def test_gauss_newton_steps_solve_the_smaller_system(shape):
    rng = np.random.default_rng(0)
    a, d, g = rng.normal(size=shape), rng.uniform(0.1, 2.0, size=shape[1]), rng.normal(size=shape[1])
    # along the numbers whose A is 0 a step is -g / D
    a[:, 0] = 0.0
    bounds, ends = [(-1.0, 1.0)] * shape[1], []

    def function(theta):
        ends.append(theta)
        return -1.0, lambda: (g, a, 0.25 * d, 7.5 * d)

    start = np.zeros(shape[1])
    assert minimise_squares(function, start, (0.0, lambda: (g, a, 0.25 * d, 7.5 * d)), bounds, lambda: None, 1, 2.0)
    expected = np.linalg.solve(a.T @ a + np.diag(d), -g)  # damping 0.1 at first
    assert_allclose(ends[0], np.clip(expected, -1.0, 1.0), rtol=1e-12)


def test_a_feature_that_is_switched_off_has_no_derivative_of_its_size():
    X, y, w, _ = regression(n=20, d=3)
    learner = learner_of(loss_of(X, y, w, "gaussian", 0))
    for W in [np.array([0.0, 0.5, 1.0]), np.array([[0.0, 0.0], [0.5, 0.1], [1.0, -1.0]])]:
        _, by_w, _ = learner.penalty_at(W, np.ones(3))
        assert np.all(by_w[0] == 0.0)
        assert np.all(by_w[1:] != 0.0)


def test_one_number_for_all_features_is_not_penalised():
    X, y, _, _ = regression(n=40, d=2)
    free, penalised = (AttentionPoolingRegressor(w="scalar", penalty=p).fit(X, y) for p in [0.0, 1e5])
    np.testing.assert_array_equal(penalised.w_, free.w_)


# Starts and pruning


class Chosen(MetricOptimizer):
    """A minimisation that ends where it starts, with w_0 for an objective, and writes down what it was asked."""

    def minimise(self, w, ridge, structure):
        self.progress.append((structure, len(self.loss.validation), self.tol, self.penalty, w))
        return MetricFit(w, ridge, float(np.ravel(w)[0]), [1.0], True)


def chosen(n):
    X, y, w, _ = regression(n=n)
    return Chosen(loss_of(X, y, w, "gaussian", 0), None, 3.0, 200, 1e-6, [])


@pytest.mark.parametrize(
    ("objectives", "winner"),
    [([3.0, 1.0, 2.0], 1), ([1.0, 1.0 - 1e-9, 1.0], 0), ([1.0, 1.0 - 1e-3, 1.0 - 1e-3 - 1e-9], 1), ([2.0, 3.0], 0)],
)
def test_of_minima_that_rounding_could_swap_the_first_is_taken(objectives, winner):
    learner = chosen(20)
    starts = [(np.array([o, 1.0]), np.ones(2)) for o in objectives]
    assert optimizer.multistart(learner, starts, "diagonal").objective == objectives[winner]
    assert [float(w[0]) for *_, w in learner.progress] == objectives


def test_of_many_rows_starts_compete_on_500_and_the_winner_goes_on_with_all():
    learner = chosen(520)
    starts = [(np.array([o, 1.0]), np.ones(2)) for o in (3.0, 1.0, 2.0)]
    optimizer.multistart(learner, starts, "diagonal")
    asked = [(n_rows, tol, float(w[0])) for _, n_rows, tol, _, w in learner.progress]
    assert asked == [(500, 1e-4, 3.0), (500, 1e-4, 1.0), (500, 1e-4, 2.0), (520, 1e-6, 1.0)]


class Noted(MetricOptimizer):
    """A minimisation that writes down at which w it evaluates the objective and its gradient."""

    def objective(self, w, ridge):
        self.progress.asked.append(w)
        return super().objective(w, ridge)


def test_no_w_is_evaluated_twice_in_a_row():
    X, y, w, _ = regression(n=60, d=2)
    progress = Progress(lambda: False, 0)
    progress.asked = []
    learner = Noted(loss_of(X, y, w, "gaussian", 0), None, 3.0, 200, 1e-6, progress)
    learned = learner.minimise(np.full(2, 0.7), np.ones(2), "diagonal")
    asked = np.array(progress.asked)
    assert len(asked) > 3
    assert np.all(np.any(np.diff(asked, axis=0) != 0.0, axis=1))
    progress.asked.clear()
    pruned = optimizer.prune_features(learner, learned, optimizer.SMALL_W)
    assert not progress.asked  # the loss alone decides
    assert (pruned is learned) == (learned.w.min() > 0.05)


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov", "tricube"])
@pytest.mark.parametrize("seed", [1, 2, 7])
def test_one_feature_that_has_no_signal_gets_w_0(kernel, seed):
    """By chance the loss has minima above 0, none of them lower than a constant's."""
    rng = np.random.default_rng(seed)
    X, y = rng.uniform(size=(200, 1)), rng.normal(size=200)
    with pytest.warns(UserWarning, match="no better than the mean"):
        learned = AttentionPoolingRegressor(kernel=kernel).fit(X, y)
    assert learned.w_[0] == 0.0
    scores = [AttentionPoolingRegressor(kernel=kernel, w=w).fit(X, y).loo_score_ for w in np.geomspace(0.1, 1e3, 60)]
    assert learned.loo_score_ >= max(scores)


def test_a_weak_signal_that_only_many_samples_show_is_learned():
    """The tenth of them from which w is learned give w = 0 as low a loss."""
    rng = np.random.default_rng(3)
    x = rng.uniform(size=20_000)
    signal = 0.04 * np.sin(6 * x)
    y = signal + rng.normal(size=20_000)
    learned = AttentionPoolingRegressor().fit(x[:, np.newaxis], y)
    assert np.mean((learned.predict(x[:, np.newaxis]) - signal) ** 2) < 0.5 * signal.var()
    assert learned.loo_score_ > 0.0


@pytest.mark.parametrize("structure", ["scalar", "diagonal"])
def test_of_one_feature_means_start_from_the_minima_of_the_scan_and_from_fixed_w(structure):
    X, y, w, _ = regression(n=20, d=1)
    learner = Chosen(loss_of(X, y, w, "gaussian", 0), None, 3.0, 200, 1e-6, [])
    optimizer.learn(learner, structure, 1)
    of_scan = [w for w, _ in optimizer.scalar_starts(learner)]
    assert [float(w[0]) for *_, w in learner.progress] == [*of_scan, 0.3, 1.0]


@pytest.mark.parametrize("seed", [15, 18, 35])
def test_of_one_feature_no_w_has_a_lower_loss_than_that_of_the_means_learned(seed):
    """A target that is rough on one side only, whose loss has several minima."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=450)
    y = np.where(x > 0, np.sin(15 * x), 0) + 0.3 * x + 0.02 * rng.normal(size=450)
    learned = AttentionPoolingRegressor().fit(x[:, np.newaxis], y)
    scores = [AttentionPoolingRegressor(w=w).fit(x[:, np.newaxis], y).loo_score_ for w in np.geomspace(1.0, 300.0, 60)]
    assert learned.loo_score_ >= max(scores)


@pytest.mark.parametrize("structure", ["diagonal", "low_rank", "full"])
def test_each_structure_starts_from_the_one_before_and_from_fixed_w(structure):
    learner = chosen(20)
    rank = 2 if structure == "full" else 1
    optimizer.learn(learner, structure, rank)
    scalars, diagonals, matrices = (
        [(penalty, w) for name, *_, penalty, w in learner.progress if name in names]
        for names in (["scalar"], ["diagonal"], ["low_rank", "full"])
    )
    expected = sorted(w for w, _ in optimizer.scalar_starts(learner))
    assert sorted(float(w[0]) for _, w in scalars) == expected
    assert all(penalty == 0.0 for penalty, _ in scalars)
    assert all(penalty == 3.0 for penalty, _ in diagonals + matrices)
    # none gets as low as the objective is at the scalar optimum: its own start is the last resort
    assert [float(w[0]) for _, w in diagonals] == [expected[0], 0.3, 1.0, expected[0]]
    if structure == "full":
        np.testing.assert_array_equal(matrices[0][1], expected[0] * np.eye(2))
    elif structure == "low_rank":
        np.testing.assert_array_equal(matrices[0][1], [[0.0], [expected[0]]])


def test_lines_of_one_feature_are_not_narrower_than_half_the_spacing():
    """Of an even spacing the narrowest kernel, the mean of the two samples beside, would have the least loss here."""
    x = np.arange(80.0)[:, np.newaxis]
    with pytest.warns(UserWarning, match="as narrow as the spacing"):
        model = AttentionPoolingRegressor(degree=1).fit(x, np.sin(2 * np.pi * x[:, 0] / 7))
    assert 1 / model.w_[0] == pytest.approx(0.5, rel=1e-9)


def rapid(n=150, d=2, frequency=9.0):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(n, d))
    return X, np.sin(frequency * X[:, 0]) + 0.05 * rng.normal(size=n)


@pytest.mark.parametrize("structure", ["diagonal", "low_rank", "full"])
def test_the_minimum_is_the_lowest_that_any_of_the_starts_leads_to(structure):
    X, y = rapid()
    learner = learner_of(loss_of(X, y, None, "gaussian", 0))
    found = optimizer.learn(learner, structure, 2)
    scalar = AttentionPoolingRegressor(w="scalar").fit(X, y).w_[0] * X[:, 0].std()
    ends = [learner.minimise(np.full(2, w), np.full(2, 0.1), "diagonal") for w in (0.3, 1.0, scalar)]
    lowest = min(end.objective for end in ends)
    assert found.objective <= lowest + 1e-6
    if structure == "diagonal":
        assert found.objective >= lowest - 1e-6


def test_scalar_starts_are_the_lowest_local_minima_of_leave_one_out():
    X = np.linspace(0, 1, 100)[:, np.newaxis]
    y = 3 * X[:, 0] + 0.5 * np.sin(90 * X[:, 0])  # a narrow kernel sees the wave, a wide one only the trend
    loss = loss_of(X, y, None, "gaussian", 0)
    starts = optimizer.scalar_starts(learner_of(loss))
    scores = [loss(np.full(1, w), np.ones(1))[0] for w, _ in starts]
    assert len(starts) == 2
    assert scores[0] < scores[1]
    for (w, _), score in zip(starts, scores, strict=True):
        # the narrowest kernels see only the nearest neighbour, and differ by rounding
        assert all(loss(np.full(1, w * factor), np.ones(1))[0] > score - 1e-12 for factor in (0.5, 2.0))


def test_lines_of_very_many_features_scan_for_scalar_starts_on_some_rows(monkeypatch):
    monkeypatch.setattr(optimizer, "_SCAN_ROWS", 1)  # as with 250 times as many features
    X, y = np.random.default_rng(0).normal(size=(20, 17)), np.arange(20.0)
    assert optimizer.scalar_starts(learner_of(loss_of(X, y, None, "gaussian", 1)))


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 2, 0], [2, 0, 1]])
def test_principal_directions_are_those_of_the_slopes_the_largest_entry_positive(order):
    X = np.random.default_rng(0).normal(size=(60, 3))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    direction = np.array([-1.0, 3.0, -2.0])[order] / np.sqrt(14)
    loss = loss_of(X, X @ direction, None, "gaussian", 0)
    scalar = MetricFit(np.full(3, 0.1), np.full(3, 0.01), 0.0, [1.0], True)
    found = optimizer.principal_directions(loss, scalar, 2)
    assert_allclose(found[:, 0], direction, atol=0.1)
    assert np.linalg.norm(found[:, 1]) < 0.1


@pytest.mark.parametrize("matrix", [False, True], ids=["diagonal", "full"])
def test_small_w_are_switched_off_if_the_objective_rises_by_at_most_tol(matrix):
    X, y = rapid(80, d=3, frequency=2.0)
    as_w = np.diag if matrix else np.asarray

    def pruned(w, penalty, tol):
        learner = learner_of(loss_of(X, y, None, "gaussian", 0), penalty, tol)
        objective, loss, _, _ = learner.objective(as_w(w), np.ones(3))
        learned = MetricFit(as_w(w), np.ones(3), objective, [1.0, loss], True)
        return learner, learned, optimizer.prune_features(learner, learned, optimizer.SMALL_W)

    learner, learned, off = pruned([3.0, 0.049, 0.051], penalty=3.0, tol=1e-3)
    np.testing.assert_array_equal(off.w, as_w([3.0, 0.0, 0.051]))
    objective, loss, _, _ = learner.objective(off.w, off.ridge)
    assert (off.objective, off.path) == (objective, [1.0, loss])
    # the feature that matters makes the objective rise: all stay
    w = [0.049, 0.049, 1.0]
    _, learned, kept = pruned(w, penalty=0.0, tol=1e-6)
    assert kept is learned
    rise = learner_of(learner.loss, 0.0).objective(as_w([0.0, 0.0, 1.0]), np.ones(3))[0] - learned.objective
    assert rise > 1e-6
    assert pruned(w, penalty=0.0, tol=0.99 * rise)[2].w[0].max() > 0
    assert pruned(w, penalty=0.0, tol=1.01 * rise)[2].w[0].max() == 0


@pytest.mark.parametrize(("part_of_rise", "expected"), [(0.99, 0.8), (1.01, 0.0)])
def test_a_w_that_is_all_that_is_learned_is_switched_off_whatever_its_size(part_of_rise, expected):
    X, y, _, _ = regression(n=40, d=1)
    loss, w, ridge = loss_of(X, y, None, "gaussian", 0), np.array([0.8]), np.ones(1)
    objective, at_zero = (learner_of(loss).value(of_w, ridge)[0] for of_w in (w, 0.0 * w))
    learner = learner_of(loss, tol=part_of_rise * (at_zero - objective))
    learned = MetricFit(w, ridge, objective, [1.0], True)
    assert optimizer.prune_features(learner, learned, np.inf).w.tolist() == [expected]
    assert optimizer.prune_features(learner, learned, 0.79) is learned


# What does not depend on how it is computed


def standardised(model, X):
    return (model.w_.T * X.std(axis=0)).T


@pytest.mark.parametrize(
    "row",
    covering_array(kernel=["gaussian", "exponential"], w=["scalar", "diagonal", "low_rank", "full"], degree=[0, 1]),
    ids=describe,
)
def test_every_algorithm_learns_the_same_w(row):
    kernel, w, degree = row.values()
    rng = np.random.default_rng(2)
    X = rng.normal(size=(25, 2))
    y = np.sin(2 * X[:, 0]) + X[:, 1] + 0.3 * rng.normal(size=25)
    dense, fused = (
        AttentionPoolingRegressor(kernel, w, degree=degree, algorithm=algorithm, n_jobs=n_jobs).fit(X, y)
        for algorithm, n_jobs in [("dense", None), ("fused", 2)]
    )
    size = np.abs(standardised(dense, X)).max()
    assert_allclose(standardised(fused, X), standardised(dense, X), rtol=0, atol=1e-6 * size)
    if degree:
        assert_allclose(fused.ridge_, dense.ridge_, rtol=1e-6)


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("w", ["scalar", "diagonal", "low_rank", "full"])
def test_the_order_of_samples_and_copies_for_weights_change_no_digit_of_w(w, degree):
    X, y, _, _ = regression(n=30, d=3)
    repeats = np.random.default_rng(7).integers(0, 4, 30)
    rows = np.random.default_rng(8).permutation(np.repeat(np.arange(30), repeats))
    weighted = AttentionPoolingRegressor(w=w, degree=degree).fit(X, y, repeats)
    repeated = AttentionPoolingRegressor(w=w, degree=degree).fit(X[rows], y[rows])
    np.testing.assert_array_equal(repeated.w_, weighted.w_)
    np.testing.assert_array_equal(repeated.ridge_, weighted.ridge_)
