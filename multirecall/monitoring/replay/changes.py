"""What another config would change about answers, over all requests, by segment and by arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import FusedBatch
from multirecall.monitoring.replay.groups import Group
from multirecall.monitoring.replay.similarity import overlaps, places_in, rank_biased_overlaps
from multirecall.monitoring.request_log.table_reader import TableReader

NAMED = 10
"""Items that entered or left most often, which a report names."""


@dataclass(slots=True)
class Likeness:
    """How alike answers are, over some requests.

    Attributes:
        requests: their number.
        overlap: the sum of the overlaps, float64 (n_ks,).
        rbo: the sum of the rank-biased overlaps.
        unchanged: requests with the same items in the same order.
    """

    overlap: NDArray[np.float64]
    requests: int = 0
    rbo: float = 0.0
    unchanged: int = 0

    def to_dict(self, ks: Sequence[int]) -> dict[str, Any]:
        """Means, as JSON values."""
        means = (self.overlap / max(self.requests, 1)).tolist()
        return {
            "requests": self.requests,
            "overlap": dict(zip(map(str, ks), means, strict=True)),
            "rbo": self.rbo / max(self.requests, 1),
            "unchanged": self.unchanged,
        }


@dataclass(slots=True)
class Changes:
    """Adds up what changes, group by group.

    Attributes:
        ks: the list lengths of the overlaps.
        persistence: the `p` of the rank-biased overlap.
        all: over all requests.
        segments: by segment.
        arms: by arm.
        entered: items that are in new answers only, with the number of requests.
        left: items that are in old answers only.
    """

    ks: tuple[int, ...]
    persistence: float
    all: Likeness = field(init=False)
    segments: dict[str, Likeness] = field(default_factory=dict)
    arms: dict[str, Likeness] = field(default_factory=dict)
    entered: Counter[Any] = field(default_factory=Counter)
    left: Counter[Any] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.all = self._none()

    def add(self, group: Group, new: FusedBatch, tables: TableReader) -> None:
        """Compare the answers of a group with new ones."""
        old = group.answer
        places = places_in(old.offsets, old.items, new.offsets, new.items)
        back = places_in(new.offsets, new.items, old.offsets, old.items)
        overlap = overlaps(old.offsets, new.offsets, places, self.ks)
        rbo = rank_biased_overlaps(old.offsets, new.offsets, places, self.persistence)
        own = np.arange(new.items.size) - np.repeat(new.offsets[:-1], np.diff(new.offsets))
        moved = np.zeros(len(group), np.bool_)
        np.logical_or.at(moved, np.repeat(np.arange(len(group)), np.diff(new.offsets)), own != places)
        unchanged = ~moved & (np.diff(new.offsets) == np.diff(old.offsets))
        self._add(self.all, overlap, rbo, unchanged)
        for names, kept in ((group.segments, self.segments), (group.arms, self.arms)):
            for name in dict.fromkeys(names):
                part = np.array([one == name for one in names])
                self._add(kept.setdefault(name, self._none()), overlap[part], rbo[part], unchanged[part])
        ids = tables.ids(*group.catalogue)
        for counts, items in ((self.entered, new.items[places < 0]), (self.left, old.items[back < 0])):
            rows, times = np.unique(items, return_counts=True)
            counts.update(dict(zip(ids[rows].tolist(), times.tolist(), strict=True)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "persistence": self.persistence,
            "all": self.all.to_dict(self.ks),
            "segments": {name: one.to_dict(self.ks) for name, one in sorted(self.segments.items())},
            "arms": {name: one.to_dict(self.ks) for name, one in sorted(self.arms.items())},
            "entered": most_common(self.entered.items()),
            "left": most_common(self.left.items()),
        }

    def _none(self) -> Likeness:
        return Likeness(np.zeros(len(self.ks)))

    def _add(
        self, to: Likeness, overlap: NDArray[np.float64], rbo: NDArray[np.float64], unchanged: NDArray[np.bool_]
    ) -> None:
        to.requests += rbo.size
        to.overlap += overlap.sum(0)
        to.rbo += float(rbo.sum())
        to.unchanged += int(unchanged.sum())


def most_common(counts: Iterable[tuple[Any, int]]) -> list[dict[str, Any]]:
    """The items with the highest counts; equal ones in the order of their ids."""
    chosen = sorted(counts, key=lambda one: (-one[1], str(one[0])))[:NAMED]
    return [{"item": item, "requests": n} for item, n in chosen]
