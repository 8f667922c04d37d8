"""What characters are to a tokeniser: which of them make words, and the form in which equal words are equal."""

from __future__ import annotations

import re
from functools import cache
from unicodedata import category, normalize

import numpy as np
from numpy.typing import NDArray

from multirecall.data.features import Text

SEPARATOR, MARK, LETTER, UNSPACED, HAN = range(5)
"""Kinds of characters: what ends a word; a mark on the character before it; letters and digits; letters of scripts
that put no spaces between words; and those of them that are often a word each."""

LAST = 0x3FFFF
"""Beyond it, Unicode has no letters."""

UNSPACED_BLOCKS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3031, 0x3035),  # repeat marks of kana
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana
    (0xA9E0, 0xA9FF),  # Myanmar
    (0xAA60, 0xAA7F),  # Myanmar
    (0x1AFF0, 0x1B16F),  # Katakana, Hiragana
)
HAN_BLOCKS = (
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3038, 0x303B),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, LAST),
)

IGNORED = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
"""What Unicode calls default ignorable, joiners, soft hyphens and variation selectors among it, but for the zero-width
space, which stands between words."""

LOWER = np.frombuffer(bytes(range(128)).lower(), np.uint8)
"""The lower case of each ASCII byte."""


@cache
def kinds() -> NDArray[np.uint8]:
    """The kind of each code point, uint8 (0x110000,)."""
    found = np.zeros(0x110000, np.uint8)
    for code, letter in enumerate(map(chr, range(LAST + 1))):
        if letter.isalnum():
            found[code] = LETTER
        elif category(letter)[0] == "M":
            found[code] = MARK
    for kind, blocks in ((UNSPACED, UNSPACED_BLOCKS), (HAN, HAN_BLOCKS)):
        for first, last in blocks:
            for code in range(first, last + 1):
                if found[code] == LETTER and not chr(code).isdecimal():
                    found[code] = kind
    return found


def normalise(texts: Text) -> Text:
    """The texts in the form in which words are compared; see `fold_text`."""
    if (texts.data < LOWER.size).all():
        return Text(texts.offsets, LOWER[texts.data])
    return Text.of(map(fold_text, texts.strings()))


def fold_text(text: str) -> str:
    """A text without differences of case, composition, width and invisible characters.

    Unicode's NFKC with full case folding, and the four letters i of Turkish as one, since `I` is the capital of two.
    """
    if text.isascii():
        return text.lower()
    plain = IGNORED.sub("", normalize("NFKC", text)).casefold()
    return normalize("NFKC", plain.replace("i\u0307", "i").replace("ı", "i"))
