"""The two slices of the tuner: a search slice and a second slice that confirms the gain.

The slices must be independent, and the way to get that depends on the split:

- User by user (last events, random items), users are exchangeable. Half of the users are the search slice, the other
  half confirms, and both share one fit.
- By time, users are not independent: the events of one user are similar in both windows, while catalogue and demand
  change between them. The slices are two consecutive windows, and the paths are fitted again on the events before
  each. A gain on the first must hold on the second, as after a deployment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multirecall.data import Dataset
from multirecall.errors import DataError
from multirecall.evaluation import Split, SplitKind, make_split
from multirecall.tuning.config import TuningConfig

FEWEST = 30
"""Least number of users of a slice; with fewer, a bootstrap interval means little."""


@dataclass(frozen=True, slots=True)
class Slices:
    """The search slice and the slice that confirms; both may share their training part."""

    search: Split
    confirm: Split


def slices(data: Dataset, config: TuningConfig) -> Slices:
    """Hold two slices out of `data`.

    Raises:
        DataError: the log cannot be split like that, or a slice has too few users.
    """
    kind = config.split or natural_kind(data)
    rng = np.random.default_rng(config.seed)
    held_out = _split_once(data, kind, config)
    if kind == "time":
        earlier = _split_once(held_out.train, kind, config)
        pair = Slices(
            _draw(earlier, np.arange(earlier.users.size), config.search_users, rng, "the window before"),
            _draw(held_out, np.arange(held_out.users.size), config.confirm_users, rng, "the newest window"),
        )
    else:
        order = rng.permutation(held_out.users.size)
        first, second = np.array_split(order, 2)
        pair = Slices(
            _draw(held_out, first, config.search_users, rng, "one half of the users"),
            _draw(held_out, second, config.confirm_users, rng, "the other half"),
        )
    for name, one in (("searched", pair.search), ("confirming", pair.confirm)):
        if one.users.size < FEWEST:
            raise DataError(
                f"tune: the {name} slice ({one.name}) has {one.users.size} users, it needs {FEWEST}; "
                "raise fraction, or choose another split (command line: --fraction, --split)"
            )
    return pair


def natural_kind(data: Dataset) -> SplitKind:
    """The default split of a log: by time if it has timestamps, by last event if it has positions, else at random."""
    if data.interactions.times is not None:
        return "time"
    return "last" if data.interactions.ordered else "random"


def _split_once(data: Dataset, kind: SplitKind, config: TuningConfig) -> Split:
    return make_split(data, kind, fraction=config.fraction, last=config.last, seen=config.seen, seed=config.seed)


def _draw(split: Split, users: np.typing.NDArray[np.int64], most: int, rng: np.random.Generator, name: str) -> Split:
    chosen = users if users.size <= most else rng.choice(users, most, replace=False)
    return split.take(np.sort(chosen), f"{split.name}, {name}")
