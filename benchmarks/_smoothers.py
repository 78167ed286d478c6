"""The smoothers that scaling.py compares: how each is called, and the exact answer to what it computes.

A smoother has `fit(X, y)`, `predict(X)` and `exact(X, y, rows)`, what `predict(X)[rows]` should be for the same kernel
and bandwidth, in long double by brute force. Made with `given=True` it takes a typical bandwidth as it is, otherwise it
chooses one in its own way; one that chooses from a list gets a list that spans a factor of 25 around the typical value.
Everything else has its default. A peer is imported when it is made, so that it need not be installed.
"""

import numpy as np

# From the bandwidth of a Gaussian kernel to one of another kernel that smooths about as much.
WIDTH = {"gaussian": 1.0, "epanechnikov": 2.2, "exponential": 0.7}
# Beyond so many bandwidths the weights add up to less than 1e-30 of that of the query's own sample.
REACH = {"gaussian": 14.0, "epanechnikov": 1.0, "exponential": 100.0}
PROFILE = {  # weight as a function of the squared distance in bandwidths
    "gaussian": lambda sq: np.exp(-sq / 2),
    "epanechnikov": lambda sq: np.maximum(1 - sq, 0),
    "exponential": lambda sq: np.exp(-np.sqrt(sq)),
}
NEIGHBOURS = [2, 4, 8, 16, 32, 64]


def typical_bandwidth(X):
    """About what leave-one-out chooses for the Gaussian kernel and the data of scaling.py, in standard deviations."""
    n, d = X.shape
    return {1: 0.3, 2: 1.0, 3: 1.2}[d] * n ** (-1 / (d + 4))


def candidates(typical, count):
    return typical * np.geomspace(1 / 5, 5, count)


def weighted_mean(kernel, X, y, bandwidth, rows):
    """Exact Nadaraya-Watson predictions at X[rows]; `bandwidth` is one number or one for each feature."""
    bandwidth = np.broadcast_to(np.asarray(bandwidth, dtype=np.longdouble), X.shape[1])
    reach = float(REACH[kernel] * bandwidth[0])
    predictions = np.empty(len(rows), dtype=np.longdouble)
    for i, row in enumerate(rows):
        near = np.abs(X[:, 0] - X[row, 0]) <= reach
        differences = (X[near].astype(np.longdouble) - X[row]) / bandwidth
        weights = PROFILE[kernel]((differences**2).sum(axis=1))
        predictions[i] = (weights * y[near]).sum() / weights.sum()
    return predictions


def local_line(x, y, n_neighbours, rows):
    """Exact LOWESS without robustness iterations at x[rows]: a line, tricube weights, a window of nearest neighbours.

    As in Cleveland's program, samples beyond 0.999 of the half-width have no weight, those within 0.001 the full one.
    """
    predictions = np.empty(len(rows), dtype=np.longdouble)
    for i, row in enumerate(rows):
        distances = np.abs(x - x[row])
        half_width = np.partition(distances, n_neighbours - 1)[n_neighbours - 1]
        near = distances <= 0.999 * half_width
        u = distances[near].astype(np.longdouble) / half_width
        weights = np.where(u <= 0.001, 1, (1 - u**3) ** 3)
        weights /= weights.sum()
        centred = x[near] - (weights * x[near]).sum()
        slope = (weights * centred * y[near]).sum() / (weights * centred**2).sum()
        predictions[i] = (weights * y[near]).sum() + slope * (x[row] - x[near] @ weights)
    return predictions


class Ours:
    distribution = "scikit-nw"
    max_features = 3

    def __init__(self, given=False, kernel="gaussian"):
        from sknw import NadarayaWatsonRegressor

        self.given, self.kernel = given, kernel
        self.model = NadarayaWatsonRegressor(kernel)

    def fit(self, X, y):
        if self.given:
            self.model.set_params(bandwidth=typical_bandwidth(X) * WIDTH[self.kernel] * X.std(axis=0))
        self.model.fit(X, y)

    def predict(self, X):
        return self.model.predict(X)

    def exact(self, X, y, rows):
        return weighted_mean(self.kernel, X, y, self.model.bandwidth_, rows)


class KernelSmooth:
    """Gaussian kernel; the bandwidths, one for each feature, by leave-one-out and L-BFGS."""

    distribution = "kernelsmooth"
    max_features = 3

    def __init__(self, given=False):
        from kernelsmooth import KernelRegression

        self.given, self.make = given, KernelRegression

    def fit(self, X, y):
        bandwidth = typical_bandwidth(X) if self.given else "lscv"
        self.model = self.make(bandwidth, diag_cov=True)  # diag_cov: in units of the features' standard deviations
        self.model.fit(X, y)

    def predict(self, X):
        return self.model.predict(X)

    def exact(self, X, y, rows):
        return weighted_mean("gaussian", X, y, self.model.bandwidth * self.model.L, rows)


