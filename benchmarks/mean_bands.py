"""Bands of the mean: coverage and length, at each query and of whole curves, also with clusters; what they cost.

Beside the band of `predict_mean_interval` ("twiced") stand, at the same bandwidth, that of the fit itself ("plain"),
that of local quadratics, both with the same standard errors and quantiles, and the robust band of the Python package
nprobust-pkg where that is installed (one feature; local lines, corrected by a pilot of the same bandwidth).
"""

from _common import THREADS, interleaved_times, print_machine, print_table, ratio

# isort: split
import argparse
import time
import warnings

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import norm
from scipy.stats import t as student

from sknw import LocalLinearRegressor, NadarayaWatsonRegressor
from sknw.model_selection import LeaveBlockOut

try:
    from nprobust import lprobust
except ImportError:
    lprobust = None

COVERAGE, N_QUERIES, N_BOOTSTRAP = 0.95, 25, 200


def curve(X):
    parts = [np.sin(3 * X[:, 0]), 0.5 * X[:, 1] ** 2 if X.shape[1] > 1 else 0, 0]
    parts[2] = 0.7 * np.cos(2 * X[:, 2]) if X.shape[1] > 2 else 0
    return sum(parts)


def local_quadratic(Q, X, y, model, squares):
    """The band of local quadratics at the bandwidth of a model, from the pooled squares of its left-out residuals."""
    rows, s = np.triu_indices(X.shape[1]), X.std(axis=0)
    K = np.exp(-0.5 * cdist(Q / model.bandwidth_, X / model.bandwidth_, "sqeuclidean"))
    bounds = np.empty((len(Q), 2))
    for i, (k, q) in enumerate(zip(K, Q, strict=True)):
        near = k > 1e-9 * k.max()
        x = (X[near] - q) / s
        design = np.column_stack([np.ones(len(x)), x, x[:, rows[0]] * x[:, rows[1]]])
        root = np.sqrt(k[near])[:, np.newaxis]
        weights = np.linalg.pinv(root * design, rcond=1e-9)[0] * root[:, 0]
        bounds[i] = _bounds(weights @ y[near], np.sqrt(weights**2 @ squares[near]), k @ squares / k.sum())
    return bounds


def plain(Q, X, y, model, squares):
    """The band of the fit itself."""
    unit = np.eye(len(X))
    weights = type(model)(bandwidth=model.bandwidth_, **_ridge(model)).fit(X, unit).predict(Q)
    attention = model.attention_weights_(Q)
    se, variance = np.sqrt(weights**2 @ squares), attention @ squares
    return np.array([_bounds(*row) for row in zip(model.predict(Q), se, variance, strict=True)])


def _ridge(model):
    return {"ridge": model.ridge_} if hasattr(model, "ridge_") else {}


def _bounds(center, se, variance):
    c = student.isf(norm.sf(norm.isf((1 - COVERAGE) / 2)), max(variance / se**2, 1.0))
    return center - c * se, center + c * se


def robust(Q, X, y, model, _):
    """nprobust: its bias-corrected local line and robust standard error."""
    found = lprobust(y, X[:, 0], eval=Q[:, 0], kernel="gau", h=model.bandwidth_[0], bwcheck=None).Estimate
    columns = {name: found[name].to_numpy() for name in ("tau.bc", "se.rb")}
    radius = norm.isf((1 - COVERAGE) / 2) * columns["se.rb"]
    return np.column_stack([columns["tau.bc"] - radius, columns["tau.bc"] + radius])


