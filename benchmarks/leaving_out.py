"""Leaving out what belongs together: blocks of time, groups, copies, weights; how good the curve is, and what it costs.

The error is the root mean squared distance to the curve without noise; the best bandwidth is the one, of 60, with the
least error. Times are ratios within a round.
"""

from _common import interleaved_times, print_machine, print_table, ratio

# isort: split
import argparse
import warnings

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.ensemble import BaggingRegressor
from sklearn.model_selection import GroupKFold

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw._smoothing.training import TrainingSet
from sknw.model_selection import LeaveBlockOut

BEST = "the best bandwidth"
LEAVE_ONE_OUT = "leave-one-out"


def rmse(prediction, truth):
    return float(np.sqrt(np.mean((prediction - truth) ** 2)))


def curve(x, frequency=6.0):
    return np.sin(frequency * x)


def error_of(model, X, y, truth, **fit_arguments):
    return rmse(model.fit(X, y, **fit_arguments).predict(X), truth)


def least_error(X, y, truth):
    bandwidths = np.ptp(X) * np.geomspace(0.005, 0.5, 60)
    return min(error_of(NadarayaWatsonRegressor(bandwidth=h), X, y, truth) for h in bandwidths)


def print_errors(title, errors):
    """Means over runs of what each method has; ratios to the best bandwidth."""
    means = {name: float(np.mean(of_runs)) for name, of_runs in errors.items()}
    rows = [[name, mean, mean / means[BEST]] for name, mean in means.items()]
    print_table(title, ["without", "error", "to the best"], rows)


def autoregression(n_runs):
    """Noise that remembers: an autoregression with coefficient 0.7."""
    n, errors = 400, {}
    for run in range(n_runs):
        rng = np.random.default_rng(run)
        noise = np.zeros(n + 100)
        for i, innovation in enumerate(0.3 * rng.normal(size=n + 99)):
            noise[i + 1] = 0.7 * noise[i] + innovation
        X = np.linspace(0.0, 1.0, n)[:, np.newaxis]
        truth = curve(X[:, 0])
        y = truth + noise[100:]
        models = {LEAVE_ONE_OUT: NadarayaWatsonRegressor()} | {
            f"blocks of +-{half_width} rows": NadarayaWatsonRegressor(cv=LeaveBlockOut(half_width))
            for half_width in (5, 10, 15, 20)
        }
        for name, model in models.items():
            errors.setdefault(name, []).append(error_of(model, X, y, truth))
        errors.setdefault(BEST, []).append(least_error(X, y, truth))
    print_errors(f"AR(1) noise, 0.7, n = {n}, {n_runs} runs", errors)


def groups(n_runs):
    """40 groups of 10 with a common effect, each in one place of the axis."""
    n_groups, size, errors = 40, 10, {LEAVE_ONE_OUT: [], "groups": [], "GroupKFold(5)": [], BEST: []}
    for run in range(n_runs):
        rng = np.random.default_rng(run)
        group = np.repeat(np.arange(n_groups), size)
        x = rng.uniform(size=n_groups)[group] + 0.005 * rng.normal(size=len(group))
        truth = curve(x)
        y = truth + 0.42 * rng.normal(size=n_groups)[group] + 0.3 * rng.normal(size=len(group))
        X = x[:, np.newaxis]
        errors[LEAVE_ONE_OUT].append(error_of(NadarayaWatsonRegressor(), X, y, truth))
        errors["groups"].append(error_of(NadarayaWatsonRegressor(), X, y, truth, groups=group))
        folds = NadarayaWatsonRegressor(cv=GroupKFold(5))
        errors["GroupKFold(5)"].append(error_of(folds, X, y, truth, groups=group))
        errors[BEST].append(least_error(X, y, truth))
    print_errors(f"{n_groups} groups of {size} with a common effect, {n_runs} runs", errors)


def weights(n_runs):
    """Lognormal weights of mean 1 that say nothing of the noise, beside equal ones of the same effective number."""
    rows = []
    for sigma in (0.3, 0.6, 1.0):
        of_weighted, of_equal, n_effective, n = [], [], [], 400
        for run in range(n_runs):
            rng = np.random.default_rng(run)
            X = rng.uniform(size=(n, 1))
            truth = curve(X[:, 0])
            y = truth + 0.5 * rng.normal(size=n)
            w = rng.lognormal(-(sigma**2) / 2, sigma, size=n)
            some = slice(0, round(w.sum() ** 2 / (w @ w)))
            of_weighted.append(error_of(NadarayaWatsonRegressor(), X, y, truth, sample_weight=w))
            equal = NadarayaWatsonRegressor().fit(X[some], y[some])
            of_equal.append(rmse(equal.predict(X), truth))
            n_effective.append(some.stop)
        row = [float(np.mean(of_weighted)), float(np.mean(of_equal))]
        rows.append([f"sigma {sigma}", float(np.mean(n_effective)), *row, row[0] / row[1]])
    header = ["weights", "effective number", "weighted", "equal weights", "ratio"]
    print_table(f"Errors with lognormal weights, n = {n}, {n_runs} runs", header, rows)


