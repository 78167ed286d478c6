"""What a query without support gets, ties, and grid data."""

from dataclasses import replace
from itertools import product

import numpy as np
import oracle
import pytest
from covering import covering_array, describe, pairwise
from kernel_requests import random_request
from numpy.testing import assert_allclose, assert_array_equal
from problems import ENGINES, KERNELS, Cauchy, Quartic, assert_close, engine_cases, regression
from scipy.sparse import csr_array

from sknw import NadarayaWatsonRegressor
from sknw._smoothing import smoother as smoother_module
from sknw._smoothing.attention import largest
from sknw._smoothing.unsupported import policy_means

OF_COMPACT = [*ENGINES, "pruned"]
POLICIES = ["nearest", "mean", "nan", "raise"]
UNBOUNDED = [kernel for kernel in KERNELS if kernel not in oracle.COMPACT]


@pytest.fixture(scope="module")
def scattered():
    """Data of which, at a bandwidth of 0.3, some samples and queries have neighbours and others none."""
    X, y, w, Q = regression(n_outputs=2, weighted=True, n=40, m=30)
    return X, y, w, np.vstack([Q, [[9.0, 9.0], [-1e4, 0.0]]])


@pytest.mark.parametrize(
    "case",
    covering_array(kernel=oracle.COMPACT, outside=["nearest", "mean", "nan"], algorithm=OF_COMPACT),
    ids=describe,
)
def test_policy_has_one_meaning_everywhere(case, scattered):
    (X, y, w, Q), (kernel, outside, algorithm) = scattered, case.values()
    h = np.array([0.3, 0.3])
    attention = oracle.attention_weights(Q, X, h, kernel, w, outside)
    lonely = np.isneginf(oracle.log_kernel(kernel, oracle.distances(Q, X[w > 0], h))).all(axis=1)
    assert 5 < lonely.sum() < 28, "the data must have queries of both kinds"

    model = NadarayaWatsonRegressor(kernel, 0.3, outside=outside, algorithm=algorithm).fit(X, y, w)
    assert_close(model.predict(Q), attention @ y, y)
    assert_allclose(model.attention_weights_(Q), attention.astype(float), rtol=0, atol=1e-10)
    sparse = model.attention_weights_(Q, sparse_output=True)
    assert_allclose(sparse.toarray(), attention.astype(float), rtol=0, atol=1e-10)
    of_all = model.attention_weights_(Q, top_k=len(X))
    assert_allclose(of_all.toarray(), attention.astype(float), rtol=0, atol=1e-10)
    assert_allclose(
        model.effective_sample_size(Q),
        oracle.effective_sample_size(Q, X, h, kernel, w, outside).astype(float),
        rtol=1e-9,
    )
    assert_close(model.loo_prediction_, oracle.leave_one_out(X, y, h, kernel, w, outside), y)
    assert_close(model.predict(Q, return_std=True)[1], oracle.std(Q, X, y, h, kernel, w, outside), y)


@pytest.mark.parametrize("algorithm", OF_COMPACT)
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_raise_names_the_number_of_queries_without_support(n_jobs, algorithm, scattered):
    X, y, w, Q = scattered
    model = NadarayaWatsonRegressor("tricube", 0.3, outside="raise", algorithm=algorithm, n_jobs=n_jobs).fit(X, y, w)
    supported = ~np.isnan(NadarayaWatsonRegressor("tricube", 0.3, outside="nan").fit(X, y, w).predict(Q)[:, 0])
    assert_close(model.predict(Q[supported]), oracle.predict(Q[supported], X, y, [0.3, 0.3], "tricube", w), y)
    message = rf"{(~supported).sum()} of {len(Q)} queries have no training sample within the kernel's support"
    with pytest.raises(ValueError, match=message):
        model.predict(Q)
    for method in [
        lambda: model.predict(Q, return_std=True),
        lambda: model.attention_weights_(Q),
        lambda: model.attention_weights_(Q, sparse_output=True),
        lambda: model.attention_weights_(Q, top_k=2),
        lambda: model.effective_sample_size(Q),
    ]:
        with pytest.raises(ValueError, match="no training sample within the kernel's support"):
            method()


