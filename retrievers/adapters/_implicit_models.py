"""The two shapes of a model of implicit: factors, and an item × item matrix."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Changes, Dataset
from multirecall.lists import RankedList
from multirecall.progress import Progress
from multirecall.protocols import Reason
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.vector_index import Space

from .._recency import recent_items
from .._similar import SimilarByHistory
from ._by_id import VectorsById
from ._implicit_file import FactorFile, FoldIn
from ._lists_by_id import ListsById, ListsByRow
from ._vector_path import VectorPath


def summed_items(query: Query, half_life: float | None) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The distinct items of the history, int32, and their summed weights above 0, float32, newest first.

    It is the row of a matrix of users × items with repeated events summed up; with a half-life, an item fades with the
    number of newer ones.
    """
    ones = np.ones(query.history.size, np.float32)
    items, fading = recent_items(replace(query, weights=ones), None, half_life)
    rows, places = np.unique(query.history, return_inverse=True)
    sums = np.bincount(places, query.weights, rows.size)
    weights = (fading * sums[rows.searchsorted(items)]).astype(np.float32)
    return items[weights > 0], weights[weights > 0]


class Factors(VectorPath):
    """A model of ALS, BPR or LMF, which scores an item by the inner product of its factors and the user's."""

    _fold: FoldIn | None
    _gram: NDArray[np.float64]

    @classmethod
    def of(cls, config: Any, items: NDArray[Any], users: NDArray[Any] | None, model: FactorFile) -> Self:
        """The model, to be fitted; `items` and `users` are the ids of its rows, None: the users' factors are not used.

        The fit reads nothing any more.
        """
        path = cls(config)
        path._items = VectorsById.of(items, model.items, "item")
        path._users = None if users is None else VectorsById.of(users, model.users, "user")
        path._set_fold(model.fold_in)
        return path

    def _set_fold(self, fold: FoldIn | None) -> None:
        vectors = self._items.vectors.astype(np.float64)
        self._fold, self._gram = fold, vectors.T @ vectors

    @property
    def _space(self) -> Space:
        return "inner_product"

    def _read(self, data: Dataset) -> tuple[VectorsById, VectorsById | None, str]:
        return self._items, self._users, self.config.model

    def _fold_in(self, queries: Sequence[Query]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Solve `(YᵀY + λI + Σ (c - 1) y yᵀ) x = Σ c y` for each user, c = α · weight (Hu et al. 2008, equation 4)."""
        users = np.zeros((len(queries), self._gram.shape[0]), np.float32)
        is_known = np.zeros(len(queries), np.bool_)
        if self._fold is None:
            return users, is_known
        for place, query in enumerate(queries):
            items, weights = summed_items(query, self.config.half_life)
            positions = self._item_positions[items]
            known = positions >= 0
            if known.any():
                users[place] = self._solve(self._fold, positions[known], weights[known])
                is_known[place] = True
        return users, is_known

    def _solve(self, fold: FoldIn, positions: NDArray[np.int32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
        vectors = self._items.vectors[positions].astype(np.float64)
        confidences = fold.alpha * weights.astype(np.float64)
        left = self._gram + vectors.T @ ((confidences - 1.0)[:, None] * vectors)
        left[np.diag_indices_from(left)] += fold.regularization
        return np.linalg.solve(left, confidences @ vectors).astype(np.float32)

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        super().save(folder)
        write_component(folder / "fold_in", {}, asdict(self._fold) if self._fold else {})

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = super().load(config, folder, data)
        meta = read_component(folder / "fold_in")[1]
        path._set_fold(FoldIn(**meta) if meta else None)
        return path


class Similarities(SimilarByHistory):
    """An item-item model: the score of an item is the sum of its similarities to the items of the history."""

    _by_id: ListsById
    _lists: ListsByRow

    @classmethod
    def of(cls, config: Any, lists: ListsById) -> Self:
        """The model, to be fitted."""
        path = cls(config)
        path._by_id = lists
        return path

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """See `Retriever.fit`."""
        self._lists = ListsByRow.of(self._by_id, data.users.ids, data.items.ids)

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        return self._lists.sum_for(*summed_items(query, self.config.half_life), query, quota)

    def explain(self, query: Query, item: int) -> Reason | None:
        """See `Retriever.explain`."""
        return self._lists.explain(*summed_items(query, self.config.half_life), item)

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`."""
        lists = self._lists.with_changes(changes)
        if lists is self._lists:
            return self
        path = copy(self)
        path._lists = lists
        return path

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        self._lists.lists.save(folder)

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls.of(config, ListsById.load(folder))
        path._lists = ListsByRow.of(path._by_id, data.users.ids, data.items.ids)
        return path
