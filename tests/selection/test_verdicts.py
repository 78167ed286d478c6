"""The verdict on fits to many kinds of data: a warning where something is wrong, and none where nothing is."""

import warnings

import numpy as np
import pytest

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor

VERDICTS = {
    "support": "no other one in the kernel's support",
    "correlated": "residuals are autocorrelated",
    "copies": "rows with equal inputs predict each other",
    "spacing": "as narrow as the spacing of the samples",
    "useless": "these inputs do not help",
    "nearest": "the bandwidth is near zero",
}
MEANS, LINES = NadarayaWatsonRegressor, LocalLinearRegressor


def attention(**parameters):
    return AttentionPoolingRegressor(max_iter=30, **parameters)


def attention_lines(**parameters):
    return AttentionPoolingRegressor(degree=1, max_iter=30, **parameters)


ALL, BANDWIDTHS = (MEANS, LINES, attention, attention_lines), (MEANS, LINES)


def uniform(rng, n=150, d=1):
    return rng.uniform(-1, 1, (n, d))


def sine(rng, n=150, noise=0.3, d=1):
    X = uniform(rng, n, d)
    return X, np.sin(4 * X[:, 0]) + noise * rng.normal(size=n)


def noise(rng, n=150, d=1):
    return uniform(rng, n, d), rng.normal(size=n)


def two_values(rng, n=120):
    x = rng.integers(0, 2, n)
    return x[:, np.newaxis] * 1.0, (rng.uniform(size=n) < 0.1 + 0.8 * x) * 1.0


def table(rng, n=200):
    X = rng.integers(0, 4, (n, 2)) * 1.0
    return X, np.sin(2 * X[:, 0]) + X[:, 1] + 0.5 * rng.normal(size=n)


def counts(rng, n=200):
    x = rng.integers(1, 11, n)
    return x[:, np.newaxis] * 1.0, (rng.uniform(size=n) < x / 11) * 1.0


def rounded(rng, n=300):
    X, y = sine(rng, n)
    return np.round(X, 1), y


def jumps_between_levels(rng, n=300):
    """Each of ten levels has its own height, so that the mean of each is the best prediction."""
    x, heights = rng.integers(0, 10, n), rng.normal(size=10)
    return x[:, np.newaxis] * 1.0, heights[x] + 0.1 * rng.normal(size=n)


def subjects(rng, n=50, each=4, noise=0.2):
    """Several rows of each subject, with equal inputs and a level of its own."""
    group = np.repeat(np.arange(n), each)
    X = uniform(rng, n)[group]
    return X, np.sin(2 * X[:, 0]) + rng.normal(size=n)[group] + noise * rng.normal(size=n * each)


def replicates(rng, n=75):
    """Two rows at each input, with errors of their own."""
    X = np.repeat(uniform(rng, n), 2, axis=0)
    return X, np.sin(4 * X[:, 0]) + 0.3 * rng.normal(size=2 * n)


def repeated(rng):
    X, y = sine(rng, 80)
    return np.vstack([X, X, X]), np.tile(y, 3)


def bootstrapped(rng):
    X, y = sine(rng, 120)
    rows = rng.integers(0, 120, 120)
    return X[rows], y[rows]


def exact(rng):
    return sine(rng, 100, noise=0.0)


def exact_on_a_grid(rng):
    x = np.linspace(-1, 1, 80)
    return x[:, np.newaxis], np.sin(6 * x)


def rough_and_exact(rng):
    X = uniform(rng, 200)
    return X, np.sin(60 * X[:, 0])


def growing_noise(rng):
    X = uniform(rng)
    return X, np.sin(4 * X[:, 0]) + 0.3 * (1 + X[:, 0]) * rng.normal(size=len(X))


def heavy_tails(rng):
    X = uniform(rng)
    return X, 2 * np.sin(4 * X[:, 0]) + 0.2 * rng.standard_t(2.5, size=len(X))


def one_of_four(rng):
    return sine(rng, 200, d=4)


def a_line(rng):
    X = uniform(rng, 100, 2)
    return X, X[:, 0] - 2 * X[:, 1] + 0.2 * rng.normal(size=100)


