"""Prediction intervals: coverage and width beside quantile gradient boosting and a Gaussian process; what they cost.

Gradient boosting predicts the two quantiles, with small steps and large leaves (its defaults cover far too little); the
Gaussian process gives the mean plus and minus a normal quantile times its standard deviation.
"""

from _common import THREADS, interleaved_times, print_machine, print_table, ratio

# isort: split
import argparse
import warnings

import numpy as np
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from sknw import AttentionPoolingRegressor, KrigingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor

COVERAGE = 0.9


def even_noise(rng, n):
    x = rng.uniform(0, 5, size=(n, 1))
    return x, 2 * np.sin(x[:, 0]) + x[:, 0] ** 0.8 + 0.5 * rng.normal(size=n)


def growing_noise(rng, n):
    x = rng.uniform(0, 5, size=(n, 1))
    return x, 2 * np.sin(x[:, 0]) + x[:, 0] ** 0.8 + (0.1 + 0.3 * x[:, 0]) * rng.normal(size=n)


def skewed_noise(rng, n):
    x = rng.uniform(0, 5, size=(n, 1))
    return x, 2 * np.sin(x[:, 0]) + x[:, 0] ** 0.8 + 0.5 * rng.exponential(size=n)


def noise_in_one_half(rng, n):
    X = rng.uniform(-1, 1, size=(n, 2))
    return X, np.sin(3 * X[:, 0]) + X[:, 1] ** 2 + (0.1 + 0.5 * (X[:, 1] > 0)) * rng.normal(size=n)


def noise_along_a_feature(rng, n):
    X = rng.normal(size=(n, 3))
    return X, X[:, 0] + np.sin(2 * X[:, 1]) + 0.5 * np.exp(0.5 * X[:, 2]) * rng.normal(size=n)


DESIGNS = {
    "even noise, d = 1": even_noise,
    "growing noise, d = 1": growing_noise,
    "skewed noise, d = 1": skewed_noise,
    "noise in one half, d = 2": noise_in_one_half,
    "noise along a feature, d = 3": noise_along_a_feature,
}


def by_smoother(model):
    return lambda X, y, queries: model.fit(X, y).predict_interval(queries, COVERAGE)


def by_boosting(X, y, queries):
    tails = [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2]
    parameters = {"learning_rate": 0.05, "max_iter": 100, "min_samples_leaf": 50, "max_leaf_nodes": 8}
    models = [HistGradientBoostingRegressor(loss="quantile", quantile=q, **parameters).fit(X, y) for q in tails]
    return np.column_stack([model.predict(queries) for model in models])


def by_gaussian_process(X, y, queries):
    kernel = ConstantKernel(1.0) * RBF(np.ones(X.shape[1])) + WhiteKernel(0.5)
    mean, std = GaussianProcessRegressor(kernel, normalize_y=True).fit(X, y).predict(queries, return_std=True)
    return mean[:, np.newaxis] + std[:, np.newaxis] * norm.ppf([(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])


METHODS = {
    "Nadaraya-Watson": by_smoother(NadarayaWatsonRegressor()),
    "local linear": by_smoother(LocalLinearRegressor()),
    "attention, degree 1": by_smoother(AttentionPoolingRegressor(degree=1)),
    "kriging": by_smoother(KrigingRegressor()),
    "quantile boosting": by_boosting,
    "Gaussian process": by_gaussian_process,
}


def coverage_and_width(n, n_sets):
    """Averages over training sets, with the standard error of the coverage."""
    coverages, widths = [], []
    for name, design in DESIGNS.items():
        covered, width = {method: [] for method in METHODS}, {method: [] for method in METHODS}
        for seed in range(n_sets):
            rng = np.random.default_rng(seed)
            (X, y), (queries, observed) = design(rng, n), design(rng, 2000)
            for method, interval in METHODS.items():
                lower, upper = interval(X, y, queries).T
                covered[method].append(np.mean((lower <= observed) & (observed <= upper)))
                width[method].append(np.mean(upper - lower))
        error = np.std(covered["Nadaraya-Watson"]) / np.sqrt(n_sets)
        coverages.append([name, *(f"{np.mean(shares):.3f}" for shares in covered.values()), f"{error:.3f}"])
        widths.append([name, *(f"{np.mean(values):.2f}" for values in width.values())])
    title = f"at {COVERAGE:g}, n = {n}, mean over {n_sets} training sets, 2000 queries each"
    print_table(f"Coverage {title}", ["", *METHODS, "standard error"], coverages)
    print_table(f"Mean width {title}", ["", *METHODS], widths)


def times(n, m, n_rounds):
    """What methods cost in units of `predict`, by the engine that both use."""
    rng = np.random.default_rng(0)
    X, queries = rng.normal(size=(n, 8)), rng.normal(size=(m, 8))
    y = X[:, 0] + rng.normal(size=n)
    rows = []
    for algorithm in ("dense", "fused"):
        model = NadarayaWatsonRegressor(bandwidth=0.8, algorithm=algorithm, n_jobs=THREADS).fit(X, y)
        calls = {
            "predict": lambda model=model: model.predict(queries),
            "predict_interval": lambda model=model: model.predict_interval(queries),
            "predict_quantile": lambda model=model: model.predict_quantile(queries, [0.05, 0.5, 0.95]),
        }
        seconds = interleaved_times(calls, n_rounds)
        rows += [
            [f"{name}, {algorithm}", float(np.median(seconds[name])), float(ratio(seconds, name, "predict"))]
            for name in calls
        ]
    print_table(f"Time with n = {n}, m = {m}, d = 8", ["", "seconds", "in units of predict"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore", ConvergenceWarning)
    print_machine()
    coverage_and_width(*((100, 2) if quick else (500, 12)))
    times(*((500, 100, 2) if quick else (20_000, 2000, 5)))


if __name__ == "__main__":
    main()
