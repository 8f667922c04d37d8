"""Drift while an engine serves: the newest answers beside the first ones since a fit, and the events since it."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.chance import share_of
from multirecall.engine import Engine
from multirecall.lists import RankedBatch
from multirecall.monitoring.drift.asking import PathShares, first_scores
from multirecall.monitoring.drift.distances import Distance, Values, distance
from multirecall.monitoring.drift.popularity import EventsSince
from multirecall.online import Call, Observation, Proposed, Request
from multirecall.user import User
from multirecall.validation import Count, StrictModel

MOST_USERS = 100
"""Users of one batch that are looked at, so that a large batch does not replace all answers before it."""


class DriftSettings(StrictModel):
    """How drift is watched while an engine serves."""

    share: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.1
    """The share of the requests that is looked at, above 0 and at most 1. The id of a request decides."""

    answers: Count = 1_000
    """Answers that are compared: the newest ones, with as many first ones since the fit was served."""

    events: Count = 10_000
    """Events whose items are compared: the newest ones since the fit, with as many newest ones before it."""


@dataclass(frozen=True, slots=True)
class LivePath:
    """What a path does.

    Attributes:
        now: over the newest answers.
        before: over the first answers since the fit; None until there are enough.
        scores: the distance of the scores of its first items, from the first answers to the newest; None as above.
    """

    now: PathShares
    before: PathShares | None
    scores: Distance | None


@dataclass(frozen=True, slots=True)
class LiveDrift:
    """What can be told while an engine serves. What cannot be told yet is NaN or None.

    Attributes:
        answers: the number of newest answers in these figures.
        unknown_users: the share of the users with an id whom the engine does not know.
        unknown_items: the share of the items of histories, and of `exclude`, that the catalogue lacks.
        unknown_events: the share of the events since the fit that are of items that it did not know.
        popularity: the distance of the items of events, from before the fit to since it; None with too few events.
        paths: what each path does.
    """

    answers: int
    unknown_users: float
    unknown_items: float
    unknown_events: float
    popularity: Distance | None
    paths: Mapping[str, LivePath]


class _Answer(NamedTuple):
    """What is kept of an answer to one user; arrays have an entry for each path."""

    known: float
    n_unknown: int
    n_items: int
    n_candidates: int
    empty: NDArray[np.bool_]
    first: NDArray[np.int64]
    shared: NDArray[np.int64]
    scores: tuple[NDArray[np.float64], ...]


@dataclass(slots=True)
class _Watched:
    """The answers since a fit; `fitted` tells it from other fits."""

    fitted: NDArray[Any]
    names: tuple[str, ...]
    events: EventsSince
    reference: list[_Answer]
    newest: deque[_Answer]
    n: int = field(default=0)


class DriftWatch:
    """Watches the answers of an engine; an observer for `Engine.observe`.

    Answers of `similar`, and those of variants with other paths, count nowhere. A refit, or another version, begins
    anew: what was compared is then the reference no more.
    """

    def __init__(self, engine: Engine, settings: DriftSettings | None = None) -> None:
        self._engine = engine
        self._settings = settings or DriftSettings()
        self._lock = threading.Lock()
        self._watched: _Watched | None = None

    def wants(self, call: Call, request: Request) -> bool:
        """Whether a request is in the sample; see `SelectiveObserver`."""
        if call == "similar" or not request.ids:
            return False
        return share_of(request.ids[0], "drift") < self._settings.share

    def observe(self, observation: Observation) -> None:
        """Take note of one answer of the engine, if its request is in the sample."""
        if not self.wants(observation.call, observation.request):
            return
        for part in observation.parts:
            watched = self._of(part)
            if watched is None:
                continue
            for answer in _read(observation, part):
                with self._lock:
                    watched.newest.append(answer)
                    watched.n += 1
                    if len(watched.reference) < self._settings.answers:
                        watched.reference.append(answer)

    def figures(self) -> LiveDrift:
        """What can be told now; it takes some milliseconds."""
        with self._lock:
            watched = self._watched
            if watched is None or not watched.newest:
                return LiveDrift(0, math.nan, math.nan, math.nan, None, {})
            newest, reference = list(watched.newest), list(watched.reference)
            whole = watched.n > len(reference)  # until then, the newest answers are the reference itself
        known = np.array([one.known for one in newest])
        n_items = sum(one.n_items for one in newest)
        unknown_events, popularity = watched.events.compare(self._engine.data)
        return LiveDrift(
            len(newest),
            1 - float(np.nanmean(known)) if not np.isnan(known).all() else math.nan,
            sum(one.n_unknown for one in newest) / n_items if n_items else math.nan,
            unknown_events,
            popularity,
            _paths(watched.names, newest, reference if whole else None),
        )

    def _of(self, part: Proposed) -> _Watched | None:
        """What is watched of the fit that answered; None for a variant with other paths, or a fit that has gone."""
        fitted, watched = part.served.catalogue.fitted, self._watched
        if watched is None or watched.fitted is not fitted:
            data = self._engine.data
            if data.items.ids.fitted is not fitted:
                return None
            watched = _Watched(
                fitted,
                part.served.paths,
                EventsSince(data, self._settings.events),
                [],
                deque(maxlen=self._settings.answers),
            )
            with self._lock:
                self._watched = watched
        return watched if part.served.paths == watched.names else None


def _read(observation: Observation, part: Proposed) -> Iterator[_Answer]:
    """What is kept of the answers to the first users of a part."""
    answer, users = observation.answer, observation.request.users
    empties = [np.diff(one.offsets) == 0 for one in part.lists]
    for place, user in enumerate(part.users[:MOST_USERS].tolist()):
        own = answer[user] if observation.call == "retrieve_batch" else answer
        columns = [own.paths.index(name) for name in part.served.paths]
        ranks = own.ranks[:, columns]
        first = (ranks >= 0) & (ranks < observation.k)
        asked = users[user]
        has_id = not isinstance(asked, User) or asked.id is not None
        heads = [_take(one, place) for one in part.lists]
        yield _Answer(
            float(own.known) if has_id else math.nan,
            len(own.unknown_items),
            len(own.unknown_items) + int(part.lengths[place]),
            len(own.ids),
            np.array([one[place] for one in empties]),
            first.sum(axis=0),
            (first & (first.sum(axis=1) > 1)[:, None]).sum(axis=0),
            tuple(first_scores(one).content.astype(np.float64) for one in heads),
        )


def _take(batch: RankedBatch, place: int) -> RankedBatch:
    return batch if batch.offsets.size == 2 else batch.take(np.array([place]))


def _paths(names: Sequence[str], newest: list[_Answer], reference: list[_Answer] | None) -> dict[str, LivePath]:
    now = _shares(newest)
    before = None if reference is None else _shares(reference)
    found = {}
    for number, name in enumerate(names):
        scores = None if reference is None else distance(_scores(reference, number), _scores(newest, number))
        found[name] = LivePath(now[number], None if before is None else before[number], scores)
    return found


def _shares(answers: list[_Answer]) -> list[PathShares]:
    n_candidates = max(sum(one.n_candidates for one in answers), 1)
    empty = np.mean([one.empty for one in answers], axis=0)
    first, shared = (np.sum([getattr(one, what) for one in answers], axis=0) for what in ("first", "shared"))
    return [
        PathShares(*map(float, one))
        for one in zip(empty, first / n_candidates, shared / np.maximum(first, 1), strict=True)
    ]


def _scores(answers: list[_Answer], number: int) -> Values:
    """The scores of a path; the lists of an answer are its owner's."""
    lists = [one.scores[number] for one in answers]
    owners = np.repeat(np.arange(len(lists), dtype=np.int32), [one.size for one in lists])
    return Values(np.concatenate(lists), owners)
