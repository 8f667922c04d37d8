"""Saving and loading an engine: a version is written beside the others, published at once, and verified before use."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from multirecall.config import FALLBACK, EngineConfig, config_hash, stored_values
from multirecall.cores import Threads
from multirecall.data import Dataset
from multirecall.engine.bundle import erasure
from multirecall.engine.bundle.journal import JournalReader
from multirecall.engine.bundle.lock import LOCK, WriterLock
from multirecall.engine.bundle.versions import (
    CURRENT,
    DRAFT,
    FORMAT,
    Version,
    current_first,
    current_name,
    headline,
    headlines,
    is_current,
    names,
    newest_whole,
    publish,
    remove,
    rollback,
    unwritable,
    verify,
    verify_version,
    versions,
    way_out,
)
from multirecall.engine.learned import Learned
from multirecall.engine.path import Path as PathOfEngine
from multirecall.engine.path import fault_text
from multirecall.engine.state import Blueprint, EngineState, Part, assemble, with_learned
from multirecall.errors import BundleError, CannotFit, MultirecallError, PluginError, UntrustedPlugin
from multirecall.plugins import match_names
from multirecall.protocols import Retriever
from multirecall.storage import MANIFEST, json_digest, write_manifest
from multirecall.validation import validate

LIBRARIES = ("hnswlib", "numba", "numpy", "polars", "pydantic", "scipy", "torch")
"""The libraries whose releases a version notes, if they are installed."""

__all__ = [
    "Version",
    "claim",
    "current_name",
    "headline",
    "journal_end",
    "load",
    "require_vacant",
    "rollback",
    "save",
    "verify",
    "versions",
]

T = TypeVar("T")

SHARDS = "shards"
"""The folder in a sharded bundle that holds a bundle for each shard."""

StandIn = Callable[[str, Part, Dataset], Retriever]
"""Makes what stands for the retriever of a path, given its name, the plug-in with its settings, and the data."""


def claim(folder: Path) -> WriterLock:
    """Make the folder if needed, and return the lock of its bundle.

    Raises:
        BundleError: the folder holds something else, cannot be written, or has another writer.
    """
    require_vacant(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise unwritable(folder, fault) from None
    return WriterLock(folder)


def require_vacant(folder: Path) -> None:
    """Refuse a folder that holds something other than a bundle; raises `BundleError`."""
    try:
        if folder.exists() and any(folder.iterdir()) and not ((folder / CURRENT).exists() or (folder / LOCK).exists()):
            raise BundleError(f"{folder}: is not empty and not a bundle; choose another folder")
    except OSError as fault:
        raise unwritable(folder, fault) from None


def save(state: EngineState, config: EngineConfig, folder: Path, *, bare: bool = False) -> Version:
    """Write a new version beside the others, then let `CURRENT` name it. The newest intact version before it is kept.

    If something must be erased, no older version is kept, see `erasure`. The caller holds the bundle's lock, see
    `claim`. The leftovers of a save that was killed are removed.

    Args:
        state: what is saved.
        config: what it was built from, with the settings of all its parts (`Blueprint.resolved`).
        folder: the bundle.
        bare: whether to leave out the retrievers of the paths, which stand in shards.

    Raises:
        BundleError: the folder cannot be written. The versions before are untouched.
    """
    try:
        for leftover in folder.glob(f"{DRAFT}*"):
            shutil.rmtree(leftover)
        older = names(folder)
        before = newest_whole(folder, current_first(folder))
        known = headlines(folder, None)
        name = f"{int(older[-1]) + 1 if older else 1:06}"
        payload = {
            "format": FORMAT,
            "name": name,
            "bundle": known[-1].bundle if known else uuid4().hex,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **_software(),
            "config": stored_values(config),
            "config_hash": config_hash(config),
            "data_version": state.data_version,
            "journal_seq": state.journal_seq,
            "paths": state.names,
            "forgetting": state.forgetting,
            "learned": None if state.learned is None else state.learned.to_dict(),
            "knows": {path.name: _knowledge(path) for path in (*state.paths, state.fallback)},
        }
        if state.forgot:
            erasure.begin(folder)
        publish(folder, name, lambda draft: _write(state, () if bare else state.paths, draft, payload))
        kept = [] if erasure.is_due(folder) else [before] if before else older
        for old in older:
            if old not in kept:
                remove(folder, old)
        return headline(folder, name, current=True)
    except OSError as fault:
        raise unwritable(folder, fault) from None


@cache
def _software() -> dict[str, Any]:
    """The releases of the libraries that write a version."""
    libraries = {library: release for library in LIBRARIES if (release := _release(library)) is not None}
    return {"multirecall": installed("multirecall"), "libraries": {"python": platform.python_version(), **libraries}}


def _release(library: str) -> str | None:
    """The release of a library, or None if it is not installed."""
    try:
        return installed(library)
    except PackageNotFoundError:
        return None


def journal_end(folder: Path) -> int:
    """The number of the newest change in the bundle's journal, 0 without a bundle or journal; raises `BundleError`."""
    known = headlines(folder, None)
    return JournalReader(folder, known[-1].bundle).last if known else 0


