"""Sums of a compact kernel over the pairs in reach only, beside brute force; sparse attention weights.

The first table also says what algorithm="auto" takes, and how much longer that takes than the faster engine: the
costs of trees in sknw/_kernel_sums/costs.py come from it. One thread.
"""

from _common import interleaved_times, print_machine, print_table, ratio

# isort: split
import argparse
from dataclasses import replace

import numpy as np
from sklearn.neighbors import KNeighborsRegressor, NearestNeighbors

from sknw import NadarayaWatsonRegressor
from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.registry import ENGINES
from sknw._kernel_sums.request import KernelSumRequest
from sknw.kernels import Epanechnikov


def normal(rng, n, d):
    return rng.normal(size=(n, d))


def clusters(rng, n, d):
    return 3.0 * rng.normal(size=(20, d))[rng.integers(0, 20, n)] + 0.1 * rng.normal(size=(n, d))


def heavy_tails(rng, n, d):
    return rng.standard_t(1.5, size=(n, d))


def request_of(shape, n, m, d, h):
    """n keys and m queries with standard deviations of 1 / h in each feature."""
    rng = np.random.default_rng(0)
    points = shape(rng, n + m, d)
    points /= h * points.std(axis=0)
    index = KeyIndex(points[:n], np.ones(n), rng.normal(size=(n, 1)))
    return KernelSumRequest(Epanechnikov(), index, points[n:])


def compute_anew(name, request):
    """The sums about a new index: trees of the keys would be built only once."""
    index = KeyIndex(request.keys, request.weights, request.columns)
    return ENGINES[name].compute(replace(request, index=index))


def engines(shapes, sizes, features, bandwidths, n_rounds):
    rows = []
    for shape, (n, m), d, h in [(s, nm, d, h) for s in shapes for nm in sizes for d in features for h in bandwidths]:
        request = request_of(shape, n, m, d, h)
        competitors = {name: lambda name=name, r=request: compute_anew(name, r) for name in ("fused", "pruned")}
        seconds = interleaved_times(competitors, n_rounds)
        taken = min(competitors, key=lambda name, r=request: ENGINES[name].estimate_seconds(r))
        best = min(seconds, key=lambda name, s=seconds: np.median(s[name]))
        in_reach = np.diff(ENGINES["pruned"].weight_pairs(request, 0.0, None).indptr).mean() / n
        rows.append(
            [
                f"{shape.__name__}, n = {n}, m = {m}, d = {d}, h = {h}",
                100.0 * in_reach,
                1e3 * np.median(seconds["fused"]),
                1e3 * np.median(seconds["pruned"]),
                ratio(seconds, "fused", "pruned"),
                taken,
                ratio(seconds, taken, best),
            ]
        )
    header = [
        "h in standard deviations",
        "pairs in reach, %",
        "fused, ms",
        "pruned, ms",
        "fused / pruned",
        "auto",
        "auto / best",
    ]
    print_table("Epanechnikov, one output", header, rows)
    print(f"auto / best: at most {max(row[-1] for row in rows):.2f}\n")


def neighbours(n, n_rounds):
    rng = np.random.default_rng(0)
    X, Q, y = rng.normal(size=(n, 2)), rng.normal(size=(n, 2)), rng.normal(size=n)
    h = 0.1
    pruned_model, dense_model = (
        NadarayaWatsonRegressor("epanechnikov", h, algorithm=name).fit(X, y) for name in ("pruned", "dense")
    )
    weights = pruned_model.attention_weights_(Q, sparse_output=True)
    k = max(weights.nnz // n, 1)
    knn, nearest = KNeighborsRegressor(k).fit(X, y), NearestNeighbors(radius=h).fit(X)
    competitors = {
        "predict": lambda: pruned_model.predict(Q),
        f"KNeighborsRegressor({k}).predict": lambda: knn.predict(Q),
        "attention_weights_(sparse_output=True)": lambda: pruned_model.attention_weights_(Q, sparse_output=True),
        "attention_weights_(top_k=5)": lambda: pruned_model.attention_weights_(Q, top_k=5),
        "attention_weights_(sparse_output=True), dense": lambda: dense_model.attention_weights_(Q, sparse_output=True),
        "radius_neighbors_graph(mode='distance')": lambda: nearest.radius_neighbors_graph(Q, mode="distance"),
    }
    seconds = interleaved_times(competitors, n_rounds)
    rows = [[name, 1e3 * np.median(seconds[name]), ratio(seconds, name, "predict")] for name in competitors]
    print_table(
        f"n = m = {n}, d = 2, h = 0.1 sd, {weights.nnz} pairs in reach", ["", "ms", "in units of predict"], rows
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    quick = parser.parse_args().quick
    print_machine()
    if quick:
        engines([normal], [(500, 200)], [2], [0.3], 2)
        neighbours(500, 2)
        return
    shapes, sizes = [normal, clusters, heavy_tails], [(10_000, 10_000), (100_000, 1000)]
    engines(shapes, sizes, [2, 3, 5, 10], [0.03, 0.1, 0.3, 1.0, 3.0], 3)
    neighbours(20_000, 5)


if __name__ == "__main__":
    main()
