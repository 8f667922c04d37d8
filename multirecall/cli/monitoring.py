"""`multirecall monitoring`: what a request log holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multirecall.cli.screen import console
from multirecall.errors import ConfigError
from multirecall.monitoring.request_log import UserNames
from multirecall.monitoring.request_log import forget as forget_user

monitoring = typer.Typer(no_args_is_help=True, help="The request log of a deployment.")


@monitoring.callback()
def root() -> None:
    """The request log of a deployment."""


@monitoring.command()
def forget(
    user: Annotated[str, typer.Argument(help="Id of the user, as it is, not hashed.")],
    log: Annotated[Path, typer.Argument(help="Folder of the request log.")],
    salt_env: Annotated[
        list[str] | None,
        typer.Option(help="Environment variable with a salt that users were hashed under; repeat for each."),
    ] = None,
) -> None:
    """Remove every row of a user from a request log, under their id and under its hashes.

    The service may run meanwhile. Rows that it has not written yet are not found: run the command again after
    `part_s` seconds.
    """
    salts = [UserNames.of_environment(name) for name in salt_env or []]
    try:
        removed = forget_user(log, user, salts)
    except ConfigError as fault:
        raise ConfigError(str(fault).replace("pass that salt as well", "name its variable with --salt-env")) from None
    console().print(f"{removed:,} rows removed")
