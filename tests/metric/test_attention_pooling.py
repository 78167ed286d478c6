"""AttentionPoolingRegressor: w given and w learned."""

import json
import pickle
import re
import warnings
from functools import cache

import mlkr
import numpy as np
import oracle
import pytest
from covering import covering_array, describe, pairwise
from numpy.testing import assert_allclose, assert_array_equal
from problems import (
    DIFFERENTIABLE,
    ENGINES,
    KERNELS,
    Cauchy,
    DifferentiableCauchy,
    assert_close,
    bandwidth,
    regression,
    without_count,
)
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import RBF
from test_learning import loss_of

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw.kernels import PowerExponential

# some data here are noise, which a fit says
pytestmark = pytest.mark.filterwarnings("ignore:left-out predictions:UserWarning")

STRUCTURES = ["scalar", "diagonal", "low_rank", "full"]
degrees = pytest.mark.parametrize("degree", [0, 1])
structures = pytest.mark.parametrize("w", STRUCTURES)


def lines_of(model):
    """What the oracle takes for the lines of a model; None for weighted means."""
    return None if model.ridge_ is None else oracle.Counted(model.ridge_, model.slope_count_)


def few(seed=0, n=40, d=3, noise=0.3):
    """X (n, d), of which the last feature does not matter, and y."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, np.sin(2 * X[:, 0]) + X[:, d - 2] + noise * rng.normal(size=n)


# w given


@pytest.mark.parametrize("row", covering_array(kernel=list(KERNELS), d=[1, 3], weighted=[False, True]), ids=describe)
def test_with_w_given_it_is_nadaraya_watson_or_local_linear_at_one_over_w(row):
    kernel, d, weighted = row.values()
    X, y, sample_weight, Q = regression(d=d, weighted=weighted)
    h, parameter = bandwidth(d), KERNELS[kernel][0]
    pairs = [
        (AttentionPoolingRegressor(parameter, 1 / h), NadarayaWatsonRegressor(parameter, h)),
        *(
            (
                AttentionPoolingRegressor(parameter, 1 / h, degree=1, ridge=r),
                LocalLinearRegressor(parameter, h, ridge=r),
            )
            for r in [0.0, 0.1, "loo"]
        ),
    ]
    for attention, other in pairs:
        attention.fit(X, y, sample_weight)
        other.fit(X, y, sample_weight)
        tolerance = 1e-6 if attention.ridge == "loo" else 1e-10
        for mine, its in zip(attention.predict(Q, return_std=True), other.predict(Q, return_std=True), strict=True):
            assert_close(mine, its, y, tolerance)
        assert_close(attention.loo_prediction_, other.loo_prediction_, y, tolerance)
        assert_close(attention.attention_weights_(Q), other.attention_weights_(Q), [0.0, 1.0])
        assert attention.loo_score_ == pytest.approx(other.loo_score_, abs=10 * tolerance)
        assert_array_equal(attention.w_, 1 / h)
        assert attention.loss_path_.size == 0


def test_a_number_is_the_same_for_every_feature():
    X, y, _, Q = regression(d=3)
    number, numbers, matrix = (
        AttentionPoolingRegressor(w=w).fit(X, y) for w in [0.7, np.full(3, 0.7), 0.7 * np.eye(3)]
    )
    assert_array_equal(number.w_, np.full(3, 0.7))
    assert_array_equal(matrix.w_, 0.7 * np.eye(3))
    assert_array_equal(number.predict(Q), numbers.predict(Q))
    assert_close(number.predict(Q), matrix.predict(Q), y)


MATRICES = {
    "square": np.array([[0.9, 0.3, 0.0], [-0.2, 0.5, 0.1], [0.0, 0.0, 0.7]]),
    "narrow": np.array([[0.9], [-0.4], [0.2]]),
    "wide": np.random.default_rng(0).normal(size=(3, 5)),
    "of zeros": np.zeros((3, 2)),
}


@pytest.mark.parametrize(
    "row",
    covering_array(
        kernel=["gaussian", "exponential", "tricube"],
        matrix=list(MATRICES),
        ridge=[None, 0.0, [0.03, 0.3, 3.0]],
        algorithm=["auto", *ENGINES],
    ),
    ids=describe,
)
def test_matrices_are_the_oracles(row):
    kernel, matrix, ridge, algorithm = row.values()
    X, y, sample_weight, Q = regression(d=3, n_outputs=2, weighted=True)
    W = MATRICES[matrix]
    parameters = {} if ridge is None else {"degree": 1, "ridge": ridge}
    model = AttentionPoolingRegressor(kernel, W, algorithm=algorithm, **parameters).fit(X, y, sample_weight)
    ridge = None if ridge is None else np.broadcast_to(ridge, 3)
    assert_close(model.predict(Q), oracle.predict(Q, X, y, W, kernel, sample_weight, ridge=ridge), y)
    loo = oracle.leave_one_out(X, y, W, kernel, sample_weight, ridge=ridge)
    assert_close(model.loo_prediction_, loo, y)
    attention = model.attention_weights_(Q)
    assert_close(attention, oracle.attention_weights(Q, X, W, kernel, sample_weight), [0.0, 1.0])
    assert_array_equal(model.attention_weights_(Q, sparse_output=True).toarray(), attention)
    assert_allclose(
        model.effective_sample_size(Q),
        oracle.effective_sample_size(Q, X, W, kernel, sample_weight).astype(float),
        rtol=1e-9,
    )
    std = oracle.std(Q, X, y, W, kernel, sample_weight, residuals=y - model.loo_prediction_)
    assert_close(model.predict(Q, return_std=True)[1], std, y)


@pytest.mark.parametrize(("w", "dtype"), [(0.7, "float32"), (np.eye(3), "float32"), ("diagonal", "float32")])
@degrees
def test_float32_in_and_out(degree, w, dtype):
    X, y, _, Q = regression(d=3)
    exact = AttentionPoolingRegressor(w=w, degree=degree, tol=1e-2).fit(X.astype(dtype).astype(float), y)
    model = AttentionPoolingRegressor(w=w, degree=degree, tol=1e-2).fit(X.astype(dtype), y)
    assert model.predict(Q.astype(dtype)).dtype == dtype
    assert_allclose(model.w_, exact.w_, rtol=1e-9)
    assert_close(model.predict(Q.astype(dtype)), exact.predict(Q.astype(dtype).astype(float)).astype(dtype), y, 1e-5)


def test_without_differences_everything_is_the_mean():
    X, y, sample_weight, Q = regression(d=3, weighted=True)
    for w in [0.0, np.zeros(3), np.zeros((3, 2))]:
        model = AttentionPoolingRegressor(w=w).fit(X, y, sample_weight)
        assert_allclose(model.predict(Q), np.average(y, weights=sample_weight), rtol=1e-12)


# The loss


@pytest.mark.parametrize("index", range(4))
def test_the_loss_is_that_of_metric_learning_for_kernel_regression(index):
    """Of exp(-||A x||^2), that is W = sqrt(2) A'; theirs is a sum, ours a mean in units of the variance."""
    X, y, A = list(mlkr.problems())[index]
    stored = json.loads(mlkr.VALUES.read_text())["values"][index]
    unit = len(y) * y.var()
    model = AttentionPoolingRegressor(w=np.sqrt(2) * A.T).fit(X, y)
    assert np.sum((y - model.loo_prediction_) ** 2) == pytest.approx(stored["loss"], rel=1e-11)
    W = np.sqrt(2) * X.std(axis=0)[:, np.newaxis] * A.T
    loss, gradient, _ = loss_of(X, y, None, "gaussian", 0)(W, np.ones(len(W)))
    assert unit * loss == pytest.approx(stored["loss"], rel=1e-11)
    by_a = unit * (gradient * np.sqrt(2) * X.std(axis=0)[:, np.newaxis]).T
    assert_allclose(by_a.ravel(), stored["gradient"], rtol=1e-9, atol=1e-11)


