"""A cluster of two processes on this machine."""

import os
import signal
import time
from threading import Timer

import dask.array
import joblib
import numpy as np
import pytest
from kernel_requests import assert_same_sums, random_request
from numpy.testing import assert_allclose
from problems import Cauchy, regression
from processes import run
from sklearn.model_selection import cross_val_score

from sknw import AttentionPoolingRegressor, NadarayaWatsonClassifier, NadarayaWatsonRegressor
from sknw._kernel_sums import cluster
from sknw._kernel_sums.registry import ENGINES
from sknw._kernel_sums.workers import DaskShards

CLUSTER = ENGINES["cluster"]


@pytest.fixture
def sends_everything(monkeypatch):
    monkeypatch.setattr(cluster, "CLUSTER_CALL", -1e15)
    monkeypatch.setattr("sknw._kernel_sums.registry.SMALL_SECONDS", -1.0)


def test_classes_and_probabilities_of_a_dask_array():
    """Without a cluster, as in the first case of the next test."""
    X, y, _, Q = regression(n=60, m=25)
    queries = dask.array.from_array(Q, chunks=(10, 2))
    model = NadarayaWatsonClassifier(bandwidth=0.7).fit(X, np.where(y > 3.0, "high", "low"))
    labels, proba = model.predict(queries), model.predict_proba(queries)
    assert (labels.chunks, proba.chunks) == (((10, 10, 5),), ((10, 10, 5), (2,)))
    np.testing.assert_array_equal(labels.compute(), model.predict(Q))
    assert_allclose(proba.compute(), model.predict_proba(Q), rtol=1e-14)


@pytest.mark.parametrize("has_cluster", [False, True])
def test_predictions_of_a_dask_array_are_lazy_and_in_its_chunks(has_cluster, request):
    client = request.getfixturevalue("client") if has_cluster else None
    X, y, _, Q = regression(n=60, m=25, n_outputs=2, dtype=np.float32)
    queries = dask.array.from_array(Q, chunks=(10, 1))
    model = NadarayaWatsonRegressor(bandwidth=0.7).fit(X, y)
    mean, std = model.predict(queries, return_std=True)
    assert mean.chunks == std.chunks == ((10, 10, 5), (2,))
    assert mean.dtype == np.float32
    found = dask.compute(mean, std, model.predict(queries))
    for actual, expected in zip(found, [*model.predict(Q, return_std=True), model.predict(Q)], strict=True):
        assert_allclose(actual, expected, rtol=1e-6)
    if has_cluster:
        assert sum(str(key).startswith("same") for key in client.who_has()) == 1  # the model was sent once


def test_chunks_without_rows_have_no_predictions():
    """A selection by a condition may leave such chunks, and does not know the sizes of any."""
    X, y, _, Q = regression(n=60, m=25, d=2)
    model = NadarayaWatsonRegressor(bandwidth=0.7).fit(X, y)
    queries = dask.array.from_array(Q, chunks=(5, 2))
    few = queries[queries[:, 0] > np.sort(Q[:, 0])[-3]]
    for found, expected in zip(
        dask.compute(*model.predict(few, return_std=True)), model.predict(few.compute(), return_std=True), strict=True
    ):
        assert_allclose(found, expected, rtol=1e-14)


def test_queries_of_one_dimension_are_refused():
    X, y, _, _ = regression(n=20)
    with pytest.raises(ValueError, match="Expected 2D array"):
        NadarayaWatsonRegressor(bandwidth=0.7).fit(X, y).predict(dask.array.from_array(X[:, 0]))


def test_a_dask_array_of_integers_is_predicted():
    X, Q = np.array([[0.5], [1.0], [2.0]]), np.array([[1], [2]])
    model = NadarayaWatsonRegressor("epanechnikov", bandwidth=0.25, outside="raise").fit(X, [0.0, 1.0, 2.0])
    assert_allclose(model.predict(dask.array.from_array(Q)).compute(), [1.0, 2.0])


@pytest.mark.parametrize("levels", [[5, 6, 7], ["a", "b", "c"]])
def test_categories_of_a_dask_array_are_their_levels(levels):
    X = np.array(levels)[:, np.newaxis]
    model = NadarayaWatsonRegressor("epanechnikov", bandwidth=0.25, outside="raise", categorical_features=[0])
    model.fit(X, [0.0, 1.0, 2.0])
    assert_allclose(model.predict(dask.array.from_array(X[1:])).compute(), [1.0, 2.0])


def test_shards_stay_on_their_workers(client, sends_everything):
    request = random_request(Cauchy(), n=300, m=40, leave_out="groups", n_columns=2, bandwidths=(3.0, 1.0))
    with joblib.parallel_config("dask"):
        for _ in range(2):
            assert_same_sums(CLUSTER.compute(request), ENGINES["dense"].compute(request), 1e-12)
    (kept,) = (made for made in request.index._of_columns.values() if isinstance(made, DaskShards))
    where = client.who_has(kept.kept)
    assert sorted(address for addresses in where.values() for address in addresses) == [
        home.address for home in kept.homes
    ]


def test_a_fit_is_that_of_one_process(client, sends_everything):
    """Learned w takes the sums of the derivative as well."""
    X, y, w, Q = regression(n=120, m=30, d=3, weighted=True)
    model = AttentionPoolingRegressor(w="scalar", tol=0.01)
    with joblib.parallel_config("dask"):
        predictions = model.fit(X, y, w).predict(Q)
    assert_allclose(predictions, model.fit(X, y, w).predict(Q), rtol=1e-8)


def test_a_search_on_the_cluster_may_fit_on_the_cluster(client, sends_everything):
    X, y, _, _ = regression(n=90)
    model = NadarayaWatsonRegressor(bandwidth=0.7)
    with joblib.parallel_config("dask"):
        scores = cross_val_score(model, X, y, cv=3, n_jobs=-1)
    assert_allclose(scores, cross_val_score(model, X, y, cv=3), rtol=1e-10)


def test_the_client_has_no_more_threads_than_before(client):
    with joblib.parallel_config("dask"):
        assert random_request("gaussian").n_threads == 1


def test_importing_sknw_loads_no_dask():
    assert "[]" in run("import sys, sknw; print([name for name in sys.modules if name in ('dask', 'distributed')])")


class Slow(Cauchy):
    """Time enough to kill a worker."""

    def profile(self, sq):
        time.sleep(0.5)
        return super().profile(sq)


def test_a_worker_that_dies_at_work_is_survived(client, sends_everything):
    request = random_request(Slow(), n=300, m=40)
    with joblib.parallel_config("dask"):
        CLUSTER.compute(request)
        pid = next(iter(client.run(os.getpid).values()))
        murder = Timer(0.25, os.kill, [pid, signal.SIGKILL])
        murder.start()
        sums = CLUSTER.compute(request)
        murder.join()
    assert_same_sums(sums, ENGINES["dense"].compute(request), 1e-12)
