"""Which engine takes what, and which one "auto" takes: refusals and costs are data."""

import importlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from kernel_requests import assert_sums_are_the_oracles, random_request
from problems import KERNELS, Cauchy, Quartic

from sknw import NadarayaWatsonRegressor
from sknw._kernel_sums.costs import LOAD_SECONDS, SMALL_SECONDS
from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.numba import has_compiled
from sknw._kernel_sums.registry import (
    ALGORITHMS,
    ENGINES,
    Dispatcher,
    ListsPairs,
    WritesWeights,
    dispatcher,
    kernel_sums,
)
from sknw._kernel_sums.request import KernelSumRequest
from sknw.kernels import Epanechnikov, Gaussian, Pairwise, resolve_kernel

USER_KERNELS = {"user, unbounded": Cauchy(), "user, compact": Quartic(), "user, pairwise": Pairwise(np.add)}
ALL_KERNELS = [*KERNELS, *USER_KERNELS]
COMPACT = [name for name in KERNELS if resolve_kernel(KERNELS[name][0]).is_compact]
# (algorithm, kernel, number of features): None, or what the refusal says
REFUSALS = {
    **{(algorithm, kernel, d): None for algorithm in ["auto", "dense"] for kernel in ALL_KERNELS for d in [1, 4]},
    **{("fused", kernel, d): None if kernel in KERNELS else "user-defined" for kernel in ALL_KERNELS for d in [1, 4]},
    **{("sorted", kernel, 1): "user-defined" for kernel in USER_KERNELS},
    **{("sorted", kernel, 1): "compact kernels and exp" for kernel in KERNELS},
    **{("sorted", kernel, 1): None for kernel in [*COMPACT, "exponential"]},
    **{("sorted", kernel, 4): "one feature" for kernel in [*COMPACT, "exponential"]},
    **{("expansion", kernel, 1): "Gaussian" for kernel in ALL_KERNELS},
    **{("expansion", "gaussian", 1): None, ("expansion", "gaussian", 4): "features"},
    **{("pruned", kernel, d): None if kernel in KERNELS else "user-defined" for kernel in ALL_KERNELS for d in [1, 4]},
    **{("cluster", kernel, d): "workers on other machines" for kernel in ALL_KERNELS for d in [1, 4]},
}


@cache
def small_request(kernel, d):
    return random_request(USER_KERNELS[kernel] if kernel in USER_KERNELS else resolve_kernel(KERNELS[kernel][0]), d)


def request_of_size(kernel, n, d, m=None):
    """All points the same: it takes no memory, and is not computed."""
    points = np.broadcast_to(0.0, (n, d))
    index = KeyIndex(points, np.broadcast_to(1.0, n), np.broadcast_to(1.0, (n, 1)))
    return KernelSumRequest(resolve_kernel(kernel), index, np.broadcast_to(0.0, (m or n, d)))


def loaded():
    """A dispatcher as in a process in which compiled loops have run."""
    dispatcher = Dispatcher()
    dispatcher.has_loaded(ENGINES["fused"])
    return dispatcher


def test_the_table_of_combinations_is_complete():
    asked = {(algorithm, kernel) for algorithm, kernel, _ in REFUSALS}
    assert asked == {(algorithm, kernel) for algorithm in ALGORITHMS for kernel in ALL_KERNELS}


@pytest.mark.parametrize(("algorithm", "kernel", "d"), [case for case, reason in REFUSALS.items() if reason is None])
def test_engine_takes_what_it_promises(algorithm, kernel, d):
    chosen = Dispatcher().choose(small_request(kernel, d), algorithm)
    assert chosen is ENGINES["dense" if algorithm == "auto" else algorithm]


@pytest.mark.parametrize(
    ("algorithm", "kernel", "d"), [case for case, reason in REFUSALS.items() if reason is not None]
)
def test_engine_refuses_with_the_reason_and_the_alternatives(algorithm, kernel, d):
    with pytest.raises(ValueError, match=rf"{algorithm}.*{REFUSALS[algorithm, kernel, d]}.*auto.*dense"):
        kernel_sums(small_request(kernel, d), algorithm)


