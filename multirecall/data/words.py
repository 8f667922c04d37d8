"""The tokeniser: splits texts into numbered words, for text retrievers and for the evaluation."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data.features import Text
from multirecall.data.letters import HAN, LETTER, MARK, SEPARATOR, UNSPACED, kinds, normalise
from multirecall.kernels import Array, kernel

LONGEST = 64
"""Characters. A longer word is shortened, because words are stored at fixed width, …"""
KEPT = 40
"""… to this number of characters and its hash."""

SLOTS = 1_024
"""Initial number of slots of the hash table of distinct words; it doubles when half of them are in use."""

FNV_OFFSET, FNV_PRIME = 0xCBF29CE484222325 - 2**64, 0x100000001B3
"""Offset basis and prime of the 64-bit FNV-1a hash, as int64."""


class Words(NamedTuple):
    """The words of some texts, normalised by `letters.fold_text`.

    A word is a run of letters and digits with their marks. In scripts without spaces between words, every pair of
    neighbouring characters of a run is a word, and a run of one character is a word: so a query of several characters
    matches every run that contains it. A word of more than 64 characters is shortened to its first 40, `…`, and a hash
    of the whole word.

    Attributes:
        distinct: every word once, sorted by code point.
        hashes: the FNV-1a hash of each distinct word, before it is shortened, uint64 (n_distinct,).
        offsets: CSR offsets, int64 (n_texts + 1,): text `i` has the words `offsets[i]` to `offsets[i + 1] - 1`.
        numbers: the position of each word in `distinct`, int32 (n_words,).
    """

    distinct: list[str]
    hashes: NDArray[np.uint64]
    offsets: NDArray[np.int64]
    numbers: NDArray[np.int32]

    @classmethod
    def of(cls, texts: Text, *, single: bool = False) -> Self:
        """Split texts into words; with `single`, each Han character is also a word, so that a search for it matches."""
        plain = normalise(texts)
        offsets, numbers, starts, stops, hashes = split(plain.offsets, plain.data, kinds(), single)
        spelt = [
            _shorten(plain.data[start:stop].tobytes().decode(), hashed)
            for start, stop, hashed in zip(starts, stops, hashes.tolist(), strict=True)
        ]
        distinct = sorted(set(spelt))
        place_of = {word: place for place, word in enumerate(distinct)}
        places = np.fromiter(map(place_of.__getitem__, spelt), np.int32, len(spelt))
        in_order = np.empty(len(distinct), np.uint64)
        in_order[places] = hashes
        return cls(distinct, in_order, offsets, places[numbers])


def _shorten(word: str, hashed: int) -> str:
    return word if len(word) <= LONGEST else f"{word[:KEPT]}…{hashed:016x}"


@kernel
def _code_point(data: Array, place: int) -> tuple[Any, int]:
    """The code point of the UTF-8 character at `place`, and its number of bytes."""
    code = np.int64(data[place])
    if code < 0x80:
        return code, 1
    size = 2 + int(code >= 0xE0) + int(code >= 0xF0)
    code &= 0xFF >> (size + 1)
    for following in range(place + 1, place + size):
        code = code << 6 | np.int64(data[following]) & 63
    return code, size


@kernel
def _part(data: Array, place: int, end: int, in_words: Array, hashed: Any) -> tuple[Any, int, Any]:
    """The part of a text that begins at `place`: a run of letters, or one other character, with their marks.

    Returns:
        Its kind, the place after its end, and the hash `hashed` continued with its bytes.
    """
    if place == end:
        return SEPARATOR, end, hashed
    code, size = _code_point(data, place)
    kind = in_words[code]
    if kind < LETTER:
        return SEPARATOR, place + size, hashed
    while True:
        for _ in range(size):
            hashed = (hashed ^ data[place]) * FNV_PRIME
            place += 1
        if place == end:
            break
        code, size = _code_point(data, place)
        if not ((in_words[code] == LETTER and kind == LETTER) or in_words[code] == MARK):
            break
    return kind, place, hashed


@kernel
def split(bounds: Array, data: Array, in_words: Array, single: bool) -> tuple[Array, Array, Array, Array, Array]:
    """Split texts into words as `Words` describes; text `i` is the UTF-8 in `data[bounds[i]:bounds[i + 1]]`, uint8.

    Returns:
        The CSR offsets of the words of each text, int64 (n + 1,); the number of each word, int32, where numbers are
        given by first occurrence; the start and the stop in `data` of the first occurrence of each distinct word,
        int64; and the hash of each distinct word, uint64.
    """
    offsets = np.zeros(bounds.size, np.int64)
    numbers = np.empty(data.size, np.int32)
    table = np.full(SLOTS, -1, np.int32)
    distinct = np.empty((SLOTS // 2, 3), np.int64)
    n_words, n_distinct = 0, 0
    for text in range(bounds.size - 1):
        place, end, follows = bounds[text], bounds[text + 1], False
        while place < end:
            start = place
            kind, place, own = _part(data, start, end, in_words, np.int64(FNV_OFFSET))
            if kind == SEPARATOR:
                follows = False
                continue
            second, beyond, both = SEPARATOR, place, own
            if kind >= UNSPACED:
                second, beyond, both = _part(data, place, end, in_words, own)
            begins = second >= UNSPACED
            alone = not (begins or follows) or (single and kind == HAN)
            for paired in range(1 - alone, 1 + begins):
                stop, hashed = (beyond, both) if paired else (place, own)
                slot = _slot(table, distinct, data, start, stop, hashed)
                number = table[slot]
                if number < 0:
                    number = table[slot] = n_distinct
                    distinct[number] = start, stop, hashed
                    n_distinct += 1
                    if n_distinct == len(distinct):
                        table, distinct = _double_table(distinct)
                numbers[n_words] = number
                n_words += 1
            follows = begins
        offsets[text + 1] = n_words
    found = distinct[:n_distinct]
    return offsets, numbers[:n_words], found[:, 0], found[:, 1], found[:, 2].copy().view(np.uint64)


@kernel
def _slot(table: Array, distinct: Array, data: Array, start: int, stop: int, hashed: Any) -> int:
    """The slot of hash table `table` for the word `data[start:stop]`: its own slot, or the free one to put it in."""
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
def _double_table(distinct: Array) -> tuple[Array, Array]:
    """Grow the hash table: a table with twice as many slots, and `distinct` with room for twice as many words."""
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
