"""What must not change an answer: other queries, their order, threads, the algorithm, callers at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest
from covering import covering_array, describe
from numpy.testing import assert_allclose, assert_array_equal
from problems import ALGORITHMS, FORMS, KERNELS, assert_close, bandwidth, engine_cases, regression, takes
from sklearn import config_context

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw.kernels import Kernel

ESTIMATORS = ["mean", "line", "attention", "attention line"]

# Everything that is asked of a fitted model, one row of numbers for each query.
METHODS = {
    "predict": lambda model, Q: model.predict(Q),
    "predict with std": lambda model, Q: np.stack(model.predict(Q, return_std=True), axis=-1),
    "predict_interval": lambda model, Q: model.predict_interval(Q, 0.8),
    "predict_quantile": lambda model, Q: model.predict_quantile(Q, [0.2, 0.5, 0.9]),
    "attention_weights_": lambda model, Q: model.attention_weights_(Q),
    "sparse attention_weights_": lambda model, Q: model.attention_weights_(Q, sparse_output=True).toarray(),
    "top_k": lambda model, Q: model.attention_weights_(Q, top_k=5).toarray(),
    "effective_sample_size": lambda model, Q: model.effective_sample_size(Q),
    "sample_y": lambda model, Q: model.sample_y(Q, 3),
    "gradient": lambda model, Q: model.gradient(Q),
}
BY_POSITION = ["sample_y"]  # the draws of the first query are the first of the random numbers

# In units of the answers: what sums in another order may differ by, and in float32 one unit in the last place.
ROUNDING = {"float64": 1e-12, "float32": float(np.finfo(np.float32).eps)}


def model_of(estimator, kernel, h, **parameters):
    """A weighted mean or local line at bandwidths h (d,), the attention pooling with its w in numbers."""
    if estimator == "mean":
        return NadarayaWatsonRegressor(kernel, h, **parameters)
    if estimator == "line":
        return LocalLinearRegressor(kernel, h, ridge=0.01, **parameters)
    return AttentionPoolingRegressor(kernel, 1 / h, degree=int(estimator == "attention line"), ridge=0.01, **parameters)


def case_of(case, m=63):
    """A fitted model of a case, its queries, and the method that the case asks for."""
    X, y, w, Q = regression(d=case["d"], n=60, m=m, weighted=case["weighted"], dtype=case["dtype"])
    h = bandwidth(case["d"], case["width"])
    parameters = {"algorithm": case["algorithm"], "outside": case["outside"]}
    model = model_of(case["estimator"], KERNELS[case["kernel"]][0], h, **parameters).fit(X, y, w)
    return model, Q, METHODS[case["method"]]


def assert_same(actual, expected, case):
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    finite = np.abs(expected[np.isfinite(expected)])
    atol = ROUNDING[case["dtype"]] * finite.max(initial=1.0)
    assert_allclose(actual, expected, rtol=0, atol=atol)


def cases(*without, **levels):
    """A covering array; the top hat has no gradient."""
    found = covering_array(
        [
            {**case, "method": method}
            for case in engine_cases(FORMS, [1, 3, 5])
            for method in METHODS
            if method not in without and (method, case["kernel"]) != ("gradient", "tophat")
        ],
        estimator=ESTIMATORS,
        weighted=[False, True],
        dtype=["float64", "float32"],
        outside=["nearest", "mean", "nan"],
        width=[1.3, 0.4],
        **levels,
    )
    return pytest.mark.parametrize("case", found, ids=describe)


# Other queries


@cases(far=[30.0, 1e3, 1e6, 1e12])
def test_one_far_query_does_not_change_the_answers_of_the_others_by_more_than_rounding(case):
    model, Q, method = case_of(case)
    far = np.full((1, case["d"]), case["far"], dtype=Q.dtype)
    assert_same(method(model, np.vstack([Q, far]))[:-1], method(model, Q), case)


@pytest.mark.parametrize("d", [2, 5])
@pytest.mark.parametrize("estimator", ["mean", "line"])
@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
def test_one_far_query_does_not_take_float32_arithmetic_from_the_others(kernel, estimator, d):
    """Or give it to them: engines that compute in float32 where that is accurate decide query by query."""
    X, y, _, Q = regression(d=d, n=300, m=500, dtype=np.float32)
    model = model_of(estimator, kernel, bandwidth(d, 0.4), algorithm="fused").fit(X, y)
    for far in [30.0, 1e6]:
        others = model.predict(np.vstack([Q, np.full((1, d), far, dtype=np.float32)]))[:-1]
        assert_same(others, model.predict(Q), {"dtype": "float32"})


@cases(*BY_POSITION)
def test_answers_do_not_depend_on_the_order_of_queries(case):
    model, Q, method = case_of(case)
    order = np.random.default_rng(0).permutation(len(Q))
    assert_same(method(model, Q[order]), method(model, Q)[order], case)


@cases(*BY_POSITION)
def test_answers_row_by_row_are_those_of_the_batch(case):
    model, Q, method = case_of(case, m=23)
    one_by_one = np.concatenate([method(model, Q[i : i + 1]) for i in range(len(Q))])
    assert_same(one_by_one, method(model, Q), case)


@pytest.mark.parametrize(
    "case",
    covering_array(
        engine_cases(["gaussian", "exponential", "tricube"], [1, 2]),
        estimator=ESTIMATORS,
        method=[method for method in METHODS if method not in BY_POSITION],
    ),
    ids=describe,
)
def test_many_queries_get_what_few_get(case):
    """More than one block, or one chunk of a thread, takes."""
    X, y, w, Q = regression(d=case["d"], n=60, m=40, weighted=True)
    model = model_of(case["estimator"], case["kernel"], bandwidth(case["d"], 0.6), algorithm=case["algorithm"])
    method = METHODS[case["method"]]
    answers = method(model.fit(X, y, w), Q)
    many = method(model, np.tile(Q, (20, 1)))
    assert_close(many, np.tile(answers, (20, *[1] * (answers.ndim - 1))), answers, ROUNDING["float64"])


# Threads and algorithms


@cases(n_jobs=[1, 2])
def test_answers_do_not_depend_on_n_jobs_in_fit_nor_after_it(case):
    model, Q, method = case_of(case)
    X, y, w = model.X_train_, model.y_train_, model.sample_weight_
    expected = method(model, Q)
    with config_context(working_memory=0.01):
        model.set_params(n_jobs=3 - case["n_jobs"])
        assert_same(method(model, Q), expected, case)
        model.set_params(n_jobs=case["n_jobs"]).fit(X, y, w)
        assert_same(method(model, Q), expected, case)


class Recording(Kernel):
    """A Gaussian that keeps in mind the threads that ask for it."""

    threads: ClassVar[set] = set()

    def profile(self, sq):
        self.threads.add(threading.get_ident())
        return np.exp(-sq / 2)

    def derivative(self, sq):
        self.threads.add(threading.get_ident())
        return -0.5 * np.exp(-sq / 2)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("method", METHODS)
def test_n_jobs_set_after_fit_is_obeyed(method, estimator):
    X, y, w, Q = regression(n=60, m=80, weighted=True)
    fits = {n_jobs: model_of(estimator, Recording(), bandwidth(2), n_jobs=n_jobs).fit(X, y, w) for n_jobs in [1, 2]}
    with config_context(working_memory=0.01):
        for model in fits.values():
            METHODS[method](model, Q)  # what is found once, such as leave-one-out residuals
        for before, after in [(1, 2), (2, 1)]:
            model = fits[before].set_params(n_jobs=after)
            Recording.threads.clear()
            METHODS[method](model, Q)
            others = Recording.threads - {threading.get_ident()}
            assert bool(others) == (after == 2)


@pytest.mark.parametrize(
    "case",
    covering_array(
        [
            {"kernel": kernel, "d": d, "method": method}
            for kernel in FORMS
            for d in [1, 2, 5]
            for method in METHODS
            if (method, kernel) != ("gradient", "tophat")
        ],
        estimator=ESTIMATORS,
        weighted=[False, True],
        outside=["nearest", "mean", "nan"],
        width=[1.3, 0.4],
    ),
    ids=describe,
)
def test_answers_do_not_depend_on_the_algorithm(case):
    answers = {}
    for algorithm in ALGORITHMS:
        if takes(case["kernel"], case["d"], algorithm):
            model, Q, method = case_of({**case, "algorithm": algorithm, "dtype": "float64"})
            answers[algorithm] = method(model, Q)
    for actual in answers.values():
        assert_close(actual, answers["dense"], np.nan_to_num(answers["dense"], posinf=0.0, neginf=0.0))


# Callers at the same time


@pytest.mark.parametrize(
    "case", covering_array(engine_cases(["gaussian", "epanechnikov"], [1, 3]), estimator=ESTIMATORS), ids=describe
)
def test_threads_that_ask_one_fresh_model_at_once_get_what_one_thread_gets(case):
    X, y, w, Q = regression(d=case["d"], n=300, m=60, weighted=True)
    Q = np.vstack([Q, 50.0 + Q[:3]])  # some look for their nearest samples

    def fresh():
        h = bandwidth(case["d"], 0.5)
        return model_of(case["estimator"], case["kernel"], h, algorithm=case["algorithm"], n_jobs=1).fit(X, y, w)

    alone = fresh()
    expected = {name: method(alone, Q) for name, method in METHODS.items()}
    model, together = fresh(), threading.Barrier(len(METHODS))

    def ask(method):
        together.wait()
        return method(model, Q)

    with ThreadPoolExecutor(len(METHODS)) as pool:
        answers = dict(zip(METHODS, pool.map(ask, METHODS.values()), strict=True))
    for name, answer in answers.items():
        assert_close(answer, expected[name], expected[name], 1e-11)


# Ties


@pytest.mark.parametrize(
    "case", covering_array(engine_cases(KERNELS, [1, 2]), estimator=ESTIMATORS, k=[1, 2, 3, 6, 30]), ids=describe
)
def test_top_k_keeps_the_first_training_rows_of_those_that_tie(case):
    rng = np.random.default_rng(0)
    # each input comes four times, and the order of the rows is not that of the inputs
    X = rng.permutation(np.repeat(rng.normal(size=(12, case["d"])), 4, axis=0))
    h, k = np.full(case["d"], 1.5), case["k"]
    model = model_of(case["estimator"], KERNELS[case["kernel"]][0], h, algorithm=case["algorithm"])
    model.fit(X, rng.normal(size=48))
    Q = np.vstack([X[:5] + 0.1, X[5:10]])
    full = model.attention_weights_(Q)
    # the same but for rounding are the same
    full = np.where(full > 0, np.round(full / full.max(axis=1, keepdims=True), 9), 0.0)
    first = np.argsort(-full, axis=1, kind="stable")[:, :k]
    for weights, row, kept in zip(full, model.attention_weights_(Q, top_k=k).toarray(), first, strict=True):
        assert_array_equal(np.flatnonzero(row), np.sort(kept[weights[kept] > 0]))
