"""Every engine over a grid of requests: the one that algorithm="auto" takes, and how much slower it is than the best.

The numbers in sknw/_kernel_sums/costs.py come from these times; loading compiled loops is not counted.
"""

from _common import print_machine, print_table

# isort: split
import argparse
import json
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.registry import ENGINES, Dispatcher
from sknw._kernel_sums.request import KernelSumRequest, LeaveOut
from sknw.kernels import resolve_kernel

KERNELS = ("gaussian", "exponential", "epanechnikov", "tricube")
# An engine that says it takes longer, and so many times as long as another, is not asked.
_MOST_SECONDS, _MOST_TIMES = 0.3, 10.0
# A single call is enough.
_LONG = 0.1


def request_of(kernel, n, m, d, h):
    """Leave-one-out at n = m, else prediction; standard normal inputs."""
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(n, d))
    if d == 1:
        keys.sort(axis=0)  # as a fit has them
    queries = keys if m == n else rng.normal(size=(m, d))
    leave_out = LeaveOut.own(np.arange(n)) if m == n else None
    index = KeyIndex(keys, np.ones(n), rng.normal(size=(n, 1)))
    return KernelSumRequest(resolve_kernel(kernel), index, queries, leave_out, np.array([h]))


def seconds_of(engine, request, n_rounds):
    """Of the processor, the median of several calls; the first, which loads and compiles, does not count.

    Each is about a new index: what is kept of the keys would be made only once.
    """
    times = []
    while len(times) <= n_rounds and not (len(times) == 2 and times[-1] > _LONG):
        index = request.index
        request = replace(request, index=KeyIndex(index.keys, index.weights, index.columns))
        start = time.process_time()
        engine.compute(request)
        times.append(time.process_time() - start)
    return float(np.median(times[1:]))


def row_of(kernel, n, m, d, h, n_rounds):
    request = request_of(kernel, n, m, d, h)
    expected = {
        name: engine.estimate_seconds(request) for name, engine in ENGINES.items() if engine.refusal(request) is None
    }
    most = max(_MOST_SECONDS, _MOST_TIMES * min(expected.values()))
    asked = [name for name, seconds in expected.items() if seconds <= most]
    taken = {name: seconds_of(ENGINES[name], request, n_rounds) for name in asked}
    # for many passes, so that loading does not count
    chosen = Dispatcher().choose(request, "auto", n_passes=10**6).name
    times = [1e3 * taken[name] if name in taken else None for name in ENGINES]
    return [kernel, n, m, d, h, *times, chosen, taken[chosen] / min(taken.values()), expected[chosen] / taken[chosen]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and few: only shows that everything runs")
    parser.add_argument("--records", type=Path, help="file to which all times are added, as JSON lines")
    arguments = parser.parse_args()
    quick = arguments.quick
    print_machine()
    sizes = [(300, 300)] if quick else [(300, 300), (3000, 3000), (30_000, 30_000), (100_000, 300), (200_000, 20_000)]
    rows = []
    for kernel, d, (n, m), h in product(KERNELS, (1, 2, 3), sizes, (0.02, 0.2, 1.0)):
        rows.append(row_of(kernel, n, m, d, h, 1 if quick else 2))
        if arguments.records:
            with arguments.records.open("a") as lines:
                lines.write(json.dumps(rows[-1], default=float) + "\n")
    header = ["kernel", "n", "m", "d", "h", *(f"{name}, ms" for name in ENGINES), "auto", "to the best", "expected"]
    print_table("One bandwidth, one thread", header, rows)
    ratios = np.array([row[-2] for row in rows])
    print(f"auto is more than 1.5 times slower than the best in {np.mean(ratios > 1.5):.0%} of {len(rows)} requests")


if __name__ == "__main__":
    main()
