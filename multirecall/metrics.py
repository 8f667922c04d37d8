"""Ranking metrics, computed for several k in one pass.

`T` is the set of a user's targets. `h_r` is 1 where the item at rank `r` (from 1) is a target, else 0:

- `recall`: `Σ_{r≤k} h_r / |T|`; targets outside the catalogue stay in `|T|`.
- `hit_rate`: 1 if `Σ_{r≤k} h_r > 0`.
- `precision`: `Σ_{r≤k} h_r / k`.
- `ndcg`: `Σ_{r≤k} h_r / log2(r + 1)`, divided by the same sum over the ideal list of `min(k, |T|)` hits.
- `mrr`: `1 / r` of the first hit at `r ≤ k`, else 0.
- `map`: `Σ_{r≤k} h_r · (Σ_{s≤r} h_s / r) / |T|`, as trec_eval's `map_cut`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel

METRICS = ("recall", "hit_rate", "precision", "ndcg", "mrr", "map")
"""The metrics of a user's list, in the order in which they are returned."""


def user_metrics(
    offsets: NDArray[np.int64],
    items: NDArray[np.int32],
    target_offsets: NDArray[np.int64],
    targets: NDArray[np.int32],
    ks: Sequence[int],
) -> NDArray[np.float64]:
    """The metrics of `METRICS` for every user and k, float64 (n_metrics, n_users, n_ks).

    Args:
        offsets: int64 (n_users + 1,), where the ranked list of each user begins in `items`.
        items: ranked item rows, best first within a user.
        target_offsets: int64 (n_users + 1,), where the targets of each user begin in `targets`.
        targets: target rows, ascending within a user; row -1 is never a hit.
        ks: list lengths, ascending.
    """
    return _user_metrics(offsets, items, target_offsets, targets, np.asarray(ks, np.int64))


@kernel
def _user_metrics(offsets: Array, items: Array, target_offsets: Array, targets: Array, ks: Array) -> Array:
    n_users, longest = offsets.size - 1, 1
    for user in range(n_users):
        longest = max(longest, offsets[user + 1] - offsets[user], target_offsets[user + 1] - target_offsets[user])
    out = np.zeros((6, n_users, ks.size))
    discounts = 1.0 / np.log2(np.arange(2.0, longest + 2.0))
    ideal = np.cumsum(discounts)
    for user in range(n_users):
        own = targets[target_offsets[user] : target_offsets[user + 1]]
        ranked = items[offsets[user] : offsets[user + 1]]
        hits, gain, first, precisions = 0, 0.0, 0.0, 0.0
        rank = 0
        for column in range(ks.size):
            while rank < min(ks[column], ranked.size):
                place = np.searchsorted(own, ranked[rank])
                if ranked[rank] >= 0 and place < own.size and own[place] == ranked[rank]:
                    hits += 1
                    gain += discounts[rank]
                    precisions += hits / (rank + 1)
                    if first == 0.0:
                        first = 1.0 / (rank + 1)
                rank += 1
            out[0, user, column] = hits / own.size
            out[1, user, column] = hits > 0
            out[2, user, column] = hits / ks[column]
            out[3, user, column] = gain / ideal[min(ks[column], own.size) - 1]
            out[4, user, column] = first
            out[5, user, column] = precisions / own.size
    return out
