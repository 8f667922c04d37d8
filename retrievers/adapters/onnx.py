"""ONNX: a user tower of another library, with its item vectors, as a path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from multirecall.data import Changes, Dataset
from multirecall.errors import DataError
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, ThreadedConfig
from multirecall.query import Query
from multirecall.validation import Count
from multirecall.vector_index import Space

from .._index.kinds import IndexSettings, index_settings
from ._by_id import VectorsById
from ._onnx_inputs import IndexById, InputRule
from ._onnx_model import MOST_BYTES, OnnxModel
from ._tables import NPY, read_vectors
from ._vector_path import VectorPath

MODEL = "model.onnx"
"""The name of the model in a bundle."""

MOST_USERS = 256
"""The most users of one run of the model, which bounds its memory."""

Source = Annotated[str, Field(pattern="^(history|mask|length|user|feature:.+|category:.+)$")]


class OnnxConfig(ThreadedConfig):
    """Settings of `onnx`."""

    model: str
    """File of the user tower, one ONNX file without external data. Every fit and refit reads it and the other files;
    serving needs none of them. Changes results."""

    items: str
    """File with the item vectors: parquet with columns `item_id, vector`; or npy of shape (n, dim). Changes results."""

    item_ids: str | None = None
    """File whose column `item_id` names the rows of `items`, in their order; needed for npy, and only there. Changes
    results."""

    inputs: Annotated[dict[str, Source], Field(min_length=1)]
    """What each input of the model is given: `history` (users, L), the model's numbers of the newest items, oldest
    first; `mask` (users, L), 1 where the history has an item; `length`, how many it has; `user`, the model's number of
    the user; `feature:NAME`, a number; `category:NAME`, the number of a value. Changes results."""

    output: str | None = None
    """Name of the output with the user vectors, (users, dim), or (users, vectors, dim) for several each; None: the
    only one. Changes results."""

    item_index: str | None = None
    """File with columns `item_id, index`: the numbers that the model has for items; `history`, `mask` and `length`
    need it. Items without one are left out of histories. Changes results."""

    user_index: str | None = None
    """File with columns `user_id, index`: the numbers that the model has for users; `user` needs it. Changes
    results."""

    unknown_user: int = 0
    """The model's number for a user without one. Changes results."""

    history: Count = 50
    """Newest items of a history, where the model does not fix the length L. Changes results."""

    padding: int = 0
    """The model's number where a history has no item. Changes results."""

    pad: Literal["left", "right"] = "left"
    """The end at which a history is padded. Changes results."""

    categories: dict[str, dict[str, int]] = Field(default_factory=dict)
    """The model's number of each value, for each categorical feature in `inputs`. Changes results."""

    unknown_category: int = 0
    """The model's number for any other value, or none. Changes results."""

    missing_number: float = 0.0
    """What stands for a numeric feature without a value. Changes results."""

    space: Space = "inner_product"
    """How an item is scored: `inner_product` or `cosine` of its vector and the user's, or `l2`, the negative squared
    distance. Changes results."""

    index: IndexSettings = Field(default_factory=index_settings)
    """Settings of the index over the item vectors."""

    @model_validator(mode="after")
    def _has_what_inputs_need(self) -> Self:
        kinds = {source.partition(":")[0] for source in self.inputs.values()}
        if kinds & {"history", "mask", "length"} and self.item_index is None:
            raise ValueError("inputs name a history, but item_index is missing; name the file with the items' numbers")
        if "user" in kinds and self.user_index is None:
            raise ValueError("inputs name the user, but user_index is missing; name the file with the users' numbers")
        for source in self.inputs.values():
            kind, _, field = source.partition(":")
            if kind == "category" and field not in self.categories:
                raise ValueError(f"inputs name category:{field}, but categories has no {field!r}; add its numbers")
        if self.items.endswith(NPY) == (self.item_ids is None):
            raise ValueError("item_ids names the rows of npy; give it with npy, and only there")
        return self


