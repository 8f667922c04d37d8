"""Adaptive width: under load, paths propose fewer items and indexes search less; with time to spare, more again.

The control is of the kind that web services call brownout (Klein et al., ICSE 2014): what is dimmed is the width.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
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

FALL = 2
"""Levels by which the width falls at once, so that what waits already is soon answered; it grows by one."""

PATIENCE, MOST_PATIENCE = 5, 320
"""Periods at ease after which the width grows by a level. A growth that did not last doubles them for the next."""

ROOM = 0.85
"""The part of the time at which work was refused or late that the next wider level may take, by what it took before."""

ENOUGH = 2
"""Quotas together hold at least so many times `k` items, of which several paths propose some."""

SPARED = "adaptive width does without it"
"""Why a path is not asked."""


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

    spare: tuple[str, ...] = ()
    """Paths that narrow levels do without, the first to go first: the second level leaves out one of them, and each
    further level one more. Changes results. `multirecall evaluate` says what each path is worth, and what it takes."""

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

    def note(self, ms: float, waited_ms: float) -> None:
        """Take note of an answer that took so many milliseconds, beside those that its request had waited."""


@dataclass(slots=True)
class _Period:
    """What is known of the answers of a period."""

    began: float
    n: int = 0
    pressed: int = 0
    not_at_ease: int = 0
    busy_s: float = 0.0


class WidthControl(FullWidth):
    """The present level, which answers move up and down. Any number of threads may call it.

    Args:
        settings: how the width follows the load.
        k: the number of candidates of most requests.
        clock: seconds.
    """

    def __init__(self, settings: AdaptiveWidth, k: int, clock: Callable[[], float] = monotonic) -> None:
        self._settings, self._k, self._clock = settings, k, clock
        self._lock = threading.Lock()
        self._period = _Period(clock())
        self._calm, self._since_growth = 0, MOST_PATIENCE
        self._patience = PATIENCE
        self._cost_s: dict[int, float] = {}
        self._saturated = inf
        self.level = 0

    def of(self, state: EngineState) -> EngineState:
        """What answers at the present level."""
        level = self.level
        if not level:
            return state
        narrow = state.varied.get((self, level))
        if narrow is None:
            width, spared = self._settings.widths[level - 1], self._settings.spare[: level - 1]
            narrow = state.varied[self, level] = _narrow(state, level, width, spared, self._k)
        return narrow

    def note(self, ms: float, waited_ms: float) -> None:
        """Take note of an answer that took so many milliseconds, beside those that its request had waited."""
        whole, target = ms + waited_ms, self._settings.target_ms
        with self._lock:
            period = self._period
            period.n += 1
            period.busy_s += ms / 1e3
            period.pressed += whole > PRESSED * target
            period.not_at_ease += whole > AT_EASE * target
            now = self._clock()
            passed = now - period.began
            if passed >= LONGEST_S or (passed >= PERIOD_S and period.n >= FEW):
                self._judge(period, passed)
                self._period = _Period(now)

    def _judge(self, period: _Period, passed: float) -> None:
        """Move the level by what the answers of a period say."""
        self._since_growth += 1
        cost = period.busy_s / period.n
        self._cost_s[self.level] = (self._cost_s.get(self.level, cost) + cost) / 2
        if period.pressed > TOLERATED * period.n:
            if self._since_growth <= self._patience:
                self._patience = min(2 * self._patience, MOST_PATIENCE)
            self._calm, self._saturated = 0, period.busy_s / passed
            self._set(self.level + FALL)
        elif period.not_at_ease > TOLERATED * period.n:
            self._calm = 0
        else:
            self._calm += 1
            if self._since_growth > 2 * self._patience:
                self._patience = PATIENCE
            if self.level and (
                self._calm >= MOST_PATIENCE or (self._calm >= self._patience and self._fits(period.n / passed))
            ):
                self._calm = self._since_growth = 0
                self._set(self.level - 1)

    def _fits(self, rate: float) -> bool:
        """Whether the next wider level may do for this many answers a second, as far as is known."""
        return rate * self._cost_s.get(self.level - 1, 0.0) <= ROOM * self._saturated

    def _set(self, level: int) -> None:
        level = min(level, len(self._settings.widths))
        if level != self.level:
            width = self._settings.widths[level - 1] if level else 1.0
            _log.info("adaptive width: level %d, width %g", level, width)
            self.level = level


def _narrow(state: EngineState, level: int, width: float, spared: Sequence[str], k: int) -> EngineState:
    """The state with fewer and smaller quotas, and whose indexes search less.

    Quotas together are not smaller than `ENOUGH` times `k`, unless they always were. Required paths stay, and so does
    the last path.
    """
    left = [path.name for path in state.paths if path.dropped is None]
    for name in spared:
        if len(left) > 1 and name in left and not next(path for path in state.paths if path.name == name).required:
            left.remove(name)
    floor = ceil(ENOUGH * k / max(1, len(left)))

    def narrowed(quotas: Sequence[int]) -> list[int]:
        return [min(quota, max(floor, ceil(quota * width))) for quota in quotas]

    quotas = narrowed(state.quotas)
    paths = tuple(
        replace(path, quota=quota, dropped=path.dropped or (None if path.name in left else SPARED))
        for path, quota in zip(state.paths, quotas, strict=True)
    )
    if state.rivals is None:
        rivals = None
        windows = FusionPlan(state.segments, quotas).windows(state.data.n_items)
    else:
        first, second = (replace(plan, quotas=narrowed(plan.quotas)) for plan in state.rivals)
        rivals = first, second
        each = [plan.windows(state.data.n_items) for plan in rivals]
        windows = tuple(map(max, zip(*each, strict=True)))
    return replace(state, paths=paths, windows=windows, rivals=rivals, level=level, effort=width)
