"""Kernel regression for scikit-learn users: Nadaraya-Watson, local lines and learned attention."""

__version__ = "0.1.0"  # before the imports, as estimators store it in pickles

from sknw import datasets, displays, kernels
from sknw._attention_pooling import AttentionPoolingRegressor
from sknw._local_linear import LocalLinearRegressor
from sknw._nadaraya_watson import NadarayaWatsonRegressor
from sknw._selection import BandwidthSearch
from sknw.datasets import make_sine_power
from sknw.displays import AttentionDisplay, BandwidthDisplay, FitDisplay
from sknw.kernels import (
    Biweight,
    Cosine,
    Epanechnikov,
    Exponential,
    Gaussian,
    Kernel,
    Linear,
    PowerExponential,
    TopHat,
    Tricube,
    Triweight,
)

__all__ = [
    "AttentionDisplay",
    "AttentionPoolingRegressor",
    "BandwidthDisplay",
    "BandwidthSearch",
    "Biweight",
    "Cosine",
    "Epanechnikov",
    "Exponential",
    "FitDisplay",
    "Gaussian",
    "Kernel",
    "Linear",
    "LocalLinearRegressor",
    "NadarayaWatsonRegressor",
    "PowerExponential",
    "TopHat",
    "Tricube",
    "Triweight",
    "datasets",
    "displays",
    "kernels",
    "make_sine_power",
]
