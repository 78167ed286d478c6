"""What the compiled loops share."""

import itertools

from numba import njit

from sknw._kernel_sums import numba as loops


def test_min_and_max_are_those_of_python():
    @njit
    def extremes(a, b):
        return loops.min(a, b), loops.max(a, b)

    for a, b in itertools.product([-2, 0, 3, -1.5, 0.5, 3.0, float("inf")], repeat=2):
        assert extremes(a, b) == (min(a, b), max(a, b))
    assert [type(number) for number in extremes(1, 2)] == [int, int]
