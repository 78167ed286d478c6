"""Memory of a prediction, and whether the time per pair of query and key depends on the number of keys.

Memory: each case has a process of its own; its peak (ru_maxrss) less what it held before the prediction.
Time: as many pairs in every case, so fewer queries where there are more keys.
"""

from _common import THREADS, interleaved_times, peak_bytes, print_machine, print_table, ratio

# isort: split
import argparse
import os
import subprocess
import sys

import numpy as np

from sknw import NadarayaWatsonRegressor

N_FEATURES = 8


def fitted_model(n, algorithm):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, N_FEATURES))
    y = np.sin(X[:, 0]) + 0.3 * rng.standard_normal(n)
    model = NadarayaWatsonRegressor(bandwidth=1.0, algorithm=algorithm, n_jobs=THREADS, validation_samples=1)
    return model.fit(X, y)


def queries(m):
    return np.random.default_rng(1).standard_normal((m, N_FEATURES))


def current_bytes():
    """What this process holds now; where the system does not say, the peak."""
    try:
        with open("/proc/self/statm") as numbers:
            return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak_bytes()


def growth_of_one_case(algorithm, n):
    """From what is held before a prediction of n queries from n keys to the peak, in bytes."""
    fitted_model(1000, algorithm).predict(queries(1000))  # loads what is loaded once
    model, Q = fitted_model(n, algorithm), queries(n)
    before = current_bytes()
    model.predict(Q)
    return peak_bytes() - before


def growth_in_new_process(algorithm, n):
    command = [sys.executable, __file__, "--case", algorithm, str(n)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def print_memory(cases):
    rows = [
        [algorithm, n, growth_in_new_process(algorithm, n) / 1e6, f"{8 * n * n / 1e6:.0f}"] for algorithm, n in cases
    ]
    header = ["algorithm", "n = m", "growth of peak memory, MB", "an m x n matrix of float64, MB"]
    print_table(f"Memory of predict, d = {N_FEATURES}", header, rows)


def print_time(sizes, n_pairs, n_rounds):
    models = {n: (fitted_model(n, "fused"), queries(n_pairs // n)) for n in sizes}
    seconds = interleaved_times({n: lambda n=n: models[n][0].predict(models[n][1]) for n in sizes}, n_rounds)
    rows = [[n, n_pairs // n, np.median(seconds[n]) / n_pairs * 1e9, ratio(seconds, n, sizes[0])] for n in sizes]
    header = ["keys", "queries", "ns per pair", f"relative to {sizes[0]} keys"]
    print_table(f"Time of predict, fused, float64, d = {N_FEATURES}", header, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    parser.add_argument("--case", nargs=2, metavar=("ALGORITHM", "N"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        algorithm, n = arguments.case
        print(growth_of_one_case(algorithm, int(n)))
        return
    print_machine()
    if arguments.quick:
        print_memory([("fused", 20_000), ("dense", 5000)])
        print_time((1000, 10_000, 100_000), 10**7, 2)
    else:
        print_memory([("fused", 100_000), ("fused", 200_000), ("dense", 20_000), ("dense", 40_000)])
        print_time((10_000, 100_000, 1_000_000), 10**9, 7)


if __name__ == "__main__":
    main()
