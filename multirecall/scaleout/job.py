"""What the workers of a batch are told, and what they say: JSON, never pickle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from pydantic import Field

from multirecall.engine.request import list_ids
from multirecall.engine.values import list_values
from multirecall.errors import RequestError
from multirecall.validation import StrictModel
from multirecall.vocabulary import Id


class State(StrictModel):
    """The state of a bundle from which all workers answer."""

    bundle: str
    """Id of the bundle."""

    version: str
    """Name of the version."""

    manifest: str
    """SHA-256 of its manifest, which lists the SHA-256 of each of its files."""

    last_change: int
    """The number of the last live change."""


class Request(StrictModel):
    """What is asked for each user, as JSON values; as `Engine.retrieve_batch` takes it."""

    k: int
    exclude: tuple[Id, ...] | None
    where: dict[str, Any] | None
    seen: bool
    context: dict[str, Any] | None

    @classmethod
    def of(
        cls,
        k: int,
        exclude: Iterable[Id] | None,
        where: Mapping[str, Any] | None,
        seen: bool,
        context: Mapping[str, Any] | None,
    ) -> Request:
        """The request with these arguments.

        Raises:
            RequestError: a value has no form in JSON.
        """
        return cls(
            k=k,
            exclude=None if exclude is None else _plain(list_ids(exclude, "exclude"), "exclude"),
            where=None if where is None else _plain(where, "where"),
            seen=bool(seen),
            context=None if context is None else _plain(context, "context"),
        )

    @property
    def filters(self) -> dict[str, Any]:
        """The arguments of `Engine.retrieve_batch` beside users and `k`."""
        return {"exclude": self.exclude, "where": self.where, "seen": self.seen, "context": self.context}


class Job(StrictModel):
    """What a worker needs to know once."""

    bundle: str
    """Folder of the bundle, as every worker sees it."""

    folder: str
    """Folder of the parts, as every worker sees it."""

    state: State
    request: Request

    plugins: tuple[str, ...]
    """Classes that the bundle may use, `module:Class`; the caller has named them."""


class Task(StrictModel):
    """A part to write."""

    part: str
    """Its file name."""

    users: tuple[Id, ...]


class Report(StrictModel):
    """What a worker has done."""

    part: str = ""
    """The part that is there; empty: nothing was to do but to load the engine."""

    rows: int | None = None
    """The number of candidates in it; None: it was there before."""

    paths: dict[str, str] = Field(default_factory=dict)
    """Paths that did not answer for all of its users, and why."""

    fault: str | None = None
    """Why the worker cannot do what it was told."""


def _plain(value: Any, place: str) -> Any:
    """The value as JSON has it; raises `RequestError`."""
    try:
        return json.loads(json.dumps(value, default=_json_value, allow_nan=False))
    except (TypeError, ValueError) as fault:
        raise RequestError(
            f"{place}: {fault}, and workers are told in JSON; give text, numbers, moments, and lists of them"
        ) from None


def _json_value(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    values = list_values(value)
    if values and values[0] is value:
        raise TypeError(f"{value!r} has no form in JSON")
    return values if hasattr(value, "__len__") else values[0]
