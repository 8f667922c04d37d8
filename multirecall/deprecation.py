"""Warnings about former names, which keep working for a while."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

PREFIX = "multirecall: "
"""The prefix of every warning of multirecall, by which the command line tells it from warnings of libraries."""


def warn_of_name(former: str, now: str) -> None:
    """Issue a `DeprecationWarning` for the line that called the caller of this function."""
    warnings.warn(f"{PREFIX}{former} is now called {now}", DeprecationWarning, stacklevel=3)


def former_names(module: str, now: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose former names go on working, each with a `DeprecationWarning` (PEP 562).

    Args:
        module: the module's `__name__`.
        now: the present name of each former one.
    """

    def find(name: str) -> Any:
        if name not in now:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn_of_name(f"{module}.{name}", f"{module}.{now[name]}")
        return getattr(sys.modules[module], now[name])

    return find
