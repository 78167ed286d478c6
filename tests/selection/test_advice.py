"""What a search says of itself when printed, and when fit warns of its outcome."""

import warnings

import joblib
import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw._selection import diagnostics
from sknw.datasets import make_sine_power


def noise(n, d=1):
    rng = np.random.default_rng(1)
    return rng.uniform(size=(n, d)), rng.normal(size=n)


def warnings_of(X, y, sample_weight=None, estimator=NadarayaWatsonRegressor, **parameters):
    """The messages of all warnings of a fit, each of which points to the line in this file that calls it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator(**parameters).fit(X, y, sample_weight)
    assert all(warning.filename == __file__ for warning in caught), "a warning points to the call of fit"
    return [str(warning.message) for warning in caught]


# Warnings


@pytest.mark.parametrize(
    "fit",
    [
        lambda model, X, y: model.partial_fit(X, y),
        lambda model, X, y: make_pipeline(model).fit(X, y),
        lambda model, X, y: TransformedTargetRegressor(model).fit(X, y),
        lambda model, X, y: cross_val_score(model, X, y),
    ],
)
def test_a_warning_points_to_the_line_that_asks_for_a_fit(fit):
    with pytest.warns(UserWarning, match="no better than the mean of all targets") as caught:
        fit(NadarayaWatsonRegressor(), *noise(200))
    assert {warning.filename for warning in caught} == {__file__}


def test_a_warning_of_a_file_points_to_the_line_that_loads_it(tmp_path, monkeypatch):
    monkeypatch.setattr("sknw.estimators.stored.__version__", "0.0.7")
    joblib.dump(NadarayaWatsonRegressor(), tmp_path / "model")
    monkeypatch.undo()
    with pytest.warns(UserWarning, match=r"from version 0\.0\.7") as caught:
        joblib.load(tmp_path / "model")
    assert [warning.filename for warning in caught] == [__file__]


def test_inputs_that_do_not_help_are_named_with_a_remedy():
    (message,) = warnings_of(*noise(200))
    assert "left-out predictions are no better than the mean of all targets: these inputs do not help" in message
    assert "Leave out features that do not matter" in message


@pytest.mark.parametrize(
    ("parameters", "remedy"),
    [
        ({"w": "scalar"}, 'learn a weight for each with w="diagonal"'),
        ({"w": "diagonal"}, "a smaller penalty may find some"),
        ({"w": "diagonal", "penalty": 0.0}, "add other features, or samples"),
    ],
)
def test_attention_pooling_does_not_advise_attention_pooling(parameters, remedy):
    messages = warnings_of(*noise(60, 2), estimator=AttentionPoolingRegressor, **parameters)
    (message,) = [message for message in messages if "no better than the mean" in message]
    assert remedy in message
    assert "attention pooling" not in message


def test_a_bandwidth_near_zero_is_named_with_a_remedy():
    """Generalised cross-validation can prefer to interpolate."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(100, 3))
    y = np.sin(2 * X[:, 0]) + X[:, 1] + 0.3 * rng.normal(size=100)
    (message,) = warnings_of(X, y, bandwidth="gcv")
    assert "the bandwidth is near zero" in message
    assert "or give a number" in message
    assert warnings_of(X, y) == []


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov", "tophat"])
def test_copies_and_weights_change_no_warning(kernel):
    X, y = noise(100)
    alone = warnings_of(X, y, kernel=kernel)
    assert warnings_of(np.vstack([X, X]), np.append(y, y), kernel=kernel) == alone
    assert warnings_of(X, y, np.full(100, 3.0), kernel=kernel) == alone


def test_repeated_measurements_are_no_copies():
    """Several targets at the same inputs: the smallest bandwidths, the mean at each, may be the best."""
    rng = np.random.default_rng(0)
    x = np.repeat(np.arange(10.0), 30)[:, np.newaxis]
    y = np.repeat(rng.normal(size=10), 30) + 0.1 * rng.normal(size=300)
    assert warnings_of(x, y) == []


