"""One trained tower without torch: how it reads ids and features, its embeddings and its network."""

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
    """A network that arrays hold."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that it computes with."""


N = TypeVar("N", bound=Network)


@dataclass(frozen=True, slots=True)
class Tower(Generic[N]):
    """What a request needs of a tower.

    Attributes:
        profile: from id and features to tokens.
        table: float32 (n_tokens, dim), their embeddings.
        net: from tokens to vectors.
    """

    profile: Profile
    table: Vectors
    net: N

    def save(self, folder: Path) -> None:
        """Write it into `folder`, which is made."""
        write_component(folder, {"table": self.table}, {"profile": self.profile.meta()})
        write_component(folder / "categories", self.profile.arrays(), {})
        write_component(folder / "net", self.net.arrays(), {})

    @staticmethod
    def load(folder: Path, tokeniser: TokeniserName, net_of: Callable[[Mapping[str, NDArray[Any]]], N]) -> Tower[N]:
        """Read what `save` wrote; `net_of` makes the network of its arrays."""
        arrays, meta = read_component(folder)
        profile = Profile.of_meta(meta["profile"], read_component(folder / "categories")[0], tokeniser)
        return Tower(profile, arrays["table"], net_of(read_component(folder / "net")[0]))
