"""scikit-learn's callbacks (1.9 and later) on the search; before 1.9 a fit runs without them."""

import numpy as np
import pytest
import sklearn
from covering import pairwise
from numpy.testing import assert_array_equal
from problems import without_count
from sklearn.utils.fixes import parse_version

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw.datasets import make_sine_power

HAS_CALLBACKS = parse_version(sklearn.__version__) >= parse_version("1.9")


class Recorder:
    """Writes down what it is told, and asks to stop after `stop_after` steps."""

    def __init__(self, stop_after=np.inf):
        self.stop_after = stop_after
        self.events = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.data = X, y, metadata
        self.events.append("begin" if context.parent is None else "step begins")

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None):
        self.events.append("end" if context.parent is None else "step ends")
        return self.events.count("step ends") >= self.stop_after

    @property
    def n_steps(self):
        return self.events.count("step ends")


X, Y = make_sine_power(100, random_state=0)

both = pytest.mark.parametrize("Estimator", [NadarayaWatsonRegressor, LocalLinearRegressor])


def fit_with(callback, Estimator=NadarayaWatsonRegressor, **parameters):
    """A fit that reports to `callback`, or where scikit-learn has no callbacks one that has none to report to."""
    model = Estimator(**parameters)
    assert hasattr(model, "set_callbacks") == HAS_CALLBACKS
    if HAS_CALLBACKS:
        model.set_callbacks(callback)
    return model.fit(X, Y)


@both
@pytest.mark.parametrize("criterion", ["loo", "aicc", "gcv"])
def test_every_bandwidth_of_a_search_is_a_step(Estimator, criterion):
    recorder = Recorder()
    model = fit_with(recorder, Estimator, bandwidth=criterion)
    if not HAS_CALLBACKS:
        assert recorder.events == []
        return
    assert recorder.n_steps == len(model.bandwidth_search_.factors)
    assert recorder.events[:2] == ["setup", "begin"]
    assert recorder.events[-2:] == ["end", "teardown"]
    assert recorder.events[2:-2] == ["step begins", "step ends"] * recorder.n_steps


@both
@pytest.mark.parametrize("bandwidth", [0.3, "silverman"])
def test_a_fit_without_a_search_is_one_task(Estimator, bandwidth):
    recorder = Recorder()
    fit_with(recorder, Estimator, bandwidth=bandwidth)
    assert recorder.events == (["setup", "begin", "end", "teardown"] if HAS_CALLBACKS else [])


@both
def test_callbacks_change_no_result(Estimator):
    watched, plain = fit_with(Recorder(), Estimator), Estimator().fit(X, Y)
    assert_array_equal(watched.bandwidth_, plain.bandwidth_)
    assert_array_equal(watched.predict(X), plain.predict(X))


def test_callbacks_are_given_the_data():
    recorder, weights = Recorder(), np.arange(100.0)
    if not HAS_CALLBACKS:
        assert not hasattr(NadarayaWatsonRegressor, "set_callbacks")
        return
    NadarayaWatsonRegressor().set_callbacks(recorder).fit(X, Y, weights)
    assert_array_equal(recorder.data[0], X)
    assert_array_equal(recorder.data[1], Y)
    assert_array_equal(recorder.data[2]["sample_weight"], weights)


@pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")
@both
@pytest.mark.parametrize("n_steps", [1, 3, 10, 25])
def test_a_callback_that_returns_true_ends_the_search_with_the_best_so_far(Estimator, n_steps):
    recorder = Recorder(stop_after=n_steps)
    model = fit_with(recorder, Estimator)
    search, full = model.bandwidth_search_, Estimator().fit(X, Y).bandwidth_search_
    if not HAS_CALLBACKS:
        assert_array_equal(search.factors, full.factors)
        return
    assert recorder.n_steps == len(search.factors) == n_steps
    assert search.scores[search.best_index] == search.scores.min() >= full.scores.min()
    assert_array_equal(model.bandwidth_, search.bandwidths[search.best_index])
    assert np.all(np.isin(search.factors, full.factors))
    assert np.all(np.isfinite(model.predict(X)))
    assert recorder.events[-2:] == ["end", "teardown"]


