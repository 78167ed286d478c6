"""How many threads `n_jobs` stands for, and how many BLAS may take."""

from contextlib import nullcontext
from unittest.mock import Mock, patch

import joblib
import numpy as np
import pytest
from joblib.parallel import BACKENDS, ParallelBackendBase

from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.registry import ENGINES
from sknw._kernel_sums.request import KernelSumRequest, LeaveOut
from sknw._kernel_sums.threads import distant_backend, effective_n_threads
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
