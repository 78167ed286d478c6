"""Test error and time to fit over many data sets, beside the regressors that a user would otherwise choose.

The data are scikit-learn's, synthetic ones of different character, and every CSV table of numbers in the folder given
by --data, with the response in the column "target". Errors are root mean squared errors on the test rows, in standard
deviations of the training targets.
"""

from _common import print_machine, print_table

# isort: split
import argparse
import csv
import hashlib
import json
import re
import time
import warnings
from itertools import islice
from pathlib import Path

import numpy as np
import scipy
import sklearn
from sklearn.datasets import load_diabetes, make_friedman1, make_friedman2, make_friedman3
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor, VotingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import sknw
from sknw import NadarayaWatsonRegressor
from sknw.datasets import make_sine_power

MAX_TRAIN, MIN_TEST = 1500, 300
N_SPLITS = 5

# ---------------------------------------------------------------------------------------------------------------------
# Data
# ---------------------------------------------------------------------------------------------------------------------


def datasets(data_dir=None):
    """Yield (name, X, y): the real data first, then the synthetic."""
    yield "diabetes", *load_diabetes(return_X_y=True)
    for path in sorted(Path(data_dir).glob("*.csv")) if data_dir else ():
        yield path.stem, *read_table(path)
    yield "friedman1", *make_friedman1(3000, noise=1.0, random_state=0)
    yield "friedman2", *make_friedman2(3000, noise=100.0, random_state=0)
    yield "friedman3", *make_friedman3(3000, noise=0.1, random_state=0)
    yield "sine_power", *make_sine_power(600, random_state=0)
    for make, n_samples in SYNTHETIC.items():
        yield make.__name__, *make(n_samples, np.random.default_rng(0))


def read_table(path):
    """X and y of a CSV table of numbers whose response is the column "target"."""
    with open(path, newline="") as lines:
        header = next(csv.reader(lines))
        table = np.loadtxt(lines, delimiter=",")
    target = header.index("target")
    return np.delete(table, target, axis=1), table[:, target]


def splits(X, y, n_splits=N_SPLITS):
    """Yield (X_train, X_test, y_train, y_test), y standardised by the mean and the standard deviation of y_train.

    Of fewer than 600 rows a quarter is for testing; else at least 300, and all that is not among 1500 for training.
    """
    n = len(y)
    n_test = max(MIN_TEST, n - MAX_TRAIN) if n >= 2 * MIN_TEST else n // 4
    for i in range(n_splits):
        test, train = np.split(np.random.default_rng(i).permutation(n), [n_test])
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

# ---------------------------------------------------------------------------------------------------------------------
# Models
# ---------------------------------------------------------------------------------------------------------------------


def nearest_neighbours(n_features):
    grid = {
        "kneighborsregressor__n_neighbors": [1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 60],
        "kneighborsregressor__weights": ["uniform", "distance"],
    }
    return GridSearchCV(scaled(KNeighborsRegressor()), grid, scoring="neg_mean_squared_error", cv=5)


def ridge(n_features):
    return scaled(RidgeCV(np.geomspace(1e-3, 1e4, 22)))


def random_forest(n_features):
    return RandomForestRegressor(n_estimators=300, random_state=0)


def boosting(n_features):
    return HistGradientBoostingRegressor(random_state=0)


def boosting_tuned(n_features):
    grid = {"learning_rate": [0.05, 0.15], "max_iter": [100, 300], "max_leaf_nodes": [4, 10, 31]}
    return GridSearchCV(HistGradientBoostingRegressor(random_state=0), grid, scoring="neg_mean_squared_error", cv=5)


def gaussian_process(n_features):
    return process(np.sqrt(n_features))


def gaussian_process_ard(n_features):
    return process(np.full(n_features, np.sqrt(n_features)))


def process(length_scale):
    """A Gaussian process whose first length scales suit distances between standardised samples."""
    covariance = ConstantKernel(1.0, (1e-3, 1e4)) * RBF(length_scale, (1e-2, 1e4)) + WhiteKernel(0.1, (1e-6, 1e1))
    return scaled(GaussianProcessRegressor(covariance, normalize_y=True, random_state=0))


def scaled(model):
    return make_pipeline(StandardScaler(), model)


PEERS = {
    "KNN, tuned": nearest_neighbours,
    "ridge": ridge,
    "random forest": random_forest,
    "boosting": boosting,
    "boosting, tuned": boosting_tuned,
    "GP": gaussian_process,
    "GP ARD": gaussian_process_ard,
}


def our_models():
    models = {"NW": NadarayaWatsonRegressor(), "NW, exponential": NadarayaWatsonRegressor("exponential")}
    if hasattr(sknw, "LocalLinearRegressor"):
        models["local linear"] = sknw.LocalLinearRegressor()
        models["local linear, exponential"] = sknw.LocalLinearRegressor("exponential")
    if hasattr(sknw, "AttentionPoolingRegressor"):
        for degree in (0, 1):
            for w in ("scalar", "diagonal", "full"):
                heads = {
                    kernel: sknw.AttentionPoolingRegressor(kernel, w, degree=degree)
                    for kernel in ("gaussian", "exponential")
                }
                models[f"{w} {degree}"] = heads["gaussian"]
                models[f"{w} {degree}, exponential"] = heads["exponential"]
                if w == "diagonal":
                    models[f"{w} {degree}, two heads"] = VotingRegressor(list(heads.items()))
    return {name: lambda n_features, model=model: model for name, model in models.items()}


