"""What an import loads, when the compiler is started, and how much memory a prediction takes: each in a new process."""

import sys

import pytest
from processes import run


def test_import_loads_no_package_that_scikit_learn_and_scipy_do_not():
    """Neither numba nor matplotlib nor torch; scikit-learn itself loads pandas and rich where they are installed."""
    packages = run(
        """
        import sys
        import sklearn.neighbors, scipy.optimize, scipy.sparse, scipy.spatial
        before = {name.partition(".")[0] for name in sys.modules}
        import sknw
        print(sorted({name.partition(".")[0] for name in sys.modules} - before - {"sknw"}))
        print([name for name in ["numba", "llvmlite", "matplotlib", "torch", "polars"] if name in sys.modules])
        """
    )
    assert packages.split("\n")[:2] == ["[]", "[]"]


def test_everything_public_is_importable():
    import sknw

    assert all(hasattr(sknw, name) for name in sknw.__all__)
    assert set(sknw.kernels.__all__) <= set(sknw.__all__)


def test_export_without_its_package_says_what_to_install(monkeypatch):
    import sknw

    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match="pip install skl2onnx"):
        sknw.onnx.register()


@pytest.mark.parametrize("bandwidth", ["loo", 0.3])
def test_first_fit_on_500_points_starts_no_compiler(bandwidth):
    loaded = run(
        f"""
        import sys
        from sknw import NadarayaWatsonRegressor
        from sknw.datasets import make_sine_power
        X, y = make_sine_power(500, random_state=0)
        model = NadarayaWatsonRegressor(bandwidth={bandwidth!r}).fit(X, y)
        model.predict(X, return_std=True)
        model.attention_weights_(X, top_k=3)
        print("numba" in sys.modules)
        """
    )
    assert loaded.strip() == "False"


def test_a_large_fit_does_start_it():
    loaded = run(
        """
        import sys
        from sknw import NadarayaWatsonRegressor
        from sknw.datasets import make_sine_power
        X, y = make_sine_power(5000, random_state=0)
        NadarayaWatsonRegressor().fit(X, y)
        print("numba" in sys.modules)
        """
    )
    assert loaded.strip() == "True"


PEAK = """
    import resource, sys
    import numpy as np
    from sknw import NadarayaWatsonRegressor

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""
MEMORY = (
    PEAK
    + """
    def fitted(n):
        parameters = {{"validation_samples": 200, "algorithm": "{algorithm}", "n_jobs": 2}}
        model = NadarayaWatsonRegressor("{kernel}", 1.0, **parameters)
        return model.fit(rng.normal(size=(n, 8)), rng.normal(size=n))

    rng = np.random.default_rng(0)
    fitted(99).predict(rng.normal(size=(99, 8)))  # loads and compiles
    Q = rng.normal(size=({n_queries}, 8))
    before = peak()
    model = fitted(20_000)
    {methods}
    print(peak() - before)
"""
)


@pytest.mark.skipif(sys.platform == "win32", reason="the standard library tells no process its peak memory there")
@pytest.mark.parametrize(
    ("algorithm", "kernel", "n_queries", "methods"),
    [
        ("fused", "gaussian", 5000, "model.predict(Q, return_std=True)"),
        ("fused", "tricube", 5000, "model.predict(Q)"),
        (
            "dense",
            "tricube",
            1500,
            "model.predict(Q), model.attention_weights_(Q, top_k=3)",
        ),
    ],
)
def test_memory_grows_with_n_plus_m_not_with_their_product(algorithm, kernel, n_queries, methods):
    """A matrix of 1500 x 20 000 takes 240 MB, one of 5000 x 20 000 800 MB."""
    grown = int(run(MEMORY.format(algorithm=algorithm, kernel=kernel, n_queries=n_queries, methods=methods)))
    assert grown < 100 * 2**20


@pytest.mark.skipif(sys.platform == "win32", reason="the standard library tells no process its peak memory there")
def test_memory_does_not_grow_with_the_number_of_ties():
    """4000 queries without support, each with 10 000 equally near samples: 40 million ties."""
    grown = run(
        PEAK
        + """
    X, y = np.repeat([[0.0], [10.0]], 10_000, axis=0), np.arange(20_000.0)
    model = NadarayaWatsonRegressor("tricube", 1.0, validation_samples=10).fit(X, y)
    model.predict([[5.0]])
    before = peak()
    prediction = model.predict(np.linspace(1.5, 4.5, 4000)[:, np.newaxis])
    assert np.allclose(prediction, 4999.5)
    print(peak() - before)
        """
    )
    assert int(grown) < 150 * 2**20


def test_working_memory_bounds_the_blocks():
    """Weights of 80 MB in blocks of at most 2 MB, or less, by tracemalloc, which sees NumPy's arrays."""
    peaks = run(
        """
        import tracemalloc
        import numpy as np
        import sklearn
        from sknw import NadarayaWatsonRegressor

        rng = np.random.default_rng(0)
        X, y, Q = rng.normal(size=(5000, 2)), rng.normal(size=5000), rng.normal(size=(2000, 2))
        model = NadarayaWatsonRegressor("gaussian", 0.1, validation_samples=10, algorithm="dense").fit(X, y)
        for working_memory in [1024, 1]:
            with sklearn.config_context(working_memory=working_memory):
                tracemalloc.start()
                model.predict(Q)
                print(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
        """
    )
    large, small = map(int, peaks.split())
    assert large < 20e6
    assert small < 3e6