class OnnxTower(VectorPath):
    """Scores an item by its vector and those of the user, which an ONNX model makes of history and features.

    Several vectors of a user: an item has the best score that it has under any of them. Users of whom nothing is known
    that the model reads are proposed nothing.

    Live: histories and features; an item that joins and has a vector in the files of the fit is served at once.
    """

    Config: ClassVar[type[PluginConfig]] = OnnxConfig
    config: OnnxConfig
    _bytes: bytes
    _item_numbers: IndexById | None
    _user_numbers: IndexById | None

    @property
    def _space(self) -> Space:
        return self.config.space

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Read the files, compare the model with the settings, and build the index.

        Raises:
            DataError: a file is missing or breaks a rule of its format, or the model has other inputs or outputs.
            CannotFit: no vector is that of an item of the catalogue.
            MissingExtra: onnxruntime is not installed.
        """
        config, file = self.config, Path(self.config.model)
        try:
            if file.stat().st_size > MOST_BYTES:
                raise DataError(f"{file}: is larger than {MOST_BYTES:,} bytes, which no ONNX file is")
            self._bytes = file.read_bytes()
        except OSError as fault:
            raise DataError(f"model: {file}: cannot be read: {fault}; check the path") from None
        self._item_numbers = IndexById.read(config.item_index, "item_id", data) if config.item_index else None
        self._user_numbers = IndexById.read(config.user_index, "user_id", data) if config.user_index else None
        self._open(str(file))
        super().fit(data, rng=rng, progress=progress)
        self._map_numbers(data)
        self._try_out()

    def _read(self, data: Dataset) -> tuple[VectorsById, VectorsById | None, str]:
        ids, vectors = read_vectors(self.config.items, self.config.item_ids, "item_id", data, "items")
        return VectorsById.of(ids, vectors, "item"), None, self.config.items

    def _open(self, place: str) -> None:
        """Open the model, and compare it with the settings; raises `DataError`."""
        config = self.config
        self._model = OnnxModel(self._bytes, place)
        self._output = self._model.check_names(list(config.inputs), config.output)
        shapes = self._model.shapes
        first = {shape[0] for shape in shapes.values() if shape and isinstance(shape[0], int)}
        if first - {1}:
            raise DataError(
                f"{place}: takes {max(first)} users at a time; export it with a free first axis, or one of 1"
            )
        self._most_users = 1 if first else MOST_USERS
        fixed = {
            shape[1]
            for name, shape in shapes.items()
            if config.inputs[name] in ("history", "mask") and len(shape) == 2 and isinstance(shape[1], int)
        }
        self._rule = InputRule(
            config.inputs,
            self._model.types,
            {name: len(shape) for name, shape in shapes.items()},
            min(fixed, default=config.history),
            config.padding,
            config.pad,
            config.unknown_user,
            config.categories,
            config.unknown_category,
            config.missing_number,
        )

    def _try_out(self) -> None:
        """Ask for a user of whom nothing is known, and compare the output with the item vectors; raises `DataError`."""
        nobody = Query(-1, np.empty(0, np.int32), np.empty(0, np.float32))
        inputs, _ = self._rule.arrays([nobody], self._of_items, self._of_users)
        try:
            dim = self._model.run(inputs, self._output).shape[2]
        except ValueError as fault:
            raise DataError(f"{fault}; correct inputs or output, or export the model anew") from None
        if dim != self._index.dim:
            raise DataError(
                f"{self.config.model}: output {self._output!r} has vectors of {dim} numbers, those of "
                f"{self.config.items} have {self._index.dim}; write both with one model"
            )

    def _fold_in(self, queries: Sequence[Query]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        parts, known = [], []
        for start in range(0, len(queries), self._most_users):
            some = queries[start : start + self._most_users]
            inputs, is_known = self._rule.arrays(some, self._of_items, self._of_users)
            vectors = self._model.run(inputs, self._output)
            parts.append(vectors)
            known.append(is_known & np.isfinite(vectors).all(axis=(1, 2)))
        return np.concatenate(parts), np.concatenate(known)

    def with_changes(self, changes: Changes) -> Self:
        """See `VectorPath.with_changes`; the numbers of the model are mapped anew where ids joined or went."""
        path = super().with_changes(changes)
        if path is not self:
            path._map_numbers(changes.data)
        return path

    def _map_numbers(self, data: Dataset) -> None:
        self._of_items = _numbers(self._item_numbers, data.items.ids)
        self._of_users = _numbers(self._user_numbers, data.users.ids)

    def save(self, folder: Path) -> None:
        """See `Retriever.save`: the bundle has a copy of the model."""
        super().save(folder)
        (folder / MODEL).write_bytes(self._bytes)
        for name, numbers in (("item", self._item_numbers), ("user", self._user_numbers)):
            if numbers is not None:
                numbers.save(folder / f"{name}_numbers")

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`; the model is opened after the engine has compared its checksum."""
        path = super().load(config, folder, data)
        path._bytes = (folder / MODEL).read_bytes()
        path._item_numbers = IndexById.load(folder / "item_numbers") if config.item_index else None
        path._user_numbers = IndexById.load(folder / "user_numbers") if config.user_index else None
        path._open(str(folder / MODEL))
        path._map_numbers(data)
        return path


def _numbers(known: IndexById | None, rows: Any) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The model's number of each row, and whether it has one; none has where the model has no numbers."""
    if known is None:
        return np.zeros(len(rows), np.int64), np.zeros(len(rows), np.bool_)
    return known.of_rows(rows)
