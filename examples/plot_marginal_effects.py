"""
=======================================
Marginal effects: what one feature does
=======================================

A linear model has one coefficient for each feature. A smoother has a slope at every point: the derivative of its
prediction, which :meth:`~sknw.NadarayaWatsonRegressor.gradient` returns exactly. The mean of the slopes can be compared
with the coefficient in a regression table; the single slopes show where that number holds.
"""

# %%
# Diabetes: one coefficient, many slopes
# --------------------------------------
# The target is the progression of diabetes in 442 patients. The features are put on one scale, so that a slope is the
# change of the prediction for one standard deviation of the feature.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from sknw import LocalLinearRegressor

features = ["bmi", "bp", "s5", "s3"]
names = {
    "bmi": "body mass index",
    "bp": "blood pressure",
    "s5": "triglycerides (log)",
    "s3": "HDL cholesterol",
}
frame, progression = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
X = StandardScaler().set_output(transform="pandas").fit_transform(frame[features])

linear = LinearRegression().fit(X, progression)
local = LocalLinearRegressor().fit(X, progression)
slopes = local.gradient(X)

print(f"{'':<22}{'linear':>8}{'mean':>8}{'10 %':>8}{'90 %':>8}")
for name, coefficient, slope in zip(features, linear.coef_, slopes.T, strict=True):
    low, high = np.quantile(slope, [0.1, 0.9])
    print(
        f"{names[name]:<22}{coefficient:>8.1f}{slope.mean():>8.1f}{low:>8.1f}{high:>8.1f}"
    )

# %%
# Where does a feature matter?
# ----------------------------
# Each point is a patient. According to a linear model, all of them would lie on the dashed line.

figure, axes = plt.subplots(2, 2, figsize=(8, 6), sharey=True, layout="constrained")
for ax, name, coefficient, slope in zip(
    axes.flat, features, linear.coef_, slopes.T, strict=True
):
    ax.axhline(0, color="0.8", linewidth=1)
    points = ax.scatter(frame[name], slope, s=10, c=frame["bmi"], cmap="viridis")
    ax.axhline(coefficient, linestyle="--", color="black", label="linear regression")
    ax.axhline(slope.mean(), color="#D55E00", label="mean of the slopes")
    ax.set(xlabel=names[name])
figure.supylabel("slope for one standard deviation")
axes[0, 0].legend(fontsize="small")
figure.colorbar(points, ax=axes, label="body mass index")
figure.savefig("marginal_effects.png", dpi=150)

# %%
# The slope is the derivative of the fit, not a difference of two predictions. It is as exact as the prediction itself.

step = 1e-5
bmi = np.zeros_like(X)
bmi[:, 0] = step
by_differences = (local.predict(X + bmi) - local.predict(X - bmi)) / (2 * step)
print(
    f"largest disagreement with finite differences: {np.abs(by_differences - slopes[:, 0]).max():.1e}"
)
