"""What a fit has learned and held out, as part of the engine's state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from multirecall.learning.report import FusionReport
from multirecall.learning.spent import Spent


@dataclass(frozen=True, slots=True)
class Learned:
    """What a fit has learned.

    Attributes:
        report: settings, fusion, and why.
        spent: what this and earlier fits have held out.
        due: whether the next refit must fit on everything, because the newest period was held out from this one.
    """

    report: FusionReport
    spent: Spent = field(default_factory=Spent)
    due: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"report": self.report.to_dict(), "spent": self.spent.to_dict(), "due": self.due}

    @classmethod
    def of_dict(cls, values: dict[str, Any]) -> Learned:
        """Read what `to_dict` gave."""
        return cls(FusionReport.of_dict(values["report"]), Spent.of_dict(values["spent"]), bool(values["due"]))
