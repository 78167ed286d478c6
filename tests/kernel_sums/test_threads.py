"""How many threads `n_jobs` stands for."""

import joblib
import pytest
from joblib.parallel import BACKENDS, ParallelBackendBase

from sknw._kernel_sums.threads import distant_backend, effective_n_threads


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
