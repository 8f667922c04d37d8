"""Item2Vec: items that stand in like contexts of histories are neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field

from multirecall.data import Changes, Dataset
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig
from multirecall.storage import read_component, write_component
from multirecall.validation import Count, NonNegative, Positive

from ._cold import ColdRule, with_cold_items
from ._nearest import joining, nearest_neighbours
from ._neighbours import NeighbourRetriever
from ._patched import PatchedRows
from ._sequences import sequences
from ._sgns import SkipGramConfig, trained
from ._units import unit_rows
from ._vector_table import VectorTable


class Item2VecConfig(SkipGramConfig):
    """Settings of `item2vec`."""

    window: Count = 20
    """Most positions between a centre and its context; each centre draws its own, 1 … window. Changes results."""

    subsample: NonNegative = 1e-4
    """Frequency above which occurrences are dropped at random; 0: none are. Changes results."""

    epochs: Count = 20
    """Passes over the histories. Changes results."""

    session_gap_hours: Positive | None = None
    """A pause longer than this begins a new sequence; None: a history is one sequence. Changes results."""

    neighbours: Count = 200
    """Most neighbours kept of each item; memory is 8 bytes for each. Changes results."""

    half_life: Positive | None = 10.0
    """Items after which an item of the history weighs half; None: all weigh alike. Changes results."""

    similar: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 10
    """Items of like features whose mean vector an item without interactions gets; 0: it gets none.
    Changes results."""


class Item2Vec(NeighbourRetriever):
    """Scores an item by its cosine to the items of the history, summed with recency weights.

    The vectors are those of skip-gram with negative sampling on the users' histories as sentences (Barkan &
    Koenigstein, MLSP 2016, "Item2Vec", equation 4). An item without interactions takes the mean vector of the
    items whose features are most like its own, so that it can be proposed at once.

    Live: new items, and new features of items without interactions, count at once; vectors stay as fitted.
    """

    Config: ClassVar[type[PluginConfig]] = Item2VecConfig
    live = frozenset({"items"})
    config: Item2VecConfig
    _neighbours: PatchedRows
    _units: VectorTable
    _cold: ColdRule

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Train the vectors and keep each item's nearest neighbours. Memory: vectors twice, and the neighbours."""
        tokens, offsets = sequences(data.interactions, self.config.session_gap_hours, rng)
        vectors = trained(
            tokens, offsets, data.n_items, self.config, self.config.epochs, rng, progress, "item2vec: epochs"
        )
        vectors, self._cold = with_cold_items(vectors, data, self.config.similar)
        self._units = VectorTable.of(unit_rows(vectors))
        nearest = nearest_neighbours(vectors, self.config.neighbours, progress, "item2vec: neighbours")
        self._neighbours = PatchedRows.sorted(nearest)

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`; `n_items · dim` multiplications for each item that joins or changes."""
        if not changes.touched.size:
            return self
        rows = self._cold.unlearnt(changes.touched)
        units = unit_rows(self._cold.vectors(changes.data.items, rows, self._units))
        path = type(self)(self.config)
        path._cold, path._units = self._cold, self._units.with_rows(rows, units)
        known = rows[rows < len(self._units)]
        former = self._neighbours.without(known) if known.size else self._neighbours
        found = joining(rows, path._units.whole(), former.base, self.config.neighbours)
        path._neighbours = former.patched(*found, changes.data.n_items, changes.data.n_items)
        return path

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        super().save(folder)
        write_component(folder / "units", {"units": self._units.whole()}, {})
        self._cold.save(folder / "cold")

    @classmethod
    def load(cls, config: Item2VecConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        path._units = VectorTable.of(read_component(folder / "units")[0]["units"])
        path._neighbours = PatchedRows.of_arrays(read_component(folder)[0], len(path._units))
        path._cold = ColdRule.load(folder / "cold")
        return path
