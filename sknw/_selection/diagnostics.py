"""When the outcome of a search for the bandwidth, or of learning w, deserves a warning, and what to do then.

The verdict is about the left-out predictions of a fit: what they rest on, and whether they are any good. It is the same
for all estimators, and it does not compare scores of some rows with those of others.
"""

from __future__ import annotations

import numpy as np

from sknw._kernel_sums.registry import algorithm_for
from sknw._kernel_sums.request import LeaveOut
from sknw._selection.autocorrelation import Autocorrelation
from sknw._selection.criterion import Criterion
from sknw._selection.grid import factor_of_spacing
from sknw._smoothing.attention import effective_sample_size, least_sample_size
from sknw._smoothing.datafit import Datafit
from sknw._smoothing.smoother import Smoother
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import Tests, Validation

# With fewer predictions there is no warning. A verdict rests on at most the second number of them; what they rest on is
# counted at the third.
_FEW, _LOOKED_AT, _COUNTED = 30, 1000, 250
# A larger part of the samples is many.
_MANY = 0.25
# A fit that rests on fewer samples, at a sample and in the median, follows each target. That is right with targets that
# have no noise, where R^2 is above the second number.
_NEAREST, _NO_NOISE = 1.2, 0.95
# Left-out predictions that rest on fewer samples may be those of copies. These have made the choice if without them a
# wider bandwidth has a score lower by this ratio; bandwidths are tried in such steps.
_COPIES, _LOWER, _STEP = 4.0, 0.9, 4.0
# Lines on one feature count as narrow as its spacing if a factor of w below this makes them so: learned w stop there.
_AT_SPACING = 1.01

_UNSUPPORTED = (
    "{} of {} samples have no other one in the kernel's support at the chosen bandwidth and are predicted as `outside` "
    'says. Choose a kernel of unbounded support, such as "gaussian", or give a larger bandwidth.'
)
_AUTOCORRELATED = (
    "leave-one-out residuals are autocorrelated: {}. Neighbours that share errors predict each other; leave-one-out is "
    "then too optimistic, and its bandwidth often too small. Give cv=LeaveBlockOut(half_width{}) for autocorrelation "
    "along this order, or groups= to fit for families of rows."
)
_MADE_BY_COPIES = (
    "rows with equal inputs predict each other, and have made the bandwidth near zero: without them a much wider one "
    "predicts better. If such rows belong together, as measurements of one subject do, give fit a group for each with "
    "groups=."
)
_NO_BETTER = "left-out predictions are no better than {}: these inputs do not help to predict. {}"
_NARROW_AS_SPACING = (
    "the kernel is as narrow as the spacing of the samples: every prediction is nearly the target of the nearest ones. "
    "Leave-one-out takes evenly spaced, nearly noiseless samples for that. If there is noise, give the bandwidth or w "
    "as a number, or a cv such as LeaveBlockOut."
)
_NEAR_ZERO = (
    "the bandwidth is near zero: at most samples the fit is nearly the target itself. If that is not what the data are "
    "like, choose another criterion, or give a number."
)


def fit_warning(
    smoother: Smoother,
    training: TrainingSet,
    validation: Validation,
    datafit: Datafit,
    skill: float,
    remedy: str,
    criterion: str = "loo",
    autocorrelation: Autocorrelation | None = None,
) -> str | None:
    """The warning that a fit deserves, if any: what is wrong with what was chosen, and the remedy.

    `validation` has the left-out predictions of the fit, and `skill` is by what part of the loss of a constant
    prediction theirs is smaller, for squared errors R^2; `remedy` says what may help where it is none. There is no
    warning with few samples nor a constant target. Only a `criterion` that leaves nothing out can choose to follow each
    target by mistake.
    """
    if len(validation) < _FEW or np.all(training.values == training.values[0]) or not np.isfinite(skill):
        return None
    heaviest = float(training.sample_weight.max())
    some, few = (validation[:: -(-len(validation) // most)] for most in (_LOOKED_AT, _COUNTED))
    unsupported, left_out_size = _support(smoother, few, _COPIES / heaviest)
    n_unsupported = np.count_nonzero(unsupported)
    if n_unsupported > _MANY * len(few):
        return _UNSUPPORTED.format(n_unsupported, len(few))
    if autocorrelation is not None and autocorrelation.is_alarm:
        feature = autocorrelation.order
        return _AUTOCORRELATED.format(autocorrelation, "" if feature is None else f", times={feature}")
    if left_out_size * heaviest < _COPIES and _is_made_by_copies(smoother, training, some, datafit):
        return _MADE_BY_COPIES
    if skill <= 0.0:
        return _NO_BETTER.format(datafit.constant_prediction, remedy)
    on_a_line = smoother.line is not None and smoother.keys.shape[1] == 1
    if on_a_line and factor_of_spacing(smoother.keys[:, 0], smoother.kernel) < _AT_SPACING:
        return _NARROW_AS_SPACING
    is_in_sample = criterion != "loo" and skill < _NO_NOISE
    if is_in_sample and _size_at_samples(smoother, few) * heaviest < _NEAREST:
        return _NEAR_ZERO
    return None


def _support(smoother: Smoother, validation: Validation, enough: float) -> tuple[np.ndarray, float]:
    """Which left-out predictions are without support, and the median effective sample size of all.

    If the median of its lower bounds already is `enough`, then that.
    """
    requests = [(part.value_request(queries), part.algorithm) for _, part, queries, _ in smoother.left_out(validation)]
    least = [bound for request, name in requests if (bound := least_sample_size(request, name)) is not None]
    if len(least) == len(requests) and (found := _joined(least))[1] >= enough:
        return found
    return _joined([effective_sample_size(request, "mean", algorithm_for(request, name)) for request, name in requests])


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, float]:
    """Which predictions of all parts are without support, and the median of their sizes."""
    sizes, unsupported = (np.concatenate(of_parts) for of_parts in zip(*parts, strict=True))
    return unsupported, float(np.median(np.where(unsupported, 1.0, sizes)))


def _size_at_samples(smoother: Smoother, validation: Validation) -> float:
    """The median effective sample size at the samples themselves."""
    request = smoother.value_request(smoother.samples[validation.rows])
    return float(np.median(effective_sample_size(request, "mean", smoother.algorithm)[0]))


def _is_made_by_copies(smoother: Smoother, training: TrainingSet, validation: Validation, datafit: Datafit) -> bool:
    """Whether most samples share their inputs with others, without which a wider bandwidth predicts better."""
    if not validation.leaves_one_out:
        return False
    n, begins = len(training), training.first_of_inputs
    first = np.repeat(begins, np.diff(begins, append=n))
    last = np.repeat(np.append(begins[1:], n), np.diff(begins, append=n))
    rows = validation.rows
    if np.mean(last[rows] - first[rows] > 1) < 0.5 or len(begins) < _FEW / 2:
        return False
    without = Validation((Tests(rows, LeaveOut(first[rows], last[rows])),))
    ridge = smoother.line.ridge if smoother.line else 0.0
    n_steps = np.ceil(np.log(max(np.ptp(smoother.index.ranges, axis=0).max(), _STEP)) / np.log(_STEP))
    scores = Criterion("loo", smoother, training, without, ridge, datafit)(_STEP ** np.arange(n_steps, -1.0, -1.0))[0]
    return bool(scores.min() < _LOWER * scores[-1])
