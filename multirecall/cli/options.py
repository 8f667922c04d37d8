"""What several commands take: files, a config, and the config keys that options override."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from multirecall.config import EngineConfig
from multirecall.data import Dataset
from multirecall.errors import RequestError
from multirecall.validation import validated

InteractionFiles = Annotated[
    list[str], typer.Option(help="The log: parquet or CSV, path or glob pattern; may be repeated.")
]
ItemFiles = Annotated[list[str] | None, typer.Option(help="The item table, in the same forms.")]
UserFiles = Annotated[list[str] | None, typer.Option(help="The user table, in the same forms.")]
Config = Annotated[Path | None, typer.Option(help="Configuration file (TOML); default: the default paths.")]
Seed = Annotated[int | None, typer.Option(help="Root of all randomness; overrides the config.")]
Threads = Annotated[int | None, typer.Option(help="Threads for fitting; overrides the config.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Seen = Annotated[bool, typer.Option("--seen", help="Items that the user has interacted with may be returned.")]

Kind = Annotated[
    Literal["time", "user-time", "last", "random"],
    typer.Option(
        "--split",
        help="What is held out: the newest events of all, of each user, his last ones, or random items.",
    ),
]
Fraction = Annotated[float, typer.Option(help="Share that is held out; not for `last`.")]
Last = Annotated[int, typer.Option(help="Events of each user that `--split last` holds out.")]


def read_config(file: Path | None, **overrides: Any) -> EngineConfig:
    """The configuration of `file`, or the default one, with the options that were given."""
    config = EngineConfig.from_toml(file) if file else EngineConfig()
    given = {key: value for key, value in overrides.items() if value is not None}
    if not given:
        return config
    return validated(EngineConfig, {**config.model_dump(exclude_unset=True), **given}, "command line")


def read_data(
    interactions: list[str], items: list[str] | None, users: list[str] | None, config: EngineConfig
) -> Dataset:
    """The dataset of the given files, read as the config says."""
    return Dataset.load(interactions, items or None, users or None, config=config.data)


def json_option(text: str | None, name: str) -> dict[str, Any] | None:
    """The JSON object that an option holds, or None where it was not given."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as fault:
        raise RequestError(f'--{name}: {text!r} is not JSON ({fault}); write e.g. \'{{"field": ["value"]}}\'') from None
    if not isinstance(value, dict):
        raise RequestError(f'--{name}: {text!r} is no JSON object; write e.g. \'{{"field": ["value"]}}\'')
    return value


def check_file(file: Path, option: str) -> None:
    """Refuse a file that could not be written in the end.

    Raises:
        RequestError: its folder does not exist, or it is a folder itself.
    """
    if not file.parent.is_dir():
        raise RequestError(f"{option}: {file.parent} is no folder; make it, or name another file")
    if file.is_dir():
        raise RequestError(f"{option}: {file} is a folder; name a file in it")
