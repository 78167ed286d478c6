"""How often the search for a bandwidth takes all samples, and how often steps by the derivative in log c would.

"all": values of the criterion of all samples and rows; "refining": those of them beyond the scan. "secant": derivatives
that the secant rule takes from either side of the minimum, a third of a step of the scan away, until it moves by less
than 1e-4; at most ten. A derivative needs twice the sums that a value does.
"""

from _common import print_machine, print_table

# isort: split
import argparse

import numpy as np

from sknw import NadarayaWatsonRegressor
from sknw._kernel_sums.index import KeyIndex
from sknw._selection.criterion import Criterion
from sknw._selection.grid import bandwidth_grid
from sknw._smoothing.validation import Validation
from sknw.datasets import make_sine_power

KERNELS = ("gaussian", "exponential", "epanechnikov")
_START, _DIFFERENCE, _TOLERANCE, _MOST = 0.12, 1e-4, 1e-4, 10


class Counted(Criterion):
    """Counts the bandwidths at which all rows were evaluated."""

    seen: list[float]

    def evaluate(self, factors, keeps_predictions=False):
        if len(self.rows) == len(self.smoother.keys) == self.n_all:
            self.seen.extend(factors.tolist())
        return super().evaluate(factors, keeps_predictions)


def secant_steps(criterion):
    """Derivatives, by central differences, until the secant rule has converged to the minimum near c = 1."""

    def slope(x):
        below, above = criterion(np.exp([x + _DIFFERENCE, x - _DIFFERENCE]))[0][::-1]
        return (above - below) / (2 * _DIFFERENCE)

    x, y = -_START, _START
    slope_x, slope_y, n_steps = slope(x), slope(y), 2
    while n_steps < _MOST and abs(y - x) > _TOLERANCE and slope_x != slope_y:
        x, y, slope_x = y, y - slope_y * (y - x) / (slope_y - slope_x), slope_y
        slope_y, n_steps = slope(y), n_steps + 1
    return n_steps


def row_of(kernel, n, seed):
    import sknw.estimators.bandwidth as module

    X, y = make_sine_power(n, sort=False, random_state=seed)
    Counted.seen, Counted.n_all, original = [], n, module.Criterion
    module.Criterion = Counted
    try:
        model = NadarayaWatsonRegressor(kernel).fit(X, y)
    finally:
        module.Criterion = original
    smoother, training = model._fitted.smoother, model._fitted.training
    standardised = KeyIndex((training.X - training.center) / training.scales, smoother.weights, smoother.values)
    grid, _ = bandwidth_grid(standardised, smoother.kernel)
    seen = np.unique(Counted.seen)
    refining = np.count_nonzero(~np.isclose(seen[:, np.newaxis], grid, rtol=1e-9).any(axis=1))
    criterion = Criterion("loo", smoother, training, Validation.of(None, training))
    return [f"{kernel}, seed {seed}", n, len(seen), refining, secant_steps(criterion)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    quick = parser.parse_args().quick
    print_machine()
    sizes, seeds = ([200], [0]) if quick else ([2000, 20_000, 100_000], range(3))
    rows = [row_of(kernel, n, seed) for kernel in KERNELS for n in sizes for seed in seeds]
    print_table("Evaluations of leave-one-out", ["kernel", "n", "all", "refining", "secant"], rows)


if __name__ == "__main__":
    main()
