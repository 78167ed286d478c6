"""Regression problems to test on, and kernels as sknw and as the oracle know them."""

import numpy as np
import oracle
from sklearn.base import clone

from sknw.kernels import Kernel, PowerExponential

ENGINES = ["dense", "fused"]

# name of the test case: (the `kernel` parameter, the oracle's kernel)
KERNELS = {
    **{name: (name, name) for name in oracle.NAMES},
    "power 0.5": (PowerExponential(power=0.5), 0.5),
    "power 1.5": (PowerExponential(power=1.5), 1.5),
}
# One of each form, and one that has an edge.
FORMS = ["gaussian", "exponential", "power 0.5", "tophat", "tricube", "cosine"]

# The sorted engine is compiled for each kernel, which takes seconds: it is tested with one of each kind, and
# test_sums_sorted.py holds the numbers that it makes the others of to their formulas.
OF_SORTED = ["exponential", "tophat", "epanechnikov", "tricube", "cosine"]

# What `algorithm` may be.
ALGORITHMS = ["auto", "dense", "fused", "sorted", "expansion", "pruned"]


def takes(kernel, d, algorithm):
    """Whether an algorithm takes a kernel of `KERNELS` and d features."""
    if algorithm == "sorted":
        return d == 1 and kernel in [*oracle.COMPACT, "exponential"]
    if algorithm == "expansion":
        return d <= 3 and kernel == "gaussian"
    return True


def engine_cases(kernels, dimensions, accepted=True):
    """Every kernel and number of features with the algorithms that take them, or with those that do not.

    The sorted engine with the kernels `OF_SORTED`.
    """
    cases = [
        {"kernel": kernel, "d": d, "algorithm": algorithm}
        for kernel in kernels
        for d in dimensions
        for algorithm in ALGORITHMS
    ]
    cases = [case for case in cases if takes(**case) is accepted]
    return [case for case in cases if not accepted or case["algorithm"] != "sorted" or case["kernel"] in OF_SORTED]


# Agreement with the oracle, in units of the scale of y.
TOLERANCE = 1e-10
# float32 arithmetic may put an error of 5e-6 on an exponent, about 80 roundings of 6e-8 (see
# `KernelSumRequest.gemm_distances_ok`); numerator and denominator each inherit it.
TOLERANCE_FLOAT32 = 1e-5


def assert_close(actual, expected, y, tolerance=TOLERANCE):
    """Equal up to `tolerance` in units of the scale of y and the rounding of y itself; NaN where NaN is expected."""
    y = np.asarray(y, dtype=float)
    atol = tolerance * np.ptp(y, axis=0).max() + 4 * np.finfo(float).eps * np.abs(y).max()
    actual, expected = np.asarray(actual, dtype=float), np.asarray(expected, dtype=float)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


def regression(seed=0, n=45, m=23, d=2, n_outputs=None, weighted=False, dtype=np.float64):
    """X (n, d), y, sample_weight or None, queries Q (m, d); duplicates among them; weights 0, fractional, integer."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    X[-3:] = X[:3]
    Q = np.vstack([1.5 * rng.normal(size=(m - 3, d)), X[:3]])
    X, Q = X.astype(dtype), Q.astype(dtype)
    y = np.sin(2 * X[:, :1]) + X[:, -1:] + rng.normal(size=(n, n_outputs or 1)) + 3.0
    w = rng.choice([0.0, 0.25, 1.0, 1.5, 3.0], size=n) if weighted else None
    return X, y if n_outputs else y[:, 0], w, Q


def bandwidth(d, width=1.3):
    """One for each feature; at width 1.3 about a third of all pairs of samples are closer, in any dimension."""
    return width * np.sqrt(d) * np.linspace(0.8, 1.2, d)


# Kernels that w can be learned with: all but the top hat, which is a step.
DIFFERENTIABLE = {name: kernel for name, kernel in KERNELS.items() if name != "tophat"}


class Cauchy(Kernel):
    """A user's kernel of unbounded support."""

    def profile(self, sq):
        return 1.0 / (1.0 + sq)


class DifferentiableCauchy(Cauchy):
    """The same, with what it takes to learn w."""

    def derivative(self, sq):
        return -1.0 / (1.0 + sq) ** 2


class Quartic(Kernel):
    """A user's kernel of bounded support."""

    support = 1.0

    def profile(self, sq):
        return np.maximum(1.0 - sq, 0.0) ** 4


def without_count(model, X, y):
    """The fit with its w and ridge given in numbers, whose lines count no samples, as those of the loss."""
    given = {"w": model.w_} | ({} if model.ridge_ is None else {"ridge": model.ridge_})
    return clone(model).set_params(**given).fit(X, y)
