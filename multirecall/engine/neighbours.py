"""The items that paths find like an item."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.engine.path import Path
from multirecall.engine.state import EngineState
from multirecall.engine.vectors import path_named
from multirecall.errors import RequestError
from multirecall.progress import Progress
from multirecall.topk import ALL_ALLOWED, NO_ROWS

ASKED_TOGETHER = 1_000
"""Items that a path is asked for in one call."""

Neighbours = tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]


def neighbours_of(state: EngineState, name: str, k: int, progress: Progress) -> Neighbours:
    """Ids of items, of their neighbours, and the scores; see `Engine.neighbours`."""
    path = path_named(state, name, "neighbours")
    allowed = ALL_ALLOWED if state.allowed is None else state.allowed[: path.n_items]
    rows = np.arange(path.n_items, dtype=np.int32) if state.allowed is None else np.flatnonzero(allowed)
    parts = []
    with progress.task(f"{name}: neighbours of items", rows.size) as advance:
        for start in range(0, rows.size, ASKED_TOGETHER):
            asked = rows[start : start + ASKED_TOGETHER].astype(np.int32)
            found = path.retriever.similar_items(asked, k, [(NO_ROWS, allowed)] * asked.size)
            if found is None:
                break
            parts.append((np.repeat(asked, np.diff(found.offsets)), found.items, found.scores))
            advance(asked.size)
    if not parts:
        having = neighbour_paths(state)
        remedy = f"name one that does: {', '.join(having)}" if having else "no path of this engine does"
        raise RequestError(f"neighbours: path {name!r} does not compare items; {remedy}")
    items, neighbours, scores = map(np.concatenate, zip(*parts, strict=True))
    ids = state.data.items.ids
    return ids.ids(items), ids.ids(neighbours), scores


def neighbour_paths(state: EngineState) -> tuple[str, ...]:
    """The names of the paths that compare items."""
    return tuple(path.name for path in state.paths if compares_items(path))


def compares_items(path: Path) -> bool:
    """Whether a path can say which items are like an item."""
    return path.retriever.similar_items(NO_ROWS, 1) is not None
