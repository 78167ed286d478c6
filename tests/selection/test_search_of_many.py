"""The search where samples are so many that the scan merges them: its choice against all samples at every bandwidth."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import ALGORITHMS, takes

from sknw import LocalLinearRegressor, NadarayaWatsonRegressor
from sknw._selection import ridge_path
from sknw._selection.criterion import Criterion
from sknw._selection.surrogate import _MAX_SUBSAMPLE, BinnedCriterion, BinnedData, SubsampledCriterion
from sknw._smoothing.local_linear import LocalLinearSpec
from sknw._smoothing.smoother import Smoother
from sknw._smoothing.training import TrainingSet
from sknw._smoothing.validation import Validation
from sknw.kernels import resolve_kernel

N = _MAX_SUBSAMPLE + 1000


def sine(n=N, frequency=20.0, noise=0.5, d=1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, d))
    return X, np.sin(frequency * X).sum(axis=1) + noise * rng.normal(size=n)


def twins():
    """Every sample twice, which leave-one-out leaves out twice."""
    X, y = sine(N // 2 + 1)
    return np.repeat(X, 2, axis=0), np.repeat(y, 2)


def two_scales():
    """Waves in narrow clusters, hidden between bins of a common width."""
    rng = np.random.default_rng(1)
    t = rng.uniform(-0.5, 0.5, (N // 100 + 1, 100))
    x = np.linspace(0, 1, len(t))[:, np.newaxis] + 1e-4 * t
    return x.reshape(-1, 1), np.sin(2 * np.pi * t).ravel() + 0.2 * rng.normal(size=t.size)


def outlier():
    X, y = sine()
    X[17] = 1e6
    return X, y


SAMPLES = {
    "sine": sine,
    "without noise": lambda: sine(noise=0.0),
    "pure noise": lambda: sine(frequency=0.0),
    "fast": lambda: sine(frequency=3000.0, noise=0.1),
    "two scales": two_scales,
    "one huge outlier": outlier,
    "offset": lambda: (sine()[0] + 1e6, sine()[1]),
    "twins": twins,
}


def criterion_of(X, y, kernel, name="loo"):
    """The criterion as a fit would have it, of all samples."""
    training = TrainingSet.of(X, y, None)
    smoother = Smoother.of(training, resolve_kernel(kernel), 1 / training.scales, "nearest", "auto", None)
    return Criterion(name, smoother, training, Validation.of(None, training))


def usable_algorithms(kernel, d):
    """The values of `algorithm` that take a kernel and d features, but for the slow "dense"."""
    return [algorithm for algorithm in ALGORITHMS if algorithm != "dense" and takes(kernel, d, algorithm)]


def fitted(kernel, X, y, warning=None):
    """A fit that gives this warning, or none: any other is an error."""
    with pytest.warns(UserWarning, match=warning) if warning else nullcontext():
        return NadarayaWatsonRegressor(kernel).fit(X, y)


@pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")
@pytest.mark.parametrize(
    ("sample", "kernel"),
    [
        *((sample, "gaussian") for sample in SAMPLES),
        *((sample, "epanechnikov") for sample in ["sine", "pure noise", "two scales", "one huge outlier", "twins"]),
        *((sample, "exponential") for sample in ["without noise", "fast", "two scales", "offset"]),
    ],
)
def test_choice_is_the_minimum_over_all_samples(sample, kernel):
    X, y = SAMPLES[sample]()
    # a signal of ten samples a period looks like errors that neighbours share
    search = fitted(kernel, X, y, "residuals are autocorrelated" if sample == "fast" else None).bandwidth_search_
    factors = np.geomspace(search.factors[-1], search.factors[0], 20)
    scores = criterion_of(X, y, kernel)(factors)[0] * y.var()
    best = search.scores[search.best_index]
    assert best <= scores.min() * (1 + 1e-4) + 1e-12
    assert_allclose(best, criterion_of(X, y, kernel)(search.factors[[search.best_index]])[0] * y.var(), rtol=1e-9)


@pytest.mark.parametrize(("kernel", "d"), [("gaussian", 1), ("epanechnikov", 1), ("gaussian", 2)])
def test_choice_of_lines_is_nearly_the_minimum_over_all_samples(kernel, d):
    X, y = sine(2600, d=d)
    model = LocalLinearRegressor(kernel).fit(X, y)
    assert model.bandwidth_search_.is_comparable.sum() < 15  # the scan takes fewer rows
    c = model.bandwidth_[0] / X[:, 0].std()
    training = TrainingSet.of(X, y, None)
    line = LocalLinearSpec.of(training, 0.0)
    smoother = Smoother.of(training, resolve_kernel(kernel), 1 / training.scales, "nearest", "auto", None, line)
    criterion = Criterion("loo", smoother, training, Validation.of(None, training), None)
    scores = criterion(c * np.geomspace(8.0, 0.3, 25))[0]
    assert criterion(np.array([c]))[0][0] <= scores.min() * (1 + 1e-3)


@pytest.mark.parametrize("criterion", ["loo", "aicc", "gcv"])
@pytest.mark.parametrize(("kernel", "width"), [("gaussian", 3.0), ("epanechnikov", 6.0), ("exponential", 6.0)])
def test_merged_samples_score_as_all_do(kernel, width, criterion):
    X, y = sine()
    full = criterion_of(X, y, kernel, criterion)
    merged = BinnedCriterion.of(full, 2000)
    factors = merged.binned.width * width * np.array([100.0, 10.0, 1.0])
    # aicc is a logarithm
    error = np.abs(merged(factors)[0] - full(factors)[0]) / (1.0 if criterion == "aicc" else full(factors)[0])
    assert error[2] < 0.05
    assert np.all(error[:2] < 2e-3)


@pytest.mark.parametrize("criterion", ["loo", "aicc"])
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "epanechnikov"])
def test_scores_of_merged_samples_do_not_depend_on_the_engine(kernel, criterion):
    """Samples in the tails are nearly alone: what others say about them must not be a difference of equal numbers."""
    X = np.random.default_rng(0).normal(size=(3000, 1)) ** 3
    full = criterion_of(X, np.sin(2 * X[:, 0]), kernel, criterion)
    merged = BinnedCriterion.of(full)
    scores = []
    for algorithm in ["dense", *usable_algorithms(kernel, 1)]:
        binned = replace(merged.binned, smoother=replace(merged.binned.smoother, algorithm=algorithm))
        scores.append(replace(merged, binned=binned)(merged.binned.width * np.array([300.0, 30.0, 10.0, 3.0]))[0])
    assert_allclose(scores, np.tile(scores[0], (len(scores), 1)), rtol=1e-11)


@pytest.mark.parametrize("criterion", ["loo", "gcv", "aicc"])
def test_merged_copies_score_exactly_as_all_do(criterion):
    rng = np.random.default_rng(0)
    X = np.repeat(rng.uniform(size=(200, 1)), rng.integers(5, 9, 200), axis=0)
    y = np.sin(9 * X[:, 0]) + rng.normal(size=len(X))
    full = criterion_of(X, y, "gaussian", criterion)
    merged = BinnedCriterion.of(full, 2000)
    assert len(merged.binned.mass) == 200
    factors = np.array([1.0, 0.1, 0.02, 0.005])
    assert_allclose(merged(factors)[0], full(factors)[0], rtol=1e-9)


def test_a_subsample_scores_wider_bandwidths_where_the_criterion_is_more_curved():
    full = criterion_of(*sine(6000, d=2), "gaussian")
    some = SubsampledCriterion.of(full)
    assert len(some.criterion.smoother.keys) == 3000
    factors, ratio = np.array([0.3, 0.2]), 2.0 ** (1 / 6)
    assert_allclose(some(factors)[0], some.criterion(ratio * factors)[0], rtol=1e-12)
    assert some.curvature_ratio == pytest.approx(ratio**-4)


# Compact kernels scan a surrogate where samples are more than 20 000, smooth ones where they are more than 5000.
MANY = [
    ("gaussian", 1, 5500),
    ("gaussian", 1, 5640),
    ("exponential", 1, 5500),
    ("epanechnikov", 1, N),
    ("gaussian", 2, 5500),
]


@pytest.mark.parametrize(("kernel", "d", "n"), MANY)
def test_no_engine_changes_what_is_chosen(kernel, d, n):
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, d))
    y = np.sin(2 * X[:, 0]) + 0.3 * rng.normal(size=n)
    models = [
        NadarayaWatsonRegressor(kernel, algorithm=algorithm, validation_samples=1000, random_state=0).fit(X, y)
        for algorithm in usable_algorithms(kernel, d)
    ]
    for model in models[1:]:
        assert_allclose(model.bandwidth_, models[0].bandwidth_, rtol=1e-8)
        assert_array_equal(np.isnan(model.loo_prediction_), np.isnan(models[0].loo_prediction_))


def test_merged_samples_keep_mass_means_and_squares():
    X, y = sine(5000)
    w = np.random.default_rng(0).choice([0.5, 1.0, 3.0], len(X))
    smoother = criterion_of(X, y, "gaussian").smoother
    binned = BinnedData.of(smoother, w, 300)
    assert 50 < len(binned.mass) < 1500
    assert_allclose(binned.mass.sum(), w.sum())
    assert_allclose(binned.mass @ binned.smoother.values, w @ smoother.values)
    assert_allclose(binned.mass @ binned.smoother.keys, w @ smoother.keys, atol=1e-9)
    squares = binned.variances[:, np.newaxis] + binned.smoother.values**2
    assert_allclose(binned.mass @ squares, w @ smoother.values**2)


@pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")
@pytest.mark.parametrize("n_distinct", [1, 2, 50])
@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
def test_many_samples_at_few_places(kernel, n_distinct):
    rng = np.random.default_rng(0)
    X = rng.integers(0, n_distinct, 20_001)[:, np.newaxis].astype(float)
    y = np.sin(X[:, 0]) + 0.3 * rng.normal(size=len(X))
    model = fitted(kernel, X, y)
    best = NadarayaWatsonRegressor(kernel, 0.1).fit(X, y).loo_score_
    assert model.loo_score_ >= best - 1e-6


@pytest.mark.parametrize("data", ["rounded", "atom"])
def test_many_samples_some_of_them_equal(data):
    rng = np.random.default_rng(0)
    x = rng.normal(size=20_001)
    x = x.round(3) if data == "rounded" else np.where(rng.uniform(size=x.size) < 0.5, 0.0, x)
    y = np.sin(3 * x) + 0.3 * rng.normal(size=x.size)
    X = x[:, np.newaxis]
    best = max(NadarayaWatsonRegressor(bandwidth=h).fit(X, y).loo_score_ for h in [0.015, 0.02, 0.03, 0.045])
    assert NadarayaWatsonRegressor().fit(X, y).loo_score_ >= best - 1e-5


def fine_waves():
    """Waves that some of the samples are too few to follow."""
    rng = np.random.default_rng(3)
    X = rng.uniform(size=(6 * N, 2))
    return X, np.sin(150 * X[:, 0]) + np.sin(2 * X[:, 1]) + 0.3 * rng.normal(size=len(X))


SAMPLES_OF_TWO = {
    "sine": lambda: sine(frequency=6.0, d=2),
    "pure noise": lambda: sine(frequency=0.0, d=2),
    "fine waves": fine_waves,
    "three features": lambda: sine(frequency=3.0, noise=1.0, d=3),
}


@pytest.mark.filterwarnings("ignore:.*edge of the search", "ignore:left-out predictions are no better")
@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
@pytest.mark.parametrize("sample", SAMPLES_OF_TWO)
def test_choice_of_several_features_is_near_the_minimum_over_all_samples(sample, kernel):
    X, y = SAMPLES_OF_TWO[sample]()
    model = NadarayaWatsonRegressor(kernel, validation_samples=1000, random_state=0).fit(X, y)
    search = model.bandwidth_search_
    fitted = model._fitted
    criterion = Criterion("loo", fitted.smoother, fitted.training, fitted.calibrated_validation)
    factors = np.geomspace(4.0, 0.25, 9)  # around the choice
    scores = criterion(factors)[0] * y.var()
    best = search.scores[search.best_index]
    assert_allclose(best, scores[4], rtol=1e-9)
    assert best <= scores.min() * (1 + 1e-3)


@pytest.mark.filterwarnings("ignore:rows with equal inputs")
def test_twins_of_two_features_choose_as_those_alone_do():
    X, y = sine(N // 2 + 1, d=2)
    model = NadarayaWatsonRegressor(validation_samples=1000, random_state=0)
    twins = model.fit(np.repeat(X, 2, axis=0), np.repeat(y, 2)).bandwidth_
    assert_allclose(twins, model.fit(X, y).bandwidth_, rtol=1e-12)


@pytest.mark.parametrize("criterion", ["loo", "aicc", "gcv"])
@pytest.mark.parametrize("n", [5001, 21_000])
def test_a_minimum_at_small_bandwidths_only_is_found(n, criterion):
    """Some ten samples a period; at all larger bandwidths the mean is as good."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=n)
    y = np.sin(2 * np.pi * n / 10 * x) + 0.1 * rng.normal(size=n)
    # so fast a signal looks like errors that neighbours share
    with pytest.warns(UserWarning, match="residuals are autocorrelated") if criterion == "loo" else nullcontext():
        search = NadarayaWatsonRegressor("gaussian", criterion).fit(x[:, np.newaxis], y).bandwidth_search_
    assert search.bandwidths[search.best_index, 0] < 10 / n


