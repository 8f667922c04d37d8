"""The sources of the negatives of a batch, and the probability of each item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from multirecall.validation import NonNegative, StrictModel

Draws = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]


class NegativesConfig(StrictModel):
    """The number of negatives that a batch draws from each source; its examples share them. Changes results."""

    in_batch: bool = True
    """Whether the positives of the other examples in the batch count as negatives."""

    uniform: Draws = 1024
    """Negatives that are drawn with equal probability."""

    frequency: Draws = 0
    """Negatives that are drawn with a probability proportional to `count ** alpha`."""

    alpha: Annotated[NonNegative, Field(le=10)] = 0.75
    """Exponent of the counts in `frequency`: 0 is uniform, 1 follows the log."""

    hard: Draws = 0
    """Hard negatives: items that the model of the start of the epoch ranks high for users of the batch."""

    all_up_to: Draws = 0
    """In catalogues of at most this many items that interactions name, every such item is a negative, once in each
    step, and the other sources are not used."""

    hardness: Annotated[NonNegative, Field(le=10)] = 0.0
    """Exponent b of the weights of hard negatives in the losses softmax and infonce: a negative of score s counts
    exp(b · s) times, with a mean of 1 over the negatives of an example; 0: all count alike."""

    @model_validator(mode="after")
    def _some_source(self) -> NegativesConfig:
        if not (self.in_batch or self.uniform or self.frequency or self.hard):
            raise ValueError("no source of negatives; set in_batch = true, or uniform, frequency or hard above 0")
        return self


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws the negatives of a batch.

    Attributes:
        config: the number of draws from each source.
        items: int32 (n,), the items that can be drawn: the positives of all examples.
        in_batch: float64 (n_items,), the probability of each item to be an example's positive.
        frequency: float64 (n_items,), the probability of each item in a draw by frequency.
        ladder: float64 (n,), the prefix sums of `frequency` over `items`.
    """

    config: NegativesConfig
    items: NDArray[np.int32]
    in_batch: NDArray[np.float64]
    frequency: NDArray[np.float64]
    ladder: NDArray[np.float64]

    @classmethod
    def of(cls, config: NegativesConfig, counts: NDArray[np.integer]) -> Sampler:
        """The sampler for a log in which item `i` is the positive of `counts[i]` examples."""
        items = np.flatnonzero(counts).astype(np.int32)
        powers = np.where(counts > 0, np.maximum(counts, 1.0) ** config.alpha, 0.0)
        frequency = powers / powers.sum()
        return cls(config, items, counts / counts.sum(), frequency, np.cumsum(frequency[items]))

    @property
    def whole(self) -> bool:
        """Whether every item that can be drawn is a negative in each step, and nothing is drawn."""
        return self.items.size <= self.config.all_up_to

    def draw(self, rng: np.random.Generator) -> NDArray[np.int32]:
        """Draw the uniform negatives, then those by frequency, int32 (uniform + frequency,); all items if `whole`."""
        if self.whole:
            return self.items
        uniform = self.items[rng.integers(0, self.items.size, self.config.uniform)]
        places = np.searchsorted(self.ladder, rng.random(self.config.frequency) * self.ladder[-1], side="right")
        return np.concatenate([uniform, self.items[np.minimum(places, self.items.size - 1)]])

    def log_q(self, batch: int) -> NDArray[np.float32]:
        """`log Q` of each item, float32 (n_items,): the log of its probability among a batch's negatives.

        `Q = (B · q_batch + U / n + F · q_frequency) / (B + U + F)` for a batch of `B` examples; −inf where `Q` is 0.
        The probability of hard negatives is not known; the formula leaves them out. If `whole`, all are 0.
        """
        if self.whole:
            return np.zeros(self.in_batch.size, np.float32)
        config = self.config
        expected = batch * self.in_batch if config.in_batch else np.zeros(self.in_batch.size)
        expected[self.items] += config.uniform / self.items.size
        expected += config.frequency * self.frequency
        total = expected.sum()
        with np.errstate(divide="ignore"):
            return np.log(expected / total if total else self.in_batch).astype(np.float32)
