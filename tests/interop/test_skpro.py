"""skpro makes distributions of two regressors: one of the mean, and one of the size of the residuals."""

import numpy as np
import pandas as pd
from skpro.metrics import CRPS
from skpro.regression.residual import ResidualDouble

from sknw import NadarayaWatsonRegressor


def test_a_distribution_for_each_query():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.uniform(0.0, 5.0, 300)})
    y = pd.DataFrame({"y": np.sin(X["x"]) + 0.2 * X["x"] * rng.normal(size=300)})
    model = ResidualDouble(NadarayaWatsonRegressor(), NadarayaWatsonRegressor()).fit(X[:200], y[:200])
    distribution = model.predict_proba(X[200:])
    expected = NadarayaWatsonRegressor().fit(X[:200], y[:200]["y"]).predict(X[200:])
    np.testing.assert_allclose(distribution.mean()["y"], expected, rtol=1e-12)
    assert distribution.index.equals(X.index[200:])
    # that of the true distributions, of standard deviation 0.5 on average, is 0.5 / sqrt(pi) = 0.28
    assert 0.2 < CRPS()(y[200:], distribution) < 0.4
