"""What the log calls a user: their id, or its hash under a key that the deployment keeps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Self

import polars as pl

from multirecall.errors import ConfigError
from multirecall.vocabulary import Id

SHORTEST_SALT = 16
"""Characters of a salt, at least."""


@dataclass(frozen=True, slots=True)
class UserNames:
    """How ids of users become names in the log.

    A name is the id as text, or 32 hexadecimal digits of BLAKE2b under a key. Anybody with the key can tell whose rows
    they are, so hashing makes ids pseudonyms; it does not make the log anonymous.

    Attributes:
        key: of the hash, 32 bytes, or None where ids stay as they are. It stands in no text of this object.
    """

    key: bytes | None = field(default=None, repr=False)

    @classmethod
    def of_environment(cls, variable: str) -> Self:
        """Hash under the salt in an environment variable.

        Raises:
            ConfigError: the variable is not set, or too short.
        """
        salt = os.environ.get(variable, "")
        if len(salt) < SHORTEST_SALT:
            fault = f"has {len(salt)} characters" if salt else "is not set"
            raise ConfigError(
                f"the salt of the request log: environment variable {variable} {fault}; "
                f"set it to a secret of at least {SHORTEST_SALT} characters"
            )
        return cls(blake2b(salt.encode("utf-8", "surrogateescape"), digest_size=32).digest())

    @property
    def salt(self) -> str | None:
        """A short mark of the key, which tells keys apart and does not give one away; None without a key."""
        return None if self.key is None else blake2b(b"", key=self.key, person=b"log-salt", digest_size=4).hexdigest()

    def name(self, user: Id) -> str:
        """The name of a user."""
        text = str(user)
        if self.key is None:
            return text
        return blake2b(text.encode("utf-8", "surrogatepass"), key=self.key, digest_size=16).hexdigest()


def refuse_foreign(frame: pl.DataFrame, names: Sequence[UserNames], file: Path) -> None:
    """Refuse rows of the log whose users have names that are not among `names`; the frame has `user` and `salt`.

    Raises:
        ConfigError: a user is hashed under another salt.
    """
    salts = set(frame.filter(pl.col("user").is_not_null())["salt"].unique()) - {one.salt for one in names}
    if salts:
        mark = min(map(str, salts))
        raise ConfigError(
            f"{file}: its users are hashed under a salt that is not given (mark {mark}); pass that salt as well"
        )
