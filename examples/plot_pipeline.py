"""
=================================================
Tables with categories: a pipeline and its search
=================================================

The estimators follow all conventions of scikit-learn: they accept columns prepared by a ``ColumnTransformer``, and a
grid search can set every parameter, also those of the kernel. This example predicts the rents of flats from their size,
their distance from the centre, and the name of the district.
"""

# %%
# A table of flats
# ----------------
# The data are simulated, so that nothing has to be downloaded. Rents decrease with the distance, and more steeply near
# the centre. Two of the districts are more expensive.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sknw import NadarayaWatsonRegressor
from sknw.kernels import Epanechnikov, Gaussian, PowerExponential

rng = np.random.default_rng(0)
n = 600
flats = pd.DataFrame(
    {
        "size": rng.gamma(9, 8, n),
        "distance": rng.exponential(4, n),
        "district": rng.choice(["north", "south", "east", "west"], n),
    }
)
worth = (
    9
    + 8 * np.exp(-flats["distance"] / 3)
    + 3 * flats["district"].isin(["south", "west"])
)
rent = worth * flats["size"] ** 0.9 + rng.normal(scale=60, size=n)
X_train, X_test, y_train, y_test = train_test_split(flats, rent, random_state=0)

# %%
# One search over kernels, their parameters and the bandwidth
# -----------------------------------------------------------
# The kernel adds the squared differences of all columns, so the numbers are put on one scale. Two different districts
# are :math:`\sqrt 2` apart.

columns = make_column_transformer(
    (StandardScaler(), ["size", "distance"]),
    (OneHotEncoder(sparse_output=False), ["district"]),
)
pipeline = make_pipeline(columns, NadarayaWatsonRegressor())
bandwidths = np.geomspace(0.003, 3.0, 13)
kernels = {
    "Gaussian": Gaussian(),
    "Epanechnikov": Epanechnikov(),
    "PowerExponential(0.5)": PowerExponential(0.5),
    "PowerExponential(1)": PowerExponential(1.0),
}
grid = {
    "nadarayawatsonregressor__kernel": list(kernels.values()),
    "nadarayawatsonregressor__bandwidth": bandwidths,
}
search = GridSearchCV(pipeline, grid).fit(X_train, y_train)
print(f"R^2 on other flats: {search.score(X_test, y_test):.3f}")
search

# %%
# The scores of the search
# ------------------------
# Without a grid search, ``fit`` chooses the bandwidth by leave-one-out, for one kernel and in one fit. The crosses show
# these choices. They lie near the best bandwidth that cross-validation finds for the same kernel.

scores = search.cv_results_["mean_test_score"].reshape(len(bandwidths), len(kernels))
styles = [("#0072B2", "o"), ("#009E73", "s"), ("#D55E00", "^"), ("#E69F00", "v")]

figure, ax = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
for (name, kernel), row, (colour, marker) in zip(
    kernels.items(), scores.T, styles, strict=True
):
    ax.semilogx(bandwidths, row, marker=marker, markersize=5, color=colour, label=name)
    alone = pipeline.set_params(nadarayawatsonregressor__kernel=kernel)
    alone.fit(X_train, y_train)
    # one bandwidth for all columns here: those of the scaled numbers
    h = alone[-1].bandwidth_[0]
    ax.plot(
        h, alone[-1].loo_score_, "x", markersize=10, markeredgewidth=2, color=colour
    )
ax.xaxis.set(
    ticks=[0.003, 0.01, 0.03, 0.1, 0.3, 1, 3],
    major_formatter="{x:g}",
    minor_formatter="",
)
ax.set(
    xlabel="bandwidth, in standard deviations",
    ylabel="$R^2$, five-fold cross-validation",
    title="Kernels and bandwidths",
    ylim=(0.6, 0.92),
)
ax.legend(loc="lower left")
figure.savefig("pipeline.png", dpi=150)
