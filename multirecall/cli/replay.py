"""`multirecall replay`: logged requests fused again, as they were or under another config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from multirecall.cli.options import (
    AsJson,
    Columns,
    Plugins,
    import_plugins,
    plugins_by_option,
    read_config,
)
from multirecall.cli.replay_tables import show_replay
from multirecall.cli.screen import console, is_unicode
from multirecall.data import Dataset
from multirecall.errors import ConfigError, RequestError
from multirecall.evaluation import check_ks
from multirecall.monitoring.replay import replay as replay_log
from multirecall.monitoring.replay.replay import HORIZON_DAYS, KS
from multirecall.monitoring.replay.similarity import PERSISTENCE
from multirecall.monitoring.request_log import UserNames, ids_of
from multirecall.progress import terminal_progress


def replay(
    log: Annotated[Path, typer.Argument(help="Folder of the request log.")],
    config: Annotated[
        Path | None, typer.Option(help="Fusion, weights, quotas and segments to try (TOML); default: those logged.")
    ] = None,
    events: Annotated[
        list[str] | None, typer.Option(help="What users did later: a log of interactions; may be repeated.")
    ] = None,
    columns: Columns = None,
    horizon_days: Annotated[
        float, typer.Option(help="Days after a request in which an event counts for it.")
    ] = HORIZON_DAYS,
    k: Annotated[list[int] | None, typer.Option("-k", "--k", help="List length; repeat for several.")] = None,
    persistence: Annotated[
        float, typer.Option(help="The p of rank-biased overlap: nearer to 1 looks deeper.")
    ] = PERSISTENCE,
    salt_env: Annotated[
        list[str] | None,
        typer.Option(help="Environment variable with a salt that users were hashed under; repeat for each."),
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Fuse logged requests again: under their own config, to the byte, or under another, to see what it changes.

    With --events, it also says what each path and list found, and what the other config would have been worth.
    """
    ks = check_ks(k or list(KS))
    tried = None if config is None else read_config(config)
    salts = [UserNames.of_environment(name) for name in salt_env or []]
    later = None
    if events:
        later = Dataset.load(events, config=read_config(None, columns=columns, ids=ids_of(log)).data)
    elif columns:
        raise RequestError("--columns names columns of --events; add --events")
    with terminal_progress() as progress, plugins_by_option():
        try:
            found = replay_log(
                log,
                tried,
                later,
                ks=ks,
                horizon_days=horizon_days,
                persistence=persistence,
                salts=salts,
                plugins=import_plugins(plugin),
                progress=progress,
            )
        except ConfigError as fault:
            raise ConfigError(
                str(fault).replace("pass that salt as well", "name its variable with --salt-env")
            ) from None
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=not is_unicode()))
        return
    show_replay(console(), found)
