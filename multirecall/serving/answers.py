"""What answers hold, for the OpenAPI document. The routes write answers from arrays, and no such object is made."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from multirecall.explanation import Explanation
from multirecall.result import PathStatus, StoreState
from multirecall.vocabulary import Id


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class DrawColumns(Answer):
    """What chance decided about each candidate."""

    propensity: list[float | None]
    """The probability with which it is in the answer to such a request; null where two fusions are interleaved."""

    place: list[int]
    """Of a candidate in an explored slot, its place in the whole fused list; else -1."""

    team: list[int]
    """The fusion that drafted it, 0 or 1, where two are interleaved; else -1."""


class Columns(Answer):
    """Candidates with a list for each column; position i of each is of candidate i."""

    items: list[Id]
    """Item ids, best first."""

    scores: list[float]
    """Fused scores, falling."""

    ranks: dict[str, list[int]]
    """For each path, the 0-based rank of each candidate in its list; -1 where it did not propose it."""

    fields: dict[str, list[Any]]
    """For each feature asked for, its value for each candidate; null for none. Moments are epoch seconds."""

    fields_store: StoreState | None
    """How the store of items' features answered; null: none was asked. Unless it is `ok`, `fields` are the bundle's."""

    store: StoreState | None
    """How the store of users' events answered; null: none was asked."""

    status: dict[str, PathStatus]
    """For each path how its call ended."""

    level: int
    """The level of adaptive width; 0: full width."""

    draw: DrawColumns | None
    """What chance decided about each candidate; null: it had no part in any."""


class CandidatesAnswer(Columns):
    """Candidates for one user, or items like an item."""

    n_backfilled: int
    """The candidates at the end that no path proposed."""

    shortfall: int
    """The candidates that are missing, because the catalogue has no more."""

    known: bool
    """Whether the engine knows the user."""

    unknown_items: list[Id]
    """Ids of the request that the catalogue lacks."""

    variant: str | None
    """The variant that answered; null: the engine's own settings."""


class BatchAnswer(Columns):
    """Candidates for several users: those of user u have the positions `offsets[u]` to `offsets[u + 1]`."""

    users: list[Id | None]
    """User ids; null for a visitor."""

    offsets: list[int]
    """Where the candidates of each user begin, and where those of the last end."""

    n_backfilled: list[int]
    """As for one user, for each."""

    shortfall: list[int]
    """As for one user, for each."""

    known: list[bool]
    """As for one user, for each."""

    unknown_items: list[list[Id]]
    """As for one user, for each."""

    variants: list[str | None]
    """As for one user, for each."""


class ItemAnswer(Answer):
    """An item."""

    item_id: Id
    """Its id."""

    features: dict[str, Any]
    """Its features; those that it lacks are absent."""

    removed: bool
    """Whether it was removed and is no candidate any more."""


class HistoryAnswer(Answer):
    """The newest events of a user, oldest first."""

    user_id: Id
    """The user."""

    n_events: int
    """How many events the user has in all."""

    items: list[Id]
    """The item of each event."""

    times: list[float] | None
    """Epoch seconds of each event; null for a log without times."""


class ChangeAnswer(Answer):
    """A change that is on the disk, if the engine has a bundle, and in every later answer."""

    count: int
    """The rows that it took."""

    version: int
    """The number of the change: a request with `X-Min-Version` of it, or of a later one, sees it."""

    data_version: int
    """The version of the data from which on requests see it, as this process counts."""


class RefreshAnswer(Answer):
    """A fit that has begun."""

    running: bool
    """True."""

    version: int
    """The last change before it. A fit is no change, so that the number stays."""

    data_version: int
    """The version of the data before it, as this process counts."""

    last_fault: str | None
    """Why the fit before it, or its save, failed; null where it did not."""


class ReadyAnswer(Answer):
    """A service that answers."""

    status: Literal["ready"]
    """Nothing else."""

    version: int
    """The last change that is served."""

    data_version: int
    """The version of the data, as this process counts."""

    process: int
    """The number of the process."""

    writes: bool
    """Whether this process changes the data itself."""

    refresh: Literal["none", "running", "ok", "failed"]
    """How the last fit that this process began, or its save, went."""

    breakers: dict[str, Literal["closed", "half_open", "open"]]
    """For each path whether it is called."""


class LiveAnswer(Answer):
    """A process that runs."""

    status: Literal["live"]
    """Nothing else."""


ANSWERS: dict[tuple[str, str], type[Any]] = {
    ("post", "/v1/retrieve"): CandidatesAnswer,
    ("post", "/v1/retrieve/batch"): BatchAnswer,
    ("post", "/v1/similar"): CandidatesAnswer,
    ("get", "/v1/similar"): CandidatesAnswer,
    ("post", "/v1/explain"): Explanation,
    ("get", "/v1/items/{item_id}"): ItemAnswer,
    ("get", "/v1/users/{user_id}/history"): HistoryAnswer,
    ("get", "/health/live"): LiveAnswer,
    ("get", "/health/ready"): ReadyAnswer,
    ("post", "/v1/interactions"): ChangeAnswer,
    ("post", "/v1/items"): ChangeAnswer,
    ("patch", "/v1/items"): ChangeAnswer,
    ("delete", "/v1/items"): ChangeAnswer,
    ("delete", "/v1/users/{user_id}"): ChangeAnswer,
    ("post", "/v1/refresh"): RefreshAnswer,
}
"""The answer of each route, by method and address."""
