"""The settings that all retrievers with trained user vectors share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from multirecall.protocols import ThreadedConfig
from multirecall.validation import Count, NonNegative, Positive

from .._index.kinds import IndexSettings, index_settings
from .mlp import Activation, Norm
from .negatives import NegativesConfig
from .searches import SearchesConfig
from .tokenisers import TokeniserName

LossName = Literal["softmax", "infonce", "bpr", "bpr_max", "triplet", "bce", "gbce"]
Mode = Literal["pointwise", "pairwise", "listwise"]

MODES: Mapping[Mode, tuple[LossName, ...]] = {
    "pointwise": ("bce", "gbce"),
    "pairwise": ("bpr", "bpr_max", "triplet"),
    "listwise": ("softmax", "infonce"),
}
"""The losses of each training mode. The first is taken where a config names a mode only."""

LearningRate = Annotated[Positive, Field(le=10)] | Literal["auto"]
"""A learning rate, or "auto": see `learning_rate_of`."""

FASTEST, FASTEST_STEPS = 1e-2, 1_000
"""The learning rate "auto" of a training, and the most steps in which it stays that high."""

HalfLife = Annotated[Positive, Field(ge=0.01, le=1e6)]
"""The number of newer events after which the weight of an event is halved."""

Chance = Annotated[float, Field(strict=True, ge=0, lt=1)]
"""A probability, 0 ≤ p < 1."""


def learning_rate_of(setting: LearningRate, steps: int) -> float:
    """The highest learning rate of a training of `steps` steps."""
    return FASTEST * min(1.0, FASTEST_STEPS / steps) ** 0.5 if setting == "auto" else setting


class TrainingConfig(ThreadedConfig):
    """Settings of every retriever whose user vectors come from a trained network.

    Attributes:
        recall_at: the k of the recall@k on held-out events by which training stops early.
    """

    recall_at: ClassVar[int] = 100
    of_machine: ClassVar[frozenset[str]] = ThreadedConfig.of_machine | {"device", "checkpoint"}

    dim: Count = 64
    """Dimensions of embeddings, user vectors and item vectors. Changes results."""

    history: Count = 50
    """Newest events of the history that the user encoder reads. Changes results and speed."""

    horizon: Count = 30
    """Largest distance, in events, between the end of a training history and its target, which is drawn at random. With
    a large value the model learns what users choose over the next weeks, with 1 the next event. Changes results."""

    dropout: Chance = 0.0
    """Share of hidden values that a training step sets to 0. Changes results."""

    mode: Mode | None = None
    """Training mode, a group of losses: pointwise (bce, gbce), pairwise (bpr, bpr_max, triplet) or listwise (softmax,
    infonce). Without `loss`, the first of the group is taken; with None, any loss may stand. Changes results."""

    loss: LossName = "softmax"
    """Loss that the training minimises: softmax with logQ correction, InfoNCE, BPR, BPR-max, triplet, binary
    cross-entropy, or binary cross-entropy with the positives' term calibrated for sampled negatives (gBCE). Changes
    results."""

    temperature: Annotated[Positive, Field(ge=1e-3, le=1e3)] = 0.05
    """Divisor of the cosines in the loss. Changes results."""

    learn_temperature: bool = False
    """Whether `temperature` is learnt, from its value as the start. Changes results."""

    margin: NonNegative = 0.2
    """Margin of the triplet loss, in units of the cosine. Changes results."""

    calibration: Annotated[NonNegative, Field(le=1)] = 0.75
    """Calibration of gBCE, between plain binary cross-entropy, 0, and scores that estimate the true probabilities of
    clicks, 1. Changes results."""

    bpr_max_penalty: NonNegative = 0.01
    """Weight of the negatives' squared scores in BPR-max. A score is a cosine divided by `temperature`, and its square
    grows accordingly. Changes results."""

    negatives: NegativesConfig = NegativesConfig()
    """Sources of negatives. Changes results."""

    batch: Count = 1024
    """Examples in a training step. Changes results and speed."""

    epochs: Count = 10
    """Largest number of passes over the log. Changes results."""

    examples: Count = 3_000_000
    """Largest number of examples over all passes, so that a large log takes fewer passes, but at least one. Changes
    results and speed: a core trains on some 40,000 examples a second."""

    patience: Count = 2
    """Early stopping: epochs without a better recall on held-out events after which training ends. Changes results."""

    held_out: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 2_000
    """Users, at most a tenth of all, whose last event is held out for early stopping; 0: no event is held out, and
    training does not stop early. Changes results."""

    learning_rate: LearningRate = 5e-3
    """Highest learning rate, reached after the warm-up; the rate then falls to 0 along a cosine. "auto": 0.01 in
    trainings of up to 1,000 steps, and times √(1,000 / steps) in longer ones. Changes results."""

    warm_up: Chance = 0.05
    """Share of the training steps in which the learning rate rises from 0. Changes results."""

    weight_decay: Annotated[NonNegative, Field(le=1)] = 0.0
    """Weight decay of AdamW. Changes results."""

    clip: Positive = 1.0
    """Largest norm of a step's gradient; a longer gradient is shortened to it. Changes results."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the training; `auto`: a GPU if there is one, else the CPU. Changes speed, and results by rounding."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of matrix products in training; `auto`: bfloat16 if the hardware multiplies it, else float32. Changes
    speed, and results by rounding."""

    threads: Count = 1
    """Threads of the training. Changes speed; only with 1 are results reproducible to the bit."""

    checkpoint: str | None = None
    """Folder for checkpoints, written after each epoch. A fit of the same data with the same settings and seed resumes
    from its checkpoint. Changes speed only."""

    index: IndexSettings = Field(default_factory=index_settings)
    """Settings of the index over the item vectors."""

    @model_validator(mode="before")
    @classmethod
    def _loss_of_mode(cls, values: Any) -> Any:
        if isinstance(values, dict) and "loss" not in values:
            first = next((losses[0] for mode, losses in MODES.items() if mode == values.get("mode")), None)
            return values if first is None else {**values, "loss": first}
        return values

    @model_validator(mode="after")
    def _weigh_hard_in_softmax(self) -> Self:
        if self.negatives.hardness and self.loss not in MODES["listwise"]:
            raise ValueError(
                f"negatives.hardness weighs the negatives of the losses {' and '.join(MODES['listwise'])}, not of "
                f"{self.loss}; set it to 0, or another loss"
            )
        return self

    @model_validator(mode="after")
    def _loss_in_mode(self) -> Self:
        if self.mode is not None and self.loss not in MODES[self.mode]:
            own = next(mode for mode, losses in MODES.items() if self.loss in losses)
            raise ValueError(
                f"mode = {self.mode!r} contradicts loss = {self.loss!r}, which is {own}; "
                f"set mode = {own!r}, or a loss of {', '.join(MODES[self.mode])}"
            )
        return self


class ProfileConfig(TrainingConfig):
    """Settings of a network that reads the user's id and features as well."""

    activation: Activation = "gelu"
    """Activation function between the layers. Changes results."""

    norm: Norm = "none"
    """Normalisation before each activation: batch norm, layer norm, or none. Changes results."""

    examples_per_user: Count | None = None
    """Most examples of a user in a pass, drawn anew for each, so that heavy users do not rule; None: all. Changes
    results and speed."""

    user_id: bool = True
    """Whether each user has an embedding of their own, beside features and history. Changes results."""

    id_dropout: Chance = 0.1
    """Probability that a training step treats an id, category or word as unknown, so that the embeddings for unknown
    values are learnt. Changes results."""

    text_buckets: Count = 16_384
    """Hash buckets for the tokens of a text field. Changes results."""

    tokeniser: TokeniserName = "words"
    """Tokens of a text: `words` gives words and pairs of neighbouring words; `letters` gives letter trigrams of the
    words, which also match misspelt and inflected words; `words_and_letters` gives both. Changes results."""


