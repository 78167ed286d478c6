"""Awkward input from end to end, by every engine that takes it, against the oracle."""

import numpy as np
import oracle
import pytest
from covering import covering_array
from problems import TOLERANCE_FLOAT32, assert_close

from sknw import NadarayaWatsonRegressor
from sknw._kernel_sums.registry import ALGORITHMS


def engines(kernel, d):
    """Those for few features or near pairs that take the kernel, and "auto"."""
    return ["auto", "pruned", *(["expansion"] if kernel == "gaussian" else ["sorted"] if d == 1 else [])]


CASES = [
    (kernel, d, algorithm)
    for kernel in ("gaussian", "exponential", "epanechnikov", "tricube")
    for d in (1, 2, 3)
    for algorithm in engines(kernel, d)
]


def normal(rng, n, d):
    return rng.normal(size=(n, d))


def far_apart(rng, n, d):
    """Fewer samples than cells, even of the widest bandwidth that a kernel might need."""
    return np.cumsum(rng.exponential(30.0, size=(n, d)), axis=0)


def rounded(rng, n, d):
    """Many ties."""
    return rng.normal(size=(n, d)).round(1)


SAMPLES = {"normal": normal, "fewer than cells": far_apart, "rounded": rounded}


def data(sample, d, n=130, seed=0):
    rng = np.random.default_rng(seed)
    X = SAMPLES[sample](rng, n, d)
    y = np.column_stack([np.sin(X.sum(axis=1)), X[:, 0]]) + rng.normal(size=(n, 2))
    return X, y


@pytest.mark.parametrize(
    "row",
    covering_array(
        [dict(zip(["kernel", "d", "algorithm"], case, strict=True)) for case in CASES],
        sample=list(SAMPLES),
        h=[0.05, 0.6, 40.0],
    ),
    ids=lambda row: "-".join(map(str, row.values())),
)
def test_order_of_rows_does_not_matter(row):
    kernel, d, algorithm, sample, h = row.values()
    X, y = data(sample, d)
    expected = oracle.predict(X, X, y, np.full(d, h), kernel)
    left_out = oracle.leave_one_out(X, y, np.full(d, h), kernel)
    ascending = np.lexsort(X.T[::-1])
    for order in (np.arange(len(X)), ascending, ascending[::-1]):
        model = NadarayaWatsonRegressor(kernel, h, algorithm=algorithm).fit(X[order], y[order])
        assert_close(model.loo_prediction_, left_out[order], y)
        assert_close(model.predict(X[order]), expected[order], y)
        assert_close(model.predict(X[order[::-1]]), expected[order[::-1]], y)


@pytest.mark.parametrize(("kernel", "d", "algorithm"), CASES)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_float32_input(kernel, d, algorithm, offset):
    X, y = data("normal", d)
    X, y = (X + offset).astype(np.float32), y.astype(np.float32)
    Q = X[:60] + np.float32(0.125)
    model = NadarayaWatsonRegressor(kernel, 0.6, algorithm=algorithm).fit(X, y)
    expected = oracle.predict(Q.astype(float), X.astype(float), y.astype(float), np.full(d, 0.6), kernel)
    assert model.predict(Q).dtype == np.float32
    assert_close(model.predict(Q), expected, y, TOLERANCE_FLOAT32)
    # float64 queries of the same values
    assert_close(model.predict(Q.astype(float)), expected, y)


def test_every_engine_for_few_features_or_compact_kernels_is_met():
    assert {algorithm for _, _, algorithm in CASES} == set(ALGORITHMS) - {"dense", "fused", "cluster"}