OURS = our_models()
MODELS = PEERS | OURS  # name: function of the number of features that makes the model

# ---------------------------------------------------------------------------------------------------------------------
# Measuring
# ---------------------------------------------------------------------------------------------------------------------


def measure(model, X_train, X_test, y_train, y_test):
    """Test RMSE, and the processor's seconds that the fit takes in one thread."""
    with threadpool_limits(1), warnings.catch_warnings():
        # Length scales of features that do not matter end at their bound.
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.process_time()
        model.fit(X_train, y_train)
        seconds = time.process_time() - start
        return {"rmse": float(np.sqrt(np.mean((model.predict(X_test) - y_test) ** 2))), "seconds": seconds}


class Cache:
    """Results by what they depend on, kept in a file of JSON lines, or for this run only if `path` is None."""

    def __init__(self, path=None):
        self.path = path
        self.results = {}
        if path and Path(path).exists():
            with open(path) as lines:
                for line in map(json.loads, lines):
                    self.results[_text(line["key"])] = line["result"]

    def get(self, key, compute):
        if _text(key) not in self.results:
            self.results[_text(key)] = compute()
            if self.path:
                with open(self.path, "a") as lines:
                    lines.write(json.dumps({"key": key, "result": self.results[_text(key)]}) + "\n")
        return self.results[_text(key)]


def _text(key):
    return json.dumps(key, sort_keys=True)


def digest(*parts):
    """Short name of some bytes."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def our_source():
    """What our models depend on besides their parameters."""
    return digest(*(path.read_bytes() for path in sorted(Path(sknw.__file__).parent.rglob("*.py"))))


def results(names, data, n_splits, cache):
    """{data set: {model: [result of each split]}}, models in the inner loop so that other load falls on all alike."""
    source = our_source()
    versions = [module.__version__ for module in (np, scipy, sklearn)]
    table = {}
    for name, X, y in data:
        table[name] = {model: [] for model in names}
        for i, split in enumerate(splits(X, y, n_splits)):
            rows = digest(*(np.ascontiguousarray(part).tobytes() for part in split))
            for model in names:
                estimator = MODELS[model](X.shape[1])
                key = {
                    "data": name,
                    "split": i,
                    "rows": rows,
                    "model": model,
                    "parameters": estimator.__repr__(N_CHAR_MAX=100_000),
                    "versions": [*versions, source] if model in OURS else versions,
                }
                result = cache.get(key, lambda estimator=estimator, split=split: measure(estimator, *split))
                table[name][model].append(result)
    return table


# ---------------------------------------------------------------------------------------------------------------------
# Printing
# ---------------------------------------------------------------------------------------------------------------------


def print_results(table, names):
    rmse = {data: {m: float(np.mean([r["rmse"] for r in row[m]])) for m in names} for data, row in table.items()}
    seconds = {
        data: {m: float(np.median([r["seconds"] for r in row[m]])) for m in names} for data, row in table.items()
    }
    peers = [name for name in names if name in PEERS]
    ours = [name for name in names if name in OURS]
    for title, cells in {
        "Test RMSE, mean over the splits": rmse,
        "Seconds to fit, median over the splits": seconds,
    }.items():
        for part, columns in {"others": peers, "ours": ours}.items():
            if columns:
                print_table(
                    f"{title}: {part}", ["", *columns], [[d, *(row[m] for m in columns)] for d, row in cells.items()]
                )
    rows = [
        [m, float(np.median([row[m] for row in seconds.values()])), *(geometric_mean(rmse, m, to) for to in peers)]
        for m in names
    ]
    print_table(
        f"Geometric mean over {len(rmse)} data sets of the ratio of test RMSE",
        ["", "fit s", *(f"to {p}" for p in peers)],
        rows,
    )


def geometric_mean(rmse, name, to):
    return float(np.exp(np.mean([np.log(row[name] / row[to]) for row in rmse.values()])))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", help="folder of CSV tables, added to the data sets")
    parser.add_argument("--cache", metavar="FILE", help="JSON lines with results that need not be computed again")
    parser.add_argument("--splits", metavar="N", type=int, default=N_SPLITS, help="random splits (default %(default)s)")
    parser.add_argument("--models", metavar="REGEX", default="", help="only models whose name matches")
    parser.add_argument("--datasets", metavar="REGEX", default="", help="only data sets whose name matches")
    parser.add_argument("--quick", action="store_true", help="few and small: only shows that everything runs")
    options = parser.parse_args()

    names = [name for name in MODELS if re.search(options.models, name)]
    data = [item for item in datasets(options.data) if re.search(options.datasets, item[0])]
    if options.quick:
        data = [(name, X[:120], y[:120]) for name, X, y in islice(data, 3)]
    print_machine()
    table = results(names, data, 1 if options.quick else options.splits, Cache(options.cache))
    print_results(table, names)


if __name__ == "__main__":
    main()
