"""The best items for several profiles of items, in one call for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multirecall.kernels import Array, kernel
from multirecall.lists import RankedBatch
from multirecall.query_batch import SharedFilter
from multirecall.sums import Sums, take_top

from .._sparse.rows import add_rows
from .maxscore import TRACKED, in_order, search_maxscore
from .postings import Postings

Matrix = tuple[Array, Array, Array]
"""CSR offsets, int64 (n + 1,), columns, int32, and values, float32."""


def search_profiles(
    postings: Postings,
    histories: RankedBatch,
    n_terms: int,
    n_postings: int,
    k: int,
    filters: Sequence[SharedFilter],
) -> RankedBatch:
    """The `k` best items for the profile of each history, equal to the bit to `Postings.search` for each.

    Args:
        postings: the index.
        histories: the items of each user with their weights.
        n_terms, n_postings: of a profile, see `Postings.profile`.
        k: most items of a list.
        filters: the items that each list leaves out.
    """
    impacts, items, profiles = postings.impacts, postings.item_impacts, postings.profiles
    parts = []
    for users, bounds, exclude, allowed in filters:
        sums = Sums(postings.n_items)
        terms = Sums(profiles.n_columns)
        arrays = _search_profiles(
            histories.offsets[users.start : users.stop + 1],
            histories.items,
            histories.scores,
            (profiles.offsets, profiles.columns, profiles.values),
            postings.statistics.holders,
            postings.statistics.limits,
            n_terms,
            n_postings,
            postings.peaks,
            postings.statistics.groups,
            (impacts.offsets, impacts.columns, impacts.values),
            (items.offsets, items.columns, items.values),
            *postings.columns,
            terms.totals,
            terms.touched,
            sums.totals,
            sums.touched[: postings.n_items // TRACKED],
            k,
            bounds,
            exclude,
            allowed,
        )
        terms.release()
        sums.release()
        parts.append(RankedBatch(*arrays))
    return parts[0] if len(parts) == 1 else RankedBatch.concat(parts)


@kernel
def _search_profiles(
    offsets: Array,
    rows: Array,
    weights: Array,
    profiles: Matrix,
    holders: Array,
    limits: Array,
    n_terms: int,
    n_postings: int,
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
    k: int,
    bounds: Array,
    exclude: Array,
    allowed: Array,
) -> tuple[Array, Array, Array]:
    """`search_profiles` as CSR: offsets, items and scores.

    `term_totals` and `term_touched` are those of a `Sums` of terms. What list `i` leaves out is between two of
    `bounds` in `exclude`. The other arrays are those of `search_maxscore`.
    """
    n_lists = offsets.size - 1
    width = min(k, totals.size)
    found_offsets = np.zeros(n_lists + 1, np.int64)
    found, scores = np.empty(n_lists * width, np.int32), np.empty(n_lists * width, np.float32)
    nothing, everything = np.empty(0, np.int32), np.empty(0, np.bool_)
    for number in range(n_lists):
        own = slice(offsets[number], offsets[number + 1])
        size = add_rows(rows[own], weights[own], profiles[0], profiles[1], profiles[2], term_totals, term_touched, 0)
        terms, term_weights = take_top(term_totals, term_touched, size, n_terms, nothing, everything)
        n_kept, n_read = 0, 0
        for term in terms:
            n_read += holders[term]
            if n_kept and n_read > n_postings:
                break
            n_kept += 1
        terms, term_weights = in_order(terms[:n_kept], term_weights[:n_kept], limits, columns)
        best, best_scores = search_maxscore(
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
            exclude[bounds[number] : bounds[number + 1]],
            allowed,
        )
        start = found_offsets[number]
        stop = start + best.size
        found[start:stop], scores[start:stop] = best, best_scores
        found_offsets[number + 1] = stop
    return found_offsets, found[: found_offsets[-1]], scores[: found_offsets[-1]]
