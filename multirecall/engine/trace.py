"""What every path says to one request, and what other weights, quotas and fusions would make of these lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multirecall.candidate_features import FIRST, Proposals
from multirecall.config import EngineConfig, FusionConfig
from multirecall.engine.backfill import backfill
from multirecall.engine.deadline import Deadline
from multirecall.engine.lookup import Found
from multirecall.engine.path import Outcome, Path
from multirecall.engine.request import Filters, read_user
from multirecall.engine.runner import ask_paths, refuse_total_failure
from multirecall.engine.segments import UNLEARNED, Segment, load_fusions, segments_of, windows_of
from multirecall.engine.state import EngineState
from multirecall.engine.what_if import Choices, refuse_unknown, vary
from multirecall.learning.report import config_toml
from multirecall.lists import RankedList
from multirecall.query import Query, Where
from multirecall.result import Candidates, PathStatus, StoreState
from multirecall.topk import NO_ROWS
from multirecall.user import User
from multirecall.validation import AUTO
from multirecall.vocabulary import Id

Bar = Literal["excluded", "seen", "where"]


@dataclass(frozen=True, slots=True)
class Barred:
    """Items among the first of a path's list that a filter of the request took out.

    Attributes:
        ids: item ids, (n,), best first.
        scores: the path's scores, float32 (n,).
        places: the rank that each would have in the list, int64 (n,).
        reasons: which filter took it out: `excluded`, `seen` or `where`.
    """

    ids: NDArray[Any]
    scores: NDArray[np.float32]
    places: NDArray[np.int64]
    reasons: tuple[Bar, ...]


class _Plan(NamedTuple):
    """How lists are fused: the paths that take part, their numbers in the engine and windows, and the segments."""

    numbers: Sequence[int]
    paths: Sequence[Path]
    windows: Sequence[int]
    segments: Sequence[Segment]


@dataclass(frozen=True, slots=True, repr=False)
class Trace:
    """One request from its paths to its candidates, which can be fused again with other settings.

    Every path is asked, also one that the learned fusion does not use. A path that fails is in `status`. A trace keeps
    the state of the engine that it was made of, and with it all of the engine's data.

    Attributes:
        config: the config that serves: what a fit has learned is in it, and paths that it dropped are switched off.
        k: the number of candidates.
        lists: for each path its list as rows of `data.items`, at least as long as its window; empty where it gave none.
        store: as in `Candidates`.
        unknown_items: as in `Candidates`.
    """

    config: EngineConfig
    k: int
    lists: Mapping[str, RankedList]
    store: StoreState | None
    unknown_items: tuple[Id, ...]
    _state: EngineState
    _query: Query
    _filters: Filters
    _outcomes: tuple[Outcome[RankedList], ...]
    _windows: tuple[int, ...]
    _limit_ms: float | None

    @property
    def data_version(self) -> int:
        """The version of the data that was asked."""
        return self._state.data_version

    @property
    def paths(self) -> tuple[str, ...]:
        """The names of the paths, in order."""
        return self._state.names

    @property
    def status(self) -> dict[str, PathStatus]:
        """How each path answered, those among them that the learned fusion does not use."""
        return {
            path.name: outcome.status(path.quota)
            for path, outcome in zip(self._state.paths, self._outcomes, strict=True)
        }

    @property
    def dropped(self) -> dict[str, str]:
        """Why requests do not ask a path, for those that the learned fusion does not use."""
        return {path.name: path.dropped for path in self._state.paths if path.dropped is not None}

    @property
    def known(self) -> bool:
        """Whether the engine knows the user."""
        return self._query.user >= 0

    @property
    def history(self) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        """The item ids of the user's events, (n,), oldest first, and their epoch seconds, where they are known."""
        return self._state.data.items.ids.ids(self._query.history), self._query.times

    @property
    def segment(self) -> int | None:
        """The position in `config.segments` of the user's; None: the common weights and fusion."""
        number = int(np.searchsorted([one.longest for one in self._state.segments], self._query.history.size))
        return number if number < len(self.config.segments) else None

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each path for users like this one."""
        return dict(zip(self.paths, self._state.segment_of(self._query.history.size).weights, strict=True))

    def vary(
        self,
        *,
        weights: Mapping[str, float] | None = None,
        quotas: Mapping[str, int] | None = None,
        enabled: Mapping[str, bool] | None = None,
        strategy: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> EngineConfig:
        """The config that serves, changed for users like this one: weights and fusion in their segment.

        Args:
            weights: weights by path, > 0.
            quotas: quotas by path. They hold for all users.
            enabled: whether a path takes part. It holds for all users.
            strategy: the fusion plug-in.
            params: its settings; default: the present ones where the strategy stays, else its own defaults.

        Raises:
            RequestError: no path has such a name.
            ConfigError: a value is wrong.
        """
        choices = Choices(weights or {}, quotas or {}, enabled or {}, strategy, params)
        return vary(self.config, self.paths, self.segment, choices)

    def fusion_of(self, config: EngineConfig) -> FusionConfig:
        """The fusion of a config for users like this one."""
        own = None if self.segment is None else config.segments[self.segment].fusion
        fusion = own or config.fusion
        return UNLEARNED if fusion.strategy == AUTO else fusion

    def to_toml(self, config: EngineConfig) -> str:
        """A config as TOML, for `Engine.from_toml`; a setting that is None is left out, and named in a comment."""
        learned = self._state.learned
        return config_toml(config, {} if learned is None else learned.report.settings)

    def widen(self, config: EngineConfig | None = None) -> Trace:
        """A trace whose lists are long enough for `config`; the paths whose lists are too short are asked again."""
        plan = self._plan(config)
        short = [place for place, number in enumerate(plan.numbers) if self._is_short(number, plan.windows[place])]
        if not short:
            return self
        outcomes, windows = list(self._outcomes), list(self._windows)
        deadline = Deadline(self._limit_ms)
        asked = [replace(plan.paths[place], dropped=None) for place in short]
        again = ask_paths(asked, [plan.windows[place] for place in short], self._fresh_query(deadline), deadline)
        for place, outcome in zip(short, again, strict=True):
            outcomes[plan.numbers[place]], windows[plan.numbers[place]] = outcome, plan.windows[place]
        return replace(self, lists=_lists(self.paths, outcomes), _outcomes=tuple(outcomes), _windows=tuple(windows))

    def fuse(self, config: EngineConfig | None = None) -> Candidates:
        """Fuse the lists and backfill, as `Engine.retrieve` does.

        Args:
            config: whose fusion and segments, and whose weight, quota and `enabled` of each path count; the answer is
                that of an engine of this config. Default: what serves, which gives what `retrieve` gives. Paths are
                asked again only where their lists are too short.

        Raises:
            PathError: as `Engine.retrieve`, if no path that takes part has an answer.
            ConfigError: the fusion refuses its settings, or cannot do with these paths.
            RequestError: `config` lacks a path.
        """
        wide = self.widen(config)
        state, length, plan = wide._state, wide._query.history.size, wide._plan(config)
        outcomes = [
            wide._outcomes[number] if path.dropped is None else path.drop_outcome()
            for number, path in zip(plan.numbers, plan.paths, strict=True)
        ]
        refuse_total_failure(plan.paths, outcomes)
        lists = [
            (one.ranked or RankedList.empty()).head(window) for one, window in zip(outcomes, plan.windows, strict=True)
        ]
        quotas = [path.quota for path in plan.paths]
        segment = next(one for one in plan.segments if length <= one.longest)
        fused = segment.fusion.fuse(lists, segment.weights, quotas, min(self.k, state.data.n_items))
        deadline = Deadline(self._limit_ms)
        final, n_backfilled = backfill(state, self._fresh_query(deadline), fused, self.k, deadline)
        return Candidates(
            ids=state.data.items.ids.ids(final.items),
            scores=final.scores,
            ranks=final.ranks,
            paths=tuple(path.name for path in plan.paths),
            status={path.name: one.status(path.quota) for path, one in zip(plan.paths, outcomes, strict=True)},
            n_backfilled=n_backfilled,
            shortfall=self.k - len(final),
            known=self.known,
            unknown_items=self.unknown_items,
            store=self.store,
            variant=state.variant if config is None else None,
            _proposals=Proposals(lists, quotas, plan.segments, (length,), FIRST),
        )

    def barred(self) -> dict[str, Barred]:
        """For each path, what the filters took out of the first items of its list.

        The paths that answered are asked once more, without `exclude`, `where` and the seen-filter. Items that were
        removed from the catalogue are never shown.
        """
        state, deadline = self._state, Deadline(self._limit_ms)
        found = [number for number, one in enumerate(self._outcomes) if one.ranked is not None]
        asked = [replace(state.paths[number], dropped=None) for number in found]
        query = replace(self._fresh_query(deadline), exclude=NO_ROWS, allowed=state.allowed, where=Where())
        outcomes = ask_paths(asked, [path.quota for path in asked], query, deadline)
        return {
            path.name: self._barred_of(outcome.ranked)
            for path, outcome in zip(asked, outcomes, strict=True)
            if outcome.ranked is not None
        }

    def _barred_of(self, ranked: RankedList) -> Barred:
        eligible = self._query.eligible(ranked.items)
        places: NDArray[np.int64] = np.cumsum(eligible, dtype=np.int64)[~eligible]
        rows = ranked.items[~eligible]
        excluded, seen = np.isin(rows, self._filters.exclude), np.isin(rows, self._query.exclude)
        reasons: list[Bar] = [
            "excluded" if first else "seen" if second else "where"
            for first, second in zip(excluded.tolist(), seen.tolist(), strict=True)
        ]
        return Barred(self._state.data.items.ids.ids(rows), ranked.scores[~eligible], places, tuple(reasons))

    def _fresh_query(self, deadline: Deadline) -> Query:
        return replace(self._query, deadline=deadline.moment)

    def _is_short(self, number: int, window: int) -> bool:
        """Whether the list of a path may go on beyond what was asked for, within `window`."""
        ranked, held = self._outcomes[number].ranked, self._windows[number]
        return ranked is not None and window > held == len(ranked)

    def _plan(self, config: EngineConfig | None) -> _Plan:
        state = self._state
        if config is None:
            return _Plan(range(len(state.paths)), state.paths, state.windows, state.segments)
        by_name = {path.name: path for path in config.paths}
        refuse_unknown(self.paths, by_name, "config")
        numbers = [number for number, name in enumerate(self.paths) if by_name[name].enabled]
        paths = [
            replace(state.paths[number], quota=by_name[self.paths[number]].quota, dropped=None) for number in numbers
        ]
        segments = segments_of(config, load_fusions(config, stored=True), [path.name for path in paths])
        return _Plan(numbers, paths, windows_of(segments, paths, state.data), segments)


def trace_user(
    state: EngineState,
    config: EngineConfig,
    user: Id | User,
    k: int,
    filters: Filters,
    context: Mapping[str, Any],
    deadline: Deadline,
    found: Found,
) -> Trace:
    """The trace of one user; `config` is the engine's, `filters` and `context` are read already."""
    query, unknown = read_user(state.data, user, filters, context, deadline.moment, found)
    outcomes = ask_paths(state.paths, state.windows, query, deadline)
    unused = [number for number, path in enumerate(state.paths) if path.dropped is not None]
    late = Deadline(deadline.limit_ms)
    asked = [replace(state.paths[number], dropped=None) for number in unused]
    query = replace(query, deadline=late.moment)
    more = ask_paths(asked, [state.windows[number] for number in unused], query, late)
    for number, outcome in zip(unused, more, strict=True):
        outcomes[number] = outcome
    return Trace(
        config if state.learned is None else state.learned.report.settle(config),
        k,
        _lists(state.names, outcomes),
        found.state,
        unknown,
        state,
        query,
        filters,
        tuple(outcomes),
        state.windows,
        deadline.limit_ms,
    )


def _lists(names: Sequence[str], outcomes: Sequence[Outcome[RankedList]]) -> dict[str, RankedList]:
    return {name: one.ranked or RankedList.empty() for name, one in zip(names, outcomes, strict=True)}