def skewed_inputs(rng):
    X = np.exp(2 * rng.normal(size=(150, 1)))
    return X, np.log(X[:, 0]) + 0.3 * rng.normal(size=150)


def two_outputs(rng):
    X, y = sine(rng)
    return X, np.column_stack([y, y**2])


def scattered(rng):
    x = np.append(rng.uniform(size=100), 10.0 * np.arange(1, 61))
    return x[:, np.newaxis], np.append(np.sin(20 * x[:100]), np.full(60, 1.0)) + 0.05 * rng.normal(size=160)


def autoregression(rng, n=300):
    errors = np.zeros(n)
    for i in range(1, n):
        errors[i] = 0.8 * errors[i - 1] + 0.3 * rng.normal()
    x = np.linspace(0, 1, n)
    return x[:, np.newaxis], np.sin(6 * x) + errors


def constant(rng):
    return uniform(rng, 60), np.ones(60)


def steep(rng):
    X = rng.normal(size=(100, 3))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] + 0.3 * rng.normal(size=100)


CASES = [
    *[(data, estimator, None, {}) for data in (sine, two_values, rounded, one_of_four) for estimator in ALL],
    *[
        (data, estimator, None, {})
        for data in (table, counts, jumps_between_levels, exact, growing_noise, replicates, repeated)
        for estimator in BANDWIDTHS
    ],
    *[
        (data, estimator, None, {})
        for data in (rough_and_exact, bootstrapped, exact_on_a_grid, heavy_tails, skewed_inputs, two_outputs, constant)
        for estimator in (MEANS,)
    ],
    *[(data, LINES, None, {}) for data in (a_line, steep)],
    *[(lambda rng: sine(rng, 40), estimator, None, {}) for estimator in BANDWIDTHS],
    (lambda rng: noise(rng, 20), MEANS, None, {}),
    *[(noise, estimator, "useless", {}) for estimator in ALL],
    (lambda rng: noise(rng, 60, 3), MEANS, "useless", {}),
    (lambda rng: noise(rng, 40), LINES, "useless", {}),
    (noise, MEANS, "useless", {"bandwidth": "aicc"}),
    *[(subjects, estimator, "copies", {}) for estimator in ALL],
    (lambda rng: subjects(rng, 30, 2), MEANS, "copies", {}),
    *[(scattered, estimator, "support", {"kernel": "epanechnikov"}) for estimator in BANDWIDTHS],
    (scattered, MEANS, None, {}),
    *[(exact_on_a_grid, estimator, "spacing", {}) for estimator in (LINES, attention_lines)],
    *[(autoregression, estimator, "correlated", {}) for estimator in BANDWIDTHS],
    (lambda rng: steep(np.random.default_rng(1)), MEANS, "nearest", {"bandwidth": "gcv"}),
    (steep, MEANS, None, {}),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_fit_gets_the_verdict_that_its_data_deserve(number):
    data, estimator, expected, parameters = CASES[number]
    X, y = data(np.random.default_rng(0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator(**parameters).fit(X, y)
    messages = [str(warning.message) for warning in caught if "converge" not in str(warning.message)]
    found = [name for message in messages for name, words in VERDICTS.items() if words in message]
    assert len(found) == len(messages)
    assert found == ([] if expected is None else [expected]), (data.__name__, estimator.__name__)


def test_groups_of_subjects_deserve_no_warning():
    X, y = subjects(np.random.default_rng(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NadarayaWatsonRegressor().fit(X, y, groups=np.repeat(np.arange(50), 4))


def test_many_rounded_rows_deserve_no_warning():
    """A search of so many takes scores of a part of the rows as well, which do not compare."""
    rng = np.random.default_rng(0)
    x = np.round(rng.uniform(9, 100, 20_000))
    y = np.sin(x / 20) + 0.5 * rng.normal(size=len(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search = NadarayaWatsonRegressor().fit(x[:, np.newaxis], y).bandwidth_search_
    assert search.is_comparable[search.best_index]
    assert search.scores[search.best_index] == search.scores[search.is_comparable].min()
    assert not search.is_comparable.all()
