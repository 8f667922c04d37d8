"""The best path alone, equal weights and the learned fusion, side by side on one slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.evaluation import METRICS, Interval, interval, user_metrics
from multirecall.learning.choice import FusionChoice
from multirecall.learning.lists import KnownLists
from multirecall.tuning.config import TuningConfig


@dataclass(frozen=True, slots=True)
class Comparison:
    """The three fusions compared on one slice, by the mean metric of its users.

    Attributes:
        slice: the name of the slice.
        n_users: the number of its users.
        single: the metric of the best path alone.
        plain: the metric of equal weights.
        tuned: the metric of the learned fusion or, on a test part, of the one that is kept.
        over_plain: the gain of the learned fusion over equal weights, paired by user.
        over_single: the gain of the learned fusion over the best path.
        plain_over_single: the gain of equal weights over the best path.
    """

    slice: str
    n_users: int
    single: Interval
    plain: Interval
    tuned: Interval
    over_plain: Interval
    over_single: Interval
    plain_over_single: Interval

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return asdict(self)


def compare(name: str, lists: KnownLists, fusions: Sequence[FusionChoice], config: TuningConfig) -> Comparison:
    """Compare the best path, equal weights and the learned fusion on the users of `lists`, as `config` measures."""
    alone, equal, best = (values_of(choice, lists, config) for choice in fusions)
    means = (alone, equal, best, best - equal, best - alone, equal - alone)
    return Comparison(
        name, len(lists), *(interval(values, config.resamples, config.level, config.seed) for values in means)
    )


def values_of(choice: FusionChoice, lists: KnownLists, config: TuningConfig) -> NDArray[np.float64]:
    """The metric of each user under a fusion, float64 (n_users,)."""
    fused = choice.fuse(lists, config.k)
    values = user_metrics(fused.offsets, fused.items, lists.offsets, lists.targets, [config.k])
    return values[METRICS.index(config.metric), :, 0]
