"""The user encoder of text towers without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .mlp import SMALLEST, Vectors
from .pooling import SummedItem, user_input
from .serving import ExportedEncoder, ExportedItemEncoder, UserInputs
from .windows import WindowedText

ITEM = "item-"
"""The prefix of the names of the item encoder's arrays."""


@dataclass(frozen=True, slots=True)
class SearchVector(ExportedEncoder):
    """`SearchEncoder` without torch: one vector per user.

    Attributes:
        item: the encoder of a text.
        weight: float32 (n_half_lives · dim, dim), from the averages of the history to the vector.
        bias: float32 (dim,).
        half_lives: float64 (n,), the number of newer events after which the weight of an event is halved.
    """

    item: ExportedItemEncoder
    weight: Vectors
    bias: Vectors
    half_lives: NDArray[np.float64]

    @classmethod
    def of(cls, item: ExportedItemEncoder, weight: Vectors, bias: Vectors, half_lives: Sequence[float]) -> Self:
        """The encoder of these parts."""
        return cls(item, weight, bias, np.array(half_lives, np.float64))

    def __call__(self, user: UserInputs) -> Vectors:
        """See `ExportedEncoder.__call__`."""
        if user.term_weights.size:
            return self.item(user.term_weights, user.term_rows)[None]
        nothing = user.tokens[:0], user.token_weights[:0], user.item_table
        inputs = user_input(*nothing, user.history, user.weights, user.ordered, self.half_lives, user.item_table)
        vector: Vectors = inputs[user.item_table.shape[1] :] @ self.weight + self.bias
        length = np.maximum(np.sqrt(vector @ vector), np.float32(SMALLEST))
        unit: Vectors = vector / length
        return unit[None]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Exported.arrays`; the half-lives are settings, and so not among the arrays."""
        item = {f"{ITEM}{name}": array for name, array in self.item.arrays().items()}
        return {"history-weight": self.weight, "history-bias": self.bias, **item}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], config: Any) -> Self:
        """See `Exported.of_arrays`."""
        own = {name.removeprefix(ITEM): array for name, array in arrays.items() if name.startswith(ITEM)}
        kind: type[ExportedItemEncoder] = WindowedText if "window-weight" in own else SummedItem
        item = kind.of_arrays(own, config)
        return cls.of(item, arrays["history-weight"], arrays["history-bias"], config.half_lives)