@pytest.mark.parametrize("kernel", oracle.COMPACT)
def test_fit_does_not_raise_at_a_fixed_bandwidth_and_marks_rows_without_support(kernel, scattered):
    X, y, w, _ = scattered
    raising = NadarayaWatsonRegressor(kernel, 0.3, outside="raise").fit(X, y, w)
    marking = NadarayaWatsonRegressor(kernel, 0.3, outside="nan").fit(X, y, w)
    assert 0 < np.isnan(raising.loo_prediction_[:, 0]).sum() < len(X)
    assert_array_equal(raising.loo_prediction_, marking.loo_prediction_)
    assert raising.loo_score_ == pytest.approx(float(oracle.r2(y, raising.loo_prediction_, w)), abs=1e-10)


@pairwise(kernel=list(UNBOUNDED), outside=list(POLICIES), algorithm=list(ENGINES))
def test_kernels_of_unbounded_support_have_no_outside(kernel, outside, algorithm, scattered):
    X, y, w, Q = scattered
    model = NadarayaWatsonRegressor(KERNELS[kernel][0], 1e-4, outside=outside, algorithm=algorithm).fit(X, y, w)
    assert_close(model.predict(Q), oracle.predict(Q, X, y, [1e-4, 1e-4], KERNELS[kernel][1], w), y, 1e-6)
    assert np.all(np.isfinite(model.loo_prediction_))


@pytest.mark.parametrize("outside", ["nearest", "mean", "nan"])
def test_policy_holds_for_a_users_kernel_of_bounded_support(outside, scattered):
    X, y, w, Q = scattered
    model = NadarayaWatsonRegressor(Quartic(), 0.3, outside=outside).fit(X, y, w)
    lonely = np.isneginf(oracle.log_kernel("biweight", oracle.distances(Q, X[w > 0], [0.3, 0.3]))).all(axis=1)
    instead = oracle.predict(Q, X, y, [0.3, 0.3], "biweight", w, outside)
    assert_close(model.predict(Q)[lonely], instead[lonely], y)


@pytest.mark.parametrize("kernel", UNBOUNDED)
def test_where_a_kernel_underflows_the_nearest_is_the_limit(kernel):
    model = NadarayaWatsonRegressor(KERNELS[kernel][0], 1e-140, outside="raise").fit([[0], [1], [3]], [1, 2, 4])
    assert_allclose(model.predict([[0.9], [2.5], [0.4]]), [2.0, 4.0, 1.0], rtol=1e-12)


def test_where_a_users_kernel_falls_slowly_the_nearest_does_not_take_all():
    """1 / (1 + u^2) becomes inverse distance weighting, until it underflows."""
    X, y = np.array([[0.0], [1.0], [3.0]]), np.array([1.0, 2.0, 4.0])
    model = NadarayaWatsonRegressor(Cauchy(), 1e-100).fit(X, y)
    assert_allclose(model.predict([[0.9]]), np.average(y, weights=(X[:, 0] - 0.9) ** -2.0), rtol=1e-12)
    assert_allclose(NadarayaWatsonRegressor(Cauchy(), 1e-300).fit(X, y).predict([[0.9]]), 2.0, rtol=1e-12)


@pairwise(
    kernel=["tophat", "tricube"],
    direction=[(1.0, 0.5), (-0.3, 1.0), (1.0, 1e-50)],
    distance=[1e4, 1e10, 1e100, 1e200],
    algorithm=list(OF_COMPACT),
)
def test_of_a_far_query_the_direction_counts(kernel, direction, distance, algorithm):
    X, y, _, _ = regression(d=2)
    X, y = X[:-3], y[:-3]  # without the duplicates
    model = NadarayaWatsonRegressor(kernel, 0.3, algorithm=algorithm).fit(X, y)
    assert_allclose(model.predict(distance * np.array([direction])), y[np.argmax(X @ direction)], rtol=1e-12)


# Ties and grids: rounding must not decide


