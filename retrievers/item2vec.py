"""Item2Vec: items that occur in similar contexts of histories are neighbours."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.data import Dataset, Interactions
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig
from multirecall.validation import Count, NonNegative, Positive

from ._graph.skipgram import SkipGramConfig, train_skipgram
from ._neighbours.vector_retriever import VectorNeighbourRetriever
from ._sparse.spectral_start import Vectors, spectral_start

SECONDS_PER_HOUR = 3_600


class Item2VecConfig(SkipGramConfig):
    """Settings of `item2vec`."""

    window: Count = 20
    """Largest distance, in positions, between a centre and its context; each centre draws its own from 1 … window.
    Changes results."""

    subsample: NonNegative = 1e-4
    """Frequency above which occurrences of an item are dropped at random; 0: none are dropped. Changes results."""

    epochs: Count = 10
    """Passes over the histories. Changes results."""

    session_gap_hours: Positive | None = None
    """Hours without an event after which a new sequence begins; None: a history is one sequence. Changes results."""

    neighbours: Count = 200
    """Most neighbours of each item; memory is 8 bytes for each. Changes results."""

    half_life: Positive | None = 10.0
    """Number of newer items after which the weight of an item in the history is halved; None: equal weights. Changes
    results."""

    similar: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 10
    """Number of items with similar features whose mean vector an item without interactions gets; 0: it gets no vector.
    Changes results."""


class Item2Vec(VectorNeighbourRetriever):
    """Scores an item by its cosine to the items of the history, summed with recency weights.

    Skip-gram with negative sampling learns the vectors, with the users' histories as sentences (Barkan & Koenigstein,
    MLSP 2016, "Item2Vec", equation 4). An item without interactions gets the mean vector of the items with the most
    similar features, so that it can be proposed at once.

    Live: new items, and new features of items without interactions, count at once. Learnt vectors stay as fitted.
    """

    Config: ClassVar[type[PluginConfig]] = Item2VecConfig
    config: Item2VecConfig

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Train the vectors and find each item's nearest neighbours. Memory: the vectors twice, and the neighbours."""
        tokens, offsets = sequences(data.interactions, self.config.session_gap_hours, rng)
        # The vectors get no name here, so that they are freed once others take their place.
        self._serve(
            self._train(tokens, offsets, data, rng, progress),
            data,
            self.config.similar,
            progress,
            "item2vec: finding neighbours",
        )

    def _train(
        self,
        tokens: NDArray[np.int32],
        offsets: NDArray[np.int64],
        data: Dataset,
        rng: np.random.Generator,
        progress: Progress,
    ) -> Vectors:
        """Train the vectors of all items, float32 (n_items, dim), on sequences."""
        return train_skipgram(
            tokens,
            offsets,
            data.n_items,
            self.config,
            self.config.epochs,
            rng,
            progress,
            "item2vec: learning vectors, epochs",
            self._start(data, rng, progress),
        )

    def _start(self, data: Dataset, rng: np.random.Generator, progress: Progress) -> Vectors | None:
        if self.config.start == "random":
            return None
        return spectral_start(data.interactions.matrix, self.config.dim, rng, progress, "item2vec")[1]


def sequences(
    log: Interactions, session_gap_hours: float | None, rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The items of all users, int32 (n_events,), and the CSR offsets of the sequences in them, int64.

    A new sequence begins after more than `session_gap_hours` without an event. With None, or without timestamps, each
    user has one sequence. Histories of a log without an order are shuffled, so that a window is a random sample.
    """
    if not log.ordered:
        order = np.lexsort((rng.random(len(log)), log.users))
        return log.items[order], log.offsets
    if session_gap_hours is None or log.times is None:
        return log.items, log.offsets
    begins = np.diff(log.users, prepend=-1) != 0
    begins |= np.diff(log.times, prepend=log.times[:1]) > session_gap_hours * SECONDS_PER_HOUR
    return log.items, np.append(np.flatnonzero(begins), len(log))
