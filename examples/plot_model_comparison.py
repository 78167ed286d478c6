"""
==============================================
Seven models on four data sets: error and time
==============================================

How does attention with a learned distance compare with nearest neighbours, Gaussian processes and gradient boosting?
How much do learned values add? This example fits seven models to two random splits of four different data sets, and
measures their error and time.
"""

# %%
# Four data sets
# --------------
# *diabetes* is real: ten measurements of each patient, and much noise. *friedman1* is smooth, and five of its ten
# features have no influence. *friedman3* is an arctangent whose features differ in unit and in importance. *steps* has
# jumps, as data with thresholds and categories have; trees can represent jumps, and smooth models cannot.

import numpy as np
from sklearn.datasets import load_diabetes, make_friedman1, make_friedman3
from sklearn.model_selection import train_test_split


def make_steps(n_samples, random_state):
    """Levels along one feature, a jump along another, and a third feature without influence."""
    rng = np.random.default_rng(random_state)
    X = rng.uniform(size=(n_samples, 3))
    return X, np.floor(4 * X[:, 0]) + 3.0 * (X[:, 1] > 0.4) + 0.2 * rng.normal(
        size=n_samples
    )


datasets = {
    "diabetes": load_diabetes(return_X_y=True),
    "friedman1": make_friedman1(1000, noise=1.0, random_state=0),
    "friedman3": make_friedman3(1000, noise=0.1, random_state=0),
    "steps": make_steps(1000, random_state=0),
}


def splits(X, y):
    """Two random splits, 200 samples for training; y in standard deviations of the training targets."""
    for seed in range(2):
        split = train_test_split(X, y, train_size=200, random_state=seed)
        X_train, X_test, y_train, y_test = split
        yield (
            X_train,
            X_test,
            (y_train - y_train.mean()) / y_train.std(),
            (y_test - y_train.mean()) / y_train.std(),
        )


# %%
# Seven models
# ------------
# :class:`~sknw.NadarayaWatsonRegressor` has one bandwidth for all features, chosen by leave-one-out.
# :class:`~sknw.AttentionPoolingRegressor` learns one multiplier for each feature by minimising the leave-one-out error;
# with ``degree=1`` it pools local lines instead of targets. :class:`~sknw.KrigingRegressor` learns the values that are
# pooled as well, and for each feature a scale and a power, which says how smooth the target is. All three put the
# features on one scale themselves. Nearest neighbours and Gaussian processes get standardised features; trees need no
# scaling. Nearest neighbours are tuned by cross-validation. The Gaussian processes maximise the marginal likelihood,
# with one length scale for all features or with one for each (ARD).

from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sknw import (
    AttentionPoolingRegressor,
    KrigingRegressor,
    NadarayaWatsonRegressor,
)


def gaussian_process(length_scale):
    """Smooth function plus noise."""
    covariance = ConstantKernel(1.0, (1e-3, 1e4)) * RBF(
        length_scale, (1e-2, 1e4)
    ) + WhiteKernel(0.1, (1e-6, 1e1))
    return make_pipeline(
        StandardScaler(), GaussianProcessRegressor(covariance, normalize_y=True)
    )


def make_models(n_features):
    neighbours = make_pipeline(StandardScaler(), KNeighborsRegressor())
    grid = {
        "kneighborsregressor__n_neighbors": [1, 3, 6, 12, 25, 50],
        "kneighborsregressor__weights": ["uniform", "distance"],
    }
    return {
        "nearest neighbours, tuned": GridSearchCV(neighbours, grid),
        "Gaussian process, one scale": gaussian_process(np.sqrt(n_features)),
        "Gaussian process, ARD": gaussian_process(
            np.full(n_features, np.sqrt(n_features))
        ),
        "gradient boosting": HistGradientBoostingRegressor(random_state=0),
        "Nadaraya-Watson": NadarayaWatsonRegressor(),
        "attention, degree 1": AttentionPoolingRegressor(w="diagonal", degree=1),
        "kriging": KrigingRegressor(),
    }


# %%
# Fit all of them
# ---------------
# A first fit may load or compile code, so each model is fitted to a few samples before the clock starts. The models
# take turns on each split, so that other load on the computer affects all of them equally.

import time
import warnings

from sklearn.exceptions import ConvergenceWarning

# A feature that does not matter drives its length scale to the upper bound, about which the Gaussian process would
# warn.
warnings.filterwarnings("ignore", category=ConvergenceWarning, module="sklearn")


