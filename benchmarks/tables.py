"""Tables as people have them: ordered categories beside one-hot columns, many levels, places, wide data.

Errors are root mean squares on rows that were not fitted, in units of the standard deviation of the targets; times are
ratios within a round. --data names a folder with diamonds.csv (of ggplot2), which is not part of the repository.
"""

from _common import interleaved_times, print_machine, print_table, ratio

# isort: split
import argparse
import csv
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.base import clone

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor

MODELS = {
    "NadarayaWatsonRegressor": NadarayaWatsonRegressor(),
    "LocalLinearRegressor": LocalLinearRegressor(),
    "AttentionPoolingRegressor": AttentionPoolingRegressor(),
    "the same, degree 1": AttentionPoolingRegressor(degree=1),
}
LEVELS = {
    "cut": ["Fair", "Good", "Very Good", "Premium", "Ideal"],
    "color": list("JIHGFED"),
    "clarity": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"],
}


def diamonds(folder):
    """X with codes of the ordered categories in the first columns, the logarithm of the price, numbers of levels."""
    with open(Path(folder) / "diamonds.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    codes = [[levels.index(row[name]) for name, levels in LEVELS.items()] for row in rows]
    numbers = [[float(row[name]) for name in ("carat", "depth", "table", "x", "y", "z")] for row in rows]
    price = np.log([float(row["price"]) for row in rows])
    return np.hstack([codes, numbers]), price, [len(levels) for levels in LEVELS.values()]


def ratings(n):
    """Three ordered categories of 5, 7 and 8 levels whose effects rise along the order, and three numbers."""
    rng, n_levels = np.random.default_rng(0), [5, 7, 8]
    codes, x = np.column_stack([rng.integers(0, n_of, n) for n_of in n_levels]), rng.normal(size=(n, 3))
    effect = np.sqrt(codes[:, 0]) + np.sin(codes[:, 1] / 3) * x[:, 1] + 0.3 * codes[:, 2]
    return np.hstack([codes, x]), effect + np.sin(2 * x[:, 0]) + 0.5 * rng.normal(size=n), n_levels


def one_hot(X, n_levels):
    """The codes as columns of zeros and ones."""
    blocks = [np.eye(n)[X[:, k].astype(int)] for k, n in enumerate(n_levels)]
    return np.hstack([*blocks, X[:, len(n_levels) :]])


def error_of(model, X, y, train, test):
    prediction = model.fit(X[train], y[train]).predict(X[test])
    return np.sqrt(np.mean((prediction - y[test]) ** 2)) / y[train].std()


def ordered(title, X, y, n_levels, n_train, n_splits):
    codes, columns, rows = list(range(len(n_levels))), one_hot(X, n_levels), []
    for name, model in MODELS.items():
        errors = []
        for split in range(n_splits):
            order = np.random.default_rng(split).permutation(len(y))
            parts = y, order[:n_train], order[n_train : n_train + 2000]
            as_ordered, as_categories = clone(model).set_params(ordered_features=codes), clone(model)
            as_categories.set_params(categorical_features=codes)
            errors.append([error_of(*case, *parts) for case in ((as_ordered, X), (as_categories, X), (model, columns))])
        means = np.mean(errors, axis=0)
        rows.append([name, *map(float, means), float(means[0] / means[2])])
    header = [f"{title}, {n_train} rows", "ordered", "categories", "one-hot", "ordered / one-hot"]
    print_table("Error by how an ordered category is coded", header, rows)


def tied(X, y, n_levels, n_rows, n_rounds):
    codes, columns, rows = list(range(len(n_levels))), one_hot(X, n_levels)[:n_rows], []
    for name, model in MODELS.items():
        blocks = clone(model).set_params(ordered_features=codes)
        times = interleaved_times(
            {
                "blocks": lambda blocks=blocks: blocks.fit(X[:n_rows], y[:n_rows]),
                "one-hot": lambda model=model: model.fit(columns, y[:n_rows]),
            },
            n_rounds,
        )
        rows.append([name, *(float(np.median(t)) for t in times.values()), float(ratio(times, "blocks", "one-hot"))])
    print_table(f"Seconds to fit {n_rows} rows", ["", "one w a feature", "one-hot", "ratio"], rows)


def many_levels(n, n_levels, n_rounds):
    rng, rows = np.random.default_rng(0), []
    code, x = rng.integers(0, n_levels, n), rng.normal(size=(n, 4))
    y = np.sin(2 * x[:, 0]) + rng.normal(size=n_levels)[code] + 0.3 * rng.normal(size=n)
    for d in (1, 3):
        of_category = NadarayaWatsonRegressor(categorical_features=[d])
        with_code = np.column_stack([x[:, :d], code])
        times = interleaved_times(
            {
                "number": lambda d=d: NadarayaWatsonRegressor().fit(x[:, : d + 1], y),
                "category": lambda model=of_category, X=with_code: model.fit(X, y),
            },
            n_rounds,
        )
        medians = [float(np.median(t)) for t in times.values()]
        rows.append([f"{d} numbers and one more feature", *medians, float(ratio(times, "category", "number"))])
    header = [f"{n} rows, bandwidth chosen", "a number", f"{n_levels} levels", "ratio"]
    print_table("Seconds to fit a category of many levels", header, rows)


def strip(n, n_splits):
    rows = []
    for name in ("NadarayaWatsonRegressor", "LocalLinearRegressor"):
        errors = []
        for split in range(n_splits):
            rng = np.random.default_rng(split)
            X = rng.uniform(0, [100, 2], size=(2 * n, 2))
            truth = np.sin(X[:, 0] / 2) + np.cos(X[:, 1] / 2)
            y = truth + 0.3 * rng.normal(size=2 * n)
            models = [clone(MODELS[name]).set_params(scale=scale) for scale in ("features", "common")]
            found = [model.fit(X[:n], y[:n]).predict(X[n:]) for model in models]
            errors.append([np.sqrt(np.mean((one - truth[n:]) ** 2)) for one in found])
        rows.append([name, *map(float, np.mean(errors, axis=0))])
    print_table(f"Error in a strip of 100 by 2, {n} rows", ["scale", "features", "common"], rows)


def wide(n, widths):
    rng, rows = np.random.default_rng(0), []
    models = {**MODELS, "w low_rank": AttentionPoolingRegressor(w="low_rank")}
    for name, model in models.items():
        seconds = []
        for d in widths:
            X = rng.normal(size=(n, d))
            y = np.sin(X[:, 0]) + X[:, 1] + 0.3 * rng.normal(size=n)
            start = time.perf_counter()
            model.fit(X, y)
            seconds.append(time.perf_counter() - start)
        rows.append([name, *seconds])
    print_table(f"Seconds to fit {n} rows", ["features", *map(str, widths)], rows)


PARTS = ("ordered", "tied", "levels", "strip", "wide")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a folder with diamonds.csv")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    args = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # of autocorrelation, and of criteria that are best at an edge
    print_machine()
    n, rounds, splits = (150, 1, 1) if args.quick else (1000, 5, 3)
    tables = {"ratings": ratings(2000 + n)}
    if args.data:
        tables["diamonds"] = diamonds(args.data)
    if "ordered" in args.parts:
        for title, table in tables.items():
            ordered(title, *table, n, splits)
    if "tied" in args.parts:
        tied(*tables["ratings"], n, rounds)
    if "levels" in args.parts:
        many_levels(20 * n, 200, rounds)
    if "strip" in args.parts:
        strip(n, splits)
    if "wide" in args.parts:
        wide(40 if args.quick else 160, (50, 100) if args.quick else (50, 100, 200, 1000))


if __name__ == "__main__":
    main()
