"""The engine room: kernel sums, by the engine that suits the request.

A `KernelSumRequest` about a `KeyIndex` comes in at `registry.kernel_sums`; the dispatcher there asks the registered
engines, and the one that is chosen returns `ScaledSums`.
"""

from sknw._kernel_sums import dense
from sknw._kernel_sums.fast_gauss import engine as fast_gauss
from sknw._kernel_sums.sweep import engine as sweep
from sknw._kernel_sums.tiled import engine as tiled
from sknw._kernel_sums.tree import engine as tree

# importing the engines registers them
__all__ = ["dense", "fast_gauss", "sweep", "tiled", "tree"]
