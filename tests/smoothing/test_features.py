"""The columns that features become: their distances are those of the features, their scales half the mean square."""

import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sknw._smoothing.features import FeatureMap
from sknw._smoothing.training import TrainingSet

KINDS = ["number", "category", "ordered", 24.0, "category", "ordered"]
LEVELS = [0, 4, 5, 0, 2, 2]


def map_of(kinds, levels, missing=()):
    return FeatureMap(
        np.array(levels),
        np.array([kind == "ordered" for kind in kinds]),
        np.isin(np.arange(len(kinds)), missing),
        np.array([kind if isinstance(kind, float) else 0.0 for kind in kinds]),
    )


def rows(n=60, kinds=KINDS, levels=LEVELS, seed=0):
    """Rows in which each level is there."""
    rng = np.random.default_rng(seed)
    columns = [
        rng.permutation(np.arange(n) % L) if L else rng.uniform(-30, 30, n) for _, L in zip(kinds, levels, strict=True)
    ]
    return np.column_stack(columns).astype(float)


def squared_distances(A, B):
    return ((A[:, np.newaxis] - B) ** 2).sum(axis=2)


@pytest.mark.parametrize("k", range(len(KINDS)))
def test_distances_of_columns_are_those_of_the_features(k):
    X, features = rows()[:, [k]], map_of(KINDS[k : k + 1], LEVELS[k : k + 1])
    expected = oracle.distances(X, X, oracle.Mixed(1, KINDS[k : k + 1])) ** 2
    assert_allclose(squared_distances(features.columns(X), features.columns(X)), expected, rtol=1e-12, atol=1e-12)


def test_a_block_has_one_column_less_than_levels_and_all_have_one_w():
    X, features = rows(), map_of(KINDS, LEVELS)
    assert features.columns(X).shape == (60, 1 + 3 + 4 + 2 + 1 + 1)
    h = np.array([3.0, 0.5, 1.5, 2.0, 0.7, 0.9])
    columns = features.columns(X) / features.repeat(h)
    assert_allclose(
        squared_distances(columns, columns), oracle.distances(X, X, oracle.Mixed(h, KINDS)) ** 2, atol=1e-12
    )
    assert_array_equal(features.sum(np.ones((2, 12))), [[1, 3, 4, 2, 1, 1]] * 2)


def test_numbers_are_their_own_columns():
    X, features = rows(), FeatureMap.of_numbers(6)
    w, gradient = np.ones((6, 2)), np.ones((60, 1, 6))
    assert features.columns(X) is X
    assert features.repeat(w) is w
    assert features.derivative(X, gradient) is gradient


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_the_squared_scale_is_half_the_mean_squared_distance(weighted):
    X, rng = rows(), np.random.default_rng(1)
    w = rng.uniform(0.5, 2, 60) if weighted else None
    training = TrainingSet.of(X, rng.normal(size=60), w, None, map_of(KINDS, LEVELS))
    assert_allclose(training.scales, oracle.mixed_scales(X, KINDS, w).astype(float), rtol=1e-12)


@pytest.mark.parametrize(
    ("ordered", "n_levels", "least"), [(False, 2, 0.5), (False, 5, 0.5), (True, 2, 0.5), (True, 5, 0.8)]
)
def test_the_scale_of_a_category_is_not_below_that_of_a_mismatch_and_of_even_shares(ordered, n_levels, least):
    X = np.append(np.zeros(1000), np.arange(n_levels))[:, np.newaxis]
    kinds = ["ordered" if ordered else "category"]
    training = TrainingSet.of(X, np.arange(len(X)), None, None, map_of(kinds, [n_levels]))
    assert_allclose(training.scales, np.sqrt(least), rtol=1e-12)


def test_a_constant_feature_has_scale_one():
    X = np.column_stack([np.zeros(5), np.full(5, 3.0), np.full(5, 1e300), np.zeros(5)])
    training = TrainingSet.of(
        X, np.arange(5.0), None, None, map_of(["category", 24.0, "number", "ordered"], [1, 0, 0, 1])
    )
    assert_array_equal(training.scales, 1.0)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", ["category", "ordered"])
@pytest.mark.parametrize("n_levels", [2, 3, 7])
def test_an_unknown_level_is_equally_far_from_all(n_levels, kind, missing):
    features = map_of([kind], [n_levels], [0] if missing else [])
    points = features.columns(np.arange(-1.0, n_levels)[:, np.newaxis])
    distances = squared_distances(points[:1], points[1:])[0]
    if kind == "ordered" and missing:
        distances = distances[:-1]
        assert_allclose(squared_distances(points[-1:], points[1:-1]), (n_levels - 2) / 4 + 1, rtol=1e-14)
    expected = (1 - 1 / n_levels) / 2 if kind == "category" else (n_levels - 1 - missing) / 4
    assert_allclose(distances, expected, rtol=1e-14)


def test_the_columns_of_a_period_do_not_know_how_often_it_has_passed():
    features, X = map_of([24.0], [0]), rows()[:, [3]]
    assert_allclose(features.columns(X + 24 * 365), features.columns(X), atol=1e-11)