def coverage_and_length(sizes, dimensions, n_sets):
    rows = []
    for model in (LocalLinearRegressor(), NadarayaWatsonRegressor()):
        for d in dimensions:
            for n in sizes:
                for noise in ("even", "growing"):
                    results = [_one(model, d, n, noise, seed, with_others=n <= 500) for seed in range(n_sets)]
                    cells = [_summary([result[name] for result in results]) for name in results[0]]
                    cells += [""] * (5 - len(cells))
                    rows.append([f"{type(model).__name__[:-9]}, d = {d}, n = {n}, {noise} noise", *cells])
    names = ["twiced", "whole curve", "plain", "local quadratic", "nprobust"]
    print_table(f"Coverage / median length at {COVERAGE}, {N_QUERIES} queries, {n_sets} sets", ["", *names], rows)


def _one(model, d, n, noise, seed, with_others):
    rng = np.random.default_rng(seed)
    X, Q = rng.uniform(-1, 1, (n, d)), rng.uniform(-0.9, 0.9, (N_QUERIES, d))
    Q = Q[np.argsort(Q[:, 0])]  # as nprobust returns them
    y = curve(X) + (0.5 * (1 + X[:, 0]) if noise == "growing" else 0.5) * rng.normal(size=n)
    truth = curve(Q)
    model.fit(X, y)
    at_each, of_all = (
        model.predict_mean_interval(Q, COVERAGE, simultaneous=s, n_bootstrap=N_BOOTSTRAP) for s in (False, True)
    )
    result = {"twiced": _score(at_each, truth, np.mean), "whole curve": _score(of_all, truth, np.all)}
    if with_others:
        squares = model.attention_weights_(X) @ (y - model.loo_prediction_) ** 2
        result["plain"] = _score(plain(Q, X, y, model, squares), truth, np.mean)
        result["local quadratic"] = _score(local_quadratic(Q, X, y, model, squares), truth, np.mean)
        if d == 1 and lprobust is not None:
            result["nprobust"] = _score(robust(Q, X, y, model, squares), truth, np.mean)
    return result


def _score(bounds, truth, of_queries):
    lower, upper = bounds.T
    return float(of_queries((lower <= truth) & (truth <= upper))), float(np.mean(upper - lower))


def _summary(scores):
    """The mean coverage and the median length of bands of several sets; a few of nprobust are very long."""
    covered, lengths = zip(*scores, strict=True)
    return f"{np.mean(covered):.3f} / {np.nanmedian(lengths):.3f}"


def clusters(n_sets):
    """40 groups of 15 rows that share an error, inputs spread over all or near each other; and a time series."""
    rows = []
    for model in (LocalLinearRegressor(), NadarayaWatsonRegressor()):
        for kind in ("spread", "near"):
            scores = {False: [], True: []}
            for seed in range(n_sets):
                rng = np.random.default_rng(seed)
                group = np.repeat(np.arange(40), 15)
                x = rng.uniform(-1, 1, 600)
                if kind == "near":
                    x = rng.uniform(-1, 1, 40)[group] + 0.05 * rng.normal(size=600)
                X, Q = x[:, np.newaxis], np.linspace(-0.8, 0.8, N_QUERIES)[:, np.newaxis]
                y = curve(X) + 0.4 * rng.normal(size=40)[group] + 0.3 * rng.normal(size=600)
                for with_groups, of_kind in scores.items():
                    fitted = model.fit(X, y, groups=group if with_groups else None)
                    of_kind.append(_score(fitted.predict_mean_interval(Q, n_bootstrap=N_BOOTSTRAP), curve(Q), np.mean))
            cells = [_summary(scores[key]) for key in (True, False)]
            rows.append([f"{type(model).__name__[:-9]}, inputs of a group {kind}", *cells])
    scores = []
    for seed in range(n_sets):
        rng = np.random.default_rng(seed)
        X, noise = np.linspace(0, 1, 400)[:, np.newaxis], np.zeros(400)
        for i in range(1, 400):
            noise[i] = 0.7 * noise[i - 1] + 0.3 * rng.normal()
        fitted = NadarayaWatsonRegressor(cv=LeaveBlockOut(10)).fit(X, np.sin(6 * X[:, 0]) + noise)
        Q = np.linspace(0.05, 0.95, N_QUERIES)[:, np.newaxis]
        scores.append(_score(fitted.predict_mean_interval(Q, n_bootstrap=N_BOOTSTRAP), np.sin(6 * Q[:, 0]), np.mean))
    rows.append(["NadarayaWatson, autoregression 0.7, LeaveBlockOut(10)", _summary(scores), ""])
    print_table(f"Coverage / length with 40 groups, {n_sets} sets", ["", "groups given", "not given"], rows)


