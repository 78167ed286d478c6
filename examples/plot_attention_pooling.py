"""
======================================================
Attention pooling: from the mean to weights that learn
======================================================

The chapter "Attention Pooling: Nadaraya-Watson Kernel Regression" of `Dive into Deep Learning
<https://d2l.ai/chapter_attention-mechanisms/nadaraya-watson.html>`_ introduces attention with its smallest model. It
predicts :math:`y` at :math:`x` as a weighted mean of the training targets. The weights say how much the query :math:`x`
attends to each key :math:`x_i`. The chapter has three steps: equal weights, weights from the distance, and weights
from the distance times a learned number. This example follows them with estimators.
"""

# %%
# The data
# --------
# The data are fifty noisy samples of a curve,
#
# .. math:: y_i = 2 \sin(x_i) + x_i^{0.8} + \epsilon_i,
#
# with :math:`x_i` uniform on [0, 5] and :math:`\epsilon_i` normal with standard deviation 0.5. They are sorted by
# :math:`x`, so that neighbours in a heat map of weights are neighbours on the axis. The models are compared with the
# curve without noise at fifty other values of :math:`x`, the queries.

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import softmax
from sklearn.dummy import DummyRegressor

from sknw import AttentionPoolingRegressor, NadarayaWatsonRegressor
from sknw.datasets import make_sine_power

X, y = make_sine_power(50, noise=0.5, random_state=0)
queries = np.arange(0, 5, 0.1)[:, np.newaxis]
truth = 2 * np.sin(queries[:, 0]) + queries[:, 0] ** 0.8


def rmse(model):
    """Root mean squared error against the curve without noise."""
    return np.sqrt(np.mean((model.predict(queries) - truth) ** 2))


# %%
# Average pooling
# ---------------
# The simplest prediction ignores the query:
#
# .. math:: f(x) = \frac{1}{n} \sum_{i=1}^n y_i.

average = DummyRegressor().fit(X, y)
print(f"average pooling: RMSE {rmse(average):.3f}")

# %%
# Nonparametric attention pooling
# -------------------------------
# Nadaraya and Watson weight the targets by the distance of their keys from the query. With the Gaussian kernel the
# weights are a softmax,
#
# .. math:: f(x) = \sum_{i=1}^n \mathrm{softmax}_i \left( -\tfrac{1}{2} (x - x_i)^2 \right) y_i,
#
# which is :class:`~sknw.NadarayaWatsonRegressor` with a bandwidth of 1. Nothing is learned.

nonparametric = NadarayaWatsonRegressor(bandwidth=1.0).fit(X, y)
by_formula = softmax(-((queries - X.T) ** 2) / 2, axis=1) @ y
print(f"nonparametric attention pooling: RMSE {rmse(nonparametric):.3f}")
print(f"same as the formula: {np.allclose(nonparametric.predict(queries), by_formula)}")

# %%
# Parametric attention pooling
# ----------------------------
# Now the distance is multiplied by a learned number :math:`w`:
#
# .. math:: f(x) = \sum_{i=1}^n \mathrm{softmax}_i \left( -\tfrac{1}{2} ((x - x_i) w)^2 \right) y_i.
#
# The chapter trains :math:`w` by gradient descent on squared errors, and lets each training sample attend to all
# samples *except itself*. This is leave-one-out,
#
# .. math:: L(w) = \frac{1}{n} \sum_{i=1}^n \left( y_i - \sum_{j \ne i} \mathrm{softmax}_{j \ne i} \left(
#    -\tfrac{1}{2} ((x_i - x_j) w)^2 \right) y_j \right)^2,
#
# ``fit`` minimises it with an exact gradient. For this model leave-one-out costs no more than the error with all
# samples, because no model is fitted again: a sample is only omitted from its own mean.

parametric = AttentionPoolingRegressor(w="scalar").fit(X, y)
w = parametric.w_[0]
by_formula = softmax(-(((queries - X.T) * w) ** 2) / 2, axis=1) @ y
print(f"parametric attention pooling: RMSE {rmse(parametric):.3f}, with w = {w:.2f}")
print(f"same as the formula: {np.allclose(parametric.predict(queries), by_formula)}")

# %%
# Why a sample must not attend to itself
# --------------------------------------
# A sample that attends to itself is its own nearest neighbour. The training error then decreases towards zero as
# :math:`w` increases, until every sample repeats its own target and nothing has been learned. With leave-one-out, a
# sample is predicted by the others, as every later query will be, and the error has a minimum. If :math:`w` is too
# small, the mean includes very different samples; if it is too large, the prediction relies on a single noisy
# neighbour.

