"""What is refused, with the message that it gets; and what a refusal leaves behind."""

import warnings

import numpy as np
import pandas as pd
import pytest
from covering import pairwise
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import validate_data

from sknw import (
    AttentionPoolingRegressor,
    KrigingRegressor,
    LocalLinearRegressor,
    NadarayaWatsonClassifier,
    NadarayaWatsonRegressor,
    _sklearn_compat,
    kernels,
)
from sknw._sklearn_compat import validate_queries
from sknw.datasets import make_sine_power
from sknw.displays import FitDisplay
from sknw.kernels import Gaussian, PowerExponential

WITH_BANDWIDTH = [NadarayaWatsonRegressor, LocalLinearRegressor]
ESTIMATORS = [*WITH_BANDWIDTH, AttentionPoolingRegressor]

X = np.random.default_rng(0).normal(size=(20, 2))
Y = X.sum(axis=1)
NAN = np.where(np.arange(40).reshape(20, 2) == 7, np.nan, X)
INF = np.where(np.isnan(NAN), np.inf, X)

BANDWIDTHS = [
    ({"bandwidth": 0}, "bandwidth"),
    ({"bandwidth": 0.0}, "bandwidth"),
    ({"bandwidth": -1.0}, "bandwidth"),
    ({"bandwidth": np.nan}, "bandwidth"),
    ({"bandwidth": np.inf}, "bandwidth"),
    ({"bandwidth": 1e-310}, "bandwidth.*too small"),
    ({"bandwidth": None}, "bandwidth"),
    ({"bandwidth": "cross-validation"}, "bandwidth.*loo"),
    ({"bandwidth": [1.0]}, "bandwidth.*2 positive"),
    ({"bandwidth": [1.0, 2.0, 3.0]}, "bandwidth.*2 positive"),
    ({"bandwidth": [1.0, 0.0]}, "bandwidth.*positive"),
    ({"bandwidth": [1.0, -2.0]}, "bandwidth.*positive"),
    ({"bandwidth": [1.0, np.nan]}, "bandwidth.*positive"),
    ({"bandwidth": [1.0, -np.inf]}, "bandwidth.*positive"),
    ({"bandwidth": [[1.0, 2.0]]}, "bandwidth.*2 positive"),
    ({"bandwidth": np.ones((2, 2))}, "bandwidth.*2 positive"),
    ({"bandwidth": []}, "bandwidth.*2 positive"),
    ({"bandwidth": ["loo", "loo"]}, "bandwidth"),
    ({"bandwidth": [1.0, None]}, "bandwidth"),
    ({"bandwidth": [1.0, 1j]}, "bandwidth"),
]

PARAMETERS = [
    ({"kernel": "normal"}, "kernel.*gaussian"),
    ({"kernel": "Gaussian"}, "kernel.*gaussian"),
    ({"kernel": None}, "kernel"),
    ({"kernel": 1.0}, "kernel"),
    ({"kernel": Gaussian}, "kernel.*object"),
    ({"kernel": kernels}, "kernel"),
    ({"kernel": PowerExponential(power=0)}, "power.*positive"),
    ({"kernel": PowerExponential(power=-1)}, "power.*positive"),
    ({"kernel": PowerExponential(power=np.nan)}, "power.*positive"),
    ({"kernel": PowerExponential(power=np.inf)}, "power.*positive"),
    ({"kernel": PowerExponential(power="a")}, "power.*positive"),
    ({"kernel": PowerExponential(power=None)}, "power.*positive"),
    ({"outside": "extrapolate"}, "outside.*nearest"),
    ({"outside": None}, "outside"),
    ({"validation_samples": 0}, "validation_samples"),
    ({"validation_samples": -5}, "validation_samples"),
    ({"validation_samples": 10.0}, "validation_samples"),
    ({"validation_samples": "all"}, "validation_samples.*auto"),
    ({"algorithm": "brute"}, "algorithm.*dense"),
    ({"algorithm": None}, "algorithm"),
    ({"n_jobs": "two"}, "n_jobs"),
    ({"n_jobs": 1.5}, "n_jobs"),
    ({"random_state": "seed", "validation_samples": 5}, "random_state"),
]


