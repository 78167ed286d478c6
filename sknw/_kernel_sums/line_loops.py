"""Sorted points of one feature: their cells, and how many of them lie below others."""

import numpy as np

from sknw._kernel_sums.numba import compiled, inner, max, min


@inner()
def cell_of(x, width, largest_index):
    return max(min(np.floor(x / width), largest_index), -largest_index)


@inner()
def end_of_cell(points, first, stop, width, largest_index):
    """The number of the first of sorted points behind `first` that is not in its cell, `stop` at most."""
    cell = cell_of(points[first], width, largest_index)
    # past the last point known to be of this one, found in steps that double
    step = 1
    while first + step < stop and cell_of(points[first + step], width, largest_index) == cell:
        first, step = first + step, 2 * step
    last = min(first + step, stop)
    while last - first > 1:
        middle = (first + last) // 2
        if cell_of(points[middle], width, largest_index) == cell:
            first = middle
        else:
            last = middle
    return last


@inner()
def place_of(keys, value, guess):
    """The number of sorted keys below `value`, searched in steps that double from a guess."""
    low = high = guess
    step = 1
    while low > 0 and keys[low - 1] >= value:
        high, low, step = low - 1, max(low - step, 0), 2 * step
    while high < len(keys) and keys[high] < value:
        low, high, step = high + 1, min(high + step, len(keys)), 2 * step
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled()
def count_below(keys, queries):
    """How many keys are smaller than each query; both ascending."""
    counts = np.empty(queries.size, dtype=np.int64)
    count = 0
    for r in range(queries.size):
        while count < keys.size and keys[count] < queries[r]:
            count += 1
        counts[r] = count
    return counts
