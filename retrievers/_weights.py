"""What a fit needs of a log: some weight above 0, an order of events, the weights as a matrix."""

from __future__ import annotations

from scipy.sparse import csr_array

from multirecall.data import Dataset
from multirecall.errors import CannotFit


def require_weight(data: Dataset, retriever: str) -> None:
    """Check that the log has a weight above 0; `retriever` begins the error.

    Raises:
        CannotFit: all weights are 0.
    """
    if not data.interactions.weights.any():
        raise CannotFit(f"{retriever}: no interaction weighs more than 0; raise the weights, or leave the path out")


def require_order(data: Dataset, retriever: str) -> None:
    """Check that the log has an order; `retriever` begins the error.

    Raises:
        CannotFit: the log has neither times nor positions.
    """
    if not data.interactions.ordered:
        raise CannotFit(
            f"{retriever}: the log has no order; give it a column 'timestamp' or 'position', or leave the path out"
        )


def weight_matrix(data: Dataset, retriever: str) -> csr_array:
    """The users × items matrix with the largest weight of each pair; raises the errors of `require_weight`."""
    require_weight(data, retriever)
    return data.interactions.matrix
