"""Predictions by the worker processes of a dask cluster on this machine, and on paper by a large cluster.

Needs the extra `dask`: pip install scikit-nw[dask]
"""

import argparse
import time

import _common
import joblib
import numpy as np
from distributed import Client, LocalCluster

from sknw import NadarayaWatsonRegressor

N_FEATURES = 8
# (samples, queries, workers, threads of each) on paper
CLUSTERS = [
    (200_000, 200_000, 2, 1),
    (1_000_000, 1_000_000, 10, 16),
    (100_000_000, 1_000_000, 100, 32),
    (1_000_000_000, 1_000_000, 100, 32),
]
# The network on paper: bytes a second of each machine, and seconds until a message arrives.
BYTES_PER_SECOND, LATENCY = 1.25e9, 1e-3


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small problem, which measures the overhead only")
    parser.add_argument("--rows", type=int, default=200_000, help="samples, and queries")
    arguments = parser.parse_args()
    n_rows, n_rounds = (20_000, 1) if arguments.quick else (arguments.rows, 1)
    _common.print_machine("dask", "distributed", threads="one in each process")
    on_paper(measured(n_rows, n_rounds))


def measured(n_rows, n_rounds):
    """Print times of one process and of two workers; return the nanoseconds of a pair of query and sample."""
    rng = np.random.default_rng(0)
    X, Q = rng.normal(size=(2, n_rows, N_FEATURES))
    y = np.sin(X[:, 0]) + rng.normal(size=n_rows)
    model = NadarayaWatsonRegressor(bandwidth=0.5, validation_samples=100).fit(X, y)
    predictions = {}

    def predict_here():
        predictions["here"] = model.predict(Q)

    def predict_there():
        with joblib.parallel_config("dask"):
            predictions["there"] = model.predict(Q)

    processor = {}  # seconds of this process, and of the busier worker

    def clocks(client):
        return time.process_time(), np.array(list(client.run(time.process_time).values()))

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as processes,
        Client(processes) as client,
    ):
        times = _common.interleaved_times({"one process": predict_here, "two workers": predict_there}, n_rounds)
        for name, predict in [("one process", predict_here), ("two workers", predict_there)]:
            here, there = clocks(client)
            predict()
            here_after, there_after = clocks(client)
            processor[name] = here_after - here + (name == "two workers") * (there_after - there).max()
    seconds = {name: np.median(of_name) for name, of_name in times.items()}
    difference = np.abs(predictions["there"] - predictions["here"]).max() / y.std()
    rows = [
        ["seconds", *seconds.values(), _common.ratio(times, "one process", to="two workers")],
        [
            "processor seconds, one after the other",
            *processor.values(),
            processor["one process"] / processor["two workers"],
        ],
    ]
    _common.print_table(
        f"Prediction, {n_rows} samples and as many queries of {N_FEATURES} features, Gaussian kernel; "
        f"largest difference {difference:.1e} sd(y)",
        ["", "one process", "two workers", "times faster"],
        rows,
    )
    return 1e9 * processor["one process"] / n_rows**2


def on_paper(pair):
    """Print what large clusters send and how long they take, for the nanoseconds of a pair.

    Samples go to their workers once: d inputs, a target and a weight each. Queries go to every worker, from worker to
    worker, and each answers with a mass, a moment and a scale for each query; answers are merged in pairs.
    """
    rows = []
    for n, m, workers, threads in CLUSTERS:
        samples = 8 * n * (N_FEATURES + 2)
        rounds = np.ceil(np.log2(workers))
        queries, answer = 8 * m * N_FEATURES, 8 * m * 3
        sending = rounds * (LATENCY + (queries + answer) / BYTES_PER_SECOND)
        computing = 1e-9 * pair * n * m / (workers * threads)
        rows.append(
            [
                f"{n:.0e}",
                f"{m:.0e}",
                f"{workers} x {threads}",
                samples / workers / 1e9,
                samples / BYTES_PER_SECOND,
                workers * (queries + answer) / 1e9,
                sending,
                computing,
            ]
        )
    _common.print_table(
        f"On paper: {pair:.2f} ns a pair and thread, {BYTES_PER_SECOND / 1e9} GB a second, from one machine that has "
        "all samples",
        [
            "samples",
            "queries",
            "workers x threads",
            "samples of a worker, GB",
            "to send these once, s",
            "queries and answers, GB",
            "to send these, s",
            "sums, s",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
