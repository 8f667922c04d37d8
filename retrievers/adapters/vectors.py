"""Vectors: item and user vectors of any model, from files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from multirecall.data import Dataset
from multirecall.errors import DataError
from multirecall.protocols import PluginConfig, ThreadedConfig
from multirecall.query import Query
from multirecall.validation import Positive
from multirecall.vector_index import Space

from .._index.kinds import IndexSettings, index_settings
from ._by_id import VectorsById, mean_vectors
from ._tables import NPY, read_vectors
from ._vector_path import VectorPath


class VectorsConfig(ThreadedConfig):
    """Settings of `vectors`."""

    items: str
    """File with the item vectors: parquet with columns `item_id, vector`, the vector a list of numbers; or npy of shape
    (n, dim). A relative path starts at the working directory. Every fit and refit reads the file; serving does not
    need it. Changes results."""

    item_ids: str | None = None
    """File whose column `item_id` names the rows of `items`, in their order; needed for npy, and only there. Changes
    results."""

    users: str | None = None
    """File with the user vectors, as `items`, with a column `user_id`; None: no user has a vector. Changes results."""

    user_ids: str | None = None
    """File whose column `user_id` names the rows of `users`; needed for npy, and only there. Changes results."""

    space: Space = "inner_product"
    """How an item is scored: `inner_product` or `cosine` of its vector and the user's, or `l2`, the negative squared
    distance. Changes results."""

    without_vector: Literal["history", "nothing"] = "history"
    """What is asked for a user without a vector, such as a visitor: `history`, the mean vector of the items of their
    history; `nothing`, so that the path proposes nothing. Changes results."""

    half_life: Positive | None = 20.0
    """Number of newer items after which the weight of an item in that mean is halved; None: equal weights. Changes
    results."""

    index: IndexSettings = Field(default_factory=index_settings)
    """Settings of the index over the item vectors."""

    @model_validator(mode="after")
    def _npy_has_ids(self) -> Self:
        for key, file, ids_key, ids in (
            ("items", self.items, "item_ids", self.item_ids),
            ("users", self.users, "user_ids", self.user_ids),
        ):
            if file is not None and file.endswith(NPY) and ids is None:
                raise ValueError(f"{key} is npy, which holds no ids; name the file with them in {ids_key}")
            if ids is not None and not (file or "").endswith(NPY):
                raise ValueError(f"{ids_key} is given, but {key} is no npy file; leave {ids_key} out")
        return self

    @model_validator(mode="after")
    def _somebody_has_a_vector(self) -> Self:
        if self.users is None and self.without_vector == "nothing":
            raise ValueError("without_vector is 'nothing', but no user has a vector; name a file in users")
        return self


class StoredVectors(VectorPath):
    """Scores an item by its vector and the user's, both of which another system has computed.

    A user without a vector is asked for with the mean vector of their history, weighted by recency.

    Live: an item or user that joins and has a vector in the files of the fit is served at once; histories count at
    once. The vector of a user who is removed is forgotten.
    """

    Config: ClassVar[type[PluginConfig]] = VectorsConfig
    config: VectorsConfig

    @property
    def _space(self) -> Space:
        return self.config.space

    def _read(self, data: Dataset) -> tuple[VectorsById, VectorsById | None, str]:
        config = self.config
        ids, vectors = read_vectors(config.items, config.item_ids, "item_id", data, "items")
        items = VectorsById.of(ids, vectors, "item")
        if config.users is None:
            return items, None, config.items
        ids, vectors = read_vectors(config.users, config.user_ids, "user_id", data, "users")
        if vectors.shape[1] != items.vectors.shape[1]:
            raise DataError(
                f"{config.users}: vectors have {vectors.shape[1]} numbers, those of {config.items} have "
                f"{items.vectors.shape[1]}; write both with one model"
            )
        return items, VectorsById.of(ids, vectors, "user"), config.items

    def _fold_in(self, queries: Sequence[Query]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        items = self._items.vectors
        if self.config.without_vector == "nothing":
            return np.zeros((len(queries), items.shape[1]), np.float32), np.zeros(len(queries), np.bool_)
        return mean_vectors(queries, self.config.half_life, self._item_positions, items)
