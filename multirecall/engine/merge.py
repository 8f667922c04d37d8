"""How the lists of a request become one: fused, or interleaved from two fusions, with explored slots if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.chance import generator_of, share_of
from multirecall.draw import Draw
from multirecall.engine.fuse import FusionPlan
from multirecall.kernels import Array, kernel
from multirecall.lists import FusedBatch, FusedList, RankedBatch, RankedList
from multirecall.online import Exploration
from multirecall.rowtable import entry_of, new_table, slot_of

Merged = tuple[FusedList, Draw | None]


@dataclass(frozen=True, slots=True)
class Merging:
    """How the lists of users become one.

    Attributes:
        plan: the fusion.
        rivals: two fusions that are interleaved in its place, or None.
        exploration: which slots are drawn, or None. It does not hold for interleaved lists.
    """

    plan: FusionPlan
    rivals: tuple[FusionPlan, FusionPlan] | None = None
    exploration: Exploration | None = None

    @property
    def draws(self) -> bool:
        """Whether chance has a part in it."""
        return self.rivals is not None or self.exploration is not None

    def merge(self, lists: Sequence[RankedList], length: int, k: int, request_id: str) -> Merged:
        """The `k` best candidates of one user.

        Args:
            lists: the list of each path, at most its window long.
            length: the length of the user's history.
            k: the most candidates.
            request_id: decides what chance has a part in.
        """
        if self.rivals is not None:
            first, second = (rival.fuse(lists, length, k) for rival in self.rivals)
            return team_draft(first, second, k, request_id)
        if self.exploration is not None:
            everything = self.plan.fuse(lists, length, max(k, sum(map(len, lists))))
            return explore(everything, k, self.exploration, request_id)
        return self.plan.fuse(lists, length, k), None

    def merge_batch(
        self, batches: Sequence[RankedBatch], lengths: NDArray[np.int64], k: int, request_ids: Sequence[str]
    ) -> tuple[FusedBatch, tuple[Draw | None, ...]]:
        """The same for several users."""
        if not self.draws:
            return self.plan.fuse_batch(batches, lengths, k), (None,) * len(request_ids)
        merged = [
            self.merge([batch[user] for batch in batches], int(lengths[user]), k, request_id)
            for user, request_id in enumerate(request_ids)
        ]
        if not merged:
            return self.plan.fuse_batch(batches, lengths, k), ()
        return FusedBatch.from_lists([fused for fused, _ in merged]), tuple(draw for _, draw in merged)


def explore(everything: FusedList, k: int, exploration: Exploration, request_id: str) -> Merged:
    """The first `k` of a fused list, of which the last slots are drawn in a share of the requests.

    The slots are filled uniformly, without replacement, from all candidates behind those before the slots. Drawn
    candidates stand in the order of the fused list.
    """
    slots = min(exploration.slots, k)
    head = k - slots
    pool = len(everything) - head
    if pool <= slots:
        first = _take(everything, np.arange(min(k, len(everything))))
        return first, Draw.certain(len(first))
    is_drawn = share_of(request_id, "explore") < exploration.share
    if is_drawn:
        drawn = np.sort(generator_of(request_id, "explore").choice(pool, slots, replace=False))
        places = np.concatenate([np.arange(head), head + drawn])
    else:
        places = np.arange(k)
    propensity = chance_of_places(len(everything), k, exploration)[places]
    place = np.where(is_drawn & (np.arange(k) >= head), places, -1).astype(np.int32)
    return _take(everything, places), Draw(propensity, place, np.full(k, -1, np.int8))


def chance_of_places(n: int, k: int, exploration: Exploration) -> NDArray[np.float64]:
    """The probability with which the candidate at each place of a fused list of length `n` is in the answer, (n,)."""
    slots = min(exploration.slots, k)
    head = k - slots
    pool = n - head
    places = np.arange(n)
    if pool <= slots:
        return (places < k).astype(np.float64)
    by_chance = exploration.share * slots / pool
    return np.where(places < head, 1.0, np.where(places < k, 1 - exploration.share + by_chance, by_chance))


def team_draft(first: FusedList, second: FusedList, k: int, request_id: str) -> Merged:
    """Two fused lists interleaved by team draft (Radlinski, Kurup, Joachims, CIKM 2008, algorithm 2).

    In each round, a coin decides which list drafts first; each drafts its best candidate that is not in the answer
    yet. Once a list has no more, the other goes on without a team. The score of place p, from 0, is 1 / (p + 1).
    """
    coins = generator_of(request_id, "draft").integers(0, 2, k, np.int8)
    sources, places, team = _draft(np.ascontiguousarray(first.items), np.ascontiguousarray(second.items), coins)
    ranks = np.where((sources == 0)[:, None], _rows(first.ranks, places), _rows(second.ranks, places))
    items = np.where(sources == 0, _rows(first.items, places), _rows(second.items, places))
    n = items.size
    fused = FusedList(items, 1.0 / np.arange(1.0, n + 1.0), ranks)
    return fused, Draw(np.full(n, np.nan), np.full(n, -1, np.int32), team)


def _take(fused: FusedList, places: NDArray[np.int64]) -> FusedList:
    return FusedList(fused.items[places], fused.scores[places], fused.ranks[places])


def _rows(values: Array, places: NDArray[np.int64]) -> Array:
    """The rows at `places`; any row where there is none, which nobody reads."""
    if not len(values):
        return np.zeros((places.size, *values.shape[1:]), values.dtype)
    return values[np.minimum(places, len(values) - 1)]


@kernel
def _draft(first: Array, second: Array, coins: Array) -> tuple[Array, Array, Array]:
    """Which list each place of the answer is taken from, where it stands there, and which team has the credit.

    Args:
        first: item rows, int32 (n,), unique.
        second: item rows, int32 (m,), unique.
        coins: 0 or 1 for each place; the coin of a round's first place decides who drafts first. int8 (k,).
    """
    k = coins.size
    sources, places, team = np.zeros(k, np.int8), np.zeros(k, np.int64), np.full(k, -1, np.int8)
    table = new_table(k)
    positions = np.zeros(2, np.int64)
    size, second_turn = 0, False
    turn = 0
    while size < k:
        for side in range(2):
            items = first if side == 0 else second
            while positions[side] < items.size and table[slot_of(items[positions[side]], table)] >= 0:
                positions[side] += 1
        has_first, has_second = positions[0] < first.size, positions[1] < second.size
        if not has_first and not has_second:
            break
        if has_first and has_second:
            turn = 1 - turn if second_turn else int(coins[size])
            second_turn = not second_turn
            team[size] = turn
        else:
            turn = 0 if has_first else 1
        item = first[positions[turn]] if turn == 0 else second[positions[turn]]
        table[slot_of(item, table)] = entry_of(item, size)
        sources[size], places[size] = turn, positions[turn]
        size += 1
    return sources[:size], places[:size], team[:size]
