"""Whether the tests notice when a line of the package is wrong.

Each mutation changes one line in a copy of the checkout and runs the tests that should fail then. One that survives
shows what no test holds. A mutation whose line is no longer there stops the script: change it with the line.

    python benchmarks/mutations.py              all of them, about half an hour
    python benchmarks/mutations.py _predictive  those whose file or lines contain this

Needs what the tests need. The exit status is 1 if a mutation survives.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]


class Mutation(NamedTuple):
    """In `file` under sknw/, `old`, which is there once, becomes `new`; `tests` are names of files."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


KERNELS, MEANS, LINES = ("test_kernels.py",), ("test_nadaraya_watson.py",), ("test_local_linear.py",)
PREDICTIVE, SELECTION, POLICY = ("test_distribution.py",), ("test_selection.py",), ("test_pooling.py",)
ENGINES = ("test_key_index.py",)
METRIC = ("test_learning.py", "test_attention_pooling.py")
SUBSAMPLE, CLUSTER = ("test_many_rows.py",), ("test_cluster.py",)
TREE, COMPACT, LINE_SUMS = ("test_sums_pruned_exponential.py",), ("test_sums_pruned.py",), ("test_line_sums.py",)

MUTATIONS = [
    # kernels
    Mutation("kernels.py", "ExponentialForm(rate=0.5, power=2)", "ExponentialForm(rate=0.51, power=2)", KERNELS),
    Mutation("kernels.py", "return -0.5 * self.rate", "return -1.0 * self.rate", KERNELS),
    Mutation("kernels.py", "outer = PolynomialForm(self.power, self.exponent - 1)", "outer = self", KERNELS),
    Mutation("kernels.py", "PolynomialForm(power=3, exponent=3)", "PolynomialForm(power=3, exponent=2)", KERNELS),
    Mutation("kernels.py", "np.sin(0.5 * np.pi * np.maximum", "np.sin(0.49 * np.pi * np.maximum", KERNELS),
    Mutation("kernels.py", "return self.exponent > 0", "return True", PREDICTIVE),
    # training data
    Mutation("_smoothing/training.py", "scales[is_constant] = 1.0", "scales[is_constant] = 2.0", MEANS),
    Mutation(
        "_smoothing/training.py",
        "weights @ scaled_squares(centred, means, largest)",
        "scaled_squares(centred, means, largest).mean(axis=0)",
        SELECTION,
    ),
    # queries without support
    Mutation("_smoothing/unsupported.py", "_TIE_ULPS = 8", "_TIE_ULPS = 100_000", MEANS),
    Mutation("_smoothing/unsupported.py", "_TIE_ULPS = 8", "_TIE_ULPS = 0", POLICY),
    # local lines
    Mutation("_smoothing/local_linear.py", "ACCURATE = 1e-6", "ACCURATE = 1e-12", LINES),
    Mutation("_smoothing/local_linear.py", "\nSINGULAR = 1e-10", "\nSINGULAR = 1e-2", PREDICTIVE),
    Mutation("_smoothing/local_linear.py", "_DEVIATIONS = 1e-15", "_DEVIATIONS = 1e-6", LINES),
    Mutation("_smoothing/local_linear.py", "heaviest = p.argmax(axis=1)", "heaviest = p.argmin(axis=1)", LINES),
    Mutation("_smoothing/local_linear.py", "xx -= x_mean[...", "xx -= 0.999 * x_mean[...", LINES),
    Mutation("_smoothing/local_linear.py", "max(x.shape[2] - x.shape[1], 0)", "0", LINES),
    Mutation("_smoothing/local_linear.py", "out=np.zeros_like(total)", "out=np.ones_like(total)", LINES),
    # intervals
    Mutation("_predictive/calibration.py", "np.arange(0, 60, 2)", "np.arange(0, 20, 2)", PREDICTIVE),
    Mutation("_predictive/calibration.py", "(counts.sum() + 1.0)", "counts.sum()", PREDICTIVE),
    Mutation("_predictive/calibration.py", " + _ROUNDING * len(counts)", " - 1e-6", PREDICTIVE),
    Mutation("_predictive/calibration.py", "(sums + pseudo_count * prior", "(sums + prior", PREDICTIVE),
    Mutation("_predictive/calibration.py", "at = min(int(rank), len(values)) - 1", "at = int(rank)", PREDICTIVE),
    Mutation("_predictive/calibration.py", "LARGEST_LEVERAGE = 0.5", "LARGEST_LEVERAGE = 1.0 - 1e-15", PREDICTIVE),
    Mutation("_predictive/jackknife.py", "line.ridge * (1.0 - removed)", "line.ridge + 0.0 * removed", PREDICTIVE),
    Mutation(
        "_predictive/jackknife.py", "leverage = removed * (1.0 + (inverse", "leverage = removed * ((inverse", PREDICTIVE
    ),
    Mutation("_predictive/jackknife.py", "- removed * t * residuals", "- removed * residuals", PREDICTIVE),
    # quantiles
    Mutation("_smoothing/attention.py", "NEGLIGIBLE = 1e-80", "NEGLIGIBLE = 1e-20", PREDICTIVE),
    Mutation("_smoothing/attention.py", "NEGLIGIBLE = 1e-80", "NEGLIGIBLE = 1e-300", PREDICTIVE),
    Mutation("_predictive/quantiles.py", "max(level - _ROUNDING, NEGLIGIBLE)", "max(level, NEGLIGIBLE)", PREDICTIVE),
    # what estimators share
    Mutation("estimators/attention.py", "with_settings(array.dtype == np.float32", "with_settings(True", MEANS),
    Mutation("_smoothing/training.py", "values += self.y_center", "values += 0.0", MEANS),
    Mutation("estimators/stored.py", '"scale": "common" if', '"scale": "features" if', ("test_pickle.py",)),
    # learning
    Mutation("_metric/optimizer.py", "LOG_RIDGE_VARIANCE_PENALTY = 0.01", "LOG_RIDGE_VARIANCE_PENALTY = 0.0", METRIC),
    Mutation(
        "_metric/optimizer.py",
        "strength * gamma * by_w, strength * by_ridge",
        "0.5 * strength * gamma * by_w, strength * by_ridge",
        METRIC,
    ),
    Mutation("_metric/optimizer.py", "(1.0 - 1.0 / len(w)) * self.penalty", "self.penalty", METRIC),
    Mutation("_smoothing/datafit.py", "return -2.0 / values", "return -2.1 / values", METRIC),
    Mutation("_metric/loss.py", "shrinkage @ self.ridge", "shrinkage.sum(axis=1)", METRIC),
    Mutation(
        "_metric/parametrization.py", "np.repeat(np.exp(logarithms)", "np.repeat(np.exp(0.9 * logarithms)", METRIC
    ),
    # the choice of the bandwidth
    Mutation("_selection/rules.py", "n * (d + 2) / 4", "n * (d + 4) / 4", SELECTION),
    Mutation("_selection/ridge_path.py", "mean_square / residual_dof**2", "mean_square / residual_dof", SELECTION),
    Mutation("_selection/ridge_path.py", "/ (residual_dof - 2 / n)", "/ residual_dof", SELECTION),
    Mutation("_selection/ridge_path.py", "log_samples - self.log_weights)", "log_samples)", SELECTION),
    Mutation("_selection/grid.py", "spacing.min() / 4.0", "spacing.min() * 4.0", SELECTION),
    Mutation("_selection/line_search.py", "SCORE_TOL = 1e-12", "SCORE_TOL = 1e-3", SELECTION),
    Mutation("_selection/diagnostics.py", "_MANY = 0.25", "_MANY = 0.75", ("test_advice.py",)),
    # engines: a line here for every tolerance and every formula of theirs
    Mutation("_kernel_sums/dense.py", "enumerate(mass < TINY)", "enumerate(mass < 0.0)", MEANS),
    Mutation("_kernel_sums/dense.py", "_MOST_SQUARINGS = 8", "_MOST_SQUARINGS = 60", ("test_sums.py",)),
    Mutation("_kernel_sums/scaled_sums.py", "np.maximum(*scales)", "np.minimum(*scales)", ("test_sums.py",)),
    Mutation(
        "_kernel_sums/index.py", "index._of_keys = self._of_keys", "index._of_columns = self._of_columns", ENGINES
    ),
    Mutation("_kernel_sums/derivative.py", "scale = 2.0 * factor", "scale = 1.0 * factor", PREDICTIVE),
    Mutation("_kernel_sums/sweep/engine.py", "(right - left)", "(right + left)", PREDICTIVE),
    Mutation("_kernel_sums/tiled/engine.py", "_IN_FLOAT32 = 12.0", "_IN_FLOAT32 = 1200.0", MEANS),
    # the tree of blocks
    Mutation("_kernel_sums/tree/exponential.py", ".min(axis=0) < TINY)", ".min(axis=0) < 0.0)", TREE),
    Mutation("_kernel_sums/tree/exponential.py", "eps / index.weights.sum()", "eps * 1e8", TREE),
    Mutation("_kernel_sums/tree/exponential.py", "share * np.exp(", "share + np.exp(", TREE),
    Mutation("_kernel_sums/tree/exponential.py", "np.isfinite(shift)", "np.isfinite(shift) | True", TREE),
    Mutation("_kernel_sums/tree/sparse_weights.py", "np.log2(negligible)", "np.log2(negligible) + 20", TREE),
    Mutation("_kernel_sums/tree/pairs.py", "inverse_permutation(self.keys.order, len(index))", "self.keys.order", TREE),
    Mutation("_kernel_sums/tree/compact.py", "EDGE if includes_edge else", "EDGE if not includes_edge else", COMPACT),
    Mutation("_kernel_sums/tree/compact.py", "end = indptr[queries.order]", "end = indptr[:-1].copy()", COMPACT),
    Mutation("_kernel_sums/tree/engine.py", "weights.sort_indices()", "pass", COMPACT),
    # the sums of lines
    Mutation("_kernel_sums/sweep/engine.py", "request.has_ranges or", "False or", LINE_SUMS),
    # shards of the keys
    Mutation("_kernel_sums/shards.py", "(np.clip(end - self.start, 0, n)", "((end - self.start)", CLUSTER),
    Mutation("_kernel_sums/shards.py", "if np.array_equal(last, w)", "if True", CLUSTER),
    Mutation(
        "_kernel_sums/shards.py", "return Shard, (self.index, self.start)", "return Shard, (self.index, 0)", CLUSTER
    ),
    # learning from some of many samples
    Mutation("_metric/subsample.py", "<= n_samples / 2", "<= 0", SUBSAMPLE),
    Mutation("_metric/subsample.py", "_LEAST_GROUPS = 20", "_LEAST_GROUPS = 0", SUBSAMPLE),
    Mutation("_metric/subsample.py", "ridge / factor**2", "ridge / factor", SUBSAMPLE),
    Mutation("_metric/subsample.py", "n_few == n or", "False or", SUBSAMPLE),
    Mutation("_metric/subsample.py", "< EXACT_FIT", "< 0.0", SUBSAMPLE),
    Mutation("_metric/subsample.py", "learned.ridge, 1.0 / width,", "learned.ridge, width,", SUBSAMPLE),
    Mutation("_metric/subsample.py", "_LEAST_GAIN = 1e-4", "_LEAST_GAIN = 1.0", SUBSAMPLE),
    Mutation("_metric/subsample.py", "(n / n_few) ** exponent", "(n_many / n_few) ** exponent", SUBSAMPLE),
    Mutation("_metric/subsample.py", "TYPICAL_EXPONENT = 1 / 6", "TYPICAL_EXPONENT = 1 / 3", SUBSAMPLE),
]


