import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sknw.datasets import make_sine_power


def test_shapes_range_and_order():
    X, y = make_sine_power(random_state=0)
    assert X.shape == (50, 1)
    assert y.shape == (50,)
    assert X.min() >= 0
    assert X.max() <= 5
    assert np.all(np.diff(X[:, 0]) >= 0)


def test_target_is_the_formula_plus_noise_of_the_given_deviation():
    X, y, truth = make_sine_power(20_000, noise=0.3, high=7.0, random_state=0, return_truth=True)
    assert_allclose(truth, 2 * np.sin(X[:, 0]) + X[:, 0] ** 0.8, rtol=1e-14)
    assert np.std(y - truth) == pytest.approx(0.3, rel=0.03)
    assert np.mean(y - truth) == pytest.approx(0.0, abs=0.01)
    # uniform on [0, 7]
    assert_allclose(np.quantile(X[:, 0], [0.25, 0.5, 0.75]), [1.75, 3.5, 5.25], rtol=0.03)


def test_no_noise_is_the_truth():
    _, y, truth = make_sine_power(30, noise=0.0, random_state=1, return_truth=True)
    assert_array_equal(y, truth)


def test_random_state_decides():
    first, again, other = (make_sine_power(random_state=seed) for seed in [3, 3, 4])
    assert_array_equal(first[0], again[0])
    assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_sorting_does_not_change_the_distribution_but_the_order():
    X, _ = make_sine_power(500, sort=False, random_state=0)
    assert np.any(np.diff(X[:, 0]) < 0)
    in_order, _ = make_sine_power(500, sort=True, random_state=0)
    assert_array_equal(np.sort(X, axis=0), in_order)
