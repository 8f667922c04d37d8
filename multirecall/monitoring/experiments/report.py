"""What an experiment has found: each arm beside the control, and the preferences of interleaved arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite, nan
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr, ndtri

from multirecall.errors import DataError
from multirecall.monitoring.experiments.estimates import Mismatch, check_shares, holm, ratio_of
from multirecall.monitoring.experiments.outcomes import METRICS, NOBODY, Joined, Outcomes
from multirecall.monitoring.experiments.plan import LOOKS, Design
from multirecall.monitoring.experiments.sequential import FEWEST, p_value, radius, spread_for
from multirecall.monitoring.experiments.settings import ArmSettings, ExperimentSettings
from multirecall.validation import nearest

Verdict = Literal["better", "worse", "open", "too few"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric of an arm: its value and its standard error over users."""

    value: float
    error: float


@dataclass(frozen=True, slots=True)
class ArmReport:
    """One arm.

    Attributes:
        name: of the arm.
        share: that it should have.
        users: that it has.
        requests: the number of their answers.
        metrics: by name.
    """

    name: str
    share: float
    users: int
    requests: int
    metrics: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Effect:
    """A mean effect over users, with its interval.

    Attributes:
        value: the estimate.
        low: the lower end of the interval.
        high: the upper end.
        p: of no effect, adjusted by Holm over the comparisons of one metric.
        detectable: the smallest effect that so many users find with a power of 80 %.
        verdict: whether the effect is above 0, below 0, or open; or the users are too few to say.
    """

    value: float
    low: float
    high: float
    p: float
    detectable: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of an arm less that of the control."""

    arm: str
    metric: str
    effect: Effect


@dataclass(frozen=True, slots=True)
class Preference:
    """What users of an interleaved arm prefer.

    A user's preference is (s - f) / (s + f), where s and f are the items of the second and of the first side that the
    user took.

    Attributes:
        arm: that interleaves.
        first: the arm that is its first side.
        second: the arm that is its second side.
        users: the users of the arm.
        wins: how many took more of the first, how many more of the second, and how many as many of both.
        effect: the mean preference of those who took something; above 0, the second side is better.
        sign_p: the p value of a sign test, for one look.
    """

    arm: str
    first: str
    second: str
    users: int
    wins: tuple[int, int, int]
    effect: Effect
    sign_p: float


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """What an experiment has found.

    Attributes:
        name: of the experiment.
        control: the arm that the others are compared with.
        alpha: the probability of a false alarm.
        sequential: whether the intervals and p values hold at every look.
        arms: each arm.
        differences: of each arm but interleaved ones, in each metric.
        preferences: of each interleaved arm.
        mismatch: whether the arms have the users that they should have.
        left_out: answers to users without an id, answers after the last event, and users who changed the arm.
    """

    name: str
    control: str
    alpha: float
    sequential: bool
    arms: tuple[ArmReport, ...]
    differences: tuple[Difference, ...]
    preferences: tuple[Preference, ...]
    mismatch: Mismatch
    left_out: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; a figure that is not known is null."""
        cleaned: dict[str, Any] = _clean(asdict(self))
        cleaned["mismatch"]["alarming"] = self.mismatch.alarming
        return cleaned


def report_experiment(
    joined: Joined, settings: ExperimentSettings, *, alpha: float = 0.05, sequential: bool = True
) -> ExperimentReport:
    """Compare the arms of an experiment.

    The interval of a difference has a level of 1 - alpha over all arms together (Bonferroni), its p value is adjusted
    by Holm; metrics are not adjusted for one another.

    Args:
        joined: the answers of the experiment and what followed.
        settings: of the experiment.
        alpha: the probability of a false alarm.
        sequential: whether one may look as often as one likes; False: for one look, at a size that was fixed before.

    Raises:
        RequestError: alpha is none.
        DataError: an arm of the log is not in the settings, or the control has no users.
    """
    drawn = [arm for arm in settings.arms if arm.share > 0]
    known = [arm.name for arm in drawn]
    for name in joined.arms:
        if name not in known:
            raise DataError(
                f"the log has answers of the arm {name!r}, which is not in the settings; {nearest(name, known)}"
            )
    plain = [arm.name for arm in drawn if arm.interleaves is None]
    others = [name for name in plain if name != settings.compared_with]
    looks = LOOKS if sequential else None
    design = Design(alpha, comparisons=max(len(others), 1), looks=looks)
    arms = tuple(_arm(arm, joined.arms.get(arm.name, NOBODY)) for arm in drawn)
    differences = []
    if settings.compared_with in joined.arms and others:
        for metric in METRICS:
            differences += _differences(joined, settings, others, metric, design)
    interleaved = [arm for arm in drawn if arm.interleaves is not None]
    alone = Design(alpha, comparisons=max(len(interleaved), 1), looks=looks)
    return ExperimentReport(
        settings.name,
        settings.compared_with,
        alpha,
        sequential,
        arms,
        tuple(differences),
        tuple(_preference(arm, joined, settings, alone) for arm in interleaved),
        check_shares([arm.users for arm in arms], [arm.share for arm in drawn]),
        {"unidentified": joined.unidentified, "unjudged": joined.unjudged, "moved": joined.moved},
    )