def run_tests(copy: Path, names: tuple[str, ...]) -> subprocess.CompletedProcess:
    """Run the files of those names, wherever they are below tests/, until a test fails."""
    paths = [str(path) for name in names for path in sorted((copy / "tests").rglob(name))]
    if len(paths) != len(names):
        sys.exit(f"not one file each: {', '.join(names)}")
    environment = os.environ | {"PYTHONPATH": str(copy), "NUMBA_CACHE_DIR": str(copy / "numba")}
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "--tb=no", "--no-header", "-p", "no:cacheprovider"]
    return subprocess.run([*command, *paths], cwd=copy, env=environment, capture_output=True, text=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only mutations whose file or lines contain one of these")
    words = parser.parse_args().words
    chosen = [m for m in MUTATIONS if not words or any(word in part for word in words for part in m[:3])]
    for mutation in MUTATIONS:
        found = (CHECKOUT / "sknw" / mutation.file).read_text().count(mutation.old)
        if found != 1:
            sys.exit(f"{mutation.file} has {mutation.old!r} {found} times: it must be there once")

    survivors = []
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for name in ["sknw", "tests"]:
            shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(CHECKOUT / "pyproject.toml", copy)
        # what fails anyway shows nothing; and compiled loops are in the cache from here on
        for names in dict.fromkeys(mutation.tests for mutation in chosen):
            print(f"without a mutation: {', '.join(names)}", flush=True)
            if (finished := run_tests(copy, names)).returncode:
                sys.exit(f"these fail without a mutation:\n{finished.stdout[-2000:]}{finished.stderr[-2000:]}")
        for mutation in chosen:
            file = copy / "sknw" / mutation.file
            whole, times = file.read_text(), file.stat()
            file.write_text(whole.replace(mutation.old, mutation.new))
            survives = run_tests(copy, mutation.tests).returncode == 0
            file.write_text(whole)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
            print(f"{'SURVIVED' if survives else 'killed  '}  {describe(mutation)}", flush=True)
            survivors += [mutation] if survives else []
    print(f"\n{len(chosen) - len(survivors)} of {len(chosen)} killed")
    for mutation in survivors:
        print(f"survived {', '.join(mutation.tests)}: {describe(mutation)}")
    return int(bool(survivors))


def describe(mutation: Mutation) -> str:
    return f"{mutation.file}: {mutation.old.strip()}  ->  {mutation.new.strip()}"


if __name__ == "__main__":
    sys.exit(main())
