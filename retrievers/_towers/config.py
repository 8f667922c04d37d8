"""The settings that all retrievers with a trained user vector share."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from multirecall.protocols import ThreadedConfig
from multirecall.validation import Count, NonNegative, Positive

from .._index.kinds import IndexSettings, index_settings
from .mlp import Activation, Norm
from .negatives import NegativesConfig
from .tokenisers import TokeniserName

LossName = Literal["softmax", "infonce", "bpr", "bce", "triplet"]

Chance = Annotated[float, Field(strict=True, ge=0, lt=1)]
"""A probability below 1."""


class TowerConfig(ThreadedConfig):
    """Settings of a retriever whose user vectors a trained network computes."""

    of_machine: ClassVar[frozenset[str]] = ThreadedConfig.of_machine | {"device", "checkpoint"}

    dim: Count = 64
    """Length of embeddings and of user and item vectors. Changes results."""

    item_widths: tuple[Count, ...] = ()
    """Widths of the item tower's hidden layers. Changes results."""

    activation: Activation = "gelu"
    """Between the layers. Changes results."""

    norm: Norm = "none"
    """Before each activation: a batch norm, a layer norm, or none. Changes results."""

    dropout: Chance = 0.0
    """Share of hidden values that a training step leaves out. Changes results."""

    user_id: bool = True
    """Whether each user has an embedding, beside features and history. Changes results."""

    id_dropout: Chance = 0.1
    """Chance that an id, category or word counts as unknown in a training step, so that unknown ones are learnt.
    Changes results."""

    text_buckets: Count = 16_384
    """Tokens that the words of a text field are hashed into. Changes results."""

    tokeniser: TokeniserName = "words"
    """What a text becomes: `words` and pairs of neighbouring words; `letters`, each three letters in a row of a word,
    which also match words that are misspelt or inflected; or both. Changes results."""

    history: Count = 50
    """Events of the history that the user encoder reads, the newest. Changes results and speed."""

    horizon: Count = 30
    """A training history ends up to so many events before its target, at random. A large value teaches what users
    choose over the next weeks, 1 what they choose next. Changes results."""

    loss: LossName = "softmax"
    """What is minimised: see `multirecall/retrievers/_towers/losses.py`. Changes results."""

    temperature: Annotated[Positive, Field(ge=1e-3, le=1e3)] = 0.05
    """Cosines are divided by it. Changes results."""

    learn_temperature: bool = False
    """Whether it is learnt, from that value. Changes results."""

    margin: NonNegative = 0.2
    """Of the triplet loss, in cosines. Changes results."""

    negatives: NegativesConfig = NegativesConfig()
    """Where negatives come from."""

    batch: Count = 1024
    """Examples of a training step. Changes results and speed."""

    epochs: Count = 10
    """Most passes over the log. Changes results."""

    examples: Count = 3_000_000
    """Examples in all of them together, so that a large log takes fewer passes, but one at least. Changes results and
    speed: a core trains on some 40,000 a second."""

    patience: Count = 2
    """Epochs without a better recall on held-out events after which training stops. Changes results."""

    held_out: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 2_000
    """Users, at most a tenth of them, whose last event is held out to measure that recall; 0: none, and training
    does not stop early. Changes results."""

    learning_rate: Annotated[Positive, Field(le=10)] = 5e-3
    """The highest, after the warm-up; it then falls to 0 along a cosine. Changes results."""

    warm_up: Chance = 0.05
    """Share of the steps in which the rate rises. Changes results."""

    weight_decay: Annotated[NonNegative, Field(le=1)] = 0.0
    """Of AdamW. Changes results."""

    clip: Positive = 1.0
    """Largest length of a step's gradient. Changes results."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model is trained; `auto`: on a GPU where there is one. Speed; results differ in rounding."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products in training; `auto`: bfloat16 where the hardware multiplies it. Speed; results differ in
    rounding."""

    threads: Count = 1
    """Threads of the training. Speed; with 1, results are reproducible to the bit."""

    checkpoint: str | None = None
    """Folder for a checkpoint after each epoch, below which each training has a folder of its own; a fit of the same
    data with the same settings and seed goes on from there. Speed only."""

    index: IndexSettings = Field(default_factory=index_settings)
    """The index over the item vectors."""
