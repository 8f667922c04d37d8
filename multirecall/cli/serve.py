"""`multirecall serve`: a bundle behind HTTP; `multirecall serve-key`: an API key for it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from multirecall.cli.options import Plugins, import_plugins, load_bundle, plugins_by_option
from multirecall.cli.screen import console, replace_unprintable, show_log
from multirecall.engine import Engine
from multirecall.errors import ConfigError
from multirecall.extras import import_extra
from multirecall.scaleout import ShardedEngine
from multirecall.scaleout.layout import is_sharded
from multirecall.serving import ServeSettings, create_app

if TYPE_CHECKING:
    from multirecall.serving.supervisor import Worker


def serve(
    bundle: Annotated[Path, typer.Argument(help="Folder that `multirecall fit` wrote.")],
    settings: Annotated[Path | None, typer.Option(help="Settings of the deployment (TOML).")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: 8000; 0: any free one.")] = None,
    writable: Annotated[
        bool | None, typer.Option("--writable/--read-only", help="Whether the routes that change data are there.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve; default: 1.")] = None,
    large_pages: Annotated[
        bool | None,
        typer.Option("--large-pages/--mapped", help="Whether each process copies the bundle into large pages."),
    ] = None,
    ray: Annotated[
        str | None, typer.Option(help="Of a sharded bundle: the Ray cluster; default: this machine.")
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Of a sharded bundle: the replicas of each shard.")] = 2,
    plugin: Plugins = None,
) -> None:
    """Serve a bundle over HTTP: candidates, similar items, explanations and, if writable, live changes."""
    for library in ("fastapi", "httptools", "jinja2", "orjson", "uvicorn", "uvloop"):
        import_extra(library, "multirecall serve")
    chosen = ServeSettings() if settings is None else ServeSettings.from_toml(settings)
    chosen = chosen.override(host=host, port=port, writable=writable, workers=workers, large_pages=large_pages)
    server = import_module("multirecall.serving.server")
    if chosen.workers > 1 and is_sharded(bundle):
        raise ConfigError("workers: one process serves a sharded bundle, whose paths run on Ray; leave --workers out")
    if chosen.large_pages and is_sharded(bundle):
        raise ConfigError("large_pages: the shards of a bundle map their files; leave --large-pages out")
    if chosen.workers > 1:
        listening = server.bind(chosen)
        import_module("multirecall.serving.supervisor").supervise(
            partial(_load_in_worker, bundle, plugin, chosen.large_pages),
            chosen,
            listening,
            lambda workers: _say_what_is_on(bundle, chosen, listening, _who_writes(workers)),
            console(stderr=True).print,
        )
        return
    with _open(bundle, plugin, chosen, ray, replicas) as engine:
        app = create_app(engine, chosen)
        listening = server.bind(chosen)
        _log_lines()
        _say_what_is_on(bundle, chosen, listening)
        server.run(app, chosen, [listening])


def _open(bundle: Path, plugin: list[str] | None, chosen: ServeSettings, ray: str | None, replicas: int) -> Engine:
    """The engine of a bundle or, of a sharded one, the engine over its shards."""
    follow = not chosen.writable
    if not is_sharded(bundle):
        if ray is not None:
            raise ConfigError(f"--ray: {bundle} is not sharded; leave it out, or make shards with multirecall shard")
        return load_bundle(bundle, plugin, follow=follow, large_pages=chosen.large_pages)
    with plugins_by_option():
        plugins = import_plugins(plugin)
        return ShardedEngine.connect(bundle, replicas=replicas, ray=ray, follow=follow, plugins=plugins)


def serve_key(
    name: Annotated[str, typer.Argument(help="Who uses the key; stands in log lines.")],
    scope: Annotated[Literal["read", "write", "both"], typer.Option(help="What it may do.")] = "read",
) -> None:
    """Make an API key: print it once, with the lines for the file of keys, which holds only its hash."""
    keys = import_module("multirecall.serving.keys")
    key = keys.make_key(name, ("read", "write") if scope == "both" else (scope,))
    console(stderr=True).print(f"The key, which is shown only now: {key.secret}")
    typer.echo(key.lines, nl=False)


def _load_in_worker(bundle: Path, plugin: list[str] | None, large_pages: bool, follow: bool) -> Engine:
    """What a worker begins with; its process knows nothing of the command line yet."""
    replace_unprintable()
    show_log()
    _log_lines()
    return load_bundle(bundle, plugin, follow=follow, large_pages=large_pages)


def _say_what_is_on(bundle: Path, chosen: ServeSettings, listening: socket, *notes: str) -> None:
    shown = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
    each = " in each worker" if chosen.workers > 1 else ""
    for line in (
        f"multirecall serves {bundle} on http://{shown}:{listening.getsockname()[1]} (routes: /docs)",
        *notes,
        "explorer: /explore" if chosen.explorer.enabled else "explorer: off",
        "writes: on" if chosen.writable else "writes: off; the bundle is followed (--writable turns them on)",
        "API keys: needed" if chosen.keys.given else "API keys: none, so that only this machine is served",
        f"limits: {chosen.limits.threads} threads, {chosen.limits.queue} waiting{each}, k up to {chosen.limits.k:,}",
    ):
        console(stderr=True).print(line)


def _who_writes(workers: Sequence[Worker]) -> str:
    writer = [str(one.process.pid) for one in workers if one.writes]
    followers = ", ".join(str(one.process.pid) for one in workers if not one.writes)
    whose = f"{writer[0]} writes, {followers} follow and pass writes on" if writer else f"{followers} follow the bundle"
    return f"workers: {len(workers)} processes; {whose}"


def _log_lines() -> None:
    """Write the lines of requests to standard error as they are, one JSON object each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    lines = logging.getLogger("multirecall.serving.access")
    lines.addHandler(handler)
    lines.propagate = False
    lines.setLevel(logging.INFO)
