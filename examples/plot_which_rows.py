"""
=========================================
Which training rows made this prediction?
=========================================

A prediction of :class:`~sknw.NadarayaWatsonRegressor` is a weighted mean of training targets, and
``attention_weights_`` names the rows on which it rests. Here the rows are wines made from three grapes. The model does
not know the grape, and still gives most weight to wines of the right one.
"""

# %%
# Wines of three grapes
# ---------------------
# The data are 178 wines from Piedmont: Barolo, Grignolino and Barbera. The target is their alcohol; the features are
# colour, phenols and proline. Every wine gets a name, and the grape is not a feature.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sknw import NadarayaWatsonRegressor

wine = load_wine(as_frame=True)
grapes = np.array(["Barolo", "Grignolino", "Barbera"])
names = np.array([f"{grapes[k]} {number}" for number, k in enumerate(wine.target)])
features = ["flavanoids", "color_intensity", "hue", "proline"]
X = StandardScaler().fit_transform(wine.data[features])
alcohol = wine.data["alcohol"].to_numpy()

X_train, X_test, y_train, y_test, name_train, name_test, grape_train, grape_test = (
    train_test_split(
        X,
        alcohol,
        names,
        wine.target.to_numpy(),
        test_size=30,
        random_state=0,
        stratify=wine.target,
    )
)
model = NadarayaWatsonRegressor().fit(X_train, y_train)
print(f"R^2 on {len(y_test)} other wines: {model.score(X_test, y_test):.2f}")

# %%
# The rows behind three predictions
# ---------------------------------
# The bars show the eight largest weights of a query, with the targets of these wines. The effective sample size says
# how many wines of equal weight the prediction is worth.

queries = [np.flatnonzero(grape_test == k)[0] for k in range(3)]
weights = model.attention_weights_(X_test[queries])
sizes = model.effective_sample_size(X_test[queries])
colours = np.array(["#0072B2", "#E69F00", "#009E73"])  # of Okabe and Ito's palette

figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
for ax, query, row, size in zip(axes, queries, weights, sizes, strict=True):
    top = np.argsort(row)[:-9:-1]
    ax.barh(np.arange(8), row[top], color=colours[grape_train[top]])
    ax.set_yticks(np.arange(8), [f"{name_train[i]} ({y_train[i]:.1f} %)" for i in top])
    ax.invert_yaxis()
    ax.set(
        xlabel=f"weight (worth {size:.0f} wines)",
        title=f"{name_test[query]}\n{row @ y_train:.1f} %, in truth {y_test[query]:.1f} %",
    )
figure.savefig("which_rows.png", dpi=150)

# %%
# The model finds the grapes
# --------------------------
# The sum of the weights over the training wines of each grape shows how much of a prediction comes from wines of the
# same grape.

weights = model.attention_weights_(X_test)
shares = np.column_stack([weights[:, grape_train == k].sum(axis=1) for k in range(3)])
print(f"\n{'attention of':<14}{'to Barolo':>11}{'Grignolino':>12}{'Barbera':>9}")
for k, grape in enumerate(grapes):
    print(
        f"{grape:<14}{shares[grape_test == k, 0].mean():>11.2f}{shares[grape_test == k, 1].mean():>12.2f}",
        end="",
    )
    print(f"{shares[grape_test == k, 2].mean():>9.2f}")
