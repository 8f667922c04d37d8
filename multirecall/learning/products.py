"""Matrix products whose result is checked, rather than the flags of the processor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def product(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """`left @ right`, of finite arrays.

    A BLAS library computes in whole registers. What happens to lie in lanes that it does not use can raise a flag such
    as "invalid value" now and then, though the product is right, and NumPy then warns. So no flag is asked.

    Raises:
        FloatingPointError: the product is not finite.
    """
    with np.errstate(all="ignore"):
        made = left @ right
    if not np.isfinite(made).all():
        raise FloatingPointError(f"the product of {left.shape} and {right.shape} is not finite")
    return np.asarray(made)
