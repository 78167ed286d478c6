"""Graphs of ONNX predict what the models predict, near the samples and far from them; what has no graph is refused."""

import numpy as np
import onnxruntime
import pytest
import skl2onnx
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.gaussian_process.kernels import RBF
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sknw
from sknw import (
    AttentionPoolingClassifier,
    AttentionPoolingRegressor,
    KrigingRegressor,
    LocalLinearRegressor,
    NadarayaWatsonClassifier,
    NadarayaWatsonRegressor,
)

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
both = pytest.mark.parametrize("dtype", TOLERANCE)

sknw.onnx.register()


def run(model, Q, **options):
    """What the graph of a model gives for the queries Q."""
    graph = skl2onnx.to_onnx(model, Q[:1], options=options or None)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": Q})


def problem(d, dtype="float64", offset=0.0, n=200):
    """X (n, d) with copies, y, weights with zeros among them, and queries among the samples and far from them."""
    rng = np.random.default_rng(d)
    X, Q = rng.normal(size=(n, d)), 1.5 * rng.normal(size=(60, d))
    X[-5:] = X[:5]
    Q[:10] *= 1e2
    Q[10:15] *= 1e6
    Q[15:20] = X[:5]
    y = np.sin(2.0 * X[:, 0]) + X[:, -1]
    return X + offset, y, rng.integers(0, 4, n).astype(float), (Q + offset).astype(dtype)


def assert_agrees(actual, expected, dtype):
    """Equal but for the rounding of the type, in units of the range of y."""
    assert actual.dtype == dtype
    assert_allclose(actual, expected.reshape(len(actual), -1), rtol=0, atol=TOLERANCE[dtype] * np.ptp(expected))


@both
@pytest.mark.parametrize(
    ("model", "d"),
    [
        (NadarayaWatsonRegressor(bandwidth=0.3), 1),
        (NadarayaWatsonRegressor(bandwidth=[0.5, 2.0, np.inf], scale="common"), 3),
        (NadarayaWatsonRegressor("exponential", 0.02), 2),
        (NadarayaWatsonRegressor(sknw.PowerExponential(power=2.0), 1.0), 2),
        (NadarayaWatsonRegressor(bandwidth=1.5), 12),  # by matrix products
        (NadarayaWatsonRegressor("exponential", 1.0), 12),
        (AttentionPoolingRegressor(max_iter=3, tol=0.1), 3),
        (AttentionPoolingRegressor(w=np.random.default_rng(0).normal(size=(4, 2))), 4),
    ],
    ids=str,
)
def test_regressors(model, d, dtype):
    X, y, w, Q = problem(d, dtype)
    model = clone(model).fit(X, y, w)
    assert_agrees(run(model, Q)[0], model.predict(Q), dtype)


@both
def test_clusters_that_are_far_apart(dtype):
    """Matrix products would lose the digits of distances within a cluster in float32."""
    X, y, w, _ = problem(12)
    X[::2] += 300.0
    Q = (X[:40] + 0.1).astype(dtype)
    model = NadarayaWatsonRegressor(bandwidth=1.5).fit(X, y, w)
    assert_agrees(run(model, Q)[0], model.predict(Q), dtype)


@both
def test_several_outputs_and_an_offset(dtype):
    X, y, w, Q = problem(2, dtype, offset=1e3)
    model = NadarayaWatsonRegressor(bandwidth=0.5).fit(X, np.column_stack([y, 100.0 + 3.0 * y**2]), w)
    actual, expected = run(model, Q)[0], model.predict(Q)
    assert actual.shape == (60, 2)
    for output in range(2):
        assert_agrees(actual[:, [output]], expected[:, output], dtype)


@both
@pytest.mark.parametrize(
    "labels", [["a", "b", "c"], [3, 5, 9], [False, True, True]], ids=["strings", "integers", "bools"]
)
@pytest.mark.parametrize(
    "model", [NadarayaWatsonClassifier(bandwidth=0.4), AttentionPoolingClassifier("exponential", 2.0, smoothing=0.1)]
)
def test_classifiers(model, labels, dtype):
    X, y, w, Q = problem(2, dtype)
    model = clone(model).fit(X, np.array(labels)[np.digitize(y, [-0.5, 0.5])], w)
    label, proba = run(model, Q, zipmap=False)
    assert_allclose(proba, model.predict_proba(Q), rtol=0, atol=TOLERANCE[dtype])
    assert_array_equal(label, model.predict(Q))
    if dtype == "float32":  # the dicts of skl2onnx's default take no float64
        assert [*run(model, Q)[1][0]] == [*model.classes_]


