"""The routes: what each takes from the address and the headers.

A thread does the work; the event loop never computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from multirecall.serving import reading, writing
from multirecall.serving.arrow import MEDIA_TYPE as ARROW
from multirecall.serving.columns import to_json
from multirecall.serving.docs_page import POLICY, docs_page
from multirecall.serving.exchange import exchange_of
from multirecall.serving.forward import forward
from multirecall.serving.headers import read_deadline_ms
from multirecall.serving.openapi import body_of, parameter
from multirecall.serving.problems import Problem
from multirecall.serving.schemas import (
    BatchBody,
    ExplainBody,
    InteractionsBody,
    ItemIdsBody,
    ItemsBody,
    RefreshBody,
    RetrieveBody,
    SimilarBody,
)
from multirecall.serving.service import Service

DEADLINE = parameter("X-Deadline-Ms", "header", "number", "Milliseconds that the answer may take.")
MIN_VERSION = parameter("X-Min-Version", "header", "integer", "The `version` of a write that the answer must know.")
MOST_EVENTS = 10_000
"""The most events of a history in one answer."""


def add_routes(app: FastAPI, service: Service) -> None:
    """Add the routes that read, those that tell about the service, and those that write where they are allowed."""
    _add_reading(app, service)
    _add_lookups(app, service)
    _add_health(app, service)
    if service.settings.writable:
        _add_writing(app, service)


def _add_reading(app: FastAPI, service: Service) -> None:
    @app.post("/v1/retrieve", openapi_extra=body_of(RetrieveBody, DEADLINE, MIN_VERSION))
    async def retrieve(request: Request) -> Response:
        """Candidates for one user, or for a visitor with a history, features or terms."""
        return _json(await service.read(reading.retrieve, service, exchange_of(request.scope), _deadline(request)))

    @app.post("/v1/retrieve/batch", openapi_extra=body_of(BatchBody, MIN_VERSION))
    async def retrieve_batch(request: Request) -> Response:
        """Candidates for several users, as JSON columns or, by `Accept`, as an Arrow stream."""
        as_arrow = ARROW in request.headers.get("accept", "")
        content = await service.read(reading.retrieve_batch, service, exchange_of(request.scope), as_arrow)
        return Response(content, media_type=ARROW) if as_arrow else _json(content)

    @app.post("/v1/similar", openapi_extra=body_of(SimilarBody, DEADLINE, MIN_VERSION))
    async def similar(request: Request) -> Response:
        """The items most like an item."""
        return _json(await service.read(reading.similar, service, exchange_of(request.scope), _deadline(request)))

    asked = (
        parameter("item_id", "query", "string", "The item.", required=True),
        parameter("k", "query", "integer", "The number of items."),
        parameter("fields", "query", "array", "Item features to return; repeat for each."),
    )

    @app.get("/v1/similar", openapi_extra={"parameters": [*asked, DEADLINE, MIN_VERSION]})
    async def similar_by_address(request: Request) -> Response:
        """The items most like an item, for a page that can only fetch addresses."""
        query = request.query_params
        if "item_id" not in query:
            raise Problem(422, "item_id: is missing")
        work = reading.similar_by_address, service, exchange_of(request.scope), query["item_id"]
        return _json(await service.read(*work, _whole(request, "k"), query.getlist("fields")[:100], _deadline(request)))

    @app.post("/v1/explain", openapi_extra=body_of(ExplainBody, MIN_VERSION))
    async def explain(request: Request) -> Response:
        """Why an item has its place in a user's list, or why it is missing."""
        return _json(await service.read(reading.explain, service, exchange_of(request.scope)))


def _add_lookups(app: FastAPI, service: Service) -> None:
    item_id = parameter("item_id", "path", "string", "The id, percent-encoded.", required=True)
    user_id = parameter("user_id", "path", "string", "The id, percent-encoded.", required=True)
    newest = parameter("newest", "query", "integer", "How many events at most; default: 1,000.")

    @app.get("/v1/items/{item_id:path}", openapi_extra={"parameters": [item_id, MIN_VERSION]})
    async def item(request: Request) -> Response:
        """The features of an item."""
        return _json(await service.read(reading.item, service, request.path_params["item_id"]))

    @app.get("/v1/users/{user_id:path}/history", openapi_extra={"parameters": [user_id, newest, MIN_VERSION]})
    async def history(request: Request) -> Response:
        """The newest events of a user, oldest first."""
        n = min(_whole(request, "newest") or 1_000, MOST_EVENTS)
        return _json(await service.read(reading.history, service, request.path_params["user_id"], n))


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/health/live")
    async def live(_: Request) -> Response:
        """Whether the process answers at all."""
        return _json(b'{"status":"live"}')

    @app.get("/health/ready")
    async def ready(_: Request) -> Response:
        """Whether requests should come here."""
        return _json(await service.read(reading.ready, service))

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(_: Request) -> Response:
        return _json(await service.read(to_json, app.openapi()))

    @app.get("/docs", include_in_schema=False)
    async def docs(_: Request) -> Response:
        return HTMLResponse(docs_page(app.openapi()), headers={"Content-Security-Policy": POLICY})


def _add_writing(app: FastAPI, service: Service) -> None:
    bodies: tuple[tuple[str, str, Callable[..., bytes], type[Any], int], ...] = (
        ("POST", "/v1/interactions", writing.add_interactions, InteractionsBody, 200),
        ("POST", "/v1/items", writing.add_items, ItemsBody, 200),
        ("PATCH", "/v1/items", writing.update_items, ItemsBody, 200),
        ("DELETE", "/v1/items", writing.remove_items, ItemIdsBody, 200),
        ("POST", "/v1/refresh", writing.refresh, RefreshBody, 202),
    )

    def endpoint(work: Callable[..., bytes], status: int) -> Callable[[Request], Any]:
        async def change(request: Request) -> Response:
            return await _change(service, request, work, exchange_of(request.scope), status=status)

        change.__name__, change.__doc__ = work.__name__, work.__doc__
        return change

    for method, path, work, model, status in bodies:
        app.add_api_route(
            path, endpoint(work, status), methods=[method], status_code=status, openapi_extra=body_of(model)
        )
    user_id = parameter("user_id", "path", "string", "The id, percent-encoded.", required=True)

    @app.delete("/v1/users/{user_id:path}", openapi_extra={"parameters": [user_id]})
    async def forget_user(request: Request) -> Response:
        """Forget a user: their events, features and id."""
        return await _change(service, request, writing.forget_user, request.path_params["user_id"])


async def _change(
    service: Service, request: Request, work: Callable[..., bytes], given: Any, status: int = 200
) -> Response:
    """The answer to a write, from the worker that writes."""
    writer, scope = service.membership.writer, request.scope
    if service.writes or writer is None:
        return _json(await service.write(work, service, given), status)
    query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
    target = scope["raw_path"].decode("latin-1") + query
    return await service.write(forward, writer, exchange_of(scope), target, request.headers)


def _json(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")


def _deadline(request: Request) -> float | None:
    return read_deadline_ms(request.headers)


def _whole(request: Request, name: str) -> int | None:
    """A whole number > 0 of the query of an address; raises `Problem` 422."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) > 0):
        raise Problem(422, f"{name}: must be a whole number > 0, got {text[:40]!r}")
    return int(text)
