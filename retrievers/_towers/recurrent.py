"""The user encoder of `gru4rec` for requests: gated recurrent units in numba."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, fast_kernel

from .mlp import Vectors
from .serving import ExportedEncoder, UserInputs
from .vectorised import linear, raise_e, sigmoid

Layer = tuple[Vectors, Vectors, Vectors, Vectors]
"""A recurrent layer: the weights and biases of the inputs, float32 (n_in, 3 · width) and (3 · width,), and those of the
state, (width, 3 · width) and (3 · width,). The gates stand in the order reset, update, new."""

NAMES = "inputs", "input_bias", "states", "state_bias"


@dataclass(frozen=True, slots=True)
class Recurrent(ExportedEncoder):
    """`RecurrentEncoder` without torch: one vector per user, zeros for an empty history.

    Attributes:
        layers: the recurrent layers, first to last.
        project, bias: the last layer, float32 (width, dim) and (dim,).
    """

    layers: Sequence[Layer]
    project: Vectors
    bias: Vectors

    def __call__(self, user: UserInputs) -> Vectors:
        """See `ExportedEncoder.__call__`."""
        if not user.history.size:
            return np.zeros((1, self.bias.size), np.float32)
        values: Vectors = user.item_table[user.history] * np.float32(np.sqrt(self.bias.size))
        for layer in self.layers:
            values = _run_layer(values, *layer)
        vectors: Vectors = values[-1:] @ self.project + self.bias
        return vectors

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Exported.arrays`."""
        arrays = {"project": self.project, "bias": self.bias}
        for number, layer in enumerate(self.layers):
            arrays |= {f"layer{number}-{name}": array for name, array in zip(NAMES, layer, strict=True)}
        return arrays

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], config: Any) -> Self:
        """See `Exported.of_arrays`."""
        layers: list[Layer] = []
        for number in range(config.layers):
            first, second, third, fourth = (np.ascontiguousarray(arrays[f"layer{number}-{name}"]) for name in NAMES)
            layers.append((first, second, third, fourth))
        return cls(layers, arrays["project"], arrays["bias"])


@fast_kernel
def _run_layer(values: Array, inputs: Array, input_bias: Array, states: Array, state_bias: Array) -> Array:
    """The state after each event, float32 (n, width), from `values` (n, n_in) (Cho et al. 2014, equations 5 to 8).

    With the reset gate `r` and the update gate `z`, `h' = (1 − z) · tanh(W x + r · (U h)) + z · h`, biases within.
    """
    given = linear(values, inputs, input_bias)
    width = len(states)
    results = np.empty((len(values), width), np.float32)
    state = np.zeros(width, np.float32)
    for event in range(len(values)):
        own = np.dot(state, states) + state_bias
        gates = sigmoid(given[event, : 2 * width] + own[: 2 * width])
        twice = np.float32(-2.0) * (given[event, 2 * width :] + gates[:width] * own[2 * width :])
        raise_e(twice)
        fresh = np.float32(2.0) / (np.float32(1.0) + twice) - np.float32(1.0)
        state = fresh + gates[width:] * (state - fresh)
        results[event] = state
    return results