@pairwise(multiple=[1, 2, 3, 7], offset=[0.0, 1.0, 1e3], algorithm=[*OF_COMPACT, "sorted"])
def test_tophat_counts_samples_at_a_multiple_of_the_grid_spacing_in(multiple, offset, algorithm):
    X = offset + 0.1 * np.arange(40)[:, np.newaxis]
    model = NadarayaWatsonRegressor("tophat", 0.1 * multiple, algorithm=algorithm).fit(X, np.arange(40.0))
    neighbours = [min(i, multiple) + min(39 - i, multiple) for i in range(40)]
    assert_allclose(model.effective_sample_size(X), np.add(neighbours, 1), rtol=1e-9)
    assert_array_equal((model.attention_weights_(X) > 0).sum(axis=1), np.add(neighbours, 1))
    windows = [np.arange(max(i - multiple, 0), min(i + multiple, 39) + 1) for i in range(40)]
    assert_allclose(model.predict(X), [window.mean() for window in windows], rtol=1e-9)
    others = [window[window != i].mean() for i, window in enumerate(windows)]
    assert_allclose(model.loo_prediction_, others, rtol=1e-9)


@pytest.mark.parametrize("algorithm", OF_COMPACT)
def test_tophat_on_a_grid_in_two_dimensions(algorithm):
    """(3, 4) and (5, 0) steps away are both five steps: h = 0.5 takes all of them in."""
    X = 0.1 * np.array(list(product(range(-6, 7), repeat=2)))
    model = NadarayaWatsonRegressor("tophat", 0.5, algorithm=algorithm).fit(X, np.arange(len(X)))
    # Gauss's circle problem: 81 integer points at a distance of at most 5
    assert_allclose(model.effective_sample_size([[0.0, 0.0]]), 81, rtol=1e-9)
    steps = np.rint(X / 0.1)
    inside = (steps**2).sum(axis=1) <= 25
    assert_allclose(model.predict([[0.0, 0.0]]), np.flatnonzero(inside).mean(), rtol=1e-9)


@pytest.mark.parametrize(
    "case",
    covering_array(
        [case for case in engine_cases(oracle.COMPACT, [1]) if case["algorithm"] != "auto"], offset=[0.0, 1e3]
    ),
    ids=describe,
)
def test_nearest_ties_share_by_sample_weight(case):
    kernel, _, algorithm, offset = case.values()
    X = offset + 0.1 * np.arange(10)[:, np.newaxis]
    y, w = np.arange(10.0) ** 2, np.arange(1.0, 11.0)
    model = NadarayaWatsonRegressor(kernel, 0.03, algorithm=algorithm).fit(X, y, w)
    between = offset + 0.1 * np.arange(9)[:, np.newaxis] + 0.05
    expected = (w[:-1] * y[:-1] + w[1:] * y[1:]) / (w[:-1] + w[1:])
    assert_allclose(model.predict(between), expected, rtol=1e-9)
    assert_allclose(model.attention_weights_(between) @ y, expected, rtol=1e-9)


@pytest.mark.parametrize("algorithm", [*OF_COMPACT, "sorted"])
def test_nearest_ties_share_in_leave_one_out(algorithm):
    X, y = 0.1 * np.arange(10)[:, np.newaxis], np.arange(10.0) ** 2
    model = NadarayaWatsonRegressor("tricube", 0.03, algorithm=algorithm).fit(X, y)
    assert_allclose(model.loo_prediction_, [1.0, *(y[:-2] + y[2:]) / 2, 64.0], rtol=1e-9)
    heavy = NadarayaWatsonRegressor("tricube", 0.03, algorithm=algorithm).fit(X, y, np.arange(1.0, 11.0))
    assert_allclose(heavy.loo_prediction_[4], (4 * y[3] + 6 * y[5]) / 10, rtol=1e-9)


def test_equal_samples_tie_however_many_they_are():
    X = np.repeat([[0.0, 0.0], [5.0, 5.0]], 3000, axis=0)
    y = np.arange(6000.0)
    model = NadarayaWatsonRegressor("epanechnikov", 0.1).fit(X, y)
    assert_allclose(model.predict([[1.0, 1.0], [4.0, 4.0], [2.5, 2.5]]), [1499.5, 4499.5, 2999.5], rtol=1e-12)


