"""The application: its layers, its life, and how errors become answers. The routes are in `routes.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from multirecall import __version__
from multirecall.engine import Engine
from multirecall.errors import MultirecallError
from multirecall.serving.access import Access
from multirecall.serving.crew import Membership
from multirecall.serving.exchange import exchange_of
from multirecall.serving.explorer.routes import add_explorer
from multirecall.serving.freshness import Freshness
from multirecall.serving.guard import Guard
from multirecall.serving.intake import Intake
from multirecall.serving.metrics_route import add_metrics
from multirecall.serving.openapi import describe
from multirecall.serving.plain_route import PlainRoute
from multirecall.serving.problems import Problem, problem_of, problem_response
from multirecall.serving.routes import add_routes
from multirecall.serving.service import Service
from multirecall.serving.settings import ServeSettings


def build_app(
    engine_or_bundle: Engine | str | Path, settings: ServeSettings, membership: Membership | None = None
) -> FastAPI:
    """The application, as `create_app` says; `membership`: of a worker among several.

    What else a deployment wants, such as metrics or a page, is mounted at the end: its routes on `app`, which stand
    behind the same keys and limits, and its observers in `service.observers`.
    """
    service = Service(engine_or_bundle, settings, membership)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with figures:
            yield
        leave()
        service.close()

    app = FastAPI(
        title="multirecall",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.router.route_class = PlainRoute
    add_routes(app, service)
    figures = add_metrics(app, service)
    leave = add_explorer(app, service)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    for kind in (MultirecallError, Problem, ValidationError, HTTPException):
        app.add_exception_handler(kind, _answer_fault)
    # The last one added is the outermost.
    app.add_middleware(Freshness, service=service)
    app.add_middleware(Intake, service=service)
    app.add_middleware(Guard, service=service)
    app.add_middleware(Access, service=service)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["Authorization", "Content-Type", "X-Deadline-Ms", "X-Min-Version", "X-Request-Id"],
            expose_headers=["X-Request-Id", "X-Version"],
        )
    return app


async def _answer_fault(request: Request, fault: Exception) -> Response:
    if isinstance(fault, HTTPException):
        known = {404: "no route has this address", 405: "this route does not have this method"}
        headers = dict(fault.headers or {})
        fault = Problem(fault.status_code, known.get(fault.status_code, fault.detail), headers)
    return problem_response(problem_of(fault), exchange_of(request.scope).request_id)
