"""A cluster of two processes on this machine, for all tests."""

import pytest


@pytest.fixture(scope="session")
def client():
    import distributed

    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**settings) as processes, distributed.Client(processes) as client:
        yield client
