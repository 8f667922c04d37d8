"""The work of the routes that read, from the bytes of a body to the bytes of an answer; it runs in a thread."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from multirecall.data import Dataset
from multirecall.errors import RequestError
from multirecall.result import CandidateBatch, Candidates
from multirecall.serving.arrow import to_arrow
from multirecall.serving.columns import batch_columns, candidate_columns, ids_column, to_json
from multirecall.serving.exchange import Exchange
from multirecall.serving.ids import read_id
from multirecall.serving.problems import Problem
from multirecall.serving.schemas import (
    BatchBody,
    ExplainBody,
    FilterPart,
    RetrieveBody,
    SimilarBody,
    UserPart,
    read_body,
)
from multirecall.serving.service import Service
from multirecall.vocabulary import Id


def retrieve(service: Service, exchange: Exchange, header_ms: float | None) -> bytes:
    """Candidates for one user."""
    asked = read_body(exchange.body, RetrieveBody)
    _check_size(service, exchange, asked)
    found = service.engine.retrieve(
        asked.to_user(),
        **asked.filters(),
        seen=asked.seen,
        deadline_ms=_time_left(service, exchange, asked.deadline_ms or header_ms),
        request_id=exchange.request_id,
        waited_ms=exchange.ms,
    )
    return _answer(service, exchange, found, asked.fields, asked.deadline_ms or header_ms)


def retrieve_batch(service: Service, exchange: Exchange, as_arrow: bool) -> bytes:
    """Candidates for several users."""
    asked, limits = read_body(exchange.body, BatchBody), service.settings.limits
    _check_size(service, exchange, asked)
    if len(asked.users) > limits.users:
        raise Problem(413, f"users: {len(asked.users):,} are too many; send at most {limits.users:,} at once")
    if (n := len(asked.users) * (exchange.k or 1)) > limits.batch_candidates:
        raise Problem(413, f"{n:,} candidates are too many; send fewer users, or a smaller k, at once")
    users = [one.to_user() if isinstance(one, UserPart) else one for one in asked.users]
    found = service.engine.retrieve_batch(users, **asked.filters(), seen=asked.seen, request_id=exchange.request_id)
    _note(exchange, found)
    fields = service.fields.read(found.ids, service.engine.data, asked.fields, None)
    return to_arrow(found, fields) if as_arrow else to_json(batch_columns(found, fields))


def similar(service: Service, exchange: Exchange, header_ms: float | None) -> bytes:
    """Items like the item of the body."""
    asked = read_body(exchange.body, SimilarBody)
    return _similar(service, exchange, asked.item_id, asked, asked.fields, asked.deadline_ms or header_ms)


def similar_by_address(
    service: Service, exchange: Exchange, item: str, k: int | None, fields: Sequence[str], header_ms: float | None
) -> bytes:
    """Items like the item of an address."""
    item_id = read_id(service.engine.data.items.ids, item)
    return _similar(service, exchange, item_id, FilterPart(k=k), fields, header_ms)


def explain(service: Service, exchange: Exchange) -> bytes:
    """Why an item is where it is, or why it is missing."""
    asked = read_body(exchange.body, ExplainBody)
    _check_size(service, exchange, asked)
    _time_left(service, exchange, None)
    exchange.found = service.engine.explain(asked.to_user(), asked.item_id, **asked.filters(), seen=asked.seen)
    return to_json(asdict(exchange.found))


def item(service: Service, text: str) -> bytes:
    """The features of an item."""
    data = service.engine.data
    row = _known_row(data, "items", text)
    return to_json(
        {
            "item_id": data.items.ids.id(row),
            "features": data.items.values(row),
            "removed": bool(data.removed is not None and row < data.removed.size and data.removed[row]),
        }
    )


def history(service: Service, text: str, newest: int) -> bytes:
    """The newest events of a user, oldest first."""
    data = service.engine.data
    row = _known_row(data, "users", text)
    events = data.history(row)
    part = slice(max(0, events.items.size - newest), None)
    return to_json(
        {
            "user_id": data.users.ids.id(row),
            "n_events": events.items.size,
            "items": ids_column(data.items.ids.ids(events.items[part])),
            "times": None if events.times is None else events.times[part],
        }
    )


def ready(service: Service) -> bytes:
    """The figures that a load balancer decides by; raises `NotFitted`, and `Problem` 503 where no path may be asked."""
    health = service.engine.health()
    breakers = {name: one.breaker for name, one in health.paths.items()}
    if breakers and all(one == "open" for one in breakers.values()):
        raise Problem(503, "every path keeps failing and is not asked now; see the log", {"Retry-After": "1"})
    return to_json(
        {
            "status": "ready",
            "version": service.engine.last_change,
            "data_version": health.data_version,
            "process": os.getpid(),
            "writes": service.writes,
            "refresh": service.refit.state,
            "breakers": breakers,
        }
    )


def _similar(
    service: Service,
    exchange: Exchange,
    item_id: Id,
    filters: FilterPart,
    fields: Sequence[str],
    deadline_ms: float | None,
) -> bytes:
    _check_size(service, exchange, filters)
    left = _time_left(service, exchange, deadline_ms)
    found = service.engine.similar(item_id, **filters.filters(), deadline_ms=left, request_id=exchange.request_id)
    return _answer(service, exchange, found, fields, deadline_ms)


def _answer(
    service: Service, exchange: Exchange, found: Candidates, fields: Sequence[str], deadline_ms: float | None
) -> bytes:
    _note(exchange, found)
    wanted = deadline_ms or service.settings.limits.deadline_ms or service.engine.config.deadline_ms
    left_ms = None if wanted is None else wanted - exchange.ms
    return to_json(candidate_columns(found, service.fields.read(found.ids, service.engine.data, fields, left_ms)))


def _note(exchange: Exchange, found: Candidates | CandidateBatch) -> None:
    exchange.found = found
    exchange.states = {path: one.state for path, one in found.status.items()}


def _check_size(service: Service, exchange: Exchange, asked: FilterPart) -> None:
    exchange.k = service.engine.config.k if asked.k is None else asked.k
    limits = service.settings.limits
    if asked.k is not None and asked.k > limits.k:
        raise RequestError(f"k must be at most {limits.k:,} here, got {asked.k:,}")
    for name in ("exclude", "history"):
        if len(getattr(asked, name, None) or ()) > limits.rows:
            raise Problem(413, f"{name}: has more than {limits.rows:,} ids; send fewer")


def _time_left(service: Service, exchange: Exchange, deadline_ms: float | None) -> float | None:
    """Milliseconds until the deadline of a request, whose time to wait for a thread counts; None: none was set.

    Raises:
        Problem: 503, it has passed already.
    """
    wanted = service.settings.limits.deadline_ms if deadline_ms is None else deadline_ms
    if wanted is None:
        return None
    left = wanted - exchange.ms
    if left <= 0:
        service.engine.note_refused(exchange.ms)
        raise Problem(503, f"the deadline of {wanted:g} ms passed before a thread was free", {"Retry-After": "1"})
    return left


def _known_row(data: Dataset, table: Any, text: str) -> int:
    """The row of an item or user id of an address; raises `Problem` 404."""
    ids = getattr(data, table).ids
    row: int = ids.row(read_id(ids, text))
    if row < 0:
        raise Problem(404, f"no {ids.what} has the id {text[:60]!r}")
    return row
