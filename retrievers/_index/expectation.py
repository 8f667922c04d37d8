"""What the vectors of a cell may score: the model by which every inverted file here skips cells.

The vectors of a cell are taken to lie around their mean, the centroid `c`, alike in all directions: each entry deviates
by the cell's `spread`. Then the scores of a query `q` in the cell have a mean and a standard deviation:

    inner product    q·x             mean  q·c                 deviation  spread · |q|
    distance         q·x - |x|² / 2  mean  q·c - mean |x|² / 2 deviation  spread · |q - c|

A search skips a cell whose `mean + margin · deviation` cannot reach its list. The margin is measured on queries.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import kernel


@kernel
def deviation_of(spread: Any, square: Any) -> Any:
    """The deviation of the scores in a cell. `square` is `|q|²` or `|q - c|²`, which rounding may bring below 0."""
    return spread * np.sqrt(max(square, np.float32(0.0)))


def needed_margins(
    scores: NDArray[np.float32], mean: NDArray[np.float32], deviation: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The least margins with which cells of this mean and deviation reach `scores`, in the shape of all three together.

    0 for a cell without deviation.
    """
    lacking = scores - mean
    needed: NDArray[np.float32] = np.divide(lacking, deviation, out=np.zeros_like(lacking), where=deviation > 0)
    return needed
