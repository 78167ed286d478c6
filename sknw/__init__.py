"""Kernel regression and classification for scikit-learn users: Nadaraya-Watson, local lines, attention and kriging."""

from sknw import _retired as _retired
from sknw import datasets, displays, inspection, kernels, model_selection, onnx
from sknw._selection.result import BandwidthSearch
from sknw._version import __version__ as __version__
from sknw.datasets import make_sine_power
from sknw.displays import AttentionDisplay, BandwidthDisplay, EffectDisplay, FitDisplay
from sknw.estimators.attention_pooling import AttentionPoolingRegressor
from sknw.estimators.classifiers import AttentionPoolingClassifier, NadarayaWatsonClassifier
from sknw.estimators.kriging import KrigingRegressor
from sknw.estimators.local_linear import LocalLinearRegressor
from sknw.estimators.nadaraya_watson import NadarayaWatsonRegressor
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

# What files of models hold besides numbers, strings and arrays, by the names that `skops.io.load(trusted=...)` takes.
TRUSTED_TYPES = [
    f"{stored.__module__}.{stored.__qualname__}"
    for stored in (
        AttentionPoolingClassifier,
        AttentionPoolingRegressor,
        KrigingRegressor,
        LocalLinearRegressor,
        NadarayaWatsonClassifier,
        NadarayaWatsonRegressor,
        BandwidthSearch,
        model_selection.LeaveBlockOut,
        *kernels.NAMED_KERNELS.values(),
        PowerExponential,
    )
]

__all__ = [
    "TRUSTED_TYPES",
    "AttentionDisplay",
    "AttentionPoolingClassifier",
    "AttentionPoolingRegressor",
    "BandwidthDisplay",
    "BandwidthSearch",
    "Biweight",
    "Cosine",
    "EffectDisplay",
    "Epanechnikov",
    "Exponential",
    "FitDisplay",
    "Gaussian",
    "Kernel",
    "KrigingRegressor",
    "Linear",
    "LocalLinearRegressor",
    "NadarayaWatsonClassifier",
    "NadarayaWatsonRegressor",
    "PowerExponential",
    "TopHat",
    "Tricube",
    "Triweight",
    "datasets",
    "displays",
    "inspection",
    "kernels",
    "make_sine_power",
    "model_selection",
    "onnx",
]