@pairwise(kernel=["gaussian", "tricube"], degree=[0, 1], w=STRUCTURES)
def test_the_path_descends_to_the_loss_of_the_fitted_model(kernel, degree, w):
    X, y = few(n=25)
    model = AttentionPoolingRegressor(kernel, w, degree=degree, penalty=0.0, tol=1e-2).fit(X, y)
    path = model.loss_path_
    assert model.n_iter_ == max(len(path) - 1, 1)
    # where features that hardly matter were switched off, the logarithm may rise by tol
    assert np.all(np.diff(path) <= np.where(np.arange(len(path) - 1) < len(path) - 2, 1e-12, 1e-2) * path[:-1])
    assert path[-1] == pytest.approx(1 - without_count(model, X, y).loo_score_, rel=1e-8)
    h = model.w_ if model.w_.ndim == 2 else np.diag(model.w_)
    assert path[-1] == pytest.approx(float(oracle.loss(X, y, h, kernel, ridge=model.ridge_)), rel=1e-6)


@cache
def learned(w, degree, seed=0, rank=None):
    X, y = few(seed, n=20)
    return AttentionPoolingRegressor(w=w, degree=degree, rank=rank, penalty=0.0, tol=1e-3).fit(X, y)


@degrees
@pytest.mark.parametrize("seed", range(2))
def test_richer_structures_have_a_smaller_loss(seed, degree):
    scalar, diagonal, full = (learned(w, degree, seed).loss_path_[-1] for w in ["scalar", "diagonal", "full"])
    # where features that hardly matter are switched off, the loss may rise by tol
    assert diagonal <= scalar * (1 + 1e-3)
    assert full <= diagonal * (1 + 1e-3)
    # a low rank is no part of a diagonal, unless it is the whole
    assert learned("low_rank", degree, seed, rank=3).loss_path_[-1] == pytest.approx(full, rel=1e-5)


