"""What a fitted smoother is, in a page of numbers, and which features matter to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np
from sklearn.utils import check_random_state

from sknw._predictive.fitted import FittedRegression, FittedSmoother
from sknw._predictive.mean_bands import left_out_residuals
from sknw._predictive.significance import significance
from sknw._selection.criterion import Criterion
from sknw._selection.result import BandwidthSearch
from sknw._smoothing.attention import effective_sample_size
from sknw._smoothing.features import FeatureMap
from sknw._smoothing.smoother import Smoother
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import Validation
from sknw.estimators.arguments import check_integer, require_derivative
from sknw.estimators.base import BaseSmoother
from sknw.estimators.regression import RegressionMixin
from sknw.estimators.unwrap import FittedModel, feature_names, feature_positions, smoother_and_inputs

__all__ = ["SignificanceTest", "Summary", "significance_test", "summary"]

# A feature is switched off if the two samples that are furthest apart in it keep this part of their weight.
_SWITCHED_OFF = 0.99
# Features that are printed; more are counted.
_MOST_PRINTED = 30
# Levels of p-values that get one more star each.
_STARS = (0.05, 0.01, 0.001)


@dataclass(frozen=True, eq=False, repr=False)
class Summary:
    """What a fitted smoother is, in a page of numbers.

    Made by :func:`summary`; it prints as text, and as tables in a notebook. All parameters are attributes.

    Parameters
    ----------
    estimator : str
        The class of the estimator.
    kernel : str
        The kernel used.
    n_rows, n_samples, n_features, n_outputs : int
        The rows given to `fit`; the samples among them, where copies count once and rows of weight zero not at all; the
        features and the outputs.
    feature_names : list of str
        The names of the features, x0, x1, ... where they have none.
    feature_kinds : list of str
        What each feature is: "number", "category (3)" of three levels, "ordered (3)", or "period 24".
    scale : ndarray of shape (n_features,)
        The standard deviations s_k of the features, of categories what stands for it; a selector's bandwidth is a
        multiple of these.
    bandwidth : ndarray of shape (n_features,) or None
        The bandwidths, in units of X; None of an estimator that has a w instead.
    w : ndarray of shape (n_features,) or (n_features, rank), or None
        What multiplies the features; None of an estimator that has bandwidths.
    category_weight : ndarray of shape (n_features,)
        What a mismatch in a category leaves of the weight of a sample, np's lambda; NaN for numbers.
    is_switched_off : ndarray of shape (n_features,)
        Whether the feature plays no part in the weights: the two samples that are furthest apart in it keep 0.99 of
        the weight that they would have without. A local line is still linear in it.
    ridge : ndarray of shape (n_features,) or None
        The penalty on the slope of local lines; None of weighted means.
    loo_score : float
        The R^2 of the left-out predictions.
    residual_std : float or ndarray of shape (n_outputs,)
        The root of the weighted mean square of the left-out residuals, in units of y.
    degrees_of_freedom : float
        The trace of the smoother matrix, of which n_samples are possible; 1 is the mean, and a line has
        1 + n_features. Estimated from the rows that have a left-out prediction.
    effective_sample_size : ndarray of shape (5,)
        Minimum, quartiles and maximum of :meth:`~sknw.NadarayaWatsonRegressor.effective_sample_size` at these rows.
    search : BandwidthSearch or None
        What the bandwidth selector saw, with all local minima; None where no bandwidth was searched.
    warnings : tuple of str
        What `fit` has warned of about the search.

    See Also
    --------
    summary : Makes it.
    sknw.BandwidthSearch : The search in detail.

    Examples
    --------
    >>> from sknw import LocalLinearRegressor
    >>> from sknw.datasets import make_sine_power
    >>> from sknw.inspection import summary
    >>> X, y = make_sine_power(random_state=0)
    >>> summary(LocalLinearRegressor(bandwidth=0.5, ridge=0.01).fit(X, y))
    LocalLinearRegressor, Gaussian(): 50 rows, 1 feature
    feature  kind    scale  bandwidth  bandwidth / scale  ridge
    x        number  1.361        0.5             0.3673   0.01
    <BLANKLINE>
    leave-one-out R^2             0.6709
    leave-one-out residual std    0.5328
    effective degrees of freedom  5.153
    effective sample size         quartiles 12.27, 18.73, 22.49; from 8.035 to 23.09
    """

    estimator: str
    kernel: str
    n_rows: int
    n_samples: int
    n_features: int
    n_outputs: int
    feature_names: list[str]
    feature_kinds: list[str]
    scale: np.ndarray
    bandwidth: np.ndarray | None
    w: np.ndarray | None
    category_weight: np.ndarray
    is_switched_off: np.ndarray
    ridge: np.ndarray | None
    loo_score: float
    residual_std: float | np.ndarray
    degrees_of_freedom: float
    effective_sample_size: np.ndarray
    search: BandwidthSearch | None
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        """The page of numbers as text."""
        header, *rows = table = list(self._feature_table())
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        is_text = [name in ("feature", "kind", "") for name in header]
        lines = [self._title()]
        for cells in [header, *rows]:
            padded = [
                cell.ljust(width) if left else cell.rjust(width)
                for cell, width, left in zip(cells, widths, is_text, strict=True)
            ]
            lines.append("  ".join(padded).rstrip())
        if self.n_features > len(rows):
            lines.append(f"... and {self.n_features - len(rows)} more")
        figures = list(self._figures())
        width = max(len(name) for name, _ in figures)
        lines.append("")
        lines += [f"{name:<{width}}  {value}" for name, value in figures]
        return "\n".join([*lines, *(f"Warning: {warning}" for warning in self.warnings)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The same as tables."""
        header, *rows = self._feature_table()
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        body = ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>" for cells in rows]
        more = f"<p>... and {self.n_features - len(rows)} more</p>" if self.n_features > len(rows) else ""
        figures = [f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in self._figures()]
        warnings = [f"<p>Warning: {escape(warning)}</p>" for warning in self.warnings]
        return (
            f"<p>{escape(self._title())}</p><table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
            f"{more}<table><tbody>{''.join(figures)}</tbody></table>{''.join(warnings)}"
        )

    def _title(self) -> str:
        samples = f" ({self.n_samples} samples)" if self.n_samples < self.n_rows else ""
        outputs = f", {self.n_outputs} outputs" if self.n_outputs > 1 else ""
        features = f"{self.n_features} feature" + "s" * (self.n_features > 1)
        return f"{self.estimator}, {self.kernel}: {self.n_rows} rows{samples}, {features}{outputs}"

    def _feature_table(self) -> Iterator[list[str]]:
        """The header, and a row of cells for each feature, of many for the first ones."""
        w = None if self.w is None else np.sqrt((self.w.reshape(self.n_features, -1) ** 2).sum(axis=1))
        name = ("|w|" if self.w is not None and self.w.ndim == 2 else "w") if self.bandwidth is None else "bandwidth"
        with_lambda = bool(np.isfinite(self.category_weight).any())
        header = ["feature", "kind", "scale", name, f"{name} {'*' if self.bandwidth is None else '/'} scale"]
        yield header + ["lambda"] * with_lambda + ["ridge"] * (self.ridge is not None) + [""]
        for k in range(min(self.n_features, _MOST_PRINTED)):
            if self.bandwidth is not None:
                metric = [self.bandwidth[k], self.bandwidth[k] / self.scale[k]]
            else:
                assert w is not None
                metric = [w[k], w[k] * self.scale[k]]
            cells = [self.feature_names[k], self.feature_kinds[k], *(f"{x:.4g}" for x in [self.scale[k], *metric])]
            if with_lambda:
                cells.append("" if np.isnan(self.category_weight[k]) else f"{self.category_weight[k]:.4g}")
            if self.ridge is not None:
                cells.append(f"{self.ridge[k]:.4g}")
            off = "switched off" if self.ridge is None else "switched off (linear)"
            yield [*cells, off if self.is_switched_off[k] else ""]

    def _figures(self) -> Iterator[tuple[str, str]]:
        """The names and values of what is known of the fit as a whole."""
        yield "leave-one-out R^2", f"{self.loo_score:.4g}"
        yield "leave-one-out residual std", ", ".join(f"{std:.4g}" for std in np.atleast_1d(self.residual_std))
        yield "effective degrees of freedom", f"{self.degrees_of_freedom:.4g}"
        least, *quartiles, most = (f"{size:.4g}" for size in self.effective_sample_size)
        yield "effective sample size", f"quartiles {', '.join(quartiles)}; from {least} to {most}"
        if self.search is not None:
            others = np.setdiff1d(self.search.local_minima, self.search.best_index)
            minima = ", ".join(f"{factor:.4g}" for factor in self.search.factors[others])
            found = f", other local minima at {minima}" if others.size else ", no other local minimum"
            best = self.search.factors[self.search.best_index]
            yield f'bandwidth by "{self.search.criterion}"', f"{best:.4g} standard deviations{found}"


