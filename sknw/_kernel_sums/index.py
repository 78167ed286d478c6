"""What engines make of the keys, once for all queries: trees, tiles, cells, sorted orders."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from scipy.spatial import cKDTree

from sknw._kernel_sums.permutation import sort_equal

_Made = TypeVar("_Made")


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of keys that are equally far from each other along some columns, as the levels of a category."""

    number: np.ndarray  # the group of each key, from 0 to `n_groups` - 1, (n,)
    n_groups: int
    columns: slice  # those columns of the keys, in which all keys of a group are equal
    sq: float  # the squared distance of two groups

    @property
    def n_columns(self) -> int:
        return self.columns.stop - self.columns.start

    @property
    def sq_unknown(self) -> float:
        """The squared distance of the point in the middle, of group -1, to all groups."""
        return 0.5 * self.sq * (1.0 - 1.0 / self.n_groups)

    def take(self, rows: np.ndarray | slice) -> Groups:
        """Those of some of the keys."""
        return replace(self, number=self.number[rows])

    def members(self, group: int) -> np.ndarray:
        """The keys of a group, ascending; none of group -1."""
        order, first = self._sorted
        return order[first[group] : first[group + 1]] if group >= 0 else order[:0]

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """The keys, sorted by group, and where in this order each begins, and the last ends."""
        order = np.argsort(self.number, kind="stable")
        return order, np.searchsorted(self.number[order], np.arange(self.n_groups + 1))


