"""Queries and ranked lists as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.engine.path import Outcome
from multirecall.lists import RankedBatch, RankedList
from multirecall.query import Query, Where
from multirecall.scaleout.wire import pack

Arrays = Mapping[str, NDArray[Any]]


def pack_queries(queries: Sequence[Query], **values: Any) -> bytes:
    """The queries of one request with plain values beside them.

    A shard resolves `where` itself and knows what was removed, so that no bitmap over items is sent.
    """
    first = queries[0]
    timed = first.times is not None and all(query.times is not None for query in queries)
    users = [[query.user, query.ordered, query.features, query.terms] for query in queries]
    arrays = {
        "offsets": offsets_of([query.history.size for query in queries]),
        "history": np.concatenate([query.history for query in queries]),
        "weights": np.concatenate([query.weights for query in queries]),
        "excluded": offsets_of([query.exclude.size for query in queries]),
        "exclude": np.concatenate([query.exclude for query in queries]),
    }
    if timed:
        arrays["times"] = np.concatenate([query.times for query in queries if query.times is not None])
    request = {
        "users": users,
        "now": first.now,
        "where": first.where.to_dict(),
        "context": dict(first.context),
        "effort": first.effort,
    }
    return pack({**values, **request}, arrays)


def unpack_queries(
    values: Mapping[str, Any],
    arrays: Arrays,
    allowed: NDArray[np.bool_] | None,
    where: Where,
    removed: NDArray[np.int32],
    deadline: float | None = None,
) -> list[Query]:
    """The queries of a message, with a shard's own bitmap of allowed items, which the message does not hold."""
    offsets, excluded = arrays["offsets"], arrays["excluded"]
    times = arrays.get("times")
    queries = []
    for number, (user, ordered, features, terms) in enumerate(values["users"]):
        own = slice(offsets[number], offsets[number + 1])
        queries.append(
            Query(
                user=user,
                history=arrays["history"][own],
                weights=arrays["weights"][own],
                times=None if times is None else times[own],
                ordered=ordered,
                features=features,
                terms=terms,
                exclude=arrays["exclude"][excluded[number] : excluded[number + 1]],
                allowed=allowed,
                now=values["now"],
                where=where,
                removed=removed,
                context=values["context"],
                deadline=deadline,
                effort=values["effort"],
            )
        )
    return queries


def pack_outcomes(names: Sequence[str], outcomes: Sequence[Outcome[Any]], **values: Any) -> bytes:
    """The outcomes of some paths of a shard, of one user each or of several, with plain values beside them."""
    batches = [_batch_of(one.ranked) for one in outcomes]
    paths = {
        name: [one.ranked is not None, one.state, one.ms, one.detail, one.callers, one.deployed]
        for name, one in zip(names, outcomes, strict=True)
    }
    arrays = {
        "lists": offsets_of([len(batch) for batch in batches]),
        "offsets": np.concatenate([np.empty(0, np.int64), *(np.diff(batch.offsets) for batch in batches)]),
        "items": np.concatenate([np.empty(0, np.int32), *(batch.items for batch in batches)]),
        "scores": np.concatenate([np.empty(0, np.float32), *(batch.scores for batch in batches)]),
    }
    return pack({**values, "paths": paths}, arrays)


def unpack_outcomes(values: Mapping[str, Any], arrays: Arrays) -> dict[str, Outcome[RankedBatch]]:
    """The outcomes of a message, by path."""
    lists, lengths = arrays["lists"], arrays["offsets"]
    entries = offsets_of(lengths)
    found = {}
    for number, (name, one) in enumerate(values["paths"].items()):
        has_list, state, ms, detail, callers, deployed = one
        bounds = entries[lists[number] : lists[number + 1] + 1]
        own = slice(bounds[0], bounds[-1])
        batch = RankedBatch(bounds - bounds[0], arrays["items"][own], arrays["scores"][own])
        found[name] = Outcome(batch if has_list else None, state, ms, detail, callers, deployed)
    return found


def _batch_of(ranked: RankedList | RankedBatch | None) -> RankedBatch:
    if ranked is None:
        return RankedBatch.empty(0)
    return ranked if isinstance(ranked, RankedBatch) else RankedBatch.from_lists([ranked])