def bootstrap(n_runs, n_refits):
    """Resamples of rows choose the bandwidth anew, or keep that of the original."""
    h_ratios, width_ratios = [], []
    for run in range(n_runs):
        rng = np.random.default_rng(run)
        X = rng.uniform(size=(300, 1))
        y = curve(X[:, 0]) + 0.4 * rng.normal(size=300)
        queries = np.linspace(0.05, 0.95, 50)[:, np.newaxis]
        chosen = NadarayaWatsonRegressor().fit(X, y).bandwidth_[0]
        curves, bandwidths = {"chosen": [], "fixed": []}, []
        for _ in range(n_refits):
            rows = rng.integers(0, len(y), len(y))
            model = NadarayaWatsonRegressor().fit(X[rows], y[rows])
            bandwidths.append(model.bandwidth_[0])
            curves["chosen"].append(model.predict(queries))
            fixed = NadarayaWatsonRegressor(bandwidth=chosen).fit(X[rows], y[rows])
            curves["fixed"].append(fixed.predict(queries))
        widths = {name: np.ptp(np.percentile(c, [5, 95], axis=0), axis=0).mean() for name, c in curves.items()}
        h_ratios.append(np.median(bandwidths) / chosen)
        width_ratios.append(widths["chosen"] / widths["fixed"])
    rows = [
        ["median bandwidth / that of the original", *(float(f(h_ratios)) for f in (np.min, np.median, np.max))],
        ["width of the bands / that at its bandwidth", *(float(f(width_ratios)) for f in (np.min, np.median, np.max))],
    ]
    title = f"Bootstrap, {n_refits} refits, {n_runs} data sets"
    print_table(title, ["", "least", "median", "largest"], rows)


def bagging():
    """The R^2 of bagging on rows out of the bag, and the leave-one-out R^2 of a single fit."""
    rng = np.random.default_rng(0)
    x, X3 = rng.uniform(size=(300, 1)), rng.normal(size=(300, 3))
    noisy = curve(x[:, 0]) + 0.85 * rng.normal(size=300)
    problems = {
        "diabetes": load_diabetes(return_X_y=True),
        "friedman1, d = 5": make_friedman1(300, n_features=5, noise=1.0, random_state=0),
        "sine, d = 1": (x, noisy),
        "d = 3": (X3, np.sin(2 * X3[:, 0]) + X3[:, 1] + rng.normal(size=300)),
    }
    rows = []
    for name, (X, y) in problems.items():
        for model in (NadarayaWatsonRegressor(), LocalLinearRegressor()):
            single = clone(model).fit(X, y).loo_score_
            bagged = BaggingRegressor(model, 50, oob_score=True, random_state=0).fit(X, y).oob_score_
            kind = "lines" if isinstance(model, LocalLinearRegressor) else "means"
            rows.append([f"{name}, {kind}", f"{single:.3f}", f"{bagged:.3f}", f"{bagged - single:+.3f}"])
    print_table("R^2 of bagging, 50 fits", ["", "a single fit", "bagging", "gain"], rows)


def attention(n_runs):
    """Learned w where two of the features say which group a row is in; the test is on groups that are not trained."""
    rows = []
    for d in (3, 4, 5):
        errors = {LEAVE_ONE_OUT: [], "groups": [], "GroupKFold(5)": []}
        for run in range(n_runs):
            rng = np.random.default_rng(run)

            def sample(n_groups, rng=rng, d=d):
                group = np.repeat(np.arange(n_groups), 10)
                X = rng.normal(size=(len(group), d))
                X[:, -2:] = rng.normal(size=(n_groups, 2))[group] + 0.02 * rng.normal(size=(len(group), 2))
                truth = np.sin(2 * X[:, 0]) + 0.5 * X[:, -2]
                y = truth + 0.8 * rng.normal(size=n_groups)[group] + 0.3 * rng.normal(size=len(group))
                return X, y, truth, group

            X, y, _, group = sample(30)
            X_test, _, truth, _ = sample(100)
            fits = {
                LEAVE_ONE_OUT: AttentionPoolingRegressor().fit(X, y),
                "groups": AttentionPoolingRegressor().fit(X, y, groups=group),
                "GroupKFold(5)": AttentionPoolingRegressor(cv=GroupKFold(5)).fit(X, y, groups=group),
            }
            for name, model in fits.items():
                errors[name].append(rmse(model.predict(X_test), truth))
        means = [float(np.mean(of_runs)) for of_runs in errors.values()]
        rows.append([f"d = {d}", *means, means[1] / means[0]])
    title = f"Learned w, 30 groups of 10 with a common effect: errors in new groups, {n_runs} runs"
    print_table(title, ["", *errors, "groups / leave-one-out"], rows)


