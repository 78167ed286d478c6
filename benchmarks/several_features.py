"""Two to six features and many rows, beside nearest neighbours by a kd-tree and histogram boosting: times and errors.

Two kinds of data: uniform features, where nearly all pairs of a query and a row count as soon as there are a few
features, and clusters far from each other, where the far ones are skipped. "brute force" is the Gaussian model at
the same bandwidth with algorithm="fused", which computes all pairs.
Models have their defaults, which choose the bandwidth, and predict new rows. Each has one thread, and seconds are of
the processor: other work on the machine disturbs them least.
"""

from _common import print_machine, print_table

# isort: split
import argparse
import time

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.neighbors import KNeighborsRegressor
from threadpoolctl import threadpool_limits

from sknw import NadarayaWatsonRegressor

NOISE = 0.3
N_CLUSTERS, CLUSTER_WIDTH = 300, 0.01


def uniform(n, d, rng):
    """A wave along all features."""
    X = rng.uniform(size=(n, d))
    return X, np.sin(2 * np.pi * X.sum(axis=1) / np.sqrt(d)) + NOISE * rng.normal(size=n)


def clustered(n, d, rng):
    """Clusters, each with a level and a slope of its own, as prices in cities."""
    of_clusters = np.random.default_rng(0)
    center, level = of_clusters.uniform(size=(N_CLUSTERS, d)), of_clusters.normal(size=N_CLUSTERS)
    slope = of_clusters.normal(size=(N_CLUSTERS, d)) / np.sqrt(d)
    cluster = rng.integers(0, N_CLUSTERS, n)
    within = rng.normal(size=(n, d))
    y = level[cluster] + np.tanh(np.einsum("ik,ik->i", within, slope[cluster])) + NOISE * rng.normal(size=n)
    return center[cluster] + CLUSTER_WIDTH * within, y


DATA = {make.__name__: make for make in (uniform, clustered)}


def models():
    return {
        "gaussian": NadarayaWatsonRegressor(random_state=0),
        "exponential": NadarayaWatsonRegressor("exponential", random_state=0),
        "epanechnikov": NadarayaWatsonRegressor("epanechnikov", random_state=0),
        "KNeighbors, kd_tree": KNeighborsRegressor(algorithm="kd_tree"),
        "boosting": HistGradientBoostingRegressor(max_iter=300, random_state=0),
    }


def seconds_of(run):
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small: only shows that everything runs")
    parser.add_argument("--data", choices=DATA, nargs="+", default=list(DATA), help="which data; both")
    parser.add_argument("--features", type=int, nargs="+", default=[2, 4, 6])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    arguments = parser.parse_args()
    sizes, n_test = ([2000], 500) if arguments.quick else (arguments.sizes, 10_000)
    threadpool_limits(1)
    print_machine(threads=1)
    pruned = NadarayaWatsonRegressor(bandwidth=0.1, algorithm="pruned")
    for model in (*models().values(), pruned):  # compiles, and loads what is compiled
        model.fit(*uniform(5000, 2, np.random.default_rng(1))).predict(np.zeros((1, 2)))
    for data in arguments.data:
        for d in arguments.features:
            rows = []
            for n in sizes:
                X, y = DATA[data](n + n_test, d, np.random.default_rng(1))
                of_all = models()
                for name, model in of_all.items():
                    fit, _ = seconds_of(lambda model=model, n=n, X=X, y=y: model.fit(X[:n], y[:n]))
                    predict, predicted = seconds_of(lambda model=model, n=n, X=X: model.predict(X[n:]))
                    error = float(np.sqrt(np.mean((predicted - y[n:]) ** 2)))
                    rows.append([f"{name}, n = {n:,}", fit, predict, error])
                h = of_all["gaussian"].bandwidth_
                brute_force = NadarayaWatsonRegressor(bandwidth=h, algorithm="fused", validation_samples=100)
                brute_force.fit(X[:n], y[:n])
                predict, _ = seconds_of(lambda model=brute_force, n=n, X=X: model.predict(X[n:]))
                rows.append([f"gaussian, brute force, n = {n:,}", None, predict, None])
            header = ["", "seconds of fit", f"seconds to predict {n_test:,}", "test RMSE"]
            print_table(f"{data.capitalize()}, {d} features (noise {NOISE})", header, rows)


if __name__ == "__main__":
    main()
