"""The check that a log has something to learn from."""

from __future__ import annotations

from scipy.sparse import csr_array

from multirecall.data import Dataset
from multirecall.errors import CannotFit


def require_weight(data: Dataset, retriever: str) -> None:
    """Refuse a log without a weight above 0.

    Raises:
        CannotFit: that.
    """
    if not data.interactions.weights.any():
        raise CannotFit(f"{retriever}: no interaction weighs more than 0; raise the weights, or leave the path out")


def weighted_matrix(data: Dataset, retriever: str) -> csr_array:
    """Users × items, the largest weight of each pair; refused as by `require_weight`."""
    require_weight(data, retriever)
    return data.interactions.matrix
