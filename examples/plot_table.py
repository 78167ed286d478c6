"""
=============================================================
A table with categories, orders and hours, without an encoder
=============================================================

A column of a data frame is a number, a category, an ordered category or a position on a circle, such as the hour of
the day. The estimators take all of these as they are: dtypes say what is a category, and one parameter names the
circles. The example predicts how many bicycles are rented in an hour, asks which columns matter, and shows what each of
them does.
"""

# %%
# Rented bicycles
# ---------------
# The data are simulated, so that nothing has to be downloaded. On working days there are two rush hours, on other days
# one broad summit; bad weather keeps people at home. The column "moon" has no effect.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import train_test_split

from sknw import AttentionPoolingRegressor, EffectDisplay
from sknw.inspection import significance_test, summary

rng = np.random.default_rng(0)
n = 700
hour, temperature = rng.uniform(0, 24, n), rng.normal(14, 7, n)
weather = rng.choice(["clear", "cloudy", "rain"], n, p=[0.5, 0.35, 0.15])
rides = pd.DataFrame(
    {
        "hour": hour,
        "day": pd.Categorical(rng.choice(["working", "free"], n, p=[0.7, 0.3])),
        "weather": pd.Categorical(
            weather, categories=["clear", "cloudy", "rain"], ordered=True
        ),
        "temperature": temperature,
        "moon": pd.Categorical(rng.choice(["new", "first", "full", "last"], n)),
    }
)


def summit(at, width):
    apart = (hour - at + 12) % 24 - 12
    return np.exp(-0.5 * (apart / width) ** 2)


course = np.where(
    rides["day"] == "working", summit(8, 1.5) + summit(17.5, 2), summit(14, 4)
)
kept = rides["weather"].map({"clear": 1.0, "cloudy": 0.8, "rain": 0.4}).astype(float)
rented = 40 + 300 * course * kept / (1 + np.exp(-(temperature - 10) / 4))
rented += rng.normal(scale=20, size=n)
X_train, X_test, y_train, y_test = train_test_split(rides, rented, random_state=0)

# %%
# One call
# --------
# The dtypes "category" are found. Midnight is continuous once the period of the hours is named.

model = AttentionPoolingRegressor(periodic_features={"hour": 24}).fit(X_train, y_train)
boosting = HistGradientBoostingRegressor(random_state=0).fit(X_train, y_train)
midnight = X_test.iloc[[0, 0]].assign(hour=[0.0, 24.0])
print(f"R^2 on other hours: {model.score(X_test, y_test):.3f}")
print(f"gradient boosting:  {boosting.score(X_test, y_test):.3f}")
print(f"change over midnight: {abs(np.diff(model.predict(midnight))[0]):.1e}")

# %%
# What has been learned
# ---------------------
# "lambda" is what a mismatch in a category leaves of the weight of a row, of an ordered one what one step leaves. A
# column that is switched off has no part in the distance.

summary(model)

# %%
# Which columns matter? The test compares the fit with what it makes of targets that do not depend on the column.

test = significance_test(model)
print(test)

# %%
# What each column does
# ---------------------
# The line is the average prediction over the rows of the table, and the band holds the middle half of them. Where the
# band is wide other columns change the effect: at eight o'clock it is the kind of day.

effects = EffectDisplay.from_estimator(model)
effects.figure_.savefig("table.png", dpi=150)

# %%
# Rows of the two kinds of days, one by one:

figure, axes = plt.subplots(1, 2, figsize=(8, 3.5), sharey=True, layout="constrained")
for ax, day in zip(axes, ["working", "free"], strict=True):
    rows = X_train[X_train["day"] == day]
    EffectDisplay.from_estimator(model, rows, "hour", kind="both", ax=ax)
    ax.set(title=f"{day} days", ylabel="rented bicycles in an hour")
figure.savefig("table_days.png", dpi=150)