@pytest.mark.parametrize("w", ["scalar", "diagonal", "low_rank", "full"])
@pytest.mark.parametrize("degree", [0, 1])
def test_every_iteration_of_learning_is_a_step_and_changes_no_result(degree, w):
    recorder = Recorder()
    model = fit_with(recorder, AttentionPoolingRegressor, w=w, degree=degree, tol=1e-2)
    plain = AttentionPoolingRegressor(w=w, degree=degree, tol=1e-2).fit(X, Y)
    assert_array_equal(model.w_, plain.w_)
    assert_array_equal(model.loss_path_, plain.loss_path_)
    if HAS_CALLBACKS:
        assert recorder.n_steps >= model.n_iter_
        assert recorder.events[2:-2] == ["step begins", "step ends"] * recorder.n_steps
        assert recorder.events[-2:] == ["end", "teardown"]


@pairwise(n_steps=[1, 4], degree=[0, 1], w=["scalar", "diagonal", "low_rank", "full"])
def test_a_callback_that_returns_true_ends_all_minimisations_with_the_best_so_far(n_steps, degree, w):
    recorder = Recorder(stop_after=n_steps)
    parameters = {"w": w, "degree": degree, "penalty": 0.0}
    model = fit_with(recorder, AttentionPoolingRegressor, **parameters)
    full = AttentionPoolingRegressor(**parameters).fit(X, Y)
    if not HAS_CALLBACKS:
        assert_array_equal(model.w_, full.w_)
        return
    assert recorder.n_steps <= n_steps
    assert recorder.events[-2:] == ["end", "teardown"]
    assert model.w_.shape == full.w_.shape
    assert np.all(np.isfinite(model.predict(X)))
    assert model.loss_path_[-1] >= full.loss_path_[-1] * (1 - 1e-9)
    assert model.loss_path_[-1] == pytest.approx(1 - without_count(model, X, Y).loo_score_, rel=1e-8)


def test_a_fit_with_w_given_is_one_task():
    recorder = Recorder()
    fit_with(recorder, AttentionPoolingRegressor, w=2.0)
    assert recorder.events == (["setup", "begin", "end", "teardown"] if HAS_CALLBACKS else [])


def test_a_failing_fit_is_torn_down():
    recorder = Recorder()
    model = NadarayaWatsonRegressor(bandwidth=[1.0, 2.0, 3.0])
    if HAS_CALLBACKS:
        model.set_callbacks(recorder)
    with pytest.raises(ValueError, match="bandwidth"):
        model.fit(X, Y)
    assert recorder.events.count("setup") == recorder.events.count("teardown")


def test_progress_bar_counts_the_search(capsys):
    if not HAS_CALLBACKS:
        assert not hasattr(NadarayaWatsonRegressor(), "set_callbacks")
        return
    from sklearn.callback import ProgressBar

    NadarayaWatsonRegressor().set_callbacks(ProgressBar()).fit(X, Y)
    assert "NadarayaWatsonRegressor" in capsys.readouterr().out


def test_callbacks_reach_into_a_grid_search_and_a_copy():
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV

    model = NadarayaWatsonRegressor()
    if HAS_CALLBACKS:
        model.set_callbacks(Recorder())
    search = GridSearchCV(model, {"kernel": ["gaussian", "tricube"]}, cv=2).fit(X, Y)
    assert search.best_params_["kernel"] in {"gaussian", "tricube"}
    assert clone(model).fit(X, Y).bandwidth_search_ is not None


def test_without_callback_support_a_fit_is_the_same(monkeypatch):
    """What scikit-learn before 1.9 leaves us with: no `_init_callback_context`."""
    from sknw import _sklearn_compat

    plain = NadarayaWatsonRegressor().fit(X, Y)
    for base in NadarayaWatsonRegressor.__mro__:
        if "_init_callback_context" in vars(base):
            monkeypatch.delattr(base, "_init_callback_context")
    assert not hasattr(NadarayaWatsonRegressor, "_init_callback_context")
    task = _sklearn_compat.FitTask(NadarayaWatsonRegressor(), X, Y, {}, has_steps=True)
    assert task.step() is False
    old = NadarayaWatsonRegressor().fit(X, Y)
    assert_array_equal(old.bandwidth_, plain.bandwidth_)