@both
def test_pipelines(dtype):
    X, y, _, Q = problem(3, dtype)
    columns = ColumnTransformer([("scaled", StandardScaler(), [0, 2]), ("as it is", "passthrough", [1])])
    for first in [StandardScaler(), columns]:
        model = make_pipeline(first, NadarayaWatsonRegressor(bandwidth=0.5)).fit(X, y)
        assert_agrees(run(model, Q[20:])[0], model.predict(Q[20:]), dtype)
    model = make_pipeline(columns, AttentionPoolingClassifier(w=2.0)).fit(X, y > 0)
    assert_allclose(run(model, Q, zipmap=False)[1], model.predict_proba(Q), rtol=0, atol=TOLERANCE[dtype])


def test_a_query_gets_the_nearest_sample_however_far_it_is():
    X, y = np.array([[0.0], [1.0], [1.0 + 2**-20]]), np.array([1.0, 2.0, 3.0])
    Q = np.array([[-1e30], [-50.0], [50.0], [1e30]])
    for kernel in ["gaussian", "exponential"]:
        model = NadarayaWatsonRegressor(kernel, 1e-8).fit(X, y)
        for dtype in TOLERANCE:
            assert_allclose(run(model, Q.astype(dtype))[0][:, 0], [1.0, 1.0, 3.0, 3.0], rtol=1e-6)


@both
def test_graphs_for_old_runtimes(dtype):
    X, y, w, Q = problem(2, dtype)
    for kernel in ["gaussian", "exponential"]:
        model = NadarayaWatsonRegressor(kernel, 0.5).fit(X, y, w)
        graph = skl2onnx.to_onnx(model, Q[:1], target_opset=9)
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        assert_agrees(session.run(None, {"X": Q})[0], model.predict(Q), dtype)


def test_numbers_that_the_type_does_not_hold_are_refused():
    X, y, _, _ = problem(2)
    for model in [
        NadarayaWatsonRegressor(bandwidth=1e-40).fit(X, y),
        NadarayaWatsonRegressor("exponential", 1e-20).fit(X, y),  # the square of X in bandwidths
        NadarayaWatsonRegressor(bandwidth=1e100).fit(X * 1e100 + 1e100, y),
        NadarayaWatsonRegressor(bandwidth=1.0).fit(X, y * 1e100),
    ]:
        with pytest.raises(ValueError, match=r"too large for a graph in float32: give to_onnx an array of float64"):
            skl2onnx.to_onnx(model, X[:1].astype("float32"))
        assert_agrees(run(model, model.X_train_)[0], model.predict(model.X_train_), "float64")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (LocalLinearRegressor(), "local lines"),
        (AttentionPoolingRegressor(w=1.0, degree=1), "local lines"),
        (KrigingRegressor(1.0, 1.0), "kriging"),
        (NadarayaWatsonRegressor("tricube", 1.0), r"kernel is Tricube\(\)"),
        (NadarayaWatsonClassifier(sknw.PowerExponential(1.5), 1.0), "power=1.5"),
        (NadarayaWatsonRegressor(RBF(), 1.0), "kernel is"),
        (NadarayaWatsonRegressor(bandwidth=1.0, outside="nan"), "outside='nan'"),
        (NadarayaWatsonRegressor(bandwidth=1.0, periodic_features={0: 5.0}), "periodic"),
        (NadarayaWatsonRegressor(bandwidth=1.0, categorical_features=[0]), "categories"),
    ],
    ids=str,
)
def test_what_cannot_be_exported_is_refused_with_the_reason(model, reason):
    X, y, _, _ = problem(2, n=40)
    model = clone(model).fit(X, y > 0 if hasattr(model, "predict_proba") else y)
    for exported in [model, make_pipeline(StandardScaler().fit(X), model)]:
        with pytest.raises(NotImplementedError, match=reason):
            skl2onnx.to_onnx(exported, X[:1])
