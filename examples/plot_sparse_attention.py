"""
==========================================
Sparse attention: only the nearest samples
==========================================

With a compact kernel, a query attends to the samples within the support and gives all others a weight of exactly zero.
Such weights are stored as a sparse matrix. For any other kernel, ``top_k`` makes one by keeping the largest weights.
"""

# %%
# Which samples are within the support?
# -------------------------------------
# The data are two thousand samples of two features. The full matrix of weights for five hundred queries has a million
# entries, and nearly all of them are zero.

import matplotlib.pyplot as plt
import numpy as np

from sknw import NadarayaWatsonRegressor


def make_hills(n, rng):
    X = rng.normal(size=(n, 2))
    height = np.sin(2 * X[:, 0]) * np.cos(2 * X[:, 1])
    return X, height + 0.3 * rng.normal(size=n)


rng = np.random.default_rng(0)
X, y = make_hills(2000, rng)
queries, _ = make_hills(500, rng)

compact = NadarayaWatsonRegressor("epanechnikov").fit(X, y)
weights = compact.attention_weights_(queries, sparse_output=True)
print(f"{weights.nnz} of {np.prod(weights.shape)} weights are stored")
print(f"they predict: {np.allclose(weights @ y, compact.predict(queries))}")

# %%
# How many samples does a prediction need?
# ----------------------------------------
# The Gaussian kernel gives every sample some weight. Yet most of the sum comes from few samples: with the hundred
# largest weights of each query, scaled to sum to one again, the predictions are nearly the same.

gaussian = NadarayaWatsonRegressor("gaussian").fit(X, y)
numbers = [1, 3, 10, 30, 100, 300]
lines = {
    "epanechnikov": (compact, "#009E73", "s"),
    "gaussian": (gaussian, "#0072B2", "o"),
}

figure, (ax_plane, ax_error) = plt.subplots(
    1, 2, figsize=(10, 4.5), layout="constrained"
)
query = np.array([[0.5, 0.0]])
attended = compact.attention_weights_(query, sparse_output=True)
ax_plane.scatter(*X.T, s=2, color="0.8")
points = ax_plane.scatter(
    *X[attended.indices].T, s=8, c=attended.data, cmap="viridis_r", vmin=0
)
ax_plane.plot(*query.T, "+", color="#D55E00", markersize=14, markeredgewidth=3)
ax_plane.set(
    **{"xlabel": "first feature", "ylabel": "second feature", "aspect": "equal"},
    **{"xlim": (-1, 2), "ylim": (-1.5, 1.5)},
    title=f"{attended.nnz} samples within reach of a query",
)
figure.colorbar(points, ax=ax_plane, label="attention weight")

for name, (model, colour, marker) in lines.items():
    full = model.predict(queries)
    errors = []
    for k in numbers:
        kept = model.attention_weights_(queries, top_k=k)
        errors.append(np.sqrt(np.mean((kept @ y - full) ** 2)) / y.std())
        print(f"{name:<14} top {k:>4}: changes predictions by {errors[-1]:.4f}")
    ax_error.plot(numbers, errors, marker=marker, color=colour, label=name)
ax_error.set(
    **{"xscale": "log", "yscale": "log", "ylim": (1e-3, 1)},
    xlabel="samples kept for each query (top_k)",
    ylabel="change of predictions / standard deviation of y",
    title="How many does a prediction need?",
)
ax_error.xaxis.set_major_formatter("{x:g}")
ax_error.legend()
figure.savefig("sparse_attention.png", dpi=150)
