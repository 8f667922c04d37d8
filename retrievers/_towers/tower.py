"""One trained tower without torch: how it reads ids and features, its embeddings and its network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from multirecall.storage import read_component, write_component

from .features import Profile
from .mlp import Activation, Mlp, Vectors


@dataclass(frozen=True, slots=True)
class Tower:
    """What a request needs of a tower.

    Attributes:
        profile: from id and features to tokens.
        table: float32 (n_tokens, dim), their embeddings.
        net: from the input to the unit vector.
    """

    profile: Profile
    table: Vectors
    net: Mlp

    def save(self, folder: Path) -> None:
        """Write it into `folder`, which is made."""
        write_component(folder, {"table": self.table}, {"profile": self.profile.meta()})
        write_component(folder / "categories", self.profile.arrays(), {})
        write_component(folder / "net", self.net.arrays(), {})

    @classmethod
    def load(cls, folder: Path, activation: Activation) -> Self:
        """Read what `save` wrote."""
        arrays, meta = read_component(folder)
        profile = Profile.of_meta(meta["profile"], read_component(folder / "categories")[0])
        return cls(profile, arrays["table"], Mlp.of_arrays(read_component(folder / "net")[0], activation))
