"""What happened within the last minutes in this process: states and shares of paths, and requests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time
from typing import Any

import numpy as np

from multirecall.online import Observation
from multirecall.serving.exchange import Exchange

SLOT_S = 10
"""Seconds of one slot."""

SLOTS = 60
"""Slots that are kept: ten minutes."""

TIMES = 200
"""Times of a path, and of requests, that a slot keeps for its median."""


@dataclass(slots=True)
class _Slot:
    number: int
    requests: int = 0
    refused: int = 0
    times: list[float] = field(default_factory=list)
    answers: int = 0
    candidates: int = 0
    backfilled: int = 0
    states: dict[tuple[str, str], int] = field(default_factory=dict)
    proposed: dict[str, int] = field(default_factory=dict)
    path_times: dict[str, list[float]] = field(default_factory=dict)


class Recent:
    """A bounded window of observations; an observer for `Engine.observe`."""

    def __init__(self, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._slots: deque[_Slot] = deque(maxlen=SLOTS)

    def observe(self, observation: Observation) -> None:
        """Count one answer of the engine."""
        answer = observation.answer
        with self._lock:
            slot = self._slot()
            slot.answers += 1
            slot.candidates += len(answer.ranks)
            slot.backfilled += int(np.sum(answer.n_backfilled))
            for path, proposed in zip(answer.paths, (answer.ranks >= 0).sum(0).tolist(), strict=True):
                slot.proposed[path] = slot.proposed.get(path, 0) + proposed
            if observation.cached:
                return
            for path, status in answer.status.items():
                slot.states[path, status.state] = slot.states.get((path, status.state), 0) + 1
                times = slot.path_times.setdefault(path, [])
                if status.state in ("ok", "late", "failed") and len(times) < TIMES:
                    times.append(status.ms)

    def note(self, exchange: Exchange) -> None:
        """Count one request over HTTP, but for those of the explorer and of health checks."""
        if not exchange.route.startswith("/v1/"):
            return
        with self._lock:
            slot = self._slot()
            slot.requests += 1
            slot.refused += exchange.status >= 400
            if len(slot.times) < TIMES:
                slot.times.append(exchange.ms)

    def shown(self) -> dict[str, Any]:
        """The window as JSON values: for each path its states by slot, oldest first, with its share and median time."""
        with self._lock:
            last = int(self._clock() // SLOT_S)
            by_number = {slot.number: slot for slot in self._slots if slot.number > last - SLOTS}
            slots = [by_number.get(number) for number in range(last - SLOTS + 1, last + 1)]
            held = [slot for slot in slots if slot is not None]
            paths = list(dict.fromkeys(path for slot in held for path in slot.proposed))
            candidates = sum(slot.candidates for slot in held)
            return {
                "slot_s": SLOT_S,
                "requests": [slot.requests if slot else 0 for slot in slots],
                "refused": sum(slot.refused for slot in held),
                "request_ms": _median([ms for slot in held for ms in slot.times]),
                "answers": sum(slot.answers for slot in held),
                "candidates": candidates,
                "backfilled": sum(slot.backfilled for slot in held),
                "paths": {
                    path: {
                        "states": [_states(slot, path) for slot in slots],
                        "share": sum(slot.proposed.get(path, 0) for slot in held) / max(1, candidates),
                        "ms": _median([ms for slot in held for ms in slot.path_times.get(path, ())]),
                    }
                    for path in paths
                },
            }

    def _slot(self) -> _Slot:
        number = int(self._clock() // SLOT_S)
        if not self._slots or self._slots[-1].number != number:
            self._slots.append(_Slot(number))
        return self._slots[-1]


def _states(slot: _Slot | None, path: str) -> dict[str, int]:
    return {} if slot is None else {state: n for (name, state), n in slot.states.items() if name == path}


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None
