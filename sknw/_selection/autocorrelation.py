"""Whether leave-one-out residuals are autocorrelated in the order of the rows, or in that of a feature.

Errors that neighbours in some order share are predicted by those neighbours, and leave-one-out chooses too small a
bandwidth (Altman 1990; Opsomer, Wang & Yang 2001). A correlation of the residuals alone does not show it: at a small
bandwidth each residual contains those of its neighbours with the opposite sign, so that independent errors lead to
residuals with a correlation of lag 1 of down to -2/3, and autocorrelated errors to one of about -1/2. The correlation
is therefore compared with what independent errors give at the same bandwidth.

References
----------
J. von Neumann, "Distribution of the ratio of the mean square successive difference to the variance", Annals of
Mathematical Statistics 12 (1941) 367-395. J. Durbin, G. S. Watson, "Testing for serial correlation in least squares
regression I", Biometrika 37 (1950) 409-428. N. S. Altman, "Kernel smoothing of data with correlated errors", Journal of
the American Statistical Association 85 (1990) 749-759. J. Opsomer, Y. Wang, Y. Yang, "Nonparametric regression with
correlated errors", Statistical Science 16 (2001) 134-153.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sknw._kernel_sums.permutation import inverse_permutation, places_of
from sknw._kernel_sums.registry import kernel_sums
from sknw._kernel_sums.request import LeaveOut
from sknw._smoothing.smoother import Smoother
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import Tests

# An alarm takes an excess of this many standard deviations, as it is the largest over several spans and orders.
# benchmarks/autocorrelation_alarm.py counts alarms with these thresholds.
_LEAST_Z = 4.0
# It takes this excess as well, at span 1 and at longer ones. With AR(1) errors of any correlation the bandwidth may
# be so small that the excess at span 1 is 0.15; at longer spans lack of fit reaches 0.17 by itself.
_LEAST_EXCESS = {True: 0.1, False: 0.2}
# Fewer samples say too little. What is left of a smooth signal changes little over 4 spans if these are a small part of
# the samples: a span is at most this part of them.
_FEW, _LARGEST_PART, _LARGEST_SPAN = 150, 1 / 100, 16
# With more samples even sums at few rows take a noticeable part of a fit with one feature.
_MANY = 500_000
# Smoothing the residuals of targets without noise once more leaves a median square of at most 0.6 times theirs; with
# errors that neighbours share it is at least 0.97 times theirs.
_LACK_OF_FIT = 0.8
# Residuals whose variance is a smaller fraction of that of the targets are not worth a warning.
_SMALL_PART = 0.02
# `least_contrasts` averages over as many samples as the third number of coordinates of their neighbours allows, at most
# and at least the first two.
_MOST_COUNTED, _LEAST_COUNTED, _COUNTED_COORDINATES = 50, 8, 2**18
# A sample has no others near if all of them together count no more than this part of a sample at its place.
_LEAST_REST = 1e-9
# Of more samples than this, each order contributes several runs of consecutive ones, and all orders together this many.
_MOST_ROWS, _N_RUNS, _LEAST_RUN = 4000, 4, 100
_MOST_IN_ORDER = 2000
# Data sets with independent errors; fewer for many samples, with which the excess decides and not its deviation, and
# where the evidence is less than the last number with the fewest.
_MOST_DRAWS, _LEAST_DRAWS, _DRAWN_VALUES, _CLEARLY_LESS = 32, 8, 2**16, 0.8
# Series of several orders are compared together as long as they have at most this many values.
_TOGETHER = 2**20


@dataclass(frozen=True)
class Autocorrelation:
    """How much the leave-one-out residuals of neighbours are correlated beyond what independent errors give.

    Found at the order and the span of most evidence; all parameters are attributes.

    Parameters
    ----------
    order : int or None
        The feature that the samples were sorted by; None: the order of the rows.
    span : int
        Neighbours are at most this many samples apart; they are compared with those 2 to 4 times as far apart.
    excess : float
        The mean correlation of neighbours minus that of those further apart, beyond its mean for independent errors.
    z : float
        The excess in standard deviations of what independent errors give.
    """

    order: int | None
    span: int
    excess: float
    z: float

    @property
    def evidence(self) -> float:
        """The smaller of z and the excess, each in units of its threshold."""
        return min(self.z / _LEAST_Z, self.excess / _LEAST_EXCESS[self.span == 1])

    @property
    def is_alarm(self) -> bool:
        """Whether the residuals are clearly autocorrelated."""
        return self.evidence > 1.0

    def __str__(self) -> str:
        """What was found, in a sentence."""
        order = "the rows" if self.order is None else f"feature {self.order}"
        apart = "next to each other" if self.span == 1 else f"up to {self.span} samples apart"
        return (
            f"in the order of {order}, those {apart} correlate by {self.excess:.2f}, {self.z:.1f} standard deviations, "
            "more than independent errors let expect"
        )


def measure_autocorrelation(
    smoother: Smoother, training: TrainingSet, residuals: np.ndarray, n_validation: int
) -> Autocorrelation | None:
    """The autocorrelation of leave-one-out residuals (n, k) at the order and span of most evidence.

    With S the leave-one-out smoother, y the values and r = y - S y, the excess at span m is

        C_m(r) - mean of C_m(e - S e),  e_i = s_i r_i with random signs s_i,

    C_m as in `neighbour_contrasts`. The signs make the errors e independent and leave each its size: errors may have
    any variances and tails. Of several outputs it is a random combination; unknown residuals, NaN, are drawn from the
    others. None with too few samples or very many, where the residuals are a small part of the targets or lack of fit,
    and where it would take more than two passes over the `n_validation` rows. It is also None, without errors drawn,
    where C_m(r) is so low that no excess can be left. That is not known, and errors are drawn, where `least_contrasts`
    are NaN.
    """
    n, k = residuals.shape
    if not _FEW <= n <= _MANY:
        return None
    rng = np.random.default_rng(0)
    direction = rng.normal(size=k) if k > 1 else np.ones(1)
    residual, values = _without_unknown(residuals @ direction, rng), training.values @ direction
    names, orders = _orders(training, rng)
    runs = _runs(orders)
    rows = np.flatnonzero(np.bincount(runs.ravel(), minlength=n))
    is_small = np.mean(residual**2) <= _SMALL_PART * np.mean(values**2)
    if is_small or len(rows) > 2 * n_validation:
        return None
    spans = _spans(n, runs.shape[-1])
    contrasts = neighbour_contrasts(residual[runs], spans)
    n_coordinates = len(orders) * 8 * spans[-1] * smoother.keys.shape[1]
    n_counted = int(np.clip(_COUNTED_COORDINATES // n_coordinates, _LEAST_COUNTED, _MOST_COUNTED))
    least = least_contrasts(smoother, orders, spans, rng.integers(0, n, _MOST_COUNTED)[:n_counted])
    if all((contrasts[m] - least[m]).max() < _CLEARLY_LESS * _LEAST_EXCESS[m == 1] for m in spans):
        return None
    most_draws = int(np.clip(_DRAWN_VALUES // n, _LEAST_DRAWS, _MOST_DRAWS))
    signs = 2 * rng.integers(0, 2, (n, most_draws), dtype=np.int8) - 1
    tests, places = smoother.queries_of(Tests(rows, LeaveOut.own(rows))), np.searchsorted(rows, runs)
    for n_draws in (_LEAST_DRAWS, most_draws):
        errors = residual[:, np.newaxis] * signs[:, :n_draws]
        columns = np.column_stack([values, errors, residual])
        left = columns[rows] - smoother.with_values(columns).pool(tests)[0]
        left[np.isnan(left)] = 0.0  # rows without support
        r, lack = left[:, 0], left[:, -1]
        # where smoothing the residuals once more predicts them, they are lack of fit (twicing, Stuetzle & Mittal 1979)
        if np.median(lack * lack) < _LACK_OF_FIT * np.median(r * r):
            return None
        most = _most_evident(np.ascontiguousarray(left.T[:-1]), names, places, spans)
        if n_draws == most_draws or most.evidence < _CLEARLY_LESS:
            break
    return most


def least_contrasts(
    smoother: Smoother, orders: np.ndarray, spans: list[int], some: np.ndarray
) -> dict[int, np.ndarray]:
    """About the least C_m(e - S e) that independent errors give on average, at each span, in each order: (orders,).

    The covariance of e_i - (S e)_i and e_j - (S e)_j is var e (-S_ij - S_ji + (S S')_ij), and (S S')_ij is larger for
    neighbours than for samples further apart. So the least contrast is that of -S_ij - S_ji, here its mean over `some`
    i, with S_ij = K_ij w_j / sum_(l != i) K_il w_l, for local lines too, whose weights differ from it. The result is
    NaN where one of these samples has no others near.
    """
    (n_orders, n), furthest = orders.shape, 4 * spans[-1]
    apart, first = np.arange(1, furthest + 1), n * np.arange(n_orders)[:, np.newaxis]
    place = np.stack([places_of(some, inverse_permutation(order, n)) for order in orders], axis=1)
    at = place[:, :, np.newaxis] + np.append(-apart, apart)
    beside = np.take(orders, np.clip(at, 0, n - 1) + first).reshape(len(some), -1)
    request = smoother.value_request(smoother.queries_of(Tests(some, LeaveOut.own(some))))
    request = replace(request, index=request.index.without_columns())
    sums = kernel_sums(request, smoother.algorithm)
    mass = sums.mass[0] * np.exp(sums.log_scale[0])
    mass[mass <= _LEAST_REST * request.weight_at_zero()[0]] = np.nan
    weights = (request.weights_of_pairs(beside) / mass[:, np.newaxis]).reshape(at.shape)
    weights[(at < 0) | (at >= n)] = 0.0
    total = np.zeros((n_orders, furthest + 1))
    weights.sum(axis=0).reshape(n_orders, 2, -1).sum(axis=1).cumsum(axis=1, out=total[:, 1:])
    total /= len(some)
    return {m: (total[:, 4 * m] - total[:, 2 * m]) / (2 * m) - total[:, m] / m for m in spans}


def _most_evident(series: np.ndarray, names: list[int | None], places: np.ndarray, spans: list[int]) -> Autocorrelation:
    """The order and span at which the first of some series exceeds the others most; places (orders, runs, length)."""
    size = max(_TOGETHER // series.size, 1)
    some_places = (places[i : i + size] for i in range(0, len(places), size))
    parts = [neighbour_contrasts(np.take(series, of_orders, axis=1), spans) for of_orders in some_places]
    found = []
    for span in spans:
        contrast = np.concatenate([part[span] for part in parts], axis=1)
        excess = contrast[0] - contrast[1:].mean(axis=0)
        # few data sets may happen to be alike: at no bandwidth is it below a third of that of white noise
        least = np.sqrt(1.5 / span / places[0].size) / 3.0
        z = excess / np.maximum(contrast[1:].std(axis=0, ddof=1), least)
        each = zip(names, excess.tolist(), z.tolist(), strict=True)
        found += [Autocorrelation(order, span, *numbers) for order, *numbers in each]
    return max(found, key=lambda one: one.evidence)


def neighbour_contrasts(r: np.ndarray, spans: list[int]) -> dict[int, np.ndarray]:
    """The contrast C_m (...) of near and far neighbours at each span m, of series r of runs of samples (..., runs, n).

        C_m = (sum_i r_i a_i - sum_i r_i f_i) / sum_i r_i^2,

    a_i the mean of r_{i+1} .. r_{i+m} and f_i that of r_{i+2m+1} .. r_{i+4m}. It is the difference of two von Neumann
    ratios: what changes slowly in r, as lack of fit does, is in both and cancels.
    """
    sums, contrasts = np.cumsum(r, axis=-1), {}
    for m in spans:
        n = r.shape[-1] - 4 * m
        first = r[..., :n]
        itself, near, far, furthest, square = (
            (first[..., np.newaxis, :] @ other[..., np.newaxis])[..., 0, 0].sum(axis=-1)
            for other in (*(sums[..., apart : apart + n] for apart in (0, m, 2 * m, 4 * m)), first)
        )
        product = (near - itself) / m - (furthest - far) / (2 * m)
        contrasts[m] = np.divide(product, square, out=np.zeros_like(product), where=square > 0)
    return contrasts


def _spans(n: int, run: int) -> list[int]:
    """The spans 1, 2, 4 ... of n samples, in runs of consecutive ones."""
    largest = min(n * _LARGEST_PART, run / 16, _LARGEST_SPAN)
    return [2**i for i in range(5) if 2**i <= largest]


def _orders(training: TrainingSet, rng: np.random.Generator) -> tuple[list[int | None], np.ndarray]:
    """The order of the rows, None, and those of the features of mostly distinct values, (orders, n).

    Equal values of a feature are put in random order. Where most values are equal, neighbours share the signal.
    """
    n, inputs = len(training), training.inputs
    sample_of_row = np.full(len(training.given), -1)
    sample_of_row[training.given_rows] = np.arange(n)
    orders: dict[int | None, np.ndarray] = {None: sample_of_row[sample_of_row >= 0]}
    for feature in range(inputs.shape[1]):
        x = inputs[:, feature]
        order = np.argsort(x)
        n_distinct = 1 + np.count_nonzero(np.diff(x[order]))
        if n_distinct < n:
            shuffled = rng.permutation(n)
            order = shuffled[np.argsort(x[shuffled])]
        if 2 * n_distinct > n and not np.array_equal(order, orders[None]):
            orders[feature] = order
    return list(orders), np.stack(list(orders.values()))


def _runs(orders: np.ndarray) -> np.ndarray:
    """Runs of consecutive samples in each order: (orders, runs, length); of few samples all of them."""
    n_orders, n = orders.shape
    if n <= _MOST_IN_ORDER:
        return orders[:, np.newaxis]
    length = min(max(_MOST_ROWS // (_N_RUNS * n_orders), _LEAST_RUN), _MOST_IN_ORDER // _N_RUNS)
    first = np.linspace(0, n - length, _N_RUNS).astype(int)
    return orders[:, first[:, np.newaxis] + np.arange(length)]


def _without_unknown(residual: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The residuals (n,), each unknown one drawn from those known; zeros if none is."""
    is_known = np.isfinite(residual)
    if is_known.all() or not is_known.any():
        return np.where(is_known, residual, 0.0)
    return np.where(is_known, residual, rng.choice(residual[is_known], len(residual)))
