"""Learning w from some of many samples, and its growth with their number.

A pass of leave-one-out over n samples takes n^2 kernel evaluations. The best w of n samples is that of n_s random ones
times a common factor, which grows as a power of n: with noise, of exponent 1 / (4 + d) where d features need a narrow
kernel (Stone 1982), and without noise of up to 1 / d. So w is learned from n_s samples, and the exponent a is
measured at N, several times n_s:

    w(n) = (n / n_s)^a w(n_s),   ridge(n) = (n / n_s)^(-2a) ridge(n_s),

where (N / n_s)^a is the factor at which w(N) has the least leave-one-out loss among N samples, of which some are
predicted; where n is smaller than N, N is n. A ridge that is given stays as it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sknw._metric.optimizer import MetricFit, MetricOptimizer
from sknw._metric.parametrization import ridge_bounds
from sknw._selection.line_search import ParabolicSearch
from sknw._smoothing.datafit import EXACT_FIT
from sknw._smoothing.validation import Validation

# N in units of n_s, and the part of n_s that is predicted there.
MORE, PREDICTED = 8, 0.5
# The exponent that the search begins with: that of two features.
TYPICAL_EXPONENT = 1 / 6
# The search ends where the next step is expected to lower the loss by a smaller part.
_LEAST_GAIN = 1e-4
# Groups are drawn as a whole if it takes at least this many to make the samples that are wanted.
_LEAST_GROUPS = 20


def draw_samples(
    n_samples: int, n: int, validation: Validation, groups: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """About `n_samples` random ones of n samples, ascending; about half of them, or more, are tested.

    `groups` (n,) are drawn as a whole, unless fewer than 20 would do: then some samples of each.
    """
    unit = np.arange(n) if groups is None or n_samples * (int(groups.max()) + 1) < _LEAST_GROUPS * n else groups
    size, is_tested = np.bincount(unit), np.zeros(unit.max() + 1, dtype=bool)
    is_tested[unit[validation.rows]] = True
    order = rng.permutation(len(size))
    tested = order[is_tested[order]]
    is_first = np.zeros(len(size), dtype=bool)
    is_first[tested[np.cumsum(size[tested]) <= n_samples / 2]] = True
    order = np.append(order[is_first[order]], order[~is_first[order]])
    is_drawn = np.zeros(len(size), dtype=bool)
    is_drawn[order[: 1 + np.searchsorted(np.cumsum(size[order]), n_samples)]] = True
    return np.flatnonzero(is_drawn[unit])


def scale_metric(w: np.ndarray, ridge: np.ndarray, factor: float, learns_ridge: bool) -> tuple[np.ndarray, np.ndarray]:
    """The w times a factor, and the ridges that keep their size beside the variances within the kernel."""
    w = factor * w
    if learns_ridge:
        scaled = np.clip(ridge / factor**2, *ridge_bounds(float(np.abs(w).max())))
        ridge = np.where(np.isinf(ridge), ridge, scaled)
    return w, ridge


def extrapolate(learned: MetricFit, learner: MetricOptimizer, n_few: int, n: int) -> MetricFit:
    """What was `learned` from `n_few` samples as it is at n, by the loss of N samples, that of the `learner`.

    An exact fit, whose target is a line, stays as it is, and so does what was learned from all samples: groups are
    drawn as a whole and may leave none. Where no further iteration is wanted the exponent is the typical one.
    """
    progress, n_many, exponent = learner.progress, len(learner.loss.training), TYPICAL_EXPONENT
    if n_few == n or learned.path[-1] < EXACT_FIT:
        return learned

    def losses(widths: np.ndarray) -> np.ndarray:
        found = np.full(len(widths), np.inf)
        for i, width in enumerate(widths.tolist()):
            if not progress.stopped:
                loss = learner.loss.value(*scale_metric(learned.w, learned.ridge, 1.0 / width, learner.learns_ridge))
                found[i] = loss if np.isfinite(loss) else np.inf
                progress(loss, "common factor of", len(learner.loss.validation))
        return found

    if not progress.stopped:
        search = ParabolicSearch(losses, n_few / n_many, 1.0)
        width, _ = search.minimize(search.bracket((n_few / n_many) ** exponent), _LEAST_GAIN)
        exponent = np.log(width) / np.log(n_few / n_many)
    w, ridge = scale_metric(learned.w, learned.ridge, (n / n_few) ** exponent, learner.learns_ridge)
    return replace(learned, w=w, ridge=ridge)
