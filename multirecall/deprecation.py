"""Warnings about former names, which keep working for a while."""

from __future__ import annotations

import warnings

PREFIX = "multirecall: "
"""The prefix of every warning of multirecall, by which the command line tells it from warnings of libraries."""


def warn_of_name(former: str, now: str) -> None:
    """Issue a `DeprecationWarning` for the line that called the caller of this function."""
    warnings.warn(f"{PREFIX}{former} is now called {now}", DeprecationWarning, stacklevel=3)
