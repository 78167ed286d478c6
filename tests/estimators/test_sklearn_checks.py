"""scikit-learn's own checks, on configurations that hold every kernel, engine and selector; no failure is expected."""

from itertools import cycle

import numpy as np
import pytest
from covering import covering_array
from oracle import NAMES
from sklearn.base import clone
from sklearn.gaussian_process.kernels import Matern
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    estimator_checks_generator,
)

from sknw import (
    AttentionPoolingClassifier,
    AttentionPoolingRegressor,
    KrigingRegressor,
    LocalLinearRegressor,
    NadarayaWatsonClassifier,
    NadarayaWatsonRegressor,
)
from sknw.kernels import PowerExponential
from sknw.model_selection import LeaveBlockOut

# Every kernel, and every algorithm with every selector; bandwidths of the two rules of thumb are below.
NADARAYA_WATSON = [
    NadarayaWatsonRegressor(kernel, **row)
    for kernel, row in zip(
        [*NAMES, PowerExponential(power=0.8)],
        cycle(covering_array(bandwidth=["loo", "aicc", "gcv"], algorithm=["auto", "dense", "fused"])),
        strict=False,
    )
]
# Data are taken another way where a feature is a category.
OF_TABLES = NadarayaWatsonRegressor(categorical_features=[0])
NADARAYA_WATSON_CLASSIFIER = NadarayaWatsonClassifier()
QUICK = [
    *NADARAYA_WATSON,
    OF_TABLES,
    NadarayaWatsonRegressor("tricube", "silverman", outside="mean"),
    NadarayaWatsonRegressor("cosine", "scott", n_jobs=2),
    NadarayaWatsonRegressor(cv=2),
    NadarayaWatsonRegressor("epanechnikov", cv=LeaveBlockOut(0)),
    # the checks also predict rows of weight zero, far from all others: these policies need a wide enough bandwidth
    NadarayaWatsonRegressor("linear", 3.0, outside="raise", validation_samples=None),
    NadarayaWatsonRegressor("biweight", 3.0, algorithm="pruned", outside="nan"),
    # a choice by some rows drawn at random cannot be the same for weights and for repeated rows
    NadarayaWatsonRegressor("triweight", 3.0, validation_samples=10, random_state=0),
    NadarayaWatsonRegressor(Matern(nu=1.5), "aicc"),
    NADARAYA_WATSON_CLASSIFIER,
    NadarayaWatsonClassifier("biweight", smoothing=0.1, outside="mean", algorithm="dense"),
    NadarayaWatsonClassifier("exponential", "scott", cv=2, algorithm="fused"),
    LocalLinearRegressor("tricube", 3.0, ridge=0.0, n_jobs=2),
    LocalLinearRegressor("cosine", "silverman", outside="mean"),
    LocalLinearRegressor(bandwidth="scott", algorithm="dense"),
    AttentionPoolingClassifier(w=0.7, smoothing=0.0),
    AttentionPoolingRegressor(w=0.7, degree=1, algorithm="fused"),
    KrigingRegressor(w=0.5, power=1.5, trend="linear", noise=0.1),
]
# A search for lines, or a w that is learned, takes seconds on the data of some checks.
SLOW = [
    LocalLinearRegressor(),
    LocalLinearRegressor("exponential", "aicc", algorithm="fused"),
    LocalLinearRegressor("epanechnikov", "gcv", algorithm="dense"),
    AttentionPoolingRegressor(),
    AttentionPoolingRegressor(degree=1),
    AttentionPoolingRegressor(w="low_rank", rank=2, tol=0.01),
    AttentionPoolingRegressor(cv=2, tol=0.1),
    KrigingRegressor(),
    KrigingRegressor(cv=2, max_iter=5),
    AttentionPoolingClassifier(tol=0.01),
]
# One of each estimator.
ONE_EACH = [QUICK[0], *QUICK[-4:], NADARAYA_WATSON_CLASSIFIER]

# Checks of the class, and of how it takes data, which it does before a parameter has any say: one configuration of each
# estimator tells what all would.
OF_THE_CLASS = {
    "check_all_zero_sample_weights_error",
    "check_complex_data",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_dont_overwrite_parameters",
    "check_dtype_object",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
    "check_estimator_sparse_tag",
    "check_estimator_tags_renamed",
    "check_estimators_empty_data_messages",
    "check_estimators_fit_returns_self",
    "check_estimators_nan_inf",
    "check_estimators_partial_fit_n_features",
    "check_estimators_unfitted",
    "check_fit1d",
    "check_fit2d_predict1d",
    "check_fit_check_is_fitted",
    "check_fit_score_takes_y",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_positive_only_tag_during_fit",
    "check_regressors_int",
    "check_regressors_no_decision_function",
    "check_requires_y_none",
    "check_sample_weight_equivalence_on_sparse_data",
    "check_sample_weights_list",
    "check_sample_weights_not_an_array",
    "check_sample_weights_pandas_series",
    "check_sample_weights_shape",
    "check_set_params",
    "check_supervised_y_no_nan",
    "check_valid_tag_types",
}
# Other types and layouts of data, which become the same arrays: once for each estimator.
OF_THE_DATA = {
    "check_array_api_input",
    "check_f_contiguous_array_estimator",
    "check_pipeline_consistency",
    "check_readonly_memmap_input",
    "check_regressor_data_not_an_array",
    "check_sample_weights_not_overwritten",
    "check_supervised_y_2d",
}

