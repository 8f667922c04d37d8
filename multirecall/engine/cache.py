"""The result cache: recent answers, reused for equal requests."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.engine.health import CacheHealth
from multirecall.engine.state import EngineState
from multirecall.result import Candidates
from multirecall.user import User

SCALARS = frozenset({type(None), bool, int, float, str, bytes})
LONGEST_KEY = 256
"""Characters of a cache key. The cache keys a longer description of a request by its digest."""

DEEPEST = 8
"""The deepest nesting of a request that is cached. No valid request is nested deeper."""


class ResultCache:
    """The last `size` answers of an engine, whose config never changes; any number of threads may use it.

    The arrays of a cached answer are read-only, because several callers share them.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, Candidates] = OrderedDict()
        self._hits = self._misses = 0

    def answer(
        self, state: EngineState, request: tuple[Any, ...], ask: Callable[[], Candidates]
    ) -> tuple[Candidates, bool]:
        """Return the cached answer of `request` on `state`, or that of `ask`; and whether it was a cache hit.

        A new answer is cached if every path and the fallback were ok. A request that holds anything but plain values,
        lists, sets, dictionaries and arrays is never cached.
        """
        described, revision = description(request), state.revision
        if described is None or revision is None:
            return ask(), False
        key = f"{state.version}:{revision}:{described}"
        if (kept := self._lookup(key)) is not None:
            return kept, True
        faults = state.fallback.breaker.faults
        made = ask()
        if all(one.state == "ok" for one in made.status.values()) and state.fallback.breaker.faults == faults:
            made = _read_only(made)
            self._keep(key, made)
        return made, False

    def clear(self) -> None:
        """Drop all answers. The counts of hits and misses stay."""
        with self._lock:
            self._answers.clear()

    @property
    def health(self) -> CacheHealth:
        """Its figures."""
        with self._lock:
            return CacheHealth(self._size, len(self._answers), self._hits, self._misses)

    def _lookup(self, key: str) -> Candidates | None:
        with self._lock:
            found = self._answers.get(key)
            if found is None:
                self._misses += 1
                return None
            self._hits += 1
            self._answers.move_to_end(key)
        return replace(found, status=dict(found.status))

    def _keep(self, key: str, answer: Candidates) -> None:
        with self._lock:
            self._answers[key] = replace(answer, status=dict(answer.status))
            if len(self._answers) > self._size:
                self._answers.popitem(last=False)


def description(request: Any) -> str | None:
    """Return a text that only equal requests share. 1, True, 1.0 and "1" differ; so do a list and a tuple.

    The result is None if the request holds a value of a type that cannot be compared like this, such as an iterator.
    """
    try:
        text = _text(request, DEEPEST)
    except ValueError:
        return None
    return text if len(text) <= LONGEST_KEY else _digest(text.encode())


def _text(value: Any, levels: int) -> str:
    kind = type(value)
    if kind in SCALARS:
        return repr(value)
    if not levels:
        raise ValueError("nested too deeply")
    if kind is datetime or kind is date:
        return f"{kind.__name__}({value.isoformat()})"
    if kind is list or kind is tuple:
        return f"{kind.__name__}({_merge_levels(value, levels)})"
    if kind is set or kind is frozenset:
        return f"set({','.join(sorted(_text(one, levels - 1) for one in value))})"
    if kind is dict:
        return f"dict({_merge_levels([part for pair in value.items() for part in pair], levels)})"
    if kind is User:
        return f"User({_merge_levels([value.id, value.history, value.features, value.terms], levels)})"
    if kind is np.ndarray or isinstance(value, np.generic):
        return _array_text(value, levels)
    raise ValueError(f"a {kind.__name__} says nothing for certain")


def _merge_levels(values: list[Any] | tuple[Any, ...], levels: int) -> str:
    if SCALARS.issuperset(map(type, values)):
        return repr(values)
    return ",".join(_text(value, levels - 1) for value in values)


def _array_text(array: NDArray[Any] | np.generic, levels: int) -> str:
    shape = f"{type(array).__name__}({array.dtype.str},{array.shape},"
    if array.dtype.kind == "O":
        return f"{shape}{_text(array.tolist(), levels - 1)})"
    if array.dtype.kind in "biufSU":
        return f"{shape}{_digest(array.tobytes())})"
    raise ValueError(f"an array of {array.dtype} says nothing for certain")


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=20).hexdigest()


def _read_only(answer: Candidates) -> Candidates:
    return replace(
        answer, ids=_lock_array(answer.ids), scores=_lock_array(answer.scores), ranks=_lock_array(answer.ranks)
    )


def _lock_array(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
