"""A small model of which candidates users choose, for doubly robust estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.chance import share_of
from multirecall.lists import FusedBatch
from multirecall.monitoring.replay.groups import Group
from multirecall.monitoring.replay.similarity import places_in

FOLDS = 5
"""Parts of the users; those of one are predicted by what the others teach."""

BUCKETS = 10
"""Ranks from 2^b - 1 on, up to 2^(b + 1) - 2, share a coefficient; the last bucket has all further ones."""

PENALTY = 1.0
"""The ridge penalty of each coefficient."""


@dataclass(frozen=True, slots=True)
class Features:
    """For each candidate an intercept, and a one in the bucket of its rank for each path that proposes it."""

    matrix: Any

    def take(self, mask: NDArray[np.bool_]) -> Features:
        """Those of some candidates."""
        return Features(self.matrix[np.flatnonzero(mask)])

    def sums(self, owners: NDArray[np.int64], weights: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        """The weighted sums over the candidates of each of `n` owners, (n, width)."""
        chosen = csr_array((weights, (owners, np.arange(owners.size))), (n, owners.size))
        sums: NDArray[np.float64] = (chosen @ self.matrix).toarray()
        return sums


class RewardModel:
    """Ridge regression of rewards on rank buckets, by path, cross-fitted over users.

    Rewards add up over candidates, so that only sums of features are needed to predict those of an answer.

    Args:
        names: the paths whose ranks it reads.

    Attributes:
        width: the number of features.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self.width = 1 + BUCKETS * len(self._names)
        self._products = np.zeros((FOLDS, self.width, self.width))
        self._answers = np.zeros((FOLDS, self.width))

    def features(self, group: Group, candidates: FusedBatch) -> Features:
        """The features of candidates of the requests of a group."""
        n = candidates.items.size
        rows, columns = [np.arange(n)], [np.zeros(n, np.int64)]
        for number, name in enumerate(self._names):
            own = group.lists[group.config.paths.index(name)]
            ranks = places_in(own.offsets, own.items, candidates.offsets, candidates.items)
            here = np.flatnonzero(ranks >= 0)
            bucket = np.minimum(np.log2(ranks[here] + 1.0).astype(np.int64), BUCKETS - 1)
            rows.append(here)
            columns.append(1 + BUCKETS * number + bucket)
        places = np.concatenate(rows), np.concatenate(columns)
        return Features(csr_array((np.ones(places[0].size), places), (n, self.width)))

    def learn(self, features: Features, users: Sequence[str], rewards: NDArray[np.bool_]) -> None:
        """Take candidates that were shown to these users, and whether they chose them."""
        own = _folds(users)
        for fold in np.unique(own).tolist():
            part = features.matrix[np.flatnonzero(own == fold)]
            self._products[fold] += (part.T @ part).toarray()
            self._answers[fold] += part.T @ rewards[own == fold].astype(np.float64)

    def predict(self, users: Sequence[str], sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rewards of sums of features (n_users, width), for each user by what others teach, (n_users,)."""
        own, found = _folds(users), np.zeros(len(users))
        for fold in range(FOLDS):
            products = self._products.sum(0) - self._products[fold] + PENALTY * np.eye(self.width)
            coefficients = np.linalg.solve(products, self._answers.sum(0) - self._answers[fold])
            found[own == fold] = (sums[own == fold] * coefficients).sum(1)
        return found


def _folds(users: Sequence[str]) -> NDArray[np.int64]:
    by_user = {user: int(share_of(user, "fold") * FOLDS) for user in set(users)}
    return np.array([by_user[user] for user in users], np.int64)
