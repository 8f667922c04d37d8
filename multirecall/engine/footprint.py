"""The time that each path took to fit, and the memory that it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from multirecall.config import FALLBACK
from multirecall.data import Dataset
from multirecall.engine.bundle.versions import current_name
from multirecall.engine.state import EngineState


def held_bytes(retriever: object, data: Dataset) -> int:
    """The bytes of all arrays that a retriever holds. Each counts once; those of the dataset do not count."""
    met: set[int] = set()
    packages = ("multirecall", "scipy", type(retriever).__module__.partition(".")[0])
    _reach(data, met, packages)
    return _reach(retriever, met, packages)


def footprints(state: EngineState) -> list[tuple[str, list[str]]]:
    """The quota, the seconds of the fit and the memory of each path, as text."""
    return [
        (path.name, [f"{path.quota:,}", seconds(path.fit_seconds), size(held_bytes(path.retriever, state.data))])
        for path in state.paths
    ]


def saved_bytes(folder: Path) -> dict[str, int]:
    """The bytes of the files of each path, of `fallback` and of `data` in the current version of a bundle."""
    version = folder / current_name(folder)
    parts = {"data": version / "data", FALLBACK: version / FALLBACK}
    parts |= {path.name: path for path in (version / "paths").iterdir()}
    return {
        name: sum(file.stat().st_size for file in part.rglob("*") if file.is_file()) for name, part in parts.items()
    }


def seconds(value: float | None) -> str:
    """Seconds as text."""
    return "–" if value is None else f"{value:.1f} s"


def size(n_bytes: int) -> str:
    """Bytes as text, in the unit that suits them."""
    return f"{n_bytes / 2**20:,.1f} MiB" if n_bytes >= 2**20 else f"{n_bytes / 2**10:,.1f} KiB"


def _reach(start: object, met: set[int], packages: tuple[str, ...]) -> int:
    """Bytes of the arrays below `start` that are not `met` yet; only objects of `packages` are looked into."""
    total, waiting = 0, [start]
    while waiting:
        one = waiting.pop()
        while isinstance(one, np.ndarray) and isinstance(one.base, np.ndarray):
            one = one.base
        if id(one) in met or isinstance(one, type):
            continue
        met.add(id(one))
        if isinstance(one, np.ndarray):
            total += one.nbytes
        else:
            waiting += _parts(one, packages)
    return total


def _parts(one: Any, packages: tuple[str, ...]) -> list[Any]:
    if isinstance(one, list | tuple | set | frozenset):
        return list(one)
    if isinstance(one, dict):
        return list(one.values())
    if type(one).__module__.partition(".")[0] not in packages:
        return []
    slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*getattr(one, "__dict__", {}).values(), *(getattr(one, name, None) for name in slots)]
