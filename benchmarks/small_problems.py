"""Processor seconds of one thread to fit and to predict small problems: 200 to 2000 rows of one and of five features.

Here what a call costs counts more than the sums. With `--other FOLDER`, the top of another checkout of this package,
both are measured side by side: each in a process of its own, in turns, so that what else the machine does falls on both
alike. The ratio is how many times as fast this checkout is as the other, the median of the ratios of all turns.
"""

import _common

# isort: split
import argparse
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

MODELS = ("NadarayaWatsonRegressor", "LocalLinearRegressor", "AttentionPoolingRegressor")
SIZES, FEATURES = (200, 500, 1000, 2000), (1, 5)
HERE = Path(__file__).resolve().parents[1]


def data(n, d):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (n, d))
    return X, np.sin(2 * X[:, 0]) + 0.5 * X[:, -1] + rng.normal(scale=0.3, size=n)


def answer(model, d, n):
    """For each line of the input, the seconds of a fit and of a prediction of as many rows, on a line of the output."""
    import sknw

    warnings.simplefilter("ignore")
    threadpool_limits(1)  # `_common` has asked for two
    X, y = data(n, d)
    queries = data(n, d)[0] + 0.01
    for _ in sys.stdin:
        start = time.process_time()
        fitted = getattr(sknw, model)(n_jobs=1).fit(X, y)
        after_fit = time.process_time()
        fitted.predict(queries)
        print(after_fit - start, time.process_time() - after_fit, flush=True)


class Checkout:
    """A process that measures a case with the package of a checkout."""

    def __init__(self, folder, case):
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
        command = [sys.executable, __file__, "--case", *map(str, case)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        environment = {**os.environ, **threads, "PYTHONPATH": str(folder)}
        self.process = subprocess.Popen(command, env=environment, cwd=folder, **pipes)

    def seconds(self):
        """Of a fit, and of a prediction."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return [float(number) for number in self.process.stdout.readline().split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(case, folders, n_turns):
    """Seconds (turns, checkouts, 2) after turns that load and compile."""
    checkouts = [Checkout(folder, case) for folder in folders]
    try:
        for _ in range(3):
            first = [checkout.seconds() for checkout in checkouts]
        # short fits more often
        n_turns = int(np.clip(n_turns * 0.1 / max(map(max, first)), n_turns, 10 * n_turns))
        return np.array([[checkout.seconds() for checkout in checkouts] for _ in range(n_turns)])
    finally:
        for checkout in checkouts:
            checkout.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", type=Path, help="the top of another checkout")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--features", nargs="+", type=int, default=FEATURES)
    parser.add_argument("--quick", action="store_true", help="the smallest of one model")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        model, d, n = arguments.case
        answer(model, int(d), int(n))
        return
    _common.print_machine(threads=1)
    models, sizes, n_turns = arguments.models, arguments.sizes, 10
    if arguments.quick:
        models, sizes, n_turns = models[:1], sizes[:1], 1
    folders = [HERE] if arguments.other is None else [HERE, arguments.other.resolve()]
    header = ["", "features", "rows", "fit, ms", "predict, ms"]
    if arguments.other is not None:
        header += ["fit: times as fast", "predict: times as fast"]
    rows = []
    for model in models:
        for d in arguments.features:
            for n in sizes:
                seconds = measure((model, d, n), folders, n_turns)
                row = [model, d, n, *(1e3 * np.median(seconds[:, 0], axis=0)).tolist()]
                if arguments.other is not None:
                    row += np.median(seconds[:, 1] / seconds[:, 0], axis=0).tolist()
                rows.append(row)
    _common.print_table("## Small problems", header, rows)


if __name__ == "__main__":
    main()
