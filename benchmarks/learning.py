"""Time of learning w, beside a Gaussian process with a length scale for each feature and metric_learn's MLKR.

MLKR minimises the same leave-one-out loss over a matrix. It does not run with scikit-learn of today: ``--mlkr PYTHON``
names the interpreter of an environment that has it, in which it is timed, in the same run and on the same data.
"""

from _common import print_machine, print_table, seconds_of

# isort: split
import argparse
import subprocess
import warnings

import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from sknw import AttentionPoolingRegressor

N_FEATURES, MOST_ITERATIONS = 10, 60

OF_MLKR = f"""
import time, warnings
from sklearn.datasets import make_friedman1
from metric_learn import MLKR
warnings.simplefilter("ignore")
X, y = make_friedman1({{n}}, n_features={N_FEATURES}, noise=1.0, random_state=0)
start = time.perf_counter()
model = MLKR(max_iter={MOST_ITERATIONS}, init="identity").fit(X, y)
print(time.perf_counter() - start, model.n_iter_)
"""


def data(n):
    return make_friedman1(n, n_features=N_FEATURES, noise=1.0, random_state=0)


def beside_gaussian_process(n, n_rounds):
    """Diagonal w; ours before and after the Gaussian process, which takes long."""
    X, y = data(n)
    models = {f"w per feature, degree {degree}": AttentionPoolingRegressor(degree=degree) for degree in (0, 1)}
    seconds = {
        name: [seconds_of(lambda model=model: model.fit(X, y)) for _ in range(n_rounds)]
        for name, model in models.items()
    }
    kernel = ConstantKernel() * RBF(np.ones(N_FEATURES)) + WhiteKernel()
    of_process = seconds_of(lambda: GaussianProcessRegressor(kernel, normalize_y=True).fit(X, y))
    for name, model in models.items():
        seconds[name] += [seconds_of(lambda model=model: model.fit(X, y)) for _ in range(n_rounds)]
    rows = [[name, float(np.median(times)), of_process / float(np.median(times))] for name, times in seconds.items()]
    title = f"Learning w, friedman1, n = {n}, d = {N_FEATURES}, beside a Gaussian process: {of_process:.1f} s"
    print_table(title, ["", "seconds", "times faster"], rows)


def beside_mlkr(n, n_rounds, interpreter):
    """A matrix w, all starts and stages included, by one thread and by two."""
    X, y = data(n)
    times, iterations = {}, {}
    for n_jobs in (1, 2):
        name = f"matrix w, {n_jobs} thread{'s' if n_jobs > 1 else ''}"
        model = AttentionPoolingRegressor(w="full", max_iter=MOST_ITERATIONS, n_jobs=n_jobs)
        times[name] = float(np.median([seconds_of(lambda model=model: model.fit(X, y)) for _ in range(n_rounds)]))
        iterations[name] = model.n_iter_
    if interpreter is not None:
        printed = subprocess.run([interpreter, "-c", OF_MLKR.format(n=n)], capture_output=True, text=True, check=True)
        seconds, n_iterations = printed.stdout.split()
        times["MLKR"], iterations["MLKR"] = float(seconds), int(n_iterations)
    rows = [
        [name, seconds, iterations[name], times["MLKR"] / seconds if "MLKR" in times else None]
        for name, seconds in times.items()
    ]
    title = f"Learning a matrix, friedman1, n = {n}, d = {N_FEATURES}, at most {MOST_ITERATIONS} iterations of a stage"
    print_table(title, ["", "seconds", "iterations of the last stage", "times faster than MLKR"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    parser.add_argument("--mlkr", metavar="PYTHON", help="the interpreter of an environment with metric_learn")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print_machine()
    AttentionPoolingRegressor(algorithm="fused").fit(*data(200))  # compiles
    AttentionPoolingRegressor(degree=1, algorithm="fused").fit(*data(200))
    beside_gaussian_process(*((150, 1) if arguments.quick else (1500, 3)))
    beside_mlkr(*((150, 1) if arguments.quick else (3000, 3)), arguments.mlkr)


if __name__ == "__main__":
    main()
