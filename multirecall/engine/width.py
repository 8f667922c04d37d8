"""Adaptive width: under load, paths propose fewer items and indexes search less; with time to spare, more again.

The control is of the kind that web services call brownout (Klein et al., ICSE 2014): what is dimmed is the width.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil
from time import monotonic
from typing import Annotated, Self

from pydantic import Field, model_validator

from multirecall.engine.fuse import FusionPlan
from multirecall.engine.state import EngineState
from multirecall.validation import Positive, StrictModel

_log = logging.getLogger("multirecall.engine")

PERIOD_S = 0.1
"""Seconds after which the answers that came meanwhile are judged."""

FEW = 10
"""Answers that a period needs; with fewer, it goes on for up to `LONGEST_S`."""

LONGEST_S = 1.0
"""Seconds after which a period ends with however few answers."""

PRESSED, AT_EASE = 0.5, 0.25
"""Parts of the target: an answer that takes more than the first is pressed, one within the second is at ease."""

TOLERATED = 0.05
"""The share of pressed answers up to which the width stays."""

PATIENCE, MOST_PATIENCE = 5, 320
"""Periods at ease after which the width grows by a level. A growth that did not last doubles them for the next."""


class AdaptiveWidth(StrictModel):
    """How the width follows the load."""

    target_ms: Positive
    """Milliseconds within which answers should come, with the time that they waited for a thread."""

    widths: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1, max_length=20)] = (
        0.7,
        0.5,
        0.35,
        0.25,
    )
    """The width of each level below the full one, falling: the part of its quota that a path is asked for, and of its
    usual effort with which an index searches. Changes results."""

    @model_validator(mode="after")
    def _widths_fall(self) -> Self:
        if any(one <= other for one, other in zip(self.widths, self.widths[1:], strict=False)):
            raise ValueError(f"widths must fall from one level to the next, got {list(self.widths)}")
        return self


class FullWidth:
    """Stands where the width is always full."""

    level = 0

    def of(self, state: EngineState) -> EngineState:
        """What answers at the present level."""
        return state

    def note(self, ms: float) -> None:
        """Take note of an answer that took so many milliseconds, its time to wait among them."""


class WidthControl(FullWidth):
    """The present level, which answers move up and down. Any number of threads may call it.

    Args:
        settings: how the width follows the load.
        k: the number of candidates that paths together should be able to propose at any level.
        clock: seconds.
    """

    def __init__(self, settings: AdaptiveWidth, k: int, clock: Callable[[], float] = monotonic) -> None:
        self._settings, self._k, self._clock = settings, k, clock
        self._lock = threading.Lock()
        self._began = clock()
        self._n = self._pressed = self._late = self._not_at_ease = 0
        self._calm = self._since_growth = 0
        self._patience = PATIENCE
        self.level = 0

    def of(self, state: EngineState) -> EngineState:
        """What answers at the present level."""
        level = self.level
        if not level:
            return state
        narrow = state.varied.get((self, level))
        if narrow is None:
            width = self._settings.widths[level - 1]
            narrow = state.varied[self, level] = _narrow(state, level, width, self._k)
        return narrow

    def note(self, ms: float) -> None:
        """Take note of an answer that took so many milliseconds, its time to wait among them."""
        target = self._settings.target_ms
        with self._lock:
            self._n += 1
            self._late += ms > target
            self._pressed += ms > PRESSED * target
            self._not_at_ease += ms > AT_EASE * target
            passed = self._clock() - self._began
            if passed >= LONGEST_S or (passed >= PERIOD_S and self._n >= FEW):
                self._judge()
                self._began = self._clock()
                self._n = self._pressed = self._late = self._not_at_ease = 0

    def _judge(self) -> None:
        """Move the level by what the answers of a period say."""
        self._since_growth += 1
        if self._pressed > TOLERATED * self._n:
            if self._since_growth <= self._patience:
                self._patience = min(2 * self._patience, MOST_PATIENCE)
            self._calm = 0
            self._set(self.level + (2 if 2 * self._late > self._n else 1))
        elif self._not_at_ease > TOLERATED * self._n:
            self._calm = 0
        else:
            self._calm += 1
            if self._since_growth > 2 * self._patience:
                self._patience = PATIENCE
            if self._calm >= self._patience and self.level:
                self._calm = self._since_growth = 0
                self._set(self.level - 1)

    def _set(self, level: int) -> None:
        level = min(level, len(self._settings.widths))
        if level != self.level:
            width = self._settings.widths[level - 1] if level else 1.0
            _log.info("adaptive width: level %d, width %g", level, width)
            self.level = level


def _narrow(state: EngineState, level: int, width: float, k: int) -> EngineState:
    """The state whose paths propose fewer items, but together not fewer than `k`, and whose indexes search less."""
    active = sum(path.dropped is None for path in state.paths)
    floor = ceil(k / max(1, active))

    def narrowed(quotas: Sequence[int]) -> list[int]:
        return [min(quota, max(floor, ceil(quota * width))) for quota in quotas]

    quotas = narrowed(state.quotas)
    paths = tuple(replace(path, quota=quota) for path, quota in zip(state.paths, quotas, strict=True))
    if state.rivals is None:
        rivals = None
        windows = FusionPlan(state.segments, quotas).windows(state.data.n_items)
    else:
        first, second = (replace(plan, quotas=narrowed(plan.quotas)) for plan in state.rivals)
        rivals = first, second
        each = [plan.windows(state.data.n_items) for plan in rivals]
        windows = tuple(map(max, zip(*each, strict=True)))
    return replace(state, paths=paths, windows=windows, rivals=rivals, level=level, effort=width)
