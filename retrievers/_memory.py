"""The bound on the memory of a fit that grows with the square, or with wide rows, of a catalogue."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from multirecall.errors import CannotFit

MemoryBytes = Annotated[int, Field(strict=True, gt=0)]
"""Most bytes that a fit may take."""

DEFAULT_BYTES = 2 * 2**30


def require_memory(needed: int, limit: int, place: str, otherwise: str) -> None:
    """Refuse a fit that needs more than `limit` bytes.

    Args:
        needed: bytes.
        limit: the setting `memory_bytes`.
        place: the retriever, and what it fits.
        otherwise: what can be done instead of raising the limit.

    Raises:
        CannotFit: that.
    """
    if needed > limit:
        raise CannotFit(
            f"{place} needs {needed:,} bytes, more than memory_bytes = {limit:,}; raise memory_bytes, {otherwise}"
        )
