"""Evaluating a fitted engine on a split, for every path and for the fused list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.config import FUSED
from multirecall.engine import Engine
from multirecall.errors import RequestError
from multirecall.evaluation.answers import Retrieved, retrieve_lists
from multirecall.evaluation.catalogue import (
    CATALOGUE_METRICS,
    catalogue_metrics,
    choice_shares,
    exposure,
    long_tail,
)
from multirecall.evaluation.diversity import diversity, feature_rows
from multirecall.evaluation.gain import COMPARED, FusionGain, fusion_gains
from multirecall.evaluation.lengths import history_lengths
from multirecall.evaluation.splits import Split
from multirecall.learning.bootstrap import intervals
from multirecall.learning.segments import history_segments
from multirecall.lists import RankedBatch
from multirecall.metrics import METRICS, user_metrics
from multirecall.progress import SILENT, Progress

DIVERSITY = "diversity"
Figures = dict[str, dict[str, list[float]]]
"""Means by list (the name of a path, or `fused`), then metric, then k."""


@dataclass(frozen=True, slots=True)
class SegmentFigures:
    """Means over the test users of one segment."""

    name: str
    n_users: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Report:
    """Means over test users.

    Attributes:
        split: the name of the split.
        n_users: the number of test users.
        n_targets: the number of pairs of a test user and a target.
        n_unknown_users: the number of test users that are not in the training log.
        unreachable: the share of targets that the training catalogue lacks.
        ks: the list lengths.
        figures: the means by list (the name of a path, or `fused`), then metric, then k as in `ks`; `diversity` only
            where items have features.
        intervals: the bounds [low, high] of each mean, in the same order: 95 % bootstrap intervals over users.
        segments: the means over the users of each segment by history length.
        statement: the numbers of events, users and targets of the split, in words.
        gain: the gain in recall of the fused list over the best path at the largest k; None with one path, or without
            a fused list.
        gains: the gain over the best path in recall and NDCG at each k; the best path is that of the metric and k.
    """

    split: str
    n_users: int
    n_targets: int
    n_unknown_users: int
    unreachable: float
    ks: tuple[int, ...]
    figures: Figures
    intervals: dict[str, dict[str, list[list[float]]]]
    segments: tuple[SegmentFigures, ...]
    statement: str
    gain: FusionGain | None
    gains: tuple[FusionGain, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        own = {"gain": self.gain.to_dict() if self.gain else None, "gains": [one.to_dict() for one in self.gains]}
        return asdict(self) | own


def evaluate(engine: Engine, split: Split, ks: Sequence[int] = (20, 100), *, progress: Progress = SILENT) -> Report:
    """Retrieve lists for every test user of `split`, and compute the metrics of each path's own list and the fused one.

    A path's list ends at its quota; the fused list includes backfill.

    Raises:
        RequestError: the engine was not fitted on the training part, or a k is < 1.
    """
    ks = check_ks(ks)
    return score_lists(retrieve_lists(engine, split, ks[-1], progress=progress), ks)


def score_lists(lists: Retrieved, ks: Sequence[int]) -> Report:
    """The report on lists from `retrieve_lists`, at list lengths `ks`."""
    split, ks = lists.split, check_ks(ks)
    batches = dict(lists.paths)
    if lists.fused is not None:
        batches[FUSED] = lists.fused
    rows = feature_rows(split.train.items)
    by_user = {name: _user_values(batch, split, ks, rows) for name, batch in batches.items()}
    metrics = METRICS if rows is None else (*METRICS, DIVERSITY)
    shares, tail = choice_shares(split.train.interactions), long_tail(split.train.interactions)
    figures: Figures = {}
    for name, batch in batches.items():
        shown = exposure(batch.offsets, batch.items, split.train.n_items, ks)
        figures[name] = _means(by_user[name], metrics) | {
            metric: row.tolist()
            for metric, row in zip(CATALOGUE_METRICS, catalogue_metrics(shown, shares, tail), strict=True)
        }
    lengths = history_lengths(split)
    segments = []
    for segment in history_segments(lengths):
        members = segment.members(lengths)
        means = {name: _means(values[:, members], metrics) for name, values in by_user.items()}
        segments.append(SegmentFigures(str(segment), int(members.sum()), means))
    compared = [METRICS.index(metric) for metric in COMPARED]
    gains = fusion_gains({name: values[compared] for name, values in by_user.items()}, COMPARED, ks)
    return Report(
        split=split.name,
        n_users=split.users.size,
        n_targets=split.targets.size,
        n_unknown_users=split.n_unknown_users,
        unreachable=split.unreachable,
        ks=tuple(ks),
        figures=figures,
        intervals=_bounds(by_user, metrics, len(ks)),
        segments=tuple(segments),
        statement=split.describe(),
        gain=next((one for one in gains if (one.metric, one.k) == ("recall", ks[-1])), None),
        gains=gains,
    )


def check_ks(ks: Sequence[int]) -> tuple[int, ...]:
    """The distinct list lengths, ascending.

    Raises:
        RequestError: there is none, or one is not a whole number from 1 to 2**31 - 1.
    """
    if not ks or not all(isinstance(k, int) and 0 < k < 2**31 for k in ks):
        raise RequestError(f"k must be a whole number > 0 and < 2**31, got {list(ks)}")
    return tuple(sorted(set(ks)))


def _user_values(lists: RankedBatch, split: Split, ks: tuple[int, ...], rows: csr_array | None) -> NDArray[np.float64]:
    """The metrics of each user, float64 (n_metrics, n_users, n_ks); diversity is last if `rows` is given."""
    values = user_metrics(lists.offsets, lists.items, split.offsets, split.targets, ks)
    if rows is None:
        return values
    return np.concatenate([values, diversity(lists.offsets, lists.items, rows, ks)[None]])


def _means(values: NDArray[np.float64], metrics: Sequence[str]) -> dict[str, list[float]]:
    present = ~np.isnan(values)
    means = np.where(present, values, 0.0).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    return {metric: row.tolist() for metric, row in zip(metrics, means, strict=True)}


def _bounds(
    by_user: dict[str, NDArray[np.float64]], metrics: Sequence[str], n_ks: int
) -> dict[str, dict[str, list[list[float]]]]:
    """The bounds of every mean; all lists use the same bootstrap resamples of users."""
    columns = np.concatenate([np.moveaxis(values, 1, 0).reshape(values.shape[1], -1) for values in by_user.values()], 1)
    bounds = intervals(columns).T.reshape(len(by_user), len(metrics), n_ks, 2)
    return {
        name: {metric: bounds[number, row].tolist() for row, metric in enumerate(metrics)}
        for number, name in enumerate(by_user)
    }
