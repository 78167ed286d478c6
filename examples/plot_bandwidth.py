"""
==============================================
The bandwidth: too narrow, too wide, and right
==============================================

The bandwidth says how far the influence of a training sample extends. If it is too narrow, the fit follows the noise;
if it is too wide, the fit flattens real structure. Leave-one-out measures both errors: at every bandwidth it predicts
each sample from all the others.
"""

# %%
# Three bandwidths
# ----------------
# By default ``fit`` searches for the bandwidth with the smallest leave-one-out error. :class:`~sknw.BandwidthDisplay`
# draws the scores of the search. Its upper axis shows the degrees of freedom, which say how flexible the fit is, as the
# number of coefficients does for a polynomial.

import matplotlib.pyplot as plt

from sknw import BandwidthDisplay, NadarayaWatsonRegressor
from sknw.datasets import make_sine_power

X, y = make_sine_power(80, random_state=0)
grid, _, truth = make_sine_power(400, random_state=1, return_truth=True)
chosen = NadarayaWatsonRegressor().fit(X, y)
print(chosen.bandwidth_search_)

figure, (ax_fit, ax_search) = plt.subplots(
    1, 2, figsize=(10, 4.2), layout="constrained"
)
ax_fit.scatter(X, y, s=12, color="0.6", label="samples")
ax_fit.plot(grid, truth, "--", color="black", label="truth")
BandwidthDisplay.from_estimator(chosen, ax=ax_search)

bandwidth = chosen.bandwidth_[0]
trials = {
    "too narrow": (bandwidth / 8, "#E69F00"),
    "chosen": (bandwidth, "#0072B2"),
    "too wide": (8 * bandwidth, "#CC79A7"),
}
for name, (h, colour) in trials.items():
    model = NadarayaWatsonRegressor(bandwidth=h).fit(X, y)
    error = ((y - model.loo_prediction_) ** 2).mean()
    print(f"{name:<12} h = {h:.3f}: leave-one-out error {error:.3f}")
    ax_fit.plot(grid, model.predict(grid), color=colour, label=f"{name}, h = {h:.2g}")
ax_fit.set(xlabel="x", ylabel="y", title="Three fits")
ax_fit.legend(fontsize="small")
figure.savefig("bandwidth.png", dpi=150)

# %%
# The curve is flat around its minimum: half or twice the bandwidth would increase the error by about a tenth.
# ``loo_score_`` is the :math:`R^2` of the leave-one-out predictions, an honest score without a test set.

print(f"R^2 by leave-one-out: {chosen.loo_score_:.2f}")
