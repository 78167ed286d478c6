"""Kernel regression for scikit-learn users: Nadaraya-Watson, read as attention."""

from sknw import datasets, kernels
from sknw._nadaraya_watson import NadarayaWatsonRegressor
from sknw._selection import BandwidthSearch

__all__ = [
    "BandwidthSearch",
    "NadarayaWatsonRegressor",
    "datasets",
    "kernels",
]

__version__ = "0.1.0"
