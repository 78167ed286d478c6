"""What every engine must do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import Any

from sknw._kernel_sums.request import KernelSumRequest
from sknw._kernel_sums.scaled_sums import ScaledSums


class Engine(ABC):
    """The contract of an engine."""

    name: str  # a value of the estimators' `algorithm`
    is_compiled: bool = True  # whether it must load compiled loops, which takes `LOAD_SECONDS` once a process
    # whether `compute` can leave several keys out of a query; if not, a difference of sums does it, see `ranges`
    leaves_out_ranges: bool = False
    # the least that `estimate_seconds` can say: an engine is not asked where another one takes no longer than this
    least_seconds: float = 0.0

    @abstractmethod
    def refusal(self, request: KernelSumRequest) -> str | None:
        """Why it cannot take a request, to follow its name in a sentence; None if it can."""

    @abstractmethod
    def estimate_seconds(self, request: KernelSumRequest) -> float:
        """About how long `compute` takes, without loading."""

    def compile_seconds(self, request: KernelSumRequest) -> float:
        """What compiling counts for that no process of this machine has done, beyond what brute force needs."""
        return 0.0

    @abstractmethod
    def compute(self, request: KernelSumRequest) -> ScaledSums:
        """The sums of a request that it takes."""


@cache
def has_capability(kind: type[Engine], capability: Any) -> bool:
    """Whether engines of a kind have a capability, one of the protocols: a question that takes long."""
    return issubclass(kind, capability)
