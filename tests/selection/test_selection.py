"""The choice of the bandwidth: criteria, rules of thumb, and the search for the global minimum."""

import dataclasses
import textwrap
import warnings
from unittest.mock import Mock

import numpy as np
import oracle
import pytest
from covering import covering_array, describe, pairwise
from numpy.testing import assert_allclose, assert_array_equal
from problems import ENGINES, KERNELS, OF_SORTED, Cauchy, assert_close, engine_cases, regression
from processes import run

from sknw import AttentionPoolingRegressor, BandwidthSearch, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw._selection import criterion as criterion_module
from sknw._selection.criterion import Criterion
from sknw._selection.grid import local_minima
from sknw._selection.line_search import OCTAVE, ParabolicSearch, lattice_point, lattice_values
from sknw._selection.ridge_path import RidgePath
from sknw._selection.rules import n_validation_rows
from sknw._smoothing.local_linear import LocalLinearSpec
from sknw._smoothing.smoother import Smoother
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import Validation
from sknw.datasets import make_sine_power
from sknw.kernels import PowerExponential, resolve_kernel

CRITERIA = ["loo", "aicc", "gcv"]
SELECTORS = [*CRITERIA, "scott", "silverman"]


def curve(name, X, y, factors, kernel, w=None):
    """The criterion at each factor, as a plain double loop would give it, by matrices of float64."""
    w = np.ones(len(X)) if w is None else w
    sq = oracle.distances(X, X, oracle.scales(X, w)).astype(float) ** 2
    own_weight = np.zeros(len(X)) if name == "loo" else w
    of_others = np.where(np.eye(len(X)), np.inf, sq)
    nearest = w * (of_others <= of_others.min(axis=1, keepdims=True) * (1 + 1e-11))
    scores = []
    for factor in factors:
        with np.errstate(divide="ignore"):
            logs = resolve_kernel(kernel).log_profile(sq / factor**2) + np.log(w)
            np.fill_diagonal(logs, np.diag(logs) - np.log(w) + np.log(own_weight))
        top = logs.max(axis=1, keepdims=True)
        weights = np.exp(logs - np.where(np.isfinite(top), top, 0))
        weights = np.where(np.isfinite(top), weights, nearest)
        attention = weights / weights.sum(axis=1, keepdims=True)
        error, trace, n = np.average((y - attention @ y) ** 2, weights=w), np.trace(attention), len(w)
        if name == "loo":
            scores.append(error)
        elif name == "gcv":
            scores.append(error / (1 - trace / n) ** 2 if trace < n else np.inf)
        else:
            scores.append(np.log(error) + (1 + trace / n) / (1 - (trace + 2) / n) if trace + 2 < n else np.inf)
    return np.array(scores)


def minima(scores):
    return np.flatnonzero((scores[1:-1] < scores[:-2]) & (scores[1:-1] <= scores[2:])) + 1


