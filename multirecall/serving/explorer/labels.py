"""What a person recognises an item by: its title, and its picture where the settings allow its host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset
from multirecall.engine.where import known_field
from multirecall.serving.explorer.settings import ExplorerSettings

TITLES = ("title", "name")
"""The features that may name an item where the settings name none."""

LONGEST = 160
"""Characters of a title that are shown."""

LONGEST_ADDRESS = 2_000
"""Characters of the address of a picture; a longer one is not shown."""


class Labels:
    """The titles and pictures of items."""

    def __init__(self, settings: ExplorerSettings) -> None:
        self._settings = settings

    def check(self, data: Dataset) -> None:
        """Raise `RequestError` where the item table lacks a feature that the settings name."""
        for place, field in (("explorer.title", self._settings.title), ("explorer.image", self._settings.image)):
            if field is not None:
                known_field(field, data.items, place, "item")

    def title_field(self, data: Dataset) -> str | None:
        """The feature that names an item, or None."""
        if self._settings.title is not None:
            return self._settings.title
        return next((name for name in TITLES if name in data.items.stored), None)

    def titles(self, data: Dataset, rows: NDArray[np.integer]) -> list[str | None]:
        """The title of each of `rows`, integers (n,), cut to `LONGEST`; None where there is none."""
        return [None if one is None else str(one)[:LONGEST] for one in _values(data, self.title_field(data), rows)]

    def table(self, data: Dataset, ids: Iterable[Any]) -> dict[str, list[str | None]]:
        """Title and picture by id, as text; a picture is None unless it may be shown."""
        distinct = list(dict.fromkeys(ids))
        if not distinct:
            return {}
        rows = data.items.ids.rows(distinct)
        titles, images = self.titles(data, rows), _values(data, self._settings.image, rows)
        return {
            str(id_): [title, self._address(image)] for id_, title, image in zip(distinct, titles, images, strict=True)
        }

    def _address(self, value: Any) -> str | None:
        return value if isinstance(value, str) and may_be_shown(value, self._settings.image_hosts) else None


def may_be_shown(address: str, hosts: Sequence[str]) -> bool:
    """Whether an address is http or https, of one of `hosts`, and without a user or a character that hides another."""
    if len(address) > LONGEST_ADDRESS or not address.isascii() or not address.isprintable() or " " in address:
        return False
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and "\\" not in address and parts.netloc.lower() in hosts


def _values(data: Dataset, field: str | None, rows: NDArray[np.integer]) -> list[Any]:
    if field is None:
        return [None] * rows.size
    taken = data.items.column(field, rows)
    return [taken.value(place) for place in range(len(taken))]
