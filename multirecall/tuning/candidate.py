"""A candidate of the search: one fusion with its settings, weights and quotas."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from multirecall.config import EngineConfig, PathConfig, SegmentConfig
from multirecall.protocols import Fusion
from multirecall.registry import fusion_class
from multirecall.validation import validate


@dataclass(frozen=True)
class Candidate:
    """A fusion of some paths.

    Attributes:
        strategy: the name of the fusion plug-in.
        params: the settings of the plug-in.
        weights: the weight of each path, 0 for a gated path.
        quotas: the quota of each path.
        segments: pairs of the largest history length of a segment and the weights of its users, shortest first.
    """

    strategy: str
    params: dict[str, Any]
    weights: tuple[float, ...]
    quotas: tuple[int, ...]
    segments: tuple[tuple[int, tuple[float, ...]], ...] = field(default=())

    @property
    def chosen(self) -> list[int]:
        """The positions of the paths that are not gated."""
        return [path for path, weight in enumerate(self.weights) if weight > 0]

    @property
    def key(self) -> str:
        """The candidate as one line of text, equal for candidates that fuse alike."""
        own = self.chosen
        parts = (self.strategy, self.params, own, [self.weights[p] for p in own], [self.quotas[p] for p in own])
        return json.dumps([*parts, self.segments], sort_keys=True)

    def fusion(self) -> Fusion:
        """The fusion plug-in with the settings of the candidate."""
        plugin = fusion_class(self.strategy)
        return plugin(validate(plugin.Config, self.params, f"fusion ({self.strategy})"))

    def apply_to(self, config: EngineConfig, names: tuple[str, ...]) -> EngineConfig:
        """A copy of `config` with this fusion; `names` are the paths in the order of the weights.

        Gated paths, and paths that are not in `names`, stay in the config but are disabled, so that the other paths
        keep their positions and with them their seeds.
        """
        paths = []
        for path in config.paths:
            number = names.index(path.name) if path.name in names else -1
            if number < 0 or not self.weights[number]:
                paths.append(_with_settings(path, enabled=False))
            else:
                paths.append(_with_settings(path, weight=self.weights[number], quota=self.quotas[number]))
        segments = tuple(
            SegmentConfig(max_history=longest, weights={names[path]: weights[path] for path in self.chosen})
            for longest, weights in self.segments
        )
        values = config.model_dump(exclude_unset=True) | {
            "paths": [path.model_dump(exclude_unset=True) for path in paths],
            "fusion": {"strategy": self.strategy} | ({"params": self.params} if self.params else {}),
            "segments": [segment.model_dump(exclude_unset=True) for segment in segments],
        }
        if not segments:
            del values["segments"]
        return validate(EngineConfig, values, "tune")


def _with_settings(path: PathConfig, **values: Any) -> PathConfig:
    return PathConfig.model_validate(path.model_dump(exclude_unset=True) | {"name": path.name} | values)