def clustered(seed, noise, n_clusters=10, n_each=12, width=0.02):
    """A fast sine inside narrow clusters, a slow one across them: one good bandwidth for each."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(-0.5, 0.5, size=(n_clusters, n_each))
    x = (np.linspace(0, 1, n_clusters)[:, np.newaxis] + width * t).ravel()
    y = np.sin(2 * np.pi * t).ravel() + 2 * np.sin(2 * np.pi * x) + noise * rng.normal(size=x.size)
    return x[:, np.newaxis], y


def plain(seed, d=1):
    if d == 1:
        return make_sine_power(100, random_state=seed)
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(100, d))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] + 0.3 * rng.normal(size=100)


PROBLEMS = {
    "one feature": [plain(seed) for seed in range(3)],
    "three features": [plain(seed, 3) for seed in range(3)],
    "two scales, little noise": [clustered(seed, 0.6) for seed in range(3)],
    "two scales, much noise": [clustered(seed, 1.5) for seed in range(3)],
}

# The criterion


@pytest.mark.parametrize(
    "row",
    covering_array(
        criterion=CRITERIA, kernel=list(KERNELS), n_outputs=[None, 3], weighted=[False, True], algorithm=ENGINES
    ),
    ids=describe,
)
def test_scores_are_the_oracles_at_every_bandwidth_tried(row):
    criterion, kernel, n_outputs, weighted, algorithm = row.values()
    X, y, w, _ = regression(n=30, n_outputs=n_outputs, weighted=weighted)
    parameter, of_oracle = KERNELS[kernel]
    search = NadarayaWatsonRegressor(parameter, criterion, algorithm=algorithm).fit(X, y, w).bandwidth_search_
    looked_at = [search.best_index, *range(0, len(search.factors), 5)]
    expected = [oracle.criterion(criterion, X, y, search.bandwidths[i], of_oracle, w) for i in looked_at]
    assert_allclose(search.scores[looked_at], np.array(expected, dtype=float), rtol=1e-8)


def test_the_curve_of_these_tests_is_the_oracles_criterion():
    X, y, w, _ = regression(n=30, weighted=True)
    X, y, w = X[w > 0], y[w > 0], w[w > 0]
    for kernel in ["gaussian", "tricube"]:
        for name in CRITERIA:
            factors = [0.01, 0.3, 1.0, 5.0]
            expected = [oracle.criterion(name, X, y, c * oracle.scales(X, w), kernel, w) for c in factors]
            assert_allclose(curve(name, X, y, factors, kernel, w), np.array(expected, dtype=float), rtol=1e-10)


def test_outputs_count_equally_whatever_their_unit():
    X, y, _, _ = regression(n=40, n_outputs=2)
    plain_search = NadarayaWatsonRegressor().fit(X, y).bandwidth_search_
    scaled_search = NadarayaWatsonRegressor().fit(X, y * [1.0, 2.0**20]).bandwidth_search_
    assert_allclose(scaled_search.factors, plain_search.factors, rtol=1e-9)
    assert_allclose(scaled_search.scores, plain_search.scores, rtol=1e-9)


# Rules of thumb


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("rule", ["scott", "silverman"])
def test_rules_of_thumb_are_their_formulas(rule, d, weighted):
    X, y, w, _ = regression(d=d, weighted=weighted)
    X = X * np.linspace(1, 5, d) + 100
    model = NadarayaWatsonRegressor(bandwidth=rule).fit(X, y, w)
    assert_allclose(model.bandwidth_, oracle.rule_of_thumb(rule, X, w).astype(float), rtol=1e-12)
    assert model.bandwidth_search_ is None


# The global minimum


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
def test_the_problems_of_two_scales_have_several_minima(kernel):
    little, much = (
        [curve("loo", X, y, np.geomspace(1e-4, 10, 200), kernel) for X, y in PROBLEMS[name]]
        for name in ["two scales, little noise", "two scales, much noise"]
    )
    assert all(len(minima(scores)) >= 2 for scores in [*little, *much])
    # and the noise decides which scale is the better one
    assert max(np.argmin(scores) for scores in little) + 20 < max(np.argmin(scores) for scores in much)


# Three kinds of kernels on every problem, and the others on one each.
@pytest.mark.parametrize(
    ("kernel", "problem"),
    [
        (kernel, problem)
        for i, kernel in enumerate(KERNELS)
        for j, problem in enumerate(PROBLEMS)
        if kernel != "tophat" and (kernel in ["gaussian", "exponential", "epanechnikov"] or i % len(PROBLEMS) == j)
    ],
)
def test_choice_is_the_global_minimum_over_a_fine_grid(kernel, problem):
    parameter, _ = KERNELS[kernel]
    X, y = PROBLEMS[problem][list(KERNELS).index(kernel) % 3]
    # which engine it is changes no choice, and some would be compiled for each kernel
    search = NadarayaWatsonRegressor(parameter, algorithm="dense").fit(X, y).bandwidth_search_
    fine = curve("loo", X, y, np.geomspace(search.factors[0], search.factors[-1], 400), parameter)
    assert search.scores[search.best_index] <= fine.min() * (1 + 1e-6)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_choice_for_the_tophat_is_a_low_step(problem):
    """Its criterion is a step function with a step for each pair of samples: the lowest cannot be promised."""
    for X, y in PROBLEMS[problem][:2]:
        search = NadarayaWatsonRegressor("tophat").fit(X, y).bandwidth_search_
        fine = curve("loo", X, y, np.geomspace(search.factors[0], search.factors[-1], 400), "tophat")
        assert search.scores[search.best_index] <= min(1.02 * fine.min(), np.quantile(fine, 0.05))


@pytest.mark.parametrize(
    "row",
    covering_array(
        criterion=["aicc", "gcv"], problem=list(PROBLEMS), kernel=["gaussian", "exponential", "epanechnikov"]
    ),
    ids=describe,
)
def test_choice_by_the_other_criteria_is_their_global_minimum(row):
    criterion, problem, kernel = row.values()
    X, y = PROBLEMS[problem][0]
    search = NadarayaWatsonRegressor(kernel, criterion).fit(X, y).bandwidth_search_
    fine = curve(criterion, X, y, np.geomspace(search.factors[0], search.factors[-1], 400), kernel)
    assert search.scores[search.best_index] <= fine.min() + 1e-6 * abs(fine.min())


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("kernel", ["gaussian", "tricube"])
def test_search_spans_from_a_quarter_of_the_smallest_spacing_to_twice_the_range(kernel, weighted):
    X, y, w, _ = regression(n=60, d=3, weighted=weighted)
    kept = X if w is None else X[w > 0]
    standardised = kept / oracle.scales(X, w).astype(float)
    distances = oracle.distances(standardised, standardised, np.ones(3)).astype(float)
    factors = NadarayaWatsonRegressor(kernel).fit(X, y, w).bandwidth_search_.factors
    assert factors[0] <= distances[distances > 0].min() / 4 * (1 + 1e-12)
    assert factors[-1] >= 2 * np.ptp(standardised, axis=0).max()


@pytest.mark.parametrize("kernel", [*KERNELS, "power 0.3"])
def test_search_begins_where_the_nearest_sample_decides(kernel):
    """However heavy the tails of the kernel, which decide how small a bandwidth that is."""
    parameter = PowerExponential(power=0.3) if kernel == "power 0.3" else KERNELS[kernel][0]
    X, y = np.arange(20.0)[:, np.newaxis], np.random.default_rng(0).normal(size=20)
    smallest = NadarayaWatsonRegressor(parameter, algorithm="dense").fit(X, y).bandwidth_search_.bandwidths[0]
    of_the_first = NadarayaWatsonRegressor(parameter, smallest).fit(X[1:], y[1:]).attention_weights_(X[:1])
    assert of_the_first[0, 0] > 0.9


@pytest.mark.parametrize("engine", ENGINES)
def test_both_engines_choose_the_same(engine):
    X, y, w, _ = regression(n=80, d=5, weighted=True)
    reference = NadarayaWatsonRegressor(algorithm="auto").fit(X, y, w)
    model = NadarayaWatsonRegressor(algorithm=engine).fit(X, y, w)
    assert_allclose(model.bandwidth_, reference.bandwidth_, rtol=1e-6)
    assert_allclose(model.bandwidth_search_.scores, reference.bandwidth_search_.scores, rtol=1e-6)


# More rows than the scan looks at


def large(outlier=None):
    """5200 samples, of which one may be far off."""
    rng = np.random.default_rng(5)
    x = np.sort(rng.uniform(0, 1, 5200))
    y = np.sin(40 * x) + 0.5 * rng.normal(size=x.size)
    if outlier is not None:
        y[outlier] += 300
    return x[:, np.newaxis], y


def score_of_fit(criterion, X, y, kernel, bandwidth):
    """The criterion from a model fitted with this bandwidth; engine and leave-one-out are tested elsewhere."""
    model = NadarayaWatsonRegressor(kernel, bandwidth, n_jobs=2).fit(X, y)
    error_of_others = np.mean((y - model.loo_prediction_) ** 2)
    if criterion == "loo":
        return error_of_others
    n, prediction = len(X), model.predict(X)
    error = np.mean((y - prediction) ** 2)
    # y_i - loo_i = (y_i - f_i) / (1 - a_ii) gives the weight a_ii that a sample has in its own prediction
    trace = np.sum(1 - (y - prediction) / (y - model.loo_prediction_))
    return (
        error / (1 - trace / n) ** 2 if criterion == "gcv" else np.log(error) + (1 + trace / n) / (1 - (trace + 2) / n)
    )


@pytest.mark.parametrize(
    ("kernel", "criterion", "outlier"),
    [
        *[("gaussian", "loo", outlier) for outlier in [None, 1500, 2500]],
        ("gaussian", "aicc", 1500),
        ("epanechnikov", "gcv", None),
    ],
)
def test_many_rows_are_searched_as_well_as_by_a_full_grid(kernel, criterion, outlier):
    """The scan looks at some of the rows; what it saw there must not be compared with what all rows say."""
    X, y = large(outlier)
    model = NadarayaWatsonRegressor(kernel, criterion, algorithm="fused", n_jobs=2).fit(X, y)
    search = model.bandwidth_search_
    chosen = score_of_fit(criterion, X, y, kernel, model.bandwidth_)
    assert search.scores[search.best_index] == pytest.approx(chosen, rel=1e-6)
    grid = np.geomspace(2e-3, search.bandwidths[-1, 0], 10)
    fine = [score_of_fit(criterion, X, y, kernel, h) for h in grid]
    assert chosen <= min(fine) + 1e-6 * abs(min(fine))


def test_a_search_on_some_rows_averages_over_those():
    X, y = plain(0)
    model = NadarayaWatsonRegressor(validation_samples=40, random_state=1).fit(X, y)
    seen = np.isfinite(model.loo_prediction_)
    assert seen.sum() == model.n_validation_ == 40
    loo = oracle.leave_one_out(X, y, model.bandwidth_, "gaussian")
    assert_close(model.loo_prediction_[seen], loo[seen], y)
    search = model.bandwidth_search_
    assert search.scores[search.best_index] == pytest.approx(float(np.mean((y - loo)[seen] ** 2)), rel=1e-9)
    for factor in np.geomspace(search.factors[0], search.factors[-1], 60):
        loo = oracle.leave_one_out(X, y, factor * X.std(axis=0), "gaussian")
        assert search.scores[search.best_index] <= np.mean((y - loo)[seen] ** 2) * (1 + 1e-6)


# What the search reports


@pairwise(criterion=list(CRITERIA), problem=list(PROBLEMS), kernel=["gaussian", "tricube"])
@pytest.mark.filterwarnings(
    "ignore:left-out predictions are no better:UserWarning",
    "ignore:the bandwidth is near zero:UserWarning",
    "ignore:.* in the kernel's support:UserWarning",
)
def test_search_report_is_consistent(criterion, problem, kernel):
    X, y = PROBLEMS[problem][1]
    model = NadarayaWatsonRegressor(kernel, criterion).fit(X, y)
    search = model.bandwidth_search_
    assert isinstance(search, BandwidthSearch)
    assert search.criterion == criterion
    assert np.all(np.diff(search.factors) > 0)
    assert_allclose(search.bandwidths, search.factors[:, np.newaxis] * X.std(axis=0), rtol=1e-12)
    assert search.scores.shape == search.factors.shape
    rounding = 1e-11 * np.abs(search.scores[search.best_index])
    assert search.scores[search.best_index] <= search.scores.min() + rounding
    assert_array_equal(model.bandwidth_, search.bandwidths[search.best_index])
    assert search.best_index in search.local_minima
    neighbours = np.pad(search.scores, 1, constant_values=np.inf)
    for i in search.local_minima:
        assert search.scores[i] <= min(neighbours[i], neighbours[i + 2]) + rounding
    assert search.at_edge == (search.best_index in (0, len(search.factors) - 1))
    assert not search.has_duplicates
    if criterion == "loo":
        assert search.scores[search.best_index] == pytest.approx(np.mean((y - model.loo_prediction_) ** 2), rel=1e-10)


def test_search_report_cannot_be_changed():
    search = NadarayaWatsonRegressor().fit(*plain(0)).bandwidth_search_
    with pytest.raises(dataclasses.FrozenInstanceError):
        search.best_index = 0
    assert [field.name for field in dataclasses.fields(search)] == [
        *("criterion", "factors", "bandwidths", "scores", "best_index", "local_minima", "at_edge", "n_unsupported"),
        *("has_duplicates", "is_comparable", "autocorrelation"),
    ]


def test_local_minima_are_those_of_the_curve():
    X, y = clustered(2, 1.2)
    search = NadarayaWatsonRegressor().fit(X, y).bandwidth_search_
    grid = np.geomspace(search.factors[0], search.factors[-1], 400)
    scores = curve("loo", X, y, grid, "gaussian")
    # minima of the curve that stand out by more than a thousandth have a reported one beside them
    deep = [i for i in minima(scores) if scores[max(i - 40, 0) : i + 41].max() > 1.01 * scores[i]]
    assert len(deep) >= 2
    for i in deep:
        assert np.abs(np.log(search.factors[search.local_minima] / grid[i])).min() < np.log(2)


def test_pure_noise_is_averaged_and_reported_as_at_the_edge():
    rng = np.random.default_rng(1)
    X, y = rng.uniform(size=(200, 1)), rng.normal(size=200)
    with pytest.warns(UserWarning, match="do not help to predict"):
        search = NadarayaWatsonRegressor().fit(X, y).bandwidth_search_
    fine = curve("loo", X, y, np.geomspace(search.factors[0], search.factors[-1], 200), "gaussian")
    assert np.argmin(fine) == 199, "these data must be fitted best by their mean"
    assert search.at_edge
    assert search.best_index == len(search.factors) - 1
    assert not NadarayaWatsonRegressor().fit(*plain(0)).bandwidth_search_.at_edge


def test_samples_with_the_same_inputs_are_reported():
    rng = np.random.default_rng(0)
    X, y = plain(0)
    twins = NadarayaWatsonRegressor().fit(np.vstack([X, X]), np.append(y, y + rng.normal(size=100)))
    assert twins.bandwidth_search_.has_duplicates
    copies = NadarayaWatsonRegressor().fit(np.vstack([X, X]), np.append(y, y))
    assert not copies.bandwidth_search_.has_duplicates
    assert not NadarayaWatsonRegressor().fit(X, y, np.full(100, 2)).bandwidth_search_.has_duplicates


def test_rows_without_support_at_the_choice_are_counted():
    rng = np.random.default_rng(0)
    x = np.append(np.linspace(0, 1, 60), [30.0, 60.0, 90.0])
    y = np.append(np.sin(20 * x[:60]) + 0.1 * rng.normal(size=60), np.full(3, np.sin(20.0)))
    for criterion in CRITERIA:
        model = NadarayaWatsonRegressor("tricube", criterion).fit(x[:, np.newaxis], y)
        lonely = np.array([np.abs(np.delete(x, i) - x[i]).min() >= model.bandwidth_[0] for i in range(63)])
        assert lonely.sum() == 3
        assert model.bandwidth_search_.n_unsupported == 3, criterion


@pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")
@pairwise(kernel=["tophat", "tricube", "cosine"], outside=["nan", "raise"], criterion=list(CRITERIA))
def test_no_bandwidth_is_chosen_that_leaves_a_row_unsupported_where_that_means_nothing(kernel, outside, criterion):
    rng = np.random.default_rng(0)
    x = np.append(np.linspace(0, 1, 60), [3.0])
    y = np.append(np.sin(20 * x[:60]) + 0.1 * rng.normal(size=60), 0.0)
    model = NadarayaWatsonRegressor(kernel, criterion, outside=outside).fit(x[:, np.newaxis], y)
    assert model.bandwidth_[0] >= 2.0
    assert np.all(np.isfinite(model.loo_prediction_))
    assert model.bandwidth_search_.n_unsupported == 0
    # with "nearest" the isolated sample does not matter that much
    assert NadarayaWatsonRegressor(kernel, criterion).fit(x[:, np.newaxis], y).bandwidth_[0] < 0.5


@pairwise(value=[0.0, 7.3, 1e6 / 3], kernel=["gaussian", "tophat", "tricube"], criterion=list(CRITERIA))
def test_ties_go_to_the_larger_bandwidth(value, kernel, criterion):
    X = np.random.default_rng(0).normal(size=(30, 2))
    model = NadarayaWatsonRegressor(kernel, criterion).fit(X, np.full(30, value))
    search = model.bandwidth_search_
    if criterion == "loo":  # the other two prefer fewer degrees of freedom anyway
        assert_allclose(search.scores, 0.0, atol=1e-20)
    assert search.best_index == len(search.factors) - 1
    assert_array_equal(model.predict(X), value)
    assert model.loo_score_ == 1.0


@pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")
def test_wide_bandwidths_can_win_and_give_the_mean():
    rng = np.random.default_rng(1)
    X, y = rng.uniform(size=(200, 1)), rng.normal(size=200)
    model = NadarayaWatsonRegressor("tophat").fit(X, y)
    if model.bandwidth_search_.at_edge:
        assert_allclose(model.predict(X), y.mean(), rtol=1e-12)
    wide = NadarayaWatsonRegressor("tophat", 2.0).fit(X, y)
    assert_allclose(wide.predict(X), y.mean(), rtol=1e-12)


@pytest.mark.parametrize("kernel", ["gaussian", "tricube"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_inputs_that_do_not_vary_give_the_mean(criterion, kernel):
    y = np.array([1.0, 2.0, 6.0, 7.0])
    model = NadarayaWatsonRegressor(kernel, criterion).fit(np.full((4, 2), 3.0), y)
    assert_allclose(model.predict([[3.0, 3.0]]), 4.0, rtol=1e-14)
    assert np.all(model.bandwidth_ > 0)


@pairwise(kernel=["gaussian", "tophat", "tricube"], selector=list(SELECTORS), n=[2, 3, 4])
def test_few_samples_are_enough(kernel, selector, n):
    x = np.arange(float(n))
    model = NadarayaWatsonRegressor(kernel, selector).fit(x[:, np.newaxis], x**2)
    assert np.all(np.isfinite(model.predict(x[:, np.newaxis] + 0.1)))
    assert np.all(np.isfinite(model.bandwidth_))


@pytest.mark.filterwarnings("ignore:.* in the kernel's support:UserWarning")
@pytest.mark.parametrize("criterion", CRITERIA)
def test_targets_that_a_kernel_can_reproduce_are_searched_without_a_warning(criterion):
    """Noiseless steps: the residuals are zero at small bandwidths, and their logarithm is not finite."""
    x = np.repeat(np.arange(6.0), 5) + np.tile(np.linspace(0, 0.1, 5), 6)
    y = np.repeat([1.0, 5.0, 2.0, 8.0, 3.0, 9.0], 5)
    model = NadarayaWatsonRegressor("tricube", criterion).fit(x[:, np.newaxis], y)
    assert_allclose(model.predict(x[:, np.newaxis]), y, rtol=1e-6)
    assert not np.any(np.isnan(model.bandwidth_search_.scores))


# What is chosen does not depend on how it is computed


def usable_algorithms(kernel, d):
    """Those that take a kernel of `KERNELS` and d features; skipping blocks only where a kernel ends."""
    algorithms = [case["algorithm"] for case in engine_cases([kernel], [d])]
    return [name for name in algorithms if name != "pruned" or kernel in oracle.COMPACT]


def choice(model):
    return [*model.bandwidth_, getattr(model, "ridge_", 0.0)]


CHOICES = [
    *((NadarayaWatsonRegressor, kernel, 1, 60, "loo") for kernel in ["gaussian", "power 1.5", *OF_SORTED]),
    *((NadarayaWatsonRegressor, kernel, 2, 60, "loo") for kernel in ["gaussian", "tophat", "cosine", "power 0.5"]),
    *((NadarayaWatsonRegressor, kernel, 4, 200, "gcv") for kernel in ["gaussian", "tophat", "tricube"]),
    *((NadarayaWatsonRegressor, kernel, 1, 1100, "aicc") for kernel in ["gaussian", "tophat", "exponential"]),
    (NadarayaWatsonRegressor, "gaussian", 2, 1100, "loo"),
    *((LocalLinearRegressor, kernel, 1, 30, "loo") for kernel in ["gaussian", "exponential"]),
    (LocalLinearRegressor, "tophat", 2, 30, "loo"),
    *((LocalLinearRegressor, kernel, 1, 80, "aicc") for kernel in ["gaussian", "epanechnikov"]),
    (LocalLinearRegressor, "gaussian", 4, 100, "gcv"),
    (LocalLinearRegressor, "gaussian", 1, 600, "loo"),
]


def data_of(d, n, on_grid=False):
    rng = np.random.default_rng(n + d)
    X = rng.integers(0, 40, size=(n, d)) if on_grid else rng.normal(size=(n, d))
    return X, np.sin(2 * X[:, 0] / X.std()) + X[:, -1] / X.std() + 0.3 * rng.normal(size=n)


def quietly(model, *data):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        return model.fit(*data)


# Every third of the small ones has ties.
@pytest.mark.parametrize(
    ("estimator", "kernel", "d", "n", "selector", "on_grid"),
    [(*choice, choice[3] <= 60 and place % 3 == 0) for place, choice in enumerate(CHOICES)],
)
def test_no_engine_and_no_number_of_threads_changes_what_is_chosen(estimator, kernel, d, n, selector, on_grid):
    parameter = KERNELS[kernel][0]
    X, y = data_of(d, n, on_grid)
    first = quietly(estimator(parameter, selector, n_jobs=2), X, y)
    for n_jobs, algorithm in enumerate(usable_algorithms(kernel, d)):
        model = quietly(estimator(parameter, selector, algorithm=algorithm, n_jobs=1 + n_jobs % 2), X, y)
        assert model.n_validation_ == first.n_validation_ == n
        assert_allclose(choice(model), choice(first), rtol=1e-8, err_msg=algorithm)


@pytest.mark.parametrize(
    ("target", "d", "n", "seed", "kernel", "selector"),
    [
        ("sin", 2, 80, 0, "gaussian", "loo"),
        ("sin", 2, 150, 1, "gaussian", "loo"),
        ("cubic", 2, 400, 1, "gaussian", "loo"),
        ("cubic", 3, 40, 0, "gaussian", "loo"),
        ("cubic", 3, 150, 0, "gaussian", "loo"),
        ("sin", 3, 50, 3, "exponential", "loo"),
        ("linear", 1, 50, 4, "gaussian", "gcv"),
    ],
)
def test_no_engine_changes_what_lines_choose_without_noise(target, d, n, seed, kernel, selector):
    """The smallest ridges are best, at which sums of squares lose the variances around some rows."""
    X = np.random.default_rng(seed).normal(size=(n, d))
    x = X[:, 0]
    y = {"sin": np.sin(x), "cubic": x**3 - X.sum(axis=1) / np.sqrt(d), "linear": 2 * x + 1}[target]
    first, *others = (
        choice(quietly(LocalLinearRegressor(kernel, selector, algorithm=algorithm, n_jobs=n_jobs), X, y))
        for algorithm in ["dense", "fused"]
        for n_jobs in [1, 2]
    )
    for other in others:
        assert_allclose(other, first, rtol=1e-8)


def plane_data(noise, n, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    return X, X[:, 0] ** 3 - X.sum(axis=1) / np.sqrt(2) + noise * rng.normal(size=n)


@pytest.mark.parametrize(("noise", "n", "seed"), [(0.0, 400, 1), (0.1, 300, 0), (1.0, 300, 0)])
def test_few_rows_rule_out_bandwidths_by_their_own_score_at_the_best_one(noise, n, seed, monkeypatch):
    """Of the first data the few rows have a larger score than all rows: against that they would rule out more."""
    X, y = plane_data(noise, n, seed)
    sizes = []
    scan = RidgePath.scan
    monkeypatch.setattr(RidgePath, "scan", lambda path: sizes.append(len(path.values)) or scan(path))
    found = LocalLinearRegressor().fit(X, y).bandwidth_search_
    assert 100 in sizes
    monkeypatch.setattr(criterion_module, "_ROWS_TO_TELL", 1000)
    by_all = LocalLinearRegressor().fit(X, y).bandwidth_search_
    assert_allclose(found.scores[found.best_index], by_all.scores[by_all.best_index], rtol=1e-8)


def test_where_sums_lose_digits_the_ridge_is_that_of_accurate_lines():
    X, y = plane_data(0.0, 150, 1)
    training = TrainingSet.of(X, y, None)
    line = LocalLinearSpec.of(training, 0.0)
    smoother = Smoother.of(training, resolve_kernel("gaussian"), 1 / training.scales, "nearest", "auto", None, line)
    criterion = Criterion("loo", smoother, training, Validation.of(None, training), None)
    n_fallen = 0
    for factor in [1.0, 0.3, 0.1, 0.03]:
        [found] = criterion.evaluate(np.array([factor]))
        path = criterion.ridge_path(0.0, factor)  # accurate at all ridges
        assert_allclose((found.ridge, found.score), path.refined(path.scan()), rtol=1e-8)
        n_fallen += criterion._ridge_paths(np.array([factor]))[0].scan().falls
    assert n_fallen == 3


def test_all_engines_can_choose_no_ridge():
    """Engines know the small variance of the others around a sample far away to different numbers of digits."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(700, 1))
    y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=700)
    first, *others = (
        choice(LocalLinearRegressor(algorithm=name).fit(X, y)) for name in usable_algorithms("gaussian", 1)
    )
    assert first[-1] == 0.0
    for other in others:
        assert_allclose(other, first, rtol=1e-8)


