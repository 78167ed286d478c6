"""Problems at which a method once raised a warning of NumPy, or failed."""

import numpy as np

from sknw import AttentionPoolingRegressor, LocalLinearRegressor


def test_learning_where_no_scalar_can_be_scanned():
    X = np.array([[0.03, 0.0, 0.02], [0.0, 0.01, 0.02], [0.03, 0.02, 0.0]])
    model = AttentionPoolingRegressor("epanechnikov", "scalar", degree=1, max_iter=10).fit(X, [1.0, 2.0, 3.0])
    assert np.all(np.isfinite(model.predict(X)))


def test_intervals_of_folds_that_predict_no_sample():
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.arange(4.0)
    model = LocalLinearRegressor("tricube", 0.01, ridge=0.0, cv=2, outside="nan").fit(X, y)
    assert np.all(np.isinf(model.predict_interval(X)))


def test_learning_lines_from_one_sample():
    model = AttentionPoolingRegressor(degree=1, max_iter=10).fit([[2.0], [2.0]], [1.0, 1.0])
    assert model.predict([[3.0]]) == 1.0
