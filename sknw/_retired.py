"""Modules that pickles of the first layout name: whoever loads one is told to refit."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _RetiredModule(ModuleType):
    """A module of which nothing is left."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # tools look at the modules that are loaded
            raise AttributeError(name)
        raise ValueError(
            f"{name} was pickled by an older version of sknw, whose pickles cannot be loaded: refit the model."
        )


for _name in ("_attention_pooling", "_local_linear", "_nadaraya_watson"):
    sys.modules[f"sknw.{_name}"] = _RetiredModule(f"sknw.{_name}")
