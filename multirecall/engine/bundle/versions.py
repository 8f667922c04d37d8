"""The versions in a bundle's folder: which exist, which is current, whether one is intact."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from multirecall.errors import BundleError
from multirecall.storage import MANIFEST, read_json, read_manifest, sync, sync_one, verify_manifest
from multirecall.validation import StrictModel

FORMAT = 3
CURRENT = "CURRENT"
DRAFT = ".draft-"

_log = logging.getLogger("multirecall.engine")


class Version(StrictModel):
    """What the manifest of a version says besides its files."""

    name: str
    """Its folder in the bundle: six digits or more."""

    current: bool
    """Whether `CURRENT` names it."""

    bundle: str
    """Id of the bundle, which all its versions and its journal share."""

    created: str
    """When it was saved, ISO 8601 in UTC."""

    multirecall: str
    """The version of this package that wrote it."""

    libraries: dict[str, str]
    """Versions of Python and of the libraries that wrote it."""

    config: dict[str, Any]
    """The engine's config with every default and the settings of all its parts, but those of the machine."""

    config_hash: str
    """`config_hash` of the config."""

    data_version: int
    """The engine's number of its state of the data."""

    journal_seq: int
    """The last change of the journal that it contains."""

    paths: tuple[str, ...]
    """The paths that it serves."""

    forgetting: bool = False
    """Whether something was taken back that it may still know, see `EngineState`."""

    learned: dict[str, Any] | None = None
    """What the fit has learned, see `Learned`."""


def versions(folder: Path) -> list[Version]:
    """The versions of a bundle, oldest first. A version with an unreadable manifest is left out.

    Raises:
        BundleError: not a bundle.
    """
    try:
        current: str | None = current_name(folder)
    except BundleError as fault:
        if not names(folder):
            raise
        current = None
        _log.warning("%s", fault)
    return headlines(folder, current)


def verify(folder: Path, version: str | None = None) -> dict[str, Any]:
    """The manifest of a version, by default the current one, after every file has been compared with it.

    Raises:
        BundleError: not a bundle, damaged, or of another format.
    """
    return verify_version(folder, version or current_name(folder))


def rollback(folder: Path, version: str | None = None) -> str:
    """Verify an older version, let `CURRENT` name it, and return its name.

    The caller holds the bundle's lock, see `claim`. All versions and the journal stay, so a load replays the live
    changes since that version.

    Args:
        folder: the bundle.
        version: which; default: the one before the current one.

    Raises:
        BundleError: there is no such version, or it is damaged. `CURRENT` is unchanged.
    """
    if version is None:
        current = current_name(folder)
        older = [name for name in names(folder) if int(name) < int(current)]
        if not older:
            raise BundleError(f"{folder}: has no version before {current}")
        version = older[-1]
    digest = verify_version(folder, version)["sha256"]
    try:
        _point(folder, version, digest)
    except OSError as fault:
        raise unwritable(folder, fault) from None
    return version


def publish(folder: Path, name: str, write: Callable[[Path], str]) -> None:
    """Let `write` fill a draft, make it durable as version `name`, then let `CURRENT` name it."""
    draft, target = folder / f"{DRAFT}{name}", folder / name
    try:
        draft.mkdir()
        digest = write(draft)
        sync(draft)
        draft.rename(target)
        sync_one(folder)
        _point(folder, name, digest)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        if not is_current(folder, name):
            shutil.rmtree(target, ignore_errors=True)
        raise


def remove(folder: Path, name: str) -> None:
    """Remove a version. A version that is removed only in part no longer counts as one."""
    leftover = folder / f"{DRAFT}{name}"
    (folder / name).rename(leftover)
    shutil.rmtree(leftover)


def _point(folder: Path, name: str, digest: str) -> None:
    """Let `CURRENT` name a version, durably."""
    pointer = folder / f".{CURRENT}"
    pointer.write_text(f"{name} {digest}\n", encoding="utf-8")
    sync_one(pointer)
    os.replace(pointer, folder / CURRENT)
    sync_one(folder)


