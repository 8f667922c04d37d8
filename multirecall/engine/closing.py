"""When a path's retriever is told that nobody will ask it any more."""

from __future__ import annotations

import logging
import os
import weakref

from multirecall.protocols import Retriever

_log = logging.getLogger("multirecall.engine")


class Closing:
    """Calls `Retriever.close` of a path once, when no state, request or late call holds the path any more.

    A path has one from its fit or load to its end, and live changes that replace its retriever hand it on: the
    retriever that was served last is the one that is closed.
    """

    def __init__(self, name: str, retriever: Retriever) -> None:
        self._served = [retriever]
        weakref.finalize(self, _close, name, self._served, os.getpid())

    def serves(self, retriever: Retriever) -> None:
        """Note that requests see `retriever` from now on."""
        self._served[0] = retriever


def _close(name: str, served: list[Retriever], process: int) -> None:
    """Close the retriever, unless that is for the process to do that this one was forked from."""
    if os.getpid() != process:
        return
    try:
        served[0].close()
    except Exception as fault:  # noqa: BLE001 - whoever happens to let go last has nothing to do with it
        _log.warning("path %r could not be closed: %r", name, fault)
