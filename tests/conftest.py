"""Settings that must be made before scikit-learn is imported, and data that many tests share."""

import os

os.environ["SCIPY_ARRAY_API"] = "1"  # without it scikit-learn skips some of its checks
os.environ["MPLBACKEND"] = "Agg"

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# A first example may wait for the compiler, and a shared machine may stall: times are not what is tested.
settings.register_profile(
    "sknw", deadline=None, max_examples=50, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("sknw")


@pytest.fixture
def rng():
    return np.random.default_rng(20240917)


# The longest files are begun first, lest one of them leave the other processes idle at the end. The first compiles most
# of the loops and the second nearly none, so that two processes do not compile the same at once.
LONGEST = [
    "test_nadaraya_watson.py",
    "test_attention_pooling.py",
    "test_invariance.py",
    "test_selection.py",
    "test_sklearn_checks.py",
]


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Each file is run by one process, so that most loops are compiled once and found in the cache by others."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # else by the number of tests
    return LoadFileScheduling(config, log)
