"""
===========================================
Noise that remembers: leave out a fortnight
===========================================

How many shares of a company are traded a day? There is a curve of months and years, and around it noise that remembers:
a busy day is followed by busy days. Leave-one-out predicts each day from the days beside it, which share its noise, and
so it takes the noise for the curve. :class:`~sknw.model_selection.LeaveBlockOut` predicts each day without the days
around it. The data are four years of Google shares, from the sample data of Matplotlib.
"""

# %%
# Two bandwidths
# --------------
# Both models predict the logarithm of the number of shares from the date. The block is a fortnight to each side.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from matplotlib.dates import MonthLocator
from sklearn.base import clone

from sknw import NadarayaWatsonRegressor
from sknw.model_selection import LeaveBlockOut

prices = np.load(get_sample_data("goog.npz", asfileobj=False))["price_data"]
date = prices["date"]
day = (date - date[0]).astype(float)[:, np.newaxis]
shares = np.log10(prices["volume"] / 1e6)  # millions a day

models = {
    "leave-one-out": NadarayaWatsonRegressor(),
    "leave a fortnight out": NadarayaWatsonRegressor(cv=LeaveBlockOut(14, times=0)),
}
for name, model in models.items():
    model.fit(day, shares)
    h, r2 = model.bandwidth_[0], model.loo_score_
    print(f"{name:<22}bandwidth {h:4.1f} days, R^2 {r2:.2f}")

# %%
# Leave-one-out chooses a bandwidth of less than two days, and the fit warns that the residuals are autocorrelated. Its
# :math:`R^2` is high, but only for a day between two known days. Asked for a day without the fortnight around it, the
# same bandwidth predicts almost nothing:

h = models["leave-one-out"].bandwidth_
cv = LeaveBlockOut(14, times=0)
asked = NadarayaWatsonRegressor(bandwidth=h, cv=cv).fit(day, shares)
print(f"bandwidth of leave-one-out, asked for more: R^2 {asked.loo_score_:.2f}")

# %%
# Are the intervals honest?
# -------------------------
# We hide every third month (20 of 60 trading days), fit to the other days, and count how many of the hidden days lie in
# the interval for nine of ten.

hidden = np.arange(len(day)) % 60 >= 40
for name, model in models.items():
    fitted = clone(model).fit(day[~hidden], shares[~hidden])
    lower, upper = fitted.predict_interval(day[hidden]).T
    covered = np.mean((lower <= shares[hidden]) & (shares[hidden] <= upper))
    r2 = fitted.score(day[hidden], shares[hidden])
    print(f"{name:<22}covered {covered:.2f}, R^2 {r2:.2f}")

# %%
# The interval of leave-one-out is too narrow here, because its residuals are those of days whose neighbours are known.
# With blocks the interval is that of CV+, whose residuals are those of days like the hidden ones.
#
# In the picture the models are fitted to all days. The curve of leave-one-out repeats every busy day; the other one
# shows how trade rises and falls within months.

figure, (above, below) = plt.subplots(2, 1, figsize=(8, 6.4), layout="constrained")
styles = [("#D55E00", 1), ("#0072B2", 2)]
for ax, some in [(above, slice(None)), (below, slice(500, 700))]:
    ax.scatter(
        date[some],
        10 ** shares[some],
        s=6 if ax is above else 14,
        color="0.7",
        label="a day",
    )
    for (name, model), (color, width) in zip(models.items(), styles, strict=True):
        curve = model.predict(day[some])
        ax.plot(date[some], 10**curve, color=color, linewidth=width, label=name)
    lower, upper = model.predict_interval(day[some]).T
    ax.fill_between(
        date[some],
        10**lower,
        10**upper,
        color="#0072B2",
        alpha=0.2,
        linewidth=0,
        label="its 90 % interval",
    )
    ax.set_yscale("log")
    ax.set_yticks([2, 5, 10, 20, 50], labels=["2", "5", "10", "20", "50"])
    ax.minorticks_off()
    ax.set_ylabel("shares a day, in millions")
above.legend(fontsize="small", ncols=2, loc="upper right")
above.set_title("four years")
below.set_title("ten months of these")
below.xaxis.set_major_locator(MonthLocator(interval=2))
figure.savefig("time_series.png", dpi=150)
