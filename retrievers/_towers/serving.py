"""Encoders for requests: numpy and numba, without torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .mlp import Vectors


class UserInputs(NamedTuple):
    """The input of an exported encoder: one user.

    Attributes:
        tokens: int32 (n_tokens,), the tokens of the user's id and features.
        token_weights: float32 (n_tokens,), the weight of each token.
        token_table: float32 (n_all_tokens, dim), the embeddings of tokens.
        history: int32 (n,), the positions in `item_table` of the items of the newest history, oldest first.
        weights: float32 (n,), the weight of each event.
        times: int64 (n,), epoch seconds of each event; None if the log has no timestamps.
        now: epoch seconds of the newest event of the log; None if the log has no timestamps.
        ordered: whether the history is in order of time. If not, the position of an event must not count.
        item_table: float32 (n_rows, dim), the embeddings of items in a history.
        term_weights: float32 (n_words,), the weight of each word of the search terms; empty without search terms.
        term_rows: float32 (n_words, dim), the embedding of each of these words.
    """

    tokens: NDArray[np.int32]
    token_weights: Vectors
    token_table: Vectors
    history: NDArray[np.int32]
    weights: Vectors
    times: NDArray[np.int64] | None
    now: int | None
    ordered: bool
    item_table: Vectors
    term_weights: Vectors
    term_rows: Vectors

    @property
    def ages(self) -> Vectors:
        """Seconds between each event and now, float32 (n,); 0 where the log has no timestamps."""
        if self.times is None or self.now is None:
            return np.zeros(self.history.size, np.float32)
        ages: Vectors = np.maximum(self.now - self.times, 0).astype(np.float32)
        return ages


class Exported(ABC):
    """A trained network without torch. Immutable, so any number of threads may call it."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays from which `of_arrays` restores the network, together with the settings."""

    @classmethod
    @abstractmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], config: Any) -> Self:
        """The network whose `arrays()` are given, of a retriever with the settings `config`."""


class ExportedEncoder(Exported):
    """A trained `UserEncoder` without torch."""

    @abstractmethod
    def __call__(self, user: UserInputs) -> Vectors:
        """The vectors of one user, float32 (V, dim), equal to `UserEncoder.forward` to 1e-5; V is constant."""

    def of_each(self, users: Sequence[UserInputs]) -> Vectors:
        """The vectors of several users, at least one, float32 (B, V, dim), equal to those of each to the bit."""
        return np.array([self(user) for user in users], np.float32)


class ExportedItemEncoder(Exported):
    """A trained `ItemEncoder` without torch."""

    @abstractmethod
    def __call__(self, weights: Vectors, rows: Vectors) -> Vectors:
        """The unit vector of one item, float32 (dim,), equal to `ItemEncoder.forward` to 1e-5.

        Args:
            weights: float32 (n_tokens,), the weight of each token of the item, in the order of `TokenBags`.
            rows: float32 (n_tokens, dim), the embedding of each token.
        """
