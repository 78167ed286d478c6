"""Prediction intervals from groups, folds or blocks that are left out: CV+ (Barber et al. 2021), with a local scale.

The prediction m_-i(q) without the block of sample i comes from the sums over the samples before and behind the block,
added, so that nothing is subtracted. Values are standardised.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sklearn.utils import gen_batches

from sknw._kernel_sums.registry import kernel_sums
from sknw._kernel_sums.request import LeaveOut
from sknw._kernel_sums.scaled_sums import TINY
from sknw._predictive.calibration import ConformalCalibration
from sknw._predictive.jackknife import log_mass_of
from sknw._smoothing.isolation import is_isolated_without
from sknw._smoothing.local_linear import LocalFits, LocalMoments
from sknw._smoothing.smoother import Queries, Smoother
from sknw._smoothing.unsupported import sums_of_others
from sknw._smoothing.validation import Tests, Validation

# A batch of queries keeps at most this many numbers.
_BATCH = 2**24


def fold_interval(
    smoother: Smoother,
    queries: Queries,
    unit: float,
    validation: Validation,
    calibration: ConformalCalibration,
    coverage: float,
) -> tuple[np.ndarray, np.ndarray]:
    """CV+ bounds of a new observation at the queries, of shape (m, k, 2), and which queries had no support.

    `unit` is the sample weight that the smoother counts as 1, `validation` has one prediction for each sample of the
    calibration, in any order.
    """
    p, k = calibration.nonconformity.shape
    position = np.empty(len(smoother.values), dtype=np.intp)
    position[calibration.order] = np.arange(len(position))
    squares = np.zeros((len(smoother.values), k + 1))
    squares[calibration.order[:p]] = np.column_stack([calibration.squares, np.ones(p)])
    bounds, unsupported = np.empty((len(queries), k, 2)), np.zeros(len(queries), dtype=bool)
    if smoother.policy in ("nan", "raise"):
        unsupported = smoother.pool(queries)[1]
    size = max(_BATCH // (max(p, 1) * (3 * k + 1)), 1)
    for batch in gen_batches(len(queries), size):
        means, scales = np.empty((2, p, len(queries[batch]), k))
        for tests in validation.parts:
            of_part = squares if tests.keys is None else squares[tests.keys]
            found, sums = _left_out_at(smoother.of_split(tests), queries[batch], tests, of_part)
            at = position[tests.rows]
            means[at], scales[at] = found, calibration.scales(unit * sums[..., k:], unit * sums[..., :k])
        of_queries = zip(np.moveaxis(means, 1, 0), np.moveaxis(scales, 1, 0), strict=True)
        bounds[batch] = [calibration.bounds(m, s, coverage) for m, s in of_queries]
    bounds[unsupported] = np.nan
    return bounds, unsupported


def _left_out_at(
    smoother: Smoother, queries: Queries, tests: Tests, squares: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (p, m, k) at the queries without the keys left out by each of p tests, and sums of K w (r^2, 1).

    The sums (p, m, k + 1) are over the samples that have a residual, with K(0) = 1. Predictions are NaN where no key
    that is left supports the query, and that means NaN.
    """
    ranges, of_test = np.unique(
        np.column_stack([tests.leave_out.first, tests.leave_out.last]), axis=0, return_inverse=True
    )
    leave_out, m, k = LeaveOut(*ranges.T), len(queries), smoother.values.shape[1]
    found, mass = np.full((len(ranges), m, k), np.nan), np.zeros((len(ranges), m, k + 1))
    request = smoother.value_request(queries)
    columns = smoother.request(queries).columns

    def at_query(i: int, a: np.ndarray, log_mass: float) -> tuple[np.ndarray, np.ndarray]:
        sums = np.exp(log_mass) * sums_of_others(a[:, np.newaxis] * squares, leave_out)
        rest = sums_of_others(a[:, np.newaxis], leave_out)
        lost = (rest[:, 0] < TINY) | np.isneginf(log_mass)
        rest = np.where(lost[:, np.newaxis], 1.0, rest)
        means = sums_of_others(a[:, np.newaxis] * columns, leave_out) / rest
        if smoother.line is not None:
            x, ridge = np.broadcast_to(queries.x[i], (len(means), queries.x.shape[1])), smoother.line.ridge
            log_samples = log_mass + np.log(smoother.unit * rest[:, 0])
            moments = LocalMoments.of(means, log_samples, x.shape[1], k)
            lines = LocalFits.of(moments, x, smoother.line.singular)
            means = lines.value(ridge, smoother.line.count)
            lost |= lines.is_ill_conditioned(ridge)
            if smoother.widens:
                lost |= is_isolated_without(1.0 - rest[:, 0], log_mass + np.log(smoother.unit))
        if lost.any():
            at = np.full(np.count_nonzero(lost), i)
            of_others = smoother.widened(replace(queries[at], leave_out=leave_out[lost]))
            means[lost] = smoother.pool(of_others)[0]
            if smoother.widens:
                of_squares = replace(smoother.value_request(of_others), index=smoother.index.with_columns(squares))
                widened = kernel_sums(of_squares, smoother.algorithm)
                sums[lost] = np.exp(widened.log_scale[0])[:, np.newaxis] * widened.moments[0]
        return means, sums

    def block(rows: slice, attention: np.ndarray) -> None:
        log_mass = log_mass_of(request, rows, attention)
        for i in np.flatnonzero(~np.isnan(attention[:, 0])).tolist():
            found[:, rows.start + i], mass[:, rows.start + i] = at_query(rows.start + i, attention[i], log_mass[i])

    smoother.for_each_attention_block(queries, block)
    return found[of_test.ravel()], mass[of_test.ravel()]
