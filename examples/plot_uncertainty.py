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

from sknw import FitDisplay, LocalLinearRegressor, NadarayaWatsonRegressor


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

# %%
# Where the curve lies
# --------------------
# An interval for new observations does not shrink with more samples; that for the curve itself does.
# :meth:`~sknw.NadarayaWatsonRegressor.predict_mean_interval` pools the residuals once more, which takes the bias off,
# and a multiplier bootstrap says how far the result may be from the truth: at each x, or for the whole curve at once.

model = LocalLinearRegressor().fit(X, y)
display = FitDisplay.from_estimator(model, X, y, band="both", coverage=0.95)
display.ax_.plot(grid, truth, "--", color="black", linewidth=1, label="truth")
whole = model.predict_mean_interval(grid, simultaneous=True)
for bound, label in zip(whole.T, ("95 % band of the whole curve", None), strict=True):
    display.ax_.plot(grid, bound, ":", color="#D55E00", linewidth=1.2, label=label)
display.ax_.legend(fontsize="small", loc="lower left")
display.figure_.savefig("mean_band.png", dpi=150)

# %%
# Is the distribution right?
# --------------------------
# At new observations the distribution function should take every value between 0 and 1 equally often (the probability
# integral transform). A wide bandwidth makes the distribution too wide, because the curve itself moves within it, and
# the values crowd in the middle. A narrow one leaves too few samples, and the values crowd at both ends.

figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
for ax, h in zip(axes, (0.02, 0.2, 1.0), strict=True):
    of_h = NadarayaWatsonRegressor(bandwidth=h).fit(X, y)
    ax.hist(
        of_h.predict_cdf(X_new, y_new[:, np.newaxis])[:, 0],
        bins=np.linspace(0, 1, 21),
        density=True,
        color="#0072B2",
        alpha=0.6,
    )
    ax.axhline(1, color="black", linestyle="--", linewidth=1)
    ax.set(title=f"bandwidth {h:g}", xlabel="predict_cdf at the observation")
axes[0].set_ylabel("density")
figure.savefig("calibration.png", dpi=150)
