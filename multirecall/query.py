"""A request in the form that retrievers take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.topk import ALL_ALLOWED, NO_ROWS, eligible

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a request's `where`; an item without a value in the field never meets it.

    Attributes:
        field: the item feature.
        kind: its kind: `categorical`, `list`, `number`, `text` or `datetime`.
        values: the item has one of these values or, in a list-valued field, at least one of them; None for a range.
        low: the lower bound of a range, inclusive; None: no lower bound.
        high: the upper bound of a range, inclusive; None: no upper bound.

    Values are `str`, `int`, `float` or `bool`. Text is in Unicode's composed form (NFC). A time is ISO 8601 text or
    epoch seconds; a date without a time means the whole day in UTC.
    """

    field: str
    kind: str
    values: tuple[Value, ...] | None
    low: Value | None = None
    high: Value | None = None


@dataclass(frozen=True, slots=True)
class Where:
    """The `where` of a request as an immutable, hashable value, equal if the conditions are equal.

    Attributes:
        conditions: an item has to meet all of them; () for every item.
    """

    conditions: tuple[Condition, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The conditions as JSON values, in the form that `Engine.retrieve(where=...)` of any engine takes."""
        return {one.field: _predicate(one) for one in self.conditions}


def _predicate(condition: Condition) -> Any:
    if condition.values is not None:
        return list(condition.values)
    bounds = {"min": condition.low, "max": condition.high}
    return {bound: value for bound, value in bounds.items() if value is not None}


Filter = tuple[NDArray[np.int32], NDArray[np.bool_]]
"""Sorted item rows to exclude and a bitmap of allowed items, empty for all: the form of `Query.filter`."""

NO_FILTER: Filter = (NO_ROWS, ALL_ALLOWED)
"""Every item may be returned."""


@dataclass(frozen=True, slots=True)
class Query:
    """One request as a retriever sees it. Arrays are read-only by agreement.

    Attributes:
        user: row of the user, -1 when unknown.
        history: item rows, int32 (n,), oldest first; an item occurs once for each time that the user chose it.
        weights: float32 (n,), the weight of each event of the history, ≥ 0.
        times: int64 (n,), epoch seconds of each event of the history, or None where they are not known.
        ordered: whether the history is in order of time; False for a log without times or positions.
        features: user features by field name; a field without a value is absent.
        terms: see `User.terms`.
        exclude: sorted unique item rows, int32, that must not be returned.
        allowed: bool (n_items,), the items that may be returned; None: all items.
        now: epoch seconds of the newest event in the data, or None without timestamps.
        where: the request's `where`, for a path that queries another system and cannot send it a bitmap. `allowed` is
            True for exactly the items that meet `where` and are not in `removed`.
        removed: sorted unique item rows, int32, of items that were removed from the catalogue; one array for all
            requests of a state.
        context: what the caller says about the request with `retrieve(..., context=...)`, such as device or page.
        deadline: the `time.monotonic()` at which the request goes on without the path; None: no limit. It may have
            passed. Use it as the timeout of a call that waits, and raise `TimeoutError` or another `OSError` when it
            runs out. The content of an answer must not depend on it, since
            the engine may cache answers.
        effort: the share of its usual effort with which an index may search, above 0 and at most 1; less than 1 where
            adaptive width saves time.
    """

    user: int
    history: NDArray[np.int32]
    weights: NDArray[np.float32]
    times: NDArray[np.int64] | None = None
    ordered: bool = True
    features: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, Any] = field(default_factory=dict)
    exclude: NDArray[np.int32] = field(default_factory=lambda: NO_ROWS)
    allowed: NDArray[np.bool_] | None = None
    now: int | None = None
    where: Where = Where()
    removed: NDArray[np.int32] = field(default_factory=lambda: NO_ROWS)
    context: Mapping[str, Any] = field(default_factory=dict)
    deadline: float | None = None
    effort: float = 1.0

    @property
    def filter(self) -> Filter:
        """`exclude`, int32 (n,), and `allowed`, bool (n_items,) or (0,): what `topk.top_eligible` and others take."""
        return self.exclude, ALL_ALLOWED if self.allowed is None else self.allowed

    def eligible(self, items: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether each of `items` (rows, int32 (n,)) may be returned, bool (n,)."""
        return eligible(items, *self.filter)


def runs_of_one_bitmap(filters: Sequence[Filter], longest: int = 2**31) -> Iterator[slice]:
    """Cut filters into runs that share their bitmap, so that a kernel can take it once: at most `longest` in each.

    All queries of a batch that the engine sends share theirs.
    """
    start = 0
    for stop in range(1, len(filters) + 1):
        if stop == len(filters) or stop - start == longest or filters[stop][1] is not filters[start][1]:
            yield slice(start, stop)
            start = stop