def test_fused_refuses_sample_weights_that_vanish_beside_the_others():
    request = random_request(Gaussian(), weights=np.geomspace(1e-290, 1.0, 45))
    with pytest.raises(ValueError, match=r"fused.*sample weights.*auto.*dense"):
        kernel_sums(request, "fused")
    assert_sums_are_the_oracles(request, "gaussian", loaded().choose(request, "auto", 10**6).name)


def test_a_dispatcher_names_the_algorithms_that_it_knows():
    with pytest.raises(ValueError, match=r"algorithm='fast' is not known; usable here: .*'auto', 'dense'"):
        Dispatcher().choose(small_request("gaussian", 1), "fast")


def test_an_unknown_algorithm_is_refused_with_those_that_are_known():
    with pytest.raises(
        ValueError, match="'algorithm' parameter of NadarayaWatsonRegressor must be a str among"
    ) as error:
        NadarayaWatsonRegressor(bandwidth=1.0, algorithm="fast").fit([[0.0], [1.0]], [0.0, 1.0])
    assert all(repr(name) in str(error.value) for name in ALGORITHMS)


# What "auto" takes


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("kernel", [Gaussian(), Epanechnikov(), Cauchy()], ids=str)
def test_auto_compiles_nothing_for_a_small_request(kernel, d):
    assert Dispatcher().choose(request_of_size(kernel, 500, d), "auto", n_passes=50).name == "dense"


def n_requests_until_loaded(dispatcher, request):
    """How often "auto" takes NumPy before it takes compiled loops."""
    for n_requests in range(10**4):
        engine = dispatcher.choose(request, "auto")
        if engine.is_compiled:
            return n_requests
    raise AssertionError("never")


def test_many_small_requests_are_worth_loading():
    """As one who rents skis until the rent has cost as much as buying them."""
    request = request_of_size("gaussian", 500, 5)
    dense, fused = (ENGINES[name].estimate_seconds(request) for name in ("dense", "fused"))
    n_requests = n_requests_until_loaded(Dispatcher(), request)
    lost = n_requests * (dense - fused)
    assert LOAD_SECONDS - 2 * dense <= lost <= LOAD_SECONDS
    # many passes that are known of beforehand count at once
    assert Dispatcher().choose(request, "auto", n_passes=2 * n_requests).name == "fused"


def test_requests_that_compiled_loops_refuse_or_do_no_faster_count_for_nothing():
    dispatcher = Dispatcher()
    for request in [request_of_size(Cauchy(), 500, 5), request_of_size("gaussian", 20, 5)]:
        for _ in range(1000):
            assert dispatcher.choose(request, "auto").name == "dense"
    assert dispatcher.remaining_load_cost(ENGINES["fused"]) == LOAD_SECONDS


def test_a_new_dispatcher_starts_anew():
    """Nothing that another one has chosen or loaded counts."""
    request = request_of_size("gaussian", 500, 5)
    first = n_requests_until_loaded(Dispatcher(), request)
    before = dispatcher.is_loaded, dispatcher.remaining_load_cost(ENGINES["fused"])
    assert n_requests_until_loaded(Dispatcher(), request) == first
    assert (dispatcher.is_loaded, dispatcher.remaining_load_cost(ENGINES["fused"])) == before
    assert loaded().choose(request, "auto").name == "fused"


def test_requests_from_several_threads_count_as_from_one():
    request, one, many = request_of_size("gaussian", 500, 5), Dispatcher(), Dispatcher()
    n_requests = n_requests_until_loaded(Dispatcher(), request) // 2
    for _ in range(n_requests):
        one.choose(request, "auto")
    with ThreadPoolExecutor(8) as pool:
        chosen = list(pool.map(lambda _: many.choose(request, "auto").name, range(n_requests)))
    assert set(chosen) == {"dense"}
    left = [of.remaining_load_cost(ENGINES["fused"]) for of in (one, many)]
    assert left[0] == pytest.approx(left[1], rel=1e-9)


