"""SHAP values of a prediction: their sum is what makes it differ from the mean over the background."""

import numpy as np
import shap

from sknw import AttentionPoolingRegressor


def test_values_of_a_prediction():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = np.sin(2.0 * X[:, 0]) + 0.5 * X[:, 1] + 0.1 * rng.normal(size=200)
    model = AttentionPoolingRegressor().fit(X, y)
    explainer = shap.KernelExplainer(model.predict, X[:50])
    explanation = explainer(X[:20])
    total = explanation.base_values + explanation.values.sum(axis=1)
    np.testing.assert_allclose(total, model.predict(X[:20]), rtol=1e-10)
    size = np.abs(explanation.values).mean(axis=0)
    assert size[0] > size[1] > 5.0 * size[2]
