"""What a tower is given: histories, masks, lengths, indices and features, as the inputs of its model want them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset
from multirecall.errors import DataError
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.vocabulary import Vocabulary

from ._by_id import positions_of
from ._tables import open_table, read_unique_ids

INDEX = "index"
"""The column with the numbers that a model has for ids."""


@dataclass(frozen=True, slots=True)
class IndexById:
    """The numbers that a model has for external ids.

    Attributes:
        ids: ascending.
        numbers: int64 (n,), that of each id.
    """

    ids: Vocabulary
    numbers: NDArray[np.int64]

    @classmethod
    def read(cls, file: str, column: str, data: Dataset) -> IndexById:
        """The columns `column`, `item_id` or `user_id`, and `index` of a table; raises `DataError`."""
        source = open_table(file, f"the numbers of {column}", column, INDEX)
        if not source.frame[INDEX].dtype.is_integer() or source.frame[INDEX].null_count():
            raise DataError(f"{source.column(INDEX)} has a cell that is no whole number; write one into each")
        ids = read_unique_ids(source, column, data)
        order = np.argsort(ids, kind="stable")
        numbers = source.frame[INDEX].to_numpy().astype(np.int64)
        return cls(Vocabulary(ids[order], column.removesuffix("_id")), numbers[order])

    def of_rows(self, rows: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The number of each row, int64 (n,), and whether it has one."""
        positions = positions_of(rows, self.ids)
        return self.numbers[positions], positions >= 0

    def save(self, folder: Path) -> None:
        """Write it into `folder`, which is created."""
        write_component(folder, {"ids": self.ids.ids(), "numbers": self.numbers}, {"what": self.ids.what})

    @classmethod
    def load(cls, folder: Path) -> IndexById:
        """What `save` wrote."""
        arrays, meta = read_component(folder)
        return cls(Vocabulary(arrays["ids"], meta["what"]), arrays["numbers"])


@dataclass(frozen=True, slots=True)
class InputRule:
    """How queries become inputs.

    Attributes:
        sources: what each input of the model is made of, see `OnnxConfig.inputs`.
        types: the type of each input.
        ranks: the number of axes of each.
        length: the items of a history, the newest; fewer are padded.
        padding: the number that stands where no item is.
        pad: the end at which it stands.
        unknown_user: the number of a user who has none.
        categories: the number of each value of a categorical feature.
        unknown_category: the number of a value that is not among them, or missing.
        missing_number: stands for a numeric feature without a value.
    """

    sources: Mapping[str, str]
    types: Mapping[str, np.dtype[Any]]
    ranks: Mapping[str, int]
    length: int
    padding: int
    pad: Literal["left", "right"]
    unknown_user: int
    categories: Mapping[str, Mapping[str, int]]
    unknown_category: int
    missing_number: float

    def arrays(
        self,
        queries: Sequence[Query],
        items: tuple[NDArray[np.int64], NDArray[np.bool_]],
        users: tuple[NDArray[np.int64], NDArray[np.bool_]],
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
        """The inputs by name, and whether there is anything to say of each user, bool (n,).

        Args:
            queries: at least one.
            items: the number of each item row, int64 (n_items,), and whether it has one, bool (n_items,).
            users: the same of user rows.

        Raises:
            ValueError: a feature that is to be a number is none.
        """
        histories = [self._history(query, *items) for query in queries]
        rows = np.array([query.user for query in queries])
        has_user = (rows >= 0) & (users[1][rows] if users[1].size else False)
        inputs, is_known = {}, np.zeros(len(queries), np.bool_)
        for name, source in self.sources.items():
            kind, _, field = source.partition(":")
            if kind in ("history", "mask", "length"):
                is_known |= [own.size > 0 for own in histories]
                values = self._of_histories(kind, histories)
            elif kind == "user":
                is_known |= has_user
                values = np.where(has_user, users[0][rows] if users[0].size else 0, self.unknown_user)
            else:
                is_known |= [field in query.features for query in queries]
                values = np.array([self._of_feature(kind, field, query) for query in queries])
            if values.ndim < self.ranks[name]:
                values = values[:, None]
            inputs[name] = np.ascontiguousarray(values, self.types[name])
        return inputs, is_known

    def _history(self, query: Query, numbers: NDArray[np.int64], has: NDArray[np.bool_]) -> NDArray[np.int64]:
        own = query.history[has[query.history]]
        return numbers[own[-self.length :]]

    def _of_histories(self, kind: str, histories: Sequence[NDArray[np.int64]]) -> NDArray[Any]:
        sizes = np.array([own.size for own in histories])
        if kind == "length":
            return sizes
        shape = len(histories), self.length
        values = np.full(shape, self.padding, np.int64) if kind == "history" else np.zeros(shape, np.bool_)
        for row, own in enumerate(histories):
            place = slice(self.length - own.size, None) if self.pad == "left" else slice(own.size)
            values[row, place] = own if kind == "history" else True
        return values

    def _of_feature(self, kind: str, field: str, query: Query) -> float | int:
        value = query.features.get(field)
        if kind == "category":
            return self.categories[field].get(str(value), self.unknown_category)
        try:
            return self.missing_number if value is None else float(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"feature {field!r} is {value!r:.50}, no number; let inputs name category:{field} or another feature"
            ) from None
