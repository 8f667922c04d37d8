"""A trained multi-layer perceptron without torch: what a request runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Activation = Literal["relu", "gelu", "silu", "tanh"]
Norm = Literal["none", "batch", "layer"]

EPSILON = 1e-5
"""What a layer norm adds to the variance."""

SMALLEST = 1e-12
"""Length below which a vector is not scaled to 1."""


def _gelu(values: Vectors) -> Vectors:
    """The approximation by tanh (Hendrycks & Gimpel 2016, section 2)."""
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
    """`x @ weight + bias`, then, but for the last layer, norm and activation.

    Attributes:
        weight: float32 (n_in, n_out); a batch norm is already in it.
        bias: float32 (n_out,).
        gain, shift: float32 (n_out,) of a layer norm, or empty.
    """

    weight: Vectors
    bias: Vectors
    gain: Vectors
    shift: Vectors


@dataclass(frozen=True, slots=True)
class Mlp:
    """Layers, and the length 1 at the end."""

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
        values = values @ self.layers[-1].weight + self.layers[-1].bias
        lengths = np.sqrt((values * values).sum(axis=-1, keepdims=True))
        units: Vectors = values / np.maximum(lengths, np.float32(SMALLEST))
        return units

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `of_arrays` rebuilds it from."""
        return {
            f"layer{number}-{name}": getattr(layer, name)
            for number, layer in enumerate(self.layers)
            for name in Layer.__slots__
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], activation: Activation) -> Self:
        """The network that `arrays()` was taken from."""
        n_layers = sum(name.endswith("-weight") for name in arrays)
        layers = [Layer(*(arrays[f"layer{number}-{name}"] for name in Layer.__slots__)) for number in range(n_layers)]
        return cls(layers, activation)
