"""Implicit: models that the library implicit has fitted and saved."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.data import Changes, Dataset
from multirecall.errors import CannotFit, DataError
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, Reason, Retriever, ThreadedConfig
from multirecall.query import Filter, Query
from multirecall.storage import read_component, write_component
from multirecall.validation import Positive

from .._index.kinds import IndexSettings, index_settings
from ._implicit_file import FactorFile, read_model, row_ids
from ._implicit_models import Factors, Similarities
from ._lists_by_id import ListsById


class ImplicitConfig(ThreadedConfig):
    """Settings of `implicit`."""

    model: str
    """File that the method `save` of a model has written, npz. A relative path starts at the working directory. Every
    fit and refit reads the file; serving does not need it. Changes results."""

    items: str | None = None
    """File whose column `item_id` names the model's items in the order of its rows: parquet, CSV or TSV. None: they are
    the items of the data, in the order of their ids. Changes results."""

    users: str | None = None
    """File whose column `user_id` names the model's users in the order of its rows; None: they are the users of the
    data, in the order of their ids. An item-item model has no users. Changes results."""

    recalculate_user: bool = False
    """Whether the factors of every user are computed anew from their history, as ALS can, so that new events count at
    once. False: users whom the model knows have its factors. Changes results."""

    half_life: Positive | None = None
    """Number of newer items after which the weight of an item in the history is halved; None: equal weights, as in
    implicit. Changes results."""

    index: IndexSettings = Field(default_factory=index_settings)
    """Settings of the index over the factors of items."""


class ImplicitModel(Retriever):
    """Serves ALS, BPR, LMF and the item-item models of implicit as `recommend` does, without the library.

    Factors: the inner product of the factors of user and item, biases included. A user whom an ALS model does not know,
    and every user with `recalculate_user`, is folded in from their history; BPR and LMF propose nothing to users whom
    they do not know. Item-item models: `Σ w_s · similarity(s, item)` over the history. Weights of repeated events are
    summed up, as in the matrix that implicit is given.

    Live: histories count at once where ALS folds in and item-item models add up. An item or user that joins and is one
    of the model's is served at once. The factors of a user who is removed are forgotten.
    """

    Config: ClassVar[type[PluginConfig]] = ImplicitConfig
    inline = True
    filters = True
    live = frozenset({"interactions", "items", "removals"})
    config: ImplicitConfig
    _model: Factors | Similarities

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Read the files, and build the index over factors.

        Raises:
            DataError: a file is missing or breaks a rule of its format; see `read_model`.
            CannotFit: the model knows no item of the catalogue.
        """
        config = self.config
        found = read_model(config.model)
        if isinstance(found, FactorFile):
            items = row_ids(config.items, "item_id", len(found.items), data, config.model)
            self._model = Factors.of(config, items, self._users_of(found, data), found)
        else:
            items = row_ids(config.items, "item_id", found.shape[0], data, config.model)
            self._refuse_recalculation("an item-item model always asks by the history")
            self._model = Similarities.of(config, ListsById.of_matrix(found, items))
        if not (data.items.ids.rows(items) >= 0).any():
            raise CannotFit(
                f"{config.model}: knows no item of the catalogue; let its ids be those of the log, "
                "or leave the path out"
            )
        self._model.fit(data, rng=rng, progress=progress)

    def _users_of(self, found: FactorFile, data: Dataset) -> NDArray[np.generic] | None:
        config = self.config
        if found.fold_in is None:
            self._refuse_recalculation("only models of ALS compute the factors of a user anew")
        if config.recalculate_user:
            return None
        if config.items is not None and config.users is None:
            raise DataError(
                f"{config.model}: items are named in {config.items}, users are not; name a table of theirs in users, "
                "or set recalculate_user = true where the model is of ALS"
            )
        return row_ids(config.users, "user_id", len(found.users), data, config.model)

    def _refuse_recalculation(self, why: str) -> None:
        if self.config.recalculate_user:
            raise DataError(f"{self.config.model}: recalculate_user is true, but {why}; leave it out")

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        return self._model.retrieve(query, quota)

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> RankedBatch:
        """See `Retriever.retrieve_batch`."""
        return self._model.retrieve_batch(queries, quota)

    def explain(self, query: Query, item: int) -> Reason | None:
        """See `Retriever.explain`."""
        return self._model.explain(query, item)

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
        """See `Retriever.item_vectors`; None for an item-item model."""
        return self._model.item_vectors()

    def similar_items(
        self, items: NDArray[np.int32], k: int, filters: Sequence[Filter] | None = None
    ) -> RankedBatch | None:
        """See `Retriever.similar_items`: by the cosine of factors, or the similarities of an item-item model."""
        return self._model.similar_items(items, k, filters)

    def part(self, rows: NDArray[np.int32]) -> Self | None:
        """See `Retriever.part`; None for an item-item model."""
        part = self._model.part(rows)
        if part is None:
            return None
        path = copy(self)
        path._model = part
        return path

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`."""
        model = self._model.with_changes(changes)
        if model is self._model:
            return self
        path = copy(self)
        path._model = model
        return path

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        write_component(folder / "kind", {}, {"factors": isinstance(self._model, Factors)})
        self._model.save(folder / "model")

    @classmethod
    def load(cls, config: ImplicitConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`; the files that the fit has read are not needed."""
        path = cls(config)
        kind = Factors if read_component(folder / "kind")[1]["factors"] else Similarities
        path._model = kind.load(config, folder / "model", data)
        return path
