"""The engine's configuration, from TOML or Python."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from multirecall.data.config import DataConfig
from multirecall.draw import EXPLORED
from multirecall.errors import ConfigError
from multirecall.plugins import GivenClass, import_class, is_bare
from multirecall.storage import json_digest
from multirecall.validation import AUTO, Auto, Count, Positive, StrictModel, nearest, validate

FALLBACK = "fallback"
FUSED = "fused"

OF_MACHINE = {"threads"}
"""Keys of `EngineConfig` that belong to the machine and are not stored in a bundle."""


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Refuse values that a bundle cannot store."""
    try:
        json.dumps(params)
    except (TypeError, ValueError) as fault:
        raise ValueError(f"{fault}; use numbers, text, lists and tables only") from None
    return params


Params = Annotated[dict[str, Any], AfterValidator(_plain)]
"""The settings of a plug-in before its `Config` has validated them."""


def _keep_class(value: Any, as_text: ValidatorFunctionWrapHandler) -> str:
    """Keep a name; turn a class into its name, which still carries the class (`GivenClass`)."""
    if isinstance(value, type):
        return GivenClass(value)
    if isinstance(value, GivenClass):
        return value
    name: str = as_text(value)
    return name


PluginName = Annotated[str, WrapValidator(_keep_class)]
"""The name of an installed plug-in, or the class itself; in a TOML file that `Engine.from_toml` reads, also
`module:Class`."""


class PathConfig(StrictModel):
    """One path: a retriever with its settings, its quota and its weight."""

    name: str = Field(default="", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Name in results; default: the retriever's. Letters, digits, `_` and `-`."""

    retriever: PluginName
    """Name of the retriever plug-in, or its class; in a TOML file also `module:Class`."""

    quota: Count = 500
    """Most candidates that the path contributes; does not grow with `k`. Changes results."""

    weight: Positive = 1.0
    """Weight in the fusion, > 0. Changes results."""

    enabled: bool = True
    """False: the path is neither fitted nor asked."""

    required: bool = False
    """True: a request fails when the path fails."""

    optional: bool = False
    """True: a path that the log cannot feed, or whose library is missing, is left out with a log message.
    False: `fit` raises an error."""

    params: Params = Field(default_factory=dict)
    """Settings of the retriever, checked by its own `Config`."""

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, values: Any) -> Any:
        if isinstance(values, dict) and "retriever" in values:
            retriever = values["retriever"]
            name = retriever.__name__.lstrip("_") if isinstance(retriever, type) else retriever
            if isinstance(name, str) and ":" in name:
                name = re.split("[:.]", name)[-1].lstrip("_")
            return {"name": name, **values}
        return values

    @model_validator(mode="after")
    def _required_is_not_optional(self) -> Self:
        if self.required and self.optional:
            raise ValueError("required and optional are both true; set one of them to false")
        return self


class FusionConfig(StrictModel):
    """How the paths' lists are merged."""

    strategy: PluginName = AUTO
    """`auto`: a fit holds some events out and learns which paths stay, the fusion plug-in and its settings. Otherwise
    the name of the fusion plug-in, or its class; in a TOML file also `module:Class`."""

    goal: Literal["next", "while"] | None = None
    """What the log is asked when a fit learns: `next`, the next event of a user; `while`, the events of the next
    period. None: `while` if the log has timestamps, else `next`. Changes results."""

    params: Params = Field(default_factory=dict)
    """Settings of the fusion, checked by its own `Config`; none for `auto`."""

    @model_validator(mode="after")
    def _auto_has_no_params(self) -> Self:
        if self.strategy == AUTO and self.params:
            raise ValueError("params are given for strategy 'auto', which has none; name a strategy, or leave them out")
        return self


class FallbackConfig(StrictModel):
    """What fills a list that the paths leave short."""

    retriever: PluginName = "popularity"
    """Name of the retriever plug-in, or its class; in a TOML file also `module:Class`."""

    params: Params = Field(default_factory=dict)
    """Settings of the retriever."""


class SegmentConfig(StrictModel):
    """The fusion of users with short histories."""

    max_history: Annotated[int, Field(strict=True, ge=0, lt=2**31)]
    """The longest history of the segment, in events. A user is in the first segment that is long enough."""

    weights: dict[str, Positive] = Field(default_factory=dict)
    """Weights in the fusion by path name, in place of the paths' own; > 0. Changes results."""

    fusion: FusionConfig | None = None
    """How the lists of these users are merged, in place of the common fusion. Changes results."""

    @field_validator("fusion")
    @classmethod
    def _fusion_is_named(cls, fusion: FusionConfig | None) -> FusionConfig | None:
        if fusion is not None and fusion.strategy == AUTO:
            raise ValueError("a segment of the config cannot be 'auto'; name a strategy, or leave out all segments")
        return fusion


