"""What a tower model is trained on: examples, those held out, and the tokens of users and items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset, Interactions
from multirecall.errors import CannotFit

from .bags import Bags
from .config import TowerConfig
from .features import Profile
from .histories import Histories, histories_before

LEAST_HELD_OUT = 20
"""Fewer held-out events say nothing about recall."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Examples are events of `log`, by position: the event's item is the target, what stands before it the history.

    Attributes:
        name: the retriever, for messages.
        log: the events without the held-out ones.
        examples: int64 (n,), the events that are learnt.
        whole: all events.
        held_out: int64 (m,), events of `whole` to measure recall on.
        held_out_gaps: int64 (m,), how many events before each of them its history ends.
        users, items: the tokens of each row.
        user_profile, item_profile: how tokens are made.
    """

    name: str
    log: Interactions
    examples: NDArray[np.int64]
    whole: Interactions
    held_out: NDArray[np.int64]
    held_out_gaps: NDArray[np.int64]
    users: Bags
    items: Bags
    user_profile: Profile
    item_profile: Profile

    @classmethod
    def of(cls, data: Dataset, config: TowerConfig, name: str, rng: np.random.Generator) -> Self:
        """Hold events out, and make tokens.

        Raises:
            CannotFit: no event weighs more than 0.
        """
        whole = data.interactions
        held_out = _held_out(whole, config.held_out, rng)
        kept = np.ones(len(whole), np.bool_)
        kept[held_out] = False
        log = replace(
            whole,
            users=whole.users[kept],
            items=whole.items[kept],
            times=None if whole.times is None else whole.times[kept],
            weights=whole.weights[kept],
        )
        examples = np.flatnonzero(log.weights > 0)
        if not examples.size:
            raise CannotFit(f"{name}: no interaction weighs more than 0; raise the weights, or leave the path out")
        text = config.tokeniser, config.text_buckets
        user_profile = Profile.of(data.users.features, data.n_users if config.user_id else 0, *text)
        item_profile = Profile.of(data.items.features, data.n_items, *text)
        active = np.bincount(log.users[examples], minlength=data.n_users) > 0
        chosen = _chosen(log, examples)
        return cls(
            name,
            log,
            examples,
            whole,
            held_out,
            _gaps(held_out.size, config.horizon, rng),
            user_profile.bags(data.users.features, active & config.user_id),
            item_profile.bags(data.items.features, chosen),
            user_profile,
            item_profile,
        )

    def histories(self, examples: NDArray[np.int64], horizon: int, length: int, rng: np.random.Generator) -> Histories:
        """The histories of training examples, which end up to `horizon` events before their targets."""
        return histories_before(self.log, examples, _gaps(examples.size, horizon, rng), length)

    def example_ages(self, examples: NDArray[np.int64]) -> NDArray[np.float32]:
        """Seconds between each example and the newest event of the log, float32 (n,); 0 without timestamps."""
        times = self.log.times
        if times is None:
            return np.zeros(examples.size, np.float32)
        ages: NDArray[np.float32] = (times.max() - times[examples]).astype(np.float32)
        return ages

    def chosen(self) -> NDArray[np.bool_]:
        """Which items are the target of an example, so that their id has a token, bool (n_items,)."""
        return _chosen(self.log, self.examples)

    def in_histories(self) -> NDArray[np.bool_]:
        """Which items stand with a weight above 0 in a history that an example may have, bool (n_items,)."""
        log = self.log
        beside = np.diff(log.users, append=-1) == 0 if log.ordered else np.diff(log.offsets)[log.users] > 1
        return np.bincount(log.items[beside & (log.weights > 0)], minlength=log.n_items) > 0

    def held_out_histories(self, part: slice, length: int) -> Histories:
        """The histories of a part of the held-out events."""
        return histories_before(self.whole, self.held_out[part], self.held_out_gaps[part], length)


def _chosen(log: Interactions, examples: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.bincount(log.items[examples], minlength=log.n_items) > 0


def _gaps(n: int, horizon: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many events lie between a history and its target: `floor(horizon ** u) - 1` with `u` even on [0, 1)."""
    distances: NDArray[np.int64] = np.floor(horizon ** rng.random(n)).astype(np.int64)
    return distances - 1


def _held_out(log: Interactions, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """An event of each of `most` random users, the last where events have an order; none where users are few."""
    counts = np.diff(log.offsets)
    able = np.flatnonzero(counts >= 2)
    n = min(most, able.size // 10)
    if n < LEAST_HELD_OUT:
        return np.empty(0, np.int64)
    users = np.sort(rng.choice(able, n, replace=False))
    back = np.ones(n, np.int64) if log.ordered else rng.integers(1, counts[users] + 1)
    events: NDArray[np.int64] = log.offsets[users + 1] - back
    return events
