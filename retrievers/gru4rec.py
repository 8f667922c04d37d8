"""A recurrent network over the history, oldest event first, to predict what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from multirecall.validation import Count

from ._towers.causal_retriever import CausalRetriever
from ._towers.config import SequenceConfig
from ._towers.negatives import NegativesConfig
from ._towers.recurrent import Recurrent

if TYPE_CHECKING:
    from ._towers.encoders import UserEncoder


class GRU4RecConfig(SequenceConfig):
    """Settings of `gru4rec`."""

    layers: Annotated[Count, Field(le=8)] = 1
    """Recurrent layers. Changes results and speed."""

    negatives: NegativesConfig = NegativesConfig(in_batch=False, uniform=0, frequency=2048, alpha=0.5, all_up_to=8_000)
    """Sources of negatives. Changes results and speed."""

    width: Count = 128
    """Width of the recurrent state. Changes results and speed."""


class GRU4Rec(CausalRetriever):
    """Scores an item by its embedding's inner product with the state of a recurrent network after the history.

    The network has gated recurrent units (Hidasi et al., ICLR 2016, equations 1 to 4) between tied item embeddings. It
    learns as `sasrec` does: every event is the target of those before it. By default the loss is a softmax over the
    catalogue, or in a large one over negatives drawn by `count ** 0.5` with logQ correction (Hidasi & Karatzoglou, CIKM
    2018, section 3). Needs the order of events.

    Live: histories, and new items by the features of similar ones. The network stays as fitted.
    """

    Config: ClassVar[type[GRU4RecConfig]] = GRU4RecConfig
    exported = Recurrent
    name = "gru4rec"
    config: GRU4RecConfig

    @classmethod
    def new_encoder(cls, config: Any) -> UserEncoder:
        """See `TowerRetriever.new_encoder`."""
        from ._towers.recurrent_encoder import RecurrentEncoder

        return RecurrentEncoder(config.dim, config.width, config.layers, config.dropout)
