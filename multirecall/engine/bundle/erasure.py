"""Erasure: what was taken back leaves older versions and the journal too, even if the process crashes in between.

A mark file is written before the first version without the data is published. It is removed when nothing is left.
"""

from __future__ import annotations

import logging
from pathlib import Path

from multirecall.engine.bundle.versions import unwritable
from multirecall.storage import sync_one

MARK = "FORGET"

_log = logging.getLogger("multirecall.engine")


def begin(folder: Path) -> None:
    """Write the mark, durably. The next save that completes keeps no older version."""
    (folder / MARK).touch()
    sync_one(folder)


def is_due(folder: Path) -> bool:
    """Whether the bundle is marked."""
    return (folder / MARK).exists()


def finish(folder: Path, erased: bool) -> None:
    """Remove the files that `salvage` set aside; if the journal is `erased`, also the mark. Else a later save tries.

    Raises:
        BundleError: the folder cannot be written.
    """
    if not erased:
        _log.warning("%s: a reader holds the journal, so it still has what was taken back; save again later", folder)
        return
    try:
        for aside in folder.glob("damaged-*"):
            aside.unlink()
        sync_one(folder)
        (folder / MARK).unlink()
        sync_one(folder)
    except OSError as fault:
        raise unwritable(folder, fault) from None