def summary(est: FittedModel) -> Summary:
    """Summarise a fitted smoother: bandwidths, quality of the fit, degrees of freedom, and what fit has warned of.

    It costs about three predictions of the training rows; with `validation_samples` below the number of samples, of
    that many rows.

    Parameters
    ----------
    est : estimator or Pipeline
        A fitted smoother, or a pipeline that ends in one.

    Returns
    -------
    Summary
        The numbers as attributes; it prints as text, and as tables in a notebook.

    Raises
    ------
    TypeError
        If `est` is no smoother, or a classifier or :class:`~sknw.KrigingRegressor`.
    ValueError
        If rows were appended by `partial_fit`.

    See Also
    --------
    significance_test : Whether a feature matters.

    Examples
    --------
    >>> from sknw import NadarayaWatsonRegressor
    >>> from sknw.datasets import make_sine_power
    >>> from sknw.inspection import summary
    >>> X, y = make_sine_power(random_state=0)
    >>> round(summary(NadarayaWatsonRegressor().fit(X, y)).degrees_of_freedom, 1)
    7.0
    """
    smoother, fitted = _regressor(est, "summary", "A summary")
    training = fitted.training
    known = np.flatnonzero(np.isfinite(fitted.squares).all(axis=1))
    rows = training.given_rows[known] if known.size else training.given_rows
    std = training.y_scales * np.sqrt(fitted.mean_squares)
    search = getattr(smoother, "bandwidth_search_", None)
    warning = None
    if search is not None or len(getattr(smoother, "loss_path_", ())):
        validation = fitted.calibrated_validation
        of_search = () if search is None else (search.criterion, search.autocorrelation)
        warning = smoother._warning_of_fit(validation, *of_search)
    request = fitted.smoother.value_request(fitted.smoother.queries(smoother.X_train_[rows]))
    sizes, _ = effective_sample_size(request, fitted.smoother.policy, fitted.smoother.algorithm)
    ridge = getattr(smoother, "ridge_", None)
    return Summary(
        estimator=type(smoother).__name__,
        kernel=repr(smoother.kernel_),
        n_rows=len(training.given),
        n_samples=len(training),
        n_features=smoother.n_features_in_,
        n_outputs=training.values.shape[1],
        feature_names=feature_names(smoother),
        feature_kinds=_kinds(training.features),
        scale=training.scales,
        bandwidth=getattr(smoother, "bandwidth_", None),
        w=getattr(smoother, "w_", None),
        category_weight=smoother.category_weight_,
        is_switched_off=_weights_of_ranges(fitted.smoother, training) >= _SWITCHED_OFF,
        ridge=None if ridge is None else np.full(smoother.n_features_in_, ridge),
        loo_score=smoother.loo_score_,
        residual_std=float(std[0]) if smoother.y_train_.ndim == 1 else std,
        degrees_of_freedom=_degrees_of_freedom(fitted.smoother, training, known),
        effective_sample_size=np.quantile(training.sample_weight.max() * sizes, [0.0, 0.25, 0.5, 0.75, 1.0]),
        search=search,
        warnings=() if warning is None else (warning,),
    )