widths = np.geomspace(0.2, 100, 120)
models = [NadarayaWatsonRegressor(bandwidth=1 / width).fit(X, y) for width in widths]
with_itself = [np.mean((y - model.predict(X)) ** 2) for model in models]
left_out = [np.mean((y - model.loo_prediction_) ** 2) for model in models]
print(
    f"w of the least error with itself: {widths[np.argmin(with_itself)]:.2f}, the largest tried"
)
print(f"w of the least leave-one-out error: {widths[np.argmin(left_out)]:.2f}")

orange, blue, green = (
    "#E69F00",
    "#0072B2",
    "#009E73",
)  # of Okabe and Ito's palette, for every kind of colour vision

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.semilogx(
    widths, with_itself, "--", color=orange, label="each sample sees all samples"
)
ax.semilogx(
    widths, left_out, color=blue, label="each sample sees all others (leave-one-out)"
)
ax.axvline(w, color="black", linestyle=":", label=f"learned w = {w:.2f}")
ax.xaxis.set(ticks=[0.2, 1, 5, 20, 100], major_formatter="{x:g}", minor_formatter="")
ax.set(
    xlabel="w (1 / unit of x)",
    ylabel="mean squared training error",
    title="What w is trained on",
    ylim=(0, 1.3),
)
ax.legend()
figure.savefig("leave_one_out.png", dpi=150)
print("saved leave_one_out.png")

# %%
# Three fits, two attentions
# --------------------------
# The learned :math:`w` concentrates the attention. The heat maps have the same colour scale. With w = 1 every query
# spreads its attention over most of the samples; with the learned w it attends to those nearby, and the fit follows the
# curve. The fit is also less smooth, because a mean of fewer samples is noisier. Cells are bright where there are few
# samples among which the attention is divided.


def draw_attention(ax, model, title):
    """Heat map of the attention weights, each at the x of its key and query."""
    weights = model.attention_weights_(queries)
    ax.set(
        xlabel="x of the key (training sample)", ylabel="x of the query", title=title
    )
    return ax.pcolormesh(
        X[:, 0],
        queries[:, 0],
        weights,
        vmin=0,
        vmax=largest,
        shading="nearest",
        cmap="viridis",
    )


largest = parametric.attention_weights_(queries).max()
figure, (ax_fit, ax_before, ax_after) = plt.subplots(
    1, 3, figsize=(13, 4), layout="constrained"
)
ax_fit.scatter(X, y, s=18, color="0.6", label="samples")
ax_fit.plot(queries, truth, "--", color="black", label="truth")
ax_fit.plot(queries, average.predict(queries), color=orange, label="average pooling")
ax_fit.plot(
    queries, nonparametric.predict(queries), color=green, label="nonparametric, w = 1"
)
ax_fit.plot(
    queries, parametric.predict(queries), color=blue, label=f"parametric, w = {w:.2f}"
)
ax_fit.set(
    xlabel="x", ylabel="y", title=f"Three fits to {len(X)} samples", ylim=(-2.2, 4)
)
ax_fit.legend(loc="lower center", ncols=2, fontsize="small")
draw_attention(ax_before, nonparametric, "Attention with w = 1")
image = draw_attention(ax_after, parametric, f"Attention with the learned w = {w:.2f}")
figure.colorbar(image, ax=[ax_before, ax_after], label="attention weight")
figure.savefig("attention_pooling.png", dpi=150)
print("saved attention_pooling.png")

for name, model in {"w = 1": nonparametric, "learned w": parametric}.items():
    print(
        f"{name}: a query attends to {np.median(model.effective_sample_size(queries)):.1f} samples, in effect"
    )

# %%
# Two forms of the same model
# ---------------------------
# A multiplier :math:`w` is the inverse of a bandwidth, :math:`w = 1 / h`. With one feature, learning :math:`w` and
# choosing :math:`h` by leave-one-out are the same. With several features they differ: a bandwidth is one choice for all
# of them, whereas :class:`~sknw.AttentionPoolingRegressor` learns one multiplier for each, or a whole matrix.

chosen = NadarayaWatsonRegressor(bandwidth="loo").fit(X, y)
print(f"1 / bandwidth chosen by leave-one-out: {1 / chosen.bandwidth_[0]:.2f}")
