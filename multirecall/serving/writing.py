"""The work of the routes that change the engine; it runs in a thread. An answer names the version of the data."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from typing import Any

from multirecall.errors import RequestError
from multirecall.serving.columns import to_json
from multirecall.serving.exchange import Exchange
from multirecall.serving.ids import read_id
from multirecall.serving.problems import Problem
from multirecall.serving.schemas import InteractionsBody, ItemIdsBody, ItemsBody, RefreshBody, read_body
from multirecall.serving.service import Refit, Service

_log = logging.getLogger("multirecall.serving")


def add_interactions(service: Service, exchange: Exchange) -> bytes:
    """Add events."""
    rows = read_body(exchange.body, InteractionsBody).interactions
    return _changed(service, service.engine.add_interactions(_bounded(service, rows)))


def add_items(service: Service, exchange: Exchange) -> bytes:
    """Add items."""
    return _changed(service, service.engine.add_items(_bounded(service, read_body(exchange.body, ItemsBody).items)))


def update_items(service: Service, exchange: Exchange) -> bytes:
    """Change features of items."""
    return _changed(service, service.engine.update_items(_bounded(service, read_body(exchange.body, ItemsBody).items)))


def remove_items(service: Service, exchange: Exchange) -> bytes:
    """Remove items."""
    ids = read_body(exchange.body, ItemIdsBody).item_ids
    return _changed(service, service.engine.remove_items(_bounded(service, ids)))


def forget_user(service: Service, user: str) -> bytes:
    """Forget a user. An id that is unknown is erased as well, from older versions and the journal."""
    user_id = read_id(service.engine.data.users.ids, user)
    if service.store is not None:
        try:
            service.store.forget_user(user_id)
        except OSError:
            raise Problem(503, "the store does not answer, so that nothing was forgotten; try again") from None
    return _changed(service, service.engine.remove_users([user_id]))


def refresh(service: Service, exchange: Exchange) -> bytes:
    """Begin to fit anew on all data; requests go on meanwhile."""
    asked, engine = read_body(exchange.body or b"{}", RefreshBody), service.engine
    if service.refit.state == "running" or engine.health().refit.running:
        raise Problem(409, "a refit runs already; ask /health/ready until its refresh is no longer running")
    if not asked.save and service.membership.writer is not None:
        raise RequestError("save: a fit reaches the other workers through the bundle alone; leave save at true")
    store = engine.health().store
    folder = store.folder if asked.save and store is not None else None

    def done(future: Future[None]) -> None:
        try:
            future.result()
            if folder is not None:
                engine.save(folder)
        except Exception as fault:  # noqa: BLE001 - nobody waits for it; the next refresh tells it
            _log.error("refresh: %s", fault)
            service.refit = Refit("failed", str(fault))
        else:
            service.refit = Refit("ok")

    before, service.refit = service.refit, Refit("running")
    engine.refresh().add_done_callback(done)
    return to_json(
        {
            "running": True,
            "version": engine.last_change,
            "data_version": engine.data_version,
            "last_fault": before.fault,
        }
    )


def _bounded(service: Service, rows: list[Any]) -> list[Any]:
    most = service.settings.limits.rows
    if len(rows) > most:
        raise Problem(413, f"{len(rows):,} rows are too many; send at most {most:,} at once")
    return rows


def _changed(service: Service, count: int) -> bytes:
    """The answer to a change: how many rows it took, and the version from which on requests see it."""
    return to_json({"count": count, "version": service.engine.last_change, "data_version": service.engine.data_version})
