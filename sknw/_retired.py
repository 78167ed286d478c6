"""Modules that pickles of the first layout name: whoever loads one is told to refit."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _RetiredModule(ModuleType):
    """A module of which nothing is left but the name of its class."""

    def __init__(self, name: str, retired: str):
        super().__init__(name)
        self.retired = retired

    def __getattr__(self, name: str) -> Any:
        if name != self.retired:  # tools, and pickle itself, look for names in all modules that are loaded
            raise AttributeError(name)
        raise ValueError(
            f"{name} was pickled by an older version of sknw, whose pickles cannot be loaded: refit the model."
        )


for _name, _class in {
    "_attention_pooling": "AttentionPoolingRegressor",
    "_local_linear": "LocalLinearRegressor",
    "_nadaraya_watson": "NadarayaWatsonRegressor",
}.items():
    sys.modules[f"sknw.{_name}"] = _RetiredModule(f"sknw.{_name}", _class)