@dataclass(frozen=True, eq=False, repr=False)
class SignificanceTest:
    """Which features matter: a statistic and a p-value for each.

    Made by :func:`significance_test`; it prints as a table. All parameters are attributes.

    Parameters
    ----------
    statistic : ndarray of shape (n_features,) or (n_outputs, n_features)
        The mean square of what the prediction changes with the feature, in units of its standard deviation where the
        feature does not matter. Only the p-value says what is large: it is above 1 also where the feature is correlated
        with others, or changes how much the fit smooths.
    p_value : ndarray of the same shape
        The share of bootstrap statistics, of targets that do not depend on the feature, that are at least as large; the
        smallest one is 1 / (n_bootstrap + 1).
    feature_names : list of str
        The features tested.
    n_bootstrap : int
        The number of bootstrap draws.

    See Also
    --------
    significance_test : Makes it.

    Examples
    --------
    >>> from sknw import NadarayaWatsonRegressor
    >>> from sknw.datasets import make_sine_power
    >>> from sknw.inspection import significance_test
    >>> X, y = make_sine_power(random_state=0)
    >>> significance_test(NadarayaWatsonRegressor().fit(X, y))
    Significance by 399 bootstrap draws
    feature  statistic  p-value
    x            8.806   0.0025 **
    """

    statistic: np.ndarray
    p_value: np.ndarray
    feature_names: list[str]
    n_bootstrap: int

    def __repr__(self) -> str:
        """A row for each feature, and for each output where there are several."""
        outputs = [""] if self.statistic.ndim == 1 else [f" of output {k}" for k in range(len(self.statistic))]
        names = [f"{name}{output}" for output in outputs for name in self.feature_names]
        width = max(map(len, ["feature", *names]))
        lines = [f"Significance by {self.n_bootstrap} bootstrap draws", f"{'feature':<{width}}  statistic  p-value"]
        for name, statistic, p_value in zip(names, self.statistic.ravel(), self.p_value.ravel(), strict=True):
            stars = "*" * sum(p_value <= level for level in _STARS)
            lines.append(f"{name:<{width}}  {statistic:>9.4g}  {p_value:>7.4f} {stars}".rstrip())
        return "\n".join(lines)