def current_name(folder: Path) -> str:
    """The name of the current version. `CURRENT` also holds the digest of its manifest, which proves both.

    Raises:
        BundleError: not a bundle, or `CURRENT` is damaged; says which version is whole.
    """
    pointer = folder / CURRENT
    try:
        text = pointer.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        if names(folder):
            raise BundleError(f"{pointer}: is missing{way_out(folder)}") from None
        raise BundleError(
            f"{folder}: is not a bundle (no file {CURRENT}); pass a folder that engine.save has written"
        ) from None
    except OSError as fault:
        raise BundleError(f"{pointer}: cannot be read ({fault.strerror}){way_out(folder)}") from None
    name, _, digest = text.strip().partition(" ")
    if name not in names(folder):
        raise BundleError(f"{folder}: {CURRENT} names {name[:40]!r}, which is no version here{way_out(folder)}")
    try:
        belongs = read_manifest(folder / name)["sha256"] == digest
    except BundleError:
        return name  # a load reports what is wrong
    if not belongs:
        raise BundleError(f"{folder}: {CURRENT} and {name}/{MANIFEST} do not belong together{way_out(folder)}")
    return name


def is_current(folder: Path, name: str) -> bool:
    """Whether `CURRENT` can be read and names the version."""
    try:
        return current_name(folder) == name
    except BundleError:
        return False


def names(folder: Path) -> list[str]:
    """The names of a bundle's versions, oldest first."""
    if not folder.is_dir():
        return []
    try:
        found = [path.name for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError as fault:
        raise BundleError(f"{folder}: cannot be read ({fault.strerror}); check the permissions") from None
    return sorted((name for name in found if name.isascii() and name.isdigit()), key=int)


def current_first(folder: Path) -> list[str]:
    """The names of a bundle's versions, the current one first, then the newest first."""
    try:
        current = current_name(folder)
    except BundleError:
        current = ""
    return sorted(names(folder), key=lambda name: (name == current, int(name)), reverse=True)


def newest_whole(folder: Path, candidates: Iterable[str]) -> str | None:
    """The first of `candidates` that is intact."""
    for name in candidates:
        try:
            verify_version(folder, name)
        except BundleError:
            continue
        return name
    return None


def way_out(folder: Path, damaged: str | None = None) -> str:
    """The remedy for a damaged current version: the end of an error message."""
    whole = newest_whole(folder, [name for name in reversed(names(folder)) if name != damaged])
    if whole is None:
        return ""
    return (
        f". Version {whole} is whole: open it with Engine.load({str(folder)!r}, version={whole!r}), "
        f"or make it the current one with Engine.rollback({str(folder)!r}, {whole!r})"
    )


def verify_version(folder: Path, name: str) -> dict[str, Any]:
    """Read the manifest of a version, after its format and all its files were checked."""
    if name not in names(folder):
        known = ", ".join(names(folder)) or "none"
        raise BundleError(f"{folder}: has no version {name!r}; it has {known}")
    own = folder / name
    manifest = read_json(own / MANIFEST)
    found = manifest.get("format")
    if found != FORMAT:
        writer = manifest.get("multirecall", "of an unknown version")
        raise BundleError(
            f"{own}: has format {found}, written by multirecall {writer}; this program reads format {FORMAT}: "
            "fit and save again, or load it with the program that wrote it"
        )
    return verify_manifest(own)


def headlines(folder: Path, current: str | None) -> list[Version]:
    """The headlines of all versions whose manifests can be read, oldest first."""
    found = []
    for name in names(folder):
        try:
            found.append(headline(folder, name, current=name == current))
        except BundleError as fault:
            _log.warning("%s", fault)
    return found


def headline(folder: Path, name: str, *, current: bool) -> Version:
    """Read what the manifest of a version says.

    Raises:
        BundleError: it is damaged, or lacks something.
    """
    manifest = read_manifest(folder / name)
    known = {field: manifest[field] for field in Version.model_fields if field in manifest}
    try:
        found = Version.model_validate({**known, "current": current})
    except ValidationError as fault:
        first = fault.errors()[0]
        raise BundleError(
            f"{folder / name / MANIFEST}: {'.'.join(map(str, first['loc']))}: {first['msg']}; restore it from a copy"
        ) from None
    if found.name != name:
        raise BundleError(
            f"{folder / name}: is version {found.name} under another name; restore the folder from a copy"
        )
    return found


def unwritable(folder: Path, fault: OSError) -> BundleError:
    """The error for a bundle that the system refuses to write."""
    return BundleError(f"{folder}: cannot be written ({fault}); check the disk and the permissions")
