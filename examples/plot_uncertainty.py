"""
===================================
How sure is a prediction? Intervals
===================================

A smoother provides leave-one-out residuals: how far each training sample lies from the prediction by all the others.
From these, :meth:`~sknw.NadarayaWatsonRegressor.predict_interval` computes intervals for new observations without
fitting again, by the jackknife+ of Barber, Candès, Ramdas and Tibshirani (2021). This example draws them for data whose
noise increases with x, and compares them with two other methods.
"""

# %%
# Data with increasing noise
# --------------------------

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from sknw import LocalLinearRegressor, NadarayaWatsonRegressor


def make_data(n, rng):
    x = rng.uniform(0, 5, size=(n, 1))
    return x, 2 * np.sin(x[:, 0]) + x[:, 0] ** 0.8 + (0.1 + 0.3 * x[:, 0]) * rng.normal(
        size=n
    )


rng = np.random.default_rng(0)
X, y = make_data(400, rng)
X_new, y_new = make_data(5000, rng)

# %%
# Four intervals
# --------------
# The local scale of the jackknife+ follows the noise. So do two quantiles predicted by gradient boosting (with small
# steps and large leaves; its defaults follow single points). A Gaussian process with a constant noise term has almost
# the same width everywhere. Each interval should cover nine of ten new observations.


def jackknife(model):
    return lambda queries: model.fit(X, y).predict_interval(queries, coverage=0.9)


def gaussian_process(queries):
    kernel = ConstantKernel(1.0) * RBF(1.0) + WhiteKernel(0.5)
    mean, std = (
        GaussianProcessRegressor(kernel, normalize_y=True)
        .fit(X, y)
        .predict(queries, return_std=True)
    )
    return mean[:, np.newaxis] + std[:, np.newaxis] * norm.ppf([0.05, 0.95])


def boosting(queries):
    parameters = {"learning_rate": 0.05, "min_samples_leaf": 50, "max_leaf_nodes": 8}
    models = [
        HistGradientBoostingRegressor(loss="quantile", quantile=q, **parameters)
        for q in (0.05, 0.95)
    ]
    return np.column_stack([model.fit(X, y).predict(queries) for model in models])


intervals = {
    "Nadaraya-Watson": jackknife(NadarayaWatsonRegressor()),
    "local linear": jackknife(LocalLinearRegressor()),
    "Gaussian process": gaussian_process,
    "quantile boosting": boosting,
}

print(f"{'':<20}{'coverage':>10}{'x < 1':>8}{'x > 4':>8}{'mean width':>12}")
for name, interval in intervals.items():
    lower, upper = interval(X_new).T
    covered = (lower <= y_new) & (y_new <= upper)
    left, right = covered[X_new[:, 0] < 1].mean(), covered[X_new[:, 0] > 4].mean()
    print(
        f"{name:<20}{covered.mean():>10.3f}{left:>8.3f}{right:>8.3f}{np.mean(upper - lower):>12.2f}"
    )

# %%
# On average the smoothers and the Gaussian process cover nine of ten observations, and boosting covers slightly fewer.
# The jackknife+ guarantees only an average; with a bandwidth chosen on the same data even this holds in practice, not
# by a theorem. The two columns in the middle show more: a constant width is too wide where there is little noise, and
# too narrow where there is much.

figure, axes = plt.subplots(
    2, 2, figsize=(8, 6), sharex=True, sharey=True, layout="constrained"
)
grid = np.linspace(0, 5, 300)[:, np.newaxis]
noise = 0.1 + 0.3 * grid[:, 0]
truth = (2 * np.sin(grid) + grid**0.8)[:, 0]
for ax, (name, interval) in zip(axes.flat, intervals.items(), strict=True):
    ax.scatter(X, y, s=5, color="0.6", label="samples")
    ax.fill_between(
        grid[:, 0],
        *interval(grid).T,
        color="#0072B2",
        alpha=0.25,
        linewidth=0,
        label="90 % interval",
    )
    for tail in (0.05, 0.95):
        ax.plot(
            grid,
            truth + norm.ppf(tail) * noise,
            "--",
            color="black",
            linewidth=1,
            label="true quantiles",
        )
    ax.set(title=name)
figure.supxlabel("x")
figure.supylabel("y")
handles, labels = ax.get_legend_handles_labels()
axes[0, 0].legend(handles[:3], labels[:3], fontsize="small", loc="lower left")
figure.savefig("uncertainty.png", dpi=150)
