"""What engines make of the keys is kept, and changes nothing."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from covering import covering_array, describe
from kernel_requests import LEFT_OUT, leave_out_of, random_request, request_of
from numpy.testing import assert_array_equal
from problems import engine_cases

from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.registry import ENGINES, ListsPairs, SumsBlocks, WritesWeights

CASES = [
    case
    for case in engine_cases(["gaussian", "exponential", "tophat", "tricube"], [1, 2, 5])
    if case["algorithm"] != "auto"
]


def fresh(request):
    """The same request about a new index of the same keys."""
    index = request.index
    return replace(request, index=KeyIndex(index.keys, index.weights, index.columns, index.offset_magnitude))


def assert_equal_sums(actual, expected):
    for name in ("mass", "moments", "log_scale"):
        assert_array_equal(getattr(actual, name), getattr(expected, name))


def variants(request, n):
    """Requests about the same index, or one with other columns, in which everything else differs."""
    rng = np.random.default_rng(3)
    queries = rng.normal(size=(31, request.keys.shape[1]))
    at_keys = leave_out_of(n, 31, "some", seed=9)
    queries_at_keys = np.where(at_keys.index[:, np.newaxis] < 0, queries, request.keys[at_keys.index])
    other = request.index.with_columns(rng.normal(size=(n, 2)))
    return [
        request,
        replace(request, bandwidths=np.array([1.5, 0.2])),
        replace(request, queries=queries, leave_out=None),
        replace(request, queries=queries_at_keys, leave_out=at_keys),
        replace(request, index=other),
        replace(request, index=request.index.with_columns(np.empty((n, 0)))),
        replace(request, index=other, bandwidths=np.array([0.7])),
        replace(request, index=request.index.take(np.arange(0, n, 2)), queries=queries, leave_out=None),
        replace(request, allow_float32=True),
        request,
    ]


@pytest.mark.parametrize("case", covering_array(CASES, leave_out=LEFT_OUT, n_columns=[0, 1, 3]), ids=describe)
def test_a_request_gets_the_same_whatever_was_asked_before(case):
    n, engine = 300, ENGINES[case["algorithm"]]
    request = random_request(
        case["kernel"], case["d"], n, 200, case["leave_out"], n_columns=case["n_columns"], bandwidths=[1.0, 0.4]
    )
    for other in variants(request, n):
        assert_equal_sums(engine.compute(other), engine.compute(fresh(other)))


@pytest.mark.parametrize("case", covering_array(CASES, leave_out=LEFT_OUT), ids=describe)
def test_several_threads_that_ask_at_once_get_what_one_gets(case):
    engine, n = ENGINES[case["algorithm"]], 300
    request = random_request(case["kernel"], case["d"], n, 200, case["leave_out"], bandwidths=[1.0, 0.4])
    asked = [other for other in variants(request, n) for _ in range(3)]
    expected = [engine.compute(fresh(other)) for other in asked]
    with ThreadPoolExecutor(4) as pool:
        for sums, of_one in zip(pool.map(engine.compute, asked), expected, strict=True):
            assert_equal_sums(sums, of_one)


@pytest.mark.parametrize("name", ["dense", "fused", "pruned"])
def test_capabilities_get_the_same_whatever_was_asked_before(name):
    engine = ENGINES[name]
    request = random_request("tricube", 2, 300, 40, n_columns=2)
    engine.compute(replace(request, bandwidths=np.array([2.0, 0.5])))
    if isinstance(engine, WritesWeights):
        rows = slice(0, 40)
        assert_array_equal(engine.weight_rows(request)(rows), engine.weight_rows(fresh(request))(rows))
    if isinstance(engine, ListsPairs):
        assert_array_equal(*(engine.weight_pairs(asked, 0.0, None).toarray() for asked in (request, fresh(request))))
    if isinstance(engine, SumsBlocks):
        for asked in (request, fresh(request)):
            sums = np.zeros((40, 3))
            engine.for_each_chunk_of_blocks(
                asked, lambda rows, blocks, sums=sums: sums.__setitem__(rows, blocks.sums.sum(axis=1))
            )
            np.testing.assert_allclose(sums[:, 0], ENGINES["dense"].compute(request).mass[0], rtol=1e-11, atol=1e-13)


def test_what_is_made_of_keys_is_made_once_and_shared_with_other_columns():
    index, made = request_of("gaussian", np.zeros(5), [0.0]).index, []

    def make():
        made.append(1)
        return np.zeros(3)

    other = index.with_columns(np.zeros((5, 2)))
    assert index.of_keys("name", make) is other.of_keys("name", make)
    assert len(made) == 1
    assert index.of_columns("name", make) is index.of_columns("name", make)
    assert len(made) == 2
    assert other.of_columns("name", make) is not index.of_columns("name", make)
    assert index.take(np.arange(3)).of_keys("name", make) is not index.of_keys("name", make)


def test_what_is_made_for_bandwidths_is_dropped_for_that_of_later_ones():
    """At most the memory of keys, weights and columns, but always the last."""
    index, made = KeyIndex(np.zeros((100, 2)), np.ones(100), np.zeros((100, 1))), []

    def ask(name, size=150):
        def make():
            made.append(name)
            return [np.zeros(size), (np.zeros(0), "else")]

        return index.of_bandwidth(name, make)

    for name in [1, 2, 1]:  # both fit: 400 numbers
        ask(name)
    assert made == [1, 2]
    ask(3)  # 2 has not been asked for longest
    ask(1)
    assert made == [1, 2, 3]
    ask(2)
    assert made == [1, 2, 3, 2]
    large = ask("large", 10**4)
    assert ask("large") is large
    ask(2)
    assert made == [1, 2, 3, 2, "large", 2]


@pytest.mark.parametrize(
    ("kernel", "name", "d"), [("gaussian", "expansion", 1), ("gaussian", "expansion", 2), ("tricube", "sorted", 1)]
)
def test_a_long_search_keeps_little_and_gets_what_new_indices_get(kernel, name, d):
    request = random_request(kernel, d, 400, 100)
    for h in np.geomspace(3.0, 0.05, 30):
        asked = replace(request, bandwidths=np.array([h]))
        assert_equal_sums(ENGINES[name].compute(asked), ENGINES[name].compute(fresh(asked)))


def test_of_keys_that_are_equally_near_the_first_are_taken():
    keys = np.array([[3.0, 0.0], [0.0, 1.0], [-1.0, 0.5], [0.0, 0.25], [1.0, -1.0]])
    index = KeyIndex(keys, np.ones(5), np.empty((5, 0)))
    assert index.nearest_in_max_norm(np.zeros((1, 2)), 3).tolist() == [3, 1, 2]
    assert index.nearest_in_max_norm(np.zeros((1, 2)), 9).tolist() == [3, 1, 2, 4, 0]