def significance_test(
    est: FittedModel,
    features: Sequence[int | str] | int | str | None = None,
    *,
    n_bootstrap: int = 399,
    random_state: int | np.random.RandomState | None = 0,
) -> SignificanceTest:
    """Test for each feature whether the prediction depends on it.

    The null hypothesis is that the mean of y does not change with the feature when all others stay the same. What a
    twiced fit explains that does not see the feature, at the same bandwidths, is taken off first. The statistic is the
    mean square of the derivative of a fit to the rest at the training samples, each in units of its standard deviation
    [1]_; of a category, of the predictions at all of its levels less their mean [2]_. It is compared with what the null
    hypothesis gives by a wild bootstrap: targets are drawn anew around the fit without the feature, with errors whose
    signs are drawn, and whose squares are those of the left-out residuals pooled around each sample; so the noise may
    differ from place to place. No bandwidth is chosen again, and all draws are columns of the same kernel sums.

    Parameters
    ----------
    est : estimator or Pipeline
        A fitted smoother, or a pipeline that ends in one: then features are those of the last step.
    features : int, str or list of these, default=None
        The features to test, by position or by name; None tests all. The p-value of a feature does not depend on which
        others are tested.
    n_bootstrap : int, default=399
        The number of draws.
    random_state : int, RandomState instance or None, default=0
        Determines the draws; an int gives the same ones at every call.

    Returns
    -------
    SignificanceTest
        With `statistic`, `p_value` and `feature_names`; it prints as a table.

    Raises
    ------
    TypeError
        If `est` is no smoother, or a classifier or :class:`~sknw.KrigingRegressor`.
    ValueError
        If there is no such feature; if the kernel has no derivative, as "tophat", and a feature is no category; if
        `partial_fit` has appended rows.

    See Also
    --------
    summary : What the fit is otherwise.
    sknw.NadarayaWatsonRegressor.gradient : The derivatives.

    Notes
    -----
    Samples are taken as independent, copies as one; those of a group given to `fit`, or of a stretch of time with
    :class:`~sknw.model_selection.LeaveBlockOut`, keep their own residuals and share a sign. The bandwidths, or w, are
    taken as given: where they were learned from the same data, as "diagonal" learns them, a feature that was found to
    matter by chance seems to matter. With w = 0 the derivative of a weighted mean is 0 and the p-value 1; a local line
    is still tested for being linear in the feature. A constant feature has the statistic 0 and the p-value 1. The
    statistic is averaged over at most 2000 points.

    References
    ----------
    .. [1] J. Racine, "Consistent significance testing for nonparametric regression", Journal of Business & Economic
       Statistics 15 (1997) 369-378.
    .. [2] J. Racine, J. Hart, Q. Li, "Testing the significance of categorical predictor variables in nonparametric
       regression models", Econometric Reviews 25 (2006) 523-544.

    Examples
    --------
    >>> import numpy as np
    >>> from sknw import LocalLinearRegressor
    >>> from sknw.inspection import significance_test
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 2))
    >>> y = np.sin(2 * X[:, 0]) + rng.normal(size=200)  # of two features one matters
    >>> significance_test(LocalLinearRegressor().fit(X, y)).p_value <= 0.05
    array([ True, False])
    """
    smoother, fitted = _regressor(est, "significance_test", "A test of significance")
    names = feature_names(smoother)
    positions = feature_positions(features, names)
    if not smoother.is_categorical_[positions].all():
        require_derivative(smoother.kernel_)
    check_integer(n_bootstrap, "n_bootstrap")
    pool = replace(fitted.smoother, n_jobs=smoother.n_jobs)
    rng = check_random_state(random_state)
    cluster = np.arange(len(fitted.training)) if fitted.cluster is None else fitted.cluster
    signs = rng.choice(np.array([-1, 1], dtype=np.int8), (cluster.max() + 1, int(n_bootstrap)))[cluster]
    seed = int(rng.randint(np.iinfo(np.int32).max))
    residuals = left_out_residuals(fitted, fitted.training.residuals(smoother.loo_prediction_))
    tests = [significance(fitted, pool, k, residuals, signs, np.random.RandomState(seed)) for k in positions]
    statistic, p_value = (np.stack(of_features, axis=1) for of_features in zip(*tests, strict=True))
    shape = (*smoother.y_train_.shape[1:], len(positions))
    return SignificanceTest(
        statistic.reshape(shape), p_value.reshape(shape), [names[k] for k in positions], int(n_bootstrap)
    )