def test_loops_that_take_long_to_compile_are_worth_it_when_as_much_has_been_lost(monkeypatch):
    request, dispatcher = request_of_size("gaussian", 10**4, 2), loaded()
    expansion, fused = (ENGINES[name].estimate_seconds(request) for name in ("expansion", "fused"))
    monkeypatch.setattr(type(ENGINES["expansion"]), "compile_seconds", lambda *_: 3.5 * (fused - expansion))
    assert [dispatcher.choose(request, "auto").name for _ in range(5)] == ["fused"] * 3 + ["expansion"] * 2
    planned = loaded()
    assert planned.choose(request, "auto", n_passes=4).name == "expansion"
    assert planned.choose(request, "auto").name == "fused"  # the plan has lost nothing yet


def test_what_this_machine_has_compiled_is_known(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "of_a_user.py").write_text(
        "from sknw._kernel_sums.numba import compiled\n\n@compiled()\ndef twice(x):\n    return 2 * x\n"
    )
    function = importlib.import_module("of_a_user").twice
    assert not has_compiled(function)
    assert function(1) == 2
    assert has_compiled(function)
    assert has_compiled(importlib.reload(importlib.import_module("of_a_user")).twice)  # as in another process


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov", "exponential"])
def test_engines_that_are_not_asked_would_not_have_been_the_quickest(kernel, d, monkeypatch):
    """Of some sizes each engine is the quickest; and no estimate is below the least."""
    for kind in map(type, ENGINES.values()):
        monkeypatch.setattr(kind, "compile_seconds", lambda *_: 0.0)
    sizes = np.geomspace(2, 10**5, 15).astype(int).tolist()
    for request in (request_of_size(kernel, n, d, m) for n in sizes for m in sizes):
        seconds = {e: e.estimate_seconds(request) for e in ENGINES.values() if e.refusal(request) is None}
        assert all(found >= engine.least_seconds for engine, found in seconds.items())
        small = seconds[ENGINES["dense"]] <= SMALL_SECONDS
        assert loaded().choose(request, "auto") is (ENGINES["dense"] if small else min(seconds, key=seconds.get))


@pytest.mark.parametrize(
    ("kernel", "d", "name"),
    [
        (Gaussian(), 1, "expansion"),
        (Gaussian(), 2, "expansion"),
        (Gaussian(), 5, "fused"),
        (Epanechnikov(), 1, "sorted"),
        (Epanechnikov(), 2, "fused"),
        (Cauchy(), 1, "dense"),
    ],
    ids=str,
)
def test_auto_takes_the_engine_that_suits_a_large_request(kernel, d, name):
    assert Dispatcher().choose(request_of_size(kernel, 10**5, d), "auto", n_passes=10).name == name


# Capabilities


def test_a_capability_is_used_where_it_pays():
    """Not at the price of loading compiled loops for a small request, nor against the user's word."""
    points = np.random.default_rng(12).normal(size=(20_000, 2)) / 0.1
    small, large = random_request("epanechnikov"), random_request("epanechnikov", n=20_000, m=20_000)
    large = KernelSumRequest(large.kernel, KeyIndex(points, large.weights, large.columns), points)
    pruned = ENGINES["pruned"]
    assert Dispatcher().choose_capable(ListsPairs, small, "auto") is None
    assert loaded().choose_capable(ListsPairs, small, "auto") is None
    assert Dispatcher().choose_capable(ListsPairs, large, "auto") is pruned
    assert Dispatcher().choose_capable(ListsPairs, small, "pruned") is pruned
    assert Dispatcher().choose_capable(ListsPairs, small, "fused") is None
    assert Dispatcher().choose_capable(ListsPairs, large, "fused") is pruned
    assert Dispatcher().choose_capable(ListsPairs, large, "dense") is None
    assert loaded().choose_capable(ListsPairs, random_request("gaussian"), "fused") is None


def test_the_engine_asked_for_uses_its_own_capability():
    request = random_request("epanechnikov")
    for name in ("dense", "fused"):
        assert Dispatcher().choose_capable(WritesWeights, request, name) is ENGINES[name]
    asked = Dispatcher()
    asked.choose_capable(WritesWeights, request, "dense")
    assert not asked.is_loaded
    asked.choose_capable(WritesWeights, request, "fused")
    assert asked.is_loaded
