"""The names by which other processes import a caller's classes."""

from __future__ import annotations

from multirecall.errors import RequestError


def import_name(plugin: type) -> str:
    """The name by which workers import a class; raises `RequestError` for one of a script or notebook."""
    if plugin.__module__ == "__main__" or "<locals>" in plugin.__qualname__:
        raise RequestError(f"plugins: workers cannot import {plugin.__qualname__}; put it into a module")
    return f"{plugin.__module__}:{plugin.__qualname__}"
