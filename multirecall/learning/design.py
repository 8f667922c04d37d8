"""The candidates of a hold-out as rows of terms: every target that a path proposes, and a sample of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of, take_runs
from multirecall.kernels import Array, kernel
from multirecall.learning.lists import KnownLists

OTHERS = 100
"""Candidates of a request that were not chosen, drawn at random; more give steadier coefficients and take longer."""


@dataclass(frozen=True, slots=True)
class Design:
    """Candidates as rows of terms, request by request, the chosen ones first.

    Attributes:
        terms: float32 (n_rows, n_columns), the terms of each path side by side; 0 where it does not propose the item.
        offsets: CSR offsets of the requests, int64 (n + 1,).
        n_chosen: the number of chosen candidates of each request, int64 (n,).
        expand: the number of candidates that one sampled other stands for, float64 (n,).
    """

    terms: NDArray[np.float32]
    offsets: NDArray[np.int64]
    n_chosen: NDArray[np.int64]
    expand: NDArray[np.float64]

    def __len__(self) -> int:
        return self.n_chosen.size

    def take(self, requests: NDArray[np.integer]) -> Design:
        """Some of the requests; `requests` holds their positions."""
        offsets, rows = take_runs(self.offsets, requests)
        return Design(self.terms[rows], offsets, self.n_chosen[requests], self.expand[requests])


def build_design(lists: KnownLists, terms: Sequence[NDArray[np.float32]], seed: int) -> Design:
    """The candidates of every request; `terms` holds those of each path's entries, float32 (n_entries, n_terms)."""
    draws = np.random.default_rng(seed).random((len(lists), OTHERS))
    bounds = np.stack([batch.offsets for batch in lists.batches])
    shift = offsets_of([batch.items.size for batch in lists.batches])
    items = np.concatenate([batch.items for batch in lists.batches])
    n_items = int(max(items.max(initial=0), lists.targets.max(initial=0))) + 1
    return Design(
        *_gather(
            bounds[:, :-1] + shift[:-1, None],
            bounds[:, 1:] + shift[:-1, None],
            items,
            np.concatenate(terms),
            lists.offsets,
            lists.targets,
            draws,
            n_items,
        )
    )


@kernel
def _gather(
    starts: Array,
    stops: Array,
    items: Array,
    terms: Array,
    target_offsets: Array,
    targets: Array,
    draws: Array,
    n_items: int,
) -> tuple[Array, Array, Array, Array]:
    """Fill a `Design`. `starts` and `stops`, int64 (n_paths, n), bound each list in `items` and `terms`."""
    n_paths, n = starts.shape
    n_terms, n_others = terms.shape[1], draws.shape[1]
    offsets = np.zeros(n + 1, np.int64)
    n_chosen = np.zeros(n, np.int64)
    expand = np.ones(n)
    most = targets.size + n * n_others
    rows = np.zeros((most, n_paths * n_terms), np.float32)
    met = np.full(n_items, -1, np.int64)  # the last request in which an item was met
    place = np.full(n_items, -1, np.int64)  # its row in the design of that request, -1 while it is not sampled
    others = np.empty(n_items, np.int32)
    filled = 0
    for request in range(n):
        offsets[request] = filled
        own = targets[target_offsets[request] : target_offsets[request + 1]]
        n_found = 0
        for path in range(n_paths):
            for entry in range(starts[path, request], stops[path, request]):
                item = items[entry]
                if met[item] == request:
                    continue
                met[item] = request
                where = np.searchsorted(own, item)
                if where < own.size and own[where] == item:
                    place[item] = filled
                    filled += 1
                    n_chosen[request] += 1
                else:
                    place[item] = -1
                    others[n_found] = item
                    n_found += 1
        n_sampled = min(n_found, n_others)
        for one in range(n_sampled):  # the first steps of a Fisher-Yates shuffle
            other = one + int(draws[request, one] * (n_found - one))
            others[one], others[other] = others[other], others[one]
            place[others[one]] = filled
            filled += 1
        if n_sampled:
            expand[request] = n_found / n_sampled
        for path in range(n_paths):
            for entry in range(starts[path, request], stops[path, request]):
                row = place[items[entry]]
                if row >= 0:
                    for term in range(n_terms):
                        rows[row, path * n_terms + term] = terms[entry, term]
    offsets[n] = filled
    return rows[:filled], offsets, n_chosen, expand