class KeyIndex:
    """The keys of kernel sums, with their weights and columns, and what engines have made of them.

    Made once, in fit. What an engine makes is kept under a name; making it twice does no harm, so that threads need no
    lock for it. Nothing here depends on queries.

    Attributes
    ----------
    keys : ndarray of shape (n, d), float64
        The z_j.
    weights : ndarray of shape (n,), float64
        The w_j: positive, the largest of the order of 1.
    columns : ndarray of shape (n, k), float64
        The V_j.
    offset_magnitude : float
        The largest coordinate that centring took away: inputs were rounded in proportion to it.
    groups : Groups or None
        What is known of groups of the keys; they say nothing that the keys do not.
    metric : (KeyIndex, w) or None
        An index whose keys times w are these.
    value_columns : slice or ndarray
        The columns that are values. The others are products of a value, or 1, with one or two coordinates of inputs. A
        coordinate of an input is one of the keys times a factor. Products are accurate as seen from the query.
    engine : str or None
        The name of the only engine that has the keys; None: all have.
    """

    engine: str | None = None

    def __init__(
        self,
        keys: np.ndarray,
        weights: np.ndarray,
        columns: np.ndarray,
        offset_magnitude: float = 0.0,
        groups: Groups | None = None,
    ) -> None:
        self.groups = groups
        self.keys, self.weights, self.columns, self.offset_magnitude = keys, weights, columns, offset_magnitude
        self.metric: tuple[KeyIndex, np.ndarray] | None = None
        self.value_columns: slice | np.ndarray = slice(None)
        self._of_keys: dict[Hashable, Any] = {}
        self._of_columns: dict[Hashable, Any] = {}
        self._of_bandwidths: OrderedDict[Hashable, tuple[int, Any]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.keys)

    def __reduce__(self) -> tuple[Any, ...]:
        """Without what engines have made."""
        return KeyIndex, (self.keys, self.weights, self.columns, self.offset_magnitude, self.groups)

    def with_columns(self, columns: np.ndarray) -> KeyIndex:
        """The same keys and weights with other columns; what was made of the keys alone is shared."""
        index = KeyIndex(self.keys, self.weights, columns, self.offset_magnitude, self.groups)
        index._of_keys = self._of_keys
        return index

    def in_metric(self, w: np.ndarray, offset_magnitude: float) -> KeyIndex:
        """The keys times w, one number for each of their columns, (d,), or a matrix (d, r)."""
        keys, groups = self.keys * w if w.ndim == 1 else self.keys @ w, self.groups
        if groups is not None:
            groups = replace(groups, sq=float(groups.sq * w[groups.columns.start] ** 2))
        index = KeyIndex(keys, self.weights, self.columns, offset_magnitude, groups)
        index.metric = self, w
        return index

    def same_keys(self, name: Hashable, make_columns: Callable[[], np.ndarray]) -> KeyIndex:
        """`with_columns`, made once for this name; in a metric they are those of the keys before."""

        def make() -> KeyIndex:
            if self.metric is None:
                return self.with_columns(make_columns())
            before, w = self.metric
            same = before.same_keys(name, make_columns)
            index = self.with_columns(same.columns)
            index.metric = same, w
            return index

        return self.of_columns(name, make)

    @property
    def has_products(self) -> bool:
        """Whether some columns are no values."""
        return not isinstance(self.value_columns, slice)

    def with_columns_of(self, name: Hashable, x: np.ndarray, make: Callable[..., np.ndarray]) -> KeyIndex:
        """`same_keys` with the columns ``make(x, V)`` of inputs x (n, d) of the keys and their columns V."""
        return self.same_keys(name, lambda: make(x, self.columns))

    def without_columns(self) -> KeyIndex:
        """The same keys and weights, without columns: only the sums of weights are computed."""
        return self.of_columns("no columns", lambda: self.with_columns(np.empty((len(self), 0))))

    def take(self, rows: np.ndarray | slice) -> KeyIndex:
        """Some of the keys, or all in another order."""
        groups = None if self.groups is None else self.groups.take(rows)
        return KeyIndex(self.keys[rows], self.weights[rows], self.columns[rows], self.offset_magnitude, groups)

    def coordinates_of(self, keys: np.ndarray) -> Iterator[np.ndarray]:
        """The coordinates of some keys, one after the other: d arrays of the shape of `keys`."""
        return (np.take(column, keys) for column in self.keys.T)

    def of_keys(self, name: Hashable, make: Callable[[], _Made]) -> _Made:
        """``make()``, a function of keys and weights, or what it has made before under this name."""
        return self._of_keys[name] if name in self._of_keys else self._of_keys.setdefault(name, make())

    def of_columns(self, name: Hashable, make: Callable[[], _Made]) -> _Made:
        """``make()``, a function of keys, weights and columns, or what it has made before under this name."""
        return self._of_columns[name] if name in self._of_columns else self._of_columns.setdefault(name, make())

    def of_bandwidth(self, name: Hashable, make: Callable[[], _Made]) -> _Made:
        """As `of_columns`, for what also depends on a bandwidth: a search makes it for many.

        The last of these are kept, as long as all of them take no more memory than keys, weights and columns.
        """
        with self._lock:
            if name in self._of_bandwidths:
                self._of_bandwidths.move_to_end(name)
                return self._of_bandwidths[name][1]
        made, most_bytes = make(), self.keys.nbytes + self.weights.nbytes + self.columns.nbytes
        with self._lock:
            kept = self._of_bandwidths
            kept[name] = _n_bytes(made), made
            while len(kept) > 1 and sum(n_bytes for n_bytes, _ in kept.values()) > most_bytes:
                kept.popitem(last=False)
        return made

    def of_weighted_columns(self, name: Hashable, make: Callable[[], _Made]) -> _Made:
        """``make()``, a function of `weighted_columns` alone, which keys in a metric share with those before it."""
        return self.of_columns(name, make) if self.metric is None else self.metric[0].of_weighted_columns(name, make)

    @property
    def weighted_columns(self) -> np.ndarray:
        """w_j (1, V_j), of shape (n, 1 + k)."""
        return self.of_weighted_columns("weighted", self._weigh_columns)

    def _weigh_columns(self) -> np.ndarray:
        weighted = np.empty((len(self), 1 + self.columns.shape[1]))
        weighted[:, 0] = self.weights
        np.multiply(self.columns, self.weights[:, np.newaxis], out=weighted[:, 1:])
        return weighted

    @cached_property
    def ranges(self) -> np.ndarray:
        """The least and the largest coordinates of the keys: (2, d)."""
        return np.array([self.keys.min(axis=0), self.keys.max(axis=0)])

    @cached_property
    def max_abs_key(self) -> float:
        """The largest coordinate of a key."""
        return float(np.abs(self.ranges).max()) or 1.0

    @property
    def has_equal_keys(self) -> bool:
        """Whether two keys are equal."""
        return not sort_equal(self.keys)[1].all()

    def nearest_in_max_norm(self, point: np.ndarray, n: int) -> np.ndarray:
        """The n keys whose largest difference in a coordinate from a point is smallest, the first of them first."""
        return smallest(np.abs(self.keys - point).max(axis=1), n)

    def keys_within(self, points: np.ndarray, radii: np.ndarray) -> np.ndarray:
        """The keys, ascending, that are within its radius of one of the points (p, d)."""
        is_near = np.zeros(len(self), dtype=bool)
        for point, radius in zip(points / self.max_abs_key, radii / self.max_abs_key, strict=True):
            is_near[self.tree.query_ball_point(point, radius)] = True
        return np.flatnonzero(is_near)

    @property
    def squared_norms(self) -> np.ndarray:
        """The squared distance of each key from the centre: (n,)."""
        return self.of_keys("squared norms", lambda: squared_norms(self.keys))

    @cached_property
    def mean(self) -> np.ndarray:
        """sum_j w_j V_j / sum_j w_j: (k,)."""
        return (self.weights[:, np.newaxis] * self.columns).sum(axis=0) / self.weights.sum()

    @cached_property
    def smallest_weight(self) -> float:
        """The least of the weights."""
        return float(self.weights.min())

    @property
    def tree(self) -> cKDTree:
        """The keys, divided by their largest coordinate, for the search of the nearest."""
        # the rule that splits at the middle of a cell, not at the median, also takes many equal keys
        return self.of_keys(
            "tree", lambda: cKDTree(self.keys / self.max_abs_key, balanced_tree=False, compact_nodes=False)
        )


def smallest(values: np.ndarray, n: int) -> np.ndarray:
    """The positions of the n smallest values in ascending order of these; of equal values the first ones."""
    some = np.arange(len(values))
    if n < len(values):
        some = np.flatnonzero(values <= np.partition(values, n - 1)[n - 1])
    return some[np.argsort(values[some], kind="stable")][:n]


def squared_norms(points: np.ndarray) -> np.ndarray:
    """||x||^2 of each row."""
    with np.errstate(over="ignore"):
        return np.einsum("ij,ij->i", points, points)


def _n_bytes(made: Any) -> int:
    """Memory of the arrays in what an engine has made."""
    if isinstance(made, np.ndarray):
        return made.nbytes
    if isinstance(made, tuple | list):
        return sum(map(_n_bytes, made))
    return sum(_n_bytes(getattr(made, field.name)) for field in fields(made)) if is_dataclass(made) else 0
