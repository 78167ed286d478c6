"""Sums without ranges of keys, by a difference where an engine cannot leave them out, against the dense engine's."""

from dataclasses import replace

import numpy as np
import pytest
from covering import covering_array, describe
from kernel_requests import assert_same_sums, request_of
from numpy.testing import assert_allclose
from problems import engine_cases

from sknw._kernel_sums.costs import LOAD_SECONDS
from sknw._kernel_sums.ranges import RangeSums
from sknw._kernel_sums.registry import ENGINES, Dispatcher, kernel_sums
from sknw._kernel_sums.request import LeaveOut

N = 800
# How keys are left out: by five large groups, by many of all sizes, by blocks of time.
RANGES = ["folds", "groups", "blocks", "one for all", "everything"]


def leave_out_of(kind, n=N):
    """What each key is summed without."""
    i = np.arange(n)
    if kind == "folds":
        return LeaveOut(i * 5 // n * n // 5, (i * 5 // n + 1) * n // 5)
    if kind == "groups":
        starts = np.append(np.unique(np.random.default_rng(0).integers(0, n, n // 8)), n)
        starts[0] = 0
        group = np.searchsorted(starts, i, side="right")
        return LeaveOut(starts[group - 1], starts[group])
    if kind == "blocks":
        return LeaveOut(np.maximum(i - 9, 0), np.minimum(i + 10, n))
    last = {"one for all": n // 3, "everything": n}[kind]
    return LeaveOut(np.zeros(n, dtype=np.intp), np.full(n, last))


def keys_of(kind, d, n=N):
    """Keys in any order; or sorted, so that those in a range are together and alone with each other at small h."""
    keys = np.random.default_rng(1).normal(size=(n, d))
    if kind == "sorted":
        return keys[np.argsort(keys[:, 0])]
    if kind == "clusters":
        return keys + 100.0 * (np.arange(n) * 5 // n)[:, np.newaxis]
    return keys


CASES = [
    case
    for case in engine_cases(["gaussian", "exponential", "tophat", "tricube", "cosine"], [1, 2, 3])
    if case["algorithm"] not in ("auto", "dense")
]


@pytest.mark.parametrize(
    "case",
    covering_array(CASES, ranges=RANGES, keys=["random", "sorted", "clusters"], n_columns=[0, 1, 3], weighted=[0, 1]),
    ids=describe,
)
def test_every_engine_leaves_out_what_the_dense_one_does(case):
    """At bandwidths from all keys down to none of the others; support is found where the dense engine finds it."""
    keys = keys_of(case["keys"], case["d"])
    weights = None if case["weighted"] else np.ones(N)
    request = request_of(
        case["kernel"], keys, keys, n_columns=case["n_columns"], weights=weights, bandwidths=[50.0, 1.0, 0.1, 1e-3]
    )
    request = replace(request, leave_out=leave_out_of(case["ranges"]))
    sums, expected = kernel_sums(request, case["algorithm"]), ENGINES["dense"].compute(request)
    # an exponent is known to a few of its last digits
    assert_same_sums(
        sums, expected, rtol=1e-11, log_tolerance=8 * np.finfo(float).eps * np.abs(expected.log_scale).max()
    )


NATIVE = [case for case in CASES if ENGINES[case["algorithm"]].leaves_out_ranges]


@pytest.mark.parametrize(
    "case",
    covering_array(NATIVE, ranges=RANGES, keys=["random", "sorted", "clusters"], far=[False, True]),
    ids=describe,
)
def test_engines_that_leave_ranges_out_themselves_do_as_the_dense_one_does(case):
    """Which the others need where a difference would lose digits; queries among the keys or far from all of them."""
    keys = keys_of(case["keys"], case["d"])
    queries = keys + 1e4 * case["far"]
    request = request_of(case["kernel"], keys, queries, n_columns=2, bandwidths=[50.0, 1.0, 0.1, 1e-3])
    request = replace(request, leave_out=leave_out_of(case["ranges"]))
    sums, expected = ENGINES[case["algorithm"]].compute(request), ENGINES["dense"].compute(request)
    rounding_of_exponents = 8 * np.finfo(float).eps * np.abs(expected.log_scale).max()
    assert_same_sums(sums, expected, 1e-11, rounding_of_exponents)


@pytest.mark.parametrize(("kernel", "algorithm"), [("gaussian", "expansion"), ("epanechnikov", "sorted")])
@pytest.mark.parametrize("kind", ["folds", "blocks"])
def test_extreme_values_that_are_left_out_leave_no_trace(kernel, algorithm, kind):
    keys = keys_of("random", 1)
    columns = np.random.default_rng(2).normal(size=(N, 2))
    columns[400], columns[700, 1] = 1e12, -1e13
    request = request_of(kernel, keys, keys, columns=columns, weights=np.ones(N), bandwidths=[1.0, 0.1])
    request = replace(request, leave_out=leave_out_of(kind))
    actual, expected = kernel_sums(request, algorithm), ENGINES["dense"].compute(request)
    sizes = replace(request, index=request.index.with_columns(np.abs(columns)))
    size = ENGINES["dense"].compute(sizes).moments
    mean_size = np.abs(columns).mean(axis=0) * expected.mass[..., np.newaxis]
    assert np.all(np.abs(actual.moments - expected.moments) <= 1e-11 * np.maximum(size, mean_size))


@pytest.mark.parametrize(
    ("kernel", "algorithm"), [("gaussian", "expansion"), ("tricube", "sorted"), ("cosine", "pruned")]
)
@pytest.mark.parametrize("kind", ["folds", "groups"])
def test_threads_change_nothing(kernel, algorithm, kind):
    keys = keys_of("random", 1)
    request = request_of(kernel, keys, keys, n_columns=2, bandwidths=[1.0, 0.01])
    request = replace(request, leave_out=leave_out_of(kind))
    one, two = kernel_sums(request, algorithm), kernel_sums(replace(request, n_jobs=2), algorithm)
    assert_same_sums(two, one, rtol=1e-14)


@pytest.mark.parametrize(("kernel", "name"), [("gaussian", "expansion"), ("epanechnikov", "sorted")])
@pytest.mark.parametrize("kind", ["folds", "groups", "blocks"])
def test_auto_takes_an_engine_that_makes_a_difference_of_sums(kernel, name, kind):
    n = 100_000
    keys = keys_of("random", 1, n)
    request = replace(request_of(kernel, keys, keys), leave_out=leave_out_of(kind, n))
    dispatcher = Dispatcher()
    assert dispatcher.choose(request, "auto").name == name
    ranges = RangeSums.of(request, ENGINES.values())
    assert ranges.n_by_difference(ENGINES[name]) == len(request.bandwidths)
    assert ranges.seconds_with(ENGINES[name]) < LOAD_SECONDS
    assert ranges.n_by_difference(ENGINES["fused"]) == 0


def test_wide_bandwidths_take_a_difference_and_narrow_ones_direct_sums():
    keys = keys_of("random", 1)
    request = request_of("gaussian", keys, keys, n_columns=2, bandwidths=[3.0, 1.0, 1e-2, 1e-3])
    request = replace(request, leave_out=leave_out_of("folds"))
    assert 0 < RangeSums.of(request, ENGINES.values()).n_by_difference(ENGINES["expansion"]) < 4
    sums, expected = kernel_sums(request, "expansion"), ENGINES["dense"].compute(request)
    assert_same_sums(sums, expected, 1e-11, 8 * np.finfo(float).eps * np.abs(expected.log_scale).max())


@pytest.mark.parametrize("name", ["expansion", "pruned", "fused"])
def test_far_from_all_keys_a_difference_is_right_or_said_to_be_lost(name):
    """Without the nine keys that are nearest; the sums are e^-1800 at most for the farthest queries."""
    keys, queries = np.sort(keys_of("random", 1), axis=0), np.linspace(3.0, 60.0, N)
    request = request_of("gaussian", keys, queries, bandwidths=[3.0, 1.0])
    request = replace(request, leave_out=LeaveOut(np.full(N, N - 9), np.full(N, N)))
    sums, is_lost = RangeSums(request, ENGINES.values()).difference(ENGINES[name])
    expected = ENGINES["dense"].compute(request)
    assert 0 < is_lost.sum() < is_lost.size
    assert_allclose(sums.log_mass()[~is_lost], expected.log_mass()[~is_lost], rtol=0, atol=1e-11)


def test_own_keys_are_no_ranges():
    request = request_of("gaussian", keys_of("random", 1), leave_out=LeaveOut.own(np.arange(N)))
    assert RangeSums.of(request, ENGINES.values()) is None


def test_without_a_loop_for_ranges_there_is_a_request_for_each():
    """The fused engine refuses weights that span so much."""
    keys, weights = keys_of("random", 1), np.geomspace(1e-280, 1.0, N)
    request = replace(request_of("tricube", keys, keys, weights=weights), leave_out=leave_out_of("groups"))
    sums, expected = kernel_sums(request, "sorted"), ENGINES["dense"].compute(request)
    assert_same_sums(sums, expected, rtol=1e-11)
