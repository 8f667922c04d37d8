"""Each item's neighbours by normalised co-occurrence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.kernels import Array, kernel, prefetch
from multirecall.progress import Progress
from multirecall.selection import best_keys, candidates_of, find_best, key_of

from .._sparse.found_lists import Lists, filled, put_list
from .._sparse.rows import SparseRows
from .._sparse.spectrum import powers
from .retriever import run_in_blocks

AHEAD = 8
"""Users whose lists are prefetched ahead of the one that is summed. Lists lie far apart in memory, so that the
processor would wait for the start of each. Changes speed only."""

MOST_ITEMS = 10_000
"""The largest number of items of a user that form pairs. The time grows with its square; without a limit, one crawler
would take most of the fit."""

FETCHED = 128
"""Bytes at the start of a list that are prefetched; the processor prefetches the rest itself. Changes speed only."""


def cooccurrence_neighbours(
    by_user: csr_array,
    *,
    user_exponent: float,
    source_exponent: float,
    target_exponent: float,
    shrinkage: float,
    n_neighbours: int,
    threads: int,
    progress: Progress,
    task: str,
) -> SparseRows:
    """For each item, the at most `n_neighbours` other items of largest similarity above 0.

    With `x_ui` the entries of `by_user` (users × items, ≥ 0), `n_u = Σ_i x_ui` and `n_i = Σ_u x_ui²`:
    `S[s → t] = Σ_u (x_us · x_ut / n_u^g) / (n_s^a · n_t^b + shrinkage^(a + b))`, with the exponents g of the user,
    a of the source and b of the target. A user with more than `MOST_ITEMS` items forms pairs of that many of them,
    spread evenly over their rows.
    """
    by_user, user_sums, item_sums = _pairing(by_user)
    arguments = (
        *_pair_arrays(by_user),
        powers(user_sums, -user_exponent),
        powers(item_sums, source_exponent),
        powers(item_sums, target_exponent),
        shrinkage ** (source_exponent + target_exponent),
        n_neighbours,
    )
    return run_in_blocks(_neighbours, arguments, by_user.shape[1], threads, progress, task)


def _pair_arrays(by_user: csr_array) -> tuple[Array, ...]:
    """The arrays of `_sum_pairs`: the matrix by users, then by items."""
    by_item = by_user.tocsc()
    return (
        by_user.indptr.astype(np.int64),
        by_user.indices.astype(np.uint16 if by_user.shape[1] <= 1 << 16 else np.int32),
        by_user.data if (by_user.data != 1.0).any() else by_user.data[:0],
        by_item.indptr.astype(np.int64),
        by_item.indices.astype(np.int32),
        by_item.data,
    )


def _pairing(by_user: csr_array) -> tuple[csr_array, NDArray[np.float32], NDArray[np.float64]]:
    """The entries of `by_user` that form pairs, then the `n_u` of its users and the `n_i` of its items."""
    if not by_user.data.all():
        by_user = by_user.copy()
        by_user.eliminate_zeros()
    item_sums = np.bincount(by_user.indices, np.square(by_user.data), by_user.shape[1]).astype(np.float64, copy=False)
    return thin_rows(by_user, MOST_ITEMS), by_user.sum(axis=1), item_sums


@dataclass(frozen=True, slots=True)
class Cooccurrences:
    """The numerators of `cooccurrence_neighbours` for some sources, from which lists of any item exponents follow.

    Attributes:
        offsets: int64 (n_items + 1,), where the targets of each source begin; other items have none.
        targets: uint16 or int32 (n,), in no order within a source.
        sums: float32 (n,), `Σ_u x_us · x_ut / n_u^g` by source and target; 0 where these are one item.
        item_sums: float64 (n_items,), `n_i`.
    """

    offsets: NDArray[np.int64]
    targets: NDArray[np.integer]
    sums: NDArray[np.float32]
    item_sums: NDArray[np.float64]

    @classmethod
    def count(
        cls,
        by_user: csr_array,
        sources: NDArray[np.integer],
        user_exponent: float,
        same_pairs: Cooccurrences | None = None,
    ) -> Cooccurrences:
        """Count the pairs of `sources`, distinct rows.

        Counts with another user exponent, `same_pairs`, share what they have in common: all but the sums.
        """
        by_user, user_sums, item_sums = _pairing(by_user)
        asked = np.zeros(by_user.shape[1], np.bool_)
        asked[sources] = True
        arguments = (*_pair_arrays(by_user), powers(user_sums, -user_exponent))
        counted = cls(*_count(asked, *arguments), item_sums)
        return counted if same_pairs is None else replace(same_pairs, sums=counted.sums)

    def neighbours(
        self, source_exponent: float, target_exponent: float, shrinkage: float, n_neighbours: int
    ) -> SparseRows:
        """The lists of the sources, equal to the bit to those of `cooccurrence_neighbours`."""
        offsets, items, similarities = _nearest(
            self.offsets,
            self.targets,
            self.sums,
            powers(self.item_sums, source_exponent),
            powers(self.item_sums, target_exponent),
            shrinkage ** (source_exponent + target_exponent),
            n_neighbours,
        )
        return SparseRows(offsets, items, similarities, self.item_sums.size)


def count_pairs(by_user: csr_array) -> NDArray[np.float64]:
    """An upper bound of the number of items that each item occurs with, float64 (n_items,)."""
    n_items, lengths = by_user.shape[1], np.diff(by_user.indptr)
    pairs = np.bincount(by_user.indices, np.repeat(lengths, lengths), n_items).astype(np.float64)
    return np.minimum(pairs, float(n_items))


def thin_rows(matrix: csr_array, most: int) -> csr_array:
    """The matrix with at most `most` entries in each row; a longer row keeps entries spread evenly over it."""
    lengths = np.diff(matrix.indptr)
    longer = np.flatnonzero(lengths > most)
    if not longer.size:
        return matrix
    keep = np.repeat(lengths <= most, lengths)
    for row in longer:
        keep[matrix.indptr[row] + np.linspace(0, lengths[row] - 1, most).astype(np.int64)] = True
    offsets = np.append(0, np.cumsum(keep))[matrix.indptr]
    return csr_array((matrix.data[keep], matrix.indices[keep], offsets), shape=matrix.shape)


@kernel
def _neighbours(
    start: int,
    stop: int,
    user_offsets: Array,
    user_items: Array,
    user_values: Array,
    item_offsets: Array,
    item_users: Array,
    item_values: Array,
    user_factors: Array,
    source_powers: Array,
    target_powers: Array,
    shrinkage: float,
    n_neighbours: int,
) -> tuple[Array, Array, Array]:
    """The best neighbours of the source items `start … stop - 1`: the number for each, the items, the similarities.

    `user_items` is int32, or uint16 if all rows fit; `user_values` is empty if all are 1.
    """
    n_items = item_offsets.size - 1
    constant = np.float32(shrinkage)
    sums = np.zeros(n_items, np.float32)
    longest = np.diff(user_offsets).max() if user_offsets.size > 1 else 0
    touched = np.empty(n_items + longest + 1, user_items.dtype)
    all_similarities = np.empty(n_items, np.float32)
    all_divisors = np.empty(n_items, np.float32)
    lengths = np.zeros(stop - start, np.int64)
    capacity = 0
    for source in range(start, stop):
        capacity += min(_reach(source, user_offsets, item_offsets, item_users), n_neighbours)
    items = np.empty(capacity, np.int32)
    scores = np.empty(capacity, np.float32)
    filled = 0
    for source in range(start, stop):
        size = _sum_pairs(
            source,
            user_offsets,
            user_items,
            user_values,
            item_offsets,
            item_users,
            item_values,
            user_factors,
            sums,
            touched,
        )
        similarities, divisors = all_similarities[:size], all_divisors[:size]
        for position in range(size):
            target = touched[position]
            similarities[position] = sums[target]
            divisors[position] = source_powers[source] * target_powers[target] + constant
            sums[target] = 0.0
        np.divide(similarities, divisors, similarities)
        best, best_similarities = _best_of(touched, similarities, n_neighbours)
        lengths[source - start] = best.size
        items[filled : filled + best.size] = best
        scores[filled : filled + best.size] = best_similarities
        filled += best.size
    return lengths, items[:filled], scores[:filled]


@kernel
def _reach(source: int, user_offsets: Array, item_offsets: Array, item_users: Array) -> int:
    """The most targets that a source can have: the events of all its users."""
    reach = 0
    for entry in range(item_offsets[source], item_offsets[source + 1]):
        user = item_users[entry]
        reach += user_offsets[user + 1] - user_offsets[user]
    return reach


@kernel
def _sum_pairs(
    source: int,
    user_offsets: Array,
    user_items: Array,
    user_values: Array,
    item_offsets: Array,
    item_users: Array,
    item_values: Array,
    user_factors: Array,
    sums: Array,
    touched: Array,
) -> int:
    """Add to `sums`, float32 (n_items,), in place, the pairs of a source with each target; that with itself is 0.

    The targets become the first entries of `touched`, which has room for all items and one user's; their number is
    returned.
    """
    weighted = user_values.size > 0
    size = 0
    for entry in range(item_offsets[source], item_offsets[source + 1]):
        ahead = user_offsets[item_users[min(entry + AHEAD, item_users.size - 1)]]
        prefetch(user_items, ahead, FETCHED)
        if weighted:
            prefetch(user_values, ahead, 2 * FETCHED)
        user = item_users[entry]
        factor = item_values[entry] * user_factors[user]
        if factor > 0.0:
            for pair in range(user_offsets[user], user_offsets[user + 1]):
                target = user_items[pair]
                total = sums[target]
                touched[size] = target
                size += total == 0.0
                sums[target] = total + (factor * user_values[pair] if weighted else factor)
            size = min(size, sums.size)
    sums[source] = 0.0
    return size


@kernel
def _count(
    asked: Array,
    user_offsets: Array,
    user_items: Array,
    user_values: Array,
    item_offsets: Array,
    item_users: Array,
    item_values: Array,
    user_factors: Array,
) -> tuple[Array, Array, Array]:
    """The targets and sums of the items that are `asked`, bool (n_items,), as CSR with a row for each item.

    Room that turns out not to be needed is never touched, so that it takes no memory.
    """
    n_items = asked.size
    sums = np.zeros(n_items, np.float32)
    longest = np.diff(user_offsets).max() if user_offsets.size > 1 else 0
    capacity = 0
    for source in range(n_items):
        if asked[source]:
            capacity += min(_reach(source, user_offsets, item_offsets, item_users), n_items)
    touched = np.empty(n_items + longest + 1, user_items.dtype)
    offsets = np.zeros(n_items + 1, np.int64)
    targets = np.empty(capacity, user_items.dtype)
    counted = np.empty(capacity, np.float32)
    for source in range(n_items):
        filled, size = offsets[source], 0
        if asked[source]:
            size = _sum_pairs(
                source,
                user_offsets,
                user_items,
                user_values,
                item_offsets,
                item_users,
                item_values,
                user_factors,
                sums,
                touched,
            )
        for position in range(size):
            target = touched[position]
            targets[filled + position] = target
            counted[filled + position] = sums[target]
            sums[target] = 0.0
        offsets[source + 1] = filled + size
    return offsets, targets[: offsets[n_items]], counted[: offsets[n_items]]


@kernel
def _best_of(targets: Array, similarities: Array, n_neighbours: int) -> tuple[Array, Array]:
    """The `n_neighbours` targets of largest similarity above 0 under the ordering rule, and their similarities."""
    bits = similarities.view(np.int32)
    places = find_best(bits, n_neighbours)
    keys = np.empty(places.size, np.int64)
    for position in range(places.size):
        keys[position] = key_of(bits[places[position]], targets[places[position]])
    found: tuple[Array, Array] = candidates_of(best_keys(keys, n_neighbours))
    return found


@kernel
def _nearest(
    offsets: Array,
    targets: Array,
    sums: Array,
    source_powers: Array,
    target_powers: Array,
    shrinkage: float,
    n_neighbours: int,
) -> Lists:
    """The best neighbours of all sources as CSR, from the `offsets`, `targets` and `sums` of `Cooccurrences`."""
    lengths = np.diff(offsets)
    size = np.minimum(lengths, n_neighbours).sum()
    lists = np.zeros(offsets.size, np.int64), np.empty(size, np.int32), np.empty(size, np.float32)
    constant = np.float32(shrinkage)
    all_similarities = np.empty(lengths.max(), np.float32)
    for source in range(lengths.size):
        own_targets = targets[offsets[source] : offsets[source + 1]]
        similarities = all_similarities[: lengths[source]]
        for position in range(similarities.size):
            similarities[position] = source_powers[source] * target_powers[own_targets[position]] + constant
        np.divide(sums[offsets[source] : offsets[source + 1]], similarities, similarities)
        best, best_similarities = _best_of(own_targets, similarities, n_neighbours)
        put_list(lists, source, best, best_similarities)
    return filled(lists)