@degrees
@structures
def test_shapes_and_kinds_of_what_is_learned(w, degree):
    X, y = few()
    model = AttentionPoolingRegressor(w=w, rank=2, degree=degree, tol=1e-2).fit(X, y)
    assert model.w_.shape == {"low_rank": (3, 2), "full": (3, 3)}.get(w, (3,))
    assert np.all(np.isfinite(model.w_))
    if w == "scalar":
        assert_allclose(model.w_ * X.std(axis=0), model.w_[0] * X.std(axis=0)[0], rtol=1e-12)
    if w == "diagonal":
        assert np.all(model.w_ >= 0)
    if degree == 0:
        assert model.ridge_ is None
    else:
        assert model.ridge_.shape == (3,)
        assert np.all(model.ridge_ > 0)
    assert isinstance(model.n_iter_, int)
    assert model.n_iter_ >= 1


def test_low_rank_takes_three_or_as_many_as_there_are_features():
    X, y = few(d=5)
    for d, rank in [(2, 2), (5, 3)]:
        model = AttentionPoolingRegressor(w="low_rank", tol=1e-2).fit(X[:, :d], y)
        assert model.w_.shape == (d, rank)


def one_direction(n=150, d=4):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(n, d))
    direction = np.array([1.0, -2.0, 1.0, 0.0])[:d] / np.sqrt(6)
    return X, np.sin(5 * X @ direction) + 0.1 * rng.normal(size=n), direction


@degrees
def test_one_direction_is_found_by_rank_one(degree):
    X, y, direction = one_direction()
    model = AttentionPoolingRegressor(w="low_rank", rank=1, degree=degree, tol=1e-4).fit(X, y)
    found = model.w_[:, 0] / np.linalg.norm(model.w_)
    assert abs(found @ direction) > 0.99
    assert model.loo_score_ > 0.9


@degrees
def test_features_that_do_not_matter_are_switched_off(degree):
    X, y = make_friedman1(200, n_features=8, noise=0.5, random_state=0)  # the last three are noise
    model = AttentionPoolingRegressor(degree=degree, tol=1e-3).fit(X, y)
    important = model.w_ * X.std(axis=0)
    assert important[5:].max() < 0.1 * important[:2].min()
    assert model.loo_score_ > AttentionPoolingRegressor(w="scalar", degree=degree).fit(X, y).loo_score_ + 0.05


@structures
@degrees
def test_pure_noise_gets_nearly_the_mean(degree, w):
    rng = np.random.default_rng(1)
    X, y = rng.uniform(size=(300, 2)), rng.normal(size=300)
    prediction = AttentionPoolingRegressor(w=w, degree=degree, tol=1e-2).fit(X, y).predict(X)
    assert np.sqrt(np.mean((prediction - y.mean()) ** 2)) < 0.25 * y.std()


@structures
def test_straight_lines_are_learned_exactly(w):
    X, _ = few()
    y = 5 + X @ [1.0, 2.0, -1.0]
    model = AttentionPoolingRegressor(w=w, degree=1).fit(X, y)
    assert model.loss_path_[-1] < 1e-8
    Q = np.random.default_rng(1).uniform(-2, 2, size=(20, 3))
    assert_allclose(model.predict(Q), 5 + Q @ [1.0, 2.0, -1.0], atol=1e-3)


# Data that are the same in other words


