"""
===========================================
Quickstart: fit, compare, look at attention
===========================================

:class:`~sknw.NadarayaWatsonRegressor` predicts a weighted mean of the training targets. The weight of a training sample
decreases with its distance from the query. This example first compares it on real data with two other models that use
neighbours or kernels. Then it uses data with one feature, where the fit, its weights and the effect of more data can be
drawn.
"""

# %%
# Real data, one split for all
# ----------------------------
# The target is the progression of diabetes in a few hundred patients, and the features are ten measurements of each. A
# kernel adds the squared differences of features, so these are put on one scale first. The result is a pipeline like
# any other.
#
# The bandwidth says how far the influence of a training sample extends. By default ``fit`` chooses it by leave-one-out:
# each sample is predicted from all the others, without fitting again. A grid search over ``bandwidth`` is the general
# alternative, and needs one fit for each candidate and fold. Nearest neighbours are tuned by such a search too; the
# Gaussian process maximises its marginal likelihood.

from functools import partial
from timeit import repeat

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sknw import NadarayaWatsonRegressor

X_train, X_test, y_train, y_test = train_test_split(
    *load_diabetes(return_X_y=True), random_state=0
)

nadaraya_watson = make_pipeline(StandardScaler(), NadarayaWatsonRegressor())
bandwidths = {"nadarayawatsonregressor__bandwidth": np.geomspace(0.3, 3.0, 15)}

nearest_neighbours = make_pipeline(StandardScaler(), KNeighborsRegressor())
neighbours = {
    "kneighborsregressor__n_neighbors": [2, 3, 5, 8, 12, 18, 27, 40, 60],
    "kneighborsregressor__weights": ["uniform", "distance"],
}

covariance = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(3.0, (1e-1, 1e2)) + WhiteKernel(
    0.5, (1e-3, 1e1)
)
gaussian_process = make_pipeline(
    StandardScaler(), GaussianProcessRegressor(covariance, normalize_y=True)
)

models = {
    "Nadaraya-Watson, leave-one-out": nadaraya_watson,
    "Nadaraya-Watson, grid search": GridSearchCV(nadaraya_watson, bandwidths, cv=5),
    "nearest neighbours, grid search": GridSearchCV(
        nearest_neighbours, neighbours, cv=5
    ),
    "Gaussian process": gaussian_process,
}

print(f"{'model':<32}{'test R^2':>10}{'fit':>12}{'predict':>12}")
for name, model in models.items():
    fit_time = np.median(
        repeat(partial(model.fit, X_train, y_train), number=1, repeat=3)
    )
    predict_time = np.median(repeat(partial(model.predict, X_test), number=1, repeat=9))
    score = model.score(X_test, y_test)
    print(
        f"{name:<32}{score:>10.3f}{1e3 * fit_time:>9.1f} ms{1e3 * predict_time:>9.1f} ms"
    )

# %%
# The scores are uncertain: the test set is small, and another split can change a score by more than the models differ.
# Nor is Nadaraya-Watson expected to be best here. With ten features every patient is far from every other, and a single
# bandwidth that is wide enough to include some of them averages over very different patients. A weighted mean also
# flattens a slope and never leaves the range of the targets, whereas a Gaussian process can have negative weights. The
# advantage of the mean is simplicity: it has one parameter and no matrix to factorise. And its weights say on which
# patients a prediction rests.
#
# One feature, where everything can be drawn
# ------------------------------------------
# The data are fifty noisy samples of a curve, and four hundred other points at which the truth is known. The simplest
# prediction is average pooling, the same mean for every query. This is scikit-learn's ``DummyRegressor``, and the limit
# of Nadaraya-Watson as the bandwidth grows.

from sklearn.dummy import DummyRegressor

from sknw.datasets import make_sine_power

X, y = make_sine_power(50, random_state=0)
queries, _, truth = make_sine_power(400, random_state=1, return_truth=True)

average_pooling = DummyRegressor().fit(X, y)
nadaraya_watson = NadarayaWatsonRegressor().fit(X, y)


def rmse(model):
    """Root mean squared error against the truth."""
    return np.sqrt(np.mean((model.predict(queries) - truth) ** 2))


print(f"RMSE of average pooling: {rmse(average_pooling):.3f}")
print(
    f"RMSE of Nadaraya-Watson: {rmse(nadaraya_watson):.3f}, with bandwidth {nadaraya_watson.bandwidth_[0]:.3f}"
)

