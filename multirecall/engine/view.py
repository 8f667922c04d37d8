"""The calls of an engine that ask nothing of its paths for a user: what it serves, and how its items compare."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.config import EngineConfig
from multirecall.data import Dataset
from multirecall.display import html_table
from multirecall.engine.attached import Attached
from multirecall.engine.cache import ResultCache
from multirecall.engine.footprint import footprints
from multirecall.engine.neighbours import Neighbours, neighbour_paths, neighbours_of
from multirecall.engine.request import read_size
from multirecall.engine.segments import Segment
from multirecall.engine.state import Blueprint, EngineState
from multirecall.engine.vectors import vector_paths, vectors_of
from multirecall.errors import ConfigError, NotFitted
from multirecall.learning.report import FusionReport
from multirecall.progress import SILENT, Progress


class EngineView(Attached):
    """The state of an engine, and the calls that show it."""

    def __init__(self, config: EngineConfig | None = None) -> None:
        if not isinstance(config, EngineConfig | None):
            raise ConfigError(f"Engine: got a {type(config).__name__}; pass an EngineConfig, or use Engine.from_toml")
        self.config = config or EngineConfig()
        self._blueprint = Blueprint.of(self.config)
        self._state: EngineState | None = None
        self._cache = _new_cache(self.config)
        super().__init__()

    def fusion_report(self) -> FusionReport | None:
        """What the last fit learned: settings, the paths that stay, the fusion, and why; None: nothing was left open.

        Raises:
            NotFitted: the engine has nothing to serve.
        """
        learned = self._current().learned
        return None if learned is None else learned.report

    def vectors(self, path: str) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """The item vectors of a path: item ids (n,), and a vector for each in the same order, float32 (n, dim).

        The vectors are those that the path compares, so they have length 1 if it compares by cosine. Items without a
        vector and removed items are left out.

        Raises:
            RequestError: no path has that name, or it has no item vectors.
        """
        return vectors_of(self._current(), path)

    @property
    def vector_paths(self) -> tuple[str, ...]:
        """The names of the paths that have item vectors, in order; raises `NotFitted`."""
        return vector_paths(self._current())

    def neighbours(self, path: str, k: int = 100, *, progress: Progress = SILENT) -> Neighbours:
        """The items that a path finds most like each item, at most `k` for each.

        A path over vectors compares them by cosine; any other gives what it proposes after the item alone. Removed
        items, and items that the path does not know, are left out.

        Returns:
            Item ids (n,), those of their neighbours (n,) and the scores, float32 (n,): item by item, best first.

        Raises:
            RequestError: no path has that name, it compares no items, or `k` is no whole number > 0.
        """
        return neighbours_of(self._current(), path, read_size(k, k), progress)

    @property
    def neighbour_paths(self) -> tuple[str, ...]:
        """The names of the paths that `neighbours` can ask, in order; raises `NotFitted`."""
        return neighbour_paths(self._current())

    @property
    def data(self) -> Dataset:
        """The dataset that the engine serves.

        Raises:
            NotFitted: the engine serves nothing yet.
        """
        return self._current().data

    @property
    def data_version(self) -> int:
        """The number of the data that the engine serves, as in `health()`; raises `NotFitted`."""
        return self._current().data_version

    @property
    def paths(self) -> tuple[str, ...]:
        """The names of the paths that serve, in order; raises `NotFitted`."""
        return self._current().names

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What merges the lists of users, by the length of their history; for measuring. Raises `NotFitted`."""
        return self._current().segments

    def _current(self) -> EngineState:
        state = self._state
        if state is None:
            raise NotFitted("the engine has nothing to serve: call fit(data), or Engine.load(folder)")
        return state

    @property
    def _version_name(self) -> str | None:
        """The name of the version of the bundle that is served, or None without a bundle."""
        return None

    def __repr__(self) -> str:
        state = self._state
        if state is None:
            return f"<Engine: nothing to serve; paths {', '.join(self._blueprint.names)}>"
        return f"<Engine: paths {', '.join(state.names)}; {state.data.sizes}>"

    def _repr_html_(self) -> str:
        state = self._state
        if state is None:
            return html_table(["path", "state"], [[name, "not fitted"] for name in self._blueprint.names], 0)
        rows = [[name, *cells] for name, cells in footprints(state)]
        return f"<p>{state.data.sizes}</p>{html_table(['path', 'quota', 'fitted in', 'memory'], rows, len(rows))}"

    def _adopt(self, blueprint: Blueprint) -> None:
        """Let requests go by another config, whose state is about to be published; raises `RequestError`."""
        self._refuse_paths_beside_variants(blueprint.names)
        if blueprint.config.cache_size != self.config.cache_size:
            self._cache = _new_cache(blueprint.config)
        self.config, self._blueprint = blueprint.config, blueprint

    def _publish(self, state: EngineState | None) -> None:
        """Let requests see this state; None: nothing is served any more."""
        if state is not None:
            state.serve()
        replaced, self._state = self._state, state
        if self._cache is not None:
            self._cache.clear()
        if replaced is not None:
            replaced.close(state)


def _new_cache(config: EngineConfig) -> ResultCache | None:
    return ResultCache(config.cache_size) if config.cache_size else None
