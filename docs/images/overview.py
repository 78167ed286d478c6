"""The picture at the top of README: a fit with its interval, its attention, and what learned attention looks at.

Run it in this folder to draw the picture again: ``python overview.py``.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import make_friedman1

from sknw import AttentionDisplay, AttentionPoolingRegressor, FitDisplay, NadarayaWatsonRegressor, make_sine_power

plt.rcParams.update({"font.size": 10, "axes.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False})
figure, (fit, attention, weights) = plt.subplots(1, 3, figsize=(11.5, 3.6), layout="constrained")
figure.get_layout_engine().set(wspace=0.06)

# %%
# A curve, its interval, and who attends to whom

X, y = make_sine_power(150, random_state=0)
model = NadarayaWatsonRegressor().fit(X, y)
FitDisplay.from_estimator(model, X, y, ax=fit)
fit.set_title("Prediction, with its interval")

AttentionDisplay.from_estimator(model, np.linspace(0, 5, 200)[:, np.newaxis], ax=attention)
attention.set_title("Attention: the weights")

# %%
# Of ten features five matter

X, y = make_friedman1(1000, n_features=10, noise=1.0, random_state=0)
learned = AttentionPoolingRegressor().fit(X, y)
weights.bar(range(10), learned.w_, color="#0072B2")
weights.set(
    xticks=range(10),
    xticklabels=[f"$x_{{{k}}}$" for k in range(10)],
    ylabel="learned weight",
    title="Learned: five features matter",
)

figure.savefig("overview.png", dpi=160, metadata={"Software": None})
