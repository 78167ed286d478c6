"""How much memory a prediction takes."""

import sys
import tracemalloc

import numpy as np
import pytest
from processes import run
from sklearn import config_context

from sknw import NadarayaWatsonRegressor

PEAK = """
    import resource, sys
    import numpy as np
    from sknw import NadarayaWatsonRegressor

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the standard library tells no process its peak memory there")
def test_memory_grows_with_n_plus_m_not_with_their_product():
    """A matrix of 1500 x 10 000 takes 120 MB, one of 3000 x 10 000 twice as much."""
    printed = run(
        PEAK
        + """
    def fitted(n, algorithm, kernel):
        model = NadarayaWatsonRegressor(kernel, 1.0, validation_samples=200, algorithm=algorithm, n_jobs=2)
        return model.fit(rng.normal(size=(n, 8)), rng.normal(size=n))

    rng = np.random.default_rng(0)
    Q = rng.normal(size=(3000, 8))
    engines = [("fused", "gaussian"), ("fused", "tricube"), ("dense", "tricube")]
    for engine in engines:
        fitted(99, *engine).predict(Q[:99], return_std=True)  # loads and compiles
    before = peak()
    fitted(10_000, *engines[0]).predict(Q, return_std=True)
    print(peak() - before)
    fitted(10_000, *engines[1]).predict(Q)
    print(peak() - before)
    model = fitted(10_000, *engines[2])
    model.predict(Q[:1500]), model.attention_weights_(Q[:1500], top_k=3)
    print(peak() - before)
        """
    )
    assert max(map(int, printed.split())) < 100 * 2**20, printed


@pytest.mark.skipif(sys.platform == "win32", reason="the standard library tells no process its peak memory there")
def test_memory_does_not_grow_with_the_number_of_ties():
    """1000 queries without support, each with 10 000 equally near samples: 10 million ties."""
    grown = run(
        PEAK
        + """
    X, y = np.repeat([[0.0], [10.0]], 10_000, axis=0), np.arange(20_000.0)
    model = NadarayaWatsonRegressor("tricube", 1.0, validation_samples=10).fit(X, y)
    model.predict([[5.0]])
    before = peak()
    prediction = model.predict(np.linspace(1.5, 4.5, 1000)[:, np.newaxis])
    assert np.allclose(prediction, 4999.5)
    print(peak() - before)
        """
    )
    assert int(grown) < 70 * 2**20


def test_working_memory_bounds_the_blocks():
    """Weights of 80 MB in blocks of at most 2 MB, or less, by tracemalloc, which sees NumPy's arrays."""
    rng, peaks = np.random.default_rng(0), []
    X, y, Q = rng.normal(size=(5000, 2)), rng.normal(size=5000), rng.normal(size=(2000, 2))
    model = NadarayaWatsonRegressor("gaussian", 0.1, validation_samples=10, algorithm="dense").fit(X, y)
    for working_memory in [1024, 1]:
        with config_context(working_memory=working_memory):
            tracemalloc.start()
            model.predict(Q)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[0] < 20e6
    assert peaks[1] < 3e6
