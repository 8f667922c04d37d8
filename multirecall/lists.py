"""Ranked lists (output of paths) and fused lists (output of fusion), as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of, take_runs


@dataclass(frozen=True, slots=True)
class RankedList:
    """The items that one path proposes to one user, best first.

    Attributes:
        items: item rows, int32 (n,), unique.
        scores: float32 (n,), finite, in the ordering rule's order.
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return self.items.size

    def head(self, n: int) -> RankedList:
        """The first `n` entries."""
        return self if n >= self.items.size else RankedList(self.items[:n], self.scores[:n])

    def within(self, n: int) -> int:
        """The number of entries of `head(n)`."""
        return min(n, self.items.size)

    @staticmethod
    def empty() -> RankedList:
        """A list that proposes nothing."""
        return RankedList(np.empty(0, np.int32), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class RankedBatch:
    """The ranked lists of several users as CSR: list `u` is `offsets[u]:offsets[u + 1]`, never padded.

    Attributes:
        offsets: int64 (n_users + 1,).
        items: item rows, int32 (offsets[-1],).
        scores: float32 (offsets[-1],).
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return self.offsets.size - 1

    def __getitem__(self, user: int) -> RankedList:
        part = slice(self.offsets[user], self.offsets[user + 1])
        return RankedList(self.items[part], self.scores[part])

    def take(self, users: NDArray[np.integer]) -> RankedBatch:
        """The lists of the users at the given positions (n,), in that order."""
        offsets, places = take_runs(self.offsets, users)
        return RankedBatch(offsets, self.items[places], self.scores[places])

    def part(self, start: int, stop: int) -> RankedBatch:
        """The lists of the users from `start` to `stop`, over the same arrays."""
        offsets = self.offsets[start : stop + 1]
        entries = slice(offsets[0], offsets[-1])
        return RankedBatch(offsets - offsets[0], self.items[entries], self.scores[entries])

    def keep(self, mask: NDArray[np.bool_]) -> RankedBatch:
        """The lists with only the entries where `mask`, bool (n,) beside `items`, is True."""
        return RankedBatch(_masked_offsets(mask, self.offsets), self.items[mask], self.scores[mask])

    def heads(self, n: int) -> RankedBatch:
        """The first `n` entries of each list."""
        lengths = np.diff(self.offsets)
        if not lengths.size or lengths.max() <= n:
            return self
        return self.keep(np.arange(self.items.size) - np.repeat(self.offsets[:-1], lengths) < n)

    def within(self, n: int) -> int:
        """The number of entries of `heads(n)`, over all lists."""
        return int(np.minimum(np.diff(self.offsets), n).sum())

    def replace(self, users: NDArray[np.integer], others: RankedBatch) -> RankedBatch:
        """The lists, in which `others` replace those of the users at the given positions (n,)."""
        return RankedBatch.concat([self, others]).take(_replacement_order(len(self), users))

    @staticmethod
    def from_lists(lists: Sequence[RankedList]) -> RankedBatch:
        """A batch of several lists, one for each user, in the order given."""
        if not lists:
            return RankedBatch.empty(0)
        return RankedBatch(
            offsets_of([len(ranked) for ranked in lists]),
            np.concatenate([ranked.items for ranked in lists]),
            np.concatenate([ranked.scores for ranked in lists]),
        )

    @staticmethod
    def concat(batches: Sequence[RankedBatch]) -> RankedBatch:
        """One batch with the users of all batches, in the order of the batches."""
        return RankedBatch(
            offsets_of(np.concatenate([np.diff(batch.offsets) for batch in batches])),
            np.concatenate([batch.items for batch in batches]),
            np.concatenate([batch.scores for batch in batches]),
        )

    @staticmethod
    def empty(n_users: int) -> RankedBatch:
        """Lists that propose nothing."""
        return RankedBatch(np.zeros(n_users + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class FusedList:
    """One user's fused candidates, best first.

    Attributes:
        items: item rows, int32 (n,), unique.
        scores: float64 (n,).
        ranks: int32 (n, n_paths), 0-based rank in each path's list, -1 where the path did not propose it.
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float64]
    ranks: NDArray[np.int32]

    def __len__(self) -> int:
        return self.items.size

    @staticmethod
    def empty(n_paths: int) -> FusedList:
        """A list without candidates."""
        return FusedList(np.empty(0, np.int32), np.empty(0, np.float64), np.empty((0, n_paths), np.int32))


@dataclass(frozen=True, slots=True)
class FusedBatch:
    """The fused lists of several users as CSR; `offsets` int64 (n_users + 1,), the rest as in `FusedList`."""

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    scores: NDArray[np.float64]
    ranks: NDArray[np.int32]

    def __len__(self) -> int:
        return self.offsets.size - 1

    def __getitem__(self, user: int) -> FusedList:
        part = slice(self.offsets[user], self.offsets[user + 1])
        return FusedList(self.items[part], self.scores[part], self.ranks[part])

    def take(self, users: NDArray[np.integer]) -> FusedBatch:
        """The lists of the users at the given positions (n,), in that order."""
        offsets, places = take_runs(self.offsets, users)
        return FusedBatch(offsets, self.items[places], self.scores[places], self.ranks[places])

    def keep(self, mask: NDArray[np.bool_]) -> FusedBatch:
        """The lists with only the candidates where `mask`, bool (n,) beside `items`, is True."""
        return FusedBatch(_masked_offsets(mask, self.offsets), self.items[mask], self.scores[mask], self.ranks[mask])

    def replace(self, users: NDArray[np.integer], others: FusedBatch) -> FusedBatch:
        """The lists, in which `others` replace those of the users at the given positions (n,)."""
        return FusedBatch.concat([self, others]).take(_replacement_order(len(self), users))

    @staticmethod
    def from_lists(lists: Sequence[FusedList]) -> FusedBatch:
        """A batch of several lists, at least one, one for each user, in the order given."""
        return FusedBatch(
            offsets_of([len(fused) for fused in lists]),
            np.concatenate([fused.items for fused in lists]),
            np.concatenate([fused.scores for fused in lists]),
            np.concatenate([fused.ranks for fused in lists]),
        )

    @staticmethod
    def concat(batches: Sequence[FusedBatch]) -> FusedBatch:
        """One batch with the users of all batches, in the order of the batches."""
        return FusedBatch(
            offsets_of(np.concatenate([np.diff(batch.offsets) for batch in batches])),
            np.concatenate([batch.items for batch in batches]),
            np.concatenate([batch.scores for batch in batches]),
            np.concatenate([batch.ranks for batch in batches]),
        )


def _masked_offsets(mask: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The CSR offsets of the lists that remain when only the entries where `mask` is True are kept."""
    return offsets_of(mask.view(np.int8))[offsets]


def _replacement_order(n_users: int, users: NDArray[np.integer]) -> NDArray[np.int64]:
    """The positions to take when the new lists of `users` stand behind `n_users` old ones: the new one if any."""
    source = np.arange(n_users)
    source[users] = n_users + np.arange(users.size)
    return source
