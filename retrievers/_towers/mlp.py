"""A trained multi-layer perceptron that runs without torch, for requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel

Vectors = NDArray[np.float32]
Activation = Literal["relu", "gelu", "silu", "tanh"]
Norm = Literal["none", "batch", "layer"]

EPSILON = 1e-5
"""Added to the variance in a layer norm or batch norm; the default of torch."""

SMALLEST = 1e-12
"""The smallest divisor when a vector is scaled to length 1; a shorter vector stays shorter."""


def _gelu(values: Vectors) -> Vectors:
    """GELU in its approximation by tanh (Hendrycks & Gimpel 2016, section 2)."""
    inner = np.float32(0.7978845608) * (values + np.float32(0.044715) * values * values * values)
    activated: Vectors = np.float32(0.5) * values * (1 + np.tanh(inner))
    return activated


def _silu(values: Vectors) -> Vectors:
    activated: Vectors = values * (np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * values)))
    return activated


ACTIVATIONS: Mapping[Activation, Callable[[Vectors], Vectors]] = {
    "relu": lambda values: np.maximum(values, 0),
    "gelu": _gelu,
    "silu": _silu,
    "tanh": np.tanh,
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: `x @ weight + bias`, then norm and activation, except in the last layer.

    Attributes:
        weight: float32 (n_in, n_out); a batch norm is folded into it.
        bias: float32 (n_out,).
        gain, shift: float32 (n_out,), the parameters of a layer norm; empty without one.
    """

    weight: Vectors
    bias: Vectors
    gain: Vectors
    shift: Vectors


@dataclass(frozen=True, slots=True)
class Mlp:
    """A sequence of layers, whose output is scaled to length 1."""

    layers: Sequence[Layer]
    activation: Activation

    def __call__(self, inputs: Vectors) -> Vectors:
        """The unit vectors (…, dim) of `inputs` (…, n_in)."""
        values = inputs
        for layer in self.layers[:-1]:
            values = values @ layer.weight + layer.bias
            if layer.gain.size:
                values = values - values.mean(axis=-1, keepdims=True)
                spread = np.sqrt((values * values).mean(axis=-1, keepdims=True) + np.float32(EPSILON))
                values = values / spread * layer.gain + layer.shift
            values = ACTIVATIONS[self.activation](values)
        last = self.layers[-1]
        units: Vectors = _unit_outputs(values.reshape(-1, values.shape[-1]), last.weight, last.bias)
        return units.reshape(*values.shape[:-1], units.shape[1])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays from which `of_arrays` restores the network."""
        return {
            f"layer{number}-{name}": getattr(layer, name)
            for number, layer in enumerate(self.layers)
            for name in Layer.__slots__
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], activation: Activation) -> Self:
        """The network whose `arrays()` are given."""
        n_layers = sum(name.endswith("-weight") for name in arrays)
        layers = [Layer(*(arrays[f"layer{number}-{name}"] for name in Layer.__slots__)) for number in range(n_layers)]
        return cls(layers, activation)


@kernel
def _unit_outputs(values: Array, weight: Array, bias: Array) -> Array:
    """`values @ weight + bias`, its rows scaled to length 1, float32 (n, n_out), each row by itself."""
    out = np.empty((len(values), bias.size), np.float32)
    for row in range(len(values)):
        own = out[row]
        own[:] = bias
        for entry in range(values.shape[1]):
            value, weights = values[row, entry], weight[entry]
            for column in range(own.size):
                own[column] += value * weights[column]
        square = np.float32(0.0)
        for column in range(own.size):
            square += own[column] * own[column]
        length = max(np.sqrt(square), np.float32(SMALLEST))
        for column in range(own.size):
            own[column] /= length
    return out