RIDGES = [-1e-3, np.nan, np.inf, None, "gcv", [0.1], 1j]
OF_ATTENTION = {
    "w": [
        *(np.nan, np.inf, 1e308, "none", None, [], [1.0], [1.0, 2.0, 3.0], [1.0, np.nan], [1.0, None], ["a", "b"]),
        *([1.0, 1j], [[1.0, 2.0]], np.zeros((2, 0)), np.ones((2, 2, 2)), [[np.inf, 1.0], [1.0, 1.0]]),
    ],
    "rank": [0, -1, 1.5, "all"],
    "degree": [2, -1, 1.0, "line", None],
    "penalty": [-1.0, np.nan, np.inf, None, "auto"],
    "max_iter": [0, -1, 1.5, None, np.inf],
    "tol": [-1e-3, np.nan, np.inf, None],
    "warm_start": ["yes", None, 1],
    "verbose": [-1, "loud", None],
}
LINES_OF_ATTENTION = [
    *RIDGES,
    [0.1, -1.0],
    [np.inf, np.inf],
    [0.1, np.nan],
    [0.1, None],
    ["loo", "loo"],
    np.ones((2, 2)),
]
CASES = [
    *((Estimator, *case) for Estimator in WITH_BANDWIDTH for case in BANDWIDTHS),
    *((Estimator, *case) for Estimator in ESTIMATORS for case in PARAMETERS),
    *((LocalLinearRegressor, {"ridge": ridge}, "ridge") for ridge in RIDGES),
    *((AttentionPoolingRegressor, {name: value}, name) for name, values in OF_ATTENTION.items() for value in values),
    *(
        (AttentionPoolingRegressor, {"ridge": ridge, "degree": 1, "w": w}, "ridge")
        for ridge in LINES_OF_ATTENTION
        for w in ["diagonal", 0.7]
    ),
    (AttentionPoolingRegressor, {"w": "low_rank", "rank": 3}, "rank must be .* rank=3 and n_features = 2"),
    *((AttentionPoolingRegressor, {"kernel": kernel}, "no derivative") for kernel in ["tophat", np.add]),
    (AttentionPoolingRegressor, {"algorithm": "sorted"}, "algorithm='sorted'.*usable here"),
    (AttentionPoolingRegressor, {"algorithm": "sorted", "w": 1.0}, "algorithm='sorted'.*usable here"),
]


@pytest.mark.parametrize(
    ("Estimator", "parameters", "message"),
    CASES,
    ids=[f"{Estimator.__name__}-{parameters}" for Estimator, parameters, _ in CASES],
)
def test_a_wrong_parameter_is_refused_by_name_and_leaves_an_estimator_that_is_not_fitted(
    Estimator, parameters, message
):
    model = Estimator(**parameters)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(X, Y)
    for method in [model.predict, model.attention_weights_, model.effective_sample_size]:
        with pytest.raises(NotFittedError):
            method(X)


DATA = {
    "NaN in X": ((NAN, Y), "X contains NaN"),
    "infinity in X": ((INF, Y), "X contains infinity"),
    "one-dimensional X": ((Y, Y), "2D array"),
    "three-dimensional X": ((X[np.newaxis], Y), "dim 3"),
    "text in X": ((np.full((20, 2), "a"), Y), "X must consist of numbers and categories.*categorical_features"),
    "no rows": ((X[:0], Y[:0]), "0 sample"),
    "no features": ((X[:, :0], Y), "0 feature"),
    "complex X": ((X + 1j, Y), "[Cc]omplex"),
    "NaN in y": ((X, NAN[:, 0] + NAN[:, 1]), "y contains NaN"),
    "infinity in y": ((X, INF[:, 1] + 0 * Y + np.where(np.arange(20) == 0, np.inf, 0)), "y contains infinity"),
    "too short a y": ((X, Y[:-1]), "inconsistent numbers of samples"),
    "a number as y": ((X, 3.0), "y must have a target for each row"),
    "no y": ((X, None), "requires y to be passed"),
    "text in y": ((X, np.full(20, "a")), "y must consist of numbers"),
    "objects in y": ((X, np.full(20, "a", dtype=object)), "y must consist of numbers"),
    "NaN among objects in y": ((X, np.array([np.nan] + [1.0] * 19, dtype=object)), "y contains NaN"),
    "None in y": ((X, np.array([None] + [1.0] * 19)), "y contains NaN"),
    "text in weights": ((X, Y, np.full(20, "a")), "sample_weight must be non-negative numbers"),
    "three-dimensional y": ((X, Y[:, np.newaxis, np.newaxis]), "dim 3"),
    "too few weights": ((X, Y, np.ones(19)), r"sample_weight"),
    "two-dimensional weights": ((X, Y, np.ones((20, 1))), "[Ss]ample.?weight"),
    "a negative weight": (
        (X, Y, np.where(np.arange(20) == 3, -1.0, 1.0)),
        r"sample_weight.*[Nn]egative|[Nn]egative.*sample_weight",
    ),
    "a NaN weight": ((X, Y, np.where(np.arange(20) == 3, np.nan, 1.0)), "sample_weight contains NaN"),
    "an infinite weight": ((X, Y, np.where(np.arange(20) == 3, np.inf, 1.0)), "sample_weight contains infinity"),
    "zero weights": ((X, Y, np.zeros(20)), "(?i)weight.*zero"),
    "X too large": ((np.array([[-1.7e308], [1.7e308]]), [0.0, 1.0]), "X.*too large"),
    "y too large": ((X[:2], [-1.7e308, 1.7e308]), "y.*too large"),
}


