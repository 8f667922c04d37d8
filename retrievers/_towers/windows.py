"""Convolution over windows of three words and its maximum over all places, for a batch in training and for one text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, fast_kernel

from .mlp import Mlp, Vectors
from .serving import ExportedItemEncoder


@dataclass(frozen=True, slots=True)
class WindowedText(ExportedItemEncoder):
    """`WindowedTexts` without torch.

    Attributes:
        weight: float32 (dim, 3 · n_filters), what a word adds to the windows in which it is left, middle and right.
        bias: float32 (3 · n_filters,).
        net: the network, from the filters' maxima to the vector.
    """

    weight: Vectors
    bias: Vectors
    net: Mlp

    def __call__(self, weights: Vectors, rows: Vectors) -> Vectors:
        """See `ExportedItemEncoder.__call__`; the weights do not count."""
        n_filters = self.bias.size // 3
        if not len(rows):
            return self.net(np.zeros(n_filters, np.float32))
        parts = rows @ self.weight + self.bias
        windows = parts[:, n_filters : 2 * n_filters].copy()
        windows[1:] += parts[:-1, :n_filters]
        windows[:-1] += parts[1:, 2 * n_filters :]
        return self.net(np.tanh(windows.max(axis=0)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Exported.arrays`."""
        return {"window-weight": self.weight, "window-bias": self.bias, **self.net.arrays()}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], config: Any) -> Self:
        """See `Exported.of_arrays`."""
        net = {name: array for name, array in arrays.items() if name.startswith("layer")}
        return cls(arrays["window-weight"], arrays["window-bias"], Mlp.of_arrays(net, config.activation))


@fast_kernel
def window_maxima(parts: Array, places: Array, offsets: Array) -> tuple[Array, Array]:
    """The maximum over the places of each text of `left[p - 1] + middle[p] + right[p + 1]`, for each filter.

    `parts`, float32 (n_words, 3 · n_filters), has the left, middle and right values of each distinct word; the text
    `t` has the words `places[offsets[t] : offsets[t + 1]]`, int64. Beyond the ends of a text all values are 0.

    Returns:
        The maxima, float32 (n_texts, n_filters), and where they are in `places`, int32; 0 and −1 for an empty text.
    """
    n_filters = parts.shape[1] // 3
    best = np.zeros((offsets.size - 1, n_filters), np.float32)
    where = np.full((offsets.size - 1, n_filters), -1, np.int32)
    for text in range(offsets.size - 1):
        begin, end = offsets[text], offsets[text + 1]
        for place in range(begin, end):
            middle = parts[places[place], n_filters : 2 * n_filters]
            for column in range(n_filters):
                value = middle[column]
                if place > begin:
                    value += parts[places[place - 1], column]
                if place + 1 < end:
                    value += parts[places[place + 1], 2 * n_filters + column]
                if place == begin or value > best[text, column]:
                    best[text, column] = value
                    where[text, column] = place
    return best, where


@fast_kernel
def window_gradient(gradient: Array, where: Array, places: Array, offsets: Array, n_words: int) -> Array:
    """The gradient of `window_maxima` in `parts`, float32 (n_words, 3 · n_filters), from that in its maxima."""
    n_filters = gradient.shape[1]
    out = np.zeros((n_words, 3 * n_filters), np.float32)
    for text in range(offsets.size - 1):
        begin, end = offsets[text], offsets[text + 1]
        for column in range(n_filters):
            place = where[text, column]
            if place < 0:
                continue
            value = gradient[text, column]
            out[places[place], n_filters + column] += value
            if place > begin:
                out[places[place - 1], column] += value
            if place + 1 < end:
                out[places[place + 1], 2 * n_filters + column] += value
    return out
