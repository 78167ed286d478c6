"""Prediction intervals from leave-one-out: the jackknife+ in closed form, with a local scale.

They take rows of attention weights, a_j >= 0 of sum 1, a block of queries at a time. Values are standardised.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sknw._kernel_sums import dense
from sknw._kernel_sums.costs import TILED_WRITTEN
from sknw._kernel_sums.registry import SumsBlocks, dispatcher
from sknw._kernel_sums.request import KernelSumRequest, LeaveOut
from sknw._kernel_sums.scaled_sums import TINY
from sknw._predictive.calibration import LARGEST_LEVERAGE, ConformalCalibration
from sknw._smoothing.attention import attention_rows
from sknw._smoothing.isolation import is_isolated_without
from sknw._smoothing.local_linear import SINGULAR, shrinkage
from sknw._smoothing.smoother import Queries, Smoother
from sknw.kernels import Pairwise


def interval(
    smoother: Smoother, queries: Queries, sample_weight: np.ndarray, calibration: ConformalCalibration, coverage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Jackknife+ bounds of a new observation at the queries, of shape (m, k, 2), and which queries had no support.

    From the predictions m_-i(q) and scales s_-i(q) that all samples but the i-th give (Barber, Candes, Ramdas &
    Tibshirani 2021), in closed form for a smoother. The samples of `smoother` and `sample_weight`, in units of samples,
    are in the order of the calibration.
    """
    unsupported = np.zeros(len(queries), dtype=bool)
    bounds = np.full((len(queries), smoother.values.shape[1], 2), np.nan)
    engine = _block_engine(smoother, queries, sample_weight, calibration, coverage)
    if engine is not None:
        from sknw._predictive.jackknife_blocks import compiled_bounds

        bounds[:, 0] = compiled_bounds(engine, smoother, queries, calibration, coverage)
    rest = np.flatnonzero(np.isnan(bounds[:, 0, 0]))
    if not rest.size:
        return bounds, unsupported
    queries = queries[rest]
    request, unit, p = smoother.value_request(queries), sample_weight.max(), len(calibration.nonconformity)

    def of_query(i: int, a: np.ndarray, log_mass: float) -> np.ndarray:
        here = smoother.with_line(None) if np.isneginf(log_mass) else smoother
        x = queries.x[i]
        means, leverage = loo_predictions(here, x, a, a, log_mass)
        k_w = np.exp(log_mass) * unit * a[:p, np.newaxis]
        of_square = k_w * calibration.squares
        mass, squares = k_w.sum() - k_w, of_square.sum(axis=0) - of_square
        again = leverage[:p] > LARGEST_LEVERAGE
        if smoother.widens:  # without these samples the kernel is wider
            again |= is_isolated_without(a[:p], log_mass + np.log(smoother.unit))
        for j in np.flatnonzero(again).tolist():
            others, log_mass_of_others = _attention_of_others(smoother, queries[i : i + 1], j, a, log_mass)
            if np.isnan(others).any():
                means[j] = np.nan  # the others do not support the query
                continue
            here = smoother.with_line(None) if np.isneginf(log_mass_of_others) else smoother
            means[j] = loo_predictions(here, x, others, np.zeros(1), log_mass_of_others)[0][0]
            k_w = np.exp(log_mass_of_others) * unit * others[:p]
            mass[j], squares[j] = k_w.sum(), k_w @ calibration.squares
        return calibration.bounds(means[:p], calibration.scales(mass, squares), coverage)

    def block(rows: slice, attention: np.ndarray) -> None:
        log_mass = log_mass_of(request, rows, attention)
        for i in np.flatnonzero(~np.isnan(attention[:, 0])):
            bounds[rest[rows.start + i]] = of_query(rows.start + i, attention[i], log_mass[i])

    unsupported[rest] = smoother.for_each_attention_block(queries, block)
    return bounds, unsupported


def _block_engine(
    smoother: Smoother, queries: Queries, sample_weight: np.ndarray, calibration: ConformalCalibration, coverage: float
) -> SumsBlocks | None:
    """The engine for `compiled_bounds`: of weighted means of one output, of samples that count once.

    None for other requests, and for those that NumPy has done before compiled loops are loaded.
    """
    n_scores, n_outputs = calibration.nonconformity.shape
    is_simple = smoother.line is None and n_outputs == 1 and np.all(sample_weight == 1)
    if not is_simple or not 0 < calibration.rank(coverage) <= n_scores:
        return None
    request = smoother.request(queries)
    return dispatcher.choose_capable(SumsBlocks, request, smoother.algorithm, TILED_WRITTEN)  # type: ignore[type-abstract]


