"""Shards of the keys, as their workers have them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from sknw._kernel_sums.index import KeyIndex
from sknw._kernel_sums.request import KernelSumRequest, LeaveOut


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of all keys, for the workers who have them.

    Attributes
    ----------
    request : KernelSumRequest
        About no keys.
    metric : (w, offset_magnitude) or None
        Where the keys are those that the workers have times w, see `KeyIndex.in_metric`.
    """

    request: KernelSumRequest
    metric: tuple[np.ndarray, float] | None

    @classmethod
    def of(cls, request: KernelSumRequest) -> Question:
        """What a request asks."""
        index, metric = request.index, None
        if index.metric is not None:
            metric = index.metric[1], index.offset_magnitude
        return cls(replace(request, index=index.take(slice(0, 0))), metric)


@dataclass(frozen=True, eq=False)
class Shard:
    """Consecutive keys, from the one numbered `start` among all.

    Attributes
    ----------
    index : KeyIndex
    start : int
    """

    index: KeyIndex
    start: int
    # the last metric and the keys in it: sums and their derivatives are asked for in one after the other
    _in_metric: list[tuple[np.ndarray, KeyIndex]] = field(default_factory=list)

    def __reduce__(self) -> tuple[type, tuple[KeyIndex, int]]:
        return Shard, (self.index, self.start)

    @property
    def rows(self) -> slice:
        """Which of all keys these are."""
        return slice(self.start, self.start + len(self.index))

    @classmethod
    def split(cls, index: KeyIndex, n_shards: int) -> list[Shard]:
        """All keys of an index in shards of equal size."""
        ends = np.linspace(0, len(index), n_shards + 1).round().astype(int).tolist()
        rows = [slice(start, stop) for start, stop in pairwise(ends) if start < stop]
        return [cls(index.take(some), some.start) for some in rows]

    def request(self, question: Question, n_threads: int) -> KernelSumRequest:
        """What is asked of all keys, about those of the shard."""
        leave_out, n = question.request.leave_out, len(self.index)
        if leave_out is not None:
            first, last = (np.clip(end - self.start, 0, n) for end in (leave_out.first, leave_out.last))
            leave_out = LeaveOut(first, last, leave_out.is_own)
        return replace(question.request, index=self._index_for(question), leave_out=leave_out, n_jobs=n_threads)

    def _index_for(self, question: Question) -> KeyIndex:
        """The keys in the metric of a question."""
        if question.metric is None:
            return self.index
        w, offset_magnitude = question.metric
        for last, index in self._in_metric:
            if np.array_equal(last, w):
                return index
        index = self.index.in_metric(w, offset_magnitude)
        self._in_metric[:] = [(w, index)]
        return index
