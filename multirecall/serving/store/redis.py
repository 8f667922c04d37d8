"""A store in Redis: one round trip a request, over a pool of connections with timeouts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from time import perf_counter
from typing import Any

from multirecall.engine.breaker import Breaker
from multirecall.engine.lookup import RETRY_S
from multirecall.engine.path import fault_text
from multirecall.errors import ConfigError
from multirecall.extras import import_extra
from multirecall.online import Recent
from multirecall.result import StoreState
from multirecall.serving.store.layout import Layout, event_text, read_recent, value_texts
from multirecall.serving.store.settings import StoreSettings
from multirecall.vocabulary import Id

Event = tuple[Id, float, str | None]
"""Item id, epoch seconds, and the name of the event or None."""


def open_store(settings: StoreSettings) -> RedisStore | None:
    """The store that the settings name, None for `memory`. Nothing is connected to before the first call.

    Raises:
        ConfigError: the environment lacks the address, or it cannot be used; the message does not hold it.
        MissingExtra: the extra `redis` is not installed.
    """
    if settings.kind == "memory":
        return None
    url = os.environ.get(settings.url_env, "").strip()
    if not url:
        raise ConfigError(f"store: set the environment variable {settings.url_env} to the address of Redis")
    return RedisStore(url, settings)


class RedisStore:
    """Users' events and features and items' metadata in Redis, see `layout`. Any number of threads may call it.

    `read` makes it a source of history: the engine that asks it stops doing so for a moment when it keeps failing. For
    `item_values`, the store does that itself.
    """

    def __init__(self, url: str, settings: StoreSettings) -> None:
        redis = import_extra("redis", "a store of kind redis")
        retry, backoff = import_module("redis.retry").Retry, import_module("redis.backoff").NoBackoff
        self._late, self._lost = redis.exceptions.TimeoutError, redis.exceptions.ConnectionError
        seconds = settings.timeout_ms / 1e3
        try:
            pool = redis.ConnectionPool.from_url(
                url,
                decode_responses=True,
                max_connections=settings.connections,
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                # Once more, since a connection of the pool may be from before a restart.
                retry=retry(backoff(), 1, supported_errors=(self._lost,)),
            )
        except ValueError:
            raise ConfigError(
                f"store: the address in {settings.url_env} is none; write such as redis://cache:6379/0"
            ) from None
        self._redis = redis.Redis(connection_pool=pool)
        self._layout, self._events = Layout(settings.prefix), settings.events
        self._breaker = Breaker(perf_counter, RETRY_S, RETRY_S)

    def read(self, users: Sequence[Id], deadline: float) -> list[Recent]:
        """The newest events and the features of users, in one round trip; see `HistorySource.read`."""

        def ask(pipeline: Any) -> None:
            for user in users:
                pipeline.lrange(self._layout.history(user), 0, self._events - 1)
                pipeline.hgetall(self._layout.user(user))

        answers = self._round_trip(ask)
        return [read_recent(*pair) for pair in zip(answers[::2], answers[1::2], strict=True)]

    def item_values(self, items: Sequence[Id], fields: Sequence[str]) -> list[dict[str, str]] | None:
        """The metadata of items, as text by field, without absent fields; in one round trip.

        The result is None where the store does not answer, or has not for a while; the item table of the bundle then
        has to do.
        """
        state, values = self.read_items(items, fields)
        return values if state == "ok" else None

    def read_items(self, items: Sequence[Id], fields: Sequence[str]) -> tuple[StoreState, list[dict[str, str]]]:
        """The same with how the store answered: nothing comes where that is `late` or `failed`."""
        ticket = self._breaker.admit()
        if ticket is None:
            return "failed", []

        def ask(pipeline: Any) -> None:
            for item in items:
                pipeline.hmget(self._layout.item(item), list(fields))

        try:
            answers = self._round_trip(ask) if items and fields else [[] for _ in items]
        except Exception as fault:  # noqa: BLE001 - a lost store must not fail a request
            state: StoreState = "late" if isinstance(fault, TimeoutError) else "failed"
            self._breaker.record(ticket, state, fault_text(fault))
            return state, []
        self._breaker.record(ticket, "ok")
        return "ok", [
            {field: value for field, value in zip(fields, values, strict=False) if value is not None}
            for values in answers
        ]

    def add_events(self, events: Mapping[Id, Iterable[Event]], keep: int = 1_000) -> None:
        """Put events, oldest first, into the lists of users, which keep the newest `keep`; one round trip."""

        def write(pipeline: Any) -> None:
            for user, own in events.items():
                key = self._layout.history(user)
                pipeline.lpush(key, *(event_text(*event) for event in own))
                pipeline.ltrim(key, 0, keep - 1)

        self._round_trip(write)

    def replace_events(self, events: Mapping[Id, Iterable[Event]]) -> None:
        """Let the lists of users hold these events, oldest first, and no others; one round trip."""

        def write(pipeline: Any) -> None:
            for user, own in events.items():
                key = self._layout.history(user)
                pipeline.delete(key)
                pipeline.lpush(key, *(event_text(*event) for event in own))

        self._round_trip(write)

    def set_users(self, values: Mapping[Id, Mapping[str, Any]]) -> None:
        """Set features of users; fields that are not given stay. One round trip."""
        self._set(self._layout.user, values)

    def set_items(self, values: Mapping[Id, Mapping[str, Any]]) -> None:
        """Set metadata of items; fields that are not given stay. One round trip."""
        self._set(self._layout.item, values)

    def forget_user(self, user: Id) -> None:
        """Delete all that the store holds about a user."""
        self._round_trip(lambda pipeline: pipeline.delete(self._layout.history(user), self._layout.user(user)))

    def close(self) -> None:
        """Close the connections."""
        self._redis.connection_pool.disconnect()

    def _set(self, key: Callable[[Id], str], values: Mapping[Id, Mapping[str, Any]]) -> None:
        def write(pipeline: Any) -> None:
            for id_, own in values.items():
                if own:
                    pipeline.hset(key(id_), mapping=value_texts(own))

        self._round_trip(write)

    def _round_trip(self, fill: Callable[[Any], Any]) -> list[Any]:
        """Send commands together and return their answers.

        Raises:
            TimeoutError: Redis did not answer in time.
            ConnectionError: it cannot be reached.
        """
        pipeline = self._redis.pipeline(transaction=False)
        fill(pipeline)
        try:
            answers: list[Any] = pipeline.execute()
        except self._late as fault:
            raise TimeoutError(str(fault)) from None
        except self._lost as fault:
            raise ConnectionError(str(fault)) from None
        return answers
