"""Significance tests: how often a feature that does not matter is found, and one that does, at the 5 % level.

The target is sin(2 x0) + 0.3 x1 and noise; x1 has a weak effect, x2 has none. "correlated": x2 has the correlation 0.7
with x0; "growing noise": the noise grows with the size of x2; "category", "ordered": x2 is a category of four levels,
and x1 one of three whose first level is 0.6 higher.
"""

from _common import interleaved_times, print_machine, print_table

# isort: split
import argparse
import warnings

import numpy as np

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw.inspection import significance_test

LEVEL = 0.05
MODELS = {
    "means": NadarayaWatsonRegressor,
    "lines": LocalLinearRegressor,
    "attention": AttentionPoolingRegressor,
}
DESIGNS = ["independent", "correlated", "growing noise", "category", "ordered"]


def draw(rng, n, design):
    X = rng.normal(size=(n, 3))
    noise = np.full(n, 0.5)
    if design == "correlated":
        X[:, 2] = 0.7 * X[:, 0] + np.sqrt(1 - 0.7**2) * X[:, 2]
    elif design == "growing noise":
        noise = 0.2 + 0.4 * np.abs(X[:, 2])
    elif design in ("category", "ordered"):
        X[:, 1:] = np.column_stack([rng.integers(0, 3, n), rng.integers(0, 4, n)])
    weak = 0.6 * (X[:, 1] == 0) if design in ("category", "ordered") else 0.3 * X[:, 1]
    return X, np.sin(2 * X[:, 0]) + weak + noise * rng.normal(size=n)


def settings_of(design):
    return {"category": {"categorical_features": [1, 2]}, "ordered": {"ordered_features": [1, 2]}}.get(design, {})


def rejections(model, design, n, n_sets, n_bootstrap):
    """The shares of data sets in which the weak feature and the one without effect are found."""
    found = []
    for seed in range(n_sets):
        rng = np.random.default_rng(seed)
        X, y = draw(rng, n, design)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            fitted = model(**settings_of(design)).fit(X, y)
        found.append(significance_test(fitted, [1, 2], n_bootstrap=n_bootstrap, random_state=seed).p_value <= LEVEL)
    return np.mean(found, axis=0)


def main(models, sizes, n_sets, n_bootstrap):
    print_machine()
    for n in sizes:
        rows = []
        for design in DESIGNS:
            found = [100 * rejections(MODELS[name], design, n, n_sets, n_bootstrap) for name in models]
            rows.append([design, *(f"{share[1]:.1f}" for share in found), *(f"{share[0]:.0f}" for share in found)])
        header = ["design", *(f"{name}: no effect" for name in models), *(f"{name}: weak effect" for name in models)]
        print_table(f"{n} rows: data sets in which the feature is found, %", header, rows)
    X, y = draw(np.random.default_rng(0), 500, "independent")
    tests = {}
    for name in models:
        fitted = MODELS[name]().fit(X, y)
        tests[name] = lambda fitted=fitted: significance_test(fitted)
    seconds = interleaved_times(tests, 5)
    rows = [[name, f"{np.median(seconds[name]):.2f}"] for name in models]
    print_table("All three features of 500 rows, 399 draws", ["model", "seconds"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[100, 200, 500])
    parser.add_argument("--sets", type=int, default=400)
    parser.add_argument("--bootstrap", type=int, default=199)
    given = parser.parse_args()
    main(given.models, given.sizes, given.sets, given.bootstrap)
