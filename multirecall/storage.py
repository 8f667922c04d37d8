"""Arrays and JSON on disk, and the manifest of checksums that shows damage to them. No pickle anywhere."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import BundleError
from multirecall.large_pages import in_large_pages, large_pages_are_wanted

META = "meta.json"
MANIFEST = "manifest.json"
NPY_KINDS = "biufcSU"
"""Kinds of dtype that are stored: numbers, booleans and fixed-width text."""

_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_NPY_START_BYTES = len(_NPY_MAGIC) + 2
_NPY_HEADER = re.compile(
    rb"\{'descr': '([<>|][a-zA-Z]\d+)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \} *\n"
)

T = TypeVar("T")


def write_component(folder: Path, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
    """Write each array as `<name>.npy`, and `meta` as JSON, into `folder`, which is created if missing.

    Raises:
        BundleError: an array holds something other than numbers, booleans or text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        if array.dtype.kind not in NPY_KINDS:
            raise BundleError(f"{folder / name}: arrays of {array.dtype} are not stored; use numbers or text")
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    write_json(folder / META, meta)


def read_component(folder: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays by name, and the meta data, as `write_component` was given them.

    The arrays are memory-mapped copy-on-write: changes to them stay in memory and never reach the files. A read-only
    map would make numba compile each kernel a second time. Within `load_into_large_pages` they are copied.

    Raises:
        BundleError: a file is missing, or its content does not match its name.
    """
    meta = read_json(folder / META)
    arrays = {file.stem: _map(file) for file in sorted(folder.glob("*.npy"))}
    return in_large_pages(arrays) if large_pages_are_wanted() else arrays, meta


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as JSON."""
    file.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        BundleError: the file is missing or holds no JSON object.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as fault:
        raise BundleError(
            f"{file}: cannot be read ({fault}); restore it from a copy or save the engine again"
        ) from None
    if not isinstance(value, dict):
        raise BundleError(f"{file}: holds no JSON object; restore it from a copy or save the engine again")
    return value


def json_digest(value: Any) -> str:
    """SHA-256 of `value` as JSON with sorted keys and no spaces, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_manifest(folder: Path, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Write and return a manifest: `payload`, the length and SHA-256 of every file below `folder`, and its own SHA-256.

    Raises:
        BundleError: the folder holds a link or another thing that is neither a file nor a folder.
    """
    names = [name for name in _plain_files(folder) if name != MANIFEST]
    entries = _in_parallel(lambda name: _entry(folder / name), names)
    manifest: dict[str, Any] = {**payload, "files": dict(zip(names, entries, strict=True))}
    manifest["sha256"] = json_digest(manifest)
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of `folder`, after it was compared with its own SHA-256; the files that it lists are not read.

    Raises:
        BundleError: the manifest is missing or damaged.
    """
    file = folder / MANIFEST
    manifest = read_json(file)
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    if manifest.get("sha256") != json_digest(rest):
        raise BundleError(f"{file}: differs from its own SHA-256; restore it from a copy or save the engine again")
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(_is_entry(entry) for entry in files.values()):
        raise BundleError(f"{file}: lists no files; restore it from a copy or save the engine again")
    return manifest


def verify_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of `folder`, after every file in the folder was compared with it, several files in parallel.

    Raises:
        BundleError: files are missing, differ, cannot be read or are not listed; the error names them.
    """
    manifest = read_manifest(folder)
    faults = _faults(folder, manifest["files"])
    if faults:
        raise BundleError(f"{folder} is damaged: {'; '.join(faults)}. Restore it from a copy or save it again")
    return manifest


def sync(folder: Path) -> None:
    """Force every file and folder below `folder`, and the folder itself, onto the disk."""
    for path in [*folder.rglob("*"), folder]:
        sync_one(path)


def sync_one(path: Path) -> None:
    """Force a file, or the entries of a folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain_files(folder: Path) -> list[str]:
    """The relative paths of all files below `folder`, sorted; a link is refused, never followed."""
    found, pending = [], [folder]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif entry.is_file(follow_symlinks=False):
                    found.append(path.relative_to(folder).as_posix())
                else:
                    raise BundleError(f"{path}: is neither a file nor a folder; remove it or restore it from a copy")
    return sorted(found)


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and {"bytes", "sha256"} <= entry.keys()


def _faults(folder: Path, listed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The faults of the files below `folder`; only files found there are opened, whatever the manifest lists."""
    try:
        found = [name for name in _plain_files(folder) if name != MANIFEST]
    except OSError as fault:
        return [f"{fault.filename} cannot be read ({fault.strerror})"]
    missing = [f"{name} is missing" for name in sorted(listed.keys() - set(found))]
    unlisted = [f"{MANIFEST} does not list {name}" for name in found if name not in listed]
    faults = _in_parallel(lambda name: _fault(folder, name, listed[name]), [name for name in found if name in listed])
    return [*missing, *unlisted, *(fault for fault in faults if fault)]


def _fault(folder: Path, name: str, expected: Mapping[str, Any]) -> str | None:
    try:
        size = (folder / name).stat().st_size
        if size != expected["bytes"]:
            return f"{name} has {size} bytes instead of {expected['bytes']}"
        return None if _sha256(folder / name) == expected["sha256"] else f"{name} differs from its SHA-256"
    except OSError as fault:
        return f"{name} cannot be read ({fault.strerror})"


def _entry(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": _sha256(file)}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _in_parallel(work: Callable[[str], T], names: Sequence[str]) -> list[T]:
    """The results of `work` on each name, computed by up to 8 threads; hashing releases the GIL."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, names))


def _map(file: Path) -> NDArray[Any]:
    """A memory map of an npy file. Its header is matched against the form that numpy writes, never evaluated."""
    try:
        with file.open("rb") as stream:
            start = stream.read(_NPY_START_BYTES)
            if not start.startswith(_NPY_MAGIC) or len(start) < _NPY_START_BYTES:
                raise ValueError("it does not begin as an npy file of version 1.0")
            header = stream.read(int.from_bytes(start[-2:], "little"))
            found = _NPY_HEADER.fullmatch(header)
            if found is None:
                raise ValueError("its header does not describe plain numbers or text")
            dtype = np.dtype(found[1].decode())
            shape = tuple(int(size) for size in found[3].split(b",") if size.strip())
            offset = stream.tell()
            expected, size = offset + math.prod(shape) * dtype.itemsize, file.stat().st_size
            if dtype.kind not in NPY_KINDS or dtype.itemsize == 0 or expected != size:
                raise ValueError(f"it has {size} bytes, which its header of {dtype} {shape} does not explain")
            order: Literal["F", "C"] = "F" if found[2] == b"True" else "C"
            return np.asarray(np.memmap(stream, dtype, "c", offset, shape, order))
    except (OSError, ValueError, TypeError, OverflowError) as fault:
        raise BundleError(f"{file}: no array can be read ({fault}); save the engine again") from None
