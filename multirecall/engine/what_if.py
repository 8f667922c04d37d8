"""Other weights, quotas and fusions as a config, and how a list changes under them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.config import EngineConfig, FusionConfig
from multirecall.engine.segments import UNLEARNED
from multirecall.errors import RequestError
from multirecall.result import Candidates
from multirecall.validation import AUTO, nearest, validate


@dataclass(frozen=True, slots=True)
class Choices:
    """What differs from the config that serves, as in `Trace.vary`."""

    weights: Mapping[str, float] = field(default_factory=dict)
    quotas: Mapping[str, int] = field(default_factory=dict)
    enabled: Mapping[str, bool] = field(default_factory=dict)
    strategy: str | None = None
    params: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Moves:
    """How a list changed.

    Attributes:
        before: the rank that each candidate of the later list had in the earlier one, int64 (n,); -1: it entered.
        left: the ids that are only in the earlier list, best first, (m,).
        left_ranks: their ranks there, int64 (m,).
    """

    before: NDArray[np.int64]
    left: NDArray[Any]
    left_ranks: NDArray[np.int64]


def moves(earlier: Candidates, later: Candidates) -> Moves:
    """How `later` differs from `earlier`, two answers of one engine."""
    places = {id_: rank for rank, id_ in enumerate(earlier.ids.tolist())}
    before = np.array([places.pop(id_, -1) for id_ in later.ids.tolist()], np.int64)
    left_ranks = np.fromiter(places.values(), np.int64, len(places))
    return Moves(before, earlier.ids[left_ranks], left_ranks)


def vary(config: EngineConfig, paths: Sequence[str], segment: int | None, choices: Choices) -> EngineConfig:
    """The config with these choices, whose weights and fusion hold for one segment; None: for the common one.

    A fusion that is "auto" becomes the one that serves where nothing is learned.

    Raises:
        RequestError: no path has such a name.
        ConfigError: a value is wrong.
    """
    for place, chosen in (("weights", choices.weights), ("quotas", choices.quotas), ("enabled", choices.enabled)):
        refuse_unknown(chosen, paths, place)
    values = config.model_dump(exclude_unset=True)
    own = {path.name: path.model_dump(exclude_unset=True) | {"name": path.name} for path in config.paths}
    segments = [one.model_dump(exclude_unset=True) for one in config.segments]
    for place, chosen in (("quota", choices.quotas), ("enabled", choices.enabled)):
        for name, value in chosen.items():
            own[name][place] = value
    common = UNLEARNED if config.fusion.strategy == AUTO else config.fusion
    if segment is None:
        for name, weight in choices.weights.items():
            own[name]["weight"] = weight
        common = _fusion(common, choices)
    else:
        part = config.segments[segment]
        segments[segment]["weights"] = {**part.weights, **choices.weights}
        if choices.strategy is not None or choices.params is not None:
            segments[segment]["fusion"] = _fusion(part.fusion or common, choices).model_dump(exclude_unset=True)
    values["paths"], values["fusion"] = list(own.values()), common.model_dump(exclude_unset=True)
    if segments:
        values["segments"] = segments
    return validate(EngineConfig, values, "what-if")


def refuse_unknown(names: Iterable[str], known: Iterable[str], place: str) -> None:
    """Raise `RequestError` where one of `names` is not among `known`."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RequestError(f"{place}: no path is named {unknown[0]!r}; {nearest(unknown[0], known)}")


def _fusion(present: FusionConfig, choices: Choices) -> FusionConfig:
    strategy = present.strategy if choices.strategy is None else choices.strategy
    kept = present.params if strategy == present.strategy else {}
    return validate(
        FusionConfig, {"strategy": strategy, "params": kept if choices.params is None else choices.params}, "what-if"
    )
