"""The lists of every path for the requests of a hold-out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import take_runs
from multirecall.lists import RankedBatch


@dataclass(frozen=True, slots=True)
class KnownLists:
    """The lists of every path for requests whose answers are known.

    Attributes:
        names: the names of the paths.
        batches: the lists of each path, cut at its quota.
        quotas: the quota of each path.
        offsets: CSR offsets of the targets, int64 (n + 1,).
        targets: item rows, int32, ascending within a request; -1 for an item that no path can find.
        owners: the user that each request belongs to, integers (n,). Requests of one user are not independent, so that
            halves and intervals take users whole.
        lengths: the number of events in each request's history, int64 (n,).
    """

    names: tuple[str, ...]
    batches: tuple[RankedBatch, ...]
    quotas: tuple[int, ...]
    offsets: NDArray[np.int64]
    targets: NDArray[np.int32]
    owners: NDArray[np.integer]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return self.owners.size

    def take(self, requests: NDArray[np.integer]) -> KnownLists:
        """Some of the requests; `requests` holds their positions, ascending."""
        offsets, places = take_runs(self.offsets, requests)
        return replace(
            self,
            batches=tuple(batch.take(requests) for batch in self.batches),
            offsets=offsets,
            targets=self.targets[places],
            owners=self.owners[requests],
            lengths=self.lengths[requests],
        )

    def of_paths(self, paths: Sequence[int]) -> KnownLists:
        """The lists of some paths; `paths` holds their positions."""
        return replace(
            self,
            names=tuple(self.names[path] for path in paths),
            batches=tuple(self.batches[path] for path in paths),
            quotas=tuple(self.quotas[path] for path in paths),
        )

    def halves(self, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The positions of the requests of one half of the users, drawn at random, and of the other half."""
        users, own = np.unique(self.owners, return_inverse=True)
        first = np.zeros(users.size, np.bool_)
        first[np.random.default_rng(seed).permutation(users.size)[: (users.size + 1) // 2]] = True
        return np.flatnonzero(first[own]), np.flatnonzero(~first[own])
