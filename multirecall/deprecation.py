"""Names that have changed: the former ones go on working for a while, and say so."""

from __future__ import annotations

import warnings

PREFIX = "multirecall: "
"""How each of our warnings begins, so that the command line can tell them from those of libraries."""


def warn_of_name(former: str, now: str) -> None:
    """Issue a `DeprecationWarning` that names the place from which the caller of this function was called."""
    warnings.warn(f"{PREFIX}{former} is now called {now}", DeprecationWarning, stacklevel=3)
