"""Item2Vec: items that stand in like contexts of histories are neighbours."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.data import Dataset, Interactions
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig
from multirecall.validation import Count, NonNegative, Positive

from ._graph.skipgram import SkipGramConfig, trained
from ._neighbours.vector_retriever import VectorNeighbourRetriever

SECONDS_PER_HOUR = 3_600


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


class Item2Vec(VectorNeighbourRetriever):
    """Scores an item by its cosine to the items of the history, summed with recency weights.

    The vectors are those of skip-gram with negative sampling on the users' histories as sentences (Barkan &
    Koenigstein, MLSP 2016, "Item2Vec", equation 4). An item without interactions takes the mean vector of the
    items whose features are most like its own, so that it can be proposed at once.

    Live: new items, and new features of items without interactions, count at once; vectors stay as fitted.
    """

    Config: ClassVar[type[PluginConfig]] = Item2VecConfig
    config: Item2VecConfig

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Train the vectors and keep each item's nearest neighbours. Memory: vectors twice, and the neighbours."""
        tokens, offsets = sequences(data.interactions, self.config.session_gap_hours, rng)
        vectors = trained(
            tokens,
            offsets,
            data.n_items,
            self.config,
            self.config.epochs,
            rng,
            progress,
            "item2vec: learning vectors, epochs",
        )
        self._serve(vectors, data, self.config.similar, progress, "item2vec: finding neighbours")


def sequences(
    log: Interactions, session_gap_hours: float | None, rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The items of all users in order, and the int64 offsets of the sequences in them.

    A pause longer than `session_gap_hours` begins a new sequence; None, or a log without timestamps: one sequence
    for each user. Where the order of a history means nothing it is shuffled, so that windows take a random sample.
    """
    if not log.ordered:
        order = np.lexsort((rng.random(len(log)), log.users))
        return log.items[order], log.offsets
    if session_gap_hours is None or log.times is None:
        return log.items, log.offsets
    begins = np.diff(log.users, prepend=-1) != 0
    begins |= np.diff(log.times, prepend=log.times[:1]) > session_gap_hours * SECONDS_PER_HOUR
    return log.items, np.append(np.flatnonzero(begins), len(log))
