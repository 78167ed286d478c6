"""Pictures of a fitted smoother, by scikit-learn's Display conventions.

The data of a picture are given to ``__init__``, ``plot`` draws them and returns the display, artists are attributes,
and ``from_estimator`` does both. matplotlib is imported when something is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats.mstats import mquantiles

from sknw._selection.criterion import Criterion
from sknw._sklearn_compat import get_column, n_rows
from sknw._smoothing.training import take
from sknw._smoothing.validation import Validation
from sknw.estimators.base import BaseSmoother
from sknw.estimators.classification import ClassificationMixin
from sknw.estimators.regression import RegressionMixin
from sknw.estimators.unwrap import feature_names, feature_positions, smoother_and_inputs

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = ["AttentionDisplay", "BandwidthDisplay", "EffectDisplay", "FitDisplay"]

# Of the palette of Okabe and Ito, told apart by every kind of colour vision.
_BLUE, _ORANGE = "#0072B2", "#D55E00"
# Of effects: axes in a row, single rows that are drawn, and letters of levels that fit below an axis.
_COLUMNS, _MOST_CURVES, _LONG_LABELS = 3, 50, 24
# Points of a curve.
_RESOLUTION = 200
# Points at which degrees of freedom are computed, training samples that it takes, and numbers that an axis may show.
_TRACE_POINTS = 30
_TRACE_ROWS = 500
# Between two labels of that axis, of its length.
_LABEL_DISTANCE = 0.11
# Of sums of weights.
_ROUNDING = 1e-12
_ROUND_NUMBERS = np.array([a * 10.0**b for b in range(7) for a in (1, 2, 5)])

_CRITERION_LABELS = {
    "loo": "leave-one-out error",
    "gcv": "GCV score",
    "aicc": "AICc",
    "log loss": "leave-one-out log loss (nats)",
}


class _Display:
    def _draw_into(self, ax: Any, size: tuple[float, float] | None = None) -> Any:
        """The axes given, or those of a new figure of a size in inches, which become attributes."""
        if ax is None:
            try:
                import matplotlib.pyplot as plt
            except ImportError as error:
                raise ImportError("Drawing needs matplotlib: pip install matplotlib.") from error
            ax = plt.subplots(figsize=size, layout="constrained")[1]
        self.ax_, self.figure_ = ax, ax.figure
        return ax


@dataclass(eq=False, repr=False)
class AttentionDisplay(_Display):
    """Heat map of attention weights: a row for each query, a column for each training sample.

    Queries and samples are drawn in ascending order of a value, so that neighbours in the picture are alike: with one
    feature the feature itself, with several the prediction of a query and the target of a sample. Of classes these are
    positions in `classes_`, and the axes have their names.
    :meth:`from_estimator` is the usual way to make one; all parameters are stored as attributes.

    Parameters
    ----------
    weights : ndarray of shape (n_queries, n_samples)
        The weights, in any order.
    query_values, key_values : ndarray of shape (n_queries,) and (n_samples,)
        What queries and training samples are sorted by and labelled with.
    query_label, key_label : str
        What these values are.
    class_names : ndarray of shape (n_classes,), default=None
        The names of the classes, if the values are positions among them.

    Attributes
    ----------
    image_ : matplotlib AxesImage
        The heat map.
    colorbar_ : matplotlib Colorbar
        Its colours as weights.
    ax_ : matplotlib Axes
        Where it is drawn.
    figure_ : matplotlib Figure
        The figure around.

    See Also
    --------
    NadarayaWatsonRegressor.attention_weights_ : The weights as an array.

    Examples
    --------
    >>> from sknw import NadarayaWatsonRegressor
    >>> from sknw.datasets import make_sine_power
    >>> from sknw.displays import AttentionDisplay
    >>> X, y = make_sine_power(random_state=0)
    >>> display = AttentionDisplay.from_estimator(NadarayaWatsonRegressor().fit(X, y), X)
    >>> display.weights.shape
    (50, 50)
    """

    weights: np.ndarray
    _: KW_ONLY
    query_values: np.ndarray
    key_values: np.ndarray
    query_label: str = "query"
    key_label: str = "training sample"
    class_names: np.ndarray | None = None

    @classmethod
    def from_estimator(
        cls, estimator: BaseSmoother | Pipeline, X: ArrayLike, *, ax: Any = None, **imshow_kwargs: Any
    ) -> Self:
        """Draw the attention of queries to the training samples.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A fitted smoother, or a pipeline that ends in one.
        X : array-like of shape (n_queries, n_features)
            The queries.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        **imshow_kwargs
            For :meth:`matplotlib.axes.Axes.imshow`, such as `cmap` or `norm`.

        Returns
        -------
        AttentionDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If `estimator` has no attention weights.
        """
        smoother, queries = smoother_and_inputs(estimator, X)
        weights = smoother.attention_weights_(queries)
        class_names = None
        if smoother.n_features_in_ == 1:
            values, by = (np.asarray(queries), smoother.X_train_), 2 * feature_names(smoother)
        elif isinstance(smoother, ClassificationMixin):
            class_names, by = smoother.classes_, ["prediction", "class"]
            of_both = smoother.predict(queries), smoother.y_train_
            values = (np.searchsorted(class_names, of_both[0]), np.searchsorted(class_names, of_both[1]))
        else:
            values, by = (smoother.predict(queries), smoother.y_train_), ["prediction", "target"]
        of_queries, of_keys = (value.reshape(len(value), -1)[:, 0] for value in values)
        labels = {"query_label": f"query, by {by[0]}", "key_label": f"training sample, by {by[1]}"}
        display = cls(weights, query_values=of_queries, key_values=of_keys, class_names=class_names, **labels)
        return display.plot(ax, **imshow_kwargs)

    def plot(self, ax: Any = None, **imshow_kwargs: Any) -> Self:
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        **imshow_kwargs
            For :meth:`matplotlib.axes.Axes.imshow`, such as `cmap` or `norm`.

        Returns
        -------
        AttentionDisplay
            The display itself.
        """
        ax = self._draw_into(ax)
        from matplotlib.colors import FuncNorm, PowerNorm

        rows, columns = (np.argsort(values, kind="stable") for values in (self.query_values, self.key_values))
        # a few weights are large and many small: colours follow the square root
        defaults: dict[str, Any] = {"norm": PowerNorm(0.5, vmin=0.0), "cmap": "viridis", "aspect": "auto"}
        if self.weights.min(initial=0.0) < 0:  # those of kriging are signed: the colours of both signs are alike
            largest = np.abs(self.weights).max()
            roots = (lambda w: np.sign(w) * np.sqrt(np.abs(w))), (lambda r: np.sign(r) * r**2)
            defaults |= {"norm": FuncNorm(roots, vmin=-largest, vmax=largest), "cmap": "PuOr"}
        defaults |= {"origin": "lower", "interpolation_stage": "data"}
        if {"vmin", "vmax"} & set(imshow_kwargs):
            del defaults["norm"]
        self.image_ = ax.imshow(self.weights[np.ix_(rows, columns)], **(defaults | imshow_kwargs))
        self.colorbar_ = ax.figure.colorbar(self.image_, ax=ax, label="attention weight")
        ax.set(xlabel=self.key_label, ylabel=self.query_label)
        for axis, values in [(ax.xaxis, self.key_values[columns]), (ax.yaxis, self.query_values[rows])]:
            if self.class_names is None:
                _label_by_value(axis, values)
            else:
                _label_by_class(axis, values, self.class_names)
        return self


