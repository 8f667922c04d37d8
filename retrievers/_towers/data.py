"""The training data of a tower model: examples, held-out events, and the tokens of users and items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset, Interactions
from multirecall.errors import CannotFit

from .._weights import require_weight
from .bags import Bags
from .config import ProfileConfig, TrainingConfig
from .features import Profile
from .histories import Histories, histories_before
from .searches import Searches

LEAST_HELD_OUT = 20
"""The smallest number of held-out events: recall on fewer is too noisy to stop by."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Training examples and held-out events, with the tokens of users and items.

    An example is an event of `log`: the item of the event is the target, and earlier events of the user are the
    history.

    Items are known by tokens for id and features, or, for a retriever whose items are the rows of one table, by their
    row alone. Users without a `ProfileConfig` have one token that all share.

    Attributes:
        name: the name of the retriever, for messages.
        log: the events without the held-out ones.
        newest: epoch seconds of the newest event of `log`; 0 without timestamps.
        examples: int64 (n,), the positions of the examples in `log`.
        whole: all events.
        held_out: int64 (m,), the positions in `whole` of the events that recall is measured on.
        held_out_gaps: int64 (m,), the number of events between each held-out event and the end of its history.
        users, items: the tokens of each user row and item row.
        user_profile, item_profile: the rules that make tokens.
        tied: whether the items are the rows of the table that the histories use.
        searches: what search terms can be drawn from; None for a retriever that reads none.
        by_text: whether an item is known by the words of its text alone.
        causal: whether a batch has whole stretches of the log, and an example needs an earlier event of the user.
    """

    name: str
    log: Interactions
    newest: int
    examples: NDArray[np.int64]
    whole: Interactions
    held_out: NDArray[np.int64]
    held_out_gaps: NDArray[np.int64]
    users: Bags
    items: Bags
    user_profile: Profile
    item_profile: Profile
    tied: bool
    causal: bool
    searches: Searches | None
    by_text: bool

    @classmethod
    def of(
        cls,
        data: Dataset,
        config: TrainingConfig,
        name: str,
        rng: np.random.Generator,
        *,
        tied: bool = False,
        causal: bool = False,
        searches: Searches | None = None,
        by_text: bool = False,
    ) -> Self:
        """Hold out events, and make the tokens.

        Args:
            data: the log and the tables of items and users.
            config: the settings of the retriever.
            name: its name, for messages.
            rng: draws the events to hold out.
            tied, causal, searches, by_text: see the attributes.

        Raises:
            CannotFit: no event has a weight above 0; or, where examples are causal, none of these follows another one.
        """
        require_weight(data, name)
        whole = data.interactions
        held_out = _hold_out(whole, config.held_out, rng)
        kept = np.ones(len(whole), np.bool_)
        kept[held_out] = False
        log = replace(
            whole,
            users=whole.users[kept],
            items=whole.items[kept],
            times=None if whole.times is None else whole.times[kept],
            weights=whole.weights[kept],
        )
        able = log.weights > 0
        if causal:
            able &= np.diff(log.users, prepend=-1) == 0
        examples = np.flatnonzero(able)
        if not examples.size:
            raise CannotFit(f"{name}: no event of weight above 0 follows another event of its user; leave the path out")
        user_profile, users = _user_tokens(data, config, log.users[examples])
        item_profile, items = _item_tokens(data, config, log.items[examples], tied)
        return cls(
            name,
            log,
            0 if log.times is None else int(log.times.max()),
            examples,
            whole,
            held_out,
            draw_gaps(held_out.size, config.horizon, rng),
            users,
            items,
            user_profile,
            item_profile,
            tied,
            causal,
            searches,
            by_text,
        )

    def histories(self, examples: NDArray[np.int64], horizon: int, length: int, rng: np.random.Generator) -> Histories:
        """The histories of examples; each ends at a random distance of up to `horizon` events before its target."""
        return histories_before(self.log, examples, draw_gaps(examples.size, horizon, rng), length)

    def example_ages(self, examples: NDArray[np.int64]) -> NDArray[np.float32]:
        """Seconds between each example and the newest event of the log, float32 (n,); 0 without timestamps."""
        if self.log.times is None:
            return np.zeros(examples.size, np.float32)
        ages: NDArray[np.float32] = (self.newest - self.log.times[examples]).astype(np.float32)
        return ages

    def is_target(self) -> NDArray[np.bool_]:
        """Whether each item is the target of an example, and so its id has a token, bool (n_items,)."""
        return np.bincount(self.log.items[self.examples], minlength=self.log.n_items) > 0

    def is_in_history(self) -> NDArray[np.bool_]:
        """Whether each item occurs with a weight above 0 in the history of some example, bool (n_items,)."""
        log = self.log
        beside = np.diff(log.users, append=-1) == 0 if log.ordered else np.diff(log.offsets)[log.users] > 1
        return np.bincount(log.items[beside & (log.weights > 0)], minlength=log.n_items) > 0

    def held_out_histories(self, part: slice, length: int) -> Histories:
        """The histories, of at most `length` events, of a slice of the held-out events."""
        return histories_before(self.whole, self.held_out[part], self.held_out_gaps[part], length)


def _user_tokens(data: Dataset, config: TrainingConfig, active: NDArray[np.int32]) -> tuple[Profile, Bags]:
    """The tokens of the users; only those among `active` have a token for their id."""
    if not isinstance(config, ProfileConfig):
        profile = Profile(0, {})
        return profile, profile.bags({}, np.zeros(data.n_users, np.bool_))
    features = data.users.features
    profile = Profile.of(features, data.n_users if config.user_id else 0, config.tokeniser, config.text_buckets)
    known = np.bincount(active, minlength=data.n_users) > 0
    return profile, profile.bags(features, known & config.user_id)


def _item_tokens(data: Dataset, config: TrainingConfig, targets: NDArray[np.int32], tied: bool) -> tuple[Profile, Bags]:
    """The tokens of the items; only those among `targets` have a token for their id. If tied, the rows are tokens."""
    if tied or not isinstance(config, ProfileConfig):
        rows = np.arange(data.n_items, dtype=np.int32)
        return Profile(0, {}), Bags(np.arange(rows.size + 1), rows, np.ones(rows.size, np.float32))
    features = data.items.features
    profile = Profile.of(features, data.n_items, config.tokeniser, config.text_buckets)
    return profile, profile.bags(features, np.bincount(targets, minlength=data.n_items) > 0)


def draw_gaps(n: int, horizon: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Events between each history and its target: `floor((horizon + 1) ** u) - 1`, with `u` uniform on [0, 1)."""
    distances: NDArray[np.int64] = np.floor((horizon + 1) ** rng.random(n)).astype(np.int64)
    return distances - 1


def _hold_out(log: Interactions, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The positions of one event for each of up to `most` random users; empty if too few users have two events.

    The event is the user's last, or a random one if the log has no order.
    """
    counts = np.diff(log.offsets)
    able = np.flatnonzero(counts >= 2)
    n = min(most, able.size // 10)
    if n < LEAST_HELD_OUT:
        return np.empty(0, np.int64)
    users = np.sort(rng.choice(able, n, replace=False))
    back = np.ones(n, np.int64) if log.ordered else rng.integers(1, counts[users] + 1)
    events: NDArray[np.int64] = log.offsets[users + 1] - back
    return events
