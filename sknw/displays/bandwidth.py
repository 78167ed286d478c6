"""The picture of a search for the bandwidth."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np

from sknw._selection.criterion import Criterion
from sknw._smoothing.validation import Validation
from sknw.displays.drawing import BLUE, ORANGE, Display, styled
from sknw.estimators.classification import ClassificationMixin
from sknw.estimators.unwrap import FittedModel, feature_names, smoother_and_inputs

# Points at which degrees of freedom are computed, training samples that it takes, and numbers that an axis may show.
_TRACE_POINTS = 30
_TRACE_ROWS = 500
# Between two labels of that axis, of its length.
_LABEL_DISTANCE = 0.11
_ROUND_NUMBERS = np.array([a * 10.0**b for b in range(7) for a in (1, 2, 5)])

_CRITERION_LABELS = {
    "loo": "leave-one-out error",
    "gcv": "GCV score",
    "aicc": "AICc",
    "log loss": "leave-one-out log loss (nats)",
}


@dataclass(eq=False, repr=False)
class BandwidthDisplay(Display):
    """The criterion along the bandwidth, with its local minima, the choice, and the degrees of freedom.

    :meth:`from_estimator` is the usual way to make one; all parameters are stored as attributes.

    Parameters
    ----------
    bandwidths : ndarray of shape (n_candidates,)
        Ascending: of the only feature in its unit, of several in units of their standard deviations.
    scores : ndarray of shape (n_candidates,)
        The criterion; what is not finite is not drawn.
    best_index : int
        The chosen candidate.
    local_minima : ndarray of int
        Candidates at local minima.
    degrees_of_freedom : ndarray of shape (2, n_points), default=None
        Bandwidths, ascending, and the effective degrees of freedom there; None draws no such axis.
    criterion : {"loo", "gcv", "aicc", "log loss"}, default="loo"
        What the scores are; "log loss" is that of a classifier, left out as with "loo".
    xlabel : str, default="bandwidth"
        The label of the horizontal axis.
    is_comparable : ndarray of bool, default=None
        Which scores are of all samples, as that of the choice: these are connected by a line, and the others, which a
        search of many samples takes from some of them, are grey dots. None: all.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The criterion.
    others_ : matplotlib Line2D or None
        Scores of some of the samples.
    minima_ : matplotlib Line2D
        The local minima.
    choice_ : matplotlib Line2D
        The choice.
    freedom_axis_ : matplotlib SecondaryAxis or None
        The axis of degrees of freedom, on top.
    ax_ : matplotlib Axes
        Where it is drawn.
    figure_ : matplotlib Figure
        The figure around.

    See Also
    --------
    BandwidthSearch : The numbers drawn.

    Examples
    --------
    >>> from sknw import NadarayaWatsonRegressor
    >>> from sknw.datasets import make_sine_power
    >>> from sknw.displays import BandwidthDisplay
    >>> X, y = make_sine_power(random_state=0)
    >>> model = NadarayaWatsonRegressor().fit(X, y)
    >>> display = BandwidthDisplay.from_estimator(model)
    >>> bool(display.bandwidths[display.best_index] == model.bandwidth_[0])
    True
    """

    bandwidths: np.ndarray
    scores: np.ndarray
    best_index: int
    local_minima: np.ndarray
    _: KW_ONLY
    degrees_of_freedom: np.ndarray | None = None
    criterion: str = "loo"
    xlabel: str = "bandwidth"
    is_comparable: np.ndarray | None = None

    @classmethod
    def from_estimator(cls, estimator: FittedModel, *, ax: Any = None, **plot_kwargs: Any) -> Self:
        """Draw what the bandwidth selector of a fitted estimator saw.

        The effective degrees of freedom, the trace of the smoother matrix, are estimated from at most 500 of the
        training samples.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A fitted smoother with a bandwidth, or a pipeline that ends in one.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        **plot_kwargs
            `line_kwargs`, `choice_kwargs`, as in :meth:`plot`.

        Returns
        -------
        BandwidthDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If no bandwidth was searched.
        """
        smoother, _ = smoother_and_inputs(estimator)
        search = getattr(smoother, "bandwidth_search_", None)
        if search is None:
            raise ValueError(
                f'{type(smoother).__name__} has searched no bandwidth; fit it with bandwidth="loo", "gcv" or "aicc".'
            )
        factors = np.geomspace(search.factors[0], search.factors[-1], _TRACE_POINTS)
        is_only = smoother.n_features_in_ == 1
        unit = search.bandwidths[-1, 0] / search.factors[-1] if is_only else 1.0
        training, fitted = smoother._fitted.training, smoother._fitted.smoother
        validation = Validation.of(None, training)[:: -(-len(training) // _TRACE_ROWS)]
        ridge = fitted.line.ridge if fitted.line else 0.0
        criterion = Criterion("gcv", fitted, training, validation, ridge)
        descending = factors[::-1] / search.factors[search.best_index]
        freedom = criterion.degrees_of_freedom(descending, ridge)[::-1]
        return cls(
            search.bandwidths[:, 0] if is_only else search.factors,
            search.scores,
            search.best_index,
            search.local_minima,
            degrees_of_freedom=np.array([unit * factors, freedom]),
            criterion="log loss" if isinstance(smoother, ClassificationMixin) else search.criterion,
            is_comparable=search.is_comparable,
            xlabel=f"bandwidth of {feature_names(smoother)[0]}" if is_only else "bandwidth (standard deviations)",
        ).plot(ax, **plot_kwargs)

    def plot(self, ax: Any = None, *, line_kwargs: dict | None = None, choice_kwargs: dict | None = None) -> Self:
        """Draw criterion, minima and choice.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        line_kwargs, choice_kwargs : dict, default=None
            For :meth:`matplotlib.axes.Axes.plot`: the criterion's line, the mark of the choice.

        Returns
        -------
        BandwidthDisplay
            The display itself.
        """
        ax = self._draw_into(ax)
        point = {"marker": "o", "linestyle": "none"}
        minima = point | {"color": BLUE, "fillstyle": "none", "markersize": 9, "label": "local minimum"}
        chosen = self.bandwidths[self.best_index]
        choice = point | {"color": ORANGE, "label": f"choice, {chosen:.3g}"}
        scores = np.where(np.isfinite(self.scores), self.scores, np.nan)
        of_all = np.ones(len(scores), dtype=bool) if self.is_comparable is None else self.is_comparable
        line = {"color": BLUE, "marker": "none" if of_all.all() else "."}
        self.others_ = None
        if not of_all.all():
            some = point | {"color": "0.6", "markersize": 4, "label": "of some samples"}
            (self.others_,) = ax.plot(self.bandwidths[~of_all], scores[~of_all], **some)
        (self.line_,) = ax.plot(self.bandwidths[of_all], scores[of_all], **styled(line, line_kwargs))
        (self.minima_,) = ax.plot(self.bandwidths[self.local_minima], scores[self.local_minima], **minima)
        (self.choice_,) = ax.plot([chosen], [scores[self.best_index]], **styled(choice, choice_kwargs))
        ax.set(xscale="log", xlabel=self.xlabel, ylabel=_CRITERION_LABELS[self.criterion])
        ax.legend(fontsize="small")
        self.freedom_axis_ = None if self.degrees_of_freedom is None else self._draw_freedom(ax)
        return self

    def _draw_freedom(self, ax: Any) -> Any:
        """An axis on top with round numbers of degrees of freedom."""
        bandwidths, freedom = np.asarray(self.degrees_of_freedom)[:, ::-1]  # so that freedom ascends
        freedom = np.maximum.accumulate(freedom)
        numbers = _ROUND_NUMBERS[(freedom[0] <= _ROUND_NUMBERS) & (freedom[-1] >= _ROUND_NUMBERS)]
        positions = np.exp(np.interp(np.log(numbers), np.log(freedom), np.log(bandwidths)))
        ratio = (self.bandwidths[-1] / self.bandwidths[0]) ** _LABEL_DISTANCE
        labels: dict[float, str] = {}
        for number, position in zip(numbers, positions.tolist(), strict=True):  # descending
            if position * ratio <= min(labels, default=np.inf):
                labels[position] = f"{number:g}"
        axis = ax.secondary_xaxis("top")
        axis.set_xticks(list(labels), list(labels.values()))
        axis.set_xticks([], minor=True)
        axis.set_xlabel("effective degrees of freedom")
        return axis
