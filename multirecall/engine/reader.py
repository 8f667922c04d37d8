"""The calls of an engine that read: each takes the current state once and answers from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.config import EngineConfig
from multirecall.data import Dataset
from multirecall.display import html_table
from multirecall.engine.answer import answer_user, answer_users
from multirecall.engine.attached import Attached
from multirecall.engine.cache import ResultCache
from multirecall.engine.deadline import Deadline
from multirecall.engine.explain import explain_item
from multirecall.engine.export import write_candidates
from multirecall.engine.footprint import footprints
from multirecall.engine.join import join_batches
from multirecall.engine.neighbours import Neighbours, neighbour_paths, neighbours_of
from multirecall.engine.request import (
    list_ids,
    read_context,
    read_deadline,
    read_filters,
    read_queries,
    read_query,
    read_size,
)
from multirecall.engine.runner import run_batch
from multirecall.engine.segments import Segment
from multirecall.engine.similar import answer_similar
from multirecall.engine.state import Blueprint, EngineState
from multirecall.engine.trace import Trace, trace_user
from multirecall.engine.vectors import vector_paths, vectors_of
from multirecall.errors import ConfigError, NotFitted, PathError, RequestError, UnknownItem
from multirecall.explanation import Explanation
from multirecall.learning.report import FusionReport
from multirecall.lists import RankedBatch
from multirecall.progress import SILENT, Progress
from multirecall.result import CandidateBatch, Candidates
from multirecall.user import User
from multirecall.vocabulary import Id

AnswerPart = Callable[[EngineState, list[Id | User]], CandidateBatch]
"""Answers some users from a state."""


class EngineReader(Attached):
    """The calls of an `Engine` that read. Each takes the state once, so no change happens in the middle of a call."""

    def __init__(self, config: EngineConfig | None = None) -> None:
        if not isinstance(config, EngineConfig | None):
            raise ConfigError(f"Engine: got a {type(config).__name__}; pass an EngineConfig, or use Engine.from_toml")
        self.config = config or EngineConfig()
        self._blueprint = Blueprint.of(self.config)
        self._state: EngineState | None = None
        self._cache = ResultCache(self.config.cache_size) if self.config.cache_size else None
        super().__init__()

    def retrieve(
        self,
        user: Id | User,
        k: int | None = None,
        *,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
        context: Mapping[str, Any] | None = None,
        deadline_ms: float | None = None,
    ) -> Candidates:
        """The `k` best candidates for one user, fewer only when the catalogue has no more.

        Args:
            user: an id, or a `User` with a history, features or terms. An unknown id gets what visitors get.
            k: the number of candidates; default: the config's.
            exclude: item ids to leave out.
            where: predicates over item features, e.g. `{"category": ["books"], "price": {"max": 20}}`.
            seen: whether items that the user has interacted with may be returned.
            context: what paths may want to know of the request, such as `{"device": "phone", "page": "home"}`; they
                find it in `Query.context`. No built-in retriever reads it.
            deadline_ms: go on without the paths that have not answered by then; default: the config's.

        With `cache_size`, an equal request on the same data gets the cached answer, status included. Its arrays are
        read-only. The deadline is not part of the cache key.

        Raises:
            RequestError: an unusable argument.
            IdTypeError: an id of the wrong type.
            PathError: a required path failed, or all did.
            NotFitted: the engine has nothing to serve.
        """
        state, k, deadline = (
            self._variants.of(self._current(), user, context),
            read_size(k, self.config.k),
            read_deadline(deadline_ms, self.config.deadline_ms),
        )
        found = self._source.ask(state.data, [user], deadline)
        ask = partial(answer_user, state, user, k, exclude, where, seen, context, deadline, found)
        if self._cache is None:
            answer, cached = ask(), False
        else:
            answer, cached = self._cache.answer(state, (user, k, exclude, where, seen, context, found.key), ask)
        self._feeds.show("retrieve", answer, k, deadline, cached)
        return answer

    def similar(
        self,
        item: Id,
        k: int | None = None,
        *,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        deadline_ms: float | None = None,
    ) -> Candidates:
        """The `k` items most like `item`, as for the page of a product: the item-to-item call.

        Each path that compares items proposes those that it finds most like it, see `neighbours`; the fusion merges
        them as it does for a user with one event. The other paths are `skipped`. The item itself is left out, and the
        fallback adds nothing, so that there may be fewer than `k`. The other arguments are those of `retrieve`.

        Raises:
            UnknownItem: a `RequestError`; the catalogue does not have the item.
            RequestError: no path compares items, or as `retrieve`.
        """
        state, size = self._current(), read_size(k, self.config.k)
        deadline = read_deadline(deadline_ms, self.config.deadline_ms)
        answer = answer_similar(state, item, size, exclude, where, context, deadline)
        self._feeds.show("similar", answer, size, deadline, cached=False)
        return answer

    def retrieve_batch(
        self,
        users: Sequence[Id | User] | NDArray[Any],
        k: int | None = None,
        *,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
        context: Mapping[str, Any] | None = None,
    ) -> CandidateBatch:
        """The candidates of several users, without a deadline; arguments and errors as in `retrieve`."""
        state, listed, size, start = (
            self._current(),
            list_ids(users, "users"),
            read_size(k, self.config.k),
            Deadline(None),
        )
        found, excluded = (
            self._source.ask(state.data, listed),
            None if exclude is None else list_ids(exclude, "exclude"),
        )

        def ask(own: EngineState, members: list[Id | User]) -> CandidateBatch:
            return answer_users(own, members, size, excluded, where, seen, context, found)

        answer = self._by_variant(state, listed, context, ask)
        self._feeds.show("retrieve_batch", answer, size, start, cached=False)
        return answer

    def path_lists(
        self,
        users: Sequence[Id | User] | NDArray[Any],
        *,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
        context: Mapping[str, Any] | None = None,
        windows: bool = False,
    ) -> dict[str, RankedBatch]:
        """The ranked list of each path before fusion, as rows of `data.items`; for measuring and tuning.

        A list ends at the path's quota. With `windows` it is as long as the window that the fusion asks for, which is
        longer for a cascade that replaces duplicates. Fusing such lists gives what `retrieve` gives. Paths that the
        learned fusion does not use are asked as well.

        Raises as `retrieve`, and `PathError` where any path fails.
        """
        state = self._current()
        filters = read_filters(state, exclude, where, seen)
        listed = list_ids(users, "users")
        found = self._source.ask(state.data, listed)
        queries = read_queries(state.data, listed, filters, read_context(context), found)
        lists = {}
        paths = [replace(path, dropped=None) for path in state.paths]
        for path, outcome in zip(paths, run_batch(paths, state.windows, queries), strict=True):
            if outcome.ranked is None:
                raise PathError(f"path {path.name!r} {outcome.state}: {outcome.detail}")
            lists[path.name] = outcome.ranked if windows else outcome.ranked.heads(path.quota)
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
        context: Mapping[str, Any] | None = None,
    ) -> int:
        """Write the candidates of many users to a file, `chunk` users in memory at a time.

        The suffix names the format: parquet (`.parquet`, `.pq`), Arrow (`.arrow`, `.feather`, `.ipc`), `.csv`, or JSON
        lines (`.jsonl`, `.ndjson`). Columns as in `CandidateBatch.to_polars`. All users see the state of the
        engine at the call; later live changes are not in the file.

        Returns:
            The number of rows.

        Raises:
            RequestError: no format has the suffix, the file cannot be written, or as `retrieve`.
        """
        if not isinstance(chunk, int) or chunk < 1:
            raise RequestError(f"chunk must be a whole number > 0, got {chunk!r}")
        state, k = self._current(), read_size(k, self.config.k)
        excluded = None if exclude is None else list_ids(exclude, "exclude")

        def answer(part: list[Id | User]) -> CandidateBatch:
            found = self._source.ask(state.data, part)

            def ask(own: EngineState, members: list[Id | User]) -> CandidateBatch:
                return answer_users(own, members, k, excluded, where, seen, context, found)

            return self._by_variant(state, part, context, ask)

        return write_candidates(users, Path(file), chunk, answer)

    def explain(
        self,
        user: Id | User,
        item: Id,
        k: int | None = None,
        *,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
        context: Mapping[str, Any] | None = None,
    ) -> Explanation:
        """Explain the place of `item` in `retrieve` with the same arguments, or why it is missing.

        Raises:
            UnknownItem: a `RequestError`; the catalogue does not have the item.
            RequestError: as `retrieve`.
        """
        state, k = self._variants.of(self._current(), user, context), read_size(k, self.config.k)
        row = state.data.items.ids.row(item)
        if row < 0:
            raise UnknownItem(f"explain: no item has the id {item!r}; pass an id of the log or the item table")
        filters = read_filters(state, exclude, where, seen)
        found = self._source.ask(state.data, [user])
        query = read_query(state.data, user, filters, read_context(context), found)
        return explain_item(state, query, filters, row, k)

    def trace(
        self,
        user: Id | User,
        k: int | None = None,
        *,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
        context: Mapping[str, Any] | None = None,
        deadline_ms: float | None = None,
    ) -> Trace:
        """The lists, states and times of all paths for one user, which can be fused again in other ways, see `Trace`.

        It never comes from the result cache, and is not shown to observers. No failing path makes it fail.

        Raises:
            RequestError: an unusable argument.
            IdTypeError: an id of the wrong type.
        """
        state, size = self._variants.of(self._current(), user, context), read_size(k, self.config.k)
        deadline = read_deadline(deadline_ms, self.config.deadline_ms)
        filters, found = read_filters(state, exclude, where, seen), self._source.ask(state.data, [user], deadline)
        config = self._variants.config_of(state, self.config)
        return trace_user(state, config, user, size, filters, read_context(context), deadline, found)

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

    def _by_variant(
        self, state: EngineState, users: list[Id | User], context: Mapping[str, Any] | None, answer: AnswerPart
    ) -> CandidateBatch:
        """The candidates of several users, those of each variant from its state."""
        parts = self._variants.split(state, users, context)
        return join_batches([(answer(own, [users[one] for one in places.tolist()]), places) for own, places in parts])

    def _current(self) -> EngineState:
        state = self._state
        if state is None:
            raise NotFitted("the engine has nothing to serve: call fit(data), or Engine.load(folder)")
        return state

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

    def _publish(self, state: EngineState | None) -> None:
        """Let requests see this state; None: nothing is served any more."""
        if state is not None:
            state.serve()
        replaced, self._state = self._state, state
        if self._cache is not None:
            self._cache.clear()
        if replaced is not None:
            replaced.close(state)
