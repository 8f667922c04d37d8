"""Arrays in large pages, which spare a processor most look-ups of addresses when requests read them here and there."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import LINE

PAGE = 2 << 20
"""Bytes of a large page on x86-64, and on ARM with pages of 4 KiB. Another value costs speed only."""

SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
"""Where Linux says who gets large pages: `always` everybody, `madvise` who asks, `never` nobody."""

_wanted: ContextVar[bool] = ContextVar("wanted", default=False)


@contextmanager
def load_into_large_pages(wanted: bool = True) -> Iterator[None]:
    """Let the components that are read within the body be copied into large pages, if `wanted`."""
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def system_has_large_pages() -> bool:
    """Whether the system gives large pages to who asks for them: Linux, unless an administrator has turned them off."""
    with suppress(OSError):
        return "[never]" not in SWITCH.read_text()
    return False


def large_pages_are_wanted() -> bool:
    """Whether the caller is within the body of `load_into_large_pages`."""
    return _wanted.get()


def in_large_pages(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Copies of these arrays in large pages; the arrays themselves if they do not fill one, or the system has none.

    The copies share one memory, which is free once none of them is used any more.
    """
    starts = np.cumsum([0, *(-(-array.nbytes // LINE) * LINE for array in arrays.values())]).tolist()
    if starts[-1] < PAGE or not system_has_large_pages():
        return dict(arrays)
    n_bytes = -(-starts[-1] // PAGE) * PAGE
    try:
        memory = mmap.mmap(-1, n_bytes + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # too little memory
        return dict(arrays)
    room: NDArray[np.uint8] = np.frombuffer(memory, np.uint8)
    room = room[-room.ctypes.data % PAGE :]
    copies = {}
    for (name, array), start in zip(arrays.items(), starts, strict=False):
        flat = room[start : start + array.nbytes].view(array.dtype)
        copies[name] = flat.reshape(array.shape, order="C" if array.flags.c_contiguous else "F")
        copies[name][...] = array
    return copies
