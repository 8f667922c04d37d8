"""Setting events aside: a dataset without them, and the change that gives them back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from multirecall.data.changes import Changes
from multirecall.data.log import EventLog

if TYPE_CHECKING:
    from multirecall.data.dataset import Dataset


def set_events_aside(data: Dataset, events: NDArray[np.bool_]) -> tuple[Dataset, Changes]:
    """The dataset without the events of `data.undecayed` that `events`, bool (n,), marks; and what gives them back.

    Users and items keep their rows, also those that lose all their events.
    """
    log = data.undecayed
    rest = replace(data, log=EventLog(log.at(~events), (), data.log.half_life_days))
    held = log.at(events)
    return rest, Changes(
        data,
        held.users,
        held.items,
        held.times,
        data.log.decay(held.weights, held.times),
        held.weights,
        data.log.decay_factor(rest.now),
        data.now != rest.now and (data.log.has_far or rest.log.has_far),
    )
