"""Names of the selectors, rules of thumb for the bandwidth, and the number of validation rows."""

from __future__ import annotations

from sknw.kernels import Kernel

CRITERIA = ("aicc", "gcv", "loo")
RULES = ("scott", "silverman")

# A pass of leave-one-out over the validation rows takes at most about this many kernel evaluations.
_MAX_EVALUATIONS = 4e8
# Kernel evaluations that one row of a fast sum counts for, by the number of features.
_FAST_GAUSSIAN = {1: 40, 2: 400, 3: 20_000}
_FAST_OF_ONE_FEATURE = 40


def rule_of_thumb(rule: str, n: int, d: int) -> float:
    """The factor c: Scott's n^(-1 / (d + 4)) or Silverman's (n (d + 2) / 4)^(-1 / (d + 4)), n samples."""
    base = n if rule == "scott" else n * (d + 2) / 4
    return float(base ** (-1 / (d + 4)))


def n_validation_rows(n: int, d: int, kernel: Kernel, *, all_pairs: bool = False, n_columns: int = 2) -> int:
    """The number of rows over which ``validation_samples="auto"`` averages the criterion.

    It is n if n E c / 2 <= 4e8, else max(floor(4e8 / (E c / 2)), 1). E is the number of kernel evaluations that the sum
    of one row counts for: n, or at most the numbers above where there are fast sums and not `all_pairs` are needed. c
    is the number of columns summed: 2 for weighted means, the weights and y; for local lines also x, x x' and x y. The
    formula knows the kernel's form and the size of the data only: engine, machine and number of threads do not change
    the rows.
    """
    form, evaluations = kernel.form, float(n)
    if form is not None and not all_pairs:
        if form.family == "exponential" and form.power == 2:
            evaluations = min(n, _FAST_GAUSSIAN.get(d, n))
        elif d == 1 and form.power in ((1, 2, 3) if kernel.is_compact else (1,)):
            evaluations = min(n, _FAST_OF_ONE_FEATURE)
    evaluations *= n_columns / 2
    return n if n * evaluations <= _MAX_EVALUATIONS else max(int(_MAX_EVALUATIONS / evaluations), 1)
