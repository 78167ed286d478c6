"""Time of `import sknw` beside `import sklearn.neighbors`, each in a new interpreter, and what it loads."""

from _common import print_machine, print_table

# isort: split
import argparse
import subprocess
import sys

import numpy as np

SKNW, NEIGHBORS = "sknw", "sklearn.neighbors"
# Slow to import; to be loaded by the one who needs them.
HEAVY = ("numba", "matplotlib", "pandas")

SCRIPT = """
import sys, time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start, *(name for name in {heavy} if name in sys.modules))
"""


def import_in_new_process(module):
    """Seconds, and which of the heavy packages were loaded."""
    command = [sys.executable, "-c", SCRIPT.format(module=module, heavy=HEAVY)]
    seconds, *loaded = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return float(seconds), loaded


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds: only shows that everything runs")
    n_rounds = 2 if parser.parse_args().quick else 21
    print_machine()
    seconds = {module: np.empty(n_rounds) for module in (SKNW, NEIGHBORS)}
    loaded = {}
    for module in seconds:
        import_in_new_process(module)  # from disk into memory, and compiled to bytecode
    for i in range(n_rounds):
        for module in seconds:
            seconds[module][i], loaded[module] = import_in_new_process(module)
    rows = [
        [
            module,
            np.median(times),
            np.median(times / seconds[NEIGHBORS]),
            *("yes" if name in loaded[module] else "no" for name in HEAVY),
        ]
        for module, times in seconds.items()
    ]
    header = ["import", "seconds", f"relative to {NEIGHBORS}", *(f"loads {name}" for name in HEAVY)]
    print_table(f"Import in a new interpreter, median of {n_rounds}", header, rows)


if __name__ == "__main__":
    main()
