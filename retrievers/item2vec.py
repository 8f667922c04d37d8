"""Item2Vec: items that stand in like contexts of histories are neighbours."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from multirecall.data import Dataset
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig

from ._cold import with_cold_items
from ._nearest import nearest_neighbours
from ._neighbours import NeighbourRetriever
from ._sequences import sequences
from ._sgns import SkipGramConfig, trained


class Item2VecConfig(SkipGramConfig):
    """Settings of `item2vec`."""

    session_gap_hours: float | None = Field(default=None, gt=0)
    """A pause longer than this begins a new sequence; None: a history is one sequence. Changes results."""

    neighbours: int = Field(default=200, gt=0)
    """Most neighbours kept of each item; memory is 8 bytes for each. Changes results."""

    half_life: float | None = Field(default=10.0, gt=0)
    """Items after which an item of the history weighs half; None: all weigh alike. Changes results."""

    similar: int = Field(default=10, ge=0)
    """Items of like features whose mean vector an item without interactions gets; 0: it gets none.
    Changes results."""


class Item2Vec(NeighbourRetriever):
    """Scores an item by its cosine to the items of the history, summed with recency weights.

    The vectors are those of skip-gram with negative sampling on the users' histories as sentences (Barkan &
    Koenigstein, MLSP 2016, "Item2Vec", equation 4). An item without interactions takes the mean vector of the
    items whose features are most like its own, so that it can be proposed at once.
    """

    Config: ClassVar[type[PluginConfig]] = Item2VecConfig
    config: Item2VecConfig

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Train the vectors and keep each item's nearest neighbours. Memory: vectors twice, and the neighbours."""
        tokens, offsets = sequences(data.interactions, self.config.session_gap_hours, rng)
        vectors = trained(tokens, offsets, data.n_items, self.config, rng, progress, "item2vec: epochs")
        vectors = with_cold_items(vectors, data, self.config.similar)
        self._neighbours = nearest_neighbours(vectors, self.config.neighbours, progress, "item2vec: neighbours")
