"""The engine's answers as the page reads them: ids are text, since a browser cannot hold a whole number of 64 bits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.engine.trace import Barred, Trace
from multirecall.result import Candidates, PathStatus


def columns(found: Candidates) -> dict[str, Any]:
    """A fused list: a column for each figure, and one of ranks and one of contributions for each path."""
    added = found.features().contribution
    shares = None if np.isnan(added).any() else dict(zip(found.paths, np.ascontiguousarray(added.T), strict=True))
    return {
        "ids": as_text(found.ids),
        "scores": np.ascontiguousarray(found.scores),
        "ranks": dict(zip(found.paths, np.ascontiguousarray(found.ranks.T), strict=True)),
        "shares": shares,
        "n_backfilled": found.n_backfilled,
        "shortfall": found.shortfall,
        "status": found.status,
    }


def segment(trace: Trace) -> dict[str, Any] | None:
    """The lengths of the histories that share the user's weights and fusion; None: all do."""
    if not trace.config.segments:
        return None
    bounds = [segment.max_history for segment in trace.config.segments]
    number = len(bounds) if trace.segment is None else trace.segment
    return {
        "above": bounds[number - 1] if number else None,
        "longest": None if trace.segment is None else bounds[number],
    }


def path_values(trace: Trace, name: str, ids: NDArray[Any], barred: Barred | None) -> dict[str, Any]:
    """One path: its place in the config, its status, its list, and what filters took out of it."""
    path = next(one for one in trace.config.paths if one.name == name)
    status: PathStatus = trace.status[name]
    return {
        "name": name,
        "quota": path.quota,
        "weight": trace.weights[name],
        "enabled": path.enabled,
        "dropped": trace.dropped.get(name),
        **asdict(status),
        "ids": as_text(ids),
        "scores": trace.lists[name].scores,
        "barred": None
        if barred is None
        else {
            "ids": as_text(barred.ids),
            "scores": barred.scores,
            "places": barred.places,
            "reasons": barred.reasons,
        },
    }


def as_text(ids: NDArray[Any]) -> list[str]:
    """Ids (n,) as text."""
    return list(map(str, ids.tolist()))


def plain(value: Any) -> Any:
    """The value of a feature as JSON."""
    return value if isinstance(value, str | int | float | bool | list) else str(value)
