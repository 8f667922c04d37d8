"""From texts to words: lower-cased runs of letters and digits, numbered by what they are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel
from multirecall.lists import offsets_of

SLOTS = 1_024
"""Slots of the table of distinct words at first; it doubles when half of them are taken."""

FNV_OFFSET, FNV_PRIME = 0xCBF29CE484222325 - 2**64, 0x100000001B3
"""Of the 64-bit FNV-1a hash, as int64."""


class Words(NamedTuple):
    """The words of some texts.

    Attributes:
        distinct: every word once, sorted by code point.
        offsets: int64 (n_texts + 1,), text `i` has the words `offsets[i] … offsets[i + 1] - 1`.
        numbers: int32 (n_words,), the place of each among the distinct ones.
    """

    distinct: list[str]
    offsets: NDArray[np.int64]
    numbers: NDArray[np.int32]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """Split them."""
        lowered = pl.Series(texts, dtype=pl.String).str.to_lowercase()
        data = np.frombuffer(lowered.str.join("").item().encode(), np.uint8)
        bounds = offsets_of(lowered.str.len_bytes().to_numpy())
        offsets, numbers, starts, stops = split(bounds, data, _in_words())
        found = [data[start:stop].tobytes().decode() for start, stop in zip(starts, stops, strict=True)]
        order = np.array(sorted(range(len(found)), key=found.__getitem__), np.intp)
        places = np.empty(order.size, np.int32)
        places[order] = np.arange(order.size, dtype=np.int32)
        return cls([found[number] for number in order], offsets, places[numbers])


@cache
def _in_words() -> NDArray[np.bool_]:
    """Whether each code point is a letter or a digit, bool (0x110000,)."""
    return np.fromiter(map(str.isalnum, map(chr, range(sys.maxunicode + 1))), np.bool_)


@kernel
def _code_point(data: Array, place: int) -> tuple[Any, int]:
    """The code point that UTF-8 has at `place`, and its bytes."""
    code = np.int64(data[place])
    if code < 0x80:
        return code, 1
    size = 2 + int(code >= 0xE0) + int(code >= 0xF0)
    code &= 0xFF >> (size + 1)
    for following in range(place + 1, place + size):
        code = code << 6 | np.int64(data[following]) & 63
    return code, size


@kernel
def split(bounds: Array, data: Array, in_words: Array) -> tuple[Array, Array, Array, Array]:
    """The words of texts in UTF-8, uint8 `data`, which int64 `bounds` (n + 1,) cut into texts.

    Returns:
        int64 (n + 1,), where the words of each text begin; int32, the number of each word, by first use; and where
        each distinct word stands for the first time, int64 starts and stops.
    """
    offsets = np.zeros(bounds.size, np.int64)
    numbers = np.empty(data.size, np.int32)
    table = np.full(SLOTS, -1, np.int32)
    distinct = np.empty((SLOTS // 2, 3), np.int64)
    n_words, n_distinct = 0, 0
    for text in range(bounds.size - 1):
        place, end = bounds[text], bounds[text + 1]
        while place < end:
            start, hashed = place, np.int64(FNV_OFFSET)
            while place < end:
                code, size = _code_point(data, place)
                if not in_words[code]:
                    break
                for _ in range(size):
                    hashed = (hashed ^ data[place]) * FNV_PRIME
                    place += 1
            if place == start:
                place += size
                continue
            slot = _slot(table, distinct, data, start, place, hashed)
            if table[slot] < 0:
                table[slot] = n_distinct
                distinct[n_distinct] = start, place, hashed
                n_distinct += 1
            numbers[n_words] = table[slot]
            n_words += 1
            if n_distinct == len(distinct):
                table, distinct = _doubled(distinct)
        offsets[text + 1] = n_words
    return offsets, numbers[:n_words], distinct[:n_distinct, 0], distinct[:n_distinct, 1]


@kernel
def _slot(table: Array, distinct: Array, data: Array, start: int, stop: int, hashed: Any) -> int:
    """The slot of `table` that holds, or would hold, the number of the word in `data[start:stop]`."""
    mask = table.size - 1
    slot = (hashed ^ hashed >> 32) & mask
    while table[slot] >= 0:
        number = table[slot]
        if distinct[number, 2] == hashed and distinct[number, 1] - distinct[number, 0] == stop - start:
            n_same, first = 0, distinct[number, 0]
            while n_same < stop - start and data[first + n_same] == data[start + n_same]:
                n_same += 1
            if n_same == stop - start:
                break
        slot = (slot + 1) & mask
    return int(slot)


@kernel
def _doubled(distinct: Array) -> tuple[Array, Array]:
    """A table with twice as many slots that holds the same words, and these with room for as many again."""
    n = len(distinct)
    table = np.full(4 * n, -1, np.int32)
    longer = np.empty((2 * n, 3), np.int64)
    longer[:n] = distinct
    mask = table.size - 1
    for number in range(n):
        hashed = distinct[number, 2]
        slot = (hashed ^ hashed >> 32) & mask
        while table[slot] >= 0:
            slot = (slot + 1) & mask
        table[slot] = number
    return table, longer
