"""API keys: only their SHA-256 is kept, and a changed file is read again without a restart."""

from __future__ import annotations

import logging
import os
import re
import secrets
import tomllib
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from time import monotonic
from typing import Annotated, Literal

from pydantic import Field

from multirecall.errors import ConfigError
from multirecall.serving.settings import KeySettings
from multirecall.validation import StrictModel, validate

Scope = Literal["read", "write"]

RELOAD_S = 1.0
"""Seconds between two looks at the file."""

MIN_CHARACTERS = 20
"""The shortest key that is taken. Keys are hashed once and without salt, which is safe for random ones alone."""

_log = logging.getLogger("multirecall.serving")


class Key(StrictModel):
    """A key as the file has it."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """Who uses it; stands in log lines."""

    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    """What it may do."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """The SHA-256 of the key, in hexadecimal digits."""


class _File(StrictModel):
    key: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class NewKey:
    """A fresh key and the lines of the file for it."""

    secret: str
    lines: str


def make_key(name: str, scopes: tuple[Scope, ...]) -> NewKey:
    """A random key of 256 bits; raises `ConfigError` for a name that is none."""
    secret = secrets.token_urlsafe(32)
    key = validate(Key, {"name": name, "scopes": scopes, "sha256": _hash(secret)}, "key")
    listed = ", ".join(f'"{one}"' for one in key.scopes)
    if not re.fullmatch(r"[\w .@-]+", key.name):
        raise ConfigError(f"key: name {key.name!r}: use letters, digits, spaces and . @ - _ only")
    return NewKey(secret, f'[[key]]\nname = "{key.name}"\nscopes = [{listed}]\nsha256 = "{key.sha256}"\n')


class KeyRing:
    """The keys of a deployment.

    Raises:
        ConfigError: a file or variable is missing or faulty, or there is no key in them.
    """

    def __init__(self, settings: KeySettings) -> None:
        self._file = settings.file
        self._fixed = () if settings.keys_env is None else _from_variable(settings.keys_env)
        self._looked, self._stamp = monotonic(), self._stamp_now()
        self._listed = () if self._file is None else _from_file(self._file)
        if settings.given and not (self._fixed or self._listed):
            raise ConfigError(f"keys: {self._file} holds no key; make one with `multirecall serve-key NAME`")
        self.required = settings.given

    def find(self, secret: str) -> Key | None:
        """The key that `secret` is, or None. The time that it takes says nothing about the keys."""
        self._look()
        digest, found = _hash(secret), None
        for key in (*self._fixed, *self._listed):
            if compare_digest(digest, key.sha256):
                found = key
        return found

    def by_hash(self, prefix: str) -> Key | None:
        """The key whose hash begins with `prefix`, or None."""
        self._look()
        return next((key for key in (*self._fixed, *self._listed) if key.sha256.startswith(prefix)), None)

    def _look(self) -> None:
        """Read the file again where it has changed. A faulty file changes nothing, and an empty one takes all keys."""
        now = monotonic()
        if self._file is None or now - self._looked < RELOAD_S:
            return
        self._looked, stamp = now, self._stamp_now()
        if stamp == self._stamp:
            return
        try:
            self._listed = _from_file(self._file)
        except ConfigError as fault:
            _log.error("API keys stay as they were: %s", fault)
        self._stamp = stamp

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            known = os.stat(self._file) if self._file is not None else None
        except OSError:
            return None
        return known and (known.st_mtime_ns, known.st_size, known.st_ino)


def _hash(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _from_file(file: Path) -> tuple[Key, ...]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ConfigError(f"keys.file: {file}: cannot be read ({fault.strerror}); check the path") from None
    except ValueError as fault:
        raise ConfigError(f"keys.file: {file}: is not TOML ({fault})") from None
    return validate(_File, values, str(file)).key


def _from_variable(name: str) -> tuple[Key, ...]:
    """The keys of an environment variable. No error repeats what it holds."""
    keys = []
    for number, entry in enumerate(os.environ.get(name, "").split()):
        scopes, colon, secret = entry.partition(":")
        if not colon or not {*scopes.split("+")} <= {"read", "write"} or len(secret) < MIN_CHARACTERS:
            raise ConfigError(
                f"keys.keys_env: entry {number + 1} of {name} is wrong; write read:KEY or read+write:KEY with keys of "
                f"at least {MIN_CHARACTERS} random characters"
            )
        values = {"name": f"{name}[{number}]"[-64:], "scopes": scopes.split("+"), "sha256": _hash(secret)}
        keys.append(validate(Key, values, "keys.keys_env"))
    if not keys:
        raise ConfigError(f"keys.keys_env: the environment variable {name} is not set; set it to read:KEY")
    return tuple(keys)
