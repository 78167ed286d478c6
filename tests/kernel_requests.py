"""Requests of kernel sums and their sums by the oracle, which the tests of all engines share."""

from dataclasses import replace

import numpy as np
import oracle
from numpy.testing import assert_allclose
from problems import bandwidth

from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.registry import ENGINES, kernel_sums
from sknw._kernel_sums.request import KernelSumRequest, LeaveOut
from sknw.kernels import resolve_kernel

# Who is left out: nobody, each query's own key, or own keys of some of the queries only.
LEFT_OUT = [None, "own", "some"]
# Several keys: each query's group, a block of keys around it, or at some of the queries these, all keys, or none.
RANGES = ["groups", "blocks", "some ranges"]


def column(points):
    """Points (n,) or (n, d) as (n, d)."""
    points = np.asarray(points, dtype=float)
    return points if points.ndim == 2 else points[:, np.newaxis]


def request_of(
    kernel,
    keys,
    queries=None,
    leave_out=None,
    n_columns=1,
    weights=None,
    columns=None,
    bandwidths=(1.0,),
    seed=0,
    **parameters,
):
    """With `leave_out` queries stand amid the keys that they are summed without; random weights and columns."""
    rng = np.random.default_rng(seed)
    keys = column(keys)
    weights = rng.choice([0.1, 0.5, 1.0], len(keys)) if weights is None else weights
    columns = rng.normal(size=(len(keys), n_columns)) if columns is None else columns
    if leave_out is not None:
        is_key = (leave_out.last > leave_out.first)[:, np.newaxis]
        at_keys = keys[(leave_out.first + leave_out.last) // 2]
        queries = at_keys if is_key.all() else np.where(is_key, at_keys, column(queries))
    return KernelSumRequest(
        resolve_kernel(kernel),
        KeyIndex(keys, weights, columns),
        column(queries),
        leave_out,
        np.array(bandwidths, dtype=float),
        **parameters,
    )


def leave_out_of(n, m, kind, seed=1):
    """Which of n keys m queries are summed without, see `LEFT_OUT` and `RANGES`; some of them several times."""
    if kind is None:
        return None
    rng = np.random.default_rng(seed)
    index = rng.integers(0, n, m)
    if kind == "blocks":
        half_width = 1 + n // 12
        return LeaveOut(np.maximum(index - half_width, 0), np.minimum(index + half_width + 1, n))
    if kind in ("groups", "some ranges"):
        starts = np.unique(np.concatenate([[0, 1, n // 2, n], rng.integers(0, n, 5)]))
        group = np.searchsorted(starts, index, side="right")
        leave_out = LeaveOut(starts[group - 1], starts[group])
        if kind == "some ranges":
            leave_out.first[::3] = leave_out.last[::3] = 0
            leave_out.last[3::6] = n
        return leave_out
    if kind == "some":
        index[::3] = -1
    return LeaveOut.own(index)


def random_request(kernel, d=2, n=45, m=22, leave_out=None, seed=0, queries=None, **parameters):
    """Standardised keys, and queries around them of which some may be keys, see `LEFT_OUT`."""
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(n, d)) / bandwidth(d)
    queries = 1.5 * rng.normal(size=(m, d)) / bandwidth(d) if queries is None else queries
    return request_of(kernel, keys, queries, leave_out_of(n, m, leave_out), seed=seed, **parameters)


def with_keys(request, rows):
    """The request about some of the keys, `rows` ascending."""
    leave_out = request.leave_out
    if leave_out is not None:
        leave_out = leave_out.among(rows)
    return replace(request, index=request.index.take(rows), leave_out=leave_out)


def oracle_log_weights(request, kernel, h):
    """log(K_ij w_j) of queries and keys in long double, (m, n); `kernel` as the oracle has it, or (kernel, power)."""
    kernel, power = kernel if isinstance(kernel, tuple) else (kernel, 1)
    weights = np.tile(request.weights.astype(np.longdouble), (len(request.queries), 1))
    if request.leave_out is not None:
        for i, (first, last) in enumerate(zip(request.leave_out.first, request.leave_out.last, strict=True)):
            weights[i, first:last] = 0.0
    u = oracle.distances(request.queries, request.keys, np.full(request.keys.shape[1], h))
    with np.errstate(divide="ignore"):
        return power * oracle.log_kernel(kernel, u) + np.log(weights)


def assert_sums_are_the_oracles(request, kernel, engine, rtol=1e-10):
    """Relative to the mass, and to the sum of magnitudes of the moments."""
    sums = kernel_sums(request, engine)
    for b, h in enumerate(request.bandwidths):
        weights = np.exp(oracle_log_weights(request, kernel, h) - sums.log_scale[b][:, np.newaxis])
        assert_allclose(sums.mass[b], weights.sum(axis=1).astype(float), rtol=rtol)
        moments, magnitude = weights @ request.columns, weights @ np.abs(request.columns)
        assert np.all(np.abs(sums.moments[b] - moments) <= rtol * magnitude), h


def assert_means_are_the_oracles(request, kernel, engine, tolerance=1e-10):
    """Where the dense engine has support, and only there, a mean equal up to `tolerance` in units of the columns.

    And to the rounding of the exponents of unbounded kernels, which may be large: inputs are known to eps.
    """
    sums, reference = kernel_sums(request, engine), ENGINES["dense"].compute(request)
    np.testing.assert_array_equal(sums.mass > 0, reference.mass > 0)
    assert np.all(np.isfinite(sums.log_scale))
    for b, h in enumerate(request.bandwidths):
        rows = np.flatnonzero(sums.mass[b] > 0)
        logs = oracle_log_weights(request, kernel, h)[rows]
        top = logs.max(axis=1, keepdims=True)
        weights = np.exp(logs - top)
        expected = weights @ request.columns / weights.sum(axis=1, keepdims=True)
        exponent = 0.0 if kernel in oracle.COMPACT else np.abs(top.astype(float))
        error = np.abs(sums.moments[b, rows] / sums.mass[b, rows, np.newaxis] - expected)
        assert np.all(error <= tolerance + 8 * np.finfo(float).eps * exponent), h


def assert_same_sums(actual, expected, rtol, log_tolerance=0.0):
    """Equal masses, and moments equal in units of the mass, whatever the scale of each."""
    np.testing.assert_array_equal(actual.mass > 0, expected.mass > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        supported = expected.mass > 0
        scale = np.where(supported, np.exp(actual.log_scale - expected.log_scale), 0.0)
        mass = np.where(supported, expected.mass, 1.0)
    assert_allclose(actual.mass * scale / mass, supported, rtol=0, atol=rtol + log_tolerance)
    error = (actual.moments * scale[..., np.newaxis] - expected.moments) / mass[..., np.newaxis]
    assert np.abs(error).max(initial=0.0) <= rtol + log_tolerance