def loo_predictions(
    smoother: Smoother, x: np.ndarray, a: np.ndarray, removed: np.ndarray, log_mass: float
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (n, k) at x (d,) without a part `removed` (n,) of the attention a (n,) of each sample in turn.

    With e_i the residual of sample i from the fit around x, l_i = a_i t_i its weight in the prediction and H_i its
    leverage in the fit, leaving it out moves the prediction by -l_i e_i / (1 - H_i) (Sherman & Morrison 1950); of a
    weighted mean t_i = 1 and H_i = a_i. The others' weights sum to 1 - a_i, so that beside them a ridge counts
    (1 - a_i) times as much as before. `log_mass` is that of `log_mass_of`. Returned as well: the leverages H (n,).
    """
    removed = removed[:, np.newaxis]
    mean = y_mean = a @ smoother.values
    deviations = smoother.values - y_mean
    residuals = deviations
    leverage, t = removed, np.ones(1)
    if smoother.line is not None:
        line = smoother.line
        offsets = line.x - a @ line.x
        weighted = a[:, np.newaxis] * offsets
        variances, axes = np.linalg.eigh(weighted.T @ offsets)
        along, to_query = offsets @ axes, (x - a @ line.x) @ axes  # coordinates in which the covariance is diagonal
        slopes = axes.T @ (weighted.T @ residuals)
        total = variances + line.ridge * (1.0 - removed)
        has_slope = total > SINGULAR * variances[-1]
        has_slope &= total > TINY  # beside a sample with all the attention, whose leverage is 1 anyway
        inverse = np.divide(1.0, total, out=np.zeros_like(total), where=has_slope)
        mean = mean + (inverse * to_query) @ slopes
        residuals = residuals - (inverse * along) @ slopes
        t = 1.0 + (inverse * along) @ to_query[:, np.newaxis]
        leverage = removed * (1.0 + (inverse * along**2).sum(axis=1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):  # a leverage of 1; such samples are left out by other means
        means = mean - removed * t * residuals / (1.0 - leverage)
        if smoother.line is not None and smoother.line.count > 0:
            of_others = y_mean - removed * deviations / (1.0 - removed)
            log_samples = log_mass + np.log1p(-removed) + np.log(smoother.unit)
            means = of_others + shrinkage(log_samples, smoother.line.count) * (means - of_others)
        return means, leverage[:, 0]


def log_mass_of(request: KernelSumRequest, rows: slice, attention: np.ndarray) -> np.ndarray:
    """log(D / unit) of the queries `rows`, from the sample that each attends to most: D a_j = K_j w_j / K(0)."""
    main = np.argmax(attention, axis=1)
    most = np.take_along_axis(attention, main[:, np.newaxis], axis=1)[:, 0]
    queries, keys = request.queries[rows], request.keys[main]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        if isinstance(request.kernel, Pairwise):
            pairs = zip(queries[:, np.newaxis], keys[:, np.newaxis], strict=True)
            log_weight = np.log([request.kernel.between(q, z)[0, 0] for q, z in pairs])
        else:
            widths = np.ones(len(keys)) if request.widths is None else request.widths[rows]
            log_weight = request.kernel.log_profile(((queries - keys) ** 2).sum(axis=1) / widths**2)
        at_zero = request.take(rows).weight_at_zero()[0]
        log_mass = log_weight + np.log(request.weights[main]) - np.log(most) - np.log(at_zero)
    return np.where(np.isneginf(log_weight), -np.inf, log_mass)


def _attention_of_others(
    smoother: Smoother, query: Queries, j: int, a: np.ndarray, log_mass: float
) -> tuple[np.ndarray, float]:
    """Attention a and log mass of one query without the sample j."""
    others = a.copy()
    others[j] = 0.0
    rest = others.sum()
    if rest * np.exp(log_mass) > TINY and not smoother.widens:
        return others / rest, log_mass + np.log(rest)
    request = smoother.value_request(smoother.widened(replace(query, leave_out=LeaveOut.own(np.array([j])))))
    rows = slice(0, 1)
    others = attention_rows(request, smoother.policy, rows, dense.Dense().weight_rows(request))
    return others[0], log_mass_of(request, rows, others)[0]