@pytest.mark.parametrize(
    "row",
    covering_array(
        [{"d": 1, "on_grid": False}, {"d": 1, "on_grid": True}, {"d": 2, "on_grid": False}],
        estimator=[NadarayaWatsonRegressor, LocalLinearRegressor],
        kernel=["gaussian", "tophat", "epanechnikov", "exponential"],
        selector=CRITERIA,
    ),
    ids=lambda row: "-".join(getattr(value, "__name__", str(value)) for value in row.values()),
)
def test_integer_weights_and_repeated_rows_choose_the_same(row):
    d, on_grid, estimator, kernel, selector = row.values()
    X, y = data_of(d, 60, on_grid)
    w = np.random.default_rng(7).integers(1, 4, len(X))
    weighted = quietly(estimator(kernel, selector), X, y, w)
    repeated = quietly(estimator(kernel, selector), np.repeat(X, w, axis=0), np.repeat(y, w))
    assert_allclose(choice(weighted), choice(repeated), rtol=1e-8)


def test_a_fresh_process_chooses_and_learns_the_same_as_one_after_a_hundred_fits(capsys):
    """A process that has done much has loaded compiled loops, which a fresh one does without."""
    code = """
        import numpy as np
        from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
        from sknw.datasets import make_sine_power
        X, y = make_sine_power(200, random_state=0)
        for kernel in ["gaussian", "tophat", "exponential"]:
            model = NadarayaWatsonRegressor(kernel).fit(X, y)
            print(model.n_validation_, model.bandwidth_[0])
        model = LocalLinearRegressor().fit(X, y)
        print(model.n_validation_, model.bandwidth_[0], model.ridge_)
        rng = np.random.default_rng(0)
        X = rng.normal(size=(50, 3))
        y = np.sin(2 * X[:, 0]) + X[:, 1] + 0.3 * rng.normal(size=50)
        for w, degree in [("diagonal", 0), ("diagonal", 1), ("low_rank", 0)]:
            print(*AttentionPoolingRegressor(w=w, degree=degree).fit(X, y).w_.ravel())
    """
    fresh = run(code)
    AttentionPoolingRegressor(algorithm="fused", tol=1e-2).fit(*plain(0))
    for seed in range(100):
        NadarayaWatsonRegressor(["gaussian", "tricube"][seed % 2]).fit(*make_sine_power(40, random_state=seed))
    capsys.readouterr()
    exec(textwrap.dedent(code), {})
    late = capsys.readouterr().out
    chosen = [np.array(printed.split(), dtype=float) for printed in (late, fresh)]
    n_learned = 3 + 3 + 9
    assert_allclose(chosen[0][:-n_learned], chosen[1][:-n_learned], rtol=1e-8)
    learned = [numbers[-n_learned:] for numbers in chosen]
    assert_allclose(*learned, rtol=0, atol=1e-6 * np.abs(learned[0]).max())


