"""Time of a prediction per pair of query and key, beside softmax attention elsewhere.

All competitors but the Gaussian process compute the same function,

    f(q) = sum_j softmax_j(-||q - x_j||^2 / 2) y_j.

A round calls each of them once; a figure is the median over the rounds.
"""

from _common import THREADS, interleaved_times, print_machine, print_table, ratio

# isort: split
import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.neighbors import KNeighborsRegressor

from sknw import NadarayaWatsonRegressor

FUSED64, FUSED32 = "sknw fused float64", "sknw fused float32"
TORCH = "torch attention float32"
TORCH_PADDED = "torch attention float32, values padded to d"
GEMM = {np.float64: "GEMM float64", np.float32: "GEMM float32"}

# Queries whose errors are looked at.
N_CHECKED = 20


@dataclass
class Competitor:
    """`run` is timed, on `n_pairs` pairs; `predict` gives predictions to check, where the function is the same."""

    run: Callable
    n_pairs: int
    predict: Callable | None


def operations_per_pair(d, dtype):
    """Vector instructions that a pair needs at least: multiply-adds, or what takes the same place in the pipeline.

    distance      d multiply-adds and one addition, ||q||^2 + (||x||^2 - 2 q.x)
    exponential   5 for range reduction and scaling (multiply-add, subtract, multiply-add, shift, add), and
                  a polynomial, 9 multiply-adds for float64, 5 for float32
    sums          2 multiply-adds, of the weights and of weights times values
    """
    return d + 1 + 5 + (9 if dtype is np.float64 else 5) + 2


def make_data(n, m, d):
    """Keys, values and queries that float32 represents exactly, so that all competitors get the same problem."""
    rng = np.random.default_rng(d)
    X, Q = (rng.standard_normal((rows, d)).astype(np.float32) for rows in (n, m))
    y = (np.sin(X[:, 0]) + 0.3 * rng.standard_normal(n)).astype(np.float32)
    return X, y, Q


def exact(X, y, Q):
    """The predictions in extended precision (of as many digits as the machine has)."""
    predictions = []
    for q in Q.astype(np.longdouble):
        exponents = -((q - X) ** 2).sum(axis=1) / 2
        weights = np.exp(exponents - exponents.max())
        predictions.append(weights @ y / weights.sum())
    return np.array(predictions)


def of_sknw(X, y, Q):
    def competitor(algorithm, dtype):
        model = NadarayaWatsonRegressor(bandwidth=1.0, algorithm=algorithm, n_jobs=THREADS, validation_samples=1)
        model.fit(X.astype(dtype), y)
        queries = Q.astype(dtype)
        return Competitor(lambda: model.predict(queries), len(X) * len(Q), lambda: model.predict(queries))

    return {
        FUSED64: competitor("fused", np.float64),
        FUSED32: competitor("fused", np.float32),
        "sknw dense float64": competitor("dense", np.float64),
    }


def of_torch(X, y, Q):
    """scaled_dot_product_attention, softmax(q.x) y: timed without the keys' norms, which is the fastest it can do.

    Its flash attention for CPUs wants values of the queries' dimension, so there are two variants. For the errors the
    norm becomes one more coordinate, (q, 1).(x, -||x||^2 / 2), which makes the function the same.
    """
    import torch

    torch.set_num_threads(THREADS)

    def competitor(n_columns):
        def attention(queries, keys):
            columns = np.pad(y[:, np.newaxis], [(0, 0), (0, (n_columns or keys.shape[1]) - 1)])
            q, k, v = (torch.from_numpy(array)[None, None] for array in (queries, keys, columns))

            def run():
                with torch.inference_mode():
                    return torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)[0, 0, :, 0].numpy()

            return run

        half_norms = (X.astype(np.float64) ** 2).sum(axis=1, keepdims=True) / 2
        with_norms = attention(
            np.hstack([Q[:N_CHECKED], np.ones((N_CHECKED, 1), np.float32)]),
            np.hstack([X, -half_norms.astype(np.float32)]),
        )
        return Competitor(attention(Q, X), len(X) * len(Q), with_norms)

    return {TORCH: competitor(1), TORCH_PADDED: competitor(None)}


def of_keops(X, y, Q):
    """Two sums in one reduction, faster than KeOps's own softmax; compiled once for each dimension and precision."""
    os.environ |= {"KEOPS_VERBOSE": "0", "PYKEOPS_VERBOSE": "0"}
    from pykeops.numpy import Vi, Vj

    def competitor(dtype):
        queries, keys = Q.astype(dtype), X.astype(dtype)
        columns = np.column_stack([np.ones(len(y)), y]).astype(dtype)

        def run():
            weights = (-Vi(queries).sqdist(Vj(keys)) / 2).exp()
            mass, moment = (weights * Vj(columns)).sum(axis=1).T
            with np.errstate(invalid="ignore"):  # 0 / 0 in float32 for a query far from all keys
                return moment / mass

        run()  # an error of its compiler shows here
        return Competitor(run, len(X) * len(Q), run)

    return {"KeOps float64": competitor(np.float64), "KeOps float32": competitor(np.float32)}