def times(sizes, n_rounds):
    """A band, in units of pooling as many columns at the samples and the queries."""
    rows = []
    for name, model, d in [
        ("means, d = 1", NadarayaWatsonRegressor(bandwidth=0.02), 1),
        ("lines, d = 1", LocalLinearRegressor(bandwidth=0.02, ridge=1e-3), 1),
        ("lines, d = 3", LocalLinearRegressor(bandwidth=0.3, ridge=1e-3), 3),
        ("means, d = 8", NadarayaWatsonRegressor(bandwidth=0.5), 8),
    ]:
        for n in sizes if d == 1 else sizes[:1]:
            rng = np.random.default_rng(0)
            X, Q = rng.uniform(-1, 1, (n, d)), rng.uniform(-1, 1, (200, d))
            y = curve(X) + 0.5 * rng.normal(size=n)
            fitted = model.set_params(n_jobs=THREADS, validation_samples=1000).fit(X, y)
            columns = rng.normal(size=(n, N_BOOTSTRAP))
            smoother = fitted._fitted.smoother.with_values(columns)

            def pool(smoother=smoother, Q=Q):
                smoother.pool(smoother.samples)
                smoother.pool(smoother.queries(Q))

            calls = {"band": lambda fitted=fitted, Q=Q: fitted.predict_mean_interval(Q, n_bootstrap=N_BOOTSTRAP)}
            seconds = interleaved_times(calls | {"pool": pool}, n_rounds)
            rows.append([f"{name}, n = {n}", float(np.median(seconds["band"])), float(ratio(seconds, "band", "pool"))])
    print_table(f"Time of 200 queries, {N_BOOTSTRAP} draws", ["", "seconds", "in units of that many columns"], rows)


def of_many_samples(n, n_queries):
    """The processor's seconds of a fit and of its band, one feature and one thread."""
    rng, rows = np.random.default_rng(0), []
    X, Q = rng.uniform(-1, 1, (n, 1)), rng.uniform(-1, 1, (n_queries, 1))
    y = curve(X) + 0.5 * rng.normal(size=n)
    for model in (NadarayaWatsonRegressor(), LocalLinearRegressor()):
        model.fit(X[:1000], y[:1000]).predict_mean_interval(Q[:10])  # compiles
        start = time.process_time()
        model.fit(X, y)
        fitted = time.process_time()
        model.predict_mean_interval(Q, n_bootstrap=N_BOOTSTRAP)
        rows.append([type(model).__name__[:-9], fitted - start, time.process_time() - fitted])
    print_table(f"Seconds of {n} samples, {n_queries} queries, {N_BOOTSTRAP} draws", ["", "fit", "band"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    parser.add_argument("--sets", metavar="N", type=int, default=50, help="data sets of a kind (default %(default)s)")
    parser.add_argument("--sizes", metavar="N", type=int, nargs="+", default=[200, 500, 2000])
    options = parser.parse_args()
    quick, n_sets = options.quick, 2 if options.quick else options.sets
    warnings.simplefilter("ignore", UserWarning)
    print_machine("nprobust-pkg")
    coverage_and_length(*(((60,), (1, 2)) if quick else (options.sizes, (1, 2, 3))), n_sets)
    clusters(n_sets)
    of_many_samples(*((10_000, 10) if quick else (1_000_000, 1000)))
    times(*(((500,), 2) if quick else ((5000, 100_000), 5)))


if __name__ == "__main__":
    main()
