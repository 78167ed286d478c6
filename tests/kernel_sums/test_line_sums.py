"""Sums of which lines of one feature are made, with inputs as seen from the query, against the oracle."""

import numpy as np
import oracle
import pytest
from kernel_requests import request_of
from problems import KERNELS

from sknw._kernel_sums.registry import ENGINES, line_sums
from sknw._kernel_sums.request import LeaveOut

NAMES = ["gaussian", "tophat", "epanechnikov", "tricube"]


def keys_of(shape, n):
    rng = np.random.default_rng(5)
    return {
        "even": rng.uniform(size=n),
        "ties": rng.integers(0, n // 15, n) / (n / 15),
        "far away": 1e8 + rng.normal(size=n).round(3),
        "a narrow cluster and a gap": np.append(1e-4 * rng.normal(size=n // 2), 5.0 + rng.normal(size=n - n // 2)),
    }[shape]


@pytest.mark.parametrize("shape", ["even", "ties", "far away", "a narrow cluster and a gap"])
@pytest.mark.parametrize("name", NAMES)
def test_sums_are_the_oracles(name, shape):
    """To 1e-12 of the mass, times powers of the bandwidth or of the distance of the keys if that is larger."""
    keys, rng = keys_of(shape, 900), np.random.default_rng(6)
    span = np.ptp(keys)
    at_keys = rng.integers(0, 900, 60)
    between = np.append(rng.uniform(keys.min() - 0.1 * span, keys.max() + 0.1 * span, 57), keys[:3])
    for h in [1.0137e-4 * span, 0.0137 * span, 0.31 * span]:
        for queries, leave_out in [(between, None), (keys[at_keys], LeaveOut.own(at_keys))]:
            request = request_of(name, keys, queries, leave_out, n_columns=2, bandwidths=[h])
            engine = ENGINES["expansion" if name == "gaussian" else "sorted"]
            found = line_sums(request, engine.name)
            s = keys.astype(np.longdouble) - request.queries.astype(np.longdouble)
            log_weights = oracle.log_kernel(KERNELS[name][1], np.abs(s) / h) + np.log(request.weights)
            if leave_out is not None:
                log_weights[np.arange(60), at_keys] = -np.inf
            top = log_weights.max(axis=1, keepdims=True)
            k = np.exp(log_weights - np.where(np.isfinite(top), top, 0.0))
            columns = np.column_stack([np.ones(900), request.columns])
            expected = np.hstack([k @ columns, (k * s) @ columns, (k * s * s).sum(axis=1, keepdims=True)])
            has_mass = expected[:, 0] > 0
            np.testing.assert_array_equal(found.mass[0] > 0, has_mass)
            expected, mass = expected[has_mass], expected[has_mass, :1]
            sums = np.column_stack([found.mass[0], found.moments[0]])[has_mass]
            unit = np.maximum(h, np.abs(expected[:, 3:4] / mass)) ** np.array([0, 0, 0, 1, 1, 1, 2])
            error = np.abs(sums / sums[:, :1] - expected / mass) / unit
            assert error.max() < 1e-12


def test_engines_say_of_what_they_have_no_sums():
    keys = np.linspace(0.0, 1.0, 40)
    ranges = LeaveOut(np.zeros(40, dtype=int), np.full(40, 3))
    for name, engine, leave_out in [
        ("cosine", "sorted", None),
        ("exponential", "sorted", None),
        ("epanechnikov", "sorted", ranges),
        ("gaussian", "expansion", ranges),
        ("gaussian", "dense", None),
    ]:
        assert line_sums(request_of(name, keys, keys, leave_out), engine) is None
