"""Names of the selectors, rules of thumb for the bandwidth, and the number of validation rows."""

from __future__ import annotations

from sknw.kernels import Kernel

CRITERIA = ("aicc", "gcv", "loo")
RULES = ("scott", "silverman")

# A pass of leave-one-out over the validation rows takes at most about this many kernel evaluations.
_MAX_EVALUATIONS = 4e8
# Local lines take at least this many rows, or as many as weighted means would if these are fewer.
_LEAST_ROWS_OF_LINES = 2000
# Kernel evaluations that one row of a fast sum counts for, by the number of features.
_FAST_GAUSSIAN = {1: 40, 2: 400, 3: 20_000}
_FAST_OF_ONE_FEATURE = 40
# A w is learned from at most the first number of samples, the second more for each of its numbers, and never from more
# than the third.
_LEARNED_FROM, _PER_NUMBER, _MOST_LEARNED_FROM = 2000, 50, 10_000
# The left-out predictions of attention pooling sum at most about this many terms, kernel evaluations times columns, and
# those of a learned w are at least the second number.
_MAX_TERMS, _LEAST_ROWS_OF_SCORE = 4e10, 400


def rule_of_thumb(rule: str, n: int, d: int) -> float:
    """The factor c: Scott's n^(-1 / (d + 4)) or Silverman's (n (d + 2) / 4)^(-1 / (d + 4)), n samples."""
    base = n if rule == "scott" else n * (d + 2) / 4
    return float(base ** (-1 / (d + 4)))


def n_validation_rows(n: int, d: int, kernel: Kernel, *, n_columns: int = 2) -> int:
    """The number of rows over which ``validation_samples="auto"`` averages the criterion: at most n, at least 1.

    It is r = floor(4e8 / E), with the E of `evaluations_per_row`. Local lines sum c columns, the weights, y, x, x x'
    and x y, in place of 2, the weights and y; of more than 2000 rows they take 2 r / c, but at least 2000.
    The formula knows the kernel's form and the size of the data only: engine, machine and number of threads do not
    change the rows.
    """
    rows = int(_MAX_EVALUATIONS / evaluations_per_row(n, d, kernel))
    return min(n, max(2 * rows // n_columns, min(rows, _LEAST_ROWS_OF_LINES), 1))


def evaluations_per_row(n: int, d: int, kernel: Kernel) -> int:
    """The number of kernel evaluations that the sum of one row counts for: n, or less where there are fast sums."""
    form = kernel.form
    if form is not None and form.family == "exponential" and form.power == 2:
        return min(n, _FAST_GAUSSIAN.get(d, n))
    if form is not None and d == 1 and form.power in ((1, 2, 3) if kernel.is_compact else (1,)):
        return min(n, _FAST_OF_ONE_FEATURE)
    return n


def n_learning_samples(n: int, n_numbers: int) -> int:
    """From how many of n samples a w of `n_numbers` numbers is learned: 2000 + 50 n_numbers, at most 10 000 and n.

    Samples enough for each number, and a bounded cost; without a step, as all samples are taken while they are fewer.
    """
    return min(n, _LEARNED_FROM + _PER_NUMBER * n_numbers, _MOST_LEARNED_FROM)


def n_validation_rows_of_attention(n: int, n_columns: int, *, is_learned: bool) -> int:
    """The same of attention pooling, whose score needs all pairs: r = min(4e8 / n, max(4e10 / (n c), 400)).

    c is the number of columns that are summed, as above: the time of more than a hundred, as of lines in 12 features or
    a category of 12 levels, is that of the columns. The score of a learned w rests on at least 400 rows.
    """
    rows = int(min(_MAX_EVALUATIONS / n, max(_MAX_TERMS / (n * n_columns), _LEAST_ROWS_OF_SCORE)))
    return min(n, max(rows, _LEAST_ROWS_OF_SCORE if is_learned else 1))
