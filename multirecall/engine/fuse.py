"""Fusion for users, who may be in different segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.config import EngineConfig
from multirecall.engine.segments import Segment, load_fusions, segments_of
from multirecall.lists import FusedBatch, FusedList, RankedBatch, RankedList


@dataclass(frozen=True, slots=True)
class FusionPlan:
    """The fusion of users by the length of their history.

    Attributes:
        segments: shortest first; the last one takes all other users.
        quotas: the quota of each path.
        asked: whether each path takes part, or None where all do. The list of another counts as empty.
    """

    segments: tuple[Segment, ...]
    quotas: Sequence[int]
    asked: tuple[bool, ...] | None = None

    def windows(self, n_items: int) -> tuple[int, ...]:
        """The most items of each path that a fusion can use, of a catalogue of `n_items`."""
        each = [fusion.windows(self.quotas) for _, fusion, _ in self.segments]
        return tuple(min(max(own), n_items) for own in zip(*each, strict=True))

    def fuse(self, lists: Sequence[RankedList], length: int, k: int) -> FusedList:
        """Fuse the lists of one user.

        Args:
            lists: the list of each path.
            length: the length of the user's history.
            k: the most candidates.
        """
        if self.asked is not None:
            lists = [one if asked else RankedList.empty() for one, asked in zip(lists, self.asked, strict=True)]
        _, fusion, weights = next(segment for segment in self.segments if length <= segment.longest)
        return fusion.fuse(lists, weights, self.quotas, k)

    def fuse_batch(self, batches: Sequence[RankedBatch], lengths: NDArray[np.int64], k: int) -> FusedBatch:
        """Fuse the lists of several users, segment by segment; `lengths` int64 (n_users,)."""
        if self.asked is not None:
            none = RankedBatch.empty(lengths.size)
            batches = [one if asked else none for one, asked in zip(batches, self.asked, strict=True)]
        numbers = np.searchsorted([segment.longest for segment in self.segments], lengths)
        fused, users = [], []
        for number, (_, fusion, weights) in enumerate(self.segments):
            own = np.flatnonzero(numbers == number)
            if own.size == lengths.size:
                return fusion.fuse_batch(batches, weights, self.quotas, k)
            users.append(own)
            fused.append(fusion.fuse_batch([batch.take(own) for batch in batches], weights, self.quotas, k))
        return FusedBatch.concat(fused).take(np.argsort(np.concatenate(users)))


def plan_of(config: EngineConfig, names: Sequence[str]) -> FusionPlan:
    """The fusion of a config for the paths `names` of it, in their order.

    Raises:
        PluginError: a fusion is unknown or broken.
        ConfigError: a fusion refuses its settings, or cannot do with these paths.
    """
    by_name = {path.name: path for path in config.paths}
    asked = tuple(by_name[name].enabled for name in names)
    return FusionPlan(
        segments_of(config, load_fusions(config, stored=True), names),
        [by_name[name].quota for name in names],
        None if all(asked) else asked,
    )
