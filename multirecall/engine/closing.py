"""The end of a path: when `Retriever.close` is called."""

from __future__ import annotations

import logging
import os
import weakref

from multirecall.protocols import Retriever

_log = logging.getLogger("multirecall.engine")


class Closing:
    """Calls `Retriever.close` of a path once, when no state, request or late call holds the path any more.

    A path has one `Closing` from its fit or load to its end; paths of one retriever share it. Live changes that
    replace the retriever pass it on, so the retriever that was served last is the one that is closed.
    """

    def __init__(self, name: str, retriever: Retriever) -> None:
        self._served = [retriever]
        weakref.finalize(self, _close, name, self._served, os.getpid())

    def serves(self, retriever: Retriever) -> None:
        """Note that requests see `retriever` from now on."""
        self._served[0] = retriever


def _close(name: str, served: list[Retriever], process: int) -> None:
    """Close the retriever, unless this is a forked child: then the parent closes it."""
    if os.getpid() != process:
        return
    try:
        served[0].close()
    except Exception as fault:  # noqa: BLE001 - the caller that happens to hold it last is not to blame
        _log.warning("path %r could not be closed: %r", name, fault)
