"""The user encoder of `youtube_dnn` for requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .mlp import SMALLEST, Mlp, Vectors
from .serving import ExportedEncoder, UserInputs


@dataclass(frozen=True, slots=True)
class DeepVector(ExportedEncoder):
    """`DeepEncoder` without torch: one vector per user.

    Attributes:
        net: the network, from history, search terms and profile, 3 · dim, to the vector.
    """

    net: Mlp

    def __call__(self, user: UserInputs) -> Vectors:
        """See `ExportedEncoder.__call__`."""
        total = np.maximum(user.weights.sum(), np.float32(SMALLEST))
        mean = (user.weights / total) @ user.item_table[user.history]
        asked = user.term_weights @ user.term_rows
        profile = user.token_weights @ user.token_table[user.tokens]
        return self.net(np.concatenate([mean, asked, profile]))[None]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Exported.arrays`."""
        return self.net.arrays()

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], config: Any) -> Self:
        """See `Exported.of_arrays`."""
        return cls(Mlp.of_arrays(arrays, config.activation))