@structures
@degrees
def test_units_of_features_and_targets_change_nothing(degree, w):
    X, y = few()
    unit = np.array([1.0, 1024.0, 2.0**-20])
    plain = AttentionPoolingRegressor(w=w, degree=degree, tol=1e-2).fit(X, y)
    scaled = AttentionPoolingRegressor(w=w, degree=degree, tol=1e-2).fit(X * unit, 2.0**30 * y)
    assert_allclose((scaled.w_.T * unit).T, plain.w_, rtol=1e-9, atol=1e-12)
    assert_close(scaled.predict(X * unit) / 2.0**30, plain.predict(X), y)
    assert_allclose(scaled.loss_path_, plain.loss_path_, rtol=1e-9)
    if degree == 1:
        assert_allclose(scaled.ridge_, plain.ridge_, rtol=1e-9)


@degrees
def test_extreme_units_change_nothing(degree):
    X, y = few()
    plain = AttentionPoolingRegressor(degree=degree, tol=1e-2).fit(X, y)
    for x_unit, y_unit in [(2.0**-500, 1.0), (2.0**500, 2.0**-500), (1.0, 2.0**500)]:
        scaled = AttentionPoolingRegressor(degree=degree, tol=1e-2).fit(X * x_unit, y * y_unit)
        assert_allclose(scaled.w_ * x_unit, plain.w_, rtol=1e-8)
        assert_close(scaled.predict(X * x_unit) / y_unit, plain.predict(X), y, 1e-8)


@pytest.mark.parametrize("offset", [1e3, 1e6])
@degrees
def test_offsets_change_nothing(degree, offset):
    X, y = few()
    plain = AttentionPoolingRegressor(degree=degree, tol=1e-2).fit(X, y)
    moved = AttentionPoolingRegressor(degree=degree, tol=1e-2).fit(X + offset, y - offset)
    assert_close(moved.predict(X + offset) + offset, plain.predict(X), y, 1e-4)


@pairwise(degree=[0, 1], w=STRUCTURES, n_outputs=[None, 2])
def test_integer_weights_are_repeated_rows_and_zero_weights_no_rows(degree, w, n_outputs):
    X, y, _, Q = regression(n=30, n_outputs=n_outputs)
    repeats = np.random.default_rng(7).integers(0, 4, 30)
    weighted = AttentionPoolingRegressor(w=w, degree=degree, tol=1e-2).fit(X, y, repeats)
    repeated = AttentionPoolingRegressor(w=w, degree=degree, tol=1e-2)
    repeated.fit(np.repeat(X, repeats, axis=0), np.repeat(y, repeats, axis=0))
    assert_close(weighted.predict(Q), repeated.predict(Q), y, 1e-6)
    assert_allclose(weighted.loss_path_[-1], repeated.loss_path_[-1], rtol=1e-7)
    assert_close(np.repeat(weighted.loo_prediction_, repeats, axis=0), repeated.loo_prediction_, y, 1e-6)


@structures
@degrees
def test_a_copy_of_the_target_or_a_constant_one_does_not_count_twice(degree, w):
    X, y = few()
    one = AttentionPoolingRegressor(w=w, degree=degree, tol=1e-2).fit(X, y)
    two = AttentionPoolingRegressor(w=w, degree=degree, tol=1e-2).fit(X, np.column_stack([y, 3 - 8 * y]))
    assert_allclose(two.loss_path_, one.loss_path_, rtol=1e-9)
    assert_close(two.predict(X)[:, 0], one.predict(X), y)
    assert_close((3 - two.predict(X)[:, 1]) / 8, one.predict(X), y)


# Few samples, poor ones


@pairwise(degree=[0, 1], w=STRUCTURES, kernel=["gaussian", "epanechnikov"])
def test_samples_may_be_few_or_all_the_same(degree, w, kernel):
    for n in [1, 2, 3]:
        X = np.arange(n * 4.0).reshape(n, 4) ** 2
        model = AttentionPoolingRegressor(kernel, w, degree=degree, tol=1e-2).fit(X, np.arange(float(n)))
        assert np.all(np.isfinite(model.predict(X)))
        assert np.all(np.isfinite(model.w_))
    same = AttentionPoolingRegressor(kernel, w, degree=degree).fit(np.full((4, 2), 3.0), [1.0, 2.0, 6.0, 7.0])
    assert_allclose(same.predict([[3.0, 3.0]]), 4.0, rtol=1e-12)


