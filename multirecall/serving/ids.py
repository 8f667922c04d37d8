"""Ids in addresses, which are text, in the kind that the engine's ids have."""

from __future__ import annotations

import re

from multirecall.errors import IdTypeError
from multirecall.vocabulary import Id, Vocabulary


def read_id(ids: Vocabulary, text: str) -> Id:
    """The id that `text` of an address stands for. `007`, `+7` and `7.0` are no whole numbers that an id is.

    Raises:
        IdTypeError: ids are int and the text is no whole number.
    """
    if not ids.holds_text and not re.fullmatch(r"0|-?[1-9][0-9]{0,19}", text):
        raise IdTypeError(f"{ids.what} ids are int, got {text[:60]!r}: pass a whole number")
    return ids.parse(text)
