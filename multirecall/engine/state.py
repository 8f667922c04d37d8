"""Everything that a request reads, as one immutable object, and how it is made from a config and data."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.config import FALLBACK, EngineConfig, FusionConfig, PathConfig
from multirecall.cores import Threads, number_of_threads
from multirecall.data import Dataset
from multirecall.engine.fuse import FusionPlan
from multirecall.engine.learned import Learned
from multirecall.engine.merge import Merging
from multirecall.engine.path import Path, new_path
from multirecall.engine.segments import Segment, load_fusions, segments_of, windows_of
from multirecall.errors import CannotFit
from multirecall.online import Exploration, Served
from multirecall.protocols import Fusion, PluginConfig, Retriever, ThreadedConfig
from multirecall.registry import retriever_class
from multirecall.topk import NO_ROWS
from multirecall.validation import AUTO, validate

_log = logging.getLogger("multirecall.engine")


@dataclass(frozen=True, slots=True)
class Part:
    """A retriever class that the config names, with its validated settings."""

    plugin: type[Retriever]
    settings: PluginConfig

    @classmethod
    def of(cls, place: str, name: str, params: dict[str, Any], threads: Threads, stored: bool) -> Part:
        """Load the plug-in `name` and check `params`; `place` begins every error. `stored`: see `validate`."""
        plugin = retriever_class(name)
        if issubclass(plugin.Config, ThreadedConfig):
            own = 1 if threads == AUTO and not plugin.exact_threads else number_of_threads(threads)
            params = {"threads": own, **params}
        return cls(plugin, validate(plugin.Config, params, f"{place} ({name})", stored=stored))

    @property
    def params(self) -> dict[str, Any]:
        """Every setting as a JSON value, defaults included, without the settings of the machine."""
        return _params(self.settings)


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A config whose plug-in classes are loaded and whose settings are validated.

    Attributes:
        config: the config.
        paths: the enabled paths with their position in the config.
        fusions: the fusion of each segment and, last, the common one.
        fallback: the fallback.
    """

    config: EngineConfig
    paths: tuple[tuple[int, PathConfig, Part], ...]
    fusions: tuple[Fusion, ...]
    fallback: Part

    @property
    def names(self) -> tuple[str, ...]:
        """The enabled paths' names."""
        return tuple(path.name for _, path, _ in self.paths)

    @classmethod
    def of(cls, config: EngineConfig, *, stored: bool = False) -> Blueprint:
        """Load and check; `stored`: the config is a bundle's, see `validate`.

        Raises:
            PluginError: a plug-in is unknown or broken.
            ConfigError: a plug-in refuses its settings.
        """
        paths = tuple(
            (
                number,
                path,
                Part.of(f"paths[{number}] {path.name!r}", path.retriever, path.params, config.threads, stored),
            )
            for number, path in enumerate(config.paths)
            if path.enabled
        )
        fusions = load_fusions(config, stored)
        fallback = Part.of("fallback", config.fallback.retriever, config.fallback.params, config.threads, stored)
        return cls(config, paths, fusions, fallback)

    @property
    def twin(self) -> str | None:
        """The name of the first path that is fitted as the fallback is, so that one retriever serves as both."""
        if self.fallback.plugin.collective:
            return None
        return next((path.name for _, path, part in self.paths if part == self.fallback), None)

    @property
    def resolved(self) -> EngineConfig:
        """The config with every setting of every part, so that a later release with other defaults changes nothing."""
        paths = list(self.config.paths)
        for number, path, part in self.paths:
            paths[number] = path.model_copy(update={"params": part.params})
        segments = tuple(
            one if one.fusion is None else one.model_copy(update={"fusion": _resolved(one.fusion, fusion)})
            for one, fusion in zip(self.config.segments, self.fusions[:-1], strict=True)
        )
        return self.config.model_copy(
            update={
                "paths": tuple(paths),
                "fusion": _resolved(self.config.fusion, self.fusions[-1]),
                "fallback": self.config.fallback.model_copy(update={"params": self.fallback.params}),
                "segments": segments,
            }
        )


