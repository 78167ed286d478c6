"""
===============================
Two heads: combine two kernels
===============================

A Gaussian kernel makes smooth predictions. An exponential kernel has a peak at zero and a heavier tail: it gives more
weight to the nearest samples, and some weight to distant ones. Which kernel is better depends on the data, and their
errors differ. Transformers have several heads of attention for such reasons. Here two fitted models are the heads, and
scikit-learn's ensembles combine them.
"""

# %%
# Two heads, two ways to combine them
# -----------------------------------
# ``VotingRegressor`` computes the mean of the two predictions. If one head were much better than the other, a weighted
# mean would be better. It needs no further fit: ``loo_prediction_`` contains the prediction of each training sample
# from all the others, and non-negative least squares on these predictions gives the weights. (For a model without such
# predictions, ``StackingRegressor`` makes them by cross-validation.)

import numpy as np
from scipy.optimize import nnls
from sklearn.ensemble import VotingRegressor

from sknw import AttentionPoolingRegressor

heads = [
    ("Gaussian", AttentionPoolingRegressor("gaussian", degree=1)),
    ("exponential", AttentionPoolingRegressor("exponential", degree=1)),
]
mean = VotingRegressor(heads)


def predictions(X_train, X_test, y_train):
    """Predictions of each head and of the two combinations."""
    mean.fit(X_train, y_train)
    of_heads = mean.transform(X_test)  # a column for each head
    leave_one_out = np.column_stack([head.loo_prediction_ for head in mean.estimators_])
    weights, _ = nnls(leave_one_out, y_train)
    return {
        "Gaussian head": of_heads[:, 0],
        "exponential head": of_heads[:, 1],
        "mean (VotingRegressor)": mean.predict(X_test),
        "leave-one-out weights": of_heads @ weights,
    }


# %%
# Four data sets
# --------------
# One data set is real and three are synthetic: a smooth target with irrelevant features, a wave that slows down while
# samples become rare, and a mixture of binary and continuous features. Each is split twice at random, with 200 samples
# for training.

from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.model_selection import train_test_split


def make_slowing_wave(n_samples, random_state):
    rng = np.random.default_rng(random_state)
    X = np.column_stack([rng.exponential(size=n_samples), rng.normal(size=n_samples)])
    return X, np.sin(6 * np.log(X[:, 0] + 0.2)) + 0.3 * X[:, 1] + 0.1 * rng.normal(
        size=n_samples
    )


def make_mixed(n_samples, random_state):
    rng = np.random.default_rng(random_state)
    binary, x = rng.integers(0, 2, (n_samples, 2)), rng.normal(size=(n_samples, 3))
    mean = np.where(binary[:, 0], np.sin(2 * x[:, 0]), x[:, 0]) + binary[:, 1] * x[:, 1]
    return np.column_stack([binary, x]), mean + 0.3 * rng.normal(size=n_samples)


datasets = {
    "diabetes": load_diabetes(return_X_y=True),
    "friedman1": make_friedman1(1000, noise=1.0, random_state=0),
    "slowing wave": make_slowing_wave(1000, random_state=0),
    "mixed": make_mixed(1000, random_state=0),
}


def errors_of_split(X, y, seed):
    """Test RMSE of each way in standard deviations of y_train, for one random split."""
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, train_size=200, random_state=seed
    )
    center, scale = y_train.mean(), y_train.std()
    predicted = predictions(X_train, X_test, (y_train - center) / scale)
    return {
        way: np.sqrt(np.mean((p - (y_test - center) / scale) ** 2))
        for way, p in predicted.items()
    }


rmse = {}
for name, (X, y) in datasets.items():
    of_splits = [errors_of_split(X, y, seed) for seed in range(2)]
    rmse[name] = {
        way: np.mean([errors[way] for errors in of_splits]) for way in of_splits[0]
    }

print(f"{'test RMSE':<24}" + "".join(f"{name:>14}" for name in rmse))
for way in rmse["diabetes"]:
    print(f"{way:<24}" + "".join(f"{of_way[way]:>14.3f}" for of_way in rmse.values()))

# %%
# Attention and errors
# --------------------
# On the left is the attention of one query to each of 100 samples of one feature. On the right are the errors in units
# of the error of the better head: a point to the left of the line is better than either head alone. The weights from
# leave-one-out are a safe choice if one does not want to find out which kernel suits the data: they stay near the
# better head, and are sometimes better than both. The mean has larger errors where one head is much better than the
# other, as on the slowing wave.

import matplotlib.pyplot as plt

from sknw.datasets import make_sine_power

styles = {  # colours of Okabe and Ito's palette, and a shape of its own for each
    "Gaussian head": dict(color="#0072B2", marker="o"),
    "exponential head": dict(color="#E69F00", marker="s"),
    "mean (VotingRegressor)": dict(color="#000000", marker="D"),
    "leave-one-out weights": dict(color="#009E73", marker="v"),
}
figure, (ax_weights, ax_error) = plt.subplots(
    1, 2, figsize=(12, 4.5), layout="constrained"
)

X, y = make_sine_power(100, random_state=0)
query = 2.5
for name, head in heads:
    weights = head.fit(X, y).attention_weights_([[query]])[0]
    ax_weights.plot(
        X[:, 0],
        weights,
        "-",
        markersize=4,
        label=f"{name} head",
        **styles[f"{name} head"],
    )
ax_weights.axvline(query, color="0.5", linewidth=1)
ax_weights.set(
    xlabel="x of the training sample",
    ylabel="attention weight",
    title=f"Attention of the query x = {query}",
)

for row, errors in enumerate(rmse.values()):
    better = min(errors["Gaussian head"], errors["exponential head"])
    for offset, (way, style) in enumerate(styles.items()):
        label = way if row == 0 else None
        ax_error.plot(
            errors[way] / better,
            row + 0.14 * (offset - 1.5),
            linestyle="",
            markersize=8,
            label=label,
            **style,
        )
ax_error.axvline(1.0, color="0.5", linewidth=1)
ax_error.set(xlabel="test RMSE relative to the better head", title="Four data sets")
ax_error.yaxis.set(ticks=range(len(rmse)), ticklabels=list(rmse), inverted=True)
ax_error.grid(axis="x", alpha=0.3)
figure.legend(
    *ax_error.get_legend_handles_labels(),
    loc="outside lower center",
    ncols=4,
    frameon=False,
)
figure.savefig("two_heads.png", dpi=150)
