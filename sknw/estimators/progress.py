"""What a long prediction says of itself: how long it is expected to take, before it begins, and how much is done."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sknw._kernel_sums.registry import expected_seconds
from sknw._smoothing.smoother import Queries, Smoother

# A prediction that is expected to take fewer seconds says nothing.
LONG_SECONDS = 5.0
# A long one says this many times how much is done.
_N_REPORTS = 20


def report_progress(
    name: str, smoother: Smoother, queries: Queries, n_queries: int, batches: list[slice]
) -> Iterator[slice]:
    """Yield the batches of a prediction, smaller ones if it is expected to be long, and print how far it is.

    `name` is that of the estimator, and `queries` are those of the first batch.
    """
    algorithm, seconds = expected_seconds(smoother.request(queries), smoother.algorithm)
    seconds *= n_queries / max(len(queries), 1)
    if seconds < LONG_SECONDS:
        yield from batches
        return
    print(
        f"[{name}] prediction of {n_queries} queries from {len(smoother.index)} samples by algorithm={algorithm!r}: "
        f"expected to take {_duration(seconds)}"
    )
    size = min(len(queries), -(-n_queries // _N_REPORTS))
    begin = time.perf_counter()
    for start in range(0, n_queries, size):
        stop = min(start + size, n_queries)
        yield slice(start, stop)
        left = (time.perf_counter() - begin) * (n_queries - stop) / stop
        print(f"[{name}] {100 * stop // n_queries} % predicted, {_duration(left)} left")


def _duration(seconds: float) -> str:
    """About how long, in the largest unit of which there are two or more."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit}"
    return f"about {seconds:.0f} seconds"