# What a fitted model does, however its numbers were found: without those whose fit takes long.
OF_A_FITTED_MODEL = {
    "check_dict_unchanged",
    "check_estimators_pickle",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
}


def name_of(check):
    return getattr(check, "func", check).__name__


def is_compiled(model):
    """Whether the arrays of the checks reach compiled loops, without a search that would take seconds."""
    return model not in SLOW and model.get_params().get("algorithm") in ["fused", "pruned"]


def checks_of(models):
    for model in models:
        for _, check in estimator_checks_generator(model):
            name = name_of(check)
            if name in OF_THE_CLASS:
                # a missing value is a level, and the first feature is where that check puts it
                runs = model in ONE_EACH or (model is OF_TABLES and name != "check_estimators_nan_inf")
            elif name in OF_THE_DATA or (getattr(check, "keywords", {}) and not is_compiled(model)):
                # where a check runs several times, the others are for data that are read-only or of float32
                runs = model in ONE_EACH or model is OF_TABLES
            else:
                runs = name not in OF_A_FITTED_MODEL or model not in SLOW
            if runs:
                yield model, check


def describe(value):
    if not hasattr(value, "fit"):
        parameters = getattr(value, "keywords", {})
        return "-".join([name_of(value), *(f"{name}={of_name}" for name, of_name in parameters.items())])
    return "".join(str(value).split())


def of_all_samples(model):
    """The model with a `cv` that checks do not see.

    A check of sample weights gives each estimator that has a `cv` a list of splits, which "aicc" and "gcv" refuse, as
    they leave nothing out. Without it the check goes on, with weights and copies in all samples.
    """

    class OfAllSamples(type(model)):
        def get_params(self, deep=True):
            return {name: value for name, value in super().get_params(deep).items() if name != "cv"}

    return OfAllSamples(**clone(model).get_params(deep=False))


def run(model, check):
    leaves_nothing_out = getattr(model, "bandwidth", None) in ("aicc", "gcv")
    is_of_weights = name_of(check).startswith("check_sample_weight_equivalence")
    check(of_all_samples(model) if leaves_nothing_out and is_of_weights else clone(model))


# Some data of the checks are pure noise, and fit says so.
of_noise = pytest.mark.filterwarnings(
    "ignore:left-out predictions are no better:UserWarning",
    "ignore:the bandwidth is near zero:UserWarning",
    "ignore:.* in the kernel's support:UserWarning",
)


@of_noise
@pytest.mark.parametrize(("model", "check"), list(checks_of(ONE_EACH)), ids=describe)
def test_scikit_learns_checks_pass_for_each_estimator(model, check):
    run(model, check)


@of_noise
@pytest.mark.parametrize(
    ("model", "check"),
    list(checks_of(model for model in [*QUICK, *SLOW] if model not in ONE_EACH)),
    ids=describe,
)
def test_scikit_learns_checks_pass_whatever_the_parameters(model, check):
    run(model, check)


def test_the_names_of_checks_are_scikit_learns():
    """One that scikit-learn has changed would let its check run on every configuration, or on fewer than we think."""
    names = {name_of(check) for model in ONE_EACH for _, check in estimator_checks_generator(model)}
    # scikit-learn >= 1.9
    assert names | {"check_all_zero_sample_weights_error", "check_array_api_input"} > (
        OF_THE_CLASS | OF_THE_DATA | OF_A_FITTED_MODEL
    )


# scikit-learn runs these two on its own estimators only.
@pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")
@pytest.mark.parametrize("check", [check_param_validation, check_dataframe_column_names_consistency])
@pytest.mark.parametrize(
    "model",
    [
        NadarayaWatsonRegressor(),
        NadarayaWatsonRegressor(bandwidth=1.0),
        NadarayaWatsonClassifier(bandwidth=1.0),
        OF_TABLES,
        LocalLinearRegressor(),
        AttentionPoolingRegressor(tol=1e-2),
        AttentionPoolingRegressor(w=0.7),
        KrigingRegressor(max_iter=5),
        AttentionPoolingClassifier(w=0.7),
    ],
    ids=str,
)
def test_checks_that_third_parties_are_not_given_pass(model, check):
    check(type(model).__name__, clone(model))


@pytest.mark.parametrize("model", [*QUICK, *SLOW], ids=describe)
def test_sample_weights_that_are_all_zero_are_refused(model):
    """scikit-learn has a check of its own from 1.9 on."""
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(ValueError, match=r"(?i)weight.*zero"):
        clone(model).fit(X, X[:, 0], np.zeros(20))