def cost_of_rules(sizes, features, n_rounds, model, kernels=("gaussian", "epanechnikov")):
    """Ratios of the times of fits to that with leave-one-out."""
    rows = []
    for kernel in kernels:
        for d in features:
            for n in sizes:
                rng = np.random.default_rng(0)
                X = rng.normal(size=(n, d))
                y = np.sin(2 * X[:, 0]) + X[:, -1] + 0.3 * rng.normal(size=n)
                group = rng.integers(0, 1000 if n >= 10_000 else n // 10, n)
                plain, blocks = model(kernel), model(kernel, cv=LeaveBlockOut(10))
                folds = model(kernel, cv=GroupKFold(5))
                competitors = {
                    LEAVE_ONE_OUT: lambda m=plain, X=X, y=y: m.fit(X, y),
                    "GroupKFold(5)": lambda m=folds, X=X, y=y, group=group: m.fit(X, y, groups=group),
                    "groups": lambda m=plain, X=X, y=y, group=group: m.fit(X, y, groups=group),
                    "LeaveBlockOut(10)": lambda m=blocks, X=X, y=y: m.fit(X, y),
                }
                times = interleaved_times(competitors, n_rounds)
                ratios = [ratio(times, name, LEAVE_ONE_OUT) for name in competitors if name != LEAVE_ONE_OUT]
                name = f"{kernel}, d = {d}, n = {n}"
                rows.append([name, float(np.median(times[LEAVE_ONE_OUT])), *map(float, ratios)])
    title = f"{model.__name__}: seconds with leave-one-out, and times that"
    print_table(title, ["", LEAVE_ONE_OUT, "GroupKFold(5)", "groups", "LeaveBlockOut(10)"], rows)


def cost_of_merging(sizes, n_rounds):
    """The time to find the copies, and to make the training set, beside that of a fit."""
    rows = []
    for n in sizes:
        rng = np.random.default_rng(0)
        X = rng.normal(size=(n, 1))
        y = np.sin(2 * X[:, 0]) + 0.3 * rng.normal(size=n)
        resampled = rng.integers(0, n, n)
        for name, some in (("no copies", slice(None)), ("bootstrap", resampled)):
            X_some, y_some = np.ascontiguousarray(X[some]), np.ascontiguousarray(y[some])
            competitors = {
                "fit": lambda X=X_some, y=y_some: NadarayaWatsonRegressor().fit(X, y),
                "merge": lambda X=X_some, y=y_some: TrainingSet.of(X, y, None),
            }
            times = interleaved_times(competitors, n_rounds)
            rows.append([f"n = {n}, {name}", *(float(np.median(t)) for t in times.values())])
            rows[-1].append(float(ratio(times, "merge", "fit")))
    print_table("Making the training set", ["", "fit, seconds", "training set, seconds", "share"], rows)


PARTS = ("autoregression", "groups", "weights", "bootstrap", "bagging", "attention", "cost")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="some of the tables")
    arguments = parser.parse_args()
    quick, parts = arguments.quick, arguments.parts
    for message in ("the criterion", "leave-one-out residuals are autocorrelated"):  # as they are meant to be
        warnings.filterwarnings("ignore", message=message, category=UserWarning)
    print_machine()
    n_runs = 2 if quick else 40
    for table in (autoregression, groups, weights):
        if table.__name__ in parts:
            table(n_runs)
    if "bootstrap" in parts:
        bootstrap(*((1, 5) if quick else (10, 50)))
    if "bagging" in parts:
        bagging()
    if "attention" in parts:
        attention(1 if quick else 10)
    if "cost" in parts:
        n_rounds = 2 if quick else 5
        cost_of_rules((500,) if quick else (1000, 5000, 20_000, 100_000), (1,), n_rounds, NadarayaWatsonRegressor)
        cost_of_rules((500,) if quick else (1000, 5000, 20_000), (2, 5), n_rounds, NadarayaWatsonRegressor)
        cost_of_rules((300,) if quick else (2000,), (1, 2, 5), n_rounds, LocalLinearRegressor)
        cost_of_merging((2000,) if quick else (100_000, 1_000_000), n_rounds)


if __name__ == "__main__":
    main()
