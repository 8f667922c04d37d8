"""The layers of networks in numba, and functions for them that vectorise."""

from __future__ import annotations

from typing import Any

import numpy as np

from multirecall.kernels import Array, fast_kernel, kernel

LOG2_E = np.float32(1.4426950408889634)
LN_2 = np.float32(0.6931471805599453)

HIGHEST = np.float32(126.0)
"""The largest absolute exponent of 2 before a float32 overflows or loses precision."""

BIAS, FRACTION = 127, 23
"""The bias of the exponent of a float32, and the bits of its fraction."""


@fast_kernel
def raise_e(values: Array) -> None:
    """Replace each of `values`, float32 (n,) contiguous, by `e ** value`, in place; relative error < 1e-6.

    `e ** x = 2 ** n · e ** z` with a whole `n` and `|z| ≤ ln 2 / 2`, where seven terms of the series suffice. The
    first factor is written into the exponent of a float32. Unlike a call of `exp`, the loop vectorises.
    """
    powers = np.empty(values.size, np.int32)
    for place in range(values.size):
        exponent = min(max(values[place] * LOG2_E, -HIGHEST), HIGHEST)
        whole = np.floor(exponent + np.float32(0.5))
        z = (exponent - whole) * LN_2
        series = np.float32(1 / 120) + z * np.float32(1 / 720)
        series = np.float32(1 / 24) + z * series
        series = np.float32(1 / 6) + z * series
        series = np.float32(1 / 2) + z * series
        values[place] = np.float32(1.0) + z * (np.float32(1.0) + z * series)
        powers[place] = (np.int32(whole) + BIAS) << FRACTION
    factors = powers.view(np.float32)
    for place in range(values.size):
        values[place] *= factors[place]


@fast_kernel
def sigmoid(values: Array) -> Array:
    """`1 / (1 + e ** -value)` of each value, float32 of the same shape; `values` is contiguous."""
    results = -values
    flat = results.reshape(-1)
    raise_e(flat)
    for place in range(flat.size):
        flat[place] = np.float32(1.0) / (np.float32(1.0) + flat[place])
    return results


@fast_kernel
def multiply_silu(values: Array, others: Array) -> None:
    """Replace each of `values` by `silu(value) · other`, in place; both are float32, contiguous and of one shape."""
    left, right = values.reshape(-1), others.reshape(-1)
    powers = -left
    raise_e(powers)
    for place in range(left.size):
        left[place] = left[place] * right[place] / (np.float32(1.0) + powers[place])


@fast_kernel
def linear(values: Array, weight: Array, bias: Array) -> Array:
    """`values @ weight + bias`, float32 (n, n_out), of float32 (n, n_in), (n_in, n_out) and (n_out,)."""
    results: Array = np.dot(values, weight)
    for row in range(len(results)):
        for column in range(bias.size):
            results[row, column] += bias[column]
    return results


@fast_kernel
def layer_norm(values: Array, gain: Array, shift: Array, epsilon: float) -> Array:
    """Each row of `values`, float32 (n, dim), with mean 0 and variance 1, times `gain` plus `shift`, (dim,)."""
    n_rows, dim = values.shape
    results = np.empty((n_rows, dim), np.float32)
    for row in range(n_rows):
        total = np.float32(0.0)
        for column in range(dim):
            total += values[row, column]
        mean = total / np.float32(dim)
        squares = np.float32(0.0)
        for column in range(dim):
            squares += (values[row, column] - mean) ** 2
        factor = np.float32(1 / np.sqrt(squares / np.float32(dim) + np.float32(epsilon)))
        _scale(values[row], mean, factor, gain, shift, results[row])
    return results


@kernel
def _scale(values: Array, mean: Any, factor: Any, gain: Array, shift: Array, results: Array) -> None:
    """Write `(values - mean) · factor · gain + shift` into `results`, all float32 (n,).

    In a fast kernel the last bits would differ with the place of the arrays in memory: where the compiler cannot tell
    in time that they do not overlap, it takes other code.
    """
    for column in range(values.size):
        results[column] = (values[column] - mean) * factor * gain[column] + shift[column]