@structures
@degrees
def test_a_constant_target_is_predicted(degree, w):
    X, _ = few()
    model = AttentionPoolingRegressor(w=w, degree=degree).fit(X, np.full(40, 7.0))
    assert_allclose(model.predict(3 * X), 7.0, rtol=1e-12)
    assert np.all(model.loss_path_ == 0.0)


@structures
@degrees
def test_a_constant_feature_changes_nothing(degree, w):
    X, y = few(d=2)
    plain = AttentionPoolingRegressor(w=w, degree=degree, rank=2, tol=1e-4, penalty=0.0).fit(X, y)
    model = AttentionPoolingRegressor(w=w, degree=degree, rank=2, tol=1e-4, penalty=0.0)
    model.fit(np.insert(X, 1, 4.0, axis=1), y)
    assert model.loss_path_[-1] == pytest.approx(plain.loss_path_[-1], rel=0.05)
    assert np.all(np.isfinite(model.predict(np.insert(3 * X, 1, 5.0, axis=1))))


@structures
@degrees
def test_more_features_than_samples(degree, w):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 20))
    y = X[:, 0] + 0.1 * rng.normal(size=12)
    model = AttentionPoolingRegressor(w=w, degree=degree, tol=1e-2).fit(X, y)
    assert np.all(np.isfinite(model.predict(rng.normal(size=(5, 20)))))
    assert model.loss_path_[-1] == pytest.approx(1 - without_count(model, X, y).loo_score_, rel=1e-6)


@pytest.mark.filterwarnings("ignore:rows with equal inputs:UserWarning")
@structures
@degrees
def test_duplicates_do_no_harm(degree, w):
    X, y = few(n=20)
    model = AttentionPoolingRegressor(w=w, degree=degree, tol=1e-2).fit(np.vstack([X, X]), np.append(y, y + 0.1))
    assert np.all(np.isfinite(model.predict(X)))
    # twins predict each other
    assert model.loo_score_ > 0.9


def test_copies_of_a_feature_share_its_w():
    X, y = few(d=2)
    model = AttentionPoolingRegressor(tol=1e-4, penalty=0.0).fit(np.column_stack([X, X]), y)
    plain = AttentionPoolingRegressor(tol=1e-4, penalty=0.0).fit(X, y)
    assert model.loss_path_[-1] == pytest.approx(plain.loss_path_[-1], rel=1e-2)


# Kernels, policies, engines


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("kernel", [*DIFFERENTIABLE, "power 3", "user's"])
def test_w_is_learned_with_every_kernel_that_has_a_derivative(kernel, degree):
    X, y = few()
    others = {"power 3": (PowerExponential(3.0), 3.0), "user's": (DifferentiableCauchy(), lambda u: 1 / (1 + u**2))}
    parameter, of_oracle = (DIFFERENTIABLE | others)[kernel]
    model = AttentionPoolingRegressor(parameter, degree=degree, tol=1e-2, penalty=0.0).fit(X, y)
    assert model.loss_path_[-1] < model.loss_path_[0]
    assert model.loo_score_ > 0.5
    with np.errstate(divide="ignore"):
        expected = oracle.loss(X, y, 1 / model.w_, of_oracle, ridge=model.ridge_)
    assert model.loss_path_[-1] == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("kernel", ["tophat", RBF(1.0), Cauchy()], ids=["tophat", "callable", "user's"])
def test_kernels_without_a_derivative_cannot_learn_and_can_use_w(kernel):
    X, y = few()
    for w in STRUCTURES:
        with pytest.raises(ValueError, match=r"no derivative.*another kernel"):
            AttentionPoolingRegressor(kernel, w).fit(X, y)
    assert np.all(np.isfinite(AttentionPoolingRegressor(kernel, 0.7).fit(X, y).predict(X)))


@pairwise(degree=[0, 1], w=STRUCTURES, outside=["nearest", "mean", "nan", "raise"])
def test_policies_have_one_meaning_in_the_loss_and_in_leave_one_out(degree, w, outside):
    """Where it means nothing, no w is chosen that leaves a sample without support."""
    X, y = few(n=20)
    model = AttentionPoolingRegressor("epanechnikov", w, degree=degree, outside=outside, tol=1e-2).fit(X, y)
    if outside in ["nan", "raise"]:
        assert np.all(np.isfinite(model.loo_prediction_))
    assert model.loss_path_[-1] == pytest.approx(1 - without_count(model, X, y).loo_score_, rel=1e-9)
    h = model.w_ if model.w_.ndim == 2 else np.diag(model.w_)
    expected = oracle.loss(X, y, h, "epanechnikov", outside=outside, ridge=model.ridge_)
    assert model.loss_path_[-1] == pytest.approx(float(expected), rel=1e-5)