def _arm(arm: ArmSettings, outcomes: Outcomes) -> ArmReport:
    return ArmReport(arm.name, arm.share, outcomes.users, int(outcomes.requests.sum()), _estimates(outcomes))


def _estimates(outcomes: Outcomes) -> dict[str, Estimate]:
    found = {}
    for metric, (numerator, denominator) in outcomes.sums.items():
        ratio, variance = ratio_of(numerator, denominator)
        found[metric] = Estimate(float(ratio), float(np.sqrt(variance)))
    return found


def _differences(
    joined: Joined, settings: ExperimentSettings, others: Sequence[str], metric: str, design: Design
) -> list[Difference]:
    """Each of the other arms beside the control, in one metric."""
    control = joined.arms[settings.compared_with]
    base, base_variance = ratio_of(*control.sums[metric])
    found = []
    for arm in others:
        own = joined.arms.get(arm, NOBODY)
        value, variance = ratio_of(*own.sums[metric])
        enough = min(control.users, own.users) >= FEWEST
        found.append(_effect(value - base, variance + base_variance, settings.effect * base, enough, design))
    adjusted = holm([one.p for one in found])
    return [
        Difference(arm, metric, replace(one, p=float(p))) for arm, one, p in zip(others, found, adjusted, strict=True)
    ]


def _preference(arm: ArmSettings, joined: Joined, settings: ExperimentSettings, design: Design) -> Preference:
    own, sides = joined.arms.get(arm.name, NOBODY), arm.interleaves or ("", "")
    scores, credited = preferences_of(own.credits)
    value, variance = ratio_of(scores, credited)
    effect = _effect(value, variance, settings.preference, credited.sum() >= FEWEST, design)
    second, first = int((scores > 0).sum()), int((scores < 0).sum())
    sign_p = min(1.0, 2 * float(bdtr(min(first, second), first + second, 0.5)))
    wins = (first, second, own.users - first - second)
    return Preference(arm.name, *sides, own.users, wins, effect, sign_p)


def preferences_of(credits: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The preference of each user for the second side, in [-1, 1], and whether they gave credit at all, as 0 or 1.

    Args:
        credits: of the first and of the second side, float64 (..., 2).
    """
    total = credits.sum(-1)
    return (credits[..., 1] - credits[..., 0]) / np.maximum(total, 1.0), (total > 0).astype(np.float64)


def _effect(value: Any, variance: Any, planned: Any, enough: bool, design: Design) -> Effect:
    """An effect with its interval and its p value, not yet adjusted.

    Args:
        value: the estimate.
        variance: of it.
        planned: the size of effect at which a sequential interval is narrowest.
        enough: whether there are enough users for an interval.
        design: how it is tested.
    """
    if not enough or not variance > 0:
        return Effect(float(value), -inf, inf, 1.0, nan, "too few")
    alpha = design.alpha / design.comparisons
    if design.looks is None:
        half = ndtri(1 - alpha / 2) * np.sqrt(variance)
        p = 2 * ndtr(-abs(value) / np.sqrt(variance))
    else:
        spread = spread_for(planned, alpha)
        half, p = radius(variance, spread, alpha), p_value(value, variance, spread)
    low, high = float(value - half), float(value + half)
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "open"
    return Effect(float(value), low, high, float(p), float(np.sqrt(design.information * variance)), verdict)


def _clean(value: Any) -> Any:
    """Numbers that JSON does not have as None."""
    if isinstance(value, dict):
        return {key: _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value
