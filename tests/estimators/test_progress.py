"""What a long prediction prints while it runs, if it is asked to."""

import re

import numpy as np
import pytest

from sknw import AttentionPoolingClassifier, LocalLinearRegressor, NadarayaWatsonClassifier, NadarayaWatsonRegressor
from sknw.estimators import progress

SMOOTHERS = [
    NadarayaWatsonRegressor(bandwidth=0.3),
    LocalLinearRegressor(bandwidth=0.3),
    NadarayaWatsonClassifier(bandwidth=0.3),
    AttentionPoolingClassifier(w=2.0),
]


def fitted(model, verbose):
    X = np.random.default_rng(0).normal(size=(60, 4))
    return model.set_params(verbose=verbose).fit(X, X[:, 0] > 0), np.vstack([X, X + 0.1])


@pytest.mark.parametrize("model", SMOOTHERS, ids=lambda model: type(model).__name__)
def test_a_long_prediction_says_how_long_it_takes_and_how_much_is_done(model, capsys, monkeypatch):
    silent, Q = fitted(model, verbose=0)
    expected = silent.predict(Q)
    monkeypatch.setattr(progress, "LONG_SECONDS", 0.0)
    assert capsys.readouterr().out == ""
    verbose, _ = fitted(model, verbose=1)
    np.testing.assert_allclose(verbose.predict(Q), expected, atol=1e-12)
    first, *others = capsys.readouterr().out.splitlines()
    name = re.escape(f"[{type(model).__name__}] ")
    assert re.fullmatch(
        rf"{name}prediction of 120 queries from 60 samples by algorithm='\w+': expected to take about \d+ seconds",
        first,
    )
    shares = [re.fullmatch(rf"{name}(\d+) % predicted, about \d+ seconds left", line)[1] for line in others]
    assert shares == [str(share) for share in range(5, 101, 5)]


def test_a_short_prediction_says_nothing(capsys):
    model, Q = fitted(NadarayaWatsonRegressor(), verbose=1)
    model.predict(Q)
    assert model.predict(Q[:1]).shape == (1,)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5.2, "5 seconds"), (119, "119 seconds"), (150, "2 minutes"), (7100, "118 minutes"), (7300, "2 hours")],
)
def test_a_duration_is_said_in_the_largest_unit_of_which_there_are_two(seconds, said):
    assert progress._duration(seconds) == f"about {said}"