@pairwise(case=list(DATA), Estimator=list(ESTIMATORS), chooses=[True, False])
def test_wrong_data_are_refused_and_named(case, Estimator, chooses):
    data, message = DATA[case]
    model = Estimator() if chooses else Estimator("gaussian", 1.0)
    with pytest.raises(ValueError, match=message):
        model.fit(*data)
    with pytest.raises(NotFittedError):
        model.predict(X)


QUERIES = {
    "NaN": (NAN, "X contains NaN"),
    "infinity": (INF, "X contains infinity"),
    "text": (np.full((3, 2), "a"), "X must consist of numbers and categories"),
    "one feature too few": (X[:, :1], "X has 1 features, but .*Regressor is expecting 2 features"),
    "one feature too many": (np.ones((3, 3)), "X has 3 features, but .*Regressor is expecting 2 features"),
    "one dimension": (X[0], "2D array"),
    "no rows": (X[:0], "0 sample"),
}


@pairwise(
    case=list(QUERIES), Estimator=list(ESTIMATORS), method=["predict", "attention_weights_", "effective_sample_size"]
)
def test_wrong_queries_are_refused_and_named(case, Estimator, method):
    queries, message = QUERIES[case]
    model = Estimator("gaussian", 1.0).fit(X, Y)
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(queries)


NUMBERS = {
    NadarayaWatsonRegressor: ["bandwidth", "validation_samples", "n_jobs", "random_state"],
    LocalLinearRegressor: ["ridge"],
    AttentionPoolingRegressor: ["w", "rank", "degree", "ridge", "penalty", "max_iter", "tol"],
    KrigingRegressor: ["w", "power", "noise", "n_neighbors", "likelihood_samples", "max_iter", "tol"],
    NadarayaWatsonClassifier: ["smoothing"],
}