class FastLPR:
    """Gaussian kernel on a grid; the bandwidth with the least generalised cross-validation among 20."""

    distribution = "fastlpr"
    max_features = 3

    def __init__(self, given=False):
        from fastlpr import cv_fastlpr

        self.given, self.run = given, cv_fastlpr

    def fit(self, X, y):
        factors = [typical_bandwidth(X)] if self.given else candidates(typical_bandwidth(X), 20)
        bandwidths = np.repeat(np.reshape(factors, (-1, 1)), X.shape[1], axis=1)
        self.result = self.run(X, y, bandwidths, {"order": 0, "dstd": 0})  # dstd=0: the minimum

    def predict(self, X):
        return np.ravel(self.result.yhat)  # at the training samples, which fit has computed

    def exact(self, X, y, rows):
        return weighted_mean("gaussian", X, y, np.ravel(self.result.h) * self.result.metadata["std"], rows)


class StatsmodelsKernelReg:
    """Gaussian kernel; the bandwidths, one for each feature, by leave-one-out and Nelder-Mead."""

    distribution = "statsmodels"
    max_features = 3

    def __init__(self, given=False):
        from statsmodels.nonparametric.kernel_regression import KernelReg

        self.given, self.make = given, KernelReg

    def fit(self, X, y):
        bandwidth = typical_bandwidth(X) * X.std(axis=0) if self.given else "cv_ls"
        self.model = self.make(y, X, "c" * X.shape[1], reg_type="lc", bw=bandwidth)

    def predict(self, X):
        return self.model.fit(X)[0]

    def exact(self, X, y, rows):
        return weighted_mean("gaussian", X, y, self.model.bw, rows)


class Rgram:
    """Epanechnikov kernel; the bandwidth with the least squared error in 5 folds among 6.

    It spares itself the samples out of reach only where they come in order, so they are put in order.
    """

    distribution = "rgram"
    max_features = 1

    def __init__(self, given=False):
        from rgram import CoverageSearchCV, KernelSmoother

        self.given, self.make, self.search = given, KernelSmoother, CoverageSearchCV

    def fit(self, X, y):
        typical = typical_bandwidth(X) * WIDTH["epanechnikov"] * X.std()
        self.model = self.make("manual", bandwidth_value=typical)
        if not self.given:
            self.model = self.search(self.model, {"bandwidth_value": list(candidates(typical, 6))})
        order = np.argsort(X[:, 0])
        self.model.fit(X[order], y[order])

    def predict(self, X):
        return self.model.predict(X)

    def exact(self, X, y, rows):
        model = self.model if self.given else self.model.best_estimator_
        return weighted_mean("epanechnikov", X, y, model.bandwidth_, rows)


class FastLowess:
    """Local lines in windows of nearest neighbours; the window with the least squared error in 5 folds among 6.

    `delta` is the distance within which it interpolates: None is its default, a hundredth of the range, 0 nowhere.
    Without padding (its default at the edges) and robustness iterations it computes the LOWESS of the textbooks.
    """

    distribution = "fastlowess"
    max_features = 1

    def __init__(self, given=False, delta=None):
        from fastlowess import Lowess

        self.given, self.delta, self.make = given, delta, Lowess

    def fit(self, X, y):
        typical = 1.4 * typical_bandwidth(X)
        choice = (
            {"fraction": typical}
            if self.given
            else {"cv": {"method": "kfold", "k": 5, "fractions": list(candidates(typical, 6))}}
        )
        model = self.make(iterations=0, delta=self.delta, boundary_policy="noboundary", **choice)
        self.result = model.fit(X[:, 0], y)

    def predict(self, X):
        return self.result.y  # at the training samples, which fit has computed

    def exact(self, X, y, rows):
        return local_line(X[:, 0], y, int(self.result.fraction_used * len(X) + 1e-10), rows)


class EffectiveNeighbours:
    """The mean of the nearest neighbours, 5 or as many as have the least squared error in 5 folds among 6."""

    distribution = "scikit-learn"
    max_features = 3

    def __init__(self, given=False):
        from sklearn.model_selection import GridSearchCV
        from sklearn.neighbors import KNeighborsRegressor

        self.model = KNeighborsRegressor()
        if not given:
            self.model = GridSearchCV(self.model, {"n_neighbors": NEIGHBOURS}, scoring="neg_mean_squared_error")

    def fit(self, X, y):
        self.model.fit(X, y)

    def predict(self, X):
        return self.model.predict(X)

    def exact(self, X, y, rows):
        return None  # ties in distance have no right order, and it is another smoother


OURS = {f"sknw {kernel}": (Ours, {"kernel": kernel}) for kernel in WIDTH}
PEERS = {
    "fastlowess": (FastLowess, {}),
    "fastlowess, exact": (FastLowess, {"delta": 0.0}),
    "fastlpr": (FastLPR, {}),
    "KNeighborsRegressor": (EffectiveNeighbours, {}),
    "rgram": (Rgram, {}),
    "kernelsmooth": (KernelSmooth, {}),
    "statsmodels KernelReg": (StatsmodelsKernelReg, {}),
}
SMOOTHERS = OURS | PEERS


def make(name, given=False):
    cls, parameters = SMOOTHERS[name]
    return cls(given, **parameters)
