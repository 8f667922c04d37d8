"""Libraries that the package can do without, and the extras that bring them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from multirecall.errors import MissingExtra

EXTRAS = {
    "annoy": "annoy",
    "faiss": "faiss",
    "fastapi": "serve",
    "hnswlib": "hnsw",
    "httpcore": "http",
    "httptools": "serve",
    "jinja2": "plots",
    "matplotlib": "plots",
    "networkx": "graph",
    "onnxruntime": "onnx",
    "orjson": "serve",
    "prometheus_client": "serve",
    "ray": "ray",
    "redis": "redis",
    "sklearn": "tsne",
    "torch": "deep",
    "usearch": "usearch",
    "uvicorn": "serve",
    "uvloop": "serve",
}
"""The extra that brings each of these libraries, by the name that is imported."""


def import_extra(library: str, purpose: str) -> Any:
    """The module `library`, one of `EXTRAS`.

    Args:
        library: its name.
        purpose: what needs it; the error begins with this.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return import_module(library)
    except ModuleNotFoundError as fault:
        if fault.name != library:
            raise
        raise MissingExtra(
            f"{purpose} needs {library}, which is not installed: pip install 'multirecall[{EXTRAS[library]}]'"
        ) from None
