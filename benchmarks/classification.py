"""Log loss, Brier score, accuracy and time to fit over many tables, beside the classifiers that a user would choose.

The data are scikit-learn's, real and made, and every CSV table of numbers in the folder given by --data, with the class
in the column "target". Of a table at most --rows are for training, and a quarter, at most 1000, for testing. All peers
are tuned by a small search for the log loss in three folds; the Gaussian process, with a length scale for each feature,
is fitted where there are at most 500 training rows and 30 features. The log loss is in nats, probabilities clipped at
1e-15.
"""

from _common import print_machine, print_table

# isort: split
import re
import sys
import time
import warnings
from itertools import islice
from pathlib import Path

import numpy as np
import sklearn
from _accuracy_data import read_table
from accuracy import Cache, digest, our_source, read_options, scaled
from scipy.optimize import minimize_scalar
from sklearn import datasets as made
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier, NeighborhoodComponentsAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sknw import AttentionPoolingClassifier, NadarayaWatsonClassifier

MAX_TEST, MAX_GP, MAX_GP_FEATURES = 1000, 500, 30
_CLIP = 1e-15
# Bounds of the bins of the calibration curves.
BINS = np.array([0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0])

# ---------------------------------------------------------------------------------------------------------------------
# Data
# ---------------------------------------------------------------------------------------------------------------------


def tables(data_dir=None):
    """Yield (name, X, y): the real data first, then those given by path, then the made."""
    yield "iris", *made.load_iris(return_X_y=True)
    yield "wine", *made.load_wine(return_X_y=True)
    yield "breast_cancer", *made.load_breast_cancer(return_X_y=True)
    X, y = made.load_digits(return_X_y=True)
    yield "digits", X, y
    hard = np.isin(y, [3, 8, 9])
    yield "digits_389", X[hard], y[hard]
    for path in sorted(Path(data_dir).glob("*.csv")) if data_dir else ():
        yield path.stem, *read_table(path)
    yield "moons", *made.make_moons(3000, noise=0.35, random_state=0)
    yield "circles", *made.make_circles(3000, noise=0.2, factor=0.5, random_state=0)
    yield "quantiles", *made.make_gaussian_quantiles(n_samples=3000, n_features=4, n_classes=3, random_state=0)
    yield "hastie", *made.make_hastie_10_2(3000, random_state=0)
    linear = {"n_features": 10, "n_informative": 4, "n_redundant": 4, "n_clusters_per_class": 1, "class_sep": 0.7}
    yield "linear", *made.make_classification(3000, **linear, random_state=1)
    clusters = {"n_features": 12, "n_informative": 5, "n_redundant": 0, "n_classes": 3, "n_clusters_per_class": 2}
    yield "clusters", *made.make_classification(3000, **clusters, flip_y=0.05, random_state=2)
    rare = {"n_features": 8, "n_informative": 3, "n_redundant": 0, "weights": [0.93], "n_clusters_per_class": 2}
    yield "rare", *made.make_classification(3000, **rare, flip_y=0.02, random_state=3)
    yield "checkerboard", *checkerboard(3000, np.random.default_rng(0))
    yield "logistic", *logistic(3000, np.random.default_rng(0))


def checkerboard(n, rng):
    """Two features of six matter, and one in ten labels is wrong."""
    X = rng.uniform(0, 3, (n, 6))
    return X, (np.floor(X[:, 0]) + np.floor(X[:, 1])).astype(int) % 2 ^ (rng.uniform(size=n) < 0.1)


def logistic(n, rng):
    """Smooth probabilities of four features among eight, far from 0 and 1."""
    X = rng.normal(size=(n, 8))
    logit = X[:, 0] + 0.7 * X[:, 1] - np.sin(2 * X[:, 2]) + 0.5 * X[:, 3] ** 2 - 0.5
    return X, (rng.uniform(size=n) < 1 / (1 + np.exp(-logit))).astype(int)


