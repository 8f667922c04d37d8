"""A trained tower that runs without torch: its rule for tokens, its embeddings and its network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from multirecall.storage import read_component, write_component

from .config import ProfileConfig, TrainingConfig
from .features import Profile
from .mlp import Vectors
from .serving import Exported
from .texts import TextRule

N = TypeVar("N", bound=Exported)


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
    def load(folder: Path, config: TrainingConfig, kind: type[N]) -> Tower[N]:
        """Read the tower that `save` wrote; `config`: settings of its retriever, `kind`: class of its network."""
        arrays, meta = read_component(folder)
        tokeniser = config.tokeniser if isinstance(config, ProfileConfig) else "words"
        profile = Profile.of_meta(meta["profile"], read_component(folder / "categories")[0], tokeniser)
        return Tower(profile, arrays["table"], kind.of_arrays(read_component(folder / "net")[0], config))


@dataclass(frozen=True, slots=True)
class WordTable:
    """The embeddings of words.

    Attributes:
        rule: the rule that turns values into words, and words into tokens.
        table: float32 (n_buckets, dim), the embeddings of the tokens.
    """

    rule: TextRule
    table: Vectors

    def rows(self, values: Mapping[str, Any]) -> tuple[Vectors, Vectors]:
        """See `TextRule.rows`."""
        return self.rule.rows(values, self.table)

    def save(self, folder: Path) -> None:
        """Write the table into `folder`, which is created."""
        write_component(folder, {"table": self.table}, self.rule.meta())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the table that `save` wrote."""
        arrays, meta = read_component(folder)
        return cls(TextRule.of_meta(meta), arrays["table"])