class TowerConfig(ProfileConfig):
    """Settings of two towers: the items have a network as well, which reads their features."""

    item_widths: tuple[Count, ...] = ()
    """Widths of the item tower's hidden layers. Changes results."""


class SequenceConfig(TrainingConfig):
    """Settings of a network that reads the history as a sequence and learns from every event of it."""

    recall_at: ClassVar[int] = 10

    history: Count = 200
    """Newest events of the history that the encoder reads, and events of a stretch in training. Changes results and
    speed."""

    horizon: Count = 1
    """Largest distance, in events, between an event and the target that follows it, which is drawn at random: 1 is the
    next event. Changes results."""

    temperature: Annotated[Positive, Field(ge=1e-3, le=1e3)] = 1.0
    """Divisor of the inner products in the loss. Changes results."""

    dropout: Chance = 0.2
    """Share of hidden values that a training step sets to 0; sparse logs want more. Changes results."""

    negatives: NegativesConfig = NegativesConfig(in_batch=False, uniform=512, all_up_to=8_000)
    """Sources of negatives. Changes results and speed."""

    batch: Count = 6_400
    """Most events in a training step, about; a small log has fewer in each, so that a pass has more steps. Changes
    results and speed."""

    epochs: Count = 30
    """Largest number of passes over the log. Changes results."""

    examples: Count = 30_000_000
    """Largest number of targets over all passes, so that a large log takes fewer passes, but at least one. Changes
    results and speed: a core trains on some 20,000 targets a second."""

    patience: Count = 5
    """Early stopping: epochs without a better recall on held-out events after which training ends. Changes results."""

    learning_rate: LearningRate = 2e-3
    """Highest learning rate, reached after the warm-up; the rate then falls to 0 along a cosine. Changes results."""