def test_outside_mean_is_the_weighted_mean_and_in_leave_one_out_that_of_the_others():
    X, y, w = np.array([[0.0], [10.0], [20.0]]), np.array([1.0, 2.0, 6.0]), np.array([1.0, 0.5, 2.0])
    model = NadarayaWatsonRegressor("linear", 1.0, outside="mean").fit(X, y, w)
    assert_allclose(model.predict([[5.0]]), [(1 + 1 + 12) / 3.5], rtol=1e-14)
    assert_allclose(model.loo_prediction_, [(1 + 12) / 2.5, (1 + 12) / 3, (1 + 1) / 1.5], rtol=1e-14)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov", "exponential"])
@pytest.mark.parametrize("criterion", ["loo", "aicc"])
def test_queries_in_parts_get_what_all_at_once_would(kernel, criterion, d, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(700, d))
    y = np.sin(3 * X).sum(axis=1) + 0.5 * rng.normal(size=len(X))
    w = rng.choice([0.0, 0.25, 0.5, 1.0], len(X))
    Q = rng.normal(size=(300, d))
    Q[17] = 50.0  # far from all samples

    def fitted():
        return NadarayaWatsonRegressor(kernel, criterion).fit(X, y, sample_weight=w)

    whole = fitted()
    expected = whole.predict(Q, return_std=True)
    monkeypatch.setattr(smoother_module, "_POOLED_NUMBERS", 100)
    in_parts = fitted()
    assert len(in_parts._fitted.smoother.batches(len(X))) > 3
    assert_allclose(in_parts.bandwidth_, whole.bandwidth_, rtol=1e-12)
    assert_allclose(in_parts.loo_prediction_, whole.loo_prediction_, rtol=1e-12, atol=1e-12)
    assert_allclose(in_parts.predict(Q, return_std=True), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernel", "algorithm"), [("gaussian", "expansion"), ("tricube", "sorted")])
@pytest.mark.parametrize("h", [0.02, 0.3])
def test_batches_of_queries_share_what_engines_make_of_the_keys(kernel, algorithm, h, monkeypatch):
    """Fit has made it, and nothing is made again."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 1))
    monkeypatch.setattr(smoother_module, "_POOLED_NUMBERS", 1000)
    model = NadarayaWatsonRegressor(kernel, h, algorithm=algorithm).fit(X, np.sin(3 * X[:, 0]))
    smoother = model._fitted.smoother

    def made():
        index = smoother.index
        return {name: id(of) for name, of in (index._of_keys | index._of_columns | index._of_bandwidths).items()}

    of_fit = made()
    assert len(smoother.batches(len(X))) == 3
    in_batches = model.predict(X)
    assert of_fit
    assert made() == of_fit
    monkeypatch.setattr(smoother_module, "_POOLED_NUMBERS", 10**6)
    assert_allclose(in_batches, model.predict(X), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("policy", ["nearest", "mean"])
def test_queries_that_are_no_key_get_what_they_get_without_leave_one_out(policy):
    """Beside others that are keys."""
    request = random_request("tricube", n=40, m=30, leave_out="some", n_columns=2)
    together = policy_means(policy, request, np.arange(30))
    is_key = request.leave_out.index >= 0
    alone = policy_means(policy, replace(request, leave_out=None), np.flatnonzero(~is_key))
    assert_allclose(together[~is_key], alone, rtol=1e-14)
    keys = policy_means(policy, request.take(np.flatnonzero(is_key)), np.arange(is_key.sum()))
    assert_allclose(together[is_key], keys, rtol=1e-14)


def test_which_weights_are_ties_does_not_depend_on_the_factor_of_a_row():
    rows = np.linspace(1.0, 2.0, 1000)[:, np.newaxis] * [1.0 - 2e-12, 1.0, 1.0 - 1e-9]
    assert_array_equal(largest(csr_array(rows), 1).indices, 0)
