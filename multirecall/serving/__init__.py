"""A service around an engine: REST under `/v1`. It needs the extra `serve`; nothing of that is imported before."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from multirecall.engine import Engine
from multirecall.extras import import_extra
from multirecall.serving.settings import ServeSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["ServeSettings", "create_app"]


def create_app(engine_or_bundle: Engine | str | Path, settings: ServeSettings | None = None) -> FastAPI:
    """The service as an ASGI application, to be run by `multirecall serve` or mounted in an application of yours.

    Args:
        engine_or_bundle: a fitted engine, which stays the caller's to close; or the folder of a bundle, which is loaded
            here and closed when the application shuts down. Without `writable`, a bundle is followed.
        settings: of the deployment; default: those of `ServeSettings()`.

    Raises:
        MissingExtra: the extra `serve` is not installed.
        ConfigError: the API keys cannot be read.
        BundleError: as `Engine.load`.
    """
    for library in ("fastapi", "jinja2", "orjson", "prometheus_client"):
        import_extra(library, "multirecall.serving")
    app: FastAPI = import_module("multirecall.serving.app").build_app(engine_or_bundle, settings or ServeSettings())
    return app
