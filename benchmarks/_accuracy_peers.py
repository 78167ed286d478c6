"""Regressors of other packages for the benchmark of accuracy, each only if its package is installed.

`pip install catboost lightgbm xrfm erbf interpret-core pylibkriging` brings them all. A search tries 15 configurations,
drawn at random, on a fifth of the training rows.
"""

from importlib.util import find_spec

import numpy as np
from scipy.stats import loguniform, randint, uniform
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import RandomizedSearchCV, ShuffleSplit, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def catboost(n_features):
    from catboost import CatBoostRegressor

    return CatBoostRegressor(verbose=0, random_seed=0, thread_count=1, allow_writing_files=False)


def catboost_tuned(n_features):
    grid = {
        "learning_rate": loguniform(0.01, 0.3),
        "depth": randint(3, 9),
        "l2_leaf_reg": loguniform(0.5, 30),
        "iterations": [300, 1000, 2000],
    }
    return searched(catboost(n_features), grid)


def lightgbm(n_features):
    from lightgbm import LGBMRegressor

    return LGBMRegressor(verbose=-1, random_state=0, n_jobs=1)


def lightgbm_tuned(n_features):
    grid = {
        "learning_rate": loguniform(0.01, 0.3),
        "num_leaves": randint(4, 64),
        "n_estimators": [100, 300, 1000],
        "min_child_samples": randint(3, 40),
        "subsample": uniform(0.5, 0.5),
        "subsample_freq": [1],
        "colsample_bytree": uniform(0.4, 0.6),
    }
    return searched(lightgbm(n_features), grid)


class RecursiveFeatureMachine(RegressorMixin, BaseEstimator):
    """xRFM on standardised features; a fifth of the training rows stops its iterations."""

    def __init__(self, kernel="l2", bandwidth=10.0, exponent=1.0, diag=False, reg=1e-3):
        self.kernel, self.bandwidth, self.exponent, self.diag, self.reg = kernel, bandwidth, exponent, diag, reg

    def fit(self, X, y):
        import torch
        from xrfm import xRFM

        torch.set_num_threads(1)
        torch.manual_seed(0)
        model = {name: getattr(self, name) for name in ("kernel", "bandwidth", "exponent", "diag")}
        fit = {"reg": self.reg, "iters": 5, "verbose": False, "early_stop_rfm": True}
        parameters = {"model": {**model, "bandwidth_mode": "constant"}, "fit": fit}
        X_fit, X_val, y_fit, y_val = (
            torch.as_tensor(part, dtype=torch.float32)
            for part in train_test_split(X, y[:, np.newaxis], test_size=0.2, random_state=0)
        )
        self.model_ = xRFM(rfm_params=parameters, tuning_metric="mse", random_state=0, verbose=False, n_threads=1)
        self.model_.fit(X_fit, y_fit, X_val, y_val)
        return self

    def predict(self, X):
        import torch

        return np.asarray(self.model_.predict(torch.as_tensor(X, dtype=torch.float32))).reshape(len(X))


def xrfm(n_features):
    return make_pipeline(StandardScaler(), RecursiveFeatureMachine())


def xrfm_tuned(n_features):
    grid = {
        "kernel": ["l2", "l1"],
        "bandwidth": loguniform(1, 200),
        "exponent": uniform(0.7, 0.7),
        "diag": [False, True],
        "reg": loguniform(1e-6, 10),
    }
    return searched(xrfm(n_features), {f"recursivefeaturemachine__{name}": values for name, values in grid.items()})


def erbf(n_features):
    from erbf import ERBFRegressor

    return ERBFRegressor(n_rbf="auto", random_state=0)


def explainable_boosting(n_features):
    from interpret.glassbox import ExplainableBoostingRegressor

    return ExplainableBoostingRegressor(random_state=0, n_jobs=1)


class LibKriging(RegressorMixin, BaseEstimator):
    """Kriging of libKriging with a Matern covariance and a nugget, both by maximum likelihood."""

    def fit(self, X, y):
        import pylibkriging

        self.model_ = pylibkriging.Kriging("matern5_2", "nugget")
        self.model_.fit(y[:, np.newaxis], X, "constant", False, "BFGS", "LL", {})
        return self

    def predict(self, X):
        return self.model_.predict(X, False, False, False)[0].ravel()


def libkriging(n_features):
    return make_pipeline(StandardScaler(), LibKriging())


def searched(model, grid):
    held_out = ShuffleSplit(1, test_size=0.2, random_state=0)
    return RandomizedSearchCV(model, grid, n_iter=15, scoring="neg_mean_squared_error", cv=held_out, random_state=0)


# name in the tables: (module, maker)
_PEERS = {
    "CatBoost": ("catboost", catboost),
    "CatBoost, tuned": ("catboost", catboost_tuned),
    "LightGBM": ("lightgbm", lightgbm),
    "LightGBM, tuned": ("lightgbm", lightgbm_tuned),
    "xRFM": ("xrfm", xrfm),
    "xRFM, tuned": ("xrfm", xrfm_tuned),
    "erbf": ("erbf", erbf),
    "EBM": ("interpret", explainable_boosting),
    "libKriging": ("pylibkriging", libkriging),
}
PEERS_INSTALLED = {name: make for name, (module, make) in _PEERS.items() if find_spec(module)}
