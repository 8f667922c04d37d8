"""Options that several commands share: files, a config, and options that override keys of the config."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from multirecall.config import EngineConfig, import_classes
from multirecall.data import Dataset
from multirecall.engine import Engine
from multirecall.errors import RequestError, UntrustedPlugin
from multirecall.plugins import import_class
from multirecall.user import User
from multirecall.validation import AUTO, validate

InteractionFiles = Annotated[
    list[str], typer.Option(help="The log: parquet, CSV or TSV, path or glob pattern; may be repeated.")
]
ItemFiles = Annotated[list[str] | None, typer.Option(help="The item table, in the same forms.")]
UserFiles = Annotated[list[str] | None, typer.Option(help="The user table, in the same forms.")]
Config = Annotated[Path | None, typer.Option(help="Configuration file (TOML); default: the default paths.")]
Seed = Annotated[int | None, typer.Option(help="Root of all randomness; overrides the config.")]
Threads = Annotated[
    str | None,
    typer.Option(metavar="N|auto", help="Threads for fitting; auto: one for each core. Overrides the config."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(metavar="OURS=YOURS", help="Your name of a column, e.g. user_id=customer; repeat for each."),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD=KIND",
        help="Kind of a feature: categorical, list, number, text, datetime or ignore; repeat for each.",
    ),
]
Ids = Annotated[
    Literal["auto", "text", "int"] | None,
    typer.Option(help="Type of user and item ids; auto: by all tables together. Overrides the config."),
]
Future = Annotated[
    Literal["keep", "clamp", "refuse"] | None,
    typer.Option(help="What becomes of events far beyond the rest of the log. Overrides the config."),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="MODULE:CLASS",
        help="A retriever or fusion class that the bundle may use; its module is imported. Repeat for each.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print all candidates as CSV, in UTF-8 and with every digit.")]
ShownRows = Annotated[int, typer.Option("--rows", min=1, help="Rows of the table that are shown.")]
DeadlineMs = Annotated[float | None, typer.Option(help="Go on without paths that are later than this.")]
UserId = Annotated[str | None, typer.Option(help="User id; leave out for a visitor.")]
Length = Annotated[int | None, typer.Option("-k", "--k", help="How many candidates; default: the config's.")]
HistoryItems = Annotated[list[str] | None, typer.Option(help="Item id of the history, oldest first; repeat for each.")]
Features = Annotated[str | None, typer.Option(help="User features as JSON.")]
Terms = Annotated[str | None, typer.Option(help="What is asked for, by item field, as JSON.")]
Exclude = Annotated[list[str] | None, typer.Option(help="Item id to leave out; may be repeated.")]
Predicates = Annotated[str | None, typer.Option(help="Predicates over item features as JSON.")]
Context = Annotated[str | None, typer.Option(help="What paths may want to know of the request, as JSON.")]
Seen = Annotated[bool, typer.Option("--seen", help="Items that the user has interacted with may be returned.")]

Kind = Annotated[
    Literal["time", "user-time", "last", "random"],
    typer.Option(
        "--split",
        help="What is held out: the newest events of all, of each user, their last ones, or random items.",
    ),
]
Fraction = Annotated[float, typer.Option(help="Share that is held out; not for `last`.")]
Last = Annotated[int, typer.Option(help="Events of each user that `--split last` holds out.")]
Validation = Annotated[
    int,
    typer.Option(
        help="Events before those that `--split last` does not fit on either, but asks with: 1 as in published figures."
    ),
]

PAIRS = {"--columns": "user_id=customer", "--kinds": "title=text"}
"""How an option spells a pair, for its error message."""


def read_config(
    file: Path | None,
    *,
    columns: list[str] | None = None,
    kinds: list[str] | None = None,
    ids: str | None = None,
    future: str | None = None,
    threads: str | None = None,
    **overrides: Any,
) -> EngineConfig:
    """Read the configuration from `file`, or take the default, and apply the given options to it.

    Classes that the file names are imported.
    """
    config = EngineConfig.from_toml(file) if file else EngineConfig()
    if config.bare_classes:
        _search_here()
        config = import_classes(config)
    values = config.model_dump(exclude_unset=True)
    given = {key: value for key, value in overrides.items() if value is not None}
    if threads is not None:
        given["threads"] = read_threads(threads)
    data = dict(values.get("data", {}))
    for name, pairs in (("columns", _pairs(columns, "--columns")), ("kinds", _pairs(kinds, "--kinds"))):
        if pairs:
            data[name] = {**data.get(name, {}), **pairs}
    data |= {key: value for key, value in (("ids", ids), ("future", future)) if value is not None}
    if data:
        given["data"] = data
    if not given:
        return config
    return validate(EngineConfig, {**values, **given}, "command line")


def read_threads(text: str | None) -> int | Literal["auto"] | None:
    """What `--threads` says; raises `RequestError`."""
    if text is None or text == AUTO:
        return None if text is None else "auto"
    if not text.isdecimal() or int(text) < 1:
        raise RequestError(f"--threads: {text!r} is neither a number of threads nor auto; write e.g. --threads auto")
    return int(text)


def load_bundle(
    folder: Path,
    plugins: list[str] | None,
    version: str | None = None,
    *,
    follow: bool = False,
    large_pages: bool = False,
) -> Engine:
    """Load a bundle, which may use the classes that `--plugin` names; raises as `Engine.load`."""
    with plugins_by_option():
        classes = import_plugins(plugins)
        return Engine.load(folder, version=version, follow=follow, plugins=classes, large_pages=large_pages)


def import_plugins(names: list[str] | None) -> list[type]:
    """The classes that `--plugin` names; raises `PluginError`."""
    if names:
        _search_here()
    return [import_class(name) for name in names or []]


@contextmanager
def plugins_by_option() -> Iterator[None]:
    """Let the error for a class that a bundle may not use name the option `--plugin` as its remedy."""
    try:
        yield
    except UntrustedPlugin as fault:
        named = [name.replace("__main__:", "MODULE:") for name in fault.names]
        remedy = f"if you trust it, name it: {' '.join(f'--plugin {name}' for name in named)}"
        raise UntrustedPlugin(fault.statement, remedy, fault.names) from None


def _search_here() -> None:
    """Add the working directory to the import path, so that `--plugin` finds a module there."""
    sys.path.append(os.getcwd())


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """Read a mapping from a repeated option of `key=value` pairs."""
    pairs: dict[str, str] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise RequestError(f"{option}: {text!r} is no pair; write {option} {PAIRS[option]}")
        if name in pairs:
            raise RequestError(f"{option}: {name!r} is given twice; leave one out")
        pairs[name] = value
    return pairs


def read_data(
    interactions: list[str], items: list[str] | None, users: list[str] | None, config: EngineConfig
) -> Dataset:
    """Load the dataset from the given files, as the config says."""
    return Dataset.load(interactions, items or None, users or None, config=config.data)


def read_user(
    engine: Engine, user: str | None, history: list[str] | None, features: str | None, terms: str | None
) -> User:
    """The user whom the options of a request describe."""
    return User(
        None if user is None else engine.data.users.ids.parse(user),
        None if history is None else [engine.data.items.ids.parse(item) for item in history],
        json_option(features, "features") or {},
        json_option(terms, "terms") or {},
    )


def read_request(engine: Engine, exclude: list[str] | None, where: str | None, context: str | None) -> dict[str, Any]:
    """The filters and the context of a request, as `Engine.retrieve` takes them."""
    return {
        "exclude": [engine.data.items.ids.parse(item) for item in exclude or []],
        "where": json_option(where, "where"),
        "context": json_option(context, "context"),
    }


def json_option(text: str | None, name: str) -> dict[str, Any] | None:
    """Parse the JSON object of an option; None if the option was not given."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as fault:
        raise RequestError(f'--{name}: {text!r} is not JSON ({fault}); write e.g. \'{{"field": ["value"]}}\'') from None
    if not isinstance(value, dict):
        raise RequestError(f'--{name}: {text!r} is no JSON object; write e.g. \'{{"field": ["value"]}}\'')
    return value