@pytest.mark.parametrize(
    ("n", "d", "kernel", "expected"),
    [
        (20_000, 5, "gaussian", 20_000),
        (40_000, 5, "gaussian", 10_000),
        (40_000, 1, "gaussian", 40_000),
        (20_000_000, 1, "tricube", 10_000_000),
        (20_000_000, 1, "cosine", 10_000_000),
        (2_000_000, 2, "gaussian", 1_000_000),
        (200_000, 3, "gaussian", 20_000),
        (40_000, 2, "tricube", 10_000),
        (40_000, 1, PowerExponential(power=1.5), 10_000),
        (10**9, 4, "gaussian", 1),
    ],
)
def test_validation_rows_follow_from_the_size_of_the_data_and_the_kernel(n, d, kernel, expected):
    assert n_validation_rows(n, d, resolve_kernel(kernel)) == expected


@pytest.mark.parametrize(("n", "expected"), [(2000, 2000), (7559, 7559), (7600, 7518), (54_000, 2857), (10**9, 2857)])
def test_validation_rows_of_lines_count_their_columns(n, expected):
    assert n_validation_rows(n, 3, resolve_kernel("gaussian"), n_columns=14) == expected
    # fewer than 2000 are those of weighted means
    assert n_validation_rows(400_000, 8, resolve_kernel("gaussian"), n_columns=54) == 1000


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("estimator", [NadarayaWatsonRegressor, LocalLinearRegressor])
def test_infinite_scores_give_no_numerical_warning(estimator, criterion):
    rng = np.random.default_rng(0)
    X, y = np.append(rng.normal(size=(40, 2)), [[30.0, 30.0]], axis=0), rng.normal(size=41)
    model = quietly(estimator("epanechnikov", criterion, outside="raise"), X, y)
    assert not np.all(np.isfinite(model.bandwidth_search_.scores))
    quietly(estimator("gaussian", criterion), X, y, np.full(41, 1e-3))