def _regressor(est: FittedModel, name: str, what: str) -> tuple[BaseSmoother, FittedRegression]:
    """The smoother and what its predictions are made of, for the function of this name, and what it returns in words.

    Classifiers and kriging are refused, and smoothers to which rows were appended.
    """
    smoother, _ = smoother_and_inputs(est)
    if not (isinstance(smoother, RegressionMixin) and isinstance(smoother._fitted, FittedSmoother)):
        raise TypeError(f"{name} takes regressors with non-negative weights, got {type(smoother).__name__}.")
    smoother._require_rows_here()
    smoother._require_left_out(what)
    assert isinstance(smoother._fitted, FittedRegression)
    return smoother, smoother._fitted


def _kinds(features: FeatureMap) -> list[str]:
    """What each feature is, in words."""
    kinds = [f"period {period:g}" if period else "number" for period in features.period]
    for k in features.categories:
        kinds[k] = f"{'ordered' if features.is_ordered[k] else 'category'} ({features.n_levels[k]})"
    return kinds


def _degrees_of_freedom(smoother: Smoother, training: TrainingSet, samples: np.ndarray) -> float:
    """The trace of the smoother matrix, n times the mean of dm_i / dy_i over some samples, or all if there are none.

    From the sums without the sample: for weighted means K(0) w_i / (K(0) w_i + D_-i), D_-i = sum_{j != i} K_ij w_j.
    """
    validation = Validation.of(None, training)
    validation = validation[samples] if samples.size else validation
    ridge = smoother.line.ridge if smoother.line else 0.0
    return float(Criterion("gcv", smoother, training, validation, ridge).degrees_of_freedom(np.ones(1), ridge)[0])


def _weights_of_ranges(smoother: Smoother, training: TrainingSet) -> np.ndarray:
    """K(r) / K(0) for r the distance of the two samples furthest apart in each feature alone: (d,)."""
    features = training.features
    w = smoother.w if smoother.w.ndim == 1 else np.sqrt((smoother.w**2).sum(axis=1))
    distance = np.sqrt(features.sum((w * np.ptp(training.X, axis=0)) ** 2))
    for k in features.categories:
        n_steps = features.n_levels[k] - 1 - int(features.has_missing[k])
        apart = np.sqrt(n_steps) if features.is_ordered[k] else float(features.n_levels[k] > 1)
        distance[k] = np.abs(w[features.starts[k]]) * apart
    return smoother.relative_weights(distance)
