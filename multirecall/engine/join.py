"""Several batches as one, whose users come from any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from multirecall.candidate_features import MixedProposals, Proposals
from multirecall.lists import FusedBatch
from multirecall.result import CandidateBatch, PathStatus, State

T = TypeVar("T")

BEST_FIRST: tuple[State, ...] = ("dropped", "ok", "skipped", "late", "failed")
"""The states of a path; that of a joined batch is the last one of its parts."""


def join_batches(parts: Sequence[tuple[CandidateBatch, NDArray[np.int64]]]) -> CandidateBatch:
    """One batch of all users.

    Args:
        parts: batches over the same paths, each with the positions of its users in the joined batch, int64 (n,).
    """
    batches = [batch for batch, _ in parts]
    if len(batches) == 1:
        return batches[0]
    kept = [batch._proposals for batch in batches]
    order = np.argsort(np.concatenate([places for _, places in parts]))

    def pick(columns: Sequence[Sequence[T]]) -> tuple[T, ...]:
        every = [one for column in columns for one in column]
        return tuple(every[place] for place in order.tolist())

    fused = FusedBatch.concat([FusedBatch(one.offsets, one.items, one.scores, one.ranks) for one in batches]).take(
        order
    )
    return replace(
        batches[0],
        user_ids=pick([one.user_ids for one in batches]),
        offsets=fused.offsets,
        items=fused.items,
        scores=fused.scores,
        ranks=fused.ranks,
        status={path: _worst([one.status[path] for one in batches]) for path in batches[0].status},
        n_backfilled=np.concatenate([one.n_backfilled for one in batches])[order],
        shortfall=np.concatenate([one.shortfall for one in batches])[order],
        known=np.concatenate([one.known for one in batches])[order],
        unknown_items=pick([one.unknown_items for one in batches]),
        variants=pick([one.variants for one in batches]),
        draws=pick([one.draws for one in batches]),
        _proposals=MixedProposals.of([one for one in kept if isinstance(one, Proposals)]).take(order),
    )


def _worst(statuses: Sequence[PathStatus]) -> PathStatus:
    worst = max(statuses, key=lambda one: BEST_FIRST.index(one.state))
    return PathStatus(worst.state, sum(one.count for one in statuses), sum(one.ms for one in statuses), worst.detail)
