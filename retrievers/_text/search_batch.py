"""The best items for profiles of items, one or several, in one call of a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from multirecall.kernels import Array, kernel
from multirecall.lists import RankedBatch, RankedList
from multirecall.query import Query
from multirecall.query_batch import SharedFilter
from multirecall.sums import Sums, take_top

from .._recency import decay_of, newest_distinct
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
    found = _search_history(*history, n_terms, n_postings, k, *query.filter, *_arrays_of(postings, sums))
    sums.release()
    return RankedList(*found)


def search_profiles(
    postings: Postings,
    histories: RankedBatch,
    n_terms: int,
    n_postings: int,
    k: int,
    filters: Sequence[SharedFilter],
) -> RankedBatch:
    """What `search_profile` finds for each of several histories.

    Args:
        postings: the index.
        histories: the items of each user with their weights.
        n_terms, n_postings: of a profile, see `Postings.profile`.
        k: most items of a list.
        filters: the items that each list leaves out.
    """
    parts = []
    for users, bounds, exclude, allowed in filters:
        sums = Sums(postings.n_items + postings.profiles.n_columns)
        arrays = _search_profiles(
            histories.offsets[users.start : users.stop + 1],
            histories.items,
            histories.scores,
            n_terms,
            n_postings,
            k,
            bounds,
            exclude,
            allowed,
            *_arrays_of(postings, sums),
        )
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
def _search_history(
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
    """The items and scores of `search_profile`; arrays are those of `_search_profile`."""
    rows, decayed = newest_distinct(history, weights, n_items, decay)
    found: tuple[Array, Array] = _search_profile(
        rows,
        decayed,
        n_terms,
        n_postings,
        k,
        exclude,
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
    return found


@kernel
def _search_profile(
    rows: Array,
    weights: Array,
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
    """The best items for the profile of `rows`, and their scores.

    `term_totals` and `term_touched` are as in a `Sums` over terms. The other arrays are those of `search_maxscore`.
    """
    size = add_rows(rows, weights, profiles[0], profiles[1], profiles[2], term_totals, term_touched, 0)
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
    offsets: Array,
    rows: Array,
    weights: Array,
    n_terms: int,
    n_postings: int,
    k: int,
    bounds: Array,
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
) -> tuple[Array, Array, Array]:
    """`search_profiles` as CSR: offsets, items and scores. What list `i` leaves out is between two of `bounds`."""
    n_lists = offsets.size - 1
    width = min(k, totals.size)
    found_offsets = np.zeros(n_lists + 1, np.int64)
    found, scores = np.empty(n_lists * width, np.int32), np.empty(n_lists * width, np.float32)
    for number in range(n_lists):
        best, best_scores = _search_profile(
            rows[offsets[number] : offsets[number + 1]],
            weights[offsets[number] : offsets[number + 1]],
            n_terms,
            n_postings,
            k,
            exclude[bounds[number] : bounds[number + 1]],
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
        start = found_offsets[number]
        stop = start + best.size
        found[start:stop], scores[start:stop] = best, best_scores
        found_offsets[number + 1] = stop
    return found_offsets, found[: found_offsets[-1]], scores[: found_offsets[-1]]
