"""Pictures of a fitted smoother, by scikit-learn's Display conventions.

The data of a picture are given to ``__init__``, ``plot`` draws them and returns the display, artists are attributes,
and ``from_estimator`` does both. matplotlib is imported when something is drawn.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from sknw._selection.criterion import Criterion
from sknw._smoothing.validation import Validation
from sknw.estimators.base import BaseSmoother

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = ["AttentionDisplay", "BandwidthDisplay", "FitDisplay"]

# Of the palette of Okabe and Ito, told apart by every kind of colour vision.
_BLUE, _ORANGE = "#0072B2", "#D55E00"
# Points of a curve.
_RESOLUTION = 200
# Points at which degrees of freedom are computed, training samples that it takes, and numbers that an axis may show.
_TRACE_POINTS = 30
_TRACE_ROWS = 500
# Between two labels of that axis, of its length.
_LABEL_DISTANCE = 0.11
_ROUND_NUMBERS = np.array([a * 10.0**b for b in range(7) for a in (1, 2, 5)])

_CRITERION_LABELS = {"loo": "leave-one-out error", "gcv": "GCV score", "aicc": "AICc"}


class _Display:
    def _draw_into(self, ax: Any) -> Any:
        """The axes given, or those of a new figure, which become attributes."""
        if ax is None:
            try:
                import matplotlib.pyplot as plt
            except ImportError as error:
                raise ImportError("Drawing needs matplotlib: pip install matplotlib.") from error
            ax = plt.subplots(layout="constrained")[1]
        self.ax_, self.figure_ = ax, ax.figure
        return ax


@dataclass(eq=False, repr=False)
class AttentionDisplay(_Display):
    """Heat map of attention weights: a row for each query, a column for each training sample.

    Queries and samples are drawn in ascending order of a value, so that neighbours in the picture are alike: with one
    feature the feature itself, with several the prediction of a query and the target of a sample.
    :meth:`from_estimator` is the usual way to make one; all parameters are stored as attributes.

    Parameters
    ----------
    weights : ndarray of shape (n_queries, n_samples)
        The weights, in any order.
    query_values, key_values : ndarray of shape (n_queries,) and (n_samples,)
        What queries and training samples are sorted by and labelled with.
    query_label, key_label : str
        What these values are.

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
        smoother, queries = _smoother_and_inputs(estimator, X)
        weights = smoother.attention_weights_(queries)
        if smoother.n_features_in_ == 1:
            values, by = (np.asarray(queries), smoother.X_train_), 2 * _feature_names(smoother)
        else:
            values, by = (smoother.predict(queries), smoother.y_train_), ["prediction", "target"]
        of_queries, of_keys = (value.reshape(len(value), -1)[:, 0] for value in values)
        labels = {"query_label": f"query, by {by[0]}", "key_label": f"training sample, by {by[1]}"}
        display = cls(weights, query_values=of_queries, key_values=of_keys, **labels)
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
        from matplotlib.colors import PowerNorm

        rows, columns = (np.argsort(values, kind="stable") for values in (self.query_values, self.key_values))
        # a few weights are large and many small: colours follow the square root
        defaults: dict[str, Any] = {"norm": PowerNorm(0.5, vmin=0.0), "cmap": "viridis", "aspect": "auto"}
        defaults |= {"origin": "lower", "interpolation_stage": "data"}
        if {"vmin", "vmax"} & set(imshow_kwargs):
            del defaults["norm"]
        self.image_ = ax.imshow(self.weights[np.ix_(rows, columns)], **(defaults | imshow_kwargs))
        self.colorbar_ = ax.figure.colorbar(self.image_, ax=ax, label="attention weight")
        ax.set(xlabel=self.key_label, ylabel=self.query_label)
        _label_by_value(ax.xaxis, self.key_values[columns])
        _label_by_value(ax.yaxis, self.query_values[rows])
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
        """
        if band not in ("interval", "mean", "both"):
            raise ValueError(f'band must be "interval", "mean" or "both", got {band!r}.')
        _smoother_and_inputs(estimator)
        names = _feature_names(estimator)
        position = names.index(feature) if feature in names else feature
        column = _position(position, len(names), f"feature must be one of {names}, or its position")
        table = np.asarray(X, dtype=np.float64)
        x = np.linspace(table[:, column].min(), table[:, column].max(), _RESOLUTION)
        grid = np.tile(np.median(table, axis=0), (_RESOLUTION, 1))
        grid[:, column] = x
        frame: Any = type(X)
        like_X = frame(dict(zip(X.columns, grid.T, strict=True))) if hasattr(X, "columns") else grid
        smoother, queries = _smoother_and_inputs(estimator, like_X)
        targets = np.asarray(y).reshape(len(table), -1)
        n_outputs = targets.shape[1]
        message = f"target must be the position of one of the {n_outputs} outputs"
        output = _position(0 if target is None and n_outputs == 1 else target, n_outputs, message)
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
    criterion : {"loo", "gcv", "aicc"}, default="loo"
        What the scores are.
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
        smoother, _ = _smoother_and_inputs(estimator)
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
            criterion=search.criterion,
            is_comparable=search.is_comparable,
            xlabel=f"bandwidth of {_feature_names(smoother)[0]}" if is_only else "bandwidth (standard deviations)",
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


def _smoother_and_inputs(estimator: BaseSmoother | Pipeline, X: Any = None) -> tuple[BaseSmoother, Any]:
    """The smoother, and X as it sees it."""
    steps = getattr(estimator, "steps", [("", estimator)])
    smoother = steps[-1][1]
    if not isinstance(smoother, BaseSmoother):
        raise TypeError(
            f"estimator must be one of sknw, or a pipeline that ends in one, got {type(smoother).__name__}."
        )
    check_is_fitted(smoother)
    return smoother, X if X is None or len(steps) == 1 else estimator[:-1].transform(X)


def _feature_names(estimator: BaseSmoother | Pipeline) -> list[str]:
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        return list(names)
    return ["x"] if estimator.n_features_in_ == 1 else [f"x{k}" for k in range(estimator.n_features_in_)]


def _position(value: Any, length: int, message: str) -> int:
    """A position among `length` things, checked."""
    if isinstance(value, int | np.integer) and 0 <= value < length:
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
