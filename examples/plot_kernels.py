"""
=========================================
Kernels side by side, and one of your own
=========================================

A kernel says how the weight of a training sample decreases with its distance from the query. Each fit below has the
bandwidth that leave-one-out chooses for its kernel, so the remaining differences come from the shape of the kernel.
"""

# %%
# A kernel of your own
# --------------------
# A kernel is a class with one method, ``profile``: the weight as a function of the squared distance, in bandwidths.
# This one has a much heavier tail than the named kernels.

import matplotlib.pyplot as plt
import numpy as np

from sknw import NadarayaWatsonRegressor
from sknw.datasets import make_sine_power
from sknw.kernels import Kernel


class Cauchy(Kernel):
    """K(u) = 1 / (1 + u^2)."""

    def profile(self, sq):
        return 1.0 / (1.0 + sq)


# %%
# Six kernels, six fits
# ---------------------
# The fit is blue. The attention of the query at the dotted line is orange, in units of its largest weight. A compact
# kernel ends: the fit of the top hat jumps wherever a sample enters or leaves its support. The exponential kernel has a
# peak, so every sample puts a kink into its fit. The tail of the Cauchy kernel draws the fit towards the mean, and
# leave-one-out compensates with a narrow bandwidth.

kernels = {
    "gaussian": "gaussian",
    "exponential": "exponential",
    "tophat": "tophat",
    "epanechnikov": "epanechnikov",
    "tricube": "tricube",
    "Cauchy, of your own": Cauchy(),
}
X, y = make_sine_power(60, random_state=0)
grid, _, truth = make_sine_power(500, random_state=1, return_truth=True)
x, query = grid[:, 0], 2.5

figure, axes = plt.subplots(
    2, 3, figsize=(9, 5.5), sharex=True, sharey=True, layout="constrained"
)
print(f"{'':<22}{'bandwidth':>10}{'samples':>9}{'RMSE':>7}")
for ax, (name, kernel) in zip(axes.flat, kernels.items(), strict=True):
    model = NadarayaWatsonRegressor(kernel).fit(X, y)
    fit = model.predict(grid)
    size = model.effective_sample_size([[query]])[0]
    rmse = np.sqrt(np.mean((fit - truth) ** 2))
    print(f"{name:<22}{model.bandwidth_[0]:>10.2f}{size:>9.1f}{rmse:>7.2f}")

    squares = ((x - query) / model.bandwidth_[0]) ** 2
    attention = model.kernel_.profile(squares)
    ax.fill_between(x, -2, 2 * attention - 2, color="#E69F00", alpha=0.4, linewidth=0)
    ax.axvline(query, color="0.4", linestyle=":")
    ax.scatter(X, y, s=10, color="0.6")
    ax.plot(x, fit, color="#0072B2", linewidth=2)
    ax.set(title=name, ylim=(-2, 4.5), yticks=range(5))
figure.supxlabel("x")
figure.supylabel("y")
figure.savefig("kernels.png", dpi=150)
