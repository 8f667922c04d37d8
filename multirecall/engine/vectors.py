"""The item vectors that paths compare items by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.engine.path import Path
from multirecall.engine.state import EngineState
from multirecall.errors import RequestError
from multirecall.validation import nearest


def vectors_of(state: EngineState, name: str) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """The ids and vectors of a path's items; see `Engine.vectors`."""
    found = path_named(state, name, "vectors").retriever.item_vectors()
    if found is None:
        having = vector_paths(state)
        remedy = f"name one that has: {', '.join(having)}" if having else "no path of this engine has"
        raise RequestError(f"vectors: path {name!r} has no item vectors; {remedy}")
    rows, vectors = found
    live = np.ones(rows.size, np.bool_) if state.allowed is None else state.allowed[rows]
    return state.data.items.ids.ids(rows[live]), vectors[live]


def path_named(state: EngineState, name: str, call: str) -> Path:
    """The path of this name; `call` begins the error. Raises `RequestError`."""
    path = next((path for path in state.paths if path.name == name), None)
    if path is None:
        raise RequestError(f"{call}: no path is named {name!r}; {nearest(name, state.names)}")
    return path


def vector_paths(state: EngineState) -> tuple[str, ...]:
    """The names of the paths that have item vectors."""
    return tuple(path.name for path in state.paths if path.retriever.item_vectors() is not None)