@pytest.mark.parametrize("outside", ["nan", "raise"])
def test_a_lone_sample_that_is_not_validated_is_no_obstacle(outside):
    X, y = sine()
    X, y = np.append(X, [[1e3 * np.ptp(X) + X.max()]], axis=0), np.append(y, 0.0)
    model = NadarayaWatsonRegressor("epanechnikov", outside=outside, validation_samples=300, random_state=1).fit(X, y)
    search = model.bandwidth_search_
    assert np.isfinite(search.scores[search.best_index])
    assert search.bandwidths[search.best_index, 0] < np.ptp(X)
    assert search.n_unsupported == 0


def test_few_validation_rows_do_not_make_the_scan_blind():
    """The subsamples of the scan predict samples that are not among the rows that the criterion is averaged over."""
    X, y = sine(n=9000, d=2, frequency=10.0)
    few, all_rows = (NadarayaWatsonRegressor(validation_samples=n, random_state=0).fit(X, y) for n in (20, None))
    assert few.n_validation_ == 20
    assert_allclose(few.bandwidth_, all_rows.bandwidth_, rtol=0.6)


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_see_all_ridges_first_do_not_decide_on_the_ridge(seed, monkeypatch):
    """Ten of the rows begin at another ridge than all rows end at."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(300, 2))
    y = np.sin(2.0 * X[:, 0]) + rng.standard_t(2, size=300)
    model = LocalLinearRegressor(bandwidth=0.5)
    of_all = model.fit(X, y).ridge_
    monkeypatch.setattr(ridge_path, "_SCANNED_ROWS", 10)
    assert_allclose(model.fit(X, y).ridge_, of_all, rtol=1e-3)