@dataclass(frozen=True, slots=True)
class EngineState:
    """Everything that a request reads.

    Attributes:
        data: the dataset.
        paths: the paths in order.
        windows: how many items each path is asked for.
        segments: what merges the paths' lists, by the length of the history; shortest first. The last segment takes
            all other users.
        fallback: fills a list that the paths leave short.
        allowed: bitmap over item rows without those that were removed, or None while none is.
        removed: the rows of the removed items, sorted, int32.
        data_version: a number that rises with every change of the data and with every refit, also across processes.
            A rollback sets it back.
        journal_seq: the number of the last journaled change that the state holds.
        forgetting: whether something was taken back that the fitted paths may still know.
        forgot: the `data_version` of a fit that was made without what had been taken back, while older versions of
            the bundle may still hold it; else 0.
        learned: what the fit learned; None where the config leaves nothing to learn.
        variant: the name of the variant that this state answers for; None: the engine's own settings.
        rivals: the two fusions that a variant interleaves; `segments` are then those of the first. Else None.
        exploration: which slots of an answer are drawn, or None.
        level: the level of adaptive width; 0 for full width.
        effort: the share of its usual effort with which an index searches, see `Query.effort`.
        merging: how the lists of a request become one: made of the attributes above.
        names: the paths' names.
        quotas: the paths' quotas.
        varied: the states that were made of this one, by who made them and for what.
        told: what observers are told of this state, by the version of the bundle.
        version: a number that rises with each state of the process. The result cache keys answers by it.
    """

    data: Dataset
    paths: tuple[Path, ...]
    windows: tuple[int, ...]
    segments: tuple[Segment, ...]
    fallback: Path
    allowed: NDArray[np.bool_] | None
    removed: NDArray[np.int32]
    data_version: int = 0
    journal_seq: int = 0
    forgetting: bool = False
    forgot: int = 0
    learned: Learned | None = None
    variant: str | None = None
    rivals: tuple[FusionPlan, FusionPlan] | None = None
    exploration: Exploration | None = None
    level: int = 0
    effort: float = 1.0
    varied: dict[tuple[object, str | int], EngineState] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )
    merging: Merging = field(init=False, compare=False, repr=False)
    names: tuple[str, ...] = field(init=False, compare=False, repr=False)
    quotas: list[int] = field(init=False, compare=False, repr=False)
    told: dict[str | None, Served] = field(init=False, default_factory=dict, compare=False, repr=False)
    version: int = field(init=False, default_factory=count(1).__next__)

    def __post_init__(self) -> None:
        quotas = [path.quota for path in self.paths]
        made = {
            "names": tuple(path.name for path in self.paths),
            "quotas": quotas,
            "merging": Merging(FusionPlan(self.segments, quotas), self.rivals, self.exploration),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def revision(self) -> int | None:
        """A number that rises when a retriever's answers change by themselves; None: one of them cannot say."""
        try:
            return sum(path.retriever.revision for path in (*self.paths, self.fallback))
        except Exception:  # noqa: BLE001 - it comes from a plug-in, whose fault must not end the request
            return None

    def segment_of(self, history_length: int) -> Segment:
        """The segment of a user with a history of so many events."""
        return next(segment for segment in self.segments if history_length <= segment.longest)

    def serve(self) -> None:
        """Note that requests see this state from now on."""
        for path in (*self.paths, self.fallback):
            path.closing.serves(path.retriever)

    def close(self, successor: EngineState | None = None) -> None:
        """End the worker threads of all paths, except those that `successor` still uses."""
        kept = [] if successor is None else [path.workers for path in (*successor.paths, successor.fallback)]
        for path in (*self.paths, self.fallback):
            if path.workers not in kept:
                path.workers.close()


def _params(settings: PluginConfig) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude=set(settings.of_machine))


def _resolved(config: FusionConfig, fusion: Fusion) -> FusionConfig:
    if config.strategy == AUTO:
        return config
    return config.model_copy(update={"params": _params(fusion.config)})


Make = Callable[[str, Part], Retriever]
"""Makes the retriever of a path (by name) ready to serve, by fitting or by loading."""


def assemble(blueprint: Blueprint, data: Dataset, make: Make, fallback: Retriever) -> EngineState:
    """Build a state whose retrievers come from `make`. An optional path that cannot be fitted is left out.

    `make` may return `fallback` itself for a path. Both then end together, and take a live change as one.

    What several processes fit together comes first, so that none of them waits for what one of them fits alone.

    Raises:
        CannotFit: a path that is not optional cannot be fitted here, or no path at all can.
        ConfigError: a fusion cannot do with the paths that could be fitted.
    """
    made: dict[int, Path] = {}
    left_out = []
    shape = data.n_items, data.n_users
    last_resort = new_path(FALLBACK, fallback, data.n_items, False, *shape)
    for number, config, part in sorted(blueprint.paths, key=lambda one: not one[2].plugin.collective):
        try:
            retriever = make(config.name, part)
        except CannotFit as fault:
            if not config.optional:
                raise CannotFit(f"paths[{number}] {config.name!r}: {fault}") from None
            _log.warning("path %r is left out: %s", config.name, fault)
            left_out.append(f"paths[{number}] {config.name!r}: {fault}")
            continue
        closing = last_resort.closing if retriever is fallback else None
        made[number] = new_path(config.name, retriever, config.quota, config.required, *shape, closing=closing)
    paths = [made[number] for number in sorted(made)]
    if not paths:
        raise CannotFit(f"the data can feed no path at all; {'; '.join(left_out)}")
    segments = segments_of(blueprint.config, blueprint.fusions, [path.name for path in paths])
    return EngineState(
        data,
        tuple(paths),
        windows_of(segments, paths, data),
        segments,
        last_resort,
        allowed_of(data),
        removed_rows(data),
    )


def with_learned(state: EngineState, config: EngineConfig, learned: Learned) -> EngineState:
    """The state that serves with the fusion that was learned, and does not ask the paths that were dropped."""
    effective = learned.report.apply_to(config)
    names = [path.name for path in state.paths]
    segments = segments_of(effective, load_fusions(effective, stored=True), names)
    paths = tuple(replace(path, dropped=learned.report.dropped.get(path.name)) for path in state.paths)
    return replace(
        state, segments=segments, windows=windows_of(segments, paths, state.data), paths=paths, learned=learned
    )


def allowed_of(data: Dataset) -> NDArray[np.bool_] | None:
    """Bitmap over item rows without those that were removed, or None while none is."""
    return None if data.removed is None else ~data.removed


def removed_rows(data: Dataset) -> NDArray[np.int32]:
    """The rows of items that were removed, sorted, int32."""
    return NO_ROWS if data.removed is None else np.flatnonzero(data.removed).astype(np.int32)
