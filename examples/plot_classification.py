"""
==================================
Class probabilities from attention
==================================

:class:`~sknw.NadarayaWatsonClassifier` and :class:`~sknw.AttentionPoolingClassifier` predict class probabilities: the
attention that a query gives to the training samples of each class. This example draws them beside those of other
classifiers, and then the attention itself.
"""

# %%
# Probabilities in the plane
# --------------------------
# Two half moons that overlap, as two features among six: the other four are noise. All classifiers get all six, and
# their probabilities are drawn in the plane of the two, with the others at zero. Nearest neighbours vote, in steps of
# 1/k. Nearest neighbours after neighbourhood component analysis, which learns a matrix, and the Gaussian process with a
# length scale for each feature are the closest relatives: the first has steps as well, and the second takes a time that
# grows with the third power of the number of samples.

import warnings
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, NeighborhoodComponentsAnalysis
from sklearn.pipeline import make_pipeline

from sknw import (
    AttentionDisplay,
    AttentionPoolingClassifier,
    NadarayaWatsonClassifier,
)

rng = np.random.default_rng(0)
X, y = make_moons(1200, noise=0.3, random_state=0)
X = np.column_stack([X, rng.normal(size=(1200, 4))])
X, X_test, y, y_test = train_test_split(X, y, train_size=200, random_state=0)

covariance = ConstantKernel(10.0) * RBF(np.ones(6), (0.1, 1e3))
models = {
    "nearest neighbours": KNeighborsClassifier(15),
    "NCA and neighbours": make_pipeline(
        NeighborhoodComponentsAnalysis(random_state=0), KNeighborsClassifier(15)
    ),
    "Gaussian process": GaussianProcessClassifier(covariance),
    "Nadaraya-Watson": NadarayaWatsonClassifier(),
    "attention pooling": AttentionPoolingClassifier(),
}
# the length scale of a feature that does not matter ends at its bound
warnings.simplefilter("ignore", ConvergenceWarning)
seconds = {}
for name, model in models.items():
    start = perf_counter()
    model.fit(X, y)
    seconds[name] = perf_counter() - start

x0, x1 = np.meshgrid(np.linspace(-2, 3, 120), np.linspace(-1.5, 2, 100))
plane = np.column_stack([x0.ravel(), x1.ravel(), np.zeros((x0.size, 4))])
figure, axes = plt.subplots(2, 3, figsize=(11, 6.5), layout="constrained")
for ax, (name, model) in zip(axes.flat, models.items(), strict=False):
    p = model.predict_proba(plane)[:, 1].reshape(x0.shape)
    image = ax.pcolormesh(x0, x1, p, cmap="RdYlBu_r", vmin=0, vmax=1, rasterized=True)
    ax.contour(x0, x1, p, levels=[0.5], colors="black", linewidths=1)
    for label, marker, color in [(0, "o", "#0072B2"), (1, "^", "#D55E00")]:
        points = {"s": 14, "color": color, "edgecolors": "white", "linewidths": 0.4}
        ax.scatter(*X[y == label, :2].T, marker=marker, **points)
    loss = log_loss(y_test, model.predict_proba(X_test))
    ax.set(title=f"{name}\ntest log loss {loss:.3f}", xlabel="$x_0$", ylabel="$x_1$")
    print(f"{name:<20} log loss {loss:.3f}, fit {seconds[name]:.2f} s")
figure.colorbar(image, ax=axes, label="probability of class 1", shrink=0.7)

# the learned w says which features matter, and the leave-one-out log loss what to expect on new data
attention = models["attention pooling"]
bars = axes.flat[-1]
bars.bar([f"$x_{k}$" for k in range(6)], attention.w_ * X.std(axis=0), color="#0072B2")
bars.set(
    title="what attention pooling has learned", ylabel="$w_k$ (per standard deviation)"
)
print(f"leave-one-out log loss {attention.loo_log_loss_:.3f}")
figure.savefig("classification.png", dpi=120)

# %%
# Attention to classes
# --------------------
# Each row is a wine of the test set, in the order of the cultivar that is predicted. Each column is a wine of the
# training set, in the order of its cultivar. The probability of a cultivar is the sum of the weights in its block of
# columns, so that clear blocks mean sure predictions. A row that is bright outside its block is a wine that resembles
# those of another cultivar.

wine, cultivar = load_wine(return_X_y=True)
names = np.array(["cultivar A", "cultivar B", "cultivar C"])[cultivar]
X, X_test, y, y_test = train_test_split(
    wine, names, random_state=0, stratify=names, test_size=60
)
model = AttentionPoolingClassifier().fit(X, y)
figure, ax = plt.subplots(figsize=(7, 5), layout="constrained")
AttentionDisplay.from_estimator(model, X_test, ax=ax)
print(f"accuracy {model.score(X_test, y_test):.2f}")
figure.savefig("class_attention.png", dpi=120)
