"""The best items for profiles of items, one or several, in one call of a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from multirecall.kernels import Array, kernel
from multirecall.lists import RankedBatch, RankedList
from multirecall.query import Query
from multirecall.query_batch import filters_of, histories_of
from multirecall.sums import Sums, take_top

from .._recency import decay_of, decays_of, newest_distinct
from .._sparse.found_lists import Lists, filled, put_list, room_for
from .._sparse.rows import add_rows
from .maxscore import TRACKED, in_order, search_maxscore
from .postings import Postings

Matrix = tuple[Array, Array, Array]
"""CSR offsets, int64 (n + 1,), columns, int32, and values, float32."""


def search_profile(
    postings: Postings, query: Query, n_items: int, half_life: float | None, n_terms: int, n_postings: int, k: int
) -> RankedList:
    """The `k` best items for the profile of the `recent_items` of a query, under its filter, in one call of a kernel.

    Equal to the bit to `Postings.search` for the `Postings.order` of the `Postings.profile`, which has the limits
    `n_terms` and `n_postings`.
    """
    sums = Sums(postings.n_items + postings.profiles.n_columns)
    history = query.history, query.weights, n_items, decay_of(query, half_life)
    found = _search_profile(*history, n_terms, n_postings, k, *query.filter, *_arrays_of(postings, sums))
    sums.release()
    return RankedList(*found)


def search_profiles(
    postings: Postings,
    queries: Sequence[Query],
    n_items: int,
    half_life: float | None,
    n_terms: int,
    n_postings: int,
    k: int,
) -> RankedBatch:
    """What `search_profile` finds for each of several queries, at least one."""
    bounds, history, weights, ordered = histories_of(queries)
    decays = decays_of(ordered, half_life)
    parts = []
    for users, exclude_bounds, exclude, allowed in filters_of(queries):
        sums = Sums(postings.n_items + postings.profiles.n_columns)
        part = bounds[users.start : users.stop + 1], history, weights, n_items, decays[users]
        filters = exclude_bounds, exclude, allowed
        arrays = _search_profiles(*part, n_terms, n_postings, k, *filters, *_arrays_of(postings, sums))
        sums.release()
        parts.append(RankedBatch(*arrays))
    return parts[0] if len(parts) == 1 else RankedBatch.concat(parts)


def _arrays_of(postings: Postings, sums: Sums) -> tuple[Any, ...]:
    """The arrays of an index, and memory for sums over terms and over items, as kernels take them.

    The memory is that of one `Sums` over both, since a thread keeps it for one at a time.
    """
    impacts, items, profiles = postings.impacts, postings.item_impacts, postings.profiles
    n_items, n_tracked = postings.n_items, postings.n_items // TRACKED
    return (
        (profiles.offsets, profiles.columns, profiles.values),
        postings.statistics.holders,
        postings.statistics.limits,
        postings.peaks,
        postings.statistics.groups,
        (impacts.offsets, impacts.columns, impacts.values),
        (items.offsets, items.columns, items.values),
        *postings.columns,
        sums.totals[n_items:],
        sums.touched[n_tracked:],
        sums.totals[:n_items],
        sums.touched[:n_tracked],
    )


@kernel
def _search_profile(
    history: Array,
    weights: Array,
    n_items: int,
    decay: float,
    n_terms: int,
    n_postings: int,
    k: int,
    exclude: Array,
    allowed: Array,
    profiles: Matrix,
    holders: Array,
    limits: Array,
    peaks: Array,
    groups: Array,
    impacts: Matrix,
    item_impacts: Matrix,
    columns: Array,
    firsts: Array,
    codes: Array,
    term_totals: Array,
    term_touched: Array,
    totals: Array,
    touched: Array,
) -> tuple[Array, Array]:
    """The items and scores of `search_profile`.

    `term_totals` and `term_touched` are as in a `Sums` over terms. The other arrays are those of `search_maxscore`.
    """
    rows, decayed = newest_distinct(history, weights, n_items, decay)
    size = add_rows(rows, decayed, profiles[0], profiles[1], profiles[2], term_totals, term_touched, 0)
    nothing, everything = np.empty(0, np.int32), np.empty(0, np.bool_)
    terms, term_weights = take_top(term_totals, term_touched, size, n_terms, nothing, everything)
    n_kept, n_read = 0, 0
    for term in terms:
        n_read += holders[term]
        if n_kept and n_read > n_postings:
            break
        n_kept += 1
    terms, term_weights = in_order(terms[:n_kept], term_weights[:n_kept], limits, columns)
    found: tuple[Array, Array] = search_maxscore(
        terms,
        term_weights,
        peaks,
        groups,
        impacts[0],
        impacts[1],
        impacts[2],
        item_impacts[0],
        item_impacts[1],
        item_impacts[2],
        columns,
        firsts,
        codes,
        totals,
        touched,
        k,
        exclude,
        allowed,
    )
    return found


@kernel
def _search_profiles(
    bounds: Array,
    histories: Array,
    weights: Array,
    n_items: int,
    decays: Array,
    n_terms: int,
    n_postings: int,
    k: int,
    exclude_bounds: Array,
    exclude: Array,
    allowed: Array,
    profiles: Matrix,
    holders: Array,
    limits: Array,
    peaks: Array,
    groups: Array,
    impacts: Matrix,
    item_impacts: Matrix,
    columns: Array,
    firsts: Array,
    codes: Array,
    term_totals: Array,
    term_touched: Array,
    totals: Array,
    touched: Array,
) -> Lists:
    """`_search_profile` for each history between two of `bounds`; each leaves out what is between `exclude_bounds`."""
    lists = room_for(decays.size, min(k, totals.size))
    for user in range(decays.size):
        start, stop = bounds[user], bounds[user + 1]
        items, scores = _search_profile(
            histories[start:stop],
            weights[start:stop],
            n_items,
            decays[user],
            n_terms,
            n_postings,
            k,
            exclude[exclude_bounds[user] : exclude_bounds[user + 1]],
            allowed,
            profiles,
            holders,
            limits,
            peaks,
            groups,
            impacts,
            item_impacts,
            columns,
            firsts,
            codes,
            term_totals,
            term_touched,
            totals,
            touched,
        )
        put_list(lists, user, items, scores)
    return filled(lists)
