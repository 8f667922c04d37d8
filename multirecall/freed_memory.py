"""Memory that was freed, and that the process still holds."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress


def return_freed_memory() -> None:
    """Give freed memory back to the system.

    The C library keeps freed arrays of up to 32 MiB for later ones, which often do not fit where small ones have
    settled meanwhile. After the fit of one path that is more than the path itself. Does nothing where the C library
    is not glibc.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
