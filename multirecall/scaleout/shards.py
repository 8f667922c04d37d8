"""The paths of an engine whose retrievers stand in shards: what is asked of them, and how their lists become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.engine.deadline import Deadline
from multirecall.engine.path import Outcome, Path
from multirecall.errors import PathError
from multirecall.lists import RankedBatch, RankedList
from multirecall.protocols import Reason
from multirecall.query import Filter, Query
from multirecall.result import State
from multirecall.scaleout.gather import Missing, gather
from multirecall.scaleout.latencies import Latencies
from multirecall.scaleout.layout import Layout
from multirecall.scaleout.owners import owners_of
from multirecall.scaleout.queries import pack_queries, unpack_outcomes
from multirecall.scaleout.replicas import Replicas
from multirecall.scaleout.wire import pack
from multirecall.topk import top_k
from multirecall.vocabulary import Id

PATIENCE_S = 10.0
"""Seconds after which a request without a deadline goes on without the shards that have not answered."""

SHARE_OF_TIME = 0.9
"""The share of the time that is left which the shards have; in the rest their lists are merged and fused."""


class Shards:
    """Answers for the paths of an engine: an `Elsewhere`. Any number of threads may call it."""

    def __init__(self, layout: Layout, replicas: Replicas) -> None:
        self.layout = layout
        self.replicas = replicas
        self._latencies = Latencies()

    def ask(
        self, paths: Sequence[Path], windows: Sequence[int], query: Query, deadline: Deadline
    ) -> list[Outcome[RankedList]]:
        """As `Elsewhere.ask`."""
        if deadline.passed:
            return [path.out_of_time(deadline) if path.dropped is None else path.drop_outcome() for path in paths]
        left = deadline.left_s
        limit_s = PATIENCE_S if left is None else left
        outcomes = self._ask(paths, windows, [query], limit_s, deadline.limit_ms is not None, batch=False)
        return [
            Outcome(
                None if one.ranked is None else one.ranked[0],
                one.state,
                one.ms,
                one.detail,
                one.callers or (one.state == "late" and deadline.hasty),
                one.deployed,
            )
            for one in outcomes
        ]

    def ask_batch(
        self, paths: Sequence[Path], windows: Sequence[int], queries: Sequence[Query]
    ) -> list[Outcome[RankedBatch]]:
        """As `Elsewhere.ask_batch`."""
        if not queries:
            return [Outcome(RankedBatch.empty(0), "ok", 0.0) for _ in paths]
        return self._ask(paths, windows, queries, PATIENCE_S * (1.0 + len(queries) / 100), bounded=False, batch=True)

    def similar(self, name: str, items: NDArray[np.int32], k: int, filters: Sequence[Filter] | None) -> RankedBatch:
        """As `Retriever.similar_items`, of the path `name`.

        Raises:
            PathError: a shard does not answer.
        """
        excluded = [rows for rows, _ in filters or ()] or [np.empty(0, np.int32)] * items.size
        bitmap = filters[0][1] if filters else np.empty(0, np.bool_)
        arrays: dict[str, NDArray[Any]] = {
            "items": items,
            "excluded": offsets_of([rows.size for rows in excluded]),
            "exclude": np.concatenate([np.empty(0, np.int32), *excluded]),
        }
        if bitmap.size:
            arrays["allowed"] = np.packbits(bitmap)
        message = pack({"path": name, "k": k, "n_allowed": bitmap.size}, arrays)
        parts = []
        for shard, answer in gather(self.replicas, self._homes([name]), "similar", message, PATIENCE_S).items():
            if isinstance(answer, Missing):
                raise PathError(f"path {name!r}: shard {shard}: {answer.why}")
            parts.append(RankedBatch(answer[1]["offsets"], answer[1]["items"], answer[1]["scores"]))
        return merge(parts, k, items.size)

    def explain(self, name: str, query: Query, item: int, item_id: Id) -> Reason | None:
        """As `Retriever.explain`, of the path `name`, by the shard that has the item."""
        place = self.layout.paths[name].shard
        shard = int(self._owners([item_id])[0]) if place is None else place
        message = pack_queries([query], path=name, item=item)
        answer = gather(self.replicas, [shard], "explain", message, PATIENCE_S)[shard]
        if isinstance(answer, Missing):
            return Reason(f"shard {shard} cannot explain it: {answer.why}")
        values, arrays = answer
        return None if values["text"] is None else Reason(values["text"], arrays["items"])

    def _owners(self, ids: Sequence[Id]) -> NDArray[np.int32]:
        return owners_of(ids, len(self.layout.shards), self.layout.seed)

    def _homes(self, names: Sequence[str]) -> list[int]:
        """The shards on which these paths stand."""
        places = {self.layout.paths[name].shard for name in names}
        everywhere = range(len(self.layout.shards))
        return list(everywhere) if None in places else sorted(place for place in places if place is not None)

    def _ask(
        self,
        paths: Sequence[Path],
        windows: Sequence[int],
        queries: Sequence[Query],
        limit_s: float,
        bounded: bool,
        batch: bool,
    ) -> list[Outcome[RankedBatch]]:
        asked = [(path.name, window) for path, window in zip(paths, windows, strict=True) if path.dropped is None]
        names = [name for name, _ in asked]
        message = pack_queries(
            queries,
            seq=self.replicas.seq,
            paths=names,
            windows=[window for _, window in asked],
            limit_ms=limit_s * SHARE_OF_TIME * 1e3 if bounded else None,
            batch=batch,
            similar=bool(paths) and paths[0].similar,
        )
        latencies = None if batch else self._latencies
        answers = gather(self.replicas, self._homes(names), "ask", message, limit_s, latencies) if asked else {}
        parts = {
            shard: answer if isinstance(answer, Missing) else unpack_outcomes(*answer)
            for shard, answer in answers.items()
        }
        return [
            path.drop_outcome() if path.dropped is not None else self._outcome(path, window, parts, len(queries))
            for path, window in zip(paths, windows, strict=True)
        ]

    def _outcome(
        self,
        path: Path,
        window: int,
        parts: Mapping[int, Missing | Mapping[str, Outcome[RankedBatch]]],
        n_users: int,
    ) -> Outcome[RankedBatch]:
        """What the shards say for one path, as the outcome of one call, which is counted."""
        found = {shard: _of_path(parts[shard], path.name) for shard in self._homes([path.name])}
        outcome = join_outcomes(found, window, n_users, path.n_items)
        if not outcome.callers:
            path.breaker.count(outcome.state, None if outcome.state == "ok" else outcome.detail)
        return outcome


def _of_path(part: Missing | Mapping[str, Outcome[RankedBatch]], name: str) -> Outcome[RankedBatch]:
    if isinstance(part, Missing):
        return Outcome(None, "late" if part.late else "failed", 0.0, part.why)
    return part[name]


def join_outcomes(
    found: Mapping[int, Outcome[RankedBatch]], window: int, n_users: int, n_items: int
) -> Outcome[RankedBatch]:
    """What the shards of a path say, as one outcome.

    Args:
        found: the outcome of each shard.
        window: the most items of a list.
        n_users: the number of lists.
        n_items: the number of items that the request knows; shards may already have more.
    """
    lists = [one.ranked for one in found.values() if one.ranked is not None]
    faults = {shard: one for shard, one in found.items() if one.state != "ok" or one.detail}
    ms = max(one.ms for one in found.values())
    detail = "; ".join(f"shard {shard}: {one.state}: {one.detail}" for shard, one in faults.items()) or None
    if not lists:
        worst = _worst([one.state for one in found.values()])
        callers = all(one.callers for one in found.values())
        return Outcome(None, worst, ms, detail, callers, any(one.deployed for one in found.values()))
    known = [_known(batch, n_items) for batch in lists]
    state: State = "ok" if len(lists) == len(found) and all(one.state == "ok" for one in found.values()) else "partial"
    return Outcome(merge(known, window, n_users), state, ms, detail)


def merge(parts: Sequence[RankedBatch], window: int, n_users: int) -> RankedBatch:
    """The first `window` items of each user in the lists of all shards, by the ordering rule."""
    if len(parts) == 1:
        return parts[0].heads(window)
    merged = []
    for user in range(n_users):
        lists = [part[user] for part in parts]
        items = np.concatenate([np.empty(0, np.int32), *(one.items for one in lists)])
        scores = np.concatenate([np.empty(0, np.float32), *(one.scores for one in lists)])
        merged.append(RankedList(*top_k(items, scores, window)))
    return RankedBatch.from_lists(merged)


def _known(batch: RankedBatch, n_items: int) -> RankedBatch:
    known = batch.items < n_items
    return batch if known.all() else batch.keep(known)


def _worst(states: Sequence[State]) -> State:
    for state in ("late", "failed", "skipped"):
        if state in states:
            return state
    return states[0]
