"""What a replay found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from multirecall.monitoring.replay.changes import Changes
from multirecall.monitoring.replay.estimates import Estimates
from multirecall.monitoring.replay.found import Found
from multirecall.monitoring.replay.fusing import Unknown


@dataclass(slots=True)
class Sameness:
    """Whether requests that are fused as they were give the logged answers.

    Attributes:
        equal: requests whose answer is the same to the byte.
        differ: requests whose answer is another.
        untold: requests that the log says too little of: two fusions that were interleaved at less than full width.
        examples: ids of requests that differ.
    """

    equal: int = 0
    differ: int = 0
    untold: int = 0
    examples: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"equal": self.equal, "differ": self.differ, "untold": self.untold, "examples": self.examples}


@dataclass(slots=True)
class ReplayReport:
    """What a replay found.

    Attributes:
        requests: the logged requests of users, and of similar items.
        sameness: of a replay under the logged config; else None.
        changes: of a replay under another config; else None.
        unknown: what the log cannot tell about that config; else None.
        events: events, and those that count for a request; None without events.
        found: what lists found of the events; else None.
        estimates: what the other config would have been worth, or why that cannot be told; None without both.
    """

    requests: int = 0
    sameness: Sameness | None = None
    changes: Changes | None = None
    unknown: Unknown | None = None
    events: tuple[int, int] | None = None
    found: Found | None = None
    estimates: Estimates | str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        values: dict[str, Any] = {"requests": self.requests}
        if self.sameness is not None:
            values["same"] = self.sameness.to_dict()
        if self.changes is not None and self.unknown is not None:
            values["changes"] = self.changes.to_dict()
            values["unknown"] = {
                "cut": dict(self.unknown.cut),
                "unasked": dict(self.unknown.unasked),
                "short": self.unknown.short,
            }
        if self.events is not None:
            values["events"] = {"all": self.events[0], "attributed": self.events[1]}
        if self.found is not None:
            values["found"] = self.found.to_dict()
        if isinstance(self.estimates, Estimates):
            values["estimates"] = self.estimates.to_dict()
        elif self.estimates is not None:
            values["estimates"] = {"refused": self.estimates}
        return values
