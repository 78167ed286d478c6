"""How the time of choosing a bandwidth and predicting at all n samples grows with n, beside other Python packages.

Each case (smoother, n, number of features) has a process of its own, which also gives its peak of memory. The error is
the largest, over 64 random samples and the outermost in each feature, against the exact answer for the same kernel and
bandwidth, in standard deviations of y. A smoother is not tried where its growth so far says that a call would take
longer than the limit.
"""

from _common import make_data, peak_bytes, print_machine, print_table

# isort: split
import argparse
import json
import subprocess
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from math import log
from pathlib import Path

import numpy as np
from _scaling_picture import draw
from _smoothers import OURS, PEERS, SMOOTHERS, make

SIZES = {1: [10**k for k in range(3, 8)], 2: [10**k for k in range(3, 7)], 3: [10**k for k in range(3, 7)]}
TASKS = {"chosen": "Bandwidth chosen by the smoother", "given": "Bandwidth given"}
_REPEATS, _ENOUGH = 6, 8.0  # calls, seconds


def timed(run):
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def seconds_of_calls(name, given, X, y):
    """Seconds of fit and predict in each of several calls, the last smoother and its predictions.

    The first call loads and compiles; it does not count unless it is the only one.
    """
    seconds = []
    while len(seconds) < _REPEATS and np.sum(seconds) < _ENOUGH:
        smoother = prediction = None  # frees the memory of the call before
        smoother = make(name, given)
        fit = timed(lambda: smoother.fit(X, y))[0]  # noqa: B023
        predict, prediction = timed(lambda: smoother.predict(X))  # noqa: B023
        seconds.append([fit, predict])
    return np.array(seconds[1:] or seconds), smoother, prediction


def argsort_seconds(X):
    return float(np.median([timed(lambda: np.argsort(X[:, 0]))[0] for _ in range(5)]))


def largest_error(smoother, prediction, X, y):
    random = np.random.default_rng(1).choice(len(X), 64)
    rows = np.unique([*random, *X.argmin(axis=0), *X.argmax(axis=0)])
    exact = smoother.exact(X, y, rows)
    return None if exact is None else float(np.abs(prediction[rows] - exact).max() / y.std())


def measure(name, task, n, d):
    """The figures of one case; runs in a process of its own."""
    warnings.simplefilter("ignore")
    X, y = make_data(n, d)
    small = make(name, task == "given")
    small.fit(X[:200], y[:200])
    small.predict(X[:200])
    seconds, smoother, prediction = seconds_of_calls(name, task == "given", X, y)
    peak = peak_bytes()
    fit, predict = np.median(seconds, axis=0)
    return {
        "fit": fit,
        "predict": predict,
        "seconds": float(np.median(seconds.sum(axis=1))),
        "argsort": argsort_seconds(X),
        "peak": peak,
        "error": largest_error(smoother, prediction, X, y),
    }


def measure_in_new_process(name, task, n, d, limit):
    """Like `measure`; where that fails or takes too long, a dict that says so."""
    command = [sys.executable, __file__, "--case", name, task, str(n), str(d)]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=4 * limit + 60)
    except subprocess.TimeoutExpired:
        return {"failure": f"took longer than {limit:g} s"}
    if finished.returncode:
        lines = finished.stderr.strip().splitlines() or [f"exit code {finished.returncode}"]
        return {"failure": lines[-1][:200]}
    return json.loads(finished.stdout.splitlines()[-1])


def expected_seconds(n, records):
    """How long a smoother will take, from its `records` for smaller n, in order; quadratic growth if there is one."""
    exponent = 2.0 if len(records) == 1 else max(1.0, growth_exponent(records[-2:]))
    return records[-1]["seconds"] * (n / records[-1]["n"]) ** exponent


def reason_to_skip(name, n, d, records, limit):
    """Why a smoother is not tried, or None. `records` are those for smaller n."""
    smoother = SMOOTHERS[name][0]
    if name in PEERS and installed_version(smoother.distribution) is None:
        return f"{smoother.distribution} is not installed"
    if d > smoother.max_features:
        return "takes one feature only"
    if records and "failure" in records[-1]:
        return records[-1]["failure"]
    measured = [record for record in records if "seconds" in record]
    if measured and (expected := expected_seconds(n, measured)) > limit:
        return f"expected to take {expected:.0f} s"
    return None


def installed_version(distribution):
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


class Cache:
    """What was measured in a file of JSON lines, so that a later run need not measure it again: peers, or all."""

    def __init__(self, path, with_ours):
        self.path, self.names = path, SMOOTHERS if with_ours else PEERS
        lines = path.read_text().splitlines() if path and path.exists() else []
        self.records = [json.loads(line) for line in lines]

    def get(self, case):
        """The record of a case, marked as an earlier one, or None."""
        found = [record for record in self.records if case.items() <= record.items() and case["name"] in self.names]
        return found[-1] | {"earlier": True} if found else None

    def put(self, record):
        if self.path and "seconds" in record and record["name"] in self.names:
            with self.path.open("a") as lines:
                lines.write(json.dumps(record) + "\n")


def run_all(names, tasks, sizes, limit, cache):
    """Records of all cases, smoother after smoother at each n, so that those of one n are measured close in time."""
    records = []
    cases = [(d, task, n, name) for d in sizes for task in tasks for n in sizes[d] for name in names]
    for d, task, n, name in cases:
        case = {"name": name, "version": installed_version(SMOOTHERS[name][0].distribution)}
        case |= {"task": task, "n": n, "d": d}
        smaller = [record for record in records if (record["name"], record["task"], record["d"]) == (name, task, d)]
        if earlier := cache.get(case):
            records.append(earlier)
        elif reason := reason_to_skip(name, n, d, smaller, limit):
            records.append(case | {"failure": reason})
        else:
            print(f"bandwidth {task}, d = {d}, n = {n:g}: {name}", file=sys.stderr)
            records.append(case | measure_in_new_process(name, task, n, d, limit))
            cache.put(records[-1])
    return records


