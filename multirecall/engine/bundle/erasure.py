"""How a bundle forgets: what older versions and the journal hold of what was taken back goes, whenever a crash comes.

A mark stands in the folder from before the first version without it is published until nothing else is left.
"""

from __future__ import annotations

import logging
from pathlib import Path

from multirecall.engine.bundle.versions import unwritable
from multirecall.storage import sync_one

MARK = "FORGET"

_log = logging.getLogger("multirecall.engine")


def begin(folder: Path) -> None:
    """Mark the bundle, durably: the next save that ends keeps no version before it."""
    (folder / MARK).touch()
    sync_one(folder)


def is_due(folder: Path) -> bool:
    """Whether the bundle is marked."""
    return (folder / MARK).exists()


def finish(folder: Path, erased: bool) -> None:
    """Remove what `salvage` has set aside, and the mark, if the journal is `erased`; a later save tries again.

    Raises:
        BundleError: the folder cannot be written.
    """
    if not erased:
        _log.warning("%s: somebody reads the journal, so what was taken back is still in it; save once more", folder)
        return
    try:
        for aside in folder.glob("damaged-*"):
            aside.unlink()
        sync_one(folder)
        (folder / MARK).unlink()
        sync_one(folder)
    except OSError as fault:
        raise unwritable(folder, fault) from None
