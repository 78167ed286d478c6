"""The first fit and prediction on a new machine, which compile what they need, and the second ones.

Each case runs in a process of its own with an empty cache of compiled loops.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

import _common
import numpy as np

# name: (estimator, its parameters, rows, features)
CASES = {
    "Gaussian": ("NadarayaWatsonRegressor", {}, 20_000, 1),
    "tricube": ("NadarayaWatsonRegressor", {"kernel": "tricube"}, 20_000, 1),
    "exponential": ("NadarayaWatsonRegressor", {"kernel": "exponential"}, 20_000, 1),
    "Gaussian, two features": ("NadarayaWatsonRegressor", {}, 20_000, 2),
    "Gaussian, five features": ("NadarayaWatsonRegressor", {}, 20_000, 5),
    "learned w": ("AttentionPoolingRegressor", {}, 2_000, 5),
    "learned w, local lines": ("AttentionPoolingRegressor", {"degree": 1}, 2_000, 5),
    "local lines, two features": ("LocalLinearRegressor", {}, 5_000, 2),
}


def fit_and_predict(name, n):
    """Seconds of the clock and of the processor that the first and the second fit with prediction take."""
    import sknw

    estimator, parameters, most, d = CASES[name]
    n = min(n, most)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    y = np.sin(2 * X[:, 0]) + X[:, -1] + rng.normal(scale=0.3, size=n)
    for _ in range(2):
        clock, processor = time.perf_counter(), time.process_time()
        getattr(sknw, estimator)(**parameters).fit(X, y).predict(X)
        print(time.perf_counter() - clock, time.process_time() - processor)


def in_new_process(name, n):
    """What `fit_and_predict` prints, without anything compiled before."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--case", name, "--rows", str(n)]
        done = subprocess.run(
            command, env={**os.environ, "NUMBA_CACHE_DIR": folder}, check=True, capture_output=True, text=True
        )
    return [float(number) for number in done.stdout.split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one case of few rows")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=20_000, help="at most so many rows")
    arguments = parser.parse_args()
    if arguments.case:
        fit_and_predict(arguments.case, arguments.rows)
        return
    _common.print_machine()
    cases, n = (["Gaussian"], 1000) if arguments.quick else (CASES, arguments.rows)
    rows = []
    for name in cases:
        first, first_processor, second, _ = in_new_process(name, n)
        rows.append([name, first, first_processor, second])
    _common.print_table(
        "## The first fit and prediction on a new machine",
        ["", "first, s", "of the processor, s", "second, s"],
        rows,
    )


if __name__ == "__main__":
    main()