# Sample weights


@pytest.mark.parametrize(
    "row",
    covering_array(
        kernel=["gaussian", "exponential", "tophat", "tricube"],
        selector=SELECTORS,
        n_outputs=[None, 2],
        algorithm=ENGINES,
    ),
    ids=describe,
)
def test_integer_weights_are_repeated_rows_and_zero_weights_no_rows(row):
    kernel, selector, n_outputs, algorithm = row.values()
    X, y, _, Q = regression(n=40, n_outputs=n_outputs)
    w = np.random.default_rng(7).integers(0, 4, 40)
    assert 0 in w
    weighted = NadarayaWatsonRegressor(kernel, selector, algorithm=algorithm).fit(X, y, w)
    repeated = NadarayaWatsonRegressor(kernel, selector, algorithm=algorithm).fit(
        np.repeat(X, w, axis=0), np.repeat(y, w, axis=0)
    )
    assert_allclose(weighted.bandwidth_, repeated.bandwidth_, rtol=1e-7)
    assert_close(weighted.predict(Q), repeated.predict(Q), y, 1e-7)
    assert_close(np.repeat(weighted.loo_prediction_, w, axis=0), repeated.loo_prediction_, y, 1e-7)
    assert weighted.loo_score_ == pytest.approx(repeated.loo_score_, abs=1e-7)
    assert_close(weighted.predict(Q, return_std=True)[1], repeated.predict(Q, return_std=True)[1], y, 1e-7)