def outcome(call):
    """What a call returns, or None, with its warnings or error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call()
        except (TypeError, ValueError) as error:
            return None, [type(error), str(error)]
    return result, [str(warning.message) for warning in caught]


NAMED = pd.DataFrame(X, columns=["a", "b"])
OF_ALL_TYPES = {
    "plain": X,
    "float32": X.astype(np.float32),
    "by column": np.asfortranarray(X),
    "other byte order": X.astype(">f8"),
    "float16": X.astype(np.float16),
    "integers": np.arange(8).reshape(4, 2),
    "objects": X.astype(object),
    "list": X.tolist(),
    "masked": np.ma.masked_array(X),
    "sum overflows": np.full((2, 2), 1e308),
    "sum of float32 overflows": np.full((2, 2), 3e38, dtype=np.float32),
    "inf - inf": np.array([[np.inf, -np.inf]]),
    "three dimensions": X[np.newaxis],
    "names": NAMED,
    "other names": NAMED[["b", "a"]],
    **{name: queries for name, (queries, _) in QUERIES.items()},
}


@pairwise(queries=list(OF_ALL_TYPES), training=["array", "frame"])
def test_queries_are_checked_as_scikit_learn_checks_them(queries, training):
    """Whether it is asked or not: the array, its type and memory, errors and warnings are the same."""
    queries, model = OF_ALL_TYPES[queries], NadarayaWatsonRegressor(bandwidth=1.0)
    model.fit(X if training == "array" else NAMED, Y)
    found, messages = outcome(lambda: validate_queries(model, queries))
    dtype = (np.float64, np.float32)
    expected, expected_messages = outcome(lambda: validate_data(model, queries, dtype=dtype, reset=False))
    assert messages == expected_messages
    assert_array_equal(found, expected)
    assert (type(found), getattr(found, "dtype", None)) == (type(expected), getattr(expected, "dtype", None))
    assert (found is queries) == (expected is queries)


def test_scikit_learn_is_not_asked_about_plain_numbers(monkeypatch):
    """It takes as long as a small prediction."""
    model = NadarayaWatsonRegressor(bandwidth=1.0).fit(X, Y)
    monkeypatch.setattr(_sklearn_compat, "validate_data", None)
    assert model.predict(X).shape == Y.shape
    with pytest.raises(TypeError, match="not callable"):
        model.predict(NAN)


@pytest.mark.parametrize("Estimator", NUMBERS)
def test_true_is_no_number(Estimator):
    of_parameters = [{name: True} for name in NUMBERS[Estimator]] + [{"periodic_features": {0: True}}]
    if "bandwidth" in NUMBERS[Estimator]:
        of_parameters += [{"bandwidth": [True, True]}, {"kernel": PowerExponential(True)}]
    for parameters in of_parameters:
        with pytest.raises(ValueError, match=r"[Tt]rue"):
            Estimator(**parameters).fit(X, Y > 0)


@pytest.mark.parametrize("model", [NadarayaWatsonRegressor(bandwidth=1.0), KrigingRegressor(w=1.0, power=1.0)], ids=str)
def test_methods_refuse_what_only_counts_as_a_number_or_as_true(model):
    model.fit(X, Y)
    with pytest.raises(ValueError, match=r"simultaneous must be True or False, got 'no'"):
        model.predict_mean_interval(X, simultaneous="no")
    with pytest.raises(ValueError, match=r"quantiles must be .* got True"):
        model.predict_quantile(X, True)
    with pytest.raises(ValueError, match=r"target must be .* got True"):
        FitDisplay.from_estimator(model, X, Y, target=True)


@pytest.mark.parametrize("top_k", [0, -1, 2.5, True, "all", [1]])
def test_top_k_must_be_a_positive_integer(top_k):
    model = NadarayaWatsonRegressor(bandwidth=1.0).fit(X, Y)
    with pytest.raises(ValueError, match=r"top_k must be a positive integer or None"):
        model.attention_weights_(X, top_k=top_k)


REFUSALS = {
    "a parameter": (lambda model, width: model.set_params(**{width: np.nan}).fit(X, Y)),
    "an array parameter": (lambda model, width: model.set_params(**{width: [1.0, 2.0, 3.0]}).fit(X, Y)),
    "an algorithm": (lambda model, width: model.set_params(algorithm="fused", kernel=np.add).fit(X, Y)),
    "data of another width": (
        lambda model, width: model.fit(np.where(np.arange(60).reshape(20, 3) == 3, np.nan, 1.0), Y)
    ),
    "weights": (lambda model, width: model.fit(X, Y, -np.ones(20))),
    "another width and a parameter": (
        lambda model, width: model.set_params(**{width: [1.0, 2.0]}).fit(np.ones((20, 3)), Y)
    ),
}


@pytest.mark.parametrize("Estimator", ESTIMATORS)
@pytest.mark.parametrize("case", REFUSALS)
def test_a_refused_second_fit_leaves_the_first_or_none(case, Estimator):
    model = Estimator("gaussian", 0.5).fit(X, Y)
    before = model.predict(X)
    with pytest.raises(ValueError):
        REFUSALS[case](model, "w" if Estimator is AttentionPoolingRegressor else "bandwidth")
    try:
        assert_array_equal(model.predict(X), before)
    except NotFittedError:
        assert not hasattr(model, "loo_prediction_")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples": -1}, "n_samples"),
        ({"random_state": "a"}, "random_state"),
        ({"noise": -1.0}, "noise"),
        ({"high": -1.0}, "high"),
    ],
)
def test_make_sine_power_refuses_what_it_cannot_make(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_sine_power(**parameters)


@pytest.mark.parametrize("degree", [0, 1])
def test_inputs_so_small_that_w_is_no_number_are_refused(degree):
    """Inputs of 1e-308 would be multiplied by a w above 1e308; inputs of 1e-241 are not too small."""
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = np.sin(X[:, 0])
    with pytest.raises(ValueError, match="X has values too small for w"):
        AttentionPoolingRegressor(degree=degree).fit(1e-308 * X, y)
    small, usual = (AttentionPoolingRegressor(degree=degree).fit(scale * X, y) for scale in (2.0**-800, 1.0))
    assert_array_equal(small.w_, 2.0**800 * usual.w_)
