"""What a guarded refit has found and done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from multirecall.evaluation import Interval
from multirecall.monitoring.refresh.events import Intake

Decision = Literal["published", "kept", "undecided"]
"""`published`: the refit serves; `kept`: it would be worse; `undecided`: too little is new to tell."""

ArmName = Literal["serving", "old", "new"]
"""`serving`: the served version as it is, with live changes up to the window; `old` and `new`: these settings, fitted
on all before the window."""

Metric = Literal["recall", "ndcg"]
METRICS: tuple[Metric, ...] = ("recall", "ndcg")


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """What one arm finds of the window.

    Attributes:
        name: the arm.
        recall: the mean recall of the users at the guard's `k`, with its interval.
        ndcg: the mean NDCG, likewise.
        fit_s: the seconds of its fit; None for `serving`, which is not fitted.
    """

    name: ArmName
    recall: Interval
    ndcg: Interval
    fit_s: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The new settings beside another arm, paired by user.

    Attributes:
        against: the other arm.
        metric: what is compared.
        gain: the mean of what the new settings find more, with its interval.
    """

    against: ArmName
    metric: Metric
    gain: Interval

    @property
    def worse(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.gain.high < 0

    def __str__(self) -> str:
        gain = self.gain
        return f"{self.metric} against {self.against}: {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"


@dataclass(frozen=True, slots=True)
class RefitReport:
    """What a guarded refit has found and done.

    Attributes:
        decision: what was decided.
        reason: why, in words.
        dry_run: whether nothing was written, whatever was decided.
        intake: what the exports brought.
        window: the events that all were compared on, in words; None where nothing was compared.
        n_users: the number of users that were compared.
        k: the length of the lists.
        arms: what each arm finds.
        comparisons: the new settings beside each other arm.
        before: the version that served.
        after: the version that serves now.
        rollback: whether the bundle still has the version before.
        to_forget: what is still to be done so that the bundle holds nothing of what was taken back, see `StoreHealth`.
        fits: the number of fits.
        seconds: where the time went, by step.
    """

    decision: Decision
    reason: str
    dry_run: bool
    intake: Intake
    window: str | None
    n_users: int
    k: int
    arms: tuple[ArmFigures, ...]
    comparisons: tuple[Comparison, ...]
    before: str
    after: str
    rollback: bool
    to_forget: str | None
    fits: int
    seconds: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        values = asdict(self)
        values["intake"]["new"] = self.intake.new
        for one, own in zip(values["comparisons"], self.comparisons, strict=True):
            one["worse"] = own.worse
        return values

    def __str__(self) -> str:
        took = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in self.seconds.items())
        return "\n".join(
            [
                f"{self.decision}{' (dry run)' if self.dry_run else ''}: {self.reason}",
                *map(str, self.comparisons),
                f"{self.fits} {'fit' if self.fits == 1 else 'fits'}; {took}",
            ]
        )
