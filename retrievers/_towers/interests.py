"""The encoders of `multi_interest` without torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from .interest_attention import attend
from .interest_routing import route
from .mlp import Mlp, Vectors
from .serving import ExportedEncoder, UserInputs

InterestKind = Literal["comirec_sa", "comirec_dr", "mind"]


class Extractor(ABC):
    """Finds the interests in a history."""

    @abstractmethod
    def __call__(self, rows: Vectors, weights: Vectors, ordered: bool) -> Vectors:
        """The interests, float32 (n_interests, dim).

        Args:
            rows: float32 (n, dim), the embeddings of the items of the history, oldest first.
            weights: float32 (n,), the weights of the events.
            ordered: whether the history is in order of time.
        """

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays from which the constructor restores the extractor."""


@dataclass(frozen=True, slots=True)
class Attention(Extractor):
    """Each interest is a mean of the history under a head of self-attention.

    Attributes:
        hidden: float32 (dim, width), the map from the embedding of an item to its hidden values.
        shift: float32 (length, width), what the position of an event, 0 for the newest, adds to them.
        heads: float32 (n_interests, width).
    """

    hidden: Vectors
    shift: Vectors
    heads: Vectors

    def __call__(self, rows: Vectors, weights: Vectors, ordered: bool) -> Vectors:
        """See `Extractor.__call__`."""
        n = len(rows)
        positions = np.arange(n - 1, -1, -1) if ordered else np.zeros(n, np.int64)
        one_bag = np.array([0, n])
        interests, _ = attend(
            rows, rows @ self.hidden, self.shift, self.heads, np.arange(n), positions, one_bag, weights
        )
        vectors: Vectors = interests[0]
        return vectors

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Extractor.arrays`."""
        return {"hidden": self.hidden, "shift": self.shift, "heads": self.heads}


@dataclass(frozen=True, slots=True)
class Routing(Extractor):
    """Each interest is a capsule to which dynamic routing sends a part of each event.

    Attributes:
        maps: float32 (n_maps, dim, dim), one map for all interests, or one for each.
        directions: float32 (dim, n_interests), see `start_logits`.
        iterations: the number of iterations.
        adaptive: whether a short history has fewer interests, see `interest_routing.route`.
    """

    maps: Vectors
    directions: Vectors
    iterations: int
    adaptive: bool

    def __call__(self, rows: Vectors, weights: Vectors, ordered: bool) -> Vectors:
        """See `Extractor.__call__`; the order makes no difference."""
        mapped = np.ascontiguousarray((rows @ self.maps).transpose(1, 0, 2))
        starts = start_logits(rows, self.directions)
        n = len(rows)
        couplings = route(mapped, starts, np.arange(n), np.array([0, n]), weights, self.iterations, self.adaptive)
        sums = np.matmul((couplings @ rows)[:, None], self.maps)[:, 0]
        squares = (sums * sums).sum(axis=1, keepdims=True)
        interests: Vectors = sums * (np.sqrt(squares) / (1 + squares))
        return interests

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Extractor.arrays`."""
        return {"maps": self.maps, "directions": self.directions}


def start_logits(rows: Vectors, directions: Vectors) -> Vectors:
    """The start logits of routing, float32 (n, n_interests): the unit vectors of `rows` in each of `directions`.

    Li et al. draw them anew for each request. With these, the answer to a request is always the same, and they are
    normal as well if the directions are.
    """
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    logits: Vectors = (rows / np.maximum(lengths, np.float32(1e-12))) @ directions
    return logits


@dataclass(frozen=True, slots=True)
class InterestVectors(ExportedEncoder):
    """`InterestEncoder` without torch: one vector for each interest.

    Attributes:
        extractor: finds the interests in the history.
        net: the network, from an interest and the sum of the profile to the vector.
    """

    extractor: Extractor
    net: Mlp

    def __call__(self, user: UserInputs) -> Vectors:
        """See `ExportedEncoder.__call__`."""
        interests = self.extractor(user.item_table[user.history], user.weights, user.ordered)
        profile = user.token_weights @ user.token_table[user.tokens]
        return self.net(np.concatenate([interests, np.broadcast_to(profile, interests.shape)], axis=1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Exported.arrays`."""
        return {**self.net.arrays(), **self.extractor.arrays()}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], config: Any) -> Self:
        """See `Exported.of_arrays`."""
        net = Mlp.of_arrays(arrays, config.activation)
        if config.kind == "comirec_sa":
            return cls(Attention(arrays["hidden"], arrays["shift"], arrays["heads"]), net)
        return cls(Routing(arrays["maps"], arrays["directions"], config.iterations, config.kind == "mind"), net)
