"""The picture of attention weights."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from sknw.displays.drawing import Display
from sknw.estimators.classification import ClassificationMixin
from sknw.estimators.unwrap import FittedModel, feature_names, smoother_and_inputs


@dataclass(eq=False, repr=False)
class AttentionDisplay(Display):
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
    def from_estimator(cls, estimator: FittedModel, X: ArrayLike, *, ax: Any = None, **imshow_kwargs: Any) -> Self:
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
