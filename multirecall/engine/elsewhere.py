"""The interface of what answers for paths that stand in other processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from multirecall.lists import RankedBatch, RankedList
from multirecall.query import Query

if TYPE_CHECKING:
    from multirecall.engine.deadline import Deadline
    from multirecall.engine.path import Outcome, Path


class Elsewhere(Protocol):
    """Answers for several paths at once, in place of their retrievers. It counts how their calls end."""

    def ask(
        self, paths: Sequence[Path], windows: Sequence[int], query: Query, deadline: Deadline
    ) -> list[Outcome[RankedList]]:
        """The outcome of each path for one user: what each path's `answer` would be; all are `similar`, or none is."""

    def ask_batch(
        self, paths: Sequence[Path], windows: Sequence[int], queries: Sequence[Query]
    ) -> list[Outcome[RankedBatch]]:
        """The outcome of each path for several users, without a deadline."""
