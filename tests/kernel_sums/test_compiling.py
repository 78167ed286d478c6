"""What the compiled loops share."""

import gc
import itertools

import pytest
from numba import njit
from numba.core import event

from sknw._kernel_sums import numba as loops


def compiled_function():
    """A function that has not been compiled yet, which is not kept on disk."""

    @njit
    def extremes(a, b):
        return loops.min(a, b), loops.max(a, b)

    return extremes


def test_min_and_max_are_those_of_python():
    extremes = compiled_function()
    for a, b in itertools.product([-2, 0, 3, -1.5, 0.5, 3.0, float("inf")], repeat=2):
        assert extremes(a, b) == (min(a, b), max(a, b))
    assert [type(number) for number in extremes(1, 2)] == [int, int]


@pytest.mark.parametrize("is_enabled", [True, False])
def test_no_garbage_is_collected_while_numba_compiles(is_enabled):
    seen = []

    class Recorder(event.Listener):
        def on_start(self, event):
            seen.append(gc.isenabled())

        def on_end(self, event):
            pass

    was_enabled = gc.isenabled()
    try:
        (gc.enable if is_enabled else gc.disable)()
        with event.install_listener("numba:compile", Recorder()):
            compiled_function()(1.0, 2.0)
        assert seen and not any(seen)
        assert gc.isenabled() == is_enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
