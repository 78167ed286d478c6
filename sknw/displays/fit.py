"""The picture of a fitted curve."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from sknw.displays.drawing import BLUE, ORANGE, Display, output_position, styled
from sknw.estimators.classification import ClassificationMixin
from sknw.estimators.regression import RegressionMixin
from sknw.estimators.tables import positions_of
from sknw.estimators.unwrap import FittedModel, feature_names, smoother_and_inputs

# Points of a curve.
_RESOLUTION = 200


@dataclass(eq=False, repr=False)
class FitDisplay(Display):
    """The fitted curve along one feature, with its prediction interval or the band of the mean, and data.

    With several features it is a cut through the fit: the other features stay at their medians.
    :meth:`from_estimator` is the usual way to make one; all parameters are stored as attributes.

    Parameters
    ----------
    x : ndarray of shape (n_points,)
        Values of the feature, ascending.
    mean : ndarray of shape (n_points,)
        The prediction there.
    interval : ndarray of shape (n_points, 2) or None
        Lower and upper bound of a new observation; may be infinite. None draws none.
    coverage : float
        The share of new observations that the interval, and of curves that the band of the mean, is meant to cover.
    data_x, data_y : ndarray of shape (n_samples,)
        The observations.
    feature_name : str, default="x"
        The label of the horizontal axis.
    is_cut : bool, default=False
        Whether there are other features, at their medians.
    mean_interval : ndarray of shape (n_points, 2), default=None
        Lower and upper bound of the curve at each point; None draws none.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The prediction.
    band_ : matplotlib PolyCollection or None
        The interval.
    mean_band_ : matplotlib PolyCollection or None
        The band of the mean.
    scatter_ : matplotlib PathCollection
        The data.
    ax_ : matplotlib Axes
        Where it is drawn.
    figure_ : matplotlib Figure
        The figure around.

    See Also
    --------
    NadarayaWatsonRegressor.predict_interval : The interval as an array.
    NadarayaWatsonRegressor.predict_mean_interval : The band of the mean as an array.
    sklearn.inspection.PartialDependenceDisplay : Averages over the other features instead of cutting.

    Examples
    --------
    >>> from sknw import NadarayaWatsonRegressor
    >>> from sknw.datasets import make_sine_power
    >>> from sknw.displays import FitDisplay
    >>> X, y = make_sine_power(random_state=0)
    >>> display = FitDisplay.from_estimator(NadarayaWatsonRegressor().fit(X, y), X, y)
    >>> display.mean.shape
    (200,)
    """

    x: np.ndarray
    mean: np.ndarray
    interval: np.ndarray | None
    _: KW_ONLY
    coverage: float
    data_x: np.ndarray
    data_y: np.ndarray
    feature_name: str = "x"
    is_cut: bool = False
    mean_interval: np.ndarray | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: FittedModel,
        X: ArrayLike,
        y: ArrayLike,
        *,
        feature: int | str = 0,
        target: int | None = None,
        band: str = "interval",
        coverage: float = 0.9,
        ax: Any = None,
        **plot_kwargs: Any,
    ) -> Self:
        """Draw the fit along a feature.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A fitted smoother, or a pipeline that ends in one.
        X : array-like of shape (n_samples, n_features)
            The observations drawn; they also say over which range, and what the medians of the other features are.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        feature : int or str, default=0
            The feature along which to go, by position or by name.
        target : int, default=None
            The output to draw; needed where there are several.
        band : {"interval", "mean", "both"}, default="interval"
            What is drawn around the curve: where a new observation lies, where the curve itself lies, or both.
        coverage : float, default=0.9
            Of the interval and the band.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        **plot_kwargs
            `line_kwargs`, `band_kwargs`, `mean_band_kwargs`, `scatter_kwargs`, as in :meth:`plot`.

        Returns
        -------
        FitDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If there is no such feature or band, or several outputs and no `target`.
        TypeError
            If the smoother is a classifier, which has no curve with an interval.
        """
        if band not in ("interval", "mean", "both"):
            raise ValueError(f'band must be "interval", "mean" or "both", got {band!r}.')
        if isinstance(smoother_and_inputs(estimator)[0], ClassificationMixin):
            raise TypeError(
                "FitDisplay draws a curve with its prediction interval, which a classifier does not have: draw columns "
                "of predict_proba, or sklearn.inspection.DecisionBoundaryDisplay."
            )
        names = feature_names(estimator)
        (column,) = positions_of([feature], "feature", names, len(names))
        table = np.asarray(X, dtype=np.float64)
        x, cut = _cut(X, table, column)
        smoother, queries = smoother_and_inputs(estimator, cut)
        targets = np.asarray(y).reshape(len(table), -1)
        output = output_position(smoother, target, targets.shape[1])
        assert isinstance(smoother, RegressionMixin)
        bounds = mean_bounds = None
        if band != "mean":
            bounds = np.full((_RESOLUTION, 2), np.nan)  # there is no interval where `cv` has tested rows several times
            if smoother._fitted.validation.tests_each_once:
                bounds = smoother.predict_interval(queries, coverage).reshape(_RESOLUTION, -1, 2)[:, output]
        if band != "interval":
            mean_bounds = smoother.predict_mean_interval(queries, coverage).reshape(_RESOLUTION, -1, 2)[:, output]
        return cls(
            x,
            smoother.predict(queries).reshape(_RESOLUTION, -1)[:, output],
            bounds,
            mean_interval=mean_bounds,
            coverage=coverage,
            data_x=table[:, column],
            data_y=targets[:, output],
            feature_name=names[column],
            is_cut=len(names) > 1,
        ).plot(ax, **plot_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        line_kwargs: dict | None = None,
        band_kwargs: dict | None = None,
        mean_band_kwargs: dict | None = None,
        scatter_kwargs: dict | None = None,
    ) -> Self:
        """Draw line, bands and data.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        line_kwargs, band_kwargs, mean_band_kwargs, scatter_kwargs : dict, default=None
            For :meth:`matplotlib.axes.Axes.plot`, :meth:`~matplotlib.axes.Axes.fill_between` of the interval and of
            the band of the mean, and :meth:`~matplotlib.axes.Axes.scatter`.

        Returns
        -------
        FitDisplay
            The display itself.
        """
        ax = self._draw_into(ax)
        # many points are small and pale: together they shade
        crowd = np.sqrt(len(self.data_x))
        size, alpha = np.clip(170 / crowd, 2, 16), np.clip(14 / crowd, 0.15, 0.8)
        scatter = {"s": size, "color": "0.45", "alpha": alpha, "linewidths": 0, "label": "data"}
        percent = f"{100 * self.coverage:g} %"
        interval = {"color": BLUE, "alpha": 0.2, "linewidth": 0, "label": f"{percent} interval"}
        of_mean = {"color": ORANGE, "alpha": 0.4, "linewidth": 0, "label": f"{percent} band of the mean"}
        self.scatter_ = ax.scatter(self.data_x, self.data_y, **styled(scatter, scatter_kwargs))
        (self.line_,) = ax.plot(self.x, self.mean, **styled({"color": BLUE, "label": "prediction"}, line_kwargs))
        self.band_ = self._fill(ax, self.interval, styled(interval, band_kwargs))
        self.mean_band_ = self._fill(ax, self.mean_interval, styled(of_mean, mean_band_kwargs))
        ax.set(xlabel=self.feature_name + " (others at their medians)" * self.is_cut, ylabel="y")
        ax.legend(fontsize="small")
        return self

    def _fill(self, ax: Any, bounds: np.ndarray | None, style: dict) -> Any:
        """The area between two bounds; an infinite one fills the picture."""
        if bounds is None:
            return None
        bottom, top = ax.get_ylim()
        lower, upper = np.where(np.isinf(bounds), [bottom, top], bounds).T
        area = ax.fill_between(self.x, lower, upper, **style)
        if np.isinf(bounds).any():
            ax.set_ylim(bottom, top)
        return area


def _cut(X: Any, table: np.ndarray, column: int) -> tuple[np.ndarray, Any]:
    """Values of a column of X all over its range, and rows like X with these and the medians of the other columns.

    `table` is X as an array.
    """
    x = np.linspace(table[:, column].min(), table[:, column].max(), _RESOLUTION)
    rows = np.tile(np.median(table, axis=0), (_RESOLUTION, 1))
    rows[:, column] = x
    frame = type(X)
    return x, frame(dict(zip(X.columns, rows.T, strict=True))) if hasattr(X, "columns") else rows
