"""The users whom both scripts ask their library for, and the file with what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_USERS = 1_000
N_BEST = 12
"""Items that are kept of each answer: two more than the test asks for, so that a tie at the end is seen."""


def draw_histories(items: range, longest: int, seed: int) -> list[NDArray[np.int64]]:
    """A history of 1 to `longest` items for each user, oldest first."""
    rng = np.random.default_rng(seed)
    return [rng.choice(items, size) for size in rng.integers(1, longest + 1, N_USERS)]


def pad_left(histories: list[NDArray[np.int64]], length: int, padding: int) -> NDArray[np.int64]:
    """The newest `length` items of each history, (n_users, length), as a library feeds its model."""
    padded = np.full((len(histories), length), padding)
    for row, history in enumerate(histories):
        newest = history[-length:]
        padded[row, length - newest.size :] = newest
    return padded


def write_answers(
    file: Path,
    first_item: int,
    items: NDArray[np.float32],
    histories: list[NDArray[np.int64]],
    scores: NDArray[np.float32],
    **of_users: Any,
) -> None:
    """Write an npz file without pickle.

    Args:
        file: its name.
        first_item: the number that the model has for the first item.
        items: the vectors of items, (n_items, dim).
        histories: the model's numbers of items, for each user.
        scores: of all items for each user, (n_users, n_items); the best are kept.
        of_users: arrays with what else the model reads of each user.
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, :N_BEST]
    np.savez_compressed(
        file,
        first_item=np.array(first_item),
        items=items,
        history_items=np.concatenate(histories).astype(np.uint8),
        history_sizes=np.array([history.size for history in histories], np.uint8),
        best=best.astype(np.uint8),
        scores=np.take_along_axis(scores, best, axis=1),
        **of_users,
    )