def measure(model, X_train, X_test, y_train, y_test):
    """Test RMSE and the seconds of the fit."""
    start = time.perf_counter()
    model.fit(X_train, y_train)
    seconds = time.perf_counter() - start
    return np.sqrt(np.mean((model.predict(X_test) - y_test) ** 2)), seconds


results = {}
for name, (X, y) in datasets.items():
    models = make_models(X.shape[1])
    for model in models.values():
        model.fit(X[:100], y[:100])
    measured = [
        [measure(model, *split) for model in models.values()] for split in splits(X, y)
    ]
    for model, by_split in zip(models, np.swapaxes(measured, 0, 1), strict=True):
        results[name, model] = by_split  # a row for each split: RMSE, seconds

print(f"{'':<30}" + "".join(f"{name:>20}" for name in datasets))
print(f"{'':<30}" + f"{'RMSE       fit':>20}" * len(datasets))
for model in models:
    cells = [
        (results[name, model][:, 0].mean(), np.median(results[name, model][:, 1]))
        for name in datasets
    ]
    print(
        f"{model:<30}"
        + "".join(f"{rmse:>10.3f}{seconds:>8.3f} s" for rmse, seconds in cells)
    )

# %%
# Error against time
# ------------------
# Lower points are more accurate, and points to the left are faster. Both axes are logarithmic. A line spans the two
# splits.

import matplotlib.pyplot as plt

styles = {  # colours of Okabe and Ito's palette, and a shape of its own for each
    "nearest neighbours, tuned": dict(color="#E69F00", marker="s"),
    "Gaussian process, one scale": dict(color="#56B4E9", marker="v"),
    "Gaussian process, ARD": dict(color="#0072B2", marker="^"),
    "gradient boosting": dict(color="#009E73", marker="D"),
    "Nadaraya-Watson": dict(color="#CC79A7", marker="P"),
    "attention, degree 1": dict(color="#D55E00", marker="*", markersize=13),
    "kriging": dict(color="#000000", marker="o"),
}

figure, axes = plt.subplots(
    2, 2, figsize=(8, 7), sharex=True, sharey=True, layout="constrained"
)
for ax, name in zip(axes.flat, datasets, strict=True):
    for model, style in styles.items():
        rmse, seconds = results[name, model].T
        ax.plot(
            [np.median(seconds)] * 2,
            [rmse.min(), rmse.max()],
            color=style["color"],
            linewidth=1.5,
        )
        ax.plot(
            np.median(seconds),
            rmse.mean(),
            linestyle="",
            **{"markersize": 8, "label": model} | style,
        )
    ax.set(
        xscale="log",
        yscale="log",
        title=f"{name}, {datasets[name][0].shape[1]} features",
    )
    ax.xaxis.set(ticks=[0.01, 0.1, 1], major_formatter="{x:g}", minor_formatter="")
    ax.grid(alpha=0.3)
axes[0, 0].yaxis.set(
    ticks=[0.1, 0.2, 0.3, 0.5, 0.8], major_formatter="{x:g}", minor_formatter=""
)
for ax in axes[1]:
    ax.set_xlabel("seconds to fit")
figure.supylabel("test RMSE, in standard deviations of y")
figure.legend(
    *axes[0, 0].get_legend_handles_labels(),
    loc="outside lower center",
    ncols=3,
    frameon=False,
)
figure.savefig("model_comparison.png", dpi=150)

# %%
# On *diabetes* most of the error is noise, and the models hardly differ. On *friedman1* and *friedman3* one scale for
# each feature is better than one scale for all. On *steps* trees are best, and kriging is near them, as small powers
# allow for jumps.
#
# What the multipliers say
# ------------------------
# Multiplied by the standard deviation of the features, the multipliers can be compared. With ``degree=0`` a zero
# switches a feature off; in *friedman1* the last five features have no influence, and their multipliers are small. With
# ``degree=1`` a zero means that one slope along the feature is enough everywhere. The fourth and the fifth feature have
# a linear influence, which lines represent with a zero multiplier.

X, y = datasets["friedman1"]
X_train, _, y_train, _ = next(splits(X, y))
for degree in (0, 1):
    attention = AttentionPoolingRegressor(w="diagonal", degree=degree).fit(
        X_train, y_train
    )
    scaled_weights = attention.w_ * X_train.std(axis=0)
    print(
        f"friedman1, weights for degree {degree}:",
        " ".join(f"{w:.2f}" for w in scaled_weights),
    )