def splits(X, y, n_train, n_splits):
    """Yield (X_train, X_test, y_train, y_test), stratified by class."""
    for i in range(n_splits):
        n_test = min(len(y) // 4, MAX_TEST)
        A, B, a, b = train_test_split(X, y, test_size=n_test, stratify=y, random_state=i)
        yield A[:n_train], B, a[:n_train], b


# ---------------------------------------------------------------------------------------------------------------------
# Models: functions of the number of features and of training rows, None where a model is not fitted
# ---------------------------------------------------------------------------------------------------------------------


def tuned(model, **grid):
    name = type(model[-1] if hasattr(model, "steps") else model).__name__.lower()
    grid = {f"{name}__{key}" if hasattr(model, "steps") else key: values for key, values in grid.items()}
    return GridSearchCV(model, grid, scoring="neg_log_loss", cv=3)


N_NEIGHBORS = [3, 5, 8, 12, 18, 27, 40]


def logistic_regression(d, n):
    return tuned(scaled(LogisticRegression(max_iter=2000)), C=np.geomspace(1e-3, 1e3, 10))


def nearest_neighbours(d, n):
    return tuned(scaled(KNeighborsClassifier()), n_neighbors=N_NEIGHBORS, weights=["uniform", "distance"])


def components_analysis(d, n):
    learned = NeighborhoodComponentsAnalysis(random_state=0, max_iter=50)
    return make_pipeline(StandardScaler(), learned, tuned(KNeighborsClassifier(), n_neighbors=N_NEIGHBORS))


def random_forest(d, n):
    return tuned(RandomForestClassifier(200, random_state=0), min_samples_leaf=[1, 3, 8])


def boosting(d, n):
    grid = {"max_iter": [30, 100], "max_leaf_nodes": [4, 15]}
    return tuned(HistGradientBoostingClassifier(random_state=0), **grid)


def gaussian_process(d, n):
    kernel = ConstantKernel(1.0, (1e-2, 1e4)) * RBF(np.full(d, np.sqrt(d)), (1e-1, 1e3))
    return scaled(GaussianProcessClassifier(kernel, random_state=0)) if n <= MAX_GP and d <= MAX_GP_FEATURES else None


PEERS = {
    "logistic": logistic_regression,
    "KNN": nearest_neighbours,
    "NCA + KNN": components_analysis,
    "forest": random_forest,
    "boosting": boosting,
    "GP ARD": gaussian_process,
}
OURS = {
    "Nadaraya-Watson": lambda d, n: NadarayaWatsonClassifier(),
    "attention": lambda d, n: AttentionPoolingClassifier(),
}
MODELS = PEERS | OURS

# ---------------------------------------------------------------------------------------------------------------------
# Measuring
# ---------------------------------------------------------------------------------------------------------------------


def measure(model, X_train, X_test, y_train, y_test):
    """What the test rows say, and the processor's seconds that the fit takes, in one thread."""
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        warnings.filterwarnings("ignore", "the criterion", UserWarning)
        start = time.process_time()
        model.fit(X_train, y_train)
        seconds = time.process_time() - start
        proba = model.predict_proba(X_test)
        hits = (y_test[:, np.newaxis] == model.classes_).astype(float)
    result = {
        "seconds": seconds,
        "log loss": log_loss(proba, hits),
        "Brier": float(((proba - hits) ** 2).sum(axis=1).mean()),
        "accuracy": float(hits[np.arange(len(hits)), proba.argmax(axis=1)].mean()),
        "bins": bins(proba, hits),
    }
    if hasattr(model, "loo_proba_"):
        left_out, own = model.loo_proba_, (y_train[:, np.newaxis] == model.classes_).astype(float)
        power = minimize_scalar(lambda t: log_loss(tempered(left_out, t), own), bounds=(0.2, 5.0), method="bounded").x
        result["left out"] = model.loo_log_loss_
        result["tempered"] = log_loss(tempered(proba, power), hits)
    return result


def log_loss(proba, hits):
    return float(-np.log(np.maximum((proba * hits).sum(axis=1), _CLIP)).mean())


def tempered(proba, power):
    """Probabilities after temperature scaling, of temperature 1 / power."""
    scaled = proba**power
    return scaled / scaled.sum(axis=1, keepdims=True)


def bins(proba, hits):
    """For each bin of probabilities their number, their sum, and how many came true."""
    where = np.clip(np.searchsorted(BINS, proba.ravel(), side="right") - 1, 0, len(BINS) - 2)
    return [np.bincount(where, of, len(BINS) - 1).tolist() for of in (None, proba.ravel(), hits.ravel())]


def results(names, data, options, cache):
    """{table: {model: [result of each split]}}, models in the inner loop so that other load falls on all alike."""
    source, found = our_source(), {}
    for name, X, y in data:
        found[name] = {}
        for split in splits(X, y, options.rows, options.splits):
            rows = digest(*(np.ascontiguousarray(part).tobytes() for part in split))
            for model in names:
                estimator = MODELS[model](X.shape[1], len(split[0]))
                if estimator is None:
                    continue
                text = estimator.__repr__(N_CHAR_MAX=100_000)
                key = {"rows": rows, "parameters": text, "version": source if model in OURS else sklearn.__version__}
                result = cache.get(key, lambda estimator=estimator, split=split: measure(estimator, *split))
                found[name].setdefault(model, []).append(result)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Printing
# ---------------------------------------------------------------------------------------------------------------------


def print_results(found, names, options):
    def mean(table, model, what, of=np.mean):
        splits = found[table].get(model)
        return float(of([split[what] for split in splits])) if splits else None

    for what, title in {
        "log loss": "Test log loss, nats, mean over the splits",
        "Brier": "Test Brier score, mean over the splits",
        "accuracy": "Test accuracy, mean over the splits",
        "seconds": "Seconds to fit, median over the splits",
    }.items():
        of = np.median if what == "seconds" else np.mean
        rows = [[table, *(mean(table, model, what, of) for model in names)] for table in found]
        everywhere = [name for name in names if all(name in row for row in found.values())]
        rows += [["mean", *(np.mean([mean(t, m, what) for t in found]) if m in everywhere else None for m in names)]]
        print_table(f"{title}; at most {options.rows} training rows, splits: {options.splits}", ["", *names], rows)
    ranks = {
        table: sorted((name for name in names if name in row), key=lambda name: mean(table, name, "log loss"))
        for table, row in found.items()
    }
    print_table(
        "Rank by test log loss: on how many tables",
        ["", "first", "second"],
        [[name, *(sum(order[i : i + 1] == [name] for order in ranks.values()) for i in (0, 1))] for name in names],
    )
    ours = [name for name in names if name in OURS]
    rows = []
    for name in ours:
        splits = [split for row in found.values() for split in row[name]]
        optimism = np.array([split["log loss"] - split["left out"] for split in splits])
        gain = 1 - np.mean([split["tempered"] for split in splits]) / np.mean([split["log loss"] for split in splits])
        rows.append([name, float(optimism.mean()), float(np.abs(optimism).mean()), 100 * float(gain)])
    print_table(
        "Leave-one-out as an estimate of the test log loss, and what temperature scaling gains",
        ["", "test - left out", "absolute value", "gain, %"],
        rows,
    )
    of_models = calibration(found, names)
    print_table(
        "Calibration over all tables: of probabilities between two bounds their mean, and the share that came true",
        ["", *(f"{name}: {what}" for name in names for what in ("mean", "true"))],
        [
            [
                f"{BINS[b]:g} to {BINS[b + 1]:g}",
                *(None if np.isnan(c) else c for name in names for c in of_models[name][b]),
            ]
            for b in range(len(BINS) - 1)
        ],
    )


def calibration(found, names):
    """Of each model, in each bin of probabilities, their mean and the share that came true: arrays (bins, 2)."""
    curves = {}
    for name in names:
        bins = np.sum([split["bins"] for row in found.values() for split in row.get(name, [])], axis=0)
        count, total, hits = bins.astype(float)
        with np.errstate(invalid="ignore"):  # 0 / 0: an empty bin
            curves[name] = np.column_stack([total, hits]) / count[:, np.newaxis]
    return curves


def draw_calibration(curves, path):
    """A panel for each model: the share that came true against the mean probability."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n_columns = min(4, len(curves))
    n_rows = -(-len(curves) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(2.4 * n_columns, 2.5 * n_rows), layout="constrained", sharex=True, sharey=True
    )
    axes = np.atleast_1d(axes).ravel()
    for ax, (name, curve) in zip(axes, curves.items(), strict=False):
        ax.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--")
        ax.plot(*curve.T, color="#0072B2" if name in OURS else "#D55E00", marker="o", markersize=4)
        ax.set(title=name, aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[len(curves) :]:
        ax.remove()
    figure.supxlabel("mean predicted probability")
    figure.supylabel("share that came true")
    figure.savefig(path, dpi=150)
    print(f"saved {path}", file=sys.stderr)


def main():
    options = read_options(__doc__, 3, 2000, picture="draw the calibration curves")
    names = [name for name in MODELS if re.search(options.models, name)]
    data = [item for item in tables(options.data) if re.search(options.datasets, item[0])]
    if options.quick:
        data, options.rows, options.splits = islice(data, 2), 100, 1
    print_machine(threads=1)
    found = results(names, data, options, Cache(options.cache))
    print_results(found, names, options)
    if options.picture:
        draw_calibration(calibration(found, names), options.picture)


if __name__ == "__main__":
    main()
