"""The settings of the guard."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from multirecall.validation import Count, Positive, StrictModel


class Guard(StrictModel):
    """How a refit is compared with what serves."""

    window_days: Positive | None = None
    """Length of the newest window, on which all are compared; None: the newer half of the events that the served
    version has not been fitted on."""

    k: Count = 100
    """Length of the lists that are compared."""

    seen: bool = False
    """Whether items that a user had before count as targets and may be retrieved."""

    fewest_users: Count = 100
    """Users with targets in the window below which nothing is decided, and so nothing is published."""

    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Confidence level of the intervals. A higher one lets more worse fits through and refuses fewer good ones."""
