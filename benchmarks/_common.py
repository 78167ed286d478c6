"""What the benchmarks share: two threads, interleaved timing, the machine, tables.

Import it before NumPy: the libraries read the number of threads when they are loaded.
"""

import os

THREADS = 2
for _library in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM", "RAYON_NUM", "POLARS_MAX"):
    os.environ[f"{_library}_THREADS"] = str(THREADS)

import platform
import sys
import time
from datetime import date
from importlib.metadata import PackageNotFoundError, version

import numpy as np

# The threads of OpenMP and OpenBLAS keep spinning for 0.1 s after the work, at the cost of whoever comes next.
_PAUSE = 0.2


def make_data(n, d):
    """One feature: the problem of the attention chapter. More: normal features, on which leave-one-out chooses a
    bandwidth of about 0.1 standard deviations with two features and n = 1e6."""
    from sknw.datasets import make_sine_power

    if d == 1:
        return make_sine_power(n, sort=False, random_state=0)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    return X, np.sin(X).sum(axis=1) + rng.standard_normal(n)


def interleaved_times(competitors, n_rounds):
    """Seconds that each of `competitors`, a dict of functions, takes in each of `n_rounds` rounds A B C A B C ...

    What else the machine does then falls on all alike, and a ratio within a round can be trusted more than the times.
    Each is called once before, to compile and to fill caches.
    """
    times = {name: np.empty(n_rounds) for name in competitors}
    for run in competitors.values():
        run()
    for i in range(n_rounds):
        for name, run in competitors.items():
            time.sleep(_PAUSE)
            start = time.perf_counter()
            run()
            times[name][i] = time.perf_counter() - start
    return times


def seconds_of(run):
    """Seconds that a function takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratio(times, name, to):
    """Median over the rounds of the ratio of two competitors' times."""
    return np.median(times[name] / times[to])


def peak_bytes():
    """The most that this process has held so far."""
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def print_machine(*peers, threads=THREADS):
    """Processor, system, date, and the versions of what takes part; `peers` are distributions that may be missing."""
    names = ("scikit-nw", "numpy", "scipy", "scikit-learn", "numba", *peers)
    versions = ", ".join(f"{name} {_version(name)}" for name in names)
    print(f"{_processor()}, {os.cpu_count()} cores, {platform.platform()}, {date.today()}")
    print(f"Python {platform.python_version()}, {versions}; threads: {threads}\n")


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _processor():
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def print_table(title, header, rows):
    """A Markdown table with aligned columns; the first is text, the others are numbers, None where there is none."""
    cells = [[str(cell) for cell in header], *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    print(f"{title}\n")
    for line in (cells[0], rule, *cells[1:]):
        numbers = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        print(f"| {' | '.join([line[0].ljust(widths[0]), *numbers])} |")
    print(flush=True)


def _text(cell):
    if cell is None:
        return ""
    return f"{cell:.{2 if cell >= 1 else 3}f}" if isinstance(cell, float) else str(cell)
