"""A fusion with everything that a fit may choose about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.learning.lists import KnownLists
from multirecall.lists import FusedBatch
from multirecall.protocols import Fusion
from multirecall.registry import fusion_class
from multirecall.validation import validate

PLAIN: tuple[str, dict[str, Any]] = ("rrf", {})
"""The fusion that serves where nothing is learned; of one path alone, it keeps the order."""


@dataclass(frozen=True, slots=True)
class SegmentChoice:
    """The fusion of users with at most `max_history` events, where it differs from that of all users."""

    max_history: int
    params: Mapping[str, Any]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FusionChoice:
    """A fusion plug-in with its settings and the weights of the paths.

    Attributes:
        strategy: the name of the plug-in.
        params: its settings.
        weights: the weight of each path; 0: the path is not asked.
        segments: the fusions of users with short histories, shortest first.
    """

    strategy: str
    params: Mapping[str, Any]
    weights: tuple[float, ...]
    segments: tuple[SegmentChoice, ...] = ()

    @property
    def asked(self) -> list[int]:
        """The positions of the paths that are asked."""
        return [path for path, weight in enumerate(self.weights) if weight > 0]

    def fusion(self, names: Sequence[str], params: Mapping[str, Any] | None = None) -> Fusion:
        """The plug-in for the paths `names`, with the settings of all users or with `params`."""
        return open_fusion(self.strategy, self.params if params is None else params).for_paths(names)

    def fuse(self, lists: KnownLists, k: int) -> FusedBatch:
        """What `Engine.retrieve` would return for every request, without backfill."""
        bounds = [*(segment.max_history for segment in self.segments), np.inf]
        parts = [*((one.params, one.weights) for one in self.segments), (self.params, self.weights)]
        own = self.asked
        names, quotas = [lists.names[path] for path in own], [lists.quotas[path] for path in own]
        segment = np.searchsorted(bounds, lists.lengths)
        fused: list[FusedBatch] = []
        members: list[NDArray[np.int64]] = []
        for number in np.unique(segment).tolist():
            params, weights = parts[number]
            members.append(np.flatnonzero(segment == number))
            batches = [lists.batches[path].take(members[-1]) for path in own]
            merged = self.fusion(names, params).fuse_batch(batches, [weights[path] for path in own], quotas, k)
            fused.append(merged)
        if not fused:
            return FusedBatch(
                np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0), np.empty((0, len(own)), np.int32)
            )
        return FusedBatch.concat(fused).take(np.argsort(np.concatenate(members)))


def open_fusion(strategy: str, params: Mapping[str, Any]) -> Fusion:
    """The fusion plug-in `strategy` with these settings; raises `PluginError` or `ConfigError`."""
    plugin = fusion_class(strategy)
    return plugin(validate(plugin.Config, params, f"fusion ({strategy})"))
