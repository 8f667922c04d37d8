"""`multirecall doctor`: what is installed, how it is set up, and whether a bundle is whole."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from multirecall.cli.screen import console
from multirecall.cli.tables import plain_table
from multirecall.engine.bundle import bundle as bundles
from multirecall.kernel_cache import FOLDER_VARIABLE, CacheState, cache_state
from multirecall.registry import listings

REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)[^;]*(;.*extra == ['\"](?P<extra>[\w-]+)['\"])?")

WARM = f"`multirecall warm FOLDER` and {FOLDER_VARIABLE}=FOLDER spare each process a minute"


def doctor(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle to verify.")] = None,
) -> None:
    """Report versions, threads, the compiler cache, plug-ins and extras; given a bundle, verify it."""
    screen = console()
    broken = [one for one in listings() if one.fault]
    screen.print(_environment())
    for one in broken:
        screen.print(f"plug-in {one.name}: {one.fault}", style="red")
    if bundle is not None:
        manifest = bundles.verify(bundle)
        size = sum(file["bytes"] for file in manifest["files"].values())
        screen.print(
            f"{bundle}: whole; {len(manifest['files'])} files, {size / 2**20:.1f} MiB, paths "
            f"{', '.join(manifest['paths'])}, written by multirecall {manifest['multirecall']}",
            highlight=False,
        )
    if broken:
        raise typer.Exit(1)


def _environment() -> Table:
    table = plain_table("what", "value")
    table.add_row("multirecall", version("multirecall"))
    table.add_row("python", f"{platform.python_version()} on {platform.machine()}")
    table.add_row("cores", f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}")
    table.add_row("compiled kernels", _kernels(cache_state()))
    needed, extras = _requirements()
    for name in needed:
        table.add_row(name, _version(name) or "missing")
    for extra, names in extras.items():
        absent = [name for name in names if _version(name) is None]
        state = f"missing {', '.join(absent)}: pip install 'multirecall[{extra}]'" if absent else "complete"
        table.add_row(f"extra {extra}", state)
    return table


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """What the package needs, and what each extra adds."""
    needed: list[str] = []
    extras: dict[str, list[str]] = {name: [] for name in metadata("multirecall").get_all("Provides-Extra") or []}
    for line in requires("multirecall") or []:
        match = REQUIREMENT.match(line)
        if match is not None:
            extras.get(match["extra"], needed).append(match["name"])
    return sorted(needed), extras


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _kernels(state: CacheState) -> str:
    """How the compiled kernels are kept. Plug-ins have been imported by now, and their kernels with them."""
    place = str(state.folder or "beside the modules, or in the user's cache folder")
    if not state.n_kept:
        return f"numba {state.numba}, none compiled yet in {place}: {WARM}"
    writable = "" if state.writable else ", read-only"
    return f"numba {state.numba}, {state.n_kept} of {state.n_kernels} compiled for this CPU, kept in {place}{writable}"
