"""Sums by user, in a table that grows with the users."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class UserSums:
    """Adds up values of requests by user.

    Args:
        width: the number of values of a request.
    """

    def __init__(self, width: int) -> None:
        self.names: dict[str, int] = {}
        self._counts = np.zeros(16)
        self._sums = np.zeros((16, width))

    def add(self, users: Sequence[str], values: NDArray[np.float64]) -> None:
        """Add the values (n, width) of requests of these users."""
        rows = np.array([self.names.setdefault(user, len(self.names)) for user in users], np.int64)
        if len(self.names) > self._counts.size:
            more = 2 * len(self.names) - self._counts.size
            self._counts = np.concatenate([self._counts, np.zeros(more)])
            self._sums = np.concatenate([self._sums, np.zeros((more, self._sums.shape[1]))])
        np.add.at(self._counts, rows, 1.0)
        np.add.at(self._sums, rows, values)

    @property
    def counts(self) -> NDArray[np.float64]:
        """The number of requests of each user, (n_users,)."""
        return self._counts[: len(self.names)]

    @property
    def sums(self) -> NDArray[np.float64]:
        """The sums of each user, (n_users, width)."""
        return self._sums[: len(self.names)]

    def means(self) -> NDArray[np.float64]:
        """The means of each user, (n_users, width)."""
        return self.sums / self.counts[:, None]
