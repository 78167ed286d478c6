"""The engine room: kernel sums, by the engine that suits the request.

A `KernelSumRequest` about a `KeyIndex` comes in at `registry.kernel_sums`; the dispatcher there asks the registered
engines, and the one that is chosen returns `ScaledSums`.
"""

# in the order in which messages name them; importing the engines registers them
from sknw._kernel_sums import dense
from sknw._kernel_sums.tiled import engine as tiled

from sknw._kernel_sums.sweep import engine as sweep  # isort: skip
from sknw._kernel_sums.fast_gauss import engine as fast_gauss  # isort: skip
from sknw._kernel_sums.tree import engine as tree  # isort: skip
from sknw._kernel_sums.cluster import engine as cluster  # isort: skip

__all__ = ["cluster", "dense", "fast_gauss", "sweep", "tiled", "tree"]
