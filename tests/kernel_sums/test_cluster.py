"""Sums over shards of the keys by the workers of a joblib backend, here threads that pretend to be elsewhere."""

import pickle
from dataclasses import replace
from functools import partial

import joblib
import numpy as np
import pytest
from covering import covering_array, describe
from joblib.parallel import BACKENDS, ThreadingBackend
from kernel_requests import LEFT_OUT, RANGES, assert_same_sums, random_request
from numpy.testing import assert_allclose
from problems import Cauchy, engine_cases, regression
from sklearn.base import clone, is_classifier

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonClassifier, NadarayaWatsonRegressor
from sknw._kernel_sums import cluster, registry, workers
from sknw._kernel_sums.registry import ENGINES, Dispatcher, kernel_sums
from sknw._metric.optimizer import Progress
from sknw._smoothing.validation import Validation
from sknw.kernels import Gaussian

CLUSTER = ENGINES["cluster"]
WORKERS = 3


class Elsewhere(ThreadingBackend):
    """Threads that say that they share no memory."""

    supports_sharedmem = uses_threads = False

    def effective_n_jobs(self, n_jobs):
        return WORKERS


@pytest.fixture
def elsewhere(monkeypatch):
    """A backend of distant workers to which every request is sent, however small."""
    monkeypatch.setitem(BACKENDS, "elsewhere", Elsewhere)
    monkeypatch.setattr(registry, "SMALL_SECONDS", -1.0)
    monkeypatch.setattr(cluster, "CLUSTER_CALL", -1e15)
    monkeypatch.setattr(cluster.Cluster, "least_seconds", -1e6)
    sent = []
    answer = workers._answer

    def count(name, shard, task, question, data):
        sent.append(shard is not None)
        return answer(name, *pickle.loads(pickle.dumps([shard, task, question, data])))

    monkeypatch.setattr(workers, "_answer", count)
    with joblib.parallel_config("elsewhere"):
        yield sent


@pytest.mark.parametrize(
    "case",
    covering_array(
        [case for case in engine_cases(["gaussian", "exponential", "tricube", "tophat"], [1, 2, 4])],
        leave_out=[*LEFT_OUT, *RANGES],
        n_columns=[0, 1, 3],
        bandwidths=[(1.0,), (4.0, 1.0, 0.01)],
    ),
    ids=describe,
)
def test_shards_give_the_sums_of_all_keys_whichever_engine_sums_them(case, elsewhere, monkeypatch):
    monkeypatch.setattr(cluster, "kernel_sums", partial(kernel_sums, algorithm=case["algorithm"]))
    settings = {name: case[name] for name in ("d", "leave_out", "n_columns", "bandwidths")}
    request = random_request(case["kernel"], n=200, m=50, **settings)
    sums, expected = CLUSTER.compute(request), ENGINES["dense"].compute(request)
    rounding_of_exponents = 8 * np.finfo(float).eps * np.abs(expected.log_scale).max()
    assert_same_sums(sums, expected, 1e-12, rounding_of_exponents)
    assert elsewhere == [True] * WORKERS


def test_a_shard_is_sent_once(elsewhere):
    request = random_request(Cauchy(), n=200)
    for _ in range(3):
        CLUSTER.compute(request)
    assert elsewhere == [True] * WORKERS + [False] * 2 * WORKERS


@pytest.mark.parametrize("degree", [0, 1])
def test_learning_sends_the_keys_once_and_then_w(degree, elsewhere):
    X, y, w, _ = regression(n=60, d=2, weighted=True)
    model = AttentionPoolingRegressor(degree=degree, max_iter=1)
    training = model._validate_fit(X, y, w, None).training
    learner = model._learner(training, Gaussian(), Validation.of(None, training), Progress(lambda: False, 0))
    losses = [learner.loss(np.array(w), np.array([0.1, 0.2])) for w in [(0.5, 2.0), (1.0, 0.3)]]
    n_indices = 1 + degree  # those of local lines, and the values
    assert sum(elsewhere) == WORKERS * n_indices < len(elsewhere)
    assert losses[0][0] != losses[1][0]


def test_a_worker_that_does_not_have_a_shard_is_sent_it_again(elsewhere):
    request = random_request("gaussian", n=200)
    first = CLUSTER.compute(request)
    workers._kept.clear()
    assert_same_sums(CLUSTER.compute(request), first, 0.0)
    assert elsewhere == [True] * WORKERS + [False] * WORKERS + [True] * WORKERS


def test_fewer_keys_than_workers(elsewhere):
    request = random_request("gaussian", n=2)
    assert_same_sums(CLUSTER.compute(request), ENGINES["dense"].compute(request), 1e-14)


def test_a_request_that_is_sooner_done_here_stays_here(elsewhere, monkeypatch):
    request = random_request("gaussian", n=200)
    monkeypatch.undo()
    assert Dispatcher().choose(request, "auto").name == "dense"
    CLUSTER.compute(request)
    assert not elsewhere


def test_it_is_refused_without_such_a_backend():
    request = random_request("gaussian")
    with pytest.raises(ValueError, match=r"algorithm='cluster' needs a joblib backend.*parallel_config\('dask'\)"):
        kernel_sums(request, "cluster")
    assert "cluster" not in Dispatcher().choose(replace(request, n_jobs=2), "auto").name


# with whether samples are left out by groups
MODELS = [
    (NadarayaWatsonRegressor(), False),
    (NadarayaWatsonRegressor("tricube", bandwidth=0.8, outside="mean"), True),
    (LocalLinearRegressor("epanechnikov"), False),
    (NadarayaWatsonClassifier(), True),
    (AttentionPoolingRegressor(tol=0.01), True),
    (AttentionPoolingRegressor(degree=1, tol=0.1), False),
]


@pytest.mark.parametrize(("model", "is_grouped"), MODELS, ids=str)
def test_fits_and_predictions_are_those_of_one_process(model, is_grouped, elsewhere, monkeypatch):
    X, y, w, Q = regression(n=120, m=60, d=2, weighted=True)
    y = y > 3.0 if is_classifier(model) else y
    groups = np.arange(len(X)) // 10 if is_grouped else None
    there = clone(model).fit(X, y, w, groups=groups)
    n_sent, predict = len(elsewhere), "predict_proba" if is_classifier(model) else "predict"
    predictions = getattr(there, predict)(Q)
    assert len(elsewhere) > n_sent > 0
    monkeypatch.undo()
    with joblib.parallel_config("threading"):
        here = clone(model).fit(X, y, w, groups=groups)
        assert_allclose(predictions, getattr(here, predict)(Q), rtol=1e-9)
    score = "loo_log_loss_" if is_classifier(model) else "loo_score_"
    assert_allclose(getattr(there, score), getattr(here, score), rtol=1e-9)
