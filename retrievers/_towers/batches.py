"""The batches of one pass over the log: single examples, or whole stretches of histories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .config import ProfileConfig, TrainingConfig
from .data import TrainingData, draw_gaps
from .group import Group
from .histories import Histories
from .mlp import SMALLEST, Vectors
from .texts import Texts

Source = Literal["log", "catalogue"]


LEAST_STEPS, LEAST_EVENTS = 150, 512
"""The fewest steps of a pass over stretches, unless a step then had fewer events than these: small logs learn from more
steps, not from larger ones."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The examples of a training step: T targets, one for each history or one for each event of the histories.

    Attributes:
        users: int32 (B,), the user row of each history.
        histories: the B histories.
        targets: int32 (T,), the target items.
        weights: float32 (T,), the weight of each target in the loss.
        ages: float32 (B,), see `UserBatch.example_ages`.
        terms: the B texts that the users search for, empty for a user who does not; None if search terms are not read.
        source: where the targets come from: the events of the `log`, or all items of the `catalogue` that have words.
    """

    users: NDArray[np.int32]
    histories: Histories
    targets: NDArray[np.int32]
    weights: Vectors
    ages: Vectors
    terms: Texts | None = None
    source: Source = "log"

    def share(self, group: Group) -> Share:
        """What this process takes of the batch: whole histories, with about as many targets as the other processes."""
        n_users, n_targets = self.users.size, self.targets.size
        if group.size == 1:
            return Share(self, slice(0, n_users), 1.0, 1.0)
        firsts = np.arange(n_users + 1) if n_targets == n_users else self.histories.offsets
        marks = [-(-n_targets * rank // group.size) for rank in (group.rank, group.rank + 1)]
        begin, end = np.searchsorted(firsts, marks).tolist()
        rows = slice(begin, end) if begin < end else slice(max(begin - 1, 0), max(begin, 1))
        own = slice(firsts[rows.start], firsts[rows.stop])
        part = Batch(
            self.users[rows],
            self.histories.part(rows),
            self.targets[own],
            self.weights[own],
            self.ages[rows],
            None if self.terms is None else self.terms.take(np.arange(rows.start, rows.stop)),
            self.source,
        )
        if begin == end:
            return Share(part, rows, 0.0, 0.0)
        return Share(part, rows, float(part.weights.sum() / max(self.weights.sum(), SMALLEST)), (end - begin) / n_users)


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several processes takes of a batch.

    A process for which nothing is left takes a history that another one has, with a weight of 0.

    Attributes:
        batch: its histories and their targets.
        rows: its histories among those of the batch.
        weight: its share of the weights of all targets.
        users: its share of the histories.
    """

    batch: Batch
    rows: slice
    weight: float
    users: float


