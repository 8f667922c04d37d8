"""The figures of drift beside their limits, and what to do about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from multirecall.monitoring.drift.embeddings import VectorDrift
from multirecall.monitoring.drift.limits import Source

Group = Literal["catalogue", "users", "features", "paths", "recall", "vectors"]
"""What a figure is about."""

Action = Literal["refresh", "retune", "nothing"]
"""What to do: fit again on all data, learn the fusion anew, or nothing."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure beside its limit.

    Attributes:
        name: what it is.
        group: what it is about.
        value: what is judged; see `unit`.
        unit: `share` for a share, `PSI` for a stability index, `change` for now minus before, `drop` for before minus
            now.
        limit: the largest amount that is no alarm.
        source: what told the limit.
        before: the level in the window before the fit, where a figure has one.
        now: the level in the newest window, where a figure has one.
        js: the Jensen-Shannon distance, beside a stability index.
        past: the values from each past window to the next, oldest first.
    """

    name: str
    group: Group
    value: float
    unit: Literal["share", "PSI", "change", "drop"]
    limit: float
    source: Source
    before: float | None = None
    now: float | None = None
    js: float | None = None
    past: tuple[float, ...] = ()

    @property
    def alarm(self) -> bool:
        """Whether the value is past its limit."""
        return (abs(self.value) if self.unit == "change" else self.value) > self.limit

    @property
    def ratio(self) -> float:
        """The amount of the value as a multiple of its limit."""
        return max(0.0, abs(self.value) if self.unit == "change" else self.value) / self.limit

    def to_dict(self) -> dict[str, Any]:
        """The figure as JSON values."""
        return {**asdict(self), "past": list(self.past), "alarm": self.alarm}


@dataclass(frozen=True, slots=True)
class Histograms:
    """The scores of a path in common bins.

    Attributes:
        bounds: the bounds of the bins.
        before: the share of the scores in each bin, before the fit.
        now: the same in the newest window.
    """

    bounds: tuple[float, ...]
    before: tuple[float, ...]
    now: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, and why.

    Attributes:
        action: what to do.
        reasons: one sentence for each reason.
    """

    action: Action
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What drifted between the time before a fit and the newest events.

    Attributes:
        figures: all figures that are judged.
        advice: what to do.
        facts: what was compared, by name, in words.
        notes: what a reader must know, such as too short a past.
        scores: by path, the scores of its first items.
        vectors: the drift of item vectors between two fits; none where one fit is given.
    """

    figures: tuple[Figure, ...]
    advice: Advice
    facts: Mapping[str, str]
    notes: tuple[str, ...]
    scores: Mapping[str, Histograms]
    vectors: tuple[VectorDrift, ...] = ()

    @property
    def alarms(self) -> tuple[Figure, ...]:
        """The figures past their limits."""
        return tuple(one for one in self.figures if one.alarm)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "alarm": bool(self.alarms),
            "action": self.advice.action,
            "reasons": list(self.advice.reasons),
            "facts": dict(self.facts),
            "notes": list(self.notes),
            "figures": [one.to_dict() for one in self.figures],
            "scores": {path: asdict(one) for path, one in self.scores.items()},
            "vectors": [one.to_dict() for one in self.vectors],
        }


def advise(figures: Sequence[Figure]) -> Advice:
    """What to do about figures.

    - Recall fell: `refresh` where items, users or features moved too, or nothing else did; `retune` where only the
      paths moved, since a new fusion is then what is missing.
    - Recall was compared and did not fall: `nothing`, whatever else moved; but `retune` where the paths moved and the
      catalogue is still known.
    - Recall could not be compared: `refresh` where items, users or features moved, else `retune` where paths did.
    """
    alarms = [one for one in figures if one.alarm]
    data = [one for one in alarms if one.group in ("catalogue", "users", "features")]
    catalogue = [one for one in data if one.group == "catalogue"]
    paths = [one for one in alarms if one.group == "paths"]
    recall = [one for one in figures if one.group == "recall"]
    fell = [one for one in recall if one.alarm]
    reasons = [_reason("Recall fell", fell), _reason("What the fit has learnt from moved", data)]
    reasons += [_reason("The paths do not play together as they did", paths)]
    action: Action = "nothing"
    if fell:
        action = "retune" if paths and not data else "refresh"
    elif not recall:
        action = "refresh" if data else "retune" if paths else "nothing"
    elif paths and not catalogue:
        action = "retune"
    if recall and not fell:
        reasons.append("Recall did not fall by more than its limit.")
    if not recall:
        reasons.append("Recall was not compared.")
    vectors = [one for one in alarms if one.group == "vectors"]
    reasons.append(
        _reason(
            "Item vectors have other neighbours than before; a program that keeps them must take the new ones", vectors
        )
    )
    if not alarms:
        reasons.insert(0, "No figure is past its limit.")
    return Advice(action, tuple(filter(None, reasons)))


def _reason(text: str, figures: Sequence[Figure]) -> str:
    return f"{text}: {', '.join(one.name for one in figures)}." if figures else ""
