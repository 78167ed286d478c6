"""Learning w from many rows: time beside histogram boosting, test errors, and how both grow with n.

Six features and noise: Friedman's function, where one feature is irrelevant; correlated features, three of them
irrelevant; two categories and four numbers. "all rows" is `validation_samples=None`, the loss of every sample, for the
smallest n only. Each fit has one thread, and seconds are of the processor: other work on the machine disturbs them
least. Errors are those of 2000 test rows, with a standard error of about 2 %. The last table, "steps", has the times of
fits whose numbers of rows are 5 % apart.
"""

from _common import print_machine, print_table

# isort: split
import argparse
import time

import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from sknw import AttentionPoolingRegressor

N_TEST = 2000


def friedman(n, rng):
    X, y = make_friedman1(n, n_features=6, noise=1.0, random_state=rng)
    return X, y / 5.0


def correlated(n, rng):
    X = rng.normal(size=(n, 6))
    for k in range(1, 6):
        X[:, k] = 0.7 * (X[:, k - 1] + X[:, k])
    y = np.tanh(2 * X[:, 0]) * np.cos(X[:, 2]) + 0.5 * np.sin(2 * X[:, 5])
    return X, y + 0.15 * rng.normal(size=n)


def categories(n, rng):
    X = rng.uniform(-1, 1, (n, 6))
    X[:, CATEGORIES] = rng.randint(0, (8, 4), (n, 2))
    height = np.sin(np.arange(8.0))[X[:, 4].astype(int)]
    y = height * np.sin(3 * X[:, 0]) + X[:, 1] ** 2 * (X[:, 5] > 1) + 0.3 * X[:, 2]
    return X, y + 0.2 * rng.normal(size=n)


DATA = {make.__name__: make for make in (friedman, correlated, categories)}
CATEGORIES = [4, 5]


def fit_seconds(model, X, y):
    start = time.process_time()
    model.fit(X, y)
    return time.process_time() - start


def rmse(model, X, y):
    return float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))


def models_for(data, all_rows):
    options = {"categorical_features": CATEGORIES} if data == "categories" else {}
    models = {"boosting": HistGradientBoostingRegressor(max_iter=300, random_state=0, **options)}
    for degree in (0, 1):
        models[f"degree {degree}"] = AttentionPoolingRegressor(degree=degree, random_state=0, **options)
        if all_rows:
            every = AttentionPoolingRegressor(degree=degree, validation_samples=None, **options)
            models[f"degree {degree}, all rows"] = every
    return models


def growth(data, sizes, reference):
    fits, of_reference = [], {}
    for n in sizes:
        X, y = DATA[data](n + N_TEST, np.random.RandomState(0))
        X, X_test, y, y_test = X[:n], X[n:], y[:n], y[n:]
        models = models_for(data, all_rows=n == sizes[0])
        seconds = {name: fit_seconds(model, X, y) for name, model in models.items()}
        if n == reference:
            of_reference = seconds
        fits += [(n, name, seconds[name], seconds["boosting"], rmse(models[name], X_test, y_test)) for name in models]
    rows = [
        [f"{name}, n = {n:,}", s, s / s_boosting, s / of_reference[name] if name in of_reference else None, error]
        for n, name, s, s_boosting, error in fits
    ]
    header = ["", "processor seconds of fit", "times boosting", f"times n = {reference:,}", "test RMSE"]
    print_table(f"Learning w, {data}, 6 features", header, rows)


def steps(n_rounds):
    """Mean seconds at n, and at 1.05 n in units of these, around the sizes where more rows begin to count as many.

    Each round has other data: how many iterations a minimisation takes varies more than anything else.
    """
    rows = []
    for n in (2250, 19_500):
        row = [f"n = {n:,}"]
        for degree in (0, 1):
            seconds = []
            for seed in range(n_rounds):
                X, y = friedman(round(1.05 * n), np.random.RandomState(seed))
                model = AttentionPoolingRegressor(degree=degree, random_state=0)
                seconds.append([fit_seconds(model, X[:m], y[:m]) for m in (n, len(X))])
            before, after = np.mean(seconds, axis=0).tolist()
            row += [before, after / before]
        rows.append(row)
    header = ["", "degree 0: seconds", "1.05 n: times", "degree 1: seconds", "1.05 n: times"]
    print_table("Learning w, friedman, steps", header, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small: only shows that everything runs")
    parts = [*DATA, "steps"]
    parser.add_argument("--parts", choices=parts, nargs="+", default=parts, help="which tables; all of them")
    arguments = parser.parse_args()
    sizes, reference = ([1000, 3000], 3000) if arguments.quick else ([5000, 20_000, 100_000, 1_000_000], 20_000)
    threadpool_limits(1)
    print_machine(threads=1)
    for degree in (0, 1):  # compiles
        AttentionPoolingRegressor(degree=degree, algorithm="fused").fit(*friedman(300, np.random.RandomState(0)))
    for part in arguments.parts:
        if part != "steps":
            growth(part, sizes, reference)
    if "steps" in arguments.parts:
        steps(1 if arguments.quick else 3)


if __name__ == "__main__":
    main()
