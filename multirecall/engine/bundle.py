"""A saved engine: a folder of versions, each proved whole by its manifest, and `CURRENT` naming one."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from multirecall.config import FALLBACK, EngineConfig
from multirecall.data import Dataset
from multirecall.engine.state import Blueprint, EngineState, Part, assembled
from multirecall.errors import BundleError, CannotFit
from multirecall.protocols import Retriever
from multirecall.storage import read_json, sync, verified_manifest, write_manifest
from multirecall.validation import validated

FORMAT = 1
CURRENT = "CURRENT"
LIBRARIES = ("numpy", "polars", "scipy")


def save(state: EngineState, config: EngineConfig, folder: Path) -> None:
    """Write a new version beside the others, then let `CURRENT` name it; the version before is kept.

    Raises:
        BundleError: the folder holds something else, or cannot be written.
    """
    try:
        _save(state, config, folder)
    except OSError as fault:
        raise BundleError(f"{folder}: cannot be written ({fault}); check the disk and the permissions") from None


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of the current version, after every file has been compared with it.

    Raises:
        BundleError: not a bundle, damaged, or of a newer format.
    """
    return verified_manifest(_current(folder))


def load(folder: Path) -> tuple[EngineConfig, EngineState]:
    """The config and the state of the current version, verified before use.

    Raises:
        BundleError: not a bundle, damaged, or of a newer format.
        PluginError: a plug-in that it uses is not installed.
    """
    current = _current(folder)
    manifest = verified_manifest(current)
    config = validated(EngineConfig, manifest["config"], str(folder))
    blueprint = Blueprint.of(config)
    data = Dataset.open(current / "data")
    served = set(manifest["paths"])

    def open_part(name: str, part: Part) -> Retriever:
        if name not in served:
            raise CannotFit("it was left out when the engine was fitted")
        return part.plugin.load(part.settings, current / "paths" / name, data)

    fallback = blueprint.fallback.plugin.load(blueprint.fallback.settings, current / FALLBACK, data)
    return config, assembled(blueprint, data, open_part, fallback)


def _save(state: EngineState, config: EngineConfig, folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / CURRENT).is_file():
        raise BundleError(f"{folder}: is not empty and not a bundle; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    before = _versions(folder)
    number = int(before[-1].name) + 1 if before else 1
    target = folder / f"{number:06}"
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
    try:
        _write(state, config, draft)
        sync(draft)
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    pointer = folder / f".{CURRENT}"
    pointer.write_text(target.name + "\n", encoding="utf-8")
    os.replace(pointer, folder / CURRENT)
    sync(target)
    for old in before[:-1]:
        shutil.rmtree(old)


def _write(state: EngineState, config: EngineConfig, folder: Path) -> None:
    state.data.save(folder / "data")
    for path in state.paths:
        own = folder / "paths" / path.name
        own.mkdir(parents=True)
        path.retriever.save(own)
    (folder / FALLBACK).mkdir()
    state.fallback.retriever.save(folder / FALLBACK)
    payload = {
        "format": FORMAT,
        "multirecall": version("multirecall"),
        "libraries": {name: version(name) for name in LIBRARIES},
        "config": config.model_dump(exclude_unset=True),
        "paths": state.names,
    }
    write_manifest(folder, payload)


def _versions(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name.isdigit())


def _current(folder: Path) -> Path:
    """The folder of the current version, once its format is known to be readable."""
    pointer = folder / CURRENT
    if not pointer.is_file():
        raise BundleError(f"{folder}: is not a bundle (no file {CURRENT}); pass a folder that engine.save has written")
    name = pointer.read_text(encoding="utf-8", errors="replace").strip()
    current = folder / name
    if not name.isdigit() or not current.is_dir():
        raise BundleError(
            f"{folder}: {CURRENT} names {name!r}, which is no version here; restore the folder from a copy"
        )
    manifest = read_json(current / "manifest.json")
    if manifest.get("format") != FORMAT:
        writer = manifest.get("multirecall", "another version")
        raise BundleError(
            f"{folder}: has format {manifest.get('format')}, this program reads {FORMAT}; use multirecall {writer}"
        )
    return current
