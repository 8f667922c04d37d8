"""Evaluating a fitted engine on a split, for every path and for the fused list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Interactions
from multirecall.engine import Engine
from multirecall.errors import RequestError
from multirecall.evaluation.metrics import METRICS, coverage, novelty, user_metrics
from multirecall.evaluation.splits import Split
from multirecall.lists import RankedBatch
from multirecall.progress import SILENT, Progress

FUSED = "fused"
CHUNK = 500
"""Users that are asked for together."""


@dataclass(frozen=True, slots=True)
class Report:
    """Means over test users.

    Attributes:
        split: how the data were split.
        n_users: test users.
        n_targets: pairs of a test user and a target.
        n_unknown_users: test users that are not in the training log.
        unreachable: share of targets that the training catalogue does not have.
        ks: list lengths.
        figures: by list (a path's name, or `fused`), then metric, then k as in `ks`.
    """

    split: str
    n_users: int
    n_targets: int
    n_unknown_users: int
    unreachable: float
    ks: tuple[int, ...]
    figures: dict[str, dict[str, list[float]]]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def evaluate(engine: Engine, split: Split, ks: Sequence[int] = (20, 100), *, progress: Progress = SILENT) -> Report:
    """Ask a fitted engine for every test user of `split`, and score each path's own list and the fused one.

    A path's list ends at its quota; the fused list includes what the fallback refills.

    Raises:
        RequestError: the engine was not fitted on the training part, or a k is < 1.
    """
    ks = tuple(sorted(set(ks)))
    if not ks or ks[0] < 1:
        raise RequestError(f"ks must be whole numbers > 0, got {list(ks)}")
    if engine.data is not split.train:
        raise RequestError("evaluate: the engine must be fitted on split.train, else it knows what it is asked for")
    chunks: dict[str, list[RankedBatch]] = {name: [] for name in (*engine.paths, FUSED)}
    with progress.task("evaluate: users", split.users.size) as advance:
        for start in range(0, split.users.size, CHUNK):
            users = split.users[start : start + CHUNK]
            for name, batch in engine.path_lists(users, seen=split.seen).items():
                chunks[name].append(batch)
            fused = engine.retrieve_batch(users, ks[-1], seen=split.seen)
            rows = engine.data.items.ids.rows(fused.ids)
            chunks[FUSED].append(RankedBatch(fused.offsets, rows, fused.scores.astype(np.float32)))
            advance(users.size)
    shares = _shares(split.train.interactions)
    return Report(
        split=split.name,
        n_users=split.users.size,
        n_targets=split.targets.size,
        n_unknown_users=split.n_unknown_users,
        unreachable=split.unreachable,
        ks=ks,
        figures={name: _figures(RankedBatch.joined(parts), split, ks, shares) for name, parts in chunks.items()},
    )


def _figures(
    lists: RankedBatch, split: Split, ks: tuple[int, ...], shares: NDArray[np.float64]
) -> dict[str, list[float]]:
    values = user_metrics(lists.offsets, lists.items, split.offsets, split.targets, ks).mean(axis=1)
    figures = {metric: row.tolist() for metric, row in zip(METRICS, values, strict=True)}
    figures["coverage"] = [coverage(lists.offsets, lists.items, split.train.n_items, k) for k in ks]
    figures["novelty"] = [novelty(lists.offsets, lists.items, shares, k) for k in ks]
    return figures


def _shares(log: Interactions) -> NDArray[np.float64]:
    """The share of training users who chose each item; an item that nobody chose counts as chosen by one."""
    pairs = np.bincount(log.matrix.indices, minlength=log.n_items)
    active = max(int((np.diff(log.offsets) > 0).sum()), 1)
    return np.maximum(pairs, 1) / active