@dataclass(eq=False, repr=False)
class FitDisplay(_Display):
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
        estimator: BaseSmoother | Pipeline,
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
        position = names.index(feature) if feature in names else feature
        column = _position(position, len(names), f"feature must be one of {names}, or its position")
        table = np.asarray(X, dtype=np.float64)
        x = np.linspace(table[:, column].min(), table[:, column].max(), _RESOLUTION)
        grid = np.tile(np.median(table, axis=0), (_RESOLUTION, 1))
        grid[:, column] = x
        frame: Any = type(X)
        like_X = frame(dict(zip(X.columns, grid.T, strict=True))) if hasattr(X, "columns") else grid
        smoother, queries = smoother_and_inputs(estimator, like_X)
        targets = np.asarray(y).reshape(len(table), -1)
        n_outputs = targets.shape[1]
        message = f"target must be the position of one of the {n_outputs} outputs"
        output = _position(0 if target is None and n_outputs == 1 else target, n_outputs, message)
        assert isinstance(smoother, RegressionMixin)
        bounds = mean_bounds = None
        if band != "mean":
            bounds = np.full((_RESOLUTION, 2), np.nan)  # there is no interval where `cv` has tested rows several times
            if smoother._fitted.tests_each_once:
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
        interval = {"color": _BLUE, "alpha": 0.2, "linewidth": 0, "label": f"{percent} interval"}
        of_mean = {"color": _ORANGE, "alpha": 0.4, "linewidth": 0, "label": f"{percent} band of the mean"}
        self.scatter_ = ax.scatter(self.data_x, self.data_y, **_styled(scatter, scatter_kwargs))
        (self.line_,) = ax.plot(self.x, self.mean, **_styled({"color": _BLUE, "label": "prediction"}, line_kwargs))
        self.band_ = self._fill(ax, self.interval, _styled(interval, band_kwargs))
        self.mean_band_ = self._fill(ax, self.mean_interval, _styled(of_mean, mean_band_kwargs))
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


