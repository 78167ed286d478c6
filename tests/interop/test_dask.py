"""A cluster of two processes on this machine."""

import os
import signal
import time
from threading import Timer

import joblib
import pytest
from kernel_requests import assert_same_sums, random_request
from numpy.testing import assert_allclose
from problems import Cauchy, regression

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw._kernel_sums import cluster
from sknw._kernel_sums.cluster.workers import DaskShards
from sknw._kernel_sums.registry import ENGINES

distributed = pytest.importorskip("distributed")

CLUSTER = ENGINES["cluster"]


@pytest.fixture(scope="module")
def client():
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**settings) as processes, distributed.Client(processes) as client:
        yield client


@pytest.fixture
def sends_everything(monkeypatch):
    monkeypatch.setattr(cluster, "CLUSTER_CALL", -1e15)
    monkeypatch.setattr("sknw._kernel_sums.registry.SMALL_SECONDS", -1.0)


def test_shards_stay_on_their_workers(client, sends_everything):
    request = random_request(Cauchy(), n=300, m=40, leave_out="groups", n_columns=2, bandwidths=(3.0, 1.0))
    with joblib.parallel_config("dask"):
        for _ in range(2):
            assert_same_sums(CLUSTER.compute(request), ENGINES["dense"].compute(request), 1e-12)
    (kept,) = (made for made in request.index._of_columns.values() if isinstance(made, DaskShards))
    where = client.who_has(kept.kept)
    assert sorted(address for addresses in where.values() for address in addresses) == kept.addresses


@pytest.mark.parametrize(
    "model",
    [NadarayaWatsonRegressor(bandwidth=0.7), LocalLinearRegressor(), AttentionPoolingRegressor(degree=1, tol=0.1)],
    ids=str,
)
def test_a_fit_is_that_of_one_process(model, client, sends_everything):
    X, y, w, Q = regression(n=120, d=3, weighted=True)
    with joblib.parallel_config("dask"):
        predictions = model.fit(X, y, w).predict(Q)
        there = model.loo_score_
    assert_allclose(predictions, model.fit(X, y, w).predict(Q), rtol=1e-8)
    assert_allclose(there, model.loo_score_, rtol=1e-8)


class Slow(Cauchy):
    """Time enough to kill a worker."""

    def profile(self, sq):
        time.sleep(0.5)
        return super().profile(sq)


@pytest.mark.parametrize("is_at_work", [False, True])
def test_a_worker_that_dies_is_survived(is_at_work, client, sends_everything):
    request = random_request(Slow(), n=300, m=40)
    with joblib.parallel_config("dask"):
        CLUSTER.compute(request)
        pid = next(iter(client.run(os.getpid).values()))
        murder = Timer(0.25 * is_at_work, os.kill, [pid, signal.SIGKILL])
        murder.start()
        sums = CLUSTER.compute(request)
        murder.join()
    assert_same_sums(sums, ENGINES["dense"].compute(request), 1e-12)


def test_a_search_on_the_cluster_may_fit_on_the_cluster(client, sends_everything):
    from sklearn.model_selection import cross_val_score

    X, y, _, _ = regression(n=90)
    model = NadarayaWatsonRegressor(bandwidth=0.7)
    with joblib.parallel_config("dask"):
        scores = cross_val_score(model, X, y, cv=3, n_jobs=-1)
    assert_allclose(scores, cross_val_score(model, X, y, cv=3), rtol=1e-10)


def test_the_client_has_no_more_threads_than_before(client):
    with joblib.parallel_config("dask"):
        assert random_request("gaussian").n_threads == 1


def test_importing_sknw_loads_no_dask():
    from processes import run

    assert "[]" in run("import sys, sknw; print([name for name in sys.modules if name in ('dask', 'distributed')])")
