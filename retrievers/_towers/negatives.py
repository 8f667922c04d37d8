"""Where the negatives of a batch come from, and with what probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from multirecall.validation import NonNegative, StrictModel

Draws = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]


class NegativesConfig(StrictModel):
    """How many negatives each batch draws from each source; all of its examples share them. Changes results."""

    in_batch: bool = True
    """Whether the other examples' positives count as negatives."""

    uniform: Draws = 1024
    """Items drawn with equal chances."""

    frequency: Draws = 0
    """Items drawn in proportion to `count ** alpha`."""

    alpha: Annotated[NonNegative, Field(le=10)] = 0.75
    """The exponent of that; 0 is uniform, 1 follows the log."""

    hard: Draws = 0
    """Items that the model itself, as it was at the beginning of the epoch, ranks high for users of the batch."""

    @model_validator(mode="after")
    def _some_source(self) -> NegativesConfig:
        if not (self.in_batch or self.uniform or self.frequency or self.hard):
            raise ValueError("no source of negatives; set in_batch = true, or uniform, frequency or hard above 0")
        return self


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws the negatives of a batch.

    Attributes:
        config: how many from where.
        items: int32 (n,), what can be drawn: the items with interactions.
        in_batch: float64 (n_items,), the chance of each item to be an example's positive.
        frequency: float64 (n_items,), the chance of each in a draw by frequency.
        ladder: the running sum of `frequency` over `items`.
    """

    config: NegativesConfig
    items: NDArray[np.int32]
    in_batch: NDArray[np.float64]
    frequency: NDArray[np.float64]
    ladder: NDArray[np.float64]

    @classmethod
    def of(cls, config: NegativesConfig, counts: NDArray[np.integer]) -> Sampler:
        """The sampler for items that are the positive of `counts`, (n_items,), examples."""
        items = np.flatnonzero(counts).astype(np.int32)
        powers = np.where(counts > 0, np.maximum(counts, 1.0) ** config.alpha, 0.0)
        frequency = powers / powers.sum()
        return cls(config, items, counts / counts.sum(), frequency, np.cumsum(frequency[items]))

    def draw(self, rng: np.random.Generator) -> NDArray[np.int32]:
        """The uniform negatives, then those by frequency."""
        uniform = self.items[rng.integers(0, self.items.size, self.config.uniform)]
        places = np.searchsorted(self.ladder, rng.random(self.config.frequency) * self.ladder[-1], side="right")
        return np.concatenate([uniform, self.items[np.minimum(places, self.items.size - 1)]])

    def log_q(self, batch: int) -> NDArray[np.float32]:
        """For each item `log Q`, the log of its probability under the mixture that a batch draws from, (n_items,).

        `Q = (B · q_batch + U / n + F · q_frequency) / (B + U + F)`. Hard negatives have no probability that is
        known, and take part with that of the other sources. −inf where `Q` is 0.
        """
        config = self.config
        expected = batch * self.in_batch if config.in_batch else np.zeros(self.in_batch.size)
        expected[self.items] += config.uniform / self.items.size
        expected += config.frequency * self.frequency
        total = expected.sum()
        with np.errstate(divide="ignore"):
            return np.log(expected / total if total else self.in_batch).astype(np.float32)