class EngineConfig(StrictModel):
    """Everything that an engine is built from."""

    k: Count = 500
    """The number of candidates of a request that names no k."""

    seed: Annotated[int, Field(strict=True, ge=0)] = 7
    """Seed of all randomness. Changes results."""

    threads: Auto[Count] = AUTO
    """Threads of a fit, which fits so many paths at once. "auto": one for each usable core; results are the same to the
    bit on any number. A number is for the retrievers too, some of which then give other results each time, unless it
    is 1. Speed only. A bundle does not store it."""

    deadline_ms: Annotated[Positive, Field(lt=1e9)] | None = None
    """Milliseconds after which a request goes on without the paths that have not answered; None: no limit."""

    cache_size: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0
    """The number of answers of `retrieve` that the result cache holds; 0: no cache. Speed only."""

    data: DataConfig = DataConfig()
    """How the log is read; pass it to `Dataset.load(..., config=...)`."""

    paths: tuple[PathConfig, ...] = (
        PathConfig(retriever="two_tower", weight=2.0, optional=True),
        PathConfig(retriever="item2vec", optional=True),
        PathConfig(retriever="node2vec", optional=True),
        PathConfig(retriever="item_cf", optional=True),
        PathConfig(retriever="content", optional=True),
        PathConfig(retriever="popularity", optional=True),
        PathConfig(retriever="next_item", optional=True),
        PathConfig(retriever="ease", optional=True),
        PathConfig(retriever="als", optional=True),
    )
    """The paths, in order."""

    fusion: FusionConfig = FusionConfig()
    """How the paths' lists are merged. Changes results."""

    fallback: FallbackConfig = FallbackConfig()
    """What fills a list that the paths leave short. Changes results."""

    segments: tuple[SegmentConfig, ...] = ()
    """Weights or fusions for users with short histories, shortest first; users beyond them get the common ones."""

    @field_validator("paths")
    @classmethod
    def _paths_are_distinct(cls, paths: tuple[PathConfig, ...]) -> tuple[PathConfig, ...]:
        if not any(path.enabled for path in paths):
            raise ValueError("no path is enabled; enable one")
        names = [path.name for path in paths]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two paths are named {twice[0]!r}; give one of them another name")
        for taken, by in ((FALLBACK, "the fallback"), (FUSED, "the fused list"), (EXPLORED, "explored slots")):
            if taken in names:
                raise ValueError(f"the name {taken!r} is taken by {by}; give the path another name")
        return paths

    @model_validator(mode="after")
    def _segments_fit_the_paths(self) -> Self:
        bounds = [segment.max_history for segment in self.segments]
        if any(low >= high for low, high in pairwise(bounds)):
            raise ValueError(f"segments: max_history must rise from one to the next, got {bounds}")
        names = [path.name for path in self.paths]
        unknown = sorted({name for segment in self.segments for name in segment.weights} - set(names))
        if unknown:
            raise ValueError(f"segments: no path is named {unknown[0]!r}; {nearest(unknown[0], names)}")
        return self

    @property
    def bare_classes(self) -> list[str]:
        """The names `module:Class` of enabled plug-ins whose class was not given, in order."""
        paths = [path.retriever for path in self.paths if path.enabled]
        fusions = [self.fusion.strategy, *(one.fusion.strategy for one in self.segments if one.fusion is not None)]
        return [*dict.fromkeys(filter(is_bare, [*paths, *fusions, self.fallback.retriever]))]

    @property
    def given_classes(self) -> tuple[type, ...]:
        """The plug-in classes that were given rather than named, in order."""
        parts = _plugin_keys(self.model_dump(exclude_unset=True))
        return tuple({part[key].plugin: None for part, key in parts if isinstance(part[key], GivenClass)})

    def with_classes(self, classes: Mapping[str, type]) -> Self:
        """Return the config with classes in place of names `module:Class`."""
        values = self.model_dump(exclude_unset=True)
        for part, key in _plugin_keys(values):
            part[key] = classes.get(part[key], part[key])
        return self.model_validate(values)

    @classmethod
    def from_toml(cls, file: str | Path) -> Self:
        """Read a configuration file. It imports no plug-in: a name `module:Class` stays one, see `Engine.from_toml`.

        Raises:
            ConfigError: the file cannot be read, or names an unknown key or a wrong value.
        """
        try:
            values = tomllib.loads(Path(file).read_text(encoding="utf-8-sig"))
        except OSError as fault:
            raise ConfigError(f"{file}: cannot be read ({fault.strerror}); check the path") from None
        except UnicodeDecodeError as fault:
            raise ConfigError(f"{file}: is not TOML: {fault}; save it as UTF-8") from None
        except (tomllib.TOMLDecodeError, RecursionError) as fault:
            raise ConfigError(f"{file}: is not TOML: {fault}") from None
        return validate(cls, values, str(file))


def _plugin_keys(values: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each table of a config that names a plug-in, and the key of that name."""
    yield from ((path, "retriever") for path in values.get("paths", ()))
    fusions = [one.get("fusion") for one in (values, *values.get("segments", ()))]
    for part, key in (*((fusion, "strategy") for fusion in fusions), (values.get("fallback"), "retriever")):
        if part is not None and key in part:
            yield part, key


def import_classes(config: EngineConfig) -> EngineConfig:
    """Import the classes that a config names as `module:Class`; only for a config that the caller wrote.

    Raises:
        PluginError: a class cannot be imported.
    """
    return config.with_classes({name: import_class(name) for name in config.bare_classes})


def stored_values(config: EngineConfig) -> dict[str, Any]:
    """All values of a config as JSON, defaults included, machine settings excluded: what a bundle stores."""
    return config.model_dump(mode="json", exclude=OF_MACHINE)


def config_hash(config: EngineConfig) -> str:
    """The SHA-256 of `stored_values`, in hexadecimal. Equal configs have equal hashes."""
    return json_digest(stored_values(config))