# %%
# The weights are attention
# -------------------------
# With the Gaussian kernel, the weights of a query are the softmax of minus half its squared distances from the training
# samples, in bandwidths. This is attention: training inputs are the keys, and targets are the values.
# ``attention_weights_`` returns one row for each query. The row sums to one, and its product with the targets is the
# prediction.

import matplotlib.pyplot as plt

weights = nadaraya_watson.attention_weights_(queries)
print(f"rows sum to 1: {np.allclose(weights.sum(axis=1), 1.0, rtol=0, atol=1e-12)}")
print(
    f"weights @ y is the prediction: {np.allclose(weights @ y, nadaraya_watson.predict(queries))}"
)


def draw_attention(ax):
    """Heat map of the weights, each at the x of its key and query."""
    image = ax.pcolormesh(
        X[:, 0], queries[:, 0], weights, shading="nearest", cmap="viridis"
    )
    ax.figure.colorbar(image, ax=ax, label="attention weight")
    ax.set(
        xlabel="x of the key (training sample)",
        ylabel="x of the query",
        title="Attention of queries to keys",
    )


figure, ax = plt.subplots(figsize=(5.5, 4.5), layout="constrained")
draw_attention(ax)
figure.savefig("attention_heat_map.png", dpi=150)
print("saved attention_heat_map.png")

# %%
# Each column is a training sample and extends half-way to the next one on either side. The band follows the diagonal,
# because a query attends to the samples near it. Where samples are dense, the weight is divided among many, and the
# band is dim; where they are sparse, and at the ends, a few bright cells determine the prediction.
#
# More data
# ---------
# As samples are added, leave-one-out chooses a narrower bandwidth, and the error against the truth goes to zero. For a
# smooth curve and the best bandwidth, theory gives the rate :math:`n^{-2/5}`, a straight line on logarithmic axes. The
# ends of the interval, where all neighbours lie on one side, can slow it slightly.

sizes = np.geomspace(30, 4000, 6).astype(int)
errors = np.array(
    [
        [
            rmse(NadarayaWatsonRegressor().fit(*make_sine_power(n, random_state=seed)))
            for seed in range(2, 12)
        ]
        for n in sizes
    ]
)
median = np.median(errors, axis=1)
print(
    f"slope of the median error: {np.polyfit(np.log(sizes), np.log(median), deg=1)[0]:.2f}"
)

# %%
# All in one picture
# ------------------

orange, blue = (
    "#E69F00",
    "#0072B2",
)  # of Okabe and Ito's palette, told apart by every kind of colour vision

figure, (ax_fit, ax_attention, ax_error) = plt.subplots(
    1, 3, figsize=(13, 4), layout="constrained"
)
figure.get_layout_engine().set(wspace=0.05)

ax_fit.scatter(X, y, s=18, color="0.6", label="samples")
ax_fit.plot(queries, truth, "--", color="black", label="truth")
ax_fit.plot(
    queries, average_pooling.predict(queries), color=orange, label="average pooling"
)
ax_fit.plot(
    queries, nadaraya_watson.predict(queries), color=blue, label="Nadaraya-Watson"
)
ax_fit.set(xlabel="x", ylabel="y", title=f"Two fits to {len(X)} samples")
ax_fit.legend()

draw_attention(ax_attention)

ax_error.fill_between(
    sizes,
    *np.quantile(errors, [0.1, 0.9], axis=1),
    color=blue,
    alpha=0.2,
    label="10th to 90th percentile",
)
ax_error.loglog(
    sizes, median, "o-", color=blue, label=f"median of {errors.shape[1]} data sets"
)
ax_error.loglog(
    sizes,
    0.6 * median[0] * (sizes / sizes[0]) ** -0.4,
    "--",
    color="black",
    label="slope of $n^{-2/5}$",
)
ax_error.xaxis.set(
    ticks=[30, 100, 300, 1000, 3000], major_formatter="{x:g}", minor_formatter=""
)
ax_error.yaxis.set(ticks=[0.03, 0.1, 0.3], major_formatter="{x:g}", minor_formatter="")
ax_error.set(
    xlabel="number of training samples, n",
    ylabel="RMSE against the truth",
    title="Error as n grows",
)
ax_error.legend()

figure.savefig("quickstart.png", dpi=150)
print("saved quickstart.png")