def of_numpy(X, y, Q):
    keys, queries = X.astype(np.float64), Q.astype(np.float64)
    half_norms = (keys**2).sum(axis=1) / 2

    def run():
        predictions = np.empty(len(queries))
        for start in range(0, len(queries), 100):
            rows = slice(start, start + 100)
            logits = queries[rows] @ keys.T - half_norms
            weights = np.exp(logits - logits.max(axis=1, keepdims=True))
            predictions[rows] = weights @ y / weights.sum(axis=1)
        return predictions

    return {"NumPy softmax float64": Competitor(run, len(X) * len(Q), run)}


def of_sklearn(X, y, Q):
    """Both on less data, for they take long: neighbours are sorted, a Gaussian process costs n^3 to fit."""
    X, Q = X.astype(np.float64), Q.astype(np.float64)

    def weights(distances):
        return np.exp(-(distances**2) / 2)

    neighbours = KNeighborsRegressor(len(X), weights=weights, algorithm="brute", n_jobs=THREADS).fit(X, y)
    few_queries = Q[:100]
    few = slice(0, 2000)
    process = GaussianProcessRegressor(RBF(1.0), alpha=0.1, optimizer=None).fit(X[few], y[few])

    def mean_of_neighbours():
        return neighbours.predict(few_queries)

    return {
        "KNeighborsRegressor, all, callable weights": Competitor(
            mean_of_neighbours, len(X) * len(few_queries), mean_of_neighbours
        ),
        "GaussianProcessRegressor, fixed kernel": Competitor(
            lambda: process.predict(Q), len(X[few]) * len(Q), predict=None
        ),
    }


def of_gemm():
    """Products of square matrices, for the multiply-adds that the machine can do."""

    def competitor(dtype):
        a = np.ones((1500, 1500), dtype)
        return Competitor(lambda: a @ a, len(a) ** 3, predict=None)

    return {name: competitor(dtype) for dtype, name in GEMM.items()}


def error(competitor, y, truth):
    """Largest error in units of the standard deviation of y."""
    return f"{float(np.abs(competitor.predict()[: len(truth)] - truth).max() / y.std()):.0e}"


def measure(n, m, d, n_rounds, groups):
    """Nanoseconds of each competitor per pair (per multiply-add for GEMM) and round, and the errors."""
    X, y, Q = make_data(n, m, d)
    competitors = of_gemm()
    for group in groups:
        competitors |= group(X, y, Q)
    truth = exact(X, y, Q[:N_CHECKED])
    errors = {name: error(competitor, y, truth) for name, competitor in competitors.items() if competitor.predict}
    seconds = interleaved_times({name: competitor.run for name, competitor in competitors.items()}, n_rounds)
    times = {name: 1e9 * seconds[name] / competitors[name].n_pairs for name in competitors}
    return times, errors


def usable_peers():
    """The optional competitors that work here; the others are named."""
    X, y, Q = make_data(2 * N_CHECKED, N_CHECKED, 2)
    peers = []
    for group, package in ((of_torch, "torch"), (of_keops, "pykeops")):
        try:
            group(X, y, Q)
            peers.append(group)
        except Exception as problem:  # whatever is wrong with a peer, the others can be measured
            print(f"Without {package}: {type(problem).__name__}: {problem}\n")
    return peers


def limits(times, d, fastest_gemm):
    """The time of a pair if every instruction were as fast as in GEMM, and how close the fused engine comes."""
    rows = {}
    for dtype, fused in ((np.float64, FUSED64), (np.float32, FUSED32)):
        limit = fastest_gemm[dtype] * operations_per_pair(d, dtype)
        rows[f"limit {dtype.__name__}, ns"] = limit
        rows[f"fused {dtype.__name__} / limit"] = np.median(times[fused]) / limit
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    quick = parser.parse_args().quick
    n, m, n_rounds = (5000, 2000, 2) if quick else (20_000, 4000, 9)
    dimensions = (2, 8) if quick else (1, 2, 8, 32, 128)

    print_machine("torch", "pykeops")
    groups = [of_sknw, *usable_peers(), of_numpy, of_sklearn]
    results = [measure(n, m, d, n_rounds, groups) for d in dimensions]
    all_times, all_errors = zip(*results, strict=True)
    names = [name for name in all_times[0] if name not in GEMM.values()]

    def print_rows(title, columns):
        header = [f"{n} keys, {m} queries", *(f"d = {d}" for d in dimensions)]
        print_table(title, header, [[name, *(column[name] for column in columns)] for name in columns[0]])

    nanoseconds = [{name: np.median(times[name]) for name in names} for times in all_times]
    print_rows("Nanoseconds per pair of query and key", nanoseconds)
    if of_torch in groups:
        fastest = [min(TORCH, TORCH_PADDED, key=column.get) for column in nanoseconds]
        print_rows(
            "Time relative to torch, the faster of its two variants",
            [
                {name: ratio(times, name, peer) for name in names}
                for times, peer in zip(all_times, fastest, strict=True)
            ],
        )
    fastest_gemm = {dtype: min(times[name].min() for times in all_times) for dtype, name in GEMM.items()}
    print_rows(
        "The limit: the fewest instructions that a pair needs, at the rate of GEMM's multiply-adds",
        [limits(times, d, fastest_gemm) for times, d in zip(all_times, dimensions, strict=True)],
    )
    print_rows(f"Largest error at {N_CHECKED} queries, in standard deviations of y", all_errors)


if __name__ == "__main__":
    main()
