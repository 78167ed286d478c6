"""Time of choosing a bandwidth by leave-one-out, in units of one pass: leave-one-out at one bandwidth, in NumPy.

The peers choose the number of neighbours by cross-validation (KNeighborsRegressor), and bandwidths by leave-one-out
(statsmodels, one for each feature, on fewer samples).
"""

from _common import interleaved_times, print_machine, print_table, ratio

# isort: split
import argparse
import time

import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sknw import NadarayaWatsonRegressor
from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.registry import ENGINES
from sknw._kernel_sums.request import KernelSumRequest, LeaveOut
from sknw.kernels import Gaussian

N_FEATURES = 5
PASS = "one pass, dense"
NEIGHBOURS = [2, 4, 8, 16, 32, 64]


def dense_pass(X, y, bandwidth):
    """A function that computes all leave-one-out predictions at one bandwidth."""
    n = len(X)
    keys = (X - X.mean(axis=0)) / bandwidth
    leave_out = LeaveOut.own(np.arange(n))
    request = KernelSumRequest(Gaussian(), KeyIndex(keys, np.ones(n), y[:, np.newaxis]), keys, leave_out)
    return lambda: ENGINES["dense"].compute(request)


def selection(n, n_rounds):
    X, y = make_friedman1(n, n_features=N_FEATURES, noise=1.0, random_state=0)
    models = {
        f"sknw, algorithm={name!r}": NadarayaWatsonRegressor(algorithm=name) for name in ("dense", "fused", "auto")
    }
    models["KNeighborsRegressor, 6 values, 5 folds"] = GridSearchCV(
        make_pipeline(StandardScaler(), KNeighborsRegressor()), {"kneighborsregressor__n_neighbors": NEIGHBOURS}
    )
    competitors = {name: lambda model=model: model.fit(X, y) for name, model in models.items()}
    competitors[PASS] = dense_pass(X, y, NadarayaWatsonRegressor().fit(X, y).bandwidth_)
    seconds = interleaved_times(competitors, n_rounds)
    rows = [
        [name, np.median(seconds[name]), ratio(seconds, name, PASS), n_candidates(models.get(name))]
        for name in competitors
    ]
    print_table(f"Selection with n = {n}, d = {N_FEATURES}", ["", "seconds", "passes", "values tried"], rows)


def n_candidates(model):
    if isinstance(model, GridSearchCV):
        return len(model.cv_results_["params"])
    return None if model is None else len(model.bandwidth_search_.factors)


def selection_by_statsmodels(n):
    try:
        from statsmodels.nonparametric.kernel_regression import KernelReg
    except ImportError:
        print("Without statsmodels: it is not installed.")
        return
    X, y = make_friedman1(n, n_features=N_FEATURES, noise=1.0, random_state=0)
    model = NadarayaWatsonRegressor()
    competitors = {
        "sknw": lambda: model.fit(X, y),
        "statsmodels KernelReg, cv_ls": lambda: KernelReg(y, X, "c" * N_FEATURES, reg_type="lc", bw="cv_ls"),
    }
    rows = []
    for name, fit in competitors.items():
        start = time.perf_counter()
        fit()
        rows.append([name, time.perf_counter() - start])
    print_table(f"Selection with n = {n}, d = {N_FEATURES}, once", ["", "seconds"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    quick = parser.parse_args().quick
    print_machine("statsmodels")
    selection(*((300, 2) if quick else (2000, 9)))
    selection_by_statsmodels(50 if quick else 500)


if __name__ == "__main__":
    main()
