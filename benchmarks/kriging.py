"""Time of kriging, beside a Gaussian process with a length scale for each feature, and its growth with n.

The first table is about the exact fit, by one thread. The second is about fits beyond the exact limit, with
leave-one-out, and predictions of 20 000 new rows by two threads, beside histogram boosting with 300 rounds; *error* is
the root mean squared error on these rows against the values without noise.
"""

from _common import THREADS, peak_bytes, print_machine, print_table, seconds_of

# isort: split
import argparse
import time
import warnings

import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from threadpoolctl import threadpool_limits

from sknw import KrigingRegressor

N_NEW = 20_000


def median_seconds(run, n_rounds):
    return float(np.median([seconds_of(run) for _ in range(n_rounds)]))


def exact(n, numbers_of_features, n_rounds):
    """Ours before and after the Gaussian process, which takes long and is fitted to the first number only."""
    rows = []
    with threadpool_limits(1):
        for d in numbers_of_features:
            X, y = make_friedman1(n, n_features=d, noise=1.0, random_state=0)
            ours = median_seconds(lambda X=X, y=y: KrigingRegressor(n_jobs=1).fit(X, y), n_rounds)
            if d == numbers_of_features[0]:
                kernel = ConstantKernel() * RBF(np.ones(d)) + WhiteKernel()
                process = GaussianProcessRegressor(kernel, normalize_y=True)
                theirs = seconds_of(lambda X=X, y=y, process=process: process.fit(X, y))
                ours = (ours + median_seconds(lambda X=X, y=y: KrigingRegressor(n_jobs=1).fit(X, y), n_rounds)) / 2
                rows.append([f"{d} features", ours, theirs, theirs / ours])
            else:
                rows.append([f"{d} features", ours, None, None])
    header = ["", "kriging", "Gaussian process", "times faster"]
    print_table(f"Seconds of an exact fit, friedman1, n = {n}, one thread", header, rows)


def many_rows(sizes, d):
    rows = []
    for n in sizes:
        X, y = make_friedman1(n + N_NEW, n_features=d, noise=1.0, random_state=0)
        X_new, truth = X[n:], make_friedman1(n + N_NEW, n_features=d, noise=0.0, random_state=0)[1][n:]
        models = {
            "kriging": KrigingRegressor(n_jobs=THREADS),
            "boosting": HistGradientBoostingRegressor(max_iter=300, random_state=0),
        }
        for name, model in models.items():
            fit = seconds_of(lambda model=model, X=X, y=y, n=n: model.fit(X[:n], y[:n]))
            start = time.perf_counter()
            error = float(np.sqrt(np.mean((model.predict(X_new) - truth) ** 2)))
            rows.append([f"{name}, n = {n}", fit, time.perf_counter() - start, error, peak_bytes() / 2**30])
    header = ["", "fit, seconds", f"{N_NEW} predictions, seconds", "error", "peak memory so far, GiB"]
    print_table(f"Many rows, friedman1, d = {d}, two threads", header, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    parser.add_argument("--sizes", metavar="N", type=int, nargs="+", default=[20_000, 200_000], help="many rows")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print_machine()
    KrigingRegressor().fit(*make_friedman1(200, n_features=9, random_state=0))  # loads and compiles
    exact(*((150, [10], 1) if arguments.quick else (1500, [10, 50], 3)))
    many_rows([6000] if arguments.quick else arguments.sizes, 9)


if __name__ == "__main__":
    main()
