"""The limit on the memory of a fit that grows fast with the catalogue, such as with its square."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from multirecall.errors import CannotFit

MemoryBytes = Annotated[int, Field(strict=True, gt=0)]
"""The largest number of bytes that a fit may allocate."""

DEFAULT_BYTES = 2 * 2**30
"""The default limit, 2 GiB: fits a small server beside the data; an item × item matrix of 23,000 items."""


def require_memory(needed: int, limit: int, place: str, otherwise: str) -> None:
    """Check that a fit needs at most `limit` bytes.

    Args:
        needed: bytes that the fit needs.
        limit: the setting `memory_bytes`.
        place: the retriever and the part of its fit, for the error.
        otherwise: the remedy other than raising the limit, for the error.

    Raises:
        CannotFit: the fit needs more than `limit` bytes.
    """
    if needed > limit:
        raise CannotFit(
            f"{place} needs {needed:,} bytes, more than memory_bytes = {limit:,}; raise memory_bytes, {otherwise}"
        )
