"""The user encoder of `youtube_dnn` for requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .mlp import Mlp, Vectors
from .pooling import user_input
from .serving import ExportedEncoder, UserInputs


@dataclass(frozen=True, slots=True)
class DeepVector(ExportedEncoder):
    """`DeepEncoder` without torch: one vector per user.

    Attributes:
        net: the network, from profile, means of the history, and search terms to the vector.
        half_lives: float64 (n,), the number of newer events after which the weight of an event is halved.
    """

    net: Mlp
    half_lives: NDArray[np.float64]

    @classmethod
    def of(cls, net: Mlp, half_lives: Sequence[float]) -> Self:
        """The encoder of a network and half-lives."""
        return cls(net, np.array(half_lives, np.float64))

    def __call__(self, user: UserInputs) -> Vectors:
        """See `ExportedEncoder.__call__`."""
        pooled = user_input(
            user.tokens,
            user.token_weights,
            user.token_table,
            user.history,
            user.weights,
            user.ordered,
            self.half_lives,
            user.item_table,
        )
        return self.net(np.concatenate([pooled, user.term_weights @ user.term_rows]))[None]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Exported.arrays`."""
        return self.net.arrays()

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], config: Any) -> Self:
        """See `Exported.of_arrays`."""
        return cls.of(Mlp.of_arrays(arrays, config.activation), config.half_lives)
