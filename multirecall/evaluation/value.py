"""The path value report: the gain in recall by each path, and the latency that it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.config import FUSED
from multirecall.engine import Engine
from multirecall.engine.segments import Segment
from multirecall.evaluation.answers import Retrieved, latencies
from multirecall.evaluation.lengths import history_lengths
from multirecall.evaluation.shapley import EXACT_UP_TO, ORDERS, shapley
from multirecall.evaluation.splits import Split
from multirecall.kernels import Array, kernel
from multirecall.learning.bootstrap import Interval, interval
from multirecall.lists import FusedBatch, RankedBatch
from multirecall.metrics import METRICS, user_metrics
from multirecall.progress import SILENT, Progress

CURVE = (5, 10, 20, 50, 100, 200, 500)
"""The list lengths of the curve of recall over k."""

VALUED_USERS = 2_000
"""Most test users for the Shapley values, which need many fusions; of more users, an even sample is taken."""


@dataclass(frozen=True, slots=True)
class PathValue:
    """The value of one path, at the k of the report.

    Attributes:
        recall: the recall of the path's own list.
        hits: the number of targets in the path's whole lists, over all users.
        unique_hits: the number of these targets that no other path has in its lists.
        loss: the recall that the fused list loses without the path, with its 95 % bootstrap interval.
        shapley: the Shapley value of the path; the values of all paths sum to the fused recall.
        ms: the median latency of the path in single requests, in milliseconds.
        ms_per_extra_hit: `ms` divided by the mean number of hits among the first k that a user loses without the
            path; None where users lose no hit.
    """

    recall: float
    hits: int
    unique_hits: int
    loss: Interval
    shapley: float
    ms: float
    ms_per_extra_hit: float | None


@dataclass(frozen=True, slots=True)
class ValueReport:
    """The value of all paths.

    Attributes:
        split: the name of the split.
        k: the list length of all figures.
        n_users: the number of test users in the figures.
        recall: recall@k of the fusion of all paths, without backfill.
        paths: the value of each path, by name.
        overlap: by path, then path: the share of the first k of the one that is among the first k of the other.
        exact: whether the Shapley values are exact; else they are estimated from random orders.
        curve_ks: the list lengths of `curve`.
        curve: the recall at each of these lengths, by path and for `fused`.
        ms: the median latency of a whole request, in milliseconds.
    """

    split: str
    k: int
    n_users: int
    recall: float
    paths: dict[str, PathValue]
    overlap: dict[str, dict[str, float]]
    exact: bool
    curve_ks: tuple[int, ...]
    curve: dict[str, list[float]]
    ms: float

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def path_values(engine: Engine, lists: Retrieved, k: int, *, progress: Progress = SILENT) -> ValueReport:
    """The value report of lists that `engine` retrieved for a split; subsets of the paths are fused again from memory.

    A path that the learned fusion has dropped adds nothing to the fused list, as in a request.

    Raises:
        RequestError: as `Engine.retrieve`.
    """
    ms = latencies(engine, lists.split, k)
    lists = sample_users(lists, VALUED_USERS)
    split, own_lists = lists.split, lists.paths
    names = tuple(own_lists)
    quotas = [lists.quotas[name] for name in names]
    parts = _by_segment(engine.segments, lists)
    report = engine.fusion_report()
    dropped = {} if report is None else report.dropped

    def fuse(players: Sequence[int], ks: Sequence[int]) -> NDArray[np.float64]:
        """Recall of each user at each k under the fusion of some paths."""
        values = np.zeros((split.users.size, len(ks)))
        for users, part, (_, fusion, weights) in parts if players else ():
            silent = RankedBatch.empty(users.size)
            heard = [number in players and name not in dropped for number, name in enumerate(names)]
            batches = [part.windows[name] if hears else silent for name, hears in zip(names, heard, strict=True)]
            values[users] = recalls(fusion.fuse_batch(batches, weights, quotas, ks[-1]), part.split, ks)
        return values

    most = 2 ** len(names) if len(names) <= EXACT_UP_TO else 2 * ORDERS * len(names)
    with progress.task("evaluate: fusing subsets of paths", most) as advance:

        def value(players: frozenset[int]) -> float:
            advance(1)
            return float(fuse(sorted(players), [k]).mean())

        worth = shapley(len(names), value)
    curve_ks = tuple(sorted({*CURVE, k}))
    everything = fuse(range(len(names)), curve_ks)
    whole = everything[:, curve_ks.index(k)]
    n_targets = np.diff(split.offsets)
    hits, unique = hit_counts(list(own_lists.values()), split)
    paths = {}
    for number, name in enumerate(names):
        others = [other for other in range(len(names)) if other != number]
        without = fuse(others, [k])[:, 0]
        extra = np.rint(whole * n_targets) - np.rint(without * n_targets)  # whole hits, free of rounding errors
        paths[name] = PathValue(
            recall=float(recalls(own_lists[name], split, [k]).mean()),
            hits=int(hits[number]),
            unique_hits=int(unique[number]),
            loss=interval(whole - without),
            shapley=worth.values[number],
            ms=ms[name],
            ms_per_extra_hit=ms[name] / float(extra.mean()) if extra.sum() > 0 else None,
        )
    curves = {name: recalls(batch, split, curve_ks) for name, batch in own_lists.items()} | {FUSED: everything}
    return ValueReport(
        split=split.name,
        k=k,
        n_users=split.users.size,
        recall=float(whole.mean()),
        paths=paths,
        overlap={a: {b: overlap(own_lists[a], own_lists[b], k) for b in names} for a in names},
        exact=worth.exact,
        curve_ks=curve_ks,
        curve={name: values.mean(axis=0).tolist() for name, values in curves.items()},
        ms=ms[FUSED],
    )


def ms_per_hit(value: float | None) -> str:
    """`PathValue.ms_per_extra_hit` as text, – for None."""
    if value is None:
        return "–"
    return f"{value:.3f}" if value < 1_000 else f"{value:,.0f}"


def sample_users(lists: Retrieved, n_users: int) -> Retrieved:
    """The lists of at most `n_users` test users, taken at even distances by position."""
    split = lists.split
    if split.users.size <= n_users:
        return lists
    chosen = np.linspace(0, split.users.size - 1, n_users).astype(np.int64)
    return lists.take(chosen)


def _by_segment(segments: Sequence[Segment], lists: Retrieved) -> list[tuple[NDArray[np.int64], Retrieved, Segment]]:
    """For each segment that has users: their positions, their lists, and what merges these."""
    numbers = np.searchsorted([segment.longest for segment in segments], history_lengths(lists.split))
    groups = {number: np.flatnonzero(numbers == number) for number in np.unique(numbers).tolist()}
    return [(users, lists.take(users), segments[number]) for number, users in groups.items()]


def recalls(lists: RankedBatch | FusedBatch, split: Split, ks: Sequence[int]) -> NDArray[np.float64]:
    """The recall of each user at each k, float64 (n_users, n_ks)."""
    values = user_metrics(lists.offsets, lists.items, split.offsets, split.targets, ks)
    by_user: NDArray[np.float64] = values[METRICS.index("recall")]
    return by_user


def overlap(first: RankedBatch, second: RankedBatch, k: int) -> float:
    """The share of the first k of `first` that is among the first k of `second`; the mean over users with a list."""
    shares = _overlaps(first.offsets, first.items, second.offsets, second.items, k)
    present = ~np.isnan(shares)
    return float(shares[present].mean()) if present.any() else 0.0


def hit_counts(batches: Sequence[RankedBatch], split: Split) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The hits of each path, and its hits that no other path has, over whole lists and all users; int64 (n_paths,)."""
    found = np.stack([_find_targets(batch.offsets, batch.items, split.offsets, split.targets) for batch in batches])
    return found.sum(axis=1), (found & (found.sum(axis=0) == 1)).sum(axis=1)


@kernel
def _overlaps(offsets_a: Array, items_a: Array, offsets_b: Array, items_b: Array, k: int) -> Array:
    out = np.full(offsets_a.size - 1, np.nan)
    for user in range(out.size):
        a = items_a[offsets_a[user] : min(offsets_a[user + 1], offsets_a[user] + k)]
        b = np.sort(items_b[offsets_b[user] : min(offsets_b[user + 1], offsets_b[user] + k)])
        common = 0
        for item in a:
            place = np.searchsorted(b, item)
            common += place < b.size and b[place] == item
        if a.size:
            out[user] = common / a.size
    return out


@kernel
def _find_targets(offsets: Array, items: Array, target_offsets: Array, targets: Array) -> Array:
    found = np.zeros(targets.size, np.bool_)
    for user in range(offsets.size - 1):
        start = target_offsets[user]
        own = targets[start : target_offsets[user + 1]]
        for item in items[offsets[user] : offsets[user + 1]]:
            place = np.searchsorted(own, item)
            if place < own.size and own[place] == item:
                found[start + place] = True
    return found
