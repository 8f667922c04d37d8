"""A network over the words of items and of search terms, which bears with misspelt words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ._towers.config import TextConfig
from ._towers.pooling import SummedItem
from ._towers.text_retriever import TextRetriever

if TYPE_CHECKING:
    from ._towers.encoders import ItemEncoder


class DSSMConfig(TextConfig):
    """Settings of `dssm`."""


class DSSM(TextRetriever):
    """Scores an item by the cosine of the sums of the words of its text and of a search, through one network.

    Huang et al., CIKM 2013, "Learning Deep Structured Semantic Models for Web Search using Clickthrough Data".
    """

    Config: ClassVar[type[DSSMConfig]] = DSSMConfig
    exported_item = SummedItem
    name = "dssm"
    config: DSSMConfig

    @classmethod
    def new_item_encoder(cls, config: Any) -> ItemEncoder:
        """See `TowerRetriever.new_item_encoder`."""
        from ._towers.encoders import Net
        from ._towers.pooled_encoder import SummedItems

        return SummedItems(Net(config.dim, config.item_widths, config.dim, config.activation, "none", config.dropout))