@dataclass(eq=False, repr=False)
class EffectDisplay(_Display):
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
        estimator: BaseSmoother | Pipeline,
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
            The output, or the class, to draw, by its position; needed where there are several.
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
            If there is no such feature or kind, or several outputs and no `target`.
        """
        if kind not in ("average", "individual", "both"):
            raise ValueError(f'kind must be "average", "individual" or "both", got {kind!r}.')
        smoother, _ = smoother_and_inputs(estimator)
        training, n_outputs = smoother._fitted.training, smoother._fitted.training.values.shape[1]
        message = f"target must be the position of one of the {n_outputs} outputs"
        output = _position(0 if target is None and n_outputs == 1 else target, n_outputs, message)
        is_whole = X is not None and smoother is not estimator  # features are those that a pipeline is given
        names = feature_names(estimator if is_whole else smoother)
        weights, rows = training.sample_weight, take(training.given, training.rows)
        if X is not None and not is_whole:
            rows = smoother._validate_inputs(X)
        if X is not None:
            weights = np.ones(n_rows(X))
        parts: list[list[Any]] = [[], [], [], [], []]
        positions = feature_positions(features, names)
        for k in positions:
            if is_whole:
                from sklearn.inspection import partial_dependence  # it brings all the trees of scikit-learn

                values, levels = _column_values(X, k, grid_resolution, percentiles)
                of_outputs = partial_dependence(
                    estimator, X, [k], kind="individual", method="brute", custom_values={k: values}
                )["individual"]
                if len(of_outputs) < n_outputs:  # of two classes it gives the second
                    of_outputs = np.concatenate([1.0 - of_outputs, of_outputs])
                found = of_outputs[output]
                values = np.arange(len(values)) if levels else values
            else:
                values, levels = _feature_values(smoother, rows, k, grid_resolution, percentiles)
                curves = smoother._individual_curves(rows, k, values)[..., output]
                found = training.y_center[output] + training.y_scales[output] * curves
            some = np.argsort(found.mean(axis=1), kind="stable")
            some = some[np.linspace(0, len(some) - 1, min(len(some), _MOST_CURVES)).round().astype(np.intp)]
            average = weights @ found / weights.sum()
            for part, one in zip(
                parts, [values, average, _quartiles(found, weights), found[some], levels], strict=True
            ):
                part.append(one)
        display = cls(*parts[:4], feature_names=[names[k] for k in positions], levels=parts[4], kind=kind)
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
        lines = [ax.plot(self.values[place], curve, **_styled(style, given))[0] for curve in self.curves[place]]
        lines[0].set_label("single rows")
        return lines

    def _draw_band(self, ax: Any, place: int, given: dict | None) -> Any:
        style: dict[str, Any] = {"alpha": 0.2, "linewidth": 0}
        draw = ax.fill_between
        if self.levels[place]:
            draw, style = ax.vlines, {"alpha": 0.4, "linewidth": 4}
        style |= {"color": _BLUE, "label": "middle half of the rows"}
        return draw(self.values[place], *self.quartiles[place], **_styled(style, given))

    def _draw_average(self, ax: Any, place: int, given: dict | None) -> Any:
        style = {"color": _BLUE, "label": "average"}
        if self.levels[place]:
            style |= {"linestyle": "none", "marker": "o"}
        return ax.plot(self.values[place], self.average[place], **_styled(style, given))[0]


@dataclass(eq=False, repr=False)
class BandwidthDisplay(_Display):
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
    def from_estimator(cls, estimator: BaseSmoother | Pipeline, *, ax: Any = None, **plot_kwargs: Any) -> Self:
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
        minima = point | {"color": _BLUE, "fillstyle": "none", "markersize": 9, "label": "local minimum"}
        chosen = self.bandwidths[self.best_index]
        choice = point | {"color": _ORANGE, "label": f"choice, {chosen:.3g}"}
        scores = np.where(np.isfinite(self.scores), self.scores, np.nan)
        of_all = np.ones(len(scores), dtype=bool) if self.is_comparable is None else self.is_comparable
        line = {"color": _BLUE, "marker": "none" if of_all.all() else "."}
        self.others_ = None
        if not of_all.all():
            some = point | {"color": "0.6", "markersize": 4, "label": "of some samples"}
            (self.others_,) = ax.plot(self.bandwidths[~of_all], scores[~of_all], **some)
        (self.line_,) = ax.plot(self.bandwidths[of_all], scores[of_all], **_styled(line, line_kwargs))
        (self.minima_,) = ax.plot(self.bandwidths[self.local_minima], scores[self.local_minima], **minima)
        (self.choice_,) = ax.plot([chosen], [scores[self.best_index]], **_styled(choice, choice_kwargs))
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


def _feature_values(
    smoother: BaseSmoother, rows: np.ndarray, k: int, resolution: int, percentiles: tuple[float, float]
) -> tuple[np.ndarray, list[str] | None]:
    """The values at which the effect of a feature is drawn, and the names of those of a category."""
    levels = smoother.categories_[k]
    if levels is not None:
        return np.arange(len(levels)), ["missing" if level != level else str(level) for level in levels.tolist()]
    is_periodic = smoother._fitted.training.features.period[k] > 0
    return _grid(rows[:, k].astype(np.float64), resolution, (0.0, 1.0) if is_periodic else percentiles), None


def _column_values(
    X: Any, k: int, resolution: int, percentiles: tuple[float, float]
) -> tuple[np.ndarray, list[str] | None]:
    """The same of a column of any X, whose values are names if they are no numbers."""
    column = np.asarray(get_column(X, k))
    if column.dtype.kind in "biuf":
        return _grid(column.astype(np.float64), resolution, percentiles), None
    levels = sorted(level for level in set(column.tolist()) if level is not None and level == level)
    return np.array(levels, dtype=object), [str(level) for level in levels]


def _grid(x: np.ndarray, resolution: int, percentiles: tuple[float, float]) -> np.ndarray:
    """As scikit-learn's partial dependence: the distinct values of x if these are few, else evenly spaced ones."""
    distinct = np.unique(x)
    if len(distinct) < resolution:
        return distinct
    low, high = mquantiles(x, prob=percentiles).tolist()
    return np.linspace(low, high, resolution)