@pytest.mark.parametrize("selector", SELECTORS)
def test_rows_of_weight_zero_vanish_however_far_away_they_are(selector):
    X, y, w, Q = regression(weighted=True)
    X[w == 0] += 1e9
    y[w == 0] = 1e12
    kept = NadarayaWatsonRegressor(bandwidth=selector).fit(X[w > 0], y[w > 0], w[w > 0])
    model = NadarayaWatsonRegressor(bandwidth=selector).fit(X, y, w)
    assert_array_equal(model.bandwidth_, kept.bandwidth_)
    assert_array_equal(model.predict(Q), kept.predict(Q))
    assert_array_equal(model.loo_prediction_[w > 0], kept.loo_prediction_)
    assert_array_equal(model.attention_weights_(Q)[:, w > 0], kept.attention_weights_(Q))
    assert_array_equal(model.attention_weights_(Q)[:, w == 0], 0.0)
    assert model.loo_score_ == kept.loo_score_


def test_weights_of_one_are_no_weights():
    X, y, _, Q = regression()
    for selector in SELECTORS:
        ones = NadarayaWatsonRegressor(bandwidth=selector).fit(X, y, np.ones(len(X)))
        none = NadarayaWatsonRegressor(bandwidth=selector).fit(X, y)
        assert_array_equal(ones.bandwidth_, none.bandwidth_)
        assert_array_equal(ones.predict(Q), none.predict(Q))


