"""Who may use the explorer: a session that a key opened, and only requests that a page of this service sends.

A session is a signed text in a cookie: the beginning of the key's hash, when it ends, and a random part. It holds no
key, and nothing is kept of it here, so that any worker of a deployment knows it by their common secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest, new
from time import time
from typing import Any

from starlette.requests import cookie_parser

from multirecall.serving.keys import Key, KeyRing
from multirecall.serving.problems import Problem
from multirecall.serving.settings import is_loopback

ROOT = "/explore"
"""Where the explorer is."""

STATIC = f"{ROOT}/static/"
SIGN_IN, SIGN_OUT = f"{ROOT}/session", f"{ROOT}/session/end"

COOKIE = "multirecall_explorer"
SESSION_S = 8 * 3600
"""Seconds after which a session ends."""

TOKEN_HEADER = b"x-explorer-token"

Headers = Mapping[bytes, bytes]


def covers(path: str) -> bool:
    """Whether a path is the explorer's."""
    return path == ROOT or path.startswith(f"{ROOT}/")


class Sessions:
    """Opens sessions and tells whether a request has one."""

    def __init__(self, secret: bytes, keys: KeyRing) -> None:
        self._secret, self._keys = secret, keys

    @property
    def needed(self) -> bool:
        """Whether keys are asked for."""
        return self._keys.required

    def begin(self, key: Key) -> str:
        """The text of a new session, for the cookie."""
        claim = f"{key.sha256[:16]}.{int(time()) + SESSION_S}.{secrets.token_hex(8)}"
        return f"{claim}.{self._sign('session', claim)}"

    def key_of(self, headers: Headers) -> Key | None:
        """The key that opened the session of a request; None: it has none, or the session or its key has ended."""
        claim, _, signature = _session_of(headers).rpartition(".")
        if not compare_digest(signature.encode(), self._sign("session", claim).encode()):
            return None
        prefix, ends, _ = claim.split(".")
        return self._keys.by_hash(prefix) if time() < int(ends) else None

    def token(self, headers: Headers) -> str:
        """What the page of this session, or of a service without keys, sends with each request."""
        return self._sign("token", _session_of(headers) if self.needed else "")

    def admit(self, method: str, path: str, headers: Headers) -> Key | None:
        """Let a request in that is the explorer's and has no key of its own; its key, if it has a session.

        Raises:
            Problem: 401, it needs a session; 403, it does not come from a page of this service.
        """
        reads = method in ("GET", "HEAD")
        if not reads and not _same_origin(headers):
            raise Problem(403, "this comes from the page of another site; open /explore here, over https or locally")
        if path in (ROOT, SIGN_IN, SIGN_OUT) or path.startswith(STATIC):
            return None
        key = self.key_of(headers) if self.needed else None
        if self.needed and key is None:
            raise Problem(401, "the session has ended; open /explore again and sign in")
        if not reads and not compare_digest(headers.get(TOKEN_HEADER, b""), self.token(headers).encode()):
            raise Problem(403, "this page is older than the service; load it again")
        return key

    def _sign(self, purpose: str, text: str) -> str:
        return new(self._secret, f"explorer {purpose} {text}".encode("utf-8", "surrogateescape"), sha256).hexdigest()


def cookie_settings(scope: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the cookie: for the explorer alone, for no script and no other site.

    It is only sent over https, but where the page is open on this machine itself, as browsers do not treat every
    loopback address as safe.
    """
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    name = host if host.startswith("[") else host.partition(":")[0]
    return {
        "path": f"{scope.get('root_path', '')}{ROOT}",
        "httponly": True,
        "samesite": "strict",
        "secure": not is_loopback(name.partition("]")[0] if name.startswith("[") else name),
    }


def _session_of(headers: Headers) -> str:
    session: str = cookie_parser(headers.get(b"cookie", b"").decode("latin-1")).get(COOKIE, "")
    return session


def _same_origin(headers: Headers) -> bool:
    """Whether a browser says that a page of this very address sends the request."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    origin = headers.get(b"origin", b"").partition(b"://")[2]
    return origin != b"" and origin == headers.get(b"host")
