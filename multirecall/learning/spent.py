"""What earlier fits have held out, so that no event is held out twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.vocabulary import Id, Vocabulary


@dataclass(frozen=True, slots=True)
class Spent:
    """The users and the time up to which earlier fits have held events out.

    Attributes:
        users: external ids of users whose newest events were held out.
        until: the time of the newest event when a period was held out, in epoch seconds; events up to then are not
            held out again.
    """

    users: frozenset[Id] = frozenset()
    until: int = -(2**63)

    def with_users(self, ids: NDArray[Any]) -> Spent:
        """A copy that also knows these users, external ids (n,)."""
        return replace(self, users=self.users | frozenset(ids.tolist()))

    def with_period(self, until: int) -> Spent:
        """A copy in which all events up to `until` are spent."""
        return replace(self, until=until)

    def knows_users(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each of these users, external ids (n,), was held out before, bool (n,)."""
        return np.array([user in self.users for user in ids.tolist()], np.bool_)

    def among(self, known: Vocabulary) -> Spent:
        """A copy without the users that `known` does not have, such as those who were removed."""
        return replace(self, users=frozenset(user for user in self.users if known.row(user) >= 0))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"users": sorted(self.users, key=str), "until": self.until}

    @classmethod
    def of_dict(cls, values: dict[str, Any]) -> Spent:
        """Read what `to_dict` gave."""
        return cls(frozenset(values["users"]), int(values["until"]))
