"""Local lines of many samples beside weighted means: growth of the fit, narrow windows, ties, one feature.

Seconds are processor time of one thread. "fit" chooses the bandwidth (and the ridge) unless one is given.
"""

from _common import make_data, print_machine, print_table

# isort: split
import argparse
import time

import numpy as np
from threadpoolctl import threadpool_limits

from sknw import LocalLinearRegressor, NadarayaWatsonRegressor

KERNELS = ("gaussian", "epanechnikov")
SIZES = (1000, 1800, 2100, 5000, 10_000, 19_500, 20_500, 50_000, 100_000)


def make_positions(n):
    """Whole numbers with gaps and ties, as positions along a chromosome."""
    rng = np.random.default_rng(0)
    x = np.sort(rng.choice(np.cumsum(rng.geometric(0.02, n)), n)).astype(np.float64)
    return x[:, np.newaxis], np.sin(x / 3e4) + 0.3 * rng.standard_normal(n)


def make_rounded(n):
    """Three rounded features with many ties, one of them skewed, as the sizes of diamonds."""
    rng = np.random.default_rng(0)
    size, shape = rng.lognormal(-0.4, 0.57, n), rng.normal(size=(n, 2))
    X = np.column_stack([size.round(2), (61.7 + 1.4 * shape[:, 0]).round(1), (57.5 + 2.2 * shape[:, 1]).round()])
    return X, 7.8 + 1.7 * np.log(size) + 0.05 * shape[:, 0] + 0.2 * rng.standard_normal(n)


def seconds_of(run, n_calls):
    """The least processor time of several calls."""
    seconds = []
    for _ in range(n_calls):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)


def growth(features, sizes, n_calls):
    """Seconds of a fit, and how many times longer one of 5 % more samples takes."""
    rows = []
    for d in features:
        for kernel in KERNELS:
            for n in sizes:
                seconds = [
                    seconds_of(lambda d=d, kernel=kernel, m=m: fit(LocalLinearRegressor, kernel, d, m), n_calls)
                    for m in (n, n + n // 20)
                ]
                rows.append([kernel, d, n, seconds[0], seconds[1] / seconds[0]])
    print_table("Fits of local lines", ["kernel", "features", "n", "seconds", "step to 1.05 n"], rows)


def fit(smoother, kernel, d, n):
    return smoother(kernel, random_state=0).fit(*make_data(n, d))


def beside_means(title, problems, n_calls):
    """Seconds to fit and to predict at the samples; problems are (name, parameters, X, y)."""
    rows = []
    for name, parameters, X, y in problems:
        means = NadarayaWatsonRegressor(**parameters, random_state=0)
        lines = LocalLinearRegressor(**parameters, random_state=0)
        seconds = [
            seconds_of(lambda model=model, X=X, y=y: model.fit(X, y).predict(X), n_calls) for model in (means, lines)
        ]
        rows.append([name, len(X), *seconds, seconds[1] / seconds[0], lines.n_validation_])
    print_table(title, ["", "n", "means", "lines", "ratio", "validated"], rows)


PARTS = ("positions", "line", "rounded", "growth")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="tables; all by default")
    parser.add_argument("--features", nargs="+", type=int, default=[1, 2, 3], help="of the table of growth")
    arguments = parser.parse_args()
    n_calls, divisor = (1, 100) if arguments.quick else (3, 1)
    threadpool_limits(1)  # processor time would count threads of BLAS that wait
    print_machine(threads=1)
    for kernel in KERNELS:
        for d in arguments.features:  # to compile
            fit(LocalLinearRegressor, kernel, d, 2500), fit(NadarayaWatsonRegressor, kernel, d, 2500)
    if "positions" in arguments.parts:
        positions = make_positions(290_000 // divisor)
        beside_means(
            "Narrow windows: positions with ties, bandwidth given, fit and predict",
            [
                (f"{kernel}, {h}", {"kernel": kernel, "bandwidth": float(h)}, *positions)
                for kernel in KERNELS
                for h in (200, 2000)
            ],
            n_calls,
        )
    for part, title, data in [
        ("line", "One feature, fit and predict", lambda: make_data(1_000_000 // divisor, 1)),
        ("rounded", "Three rounded features, fit and predict", lambda: make_rounded(54_000 // divisor)),
    ]:
        if part in arguments.parts:
            X_and_y = data()
            beside_means(title, [(kernel, {"kernel": kernel}, *X_and_y) for kernel in KERNELS], min(n_calls, 2))
    if "growth" in arguments.parts:
        growth(arguments.features, (300,) if arguments.quick else SIZES, n_calls)


if __name__ == "__main__":
    main()