def growth_exponent(records):
    """Slope of log seconds on log n, over the last two decades or as much of them as was measured."""
    last = [record for record in records if record["n"] >= records[-1]["n"] / 100]
    if len(last) < 2:
        return None
    return log(last[-1]["seconds"] / last[0]["seconds"]) / log(last[-1]["n"] / last[0]["n"])


def select(records, **conditions):
    """The records that have been measured and meet the conditions."""
    return [r for r in records if "seconds" in r and all(r[key] == value for key, value in conditions.items())]


def print_results(records):
    for d in sorted({record["d"] for record in records}):
        for task in TASKS:
            if chosen := select(records, d=d, task=task):
                title = f"{TASKS[task]}, {d} feature{'s' * (d > 1)}"
                print_matrix(f"{title}: seconds of fit and predict", chosen, "seconds", "{:.2g}")
                print_matrix(f"{title}: largest error, in standard deviations of y", chosen, "error", "{:.0e}")
                print_ours(f"{title}: sknw in detail", chosen)
    print_not_measured(records)


def print_matrix(title, records, key, form):
    """Smoothers by sizes; with the seconds also their growth and np.argsort."""
    sizes = sorted({record["n"] for record in records})
    rows = []
    for name in dict.fromkeys(record["name"] for record in records):
        own = {record["n"]: record for record in select(records, name=name)}
        values = [own[n][key] if n in own else None for n in sizes]
        rows.append([name, *(None if value is None else form.format(value) for value in values)])
        if key == "seconds":
            rows[-1].append(growth_exponent(list(own.values())))
    header = ["n", *(f"{n:g}" for n in sizes)]
    if key == "seconds":
        header.append("growth")
        medians = [np.median([record["argsort"] for record in select(records, n=n)]) for n in sizes]
        rows.append(["np.argsort of one feature", *(form.format(median) for median in medians), None])
    print_table(title, header, [row for row in rows if any(cell is not None for cell in row[1:])])


def print_ours(title, records):
    """Ours beside np.argsort in the same process, and beside the peers of the same n: the fastest, and the fastest of
    those with an error below 1e-10."""
    rows = []
    for record in records:
        if record["name"] not in OURS:
            continue
        peers = [peer for peer in select(records, n=record["n"]) if peer["name"] in PEERS]
        correct = [peer for peer in peers if peer["error"] is not None and peer["error"] < 1e-10]
        rows.append(
            [
                f"{record['name']}, n = {record['n']:g}",
                *(f"{record[key]:.2g}" for key in ("fit", "predict")),
                f"{record['seconds'] / record['argsort']:.0f}",
                *(compared_with_fastest(record, group) for group in (peers, correct)),
                f"{record['peak'] / 1e6:.0f}",
            ]
        )
    header = ["", "fit, s", "predict, s", "argsorts", "times faster than the fastest peer"]
    header += ["than the fastest correct peer", "peak memory, MB"]
    if rows:
        print_table(title, header, rows)


def compared_with_fastest(record, peers):
    if not peers:
        return None
    fastest = min(peers, key=lambda peer: peer["seconds"])
    return f"{fastest['seconds'] / record['seconds']:.2g} ({fastest['name']})"


def print_not_measured(records):
    """Where each smoother stopped, and why; and which were not measured in this run."""
    first = {}
    for record in records:
        if "failure" in record:
            first.setdefault((record["name"], record["task"], record["d"]), record)
    if earlier := sorted({record["name"] for record in records if "earlier" in record}):
        print(f"Measured in an earlier run, at least in part: {', '.join(earlier)}\n")
    for (name, task, d), record in first.items():
        print(f"Not measured from n = {record['n']:g}: {name}, bandwidth {task}, d = {d}: {record['failure']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    parser.add_argument("--smoothers", nargs="+", metavar="NAME", help="only those whose names begin so")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--features", nargs="+", type=int, choices=SIZES, default=list(SIZES))
    parser.add_argument("--sizes", nargs="+", type=float, help="only these numbers of samples")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that a call may take")
    parser.add_argument("--cache", type=Path, help="file of measured peers, read and written")
    parser.add_argument("--in-pieces", action="store_true", help="with the cache: also of ours, from run to run")
    parser.add_argument("--picture", type=Path, help="where to draw the times, by the ending PNG, SVG, ...")
    parser.add_argument("--case", nargs=4, metavar=("NAME", "TASK", "N", "D"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        name, task, n, d = arguments.case
        print(json.dumps(measure(name, task, int(n), int(d))))
        return
    names = [name for name in SMOOTHERS if name.startswith(tuple(arguments.smoothers or [""]))]
    sizes = {d: [int(n) for n in arguments.sizes or SIZES[d] if n <= SIZES[d][-1]] for d in arguments.features}
    if arguments.quick:
        sizes = {d: [500, 2000] for d in arguments.features}
        arguments.limit = 2.0
    print_machine(*sorted({cls.distribution for cls, _ in PEERS.values()} - {"scikit-learn"}))
    records = run_all(names, arguments.tasks, sizes, arguments.limit, Cache(arguments.cache, arguments.in_pieces))
    print_results(records)
    if arguments.picture:
        draw(select(records, task="chosen"), arguments.picture)


if __name__ == "__main__":
    main()
