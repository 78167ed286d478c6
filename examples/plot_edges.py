"""
====================================
At the edge: a mean, or a local line
====================================

At the edge of the data all neighbours of a query lie on one side. A weighted mean of their targets is therefore biased
towards the interior, and a line fitted with the same weights is not. This is the difference between
:class:`~sknw.NadarayaWatsonRegressor` and :class:`~sknw.LocalLinearRegressor`.
"""

# %%
# The same weights for both
# -------------------------
# Both models have the same kernel and the same bandwidth.

import matplotlib.pyplot as plt
import numpy as np

from sknw import LocalLinearRegressor, NadarayaWatsonRegressor

models = {
    "weighted mean": (NadarayaWatsonRegressor(bandwidth=0.1), "#D55E00"),
    "local line": (LocalLinearRegressor(bandwidth=0.1, ridge=0), "#0072B2"),
}
grid = np.linspace(0, 1, 201)[:, np.newaxis]


def curve(x):
    return np.exp(2 * x)


def make_data(rng):
    X = rng.uniform(size=(100, 1))
    return X, curve(X[:, 0]) + rng.normal(scale=0.5, size=100)


# %%
# One data set, and two hundred
# -----------------------------
# The mean error over many data sets is the bias. In the interior, the bias of both models comes from the curvature of
# the truth. At the edges, the bias of the mean comes from the slope of the truth. This bias has a different order: as
# samples are added, it decreases with the bandwidth, not with its square.

X, y = make_data(np.random.default_rng(0))
figure, (ax_fit, ax_bias) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
ax_fit.scatter(X, y, s=12, color="0.6", label="samples")
ax_fit.plot(grid, curve(grid), "--", color="black", label="truth")
for name, (model, colour) in models.items():
    ax_fit.plot(grid, model.fit(X, y).predict(grid), color=colour, label=name)
ax_fit.set(xlabel="x", ylabel="y", title="One data set")
ax_fit.legend()

rng = np.random.default_rng(1)
data_sets = [make_data(rng) for _ in range(200)]
print(f"{'bias':<16}{'x = 0':>8}{'0.5':>8}{'1':>8}")
for name, (model, colour) in models.items():
    fits = np.array([model.fit(*data).predict(grid) for data in data_sets])
    bias = fits.mean(axis=0) - curve(grid[:, 0])
    print(f"{name:<16}" + "".join(f"{bias[row]:>8.2f}" for row in (0, 100, 200)))
    ax_bias.plot(grid, bias, color=colour, label=name)
ax_bias.axhline(0, color="black", linestyle="--", linewidth=1)
ax_bias.set(xlabel="x", ylabel="mean error, in units of y", title="200 data sets")
ax_bias.legend()
figure.savefig("edges.png", dpi=150)
