"""What the estimators share: attention weights, standard deviations, validation samples, attributes, storage."""

import pickle
from copy import deepcopy
from dataclasses import fields

import joblib
import numpy as np
import oracle
import pytest
from covering import covering_array, describe
from numpy.testing import assert_allclose, assert_array_equal
from problems import ENGINES, KERNELS, Cauchy, assert_close, bandwidth, engine_cases, regression
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError

import sknw
from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor, kernels
from sknw._kernel_sums.index import KeyIndex
from sknw._predictive.fitted import FittedSmoother
from sknw._smoothing.training import TrainingSet

ESTIMATORS = [NadarayaWatsonRegressor, LocalLinearRegressor, AttentionPoolingRegressor]
every = pytest.mark.parametrize("Estimator", ESTIMATORS)

# Attention weights


@pytest.mark.parametrize(
    "case",
    covering_array(
        engine_cases(KERNELS, [1, 3, 20]), weighted=[False, True], outside=["nearest", "mean"], width=[0.8, 0.3]
    ),
    ids=describe,
)
def test_attention_weights_sum_to_one_and_pool_to_the_prediction(case):
    d, outside = case["d"], case["outside"]
    X, y, w, Q = regression(d=d, n_outputs=2, weighted=case["weighted"])
    parameter, of_oracle = KERNELS[case["kernel"]]
    h = bandwidth(d, case["width"])
    model = NadarayaWatsonRegressor(parameter, h, outside=outside, algorithm=case["algorithm"]).fit(X, y, w)
    attention = model.attention_weights_(Q)
    assert np.all(attention >= 0)
    assert_allclose(attention.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    assert np.abs(attention @ y - model.predict(Q)).max() <= 1e-12 * np.ptp(y)
    expected = oracle.attention_weights(Q, X, h, of_oracle, w, outside)
    assert_allclose(attention, expected.astype(float), rtol=0, atol=1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
def test_sparse_attention_is_the_dense_one_with_its_non_zeros_only(kernel):
    X, y, w, Q = regression(d=2, weighted=True)
    # by the same engine, or rounding would differ
    model = NadarayaWatsonRegressor(KERNELS[kernel][0], 0.4, algorithm="dense").fit(X, y, w)
    dense, sparse = model.attention_weights_(Q), model.attention_weights_(Q, sparse_output=True)
    assert issparse(sparse)
    assert sparse.format == "csr"
    assert sparse.shape == (len(Q), len(X))
    assert sparse.nnz == np.count_nonzero(dense)
    assert_array_equal(sparse.toarray(), dense)


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
@pytest.mark.parametrize("top_k", [1, 3, 44, 45, 1000, np.int64(2)])
def test_top_k_keeps_the_largest_weights_scaled_to_sum_to_one(top_k, kernel):
    X, y, w, Q = regression(d=2, weighted=True)
    model = NadarayaWatsonRegressor(kernel, 0.7).fit(X, y, w)
    full, top = model.attention_weights_(Q), model.attention_weights_(Q, top_k=top_k)
    assert top.format == "csr"
    assert top.shape == full.shape
    assert_allclose(top.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    for weights, row in zip(full, top.toarray(), strict=True):
        kept = row > 0
        assert kept.sum() == min(top_k, np.count_nonzero(weights))
        assert weights[kept].min() >= weights[~kept].max(initial=0.0)
        assert_allclose(row[kept], weights[kept] / weights[kept].sum(), rtol=1e-12)


def test_softmax_attention_is_the_gaussian_kernel():
    X, y, _, Q = regression(d=3)
    logits = -((Q[:, np.newaxis] - X) ** 2).sum(axis=2) / 2
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    attention = NadarayaWatsonRegressor("gaussian", 1.0).fit(X, y).attention_weights_(Q)
    assert_allclose(attention, softmax, rtol=1e-11)


@pytest.mark.parametrize(
    "case",
    covering_array(
        engine_cases(KERNELS, [1, 2, 5]),
        weighted=[False, True],
        outside=["nearest", "mean"],
        width=[1.3, 0.2],
        offset=[0.0, 1e4],
    ),
    ids=describe,
)
def test_effective_sample_size_is_the_oracles(case):
    d, outside = case["d"], case["outside"]
    X, y, w, Q = regression(d=d, weighted=case["weighted"])
    X, Q, h = X + case["offset"], Q + case["offset"], bandwidth(d, case["width"])
    parameter, of_oracle = KERNELS[case["kernel"]]
    model = NadarayaWatsonRegressor(parameter, h, outside=outside, algorithm=case["algorithm"]).fit(X, y, w)
    expected = oracle.effective_sample_size(Q, X, h, of_oracle, w, outside)
    assert_allclose(model.effective_sample_size(Q), expected.astype(float), rtol=1e-9)


def test_effective_sample_size_counts_the_samples_of_a_tophat_and_repeated_rows():
    X, y = np.arange(10.0)[:, np.newaxis], np.arange(10.0)
    model = NadarayaWatsonRegressor("tophat", 2.0).fit(X, y)
    assert_allclose(model.effective_sample_size([[0.0], [5.0], [20.0]]), [3.0, 5.0, 1.0], rtol=1e-12)
    repeats = np.arange(1, 11)
    weighted = NadarayaWatsonRegressor("gaussian", 2.0).fit(X, y, repeats)
    repeated = NadarayaWatsonRegressor("gaussian", 2.0).fit(np.repeat(X, repeats, axis=0), np.repeat(y, repeats))
    assert_allclose(weighted.effective_sample_size(X), repeated.effective_sample_size(X), rtol=1e-11)


@every
def test_blocks_of_queries_are_one_whole(Estimator):
    """scikit-learn's working_memory cuts the queries into blocks; what comes back is in their order."""
    from sklearn import config_context

    X, y, w, Q = regression(d=2, m=101, weighted=True)
    relative = w / w[w > 0].mean()
    for n_jobs in [None, 2]:
        model = Estimator("tricube", 0.5, n_jobs=n_jobs).fit(X, y, w)
        whole = model.attention_weights_(Q)
        with config_context(working_memory=0.002):
            assert_allclose(model.attention_weights_(Q), whole, rtol=1e-12)
            assert_allclose(model.attention_weights_(Q, top_k=45).toarray(), whole, rtol=1e-12)
            assert_allclose(model.effective_sample_size(Q), 1 / (whole**2 @ np.where(w > 0, 1 / relative.clip(0.1), 0)))


# Standard deviations and validation samples


@every
def test_standard_deviation_is_that_of_the_noise(Estimator):
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 1, size=(2000, 1))
    noise = np.where(X[:, 0] < 0.5, 0.1, 1.0)
    model = Estimator(validation_samples=None).fit(X, np.sin(6 * X[:, 0]) + noise * rng.normal(size=2000))
    _, std = model.predict([[0.1], [0.3], [0.7], [0.9]], return_std=True)
    assert_allclose(std, [0.1, 0.1, 1.0, 1.0], rtol=0.25)


@pytest.mark.parametrize("algorithm", ENGINES)
@pytest.mark.parametrize("n_outputs", [None, 2])
@pytest.mark.parametrize("kernel", ["gaussian", "tricube", "tophat"])
def test_validation_samples_limit_the_rows_that_leave_one_out_looks_at(kernel, n_outputs, algorithm):
    X, y, _, Q = regression(n=60, d=2, n_outputs=n_outputs)
    h = np.array([0.6, 0.6])
    model = NadarayaWatsonRegressor(kernel, 0.6, validation_samples=20, random_state=3, algorithm=algorithm).fit(X, y)
    assert model.n_validation_ == 20
    seen = np.isfinite(model.loo_prediction_.reshape(60, -1)).all(axis=1)
    assert seen.sum() == 20
    expected = oracle.leave_one_out(X, y, h, kernel)
    assert_close(model.loo_prediction_[seen], expected[seen], y)
    assert np.all(np.isnan(model.loo_prediction_[~seen]))
    assert model.loo_score_ == pytest.approx(float(oracle.r2(y, model.loo_prediction_)), abs=1e-10)
    # predictions rest on all samples, standard deviations on those with a residual
    mean, std = model.predict(Q, return_std=True)
    assert_close(mean, oracle.predict(Q, X, y, h, kernel), y)
    expected_std = oracle.std(Q, X, y, h, kernel, residuals=y - model.loo_prediction_)
    assert_close(std, expected_std, y)
    assert np.all(np.isfinite(std))


@pytest.mark.parametrize("n_validation", [None, "auto", 60, 10**9])
def test_all_rows_are_validated_where_there_are_few(n_validation):
    X, y, _, _ = regression(n=60)
    model = NadarayaWatsonRegressor(bandwidth=0.6, validation_samples=n_validation).fit(X, y)
    assert model.n_validation_ == 60
    assert np.all(np.isfinite(model.loo_prediction_))


@every
def test_validation_samples_are_drawn_by_random_state(Estimator):
    X, y, _, _ = regression(n=60)

    def rows(random_state):
        model = Estimator("gaussian", 0.6, validation_samples=15, random_state=random_state).fit(X, y)
        return tuple(np.flatnonzero(np.isfinite(model.loo_prediction_)))

    assert rows(0) == rows(0) == rows(np.random.RandomState(0))
    assert rows(0) != rows(1)


def test_auto_validates_as_many_rows_as_make_4e8_kernel_evaluations():
    n = 80_000
    X = np.random.default_rng(0).uniform(size=(n, 4))
    model = NadarayaWatsonRegressor("gaussian", 0.1, n_jobs=2).fit(X, X[:, 0])
    assert model.n_validation_ == 4e8 / n
    assert np.isfinite(model.loo_prediction_).sum() == model.n_validation_


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov", "exponential"])
def test_auto_validates_all_rows_where_an_engine_need_not_look_at_every_pair(kernel):
    x = np.linspace(0.0, 1.0, 80_000)[:, np.newaxis]
    assert NadarayaWatsonRegressor(kernel, 0.1).fit(x, x[:, 0]).n_validation_ == 80_000


def test_rows_of_weight_zero_are_not_drawn_for_validation():
    X, y, _, _ = regression(n=60)
    w = np.repeat([0.0, 1.0], 30)
    model = NadarayaWatsonRegressor("gaussian", bandwidth=0.6, validation_samples=20, random_state=0).fit(X, y, w)
    assert np.isfinite(model.loo_prediction_[w > 0]).sum() == model.n_validation_ == 20


# Attributes, and what becomes of a model


def test_fitted_attributes_are_those_of_the_documentation():
    X, y, w, _ = regression(weighted=True)
    model = NadarayaWatsonRegressor("tricube", 0.5).fit(X, y, w)
    assert {name for name in vars(model) if name.endswith("_")} == {
        *("n_features_in_", "X_train_", "y_train_", "sample_weight_", "kernel_", "bandwidth_", "bandwidth_search_"),
        *("loo_prediction_", "loo_score_", "n_validation_", "is_categorical_", "categories_", "category_weight_"),
    }
    assert model.n_features_in_ == 2
    assert_array_equal(model.X_train_, X)
    assert_array_equal(model.y_train_, y)
    assert_array_equal(model.sample_weight_, w)
    assert isinstance(model.kernel_, kernels.Tricube)
    assert_array_equal(model.bandwidth_, [0.5, 0.5])
    assert model.bandwidth_search_ is None
    assert model.loo_prediction_.shape == y.shape
    assert isinstance(model.loo_score_, float)
    assert model.n_validation_ == (w > 0).sum()
    assert NadarayaWatsonRegressor("tricube", 0.5).fit(X, y).sample_weight_ is None


@pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")
@every
@pytest.mark.parametrize("shape", [(45,), (45, 1), (45, 3)])
def test_predictions_have_the_shape_of_y(Estimator, shape):
    X, _, _, Q = regression()
    y = np.random.default_rng(0).normal(size=shape)
    model = Estimator().fit(X, y)
    mean, std = model.predict(Q, return_std=True)
    assert mean.shape == std.shape == (len(Q), *shape[1:])
    assert model.loo_prediction_.shape == shape
    assert isinstance(model.score(X, y), float)


def test_outputs_do_not_influence_each_other_at_a_fixed_bandwidth():
    X, y, w, Q = regression(n_outputs=3, weighted=True)
    together = NadarayaWatsonRegressor("tricube", 0.7).fit(X, y, w)
    for k in range(3):
        alone = NadarayaWatsonRegressor("tricube", 0.7).fit(X, y[:, k], w)
        assert_close(together.predict(Q)[:, k], alone.predict(Q), y)
        assert_close(together.predict(Q, return_std=True)[1][:, k], alone.predict(Q, return_std=True)[1], y)


READING = {
    "predict": lambda model, X, y: model.predict(X),
    "predict with std": lambda model, X, y: model.predict(X, return_std=True),
    "predict_interval": lambda model, X, y: model.predict_interval(X),
    "predict_quantile": lambda model, X, y: model.predict_quantile(X, [0.1, 0.9]),
    "attention_weights_": lambda model, X, y: model.attention_weights_(X),
    "sparse attention_weights_": lambda model, X, y: model.attention_weights_(X, sparse_output=True),
    "top_k": lambda model, X, y: model.attention_weights_(X, top_k=2),
    "effective_sample_size": lambda model, X, y: model.effective_sample_size(X),
    "sample_y": lambda model, X, y: model.sample_y(X),
    "gradient": lambda model, X, y: model.gradient(X),
    "score": lambda model, X, y: model.score(X, y),
    "pickle": lambda model, X, y: pickle.dumps(model),
    "notebook": lambda model, X, y: model._repr_html_(),
    "repr": lambda model, X, y: repr(model),
}


def contents(value):
    """What an attribute is and holds, all the way down: arrays by their bytes, objects by their fields.

    Of the objects that make things once, when they are first needed, it is what they are made of.
    """
    if isinstance(value, KeyIndex):
        return id(value), contents([value.keys, value.weights, value.columns, value.offset_magnitude])[1]
    if isinstance(value, FittedSmoother):
        return id(value), contents([value.training, value.smoother, value.squares])[1]
    if isinstance(value, TrainingSet):
        return id(value), contents([getattr(value, field.name) for field in fields(value)])[1]
    if isinstance(value, np.ndarray):
        return id(value), value.shape, joblib.hash(value)
    if isinstance(value, dict):
        return {key: contents(of_key) for key, of_key in value.items()}
    if isinstance(value, list | tuple):
        return id(value), [contents(item) for item in value]
    if hasattr(value, "__dict__") and not callable(value):
        return id(value), contents(vars(value))
    return id(value), repr(value)


@pytest.mark.parametrize(
    "row", covering_array(reading=list(READING), algorithm=ENGINES, Estimator=ESTIMATORS), ids=describe
)
def test_predicting_changes_no_attribute(row):
    reading, algorithm, Estimator = row.values()
    X, y, w, Q = regression(weighted=True)
    model = Estimator("tricube", 0.9, algorithm=algorithm).fit(X, y, w)
    before = contents(vars(model))
    READING[reading](model, np.vstack([Q, [[50.0, 50.0]]]), np.zeros(len(Q) + 1))  # one without support
    assert contents(vars(model)) == before


@every
def test_training_data_are_not_changed(Estimator):
    X, y, w, Q = regression(weighted=True)
    copies = [array.copy() for array in (X, y, w, Q)]
    Estimator().fit(X, y, w).predict(Q)
    for array, copy in zip((X, y, w, Q), copies, strict=True):
        assert_array_equal(array, copy)


@every
def test_a_model_with_a_users_kernel_can_be_pickled(Estimator):
    X, y, _, Q = regression()
    model = Estimator(Cauchy(), 0.5).fit(X, y)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(Q), model.predict(Q))


def through_pickle(model, tmp_path):
    (tmp_path / "model").write_bytes(pickle.dumps(model))
    return lambda: pickle.loads((tmp_path / "model").read_bytes())


def through_joblib(model, tmp_path):
    joblib.dump(model, tmp_path / "model")
    return lambda: joblib.load(tmp_path / "model")


stores = pytest.mark.parametrize("stored", [through_pickle, through_joblib])


@every
@stores
def test_a_pickle_of_another_version_warns_as_those_of_scikit_learn_do(Estimator, stored, tmp_path, monkeypatch):
    X, y, _, Q = regression()
    model = Estimator().fit(X, y)
    with monkeypatch.context() as earlier:
        earlier.setattr("sknw.estimators.stored.__version__", "0.0.7")
        load = stored(model, tmp_path)
        assert_array_equal(load().predict(Q), model.predict(Q))  # without a warning, which would be an error
    with pytest.warns(InconsistentVersionWarning, match=rf"{Estimator.__name__} of sknw from version 0\.0\.7") as found:
        loaded = load()
    assert found[0].message.current_sklearn_version == sknw.__version__
    assert_array_equal(loaded.predict(Q), model.predict(Q))


@every
@stores
def test_a_model_that_was_stored_is_as_it_was(Estimator, stored, tmp_path):
    """The version is in the pickle only: not among the attributes, the parameters or what is cloned."""
    X, y, _, _ = regression()
    for model in [Estimator(outside="mean"), Estimator().fit(X, y)]:
        loaded = stored(model, tmp_path)()
        assert vars(loaded).keys() == vars(model).keys()
        assert clone(loaded).get_params() == model.get_params()
        assert vars(deepcopy(model)).keys() == vars(model).keys()


def test_a_pickle_without_a_version_warns():
    state = NadarayaWatsonRegressor(outside="mean").__getstate__()
    del state["_sknw_version"]
    model = NadarayaWatsonRegressor()
    with pytest.warns(InconsistentVersionWarning, match="version unknown"):
        model.__setstate__(state)
    assert model.outside == "mean"


@every
@pytest.mark.parametrize("algorithm", ENGINES)
def test_read_only_memory_maps_are_taken(Estimator, algorithm, tmp_path):
    X, y, w, Q = regression(weighted=True, d=5)
    model = Estimator(algorithm=algorithm).fit(X, y, w)
    joblib.dump((model, X, y, w, Q), tmp_path / "all")
    mapped, *data = joblib.load(tmp_path / "all", mmap_mode="r")
    assert not mapped.X_train_.flags.writeable
    assert_array_equal(mapped.predict(data[3]), model.predict(Q))
    assert_array_equal(mapped.attention_weights_(data[3]), model.attention_weights_(Q))
    refitted = Estimator(algorithm=algorithm).fit(*data[:3])
    assert_array_equal(refitted.predict(data[3]), model.predict(Q))


def test_clone_and_set_params_reach_into_the_kernel():
    model = NadarayaWatsonRegressor(kernels.PowerExponential(power=0.7), 0.3, outside="mean", n_jobs=2)
    copy = clone(model)
    assert copy.kernel is not model.kernel
    assert {k: v for k, v in copy.get_params().items() if k != "kernel"} == {
        **{"bandwidth": 0.3, "outside": "mean", "validation_samples": "auto", "algorithm": "auto", "n_jobs": 2},
        **{"random_state": None, "verbose": 0, "kernel__power": 0.7, "cv": None},
        **{
            "categorical_features": "from_dtype",
            "ordered_features": None,
            "periodic_features": None,
            "scale": "features",
        },
    }
    copy.set_params(kernel__power=1.9, bandwidth="gcv")
    assert (copy.kernel.power, copy.bandwidth) == (1.9, "gcv")
    assert model.kernel.power == 0.7


@every
def test_refitting_forgets_the_first_fit(Estimator):
    X, y, w, Q = regression(weighted=True)
    model = Estimator().fit(X[:, :1], y + 3, w)
    model.fit(X, y)
    fresh = Estimator().fit(X, y)
    assert_array_equal(model.predict(Q), fresh.predict(Q))
    assert model.sample_weight_ is None
    if Estimator is AttentionPoolingRegressor:
        assert model.set_params(w=0.3).fit(X, y).loss_path_.size == 0
    else:
        assert model.set_params(bandwidth=0.3).fit(X, y).bandwidth_search_ is None


@every
@pytest.mark.parametrize(
    "method",
    [
        *("predict", "attention_weights_", "effective_sample_size", "predict_interval", "predict_quantile", "sample_y"),
        "gradient",
    ],
)
def test_methods_ask_for_a_fit_first(Estimator, method):
    with pytest.raises(NotFittedError, match="not fitted"):
        getattr(Estimator(), method)([[1.0]])


@every
def test_notebook_view_shows_attributes_and_leaves_the_method_out(Estimator):
    X, y, _, _ = regression()
    model = Estimator().fit(X, y)
    html = model._repr_html_()
    assert "attention_weights_" not in html
    if hasattr(BaseEstimator, "_get_fitted_attr_html"):  # scikit-learn >= 1.9
        assert "loo_score_" in html
    assert "kernel" in Estimator()._repr_html_()
