"""Precomputed candidates by external id, and by the rows of the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.csr import offsets_of, take_runs
from multirecall.data import Changes, Dataset
from multirecall.errors import DataError
from multirecall.lists import RankedList
from multirecall.protocols import Reason
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.sums import Sums
from multirecall.topk import NO_ROWS
from multirecall.vocabulary import Vocabulary

from .._foreign_ids import foreign_ids
from .._sparse.rows import SparseRows
from ._by_id import positions_of
from ._tables import as_array, ids_of, open_table

COLUMNS = {"user_id": "item_id", "item_id": "neighbour_id"}
"""Whose candidates a table holds, and the column of the candidates."""


@dataclass(frozen=True, slots=True)
class ListsById:
    """Candidates of users or of items, by external id, whether or not the data have the ids so far.

    Attributes:
        keys: the ids of those who have a list, ascending.
        candidates: the ids of all candidates, ascending.
        offsets: int64 (n_keys + 1,), the CSR offsets of the lists.
        columns: int32 (nnz,), the position of each candidate in `candidates`.
        scores: float32 (nnz,), finite.
    """

    keys: Vocabulary
    candidates: Vocabulary
    offsets: NDArray[np.int64]
    columns: NDArray[np.int32]
    scores: NDArray[np.float32]

    @property
    def of_users(self) -> bool:
        """Whether the lists are those of users."""
        return self.keys.what == "user"

    @classmethod
    def read(cls, file: str, data: Dataset) -> ListsById:
        """The lists in a table with the columns `user_id, item_id, score` or `item_id, neighbour_id, score`.

        Raises:
            DataError: the file is missing, cannot be read or breaks a rule of its format.
            IdTypeError: ids are of another type than those of the data.
        """
        source = open_table(file, "lists", "score")
        key = "user_id" if "user_id" in source.frame.columns else "item_id"
        for column in (key, COLUMNS[key]):
            if column not in source.frame.columns:
                raise DataError(
                    f"{source.name}: column {column!r} is missing; name the columns user_id, item_id and score, "
                    "or item_id, neighbour_id and score"
                )
        keys = foreign_ids(source, key, *ids_of(data, key))
        candidates = foreign_ids(source, COLUMNS[key], *ids_of(data, "item_id"))
        scores = source.numbers("score", "cast it to numbers").cast(pl.Float32, strict=False)
        source.refuse("score", ~scores.is_finite().fill_null(False), "{value} is not a finite float32; correct it")
        (names, rows), (others, columns) = _positions(keys, key.removesuffix("_id")), _positions(candidates, "item")
        twice = ~pl.Series(rows.astype(np.int64) << 32 | columns).is_first_distinct()
        source.refuse(COLUMNS[key], twice, "{value} occurs a second time in its list; keep one row for each pair")
        values = scores.to_numpy()
        order = np.lexsort((columns, -values, rows))
        offsets = offsets_of(np.bincount(rows, minlength=len(names)))
        return cls(names, others, offsets, columns[order], values[order])

    @classmethod
    def of_matrix(cls, matrix: csr_array, ids: NDArray[Any]) -> ListsById:
        """The entries of an item × item matrix as lists of items; `ids` (n,) are those of its rows and columns."""
        order = np.argsort(ids, kind="stable")
        sorted_ = matrix[order][:, order].tocsr()
        names = Vocabulary(ids[order], "item")
        columns, scores = sorted_.indices.astype(np.int32), sorted_.data.astype(np.float32)
        return cls(names, names, sorted_.indptr.astype(np.int64), columns, scores)

    def without(self, positions: NDArray[np.integer]) -> ListsById:
        """A copy without the lists of the keys at these positions."""
        kept = np.setdiff1d(np.arange(len(self.keys)), positions)
        offsets, places = take_runs(self.offsets, kept)
        keys = Vocabulary(self.keys.ids(kept), self.keys.what)
        return ListsById(keys, self.candidates, offsets, self.columns[places], self.scores[places])

    def save(self, folder: Path) -> None:
        """Write it into `folder`, which is created if missing."""
        arrays: dict[str, NDArray[Any]] = {"keys": self.keys.ids(), "candidates": self.candidates.ids()}
        arrays.update(offsets=self.offsets, columns=self.columns, scores=self.scores)
        write_component(folder, arrays, {"what": self.keys.what})

    @classmethod
    def load(cls, folder: Path) -> ListsById:
        """Read what `save` wrote."""
        arrays, meta = read_component(folder)
        keys, candidates = Vocabulary(arrays.pop("keys"), meta["what"]), Vocabulary(arrays.pop("candidates"), "item")
        return cls(keys, candidates, **arrays)

    def by_rows(self, keys: Vocabulary, items: Vocabulary) -> SparseRows:
        """The lists as a matrix of key rows × item rows; those of users follow the ordering rule.

        Args:
            keys: the ids of the data's users or items.
            items: the ids of the data's items.
        """
        positions = positions_of(keys, self.keys)
        rows_of_keys = np.full(len(self.keys), -1, np.int32)
        rows_of_keys[positions[positions >= 0]] = np.flatnonzero(positions >= 0)
        rows = rows_of_keys[np.repeat(np.arange(len(self.keys)), np.diff(self.offsets))]
        columns = items.rows(self.candidates.ids())[self.columns]
        known = (rows >= 0) & (columns >= 0)
        rows, columns, scores = rows[known], columns[known], self.scores[known]
        order = np.argsort(rows, kind="stable")  # of rows that ascend already, as of a fit, it takes no time
        if self.of_users and not _follow_the_rule(rows[order], columns[order], scores[order]):
            order = np.lexsort((columns, -scores, rows))
        offsets = offsets_of(np.bincount(rows, minlength=len(keys)))
        return SparseRows(offsets, columns[order].astype(np.int32), scores[order], len(items))

    def knows_any(self, users: Vocabulary, items: Vocabulary) -> bool:
        """Whether any key and any candidate are among these ids."""
        keys = users if self.of_users else items
        pairs = (keys, self.keys), (items, self.candidates)
        return all((known.rows(own.ids()) >= 0).any() for known, own in pairs)


@dataclass(frozen=True, slots=True)
class ListsByRow:
    """Lists by the rows of the data.

    Attributes:
        lists: the same by external id.
        rows: a matrix of user rows, or item rows, × item rows.
        users: the ids of the data's users.
        items: the ids of the data's items.
    """

    lists: ListsById
    rows: SparseRows
    users: Vocabulary
    items: Vocabulary

    @classmethod
    def of(cls, lists: ListsById, users: Vocabulary, items: Vocabulary) -> ListsByRow:
        """The lists by rows of these ids."""
        return cls(lists, lists.by_rows(users if lists.of_users else items, items), users, items)

    def with_changes(self, changes: Changes) -> ListsByRow:
        """The lists after a change: all are mapped anew where one of them is concerned, and none otherwise."""
        users, items, lists = changes.data.users.ids, changes.data.items.ids, self.lists
        forgotten = changes.forgotten[changes.forgotten < len(self.users)]
        if (len(users), len(items)) == (len(self.users), len(self.items)) and not forgotten.size:
            return self
        gone = lists.keys.rows(self.users.ids(forgotten)) if lists.of_users else NO_ROWS
        if (gone >= 0).any():
            return ListsByRow.of(lists.without(gone[gone >= 0]), users, items)
        keys, known = (users, len(self.users)) if lists.of_users else (items, len(self.items))
        joined = [(keys, lists.keys, known), (items, lists.candidates, len(self.items))]
        if any((positions_of(*one) >= 0).any() for one in joined):
            return ListsByRow.of(lists, users, items)
        offsets = np.concatenate([self.rows.offsets, np.full(len(keys) - known, self.rows.offsets[-1])])
        return ListsByRow(lists, replace(self.rows, offsets=offsets, n_columns=len(items)), users, items)

    def sum_for(self, items: NDArray[np.int32], weights: NDArray[np.float32], query: Query, quota: int) -> RankedList:
        """The items with the largest `Σ weight · score` above 0 over the lists of `items`, for lists of items."""
        sums = Sums(self.rows.n_columns)
        self.rows.add(items, weights, sums)
        return sums.top_for(query, quota)

    def explain(self, items: NDArray[np.int32], weights: NDArray[np.float32], item: int) -> Reason:
        """Which of the lists of `items` propose `item`, those that add most to it first."""
        offsets, places = take_runs(self.rows.offsets, items)
        found = np.flatnonzero(self.rows.columns[places] == item)
        sources = offsets.searchsorted(found, side="right") - 1
        best = np.argsort(-weights[sources] * self.rows.values[places[found]], kind="stable")
        return Reason(f"stands in the lists of {best.size} items of the history", items[sources[best]])


def _follow_the_rule(rows: NDArray[np.int32], columns: NDArray[np.int32], scores: NDArray[np.float32]) -> bool:
    """Whether scores fall within each run of equal `rows`, and columns ascend where scores are equal."""
    falls = (scores[1:] < scores[:-1]) | ((scores[1:] == scores[:-1]) & (columns[1:] > columns[:-1]))
    return bool((falls | (rows[1:] != rows[:-1])).all())


def _positions(ids: pl.Series, what: str) -> tuple[Vocabulary, NDArray[np.int32]]:
    """The distinct ids, ascending, and the position of each among them."""
    distinct = ids.unique()
    known = Vocabulary.of(as_array(distinct), what)
    rows = known.rows(as_array(distinct))
    return known, ids.replace_strict(distinct, rows, return_dtype=pl.Int32).to_numpy()
