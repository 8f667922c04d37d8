"""The exponentials of a block of scores in one pass over memory, for the losses by softmax."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from multirecall.kernels import Array, fast_kernel

LOWEST = np.float32(-1e30)
"""The score of an accidental hit: beside any other score, its exponential is 0."""

LOG2_E, LN_2 = np.float32(1.4426950408889634), np.float32(0.6931471805599453)
LEAST = np.float32(-87.0)
"""Below it, the exponential is hardly a float32; it counts as that of this number, 1.6e-38."""


def exponentials(scores: Tensor, addends: Tensor, hits: Tensor) -> tuple[Tensor, Tensor]:
    """`exp(s_j + a_j − m)` of each row, in place, where `m` is the largest `s_j + a_j` of the row.

    An accidental hit gets the least exponential, so that it counts for nothing.

    Args:
        scores: float32 or bfloat16 (b, C), C ≥ 1, contiguous, on the CPU. Bfloat16 is rounded at the end only.
        addends: float32 (C,).
        hits: int64 (b, V), the columns of the accidental hits of each row; −1 for none.

    Returns:
        `m` and the sum of the exponentials of each row, float32 (b,).
    """
    values = scores.view(torch.int16) if scores.dtype == torch.bfloat16 else scores
    largest, sums = exponentials_in_place(values.numpy(), addends.numpy(), hits.contiguous().numpy())
    return torch.from_numpy(largest), torch.from_numpy(sums)


@fast_kernel
def exponentials_in_place(values: Array, addends: Array, hits: Array) -> tuple[Array, Array]:
    """See `exponentials`; `values` is float32 or, as int16, the bits of bfloat16."""
    n_rows, n_columns = values.shape
    largest, sums = np.empty(n_rows, np.float32), np.empty(n_rows, np.float32)
    wide = np.empty(n_columns, np.float32)
    for row in range(n_rows):
        own = values[row]
        for column in range(n_columns):
            if own.itemsize == 2:
                value = np.int32(np.int32(own[column]) << 16).view(np.float32)
            else:
                value = np.float32(own[column])
            wide[column] = value + addends[column]
        for hit in hits[row]:
            if hit >= 0:
                wide[hit] = LOWEST
        most = _largest(wide)
        total = np.float32(0.0)
        for column in range(n_columns):
            power = _exp(wide[column] - most)
            total += power
            if own.itemsize == 2:
                bits = np.float32(power).view(np.int32)
                own[column] = np.int32(bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
            else:
                own[column] = power
        largest[row], sums[row] = most, total
    return largest, sums


@fast_kernel
def _largest(values: Array) -> np.float32:
    """The largest of float32 numbers, none of them NaN.

    It compares their bits as int32, those of negative numbers inverted but for the sign, which has the same order: LLVM
    vectorises the maximum of integers only.
    """
    most = np.int32(-(2**31))
    for place in range(values.size):
        bits = np.float32(values[place]).view(np.int32)
        most = max(most, np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF)))
    return np.int32(most ^ ((most >> 31) & 0x7FFFFFFF)).view(np.float32)


@fast_kernel
def _exp(value: np.float32) -> np.float32:
    """`exp(value)` of a float32 of at most 0, to 5e-6 of it; unlike a call of the C library it vectorises.

    With `n` the nearest whole number to `value / ln 2`, it is `2 ** n` times the Taylor series of the rest.
    """
    value = LEAST if value < LEAST else value  # which keeps NaN
    whole = np.int32(value * LOG2_E - np.float32(0.5))
    rest = value - np.float32(whole) * LN_2
    series = np.float32(1 / 720) * rest + np.float32(1 / 120)
    series = (series * rest + np.float32(1 / 24)) * rest + np.float32(1 / 6)
    series = ((series * rest + np.float32(0.5)) * rest + np.float32(1.0)) * rest + np.float32(1.0)
    return series * np.int32((whole + 127) << 23).view(np.float32)