def test_many_samples_without_support_are_counted():
    rng = np.random.default_rng(0)
    x = np.append(rng.uniform(size=100), 10.0 * np.arange(1, 61))
    y = np.append(np.sin(20 * x[:100]), np.full(60, 1.0)) + 0.05 * rng.normal(size=160)
    (message,) = warnings_of(x[:, np.newaxis], y, kernel="epanechnikov")
    assert "60 of 160 samples have no other one in the kernel's support" in message
    assert '"gaussian"' in message
    assert warnings_of(x[:, np.newaxis], y) == []


@pytest.mark.parametrize("data", [noise(25), (noise(200)[0], np.ones(200)), make_sine_power(300, random_state=0)])
def test_there_is_no_warning_without_need(data):
    """Few samples, nothing to choose, a clear choice."""
    assert warnings_of(*data) == []


def test_nothing_is_searched_nothing_is_warned_of():
    assert warnings_of(*noise(200), bandwidth=0.1) == []
    assert warnings_of(*noise(200), bandwidth="scott") == []


def test_one_line_for_all_is_no_reason_to_warn():
    X, y = noise(200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = LocalLinearRegressor().fit(X, 3.0 * X[:, 0] + 0.1 * y)
    assert model.loo_score_ > 0.9


def test_local_lines_warn_as_well():
    rng = np.random.default_rng(0)
    x = np.append(rng.uniform(size=100), 10.0 * np.arange(1, 61))[:, np.newaxis]
    y = np.append(np.sin(20 * x[:100, 0]), np.full(60, 1.0)) + 0.05 * rng.normal(size=160)
    (message,) = warnings_of(x, y, kernel="epanechnikov", estimator=LocalLinearRegressor, ridge=0.1)
    assert "60 of 160 samples have no other one" in message


def test_learning_that_does_not_converge_is_warned_of_at_the_call_of_fit():
    X, y = noise(100, d=2)
    (message,) = warnings_of(X, y + np.sin(5 * X[:, 0]), estimator=AttentionPoolingRegressor, max_iter=1)
    assert "did not converge in max_iter=1" in message


# Printed


def test_a_printed_search_names_the_choice_and_the_other_minima():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(120, 1))
    y = np.sin(40 * x[:, 0]) + 3 * np.sin(3 * x[:, 0]) + 0.6 * rng.normal(size=120)
    search = NadarayaWatsonRegressor("epanechnikov").fit(x, y).bandwidth_search_
    lines = repr(search).split("\n")
    assert lines[0].startswith(f'BandwidthSearch by "loo" over {len(search.factors)} bandwidths')
    assert lines[2].split()[:3] == [
        *("choice", f"{search.factors[search.best_index]:.4g}", f"{search.scores[search.best_index]:.5g}")
    ]
    assert sum(line.startswith("local minimum") for line in lines) == len(search.local_minima) - 1 >= 1
    assert str(search) == repr(search)
    assert max(map(len, lines)) < 100


@pytest.mark.filterwarnings("ignore:left-out predictions:UserWarning")
def test_a_printed_search_says_what_deserves_attention():
    X, y = noise(200, d=30)
    twins = repr(NadarayaWatsonRegressor().fit(np.vstack([X, X]), np.append(y, y + 1)).bandwidth_search_)
    assert "Some samples have the same inputs" in twins
    assert "..." in twins, "thirty bandwidths are too many to print"
    assert "The choice is the largest bandwidth tried." in repr(NadarayaWatsonRegressor().fit(X, y).bandwidth_search_)


def test_a_fit_of_a_compact_kernel_sums_no_squares_of_weights(monkeypatch):
    """They are sums of another kernel, which would be compiled as well."""

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(diagnostics, "effective_sample_size", refuse)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 1))
    y = np.sin(2 * X[:, 0]) + 0.3 * rng.normal(size=2000)
    NadarayaWatsonRegressor("tricube").fit(X, y)
    monkeypatch.setattr(diagnostics, "least_sample_size", lambda *_: None)
    with pytest.raises(AssertionError):
        NadarayaWatsonRegressor("tricube").fit(X, y)
