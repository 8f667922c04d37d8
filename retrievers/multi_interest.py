"""Several vectors for a user, one for each interest that a trained network finds in their history."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from multirecall.data import Changes, Dataset
from multirecall.progress import Progress
from multirecall.protocols import Reason
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.validation import Count, NonNegative

from ._queries import sample_queries
from ._towers.config import TowerConfig
from ._towers.interests import InterestKind, InterestVectors
from ._towers.retriever import TowerRetriever

if TYPE_CHECKING:
    from ._towers.encoders import UserEncoder

_log = logging.getLogger("multirecall.retrievers")

COLLAPSED = 0.95
"""The mean cosine of a user's interests from which on a fit warns that they find the same items."""

NAMED = 3
"""The most items of the history that an explanation names."""

Interests = Annotated[Count, Field(le=64)]
"""The number of interests of a user."""


class MultiInterestConfig(TowerConfig):
    """Settings of `multi_interest`."""

    kind: InterestKind = "comirec_sa"
    """What finds the interests: `comirec_sa` self-attention, `comirec_dr` dynamic routing with a map for each interest,
    `mind` dynamic routing with one map for all. Changes results."""

    interests: Interests = 4
    """The number of vectors of a user, and so of searches in a request. In `mind`, a history of n events has at most
    log2 n, and at least one. Changes results and speed."""

    attention_width: Count = 64
    """Hidden values of the attention in `comirec_sa`. Changes results and speed."""

    routing_penalty: NonNegative = 0.0
    """Weight of the variance of the attention in `comirec_sa`, which keeps an interest from attending to a single
    event. The variance is that of the shares of the events, squared and summed over the interests. Changes results."""

    iterations: Annotated[Count, Field(le=10)] = 3
    """Iterations of the routing in `comirec_dr` and `mind`. Changes results and speed."""

    label_aware: bool = False
    """Whether, as published, only a mean of a user's vectors by label-aware attention learns a target. If not, the loss
    scores every item under all vectors, as a request does. Changes results and speed."""

    power: Annotated[NonNegative, Field(le=100)] = 2.0
    """Power of the label-aware attention, which weighs a user's vectors by their logits for the target: with 0 all
    learn alike, with a large power the nearest alone. Changes results."""

    user_widths: tuple[Count, ...] = ()
    """Widths of the hidden layers of the network that joins an interest to the profile. Changes results."""

    @model_validator(mode="after")
    def _penalise_attention(self) -> Self:
        if self.routing_penalty and self.kind != "comirec_sa":
            raise ValueError(f"routing_penalty is for kind = 'comirec_sa', got {self.kind!r}; set it to 0")
        return self


class MultiInterest(TowerRetriever):
    """Scores an item by its highest cosine with any of the user's vectors, one for each interest.

    In `comirec_sa`, an interest is a mean of the history under a head of self-attention; in `comirec_dr` and `mind`, it
    is a capsule to which dynamic routing sends a part of each event (Cen et al., KDD 2020; Li et al., CIKM 2019). A
    network joins each interest to the profile. In training, the vector that lies nearest to a target learns it most.
    """

    Config: ClassVar[type[MultiInterestConfig]] = MultiInterestConfig
    exported = InterestVectors
    name = "multi_interest"
    config: MultiInterestConfig
    cosine: float
    """The mean cosine of two interests of a user, over a sample of users, after the fit; near 1, the interests have
    collapsed onto each other. NaN if nobody in the sample has two."""

    @classmethod
    def new_encoder(cls, config: MultiInterestConfig) -> UserEncoder:
        """See `TowerRetriever.new_encoder`."""
        import torch

        from ._towers.encoders import Net
        from ._towers.interest_encoders import AttentionEncoder, RoutingEncoder

        options = config.activation, config.norm, config.dropout
        net = Net(2 * config.dim, config.user_widths, config.dim, *options)
        loss = config.power if config.label_aware else None, config.temperature
        if config.kind == "comirec_sa":
            sizes = config.dim, config.attention_width, config.interests, config.history
            return AttentionEncoder(sizes, config.routing_penalty, net, *loss)
        directions = torch.randn(config.dim, config.interests)
        if config.kind == "mind":
            return RoutingEncoder(config.dim, 1, directions, config.iterations, True, net, *loss)
        directions.zero_()
        return RoutingEncoder(config.dim, config.interests, directions, config.iterations, False, net, *loss)

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """See `TowerRetriever.fit`. A message says how alike the interests of a user are."""
        super().fit(data, rng=rng, progress=progress)
        vectors = np.array([self.user_vectors(query) for query in sample_queries(data)])
        self.cosine = mean_cosine(vectors)
        told = "%s: two interests of a user have a mean cosine of %.2f"
        if self.cosine > COLLAPSED:
            told += ", so they find the same items; lower `interests`"
        _log.log(logging.WARNING if self.cosine > COLLAPSED else logging.INFO, told, self.name, self.cosine)

    def explain(self, query: Query, item: int) -> Reason | None:
        """Which interest brought the item, and which items of the history lie nearest to that interest."""
        interests = self.user_vectors(query)
        if len(interests) == 1:
            return None
        cosines = interests @ self._item_vectors_of(np.array([item], np.int32))[0]
        best = int(cosines.argmax())
        own = np.unique(query.history)
        near = own[np.argsort(-(self._item_vectors_of(own) @ interests[best]), kind="stable")[:NAMED]]
        listed = ", ".join(f"{cosine:.2f}" for cosine in cosines.tolist())
        told = f"interest {best + 1} of {len(interests)} (cosines {listed})"
        return Reason(f"{told}, nearest in the history" if near.size else told, near)

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`."""
        path = super().with_changes(changes)
        path.cosine = self.cosine
        return path

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        super().save(folder)
        write_component(folder / "interests", {"cosine": np.array(self.cosine)}, {})

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = super().load(config, folder, data)
        path.cosine = float(read_component(folder / "interests")[0]["cosine"])
        return path


def mean_cosine(vectors: NDArray[np.float32]) -> float:
    """The mean cosine of two different vectors of a user; NaN if there are none.

    Args:
        vectors: float32 (n_users, n_vectors, dim), unit vectors. An interest that repeats another one does not count.
    """
    first, second = np.triu_indices(vectors.shape[1], 1)
    cosines = np.einsum("upd,upd->up", vectors[:, first], vectors[:, second])
    differ = (vectors[:, first] != vectors[:, second]).any(axis=2)
    return float(cosines[differ].mean()) if differ.any() else float("nan")
