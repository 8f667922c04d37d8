"""`multirecall store push`: fill the store of a deployment from a log."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from multirecall.cli.options import InteractionFiles, ItemFiles, UserFiles
from multirecall.cli.screen import note
from multirecall.errors import ConfigError, DataError
from multirecall.progress import terminal_progress
from multirecall.serving import ServeSettings

store = typer.Typer(no_args_is_help=True, help="The store of a deployment.")


@store.callback()
def root() -> None:
    """The store of a deployment, where other services write what users do."""


@store.command()
def push(
    interactions: InteractionFiles,
    settings: Annotated[Path, typer.Option(help="Settings of the deployment (TOML), with a table `store`.")],
    items: ItemFiles = None,
    users: UserFiles = None,
    keep: Annotated[int, typer.Option(min=1, help="Newest events of each user that are written.")] = 1_000,
) -> None:
    """Fill the store from a log: the lists of its users are replaced, features and metadata are set."""
    opened = import_module("multirecall.serving.store").open_store(ServeSettings.from_toml(settings).store)
    if opened is None:
        raise ConfigError(f"{settings}: store.kind is 'memory', which nothing is pushed to; set it to 'redis'")
    filling = import_module("multirecall.serving.store.push")
    try:
        with terminal_progress() as progress:
            n = filling.push_log(opened, interactions, keep, progress)
            if users:
                filling.push_table(users, "user", opened.set_users, progress)
            if items:
                filling.push_table(items, "item", opened.set_items, progress)
    except OSError as fault:
        raise DataError(f"the store does not answer: {fault}; start it and push again") from None
    finally:
        opened.close()
    note(f"{n:,} events are in the store")
