"""Self-attention over the history, oldest event first, to predict what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from multirecall.validation import Count

from ._towers.attention import Attention, Gate
from ._towers.causal_retriever import CausalRetriever
from ._towers.config import SequenceConfig

if TYPE_CHECKING:
    from ._towers.encoders import UserEncoder


class SASRecConfig(SequenceConfig):
    """Settings of `sasrec`."""

    blocks: Annotated[Count, Field(le=32)] = 2
    """Blocks of attention and feed-forward layer. Changes results and speed."""

    heads: Count = 2
    """Attention heads, a divisor of `dim`. Changes results."""

    widening: Annotated[Count, Field(le=16)] = 4
    """Width of the feed-forward layers, in multiples of `dim`. Changes results and speed."""

    gate: Gate = "ligr"
    """What a block adds to its input: `none` adds the layer's output, as in the paper; `ligr` gates it and has SwiGLU
    feed-forward layers. Changes results and speed."""

    @model_validator(mode="after")
    def _divide_heads(self) -> SASRecConfig:
        if self.dim % self.heads:
            raise ValueError(f"heads must divide dim, got heads {self.heads} and dim {self.dim}")
        return self


class SASRec(CausalRetriever):
    """Scores an item by its embedding's inner product with the last state of causal self-attention over the history.

    With `e_i` the embedding of item `i`, `t_p` that of the distance `p` from the newest event, and blocks of attention
    `A` and feed-forward layer `F` behind layer norms `N` (Kang & McAuley, ICDM 2018, equations 1 to 5, but with norms
    before the layers and positions from the end):

        x = sqrt(dim) · e + t,    x ← x + g(x) · A(N x),    x ← x + g'(x) · F(N x),    score_i = N(x_newest) · e_i

    The gates `g` and `g'` are 1, or a sigmoid of a linear layer (Tikhonovich et al., RecSys 2025). Every event is the
    target of those before it in one pass; the loss is a softmax over the catalogue (Klenitskiy & Vasilev, RecSys 2023),
    or over drawn negatives in a large one. Needs the order of events.

    Live: histories, and new items by the features of similar ones. The network stays as fitted.
    """

    Config: ClassVar[type[SASRecConfig]] = SASRecConfig
    exported = Attention
    name = "sasrec"
    config: SASRecConfig

    @classmethod
    def new_encoder(cls, config: Any) -> UserEncoder:
        """See `TowerRetriever.new_encoder`."""
        from ._towers.attention_encoder import AttentionEncoder

        return AttentionEncoder(
            config.dim, config.blocks, config.heads, config.history, config.widening, config.dropout, config.gate
        )
