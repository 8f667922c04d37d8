"""The route that Prometheus reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from multirecall.serving.metrics import MEDIA_TYPE, Metrics

if TYPE_CHECKING:
    from multirecall.serving.exchange import Exchange
    from multirecall.serving.service import Service


def add_metrics(app: FastAPI, service: Service) -> AbstractAsyncContextManager[None]:
    """Count the engine's answers and all requests, and add `/metrics`.

    Returns:
        What keeps the figures current while the service runs, and in the end stops counting the engine's answers.
    """
    metrics = Metrics(service.engine, service.monitors.log, service.monitors.drift)

    def count(exchange: Exchange) -> None:
        if not exchange.forwarded:
            metrics.note_request(exchange.route, exchange.method, exchange.status, exchange.ms / 1e3)

    service.observers.append(count)

    @app.get("/metrics", include_in_schema=False)
    async def shown(_: Request) -> Response:
        return Response(await service.read(metrics.text), media_type=MEDIA_TYPE)

    stop = service.engine.observe(metrics)

    @asynccontextmanager
    async def kept_current() -> AsyncIterator[None]:
        looks = asyncio.create_task(metrics.keep_current())
        try:
            yield
        finally:
            looks.cancel()
            stop()

    return kept_current()
