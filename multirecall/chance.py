"""Chance that a text decides, such as the id of a request: the same outcome in every process, at every time."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np


def share_of(text: str, purpose: str) -> float:
    """A number in [0, 1), uniform over texts; independent between purposes, of at most 16 bytes."""
    return (int.from_bytes(_digest(text, purpose)[:8], "big") >> 11) / (1 << 53)


def generator_of(text: str, purpose: str) -> np.random.Generator:
    """A generator that the text seeds; independent between purposes, and of `share_of`."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(_digest(text, purpose)[8:], "big")))


def _digest(text: str, purpose: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=24, person=purpose.encode()).digest()
