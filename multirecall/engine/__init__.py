"""The engine: paths, fusion, filters and fallback behind `Engine.retrieve`."""

from multirecall.engine.engine import Engine

__all__ = ["Engine"]
