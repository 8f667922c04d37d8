"""How the lists of users are fused, by the length of their history."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from multirecall.config import EngineConfig, FusionConfig
from multirecall.data import Dataset
from multirecall.engine.path import Path
from multirecall.errors import ConfigError
from multirecall.learning.choice import PLAIN
from multirecall.protocols import Fusion
from multirecall.registry import fusion_class
from multirecall.validation import AUTO, validate

UNLEARNED = FusionConfig(strategy=PLAIN[0], params=PLAIN[1])
"""What serves under `strategy = "auto"` where a fit cannot learn: reciprocal rank fusion with the paths' weights."""


class Segment(NamedTuple):
    """Users with histories up to some length, and what merges their lists.

    Attributes:
        longest: the longest history of the segment, in events. A user is in the first segment that is long enough.
        fusion: merges the paths' lists.
        weights: the weight of each path in it.
    """

    longest: float
    fusion: Fusion
    weights: list[float]


def load_fusions(config: EngineConfig, stored: bool) -> tuple[Fusion, ...]:
    """The fusion of each segment of the config and, last, the common one, which also serves segments without their own.

    Raises:
        PluginError: a plug-in is unknown or broken.
        ConfigError: a plug-in refuses its settings.
    """
    names = [path.name for path in config.paths]
    loaded = []
    for place, fusion in _fusions(config):
        plugin = fusion_class(fusion.strategy)
        settings = validate(plugin.Config, fusion.params, place, stored=stored)
        loaded.append(_for_paths(plugin(settings), names, place))
    return tuple(loaded)


def segments_of(config: EngineConfig, fusions: Sequence[Fusion], names: Sequence[str]) -> tuple[Segment, ...]:
    """The segments, shortest first, for the paths `names`, which could be fitted. The last one takes all other users.

    Args:
        config: the config.
        fusions: as `load_fusions` gives them.
        names: the paths in order.

    Raises:
        ConfigError: a fusion cannot do with these paths.
    """
    own = {path.name: path.weight for path in config.paths}
    bounds = [*(segment.max_history for segment in config.segments), math.inf]
    weights = [*(own | segment.weights for segment in config.segments), own]
    places = [place for place, _ in _fusions(config)]
    return tuple(
        Segment(longest, _for_paths(fusion, names, place), [by_name[name] for name in names])
        for longest, fusion, place, by_name in zip(bounds, fusions, places, weights, strict=True)
    )


def windows_of(segments: Iterable[Segment], paths: Sequence[Path], data: Dataset) -> tuple[int, ...]:
    """The number of items that each path is asked for: the most that a fusion can use, at most the catalogue."""
    quotas = [path.quota for path in paths]
    widest = map(max, zip(*(segment.fusion.windows(quotas) for segment in segments), strict=True))
    return tuple(min(window, data.n_items) for window in widest)


def _fusions(config: EngineConfig) -> list[tuple[str, FusionConfig]]:
    """The fusion of each segment and, last, the common one, each with the place at which an error names it."""
    places = [
        *(
            ("fusion", config.fusion) if one.fusion is None else (f"segments[{number}].fusion", one.fusion)
            for number, one in enumerate(config.segments)
        ),
        ("fusion", config.fusion),
    ]
    served = [(place, UNLEARNED if one.strategy == AUTO else one) for place, one in places]
    return [(f"{place} ({one.strategy})", one) for place, one in served]


def _for_paths(fusion: Fusion, names: Sequence[str], place: str) -> Fusion:
    try:
        return fusion.for_paths(names)
    except ConfigError as fault:
        raise ConfigError(f"{place}: {fault}") from None