def _quartiles(predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The least of predictions (m, g) up to which a quarter, and three, of the weights (m,) lie: (2, g)."""
    order = np.argsort(predictions, axis=0)
    cumulated = np.cumsum(weights[order], axis=0)
    at = [np.argmax(cumulated >= (share - _ROUNDING) * cumulated[-1], axis=0) for share in (0.25, 0.75)]
    return np.take_along_axis(predictions, np.take_along_axis(order, np.array(at), axis=0), axis=0)


def _position(value: Any, length: int, message: str) -> int:
    """A position among `length` things, checked."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and 0 <= value < length:
        return int(value)
    raise ValueError(f"{message}, got {value!r}.")


def _styled(defaults: dict, given: dict | None) -> dict:
    """The defaults, replaced by what is given, also under one of matplotlib's short names."""
    long_names = {"c": "color", "lw": "linewidth", "ls": "linestyle", "ms": "markersize", "edgecolor": "edgecolors"}
    given = {} if given is None else {long_names.get(name, name): value for name, value in given.items()}
    return defaults | given


def _label_by_value(axis: Any, values: np.ndarray) -> None:
    """Ticks at positions among sorted values, labelled with the values; a value may be NaN."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    finite = values[np.isfinite(values)]
    digits = max(0, 1 - int(np.floor(np.log10(np.ptp(finite) or 1.0)))) if finite.size else 0

    def label(position: float, _: int) -> str:
        return f"{values[round(position)]:.{digits}f}" if 0 <= position < len(values) else ""

    axis.set_major_locator(MaxNLocator(6, integer=True))
    axis.set_major_formatter(FuncFormatter(label))


def _label_by_class(axis: Any, values: np.ndarray, names: np.ndarray) -> None:
    """A tick in the middle of each class among sorted values, labelled with its name."""
    codes, first, count = np.unique(values, return_index=True, return_counts=True)
    axis.set_ticks(first + (count - 1) / 2.0, [str(names[code]) for code in codes])
