"""`multirecall doctor`: what is installed, how it is set up, and whether a bundle is intact."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Annotated

import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.table import Table

from multirecall.cli.screen import console
from multirecall.cli.tables import plain_table
from multirecall.config import EngineConfig
from multirecall.cores import usable_cores
from multirecall.engine.bundle import bundle as bundles
from multirecall.kernel_cache import FOLDER_VARIABLE, CacheState, cache_state
from multirecall.learning.report import FusionReport
from multirecall.registry import listings
from multirecall.validation import validate

PACKAGE = "multirecall"
MISSING = "missing"

WARM = f"`multirecall warm FOLDER` and {FOLDER_VARIABLE}=FOLDER spare each process a minute"


def doctor(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle to verify.")] = None,
) -> None:
    """Report versions, threads, the compiler cache, plug-ins and extras.

    Given a bundle, verify it, and say what its fit has learned.
    """
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
        if manifest.get("learned"):
            report = FusionReport.of_dict(manifest["learned"]["report"])
            screen.print(f"\n{report}\n\nThe config that gives this without learning:\n", soft_wrap=True)
            screen.print(report.to_toml(validate(EngineConfig, manifest["config"], str(bundle))), soft_wrap=True)
    if broken:
        raise typer.Exit(1)


def _environment() -> Table:
    table = plain_table("what", "value")
    table.add_row(PACKAGE, version(PACKAGE))
    table.add_row("python", f"{platform.python_version()} on {platform.machine()}")
    table.add_row("cores", f"{usable_cores()} usable of {os.cpu_count()}")
    table.add_row("compiled kernels", _kernels(cache_state()))
    for one in _requirements(""):
        fault = _fault(one)
        table.add_row(one.name, fault or version(one.name), style="red" if fault else None)
    for extra in metadata(PACKAGE).get_all("Provides-Extra") or []:
        table.add_row(f"extra {extra}", _extra_state(extra))
    return table


def _extra_state(extra: str) -> str:
    faults = {one.name: fault for one in _requirements(extra) if (fault := _fault(one))}
    absent = [name for name, fault in faults.items() if fault == MISSING]
    said = [f"missing {', '.join(absent)}"] if absent else []
    said += [f"{name} {fault}" for name, fault in faults.items() if fault != MISSING]
    return f"{'; '.join(said)}: pip install '{PACKAGE}[{extra}]'" if said else "complete"


def _requirements(extra: str) -> list[Requirement]:
    """The requirements of an extra on this machine, with those of extras that it names; "" is the package itself."""
    found = []
    for one in map(Requirement, requires(PACKAGE) or []):
        if _is_for(extra, one) and not (extra and _is_for("", one)):
            ours = canonicalize_name(one.name) == PACKAGE
            found += [deeper for name in one.extras for deeper in _requirements(name)] if ours else [one]
    return sorted(found, key=lambda one: one.name)


def _is_for(extra: str, needed: Requirement) -> bool:
    return needed.marker is None or needed.marker.evaluate({"extra": extra})


def _fault(needed: Requirement) -> str | None:
    """Return why a requirement is not met, or None if it is."""
    try:
        found = version(needed.name)
    except PackageNotFoundError:
        return MISSING
    return None if needed.specifier.contains(found, prereleases=True) else f"{found}, needs {needed.specifier}"


def _kernels(state: CacheState) -> str:
    """Where compiled kernels are cached. All plug-ins, and so their kernels, have been imported before."""
    place = str(state.folder or "beside the modules, or in the user's cache folder")
    if not state.n_kept:
        return f"numba {state.numba}, none compiled yet in {place}: {WARM}"
    writable = "" if state.writable else ", read-only"
    return f"numba {state.numba}, {state.n_kept} of {state.n_kernels} compiled for this CPU, kept in {place}{writable}"
