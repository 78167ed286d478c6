"""What an import loads, and when the compiler is started: each in a new process."""

import sys

import pytest
from processes import run


def test_import_loads_no_package_that_scikit_learn_does_not_and_compiled_code_is_loaded_for_large_fits_only():
    """Neither numba nor matplotlib nor torch; scikit-learn itself loads pandas and rich where they are installed."""
    printed = run(
        """
        import sys
        import sklearn.neighbors, scipy.optimize, scipy.sparse, scipy.spatial
        before = {name.partition(".")[0] for name in sys.modules}
        import sknw
        print(sorted({name.partition(".")[0] for name in sys.modules} - before - {"sknw"}))
        print([name for name in ["numba", "llvmlite", "matplotlib", "torch", "polars"] if name in sys.modules])

        from sknw import LocalLinearRegressor, NadarayaWatsonRegressor
        from sknw.datasets import make_sine_power

        X, y = make_sine_power(60, random_state=0)
        for model in [NadarayaWatsonRegressor(), NadarayaWatsonRegressor("tricube"), LocalLinearRegressor()]:
            model.fit(X, y)
            model.predict(X, return_std=True), model.effective_sample_size(X), model.predict_quantile(X, 0.9)
            model.attention_weights_(X, sparse_output=True)
        X, y = make_sine_power(500, random_state=0)
        for bandwidth in [0.3, "loo"]:
            model = NadarayaWatsonRegressor(bandwidth=bandwidth).fit(X, y)
            model.predict(X, return_std=True)
            model.attention_weights_(X, top_k=3)
        print("numba" in sys.modules)
        NadarayaWatsonRegressor().fit(*make_sine_power(5000, random_state=0))
        print("numba" in sys.modules)
        """
    )
    assert printed.splitlines() == ["[]", "[]", "False", "True"]


def test_everything_public_is_importable():
    import sknw

    assert all(hasattr(sknw, name) for name in sknw.__all__)
    assert set(sknw.kernels.__all__) <= set(sknw.__all__)


def test_export_without_its_package_says_what_to_install(monkeypatch):
    import sknw

    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match="pip install skl2onnx"):
        sknw.onnx.register()
