"""Learning w from many rows: time beside histogram boosting, test errors, and how both grow with n.

Six features, noise. "all rows" is `validation_samples=None`, the loss of every sample, for the smallest n only.
Each fit has one thread, and seconds are of the processor: other work on the machine disturbs them least.
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


def smooth(n, rng):
    X = rng.uniform(-1, 1, (n, 6))
    y = np.sin(3 * X[:, 0]) + X[:, 1] * X[:, 2] + np.exp(-4 * X[:, 3] ** 2) + 0.5 * np.abs(X[:, 4]) + 0.3 * X[:, 5]
    return X, y + 0.15 * rng.normal(size=n)


def three_of_six(n, rng):
    X = rng.normal(size=(n, 6))
    for k in range(1, 6):
        X[:, k] = 0.7 * (X[:, k - 1] + X[:, k])
    y = np.tanh(2 * X[:, 0]) * np.cos(X[:, 2]) + 0.5 * np.sin(2 * X[:, 5])
    return X, y + 0.15 * rng.normal(size=n)


DATA = {make.__name__: make for make in (friedman, smooth, three_of_six)}


def fit_seconds(model, X, y):
    start = time.process_time()
    model.fit(X, y)
    return time.process_time() - start


def rmse(model, X, y):
    return float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small: only shows that everything runs")
    parser.add_argument("--data", choices=DATA, nargs="+", default=list(DATA), help="which data; all of them")
    arguments = parser.parse_args()
    sizes = [1000, 21_000] if arguments.quick else [20_001, 100_000, 1_000_000]
    threadpool_limits(1)
    print_machine(threads=1)
    for degree in (0, 1):  # compiles
        AttentionPoolingRegressor(degree=degree, algorithm="fused").fit(*friedman(300, np.random.RandomState(0)))
    for data in arguments.data:
        rows, first = [], {}
        for n in sizes:
            rng = np.random.RandomState(0)
            X, y = DATA[data](n + N_TEST, rng)
            X, X_test, y, y_test = X[:n], X[n:], y[:n], y[n:]
            models = {"boosting": HistGradientBoostingRegressor(max_iter=300, random_state=0)}
            for degree in (0, 1):
                models[f"degree {degree}"] = AttentionPoolingRegressor(degree=degree, random_state=0)
                if n == sizes[0]:
                    every = AttentionPoolingRegressor(degree=degree, validation_samples=None)
                    models[f"degree {degree}, all rows"] = every
            seconds = {name: fit_seconds(model, X, y) for name, model in models.items()}
            for name, model in models.items():
                first.setdefault(name, seconds[name])
                relative = seconds[name] / seconds["boosting"], seconds[name] / first[name]
                rows.append([f"{name}, n = {n:,}", seconds[name], *relative, rmse(model, X_test, y_test)])
        header = ["", "processor seconds of fit", "times boosting", f"times n = {sizes[0]:,}", "test RMSE"]
        print_table(f"Learning w, {data}, 6 features", header, rows)


if __name__ == "__main__":
    main()
