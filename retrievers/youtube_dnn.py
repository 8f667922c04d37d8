"""A deep network over the history, search terms and profile of a user, with the items as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from multirecall.data import Dataset
from multirecall.validation import Count

from ._towers.config import HalfLife, ProfileConfig
from ._towers.retriever import TowerRetriever
from ._towers.searches import Searches, SearchesConfig
from ._towers.texts import TextRule, fields_with_words
from ._towers.youtube import DeepVector

if TYPE_CHECKING:
    from ._towers.encoders import UserEncoder


class YouTubeDNNConfig(ProfileConfig):
    """Settings of `youtube_dnn`."""

    user_widths: tuple[Count, ...] = (256, 128)
    """Widths of the network's hidden layers. Changes results and speed."""

    half_lives: Annotated[tuple[HalfLife, ...], Field(min_length=1, max_length=8)] = (2.0, 20.0)
    """The number of newer events after which the weight of an event is halved. The history is averaged once for each
    value; a large one is the plain mean of the paper. Changes results."""

    examples_per_user: Count | None = 50
    """Most examples of a user in a pass, drawn anew for each, so that heavy users do not rule; None: all. Changes
    results and speed."""

    searches: SearchesConfig = SearchesConfig(share=0.1)
    """How search terms for the training are drawn from the texts of items, where items have texts."""


class YouTubeDNN(TowerRetriever):
    """Scores an item by the cosine of its embedding with what a deep network makes of the user.

    Covington et al., RecSys 2016, "Deep Neural Networks for YouTube Recommendations", section 3: means of the
    history's embeddings, search terms, profile and example age go through a tower of layers; a softmax over sampled
    items, corrected for their popularity, teaches it, and heavy users count no more than `examples_per_user` times a
    pass. The age of an example is 0 in a request, so that the network answers for now.

    Live: histories, features and search terms count at once; a new item gets the mean vector of items with similar
    features. The network stays as fitted.
    """

    Config: ClassVar[type[YouTubeDNNConfig]] = YouTubeDNNConfig
    exported = DeepVector
    tied = True
    name = "youtube_dnn"
    config: YouTubeDNNConfig

    @classmethod
    def new_encoder(cls, config: Any) -> UserEncoder:
        """See `TowerRetriever.new_encoder`."""
        from ._towers.encoders import Net
        from ._towers.youtube_encoder import N_AGES, DeepEncoder

        options = config.activation, config.norm, config.dropout
        n_in = config.dim * (2 + len(config.half_lives)) + N_AGES
        return DeepEncoder(Net(n_in, config.user_widths, config.dim, *options), config.half_lives)

    def new_searches(self, data: Dataset) -> Searches | None:
        """See `TowerRetriever.new_searches`; None if items have no texts."""
        features = data.items.features
        rule = TextRule(tuple(fields_with_words(features)), self.config.tokeniser, self.config.text_buckets)
        return Searches.of(rule, features, self.config.searches) if rule.fields else None