class ExampleBatches:
    """Batches of examples in random order: a history and one target each."""

    def __init__(self, data: TrainingData, config: TrainingConfig) -> None:
        self.data, self.config = data, config
        self.most = config.examples_per_user if isinstance(config, ProfileConfig) else None
        counts = np.bincount(data.log.users[data.examples])
        self.n_targets = int((counts if self.most is None else np.minimum(counts, self.most)).sum())
        self.steps = -(-self.n_targets // config.batch)

    def draw(self, rng: np.random.Generator) -> Iterator[Batch]:
        """The batches of one pass; there are `steps`."""
        order = rng.permutation(self.data.examples)
        if self.most is not None:
            order = first_of_each(order, self.data.log.users[order], self.most)
        for events in np.array_split(order, self.steps):
            batch = self.batch(events, rng)
            searches = self.data.searches
            yield batch if searches is None else replace(batch, terms=searches.draw_some(batch.targets, rng))

    def batch(self, events: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        """The examples of these events, without search terms."""
        data, config = self.data, self.config
        return Batch(
            data.log.users[events],
            data.histories(events, config.horizon, config.history, rng),
            data.log.items[events],
            data.log.weights[events],
            data.example_ages(events),
        )


def first_of_each(events: NDArray[np.int64], owners: NDArray[np.integer], most: int) -> NDArray[np.int64]:
    """The first `most` of the events of each owner, int64, in the order of `events` (n,); `owners` is int (n,)."""
    order = np.argsort(owners, kind="stable")
    begins = np.flatnonzero(np.diff(owners[order], prepend=-1))
    ranks = np.arange(order.size) - np.repeat(begins, np.diff(begins, append=order.size))
    return events[np.sort(order[ranks < most])]


class TextBatches(ExampleBatches):
    """Batches of examples whose users have a history, and between them batches of searches for any item with words.

    `SearchesConfig.share` is the share of the searches. Of a log with more examples than all passes may take, a pass
    takes some at random.
    """

    def __init__(self, data: TrainingData, config: TrainingConfig) -> None:
        super().__init__(data, config)
        assert data.searches is not None
        self.searches = data.searches
        share = self.searches.config.share
        self.n_log = min(self.steps, max(round(config.examples * (1 - share) / config.batch), 1))
        self.steps = round(self.n_log / (1 - share))
        self.n_targets = self.steps * config.batch

    def draw(self, rng: np.random.Generator) -> Iterator[Batch]:
        """The batches of one pass; there are `steps`."""
        examples = rng.permutation(self.data.examples)[: self.n_log * self.config.batch]
        parts = iter(np.array_split(examples, self.n_log))
        for number in rng.permutation(self.steps):
            yield self.batch(next(parts), rng) if number < self.n_log else self._searched(rng)

    def _searched(self, rng: np.random.Generator) -> Batch:
        n = self.config.batch
        targets = rng.choice(self.searches.items, n)
        none, ones = np.empty(0, np.float32), np.ones(n, np.float32)
        past = Histories(np.zeros(n + 1, np.int64), targets[:0], none, none, none)
        nobody, now = np.full(n, -1, np.int32), np.zeros(n, np.float32)
        return Batch(nobody, past, targets, ones, now, self.searches.draw(targets, rng), "catalogue")


class SequenceBatches:
    """Batches of stretches of the log, in which every event but a user's first is the target of those before it.

    Each user's events are cut into stretches of at most `config.history` events; the first stretch has a random
    length, so that no event always stands at the end of one. The stretches of a batch have like lengths, which saves
    padding, and about `config.batch` events in all, fewer where a pass would have less than `LEAST_STEPS` of them.
    """

    def __init__(self, data: TrainingData, config: TrainingConfig) -> None:
        self.data, self.config = data, config
        lengths = np.diff(data.log.offsets) - 1
        self.users = np.flatnonzero(lengths > 0)
        self.lengths = lengths[self.users]
        self.n_targets = int(self.lengths.sum())
        self.steps = max(-(-self.n_targets // config.batch), min(LEAST_STEPS, self.n_targets // LEAST_EVENTS))

    def draw(self, rng: np.random.Generator) -> Iterator[Batch]:
        """The batches of one pass; there are `steps`, or fewer where one stretch fills several."""
        begins, ends = self._cut(rng)
        order = np.lexsort((rng.random(begins.size), ends - begins))
        sizes = (ends - begins)[order]
        groups = (np.cumsum(sizes) - sizes) * self.steps // self.n_targets
        bounds = np.append(np.flatnonzero(np.diff(groups, prepend=-1)), order.size)
        for number in rng.permutation(bounds.size - 1):
            part = order[bounds[number] : bounds[number + 1]]
            yield self._batch(begins[part], ends[part], rng)

    def _cut(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first event of each stretch and the event behind its last, int64 (n,)."""
        longest = self.config.history
        first = np.where(self.lengths > longest, rng.integers(1, longest + 1, self.lengths.size), self.lengths)
        counts = 1 + -(-(self.lengths - first) // longest)
        owners = np.repeat(np.arange(counts.size), counts)
        numbers = np.arange(owners.size) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = self.data.log.offsets[self.users][owners]
        begins = starts + np.where(numbers == 0, 0, first[owners] + (numbers - 1) * longest)
        ends = starts + np.minimum(first[owners] + numbers * longest, self.lengths[owners])
        return begins, ends

    def _batch(self, begins: NDArray[np.int64], ends: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        log, sizes = self.data.log, ends - begins
        offsets = np.append(0, np.cumsum(sizes))
        events = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], sizes)
        users = log.users[begins]
        targets = events + 1 + draw_gaps(events.size, self.config.horizon, rng)
        beyond = targets >= np.repeat(log.offsets[users + 1], sizes)
        targets[beyond] = events[beyond] + 1
        positions = (np.repeat(offsets[1:], sizes) - 1 - np.arange(events.size)).astype(np.float32)
        ages = np.zeros(events.size, np.float32)
        histories = Histories(offsets, log.items[events], log.weights[events], positions, ages)
        return Batch(users, histories, log.items[targets], log.weights[targets], np.zeros(users.size, np.float32))


def new_batches(data: TrainingData, config: TrainingConfig) -> ExampleBatches | SequenceBatches:
    """The batches that suit the data."""
    if data.causal:
        return SequenceBatches(data, config)
    return TextBatches(data, config) if data.by_text else ExampleBatches(data, config)
