"""Limits of figures, learnt from what the log's own past shows from each window to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

FEWEST_PAIRS = 5
"""Past values from which a limit is learnt. With fewer, the stated default serves."""

Kind = Literal["unknown items", "unknown users", "psi", "change", "drop"]
"""What a figure is: a share of what is unknown, a distance, a change of a share to either side, or a drop of recall."""


Source = Literal["past", "chance", "stated"]
"""What tells a limit."""


class Stated(NamedTuple):
    """The limits of a kind that are stated rather than learnt.

    Attributes:
        least: a smaller value is never an alarm, however steady the past was.
        default: the limit where the past is too short.
    """

    least: float
    default: float


STATED: dict[Kind, Stated] = {
    "unknown items": Stated(0.02, 0.10),
    "unknown users": Stated(0.05, 0.25),
    "psi": Stated(0.10, 0.25),
    "change": Stated(0.05, 0.10),
}
"""The stated limits by kind. For a stability index, 0.1 and 0.25 are the customary bounds of a small and of a large
shift (Siddiqi 2006)."""

MARGIN = 0.1
"""The share of the recall before that it may lose for reasons other than which users came: what is chosen differs from
window to window too."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest value that is no alarm.

    Attributes:
        value: the limit.
        source: what told it: the past, what two samples of users differ by through chance, or a stated default.
    """

    value: float
    source: Source


def limit_of(kind: Kind, past: Sequence[float], rate: float) -> Limit:
    """The limit of a figure: the upper prediction limit of one more value like those of the past.

    For a share or a distance it is `mean + t · sd · √(1 + 1/n)` with the quantile `t` of Student's distribution at
    `1 - rate` and n - 1 degrees of freedom (Hahn & Meeker 1991, section 4.6). A change goes to either side and has no
    mean: `t · √(Σ d² / n) · √(1 + 1/n)` with n degrees of freedom at `1 - rate / 2`, for its amount.

    Args:
        kind: what the figure is.
        past: its values from each past window to the next, oldest first; those of a change have a sign.
        rate: the probability of a false alarm of this figure.
    """
    stated = STATED[kind]
    if len(past) < FEWEST_PAIRS:
        return Limit(stated.default, "stated")
    values, wider = np.asarray(past), np.sqrt(1 + 1 / len(past))
    if kind == "change":
        learnt = -stdtrit(values.size, rate / 2) * np.sqrt((values**2).mean()) * wider
    else:
        learnt = values.mean() + -stdtrit(values.size - 1, rate) * values.std(ddof=1) * wider
    return Limit(max(float(learnt), stated.least), "past")


def drop_limit(before: Sequence[float], now: Sequence[float], rate: float) -> Limit:
    """The limit of the drop of a mean over users, of two samples of users.

    It is a tenth of the mean before, and what two samples of users differ by with probability `rate` beyond that:
    `m₁ / 10 + z · √(s₁²/n₁ + s₂²/n₂)`.
    """
    first, second = np.asarray(before), np.asarray(now)
    error = np.sqrt(first.var() / first.size + second.var() / second.size)
    return Limit(float(MARGIN * first.mean() - ndtri(rate) * error), "chance")
