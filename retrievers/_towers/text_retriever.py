"""The base of retrievers that know items by their words alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from multirecall.data import Changes, Dataset
from multirecall.errors import CannotFit
from multirecall.storage import read_component, write_component

from .._index.kinds import load_index
from .._vector_table import VectorTable
from .config import TextConfig
from .data import TrainingData
from .mlp import Vectors
from .retriever import TowerRetriever
from .searches import Searches
from .serving import ExportedItemEncoder
from .text_serving import SearchVector
from .texts import TextRule
from .tower import Tower, WordTable

if TYPE_CHECKING:
    from .encoders import ItemEncoder, UserEncoder
    from .training import TrainedTowers


class TextRetriever(TowerRetriever):
    """Scores an item by the cosine of its text's vector with that of what the user asks for, or of their history.

    A text is a sequence of words, and a word the sum of the embeddings of its letter trigrams and of itself. The item
    encoder turns it into a vector. It also encodes the search terms of a request; for a user who asks for nothing, a
    linear function of the vectors of their history takes the place of these.

    The training takes pairs of a history and the next item from the log, which teach what is chosen together, and
    searches for any item of the catalogue, misspelt words of its own text (see `searches`), which teach to find it.

    Live: new items and new texts count at once, in histories too. The encoder stays as fitted.
    """

    exported = SearchVector
    by_text = True
    config: TextConfig
    _words: WordTable
    _item_net: ExportedItemEncoder

    def new_searches(self, data: Dataset) -> Searches:
        """See `TowerRetriever.new_searches`.

        Raises:
            CannotFit: see `TextRule.of`; or no item has a word.
        """
        config, features = self.config, data.items.features
        rule = TextRule.of(features, config.fields, config.tokeniser, config.text_buckets, self.name)
        searches = Searches.of(rule, features, config.searches)
        if not searches.items.size:
            raise CannotFit(f"{self.name}: no item has a word; pass an item table with texts, or leave the path out")
        return searches

    @classmethod
    def new_encoder(cls, config: Any) -> UserEncoder:
        """See `TowerRetriever.new_encoder`."""
        return cls.new_encoders(config)[0]

    @classmethod
    def new_encoders(cls, config: Any) -> tuple[UserEncoder, ItemEncoder]:
        """See `TowerRetriever.new_encoders`; the user encoder contains the item encoder."""
        from .text_encoders import SearchEncoder

        item = cls.new_item_encoder(config)
        return SearchEncoder(item, config.dim, config.half_lives, config.temperature / config.history_temperature), item

    def _keep_items(self, data: Dataset, training: TrainingData, towers: TrainedTowers) -> Vectors:
        assert towers.vectors is not None
        assert towers.item_net is not None
        self._item_net, self._history = towers.item_net, VectorTable.of(towers.vectors)
        return towers.vectors

    def item_vector(self, values: Mapping[str, Any]) -> Vectors:
        """The unit vector of an item with these feature values, float32 (dim,)."""
        return self._item_net(*self._words.rows(values))

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`."""
        rows = changes.touched
        if not rows.size:
            return self
        path = type(self)(self.config)
        path._users, path._words, path._item_net = self._users, self._words, self._item_net
        path.recalls = self.recalls
        vectors = [self.item_vector(changes.data.items.values(row)) for row in rows.tolist()]
        own = np.array(vectors, np.float32).reshape(-1, self._index.dim)
        path._history, path._index = self._history.with_rows(rows, own), self._index.add(rows, own)
        return path

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        self._users.save(folder / "users")
        self._words.save(folder / "words")
        write_component(folder / "item-net", self._item_net.arrays(), {})
        write_component(folder, {"history": self._history.whole()}, {"recalls": self.recalls})
        self._index.save(folder / "index")

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        path._users = Tower.load(folder / "users", config, cls.exported)
        path._words = WordTable.load(folder / "words")
        path._item_net = cls.exported_item.of_arrays(read_component(folder / "item-net")[0], config)
        arrays, meta = read_component(folder)
        path._history, path.recalls = VectorTable.of(arrays["history"]), meta["recalls"]
        path._index = load_index(folder / "index", config.index, threads=config.threads, verify=False)
        return path