class TextConfig(TrainingConfig):
    """Settings of a retriever that knows items by their words alone."""

    dim: Count = 128
    """Dimensions of the embeddings of tokens, and of the vectors of users and items. Changes results."""

    fields: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Item features that are read as one text: texts, categories and lists of categories that are words; None: all of
    these. Changes results."""

    tokeniser: TokeniserName = "words_and_letters"
    """Tokens of a word: `words` gives the word, `letters` its letter trigrams, which misspelt and inflected words
    share, and `words_and_letters` both. Changes results."""

    text_buckets: Count = 65_536
    """Hash buckets for the tokens. Changes results."""

    activation: Activation = "tanh"
    """Activation function between the layers of `item_widths`. Changes results."""

    item_widths: tuple[Count, ...] = ()
    """Widths of the hidden layers between a text and its vector. Changes results."""

    history: Count = 100
    """Newest events of the history that are read by a user who does not search. Changes results and speed."""

    half_lives: Annotated[tuple[HalfLife, ...], Field(min_length=1, max_length=8)] = (20.0, 200.0)
    """The number of newer events after which the weight of an event is halved. The history is averaged once for each
    value. Changes results."""

    history_temperature: Annotated[Positive, Field(ge=1e-3, le=1e3)] = 0.1
    """As `temperature`, which then is that of searches, for the examples of the log: what follows a history is less
    certain. Changes results."""

    searches: SearchesConfig = SearchesConfig(share=0.8)
    """How search terms for the training are drawn from the texts of items."""

    examples: Count = 1_500_000
    """Largest number of examples over all passes, so that a large log takes fewer passes, but at least one. Changes
    results and speed."""

    held_out: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0
    """Users, at most a tenth of all, whose last event is held out for early stopping, by recall from histories; 0: no
    event is held out, and training does not stop early. Changes results."""

    learning_rate: LearningRate = 1e-2
    """Highest learning rate, reached after the warm-up; the rate then falls to 0 along a cosine. Changes results."""
