"""`multirecall warm`: compile an engine's kernels into a folder, before the first request."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated

import typer

from multirecall.cli.options import Plugins, load_bundle
from multirecall.cli.screen import console
from multirecall.data import Dataset
from multirecall.datasets import generate
from multirecall.engine import Engine
from multirecall.kernel_cache import FOLDER_VARIABLE, cache_state
from multirecall.user import User

ASKED = 8
"""The number of users of a bundle that are asked for: enough for a batch to take all of its kernels."""


def warm(
    folder: Annotated[Path, typer.Argument(help="Folder for the compiled kernels; it may be shipped in an image.")],
    bundle: Annotated[
        Path | None,
        typer.Argument(help="A bundle to compile for; default: the default paths, on a small made-up log."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Compile the kernels of loads, requests and live changes, once for all processes on a CPU of this kind.

    Then set MULTIRECALL_KERNELS to the folder wherever the engine runs; the folder may be read-only there.
    """
    folder = folder.resolve()
    if os.environ.get(FOLDER_VARIABLE) != str(folder):  # set before kernels are imported, which is when they read it
        arguments = [str(path) for path in (folder, bundle) if path]
        arguments += [f"--plugin={name}" for name in plugin or []]
        command = [sys.executable, "-m", "multirecall", "warm", *arguments]
        environment = {**os.environ, FOLDER_VARIABLE: str(folder)}
        raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)
    logging.getLogger("multirecall").setLevel(logging.ERROR)  # this engine deliberately journals nothing
    start = perf_counter()
    if bundle is None:
        _fit_and_ask()
    else:
        with load_bundle(bundle, plugin, _current(bundle)) as engine:
            _ask(engine)
    state = cache_state()
    console().print(
        f"{state.n_kept} kernels compiled for this CPU are in {folder}, after {perf_counter() - start:.0f} s"
    )
    console().print(f"to use them: export {FOLDER_VARIABLE}={folder}")


def _current(bundle: Path) -> str:
    """The name of the current version; an engine loaded by name writes nothing to its bundle."""
    return next(version.name for version in Engine.versions(bundle) if version.current)


def _fit_and_ask() -> None:
    """Fit the default paths on a small log, save and load them, and use them as in production."""
    log = generate(n_users=200, n_items=300, n_interactions=4_000)
    with TemporaryDirectory() as place:
        with Engine().fit(Dataset.from_frames(log.interactions, log.items, log.users)) as engine:
            engine.save(place)
        with Engine.load(place, version=_current(Path(place))) as engine:
            _ask(engine)


def _ask(engine: Engine) -> None:
    """Make requests and live changes of every kind on an engine that journals nothing."""
    data = engine.data
    users = data.users.ids.ids(slice(0, ASKED)).tolist()
    item = data.items.ids.id(0)
    values = next((values for row in range(data.n_items) if (values := data.items.values(row))), {})
    engine.retrieve(users[0], exclude=[item], where=values)
    engine.retrieve_batch(users, exclude=[item], where=values)
    engine.retrieve_batch([User(history=[item]), User(terms=values)], seen=True)
    engine.explain(users[0], item)
    event = {"user_id": users[0], "item_id": item, "timestamp": data.now, "position": 0}
    engine.add_interactions([{column: value for column, value in event.items() if value is not None}])
    engine.add_items([{"item_id": item, **values}])
    engine.remove_items([item])
    engine.retrieve(users[0])
    engine.retrieve_batch(users)
