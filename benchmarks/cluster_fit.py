"""Fits to dask arrays whose rows stay on the workers: what this process gets, whether they are the same, and on paper.

Needs the extra `dask`: pip install scikit-nw[dask]
"""

import argparse
import time
import tracemalloc

import _common
import dask.array
import numpy as np
from distributed import Client, LocalCluster

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonClassifier, NadarayaWatsonRegressor

N_FEATURES, N_QUERIES = 8, 1000
# Rows of a group, and levels of the first feature where that is a category.
GROUP_SIZE, N_LEVELS = 20, 12
# Validation samples, on paper and measured, and passes over them of a search for the bandwidth.
N_VALIDATED, N_PASSES = 1000, 45
# (samples, workers, threads of each) on paper
CLUSTERS = [(1_000_000, 10, 16), (100_000_000, 100, 32), (1_000_000_000, 100, 32)]
# The network on paper: bytes a second of each machine.
BYTES_PER_SECOND = 1.25e9
# Of each row this process is sent the target, the number of the row, and whether it differs from the one before.
BYTES_SENT_HERE = 8 + 8 + 2


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small problem")
    parser.add_argument("--rows", type=int, default=200_000)
    arguments = parser.parse_args()
    n_rows = 30_000 if arguments.quick else arguments.rows
    _common.print_machine("dask", "distributed", threads="one in each process")
    on_paper(measured(n_rows), nanoseconds_of_a_pair(n_rows))


def measured(n_rows):
    """Print what a fit takes in this process, and how far it is from one in memory; return its bytes for each row.

    The bytes are those of a fit to numbers, at most: others also get rows that are drawn, few among very many.
    """
    models = {
        "bandwidth in numbers": NadarayaWatsonRegressor(bandwidth=0.8),
        "the same, its groups left out": NadarayaWatsonRegressor(bandwidth=0.8),
        "the same, with a category": NadarayaWatsonRegressor(bandwidth=0.8, categorical_features=[0]),
        "the same, of classes": NadarayaWatsonClassifier(bandwidth=0.8),
        "the same, of lines": LocalLinearRegressor(bandwidth=0.8),
        "bandwidth chosen": NadarayaWatsonRegressor(),
        "w in numbers": AttentionPoolingRegressor(w=1.0),
        "w learned": AttentionPoolingRegressor(),
    }
    rows, most = [], 0.0
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as processes,
        Client(processes),
    ):
        X = dask.array.random.default_rng(0).normal(size=(n_rows, N_FEATURES), chunks=(n_rows // 10, N_FEATURES))
        y = np.sin(2.0 * X[:, 0]) + X[:, 1] + dask.array.random.default_rng(1).normal(size=n_rows, chunks=n_rows // 10)
        groups = dask.array.arange(n_rows, chunks=n_rows // 10) // GROUP_SIZE
        in_levels = dask.array.concatenate([dask.array.round(X[:, :1] * 2) % N_LEVELS, X[:, 1:]], axis=1)
        queries = np.random.default_rng(2).normal(size=(N_QUERIES, N_FEATURES))
        for name, model in models.items():
            learns = name == "w learned"
            model.set_params(random_state=0, validation_samples="auto" if learns else N_VALIDATED)
            inputs = in_levels if name.endswith("category") else X
            targets = y > 1.0 if name.endswith("classes") else y
            of_rows = groups if name.endswith("groups left out") else None
            tracemalloc.start()
            model.fit(inputs, targets, groups=of_rows)
            kept, peak = (n_bytes / n_rows for n_bytes in tracemalloc.get_traced_memory())
            tracemalloc.stop()
            found = what_was_found(model, queries)
            here = [None if array is None else array.compute() for array in (inputs, targets, of_rows)]
            model.fit(*here[:2], groups=here[2])
            pairs = zip(found, what_was_found(model, queries), strict=True)
            differences = [np.abs(a - b).max() / np.abs(b).max() for a, b in pairs]
            rows.append([name, 8 * N_FEATURES, kept, peak, *(f"{difference:.0e}" for difference in differences)])
            most = max(most, peak) if name == "bandwidth in numbers" else most
    _common.print_table(
        f"Fits to {n_rows} rows of {N_FEATURES} features on two workers, {N_VALIDATED} validation samples; differences "
        "from a fit in memory, relative to the largest value",
        [
            "",
            "bytes of a row of X",
            "bytes a row here",
            "at most",
            "difference of bandwidth or w",
            "of predictions",
            "of `loo_score_` or `loo_log_loss_`",
        ],
        rows,
    )
    return most


def what_was_found(model, queries):
    """The bandwidth or w, predictions, and the score of left-out predictions."""
    numbers = model.w_ if hasattr(model, "w_") else model.bandwidth_
    if hasattr(model, "predict_proba"):
        return numbers, model.predict_proba(queries), model.loo_log_loss_
    return numbers, model.predict(queries), model.loo_score_


def nanoseconds_of_a_pair(n_rows):
    """Processor time of a query and a sample, of the Gaussian kernel by brute force."""
    X = np.random.default_rng(0).normal(size=(n_rows, N_FEATURES))
    model = NadarayaWatsonRegressor(bandwidth=0.8, validation_samples=100, algorithm="fused").fit(X, X[:, 0])
    model.predict(X[:100])
    begin = time.process_time()
    model.predict(X[:N_QUERIES])
    return 1e9 * (time.process_time() - begin) / (n_rows * N_QUERIES)


def on_paper(bytes_here, pair):
    """Print what a fit that chooses the bandwidth sends, and how long it takes, for the nanoseconds of a pair.

    Rows go once from the worker that has read them to that of their shard, all workers at a time.
    """
    rows = []
    for n, workers, threads in CLUSTERS:
        moved = 8 * (N_FEATURES + 2) * n * (1.0 - 1.0 / workers) / workers
        rows.append(
            [
                f"{n:.0e}",
                f"{workers} x {threads}",
                8 * (2 * N_FEATURES + 2) * n / workers / 1e9,
                moved / 1e9,
                moved / BYTES_PER_SECOND,
                bytes_here * n / 1e9,
                BYTES_SENT_HERE * n / BYTES_PER_SECOND,
                1e-9 * pair * N_PASSES * N_VALIDATED * n / (workers * threads),
            ]
        )
    _common.print_table(
        f"A fit on paper: {N_FEATURES} features, {N_VALIDATED} validation samples, {N_PASSES} passes, {pair:.2f} ns a "
        f"pair and thread, {BYTES_PER_SECOND / 1e9} GB a second",
        [
            "samples",
            "workers x threads",
            "memory of a worker, GB",
            "rows that a worker sends, GB",
            "to send these, s",
            "memory of this process, at most, GB",
            "to send to this process, s",
            "sums, s",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
