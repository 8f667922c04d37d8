"""The engine."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.config import EngineConfig
from multirecall.data import Dataset
from multirecall.engine import bundle
from multirecall.engine.deadline import Deadline
from multirecall.engine.explain import explained
from multirecall.engine.export import write_candidates
from multirecall.engine.fuse import fused_batch
from multirecall.engine.refill import refilled, refilled_batch
from multirecall.engine.request import listed, read_filters, read_queries, read_query
from multirecall.engine.runner import run_batch, run_paths
from multirecall.engine.state import Blueprint, EngineState, fitted
from multirecall.engine.warmup import warm_up
from multirecall.errors import ConfigError, NotFitted, PathError, RequestError
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress, terminal_progress
from multirecall.query import User
from multirecall.result import CandidateBatch, Candidates, Explanation
from multirecall.vocabulary import Id

_log = logging.getLogger("multirecall.engine")


class Engine:
    """Several recall paths behind one call.

    Any number of threads may call `retrieve`; `fit` replaces the whole state by one assignment.
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        """Load the plug-ins that the config names and check their settings.

        Raises:
            PluginError: a plug-in is unknown or broken.
            ConfigError: a setting is wrong.
        """
        if not isinstance(config, EngineConfig | None):
            raise ConfigError(f"Engine: got a {type(config).__name__}; pass an EngineConfig, or use Engine.from_toml")
        self.config = config or EngineConfig()
        self._blueprint = Blueprint.of(self.config)
        self._state: EngineState | None = None

    @classmethod
    def from_toml(cls, file: str | Path) -> Self:
        """An engine from a configuration file; raises as the constructor, naming the file."""
        config = EngineConfig.from_toml(file)
        try:
            return cls(config)
        except ConfigError as fault:
            raise ConfigError(f"{file}: {fault}") from None

    def fit(self, data: Dataset, *, progress: Progress | None = None) -> Self:
        """Fit all paths and compile what requests need; a bar shows on a terminal.

        Raises:
            CannotFit: the data lack what a path of the config needs.
            ConfigError: the config's `[data]` differs from how the data were read.
        """
        if not isinstance(data, Dataset):
            raise RequestError(
                f"fit: got a {type(data).__name__}; make a Dataset with Dataset.from_frames or Dataset.load"
            )
        if self.config.data not in (data.config, type(self.config.data)()):
            raise ConfigError(
                "fit: the config's [data] section is not how this dataset was read; "
                "read it with Dataset.load(..., config=engine.config.data)"
            )
        if progress is None:
            with terminal_progress() as bars:
                return self.fit(data, progress=bars)
        self._serve(fitted(self._blueprint, data, progress))
        return self

    def retrieve(
        self,
        user: Id | User,
        k: int | None = None,
        *,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
        deadline_ms: float | None = None,
    ) -> Candidates:
        """The `k` best candidates for one user, fewer only when the catalogue has no more.

        Args:
            user: an id, or a `User` with a history, features or terms. An unknown id gets what visitors get.
            k: how many; default: the config's.
            exclude: item ids to leave out.
            where: predicates over item features, e.g. `{"category": ["books"], "price": {"max": 20}}`.
            seen: whether items that the user has interacted with may be returned.
            deadline_ms: go on without the paths that have not answered by then; default: the config's.

        Raises:
            RequestError: an unusable argument.
            IdTypeError: an id of the wrong type.
            PathError: a required path failed, or all did.
            NotFitted: the engine has nothing to serve.
        """
        state = self._current()
        k, deadline = self._size(k), self._deadline(deadline_ms)
        query = read_query(state.data, user, read_filters(state.data, exclude, where, seen))
        outcomes = run_paths(state.paths, state.windows, query, deadline)
        lists = [one.ranked or RankedList.empty() for one in outcomes]
        weights = state.weights_for(query.history.size)
        fused = state.fusion.fuse(lists, weights, state.quotas, min(k, state.data.n_items))
        final, n_refilled = refilled(state, query, fused, k, deadline)
        return Candidates(
            ids=state.data.items.ids.ids(final.items),
            scores=final.scores,
            ranks=final.ranks,
            paths=state.names,
            status={path.name: one.status for path, one in zip(state.paths, outcomes, strict=True)},
            n_refilled=n_refilled,
            shortfall=k - len(final),
        )

    def retrieve_batch(
        self,
        users: Sequence[Id | User] | NDArray[Any],
        k: int | None = None,
        *,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
    ) -> CandidateBatch:
        """The same for several users, without a deadline; arguments and errors as in `retrieve`."""
        state = self._current()
        k, deadline = self._size(k), Deadline(None)
        asked = listed(users, "users")
        queries = read_queries(state.data, asked, read_filters(state.data, exclude, where, seen))
        outcomes = run_batch(state.paths, state.windows, queries)
        batches = [one.ranked or RankedBatch.empty(len(queries)) for one in outcomes]
        fused = fused_batch(state, queries, batches, min(k, state.data.n_items))
        final, n_refilled = refilled_batch(state, queries, fused, k, deadline)
        return CandidateBatch(
            user_ids=tuple(user.id if isinstance(user, User) else user for user in asked),
            user_dtype=state.data.users.ids.dtype,
            catalogue=state.data.items.ids,
            offsets=final.offsets,
            items=final.items,
            scores=final.scores,
            ranks=final.ranks,
            paths=state.names,
            status={path.name: one.status for path, one in zip(state.paths, outcomes, strict=True)},
            n_refilled=n_refilled,
            shortfall=k - np.diff(final.offsets),
        )

    def path_lists(
        self,
        users: Sequence[Id | User] | NDArray[Any],
        *,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
    ) -> dict[str, RankedBatch]:
        """What each path alone hands to the fusion, as rows of `data.items`; for measuring and tuning.

        Raises as `retrieve`, and `PathError` where any path fails.
        """
        state = self._current()
        queries = read_queries(state.data, listed(users, "users"), read_filters(state.data, exclude, where, seen))
        lists = {}
        for path, outcome in zip(state.paths, run_batch(state.paths, state.windows, queries), strict=True):
            if outcome.ranked is None:
                raise PathError(f"path {path.name!r} {outcome.state}: {outcome.detail}")
            lists[path.name] = outcome.ranked
        return lists

    def write_candidates(
        self,
        users: Iterable[Id | User],
        file: str | Path,
        k: int | None = None,
        *,
        chunk: int = 1000,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
    ) -> int:
        """Write the candidates of many users to a parquet file, `chunk` users in memory at a time.

        Columns as in `CandidateBatch.to_polars`. Returns the number of rows; raises as `retrieve`.
        """
        if not isinstance(chunk, int) or chunk < 1:
            raise RequestError(f"chunk must be a whole number > 0, got {chunk!r}")
        excluded = None if exclude is None else list(exclude)
        return write_candidates(
            users,
            Path(file),
            chunk,
            lambda part: self.retrieve_batch(part, k, exclude=excluded, where=where, seen=seen),
        )

    def explain(
        self,
        user: Id | User,
        item: Id,
        k: int | None = None,
        *,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
    ) -> Explanation:
        """Why `item` stands where it does in `retrieve` with the same arguments, or why it is missing.

        Raises:
            RequestError: the catalogue does not have the item, or as `retrieve`.
        """
        state = self._current()
        k = self._size(k)
        row = state.data.items.ids.row(item)
        if row < 0:
            raise RequestError(f"explain: no item has the id {item!r}; pass an id of the log or the item table")
        filters = read_filters(state.data, exclude, where, seen)
        return explained(state, read_query(state.data, user, filters), filters, row, k)

    def save(self, folder: str | Path) -> None:
        """Save into a bundle, which is made, or gets a new version; the one before is kept.

        Raises:
            BundleError: the folder holds something else, or cannot be written.
        """
        bundle.save(self._current(), self.config, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The engine that was saved, after every file has been verified.

        Raises:
            BundleError: not a bundle, damaged, or of a newer format.
        """
        config, state = bundle.load(Path(folder))
        engine = cls(config)
        engine._serve(state)
        return engine

    def close(self) -> None:
        """Stop serving and let worker threads end."""
        state, self._state = self._state, None
        if state is not None:
            state.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def data(self) -> Dataset:
        """What the engine serves.

        Raises:
            NotFitted: nothing yet.
        """
        return self._current().data

    @property
    def paths(self) -> tuple[str, ...]:
        """The names of the paths that serve, in order; raises `NotFitted`."""
        return self._current().names

    def _current(self) -> EngineState:
        state = self._state
        if state is None:
            raise NotFitted("the engine has nothing to serve: call fit(data), or Engine.load(folder)")
        return state

    def _serve(self, state: EngineState) -> None:
        """Compile the kernels of the request path, then let requests see the state."""
        try:
            warm_up(state)
        except PathError as fault:
            _log.warning("the first request failed: %s", fault)
        replaced, self._state = self._state, state
        if replaced is not None:
            replaced.close()

    def _size(self, k: int | None) -> int:
        if k is None:
            return self.config.k
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise RequestError(f"k must be a whole number > 0, got {k!r}")
        return int(k)

    def _deadline(self, deadline_ms: float | None) -> Deadline:
        if deadline_ms is None:
            return Deadline(self.config.deadline_ms)
        if isinstance(deadline_ms, bool) or not isinstance(deadline_ms, int | float) or not 0 < deadline_ms < 1e9:
            raise RequestError(f"deadline_ms must be a number of milliseconds between 0 and 1e9, got {deadline_ms!r}")
        return Deadline(float(deadline_ms))