# Users' kernels are selected for as well


@pytest.mark.parametrize("criterion", CRITERIA)
def test_bandwidth_of_a_users_kernel_is_searched(criterion):
    X, y = plain(3)
    search = NadarayaWatsonRegressor(Cauchy(), criterion).fit(X, y).bandwidth_search_
    expected = oracle.criterion(criterion, X, y, search.bandwidths[search.best_index], lambda u: 1 / (1 + u**2))
    assert search.scores[search.best_index] == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_callable_that_is_the_gaussian_kernel_is_searched_as_the_gaussian_kernel(criterion):
    from sklearn.gaussian_process.kernels import RBF

    X, y, w, Q = regression(weighted=True)
    named = NadarayaWatsonRegressor("gaussian", criterion).fit(X, y, w)
    by_callable = NadarayaWatsonRegressor(RBF(1.0), criterion).fit(X, y, w)
    assert_allclose(by_callable.bandwidth_, named.bandwidth_, rtol=1e-5)
    assert_allclose(by_callable.bandwidth_search_.scores.min(), named.bandwidth_search_.scores.min(), rtol=1e-9)
    assert_close(by_callable.predict(Q), named.predict(Q), y, 1e-5)


@pytest.mark.parametrize("scale", [1.0, 1.0 + 1e-12])
def test_gcv_is_not_decided_by_rounding_where_every_sample_predicts_itself(scale):
    X, y = plain(0)
    choice = NadarayaWatsonRegressor(bandwidth="gcv").fit(X, y, np.full(len(y), scale)).bandwidth_
    assert_allclose(choice, NadarayaWatsonRegressor(bandwidth="gcv").fit(X, y).bandwidth_, rtol=1e-3)


