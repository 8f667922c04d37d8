"""Errors as problem details (RFC 9457): the engine's own sentence, the status that it means, and no stack trace."""

from __future__ import annotations

from http import HTTPStatus
from itertools import islice
from reprlib import Repr
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.responses import Response

from multirecall.errors import (
    BundleError,
    BundleHeld,
    DataError,
    MultirecallError,
    NotFitted,
    PathError,
    RequestError,
    UnknownItem,
    UnknownItems,
)

MEDIA_TYPE = "application/problem+json"
LONGEST = 1_000
"""Characters of a detail: a sentence may quote what the caller sent."""

SHOWN_FAULTS = 10
"""Faults of one body that are named."""

STATUS_OF: tuple[tuple[type[MultirecallError], int], ...] = (
    (UnknownItem, 404),
    (UnknownItems, 404),
    (RequestError, 400),
    (DataError, 400),
    (BundleHeld, 409),
    (BundleError, 503),
    (PathError, 503),
    (NotFitted, 503),
)
"""The status of each error of the engine; the first that fits counts."""

BRANCHES = ("constrained-int", "constrained-str", "UserPart")
"""Pydantic's names for what an id, or a user of a batch, may be; they are no part of a place."""

_short = Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60
_short.maxlist = _short.maxdict = 4
_short.maxlevel = 3


class Problem(Exception):  # noqa: N818
    """A request that gets an error for its answer.

    Attributes:
        status: of HTTP.
        detail: a sentence for the caller.
        headers: of the answer.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


def problem_of(fault: Exception) -> Problem:
    """The problem that an error means for the caller; one that is not ours becomes 500 and says nothing of itself."""
    if isinstance(fault, Problem):
        return fault
    if isinstance(fault, ValidationError):
        return Problem(422, _faults(fault))
    for kind, status in STATUS_OF:
        if isinstance(fault, kind):
            return Problem(status, str(fault), {"Retry-After": "1"} if status == 503 else None)
    return Problem(500, "the service failed at this request; its log has the reason under the request id")


def problem_response(problem: Problem, request_id: str) -> Response:
    """The answer to the caller."""
    # What was decoded from a header may hold what is no Unicode.
    detail = problem.detail[:LONGEST].encode("utf-8", "replace").decode()
    content = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": detail,
        "request_id": request_id,
    }
    return Response(orjson.dumps(content), problem.status, problem.headers, MEDIA_TYPE)


def _faults(fault: ValidationError) -> str:
    """A sentence for each wrong field. Where a value may be of several types, the fault of the deepest place stands."""
    by_place = {_place(one["loc"]): one for one in fault.errors(include_url=False, include_context=False)}
    outer = {place[:depth] for place in by_place for depth in range(1, len(place))}
    deepest = (place for place in by_place if place not in outer)
    return "; ".join(_sentence(_text(place), by_place[place]) for place in islice(deepest, SHOWN_FAULTS))


def _place(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return tuple(one for one in location if one not in BRANCHES)


def _text(place: tuple[int | str, ...]) -> str:
    return "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in place).lstrip(".") or "body"


def _sentence(place: str, error: Any) -> str:
    place = place[:100]
    if error["type"] == "missing":
        return f"{place}: is missing"
    if error["type"] == "extra_forbidden":
        return f"{place}: is no field of this request"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["loc"][-1] in BRANCHES:
        user = ", or an object with the fields of a user" if error["loc"][-1] == "UserPart" else ""
        message = f"an id is a whole number of 64 bits or a text{user}"
    return f"{place}: {message[0].lower()}{message[1:]}, got {_short.repr(error['input'])}"