ALGORITHMS = [
    ("gaussian", 3, "dense"),
    ("gaussian", 3, "fused"),
    ("gaussian", 3, "expansion"),
    ("exponential", 1, "sorted"),
    ("exponential", 3, "fused"),
    ("tricube", 1, "sorted"),
    ("tricube", 3, "pruned"),
    ("tricube", 3, "fused"),
]


@pytest.mark.parametrize(
    "row",
    covering_array(
        [dict(zip(["kernel", "d", "algorithm"], case, strict=True)) for case in ALGORITHMS],
        w=["diagonal", "full"],
        degree=[0, 1],
    ),
    ids=describe,
)
def test_engines_and_threads_learn_the_same(row):
    kernel, d, algorithm, w, degree = row.values()
    X, y = few(d=3)
    X = X[:, :d]
    dense = AttentionPoolingRegressor(kernel, w, degree=degree, algorithm="dense", tol=1e-2).fit(X, y)
    model = AttentionPoolingRegressor(kernel, w, degree=degree, algorithm=algorithm, n_jobs=2, tol=1e-2).fit(X, y)
    # whether one more iteration is made that gains nothing is a matter of rounding
    n_both = min(len(model.loss_path_), len(dense.loss_path_))
    assert_allclose(model.loss_path_[:n_both], dense.loss_path_[:n_both], rtol=1e-6)
    assert_allclose(model.loss_path_[-1], dense.loss_path_[-1], rtol=1e-6)
    assert_close(model.predict(X), dense.predict(X), y, 1e-5)


def test_an_algorithm_that_cannot_take_the_kernel_or_w_says_so():
    X, y = few()
    for w in ["diagonal", 0.7]:
        with pytest.raises(ValueError, match=r"algorithm='sorted'.*usable here"):
            AttentionPoolingRegressor(w=w, algorithm="sorted").fit(X, y)


@degrees
def test_validation_samples_limit_the_rows_of_the_loss(degree):
    X, y = few(n=60)
    model = AttentionPoolingRegressor(degree=degree, validation_samples=25, random_state=3, tol=1e-2).fit(X, y)
    seen = np.isfinite(model.loo_prediction_)
    assert seen.sum() == model.n_validation_ == 25
    loo = oracle.leave_one_out(X, y, np.diag(model.w_), "gaussian", ridge=lines_of(model))
    assert_close(model.loo_prediction_[seen], loo[seen], y)
    # the loss counts no samples, in units of the variance of all
    loo = oracle.leave_one_out(X, y, np.diag(model.w_), "gaussian", ridge=model.ridge_)
    assert model.loss_path_[-1] == pytest.approx(float(np.mean((y - loo)[seen] ** 2)) / y.var(), rel=1e-6)
    same = AttentionPoolingRegressor(degree=degree, validation_samples=25, random_state=3, tol=1e-2).fit(X, y)
    assert_array_equal(same.w_, model.w_)
    other = AttentionPoolingRegressor(degree=degree, validation_samples=25, random_state=4, tol=1e-2).fit(X, y)
    assert np.any(other.w_ != model.w_)


@pytest.mark.parametrize("w", ["scalar", "diagonal"])
def test_with_many_rows_starts_compete_on_a_part_and_the_end_is_on_all(w):
    X, y = few(n=520)
    model = AttentionPoolingRegressor(w=w, tol=1e-3).fit(X, y)
    assert model.n_validation_ == 520
    if not model.slope_count_:  # which is chosen after learning
        assert model.loss_path_[-1] == pytest.approx(1 - model.loo_score_, rel=1e-8)
    part = AttentionPoolingRegressor(w=w, tol=1e-3, validation_samples=500, random_state=0).fit(X, y)
    assert model.loo_score_ == pytest.approx(part.loo_score_, abs=0.05)


# Penalty, ridge, iterations


