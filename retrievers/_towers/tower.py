"""A trained tower that runs without torch: its rule for tokens, its embeddings and its network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from multirecall.storage import read_component, write_component

from .features import Profile
from .mlp import Vectors
from .tokenisers import TokeniserName


class Network(Protocol):
    """A network whose parameters can be stored as arrays."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All parameters, by name."""


N = TypeVar("N", bound=Network)


@dataclass(frozen=True, slots=True)
class Tower(Generic[N]):
    """The parts of a tower that a request needs.

    Attributes:
        profile: the rule that turns id and features into tokens.
        table: float32 (n_tokens, dim), the embeddings of the tokens.
        net: the network, from embeddings to vectors.
    """

    profile: Profile
    table: Vectors
    net: N

    def save(self, folder: Path) -> None:
        """Write the tower into `folder`, which is created."""
        write_component(folder, {"table": self.table}, {"profile": self.profile.meta()})
        write_component(folder / "categories", self.profile.arrays(), {})
        write_component(folder / "net", self.net.arrays(), {})

    @staticmethod
    def load(folder: Path, tokeniser: TokeniserName, net_of: Callable[[Mapping[str, NDArray[Any]]], N]) -> Tower[N]:
        """Read the tower that `save` wrote; `net_of` builds the network from its arrays."""
        arrays, meta = read_component(folder)
        profile = Profile.of_meta(meta["profile"], read_component(folder / "categories")[0], tokeniser)
        return Tower(profile, arrays["table"], net_of(read_component(folder / "net")[0]))
