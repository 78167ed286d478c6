"""Random small problems, with every method of every smoother called while warnings of NumPy and SciPy are errors.

Prints what raises anything but the messages that bad data deserve: there should be nothing.
"""

import argparse
import traceback
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor

KERNELS = ["gaussian", "exponential", "tophat", "epanechnikov", "linear", "tricube", "triweight", "cosine"]


def problem(rng):
    """X, y, sample_weight, queries: rounded, tied, constant, tiny, huge, heavy-tailed or exact at random."""
    n, d = int(rng.choice([1, 2, 3, 5, 10, 30, 80])), int(rng.choice([1, 1, 1, 2, 3, 6]))
    X = rng.choice([rng.normal, rng.standard_cauchy])(size=(n, d)) if rng.random() < 0.7 else rng.integers(0, 4, (n, d))
    X = X * 10.0 ** rng.integers(-8, 9) + rng.choice([0.0, 0.0, 1e3, 1e8])
    if rng.random() < 0.2:
        X[:, 0] = X[0, 0]
    if rng.random() < 0.3:
        X = np.round(X, 1)
    y = (
        rng.choice([np.sin(X[:, 0]), X[:, 0], np.zeros(n), np.full(n, 0.1)])
        if rng.random() < 0.8
        else np.arange(n) * 1.0
    )
    y = y + rng.choice([0.0, 0.0, 1.0, 1e-9, 100.0]) * rng.normal(size=n)
    if rng.random() < 0.2:
        y = (y > np.median(y)).astype(float)
    y = y * 10.0 ** rng.choice([-200, -20, 0, 0, 0, 0, 20, 140])
    if rng.random() < 0.2:
        y = np.column_stack([y, rng.normal(size=n)])
    weight = None
    if rng.random() < 0.3:
        weight = rng.choice([0.0, 1.0, 2.0, 1e-6, 1e6], size=n)
        weight = None if not weight.any() else weight
    queries = np.vstack([X[: min(n, 4)], X.mean(axis=0) + 10.0 ** rng.integers(-3, 4) * rng.normal(size=(3, d))])
    if rng.random() < 0.2:
        queries = queries.astype(np.float32)
    return X, y, weight, queries


def model(rng, n):
    """A smoother with random parameters."""
    common = {
        "kernel": str(rng.choice(KERNELS)),
        "outside": str(rng.choice(["nearest", "mean", "nan"])),
        "validation_samples": rng.choice([None, 5]),
        "random_state": 0,
    }
    if n >= 5 and rng.random() < 0.15:
        common["cv"] = 3
    kind = rng.integers(3)
    if kind == 2:
        w = str(rng.choice(["scalar", "diagonal"]))
        if common["kernel"] == "tophat":
            common["kernel"] = "gaussian"
        return AttentionPoolingRegressor(w=w, degree=int(rng.integers(2)), max_iter=10, **common)
    criteria = ["loo", "scott", 1.0, 0.01] + ([] if "cv" in common else ["aicc", "gcv"])
    bandwidth = criteria[rng.integers(len(criteria))]
    if kind == 1:
        return LocalLinearRegressor(bandwidth=bandwidth, ridge=[0.0, 1e-6, "loo"][rng.integers(3)], **common)
    return NadarayaWatsonRegressor(bandwidth=bandwidth, **common)


def call_all(smoother, X, y, weight, queries):
    smoother.fit(X, y, weight)
    smoother.predict(queries, return_std=True)
    smoother.attention_weights_(queries)
    smoother.attention_weights_(queries, top_k=2)
    smoother.effective_sample_size(queries)
    for coverage in (0.5, 0.9):
        smoother.predict_interval(queries, coverage)
    smoother.predict_mean_interval(queries, n_bootstrap=5)
    smoother.predict_mean_interval(queries, n_bootstrap=5, simultaneous=True)
    smoother.predict_quantile(queries, [0.0, 0.5, 1.0])
    smoother.predict_cdf(queries, [0.0, 1.0])
    smoother.sample_y(queries, 2)
    if np.isfinite(smoother.predict(X)).all():  # scikit-learn's score takes no NaN
        smoother.score(X, y, weight)
    repr(getattr(smoother, "bandwidth_search_", None))
    if smoother.kernel_.is_differentiable:
        smoother.gradient(queries)


def run(seeds, verbose=True):
    """The seeds of the problems at which something was raised, with what."""
    found = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        data = problem(rng)
        smoother = model(rng, len(data[0]))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                call_all(smoother, *data)
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)
                ours = ([where[0]] + [frame for frame in where if "sknw" in frame.filename])[-1]
                found[seed] = f"{type(error).__name__}: {error} ({ours.filename.split('/')[-1]}:{ours.lineno})"
                if verbose:
                    print(seed, smoother, data[0].shape, data[1].shape, found[seed], flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few: only shows that everything runs")
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    n = 20 if arguments.quick else 2000
    found = run(range(arguments.first, arguments.first + n))
    print(f"{len(found)} of {n} problems raised something")


if __name__ == "__main__":
    main()
