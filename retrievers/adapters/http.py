"""HTTP: a remote recall service as a path."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, field_validator

from multirecall.data import Changes, Dataset
from multirecall.deployment import NAME, RESERVED, find_endpoint
from multirecall.errors import RequestError, ServiceError
from multirecall.extras import import_extra
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, Retriever
from multirecall.query import Query
from multirecall.validation import Count, Positive
from multirecall.vocabulary import Vocabulary

from ._answers import Answer, rank, read_arrow, read_json

if TYPE_CHECKING:
    from ._service import Service

_log = logging.getLogger("multirecall.retrievers")

Part = Literal["user", "history", "features", "terms", "where", "exclude", "context"]

PARTS: tuple[Part, ...] = ("user", "history", "features", "terms", "where", "exclude", "context")

FORMATS: Mapping[str, tuple[str, Callable[[bytes, int], Answer]]] = {
    "json": ("application/json", read_json),
    "arrow": ("application/vnd.apache.arrow.stream", read_arrow),
}
"""The media type of an answer in each format, and what reads it."""


class HTTPConfig(PluginConfig):
    """Settings of `http`."""

    endpoint: Annotated[str, Field(pattern=f"^{NAME}$")]
    """Name of the service, of a-z, 0-9 and _. Its URL is not a setting: the environment variable
    `MULTIRECALL_ENDPOINT_<NAME>` holds it. Changes results."""

    format: Literal["json", "arrow"] = "json"
    """What the service answers in: `json`, or `arrow`, an Arrow IPC stream. The request is JSON. Speed only."""

    send: tuple[Part, ...] = PARTS
    """Parts of a request that the service is told. Leave out what it does not use, or must not know. Changes
    results."""

    history: Count = 200
    """Newest events of the history that the service is told. Changes results."""

    timeout_ms: Annotated[Positive, Field(le=600_000)] = 1_000.0
    """Most milliseconds of a call for which the request has no deadline, such as one of a batch. Changes results where
    the service is slower."""

    max_bytes: Count = 4_194_304
    """Most bytes of an answer; a larger one fails. Changes no results."""

    connections: Annotated[Count, Field(le=256)] = 16
    """Most connections to the service, and most calls of a batch at once. Speed only."""

    @field_validator("endpoint")
    @classmethod
    def _has_variables_of_its_own(cls, name: str) -> str:
        if name.endswith(RESERVED):
            raise ValueError(
                f"{name!r} ends as the variables of other endpoints do; choose an end other than {RESERVED}"
            )
        return name


class HTTPService(Retriever):
    """Asks a service that knows items by their external ids.

    A call is one POST, which is never repeated. It ends with the deadline of its request. The engine applies the filter
    to the answer. In a batch, several calls run at once.

    Live: everything. Ids that join later are sent and understood at once.
    """

    Config: ClassVar[type[PluginConfig]] = HTTPConfig
    live = frozenset({"interactions", "items", "removals"})
    config: HTTPConfig
    _items: Vocabulary
    _users: Vocabulary
    _shared: _Shared

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Learn nothing but the ids; no connection is opened.

        Raises:
            MissingExtra: httpcore is not installed.
        """
        import_extra("httpcore", "http")
        self._serve(data)

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`.

        Raises:
            NotDeployed: the environment has no URL for the endpoint.
            ConfigError: the environment has one that must not be used.
            TimeoutError: the deadline has passed, or `timeout_ms` are over.
            ConnectionError: the service cannot be reached, or breaks off.
            ServiceError: it does not answer as it must.
            RequestError: the context holds what JSON cannot.
        """
        endpoint = find_endpoint(self.config.endpoint)
        media, read = FORMATS[self.config.format]
        until = monotonic() + self.config.timeout_ms / 1e3 if query.deadline is None else query.deadline
        body = self._shared.service().post(endpoint, self._question(query, quota), media, until)
        try:
            found, n_unknown = rank(read(body, quota), self._items)
        except ServiceError as fault:
            raise ServiceError(f"endpoint {endpoint.name!r}: {fault}") from None
        if n_unknown:
            self._shared.note_unknown(endpoint.name, n_unknown)
        return found

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> RankedBatch:
        """See `Retriever.retrieve_batch`: a call for each user, `connections` at once; the first fault ends it."""
        with ThreadPoolExecutor(self.config.connections, "multirecall-http") as pool:
            return RankedBatch.from_lists(list(pool.map(lambda query: self.retrieve(query, quota), queries)))

    @property
    def n_unknown(self) -> int:
        """The number of proposed items, since the fit or load, that the catalogue lacks; they were passed over."""
        return self._shared.n_unknown

    def _question(self, query: Query, k: int) -> bytes:
        """The request as JSON; the page of this retriever explains each part."""
        items, users, newest = self._items, self._users, slice(-self.config.history, None)
        parts: dict[Part, Callable[[], Any]] = {
            "user": lambda: users.id(query.user) if query.user >= 0 else None,
            "history": lambda: {
                "items": items.ids(query.history[newest]).tolist(),
                "weights": query.weights[newest].tolist(),
                "times": None if query.times is None else query.times[newest].tolist(),
                "ordered": query.ordered,
            },
            "features": lambda: dict(query.features),
            "terms": lambda: dict(query.terms),
            "where": query.where.to_dict,
            "exclude": lambda: items.ids(query.exclude).tolist(),
            "context": lambda: dict(query.context),
        }
        question = {part: parts[part]() for part in self.config.send}
        try:
            return json.dumps({**question, "k": k}, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as fault:
            raise RequestError(f"the request cannot be sent as JSON: {fault}; pass text, numbers and lists") from None

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`; the copy shares the connections."""
        items, users = changes.data.items.ids, changes.data.users.ids
        if items is self._items and users is self._users:
            return self
        path = copy(self)
        path._items, path._users = items, users
        return path

    def close(self) -> None:
        """Close the connections."""
        self._shared.close()

    def save(self, folder: Path) -> None:
        """See `Retriever.save`: there is nothing to save."""

    @classmethod
    def load(cls, config: HTTPConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`; no connection is opened."""
        path = cls(config)
        path._serve(data)
        return path

    def _serve(self, data: Dataset) -> None:
        self._items, self._users = data.items.ids, data.users.ids
        self._shared = _Shared(self.config.connections, self.config.max_bytes)


class _Shared:
    """What the copies of a path share: the connections, and the number of unknown items."""

    def __init__(self, connections: int, max_bytes: int) -> None:
        self._connections, self._max_bytes = connections, max_bytes
        self._lock = threading.Lock()
        self._service: Service | None = None
        self.n_unknown = 0

    def service(self) -> Service:
        """The connections, made when they are first asked for, so that a load needs no extra."""
        if self._service is None:
            import_extra("httpcore", "http")
            from ._service import Service

            with self._lock:
                self._service = self._service or Service(self._connections, self._max_bytes)
        return self._service

    def note_unknown(self, endpoint: str, n: int) -> None:
        """Count items that the catalogue lacks; the first answer that has some is logged."""
        with self._lock:
            first, self.n_unknown = self.n_unknown == 0, self.n_unknown + n
        if first:
            _log.warning("endpoint %r proposes items that the catalogue lacks; %d are passed over", endpoint, n)

    def close(self) -> None:
        """Close the connections."""
        if self._service is not None:
            self._service.close()
