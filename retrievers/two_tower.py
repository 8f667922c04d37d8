"""Two towers: a network for users and one for items, whose vectors are compared by an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from multirecall.progress import Progress
from multirecall.validation import Count

from ._sparse.spectral_start import Start, spectral_start
from ._towers.config import HalfLife, LearningRate, TowerConfig
from ._towers.data import TrainingData
from ._towers.mlp import Vectors
from ._towers.pooling import PooledVector
from ._towers.retriever import TowerRetriever

if TYPE_CHECKING:
    from ._towers.encoders import UserEncoder


class TwoTowerConfig(TowerConfig):
    """Settings of `two_tower`."""

    start: Start = "spectrum"
    """Where the embeddings of items begin: `spectrum` at the leading singular vectors of the log, `random` at random,
    which needs more passes. Changes results."""

    epochs: Count = 3
    """Largest number of passes over the log. Changes results."""

    examples: Count = 2_000_000
    """Largest number of examples over all passes, so that a large log takes fewer passes, but at least one. Changes
    results and speed: a core trains on some 40,000 examples a second."""

    held_out: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0
    """Users, at most a tenth of all, whose last event is held out for early stopping; 0: no event is held out, and
    training does not stop early. Changes results."""

    learning_rate: LearningRate = "auto"
    """Highest learning rate, reached after the warm-up; the rate then falls to 0 along a cosine. "auto": 0.01 in
    trainings of up to 1,000 steps, and times √(1,000 / steps) in longer ones. Changes results."""

    user_widths: tuple[Count, ...] = ()
    """Widths of the user tower's hidden layers. Changes results."""

    half_lives: Annotated[tuple[HalfLife, ...], Field(min_length=1, max_length=8)] = (2.0, 20.0)
    """The number of newer events after which the weight of an event is halved. The history is averaged once for each
    value. Changes results."""


class TwoTower(TowerRetriever):
    """Scores an item by the cosine of its vector and the user's, both from trained networks (Yi et al., RecSys 2019).

    The user tower reads the user's features and newest history, so that it serves visitors and new events at once. The
    item tower reads id and features, so that an item without interactions has a vector too. Both are trained to rank
    the item that a user chose above other items. By default the loss is a softmax over the items of the batch and
    uniformly drawn ones, with logQ correction (see `_towers/losses.py`).
    """

    Config: ClassVar[type[TwoTowerConfig]] = TwoTowerConfig
    exported = PooledVector
    name = "two_tower"
    config: TwoTowerConfig

    def initial_items(self, data: TrainingData, rng: np.random.Generator, progress: Progress) -> Vectors | None:
        """See `TowerRetriever.initial_items`."""
        if self.config.start == "random":
            return None
        return spectral_start(data.log.matrix, self.config.dim, rng, progress, self.name)[1]

    @classmethod
    def new_encoder(cls, config: TwoTowerConfig) -> UserEncoder:
        """See `TowerRetriever.new_encoder`."""
        from ._towers.encoders import Net
        from ._towers.pooled_encoder import PooledEncoder

        n_in = config.dim * (1 + len(config.half_lives))
        options = config.activation, config.norm, config.dropout
        return PooledEncoder(Net(n_in, config.user_widths, config.dim, *options), config.half_lives)
