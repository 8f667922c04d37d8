"""A convolution over the words of items and of search terms, which reads their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from multirecall.validation import Count

from ._towers.config import TextConfig
from ._towers.text_retriever import TextRetriever
from ._towers.windows import WindowedText

if TYPE_CHECKING:
    from ._towers.encoders import ItemEncoder


class CDSSMConfig(TextConfig):
    """Settings of `cdssm`."""

    filters: Count = 256
    """Filters over windows of three words. Changes results and speed."""


class CDSSM(TextRetriever):
    """Scores an item by the cosine of what a convolution makes of its text and of a search.

    Each filter reads every window of three words; its largest value, wherever in the text, goes on to the vector.

    Shen et al., CIKM 2014, "A Latent Semantic Model with Convolutional-Pooling Structure for Information Retrieval".
    """

    Config: ClassVar[type[CDSSMConfig]] = CDSSMConfig
    exported_item = WindowedText
    name = "cdssm"
    config: CDSSMConfig

    @classmethod
    def new_item_encoder(cls, config: Any) -> ItemEncoder:
        """See `TowerRetriever.new_item_encoder`."""
        from ._towers.encoders import Net
        from ._towers.text_encoders import WindowedTexts

        net = Net(config.filters, config.item_widths, config.dim, config.activation, "none", config.dropout)
        return WindowedTexts(config.dim, config.filters, net)
