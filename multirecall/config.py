"""The engine's configuration, from TOML or Python."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from multirecall.data.config import DataConfig
from multirecall.errors import ConfigError
from multirecall.validation import StrictModel, validated

FALLBACK = "fallback"


class PathConfig(StrictModel):
    """One path: a retriever with its settings and its part in the fusion."""

    name: str = Field(default="", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Name in results; default: the retriever's. Letters, digits, `_` and `-`."""

    retriever: str
    """Name of the retriever plug-in."""

    quota: int = Field(default=500, gt=0)
    """Most candidates that the path contributes; does not grow with `k`. Changes results."""

    weight: float = Field(default=1.0, gt=0)
    """Weight in the fusion, > 0. Changes results."""

    enabled: bool = True
    """False: the path is neither fitted nor asked."""

    required: bool = False
    """True: a request fails when the path fails."""

    params: dict[str, Any] = Field(default_factory=dict)
    """Settings of the retriever, checked by its own `Config`."""

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, values: Any) -> Any:
        if isinstance(values, dict) and "retriever" in values:
            return {"name": values["retriever"], **values}
        return values


class FusionConfig(StrictModel):
    """How the paths' lists are merged."""

    strategy: str = "rrf"
    """Name of the fusion plug-in."""

    params: dict[str, Any] = Field(default_factory=dict)
    """Settings of the fusion, checked by its own `Config`."""


class FallbackConfig(StrictModel):
    """What fills a list that the paths leave short."""

    retriever: str = "popularity"
    """Name of the retriever plug-in."""

    params: dict[str, Any] = Field(default_factory=dict)
    """Settings of the retriever."""


class EngineConfig(StrictModel):
    """Everything that an engine is built from."""

    k: int = Field(default=500, gt=0)
    """Candidates of a request that does not say."""

    seed: int = Field(default=7, ge=0)
    """Root of all randomness. Changes results."""

    threads: int = Field(default=1, gt=0)
    """Threads that fitting may use. Speed only; with 1, results are reproducible to the bit."""

    deadline_ms: float | None = Field(default=None, gt=0)
    """Milliseconds after which a request goes on without the paths that are not done; None: no limit."""

    data: DataConfig = DataConfig()
    """How the log is read; pass it to `Dataset.load(..., config=...)`."""

    paths: tuple[PathConfig, ...] = Field(
        default=(
            PathConfig(retriever="item_cf"),
            PathConfig(retriever="content"),
            PathConfig(retriever="popularity"),
        ),
        min_length=1,
    )
    """The paths, in order. The default leaves out a path that the log cannot feed."""

    fusion: FusionConfig = FusionConfig()
    fallback: FallbackConfig = FallbackConfig()

    @field_validator("paths")
    @classmethod
    def _paths_are_distinct(cls, paths: tuple[PathConfig, ...]) -> tuple[PathConfig, ...]:
        names = [path.name for path in paths]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two paths are named {twice[0]!r}; give one of them another name")
        if FALLBACK in names:
            raise ValueError(f"the name {FALLBACK!r} is taken by the fallback; give the path another name")
        if not any(path.enabled for path in paths):
            raise ValueError("no path is enabled; enable one")
        return paths

    @property
    def uses_default_paths(self) -> bool:
        """Whether nobody chose the paths, so that one that the log cannot feed may be left out."""
        return "paths" not in self.model_fields_set

    @classmethod
    def from_toml(cls, file: str | Path) -> Self:
        """Read a configuration file.

        Raises:
            ConfigError: the file cannot be read, or names an unknown key or a wrong value.
        """
        try:
            values = tomllib.loads(Path(file).read_text(encoding="utf-8"))
        except OSError as fault:
            raise ConfigError(f"{file}: cannot be read ({fault.strerror}); check the path") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
            raise ConfigError(f"{file}: is not TOML: {fault}") from None
        return validated(cls, values, str(file))
