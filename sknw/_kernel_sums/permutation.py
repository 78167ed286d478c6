"""Points in an order; those that come in it already are not copied."""

from __future__ import annotations

import numpy as np

# Where points in an order stand among the points as given: a slice where they are the same, in the same order.
Rows = slice | np.ndarray

# Rows that are worked on at a time where all at once would take much memory.
_BLOCK = 2**16


def row_blocks(n: int) -> list[slice]:
    """Blocks of n rows."""
    return [slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]


def sorting_rows(x: np.ndarray) -> Rows:
    """The order that sorts x."""
    return slice(0, len(x)) if np.all(x[:-1] <= x[1:]) else np.argsort(x)


def sort_equal(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order of points (n, d) that puts equal ones together, and which of them differs from the one before, (n,).

    They are sorted by one weighted sum of the coordinates: rarely, another of the same sum may come between two of
    many equal points.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # infinite queries
        sums = points @ np.sqrt(np.arange(2.0, 2.0 + points.shape[1]))
    order = np.argsort(sums)
    sums, is_first = sums[order], np.ones(len(points), dtype=bool)
    same = 1 + np.flatnonzero(sums[1:] == sums[:-1])  # only these are compared
    is_first[same] = np.any(points[order[same]] != points[order[same - 1]], axis=1)
    return order, is_first


def take_last(array: np.ndarray, rows: Rows) -> np.ndarray:
    """The points `rows` of an array whose last axis goes through the points."""
    # take(): indexing with an array of rows is four times slower
    return array[..., rows] if isinstance(rows, slice) else np.take(array, rows, axis=-1)


def scatter_rows(array: np.ndarray, rows: Rows, ordered: np.ndarray) -> None:
    """array[:, rows] = ordered, row by row: all at once takes several times as long."""
    for row, row_in_order in zip(array, ordered, strict=True):
        row[rows] = row_in_order


def in_ranges(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The numbers first[0], ..., last[0] - 1, first[1], ..., one range after the other."""
    counts = last - first
    return np.arange(counts.sum()) + np.repeat(last - np.cumsum(counts), counts)


def places_of(index: np.ndarray, inverse: Rows) -> np.ndarray:
    """Where the points `index` stand in an order, of which the `inverse_permutation` is given; -1 for -1, no point."""
    return index if isinstance(inverse, slice) else np.where(index < 0, -1, np.take(inverse, index))


def inverse_permutation(rows: Rows, n: int) -> Rows:
    """Where in an order `rows` each of n points stands, -1 where it does not."""
    if isinstance(rows, slice) and rows == slice(0, n):
        return rows
    place = np.full(n, -1)
    place[rows] = np.arange(n)[: rows.stop - rows.start] if isinstance(rows, slice) else np.arange(len(rows))
    return place