def load(
    folder: Path,
    version: str | None = None,
    threads: Threads | None = None,
    plugins: Sequence[type] = (),
    stand_in: StandIn | None = None,
) -> tuple[EngineConfig, EngineState, Version]:
    """The config, the state and the headline of a version, by default the current one, verified before use.

    Args:
        folder: the bundle.
        version: its name.
        threads: those of a refit; default: 1, so that requests keep the other cores.
        plugins: classes that it may use.
        stand_in: makes what stands for the retriever of each path, where the bundle holds none itself.

    Raises:
        BundleError: not a bundle, damaged, sharded, or of another format; where another version is whole, it is named.
        PluginError: a plug-in that it uses is not installed.
        UntrustedPlugin: the bundle uses a class that is not among `plugins`.
    """
    if version is not None:
        return _load_version(folder, version, threads, plugins, stand_in)
    name = current_name(folder)
    try:
        return _load_version(folder, name, threads, plugins, stand_in)
    except BundleError as fault:
        if current_name(folder) != name:  # a writer published another version and removed the one that was being read
            return load(folder, threads=threads, plugins=plugins, stand_in=stand_in)
        raise BundleError(f"{fault}{way_out(folder, name)}") from None


def _load_version(
    folder: Path, name: str, threads: Threads | None, plugins: Sequence[type], stand_in: StandIn | None
) -> tuple[EngineConfig, EngineState, Version]:
    if stand_in is None and (folder / SHARDS).exists():
        raise BundleError(
            f"{folder}: is sharded, so that several processes serve it; use `multirecall serve`, or "
            "multirecall.scaleout.ShardedEngine.connect"
        )
    manifest = verify_version(folder, name)
    knows = manifest["knows"]
    version = headline(folder, name, current=is_current(folder, name))
    own = folder / name
    if json_digest(version.config) != version.config_hash:
        raise BundleError(f"{own / MANIFEST}: config and config_hash do not belong together; restore it from a copy")
    of_machine = {"threads": 1 if threads is None else threads}
    config = _with_given_classes(validate(EngineConfig, version.config | of_machine, str(own)), plugins, own)
    stored = version.learned
    learned = None if stored is None else _open_part(own / MANIFEST, lambda: Learned.of_dict(stored))
    try:
        base = Blueprint.of(config, stored=True)
        blueprint = base if learned is None else Blueprint.of(learned.report.apply_to(config), stored=True)
    except PluginError as fault:
        raise PluginError(f"{own}: {fault}; install or fix what it was saved with") from None
    data = _open_part(own / "data", lambda: Dataset.open(own / "data"))
    place, part = own / FALLBACK, blueprint.fallback
    fallback = _open_part(place, lambda: part.plugin.load(part.settings, place, data))
    twin = blueprint.twin if stand_in is None and _is_twin(blueprint.twin, manifest) else None

    def open_part(path: str, part: Part) -> Retriever:
        if path not in version.paths:
            raise CannotFit("it was left out when the engine was fitted")
        if path == twin:
            return fallback
        if stand_in is not None:
            return stand_in(path, part, data)
        place = own / "paths" / path
        return _open_part(place, lambda: part.plugin.load(part.settings, place, data))

    state = assemble(blueprint, data, open_part, fallback)
    if learned is not None:
        state = with_learned(state, config, learned)
    state = replace(
        state,
        paths=tuple(_with_knowledge(path, knows[path.name], data) for path in state.paths),
        fallback=_with_knowledge(state.fallback, knows[FALLBACK], data),
        data_version=version.data_version,
        journal_seq=version.journal_seq,
        forgetting=version.forgetting,
    )
    return base.resolved, state, version


