"""How many threads `n_jobs` stands for, how many BLAS may take, and how they share the queries out."""

import tracemalloc
from contextlib import nullcontext
from threading import Event
from time import sleep
from unittest.mock import Mock, patch

import joblib
import numpy as np
import pytest
from joblib.parallel import BACKENDS, ParallelBackendBase

from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.registry import ENGINES
from sknw._kernel_sums.request import KernelSumRequest, LeaveOut
from sknw._kernel_sums.threads import distant_backend, effective_n_threads, for_each_chunk
from sknw.kernels import Gaussian


class Cluster(ParallelBackendBase):
    """Sixteen workers on other machines."""

    def effective_n_jobs(self, n_jobs):
        return 16


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setitem(BACKENDS, "cluster", Cluster)


def test_workers_of_a_cluster_are_no_threads_here(cluster):
    with joblib.parallel_config("cluster"):
        assert isinstance(distant_backend(), Cluster)
        assert effective_n_threads(None) == 1
        assert effective_n_threads(2) == 2
        assert effective_n_threads(-1) == joblib.cpu_count()


@pytest.mark.parametrize("backend", ["threading", "loky", "multiprocessing", "sequential"])
def test_threads_and_processes_of_this_machine_are_counted_as_ever(backend):
    with joblib.parallel_config(backend, n_jobs=3):
        assert distant_backend() is None
        assert effective_n_threads(None) == (1 if backend == "sequential" else 3)
    assert effective_n_threads(None) == 1


@pytest.mark.parametrize("queries_are_keys", [True, False])
def test_large_products_of_few_keys_keep_to_one_thread_of_blas(queries_are_keys):
    """Threads of BLAS wait for each other at every small product; where BLAS begins none, none are forbidden."""
    for n_columns, is_large in [(1, False), (30, True)]:
        index = KeyIndex(np.linspace(0, 1, 200)[:, np.newaxis], np.ones(200), np.ones((200, n_columns)))
        queries = index.keys if queries_are_keys else index.keys.copy()
        request = KernelSumRequest(Gaussian(), index, queries, LeaveOut.own(np.arange(200)))
        limits = Mock(side_effect=nullcontext)
        with (
            patch("sknw._kernel_sums.dense.one_blas_thread", limits),
            patch("sknw._kernel_sums.threads.one_blas_thread", limits),
        ):
            ENGINES["dense"].compute(request)
        assert limits.called == is_large


@pytest.mark.parametrize("n_threads", [1, 3])
def test_chunks_are_all_queries_once_and_multiples_where_there_are_enough(n_threads):
    for n_queries in [0, 1, 7, 100]:
        chunks = []
        for_each_chunk(chunks.append, n_queries, 20, n_threads, multiple_of=4)
        assert sorted(row for rows in chunks for row in range(rows.start, rows.stop)) == list(range(n_queries))
        assert all((rows.stop - rows.start) % 4 == 0 for rows in chunks if rows.stop < n_queries)
        assert all(rows.stop - rows.start <= 20 for rows in chunks)


def test_an_error_of_one_chunk_is_raised_and_ends_the_work_of_the_other_threads():
    started, failed = [], Event()

    def task(rows):
        if rows.start == 1:
            failed.set()
            raise RuntimeError("of the second chunk")
        failed.wait(10)
        started.append(rows)
        sleep(0.001)

    with pytest.raises(RuntimeError, match="of the second chunk"):
        for_each_chunk(task, 10_000, 1, 2)
    assert len(started) < 5000


def test_waiting_chunks_take_little_memory():
    """As many chunks as queries, which is what 65 536 keys ask of brute force in NumPy: a future each took 2 kB."""
    tracemalloc.start()
    for_each_chunk(lambda rows: None, 20_000, 1, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 * 200
