"""The picture of the effects of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats.mstats import mquantiles

from sknw._sklearn_compat import get_column, n_rows
from sknw.displays.drawing import BLUE, Display, output_position, styled
from sknw.estimators.base import BaseSmoother
from sknw.estimators.unwrap import FittedModel, feature_names, feature_positions, smoother_and_inputs

# Axes in a row, single rows that are drawn, and letters of levels that fit below an axis.
_COLUMNS, _MOST_CURVES, _LONG_LABELS = 3, 50, 24
# Of sums of weights.
_ROUNDING = 1e-12


@dataclass(eq=False, repr=False)
class EffectDisplay(Display):
    """The effect of each feature: partial dependence and individual curves.

    A curve is the prediction of one row with other values of the feature, everything else as it is; partial dependence
    is the average of these curves [1]_. The band holds the middle half of the curves at each value: it is as wide as
    the other features spread the predictions, and its width changes where they change the effect. Categories are points
    with bars. :meth:`from_estimator` is the usual way to make one; all parameters are stored as attributes.

    Parameters
    ----------
    values : list of ndarray of shape (n_values,)
        The values of each feature, of categories the numbers 0, 1, ... of the levels.
    average : list of ndarray of shape (n_values,)
        The average prediction at each of them.
    quartiles : list of ndarray of shape (2, n_values)
        Lower and upper quartile of the predictions of single rows.
    curves : list of ndarray of shape (n_curves, n_values)
        The predictions of some rows, that stand for all: evenly spaced in the order of their means.
    feature_names : list of str
        The names of the features.
    levels : list of (list of str or None)
        The names of the levels of each category, None for numbers.
    kind : {"average", "individual", "both"}, default="average"
        Whether the average with its band is drawn, single rows, or the average with single rows.

    Attributes
    ----------
    line_ : list of matplotlib Line2D or None
        The average for each feature.
    band_ : list of matplotlib artists or None
        The band for each feature, a PolyCollection, or the bars of a category, a LineCollection.
    curves_ : list of lists of matplotlib Line2D
        Single rows for each feature.
    axes_ : list of matplotlib Axes
        Where each feature is drawn.
    ax_ : matplotlib Axes
        What was given to draw in, with several features around these axes.
    figure_ : matplotlib Figure
        The figure around.

    See Also
    --------
    FitDisplay : One feature, with the others at their medians, and the data.
    sknw.inspection.significance_test : Whether a feature matters.
    sklearn.inspection.PartialDependenceDisplay : The average for any estimator, and for pairs of features.

    References
    ----------
    .. [1] J. H. Friedman, "Greedy function approximation: a gradient boosting machine", Annals of Statistics 29 (2001)
       1189-1232; A. Goldstein, A. Kapelner, J. Bleich, E. Pitkin, "Peeking inside the black box: visualizing
       statistical learning with plots of individual conditional expectation", Journal of Computational and Graphical
       Statistics 24 (2015) 44-65.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw import NadarayaWatsonRegressor
    >>> from sknw.displays import EffectDisplay
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> model = NadarayaWatsonRegressor().fit(X, np.sin(X[:, 0]) + X[:, 1])
    >>> display = EffectDisplay.from_estimator(model, features=[0])
    >>> display.average[0].shape
    (100,)
    """

    values: list[np.ndarray]
    average: list[np.ndarray]
    quartiles: list[np.ndarray]
    curves: list[np.ndarray]
    _: KW_ONLY
    feature_names: list[str]
    levels: list[list[str] | None]
    kind: str = "average"

    @classmethod
    def from_estimator(
        cls,
        estimator: FittedModel,
        X: ArrayLike | None = None,
        features: Sequence[int | str] | int | str | None = None,
        *,
        kind: str = "average",
        target: int | None = None,
        grid_resolution: int = 100,
        percentiles: tuple[float, float] = (0.05, 0.95),
        ax: Any = None,
        **plot_kwargs: Any,
    ) -> Self:
        """Draw the effects of features.

        Weighted means by the Gaussian kernel take one pass over all pairs of rows for all values of a feature; other
        fits take a prediction of the rows for each value.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A fitted smoother, or a pipeline that ends in one.
        X : array-like of shape (n_rows, n_features), default=None
            The rows that are averaged over. None: the training rows, with their weights; of a pipeline those that its
            last step sees, with the features of that step.
        features : int, str or list of these, default=None
            The features, by position or by name; None draws all.
        kind : {"average", "individual", "both"}, default="average"
            What is drawn: the average with a band of the middle half of the rows, single rows, or the average with
            single rows.
        target : int, default=None
            The output, or the class, to draw, by its position. None: the only output, or of two classes the second, as
            in :class:`sklearn.inspection.PartialDependenceDisplay`; with more outputs or classes it is needed.
        grid_resolution : int, default=100
            The number of values of a feature; one that has fewer is drawn at its own.
        percentiles : tuple of two floats, default=(0.05, 0.95)
            The quantiles of a feature between which its values lie; a periodic feature is drawn over all of its range.
        ax : matplotlib Axes, default=None
            Where to draw, several features within it; None makes a new figure.
        **plot_kwargs
            `line_kwargs`, `band_kwargs`, `curve_kwargs`, as in :meth:`plot`.

        Returns
        -------
        EffectDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If `estimator` is no smoother.
        ValueError
            If there is no such feature or kind, or several outputs, or more than two classes, and no `target`.
        """
        if kind not in ("average", "individual", "both"):
            raise ValueError(f'kind must be "average", "individual" or "both", got {kind!r}.')
        smoother, _ = smoother_and_inputs(estimator)
        smoother._require_rows_here()
        training, n_outputs = smoother._fitted.training, smoother._fitted.training.values.shape[1]
        output = output_position(smoother, target, n_outputs)
        is_whole = X is not None and smoother is not estimator  # features are those that a pipeline is given
        names = feature_names(estimator if is_whole else smoother)
        weights = training.sample_weight if X is None else np.ones(n_rows(X))
        rows = training.inputs
        if X is not None and not is_whole:
            rows = smoother._validate_inputs(X)
        positions = feature_positions(features, names)

        def effect_of(k: int) -> tuple[Any, ...]:
            where = k, output, grid_resolution, percentiles
            curves = _pipeline_curves(estimator, X, *where) if is_whole else _smoother_curves(smoother, rows, *where)
            values, levels, found = curves
            return values, weights @ found / weights.sum(), _quartiles(found, weights), _some_curves(found), levels

        *drawn, levels = map(list, zip(*map(effect_of, positions), strict=True))
        display = cls(*drawn, feature_names=[names[k] for k in positions], levels=levels, kind=kind)
        return display.plot(ax, **plot_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        line_kwargs: dict | None = None,
        band_kwargs: dict | None = None,
        curve_kwargs: dict | None = None,
    ) -> Self:
        """Draw the effects, all with the same vertical axis.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw, several features within it; None makes a new figure.
        line_kwargs, band_kwargs, curve_kwargs : dict, default=None
            For :meth:`matplotlib.axes.Axes.plot`, :meth:`~matplotlib.axes.Axes.fill_between` (of categories
            :meth:`~matplotlib.axes.Axes.vlines`) and, of single rows, :meth:`~matplotlib.axes.Axes.plot`.

        Returns
        -------
        EffectDisplay
            The display itself.
        """
        n = len(self.values)
        n_columns = min(n, _COLUMNS)
        ax = self._draw_into(ax, (3.2 * n_columns, 2.8 * -(-n // n_columns)) if n > 1 else None)
        self.axes_ = [ax]
        if n > 1:
            ax.set_axis_off()
            grid = ax.get_subplotspec().subgridspec(-(-n // n_columns), n_columns)
            self.axes_ = []
            for place in range(n):
                shared = self.axes_[0] if place else None
                self.axes_.append(ax.figure.add_subplot(grid[divmod(place, n_columns)], sharey=shared))
        self.line_: list[Any] = []
        self.band_: list[Any] = []
        self.curves_: list[list[Any]] = []
        for place, one in enumerate(self.axes_):
            self.curves_.append(self._draw_curves(one, place, curve_kwargs) if self.kind != "average" else [])
            self.band_.append(self._draw_band(one, place, band_kwargs) if self.kind == "average" else None)
            self.line_.append(self._draw_average(one, place, line_kwargs) if self.kind != "individual" else None)
            one.set(xlabel=self.feature_names[place])
            levels = self.levels[place]
            if levels:
                is_long = sum(map(len, levels)) > _LONG_LABELS
                turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
                one.set_xticks(self.values[place], levels, **turned)
                one.set_xlim(-0.5, len(levels) - 0.5)
            if place % n_columns == 0:
                one.set_ylabel("average prediction" if self.kind == "average" else "prediction")
            else:
                one.tick_params(labelleft=False)
        self.axes_[0].legend(fontsize="small")
        return self

    def _draw_curves(self, ax: Any, place: int, given: dict | None) -> list[Any]:
        style: dict[str, Any] = {"color": "0.45", "linewidth": 0.8, "alpha": 0.7}
        if self.levels[place]:
            style |= {"linestyle": "none", "marker": "_"}
        lines = [ax.plot(self.values[place], curve, **styled(style, given))[0] for curve in self.curves[place]]
        lines[0].set_label("single rows")
        return lines

    def _draw_band(self, ax: Any, place: int, given: dict | None) -> Any:
        style: dict[str, Any] = {"alpha": 0.2, "linewidth": 0}
        draw = ax.fill_between
        if self.levels[place]:
            draw, style = ax.vlines, {"alpha": 0.4, "linewidth": 4}
        style |= {"color": BLUE, "label": "middle half of the rows"}
        return draw(self.values[place], *self.quartiles[place], **styled(style, given))

    def _draw_average(self, ax: Any, place: int, given: dict | None) -> Any:
        style = {"color": BLUE, "label": "average"}
        if self.levels[place]:
            style |= {"linestyle": "none", "marker": "o"}
        return ax.plot(self.values[place], self.average[place], **styled(style, given))[0]


def _smoother_curves(
    smoother: BaseSmoother, rows: np.ndarray, k: int, output: int, resolution: int, percentiles: tuple[float, float]
) -> tuple[np.ndarray, list[str] | None, np.ndarray]:
    """The values of feature k (g,), the names of those of a category, and the predictions of rows there, (m, g)."""
    training, levels, names = smoother._fitted.training, smoother.categories_[k], None
    if levels is not None:
        values = np.arange(len(levels))
        names = ["missing" if level != level else str(level) for level in levels.tolist()]
    else:
        is_periodic = training.features.period[k] > 0
        values = _grid(rows[:, k].astype(np.float64), resolution, (0.0, 1.0) if is_periodic else percentiles)
    curves = smoother._individual_curves(rows, k, values)[..., output]
    return values, names, training.y_center[output] + training.y_scales[output] * curves


def _pipeline_curves(
    pipeline: FittedModel, X: Any, k: int, output: int, resolution: int, percentiles: tuple[float, float]
) -> tuple[np.ndarray, list[str] | None, np.ndarray]:
    """The same of a pipeline at rows X, for a feature that it is given; what are no numbers are names."""
    from sklearn.inspection import partial_dependence  # it brings all the trees of scikit-learn

    column, names = np.asarray(get_column(X, k)), None
    if column.dtype.kind in "biuf":
        values = _grid(column.astype(np.float64), resolution, percentiles)
    else:
        levels = sorted(level for level in set(column.tolist()) if level is not None and level == level)
        values, names = np.array(levels, dtype=object), [str(level) for level in levels]
    at_values: Any = {"kind": "individual", "method": "brute", "custom_values": {k: values}}
    of_outputs = partial_dependence(pipeline, X, [k], **at_values)["individual"]
    if len(of_outputs) < len(getattr(pipeline, "classes_", ())):  # of two classes it gives the second
        of_outputs = np.concatenate([1.0 - of_outputs, of_outputs])
    return np.arange(len(values)) if names else values, names, of_outputs[output]


def _grid(x: np.ndarray, resolution: int, percentiles: tuple[float, float]) -> np.ndarray:
    """As scikit-learn's partial dependence: the distinct values of x if these are few, else evenly spaced ones."""
    distinct = np.unique(x)
    if len(distinct) < resolution:
        return distinct
    low, high = mquantiles(x, prob=percentiles).tolist()
    return np.linspace(low, high, resolution)


def _some_curves(curves: np.ndarray) -> np.ndarray:
    """A few of the curves (m, g), evenly spaced in the order of their means."""
    order = np.argsort(curves.mean(axis=1), kind="stable")
    return curves[order[np.linspace(0, len(order) - 1, min(len(order), _MOST_CURVES)).round().astype(np.intp)]]


def _quartiles(predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The least of predictions (m, g) up to which a quarter, and three, of the weights (m,) lie: (2, g)."""
    order = np.argsort(predictions, axis=0)
    cumulated = np.cumsum(weights[order], axis=0)
    at = [np.argmax(cumulated >= (share - _ROUNDING) * cumulated[-1], axis=0) for share in (0.25, 0.75)]
    return np.take_along_axis(predictions, np.take_along_axis(order, np.array(at), axis=0), axis=0)
