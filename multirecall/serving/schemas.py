"""The bodies of requests. Every list, text and depth in them has a bound."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from multirecall.serving.problems import Problem
from multirecall.user import User

MAX_DEPTH = 6
"""Lists and tables within each other in a value."""

MAX_NAMES = 100
"""Fields in one table."""

MAX_VALUES = 20_000
"""Values in one table, those of its lists included."""

B = TypeVar("B", bound="Body")


def _bounded(value: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [value]
    n = depth = 0
    while level:
        depth, n = depth + 1, n + len(level)
        if depth > MAX_DEPTH + 1:
            raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
        if n > MAX_VALUES:
            raise ValueError(f"has more than {MAX_VALUES:,} values")
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())
            elif isinstance(one, list):
                inner.extend(one)
        level = inner
    return value


IntId = Annotated[int, Field(strict=True, ge=-(2**63), le=2**64 - 1)]
TextId = Annotated[str, Field(strict=True, max_length=256)]
Id = IntId | TextId
"""An id by its JSON type: 17 and "17" are two ids."""

Ids = Annotated[list[Id], Field(max_length=100_000)]
Name = Annotated[str, Field(strict=True, max_length=256)]
FieldTable = Annotated[dict[Name, Any], Field(max_length=MAX_NAMES), AfterValidator(_bounded)]
Rows = Annotated[list[FieldTable], Field(min_length=1, max_length=100_000)]
Flag = Annotated[bool, Field(strict=True)]
Number = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
Milliseconds = Annotated[float, Field(strict=True, gt=0, lt=1e9)]


class Body(BaseModel):
    """Base of all bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, frozen=True)


class UserPart(Body):
    """Who asks: a user, or a visitor with what is known of them."""

    user_id: Id | None = None
    """The user; without it, a visitor."""

    history: Ids | None = None
    """Item ids, oldest first, in place of the stored history."""

    features: FieldTable = Field(default_factory=dict)
    """User features that override the stored ones."""

    terms: FieldTable = Field(default_factory=dict)
    """What is searched for, by item field."""

    def to_user(self) -> User:
        """The user as the engine takes them."""
        return User(self.user_id, self.history, self.features, self.terms)


class FilterPart(Body):
    """What a list is narrowed by, and how long it is."""

    k: Number | None = None
    """The number of candidates; default: the engine's."""

    exclude: Ids | None = None
    """Item ids to leave out."""

    where: FieldTable | None = None
    """Predicates over item features, such as `{"price": {"max": 20}}`."""

    context: FieldTable | None = None
    """What paths of your own may want to know of the request."""

    def filters(self) -> dict[str, Any]:
        """The arguments that all calls of the engine share."""
        return {"k": self.k, "exclude": self.exclude, "where": self.where, "context": self.context}


class FieldsPart(Body):
    """Which item features come with the candidates."""

    fields: Annotated[list[Name], Field(max_length=MAX_NAMES)] = Field(default_factory=list)
    """Item features to return with each candidate."""


class DeadlinePart(Body):
    """How long an answer may take."""

    deadline_ms: Milliseconds | None = None
    """Go on without paths that are later than this, waiting for a thread included; overrides `X-Deadline-Ms`."""


class SeenPart(Body):
    """Whether what the user knows already may come."""

    seen: Flag = False
    """Whether items that the user has interacted with may be returned."""


class RetrieveBody(UserPart, FilterPart, SeenPart, FieldsPart, DeadlinePart):
    """Candidates for one user."""


class BatchBody(FilterPart, SeenPart, FieldsPart):
    """Candidates for several users, without a deadline."""

    users: Annotated[list[IntId | TextId | UserPart], Field(min_length=1, max_length=100_000)]
    """Ids, or objects with `user_id`, `history`, `features` and `terms`."""


class SimilarBody(FilterPart, FieldsPart, DeadlinePart):
    """Items like an item."""

    item_id: Id
    """The item."""


class ExplainBody(UserPart, FilterPart, SeenPart):
    """Why an item is where it is in a user's list, or why it is missing."""

    item_id: Id
    """The item."""


class InteractionsBody(Body):
    """Events to add."""

    interactions: Rows
    """A table for each event, with the columns of the log: `user_id`, `item_id` and what else it has."""


class ItemsBody(Body):
    """Items to add or change."""

    items: Rows
    """A table for each item: `item_id` and features."""


class ItemIdsBody(Body):
    """Items to remove."""

    item_ids: Annotated[Ids, Field(min_length=1)]
    """Their ids."""


class RefreshBody(Body):
    """A new fit on all data."""

    save: Flag = True
    """Whether the new fit becomes a new version of the bundle."""


BODIES: tuple[type[Body], ...] = (
    RetrieveBody,
    BatchBody,
    SimilarBody,
    ExplainBody,
    InteractionsBody,
    ItemsBody,
    ItemIdsBody,
    RefreshBody,
)


def read_body(content: bytes, model: type[B]) -> B:
    """The body of a request; nothing in it may be of another type than the model says.

    Raises:
        Problem: 400, it is no JSON object.
        ValidationError: a field is unknown, missing or wrong.
    """
    try:
        values = orjson.loads(content)
    except orjson.JSONDecodeError as fault:
        raise Problem(400, f"the body is not JSON: {fault}") from None
    if not isinstance(values, dict):
        raise Problem(400, f"the body is no JSON object; send one with the fields of {model.__name__}")
    return model.model_validate(values)
