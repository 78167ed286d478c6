"""Missing numbers: the test error of pipelines of an imputer and a smoother, and of gradient boosting.

A quarter of the values of every feature is hidden, in training and test rows alike: drawn at random, or the largest
ones, so that it tells something that a value is missing. Errors are relative to those of the mean imputed, and
geometric means over four data sets and two splits into 200 training rows and the others.
"""

from _common import print_machine, print_table

# isort: split
import argparse
import warnings

import numpy as np
from sklearn.datasets import load_diabetes, make_friedman1, make_friedman2, make_friedman3
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sknw import AttentionPoolingRegressor, LocalLinearRegressor

SHARE, N_TRAIN = 0.25, 200
DATA = {
    "diabetes": lambda: load_diabetes(return_X_y=True),
    "friedman1": lambda: make_friedman1(800, n_features=8, noise=1.0, random_state=0),
    "friedman2": lambda: make_friedman2(800, noise=100.0, random_state=0),
    "friedman3": lambda: make_friedman3(800, noise=0.1, random_state=0),
}
IMPUTERS = {
    "mean": SimpleImputer,
    "mean, indicator": lambda: SimpleImputer(add_indicator=True),
    "KNNImputer": KNNImputer,
    "IterativeImputer": lambda: IterativeImputer(random_state=0),
    "IterativeImputer, indicator": lambda: IterativeImputer(random_state=0, add_indicator=True),
}
SMOOTHERS = {"LocalLinearRegressor": LocalLinearRegressor, "AttentionPoolingRegressor": AttentionPoolingRegressor}


def hide(X, mechanism, rng):
    """X with a quarter of each feature missing."""
    if mechanism == "at random":
        return np.where(rng.uniform(size=X.shape) < SHARE, np.nan, X)
    return np.where(np.quantile(X, 1 - SHARE, axis=0) < X, np.nan, X)


def models():
    for smoother, make_smoother in SMOOTHERS.items():
        for name, imputer in IMPUTERS.items():
            yield f"{name} + {smoother}", make_pipeline(StandardScaler(), imputer(), make_smoother())
    yield "HistGradientBoostingRegressor", HistGradientBoostingRegressor(random_state=0)


def errors(mechanism, n_splits):
    """log RMSE of each model, over data sets and splits."""
    found = {name: [] for name, _ in models()}
    for load in DATA.values():
        X, y = load()
        for split in range(n_splits):
            hidden = hide(X, mechanism, np.random.default_rng(split))
            X_train, X_test, y_train, y_test = train_test_split(hidden, y, train_size=N_TRAIN, random_state=split)
            for name, model in models():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    warnings.simplefilter("ignore", UserWarning)
                    prediction = model.fit(X_train, y_train).predict(X_test)
                found[name].append(0.5 * np.log(np.mean((y_test - prediction) ** 2)))
    return {name: np.array(log_errors) for name, log_errors in found.items()}


def main(n_splits):
    print_machine()
    by_mechanism = [errors(mechanism, n_splits) for mechanism in ("at random", "the largest")]
    rows = []
    for name, _ in models():
        reference = f"mean + {name.split(' + ')[-1]}" if " + " in name else "mean + AttentionPoolingRegressor"
        ratios = [np.exp(np.mean(found[name] - found[reference])) for found in by_mechanism]
        rows.append([name, *(f"{ratio:.3f}" for ratio in ratios)])
    print_table("RMSE relative to the mean imputed", ["model", "at random", "the largest quarter"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=2)
    main(parser.parse_args().splits)
