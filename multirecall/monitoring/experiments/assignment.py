"""Which arm a user gets: decided by a salted hash, alike in every process and after every restart."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from multirecall.chance import share_of
from multirecall.monitoring.experiments.settings import ROUNDING, ExperimentSettings, layers_of
from multirecall.user import User
from multirecall.vocabulary import Id

Arms = tuple[tuple[str, str], ...]
"""The experiments that a user takes part in, each with the arm, in the order of the settings."""


def name_of(arms: Arms) -> str:
    """The name of a variant, `EXPERIMENT:ARM`; with several experiments, joined by commas."""
    return ",".join(f"{experiment}:{arm}" for experiment, arm in arms)


def arms_in(variant: str) -> Arms:
    """The experiments and arms that `name_of` made a name of; none where it is the name of something else."""
    pairs = [part.partition(":") for part in variant.split(",")]
    return tuple((experiment, arm) for experiment, _, arm in pairs) if all(arm for _, _, arm in pairs) else ()


def unit_of(user: Id | User, context: Mapping[str, Any], request_id: str, visitors: str | None) -> str:
    """What is assigned, as text: the user's id, else what the context says of a visitor, else the id of the request.

    The ids 7 and "7" are one user: a catalogue has ids of one type, and a log may hold them as text.
    """
    known = user.id if isinstance(user, User) else user
    if known is not None:
        return f"user {known}"
    named = None if visitors is None else context.get(visitors)
    return f"request {request_id}" if named is None else f"visitor {named}"


@dataclass(frozen=True, slots=True)
class _Draw:
    """An experiment as a table of bounds."""

    name: str
    salt: str
    low: float
    high: float
    arms: tuple[str, ...]
    ends: tuple[float, ...]

    def arm_of(self, unit: str) -> str | None:
        place = bisect_right(self.ends, share_of(_text(self.salt, unit), "experiment"))
        return self.arms[place] if place < len(self.arms) else None


class Assignment:
    """Assigns users to the arms of experiments; it is a `VariantChooser`.

    Args:
        experiments: as `check_experiments` gives them.
    """

    def __init__(self, experiments: Sequence[ExperimentSettings]) -> None:
        self._layers = [
            (name, layer[0].visitors, [_draw_of(one) for one in layer])
            for name, layer in layers_of(experiments).items()
        ]
        self._order = {one.name: number for number, one in enumerate(experiments)}

    def choose(self, user: Id | User, context: Mapping[str, Any], request_id: str) -> str | None:
        """The name of the variant of a user, see `name_of`; None: the user takes part in no experiment."""
        return name_of(self.arms_of(user, context, request_id)) or None

    def arms_of(self, user: Id | User, context: Mapping[str, Any], request_id: str) -> Arms:
        """The arms of a user."""
        found = []
        for name, visitors, draws in self._layers:
            unit = unit_of(user, context, request_id, visitors)
            whole = len(draws) == 1 and (draws[0].low, draws[0].high) == (0.0, 1.0)
            place = 0.0 if whole else share_of(_text(name, unit), "layer")
            draw = next((one for one in draws if one.low <= place < one.high), None)
            arm = None if draw is None else draw.arm_of(unit)
            if draw is not None and arm is not None:
                found.append((draw.name, arm))
        return tuple(sorted(found, key=lambda one: self._order[one[0]]))


def _draw_of(one: ExperimentSettings) -> _Draw:
    arms = [arm for arm in one.arms if arm.share > 0]
    ends = list(accumulate(arm.share for arm in arms))
    if ends[-1] > 1 - ROUNDING:
        ends[-1] = 1.0
    return _Draw(one.name, one.salt or one.name, *one.range, tuple(arm.name for arm in arms), tuple(ends))


def _text(salt: str, unit: str) -> str:
    return json.dumps([salt, unit])
