"""Sizes of matrix products that recur from step to step."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

MULTIPLE = 256
"""Of which numbers of rows are multiples. oneDNN compiles each product of bfloat16 anew for each size, and keeps about
a megabyte of code for each; the number of distinct items differs from step to step. Changes speed and memory only."""


def padded(rows: Tensor) -> Tensor:
    """The rows (n, dim), and behind them rows of 0 up to the next multiple of `MULTIPLE`."""
    return functional.pad(rows, (0, 0, 0, -len(rows) % MULTIPLE))
