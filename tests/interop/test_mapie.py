"""MAPIE wraps regressors and classifiers: its intervals and sets hold what they promise."""

import numpy as np
from mapie.classification import SplitConformalClassifier
from mapie.regression import CrossConformalRegressor, SplitConformalRegressor

from sknw import NadarayaWatsonClassifier, NadarayaWatsonRegressor, make_sine_power

X, y = make_sine_power(600, sort=False, random_state=0)
fitted, conformalized, tested = slice(200), slice(200, 400), slice(400, None)


def coverage(intervals):
    return np.mean((intervals[:, 0, 0] <= y[tested]) & (y[tested] <= intervals[:, 1, 0]))


def test_intervals_by_a_split():
    model = SplitConformalRegressor(NadarayaWatsonRegressor(), confidence_level=0.9, prefit=False)
    model.fit(X[fitted], y[fitted]).conformalize(X[conformalized], y[conformalized])
    prediction, intervals = model.predict_interval(X[tested])
    np.testing.assert_array_equal(prediction, NadarayaWatsonRegressor().fit(X[fitted], y[fitted]).predict(X[tested]))
    assert 0.85 < coverage(intervals) < 0.95


def test_intervals_by_folds():
    model = CrossConformalRegressor(NadarayaWatsonRegressor(bandwidth=0.3), confidence_level=0.9, cv=5)
    _, intervals = model.fit_conformalize(X[:400], y[:400]).predict_interval(X[tested])
    assert 0.85 < coverage(intervals) < 0.95


def test_sets_of_classes():
    classes = np.digitize(y, [1.0, 2.5])
    model = SplitConformalClassifier(NadarayaWatsonClassifier(), confidence_level=0.9, prefit=False)
    model.fit(X[fitted], classes[fitted]).conformalize(X[conformalized], classes[conformalized])
    _, sets = model.predict_set(X[tested])
    assert 0.85 < sets[np.arange(200), classes[tested], 0].mean() < 0.96