def _is_twin(path: str | None, manifest: dict[str, Any]) -> bool:
    """Whether a path and the fallback were saved as the same, file by file, and know the same rows."""

    def files_below(folder: str) -> dict[str, Any]:
        names = [name for name in manifest["files"] if name.startswith(folder)]
        return {name.removeprefix(folder): manifest["files"][name] for name in names}

    same = files_below(f"paths/{path}/"), files_below(f"{FALLBACK}/")
    return same[0] == same[1] and manifest["knows"].get(path) == manifest["knows"][FALLBACK]


def _with_given_classes(config: EngineConfig, plugins: Sequence[type], own: Path) -> EngineConfig:
    """Put the caller's classes into the config in place of their names, before anything is loaded.

    Raises:
        UntrustedPlugin: the config names a class that the caller did not pass.
    """
    names = config.bare_classes
    given = config.with_classes(match_names(names, plugins))
    missing = given.bare_classes
    if missing:
        classes = ", ".join(re.split("[:.]", name)[-1] for name in names)
        raise UntrustedPlugin(
            f"{own}: was saved with {', '.join(missing)}, and a bundle does not choose what code runs",
            f"if you trust it, name it: Engine.load({str(own.parent)!r}, plugins=[{classes}])",
            names,
        )
    return given


def _knowledge(path: PathOfEngine) -> dict[str, Any]:
    """The number of items and users that a path's retriever knows."""
    return {"items": path.n_items, "users": path.n_users, "stale": path.stale}


def _with_knowledge(path: PathOfEngine, knows: dict[str, Any], data: Dataset) -> PathOfEngine:
    behind = knows["items"] < data.n_items or knows["users"] < data.n_users
    return replace(path, n_items=knows["items"], n_users=knows["users"], stale=knows["stale"], behind=behind)


def _open_part(place: Path, load_it: Callable[[], T]) -> T:
    """Load a part from `place`, and turn any exception into a `BundleError`, because the files may be foreign."""
    try:
        return load_it()
    except MultirecallError:
        raise
    except Exception as fault:
        raise BundleError(
            f"{place}: cannot be loaded ({type(fault).__name__}: {fault}); save the engine again with this version"
        ) from fault


def _write(state: EngineState, paths: Sequence[PathOfEngine], draft: Path, payload: dict[str, Any]) -> str:
    """Write the data, these paths and the fallback into `draft`, and return the digest of its manifest."""
    state.data.save(draft / "data")
    for path, own in [(path, draft / "paths" / path.name) for path in paths] + [(state.fallback, draft / FALLBACK)]:
        own.mkdir(parents=True)
        try:
            path.retriever.save(own)
        except (MultirecallError, OSError):
            raise
        except Exception as fault:
            raise BundleError(
                f"path {path.name!r} cannot be saved ({fault_text(fault)}); fix the plug-in, or leave the path out"
            ) from fault
    digest: str = write_manifest(draft, payload)["sha256"]
    return digest
