"""The settings of the store, the table `[store]` of `serve.toml`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from multirecall.validation import Count, Positive, StrictModel


class StoreSettings(StrictModel):
    """Where users' newest events are."""

    kind: Literal["memory", "redis"] = "memory"
    """`memory`: in the engine, from its bundle and live changes. `redis`: in Redis, where other services write them."""

    url_env: str = "MULTIRECALL_REDIS_URL"
    """The environment variable with the address of Redis, such as `redis://:secret@cache:6379/0`."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.{}-]{1,64}$")] = "multirecall"
    """What the keys begin with."""

    events: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 200
    """The most events of a user that a request reads, the newest ones."""

    item_fields: tuple[str, ...] = ()
    """Item features that `fields` of a request takes from the store, where it has them."""

    timeout_ms: Positive = 50.0
    """Milliseconds in which Redis must accept a connection, and answer."""

    connections: Count = 64
    """The most open connections of a process. One more request goes on without the store."""
