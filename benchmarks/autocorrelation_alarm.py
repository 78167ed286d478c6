"""How often a fit warns of autocorrelated residuals: with independent errors, and with errors that neighbours share.

Alarms by kind of data, for weighted means (or local lines with --lines), each kind with several seeds.
"""

from _common import print_machine, print_table

# isort: split
import argparse
import warnings

import numpy as np

from sknw import LocalLinearRegressor, NadarayaWatsonRegressor

SIGNALS = {
    "none": lambda x: 0.0 * x,
    "smooth": lambda x: np.sin(2 * np.pi * x),
    "rough": lambda x: np.sin(12 * np.pi * x),
    "jumps": lambda x: np.floor(4 * x) % 3,
}
NOISES = (0.05, 0.3, 1.0)


def one_feature(rng, signal, noise, n, axis):
    x = np.arange(n) / n if axis == "time" else rng.uniform(size=n)
    x = np.sort(x) if axis == "sorted" else x
    return x[:, np.newaxis], SIGNALS[signal](x) + noise * rng.normal(size=n)


def several_features(rng, d, noise, n, is_sorted, signal):
    X = rng.uniform(size=(n, d))
    X = X[np.argsort(X[:, 0])] if is_sorted else X
    y = {"one": np.sin(6 * X[:, 0]), "all": np.sin(4 * X).sum(axis=1), "line": X @ np.arange(1, d + 1)}[signal]
    return X, y + noise * y.std() * rng.normal(size=n)


def special(rng, kind, n=400):
    noise, t = rng.normal(size=n), np.arange(n) / n
    if kind.startswith("integers"):
        low, high = (1, 11) if "10" in kind else (9, 101)
        x = rng.integers(low, high, n).astype(float)
        x = np.sort(x) if "sorted" in kind else x
        y = (x / high > rng.uniform(size=n)).astype(float) if "0/1" in kind else np.sin(9 * x / high) + 0.5 * noise
        return x[:, np.newaxis], y
    y = {
        "growing noise": np.sin(6 * t) + (0.05 + t) * noise,
        "bursts of noise": np.sin(6 * t) + 0.1 * np.exp(2 * np.sin(40 * t)) * noise,
        "t, 2 degrees of freedom": np.sin(6 * t) + 0.3 * rng.standard_t(2, size=n),
        "Cauchy": np.sin(6 * t) + 0.1 * rng.standard_cauchy(size=n),
        "0/1": (np.sin(6 * t) + noise > 0).astype(float),
    }[kind]
    return t[:, np.newaxis], y


def autoregressive(rng, n, correlation):
    errors = rng.normal(size=n)
    for i in range(1, n):
        errors[i] = correlation * errors[i - 1] + np.sqrt(1 - correlation**2) * errors[i]
    return errors


def time_series(rng, correlation, n):
    t = np.arange(n) / n
    if correlation == 1:
        return t[:, np.newaxis], np.sin(6 * t) + 0.1 * np.cumsum(rng.normal(size=n))
    return t[:, np.newaxis], np.sin(6 * t) + 0.5 * autoregressive(rng, n, correlation)


def groups(rng, n_groups, size, d):
    n = n_groups * size
    X = rng.uniform(size=(n, d))
    effect = 0.5 * np.repeat(rng.normal(size=n_groups), size)
    return X, np.sin(6 * X[:, 0]) + effect + 0.5 * rng.normal(size=n)


def independent_kinds(sizes):
    for n in sizes:
        for noise in NOISES:
            for signal in SIGNALS:
                for axis in ("random", "sorted", "time"):
                    name = f"one feature, {signal} signal, noise {noise}"
                    yield name, lambda rng, a=(signal, noise, n, axis): one_feature(rng, *a)
            for d in (2, 3, 4):
                for is_sorted in (False, True):
                    for signal in ("one", "all", "line"):
                        name = f"{d} features, noise {noise} of the signal"
                        yield name, lambda rng, a=(d, noise, n, is_sorted, signal): several_features(rng, *a)
    for kind in ("growing noise", "bursts of noise", "t, 2 degrees of freedom", "Cauchy", "0/1"):
        yield kind, lambda rng, kind=kind: special(rng, kind)
    for values in ("10", "92"):
        for kind in ("", " sorted", " 0/1"):
            yield f"integers, {values} values", lambda rng, kind=f"integers {values}{kind}": special(rng, kind)


def dependent_kinds():
    for correlation in (0.5, 0.7, 0.8, 1):
        for n in (200, 400, 2000):
            name = f"AR(1) {correlation}, n = {n}" if correlation < 1 else f"random walk, n = {n}"
            yield name, lambda rng, a=(correlation, n): time_series(rng, *a)
    for n_groups, size in ((100, 4), (40, 10), (20, 20)):
        for d in (1, 3):
            yield f"{n_groups} groups of {size}, {d} features", lambda rng, a=(n_groups, size, d): groups(rng, *a)


def alarms(kinds, n_seeds, model):
    """Rows of a table: the kind, alarms, fits, and the largest evidence, of which more than 1 is an alarm."""
    found = {}
    for name, make in kinds:
        for seed in range(n_seeds):
            search = model.fit(*make(np.random.default_rng(seed))).bandwidth_search_
            seen = search.autocorrelation
            found.setdefault(name, []).append(0.0 if seen is None else seen.evidence)
    rows = [[name, sum(one > 1 for one in v), len(v), float(max(v)), float(np.median(v))] for name, v in found.items()]
    return [*rows, ["all", sum(row[1] for row in rows), sum(row[2] for row in rows), None, None]]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2, help="data sets of each kind with independent errors")
    parser.add_argument("--dependent-seeds", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200, 400, 1000])
    parser.add_argument("--lines", action="store_true")
    arguments = parser.parse_args()
    print_machine()
    warnings.simplefilter("ignore", UserWarning)
    model = LocalLinearRegressor() if arguments.lines else NadarayaWatsonRegressor()
    header = ["", "alarms", "fits", "largest evidence", "median"]
    rows = alarms(independent_kinds(arguments.sizes), arguments.seeds, model)
    print_table("Independent errors", header, rows)
    print_table("Errors that neighbours share", header, alarms(dependent_kinds(), arguments.dependent_seeds, model))


if __name__ == "__main__":
    main()
