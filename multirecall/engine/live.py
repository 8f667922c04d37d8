"""Live changes: how one engine state becomes the next without a refit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import polars as pl

from multirecall.data import Change, Changes
from multirecall.data.apply import apply_change
from multirecall.engine.path import Path, fault_text
from multirecall.engine.segments import windows_of
from multirecall.engine.state import EngineState, allowed_of, removed_rows
from multirecall.errors import DataError
from multirecall.protocols import Retriever

_log = logging.getLogger("multirecall.engine")


REMOVALS = ("remove_interactions", "remove_users")


def apply_changes(
    state: EngineState,
    changes: Sequence[Change],
    found: dict[Change, int] | None = None,
    *,
    committing: bool = False,
) -> EngineState:
    """Return the state after these changes. The state before goes on answering as it did.

    A retriever that cannot take a change goes stale: it answers as before and gets no further changes;
    `health` says so.

    Args:
        state: the state before.
        changes: in order.
        found: an output; for each change of `REMOVALS`, the number of events or users that it took back.
        committing: whether the changes are not acknowledged yet. Only then can a retriever refuse one.

    Raises:
        DataError: a retriever refused a change with one, while `committing`.
    """
    for change in _join_events(changes):
        told = apply_change(state.data, change)
        if found is not None and change.kind in REMOVALS:
            found[change] = told.n_taken_back
        state = replace(apply_told(state, told, committing), forgetting=state.forgetting | (change.kind in REMOVALS))
    windows = windows_of(state.segments, state.paths, state.data)
    return replace(state, windows=windows, data_version=state.data_version + len(changes))


def apply_told(state: EngineState, told: Changes, committing: bool = False) -> EngineState:
    """Return the state after one change, given what it does to the data; `committing` as in `apply_changes`."""
    data = told.data
    same = data.removed is state.data.removed
    successors: dict[int, Retriever] = {}
    return replace(
        state,
        data=data,
        allowed=state.allowed if same else allowed_of(data),
        removed=state.removed if same else removed_rows(data),
        paths=tuple(_change_path(path, told, committing, successors) for path in state.paths),
        fallback=replace(_change_path(state.fallback, told, committing, successors), quota=data.n_items),
    )


def _join_events(changes: Sequence[Change]) -> list[Change]:
    """Join consecutive changes that add events with the same columns, so that one state is made for all of them."""
    joined: list[Change] = []
    for (kind, _), run in groupby(changes, key=lambda change: (change.kind, change.frame.schema)):
        if kind == "add_interactions":
            joined.append(_one(list(run)))
        else:
            joined.extend(run)
    return joined


def _one(changes: list[Change]) -> Change:
    notes = dict.fromkeys(note for change in changes for note in change.notes)
    return Change(changes[0].kind, pl.concat([change.frame for change in changes]), tuple(notes))


def _change_path(path: Path, changes: Changes, committing: bool, successors: dict[int, Retriever]) -> Path:
    """The path after a change; `successors` has what each retriever, by `id`, became, for others that have the same."""
    data = changes.data
    if not path.retriever.live or path.stale:
        return replace(path, behind=path.n_items < data.n_items or path.n_users < data.n_users)
    if changes.takes_back and "interactions" in path.retriever.live and "removals" not in path.retriever.live:
        stale = "it cannot take back what it has counted; refresh() fits it anew"
        _log.warning("path %r serves as before: %s", path.name, stale)
        return _change_path(replace(path, stale=stale), changes, committing, successors)
    try:
        retriever = successors.get(id(path.retriever)) or path.retriever.with_changes(changes)
        if not isinstance(retriever, Retriever):
            raise TypeError(f"with_changes returned a {type(retriever).__name__}, not a retriever")
        successors[id(path.retriever)] = retriever
    except Exception as fault:  # noqa: BLE001 - a plug-in that fails must not lose an acknowledged change
        if committing and isinstance(fault, DataError):
            raise DataError(f"path {path.name!r} cannot take the change: {fault}") from None
        stale = f"it could not take a live change ({fault_text(fault)}); refresh() fits it anew"
        _log.warning("path %r serves as before: %s", path.name, stale)
        return _change_path(replace(path, stale=stale), changes, committing, successors)
    return replace(path, retriever=retriever, n_items=data.n_items, n_users=data.n_users)
