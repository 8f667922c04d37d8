"""Arrays and JSON on disk, and the manifest that proves them whole. No pickle anywhere."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import BundleError

META = "meta.json"
MANIFEST = "manifest.json"


def write_component(folder: Path, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
    """Write `arrays` as `<name>.npy` and `meta` as JSON into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    write_json(folder / META, meta)


def read_component(folder: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What `write_component` wrote; the arrays are memory-mapped, and what is written to them stays in memory.

    Copy-on-write, since kernels would be compiled anew for arrays that are marked read-only.

    Raises:
        BundleError: a file is missing or not what its name says.
    """
    meta = read_json(folder / META)
    return {file.stem: _map(file) for file in sorted(folder.glob("*.npy"))}, meta


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as JSON."""
    file.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        BundleError: the file is missing or holds something else.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise BundleError(f"{file}: cannot be read ({fault}); save the engine again") from None
    if not isinstance(value, dict):
        raise BundleError(f"{file}: holds no JSON object; save the engine again")
    return value


def write_manifest(folder: Path, payload: Mapping[str, Any]) -> None:
    """Write a manifest with `payload` and the length and SHA-256 of every file below `folder`."""
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)} for name in _files(folder)
    }
    write_json(folder / MANIFEST, {**payload, "files": files})


def verified_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of `folder`, after every file has been compared with it.

    Raises:
        BundleError: names the files that are missing or differ.
    """
    manifest = read_json(folder / MANIFEST)
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(_is_entry(entry) for entry in files.values()):
        raise BundleError(f"{folder / MANIFEST}: lists no files; restore it from a copy or save the engine again")
    unlisted = [name for name in _files(folder) if name not in files]
    if unlisted:
        raise BundleError(f"{folder / MANIFEST}: does not list {unlisted[0]}; restore it from a copy")
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        faults = [fault for fault in pool.map(lambda name: _fault(folder, name, files[name]), files) if fault]
    if faults:
        raise BundleError(f"{folder} is damaged: {'; '.join(faults)}. Restore it from a copy or save it again")
    return manifest


def sync(folder: Path) -> None:
    """Force every file and folder below `folder`, and its entry in its parent, onto the disk."""
    for path in [*folder.rglob("*"), folder, folder.parent]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _files(folder: Path) -> list[str]:
    """The files below `folder` but for its manifest, by their path in it."""
    files = (str(file.relative_to(folder)) for file in sorted(folder.rglob("*")) if file.is_file())
    return [name for name in files if name != MANIFEST]


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and {"bytes", "sha256"} <= entry.keys()


def _map(file: Path) -> NDArray[Any]:
    try:
        if file.stat().st_size == 0:
            raise ValueError("the file is empty")
        array = np.load(file, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as fault:
        raise BundleError(f"{file}: no array can be read ({fault}); save the engine again") from None
    return np.asarray(array)


def _fault(folder: Path, name: str, expected: Mapping[str, Any]) -> str | None:
    file = folder / name
    if not file.is_file():
        return f"{name} is missing"
    if file.stat().st_size != expected["bytes"]:
        return f"{name} has {file.stat().st_size} bytes instead of {expected['bytes']}"
    return None if _sha256(file) == expected["sha256"] else f"{name} differs from its SHA-256"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
