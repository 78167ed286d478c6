"""Points by cell of a grid, and lists of cells.

A cell is three whole numbers, zeros first where there are fewer features; lists of cells are sorted lexicographically.
The grid is made of whole multiples of its width, and cells exist where there are points: neither queries nor outliers
move or multiply them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sknw._kernel_sums.permutation import Rows, sorting_rows, take_last

# Centres of cells must be exact numbers: whole multiples, up to this one, of a width of few digits.
LARGEST_INDEX = 2.0**45
_DIGITS_OF_WIDTH = 5
# Points of one cell that are worked on together.
_CHUNK = 2048


def cell_width(largest: float) -> float:
    """A width up to `largest` with so few digits that its whole multiples are exact."""
    mantissa, exponent = np.frexp(largest)
    return float(np.ldexp(np.floor(np.ldexp(mantissa, _DIGITS_OF_WIDTH)), exponent - _DIGITS_OF_WIDTH))


@dataclass(frozen=True, eq=False)
class Cells:
    """Points by cell; those in a cell that is not within `LARGEST_INDEX` may be anywhere."""

    rows: Rows  # where they stand among the points as given, (n,)
    points: np.ndarray  # (d, n)
    attached: tuple[np.ndarray, ...]  # what belongs to the points, (..., n)
    cells: np.ndarray  # sorted, int64 (s, 3)
    start: np.ndarray  # the first point of each cell, int64 (s + 1,)
    width: float

    @classmethod
    def of_points(cls, rows: Rows, points: np.ndarray, attached: tuple[np.ndarray, ...], width: float) -> Cells:
        """The points `rows` among points (d, m), but those too far away; `attached` belongs to all m."""
        index = np.floor(take_last(points, rows) / width)
        if index.size and max(index.max(), -index.min()) >= LARGEST_INDEX:
            kept = np.flatnonzero(np.all(np.abs(index) < LARGEST_INDEX, axis=0))
            rows, index = kept + rows.start if isinstance(rows, slice) else rows[kept], index[:, kept]
        order, first = _by_cell(index.astype(np.int64))
        if not isinstance(order, slice):
            rows = order + rows.start if isinstance(rows, slice) else rows[order]
        cells = np.zeros((len(first), 3), dtype=np.int64)
        cells[:, 3 - len(points) :] = take_last(index, order)[:, first].T
        attached = tuple(take_last(array, rows) for array in attached)
        points = np.ascontiguousarray(take_last(points, rows))
        return cls(rows, points, attached, cells, np.append(first, points.shape[1]), width)

    def __len__(self) -> int:
        return self.points.shape[1]

    @property
    def counts(self) -> np.ndarray:
        return np.diff(self.start)

    def chunks(self, of_cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Chunks of limited size of the points of some cells: the cell of each, and its first and end point (c, 2)."""
        n_chunks = -(-self.counts[of_cells] // _CHUNK)
        cell = np.repeat(of_cells, n_chunks)
        number = np.arange(len(cell)) - np.repeat(np.cumsum(n_chunks) - n_chunks, n_chunks)
        begin = self.start[cell] + number * _CHUNK
        return cell, np.column_stack([begin, np.minimum(begin + _CHUNK, self.start[cell + 1])])

    def subset(self, taken: np.ndarray) -> Cells:
        """The points with a True in `taken` (n,)."""
        counts = np.diff(np.append(0, np.cumsum(taken))[self.start])
        return replace(
            self,
            rows=np.arange(len(self))[taken] if isinstance(self.rows, slice) else self.rows[taken],
            points=np.compress(taken, self.points, axis=1),
            attached=tuple(array[..., taken] for array in self.attached),
            cells=self.cells[counts > 0],
            start=np.concatenate([[0], np.cumsum(counts[counts > 0])]),
        )


def cells_of_line(points: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """The cells of sorted points (n,), and where each begins: (s, 3), (s + 1,)."""
    index, start = _indices_of_line(points, width)
    cells = np.zeros((len(index), 3), dtype=np.int64)
    cells[:, 2] = index
    return cells, start


def _indices_of_line(points: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """The same with the cells as numbers, floor(point / width) up to `LARGEST_INDEX`: (s,), (s + 1,)."""
    n = len(points)
    first, last = np.clip(np.floor(points[[0, -1]] / width), -LARGEST_INDEX, LARGEST_INDEX) if n else (0.0, -1.0)
    if last - first < n and max(-first, last) < LARGEST_INDEX:
        # no more cells than points: those between the first and the last are looked for among the points
        index = np.arange(first, last + 1.0)
        start = np.append(np.searchsorted(points, index * width), n)
        has_points = np.diff(start) > 0
        return index[has_points].astype(np.int64), np.append(start[:-1][has_points], n)
    index = np.clip(np.floor(points / width), -LARGEST_INDEX, LARGEST_INDEX).astype(np.int64)
    start = np.concatenate([[0], 1 + np.flatnonzero(np.diff(index)), [n]])
    return index[start[:-1]], start


def _by_cell(index: np.ndarray) -> tuple[Rows, np.ndarray]:
    """The order of n cells, given as (d, n), and the places in that order at which another cell begins."""
    n = index.shape[1]
    if n == 0:
        return slice(0, 0), np.empty(0, dtype=np.int64)
    changes = np.ones(n, dtype=bool)
    lowest = index.min(axis=1)
    extent = index.max(axis=1) - lowest + 1
    if np.prod(extent.astype(float)) >= 2.0**62:
        order = np.lexsort(index[::-1])
        changes[1:] = np.any(index[:, order[1:]] != index[:, order[:-1]], axis=0)
        return order, np.flatnonzero(changes)
    # a single number for each cell sorts several times faster
    number = np.zeros(n, dtype=np.int64)
    for axis, low, length in zip(index, lowest, extent, strict=True):
        number *= length
        number += axis - low
    rows = sorting_rows(number)
    number = take_last(number, rows)
    np.not_equal(number[1:], number[:-1], out=changes[1:])
    return rows, np.flatnonzero(changes)


@dataclass(frozen=True, eq=False)
class TranslationStage:
    """Where sums arrive when brought along one feature."""

    cells: np.ndarray  # (t, 3)
    turned: np.ndarray  # the same, the last feature made the first; sorted


def translation_plan(cells: np.ndarray, targets: np.ndarray, d: int, reach: int) -> list[TranslationStage]:
    """The stages from `cells` to `targets`: near the stage before, and near a target in the features still to come."""
    stages = []
    for n_done in range(d):
        turned = _sorted(_turned(targets, d))
        if n_done < d - 1:
            wanted = targets
            for axis in range(3 - d + n_done, 2):
                wanted = _dilated(wanted, axis, reach)
            turned = _sorted(_turned(_common(_dilated(cells, 2, reach), wanted), d))
        stages.append(TranslationStage(_turned_back(turned, d), turned))
        cells, targets = turned, _turned(targets, d)
    return stages


def _turned(cells: np.ndarray, d: int) -> np.ndarray:
    return np.hstack([cells[:, : 3 - d], cells[:, 2:], cells[:, 3 - d : 2]])


def _turned_back(cells: np.ndarray, d: int) -> np.ndarray:
    return np.hstack([cells[:, : 3 - d], cells[:, 4 - d :], cells[:, 3 - d : 4 - d]])


def _dilated(cells: np.ndarray, axis: int, reach: int) -> np.ndarray:
    """All cells at most `reach` from one of `cells` along an axis."""
    dilated = np.repeat(cells, 2 * reach + 1, axis=0)
    dilated[:, axis] += np.tile(np.arange(-reach, reach + 1), len(cells))
    order, first = _by_cell(dilated.T)
    return dilated[order][first]


def _common(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cells in both of two lists without repetitions."""
    both = np.vstack([a, b])
    order, first = _by_cell(both.T)
    return np.delete(both[order], first, axis=0)


def _sorted(cells: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(cells[_by_cell(cells.T)[0]])
