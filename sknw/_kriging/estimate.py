"""Scales, powers, amplitude and noise by restricted likelihood with a weak prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from sknw._kernel_sums.threads import one_blas_thread
from sknw._kriging import likelihood as prior
from sknw._kriging.covariance import Covariance, KrigingModel
from sknw._kriging.levels import find_levels
from sknw._kriging.likelihood import Likelihood
from sknw._smoothing.features import FeatureMap
from sknw._smoothing.training import TrainingSet

# Amplitude and noise are found with at most this many samples; the exact solution takes no more.
MOST_EXACT = 5000
# The bounds of the number of samples whose likelihood gives the scales, where that is "auto": 600 resolve the scales of
# ten smooth features, but neither short scales nor those of 35 or 42 features.
LIKELIHOOD_SAMPLES = 600, 1500
# The largest absolute values of standardised samples, and of queries.
_LARGEST, _FURTHEST = 1e6, 1e100
# L-BFGS-B remembers this many steps.
_MEMORY = 20


@dataclass(frozen=True, eq=False)
class Given:
    """What is not learned; None where it is."""

    w: np.ndarray | None  # of standardised columns, (d,)
    power: np.ndarray | None  # (d,)
    noise: float | None


@dataclass(frozen=True, eq=False)
class Search:
    """How to maximise the likelihood."""

    n_samples: int  # of the likelihood
    max_iter: int
    tol: float
    order: np.ndarray  # a random permutation of the samples
    on_iteration: Callable[[float], bool]  # called with the logarithm of the likelihood; whether to stop
    n_threads: int


def standardised(training: TrainingSet, columns: np.ndarray) -> np.ndarray:
    """Columns (m, c) less the centres, divided by the scales of their features."""
    with np.errstate(over="ignore"):
        columns = (columns - training.center) / training.features.repeat(training.scales)
    return np.clip(columns, -_FURTHEST, _FURTHEST)


def with_scales(training: TrainingSet) -> tuple[TrainingSet, np.ndarray]:
    """The training set with the scales of kriging, and which of its features are squares: bool (d,).

    Squares are the categories and the numbers with two values, whose scale is half their distance. No scale is so
    small, as a sample of nearly all weight makes it, that standardised numbers of others are huge.
    """
    features, columns = training.features, training.X.astype(np.float64)
    largest = np.abs(columns - training.center).max(axis=0)
    scales = np.maximum(training.scales, np.maximum.reduceat(largest, features.starts[:-1]) / _LARGEST)
    is_square = features.n_levels > 0
    scales[is_square & ~features.is_ordered] = 0.5  # levels are 1 apart
    for k in np.flatnonzero((features.n_levels == 0) & (features.period == 0)).tolist():
        column = columns[:, features.starts[k]]
        low, high = column.min(), column.max()
        if low < high and np.all((column == low) | (column == high)):
            is_square[k] = True
            if not features.has_common_scale:
                scales[k] = (high - low) / 2.0
    excess = np.maximum(np.abs(training.values).max(axis=0) / _LARGEST, 1.0)
    values, y_scales = training.values / excess, training.y_scales * excess
    return replace(training, scales=scales, values=values, y_scales=y_scales), is_square


def directions_of_trend(columns: np.ndarray, is_linear: bool) -> np.ndarray:
    """The principal directions of standardised columns in which a linear trend is determined: (c, q - 1).

    At most half as many as samples, those of the largest variance, so that residuals are left.
    """
    if not is_linear:
        return np.empty((columns.shape[1], 0))
    _, s, V = np.linalg.svd(columns - columns.mean(axis=0), full_matrices=False)
    rank = min(int(np.count_nonzero(s > 1e-8 * max(s[0], 1e-8))), max(len(columns) // 2 - 1, 0))
    return V[:rank].T


def estimate(
    columns: np.ndarray,
    training: TrainingSet,
    is_square: np.ndarray,
    given: Given,
    is_linear: bool,
    search: Search,
) -> tuple[KrigingModel, np.ndarray]:
    """The model of standardised columns (n, c), and log(likelihood times prior) at the start and after each step."""
    features: FeatureMap = training.features
    d, n = len(features), len(training)
    directions = directions_of_trend(columns, is_linear)
    power = np.where(is_square, 2.0, prior.START_POWER if given.power is None else given.power)
    w = np.full(d, d**-0.5) if given.w is None else given.w
    noise = prior.START_NOISE if given.noise is None else given.noise
    model = KrigingModel(Covariance(features.starts, w, power, is_square), prior.START_AMPLITUDE, noise, directions)

    def likelihood(n_samples: int) -> Likelihood:
        some = np.sort(search.order[:n_samples])
        weight, trend = training.sample_weight[some], model.trend(columns[some])
        return Likelihood.of(columns[some], training.values[some], weight, trend, search.n_threads)

    path = np.empty(0)
    searches_scales = given.w is None or given.power is None
    if searches_scales:
        with one_blas_thread():  # threads of BLAS gain nothing at matrices that small
            model, path = _maximise(likelihood(search.n_samples), model, given, search)
    if not searches_scales or search.n_samples < n:
        model = find_levels(likelihood(MOST_EXACT), model, given.noise is None)
    return model, path


def _maximise(
    likelihood: Likelihood, start: KrigingModel, given: Given, search: Search
) -> tuple[KrigingModel, np.ndarray]:
    """Likelihood times prior over all that is not given, by L-BFGS-B in the logarithms."""
    covariance, n = start.covariance, len(likelihood.columns)
    d, powered = len(covariance.w), ~covariance.is_square
    learns_w, learns_noise = given.w is None, given.noise is None
    free_powers = powered if given.power is None else np.zeros(d, dtype=bool)
    is_free = np.concatenate([np.full(d, learns_w), free_powers, [True, learns_noise]])
    with np.errstate(divide="ignore"):  # what is given may be 0
        center = np.log(np.concatenate([covariance.w, covariance.power, [start.amplitude, start.noise]]))
    sd = np.repeat([np.inf, prior.POWER_SD, prior.AMPLITUDE_SD, prior.NOISE_SD], [d, d, 1, 1])[is_free]
    bounds = np.repeat(
        np.log([prior.W_BOUNDS, prior.POWER_BOUNDS, prior.AMPLITUDE_BOUNDS, prior.NOISE_BOUNDS]), [d, d, 1, 1], axis=0
    )

    def model_at(free: np.ndarray) -> KrigingModel:
        theta = np.exp(center)
        theta[is_free] = np.exp(free)
        return KrigingModel(
            covariance.with_parameters(theta[:d], theta[d : 2 * d]), theta[-2], theta[-1], start.directions
        )

    def objective(free: np.ndarray) -> tuple[float, np.ndarray]:
        value, *by = likelihood.evaluate(model_at(free))
        gradient = np.concatenate([by[0], by[1], by[2:]])[is_free]
        z = (free - center[is_free]) / sd
        value, gradient = value + 0.5 * z @ z, gradient + z / sd
        if learns_w:
            r = np.exp(free[:d] - center[:d])  # sqrt(d) w
            value, gradient[:d] = value + r.sum(), gradient[:d] + r
        return value / n, gradient / n

    path = [-n * objective(center[is_free])[0]]

    def callback(intermediate_result: OptimizeResult) -> None:
        path.append(-n * float(intermediate_result.fun))
        if search.on_iteration(path[-1]):
            raise StopIteration

    found = minimize(
        objective,
        center[is_free],
        jac=True,
        method="L-BFGS-B",
        bounds=bounds[is_free],
        callback=callback,
        options={"maxiter": search.max_iter, "ftol": search.tol, "maxcor": _MEMORY},
    )
    return model_at(found.x), np.array(path)
