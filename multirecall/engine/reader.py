"""The calls of an engine that read: each takes the current state once and answers from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.candidate_features import FIRST
from multirecall.cores import Threads, number_of_threads
from multirecall.engine.answer import answer_user, answer_users
from multirecall.engine.deadline import Deadline
from multirecall.engine.explain import explain_item
from multirecall.engine.export import write_candidates
from multirecall.engine.join import join_batches
from multirecall.engine.request import (
    list_ids,
    number_ids,
    read_context,
    read_deadline,
    read_filters,
    read_queries,
    read_query,
    read_request,
    read_request_id,
    read_size,
)
from multirecall.engine.runner import run_batch
from multirecall.engine.served import tell_proposed, tell_served
from multirecall.engine.similar import answer_similar
from multirecall.engine.trace import Trace, trace_user
from multirecall.engine.variants import NoVariants, Part
from multirecall.engine.view import EngineView
from multirecall.errors import PathError, RequestError, UnknownItem
from multirecall.explanation import Explanation
from multirecall.lists import RankedBatch
from multirecall.online import Call, Observation, Proposed, Request
from multirecall.result import CandidateBatch, Candidates
from multirecall.user import User
from multirecall.validation import AUTO
from multirecall.vocabulary import Id

EXPORT = "export"
"""Begins the ids of the requests of `write_candidates`, which are the same each time."""


class EngineReader(EngineView):
    """The calls of an `Engine` that read. Each takes the state once, so no change happens in the middle of a call."""

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
        request_id: str | None = None,
        waited_ms: float = 0.0,
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
            request_id: the id of the request, of 1 to 256 characters; default: a new one. It decides whatever chance
                has a part in, and observers see it.
            waited_ms: milliseconds that the request has waited already, which adaptive width takes into account.

        With `cache_size`, an equal request on the same data gets the cached answer, status included. Its arrays are
        read-only. The deadline is not part of the cache key.

        Raises:
            RequestError: an unusable argument.
            IdTypeError: an id of the wrong type.
            PathError: a required path failed, or all did.
            NotFitted: the engine has nothing to serve.
        """
        current, k, deadline = (
            self._current(),
            read_size(k, self.config.k),
            read_deadline(deadline_ms, self.config.deadline_ms),
        )
        request = read_request((user,), (read_request_id(request_id),), exclude, where, seen, context)
        state = self._width.of(self._state_of(current, user, context, request.ids[0]))
        found = self._source.ask(state.data, [user], deadline)
        ask = partial(answer_user, state, request, k, deadline, found)
        cache = self._cache  # a refit with another config may replace it
        if cache is None or state.merging.draws:
            answer, cached = ask(), False
        else:
            answer, cached = cache.answer(state, (user, k, exclude, where, seen, context, found.key), ask)
        self._width.note(deadline.elapsed_ms, waited_ms)
        self._show("retrieve", answer, k, deadline, request, ((state, FIRST),), cached)
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
        request_id: str | None = None,
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
        request = read_request((), (read_request_id(request_id),), exclude, where, False, context, item)
        answer = answer_similar(state, item, size, request.exclude, where, context, deadline)
        self._show("similar", answer, size, deadline, request, ((state, FIRST),))
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
        request_id: str | None = None,
    ) -> CandidateBatch:
        """The candidates of several users, without a deadline; arguments and errors as in `retrieve`.

        The id of the request for a user is `request_id`, a slash, and the position of the user.
        """
        state, size, start = self._current(), read_size(k, self.config.k), Deadline(None)
        listed = list_ids(users, "users")
        request = read_request(listed, number_ids(request_id, len(listed)), exclude, where, seen, context)
        parts = self._parts_of(state, request)
        answer = self._answer_parts(parts, request, size)
        self._show("retrieve_batch", answer, size, start, request, parts)
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
        threads: Threads = AUTO,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
        context: Mapping[str, Any] | None = None,
    ) -> int:
        """Write the candidates of many users to a file, `chunk` users of each thread in memory at a time.

        The suffix names the format: parquet (`.parquet`, `.pq`), Arrow (`.arrow`, `.feather`, `.ipc`), `.csv`, or JSON
        lines (`.jsonl`, `.ndjson`). Columns as in `CandidateBatch.to_polars`. All users see the state of the
        engine at the call; later live changes are not in the file. `threads` answer the chunks; "auto": one for each
        core that the process may use. The file does not depend on their number.

        Returns:
            The number of rows.

        Raises:
            RequestError: no format has the suffix, the file cannot be written, or as `retrieve`.
        """
        if not isinstance(chunk, int) or chunk < 1:
            raise RequestError(f"chunk must be a whole number > 0, got {chunk!r}")
        if threads != AUTO and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise RequestError(f"threads must be a whole number > 0, or 'auto', got {threads!r}")
        state, size = self._current(), read_size(k, self.config.k)
        excluded = None if exclude is None else list_ids(exclude, "exclude")

        def answer(first: int, part: list[Id | User]) -> CandidateBatch:
            ids = [f"{EXPORT}/{number}" for number in range(first, first + len(part))]
            request = read_request(part, ids, excluded, where, seen, context)
            return self._answer_parts(self._parts_of(state, request), request, size)

        return write_candidates(users, Path(file), chunk, answer, number_of_threads(threads))

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
        request_id: str | None = None,
    ) -> Explanation:
        """Explain the place of `item` in `retrieve` with the same arguments, or why it is missing.

        Raises:
            UnknownItem: a `RequestError`; the catalogue does not have the item.
            RequestError: as `retrieve`.
        """
        state, k = (
            self._variants.of(self._current(), user, context, read_request_id(request_id)),
            read_size(k, self.config.k),
        )
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
        request_id: str | None = None,
    ) -> Trace:
        """The lists, states and times of all paths for one user, which can be fused again in other ways, see `Trace`.

        It never comes from the result cache, and is not shown to observers. No failing path makes it fail.

        Raises:
            RequestError: an unusable argument.
            IdTypeError: an id of the wrong type.
        """
        state, size = (
            self._variants.of(self._current(), user, context, read_request_id(request_id)),
            read_size(k, self.config.k),
        )
        deadline = read_deadline(deadline_ms, self.config.deadline_ms)
        filters, found = read_filters(state, exclude, where, seen), self._source.ask(state.data, [user], deadline)
        config = self._variants.config_of(state, self.config)
        return trace_user(state, config, user, size, filters, read_context(context), deadline, found)

    def _answer_parts(self, parts: Sequence[Part], request: Request, k: int) -> CandidateBatch:
        """The candidates of several users, each from the state that answers them."""
        found = self._source.ask(parts[0][0].data, request.users)

        def part_of(places: NDArray[np.int64]) -> Request:
            chosen = places.tolist()
            return replace(
                request,
                users=tuple(request.users[one] for one in chosen),
                ids=tuple(request.ids[one] for one in chosen),
            )

        return join_batches([(answer_users(own, part_of(places), k, found), places) for own, places in parts])

    def _show(
        self,
        call: Call,
        answer: Candidates | CandidateBatch,
        k: int,
        since: Deadline,
        request: Request,
        parts: Sequence[Part],
        cached: bool = False,
    ) -> None:
        """Let observers see an answer, if any of them wants to."""
        feeds = self._feeds.wanting(call, request)
        if not feeds:
            return
        segments = np.zeros(0, np.int64) if answer._proposals is None else answer._proposals.segment_numbers
        tell = partial(self._tell, answer, parts, self._variants)
        observation = Observation(call, answer, k, since.elapsed_ms, cached, segments, request, tell)
        for feed in feeds:
            feed.offer(observation)

    def _tell(
        self, answer: Candidates | CandidateBatch, parts: Sequence[Part], variants: NoVariants
    ) -> tuple[Proposed, ...]:
        served = [tell_served(state, self.config, variants, self._version_name) for state, _ in parts]
        return tell_proposed(answer, parts, served)