@structures
@degrees
def test_a_penalty_makes_w_smaller_and_a_large_one_leaves_the_mean(degree, w):
    X, y = few()
    sizes = []
    for penalty in [0.0, 10.0, 1e5]:
        model = AttentionPoolingRegressor(w=w, degree=degree, penalty=penalty, ridge=10.0, tol=1e-3).fit(X, y)
        sizes.append(np.linalg.norm((model.w_.T * X.std(axis=0)).T))
    if w != "scalar":  # one number is not penalised
        assert sizes[0] > sizes[1] > sizes[2]
        assert sizes[2] == 0.0


def test_varying_coefficients_are_geographically_weighted_regression():
    """No weight on the covariates, no slope along the place: a regression at each place, weighted by nearness."""
    rng = np.random.default_rng(0)
    place, x = rng.uniform(0, 10, (80, 2)), rng.normal(size=(80, 2)) * [1.0, 30.0] + [5.0, -100.0]
    y = np.sin(place[:, 0]) * x[:, 0] + 0.1 * place[:, 1] * x[:, 1] + rng.normal(size=80)
    X = np.hstack([place, x])
    model = AttentionPoolingRegressor(w=[0.5, 0.5, 0, 0], degree=1, ridge=[1e20, 1e20, 0, 0]).fit(X, y)
    design, coefficients = np.column_stack([np.ones(80), x]), np.empty((80, 3))
    for i in range(80):
        root = np.exp(-((place - place[i]) ** 2).sum(axis=1) / 16)
        coefficients[i] = np.linalg.lstsq(root[:, np.newaxis] * design, root * y, rcond=None)[0]
    expected = (design * coefficients).sum(axis=1)
    assert_allclose(model.predict(X), expected, rtol=0, atol=1e-13 * np.abs(expected).max())
    size = np.abs(coefficients[:, 1:]).max(axis=0)
    assert_allclose(model.gradient(X)[:, 2:] / size, coefficients[:, 1:] / size, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ridge", [[0.0, 0.3, 0.0], [0.0, 30.0, 1e-5], [0.0, 0.0, 0.0]])
def test_no_ridge_of_single_features_is_the_limit_of_a_small_one(ridge):
    X, y = few()
    w = np.array([1.0, 0.5, 0.2])
    model = AttentionPoolingRegressor(w=w, degree=1, ridge=ridge).fit(X, y)
    expected = oracle.predict(X, X, y, np.diag(w), "gaussian", ridge=np.maximum(ridge, 1e-30))
    assert_allclose(model.predict(X), expected, rtol=0, atol=1e-7 * np.abs(y).max())
    learned = AttentionPoolingRegressor(w="scalar", degree=1, ridge=ridge, tol=1e-2).fit(X, y)
    assert np.isfinite(learned.loo_score_)


def test_a_ridge_that_is_given_is_used():
    X, y = few()
    for ridge in [0.0, 0.2, [0.1, 1.0, 10.0]]:
        for w in ["diagonal", "full", 0.7]:
            model = AttentionPoolingRegressor(w=w, degree=1, ridge=ridge, tol=1e-2).fit(X, y)
            assert_array_equal(model.ridge_, np.broadcast_to(ridge, 3))
            h = model.w_ if model.w_.ndim == 2 else np.diag(model.w_)
            loo = oracle.leave_one_out(X, y, h, "gaussian", ridge=np.broadcast_to(ridge, 3))
            assert_close(model.loo_prediction_, loo, y, 1e-8)


@pytest.mark.parametrize("rows", [None, 30])
def test_too_few_iterations_warn_with_a_remedy(rows):
    X, y = few()
    model = AttentionPoolingRegressor(max_iter=1, tol=1e-9, validation_samples=rows)
    with pytest.warns(ConvergenceWarning, match=r"max_iter=1 .*Increase max_iter, or tol") as caught:
        model.fit(X, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert model.n_iter_ == 1
    assert len(model.loss_path_) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AttentionPoolingRegressor(tol=1e-2).fit(X, y)


def test_verbose_prints_the_loss_of_every_iteration(capsys):
    X, y = few()
    silent = AttentionPoolingRegressor(tol=1e-2).fit(X, y)
    assert capsys.readouterr().out == ""
    AttentionPoolingRegressor(tol=1e-2, verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    expected = rf"\[AttentionPoolingRegressor\] (scalar|diagonal) w, {len(X)} rows: leave-one-out loss 0\.\d+"
    assert all(re.fullmatch(expected, line) for line in lines)
    assert len(lines) >= silent.n_iter_
    assert f"{silent.loss_path_[-2]:.6g}" in "".join(lines)
    AttentionPoolingRegressor(w=0.7, verbose=1).fit(X, y)
    assert capsys.readouterr().out == ""


# Warm start


@structures
@degrees
def test_a_warm_start_goes_on_where_the_last_fit_ended(degree, w):
    X, y = few(n=25)
    model = AttentionPoolingRegressor(w=w, degree=degree, warm_start=True, tol=1e-4, max_iter=500).fit(X, y)
    first = model.loss_path_
    model.fit(X, y)
    assert model.loss_path_[0] <= first[-1] * (1 + 1e-3)
    assert model.loss_path_[-1] <= first[-1] * (1 + 1e-3)
    assert model.n_iter_ <= max(3, (len(first) - 1) // 2)


def test_a_warm_start_takes_up_a_fit_that_was_cut_short():
    X, y = few()
    model = AttentionPoolingRegressor(max_iter=2, warm_start=True, tol=1e-7, penalty=0.0)
    losses = []
    for _ in range(4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            losses.append(model.fit(X, y).loss_path_[-1])
    assert np.all(np.diff(losses) < 0)


def test_a_warm_start_finds_slopes_that_the_last_fit_took_out():
    X = np.random.default_rng(0).normal(size=(60, 16))
    model = AttentionPoolingRegressor(degree=1, warm_start=True).fit(X, np.sin(2.0 * X[:, 0]))
    taken_out = np.flatnonzero(np.isinf(model.ridge_))[0]
    assert model.fit(X, X[:, taken_out]).loo_score_ > 0.9


def test_where_the_last_fit_found_nothing_a_warm_start_starts_anew():
    X, y = few(n=25)
    model = AttentionPoolingRegressor(warm_start=True, tol=1e-2, penalty=100.0).fit(X, np.arange(25) % 2)
    assert not model.w_.any()
    model.set_params(penalty=3.0).fit(X, y)
    assert_array_equal(model.w_, AttentionPoolingRegressor(tol=1e-2).fit(X, y).w_)


@pytest.mark.parametrize("change", ["structure", "features", "numbers", "rank", "off", "failed"])
def test_a_warm_start_of_another_kind_starts_anew(change):
    X, y = few()
    parameters = {"w": "low_rank", "rank": 2} if change == "rank" else {}
    model = AttentionPoolingRegressor(tol=1e-2, warm_start=True, **parameters)
    after = {"structure": {"w": "scalar"}, "rank": {"rank": 1}, "off": {"warm_start": False}}.get(change, {})
    if change == "numbers":
        model.set_params(w=np.array([1.0, 2.0, 0.1])).fit(X, y).fit(X, y)
        model.set_params(w="diagonal")
    elif change == "features":
        model.fit(X[:, :2], y)
    else:
        model.fit(X, y)
    if change == "failed":
        with pytest.raises(ValueError, match="NaN"):
            model.fit(np.where(X > 1, np.nan, X), y)
    model.set_params(**after).fit(X, y)
    fresh = AttentionPoolingRegressor(**model.get_params()).fit(X, y)
    assert_array_equal(model.w_, fresh.w_)
    assert_array_equal(model.loss_path_, fresh.loss_path_)


# The fitted model


def test_fitted_attributes_are_those_of_the_documentation():
    X, y = few()
    model = AttentionPoolingRegressor(tol=1e-2).fit(X, y)
    assert {name for name in vars(model) if name.endswith("_")} == {
        *("n_features_in_", "X_train_", "y_train_", "sample_weight_", "kernel_", "w_", "ridge_", "n_iter_"),
        "slope_count_",
        *("loss_path_", "loo_prediction_", "loo_score_", "n_validation_"),
        *("is_categorical_", "categories_", "category_weight_"),
    }


@structures
@degrees
def test_pickled_models_predict_the_same(degree, w):
    X, y = few()
    model = AttentionPoolingRegressor(w=w, degree=degree, tol=1e-2).fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.predict(X), model.predict(X))
    assert_array_equal(copy.loss_path_, model.loss_path_)


def test_a_nested_kernel_is_searched_in_a_grid():
    from sklearn.model_selection import GridSearchCV

    X, y = few()
    search = GridSearchCV(
        AttentionPoolingRegressor(PowerExponential(), tol=1e-2),
        {"kernel__power": [0.7, 1.5], "degree": [0, 1]},
        cv=2,
    ).fit(X, y)
    assert search.best_estimator_.kernel_.power == search.best_params_["kernel__power"]
