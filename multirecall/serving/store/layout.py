"""The layout of the keys in Redis, which the services that write them share with us.

| key | type | holds |
| --- | --- | --- |
| `PREFIX:history:USER` | list, newest first (`LPUSH`) | an event: JSON array of item id, epoch seconds, name or null |
| `PREFIX:user:USER` | hash | user features by field |
| `PREFIX:item:ITEM` | hash | item metadata by field |

`USER` and `ITEM` are ids as text. A value of a hash is text or a number; a list is a JSON array.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multirecall.errors import DataError
from multirecall.online import Recent
from multirecall.vocabulary import Id


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of keys that begin with `prefix`."""

    prefix: str

    def history(self, user: Id) -> str:
        """The key of a user's list of events."""
        return f"{self.prefix}:history:{user}"

    def user(self, user: Id) -> str:
        """The key of the hash of a user's features."""
        return f"{self.prefix}:user:{user}"

    def item(self, item: Id) -> str:
        """The key of the hash of an item's metadata."""
        return f"{self.prefix}:item:{item}"


def event_text(item: Id, time: float, event: str | None = None) -> str:
    """An event as an entry of the list."""
    return json.dumps([item, time, event], ensure_ascii=False, separators=(",", ":"))


def value_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """The values of a hash."""
    return {
        field: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        for field, value in values.items()
    }


def read_recent(entries: Sequence[str], features: Mapping[str, str]) -> Recent:
    """What the two keys of a user say.

    Raises:
        DataError: an entry is not an event.
    """
    events = [_event(entry) for entry in entries]
    return Recent(
        [item for item, _, _ in events], [time for _, time, _ in events], [name for _, _, name in events], features
    )


def _event(entry: str) -> tuple[Id, float, str | None]:
    try:
        item, time, name = json.loads(entry)
    except (ValueError, TypeError):
        item = time = name = None
    right = isinstance(item, str | int) and isinstance(time, int | float) and isinstance(name, str | None)
    if not right or isinstance(item, bool) or isinstance(time, bool):
        raise DataError(
            f"the store holds {entry[:60]!r} in a history; write a JSON array of item id, epoch seconds and name or "
            'null, such as ["i17",1700000000,"view"]'
        )
    return item, time, name
