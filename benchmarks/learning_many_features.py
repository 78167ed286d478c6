"""Time of learning w for lines of many features; only five of these matter."""

from _common import print_machine, print_table, seconds_of

# isort: split
import argparse
import time
import warnings

import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from sknw import AttentionPoolingRegressor


def data(n, d):
    return make_friedman1(n, n_features=d, noise=1.0, random_state=0)


def with_many_features(n, numbers, n_rounds):
    """Lines with one w for each of some numbers of features; seconds of two threads, and of the processor of one."""
    rows = []
    for d in numbers:
        X, y = data(n, d)
        model = AttentionPoolingRegressor(degree=1, n_jobs=2)
        seconds = float(np.median([seconds_of(lambda model=model, X=X, y=y: model.fit(X, y)) for _ in range(n_rounds)]))
        with threadpool_limits(1):
            start = time.process_time()
            model.set_params(n_jobs=1).fit(X, y)
            of_processor = time.process_time() - start
        rows.append([f"{d} features", seconds, of_processor, model.n_iter_, int(np.isfinite(model.ridge_).sum())])
    header = ["", "seconds, two threads", "processor seconds, one thread", "iterations of the last stage", "slopes"]
    print_table(f"Learning w, degree 1, friedman1, n = {n}", header, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print_machine()
    AttentionPoolingRegressor(degree=1, algorithm="fused").fit(*data(200, 16))  # compiles
    with_many_features(*((150, [16], 1) if arguments.quick else (1500, [10, 25, 48, 68], 3)))


if __name__ == "__main__":
    main()