# What the search keeps and how it goes down


@pairwise(kernel=["gaussian", "epanechnikov", "exponential"], n=[200, 6000], selector=list(CRITERIA))
def test_predictions_kept_from_the_search_are_those_of_the_bandwidth_chosen(kernel, n, selector):
    X, y = make_sine_power(n, sort=False, random_state=3)
    searched = NadarayaWatsonRegressor(kernel, selector).fit(X, y)
    given = NadarayaWatsonRegressor(kernel, searched.bandwidth_).fit(X, y)
    assert_close(searched.loo_prediction_, given.loo_prediction_, y)
    assert searched.loo_score_ == pytest.approx(given.loo_score_, abs=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 1 + x**2,
        lambda x: 1 + np.exp(12 * x) / 12 - x,
        lambda x: 1 + np.exp(-12 * x) / 12 + x,
        lambda x: 1 + np.exp(40 * x) / 40 - x,
        lambda x: 1 + np.exp(-30 * x) / 30 + x,
        lambda x: 1 + (1e-3 if x < 0 else 10) * x**2,
        lambda x: 2 - np.exp(-((20 * x) ** 2)),
    ],
    ids=["parabola", "steep above", "steep below", "steeper above", "steeper below", "two parabolas", "narrow"],
)
def test_the_way_down_ends_at_the_minimum(function):
    for start in [-0.1, -0.05, 0.01, 0.04]:
        scores = Mock(side_effect=lambda values: np.array([function(x) for x in np.log(values).tolist()]))
        found, _ = ParabolicSearch(scores, np.exp(-2.0), np.exp(2.0)).minimize(np.exp([0.35, start, -0.7]), 1e-9)
        assert function(np.log(found)) <= function(0.0) + 1e-5
        assert sum(len(call.args[0]) for call in scores.call_args_list) <= 19


@pytest.mark.parametrize("steep", [3.0, 4.0])
def test_a_smooth_minimum_takes_few_steps(steep):
    """A polynomial through five values is near a function that a parabola is not: that would take two steps more."""
    scores = Mock(side_effect=lambda values: 1 + values**steep / steep - np.log(values))
    found, _ = ParabolicSearch(scores, np.exp(-2.0), np.exp(2.0)).minimize(np.exp([0.45, 0.1, -0.25]), 1e-12)
    assert len(scores.call_args_list) <= 6
    assert scores(np.array([found]))[0] <= (1 + 1 / steep) * (1 + 2e-9)


def test_lattice_values_are_powers_of_two_between_those_of_the_lattice():
    points = np.array([-3 * OCTAVE - 1, -5, 0, 7, 2 * OCTAVE + 3])
    values = lattice_values(points)
    assert_allclose(values, 2.0 ** ((points + 0.5) / OCTAVE), rtol=1e-14)
    assert_array_equal(lattice_values(points + OCTAVE), 2.0 * values)
    assert_array_equal([lattice_point(value) for value in values], points)


@pytest.mark.parametrize("curvature", [-0.01, 0.0, 0.01])
@pytest.mark.parametrize(("slope", "expected"), [(-1.0, 0.5 + 2 * 0.25), (1.0, -0.25 - 2 * 0.5)])
def test_a_step_beyond_the_values_seen_is_at_most_twice_as_long_as_that_between_the_last_two(
    curvature, slope, expected
):
    tried = []

    def scores(values):
        u = np.log2(values)
        tried.extend(u.tolist())
        return 9.0 + slope * u + curvature * u**2

    ParabolicSearch(scores, 2.0**-9, 2.0**9).minimize(2.0 ** np.array([0.5, 0.25, -0.25]))
    assert tried[3] == pytest.approx(expected, abs=3e-4)


@pytest.mark.parametrize(("share", "n_seen"), [(0.99, 4), (1.01, 3)])
def test_a_search_ends_where_the_parabola_does_not_promise_the_least_gain(share, n_seen):
    """1 + u^2 of u = 0.1 at best, so that the minimum is lower by 0.01."""
    scores = Mock(side_effect=lambda values: 1.0 + np.log2(values) ** 2)
    ParabolicSearch(scores, 0.1, 10.0).minimize(2.0 ** np.array([0.4, 0.1, -0.3]), share * 0.01 / 1.01)
    assert sum(len(call.args[0]) for call in scores.call_args_list) == n_seen


def test_a_stretch_that_is_level_but_for_rounding_has_one_minimum():
    scores = np.array([1.0, 0.5, 0.5 - 1e-16, 0.5 + 1e-16, 0.5, 0.7, 0.6, 0.8])
    assert local_minima(scores).tolist() == [1, 6]
    assert local_minima(np.full(4, 0.3)).tolist() == [0]
