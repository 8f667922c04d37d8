"""Characters for the tokeniser: which of them make up words, and how texts are normalised before words are compared."""

from __future__ import annotations

import re
from functools import cache
from unicodedata import category, normalize

import numpy as np
from numpy.typing import NDArray

from multirecall.data.features import Text

SEPARATOR, MARK, LETTER, UNSPACED, HAN = range(5)
"""Kinds of characters: separators between words; marks, which belong to the character before them; letters and digits;
letters of scripts without spaces between words; and Han characters, which are often a word each."""

LAST = 0x3FFFF
"""The largest code point of a letter in Unicode."""

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
"""Unicode's default ignorable characters, such as joiners, soft hyphens and variation selectors. The zero-width space
is not among them, because it separates words."""

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
    """Normalise texts for the comparison of words; see `fold_text`."""
    if (texts.data < LOWER.size).all():
        return Text(texts.offsets, LOWER[texts.data])
    return Text.of(map(fold_text, texts.strings()))


def fold_text(text: str) -> str:
    """Remove differences of case, composition and width, and invisible characters, from a text.

    The form is Unicode's NFKC with full case folding. The four letters i of Turkish become one, because `I` is the
    capital of two of them.
    """
    if text.isascii():
        return text.lower()
    plain = IGNORED.sub("", normalize("NFKC", text)).casefold()
    return normalize("NFKC", plain.replace("i\u0307", "i").replace("ı", "i"))
