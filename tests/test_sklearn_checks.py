"""scikit-learn's own checks, on several configurations, with no failure expected."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.gaussian_process.kernels import Matern
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    parametrize_with_checks,
)

from sknw import AttentionPoolingRegressor, LocalLinearRegressor, NadarayaWatsonRegressor
from sknw.kernels import PowerExponential

MODELS = [
    NadarayaWatsonRegressor(),
    NadarayaWatsonRegressor("epanechnikov", algorithm="fused"),
    NadarayaWatsonRegressor("exponential", "aicc", algorithm="fused", n_jobs=2),
    NadarayaWatsonRegressor("tophat", "gcv", algorithm="dense", n_jobs=2),
    NadarayaWatsonRegressor("tricube", "silverman", outside="mean"),
    NadarayaWatsonRegressor("cosine", "scott"),
    # the checks also predict rows of weight zero, far from all others: these policies need a wide enough bandwidth
    NadarayaWatsonRegressor("linear", 3.0, outside="raise", validation_samples=None),
    NadarayaWatsonRegressor("biweight", 3.0, outside="nan"),
    # a choice by some rows drawn at random cannot be the same for weights and for repeated rows
    NadarayaWatsonRegressor("triweight", 3.0, validation_samples=10, random_state=0),
    NadarayaWatsonRegressor(PowerExponential(power=0.8)),
    NadarayaWatsonRegressor(Matern(nu=1.5), "aicc"),
    LocalLinearRegressor(),
    LocalLinearRegressor("exponential", "aicc", algorithm="fused", n_jobs=2),
    LocalLinearRegressor("tricube", 3.0, ridge=0.0, outside="mean"),
    AttentionPoolingRegressor(),
    AttentionPoolingRegressor(degree=1, tol=1e-2),
    AttentionPoolingRegressor(w="full", tol=0.1),
    AttentionPoolingRegressor(w=0.7, degree=1, algorithm="fused", n_jobs=2),
]


# Some data of the checks are pure noise, and fit says so.
@pytest.mark.filterwarnings("ignore:the criterion:UserWarning", "ignore:.* in the kernel's support:UserWarning")
@parametrize_with_checks(MODELS)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


# scikit-learn runs these two on its own estimators only.
@pytest.mark.parametrize("check", [check_param_validation, check_dataframe_column_names_consistency])
@pytest.mark.parametrize(
    "model",
    [
        NadarayaWatsonRegressor(),
        NadarayaWatsonRegressor(bandwidth=1.0),
        LocalLinearRegressor(),
        AttentionPoolingRegressor(tol=1e-2),
        AttentionPoolingRegressor(w=0.7),
    ],
    ids=str,
)
def test_checks_that_third_parties_are_not_given_pass(model, check):
    check(type(model).__name__, clone(model))


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_sample_weights_that_are_all_zero_are_refused(model):
    """scikit-learn has a check of its own from 1.9 on."""
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(ValueError, match=r"(?i)weight.*zero"):
        clone(model).fit(X, X[:, 0], np.zeros(20))
