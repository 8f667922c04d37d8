"""The last requests of this worker, whose lists are fused again without asking the paths."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from time import monotonic

from multirecall.engine.trace import Trace
from multirecall.errors import MultirecallError
from multirecall.result import Candidates

SIZE = 16
"""Requests that are kept."""

KEPT_S = 120.0
"""Seconds for which one is kept after it was last used: a trace keeps the engine's data of its time in memory."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A trace with the list that the engine serves, or the error that it answers with."""

    trace: Trace
    served: Candidates | MultirecallError


class Traces:
    """A bounded store of traces by request; a miss means that the paths are asked again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[float, Kept]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, request: str, data_version: int) -> Kept | None:
        """What is kept for a request on this version of the data."""
        with self._lock:
            _, kept = self._kept.get(request, (0.0, None))
            if kept is None or kept.trace.data_version != data_version:
                return None
            self._kept[request] = monotonic(), kept
            self._kept.move_to_end(request)
            return kept

    def put(self, request: str, kept: Kept) -> None:
        """Keep a trace; the one that was used least recently makes room."""
        with self._lock:
            self._kept[request] = monotonic(), kept
            self._kept.move_to_end(request)
            while len(self._kept) > SIZE:
                self._kept.popitem(last=False)

    def sweep(self) -> None:
        """Drop what was not used for `KEPT_S`."""
        oldest = monotonic() - KEPT_S
        with self._lock:
            for request in [one for one, (used, _) in self._kept.items() if used <= oldest]:
                del self._kept[request]
